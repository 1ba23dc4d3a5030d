// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log as a bitmap of each slot. What the hypervisor reports is joined by what it cannot
 * know: pages that were unmapped since (notifier.c), and what the module has written for a guest.
 * With dirty rings (dirty_ring.c) there is none.
 */
#include "kmod.h"
#include "memory.h"

/*
 * HC_DIRTY; under slots_lock. Where a large page must become small ones it takes tables: when the
 * VM has used up all that it was promised, or a page has gone as a whole for that reason, what was
 * mapped is forgotten, and counts as dirty.
 */
static long call_dirty(struct cb_vm *vm, u64 gfn, u64 n, u64 to, u32 flags)
{
	long r = vm->id ? HC5(DIRTY, vm->id, gfn, n, to, flags) : 0;

	if (r != -ENOMEM)
		return r;
	cb_mem_forget(vm);
	return HC5(DIRTY, vm->id, gfn, n, to, flags);
}

static int dirty_range(struct cb_vm *vm, u64 gfn, u64 pages, u32 flags)
{
	while (pages) {
		u64 n = min_t(u64, pages, CB_BITMAP_PAGES);
		long r = call_dirty(vm, gfn, n, 0, flags);

		if (r < 0)
			return r;
		gfn += n;
		pages -= n;
		cond_resched();
	}
	return 0;
}

int cb_log_change(struct cb_vm *vm, const struct cb_slot *s, u32 old_flags)
{
	bool log = s->flags & KVM_MEM_LOG_DIRTY_PAGES, logged = old_flags & KVM_MEM_LOG_DIRTY_PAGES;

	if (log == logged)
		return 0;
	if (vm->ring_entries) { /* each page is logged when it is mapped */
		cb_mem_unmap(vm, s->gfn, s->pages);
		return 0;
	}
	/* All count as dirty: each is protected when it has been cleared. */
	if (log && vm->manual_log & KVM_DIRTY_LOG_INITIALLY_SET)
		return 0;
	return dirty_range(vm, s->gfn, s->pages, log ? CORBEL_DIRTY_START : CORBEL_DIRTY_STOP);
}

void cb_mem_mark_dirty(struct cb_vcpu *v, u64 gpa, u32 len)
{
	u64 gfn = gpa >> PAGE_SHIFT, end = (gpa + len - 1) >> PAGE_SHIFT;
	struct cb_vm *vm = v->vm;
	const struct cb_slot *s;

	spin_lock(&vm->mmu_lock);
	for (; gfn <= end; gfn++) {
		s = slots_find(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->mmu_lock)),
			       gfn);
		if (s && v->dirty.gfns && s->flags & KVM_MEM_LOG_DIRTY_PAGES)
			cb_ring_push(&v->dirty, s->id, gfn - s->gfn);
		else if (s && s->lost)
			set_bit(gfn - s->gfn, s->lost);
	}
	spin_unlock(&vm->mmu_lock);
}

/* Pages [first, first + n) that are being lost now; all of them are when that ends. */
static void mark_losing(struct cb_vm *vm, const struct cb_slot *s, u64 first, u64 n)
{
	u64 from, pages = slot_overlap(s, vm->inv_start, vm->inv_end, &from);
	u64 to = min(from + pages, first + n);

	from = max(from, first);
	if (vm->inv_count && from < to)
		bitmap_set(s->lost, from, to - from);
}

/* Add the bits of what was lost, [first, first + n), and what is being lost now. */
static void add_lost(struct cb_vm *vm, const struct cb_slot *s, u64 first, u64 n,
		     unsigned long *bitmap, bool clear)
{
	unsigned long *lost = s->lost + first / BITS_PER_LONG;
	u64 i;

	spin_lock(&vm->mmu_lock);
	mark_losing(vm, s, first, n);
	for (i = 0; i < BITS_TO_LONGS(n); i++) {
		bitmap[i] |= lost[i];
		if (clear)
			lost[i] = 0;
	}
	spin_unlock(&vm->mmu_lock);
}

