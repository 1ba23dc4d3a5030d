/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0 must not put the machine to sleep by itself: it would wake up on the bare CPU, and the
 * hypervisor and all guests would be gone. Suspend to RAM is done for it (suspend.h), where the
 * machine has it. Its accesses to the ACPI registers that do it, as boot_info.acpi names
 * them, go through here; switching off passes, and so do resets by ports, once the consoles have
 * sent what they hold.
 */
#pragma once

#include "hv/lib/types.h"

/* Is this port part of such a register? */
bool sleep_owns(u16 port);
/*
 * dom0's accesses of 1, 2 or 4 bytes, of which at least one is owned. A refused write has SLP_EN
 * cleared and is told in a line.
 */
u32 sleep_in(u16 port, u8 size);
void sleep_out(u16 port, u8 size, u32 val);
/* To dom0, which waits for that, the machine has woken up, though it has not slept. */
void sleep_pretend_woken(void);
/* Has it? */
bool sleep_has_woken(void);
