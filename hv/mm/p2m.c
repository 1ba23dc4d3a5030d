/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flush discipline of everything that takes something away: change the tables, bump tlb_gen,
 * wait until no CPU is in the guest with an older generation, and only then drop references and
 * free tables. The lock is held all the while.
 */
#include "hv/mm/p2m.h"
#include "hv/mm/mtrr.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/frame.h"

#define P2M_RUN_SHIFT	  20u
#define UNMAP_BUDGET	  (u32)(PAGE_SIZE / sizeof(u64)) /* one run per unit of work at most */
#define UNMAP_BATCHES	  4u /* per call; the lock is free between two */
#define CHANGE_BUDGET	  8192u
#define LAPIC_DEFAULT_GFN 0xfee00ull
#define PT_RIGHTS	  (PT_R | PT_W | PT_X)

_Static_assert(52 - PAGE_SHIFT + P2M_RUN_SHIFT <= 64, "a run has room for any frame");

static void (*flush_wait)(struct vm *vm);
bool p2m_nx_large;

void p2m_set_flush_wait(void (*wait)(struct vm *vm))
{
	flush_wait = wait;
}

u64 p2m_gfn_end(void)
{
	return MIN(PT_FN_END, pt_frames_end);
}

static bool range_ok(u64 gfn, u64 count)
{
	u64 end = p2m_gfn_end();

	return count && gfn < end && count <= end - gfn;
}

static void flush_cpus(struct p2m *p)
{
	flush_wait(p->vm);
}

static void flush_locked(struct p2m *p)
{
	ASSERT_HELD(&p->lock);
	__atomic_add_fetch(&p->tlb_gen, 1, __ATOMIC_SEQ_CST);
	p->flush(p);
}

static int make_tables(struct p2m *p, const struct pt_format *fmt, struct account *acct,
		       struct account *tables)
{
	BUG_ON(!fmt->table);
	if (pt_init(&p->pt, fmt, acct))
		return -ENOMEM;
	p->pt.acct = tables;
	return 0;
}

int p2m_init(struct p2m *p, struct vm *vm, bool is_dom0, struct account *acct,
	     struct account *tables)
{
	const struct pt_format *fmt = is_dom0 ? &pt_guest : &pt_ram;

	*p = (struct p2m){.lock = LOCK_INIT(LOCK_P2M),
			  .vm = vm,
			  .flush = flush_cpus,
			  .is_dom0 = is_dom0,
			  .tlb_gen = 1};
	return make_tables(p, fmt, acct, tables);
}

int p2m_init_devices(struct p2m *p, const struct pt_format *fmt, void (*flush)(struct p2m *p),
		     struct account *acct)
{
	*p = (struct p2m){.lock = LOCK_INIT(LOCK_P2M), .flush = flush, .tlb_gen = 1};
	return make_tables(p, fmt, acct, acct);
}

/* The large page of *gfn, which cannot be split: *gfn becomes its first, returns its size. */
static u64 whole_page(struct p2m *p, u64 *gfn)
{
	struct pt_leaf leaf;

	pt_lookup(&p->pt, *gfn, &leaf);
	BUG_ON(leaf.kind != PT_LEAF || !leaf.order);
	*gfn = ALIGN_DOWN(*gfn, BIT(leaf.order));
	return BIT(leaf.order);
}

static void put_later(void *ctx, u64 pfn, u64 count)
{
	struct p2m *p = ctx;

	BUG_ON(p->runs_nr >= UNMAP_BUDGET || count >> P2M_RUN_SHIFT);
	p->runs[p->runs_nr++] = pfn << P2M_RUN_SHIFT | count;
}

void p2m_settle_locked(struct p2m *p, bool flush)
{
	ASSERT_HELD(&p->lock);
	BUG_ON((!flush && (p->runs_nr || p->pt.cut)));
	if (flush)
		flush_locked(p);
	for (u32 i = 0; i < p->runs_nr; i++) {
		u64 count = p->runs[i] & (BIT(P2M_RUN_SHIFT) - 1);

		BUG_ON(p->mapped < count);
		p->mapped -= count;
		frame_put(p->runs[i] >> P2M_RUN_SHIFT, count);
	}
	p->runs_nr = 0;
	pt_reap(&p->pt);
}

