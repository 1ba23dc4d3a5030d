/* SPDX-License-Identifier: GPL-2.0-only */
/* links: tests/fuzz/mb2_fuzz.c boot/mb2.c boot/memmap.c */
/*
 * Drives the fuzz target with repeatable mutations of a good list. Argument: the number of rounds.
 */
#include <stdlib.h>

#include "mb2_build.h"
#include "test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static u64 state = 0x9e3779b97f4a7c15ull;

static u64 rnd(u64 below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static void make_list(struct mb2_build *b)
{
	static const u32 efi[26] = {40, 1, 7, 0, 0x100000, 0, 0, 0, 0x40000, 0, 0xf};
	static const u64 interesting[] = {0,	    1,		0x1000,	    0xfffff,
					  0x100000, 0x40000000, 0xffffffff, BIT(32),
					  BIT(40),  ~0ull,	~0xfffull};
	struct mb2_mmap_entry map[300];
	u32 n = (u32)rnd(4) ? (u32)rnd(12) : (u32)rnd(ARRAY_SIZE(map));

	mb2_begin(b);
	if (rnd(3))
		mb2_default_mmap(b);
	for (u32 i = 0; i < n; i++) {
		map[i].addr =
		    rnd(2) ? interesting[rnd(ARRAY_SIZE(interesting))] : rnd(1 << 20) << rnd(24);
		map[i].len =
		    rnd(2) ? interesting[rnd(ARRAY_SIZE(interesting))] : rnd(1 << 20) << rnd(16);
		map[i].type = (u32)rnd(7);
	}
	mb2_mmap(b, 24 + 8 * (u32)rnd(3), map, n);
	mb2_tag(b, MB2_TAG_CMDLINE, "console=com1", 13);
	mb2_module(b, (u32)rnd(0xffffffff), 0xfffff000, "quiet");
	mb2_module(b, 0x1000000, 0x2000000, "");
	mb2_tag(b, MB2_TAG_EFI_MMAP, efi, sizeof(efi));
	mb2_tag(b, (u32)rnd(24), interesting, sizeof(interesting));
	mb2_end(b);
}

int main(int argc, char **argv)
{
	u32 rounds = argc > 1 ? (u32)atoi(argv[1]) : 100000;
	static struct mb2_build b;

	for (u32 i = 0; i < rounds; i++) {
		u32 size;

		make_list(&b);
		size = b.len;
		for (u64 flips = rnd(6); flips; flips--) {
			u64 at = rnd(size);

			if (rnd(2))
				b.buf[at] = (u8)rnd(256);
			else /* sizes and types are what hurts */
				memcpy(b.buf + ALIGN_DOWN(at, 4), &(u32){(u32)rnd(64)}, 4);
		}
		if (!rnd(8))
			size = (u32)rnd(size + 1);
		LLVMFuzzerTestOneInput(b.buf, size);
	}
	CHECK(true, "%u mutated Multiboot2 lists are parsed or refused", rounds);
	return test_end();
}
