/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The page-table walker. A frame number is cut into indices of 9 bits, one per level:
 *
 *      35      27 26      18 17       9 8        0
 *     +----------+----------+----------+----------+
 *  fn | level 3  | level 2  | level 1  | level 0  |
 *     +----+-----+----+-----+----+-----+----+-----+
 *  root    |          |          |          |
 *    '--> [e]--table [e]--table [e]--table [e]--> 4 KiB page
 *                     |          '--> 2 MiB page (leaf_large)
 *                     '--> 1 GiB page (leaf_large)
 *
 * Hardware walks the tables while they change: a new table is filled before one store or
 * compare-exchange links it, and a table that is cut off keeps its memory until pt_reap(), after
 * the caller's flush. Except for a list link in the first entry of a cut-off table, which is
 * page-aligned and so not present in any format, nothing is written to tables that hardware may
 * still see. Empty tables do not exist (but for those of pt_entry()), so a large page fits where
 * all small ones have gone.
 */
#include "hv/mm/pt.h"
#include "hv/mm/mm.h"

#define ENTRIES 512u
#define SW_MMIO BIT(52) /* ignored by hardware in every format, as 53 and 54 */
#define SW_LOG	BIT(53)
#define SW_ROM	BIT(54)

/* clang-format off */
/*
 * SDM "4-Level Paging", APM "Long-Mode Page Translation". PCD|PWT selects entry 3 of the
 * reset-default PAT: UC.
 */
struct pt_format pt_host = {
	.name = "host", .levels = 4, .max_leaf = 1,
	.present = BIT(0), .table = BIT(0) | BIT(1) | BIT(5), .leaf_large = BIT(7),
	.addr_mask = GENMASK(51, 12),
	.leaf = BIT(0), .r = BIT(0), .w = BIT(1), .nx = BIT(63), .user = BIT(2), .global = BIT(8),
	.accessed = BIT(5), .dirty = BIT(6), .type_uc = BIT(3) | BIT(4),
	.type_mask = BIT(3) | BIT(4),
	.log = SW_LOG, .rom = SW_ROM, .mmio = SW_MMIO,
};

/*
 * APM "Nested Paging": guest accesses are user accesses to the nested tables, hence U everywhere.
 */
struct pt_format pt_npt = {
	.name = "npt", .levels = 4, .max_leaf = 1,
	.present = BIT(0), .table = BIT(0) | BIT(1) | BIT(2) | BIT(5), .leaf_large = BIT(7),
	.addr_mask = GENMASK(51, 12),
	.leaf = BIT(0) | BIT(2), .r = BIT(0), .w = BIT(1), .nx = BIT(63),
	.accessed = BIT(5), .dirty = BIT(6), .type_uc = BIT(3) | BIT(4),
	.type_mask = BIT(3) | BIT(4),
	.log = SW_LOG, .rom = SW_ROM, .mmio = SW_MMIO,
};

/*
 * SDM "The Extended Page Table Mechanism (EPT)"; accessed and dirty flags are added where the CPU
 * has them. Memory types: 0 UC, 6 WB.
 */
struct pt_format pt_ept = {
	.name = "ept", .levels = 4, .max_leaf = 1,
	.present = BIT(0) | BIT(1) | BIT(2), .table = BIT(0) | BIT(1) | BIT(2),
	.leaf_large = BIT(7),
	.addr_mask = GENMASK(51, 12), .r = BIT(0), .w = BIT(1), .x = BIT(2),
	.type_wb = FIELD_PREP(GENMASK(5, 3), 6), .type_mask = GENMASK(5, 3),
	.log = SW_LOG, .rom = SW_ROM, .mmio = SW_MMIO,
};
/* clang-format on */

static u32 index_of(u64 fn, u32 level)
{
	return (fn >> (9 * level)) % ENTRIES;
}

static u64 span_of(u32 level)
{
	return BIT(9 * level);
}

/* First frame number after the entry of this level that holds fn. */
static u64 next_of(u64 fn, u32 level)
{
	return (fn | (span_of(level) - 1)) + 1;
}

static u64 *table_of(const struct pt_format *f, u64 e)
{
	return hpa_to_virt(hpa(e & f->addr_mask));
}

static bool is_leaf(const struct pt_format *f, u64 e, u32 level)
{
	return !level || (e & f->leaf_large);
}

static bool is_table(const struct pt_format *f, u64 e, u32 level)
{
	return (e & f->present) && !is_leaf(f, e, level);
}