/* One batch of an unmap; returns gfns done. 0: a device's large page cannot be split, and stays. */
static u64 unmap_locked(struct p2m *p, u64 gfn, u64 count)
{
	pt_put_fn *put = p->is_dom0 ? NULL : put_later;
	u64 runs[UNMAP_BUDGET];
	bool flush = false;
	s64 done;

	ASSERT_HELD(&p->lock);
	p->runs = runs;
	done = pt_unmap(&p->pt, gfn, count, UNMAP_BUDGET, &flush, put, p);
	if (done == -ENOMEM && p->flush != flush_cpus) {
		p->runs = NULL;
		return 0; /* a device does not wait for what may come back */
	}
	if (done == -ENOMEM) {
		u64 first = gfn, span = whole_page(p, &first);

		done = pt_unmap(&p->pt, first, span, UNMAP_BUDGET, &flush, put, p);
		p->torn = true;
		BUG_ON(done != (s64)span);
		done = (s64)MIN(count, first + span - gfn);
	}
	BUG_ON(done <= 0);
	p2m_settle_locked(p, flush);
	p->runs = NULL;
	return (u64)done;
}

static u64 unmap_batches(struct p2m *p, u64 gfn, u64 count)
{
	u64 done = 0;

	for (u32 i = 0; i < UNMAP_BATCHES && done < count; i++) {
		lock_acquire(&p->lock);
		done += unmap_locked(p, gfn + done, count - done);
		lock_release(&p->lock);
	}
	return done;
}

s64 p2m_unmap(struct p2m *p, u64 gfn, u64 count)
{
	u64 there = MIN(count, p2m_gfn_end() - MIN(gfn, p2m_gfn_end())), done;

	if (p->is_dom0)
		return -EPERM;
	if (!count)
		return -EINVAL;
	done = unmap_batches(p, gfn, there);
	if (!done && there)
		return -ENOMEM;
	if (done == there)
		done = MIN(count, BIT(62)); /* beyond the end of the tables there is nothing */
	return (s64)done;
}

int p2m_destroy(struct p2m *p)
{
	u64 end = p2m_gfn_end();

	p->destroyed += unmap_batches(p, p->destroyed, end - p->destroyed);
	if (p->destroyed < end)
		return -EAGAIN;
	BUG_ON(p->mapped || p->runs_nr || p->pt.cut);
	pt_destroy(&p->pt);
	return 0;
}

/* By protection; of large pages always. */
static const struct pt_change log_protect = {
    .match = PT_W, .clear = PT_W | PT_DIRTY, .set = PT_LOG};
static const struct pt_change log_release = {
    .match = PT_LOG, .clear = PT_LOG, .set = PT_W | PT_DIRTY};
/* By dirty flags: clean, and what is left of a large page when one of its pages is written. */
static const struct pt_change log_clean = {
    .match = PT_W | PT_DIRTY, .clear = PT_DIRTY, .large = &log_protect};
static const struct pt_change log_let = {
    .match = PT_LOG, .clear = PT_LOG, .set = PT_W, .large = &log_release};
static const struct pt_change log_look = {.match = PT_W | PT_DIRTY};
static const struct pt_change log_mark = {.match = PT_W, .set = PT_DIRTY};

static const struct pt_change *log_start(const struct p2m *p)
{
	return p->pt.fmt->dirty ? &log_clean : &log_protect;
}

/* Change leaves, and tell in the bitmap, if any, which these are; a large one that cannot be split
 * is released as a whole: its other pages then count as dirty. */
static s64 change_locked(struct p2m *p, u64 gfn, u64 count, const struct pt_change *c, u64 *bitmap)
{
	bool flush = false;
	s64 done;

	ASSERT_HELD(&p->lock);
	BUG_ON(p->is_dom0);
	done = pt_protect(&p->pt, gfn, count, c, CHANGE_BUDGET, &flush, bitmap);
	if (done == -ENOMEM && c == &log_release) {
		u64 first = gfn, span = whole_page(p, &first);

		done = pt_protect(&p->pt, first, span, c, CHANGE_BUDGET, &flush, NULL);
		BUG_ON(done != (s64)span);
		done = (s64)MIN(count, first + span - gfn);
	}
	if (flush)
		flush_locked(p);
	return done;
}

