/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/memmap.c */
#include <stdlib.h>
#include <string.h>

#include "boot/memmap.h"
#include "test.h"

#define MIB   BIT(20)
#define TIB   (1024 * GIB)
#define GIB   BIT(30)
#define CELLS 300u

/* The map again, one byte for each page: 0 = nothing, else the kind. */
static u8 naive[CELLS];

static u32 naive_rank(u32 kind)
{
	static const u8 rank[] = {0, 1, 4, 2, 3, 5};

	return rank[kind];
}

static bool same(const struct mem_map *m)
{
	u32 i = 0;

	for (u32 c = 0; c < CELLS; c++) {
		u64 at = c * PAGE_SIZE;

		while (i < m->count && m->r[i].end <= at)
			i++;
		if (naive[c] != (i < m->count && m->r[i].start <= at ? m->r[i].kind : 0))
			return false;
	}
	for (i = 0; i < m->count; i++)
		if (m->r[i].start >= m->r[i].end ||
		    (i && (m->r[i - 1].end > m->r[i].start ||
			   (m->r[i - 1].end == m->r[i].start && m->r[i - 1].kind == m->r[i].kind))))
			return false;
	return true;
}

static void test_random_overlays(void)
{
	static struct mem_map m;
	bool good = true;

	srand(1);
	for (u32 round = 0; round < 2000 && good; round++) {
		m.count = 0;
		memset(naive, 0, sizeof(naive));
		for (u32 op = 0; op < 30; op++) {
			u32 a = (u32)rand() % CELLS, b = (u32)rand() % CELLS,
			    kind = 1 + (u32)rand() % 5;
			bool force = rand() % 4 == 0;

			good &= (force ? memmap_set : memmap_add)(&m, a * PAGE_SIZE, b * PAGE_SIZE,
								  kind) == 0;
			for (u32 c = a; c < b; c++)
				if (force || naive_rank(kind) > naive_rank(naive[c]))
					naive[c] = (u8)kind;
			good &= same(&m);
		}
	}
	CHECK(good, "the map equals a naive one under random overlays; it stays sorted, disjoint "
		    "and merged");
}

/* The answer by trying every place. */
static u64 naive_find(const struct mem_map *m, bool high, u64 size, u64 align, u64 lo, u64 hi,
		      const struct mem_range *avoid, u32 n)
{
	u64 found = 0;

	for (u64 at = ALIGN_UP(MAX(lo, PAGE_SIZE), align); at + size <= MIN(hi, CELLS * PAGE_SIZE);
	     at += align) {
		bool ok = memmap_is(m, at, at + size, MEM_RAM);

		for (u32 i = 0; i < n; i++)
			ok &= !(avoid[i].start < at + size && at < avoid[i].end);
		if (!ok)
			continue;
		found = at;
		if (!high)
			break;
	}
	return found;
}

static void test_random_finds(void)
{
	static struct mem_map m;
	struct mem_range avoid[4];
	bool good = true;
	u32 hits = 0;

	srand(2);
	for (u32 round = 0; round < 5000 && good; round++) {
		u64 size = (1 + (u64)rand() % 20) * PAGE_SIZE, align = PAGE_SIZE << rand() % 5;
		u64 lo = (u64)rand() % CELLS * PAGE_SIZE,
		    hi = rand() % 2 ? ~0ull : (u64)rand() % CELLS * PAGE_SIZE, at;

		m.count = 0;
		for (u32 i = 0; i < 6; i++)
			memmap_add(&m, (u64)rand() % CELLS * PAGE_SIZE,
				   (u64)rand() % CELLS * PAGE_SIZE, rand() % 4 ? MEM_RAM : MEM_NVS);
		for (u32 i = 0; i < 4; i++) {
			avoid[i].start = (u64)rand() % (CELLS * PAGE_SIZE);
			avoid[i].end = avoid[i].start + (u64)rand() % (20 * PAGE_SIZE);
		}
		at = memmap_find(&m, MEM_LOW, size, align, lo, hi, avoid, 4);
		good &= at == naive_find(&m, false, size, align, lo, hi, avoid, 4);
		hits += at != 0;
		good &= memmap_find(&m, MEM_HIGH, size, align, lo, hi, avoid, 4) ==
			naive_find(&m, true, size, align, lo, hi, avoid, 4);
	}
	CHECK(good && hits > 500,
	      "low and high places are those a search of all places finds (%u found)", hits);
}

