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
bool iommu_add_unit(struct iommu_table *t, u64 regs, u16 segment, u8 flags);
bool iommu_add_region(struct iommu_table *t, u64 start, u64 end);
/*
 * Read what stands behind the header of a DMAR or IVRS of that name and length, signature and
 * checksum known to be right, into *out; read takes a structure of len bytes, which it has, 4 at
 * least. False, with a line, if one is cut off or refused, or there is no unit: *out is empty then.
 */
bool iommu_read_table(const char *name, const u8 *t, u32 len,
		      bool (*read)(const u8 *s, u32 len, struct iommu_table *out),
		      struct iommu_table *out);
