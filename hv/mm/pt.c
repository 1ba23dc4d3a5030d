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
 *                     |          '--> 2 MiB page (E_LARGE)
 *                     '--> 1 GiB page (E_LARGE)
 *
 * Hardware walks the tables while they change: a new table is filled before one store or
 * compare-exchange links it, and a table that is cut off keeps its memory until pt_reap(), after
 * the caller's flush. Except for a list link in the first entry of a cut-off table, which is
 * page-aligned and so not present in any format, nothing is written to tables that hardware may
 * still see. Empty tables do not exist (but for those of pt_entry()), so a large page fits where
 * all small ones have gone.
 */
#include "hv/mm/pt.h"
#include "hv/lib/asm.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define ENTRIES	   512u
#define LEVEL	   9u  /* index bits of a level: what an order grows by from level to level */
#define ROOT_ORDER 27u /* of an entry of the root */
#define ADDR	   GENMASK(51, 12)

/* Bits of entries in all formats, or in some */
#define E_PRESENT      PT_R
#define E_USER	       BIT(2)
#define E_EPT_X	       BIT(2)
#define E_UC	       (BIT(3) | BIT(4)) /* PCD|PWT: entry 3 of the reset-default PAT */
#define E_WC	       BIT(3)		 /* PWT: entry 1 of PAT_HOST */
#define E_ACCESSED     BIT(5)
#define E_DIRTY	       BIT(6)
#define E_LARGE	       BIT(7) /* a leaf above the lowest level */
#define E_NX	       BIT(63)
#define E_EPT_ACCESSED BIT(8)
#define E_EPT_DIRTY    BIT(9)
#define E_EPT_WB       FIELD_PREP(GENMASK(5, 3), 6)
#define E_EPT_IPAT     BIT(6)

#define SW_BITS (PT_SW_MMIO | PT_LOG | PT_ROM | PT_SMALL_X)
_Static_assert(!(SW_BITS & (ADDR | GENMASK(11, 0) | GENMASK(63, 57))),
	       "software bits where NPT, EPT and host tables all have none");
_Static_assert(BIT(ROOT_ORDER) * ENTRIES == PT_FN_END, "four levels");

u64 pt_frames_end = BIT(40);
struct pt_format pt_guest, pt_ram;

const struct pt_format pt_host = {
    .max_order = 9,
    .table = E_PRESENT | PT_W | E_ACCESSED,
    .leaf = E_ACCESSED,
    .nx = E_NX,
    .uc = E_UC,
    .wc = E_WC,
    .dirty = E_DIRTY,
};

/* APM "Nested Paging": guest accesses are user accesses to the nested tables, hence U everywhere.
 */
const struct pt_format pt_npt = {
    .max_order = 9,
    .table = E_PRESENT | PT_W | E_USER | E_ACCESSED,
    .leaf = E_USER | E_ACCESSED,
    .nx = E_NX,
    .uc = E_UC,
    .dirty = E_DIRTY,
};

const struct pt_format pt_ept = {
    .max_order = 9,
    .table = E_PRESENT | PT_W | E_EPT_X,
    .x = E_EPT_X,
    .wb = E_EPT_WB,
    .wb_only = E_EPT_WB | E_EPT_IPAT,
};

/* The same with accessed and dirty flags. */
const struct pt_format pt_ept_ad = {
    .max_order = 9,
    .table = E_PRESENT | PT_W | E_EPT_X | E_EPT_ACCESSED,
    .leaf = E_EPT_ACCESSED,
    .x = E_EPT_X,
    .wb = E_EPT_WB,
    .wb_only = E_EPT_WB | E_EPT_IPAT,
    .dirty = E_EPT_DIRTY,
};

/* VT-d specification "Second-Level Paging Entries": R and W lie as in EPT. */
const struct pt_format pt_vtd = {
    .max_order = 9,
    .table = E_PRESENT | PT_W,
};

/*
 * AMD IOMMU specification "I/O Page Tables": rights are bits of their own, what an entry points to
 * is told by its level, 0 for a page; bits 1 to 4, 7 and 8 are ignored, so E_LARGE may stay.
 */
#define E_VI_IR BIT(61)
#define E_VI_IW BIT(62)
#define E_VI_FC BIT(60) /* coherent */
const struct pt_format pt_amdvi = {
    .max_order = 9,
    .table = E_PRESENT | E_VI_IR | E_VI_IW,
    .level = BIT(9),
    .leaf = E_VI_IR | E_VI_FC,
    .w = E_VI_IW,
};

static u32 index_of(u64 fn, u32 order)
{
	return (fn >> order) % ENTRIES;
}

/* First frame number after the entry of this order that holds fn. */
static u64 next_of(u64 fn, u32 order)
{
	return (fn | (BIT(order) - 1)) + 1;
}

