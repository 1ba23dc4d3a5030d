// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest frame that is not mapped: look the page up in the VMM's address space and map it, as 2 MiB if it is so there, else
 * with those of its neighbours that are present anyway, since each exit costs far more than an entry of HC_MAP.
 */
#include "kmod.h"

#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#define ORDER_2M     (PMD_SHIFT - PAGE_SHIFT)
#define AROUND_PAGES 64u /* aligned block looked at around a fault */
#define MAX_MMIO     256u /* marks of a VM: each may cost the hypervisor a table or two */

static_assert(AROUND_PAGES * sizeof(struct corbel_map) <= PAGE_SIZE);

struct fault {
	u64 gfn;
	unsigned long hva;
	struct cb_slot slot;
	unsigned long seq;
	bool write;	 /* the guest wants to write */
	bool may_write;	 /* map it writable if the VMM's page table says so */
	bool writable;	 /* and it does */
	bool fresh;	 /* the VMM had no such page yet, and hence hardly the next ones */
	struct page *page;
};

enum { FOUND, NO_SLOT, RETRY };

static int find_slot(struct cb_vm *vm, struct fault *f)
{
	const struct cb_slot *s;
	int r = NO_SLOT;

	spin_lock(&vm->mmu_lock);
	f->seq = vm->inv_seq;
	s = slots_find(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->mmu_lock)), f->gfn);
	if (s) {
		f->slot = *s;
		r = s->flags & CB_SLOT_DEAD ? RETRY : FOUND;
	}
	spin_unlock(&vm->mmu_lock);
	return r;
}

/* A reference to the page, which is faulted in if need be. */
static int get_page_of(struct fault *f)
{
	long r;

	/* While the dirty log runs, only pages that are written are to be mapped writable. */
	f->may_write = !(f->slot.flags & KVM_MEM_READONLY) && (f->write || !(f->slot.flags & KVM_MEM_LOG_DIRTY_PAGES));
	f->writable = true;
	if (f->may_write && get_user_page_fast_only(f->hva, FOLL_WRITE, &f->page))
		return 0;
	f->fresh = f->writable = f->write && f->may_write;
	r = get_user_pages_unlocked(f->hva, 1, &f->page, f->writable ? FOLL_WRITE : 0);
	if (r == 1)
		return 0;
	return r == -EINTR || r == -EAGAIN ? -EAGAIN : -EFAULT;
}

struct host_leaf {
	u32 order;
	u64 pfn; /* of the first page of the leaf */
	bool writable, dirty;
};

/*
 * What maps addr: its entry in a table of small pages, or NULL and the large page in *l, whose order is 0 if there is none
 * either. Interrupts are off.
 */
static pte_t *host_entry(struct mm_struct *mm, unsigned long addr, struct host_leaf *l)
{
	pgd_t pgd = READ_ONCE(*pgd_offset(mm, addr));
	p4d_t p4d;
	pud_t pud;
	pmd_t pmd;

	l->order = 0;
	if (pgd_none(pgd))
		return NULL;
	p4d = READ_ONCE(*p4d_offset(&pgd, addr));
	if (p4d_none(p4d) || !p4d_present(p4d))
		return NULL;
	pud = READ_ONCE(*pud_offset(&p4d, addr));
	if (pud_none(pud) || !pud_present(pud))
		return NULL;
	if (pud_leaf(pud)) {
		*l = (struct host_leaf){PUD_SHIFT - PAGE_SHIFT, pud_pfn(pud), pud_write(pud), pud_dirty(pud)};
		return NULL;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, addr));
	if (pmd_none(pmd) || !pmd_present(pmd))
		return NULL;
	if (pmd_leaf(pmd)) {
		*l = (struct host_leaf){PMD_SHIFT - PAGE_SHIFT, pmd_pfn(pmd), pmd_write(pmd), pmd_dirty(pmd)};
		return NULL;
	}
	return pte_offset_kernel(&pmd, addr);
}

/* A small page that may be used without a reference to it. */
static bool host_page(const pte_t *at, struct host_leaf *l)
{
	pte_t pte = READ_ONCE(*at);

	*l = (struct host_leaf){0, pte_pfn(pte), pte_write(pte), pte_dirty(pte)};
	return pte_present(pte) && !pte_special(pte);
}

static u32 map_flags(const struct fault *f, bool writable)
{
	if (f->slot.flags & KVM_MEM_READONLY)
		return CORBEL_MAP_ROM | CORBEL_MAP_EXEC;
	return CORBEL_MAP_EXEC | (writable ? CORBEL_MAP_WRITE : 0);
}

/* Whether the 2 MiB around the fault lie in the slot, aligned alike for guest and host. */
static bool fits_2m(const struct fault *f)
{
	u64 first = ALIGN_DOWN(f->gfn, BIT(ORDER_2M));

	return !((f->hva >> PAGE_SHIFT ^ f->gfn) & (BIT(ORDER_2M) - 1)) && first >= f->slot.gfn &&
	       first + BIT(ORDER_2M) <= f->slot.gfn + f->slot.pages && !(f->slot.flags & KVM_MEM_LOG_DIRTY_PAGES);
}

