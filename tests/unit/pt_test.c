/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/mm/pt.c hv/mm/pool.c */
/*
 * The walker against a naive map of one record per page, under random operations in all formats,
 * with allocation failure injected at every step by the account's limit and with random budgets.
 */
#include <pthread.h>
#include <string.h>

#include "hv/lib/x86.h"
#include "hv/mm/pt.h"
#include "arena.h"
#include "iommu_walk.h"

#define BASE   0x7fffc0000ull /* 2 GiB of frame numbers, across a border of the root's entries */
#define PAGES  0x80000ull
#define RIGHTS (PT_R | PT_W | PT_X)

struct page {
	enum pt_kind kind;
	u64 pfn, attr;
};
static struct page naive[PAGES];
static bool is_marked[PAGES / 512]; /* by one large mark */
static struct account pages_acct;
static struct pt pt;
static const struct pt_format *fmt;
static bool map_right = true, match_ok = true, leaves_nothing = true, flush_right = true,
	    budget_kept = true, put_right = true;

/* The same where the CPU has pages of 1 GiB. */
static struct pt_format with_1g(const struct pt_format *f)
{
	struct pt_format big = *f;

	big.max_order = 18;
	return big;
}

/* What a format can tell apart. */
static u64 visible(u64 attr)
{
	return (attr & (RIGHTS | PT_UC | PT_LOG | PT_ROM | PT_DIRTY)) | (fmt->dirty ? 0 : PT_DIRTY);
}

static bool same(const struct page *a, const struct pt_leaf *l, u64 skip)
{
	return a->kind == l->kind && (a->kind != PT_LEAF || (a->pfn == l->pfn + skip &&
							     visible(a->attr) == visible(l->attr)));
}

/* Compare [from, to) of the window; entry by entry of the tables, page by page inside. */
static void compare(u64 from, u64 to)
{
	while (from < to) {
		struct pt_leaf l;
		u64 stop;

		pt_lookup(&pt, BASE + from, &l);
		stop = MIN(to, ((BASE + from) | ((1ull << l.order) - 1)) + 1 - BASE);
		for (u64 i = from; i < stop; i++)
			match_ok &= same(&naive[i], &l, i - from);
		from = stop;
	}
}

static bool any(u64 i, u64 count, bool leaves_only)
{
	for (u64 n = 0; n < count; n++)
		if (naive[i + n].kind == PT_LEAF || (!leaves_only && naive[i + n].kind))
			return true;
	return false;
}

/* Allow `more` tables than there are now. */
static void allow(u64 more)
{
	leave_pages(&pages_acct, more);
}

static u64 random_attr(void)
{
	u64 a = PT_R | (rnd(2) ? PT_W : 0) | (rnd(2) ? PT_X : 0) | (rnd(4) ? 0 : PT_UC) |
		(rnd(4) ? PT_DIRTY : 0);

	if (!(a & PT_W))
		a |= rnd(2) ? PT_LOG : rnd(2) ? PT_ROM : 0;
	return a;
}

/*
 * Run one mapping with 0, 1, 2.. tables allowed until it stops failing; a failure leaves no trace.
 */
static int retry_map(u64 i, u64 pfn, u32 order, u64 attr, bool mmio)
{
	for (u64 more = 0;; more++) {
		u64 pages = pages_acct.pages;
		int err;

		allow(more);
		err = mmio ? pt_set_mmio(&pt, BASE + i, order)
			   : pt_map(&pt, BASE + i, pfn, order, attr);
		if (err != -ENOMEM || more > 4)
			return err;
		leaves_nothing &= pages_acct.pages == pages;
		compare(i, i + (1ull << order));
	}
}

/* What there was of a large mark around page i goes. */
static void forget_mark(u64 i)
{
	struct page *p = &naive[i / 512 * 512];

	for (u64 n = 0; is_marked[i / 512] && n < 512; n++)
		if (p[n].kind == PT_MMIO)
			p[n].kind = PT_NONE;
	is_marked[i / 512] = false;
}

