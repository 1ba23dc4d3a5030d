/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/mm/pool.c hv/mm/frame.c */
#include <string.h>

#include "boot/boot.h"
#include "arena.h"

#define START 0x345000ull /* not aligned to anything but pages */
#define END   0x2011000ull
#define LIVE  400

struct block {
	u8 *p;
	u32 order;
	bool charged;
};

static bool is_zero(const u8 *p, u64 bytes)
{
	return !p[0] && !memcmp(p, p + 1, bytes - 1);
}

static void stamp(struct block *b, u8 byte)
{
	memset(b->p, byte, PAGE_SIZE << b->order);
}

static bool stamped(const struct block *b, u8 byte)
{
	return b->p[0] == byte && !memcmp(b->p, b->p + 1, (PAGE_SIZE << b->order) - 1);
}

/* Random allocations stay zeroed at birth, aligned, apart from each other and counted. */
static void test_random(void)
{
	static struct block live[LIVE];
	struct account acct = {0};
	u64 total, used = 0, charged = 0;
	bool zero = true, aligned = true, apart = true, counted = true;

	pool_init(START, END);
	total = pool_total_bytes();
	CHECK(total > END - START - 0x10000 && pool_free_bytes() == total,
	      "all of the pool but its state bytes is free");
	for (u32 round = 0; round < 20000; round++) {
		u32 i = rnd(LIVE);
		struct block *b = &live[i];

		if (b->p) {
			apart &= stamped(b, (u8)i);
			pool_free(b->p, b->order, b->charged ? &acct : NULL);
			used -= PAGE_SIZE << b->order;
			charged -= b->charged ? 1ull << b->order : 0;
			b->p = NULL;
		} else {
			b->order = rnd(8) ? rnd(3) : rnd(11);
			b->charged = rnd(2);
			b->p = pool_alloc(b->order, b->charged ? &acct : NULL);
			if (!b->p)
				continue;
			zero &= is_zero(b->p, PAGE_SIZE << b->order);
			aligned &= IS_ALIGNED(virt_to_hpa(b->p).v, PAGE_SIZE << b->order);
			used += PAGE_SIZE << b->order;
			charged += b->charged ? 1ull << b->order : 0;
			stamp(b, (u8)i);
		}
		counted &= pool_free_bytes() == total - used && acct.pages == charged;
	}
	CHECK(zero, "pages are zeroed");
	CHECK(aligned, "blocks are naturally aligned");
	CHECK(apart, "blocks do not overlap");
	CHECK(counted, "free bytes and the account are right after each step");
	for (u32 i = 0; i < LIVE; i++)
		if (live[i].p)
			pool_free(live[i].p, live[i].order, live[i].charged ? &acct : NULL);
	CHECK(pool_free_bytes() == total && !acct.pages, "everything comes back");
}

static void test_merge(void)
{
	void *big[16], *p, *list = NULL;
	u32 before = 0, after = 0;
	u64 pages = 0;

	pool_init(START, END);
	while ((big[before] = pool_alloc(10, NULL)))
		before++;
	while (before)
		pool_free(big[--before], 10, NULL);
	while ((big[before] = pool_alloc(10, NULL)))
		before++;
	for (u32 i = 0; i < before; i++)
		pool_free(big[i], 10, NULL);
	for (; (p = pool_alloc(0, NULL)); pages++) {
		*(void **)p = list;
		list = p;
	}
	CHECK(pages * PAGE_SIZE == pool_total_bytes() && !pool_free_bytes(),
	      "single pages use up the whole pool");
	while (list) {
		p = list;
		list = *(void **)p;
		pool_free(p, 0, NULL);
	}
	while ((big[after] = pool_alloc(10, NULL)))
		after++;
	CHECK(after == before && after >= 6, "free neighbours merge up to 4 MiB (%u blocks)",
	      after);
	CHECK(!pool_alloc(11, NULL), "a block above the largest order is refused");
}

static void test_limit(void)
{
	struct account acct = {0};
	void *a, *b;

	pool_init(START, END);
	CHECK(!pool_promise(&acct, 5), "pages can be promised");
	a = pool_alloc(2, &acct);
	CHECK(a && !pool_alloc(1, &acct), "an allocation that would pass the promise fails");
	b = pool_alloc(0, &acct);
	CHECK(b && acct.pages == 5 && !pool_alloc(0, &acct), "the promise can be used up");
	pool_free(a, 2, &acct);
	pool_free(b, 0, &acct);
	leave_all(&acct);
	while (pool_alloc(10, NULL))
		;
	CHECK(!pool_alloc(10, &acct) && !acct.pages,
	      "what fails for want of memory is not charged");
	pool_free(NULL, 0, &acct);
	CHECK(!acct.pages, "freeing NULL does nothing");
}

