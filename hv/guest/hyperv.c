/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/hyperv.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/insn.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_regs.h"

static bool is_apic_msr(const struct vcpu *v, u32 msr)
{
	return v->services & CORBEL_HYPERV_APIC && msr - MSR_HYPERV_EOI <= 2;
}

int hyperv_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	if (msr == MSR_HYPERV_TIME && v->services & CORBEL_HYPERV_TIME) {
		*val = pv_clock_get(v->vm) / 100;
		return 0;
	}
	if (!is_apic_msr(v, msr))
		return -ENOENT;
	*val = v->lapic.tpr;
	if (msr == MSR_HYPERV_ICR)
		*val = v->lapic.icr;
	return msr == MSR_HYPERV_EOI || !lapic_is_on(&v->lapic) ? -EINVAL : 0;
}

int hyperv_msr_write(struct vcpu *v, u32 msr, u64 val)
{
	if (!is_apic_msr(v, msr))
		return -ENOENT;
	if (!lapic_is_on(&v->lapic))
		return -EINVAL;
	if (msr == MSR_HYPERV_EOI)
		return lapic_write(v, APIC_EOI, 0);
	if (msr == MSR_HYPERV_TPR)
		return lapic_write(v, APIC_TPR, val);
	if (!lapic_is_x2apic(&v->lapic)) /* whose ICR is two registers */
		lapic_write(v, APIC_ICR_HIGH, val >> 32);
	return lapic_write(v, APIC_ICR, val);
}

static void complete_hypercall(struct vcpu *v)
{
	u64 result = READ_ONCE(v->page->hypercall.result);

	v->gpr[RAX] = result;
	if (hvm->get(v, HVM_MODE) != EMUL_64) {
		v->gpr[RAX] = (u32)result;
		if (v->services & CORBEL_HYPERV_CALLS)
			v->gpr[RDX] = result >> 32;
	}
	vcpu_skip(v, v->io.insn_len);
}

static void stop_for_hypercall(struct vcpu *v, const struct vm_exit *x)
{
	BUG_ON(!v->page || v->complete);
	WRITE_ONCE(v->page->hypercall.is_64, hvm->get(v, HVM_MODE) == EMUL_64);
	v->io.insn_len = x->insn_len;
	v->complete = complete_hypercall;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_HYPERCALL);
}

void hyperv_hypercall(struct vcpu *v, const struct vm_exit *x)
{
	if (hvm->get(v, HVM_CPL) || !(hvm->get(v, HVM_CR0) & CR0_PE))
		vcpu_inject_exception(v, VEC_UD, false, 0);
	else
		stop_for_hypercall(v, x);
}

bool hypercall_is_dom0s(struct vcpu *v, const struct vm_exit *x)
{
	u64 nr = v->gpr[RAX];

	if (hvm->get(v, HVM_MODE) != EMUL_64)
		nr = (u32)nr;
	if ((nr != HC_CLOCK_PAIRING && nr != HC_MAP_GPA_RANGE) || !v->page || hvm->get(v, HVM_CPL))
		return false;
	stop_for_hypercall(v, x);
	return true;
}