u64 pt_leaf_raw(const struct pt_format *f, u64 pfn, u32 level, u64 attr)
{
	return (pfn << PAGE_SHIFT) | f->leaf | (level ? f->leaf_large : 0) |
	       (attr & PT_R ? f->r : 0) | (attr & PT_W ? f->w : 0) | (attr & PT_X ? f->x : f->nx) |
	       (attr & PT_USER ? f->user : 0) | (attr & PT_UC ? f->type_uc : f->type_wb) |
	       (attr & PT_DIRTY ? f->dirty : 0) | (attr & PT_ACC ? f->accessed : 0) |
	       (attr & PT_GLOBAL ? f->global : 0) | (attr & PT_LOG ? f->log : 0) |
	       (attr & PT_ROM ? f->rom : 0);
}

static u64 attr_of(const struct pt_format *f, u64 e)
{
	bool exec = f->x ? e & f->x : !(e & f->nx);

	return (e & f->r ? PT_R : 0) | (e & f->w ? PT_W : 0) | (exec ? PT_X : 0) |
	       (e & f->user ? PT_USER : 0) | ((e & f->type_mask) == f->type_uc ? PT_UC : 0) |
	       (e & f->dirty ? PT_DIRTY : 0) | (e & f->accessed ? PT_ACC : 0) |
	       (e & f->global ? PT_GLOBAL : 0) | (e & f->log ? PT_LOG : 0) |
	       (e & f->rom ? PT_ROM : 0);
}

/* pfn of the frame fn in the leaf e of this order. */
static u64 leaf_pfn(const struct pt_format *f, u64 e, u32 order, u64 fn)
{
	return ((e & f->addr_mask) >> PAGE_SHIFT) + (fn & (BIT(order) - 1));
}

/*
 * Walk down to the entry for fn at level *at, or to the leaf or hole above it; *at is then its
 * level.
 */
static u64 *descend(const struct pt *t, u64 fn, u32 *at)
{
	const struct pt_format *f = t->fmt;
	u64 *table = hpa_to_virt(t->root);

	for (u32 level = f->levels - 1;; level--) {
		u64 *e = &table[index_of(fn, level)], v = READ_ONCE(*e);

		if (level == *at || !is_table(f, v, level)) {
			*at = level;
			return e;
		}
		table = table_of(f, v);
	}
}

/*
 * Put raw at level `level` below the hole e of level `hole`: the tables between are built bottom-up
 * around it and linked last, so that -ENOMEM leaves no trace.
 */
static int fill_hole(struct pt *t, u64 *e, u32 hole, u64 fn, u32 level, u64 raw)
{
	const struct pt_format *f = t->fmt;

	for (u32 l = level; l < hole; l++) {
		u64 *table = pool_alloc(0, t->acct);

		if (!table) {
			while (l-- > level) {
				table = table_of(f, raw);
				raw = table[index_of(fn, l)];
				pool_free(table, 0, t->acct);
			}
			return -ENOMEM;
		}
		table[index_of(fn, l)] = raw;
		raw = virt_to_hpa(table).v | f->table;
	}
	__atomic_store_n(e, raw, __ATOMIC_RELEASE);
	return 0;
}

/*
 * Replace the leaf *e of this level by a table of the same smaller leaves. Hardware may set A and D
 * meanwhile.
 */