/* Two that are promised something, and a third who takes all it can get. */
static void test_promise(void)
{
	struct account one = {0}, other = {0};
	u64 total, reserve, n = 0;
	void *p, *list = NULL;

	pool_init(START, END);
	total = pool_total_bytes() / PAGE_SIZE;
	reserve = total / 16;
	CHECK(!pool_promise(&one, 1000) && pool_promised_bytes() == 1000 * PAGE_SIZE &&
		  pool_free_bytes() == total * PAGE_SIZE,
	      "what is promised is free, and counted");
	CHECK(pool_promise(&other, total - reserve - 999) == -ENOMEM && !other.bounded,
	      "the reserve is nobody's");
	CHECK(pool_promise(&other, ~0ull) == -ENOMEM, "nor is more than there is");
	CHECK(!pool_promise(&other, total - reserve - 1000), "all else can be promised");
	for (; (p = pool_alloc(0, NULL)); n++) {
		*(void **)p = list;
		list = p;
	}
	CHECK(n == reserve, "who was promised nothing gets what is left");
	for (n = 0; (p = pool_alloc(0, &one)); n++) {
		*(void **)p = list;
		list = p;
	}
	CHECK(n == 1000 && one.pages == 1000 && !one.promised,
	      "all that was promised is still to be had, and no more");
	pool_retract(&one, 600);
	p = list;
	list = *(void **)p;
	pool_free(p, 0, &one);
	CHECK(one.debt == 599 && !one.promised && !pool_alloc(0, &one) && (p = pool_alloc(0, NULL)),
	      "a promise taken back while its pages are out: the next that are freed are others'");
	pool_free(p, 0, NULL);
	for (n = 0; n < 998; n++) {
		p = list;
		list = *(void **)p;
		pool_free(p, 0, &one);
	}
	CHECK(one.pages == 1 && !one.debt && one.promised == 399, "what remains of it stays");
	CHECK(DIES(pool_retract(&one, 401)), "more than was promised cannot be taken back");
}

/* ---- blocks that are lent ---- */

#define LENT(n) (0x2200ull + 512 * (n)) /* above the pool */

static bool is_lent(const void *p)
{
	return virt_to_hpa(p).v >> PAGE_SHIFT >= LENT(0);
}

/* Only tables come out of what is lent, and what of the pool itself is nobody's stays so. */
static void test_lent(void)
{
	struct account tables = {.tables = true}, vm = {0};
	u64 total, reserve, own;
	void *list = NULL, *p = NULL;
	u32 n = 0, lent = 0;
	bool zero = true;

	pool_init(START, END);
	total = pool_total_bytes() / PAGE_SIZE;
	reserve = total / 16;
	memset(hpa_to_virt(hpa(LENT(0) << PAGE_SHIFT)), 0x5a, 512 * PAGE_SIZE);
	CHECK(pool_can_lend() && !pool_unlend(false) && !pool_unlend(true), "at first none is");
	CHECK(!pool_is_low(total / 2) && pool_is_low(total - total / 4 + 1),
	      "a quarter of the pool left is low");
	pool_lend(LENT(0));
	CHECK(pool_total_bytes() / PAGE_SIZE == total + 512 &&
		  pool_free_bytes() / PAGE_SIZE == total + 512,
	      "the pool is larger");
	CHECK(pool_promise(&vm, total - reserve + 1) == -ENOMEM &&
		  !is_lent(p = pool_alloc(0, NULL)),
	      "but not for what is no table");
	pool_free(p, 0, NULL);
	CHECK(!pool_promise(&tables, total - reserve + 512) && pool_promise(&tables, 1) == -ENOMEM,
	      "all but the reserve can be promised to tables");
	CHECK(pool_promise(&vm, 1) == -ENOMEM, "then nothing to what is none");
	pool_retract(&tables, 512);
	CHECK(!pool_promise(&vm, 512) && pool_promise(&vm, 1) == -ENOMEM,
	      "what is none has the pool's own");
	for (; (p = pool_alloc(0, &tables)); n++) {
		zero &= is_zero(p, PAGE_SIZE);
		lent += is_lent(p);
		CHECK_QUIET((n < 512) == is_lent(p), "what is lent is used first");
		*(void **)p = list;
		list = p;
	}
	CHECK(n == total - reserve && lent == 512 && zero, "tables get what they were promised");
	for (n = 0; (p = pool_alloc(0, &vm)); n++)
		CHECK_QUIET(!is_lent(p), "nothing else lies in what is lent");
	CHECK(n == 512, "others do, too");
	for (own = 0; (p = pool_alloc(0, NULL)); own++)
		CHECK_QUIET(!is_lent(p), "nor what is the hypervisor's");
	CHECK(own == reserve, "and the reserve is there");
	CHECK(!pool_unlend(false) && !pool_unlend(true), "what is in use is not given back");
	while (list) {
		p = list;
		list = *(void **)p;
		pool_free(p, 0, &tables);
	}
	CHECK(!pool_unlend(false), "nor what is promised");
	pool_retract(&tables, tables.promised);
	CHECK(pool_unlend(false) == LENT(0), "but what is neither");
}

