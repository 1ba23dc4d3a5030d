/* SPDX-License-Identifier: GPL-2.0-only */
/* What the firmware's MTRRs say of memory: made the same on all CPUs, and nobody changes them. */
#pragma once

#include "boot/boot.h"

#define MTRR_RANGES 32u /* as many as there are numbers for */

enum mtrr_type { MTRR_OTHER, MTRR_WB, MTRR_MIXED };

extern struct mtrrs {
	u32 count;
	bool wb; /* what is in no range is write-back */
	u64 top; /* so is what is from 4 GiB up to here, in bytes (APM "Extended MTRRs") */
	struct {
		u64 base, mask; /* bytes; 0 in what an address may have any value of */
		u32 type;
	} range[MTRR_RANGES];
} mtrrs;

/* On the boot CPU, once, with phys_bits set. */
void mtrr_init(void);
/*
 * Firmwares leave RAM out of what is write-back, at the top of it mostly. Who uses it is slow, and
 * not woken by stores to it: make it reserved, as Linux does. If `ours` (bytes) is left out as well
 * the MTRRs say nothing, as in some virtual machines.
 */
void mtrr_trim(struct mem_map *m, u64 ours);
/*
 * Keep what the boot CPU has now, before others start and before a sleep, in which CPUs may lose
 * them; and, on each CPU behind it, interrupts off, CR4.PGE clear, make it so again: did it have
 * others? Without the former the latter does nothing.
 */
void mtrr_save(void);
bool mtrr_restore(void);
/*
 * Of an aligned block of 2^order pages: is all of it write-back (SDM "Memory Cache Control", "MTRR
 * Precedences")? What lies below 1 MiB counts as other; MTRR_MIXED: ask for smaller blocks.
 */
enum mtrr_type mtrr_of(u64 pfn, u32 order);
