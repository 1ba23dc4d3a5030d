/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/table.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* DMAR and IVRS alike: where structures begin, and what each begins with. */
#define STRUCTURES	 48u
#define STRUCTURE_LENGTH 2u
#define STRUCTURE_HEAD	 4u

bool iommu_add_unit(struct iommu_table *t, u64 regs, u16 segment, u8 flags)
{
	for (u32 i = 0; i < t->unit_count; i++)
		if (t->unit[i].regs == regs)
			return true;
	if (!regs || regs % PAGE_SIZE || regs >> 52 || t->unit_count == IOMMU_MAX_UNITS)
		return false;
	t->unit[t->unit_count++] = (struct iommu_place){regs, segment, flags};
	return true;
}

bool iommu_add_region(struct iommu_table *t, u64 start, u64 end)
{
	start = ALIGN_DOWN(start, PAGE_SIZE);
	end = ALIGN_UP(end, PAGE_SIZE);
	if (end <= start || end >> 52 || end - start > IOMMU_MAX_REGION ||
	    t->region_count == IOMMU_MAX_REGIONS)
		return false;
	t->region[t->region_count++] = (struct mem_range){start, end};
	return true;
}

bool iommu_read_table(const char *name, const u8 *t, u32 len,
		      bool (*read)(const u8 *s, u32 len, struct iommu_table *out),
		      struct iommu_table *out)
{
	u32 at = STRUCTURES, size;

	*out = (struct iommu_table){0};
	for (; at < len; at += size) {
		if (len - at < STRUCTURE_HEAD)
			break;
		size = get_le(t + at + STRUCTURE_LENGTH, 2);
		if (size < STRUCTURE_HEAD || size > len - at || !read(t + at, size, out))
			break;
	}
	if (at == len && out->unit_count)
		return true;
	log_warn("ACPI %s: what stands at byte %u cannot be true, or is more than the %u units and "
		 "%u regions that there is room for",
		 name, at, IOMMU_MAX_UNITS, IOMMU_MAX_REGIONS);
	*out = (struct iommu_table){0};
	return false;
}