static void test_unlend(void)
{
	struct account tables = {.tables = true};
	u64 total;
	u8 *p, *q;
	u32 n = 1;

	pool_init(START, END);
	total = pool_total_bytes() / PAGE_SIZE;
	pool_lend(LENT(0));
	pool_lend(LENT(1));
	CHECK(!pool_promise(&tables, 600), "pages are promised");
	p = pool_alloc(0, &tables);
	CHECK(is_lent(p) && pool_unlend(false) == LENT(1) && !pool_unlend(false),
	      "a block that is free and not needed goes, one that is in use stays");
	CHECK(DIES(pool_free(p, 1, &tables)) && DIES(pool_free(p + PAGE_SIZE, 0, &tables)) &&
		  DIES(pool_free(hpa_to_virt(hpa(LENT(1) << PAGE_SHIFT)), 0, &tables)),
	      "frees of other sizes, of free pages and of what has gone are found");
	q = pool_alloc(1, NULL);
	CHECK(!is_lent(q), "two pages at once are the pool's own");
	pool_free(q, 1, NULL);
	pool_free(p, 0, &tables);
	CHECK(DIES(pool_free(p, 0, &tables)), "and a double free");
	CHECK(pool_unlend(true) == LENT(0) && pool_total_bytes() / PAGE_SIZE == total &&
		  pool_free_bytes() / PAGE_SIZE == total,
	      "in the end the pool has its own");
	CHECK(DIES(pool_lend(0)) && DIES(pool_lend(LENT(0) + 1)), "blocks have their places");
	for (pool_lend(LENT(0)); pool_can_lend(); n++)
		pool_lend(LENT(n));
	CHECK(n == (total + 511) / 512, "it grows to twice its size at most");
}

static void test_abuse(void)
{
	u8 *p, *q;

	pool_init(START, END);
	p = pool_alloc(0, NULL);
	q = pool_alloc(1, NULL);
	CHECK(DIES(pool_free(q, 0, NULL)), "a free with a smaller order is found");
	CHECK(DIES(pool_free(q, 2, NULL)), "a free with a larger order is found");
	CHECK(DIES(pool_free(q + PAGE_SIZE, 0, NULL)), "a free inside a block is found");
	CHECK(DIES(pool_free(q + 8, 1, NULL)), "a misaligned free is found");
	CHECK(DIES(pool_free(hpa_to_virt(hpa(START)), 0, NULL)),
	      "a free of the pool's own state is found");
	CHECK(DIES(pool_free(hpa_to_virt(hpa(END)), 0, NULL)), "a free beyond the pool is found");
	CHECK(DIES({
		      pool_free(p, 0, NULL);
		      pool_free(p, 0, NULL);
	      }),
	      "a double free is found");
	CHECK(DIES({
		      pool_free(p, 0, NULL);
		      p[40] = 1;
		      pool_alloc(0, NULL);
	      }),
	      "a write to a free page is found");
	CHECK(DIES(pool_take_front(PAGE_SIZE)), "nothing is taken in front once pages are out");
}

/* ---- frames ---- */

static const struct mem_map map = {
    .count = 5,
    .r = {{0, 0x9fc00, MEM_RAM},
	  {0x9fc00, 0xa0000, MEM_RESERVED},
	  {0x100800, 0x8000000, MEM_RAM},
	  {0x8000000, 0x8010000, MEM_ACPI},
	  {0x10000000, 0x10004000, MEM_RAM}},
};

static enum frame_kind kind_at(u64 addr)
{
	return frame_of(addr >> PAGE_SHIFT)->kind;
}