static void op_map(void)
{
	u32 order = rnd(16) ? rnd(3) ? 0 : 9 : 18;
	u64 i, pfn = rnd(0x10000000) >> order << order, attr = random_attr();
	int err, want;

	i = ((BASE + rnd(rnd(2) ? PAGES : 4096)) >> order << order) - BASE;
	if (i + (1ull << order) > PAGES)
		return;
	want = any(i, 1ull << order, !order) ? -EEXIST : naive[i].kind == PT_MMIO;
	if (order == 9 && is_marked[i / 512])
		want = 1;
	err = retry_map(i, pfn, order, attr, false);
	map_right &= err == want;
	if (err == 1)
		forget_mark(i);
	for (u64 n = 0; err >= 0 && n < 1ull << order; n++)
		naive[i + n] = (struct page){PT_LEAF, pfn + n, attr};
	compare(i, i + (1ull << order));
}

static void op_mmio(void)
{
	u64 i = rnd(rnd(2) ? PAGES : 4096), n = rnd(4) ? 1 : 512;
	bool in_the_way;
	int err;

	i = i / n * n;
	in_the_way = n == 1 ? naive[i].kind == PT_LEAF : !is_marked[i / 512] && any(i, n, false);
	err = retry_map(i, 0, n == 1 ? 0 : 9, 0, true);
	map_right &= err == (in_the_way ? -EEXIST : 0);
	if (!err && n > 1)
		is_marked[i / 512] = true;
	for (u64 k = i; !err && k < i + n; k++)
		naive[k] = (struct page){.kind = PT_MMIO};
	compare(i, i + n);
}

static u32 puts_nr;
static u64 put_next; /* removed leaves come in their order */
static void put(void *ctx, u64 pfn, u64 count)
{
	while (put_next < PAGES && naive[put_next].kind != PT_LEAF)
		naive[put_next++].kind = PT_NONE;
	for (u64 n = 0; n < count && put_next < PAGES; n++, put_next++) {
		struct page *p = &naive[put_next];

		put_right &= p->kind == PT_LEAF && p->pfn == pfn + n;
		p->kind = PT_NONE;
	}
	puts_nr++;
}

static void op_range(bool unmap)
{
	static const u64 alter[] = {PT_W, PT_X, PT_LOG, PT_ROM, PT_DIRTY, PT_W | PT_LOG};
	struct pt_change c = {.match = alter[rnd(6)], .clear = alter[rnd(6)], .set = alter[rnd(6)]};
	u64 count = 1 + rnd(rnd(2) ? PAGES : 1500), i = rnd(PAGES - count + 1);
	u64 more = rnd(3);

	while (count) {
		u32 budget = 1 + rnd(700);
		bool flush = false, owed = false, split_or_cut;
		u64 tables = pages_acct.pages;
		s64 done;

		allow(more);
		puts_nr = 0;
		put_next = i;
		if (unmap)
			done = pt_unmap(&pt, BASE + i, count, budget, &flush, put, NULL);
		else
			done = pt_protect(&pt, BASE + i, count, &c, budget, &flush, NULL);
		if (done == -ENOMEM) {
			compare(i, i + 1);
			more = 4;
			continue;
		}
		if (done <= 0 || (u64)done > count) {
			match_ok = false;
			return;
		}
		budget_kept &= puts_nr <= budget;
		owed = puts_nr;
		for (s64 n = 0; n < done; n++) {
			struct page *p = &naive[i + n];
			u64 new = (visible(p->attr) & ~c.clear) | c.set;

			if (unmap) {
				owed |= p->kind == PT_MMIO;
				put_right &= p->kind != PT_LEAF;
				p->kind = PT_NONE;
				forget_mark(i + n);
			} else if (p->kind == PT_LEAF && (visible(p->attr) & c.match) == c.match) {
				owed |= visible(p->attr) & ~new &(RIGHTS | PT_DIRTY);
				p->attr = new;
			}
		}
		split_or_cut = pt.cut || pages_acct.pages != tables;
		flush_right &= flush == (owed || split_or_cut);
		compare(i ? i - 1 : i, MIN(i + done + 1, PAGES));
		pt_reap(&pt);
		i += done;
		count -= done;
	}
}