static int split(struct pt *t, u64 *e, u32 level)
{
	const struct pt_format *f = t->fmt;
	u64 *table = pool_alloc(0, t->acct), v = READ_ONCE(*e);

	if (!table)
		return -ENOMEM;
	do {
		u64 first = level > 1 ? v : v & ~f->leaf_large;

		for (u32 i = 0; i < ENTRIES; i++)
			table[i] = first + ((span_of(level - 1) * i) << PAGE_SHIFT);
	} while (!__atomic_compare_exchange_n(e, &v, virt_to_hpa(table).v | f->table, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	return 0;
}

int pt_init(struct pt *t, const struct pt_format *fmt, struct account *acct)
{
	void *root = pool_alloc(0, acct);

	if (!root)
		return -ENOMEM;
	*t = (struct pt){.fmt = fmt, .root = virt_to_hpa(root), .acct = acct};
	return 0;
}

static void free_tables(struct pt *t, u64 *table, u32 level)
{
	for (u32 i = 0; level && i < ENTRIES; i++)
		if (is_table(t->fmt, table[i], level))
			free_tables(t, table_of(t->fmt, table[i]), level - 1);
	pool_free(table, 0, t->acct);
}

void pt_destroy(struct pt *t)
{
	pt_reap(t);
	free_tables(t, hpa_to_virt(t->root), t->fmt->levels - 1);
	t->root = hpa(0);
}

/*
 * The leaf that maps fn, or what is in its place, and its order. Each entry is read once: it may be
 * split meanwhile.
 */
static inline __attribute__((always_inline)) u64 find(const struct pt *t, u64 fn, u32 *order)
{
	const struct pt_format *f = t->fmt;
	const u64 present = f->present, large = f->leaf_large, mask = f->addr_mask,
		  *table = hpa_to_virt(t->root);
	u32 shift = 9 * (f->levels - 1);
	u64 v = 0;

	if (fn >> shift < ENTRIES) {
		for (;; shift -= 9) {
			v = READ_ONCE(table[(fn >> shift) % ENTRIES]);
			if (!(v & present) || !shift || v & large)
				break;
			table = hpa_to_virt(hpa(v & mask));
		}
	}
	*order = shift;
	return v;
}

void pt_lookup(const struct pt *t, u64 fn, struct pt_leaf *out)
{
	const struct pt_format *f = t->fmt;
	u64 v = find(t, fn, &out->order);

	out->kind = v & f->present ? PT_LEAF : v ? PT_MMIO : PT_NONE;
	out->pfn = out->attr = 0;
	if (out->kind == PT_LEAF) {
		out->pfn = leaf_pfn(f, v, out->order, fn);
		out->attr = attr_of(f, v);
	}
}

bool pt_frame(const struct pt *t, u64 fn, bool write, u64 *pfn)
{
	const struct pt_format *f = t->fmt;
	u32 order;
	u64 v = find(t, fn, &order);

	*pfn = leaf_pfn(f, v, order, fn);
	return v & f->present && (!write || (v & (f->w | f->dirty)) == (f->w | f->dirty));
}

int pt_map(struct pt *t, u64 fn, u64 pfn, u32 order, u64 attr)
{
	const struct pt_format *f = t->fmt;
	u32 level = order / 9, at = level;
	bool mark;
	u64 *e;

	if (order % 9 || level > f->max_leaf || !(attr & PT_R) ||
	    !IS_ALIGNED(fn | pfn, BIT(order)) || fn >= span_of(f->levels) ||
	    pfn > f->addr_mask >> PAGE_SHIFT)
		return -EINVAL;
	e = descend(t, fn, &at);
	if (*e & f->present)
		return -EEXIST;
	mark = *e;
	return fill_hole(t, e, at, fn, level, pt_leaf_raw(f, pfn, level, attr)) ?: mark;
}

int pt_set_mmio(struct pt *t, u64 fn)
{
	u32 at = 0;
	u64 *e;

	if (fn >= span_of(t->fmt->levels))
		return -EINVAL;
	e = descend(t, fn, &at);
	if (*e & t->fmt->present)
		return -EEXIST;
	return fill_hole(t, e, at, fn, 0, t->fmt->mmio);
}

u64 *pt_entry(struct pt *t, u64 fn)
{
	u32 at = 0;
	u64 *e = descend(t, fn, &at);

	if (at && ((*e & t->fmt->present) || fill_hole(t, e, at, fn, 0, 0)))
		return NULL;
	at = 0;
	return descend(t, fn, &at);
}

/* A range operation under way: [fn, end) is still to do. */
struct range {
	struct pt *t;
	u64 fn, end;
	s64 budget;
	bool *flush;
	pt_put_fn *put;
	void *ctx;
	const struct pt_change *change;
	u64 first, *bitmap;
};

/* Handles the present leaf *e, the range's next: 0 done, 1 split (look again), or -ENOMEM. */
typedef int leaf_fn(struct range *r, u64 *e, u64 v, u32 level);

static bool range_covers(const struct range *r, u32 level)
{
	return IS_ALIGNED(r->fn, span_of(level)) && r->end - r->fn >= span_of(level);
}

static int range_split(struct range *r, u64 *e, u32 level)
{
	int err = split(r->t, e, level);

	if (err)
		return err;
	*r->flush = true;
	return 1;
}

static bool is_empty(const u64 *table)
{
	for (u32 i = 0; i < ENTRIES; i++)
		if (table[i])
			return false;
	return true;
}

static void cut_off(struct range *r, u64 *e, u64 *table)
{
	WRITE_ONCE(*e, 0);
	WRITE_ONCE(table[0], r->t->cut);
	r->t->cut = virt_to_hpa(table).v;
	*r->flush = true;
}

/* Visit the entries of the range in one table of this level. -EAGAIN when the budget is spent. */
static int range_walk(struct range *r, u64 *table, u32 level, leaf_fn *leaf)
{
	const struct pt_format *f = r->t->fmt;
	u64 stop = MIN(r->end, next_of(r->fn, level + 1));

	while (r->fn < stop) {
		u64 *e = &table[index_of(r->fn, level)], v = READ_ONCE(*e), *child;
		int err = 0;

		if (is_table(f, v, level)) {
			child = table_of(f, v);
			err = range_walk(r, child, level - 1, leaf);
			if (r->put && is_empty(child))
				cut_off(r, e, child);
		} else if (r->budget <= 0) {
			err = -EAGAIN;
		} else if (v & f->present) {
			err = leaf(r, e, v, level);
		} else if (v && r->put) {
			WRITE_ONCE(*e, 0);
			*r->flush = true;
		}
		if (!err && !is_table(f, v, level)) {
			r->fn = MIN(r->end, next_of(r->fn, level));
			r->budget--;
		}
		if (err < 0)
			return err;
	}
	return 0;
}

static s64 range_run(struct range *r, u64 count, leaf_fn *leaf)
{
	u64 fn = r->fn, limit = span_of(r->t->fmt->levels);
	int err;

	if (fn > limit || count > limit - fn)
		return -EINVAL;
	r->end = fn + count;
	err = range_walk(r, hpa_to_virt(r->t->root), r->t->fmt->levels - 1, leaf);
	return err == -ENOMEM && r->fn == fn ? err : (s64)(r->fn - fn);
}

static int unmap_leaf(struct range *r, u64 *e, u64 v, u32 level)
{
	const struct pt_format *f = r->t->fmt;

	if (!range_covers(r, level))
		return range_split(r, e, level);
	v = __atomic_exchange_n(e, 0, __ATOMIC_ACQ_REL);
	*r->flush = true;
	r->budget -= span_of(level) / 16;
	r->put(r->ctx, r->fn, leaf_pfn(f, v, 9 * level, r->fn), span_of(level), attr_of(f, v));
	return 0;
}

s64 pt_unmap(struct pt *t, u64 fn, u64 count, u32 budget, bool *flush, pt_put_fn *put, void *ctx)
{
	struct range r = {
	    .t = t, .fn = fn, .budget = budget, .flush = flush, .put = put, .ctx = ctx};

	return range_run(&r, count, unmap_leaf);
}

void pt_reap(struct pt *t)
{
	while (t->cut) {
		u64 *table = hpa_to_virt(hpa(t->cut));

		t->cut = table[0];
		pool_free(table, 0, t->acct);
	}
}

static int protect_leaf(struct range *r, u64 *e, u64 v, u32 level)
{
	const struct pt_format *f = r->t->fmt;
	const struct pt_change *c = level && r->change->large ? r->change->large : r->change;
	u64 attr = attr_of(f, v), new;

	if ((attr & c->match) != c->match || ((attr & ~c->clear) | c->set) == attr)
		return 0;
	if (!range_covers(r, level))
		return range_split(r, e, level);
	do {
		attr = attr_of(f, v);
		new = (attr & ~c->clear) | c->set;
	} while (!__atomic_compare_exchange_n(
	    e, &v, pt_leaf_raw(f, (v & f->addr_mask) >> PAGE_SHIFT, level, new), false,
	    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	if ((attr & ~new & ~(PT_LOG | PT_ROM)) || ((attr ^ new) & PT_UC))
		*r->flush = true;
	return 0;
}

s64 pt_protect(struct pt *t, u64 fn, u64 count, const struct pt_change *c, u32 budget, bool *flush)
{
	struct range r = {.t = t, .fn = fn, .budget = budget, .flush = flush, .change = c};

	return range_run(&r, count, protect_leaf);
}

static int collect_leaf(struct range *r, u64 *e, u64 v, u32 level)
{
	const struct pt_format *f = r->t->fmt;
	u64 want =
	    (r->change->match & PT_W ? f->w : 0) | (r->change->match & PT_DIRTY ? f->dirty : 0);
	u64 stop = MIN(r->end, next_of(r->fn, level)) - r->first;
	int err;

	if ((v & want) != want)
		return 0;
	err = protect_leaf(r, e, v, level);
	for (u64 i = r->fn - r->first; !err && i < stop; i++)
		r->bitmap[i / 64] |= BIT(i % 64);
	return err;
}

s64 pt_collect(struct pt *t, u64 fn, u64 count, const struct pt_change *c, u32 budget, bool *flush,
	       u64 *bitmap)
{
	struct range r = {.t = t,
			  .fn = fn,
			  .budget = budget,
			  .flush = flush,
			  .change = c,
			  .first = fn,
			  .bitmap = bitmap};

	return range_run(&r, count, collect_leaf);
}
