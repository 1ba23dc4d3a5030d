/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/svm/nested_npt.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"

/* EXITINFO1 of a nested page fault: #PF's error code, and at what it was */
#define NPF_FINAL BIT(32) /* the address that the page tables yield */
#define NPF_WHERE GENMASK(33, 32)

/* Of CR4 and EFER of the guest what its nested tables depend on. */
#define ROOT_CR4  (CR4_PAE | CR4_PSE | CR4_SMEP) /* the last for error codes */
#define ROOT_EFER (EFER_LMA | EFER_NXE)

void svm_nested_flush(struct vcpu *v)
{
	svm_flush_asid(v);
	if (v->nested_paging)
		svm_vmcb(v)->ncr3 = v->shadow->pt.root.v;
}

void svm_nested_npt_load(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);
	const struct vmcb *m = &n->vmcb12;
	u64 cr4 = n->l1.cr4 & ROOT_CR4, efer = n->l1.efer & ROOT_EFER;

	BUG_ON(!v->nested_paging);
	if (m->tlb_control || m->asid != n->asid || m->ncr3 != n->root || cr4 != n->root_cr4 ||
	    efer != n->root_efer)
		shadow_drop(v);
	n->asid = m->asid;
	n->root = m->ncr3;
	n->root_cr4 = cr4;
	n->root_efer = efer;
	svm_vmcb(v)->ncr3 = v->shadow->pt.root.v;
}

bool svm_nested_is_clean(struct vcpu *v, u64 gen)
{
	return !v->nested_paging ||
	       (v->shadow->gen == gen && svm_vmcb(v)->ncr3 == v->shadow->pt.root.v);
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

int svm_nested_walk(struct vcpu *v, u64 at, u64 access, bool look, u64 *to, u32 *error)
{
	const struct svm_nested *n = svm_nested(v);
	struct walk_env w = {
	    .cr0 = CR0_PE | CR0_PG | CR0_WP,
	    .cr3 = n->root,
	    .cr4 = n->root_cr4,
	    .efer = n->root_efer,
	    .cpl = 3, /* each access is a user's: APM "Nested versus Guest Page Faults" */
	    .maxphyaddr = phys_bits,
	    .global_reserved = true,
	    .ctx = v,
	    .read = npt_read,
	    .cmpxchg = look ? NULL : npt_cmpxchg,
	};
	u32 reach = n->root_efer & EFER_LMA ? 48 : 32;

	/* beyond what they reach; the walk would not look at these bits */
	if (at >> reach) {
		*error = PF_U;
		if (access & WALK_WRITE)
			*error |= SVM_NPF_W;
		if (access & WALK_FETCH)
			*error |= SVM_NPF_ID;
		return -EFAULT;
	}
	return walk_linear(&w, at, access, to, error);
}

void svm_nested_refuse(struct vcpu *v, u64 at, u64 access, u32 error, const struct vm_exit *x)
{
	u64 where = x ? svm_vmcb(v)->exitinfo1 & NPF_WHERE : 0;
	u64 intinfo = x ? svm_nested_intinfo(v) : svm_nested(v)->inject;

	svm_nested_leave(v, SVM_EXIT_NPF, error | PF_U | (where ?: NPF_FINAL), at, intinfo);
}