/* Memory is there already: fine if it is the same; rights only get wider. */
static int widen_locked(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr)
{
	struct pt_change c = {};
	struct pt_leaf leaf;
	s64 done;

	ASSERT_HELD(&p->lock);
	pt_lookup(&p->pt, gfn, &leaf);
	if (leaf.kind != PT_LEAF || leaf.pfn != pfn || leaf.order < order ||
	    ((attr & PT_ROM) && (leaf.attr & (PT_W | PT_LOG))))
		return -EEXIST;
	c.set = attr & ~leaf.attr;
	if (!c.set)
		return 0;
	if (c.set & PT_W) {
		c.clear = PT_LOG | PT_ROM;
		c.set |= PT_DIRTY;
	}
	done = change_locked(p, gfn, BIT(order), &c, NULL);
	return MIN(done, 0);
}

static int map_locked(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr)
{
	int err;

	ASSERT_HELD(&p->lock);
	BUG_ON(p2m_nx_large && order && attr & PT_X);
	if (p->starved) {
		p->starved = false;
		return -ENOMEM;
	}
	err = frame_get(pfn, BIT(order));
	if (err)
		return err;
	err = pt_map(&p->pt, gfn, pfn, order, attr | PT_DIRTY);
	if (err < 0) {
		frame_put(pfn, BIT(order));
		return err == -EEXIST ? widen_locked(p, gfn, pfn, order, attr) : err;
	}
	p->mapped += BIT(order);
	if (err) /* an MMIO mark has gone */
		__atomic_add_fetch(&p->tlb_gen, 1, __ATOMIC_SEQ_CST);
	return 0;
}

int p2m_map(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr)
{
	int err;

	if (p->is_dom0)
		return -EPERM;
	if ((order != 0 && order != 9) || !IS_ALIGNED(gfn | pfn, BIT(order)) ||
	    !range_ok(gfn, BIT(order)) || (attr & ~(PT_RIGHTS | PT_ROM)) || !(attr & PT_R) ||
	    (attr & (PT_W | PT_ROM)) == (PT_W | PT_ROM))
		return -EINVAL;
	if (p2m_nx_large && order && attr & PT_X)
		attr = (attr & ~PT_X) | PT_SMALL_X;
	lock_acquire(&p->lock);
	err = map_locked(p, gfn, pfn, order, attr);
	lock_release(&p->lock);
	return err;
}

int p2m_set_mmio(struct p2m *p, u64 gfn, u32 order)
{
	int err;

	lock_acquire(&p->lock);
	err = pt_set_mmio(&p->pt, gfn, order);
	lock_release(&p->lock);
	return err;
}

/* ---- dirty logging ---- */

static s64 change_range(struct p2m *p, u64 gfn, u64 count, const struct pt_change *c, u64 *bitmap)
{
	s64 done;

	if (p->is_dom0)
		return -EPERM;
	if (!range_ok(gfn, count))
		return -EINVAL;
	lock_acquire(&p->lock);
	done = change_locked(p, gfn, count, c, bitmap);
	lock_release(&p->lock);
	return done;
}

s64 p2m_dirty_start(struct p2m *p, u64 gfn, u64 count)
{
	return change_range(p, gfn, count, log_start(p), NULL);
}

s64 p2m_dirty_stop(struct p2m *p, u64 gfn, u64 count)
{
	return change_range(p, gfn, count, &log_release, NULL);
}

s64 p2m_dirty_read(struct p2m *p, u64 gfn, u64 count, u64 *bitmap, bool clear)
{
	const struct pt_change *c = clear ? log_start(p) : &log_look;
	bool torn = __atomic_exchange_n(&p->torn, false, __ATOMIC_ACQ_REL);
	s64 done = torn ? -ENOMEM : change_range(p, gfn, count, c, bitmap);

	if (done <= 0 || (u64)done == count)
		return done;
	/* What comes after the last whole word of the bitmap is looked at again. */
	done = ALIGN_DOWN(done, 64);
	return done ? done : -ENOMEM;
}

/* leaf is updated. */
static bool fix_write_locked(struct p2m *p, u64 gfn, struct pt_leaf *leaf)
{
	ASSERT_HELD(&p->lock);
	if (leaf->kind != PT_LEAF)
		return false;
	if (leaf->attr & PT_LOG) {
		change_locked(p, gfn, 1, &log_release, NULL);
		if (p->pt.fmt->dirty) /* the rest of a large page, now small ones */
			change_locked(p, ALIGN_DOWN(gfn, 512), 512, &log_let, NULL);
		pt_lookup(&p->pt, gfn, leaf);
	} else if ((leaf->attr & (PT_W | PT_DIRTY)) == PT_W) {
		change_locked(p, gfn, 1, &log_mark, NULL);
	}
	return leaf->attr & PT_W;
}

