/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables walked as an IOMMU's hardware does it, written after the manuals and not after pt.c. */
#pragma once

#include "hv/mm/mm.h"

/* Where the hardware reads its tables */
#ifndef WALK_MEMORY
#define WALK_MEMORY(at) ((const u64 *)hpa_to_virt(hpa(at)))
#define WALK_SNOOP	0 /* bit 11 of a leaf is reserved */
#endif

/* Where addr leads, 0: nowhere, or the tables break a rule. */
static inline u64 walk_vtd(u64 root, u32 levels, u64 addr)
{
	for (u32 l = levels; l; l--) {
		u32 shift = 12 + 9 * (l - 1);
		u64 e = WALK_MEMORY(root)[addr >> shift & 511];

		if ((e & 3) != 3 || e & (0xfull << 3) || e >> 52 || (e & BIT(11) && !WALK_SNOOP))
			return 0;
		root = e & GENMASK(51, 12);
		if (l == 1 || e & BIT(7)) {
			if (root & GENMASK(shift - 1, 12) * (l > 1))
				return 0;
			return root | (addr & GENMASK(shift - 1, 0));
		}
	}
	return 0;
}

static inline u64 walk_amdvi(u64 root, u32 level, u64 addr)
{
	while (level) {
		u32 shift = 12 + 9 * (level - 1), next;
		u64 e = WALK_MEMORY(root)[addr >> shift & 511];

		next = e >> 9 & 7;
		if (!(e & 1) || (e >> 61 & 3) != 3 || e & GENMASK(58, 52) || next >= level)
			return 0;
		root = e & GENMASK(51, 12);
		if (!next)
			return root | (addr & GENMASK(shift - 1, 0));
		if (next != level - 1) /* levels may be skipped, but we skip none */
			return 0;
		level = next;
	}
	return 0;
}
