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

/* Make the queue: a page with nothing in it. False: no memory. */
bool unit_make_queue(struct iommu_unit *u);
/*
 * Put a command into the queue; head and tail are the registers (64 bits) that count its bytes.
 * False: the unit has stopped working on it.
 */
bool unit_command(struct iommu_unit *u, u32 head, u32 tail, u64 lo, u64 hi);
/* unit_command() of one that writes *done when all before are done, and wait for that. */
bool unit_wait_done(struct iommu_unit *u, u32 head, u32 tail, u64 lo, u64 hi);
