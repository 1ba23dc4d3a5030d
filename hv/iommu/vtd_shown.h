/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dom0 sees in the place of each VT-d unit with iommu=strict, where all have a table for it: a
 * unit that remaps interrupts and translates nothing. Its table is dom0's; what is right of it is
 * copied, entry by entry as dom0 invalidates them, to that of the unit that is there:
 *
 *   dom0's IRTA ──table──> entries ──invalidated: checked, copied──> iommu_unit.irqs ──> the unit
 *   dom0's IQA  ──queue──> commands, carried out when the tail is written
 *
 * As long as dom0 does not switch it on, interrupts come as devices send them.
 */
#pragma once

#include "hv/iommu/iommu.h"

/* Behind a sleep: the units that dom0 sees have forgotten all, too. */
void shown_wake(void);
/* Has dom0 switched on all? Then no device raises what dom0 has no entry for. */
bool shown_remaps(void);
/*
 * No entry of any unit posts to this descriptor any more, nor has a unit one cached, and what was
 * on its way there has come: VT-d specification "Interrupt Draining".
 */
void shown_forget(u64 descriptor);
/*
 * dom0's access to where a unit's registers are, of 1 to 8 bytes, not within those of the LAPIC or
 * RAM; what a read yields. The caller is alone with the objects. Reads and writes dom0's memory
 * only, and takes some milliseconds at most; a unit that does not answer ends the machine.
 */
u64 shown_access(u64 at, u32 len, bool write, u64 val);