static void test_random(const struct pt_format *template)
{
	const struct pt_format big = with_1g(template), *f = &big;
	u64 before = pool_free_bytes();
	bool flush = false;

	fmt = f;
	pages_acct = (struct account){0};
	memset(naive, 0, sizeof(naive));
	memset(is_marked, 0, sizeof(is_marked));
	CHECK(!pt_init(&pt, f, &pages_acct) && pages_acct.pages == 1, "%s: a new map is one table",
	      name_of(f));
	for (u32 round = 0; round < 3500; round++) {
		u64 what = rnd(100);

		if (what < 70)
			op_map();
		else if (what < 85)
			op_mmio();
		else
			op_range(what < 91);
		if (round % 200 == 0)
			compare(0, PAGES);
	}
	compare(0, PAGES);
	CHECK(match_ok, "%s: lookups agree with the naive map", name_of(f));
	CHECK(map_right, "%s: mapping succeeds where the naive map is free and only there",
	      name_of(f));
	CHECK(leaves_nothing, "%s: a mapping that fails for want of memory keeps none", name_of(f));
	CHECK(put_right, "%s: each frame removed is told", name_of(f));
	CHECK(flush_right,
	      "%s: a flush is owed exactly when rights or marks went, pages were split or tables "
	      "cut off",
	      name_of(f));
	CHECK(budget_kept, "%s: not more leaves are removed than the budget allows", name_of(f));
	leave_all(&pages_acct);
	put_next = 0;
	CHECK(pt_unmap(&pt, 0, 1ull << 36, UINT32_MAX, &flush, put, NULL) == 1ll << 36,
	      "%s: the whole range unmaps", name_of(f));
	pt_reap(&pt);
	CHECK(pages_acct.pages == 1, "%s: no empty table stays (%llu pages)", name_of(f),
	      (unsigned long long)pages_acct.pages - 1);
	pt_map(&pt, 5, 5, 0, PT_R);
	pt_map(&pt, 512, 512, 9, PT_R);
	pt_destroy(&pt);
	CHECK(!pages_acct.pages && pool_free_bytes() == before, "%s: destroying frees all tables",
	      name_of(f));
}

/* ---- raw bits, by the manuals ---- */

static u64 raw(struct pt *t, u64 fn)
{
	u64 e = t->root.v;

	for (int level = 3; level >= 0; level--) {
		e = ((u64 *)hpa_to_virt(hpa(e & GENMASK(51, 12))))[(fn >> (9 * level)) & 511];
		if (!(e & 7) || (e & BIT(7)))
			break;
	}
	return e;
}

static u64 raw_of(const struct pt_format *template, u32 order, u64 attr)
{
	const struct pt_format f = with_1g(template);
	u64 e;

	pt_init(&pt, &f, NULL);
	pt_map(&pt, 1u << order, 1u << order, order, attr);
	e = raw(&pt, 1u << order);
	pt_destroy(&pt);
	return e;
}

