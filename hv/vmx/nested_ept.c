/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/vmx/nested_ept.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/nested_run.h"

#define EPT_BITS 48

struct ept_walk {
	struct vcpu *v;
	u32 level; /* of the next entry */
	bool bad;
};

static int ept_read(void *ctx, u64 at, void *buf, u32 len)
{
	struct ept_walk *c = ctx;
	u64 e;

	BUG_ON(len != sizeof(e) || !c->level);
	if (p2m_read(&c->v->vm->p2m, gpa(at), &e, len))
		return -EAGAIN;
	e = vmcs12_ept_as_pte(e, c->level--, &c->bad);
	*(u64 *)buf = c->bad ? 0 : e;
	return 0;
}

int vmx_nested_walk(struct vcpu *v, u64 at, u64 access, bool look, u64 *to, u32 *error)
{
	struct ept_walk c = {.v = v, .level = 4};
	struct walk_env w = {
	    .cr0 = CR0_PE | CR0_PG | CR0_WP,
	    .cr3 = vmx_nested(v)->eptp,
	    .cr4 = CR4_PAE,
	    .efer = EFER_LMA | EFER_NXE,
	    .cpl = 3,
	    .maxphyaddr = phys_bits,
	    .ctx = &c,
	    .read = ept_read, /* there are no flags to be set */
	};
	int ret;

	*error = 0;
	if (at >> EPT_BITS)
		return -EFAULT;
	ret = walk_linear(&w, at, access, to, error);
	if (c.bad)
		*error |= PF_RSVD;
	return ret;
}

void vmx_nested_refuse(struct vcpu *v, u64 at, u64 access, u32 error, const struct vm_exit *x)
{
	u64 qual = QUAL_EPT_LINEAR | QUAL_EPT_FINAL, to;
	u32 ignored;

	vmcs12_set(&vmx_nested(v)->vmcs12, VMCS_GUEST_PHYSICAL, at);
	if (error & PF_RSVD) {
		vmx_nested_leave(v, EXIT_EPT_MISCONFIG, 0, 0, 0);
		return;
	}
	if (x) {
		qual = vmcs_readn(VMCS_QUALIFICATION);
		qual &= QUAL_EPT_ACCESS | QUAL_EPT_LINEAR | QUAL_EPT_FINAL | INTR_NMI_UNBLOCK;
	} else if (access & WALK_FETCH) {
		qual |= QUAL_EPT_EXEC;
	} else {
		qual |= access & WALK_WRITE ? QUAL_EPT_WRITE : QUAL_EPT_READ;
	}
	if (error & PF_P) { /* what it allows */
		qual |= QUAL_EPT_MAY_READ;
		if (!vmx_nested_walk(v, at, WALK_WRITE, true, &to, &ignored))
			qual |= QUAL_EPT_MAY_READ << 1;
		if (!vmx_nested_walk(v, at, WALK_FETCH, true, &to, &ignored))
			qual |= QUAL_EPT_MAY_READ << 2;
	}
	vmx_nested_leave(v, EXIT_EPT_VIOLATION, qual, 0, 0);
}

/* The next entry flushes, and takes the root anew. */
void vmx_nested_flush(struct vcpu *v)
{
	vmx_of(v)->tlb_gen = NO_GEN;
}
