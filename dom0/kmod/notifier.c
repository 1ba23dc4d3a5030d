// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a guest has mapped is taken away: by the MMU notifier, or because its slot changes.
 *
 * A guest may have mapped only what the VMM's page tables hold. So each invalidation of those is
 * announced (inv_count), then unmapped from the guest, then ended. A fault looks into those tables
 * and maps what it finds under mmu_lock, and only while no invalidation of it is in progress.
 *
 * The hypervisor's dirty log is in the guest's page tables: of what is unmapped it knows nothing
 * any more. Such pages count as dirty when the invalidation ends, and while it is in progress.
 */
#include "kmod.h"
#include "memory.h"

/*
 * A TiB of small pages takes seconds, so between the steps of what is long the CPU is given back:
 * wherever one may sleep. That is everywhere but in a notifier that must not block, by which the
 * OOM killer's victims are taken apart.
 */
enum may_sleep { NO_SLEEP, MAY_SLEEP };

#define MARK_PAGES (1ul << 20) /* marked as lost at a time: 128 KiB of bitmap */

/*
 * Long ones are done in steps by the hypervisor; on return no TLB holds the pages. 0, or why they
 * are still mapped. Tests have it fail.
 */
static noinline __noclone long try_unmap(u32 id, u64 gfn, u64 pages, enum may_sleep how)
{
	while (pages) {
		long done = HC3(UNMAP, id, gfn, pages);

		if (done == -ENOENT) /* the VM has gone, or the map, and what it had mapped */
			return 0;
		if (done <= 0 && done != -EAGAIN)
			return done ? done : -EIO;
		if (done > 0) {
			done = min_t(u64, done, pages);
			gfn += done;
			pages -= done;
		}
		if (how == MAY_SLEEP)
			cond_resched();
	}
	return 0;
}

/*
 * Who calls gives the pages to somebody else next. The hypervisor refuses nothing here; if it ever
 * does, the VM loses all of its memory and runs no more, and if that cannot be had either, nobody
 * in dom0 is safe from it.
 */
static void unmap_gfns(struct cb_vm *vm, u64 gfn, u64 pages, enum may_sleep how)
{
	u32 id = READ_ONCE(vm->id);
	long r = id ? try_unmap(id, gfn, pages, how) : 0;

	if (!r)
		return;
	WRITE_ONCE(vm->lost, true);
	pr_err("VM %u is ended: pages from %llx on cannot be unmapped (%ld); please report it\n",
	       id, gfn, r);
	r = try_unmap(id, 0, cb_gfn_end, how);
	if (!r)
		r = try_unmap(id, CORBEL_GFN_SMM, cb_gfn_end, how);
	if (r)
		panic("corbel: a guest keeps memory that is not its own (VM %u, error %ld)", id, r);
}

void cb_mem_unmap(struct cb_vm *vm, u64 gfn, u64 pages)
{
	unmap_gfns(vm, gfn, pages, MAY_SLEEP);
}

/* A log that begins behind this does not want what was written before. */
static bool is_logged(struct cb_vm *vm)
{
	bool logged;

	rcu_read_lock();
	logged = rcu_dereference(vm->slots)->logged;
	rcu_read_unlock();
	return logged;
}

/* What was written to these frames is lost: whoever logs them takes them for written. */
static void mark_gfns(struct cb_vm *vm, u64 gfn, u64 pages, enum may_sleep how)
{
	u64 end = gfn + pages, n;

	if (!is_logged(vm))
		return;
	for (; gfn < end; gfn += n) {
		const struct cb_slot *s;

		spin_lock(&vm->mmu_lock);
		s = slots_from(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->mmu_lock)),
			       gfn);
		gfn = s ? max(gfn, s->gfn) : end;
		n = gfn < end ? min3(end - gfn, s->gfn + s->pages - gfn, (u64)MARK_PAGES) : 0;
		if (n && s->lost)
			bitmap_set(s->lost, gfn - s->gfn, n);
		spin_unlock(&vm->mmu_lock);
		if (how == MAY_SLEEP)
			cond_resched();
	}
}

void cb_mem_take_away(struct cb_vm *vm, u64 gfn, u64 pages)
{
	unmap_gfns(vm, gfn, pages, MAY_SLEEP);
	mark_gfns(vm, gfn, pages, MAY_SLEEP);
}

/* Frames of a slot */
struct part {
	u64 gfn, pages;
	u64 first;	     /* the first one's number in the slot */
	unsigned long *lost; /* the slot's */
};