/* RAM with 16 TiB of nothing in its midst needs no records for that. */
static void test_holes(void)
{
	static const struct mem_map far = {.count = 3,
					   .r = {{0x1000, 0x8000000, MEM_RAM},
						 {BIT(40), BIT(40) + 0x2000, MEM_RAM},
						 {BIT(44), BIT(44) + 0x2000, MEM_RAM}}};
	u64 pfn = 0x8000, end, before;

	pool_init(0x2000000, 0x2400000);
	before = pool_total_bytes();
	CHECK(!init_frames(&far, 0, 0, 0x2000000, 0x2400000), "RAM up to 16 TiB, with holes");
	CHECK(before - pool_total_bytes() <= (0x8000 + 4) * sizeof(struct frame) + 2 * PAGE_SIZE,
	      "takes records for what there is only (%lu bytes)", before - pool_total_bytes());
	CHECK(frame_next_ram(&pfn, &end) && pfn == BIT(28) && end == BIT(28) + 2,
	      "the next RAM behind a hole is found");
	pfn = BIT(28) + 1;
	CHECK(frame_next_ram(&pfn, &end) && pfn == BIT(28) + 1, "and RAM itself");
	pfn = BIT(32) + 2;
	CHECK(!frame_next_ram(&pfn, &end), "but not behind the last");
	CHECK(!frame_get(BIT(32), 2) && frame_of(BIT(32) + 1)->maps == 1, "RAM above can be taken");
	CHECK(frame_get(BIT(32) + 1, 2) == -EPERM && frame_get(BIT(28) - 1, 2) == -EPERM &&
		  frame_get(BIT(30), 1) == -EPERM && frame_of(BIT(32) + 1)->maps == 1,
	      "a hole cannot, nor what reaches into one");
	frame_put(BIT(32), 2);
	CHECK(kind_at(BIT(42)) == FRAME_NONE && DIES(frame_set_kind(BIT(30), FRAME_HV)),
	      "a hole has no kind to be set");
}

static void test_frames(void)
{
	pool_init(0x2000000, 0x2400000);
	CHECK(!init_frames(&map, 0x200123, 0x234567, 0x2000000, 0x2400000), "the frame table fits");
	CHECK(frame_count() == 0x10004 && !frame_of(0x10004) && frame_of(0x10003),
	      "it ends with RAM");
	CHECK(kind_at(0x9e000) == FRAME_DOM0 && kind_at(0x9f000) == FRAME_NONE,
	      "a page that is RAM in part is not dom0's");
	CHECK(kind_at(0x100000) == FRAME_NONE && kind_at(0x101000) == FRAME_DOM0,
	      "also at the start of a region");
	CHECK(kind_at(0x8000000) == FRAME_NONE && kind_at(0xa0000) == FRAME_NONE,
	      "ACPI tables and holes are not RAM");
	CHECK(kind_at(0x1ff000) == FRAME_DOM0 && kind_at(0x200000) == FRAME_HV &&
		  kind_at(0x234000) == FRAME_HV && kind_at(0x235000) == FRAME_DOM0,
	      "each page the image touches is the hypervisor's");
	CHECK(kind_at(0x1fff000) == FRAME_DOM0 && kind_at(0x2000000) == FRAME_HV &&
		  kind_at(0x23ff000) == FRAME_HV && kind_at(0x2400000) == FRAME_DOM0,
	      "the pool is the hypervisor's, with the table in it");
	CHECK(!frame_get(0x101, 0xff) && frame_of(0x101)->maps == 1, "dom0's frames can be taken");
	CHECK(frame_get(0x101, 0x100) == -EPERM && frame_of(0x101)->maps == 1 &&
		  frame_of(0x1ff)->maps == 1,
	      "a range that touches the hypervisor is refused and nothing is taken");
	CHECK(frame_get(0x10003, 2) == -EPERM && frame_get(~0ull, 1) == -EPERM &&
		  frame_get(~0ull - 1, 4) == -EPERM,
	      "frames beyond RAM are refused");
	CHECK(frame_get(0xa0, 1) == -EPERM, "device memory is refused");
	frame_of(0x300)->maps = UINT32_MAX / 2;
	CHECK(frame_get(0x300, 1) == -EPERM && frame_of(0x300)->maps == UINT32_MAX / 2,
	      "the count cannot wrap");
	frame_put(0x101, 0xff);
	CHECK(!frame_of(0x101)->maps, "and put back");
	CHECK(DIES(frame_put(0x101, 1)), "a put too many is found");
	frame_get(0x101, 1);
	CHECK(DIES(frame_set_kind(0x101, FRAME_HV)), "a mapped frame does not change its kind");
	pool_init(0x2000000, 0x2040000);
	CHECK(init_frames(&map, 0, 0, 0x2000000, 0x2040000) == -ENOMEM,
	      "a pool too small for the table is an error");
}

int main(void)
{
	arena_init(0x4000000);
	test_random();
	test_merge();
	test_limit();
	test_promise();
	test_lent();
	test_unlend();
	test_abuse();
	test_holes();
	test_frames();
	return test_end();
}
