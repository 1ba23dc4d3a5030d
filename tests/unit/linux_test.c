/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/initrd.c boot/linux.c boot/memmap.c */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot/initrd.h"
#include "boot/linux.h"
#include "linux_build.h"
#include "microcode_build.h"
#include "test.h"

#define MIB BIT(20)
#define GIB BIT(30)

static struct linux_kernel k;
static struct linux_plan plan;
static struct boot_info bi;
static u8 head[LINUX_HEAD_SIZE];

static bool says(const char *why, const char *word)
{
	return why && strstr(why, word) && strchr(why, ';');
}

/* ---- parsing ---- */

static void bz(void)
{
	make_bzimage(head, 8 * MIB, 16 * MIB, 40 * MIB, true);
}

static void test_bzimage(void)
{
	bz();
	CHECK(!linux_parse(head, sizeof(head), 8 * MIB, &k) && !k.elf && k.load == 16 * MIB &&
		  k.size == 40 * MIB && k.relocatable && k.align == 2 * MIB && k.entry == 0x200 &&
		  k.initrd_end == 2 * GIB && k.cmdline_max == 2047,
	      "a bzImage's header is read");
	CHECK(k.segment_count == 1 && k.segment[0].offset == BZ_SETUP_BYTES &&
		  k.segment[0].file_size == 8 * MIB - BZ_SETUP_BYTES,
	      "its body follows the setup code");
	head[0x1f1] = 0;
	le(head + 0x1f4, 1000, 4);
	CHECK(!linux_parse(head, sizeof(head), 8 * MIB, &k) && k.segment[0].offset == 5 * 512,
	      "0 setup sectors mean 4");
	bz();
	le(head + 0x206, 0x20b, 2);
	CHECK(says(linux_parse(head, sizeof(head), 8 * MIB, &k), "64-bit"),
	      "protocol 2.11 is refused");
	bz();
	head[0x236] &= 0xfe;
	CHECK(says(linux_parse(head, sizeof(head), 8 * MIB, &k), "64-bit"),
	      "a 32-bit kernel is refused");
	bz();
	CHECK(says(linux_parse(head, sizeof(head), 7 * MIB, &k), "cut off"),
	      "a kernel cut off is refused");
	CHECK(says(linux_parse(head, 1024, 1024, &k), "cut off"), "even within its setup code");
	CHECK(says(linux_parse(head, 0x280, 0x280, &k), "not a Linux kernel"), "or its header");
	bz();
	head[0x201] = 0x90;
	CHECK(says(linux_parse(head, sizeof(head), 8 * MIB, &k), "damaged"),
	      "a header that is too long is refused");
	head[0x201] = 0x10;
	CHECK(says(linux_parse(head, sizeof(head), 8 * MIB, &k), "damaged"),
	      "a header that is too short is refused");
	bz();
	le(head + 0x230, 0x300000, 4);
	CHECK(says(linux_parse(head, sizeof(head), 8 * MIB, &k), "damaged"),
	      "an alignment that is no power of two is refused");
	memset(head, 'A', sizeof(head));
	CHECK(says(linux_parse(head, sizeof(head), 8 * MIB, &k), "not a Linux kernel"),
	      "text is refused");
	CHECK(linux_parse(head, 0, 0, &k), "nothing is refused");
}

static const struct elf_part parts[] = {
    {0x200000, 0xffffffff81000000, 16 * MIB, 5 * MIB, 5 * MIB},
    {0x800000, 0xffffffff82000000, 32 * MIB, MIB, MIB},
    {0, 0, 0, 0, 0}, /* a note */
    {0xa00000, 0, 33 * MIB, 0x1000, 0x2000},
    {0xb00000, 0xffffffff82200000, 34 * MIB, MIB, 6 * MIB},
};