/* The first frames from gfn on that lie at these addresses. */
static bool next_part(const struct cb_slots *slots, unsigned long start, unsigned long end, u64 gfn,
		      struct part *p)
{
	const struct cb_slot *s = slots_from(slots, gfn);

	for (; s && s < slots->slot + slots->n; s++) {
		u64 first, pages = slot_overlap(s, start, end, &first);
		u64 skip = gfn > s->gfn + first ? gfn - s->gfn - first : 0;

		if (pages <= skip)
			continue;
		first += skip;
		*p = (struct part){s->gfn + first, pages - skip, first, s->lost};
		return true;
	}
	return false;
}

static bool next_part_rcu(struct cb_vm *vm, unsigned long start, unsigned long end, u64 gfn,
			  struct part *p)
{
	bool found;

	rcu_read_lock();
	found = next_part(rcu_dereference(vm->slots), start, end, gfn, p);
	rcu_read_unlock();
	return found;
}

/*
 * The table may change between two parts. What leaves it has been unmapped by then, and what comes
 * into it has nothing mapped before the invalidation ends.
 */
static void unmap_hva_range(struct cb_vm *vm, unsigned long start, unsigned long end,
			    enum may_sleep how)
{
	struct part p;
	u64 gfn = 0;

	for (; next_part_rcu(vm, start, end, gfn, &p); gfn = p.gfn + p.pages) {
		unmap_gfns(vm, p.gfn, p.pages, how);
		mark_gfns(vm, p.gfn, p.pages, how); /* it may be another slot's by now */
	}
}

/* Under mmu_lock, which is let go of now and then if that may be; the table may change then. */
static void mark_lost(struct cb_vm *vm, unsigned long start, unsigned long end, enum may_sleep how)
{
	struct part p;
	u64 gfn = 0;

	while (next_part(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->mmu_lock)),
			 start, end, gfn, &p)) {
		if (p.lost) {
			p.pages = min_t(u64, p.pages, MARK_PAGES);
			bitmap_set(p.lost, p.first, p.pages);
		}
		gfn = p.gfn + p.pages;
		if (how == MAY_SLEEP)
			cond_resched_lock(&vm->mmu_lock);
	}
}

static enum may_sleep may_sleep(const struct mmu_notifier_range *range)
{
	return mmu_notifier_range_blockable(range) ? MAY_SLEEP : NO_SLEEP;
}

static void begin_invalidation(struct cb_vm *vm, unsigned long start, unsigned long end,
			       enum may_sleep how)
{
	spin_lock(&vm->mmu_lock);
	if (vm->inv_count++ == 0) {
		vm->inv_start = start;
		vm->inv_end = end;
	} else {
		vm->inv_start = min(vm->inv_start, start);
		vm->inv_end = max(vm->inv_end, end);
	}
	spin_unlock(&vm->mmu_lock);
	unmap_hva_range(vm, start, end, how);
}

static void end_invalidation(struct cb_vm *vm, unsigned long start, unsigned long end,
			     enum may_sleep how)
{
	spin_lock(&vm->mmu_lock);
	mark_lost(vm, start, end, how);
	vm->inv_count--;
	spin_unlock(&vm->mmu_lock);
}

static int invalidate_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	begin_invalidation(container_of(mn, struct cb_vm, notifier), range->start, range->end,
			   may_sleep(range));
	return 0;
}

static void invalidate_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	end_invalidation(container_of(mn, struct cb_vm, notifier), range->start, range->end,
			 may_sleep(range));
}

void cb_mem_forget(struct cb_vm *vm)
{
	begin_invalidation(vm, 0, ULONG_MAX & PAGE_MASK, MAY_SLEEP);
	end_invalidation(vm, 0, ULONG_MAX & PAGE_MASK, MAY_SLEEP);
}

/* The address space goes away: its threads are gone, no vCPU runs any more. */
static void mm_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct cb_vm *vm = container_of(mn, struct cb_vm, notifier);

	unmap_hva_range(vm, 0, ULONG_MAX & PAGE_MASK, MAY_SLEEP);
}

static const struct mmu_notifier_ops notifier_ops = {
    .invalidate_range_start = invalidate_start,
    .invalidate_range_end = invalidate_end,
    .release = mm_release,
};

int cb_notifier_start(struct cb_vm *vm)
{
	spin_lock_init(&vm->mmu_lock);
	vm->notifier.ops = &notifier_ops;
	return mmu_notifier_register(&vm->notifier, vm->mm);
}
