/* SPDX-License-Identifier: GPL-2.0-only */
/* What MTRRs as firmware sets them say of blocks of memory. The registers are the test's. */
/* links: boot/memmap.c */
#include <string.h>

#include "hv/lib/asm.h"

static int fake_rdmsr(u32 msr, u64 *val);
static int fake_wrmsr(u32 msr, u64 val);
static u64 cr0_now;
#define rdmsr_safe   fake_rdmsr
#define wrmsr_safe   fake_wrmsr
#define read_cr0()   cr0_now
#define write_cr0(v) (cr0_now = (v))
#define read_cr3()   0ull
#define write_cr3(v) ((void)(v))
#include "hv/mm/mtrr.c"

#include "hv/lib/percpu.h"
#include "test.h"

#define GIB	    (1ull << 30)
#define UC	    0ull
#define WC	    1ull
#define WT	    4ull
#define WB	    6ull
#define ON	    0x800ull
#define PAGE_OF(at) ((at) >> 12)
#define ORDER_2M    9
#define ORDER_1G    18

u32 phys_bits = 39;

static u64 syscfg, top2; /* of AMD's */
static u64 cap, def, range[2 * MTRR_RANGES + 8], fixed[0x20];
static u32 writes, written_on; /* while MTRRs were on, or memory was cached */
static bool absent;

void wbinvd(void)
{
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	u32 at = msr - MSR_MTRR_PHYS_BASE0;

	if (absent)
		return -EIO;
	if (msr == MSR_MTRR_CAP)
		*val = cap;
	else if (msr == MSR_MTRR_DEF_TYPE)
		*val = def;
	else if (msr == MSR_SYSCFG)
		*val = syscfg;
	else if (msr == MSR_TOP_MEM2)
		*val = top2;
	else if (at < ARRAY_SIZE(range))
		*val = range[at];
	else if (msr - MSR_MTRR_FIX_64K < ARRAY_SIZE(fixed))
		*val = fixed[msr - MSR_MTRR_FIX_64K];
	else
		return -EIO;
	return 0;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	u32 at = msr - MSR_MTRR_PHYS_BASE0;

	writes++;
	if (!(cr0_now & CR0_CD) || (msr != MSR_MTRR_DEF_TYPE && def & ON))
		written_on++;
	if (msr == MSR_MTRR_DEF_TYPE)
		def = val;
	else if (at < ARRAY_SIZE(range))
		range[at] = val;
	else if (msr - MSR_MTRR_FIX_64K < ARRAY_SIZE(fixed))
		fixed[msr - MSR_MTRR_FIX_64K] = val;
	return 0;
}

static void machine(u64 default_type)
{
	memset(range, 0, sizeof(range));
	memset(&mtrrs, 0, sizeof(mtrrs));
	absent = false;
	cap = 0x500 | MTRR_RANGES;
	def = default_type;
}

static void put(u32 i, u64 base, u64 size, u64 type)
{
	range[2 * i] = base | type;
	range[2 * i + 1] = (~(size - 1) & GENMASK(phys_bits - 1, 12)) | ON;
}

static enum mtrr_type page(u64 at)
{
	return mtrr_of(PAGE_OF(at), 0);
}

