/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/dmar.h"
#include "hv/lib/string.h"

/* VT-d specification "DMA Remapping Reporting Structure" and those behind it */
#define DMAR_FLAGS     37u
#define DMAR_MAY_REMAP BIT(0)
#define DMAR_TYPE      0u /* of each structure */
#define DMAR_SEGMENT   6u
#define DMAR_ADDRESS   8u /* DRHD: registers, RMRR: first byte */
#define RMRR_LAST      16u

enum { DMAR_DRHD, DMAR_RMRR };

/* Which devices are a unit's, or a region's, does not matter here: all are treated alike. */
static bool read_structure(const u8 *s, u32 len, struct iommu_table *out)
{
	static const u8 least[] = {[DMAR_DRHD] = 16, [DMAR_RMRR] = 24};
	u32 type = get_le(s + DMAR_TYPE, 2);

	if (type >= ARRAY_SIZE(least)) /* of no interest */
		return true;
	if (len < least[type])
		return false;
	if (type == DMAR_DRHD)
		return iommu_add_unit(out, get_le(s + DMAR_ADDRESS, 8), get_le(s + DMAR_SEGMENT, 2),
				      0);
	return iommu_add_region(out, get_le(s + DMAR_ADDRESS, 8), get_le(s + RMRR_LAST, 8) + 1);
}

bool dmar_parse(const u8 *t, u32 len, struct iommu_table *out)
{
	if (!iommu_read_table("DMAR", t, len, read_structure, out))
		return false;
	out->may_remap = t[DMAR_FLAGS] & DMAR_MAY_REMAP;
	return true;
}
