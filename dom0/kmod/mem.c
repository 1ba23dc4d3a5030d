// SPDX-License-Identifier: GPL-2.0-only
/* Memory slots, and the page tables that the hypervisor promises for them. */
#include "kmod.h"
#include "memory.h"

#define VALID_FLAGS (KVM_MEM_LOG_DIRTY_PAGES | KVM_MEM_READONLY)

int cb_mem_init(struct cb_vm *vm)
{
	struct cb_slots *none = kvzalloc(sizeof(*none), GFP_KERNEL_ACCOUNT);
	int r;

	if (!none)
		return -ENOMEM;
	mutex_init(&vm->slots_lock);
	RCU_INIT_POINTER(vm->slots, none);
	mt_init_flags(&vm->private, MT_FLAGS_USE_RCU);
	vm->change_first = 1; /* none */
	r = cb_notifier_start(vm);
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
		cb_mem_unmap(vm, s.gfn, s.pages);
	return r;
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
			return r ? r : cb_log_change(vm, new, old.flags);
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
	/* clears the marks of frames without memory */
	cb_mem_unmap(vm, new->gfn, new->pages);
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
bool cb_mem_slot_ok(const struct cb_vm *vm, u32 id)
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

	if (!cb_mem_slot_ok(vm, m->slot) || m->flags & ~valid_flags(vm, m->flags))
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
			cb_mem_unmap(vm, next, s->gfn - next);
		next = s->gfn + s->pages;
	}
	if (next < stop)
		cb_mem_unmap(vm, next, stop - next);
}

void cb_mem_forget_mmio(struct cb_vm *vm)
{
	mutex_lock(&vm->slots_lock);
	unmap_gaps(vm, 0);
	if (vm->has_smm)
		unmap_gaps(vm, CORBEL_GFN_SMM);
	mutex_unlock(&vm->slots_lock);
}