static u64 *table_of(u64 e)
{
	return hpa_to_virt(hpa(e & ADDR));
}

static bool is_table(u64 e, u32 order)
{
	return order && (e & (E_PRESENT | E_LARGE)) == E_PRESENT;
}

u64 pt_leaf_raw(const struct pt_format *f, u64 pfn, u32 order, u64 attr)
{
	u64 raw = pfn << PAGE_SHIFT | f->leaf | (attr & PT_SAME);

	BUG_ON(!(attr & PT_R) || pfn >= pt_frames_end);
	raw |= attr & PT_W ? f->w : 0;
	raw |= attr & PT_X ? f->x : f->nx;
	raw |= attr & PT_UC ? f->uc : f->wb;
	raw |= attr & PT_WC ? f->wc : 0;
	if (attr & PT_DIRTY)
		raw |= f->dirty;
	if (order)
		raw |= E_LARGE;
	return raw;
}

static u64 attr_of(const struct pt_format *f, u64 e)
{
	u64 attr = e & PT_SAME;

	if ((e & (f->x | f->nx)) == f->x)
		attr |= PT_X;
	if ((e & (f->wb | f->uc)) == f->uc)
		attr |= PT_UC;
	if ((e & f->dirty) == f->dirty)
		attr |= PT_DIRTY;
	return attr;
}

/* pfn of the frame fn in the leaf e of this order. */
static u64 leaf_pfn(u64 e, u32 order, u64 fn)
{
	return ((e & ADDR) >> PAGE_SHIFT) + (fn & (BIT(order) - 1));
}

/*
 * Walk down to the entry for fn of order *order, or to the leaf or hole above it; *order is then
 * its order, and *v its value: each entry is read once, since it may be split meanwhile. Part of
 * each access to a guest's memory, so inline.
 */
static inline __attribute__((always_inline)) u64 *descend(const struct pt *t, u64 fn, u32 *order,
							  u64 *v)
{
	u64 *table = hpa_to_virt(t->root), *e;
	u32 at = ROOT_ORDER;

	for (;; at -= LEVEL) {
		e = &table[index_of(fn, at)];
		*v = __atomic_load_n(e, __ATOMIC_ACQUIRE);
		if (at == *order || !is_table(*v, at))
			break;
		table = table_of(*v);
	}
	*order = at;
	return e;
}

/* The entry that points to a table whose entries are of this order. */
static u64 table_raw(const struct pt_format *f, const u64 *table, u32 order)
{
	return virt_to_hpa(table).v | f->table | f->level * (order / LEVEL + 1);
}

static void write_entries(const struct pt_format *f, const u64 *e, u32 count)
{
	if (f->write_back)
		cache_write_back(e, count * sizeof(*e));
}

/*
 * Put raw, an entry of this order, below the hole e: the tables between are built bottom-up around
 * it and linked last, so that -ENOMEM leaves no trace.
 */
static int fill_hole(struct pt *t, u64 *e, u32 hole, u64 fn, u32 order, u64 raw)
{
	BUG_ON(*e & E_PRESENT || order > hole);
	for (u32 at = order; at < hole; at += LEVEL) {
		u64 *table = pool_alloc(0, t->acct);

		if (!table) {
			while (at > order) {
				at -= LEVEL;
				table = table_of(raw);
				raw = table[index_of(fn, at)];
				pool_free(table, 0, t->acct);
			}
			return -ENOMEM;
		}
		table[index_of(fn, at)] = raw;
		write_entries(t->fmt, table, ENTRIES);
		raw = table_raw(t->fmt, table, at);
	}
	__atomic_store_n(e, raw, __ATOMIC_RELEASE);
	write_entries(t->fmt, e, 1);
	return 0;
}

int pt_init(struct pt *t, const struct pt_format *fmt, struct account *acct)
{
	void *root = pool_alloc(0, acct);

	if (!root)
		return -ENOMEM;
	write_entries(fmt, root, ENTRIES);
	*t = (struct pt){.fmt = fmt, .root = virt_to_hpa(root), .acct = acct, .root_acct = acct};
	return 0;
}

static void free_tables(struct pt *t, u64 *table, u32 order)
{
	for (u32 i = 0; i < ENTRIES; i++)
		if (is_table(table[i], order))
			free_tables(t, table_of(table[i]), order - LEVEL);
	if (order == ROOT_ORDER)
		pool_free(table, 0, t->root_acct);
	else
		pool_free(table, 0, t->acct);
}

void pt_destroy(struct pt *t)
{
	BUG_ON(!t->root.v);
	pt_reap(t);
	free_tables(t, hpa_to_virt(t->root), ROOT_ORDER);
	t->root = hpa(0);
}

