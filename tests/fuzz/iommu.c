/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary bytes as DMAR and as IVRS.
 * links: hv/iommu/table.c
 */
#include "fuzz.h"

#include "hv/iommu/table.h"
#include "tests/unit/iommu_tables.h"

const char fuzz_what[] = "DMAR and IVRS are read or refused";
const u32 fuzz_rounds = 100000;

static const u8 none[IOMMU_DEVICES];

static void check_result(const struct iommu_table *t, bool accepted)
{
	require(accepted == !!t->unit_count, "a table is accepted if and only if it has units");
	require(t->unit_count <= IOMMU_MAX_UNITS && t->region_count <= IOMMU_MAX_REGIONS,
		"no more than there is room for");
	for (u32 i = 0; i < t->unit_count; i++) {
		u64 at = t->unit[i].regs;

		require(at && at % PAGE_SIZE == 0 && at < BIT(52), "registers lie in pages");
		for (u32 k = 0; k < i; k++)
			require(t->unit[k].regs != at, "each unit is there once");
	}
	for (u32 i = 0; i < t->region_count; i++)
		require(t->region[i].start < t->region[i].end && t->region[i].end <= BIT(52) &&
			    t->region[i].end - t->region[i].start <= IOMMU_MAX_REGION &&
			    (t->region[i].start | t->region[i].end) % PAGE_SIZE == 0,
			"regions are pages, and not too many");
	require(t->last_id == IOMMU_DEVICES - 1 ||
		    !memcmp(t->rights + t->last_id + 1, none, IOMMU_DEVICES - 1 - t->last_id),
		"what is allowed to devices is allowed to some that are named");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct iommu_table t;
	uint8_t *copy = fuzz_copy(data, size);

	memset(&t, 0xff, sizeof(t));
	check_result(&t, dmar_parse(copy, (u32)size, &t));
	memset(&t, 0xff, sizeof(t));
	check_result(&t, ivrs_parse(copy, (u32)size, &t));
	free(copy);
	return 0;
}

size_t fuzz_make(u8 *to)
{
	bool dmar = fuzz_random(2);
	u32 size = dmar ? sizeof(qemu_dmar) : sizeof(qemu_ivrs);

	memset(to, 0, 256);
	memcpy(to, dmar ? qemu_dmar : qemu_ivrs, size);
	return fuzz_random(4) ? size : 256;
}
