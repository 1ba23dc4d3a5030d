// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest frame that is not mapped: look the page up in the VMM's page tables, have it faulted in
 * if it is not there, and map it, as 2 MiB if it is so there, else with those of its neighbours
 * that are present anyway, since each exit costs far more than an entry of HC_MAP.
 */
#include "apf.h"
#include "dom0.h"
#include "kmod.h"
#include "memory.h"

#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#define ORDER_2M     (PMD_SHIFT - PAGE_SHIFT)
#define AROUND_PAGES 64u  /* aligned block looked at around a fault */
#define MAX_MMIO     256u /* marks of a VM: each may cost the hypervisor a table or two */

static_assert(AROUND_PAGES * sizeof(struct corbel_map) <= PAGE_SIZE);

struct fault {
	u64 gfn;
	unsigned long hva;
	struct cb_slot slot;
	bool write; /* the page must be writable */
	bool async; /* the guest may hear of it, and do something else */
	bool fresh; /* the VMM had no such page yet, and hence hardly the next ones */
};

/*
 * Pages are used without a reference, as long as no notifier takes them away. So nobody would note
 * that a guest has written: writable is only what is dirty already.
 */
struct host_leaf {
	u32 order;
	u64 pfn; /* of the first page of the leaf */
	bool writable;
};

/*
 * What maps addr: its entry in a table of small pages, or NULL and the large page in *l, whose
 * order is 0 if there is none either. Interrupts are off: so page tables cannot be freed under us,
 * which takes an IPI or an RCU grace period.
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
	if (!(pud_flags(pud) & _PAGE_PRESENT))
		return NULL;
	if (pud_leaf(pud)) {
		*l = (struct host_leaf){PUD_SHIFT - PAGE_SHIFT, pud_pfn(pud),
					pud_write(pud) && pud_dirty(pud)};
		return NULL;
	}
	pmd = READ_ONCE(*pmd_offset(&pud, addr));
	/* pmd_present() is also true of one that is being split */
	if (!(pmd_flags(pmd) & _PAGE_PRESENT))
		return NULL;
	if (pmd_leaf(pmd)) {
		*l = (struct host_leaf){PMD_SHIFT - PAGE_SHIFT, pmd_pfn(pmd),
					pmd_write(pmd) && pmd_dirty(pmd)};
		return NULL;
	}
	return pte_offset_kernel(&pmd, addr);
}

/* DEVICE: what is no RAM of dom0's, such as a device's registers that VFIO lets the VMM map */
enum { USABLE, ABSENT, DEVICE };

/*
 * Persistent memory and its like is RAM, by pages that Linux has for it, although its entries are
 * special until Linux 6.17, and have a bit for that.
 */
#ifdef _PAGE_DEVMAP
#define is_dax_memory(pte) pte_devmap(pte)
#else
#define is_dax_memory(pte) false
#endif

/*
 * Memory that a driver has put there without a reference, such as a GPU's buffers, and takes away
 * by the notifier: RAM is what Linux has a page for that it does not reserve, as in KVM.
 */
static bool is_ram(u64 pfn)
{
	return pfn_valid(pfn) && !PageReserved(pfn_to_page(pfn));
}

/* A small page. Not pte_present(), which is also true of what nobody may access. */
static int host_page(const pte_t *at, struct host_leaf *l)
{
	pte_t pte = READ_ONCE(*at);

	*l = (struct host_leaf){0, pte_pfn(pte), pte_write(pte) && pte_dirty(pte)};
	if (!(pte_flags(pte) & _PAGE_PRESENT))
		return ABSENT;
	if (pte_special(pte) && !is_zero_pfn(l->pfn) && !is_dax_memory(pte) && !is_ram(l->pfn))
		return DEVICE;
	return USABLE;
}

