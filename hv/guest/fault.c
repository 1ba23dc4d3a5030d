/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest's access ends in that cannot be done: memory that dom0 has to bring, an exception,
 * or the end.
 */
#include "hv/guest/fault.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

static void tell_missing(struct vcpu *v, u64 at, u32 flags)
{
	BUG_ON(!v->page);
	if (v->in_smm)
		at |= CORBEL_GFN_SMM << PAGE_SHIFT;
	WRITE_ONCE(v->page->fault.gpa, at);
	WRITE_ONCE(v->page->fault.flags, flags);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_MEM_FAULT);
}

void guest_memory_missing(struct vcpu *v, u64 at, bool write, bool exec)
{
	u32 flags = 0;

	if (v->vm->ops) {
		v->vm->ops->memory_fault(v, at);
		return;
	}
	if (write)
		flags |= CORBEL_FAULT_WRITE;
	if (exec)
		flags |= CORBEL_FAULT_EXEC;
	if (!v->complete && vcpu_can_take_irq(v))
		flags |= CORBEL_FAULT_ASYNC;
	tell_missing(v, at, flags);
}

void guest_stuck(struct vcpu *v, u64 code, const struct fetched *in)
{
	if (v->vm->is_dom0) {
		hvm->dump(v);
		boot_fail("dom0's vCPU %u cannot go on (code %lx, rip %lx); please report it with "
			  "this log",
			  v->index, code, v->rip);
	}
	WRITE_ONCE(v->page->internal.code, code);
	WRITE_ONCE(v->page->internal.insn_len, 0);
	WRITE_ONCE(v->page->internal.event, 0);
	if (in) {
		BUG_ON(in->n > sizeof(v->page->internal.insn));
		WRITE_ONCE(v->page->internal.insn_len, in->n);
		shared_write(v->page->internal.insn, in->bytes, in->n);
	}
	vcpu_exit_to_dom0(v, CORBEL_EXIT_INTERNAL);
}

void guest_cannot_emulate(struct vcpu *v, const struct fetched *in)
{
	if (hvm->get(v, HVM_CPL) && !(v->services & CORBEL_KVM_EMULATION_STOPS))
		vcpu_inject_exception(v, VEC_UD, false, 0);
	else
		guest_stuck(v, GUEST_ERROR_EMULATION, in);
}

static void device_answered(struct vcpu *v)
{
	u64 at = READ_ONCE(v->page->fault.gpa);

	if (!READ_ONCE(v->page->fault.none)) { /* once more */
		if (v->go_on)
			v->go_on(v);
		return;
	}
	if (vm_may_log(v->vm, VM_LOG_LINE))
		log_warn("vm %u vcpu %u: instruction at %lx needs memory at %lx, where there is "
			 "a device",
			 v->vm->id, v->index, v->rip, at);
	guest_cannot_emulate(v, NULL);
}

void guest_access_missed(struct vcpu *v, const struct guest_fault *f)
{
	struct pt_leaf leaf;

	if (unlikely(f->nested)) {
		v->complete = NULL; /* the nested guest's instruction runs again */
		hvm->nested->fault(v, f->raised.error, f->gpa);
		return;
	}
	p2m_lookup(v->p2m, f->gpa >> PAGE_SHIFT, &leaf);
	if (v->vm->is_dom0 || !guest_has_device(&leaf, f->write)) {
		guest_memory_missing(v, f->gpa, f->write, false);
		return;
	}
	v->go_on = v->complete;
	v->complete = device_answered;
	WRITE_ONCE(v->page->fault.none, 0);
	tell_missing(v, f->gpa, CORBEL_FAULT_DEVICE);
}

void guest_inject_fault(struct vcpu *v, const struct emul_fault *f)
{
	if (f->vector == VEC_PF)
		vcpu_inject_pf(v, f->cr2, f->error);
	else
		vcpu_inject_exception(v, f->vector, EXC_HAS_ERROR & BIT(f->vector), f->error);
}

void guest_access_failed(struct vcpu *v, int err, const struct guest_fault *f)
{
	if (err == -EAGAIN)
		guest_access_missed(v, f);
	else
		guest_inject_fault(v, &f->raised);
}