/* One bit a page, as many at a time as fit a page. */
static int copy_dirty(struct cb_vm *vm, const struct cb_slot *s, u8 __user *to)
{
	u8 *bitmap = (u8 *)__get_free_page(GFP_KERNEL);
	bool clear = !vm->manual_log;
	u64 done = 0;
	long r = 0;

	if (!bitmap)
		return -ENOMEM;
	while (done < s->pages) {
		u64 n = min_t(u64, s->pages - done, CB_BITMAP_PAGES);

		clear_page(bitmap);
		r = call_dirty(vm, s->gfn + done, n, cb_phys(bitmap),
			       clear ? CORBEL_DIRTY_CLEAR : 0);
		if (r >= 0)
			add_lost(vm, s, done, n, (unsigned long *)bitmap, clear);
		if (r >= 0 && copy_to_user(to + done / 8, bitmap, ALIGN(n, 64) / 8))
			r = -EFAULT;
		if (r < 0)
			break;
		done += n;
		cond_resched();
	}
	free_page((unsigned long)bitmap);
	return r < 0 ? r : 0;
}

const struct cb_slot *cb_mem_logged_slot(struct cb_vm *vm, u32 id)
{
	const struct cb_slot *s =
	    slots_by_id(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock)), id);

	return s && (s->flags & KVM_MEM_LOG_DIRTY_PAGES) ? s : NULL;
}

int cb_mem_dirty_log(struct cb_vm *vm, const struct kvm_dirty_log *log)
{
	const struct cb_slot *s;
	int r;

	if (vm->ring_entries)
		return -ENXIO;
	if (!cb_mem_slot_ok(vm, log->slot))
		return -EINVAL;
	mutex_lock(&vm->slots_lock);
	s = cb_mem_logged_slot(vm, log->slot);
	if (!s)
		r = -ENOENT;
	else if (!s->lost) /* the ring has come meanwhile, and then the slot */
		r = -ENXIO;
	else
		r = copy_dirty(vm, s, log->dirty_bitmap);
	mutex_unlock(&vm->slots_lock);
	return r;
}

/*
 * The hypervisor clears ranges, user space names pages: what the former reports and the latter does
 * not name is kept here, with what was lost.
 */
static int clear_part(struct cb_vm *vm, const struct cb_slot *s, u64 first, u64 n,
		      const unsigned long *named, unsigned long *found)
{
	unsigned long *lost = s->lost + first / BITS_PER_LONG;
	long r;
	u64 i;

	if (bitmap_empty(named, n))
		return 0;
	clear_page(found);
	r = call_dirty(vm, s->gfn + first, n, cb_phys(found), CORBEL_DIRTY_CLEAR);
	if (r < 0)
		return r;
	spin_lock(&vm->mmu_lock);
	for (i = 0; i < BITS_TO_LONGS(n); i++)
		lost[i] = (lost[i] | found[i]) & ~named[i];
	spin_unlock(&vm->mmu_lock);
	return 0;
}

static int clear_dirty(struct cb_vm *vm, const struct cb_slot *s, u64 first, u64 pages,
		       const u8 __user *bitmap)
{
	void *named = (void *)__get_free_page(GFP_KERNEL),
	     *found = (void *)__get_free_page(GFP_KERNEL);
	u64 done = 0;
	int r = named && found ? 0 : -ENOMEM;

	while (!r && done < pages) {
		u64 n = min_t(u64, pages - done, CB_BITMAP_PAGES);

		if (copy_from_user(named, bitmap + done / 8, ALIGN(n, 64) / 8))
			r = -EFAULT;
		else
			r = clear_part(vm, s, first + done, n, named, found);
		done += n;
		cond_resched();
	}
	free_page((unsigned long)named);
	free_page((unsigned long)found);
	return r;
}

/* Whole words of the bitmap, but at the slot's end. */
static bool clear_range_ok(const struct cb_slot *s, u64 first, u64 pages)
{
	if ((first & 63) || first > s->pages || pages > s->pages - first)
		return false;
	return !(pages & 63) || pages == s->pages - first;
}

int cb_mem_clear_dirty_log(struct cb_vm *vm, const struct kvm_clear_dirty_log *log)
{
	const struct cb_slot *s;
	int r;

	if (vm->ring_entries)
		return -ENXIO;
	if (!cb_mem_slot_ok(vm, log->slot) || (log->first_page & 63))
		return -EINVAL;
	mutex_lock(&vm->slots_lock);
	s = cb_mem_logged_slot(vm, log->slot);
	if (!s)
		r = -ENOENT;
	else if (!s->lost)
		r = -ENXIO;
	else if (!clear_range_ok(s, log->first_page, log->num_pages))
		r = -EINVAL;
	else
		r = clear_dirty(vm, s, log->first_page, log->num_pages, log->dirty_bitmap);
	mutex_unlock(&vm->slots_lock);
	return r;
}