/* The page of the fault. Interrupts are off. */
static int find_page(struct cb_vm *vm, const struct fault *f, struct host_leaf *l)
{
	pte_t *pte = host_entry(vm->mm, f->hva, l);
	int r = USABLE;

	if (pte)
		r = host_page(pte, l);
	else if (!l->order)
		r = ABSENT;
	else if (!pfn_valid(l->pfn)) /* devices' memory is no struct page's */
		r = DEVICE;
	if (r == USABLE && f->write && !l->writable)
		return ABSENT;
	return r;
}

/* Is it here, or soon, without reading it from a disk? */
static bool is_at_hand(const struct fault *f)
{
	u32 flags = f->write ? FOLL_NOWAIT | FOLL_WRITE : FOLL_NOWAIT;
	struct page *page;
	long r = get_user_pages_unlocked(f->hva, 1, &page, flags);

	if (r == 1)
		put_page(page);
	return r; /* what is wrong is found again */
}

/* As if the VMM had touched it. 0: it comes later. */
static int fault_in(struct cb_vcpu *v, struct fault *f)
{
	struct cb_vm *vm = v->vm;
	bool unlocked;
	int r;

	if (f->async && cb_apf_is_on(v) && !is_at_hand(f) &&
	    cb_apf_begin(v, f->gfn, f->hva, f->write))
		return 0;
	mmap_read_lock(vm->mm);
	r = fixup_user_fault(vm->mm, f->hva, f->write ? FAULT_FLAG_WRITE : 0, &unlocked);
	mmap_read_unlock(vm->mm);
	f->fresh = f->write;
	return r == -EINTR || !r ? -EAGAIN : cb_poisoned(f->hva);
}

static u32 map_flags(const struct fault *f, bool writable)
{
	if (f->slot.flags & KVM_MEM_READONLY)
		return CORBEL_MAP_ROM | CORBEL_MAP_EXEC;
	return CORBEL_MAP_EXEC | (writable ? CORBEL_MAP_WRITE : 0);
}

/*
 * Whether the 2 MiB around the fault lie in the slot, aligned alike for guest and host, and none of
 * them can be private.
 */
static bool fits_2m(const struct cb_vm *vm, const struct fault *f)
{
	u64 first = ALIGN_DOWN(f->gfn, BIT(ORDER_2M));

	return !((f->hva >> PAGE_SHIFT ^ f->gfn) & (BIT(ORDER_2M) - 1)) && first >= f->slot.gfn &&
	       first + BIT(ORDER_2M) <= f->slot.gfn + f->slot.pages &&
	       !(f->slot.flags & KVM_MEM_LOG_DIRTY_PAGES) && !vm->has_private;
}

/* While the dirty log runs, only pages that are written are to be mapped writable. */
static u32 add_neighbours(struct cb_vm *vm, const struct fault *f, struct corbel_map *maps, u32 n)
{
	u64 block = ALIGN_DOWN(f->gfn, AROUND_PAGES);
	u64 first = max_t(u64, block, f->slot.gfn);
	u64 end = min_t(u64, block + AROUND_PAGES, f->slot.gfn + f->slot.pages), gfn;
	bool may_write = !(f->slot.flags & KVM_MEM_LOG_DIRTY_PAGES);
	struct host_leaf l;
	pte_t *pte = NULL;

	for (gfn = first; gfn < end; gfn++) {
		unsigned long hva = f->slot.hva + ((gfn - f->slot.gfn) << PAGE_SHIFT);

		pte = pte && hva & ~PMD_MASK ? pte + 1 : host_entry(vm->mm, hva, &l);
		if (gfn == f->gfn || !(pte ? host_page(pte, &l) == USABLE : l.order))
			continue;
		maps[n++] =
		    (struct corbel_map){gfn, l.pfn + (hva >> PAGE_SHIFT & (BIT(l.order) - 1)), 0,
					map_flags(f, may_write && l.writable)};
	}
	return n;
}