/* Uncached unless a range says otherwise, as many firmwares have it. */
static void test_ranges(void)
{
	machine(ON | UC);
	put(0, 0, 2 * GIB, WB);
	put(1, 2 * GIB, GIB, WB);
	put(2, 3 * GIB - 16 * MIB, 16 * MIB, UC); /* SMM's memory, say */
	put(3, 4 * GIB, 4 * GIB, WB);
	put(5, 16 * GIB, GIB, WT);
	range[2 * 6] = 32 * GIB | WB; /* is not valid */
	mtrr_init();
	CHECK(page(GIB) == MTRR_WB && page(3 * GIB - 17 * MIB) == MTRR_WB &&
		  page(5 * GIB) == MTRR_WB,
	      "what ranges have as write-back is");
	CHECK(page(3 * GIB - 16 * MIB) == MTRR_OTHER && page(3 * GIB - 4096) == MTRR_OTHER,
	      "uncached wins where two are of one place");
	CHECK(page(3 * GIB) == MTRR_OTHER && page(9 * GIB) == MTRR_OTHER, "what is in none is not");
	CHECK(page(16 * GIB) == MTRR_OTHER && page(32 * GIB) == MTRR_OTHER,
	      "nor what is written through, or in a range that is not valid");
	CHECK(mtrr_of(PAGE_OF(2 * GIB), ORDER_1G) == MTRR_MIXED &&
		  mtrr_of(PAGE_OF(2 * GIB), ORDER_2M) == MTRR_WB &&
		  mtrr_of(PAGE_OF(3 * GIB - 2 * MIB), ORDER_2M) == MTRR_OTHER &&
		  mtrr_of(PAGE_OF(4 * GIB), ORDER_1G) == MTRR_WB,
	      "a block is of one type, or mixed");
	CHECK(page(0xa0000) == MTRR_OTHER && mtrr_of(0, ORDER_2M) == MTRR_MIXED,
	      "the first MiB has MTRRs of its own");
}

/* Write-back unless a range says otherwise, as OVMF has it. */
static void test_default(void)
{
	machine(ON | WB);
	put(0, 2 * GIB, 2 * GIB, UC);
	put(1, 512 * GIB - 64 * GIB, 64 * GIB, UC);
	mtrr_init();
	CHECK(page(GIB) == MTRR_WB && page(4 * GIB) == MTRR_WB &&
		  mtrr_of(PAGE_OF(GIB), ORDER_1G) == MTRR_WB,
	      "the default holds outside of all ranges");
	CHECK(page(3 * GIB) == MTRR_OTHER && mtrr_of(PAGE_OF(450 * GIB), ORDER_1G) == MTRR_OTHER,
	      "and not in them");
}

/* Uncached, but above 4 GiB as two registers of AMD's say. */
static void test_top(void)
{
	machine(ON | UC);
	put(0, 0, 2 * GIB, WB);
	put(1, 6 * GIB, GIB, UC);
	syscfg = 3u << 21;
	top2 = 10 * GIB;
	mtrr_init();
	CHECK(page(4 * GIB) == MTRR_WB && page(10 * GIB - 4096) == MTRR_WB &&
		  mtrr_of(PAGE_OF(5 * GIB), ORDER_1G) == MTRR_WB,
	      "above 4 GiB RAM is write-back where AMD's SYSCFG says so");
	CHECK(page(6 * GIB) == MTRR_OTHER, "but where a range says otherwise");
	CHECK(page(10 * GIB) == MTRR_OTHER && page(3 * GIB) == MTRR_OTHER && page(GIB) == MTRR_WB &&
		  mtrr_of(PAGE_OF(8 * GIB), 20) == MTRR_MIXED,
	      "and up to the end of RAM");
	machine(ON | UC);
	syscfg = 1u << 21;
	mtrr_init();
	CHECK(page(4 * GIB) == MTRR_OTHER, "not, if it does not force the type");
	syscfg = 0;
}

static void test_nothing_known(void)
{
	machine(WB);
	put(0, 0, 4 * GIB, WB);
	mtrr_init();
	CHECK(page(GIB) == MTRR_OTHER, "MTRRs that are off make all uncached");
	machine(ON | WB);
	absent = true;
	mtrr_init();
	CHECK(page(GIB) == MTRR_OTHER, "as do those that are not there");
	machine(ON | UC);
	cap = 0x5ff;
	range[2 * MTRR_RANGES] = 8 * GIB | WB;
	range[2 * MTRR_RANGES + 1] = ~(GIB - 1) | ON;
	mtrr_init();
	CHECK(page(8 * GIB) == MTRR_OTHER && mtrrs.count == 0,
	      "more ranges than there can be are not read");
}

static u64 count_ram(struct mem_map *m)
{
	u64 pages = 0;

	for (u32 i = 0; i < m->count; i++)
		for (u64 at = MAX(m->r[i].start, MIB); at < m->r[i].end; at += PAGE_SIZE) {
			if (m->r[i].kind != MEM_RAM)
				break;
			CHECK_QUIET(page(at) == MTRR_WB, "%lx is write-back", at);
			pages++;
		}
	return pages << 12;
}