static void test_raw(void)
{
	u64 e;

	CHECK(raw_of(&pt_npt, 0, RIGHTS) == (0x1000 | 0x27),
	      "npt: a page with all rights is P W U A");
	CHECK(raw_of(&pt_npt, 9, PT_R) == (0x200000 | 0xa5 | BIT(63)),
	      "npt: a read-only large page is P U A PS NX");
	CHECK(raw_of(&pt_host, 0, PT_R | PT_W) == (0x1000 | 0x23 | BIT(63)),
	      "host: data is P W A NX, supervisor only");
	CHECK(raw_of(&pt_host, 0, PT_R | PT_X) == (0x1000 | 0x21), "host: text is P A only");
	CHECK(raw_of(&pt_host, 0, PT_R | PT_W | PT_WC) == (0x1000 | 0x23 | 0x08 | BIT(63)) &&
		  (PAT_HOST >> 8 & 0xff) == 1 && (PAT_HOST ^ PAT_RESET) >> 16 == 0 &&
		  (PAT_HOST & 0xff) == 6,
	      "host: write-combining is PWT, whose entry of PAT says so, and no other is changed");
	CHECK(raw_of(&pt_host, 0, PT_R | PT_W | PT_UC) == (0x1000 | 0x23 | 0x18 | BIT(63)),
	      "host: device memory has PCD PWT");
	CHECK(raw_of(&pt_ept, 0, RIGHTS) == (0x1000 | 7 | 6 << 3), "ept: RAM is RWX WB");
	CHECK(raw_of(&pt_ept, 18, PT_R | PT_W | PT_UC) == (0x40000000 | 3 | 0x80),
	      "ept: a 1 GiB device page is RW UC, large");
	CHECK(raw_of(&pt_ept, 0, PT_R | PT_LOG) != raw_of(&pt_ept, 0, PT_R),
	      "ept: the log mark is in the entry");
	for (u32 i = 0; i < 3; i++) {
		const struct pt_format *f = i == 0 ? &pt_host : i == 1 ? &pt_npt : &pt_ept;

		pt_init(&pt, f, NULL);
		pt_map(&pt, 0, 0, 0, PT_R);
		e = *(u64 *)hpa_to_virt(pt.root);
		CHECK((e & 0xfff & ~0x20ull) == (i == 0 ? 3u : 7u), "%s: tables forbid nothing",
		      name_of(f));
		pt_set_mmio(&pt, 7, 0);
		e = raw(&pt, 7);
		CHECK(e && !(e & (GENMASK(51, 0) | BIT(63))),
		      "%s: a MMIO mark is software bits only", name_of(f));
		pt_destroy(&pt);
	}
}

static void test_limits(void)
{
	u64 *e;

	pt_frames_end = BIT(28);
	pt_init(&pt, &pt_npt, NULL);
	CHECK(pt_map(&pt, 0, BIT(28), 0, PT_R) == -EINVAL,
	      "a frame beyond the physical address width is refused");
	CHECK(pt_map(&pt, 0, BIT(28) - 1, 0, PT_R) == 0, "the last one is not");
	CHECK(pt_map(&pt, BIT(36), 0, 0, PT_R) == -EINVAL &&
		  pt_set_mmio(&pt, BIT(36), 0) == -EINVAL,
	      "beyond 48 bits: refused");
	CHECK(pt_map(&pt, 513, 512, 9, PT_R) == -EINVAL &&
		  pt_map(&pt, 512, 513, 9, PT_R) == -EINVAL,
	      "misaligned: refused");
	CHECK(pt_map(&pt, 0, 0, 27, PT_R) == -EINVAL && pt_map(&pt, 1, 0, 3, PT_R) == -EINVAL,
	      "other orders: refused");
	CHECK(pt_map(&pt, 1, 1, 0, PT_W) == -EINVAL,
	      "a page that can be written but not read: refused");
	CHECK(pt_map(&pt, BIT(18), 0, 18, PT_R) == -EINVAL,
	      "1 GiB pages only where the CPU has them");
	CHECK(pt_unmap(&pt, BIT(36), 1, 1, NULL, put, NULL) == -EINVAL &&
		  pt_unmap(&pt, 1, ~0ull, 1, NULL, put, NULL) == -EINVAL,
	      "ranges beyond 48 bits: refused");
	e = pt_entry(&pt, 0x12345);
	CHECK(e && !*e, "an entry can be had by its address");
	*e = pt_leaf_raw(&pt_npt, 0x99, 0, PT_R);
	CHECK(raw(&pt, 0x12345) == *e && pt_entry(&pt, 0x12345) == e,
	      "and is the one hardware reads");
	pt_map(&pt, 0x200, 0x200, 9, PT_R);
	CHECK(!pt_entry(&pt, 0x210), "not under a large page");
	CHECK(PANICS(pt_leaf_raw(&pt_npt, 1, 0, PT_W)) &&
		  PANICS(pt_leaf_raw(&pt_npt, BIT(28), 0, PT_R)),
	      "no entry is made that cannot be read or points beyond the address width");
	pt_destroy(&pt);
	CHECK(PANICS(pt_destroy(&pt)), "tables are freed once");
	pt_frames_end = BIT(40);
}

