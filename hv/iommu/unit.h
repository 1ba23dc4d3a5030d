/* SPDX-License-Identifier: GPL-2.0-only */
/* What both kinds of units have in common: registers that are waited for, a queue of commands. */
#pragma once

#include "hv/cpu/time.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/io.h"
#include "hv/lib/lock.h"

#define UNIT_TIMEOUT_NS 1000000000ull

/* Wait for the condition, a second at most; its last value. */
#define UNIT_WAIT(cond)                                                                            \
	({                                                                                         \
		u64 end_ = rdtsc() + ns_to_tsc(UNIT_TIMEOUT_NS);                                   \
		while (!(cond) && rdtsc() < end_)                                                  \
			cpu_relax();                                                               \
		cond;                                                                              \
	})

static inline u32 unit_read32(const struct iommu_unit *u, u32 reg)
{
	return mmio_read32(u->regs + reg);
}
static inline u64 unit_read64(const struct iommu_unit *u, u32 reg)
{
	return mmio_read64(u->regs + reg);
}
static inline void unit_write32(const struct iommu_unit *u, u32 reg, u32 val)
{
	mmio_write32(u->regs + reg, val);
}
static inline void unit_write64(const struct iommu_unit *u, u32 reg, u64 val)
{
	mmio_write64(u->regs + reg, val);
}

/* Both halves of an entry at once, as CPUs can that have the units with such ones. */
void unit_exchange(u64 *entry, u64 low, u64 high);
/* Not done: the boot, or later the machine, ends in a line that says what the unit does not do. */
void unit_must(const struct iommu_unit *u, bool done, const char *what);
/* Pages of zeros for the unit, 2^order, which it must have. While we boot. */
void *unit_alloc(const struct iommu_unit *u, u32 order);
/* These entries of its are in memory on return, where the unit does not look into caches. */
void unit_written(const struct iommu_unit *u, const void *entries, u64 len);
/* Make the queue, unless it is there, with nothing in it. */
void unit_make_queue(struct iommu_unit *u);
/* Put a command into the queue, on which the unit must be working; */
void unit_submit(struct iommu_unit *u, u64 lo, u64 hi);
/* and wait until it and all before are done, which must be so within a second. */
void unit_do(struct iommu_unit *u, u64 lo, u64 hi);