/* The neighbours, which nobody can take away while mmu_lock is held and no invalidation is in progress. */
static u32 add_neighbours(struct cb_vm *vm, const struct fault *f, struct corbel_map *maps, u32 n)
{
	u64 block = ALIGN_DOWN(f->gfn, AROUND_PAGES);
	u64 first = max_t(u64, block, f->slot.gfn);
	u64 end = min_t(u64, block + AROUND_PAGES, f->slot.gfn + f->slot.pages), gfn;
	bool may_write = !(f->slot.flags & (KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES));
	struct host_leaf l;
	pte_t *pte = NULL;

	for (gfn = first; gfn < end; gfn++) {
		unsigned long hva = f->slot.hva + ((gfn - f->slot.gfn) << PAGE_SHIFT);

		pte = pte && hva & ~PMD_MASK ? pte + 1 : host_entry(vm->mm, hva, &l);
		if (gfn == f->gfn || !(pte ? host_page(pte, &l) : l.order))
			continue;
		/* Writable only if dirty already: there is no reference by which the page could be marked. */
		maps[n++] = (struct corbel_map){gfn, l.pfn + (hva >> PAGE_SHIFT & (BIT(l.order) - 1)), 0,
						map_flags(f, may_write && l.writable && l.dirty)};
	}
	return n;
}

static u32 build_maps(struct cb_vcpu *v, const struct fault *f)
{
	struct corbel_map *maps = v->maps;
	u64 pfn = page_to_pfn(f->page);
	bool writable = f->may_write && f->writable;
	struct host_leaf l;
	unsigned long flags;
	u32 n = 1;

	maps[0] = (struct corbel_map){f->gfn, pfn, 0, map_flags(f, writable)};
	/* With interrupts off, page tables cannot be freed under us: that takes an IPI or an RCU grace period. */
	local_irq_save(flags);
	if (!host_entry(v->vm->mm, f->hva, &l) && l.order >= ORDER_2M && fits_2m(f) && (l.writable || !writable)) {
		maps[0].gfn = ALIGN_DOWN(f->gfn, BIT(ORDER_2M));
		maps[0].pfn = ALIGN_DOWN(pfn, BIT(ORDER_2M));
		maps[0].order = ORDER_2M;
	} else if (!f->fresh && !READ_ONCE(v->vm->inv_count)) {
		n = add_neighbours(v->vm, f, maps, n);
	}
	local_irq_restore(flags);
	return n;
}

/* Only the first entry must succeed; the others are a gift. */
static int map_batch(struct cb_vcpu *v, u32 n)
{
	struct corbel_map *maps = v->maps;
	u32 done = 0;
	bool replaced = false;

	while (done < n) {
		long r = HC3(MAP, v->vm->id, cb_phys(maps + done), n - done);

		if (r > 0) {
			done += r;
		} else if (r == -EEXIST && !done && !replaced) {
			/* Small pages where the VMM now has a large one. */
			HC3(UNMAP, v->vm->id, maps[0].gfn, BIT(maps[0].order));
			replaced = true;
		} else if (r == -EEXIST && done) {
			done++;
		} else if (done) {
			return 0;
		} else {
			return r < 0 ? r : -EIO;
		}
	}
	return 0;
}

static bool may_map_locked(const struct cb_vm *vm, const struct fault *f)
{
	if (vm->inv_seq != f->seq)
		return false;
	return !vm->inv_count || f->hva < vm->inv_start || f->hva >= vm->inv_end;
}

static int map_page(struct cb_vcpu *v, struct fault *f)
{
	struct cb_vm *vm = v->vm;
	int r = -EAGAIN;

	spin_lock(&vm->mmu_lock);
	if (may_map_locked(vm, f)) {
		r = map_batch(v, build_maps(v, f));
		if (!r && f->may_write && f->writable)
			set_page_dirty(f->page);
	}
	spin_unlock(&vm->mmu_lock);
	mark_page_accessed(f->page);
	put_page(f->page);
	return r;
}

static int map_mmio(struct cb_vcpu *v, const struct fault *f)
{
	struct cb_vm *vm = v->vm;
	bool full = false;
	int r = -EAGAIN;

	spin_lock(&vm->mmu_lock);
	if (vm->mmio_marks >= MAX_MMIO) {
		full = true;
		vm->mmio_marks = 0;
	} else if (vm->inv_seq == f->seq) {
		v->maps[0] = (struct corbel_map){f->gfn, 0, 0, CORBEL_MAP_MMIO};
		r = map_batch(v, 1);
		vm->mmio_marks++;
	}
	spin_unlock(&vm->mmu_lock);
	/* A guest that looks everywhere for devices must not take the hypervisor's memory for it. */
	if (full)
		cb_mem_forget_mmio(vm);
	return r;
}

static int try_fault(struct cb_vcpu *v, struct fault *f)
{
	int r = find_slot(v->vm, f);

	if (r == RETRY)
		return -EAGAIN;
	if (r == NO_SLOT)
		return map_mmio(v, f);
	f->hva = f->slot.hva + ((f->gfn - f->slot.gfn) << PAGE_SHIFT);
	r = get_page_of(f);
	return r ? r : map_page(v, f);
}

int cb_fault(struct cb_vcpu *v, u64 gpa, u32 flags)
{
	struct fault f = {.gfn = gpa >> PAGE_SHIFT, .write = flags & CORBEL_FAULT_WRITE};
	int r, tries = 0;

	while ((r = try_fault(v, &f)) == -EAGAIN) {
		if (signal_pending(current))
			return 0; /* the access is simply tried again */
		if (++tries > 100)
			schedule_timeout_uninterruptible(1);
		else
			cond_resched();
	}
	return r;
}