static u32 build_maps(struct cb_vcpu *v, const struct fault *f, const struct host_leaf *l)
{
	struct corbel_map *maps = v->maps;
	bool writable = l->writable && (f->write || !(f->slot.flags & KVM_MEM_LOG_DIRTY_PAGES));

	maps[0] = (struct corbel_map){f->gfn, l->pfn + (f->hva >> PAGE_SHIFT & (BIT(l->order) - 1)),
				      0, map_flags(f, writable)};
	if (l->order >= ORDER_2M && fits_2m(v->vm, f)) {
		maps[0].gfn = ALIGN_DOWN(f->gfn, BIT(ORDER_2M));
		maps[0].pfn = ALIGN_DOWN(maps[0].pfn, BIT(ORDER_2M));
		maps[0].order = ORDER_2M;
	} else if (!f->fresh && !v->vm->has_private && !READ_ONCE(v->vm->inv_count)) {
		return add_neighbours(v->vm, f, maps, 1);
	}
	return 1;
}

/* Only the first entry must succeed; the others are a gift. */
static int map_batch(struct cb_vcpu *v, u32 n)
{
	struct corbel_map *maps = v->maps;
	u32 done = 0;
	bool replaced = false, added = false;

	while (done < n) {
		const struct corbel_map *m = maps + done;
		long r = n - done == 1 ? HC5(MAP_ONE, v->vm->id, m->gfn, m->pfn, m->order, m->flags)
				       : HC3(MAP, v->vm->id, cb_phys(m), n - done);

		if (r > 0) {
			done += r;
		} else if (r == -EEXIST && !done && !replaced) {
			/* Small pages where the VMM now has a large one. */
			HC3(UNMAP, v->vm->id, maps[0].gfn, BIT(maps[0].order));
			replaced = true;
		} else if (r == -EPERM && !done && !added && !HC1(MEMORY, m->pfn)) {
			added = true; /* dom0's kernel has it since the boot */
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

static int mark_mmio(struct cb_vcpu *v, const struct fault *f)
{
	v->maps[0] = (struct corbel_map){f->gfn, 0, 0, CORBEL_MAP_MMIO};
	return map_batch(v, 1);
}

/* Likewise all around, up to 2 MiB, where no memory is: one table less for the hypervisor. */
static int mark_mmio_hole(struct cb_vcpu *v, const struct fault *f)
{
	const struct cb_slots *slots =
	    rcu_dereference_protected(v->vm->slots, lockdep_is_held(&v->vm->mmu_lock));
	u64 first = ALIGN_DOWN(f->gfn, BIT(ORDER_2M));
	const struct cb_slot *s = slots_from(slots, first);

	if (v->vm->has_private ||
	    (s && s < slots->slot + slots->n && s->gfn < first + BIT(ORDER_2M)))
		return mark_mmio(v, f);
	v->maps[0] = (struct corbel_map){first, 0, ORDER_2M, CORBEL_MAP_MMIO};
	return map_batch(v, 1);
}

/* What there is to do without the lock, beside trying again */
enum { FAULT_IN = 1, TOO_MANY, NO_TABLES, NO_PAGE };

/*
 * What the VMM's page tables say stays true while mmu_lock is held and no invalidation of it is in
 * progress.
 */
static int map_page_locked(struct cb_vcpu *v, struct fault *f)
{
	struct cb_vm *vm = v->vm;
	bool logs = v->dirty.gfns && f->write && f->slot.flags & KVM_MEM_LOG_DIRTY_PAGES;
	struct host_leaf l;
	unsigned long flags;
	u32 n = 0;
	int r;

	if (logs && !cb_ring_has_room(&v->dirty, 1))
		return -ENOBUFS;
	if (vm->inv_count && f->hva >= vm->inv_start && f->hva < vm->inv_end)
		return -EAGAIN;
	local_irq_save(flags);
	r = find_page(vm, f, &l);
	if (r == USABLE)
		n = build_maps(v, f, &l);
	local_irq_restore(flags);
	if (r == ABSENT)
		return FAULT_IN;
	if (r == DEVICE) { /* each access is made by cb_device_access() */
		WRITE_ONCE(vm->has_devices, true);
		return mark_mmio(v, f);
	}
	if (!f->fresh && PageLRU(pfn_to_page(v->maps[0].pfn)))
		mark_page_accessed(pfn_to_page(v->maps[0].pfn));
	r = map_batch(v, n);
	/* Behind that: who takes it out of the ring unmaps it, and would not find it mapped yet. */
	if (!r && logs)
		cb_ring_push(&v->dirty, f->slot.id, f->gfn - f->slot.gfn);
	return r;
}

/* A private frame: none of the VMM's tables says anything of it. */
static int map_private_locked(struct cb_vcpu *v, const struct fault *f)
{
	u64 pfn;

	if (!f->slot.gmem)
		return -EFAULT;
	if (!cb_gmem_find(f->slot.gmem, f->slot.gmem_first + f->gfn - f->slot.gfn, &pfn))
		return NO_PAGE;
	v->maps[0] = (struct corbel_map){f->gfn, pfn, 0, CORBEL_MAP_EXEC | CORBEL_MAP_WRITE};
	return map_batch(v, 1);
}

static int map_mmio_locked(struct cb_vcpu *v, const struct fault *f)
{
	struct cb_vm *vm = v->vm;
	int r;

	if (vm->mmio_marks >= MAX_MMIO) {
		vm->mmio_marks = 0;
		return TOO_MANY;
	}
	r = mark_mmio_hole(v, f);
	if (!r) /* else it has no part in what there is to forget */
		vm->mmio_marks++;
	return r;
}

/* slots_lock keeps the slot and its file's pages. */
static int alloc_private(struct cb_vm *vm, u64 gfn)
{
	const struct cb_slot *s;
	int r = 0;

	mutex_lock(&vm->slots_lock);
	s = slots_find(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock)), gfn);
	if (s && s->gmem)
		r = cb_gmem_alloc(s->gmem, s->gmem_first + gfn - s->gfn);
	mutex_unlock(&vm->slots_lock);
	return r ? r : -EAGAIN;
}

static int try_fault(struct cb_vcpu *v, struct fault *f, bool write)
{
	struct cb_vm *vm = v->vm;
	const struct cb_slot *s;
	bool private;
	int r;

	spin_lock(&vm->mmu_lock);
	s = slots_find(rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->mmu_lock)),
		       f->gfn);
	private = cb_is_private(vm, f->gfn);
	if (f->gfn >= vm->change_first && f->gfn <= vm->change_last) {
		r = -EAGAIN;
	} else if (!s) {
		r = private ? -EFAULT : map_mmio_locked(v, f);
	} else if (s->flags & CB_SLOT_DEAD) {
		r = -EAGAIN;
	} else if (private) {
		f->slot = *s;
		r = map_private_locked(v, f);
	} else {
		f->slot = *s;
		f->hva = s->hva + ((f->gfn - s->gfn) << PAGE_SHIFT);
		f->write = write && !(s->flags & KVM_MEM_READONLY);
		r = map_page_locked(v, f);
	}
	if (r == -ENOMEM) { /* all that the VM was promised is in use, by itself */
		r = vm->mmio_marks ? TOO_MANY : NO_TABLES;
		vm->mmio_marks = 0;
	}
	spin_unlock(&vm->mmu_lock);
	if (r == FAULT_IN)
		return fault_in(v, f);
	if (r == NO_PAGE)
		return alloc_private(vm, f->gfn);
	/* a guest that looks everywhere for devices must not take the hypervisor's memory for it */
	if (r == TOO_MANY) {
		cb_mem_forget_mmio(vm);
		return -EAGAIN;
	}
	if (r == NO_TABLES) {
		cb_mem_forget(vm);
		return -EAGAIN;
	}
	return r;
}