bool p2m_fix_write(struct p2m *p, u64 gfn)
{
	struct pt_leaf leaf;
	bool fixed;

	lock_acquire(&p->lock);
	pt_lookup(&p->pt, gfn, &leaf);
	fixed = fix_write_locked(p, gfn, &leaf);
	lock_release(&p->lock);
	return fixed;
}

/* ---- execution ---- */

static const struct pt_change exec_let = {.match = PT_SMALL_X, .clear = PT_SMALL_X, .set = PT_X};

static bool fix_exec_locked(struct p2m *p, u64 gfn)
{
	struct pt_leaf leaf;

	ASSERT_HELD(&p->lock);
	pt_lookup(&p->pt, gfn, &leaf);
	if (leaf.kind != PT_LEAF || !(leaf.attr & PT_SMALL_X))
		return leaf.kind == PT_LEAF && leaf.attr & PT_X;
	p->starved = change_locked(p, gfn, 1, &exec_let, NULL) < 0;
	if (!p->starved) /* the rest of what was large */
		change_locked(p, ALIGN_DOWN(gfn, 512), 512, &exec_let, NULL);
	return !p->starved;
}

bool p2m_fix_exec(struct p2m *p, u64 gfn)
{
	bool fixed;

	lock_acquire(&p->lock);
	fixed = fix_exec_locked(p, gfn);
	lock_release(&p->lock);
	return fixed;
}

/* ---- dom0 ---- */

/*
 * EPT alone decides the memory type there, so it says what the MTRRs do; with NPT these and dom0's
 * PAT decide, as on the bare machine.
 */
static u64 dom0_attr(bool wb)
{
	return P2M_DOM0_RAM | (!wb && pt_guest.wb ? PT_UC : 0);
}

int p2m_dom0_init(struct p2m *p, u64 limit)
{
	u64 stop = limit >> PAGE_SHIFT, pfn = 0, end;
	int err;

	lock_acquire(&p->lock);
	err = pt_set_mmio(&p->pt, LAPIC_DEFAULT_GFN, 0);
	for (; !err && frame_next_dom0(&pfn, &end) && pfn < stop; pfn = end)
		err = pt_map_identity(&p->pt, pfn, MIN(end, stop), dom0_attr(true));
	lock_release(&p->lock);
	return err;
}

/* A block, aligned, that is not all alike. */
static bool block_is_mixed(u64 pfn, u32 order)
{
	return frame_has_ram(pfn, BIT(order)) || mtrr_of(pfn, order) == MTRR_MIXED;
}

static bool dom0_fault_locked(struct p2m *p, u64 gfn)
{
	struct pt_leaf leaf;
	u32 order;

	ASSERT_HELD(&p->lock);
	BUG_ON(!p->is_dom0);
	pt_lookup(&p->pt, gfn, &leaf);
	if (leaf.kind == PT_LEAF) /* another CPU was faster; but a shared page has no PT_X */
		return leaf.attr & PT_X;
	if (leaf.kind == PT_MMIO || gfn >= p2m_gfn_end() || frame_has_ram(gfn, 1))
		return false;
	order = MIN(leaf.order, pt_guest.max_order);
	while (order && block_is_mixed(ALIGN_DOWN(gfn, BIT(order)), order))
		order -= 9;
	gfn = ALIGN_DOWN(gfn, BIT(order));
	return !pt_map(&p->pt, gfn, gfn, order, dom0_attr(mtrr_of(gfn, order) == MTRR_WB));
}

bool p2m_dom0_fault(struct p2m *p, gpa_t addr)
{
	bool mapped;

	lock_acquire(&p->lock);
	mapped = dom0_fault_locked(p, addr.v >> PAGE_SHIFT);
	lock_release(&p->lock);
	return mapped;
}

int p2m_dom0_share(struct p2m *p, hpa_t page)
{
	u64 pfn = page.v >> PAGE_SHIFT;
	int err;

	BUG_ON(!p->is_dom0 || !frame_of(pfn) || frame_of(pfn)->kind != FRAME_HV);
	lock_acquire(&p->lock);
	err = pt_map(&p->pt, pfn, pfn, 0, PT_R | PT_W | PT_DIRTY);
	if (!err)
		frame_set_kind(pfn, FRAME_SHARED);
	lock_release(&p->lock);
	return err;
}

