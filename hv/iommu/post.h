/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices' interrupts that the IOMMU posts to a vCPU, past dom0. dom0's kernel writes entries in
 * posted format into the units it is shown, but no addresses: in their place it has a handle of the
 * vCPU's, which is good as long as the vCPU is there.
 *
 *   dom0's entry ──handle──> struct target, by the vCPU's id ──descriptor──> the unit's entry
 *
 * All calls are alone with the objects.
 */
#pragma once

#include "hv/lib/types.h"

/*
 * Boot, after iommu_init(): do the CPUs take posted interrupts? Then, if all units post, they are
 * shown to dom0 as such.
 */
void post_init(bool cpus);
/* This vCPU's handle, > 0, while its descriptor is there (64 bytes, aligned). -ENODEV: none posts.
 */
s64 post_begin(u32 id, u64 descriptor);
/* When this returns no unit posts to the descriptor any more, and what was on its way has come. */
void post_end(u32 id);
/* Both halves of an entry in posted format: where it posts to. 0: it is not to be had. */
u64 post_descriptor(u64 low, u64 high);

/*
 * VT-d specification "Interrupt Remapping Table Entry (IRTE) for Posted Interrupts": bits 31:6 of
 * the descriptor's address are in the lower half, 63:32 in the upper.
 */
#define IRQ_P	    BIT(0)
#define IRQ_URGENT  BIT(14)
#define IRQ_POSTED  BIT(15)
#define IRQ_VECTOR  GENMASK(23, 16)
#define IRQ_PD_LOW  GENMASK(63, 38)
#define IRQ_PD_HIGH GENMASK(63, 32)

static inline u64 irq_pd(u64 low, u64 high)
{
	return (low & IRQ_PD_LOW) >> 32 | (high & IRQ_PD_HIGH);
}