void pt_lookup(const struct pt *t, u64 fn, struct pt_leaf *out)
{
	u32 order = 0;
	u64 v;

	*out = (struct pt_leaf){.order = ROOT_ORDER};
	if (fn >= PT_FN_END)
		return;
	descend(t, fn, &order, &v);
	out->order = order;
	if (v & E_PRESENT) {
		out->kind = PT_LEAF;
		out->pfn = leaf_pfn(v, order, fn);
		out->attr = attr_of(t->fmt, v);
	} else if (v) {
		out->kind = PT_MMIO;
	}
}

bool pt_frame(const struct pt *t, u64 fn, bool write, u64 *pfn)
{
	u64 v, need = E_PRESENT;
	u32 order = 0;

	if (fn >= PT_FN_END)
		return false;
	descend(t, fn, &order, &v);
	*pfn = leaf_pfn(v, order, fn);
	if (write)
		need |= PT_W | t->fmt->dirty;
	return (v & need) == need;
}

/* Put raw where nothing is but a hole or an MMIO mark. 1: it was a mark. */
static int put_entry(struct pt *t, u64 fn, u32 order, u64 raw)
{
	u32 at = order;
	u64 old, *e = descend(t, fn, &at, &old);
	int err;

	if (old & E_PRESENT)
		return -EEXIST;
	if (old == PT_SW_MMIO && raw == PT_SW_MMIO)
		return 0;
	err = fill_hole(t, e, at, fn, order, raw);
	return err ? err : old != 0;
}

int pt_map(struct pt *t, u64 fn, u64 pfn, u32 order, u64 attr)
{
	if (order % LEVEL || order > t->fmt->max_order || !(attr & PT_R) ||
	    !IS_ALIGNED(fn | pfn, BIT(order)) || fn >= PT_FN_END || pfn >= pt_frames_end)
		return -EINVAL;
	return put_entry(t, fn, order, pt_leaf_raw(t->fmt, pfn, order, attr));
}

int pt_map_identity(struct pt *t, u64 pfn, u64 end, u64 attr)
{
	while (pfn < end) {
		u32 order = t->fmt->max_order;
		int err;

		while (order && (!IS_ALIGNED(pfn, BIT(order)) || end - pfn < BIT(order)))
			order -= LEVEL;
		err = pt_map(t, pfn, pfn, order, attr);
		if (err)
			return err;
		pfn += BIT(order);
	}
	return 0;
}

hpa_t pt_root(const struct pt *t, u32 levels)
{
	u64 first = *(u64 *)hpa_to_virt(t->root);

	BUG_ON(levels != 3 && levels != 4);
	if (levels == 4)
		return t->root;
	BUG_ON(!is_table(first, ROOT_ORDER));
	return hpa(first & ADDR);
}

int pt_set_mmio(struct pt *t, u64 fn, u32 order)
{
	BUG_ON(order && order != LEVEL);
	if (fn >= PT_FN_END || !IS_ALIGNED(fn, BIT(order)))
		return -EINVAL;
	return put_entry(t, fn, order, PT_SW_MMIO);
}

u64 *pt_entry(struct pt *t, u64 fn)
{
	u64 *e, old;
	u32 at = 0;

	e = descend(t, fn, &at, &old);
	if (!at)
		return e;
	if (old & E_PRESENT || fill_hole(t, e, at, fn, 0, 0))
		return NULL;
	at = 0;
	return descend(t, fn, &at, &old);
}

/* A range operation under way: [fn, end) is still to do. */
struct range {
	struct pt *t;
	u64 fn, end;
	s64 budget;
	bool *flush;
	const struct pt_change *change; /* NULL: unmap */
	u64 first, *bitmap;		/* for change; bit 0 is that of the frame first */
	pt_put_fn *put;			/* for unmap, with ctx */
	void *ctx;
};

static bool range_covers(const struct range *r, u32 order)
{
	return IS_ALIGNED(r->fn, BIT(order)) && r->end - r->fn >= BIT(order);
}

/*
 * Replace the leaf *e by a table of the same smaller leaves; 1: look again. Hardware may set A and
 * D meanwhile.
 */