static void test_elf(void)
{
	struct elf_part bad[5];

	make_elf(head, 16 * MIB + 0x80, parts, 5);
	CHECK(!linux_parse(head, sizeof(head), 0xc00000, &k) && k.elf && k.load == 16 * MIB &&
		  k.size == 24 * MIB && !k.relocatable && k.entry == 0x80 && k.segment_count == 4,
	      "an ELF kernel's segments are read");
	CHECK(k.segment[3].dest == 18 * MIB && k.segment[3].mem_size == 6 * MIB &&
		  k.segment[3].file_size == MIB,
	      "their places are relative to the first");
	CHECK(k.setup.magic == 0x53726448 && k.setup.boot_flag == 0xaa55 &&
		  k.setup.version >> 8 == 2,
	      "a setup header is made up");
	make_elf(head, 0xffffffff81000080, parts, 5);
	CHECK(!linux_parse(head, sizeof(head), 0xc00000, &k) && k.entry == 0x80,
	      "a virtual entry point is converted");
	make_elf(head, 0xffffffff91000080, parts, 5);
	CHECK(says(linux_parse(head, sizeof(head), 0xc00000, &k), "entry"),
	      "an entry point outside is refused");
	make_elf(head, 16 * MIB, parts, 5);
	CHECK(says(linux_parse(head, sizeof(head), 0xbfffff, &k), "cut off"),
	      "an ELF kernel cut off is refused");
	head[18] = 3;
	CHECK(says(linux_parse(head, sizeof(head), 0xc00000, &k), "not an x86-64"),
	      "another machine's is refused");
	make_elf(head, 16 * MIB, parts, 0);
	CHECK(linux_parse(head, sizeof(head), 0xc00000, &k), "one without segments is refused");
	make_elf(head, 16 * MIB, parts, 5);
	le(head + 56, 0xffff, 2);
	CHECK(says(linux_parse(head, sizeof(head), 0xc00000, &k), "damaged"),
	      "program headers beyond the file's start are refused");
	le(head + 56, 5, 2);
	le(head + 32, ~0ull - 8, 8);
	CHECK(says(linux_parse(head, sizeof(head), 0xc00000, &k), "damaged"),
	      "a wild header offset is refused");
	memcpy(bad, parts, sizeof(bad));
	bad[1].paddr = ~0ull - 0x1000;
	make_elf(head, 16 * MIB, bad, 5);
	CHECK(says(linux_parse(head, sizeof(head), 0xc00000, &k), "damaged"),
	      "a wild address is refused");
	memcpy(bad, parts, sizeof(bad));
	bad[1].offset = ~0ull - 0x1000;
	make_elf(head, 16 * MIB, bad, 5);
	CHECK(linux_parse(head, sizeof(head), 0xc00000, &k), "a wild offset is refused");
	memcpy(bad, parts, sizeof(bad));
	bad[1].file_size = 2 * MIB;
	make_elf(head, 16 * MIB, bad, 5);
	CHECK(says(linux_parse(head, sizeof(head), 0xc00000, &k), "damaged"),
	      "more bytes in the file than in memory are refused");
}

static void test_random_heads(void)
{
	u32 good = 0;

	srand(4);
	for (u32 i = 0; i < 100000; i++) {
		u64 size = 0xc00000;
		u8 *copy;

		if (i % 2)
			bz();
		else
			make_elf(head, 16 * MIB, parts, 5);
		for (u32 flips = 1 + (u32)rand() % 4; flips; flips--)
			head[i % 2 ? 0x1f0 + rand() % 0xa0 : rand() % 400] =
			    (u8)(rand() % 2 ? rand() : 0xff * (rand() % 2));
		if (rand() % 8 == 0)
			size = (u64)rand() % 5000;
		copy = malloc(MIN(size, sizeof(head)) + 1);
		memcpy(copy, head, MIN(size, sizeof(head)));
		if (!linux_parse(copy, (u32)MIN(size, sizeof(head)), size, &k)) {
			good++;
			for (u32 s = 0; s < k.segment_count; s++) {
				const struct linux_segment *g = &k.segment[s];

				CHECK_QUIET(g->offset <= size && g->file_size <= size - g->offset,
					    "segments lie in the file");
				CHECK_QUIET(g->file_size <= g->mem_size && g->dest <= k.size &&
						g->mem_size <= k.size - g->dest,
					    "and in the memory asked for");
			}
			CHECK_QUIET(k.load < BIT(32) && k.size <= BIT(32) && k.entry <= k.size,
				    "what is accepted is sane");
		}
		free(copy);
	}
	CHECK(good > 1000, "%u damaged headers were accepted, and sane", good);
}

