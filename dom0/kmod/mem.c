// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory slots, MMU notifier, dirty log.
 *
 * A guest may have mapped only what the VMM's page tables hold. So each invalidation of those is
 * announced (inv_count), then unmapped from the guest, then ended. A fault looks into those tables
 * and maps what it finds under mmu_lock, and only while no invalidation of it is in progress.
 *
 * The hypervisor's dirty log is in the guest's page tables: of what is unmapped it knows nothing
 * any more. Such pages count as dirty when the invalidation ends, and while it is in progress. With
 * dirty rings (dirty_ring.c) it has none.
 */
#include "kmod.h"

#define VALID_FLAGS (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)

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

/* What was written to these frames is lost: whoever logs them takes them for written. */
static void mark_gfns(struct cb_vm *vm, u64 gfn, u64 pages, enum may_sleep how)
{
	u64 end = gfn + pages, n;

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

/* The part of a slot at these addresses: how many pages, and its first one. */
static u64 slot_overlap(const struct cb_slot *s, unsigned long start, unsigned long end, u64 *first)
{
	u64 from = max_t(u64, start, s->hva),
	    to = min_t(u64, end, s->hva + (s->pages << PAGE_SHIFT));

	*first = (from - s->hva) >> PAGE_SHIFT;
	return from < to ? (PAGE_ALIGN(to) - (from & PAGE_MASK)) >> PAGE_SHIFT : 0;
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

int cb_mem_init(struct cb_vm *vm)
{
	struct cb_slots *none = kvzalloc(sizeof(*none), GFP_KERNEL_ACCOUNT);
	int r;

	if (!none)
		return -ENOMEM;
	mutex_init(&vm->slots_lock);
	spin_lock_init(&vm->mmu_lock);
	RCU_INIT_POINTER(vm->slots, none);
	mt_init_flags(&vm->private, MT_FLAGS_USE_RCU);
	vm->change_first = 1; /* none */
	vm->notifier.ops = &notifier_ops;
	r = mmu_notifier_register(&vm->notifier, vm->mm);
	if (r)
		kvfree(none);
	return r;
}

void cb_mem_exit(struct cb_vm *vm)
{
	const struct cb_slots *slots;
	u32 i;

	mmu_notifier_unregister(&vm->notifier, vm->mm);
	slots = rcu_dereference_protected(vm->slots, true);
	for (i = 0; i < slots->n; i++)
		kvfree(slots->slot[i].lost);
}

void cb_mem_free(struct cb_vm *vm)
{
	struct cb_slots *slots = rcu_dereference_protected(vm->slots, true);
	u32 i;

	for (i = 0; i < slots->n; i++)
		cb_gmem_put(slots->slot[i].gmem);
	kvfree(slots);
	cb_attributes_free(vm);
}

/* Put a new table in place. Faults under way that looked into the old one start again. */
static void publish_slots(struct cb_vm *vm, struct cb_slots *slots)
{
	struct cb_slots *old =
	    rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock));

	spin_lock(&vm->mmu_lock);
	rcu_assign_pointer(vm->slots, slots);
	spin_unlock(&vm->mmu_lock);
	kvfree_rcu(old, rcu);
}