static int range_split(struct range *r, u64 *e, u64 v, u32 order)
{
	u64 *table = pool_alloc(0, r->t->acct), small = order - LEVEL, raw;

	BUG_ON(!order || !(v & E_LARGE));
	if (!table)
		return -ENOMEM;
	raw = table_raw(r->t->fmt, table, small);
	do {
		u64 first = small ? v : v & ~E_LARGE;

		for (u32 i = 0; i < ENTRIES; i++)
			table[i] = first + (BIT(small) * i << PAGE_SHIFT);
		write_entries(r->t->fmt, table, ENTRIES);
	} while (
	    !__atomic_compare_exchange_n(e, &v, raw, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	write_entries(r->t->fmt, e, 1);
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
	BUG_ON(r->t->cut & ~ADDR); /* or the link would look like something */
	WRITE_ONCE(*e, 0);
	write_entries(r->t->fmt, e, 1);
	WRITE_ONCE(table[0], r->t->cut);
	r->t->cut = virt_to_hpa(table).v;
	*r->flush = true;
}

/* The leaf *e, the range's next: 0 done, 1 split (look again), or -ENOMEM. */
static int unmap_leaf(struct range *r, u64 *e, u64 v, u32 order)
{
	if (!range_covers(r, order))
		return range_split(r, e, v, order);
	v = __atomic_exchange_n(e, 0, __ATOMIC_ACQ_REL);
	write_entries(r->t->fmt, e, 1);
	*r->flush = true;
	r->budget -= BIT(order) / 16;
	if (r->put)
		r->put(r->ctx, leaf_pfn(v, order, r->fn), BIT(order));
	return 0;
}

/* Likewise. */
static int change_leaf(struct range *r, u64 *e, u64 v, u32 order)
{
	const struct pt_format *f = r->t->fmt;
	const struct pt_change *c = r->change;
	u64 attr, new, raw;

	if (order && c->large)
		c = c->large;
	do {
		attr = attr_of(f, v);
		if ((attr & c->match) != c->match)
			return 0;
		new = (attr & ~c->clear) | c->set;
		if (new == attr)
			break;
		if (!range_covers(r, order))
			return range_split(r, e, v, order);
		raw = pt_leaf_raw(f, leaf_pfn(v, 0, 0), order, new);
	} while (
	    !__atomic_compare_exchange_n(e, &v, raw, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	write_entries(f, e, 1);
	if ((attr & ~new & ~(PT_LOG | PT_ROM | PT_SMALL_X)) || ((attr ^ new) & PT_UC))
		*r->flush = true;
	if (r->bitmap) {
		u64 stop = MIN(r->end, next_of(r->fn, order)) - r->first;

		for (u64 i = r->fn - r->first; i < stop; i++)
			r->bitmap[i / 64] |= BIT(i % 64);
	}
	return 0;
}

/* Visit the entries of the range in one table. -EAGAIN when the budget is spent. */
static int range_walk(struct range *r, u64 *table, u32 order)
{
	u64 stop = MIN(r->end, next_of(r->fn, order + LEVEL));
	bool unmap = !r->change;

	while (r->fn < stop) {
		u64 *e = &table[index_of(r->fn, order)], v = READ_ONCE(*e);
		int err = 0;

		if (is_table(v, order)) {
			u64 *child = table_of(v);

			err = range_walk(r, child, order - LEVEL);
			if (unmap && is_empty(child))
				cut_off(r, e, child);
			if (err)
				return err;
			continue;
		}
		if (r->budget <= 0)
			return -EAGAIN;
		if (v & E_PRESENT) {
			err = unmap ? unmap_leaf(r, e, v, order) : change_leaf(r, e, v, order);
		} else if (v && unmap) {
			WRITE_ONCE(*e, 0);
			*r->flush = true;
		}
		if (err < 0)
			return err;
		if (!err) {
			r->fn = MIN(r->end, next_of(r->fn, order));
			r->budget--;
		}
	}
	return 0;
}

static s64 range_run(struct range *r, u64 count)
{
	u64 fn = r->fn;
	int err;

	if (fn > PT_FN_END || count > PT_FN_END - fn)
		return -EINVAL;
	BUG_ON(r->budget <= 0);
	r->end = fn + count;
	err = range_walk(r, hpa_to_virt(r->t->root), ROOT_ORDER);
	return err == -ENOMEM && r->fn == fn ? err : (s64)(r->fn - fn);
}

s64 pt_unmap(struct pt *t, u64 fn, u64 count, u32 budget, bool *flush, pt_put_fn *put, void *ctx)
{
	struct range r = {
	    .t = t, .fn = fn, .budget = budget, .flush = flush, .put = put, .ctx = ctx};

	return range_run(&r, count);
}

void pt_reap(struct pt *t)
{
	while (t->cut) {
		u64 *table = table_of(t->cut);

		t->cut = table[0];
		pool_free(table, 0, t->acct);
	}
}

s64 pt_protect(struct pt *t, u64 fn, u64 count, const struct pt_change *c, u32 budget, bool *flush,
	       u64 *bitmap)
{
	struct range r = {.t = t,
			  .fn = fn,
			  .budget = budget,
			  .flush = flush,
			  .change = c,
			  .first = fn,
			  .bitmap = bitmap};

	return range_run(&r, count);
}
