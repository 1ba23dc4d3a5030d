/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/msr_exit.h"
#include "hv/guest/hyperv.h"
#include "hv/guest/inject.h"
#include "hv/guest/vm.h"

static void finish_msr(struct vcpu *v, bool error)
{
	if (error)
		vcpu_inject_gp(v);
	else
		vcpu_skip(v, v->io.insn_len);
}

static void complete_write(struct vcpu *v)
{
	finish_msr(v, READ_ONCE(v->page->msr.error));
}

static void complete_read(struct vcpu *v)
{
	bool error = READ_ONCE(v->page->msr.error);
	u64 val = READ_ONCE(v->page->msr.data);

	if (!error) {
		v->gpr[RAX] = (u32)val;
		v->gpr[RDX] = val >> 32;
	}
	finish_msr(v, error);
}

void msr_refused(struct vcpu *v, const struct vm_exit *x, int err)
{
	u32 why = CORBEL_MSR_EXIT_INVALID;

	if (err == -EPERM)
		why = CORBEL_MSR_EXIT_FILTER;
	if (err == -ENOENT)
		why = CORBEL_MSR_EXIT_UNKNOWN;
	if (err == -ENOENT && module_has_msr(v, v->gpr[RCX])) {
		why = CORBEL_MSR_EXIT_MODULE;
	} else if (!(v->vm->msr_exits & why)) {
		vcpu_inject_gp(v);
		return;
	}
	BUG_ON(!v->page || v->complete);
	WRITE_ONCE(v->page->msr.index, v->gpr[RCX]);
	WRITE_ONCE(v->page->msr.reason, why);
	WRITE_ONCE(v->page->msr.data, 0);
	WRITE_ONCE(v->page->msr.error, 0);
	WRITE_ONCE(v->page->msr.is_write, x->reason == VMEXIT_MSR_WRITE);
	v->complete = complete_read;
	if (x->reason == VMEXIT_MSR_WRITE) {
		WRITE_ONCE(v->page->msr.data, vcpu_edx_eax(v));
		v->complete = complete_write;
	}
	v->io.insn_len = x->insn_len;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_MSR);
}