/* ---- a walker that runs while leaves are split ---- */

#define BLOCKS 512
static bool stop_walker, hole_seen;

static void *walker(void *arg)
{
	while (!__atomic_load_n(&stop_walker, __ATOMIC_ACQUIRE)) {
		for (u64 b = 0; b < BLOCKS; b++) {
			struct pt_leaf l;

			pt_lookup(&pt, b * 512 + 300, &l);
			if (l.kind != PT_LEAF || l.pfn != b * 512 + 300 + 512)
				__atomic_store_n(&hole_seen, true, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

static void test_concurrent(void)
{
	bool flush = false;
	pthread_t t;

	pt_init(&pt, &pt_ept, NULL);
	for (u64 b = 0; b < BLOCKS; b++)
		pt_map(&pt, b * 512, b * 512 + 512, 9, RIGHTS);
	pthread_create(&t, NULL, walker, NULL);
	for (u64 b = 0; b < BLOCKS; b++) {
		struct pt_change c = {.clear = PT_W};

		if (b % 2)
			pt_unmap(&pt, b * 512, 1 + b % 300, 1000, &flush, NULL, NULL);
		else
			pt_protect(&pt, b * 512 + 511, 1, &c, 10, &flush, NULL);
	}
	__atomic_store_n(&stop_walker, true, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	CHECK(!hole_seen,
	      "a concurrent walker always finds the rest of a page that is being split");
	pt_destroy(&pt);
}

/* The formats of IOMMUs, with each size of page, read as their hardware reads them. */
static void test_iommu(void)
{
	static const u32 orders[] = {0, 9, 18};
	bool vtd = true, amdvi = true;

	for (u32 i = 0; i < ARRAY_SIZE(orders) * 2; i++) {
		struct pt_format f = i % 2 ? pt_amdvi : pt_vtd;
		u64 end = BIT(18) * 2 + 513;
		bool flush = false, good = true;

		f.max_order = orders[i / 2];
		pt_init(&pt, &f, NULL);
		good &= !pt_map_identity(&pt, 1, end, PT_R | PT_W);
		good &= pt_unmap(&pt, BIT(18) + 5, 1, 1000, &flush, NULL, NULL) == 1;
		for (u64 fn = 0; fn < end + 3; fn += fn < BIT(18) + 600 ? 1 : 511) {
			u64 at = fn << 12 | 0xabc, to = at;
			u64 sees = i % 2 ? walk_amdvi(pt_root(&pt, 4).v, 4, at)
					 : walk_vtd(pt_root(&pt, 4).v, 4, at);

			if (!fn || fn == BIT(18) + 5 || fn >= end)
				to = 0;
			good &= sees == to;
			if (!(i % 2))
				good &= walk_vtd(pt_root(&pt, 3).v, 3, at) == to;
		}
		pt_reap(&pt);
		pt_destroy(&pt);
		vtd &= good || i % 2;
		amdvi &= good || !(i % 2);
	}
	CHECK(vtd, "VT-d finds its way by three levels and by four, also where pages were split");
	CHECK(amdvi, "so does AMD-Vi, to which each entry says the level below");
	pt_init(&pt, &pt_vtd, NULL);
	CHECK(PANICS(pt_root(&pt, 3)) && PANICS(pt_root(&pt, 5)),
	      "what has no table for three levels, or would need five, is refused");
	pt_destroy(&pt);
}

int main(void)
{
	arena_init(0x4000000);
	pool_init(0x100000, 0x4000000);
	test_concurrent();
	if (ONLY_THREADS)
		return test_end();
	test_raw();
	test_limits();
	test_iommu();
	test_random(&pt_npt);
	test_random(&pt_ept);
	test_random(&pt_ept_ad);
	test_random(&pt_host);
	return test_end();
}