static void test_edges(void)
{
	static struct mem_map m;

	CHECK(memmap_add(&m, 0x5000, 0x5000, MEM_RAM) == 0 && !m.count,
	      "an empty range is nothing");
	CHECK(memmap_add(&m, 0x5000, 0x1000, MEM_RAM) == 0 && !m.count,
	      "a negative range is nothing");
	CHECK(!memmap_max_ram_end(&m) && !memmap_find(&m, MEM_LOW, 1, 1, 0, ~0ull, NULL, 0),
	      "an empty map has no RAM");
	memmap_add(&m, 0, ~0ull, MEM_RAM);
	CHECK(memmap_find(&m, MEM_LOW, PAGE_SIZE, PAGE_SIZE, 0, ~0ull, NULL, 0) == PAGE_SIZE,
	      "page 0 is never given");
	CHECK(memmap_find(&m, MEM_HIGH, 2 * GIB, GIB, 0, ~0ull, NULL, 0) == ~0ull - 3 * GIB + 1,
	      "the end of the address space does not wrap");
	CHECK(!memmap_find(&m, MEM_LOW, ~0ull, PAGE_SIZE, 0, ~0ull, NULL, 0),
	      "too large a size is not found");
	memmap_set(&m, 0, ~0ull, MEM_RESERVED);
	for (u32 i = 0; i < BOOT_MAX_REGIONS / 2; i++)
		memmap_set(&m, GIB + i * 2 * MIB, GIB + i * 2 * MIB + MIB, MEM_RAM);
	CHECK(m.count == BOOT_MAX_REGIONS - 1 + 1 || m.count == BOOT_MAX_REGIONS - 1,
	      "the map is nearly full");
	while (m.count < BOOT_MAX_REGIONS && !memmap_set(&m, 4 * GIB, 4 * GIB + MIB, MEM_NVS))
		memmap_set(&m, 5 * GIB, 5 * GIB + MIB, MEM_NVS);
	CHECK(!memmap_set(&m, 9 * GIB, 9 * GIB + MIB, MEM_ACPI) && m.count <= BOOT_MAX_REGIONS &&
		  m.dropped && memmap_is(&m, 9 * GIB, 9 * GIB + MIB, MEM_ACPI),
	      "in a full map RAM makes room");
	memset(&m, 0, sizeof(m));
	for (u32 i = 0; i < BOOT_MAX_REGIONS; i++)
		memmap_set(&m, i * 2 * MIB, i * 2 * MIB + MIB, MEM_NVS);
	CHECK(memmap_add(&m, 9 * GIB, 9 * GIB + MIB, MEM_ACPI) == -ENOSPC &&
		  m.count == BOOT_MAX_REGIONS,
	      "without RAM it says so");
	CHECK(PANICS(memmap_add(&m, 0, MIB, 0)) && PANICS(memmap_set(&m, 0, MIB, MEM_BAD + 1)),
	      "there are no kinds but those");
	CHECK(PANICS(memmap_find(&m, MEM_LOW, 1, 0, 0, ~0ull, NULL, 0)) &&
		  PANICS(memmap_find(&m, MEM_HIGH, 1, 3, 0, ~0ull, NULL, 0)),
	      "nothing is placed at multiples of what is no power of two");
}

static struct boot_info bi;

static void machine(u64 ram, u64 image_end)
{
	memset(&bi, 0, sizeof(bi));
	memmap_add(&bi.map, 0, 0x9fc00, MEM_RAM);
	memmap_add(&bi.map, 0x9fc00, 0xa0000, MEM_RESERVED);
	memmap_add(&bi.map, 0xf0000, MIB, MEM_RESERVED);
	memmap_add(&bi.map, MIB, MIN(ram, 2 * GIB) - 128 * 1024, MEM_RAM);
	memmap_add(&bi.map, MIN(ram, 2 * GIB) - 128 * 1024, MIN(ram, 2 * GIB), MEM_ACPI);
	if (ram > 2 * GIB)
		memmap_add(&bi.map, 4 * GIB, 4 * GIB + ram - 2 * GIB, MEM_RAM);
	bi.image_start = MIB;
	bi.image_end = image_end;
	bi.reach = BOOT_REACH;
	bi.module_count = 2;
	bi.module[0].start = 0x242000;
	bi.module[0].end = bi.module[1].start = 0xfca000;
	bi.module[1].end = bi.module[1].start + 20 * MIB;
}