/* ---- initrd ---- */

static u8 initrd[4096];

static void read_initrd(u64 addr, void *buf, u32 len)
{
	CHECK_QUIET(addr <= sizeof(initrd) && len <= sizeof(initrd) - addr, "reads stay inside");
	memcpy(buf, initrd + addr, len);
}

static const char *check(u64 size)
{
	return initrd_check(0, size, read_initrd);
}

static u32 add_file(u32 at, const char *name, u32 size)
{
	u8 data[400];

	memset(data, 'd', sizeof(data));
	return add_cpio(initrd, at, name, data, size);
}

static struct initrd_file find(const char *name, u64 size)
{
	return initrd_find(0, size, name, read_initrd);
}

static void test_initrd(void)
{
	static const char *const magics[] = {"\037\213\010", "BZh9",	   "\3757zXZ",
					     "\211LZO",	     "\002!L\030", "\050\265\057\375",
					     "\135"};
	u32 end, body, second;

	for (u32 i = 0; i < ARRAY_SIZE(magics); i++) {
		memset(initrd, 0, sizeof(initrd));
		memcpy(initrd, magics[i], strlen(magics[i]));
		CHECK_QUIET(!check(100), "compressed format %u is known", i);
	}
	CHECK(says(check(0), "empty"), "an empty initrd is refused");
	memcpy(initrd, "hello, I am a web page", 22);
	CHECK(says(check(22), "not an initrd"), "another file is refused");
	CHECK(says(check(3), "not an initrd"), "a scrap is refused");

	memset(initrd, 0, sizeof(initrd));
	body = add_file(0, "init", 100);
	second = add_file(body, "bin/sh", 301);
	end = add_file(second, "TRAILER!!!", 0);
	CHECK(!check(end) && !check(1024), "a cpio archive is fine, with padding too");
	/* Where one file ends and the next begins nothing is missing that could be seen. */
	for (u32 size = 1; size < end; size++)
		CHECK_QUIET(
		    !check(size) ==
			(size == body || (size > second - 4 && size <= second) || size > end - 4),
		    "an archive cut to %u bytes", size);
	CHECK(says(check(body + 20), "damaged") && says(check(body - 50), "cut off"),
	      "an archive cut off is refused");
	CHECK(find("bin/sh", 1024).at == second - 304 && find("bin/sh", 1024).size == 301 &&
		  find("init", 1024).size == 100,
	      "files are found in it");
	CHECK(!find("bin/s", 1024).at && !find("bin/sha", 1024).at &&
		  !find("bin/sh", second - 8).at,
	      "but not by a part of their name, nor one that is cut off");
	memcpy(initrd + 1024, "\037\213\010", 3);
	CHECK(!check(2048), "microcode in front of a compressed archive is fine");
	memcpy(initrd + 1024, "rubbish", 7);
	CHECK(says(check(2048), "damaged"), "rubbish after an archive is refused");
	initrd[54] = 'x';
	CHECK(says(check(end), "damaged"), "a damaged header is refused");
	memset(initrd + 54, 'f', 8);
	CHECK(says(check(end), "cut off"), "a wild size is refused");
}

/* ---- placing ---- */

static void machine(u64 ram)
{
	memset(&bi, 0, sizeof(bi));
	memmap_add(&bi.map, 0, 0x9fc00, MEM_RAM);
	memmap_add(&bi.map, 0x9fc00, 0xa0000, MEM_RESERVED);
	memmap_add(&bi.map, MIB, ram, MEM_RAM);
	bi.image_start = MIB;
	bi.image_end = 2 * MIB;
	bi.low_page = 0x8000;
	bi.pool_start = ram - 32 * MIB;
	bi.pool_end = ram;
	bi.rsdp_len = 36;
	bi.module_count = 2;
	bi.module[0].start = 0x242000;
	bi.module[0].end = bi.module[0].start + 8 * MIB;
	bi.module[1].start = 0xb00000;
	bi.module[1].end = 0x2000800;
	bz();
	linux_parse(head, sizeof(head), 8 * MIB, &k);
}

