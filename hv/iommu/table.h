/* SPDX-License-Identifier: GPL-2.0-only */
/* What the firmware's table of IOMMUs says, whichever it is. */
#pragma once

#include "boot/boot.h"

#define IOMMU_MAX_UNITS	  128 /* eight sockets with a dozen each */
#define IOMMU_MAX_REGIONS 64
#define IOMMU_DEVICES	  BIT(16) /* ids that there can be: bus << 8 | device << 3 | function */
#define IOMMU_MAX_REGION  BIT(32) /* bytes: more than any firmware needs for its devices */

struct iommu_table {
	u32 unit_count, region_count;
	struct iommu_place {
		u64 regs; /* physical address of its registers */
		u16 segment;
		u8 flags; /* AMD-Vi: of the IVHD */
	} unit[IOMMU_MAX_UNITS];
	/* memory that devices go on reaching, since firmware uses it with them: RMRR, IVMD */
	struct mem_range region[IOMMU_MAX_REGIONS];

	bool may_remap; /* VT-d: the firmware lets interrupts be remapped */

	/* AMD-Vi: the last device id named, and what each may raise beside common interrupts */
	u16 last_id;
	u8 rights[IOMMU_DEVICES]; /* flags of the IVHD's entries */
};

/*
 * Add a unit, unless one with these registers is there, or a region, end exclusive, with all its
 * pages. False: there is no room, or its place cannot be true.
 */
static inline bool iommu_add_unit(struct iommu_table *t, u64 regs, u16 segment, u8 flags)
{
	for (u32 i = 0; i < t->unit_count; i++)
		if (t->unit[i].regs == regs)
			return true;
	if (!regs || regs % PAGE_SIZE || regs >> 52 || t->unit_count == IOMMU_MAX_UNITS)
		return false;
	t->unit[t->unit_count++] = (struct iommu_place){regs, segment, flags};
	return true;
}

static inline bool iommu_add_region(struct iommu_table *t, u64 start, u64 end)
{
	start = ALIGN_DOWN(start, PAGE_SIZE);
	end = ALIGN_UP(end, PAGE_SIZE);
	if (end <= start || end >> 52 || end - start > IOMMU_MAX_REGION ||
	    t->region_count == IOMMU_MAX_REGIONS)
		return false;
	t->region[t->region_count++] = (struct mem_range){start, end};
	return true;
}