static bool pool_is_good(void)
{
	struct mem_range taken[] = {{bi.image_start, bi.image_end},
				    {bi.module[0].start, bi.module[0].end},
				    {bi.module[1].start, bi.module[1].end},
				    {bi.low_page, bi.low_page + PAGE_SIZE}};

	for (u32 i = 0; i < ARRAY_SIZE(taken); i++)
		if (bi.pool_start < taken[i].end && taken[i].start < bi.pool_end)
			return false;
	return memmap_is(&bi.map, bi.pool_start, bi.pool_end, MEM_RAM) &&
	       IS_ALIGNED(bi.pool_start, 2 * MIB) && bi.pool_end <= bi.reach &&
	       IS_ALIGNED(bi.pool_end, PAGE_SIZE) &&
	       memmap_is(&bi.map, bi.low_page, bi.low_page + PAGE_SIZE, MEM_RAM) &&
	       bi.low_page >= 0x1000 && bi.low_page < 0xa0000 && IS_ALIGNED(bi.low_page, PAGE_SIZE);
}

/* RAM that the firmware may still use, as EFI has it */
static void test_calm(void)
{
	machine(16 * GIB, 2 * MIB);
	CHECK(!boot_plan(&bi) && bi.pool_end == 18 * GIB && bi.low_page == 0x10000,
	      "the pool is at the top, the low page clear of what BIOSes write to in a sleep");
	bi.calm = bi.map;
	bi.map.calm = &bi.calm;
	memmap_set(&bi.calm, 12 * GIB, 18 * GIB, MEM_RESERVED);
	memmap_set(&bi.calm, 0, 0x20000, MEM_RESERVED);
	CHECK(!boot_plan(&bi) && pool_is_good() && bi.pool_end == 12 * GIB &&
		  bi.low_page == 0x20000,
	      "both leave alone what the firmware may still use");
	memmap_set(&bi.map, 8 * GIB, 12 * GIB, MEM_NVS);
	CHECK(!boot_plan(&bi) && bi.pool_end == 8 * GIB,
	      "what is set in the one map is in the other");
	memmap_set(&bi.calm, 0, 18 * GIB, MEM_RESERVED);
	CHECK(!boot_plan(&bi) && pool_is_good() && bi.pool_end == 18 * GIB &&
		  bi.low_page == 0x10000,
	      "if there is no other it is taken");
}

/* Big machines: RAM below 4 GiB of low_100 hundredths of a GiB, the rest in blocks with holes. */
static void big_machine(u64 low_100, u64 ram, u64 block, u64 hole)
{
	u64 low = ALIGN_DOWN(low_100 * GIB / 100, 2 * MIB), at = 4 * GIB;

	machine(64 * MIB, 2 * MIB);
	memset(&bi.map, 0, sizeof(bi.map));
	memmap_add(&bi.map, 0x1000, 0x9f000, MEM_RAM);
	memmap_add(&bi.map, MIB, low, MEM_RAM);
	for (u64 left = ram - low; left; at += hole) {
		u64 size = MIN(left, block);

		memmap_add(&bi.map, at, at + size, MEM_RAM);
		at += size;
		left -= size;
	}
}

static void test_big_machines(void)
{
	static const struct {
		const char *what;
		u64 low_100, ram, block, hole;
	} machines[] = {
	    {"an Intel server of 256 GiB", 165, 256 * GIB, ~0ull, 0},
	    {"an Intel server of 1 TiB", 165, TIB, 512 * GIB, 0},
	    {"an EPYC of 4 TiB in two nodes", 270, 4 * TIB, 2 * TIB, TIB},
	    {"8 nodes of 2 TiB, 4 TiB apart", 165, 16 * TIB, 2 * TIB, 2 * TIB},
	    {"a PC of 32 GiB with one GiB of CXL memory at 1 TiB", 200, 33 * GIB, 30 * GIB,
	     990 * GIB},
	};

	for (u32 i = 0; i < ARRAY_SIZE(machines); i++) {
		const char *why;
		u64 low;

		big_machine(machines[i].low_100, machines[i].ram, machines[i].block,
			    machines[i].hole);
		why = boot_plan(&bi);
		CHECK(!why && pool_is_good(), "%s has room for the pool (%s)", machines[i].what,
		      why ? why : "");
		low = bi.pool_start < 4 * GIB ? bi.pool_end - bi.pool_start : 0;
		CHECK(!low, "which takes nothing of dom0's memory below 4 GiB");
		CHECK(bi.pool_end - bi.pool_start >= machines[i].ram / 512 + 32 * MIB &&
			  bi.pool_end - bi.pool_start <= machines[i].ram / 64,
		      "and is of %u MiB", (u32)((bi.pool_end - bi.pool_start) / MIB));
	}
	big_machine(270, 64 * GIB, ~0ull, 0);
	bi.reach = BOOT_REACH_SMALL;
	CHECK(!boot_plan(&bi) && pool_is_good(), "without 1 GiB pages it is below 4 GiB");
}