/* Publish the table with this change. */
static int change_slot(struct cb_vm *vm, const struct cb_slot *change)
{
	struct cb_slots *old =
			    rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock)),
			*new;
	int r;

	new = kvzalloc(struct_size(new, slot, old->n + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;
	r = slots_change(old, change, new);
	if (r)
		kvfree(new);
	else
		publish_slots(vm, new);
	return r;
}

/*
 * HC_DIRTY; under slots_lock. Where a large page must become small ones it takes tables: when the
 * VM has used up all that it was promised, what was mapped is forgotten, and counts as dirty.
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

/*
 * Remove or move: no new mappings first, then none at all, then no slot; notifiers see the slot
 * until it is unmapped.
 */
static int retire_slot(struct cb_vm *vm, const struct cb_slot *old)
{
	struct cb_slot s = *old;
	int r;

	WRITE_ONCE(vm->slot_removed, get_jiffies_64());
	s.flags |= CB_SLOT_DEAD;
	r = change_slot(vm, &s);
	if (!r)
		unmap_gfns(vm, s.gfn, s.pages, MAY_SLEEP);
	return r;
}

static int change_logging(struct cb_vm *vm, const struct cb_slot *s, u32 old_flags)
{
	bool log = s->flags & KVM_MEM_LOG_DIRTY_PAGES, logged = old_flags & KVM_MEM_LOG_DIRTY_PAGES;

	if (log == logged)
		return 0;
	if (vm->ring_entries) { /* each page is logged when it is mapped */
		unmap_gfns(vm, s->gfn, s->pages, MAY_SLEEP);
		return 0;
	}
	/* All count as dirty: each is protected when it has been cleared. */
	if (log && vm->manual_log & KVM_DIRTY_LOG_INITIALLY_SET)
		return 0;
	return dirty_range(vm, s->gfn, s->pages, log ? CORBEL_DIRTY_START : CORBEL_DIRTY_STOP);
}

static int set_region_locked(struct cb_vm *vm, const struct cb_slot *new)
{
	const struct cb_slot *found =
	    slots_by_id(rcu_dereference_protected(vm->slots, true), new->id);
	struct cb_slot old = {};
	int r;

	if (found)
		old = *found;
	if (!new->pages) {
		if (!old.pages)
			return -EINVAL;
		r = retire_slot(vm, &old);
		return r ? r : change_slot(vm, new);
	}
	if (old.pages) {
		if (old.gmem || new->gmem) /* can only be removed */
			return -EINVAL;
		if (old.hva != new->hva || old.pages != new->pages ||
		    ((old.flags ^ new->flags) & KVM_MEM_READONLY))
			return -EINVAL;
		if (old.gfn == new->gfn) {
			r = change_slot(vm, new);
			return r ? r : change_logging(vm, new, old.flags);
		}
		r = retire_slot(vm, &old);
		if (r)
			return r;
	}
	r = change_slot(vm, new);
	if (r) { /* it overlaps another one: back to what was */
		if (old.pages)
			change_slot(vm, &old);
		return r;
	}
	unmap_gfns(vm, new->gfn, new->pages,
		   MAY_SLEEP); /* clears the marks of frames without memory */
	return 0;
}

static u64 all_tables(struct cb_vm *vm)
{
	const struct cb_slots *slots =
	    rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock));
	u64 n = 0;
	u32 i;

	for (i = 0; i < slots->n; i++)
		n += slot_tables(&slots->slot[i]);
	return n;
}

/*
 * The hypervisor promises a VM the page tables that its slots can take at most: whoever runs has
 * what his guest's faults need, and who wants more than there is is refused when he makes the slot.
 * With a quarter of the pool, which is enough for guests as large as the machine, a VM has to make
 * do: when it is used up, what was mapped is forgotten.
 */
static int promise_tables(struct cb_vm *vm, u32 id, u64 tables)
{
	u64 now = min(tables, cb_pool_bytes / 4 >> PAGE_SHIFT), had = vm->promised;
	bool back = now < had;
	u64 pages = back ? had - now : now - had;
	long r = 0;

	if (id && pages)
		r = back ? HC3(PROMISE, id, pages, CORBEL_PROMISE_BACK)
			 : cb_account_promise(id, pages);
	if (id && !r)
		vm->promised = now;
	return cb_account_refused(vm->account, r, pages);
}

static int make_smm_map(struct cb_vm *vm, u32 id)
{
	return cb_account_refused(vm->account, HC1(SMM, id), 0);
}

static int add_smm_locked(struct cb_vm *vm)
{
	int r = vm->id && !vm->has_smm ? make_smm_map(vm, vm->id) : 0;

	lockdep_assert_held(&vm->slots_lock);
	if (!r)
		WRITE_ONCE(vm->has_smm, true);
	return r;
}

int cb_mem_add_smm(struct cb_vm *vm)
{
	int r;

	mutex_lock(&vm->slots_lock);
	r = add_smm_locked(vm);
	mutex_unlock(&vm->slots_lock);
	return r;
}

int cb_mem_realize(struct cb_vm *vm, u32 id)
{
	int r;

	mutex_lock(&vm->slots_lock);
	vm->promised = 0; /* whatever one that failed had */
	r = promise_tables(vm, id, all_tables(vm));
	if (!r && vm->has_smm)
		r = make_smm_map(vm, id);
	if (!r)
		WRITE_ONCE(vm->id, id);
	mutex_unlock(&vm->slots_lock);
	return r;
}

/* The same; a slot that moves has no tables at its old place before it gets some at the new one. */
static int set_promised_region(struct cb_vm *vm, const struct cb_slot *new)
{
	u64 tables = all_tables(vm), want = slot_tables(new);
	u64 old = slot_tables(slots_by_id(rcu_dereference_protected(vm->slots, true), new->id));
	int r = want > old ? promise_tables(vm, vm->id, tables - old + want) : 0;

	if (r)
		return r;
	r = set_region_locked(vm, new);
	promise_tables(vm, vm->id, all_tables(vm));
	return r;
}