/* A PC of 8 GiB, the last 48 MiB of which its firmware has forgotten, and a hole it has made */
static void test_trim(void)
{
	static struct mem_map m;

	machine(ON | UC);
	put(0, 0, 2 * GIB, WB);
	put(1, 2 * GIB, GIB, WB);
	put(2, 3 * GIB - 16 * MIB, 16 * MIB, UC);
	put(3, 4 * GIB, 4 * GIB, WB);
	put(4, 8 * GIB, GIB, WB);
	mtrr_init();
	memmap_add(&m, 0, 0xa0000, MEM_RAM);
	memmap_add(&m, MIB, 3 * GIB - 8 * MIB - 0x800, MEM_RAM);
	memmap_add(&m, 3 * GIB - 8 * MIB, 3 * GIB, MEM_RESERVED);
	memmap_add(&m, 4 * GIB, 9 * GIB + 48 * MIB, MEM_RAM);
	memmap_add(&m, 9 * GIB + 48 * MIB, 9 * GIB + 49 * MIB, MEM_RESERVED);
	memmap_add(&m, 9 * GIB + 49 * MIB, 9 * GIB + 50 * MIB, MEM_RAM);
	mtrr_trim(&m, 2 * MIB);
	CHECK(memmap_max_ram_end(&m) == 9 * GIB && count_ram(&m) == 8 * GIB - 17 * MIB &&
		  memmap_is(&m, 9 * GIB, 9 * GIB + 50 * MIB, MEM_RESERVED) &&
		  memmap_is(&m, 0, 0xa0000, MEM_RAM),
	      "RAM that is not write-back is reserved, but for the first MiB");
	memset(&m, 0, sizeof(m));
	memmap_add(&m, 0, 8 * GIB, MEM_RAM);
	machine(ON | UC);
	put(0, 4 * GIB, 4 * GIB, WB);
	mtrr_init();
	mtrr_trim(&m, 2 * MIB);
	CHECK(m.count == 1, "nothing is, where we ourselves would be");
}

static void test_others(void)
{
	u64 fixed_before[ARRAY_SIZE(fixed)], range_before[ARRAY_SIZE(range)];

	cr0_now = CR0_PE;
	machine(ON | UC);
	CHECK(!mtrr_restore() && !writes, "before any sleep nothing is restored");
	put(0, 0, 2 * GIB, WB);
	put(MTRR_RANGES - 1, 8 * GIB, GIB, WT);
	for (u32 i = 0; i < ARRAY_SIZE(fixed); i++)
		if (!i || i == 8 || i == 9 || (i >= 0x18 && i < 0x20))
			fixed[i] = 0x0606060606060600 + i;
	memcpy(fixed_before, fixed, sizeof(fixed));
	memcpy(range_before, range, sizeof(range));
	mtrr_save();
	CHECK(!mtrr_restore() && !writes, "what is as it was is not written");
	memset(fixed, 0, sizeof(fixed));
	memset(range, 0, sizeof(range));
	def = 0;
	CHECK(mtrr_restore() && def == (ON | UC) && !memcmp(fixed, fixed_before, sizeof(fixed)) &&
		  !memcmp(range, range_before, sizeof(range)),
	      "after a sleep all MTRRs are as before");
	CHECK(writes && !written_on && cr0_now == CR0_PE,
	      "they are off and nothing is cached while they change");

	writes = 0;
	CHECK(!mtrr_restore() && !writes, "a CPU that comes with the boot CPU's keeps them");
	range[2 * (MTRR_RANGES - 1)] ^= GIB;
	CHECK(mtrr_restore() && !written_on && !memcmp(range, range_before, sizeof(range)),
	      "one that comes with others gets them, and is told of");
}

int main(void)
{
	test_others();
	test_ranges();
	test_default();
	test_top();
	test_trim();
	test_nothing_known();
	return test_end();
}