void p2m_dom0_unshare(struct p2m *p, hpa_t page)
{
	u64 pfn = page.v >> PAGE_SHIFT;

	BUG_ON(!p->is_dom0 || !frame_of(pfn) || frame_of(pfn)->kind != FRAME_SHARED);
	lock_acquire(&p->lock);
	unmap_locked(p, pfn, 1);
	frame_set_kind(pfn, FRAME_HV);
	lock_release(&p->lock);
}

/* ---- access by the hypervisor ---- */

void p2m_lookup(struct p2m *p, u64 gfn, struct pt_leaf *out)
{
	if (gfn >= p2m_gfn_end() && !p->is_dom0) {
		*out = (struct pt_leaf){.kind = PT_MMIO};
		return;
	}
	lock_acquire(&p->lock);
	pt_lookup(&p->pt, gfn, out);
	lock_release(&p->lock);
}

/*
 * Map the page at `at`, NULL if it cannot be read (or written); to be unmapped under the same lock.
 */
static void *map_page_locked(struct p2m *p, u64 at, bool write)
{
	u64 pfn;

	ASSERT_HELD(&p->lock);
	if (unlikely(!pt_frame(&p->pt, at >> PAGE_SHIFT, write, &pfn))) {
		struct pt_leaf leaf;

		pt_lookup(&p->pt, at >> PAGE_SHIFT, &leaf);
		if (!write || !fix_write_locked(p, at >> PAGE_SHIFT, &leaf))
			return NULL;
		pfn = leaf.pfn;
	}
	return (u8 *)mm_map_temp(hpa(pfn << PAGE_SHIFT)) + at % PAGE_SIZE;
}

/*
 * dom0's own frames stay in its map: they may be touched without the lock, which all its CPUs would
 * fight for. What it lends is used when each CPU has been through its loop since.
 */
static bool is_fixed(const struct p2m *p, u64 at)
{
	const struct frame *f = frame_of(at >> PAGE_SHIFT);

	return p->is_dom0 && f && f->kind == FRAME_DOM0;
}

/*
 * Map the page at `at` and hold what keeps it mapped: the lock, unless it is fixed. NULL if it
 * cannot be read (or written).
 */
static void *get_page(struct p2m *p, u64 at, bool write)
{
	void *page;

	if (is_fixed(p, at))
		return (u8 *)mm_map_temp(hpa(at & PAGE_MASK)) + at % PAGE_SIZE;
	lock_acquire(&p->lock);
	page = map_page_locked(p, at, write);
	if (!page)
		lock_release(&p->lock);
	return page;
}

static void put_page(struct p2m *p)
{
	mm_unmap_temp();
	if (lock_is_held(&p->lock))
		lock_release(&p->lock);
}

int p2m_copy(struct p2m *p, gpa_t gpa, void *buf, size_t len, bool write)
{
	for (u64 at = gpa.v; len;) {
		size_t n = MIN(len, PAGE_SIZE - at % PAGE_SIZE);
		void *page = get_page(p, at, write);

		if (!page)
			return -EFAULT;
		if (write)
			memcpy(page, buf, n);
		else
			memcpy(buf, page, n);
		put_page(p);
		at += n;
		buf = (u8 *)buf + n;
		len -= n;
	}
	return 0;
}

int p2m_cmpxchg(struct p2m *p, gpa_t at, u64 old, u64 new, u32 size)
{
	u32 old32 = (u32)old;
	bool same;
	void *page;

	if ((size != sizeof(u32) && size != sizeof(u64)) || !IS_ALIGNED(at.v, size))
		return -EINVAL;
	page = get_page(p, at.v, true);
	if (!page)
		return -EFAULT;
	if (size == sizeof(u32))
		same = __atomic_compare_exchange_n((u32 *)page, &old32, (u32) new, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	else
		same = __atomic_compare_exchange_n((u64 *)page, &old, new, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_RELAXED);
	put_page(p);
	return same ? 0 : -EAGAIN;
}

bool p2m_unchanged(struct p2m *p, const struct p2m_words *w)
{
	bool same;

	lock_acquire(&p->lock);
	same = w->gen == p->tlb_gen && mm_compare(w->w, w->n);
	lock_release(&p->lock);
	return same;
}
