/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary bytes as Multiboot2 information.
 * links: boot/mb2.c boot/memmap.c
 */
#include "fuzz.h"

#include "boot/mb2.h"
#include "boot/memmap.h"
#include "tests/unit/mb2_build.h"

const char fuzz_what[] = "Multiboot2 lists are parsed or refused";
const u32 fuzz_rounds = 100000;

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
	uint8_t *copy = fuzz_copy(data, size);

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

static void make_list(struct mb2_build *b)
{
	static const u32 efi[26] = {40, 1, 7, 0, 0x100000, 0, 0, 0, 0x40000, 0, 0xf};
	static const u64 interesting[] = {0,	    1,		0x1000,	    0xfffff,
					  0x100000, 0x40000000, 0xffffffff, BIT(32),
					  BIT(40),  ~0ull,	~0xfffull};
	struct mb2_mmap_entry map[300];
	u32 n = (u32)fuzz_random(4) ? (u32)fuzz_random(12) : (u32)fuzz_random(ARRAY_SIZE(map));

	mb2_begin(b);
	if (fuzz_random(3))
		mb2_default_mmap(b);
	for (u32 i = 0; i < n; i++) {
		map[i].addr = fuzz_random(2) ? interesting[fuzz_random(ARRAY_SIZE(interesting))]
					     : fuzz_random(1 << 20) << fuzz_random(24);
		map[i].len = fuzz_random(2) ? interesting[fuzz_random(ARRAY_SIZE(interesting))]
					    : fuzz_random(1 << 20) << fuzz_random(16);
		map[i].type = (u32)fuzz_random(7);
	}
	mb2_mmap(b, 24 + 8 * (u32)fuzz_random(3), map, n);
	mb2_tag(b, MB2_TAG_CMDLINE, "console=com1", 13);
	mb2_module(b, (u32)fuzz_random(0xffffffff), 0xfffff000, "quiet");
	mb2_module(b, 0x1000000, 0x2000000, "");
	mb2_tag(b, MB2_TAG_EFI_MMAP, efi, sizeof(efi));
	mb2_tag(b, (u32)fuzz_random(24), interesting, sizeof(interesting));
	mb2_end(b);
}

size_t fuzz_make(u8 *to)
{
	static struct mb2_build b;

	make_list(&b);
	memcpy(to, b.buf, b.len);
	return b.len;
}