int cb_fault(struct cb_vcpu *v, u64 gpa, u32 flags)
{
	struct fault f = {.gfn = gpa >> PAGE_SHIFT, .async = flags & CORBEL_FAULT_ASYNC};
	int r, tries = 0;

	while ((r = try_fault(v, &f, flags & CORBEL_FAULT_WRITE)) == -EAGAIN) {
		if (signal_pending(current))
			return 0; /* the access is simply tried again */
		if (++tries > 100)
			schedule_timeout_uninterruptible(1);
		else
			cond_resched();
	}
	if (r == -EPERM)
		pr_warn_ratelimited("VM %u cannot go on: its page %llx lies at %llx, which was not "
				    "there as RAM at boot, as of memory added later; reboot, or "
				    "keep VMMs away from it with numactl\n",
				    v->vm->id, f.gfn << PAGE_SHIFT,
				    (u64)v->maps[0].pfn << PAGE_SHIFT);
	return r;
}

static bool has_slot(struct cb_vm *vm, u64 gfn)
{
	bool there;

	rcu_read_lock();
	there = slots_find(rcu_dereference(vm->slots), gfn);
	rcu_read_unlock();
	return there;
}

int cb_pre_fault(struct cb_vcpu *v, struct kvm_pre_fault_memory *m)
{
	u64 all = m->size, end;
	int r;

	if (m->flags || ((m->gpa | m->size) & ~PAGE_MASK) || m->gpa + m->size <= m->gpa ||
	    m->gpa >> PAGE_SHIFT >= cb_gfn_end)
		return -EINVAL;
	do {
		r = has_slot(v->vm, m->gpa >> PAGE_SHIFT) ? cb_fault(v, m->gpa, 0) : -ENOENT;
		if (!r && signal_pending(current))
			r = -EINTR;
		if (r)
			break;
		/* what it has mapped, with more that was at hand */
		end = (v->maps[0].gfn + BIT(v->maps[0].order)) << PAGE_SHIFT;
		end = min(end, m->gpa + m->size);
		m->size -= end - m->gpa;
		m->gpa = end;
		cond_resched();
	} while (m->size);
	return m->size == all ? r : 0;
}

