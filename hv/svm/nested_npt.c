/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested paging of nested guests: the CPU walks a shadow, a page table of the vCPU's own, from the
 * nested guest's physical addresses to the machine's. It is filled at faults, a page of 4 KiB each,
 * with what both the guest's nested tables and the VM's p2m allow then; the right to write comes
 * only with a write, when dirty flags have been set in both.
 *
 * It is a TLB to those two: what is in it may be used until somebody must be told otherwise.
 * The guest tells by VMRUN with another ASID, other tables, or a flush, and by INVLPGA; who takes
 * rights out of the p2m moves p2m.tlb_gen on, waits until all CPUs have left the guest, and the
 * next entry compares (svm_nested_follow()). In each case all of it goes. The same when the tables
 * that the vCPU was promised are used up.
 */
#include "hv/svm/nested_npt.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"
#include "hv/guest/fault.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"

/* EXITINFO1 of a nested page fault: #PF's error code, and at what it was */
#define NPF_FINAL BIT(32) /* the address that the page tables yield */
#define NPF_WHERE GENMASK(33, 32)
#define NPF_USER  BIT(2)

/* Of CR4 and EFER of the guest what its nested tables depend on. */
#define ROOT_CR4  (CR4_PAE | CR4_PSE)
#define ROOT_EFER (EFER_LMA | EFER_NXE)

void svm_nested_npt_drop(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);

	svm_flush_asid(v);
	if (!n->filled)
		return;
	pt_destroy(&n->shadow);
	/* what has just been given back is promised to nobody else */
	BUG_ON(pt_init(&n->shadow, &pt_guest, &n->tables));
	n->filled = false;
	if (v->nested_paging)
		svm_vmcb(v)->ncr3 = n->shadow.root.v;
}

void svm_nested_npt_load(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);
	const struct vmcb *m = &n->vmcb12;
	u64 cr4 = n->l1.cr4 & ROOT_CR4, efer = n->l1.efer & ROOT_EFER;

	if (m->tlb_control || m->asid != n->asid || m->ncr3 != n->root || cr4 != n->root_cr4 ||
	    efer != n->root_efer)
		svm_nested_npt_drop(v);
	n->asid = m->asid;
	n->root = m->ncr3;
	n->root_cr4 = cr4;
	n->root_efer = efer;
	svm_vmcb(v)->ncr3 = n->shadow.root.v;
}

void svm_nested_follow(struct vcpu *v, u64 gen)
{
	struct svm_nested *n = svm_nested(v);

	if (n->shadow_gen == gen)
		return;
	svm_nested_npt_drop(v);
	n->shadow_gen = gen;
}

bool svm_nested_is_clean(struct vcpu *v, u64 gen)
{
	return !v->nested_paging || (svm_nested(v)->shadow_gen == gen &&
				     svm_vmcb(v)->ncr3 == svm_nested(v)->shadow.root.v);
}

static int npt_read(void *ctx, u64 at, void *buf, u32 len)
{
	struct vcpu *v = ctx;

	return p2m_read(&v->vm->p2m, gpa(at), buf, len);
}

static int npt_cmpxchg(void *ctx, u64 at, u64 old, u64 new, u32 size)
{
	struct vcpu *v = ctx;

	return p2m_cmpxchg(&v->vm->p2m, gpa(at), old, new, size);
}

/*
 * Through the guest's nested tables: 0; -EFAULT and what the fault's error code is; -EAGAIN: a
 * table is not to be had at *to. look: without setting flags.
 */
static int npt_walk(struct vcpu *v, u64 at, u64 access, bool look, u64 *to, u32 *error)
{
	const struct svm_nested *n = svm_nested(v);
	struct walk_env w = {
	    .cr0 = CR0_PE | CR0_PG | CR0_WP,
	    .cr3 = n->root,
	    .cr4 = n->root_cr4,
	    .efer = n->root_efer,
	    .cpl = 3, /* each access is a user's: APM "Nested versus Guest Page Faults" */
	    .maxphyaddr = phys_bits,
	    .ctx = v,
	    .read = npt_read,
	    .cmpxchg = look ? NULL : npt_cmpxchg,
	};
	u32 reach = n->root_efer & EFER_LMA ? 48 : 32;

	/* beyond what they reach; the walk would not look at these bits */
	if (at >> reach) {
		*error = NPF_USER;
		if (access & WALK_WRITE)
			*error |= SVM_NPF_W;
		if (access & WALK_FETCH)
			*error |= SVM_NPF_ID;
		return -EFAULT;
	}
	return walk_linear(&w, at, access, to, error);
}

