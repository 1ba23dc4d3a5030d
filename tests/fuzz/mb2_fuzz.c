/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fuzz target: arbitrary bytes as Multiboot2 information. `make fuzz` runs it under libFuzzer;
 * tests/unit/mb2_fuzz_test.c drives it with random mutations where there is none.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/mb2.h"
#include "boot/memmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool cond, const char *what)
{
	if (cond)
		return;
	printf("not ok - fuzz: %s\n", what);
	abort();
}

static void check_result(const struct boot_info *bi)
{
	require(bi->map.count && bi->map.count <= BOOT_MAX_REGIONS, "an accepted map has regions");
	require(memmap_max_ram_end(&bi->map), "an accepted map has RAM");
	for (u32 i = 0; i < bi->map.count; i++) {
		const struct mem_region *r = &bi->map.r[i];

		require(r->start < r->end && r->kind >= MEM_RAM && r->kind <= MEM_BAD,
			"regions are of a known kind and not empty");
		require(!i || r[-1].end < r->start ||
			    (r[-1].end == r->start && r[-1].kind != r->kind),
			"sorted, disjoint, merged");
	}
	require(bi->module_count <= ARRAY_SIZE(bi->module),
		"no more modules than there is room for");
	for (u32 i = 0; i < bi->module_count; i++) {
		require(bi->module[i].start <= bi->module[i].end,
			"modules do not end before they start");
		require(memchr(bi->module_cmdline[i], 0, sizeof(bi->module_cmdline[i])),
			"strings end");
	}
	require(memchr(bi->cmdline, 0, sizeof(bi->cmdline)) &&
		    memchr(bi->loader, 0, sizeof(bi->loader)),
		"strings end");
	require(bi->rsdp_len <= sizeof(bi->rsdp_copy), "the RSDP fits");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct boot_info bi;
	/*
	 * A block of its own of this very size, so that the sanitizer sees each byte read beyond
	 * it.
	 */
	uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	memset(&bi, 0, sizeof(bi));
	if (!mb2_parse(copy, (u32)size, &bi)) {
		check_result(&bi);
		bi.image_start = BIT(20);
		bi.image_end = 2 * BIT(20);
		if (!boot_plan(&bi)) {
			require(memmap_is(&bi.map, bi.low_page, bi.low_page + PAGE_SIZE, MEM_RAM),
				"the low page is RAM");
			require(memmap_is(&bi.map, bi.pool_start, bi.pool_end, MEM_RAM),
				"the pool is RAM");
			require(bi.pool_start >= bi.image_end || bi.pool_end <= bi.image_start,
				"the pool is clear of the image");
		}
	}
	free(copy);
	return 0;
}