/* ---- devices that the VMM has mapped ---- */

unsigned long cb_fault_hva(struct cb_vm *vm, u64 gpa, u32 len, bool write)
{
	u64 gfn = gpa >> PAGE_SHIFT;
	unsigned long hva = 0;
	const struct cb_slot *s;

	rcu_read_lock();
	s = slots_from(rcu_dereference(vm->slots), gfn);
	if (s && s->gfn <= gfn && gpa + len <= (s->gfn + s->pages) << PAGE_SHIFT &&
	    !(s->flags & CB_SLOT_DEAD) && !(write && s->flags & KVM_MEM_READONLY))
		hva = s->hva + (gpa - (s->gfn << PAGE_SHIFT));
	rcu_read_unlock();
	return hva;
}

static bool is_device(struct mm_struct *mm, unsigned long hva)
{
	const struct vm_area_struct *vma;
	bool r;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, hva);
	r = vma && vma->vm_flags & VM_PFNMAP;
	mmap_read_unlock(mm);
	return r;
}

/* A device may care about how wide an access is. */
#define ACCESS(type)                                                                               \
	do {                                                                                       \
		type __user *at_ = (type __user *)hva;                                             \
		return !(write ? put_user(*(type *)data, at_) : get_user(*(type *)data, at_));     \
	} while (0)

bool cb_device_access(struct cb_vm *vm, u64 gpa, u32 len, bool write, void *data)
{
	unsigned long hva;

	if (!READ_ONCE(vm->has_devices))
		return false;
	hva = cb_fault_hva(vm, gpa, len, write);
	if (!hva || !is_device(vm->mm, hva))
		return false;
	switch (len) {
	case 1:
		ACCESS(u8);
	case 2:
		ACCESS(u16);
	case 4:
		ACCESS(u32);
	case 8:
		ACCESS(u64);
	}
	return !(write ? copy_to_user((void __user *)hva, data, len)
		       : copy_from_user(data, (void __user *)hva, len));
}