int svm_nested_translate(struct vcpu *v, u64 access, u64 *at)
{
	u64 to;
	u32 error;

	if (npt_walk(v, *at, access, false, &to, &error))
		return -EAGAIN;
	*at = to;
	return 0;
}

/*
 * The walk from at has not come to its end: the guest hears of it, or dom0 brings the table at to.
 * info: what the fault's error code has beside what the walk says.
 */
static void walk_failed(struct vcpu *v, int err, u64 at, u64 to, u64 info, u64 intinfo)
{
	struct pt_leaf leaf;
	bool write = info & WALK_WRITE;

	if (err == -EAGAIN) {
		p2m_lookup(&v->vm->p2m, to >> PAGE_SHIFT, &leaf);
		if (!mmio_is_device(v, to, &leaf, write)) {
			guest_memory_missing(v, to, write, false);
			return;
		}
		/* tables in a device: what is read there is not present */
		info = (info & NPF_WHERE) | NPF_USER;
	}
	svm_nested_leave(v, SVM_EXIT_NPF, info, at, intinfo);
}

void svm_nested_fault(struct vcpu *v, u64 access, u64 at)
{
	u64 to;
	u32 error;
	int err = npt_walk(v, at, access, false, &to, &error);

	if (err)
		walk_failed(v, err, at, to, error | NPF_FINAL, svm_nested(v)->inject);
}

/* The page at `at` is the machine's frame pfn. */
static void shadow_map(struct vcpu *v, u64 at, u64 pfn, u64 attr)
{
	struct svm_nested *n = svm_nested(v);
	u64 fn = at >> PAGE_SHIFT;
	bool flush = false;

	BUG_ON(v->vm->is_dom0);
	pt_unmap(&n->shadow, fn, 1, 1, &flush, NULL, NULL);
	if (flush)
		svm_flush_asid(v);
	pt_reap(&n->shadow);
	n->filled = true;
	if (pt_map(&n->shadow, fn, pfn, 0, attr) == -ENOMEM) {
		svm_nested_npt_drop(v);
		n->filled = true;
		pt_map(&n->shadow, fn, pfn, 0, attr);
	}
}

void svm_nested_npt_fault(struct vcpu *v, struct vm_exit *x)
{
	u64 at = x->p2m.gpa, to, ignored, attr = PT_R | PT_DIRTY, need = PT_R;
	u64 access = 0, where = svm_vmcb(v)->exitinfo1 & NPF_WHERE;
	struct pt_leaf leaf;
	u32 error;
	int err;

	if (x->p2m.write)
		access = WALK_WRITE;
	if (x->p2m.exec)
		access |= WALK_FETCH;
	err = npt_walk(v, at, access, false, &to, &error);
	if (err) {
		if (!where)
			where = NPF_FINAL;
		walk_failed(v, err, at, to, error | where, svm_nested_intinfo(v));
		x->reason = VMEXIT_IRQ_WINDOW;
		return;
	}
	x->p2m.gpa = to;
	p2m_lookup(&v->vm->p2m, to >> PAGE_SHIFT, &leaf);
	if (x->p2m.write)
		need |= PT_W | PT_DIRTY;
	if (x->p2m.exec)
		need |= PT_X;
	if (leaf.kind != PT_LEAF || (leaf.attr & need) != need ||
	    mmio_is_device(v, to, &leaf, x->p2m.write))
		return; /* as for the guest's own access */
	if (x->p2m.write)
		attr |= PT_W;
	if (leaf.attr & PT_X && !npt_walk(v, at, WALK_FETCH, true, &ignored, &error))
		attr |= PT_X;
	shadow_map(v, at, leaf.pfn, attr | (leaf.attr & PT_UC));
	x->reason = VMEXIT_IRQ_WINDOW;
}