/* The same; the bitmap of what is lost comes and goes with the log. */
static int set_region(struct cb_vm *vm, struct cb_slot *new)
{
	const struct cb_slot *s = slots_by_id(rcu_dereference_protected(vm->slots, true), new->id);
	unsigned long *old = s ? s->lost : NULL, *now;
	int r;

	if (new->pages && (new->flags &KVM_MEM_LOG_DIRTY_PAGES) && !vm->ring_entries) {
		new->lost =
		    old && s->pages == new->pages
			? old
			: kvcalloc(BITS_TO_LONGS(new->pages), sizeof(long), GFP_KERNEL_ACCOUNT);
		if (!new->lost)
			return -ENOMEM;
		if (new->lost != old && vm->manual_log &KVM_DIRTY_LOG_INITIALLY_SET)
			bitmap_set(new->lost, 0, new->pages);
	}
	r = set_promised_region(vm, new);
	s = slots_by_id(rcu_dereference_protected(vm->slots, true), new->id);
	now = s ? s->lost : NULL;
	if (old != now)
		kvfree(old);
	if (new->lost != now &&new->lost != old)
		kvfree(new->lost);
	return r;
}

/* KVM_CAP_MULTI_ADDRESS_SPACE: the space is in the upper half. */
static bool slot_ok(const struct cb_vm *vm, u32 id)
{
	return (id & 0xffff) < CB_MAX_SLOTS && id >> 16 < (vm->has_private ? 1 : CB_SPACES);
}

/* Of private memory nobody logs what is written, nor is it a ROM. */
static u32 valid_flags(const struct cb_vm *vm, u32 flags)
{
	return vm->has_private && flags & KVM_MEM_GUEST_MEMFD ? KVM_MEM_GUEST_MEMFD : VALID_FLAGS;
}

/* The same; pages that a slot has of a file come and go with it. */
static int set_bound_region(struct cb_vm *vm, struct cb_slot *new,
			    const struct kvm_userspace_memory_region2 *m)
{
	const struct cb_slot *s = slots_by_id(rcu_dereference_protected(vm->slots, true), new->id);
	struct cb_gmem *old = s ? s->gmem : NULL;
	bool binds = new->pages &&new->flags &KVM_MEM_GUEST_MEMFD;
	int r = binds ? cb_gmem_bind(vm, new, m->guest_memfd, m->guest_memfd_offset) : 0;

	if (r)
		return r;
	r = set_region(vm, new);
	if (r)
		cb_gmem_put(new->gmem);
	else if (!new->pages)
		cb_gmem_put(old);
	return r;
}

int cb_mem_set_region(struct cb_vm *vm, const struct kvm_userspace_memory_region2 *m)
{
	struct cb_slot s = {
	    .gfn = m->guest_phys_addr >> PAGE_SHIFT,
	    .pages = m->memory_size >> PAGE_SHIFT,
	    .hva = m->userspace_addr,
	    .id = m->slot,
	    .flags = m->flags,
	};
	int r;

	if (!slot_ok(vm, m->slot) || m->flags & ~valid_flags(vm, m->flags))
		return -EINVAL;
	if ((m->memory_size | m->guest_phys_addr | m->userspace_addr) & ~PAGE_MASK)
		return -EINVAL;
	if (s.pages > CB_MAX_SLOT_PAGES || s.gfn + s.pages > cb_gfn_end)
		return -EINVAL;
	if (m->userspace_addr != untagged_addr(m->userspace_addr) ||
	    !access_ok((void __user *)(unsigned long)m->userspace_addr, m->memory_size))
		return -EINVAL;
	if (m->slot >> 16 == CB_SPACE_SMM)
		s.gfn |= CORBEL_GFN_SMM;
	mutex_lock(&vm->slots_lock);
	r = s.gfn & CORBEL_GFN_SMM ? add_smm_locked(vm) : 0;
	if (!r)
		r = set_bound_region(vm, &s, m);
	mutex_unlock(&vm->slots_lock);
	return r;
}

/* What lies between the slots of an address space, which begins at this frame */
static void unmap_gaps(struct cb_vm *vm, u64 next)
{
	const struct cb_slots *slots =
	    rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock));
	const struct cb_slot *s = slots_from(slots, next);
	u64 stop = next + cb_gfn_end;

	for (; s && s < slots->slot + slots->n && s->gfn < stop; s++) {
		if (next < s->gfn)
			unmap_gfns(vm, next, s->gfn - next, MAY_SLEEP);
		next = s->gfn + s->pages;
	}
	if (next < stop)
		unmap_gfns(vm, next, stop - next, MAY_SLEEP);
}

void cb_mem_forget_mmio(struct cb_vm *vm)
{
	mutex_lock(&vm->slots_lock);
	unmap_gaps(vm, 0);
	if (vm->has_smm)
		unmap_gaps(vm, CORBEL_GFN_SMM);
	mutex_unlock(&vm->slots_lock);
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
	if (!slot_ok(vm, log->slot))
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
	if (!slot_ok(vm, log->slot) || (log->first_page & 63))
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