static void test_plan(void)
{
	const char *why;
	static const u64 sizes[] = {192 * MIB, 512 * MIB, GIB, 16 * GIB, 256 * GIB};

	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		u64 size;

		machine(sizes[i], 2 * MIB);
		CHECK(!boot_plan(&bi) && pool_is_good(),
		      "a machine with %u MiB has room for pool and low page",
		      (u32)(sizes[i] / MIB));
		size = bi.pool_end - bi.pool_start;
		CHECK(size >= bi.max_ram_end / 512 + 16 * MIB && size <= sizes[i] / 4,
		      "its pool of %u MiB is sensible", (u32)(size / MIB));
		CHECK(sizes[i] < 512 * MIB || bi.pool_start >= 256 * MIB,
		      "and clear of where kernels are linked");
	}
	machine(GIB, 2 * MIB);
	bi.opt.hvmem = 100 * MIB;
	CHECK(!boot_plan(&bi) && bi.pool_end - bi.pool_start == 100 * MIB,
	      "hvmem= is the pool's size");
	bi.opt.hvmem = MIB;
	CHECK(!boot_plan(&bi) && bi.pool_end - bi.pool_start >= 8 * MIB,
	      "too small a hvmem= is raised");
	bi.opt.hvmem = GIB;
	why = boot_plan(&bi);
	CHECK(why && strstr(why, "hvmem"), "hvmem= that leaves dom0 nothing is refused and told");

	bi.image_end = bi.image_start;
	CHECK(PANICS(boot_plan(&bi)), "nothing is planned around an image that is nowhere");

	machine(GIB, 2 * MIB);
	memmap_set(&bi.map, 2 * MIB - PAGE_SIZE, 2 * MIB, MEM_RESERVED);
	why = boot_plan(&bi);
	CHECK(why && strstr(why, "no RAM"),
	      "an image that is not wholly in RAM is refused and told");

	machine(64 * MIB, 2 * MIB);
	why = boot_plan(&bi);
	CHECK(why && *why, "a machine of 64 MiB is refused and told");

	machine(GIB, 2 * MIB);
	bi.module[1].start = 300 * MIB;
	bi.module[1].end = GIB - 128 * 1024;
	CHECK(!boot_plan(&bi) && pool_is_good() && bi.pool_end <= 300 * MIB,
	      "modules at the top push the pool down");
	machine(GIB, 2 * MIB);
	memmap_set(&bi.map, 0x8000, 0xa0000, MEM_RESERVED);
	CHECK(!boot_plan(&bi) && bi.low_page == 0x7000, "the low page may lie below 32 KiB");
	memmap_set(&bi.map, 0, 0xa0000, MEM_RESERVED);
	why = boot_plan(&bi);
	CHECK(why && *why, "no low page is refused and told");

	machine(GIB, 2 * MIB);
	for (u64 at = 20 * MIB; at < GIB; at += 20 * MIB)
		memmap_set(&bi.map, at, at + PAGE_SIZE, MEM_RESERVED);
	CHECK(!boot_plan(&bi) && pool_is_good(), "in scattered memory the default pool shrinks");
	bi.opt.hvmem = 32 * MIB;
	CHECK(boot_plan(&bi), "but hvmem= is taken at its word");
}

int main(void)
{
	test_random_overlays();
	test_random_finds();
	test_edges();
	test_plan();
	test_big_machines();
	test_calm();
	return test_end();
}