static void test_plan(void)
{
	machine(512 * MIB);
	CHECK(!linux_plan(&bi, &k, &plan) && plan.load == 16 * MIB && plan.kernel_from == 0x242000,
	      "the kernel goes where it prefers");
	CHECK(plan.initrd >= 56 * MIB && plan.initrd + plan.initrd_size <= bi.pool_start &&
		  plan.initrd_size == 0x2000800 - 0xb00000,
	      "the initrd makes room");
	CHECK(plan.block >= 0x10000 && plan.block + LINUX_BLOCK_SIZE <= 0x80000 &&
		  plan.rsdp == 0x10000,
	      "boot data lies in low memory");
	CHECK(memmap_is(&plan.map, MIB, 2 * MIB, MEM_RESERVED) &&
		  memmap_is(&plan.map, bi.pool_start, bi.pool_end, MEM_RESERVED) &&
		  memmap_is(&plan.map, 0x8000, 0x9000, MEM_RESERVED) &&
		  memmap_is(&plan.map, 0x10000, 0x11000, MEM_RESERVED),
	      "dom0's map has image, pool, low page and RSDP reserved");
	machine(512 * MIB);
	bi.module[1].start = 100 * MIB;
	bi.module[1].end = 120 * MIB + 5;
	CHECK(!linux_plan(&bi, &k, &plan) && plan.initrd == 100 * MIB,
	      "an initrd that is not in the way stays");
	bi.module_count = 1;
	CHECK(!linux_plan(&bi, &k, &plan) && !plan.initrd && !plan.initrd_size,
	      "there may be no initrd");
	bi.rsdp_len = 0;
	CHECK(!linux_plan(&bi, &k, &plan) && !plan.rsdp, "nor an RSDP");

	machine(512 * MIB);
	memmap_set(&bi.map, 20 * MIB, 21 * MIB, MEM_NVS);
	CHECK(!linux_plan(&bi, &k, &plan) && plan.load >= 21 * MIB &&
		  IS_ALIGNED(plan.load, 2 * MIB),
	      "a relocatable kernel gives way");
	k.relocatable = false;
	CHECK(says(linux_plan(&bi, &k, &plan), "not free"),
	      "one that is not relocatable is refused");
	k.elf = true;
	CHECK(says(linux_plan(&bi, &k, &plan), "vmlinuz"), "so is an ELF kernel");

	machine(512 * MIB);
	bi.opt.dom0_mem = 128 * MIB;
	CHECK(!linux_plan(&bi, &k, &plan) && memmap_bytes(&plan.map, MEM_RAM) <= 128 * MIB &&
		  memmap_bytes(&plan.map, MEM_RAM) > 127 * MIB,
	      "dom0_mem= limits its RAM");
	CHECK(memmap_is(&plan.map, 200 * MIB, 300 * MIB, MEM_RESERVED) &&
		  plan.initrd + plan.initrd_size <= 130 * MIB,
	      "the rest is reserved and not used");
	bi.opt.dom0_mem = 40 * MIB;
	CHECK(says(linux_plan(&bi, &k, &plan), "dom0_mem="), "too small a dom0_mem= is refused");
	machine(512 * MIB);
	bi.opt.dom0_mem = 60 * MIB;
	CHECK(says(linux_plan(&bi, &k, &plan), "initrd"), "no room for the initrd is told");
	machine(90 * MIB);
	bi.pool_start = 50 * MIB;
	CHECK(says(linux_plan(&bi, &k, &plan), "memory"), "not enough memory is told");
}

/* ---- boot_params ---- */

static u8 block[LINUX_BLOCK_SIZE];

static u64 word(u32 at, u32 bytes)
{
	u64 v = 0;

	memcpy(&v, block + at, bytes);
	return v;
}

/* What the tables in the block translate a linear address to; ~0 if to nothing. */
static u64 walk(u64 va)
{
	u64 e = plan.block + LINUX_BLOCK_PML4;

	for (u32 level = 3; level >= 1; level--) {
		u64 at = (e & GENMASK(51, 12)) + (va >> (12 + 9 * level) & 511) * 8;

		if (at < plan.block || at >= plan.block + sizeof(block))
			return ~0ull;
		memcpy(&e, block + (at - plan.block), 8);
		if (!(e & 1) || !(e & 2))
			return ~0ull;
		if (level == 1)
			return e & BIT(7) ? (e & GENMASK(51, 21)) + (va & (2 * MIB - 1)) : ~0ull;
	}
	return ~0ull;
}

