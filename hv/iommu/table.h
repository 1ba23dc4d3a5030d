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

	bool may_remap; /* the firmware lets interrupts be remapped */
	bool no_x2apic; /* VT-d: it asks Linux not to use ids of APICs that have 32 bits */

	/* AMD-Vi: the last device id named, and what each may raise beside common interrupts */
	u16 last_id;
	u16 rights[IOMMU_DEVICES]; /* flags of the IVHD's entries, IOMMU_x */
#define IOMMU_SPECIAL BIT(3) /* reserved among them: an IOAPIC or HPET interrupts by that id */
#define IOMMU_ACPI    BIT(8) /* a device that ACPI names, and PCI does not */
};

/*
 * Read a DMAR or IVRS of len bytes, signature and checksum known to be right, into *out. Pure;
 * nothing beyond is read. False, with a line, if something is cut off or cannot be true, or there
 * is no unit: *out is empty then. VT-d specification "BIOS Considerations", AMD IOMMU
 * specification "I/O Virtualization ACPI Table".
 */
bool dmar_parse(const u8 *t, u32 len, struct iommu_table *out);
bool ivrs_parse(const u8 *t, u32 len, struct iommu_table *out);