/* Memory of EFI's boot services, as Linux keeps it until it has called SetVirtualAddressMap() */
static void test_calm(void)
{
	u64 high = 64 * MIB;

	machine(512 * MIB);
	bi.module[1].start++; /* has to be moved */
	bi.calm = bi.map;
	bi.map.calm = &bi.calm;
	memmap_set(&bi.calm, 0x10000, 0x30000, MEM_RESERVED);
	memmap_set(&bi.calm, 20 * MIB, high, MEM_RESERVED);
	memmap_set(&bi.calm, 400 * MIB, 512 * MIB, MEM_RESERVED);
	CHECK(!linux_plan(&bi, &k, &plan) && plan.load == high && plan.rsdp == 0x30000 &&
		  plan.block >= 0x30000 && plan.initrd + plan.initrd_size <= 400 * MIB &&
		  plan.initrd >= high + k.size,
	      "kernel, initrd and boot data are clear of what the firmware may still use");
	CHECK(memmap_is(&plan.map, 2 * MIB, bi.pool_start, MEM_RAM), "which is dom0's RAM");
	k.relocatable = false;
	CHECK(!linux_plan(&bi, &k, &plan) && plan.load == 16 * MIB,
	      "but a kernel that cannot be moved is where it has to be");
	k.relocatable = true;
	memmap_set(&bi.calm, MIB, 512 * MIB, MEM_RESERVED);
	CHECK(!linux_plan(&bi, &k, &plan) && plan.load == 34 * MIB,
	      "and one for which there is no other place");
}

static void test_block(void)
{
	u64 sum = 0;

	machine(512 * MIB);
	strcpy(bi.module_cmdline[0], "root=/dev/vda1 quiet");
	linux_plan(&bi, &k, &plan);
	linux_build(&bi, &k, &plan, block);
	CHECK(word(0x202, 4) == 0x53726448 && block[0x210] == 0xff && block[0x211] == 1 &&
		  word(0x250, 8) == 0 && word(0x258, 8) == 16 * MIB && !block[0x1ef],
	      "the setup header is copied, loader's fields are set");
	CHECK(word(0x218, 4) == plan.initrd && word(0x21c, 4) == plan.initrd_size &&
		  word(0x70, 8) == plan.rsdp && word(0x214, 4) == plan.load,
	      "initrd, RSDP, load address");
	CHECK(word(0x228, 4) == plan.block + LINUX_BLOCK_CMDLINE &&
		  !strcmp((char *)block + LINUX_BLOCK_CMDLINE,
			  "processor.max_cstate=1 tsc=nowatchdog root=/dev/vda1 quiet"),
	      "command line, after words that keep dom0 from sleeping by I/O ports, and from "
	      "watching "
	      "its TSC");
	CHECK(block[0x1e8] == plan.map.count, "e820 has all ranges");
	for (u32 i = 0; i < block[0x1e8]; i++)
		if (word(0x2d0 + i * 20 + 16, 4) == MEM_RAM)
			sum += word(0x2d0 + i * 20 + 8, 8);
	CHECK(sum == memmap_bytes(&plan.map, MEM_RAM), "with their kinds and sizes");
	CHECK(walk(0) == 0 && walk(16 * MIB + 5) == 16 * MIB + 5 &&
		  walk(0xffffffff) == 0xffffffff && walk(BIT(32)) == ~0ull,
	      "the tables map the first 4 GiB to themselves");
	CHECK(word(LINUX_BLOCK_GDT + 0x10, 8) == 0x00af9b000000ffff &&
		  word(LINUX_BLOCK_GDT + 0x18, 8) == 0x00cf93000000ffff,
	      "GDT");
	CHECK(block[0x0f] == 1 && block[0x06] == 3 && block[0x07] == 80 && block[0x0e] == 25,
	      "without a framebuffer: VGA text");

	k.cmdline_max = 4;
	linux_build(&bi, &k, &plan, block);
	CHECK(!strcmp((char *)block + LINUX_BLOCK_CMDLINE, "root"),
	      "a command line too long for the kernel is cut");
	k.cmdline_max = 30;
	linux_build(&bi, &k, &plan, block);
	CHECK(!strcmp((char *)block + LINUX_BLOCK_CMDLINE, "root=/dev/vda1 quiet"),
	      "where there is no room for our word the user's are whole");
	bi.fb = (struct boot_framebuffer){.present = true,
					  .addr = 0x1c0000000,
					  .pitch = 4096,
					  .width = 1024,
					  .height = 768,
					  .bpp = 32,
					  .colour = {{16, 8}}};
	bi.efi = true;
	linux_build(&bi, &k, &plan, block);
	CHECK(block[0x0f] == 0x70 && word(0x18, 4) == 0xc0000000 && word(0x3a, 4) == 1 &&
		  word(0x36, 4) == 2 && word(0x1c, 4) == 4096 * 768 && word(0x24, 2) == 4096 &&
		  word(0x12, 2) == 1024 && block[0x26] == 8 && block[0x27] == 16,
	      "an EFI framebuffer, beyond 4 GiB");
	CHECK(!word(0x1c0, 8), "without runtime services nothing is told of EFI");
	bi.efi_runtime = (struct boot_efi){
	    .system_table = 0x123456789, .version = 1, .count = 2, .desc[1].phys = 0xabc};
	linux_build(&bi, &k, &plan, block);
	CHECK(word(0x1c0, 4) == 0x34364c45 && word(0x1c4, 4) == 0x23456789 && word(0x1d8, 4) == 1 &&
		  word(0x1c8, 4) == 40 && word(0x1cc, 4) == 1 &&
		  word(0x1d0, 4) == plan.block + LINUX_BLOCK_EFI && word(0x1d4, 4) == 80 &&
		  word(LINUX_BLOCK_EFI + 40 + 8, 8) == 0xabc,
	      "system table and map of EFI's runtime services");
	bi.efi_runtime.count = 0;
	bi.efi = false;
	linux_build(&bi, &k, &plan, block);
	CHECK(block[0x0f] == 0x23 && word(0x1c, 4) == 48, "a VESA framebuffer counts in 64 KiB");
}

static void test_bad_plans(void)
{
	struct linux_plan bad = plan;

	bad.block = plan.load + MIB;
	CHECK(PANICS(linux_build(&bi, &k, &bad, block)), "the block does not lie in the kernel");
	bad.block = plan.initrd - PAGE_SIZE;
	CHECK(PANICS(linux_build(&bi, &k, &bad, block)), "nor in the initrd");
	bad.block = 0;
	CHECK(PANICS(linux_build(&bi, &k, &bad, block)), "nor nowhere");
}

static void test_many_ranges(void)
{
	u64 next;

	machine(512 * MIB);
	for (u32 i = 0; i < 100; i++)
		memmap_set(&bi.map, 200 * MIB + i * MIB, 200 * MIB + i * MIB + 0x1000, MEM_NVS);
	CHECK(!linux_plan(&bi, &k, &plan) && plan.map.count > 200, "a long map");
	linux_build(&bi, &k, &plan, block);
	next = word(0x250, 8) - plan.block;
	CHECK(block[0x1e8] == 128 && next == LINUX_BLOCK_E820 && word((u32)next, 8) == 0 &&
		  word((u32)next + 8, 4) == 1 &&
		  word((u32)next + 12, 4) == (plan.map.count - 128) * 20,
	      "what does not fit boot_params goes into a setup_data node");
	CHECK(word((u32)next + 16, 8) == plan.map.r[128].start &&
		  word((u32)next + 16 + 20 * (plan.map.count - 129) + 16, 4) ==
		      plan.map.r[plan.map.count - 1].kind,
	      "without a gap");
}

int main(void)
{
	test_bzimage();
	test_elf();
	test_random_heads();
	test_initrd();
	test_plan();
	test_calm();
	test_block();
	test_bad_plans();
	test_many_ranges();
	return test_end();
}
