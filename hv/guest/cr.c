/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' control registers and XCR0. */
#include "hv/guest/cr.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"

/*
 * MOV to CR0, of which a back end leaves out nothing but what cannot fail; SDM "MOV - Move to/from
 * Control Registers".
 */
static bool cr0_valid(struct vcpu *v, u64 val)
{
	u64 old = hvm->get(v, HVM_CR0);
	struct corbel_segment cs;

	if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
		return false;
	if (!((old ^ val) & CR0_PG) || !(hvm->get(v, HVM_EFER) & EFER_LME))
		return true;
	hvm->get_seg(v, HVM_CS, &cs);
	if (cs.l)
		return false;
	if (val & CR0_PG)
		return hvm->get(v, HVM_CR4) & CR4_PAE;
	return !(hvm->get(v, HVM_CR4) & CR4_PCIDE);
}

static bool cr4_valid(struct vcpu *v, u64 val)
{
	u64 old = hvm->get(v, HVM_CR4);
	bool lma = hvm->get(v, HVM_EFER) & EFER_LMA;

	if ((val & ~v->rights.cr4) || (lma && (!(val & CR4_PAE) || ((old ^ val) & CR4_LA57))))
		return false;
	return !(val & ~old & CR4_PCIDE) || (lma && !(hvm->get(v, HVM_CR3) & 0xfff));
}

static bool write_cr(struct vcpu *v, u8 cr, u64 val)
{
	if (hvm->get(v, HVM_MODE) != EMUL_64)
		val = (u32)val;
	if (cr == 0 && cr0_valid(v, val))
		hvm->set(v, HVM_CR0, val & CR0_ALL);
	else if (cr == 4 && cr4_valid(v, val))
		vcpu_set_cr4(v, val);
	else if (cr == 8 && val < 16)
		lapic_set_cr8(v, val);
	else
		return false;
	return true;
}

int cr_decode_gpr(struct vcpu *v, const struct vm_exit *x, u8 *gpr, u32 *len, struct guest_fault *f)
{
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->emul->insn->insn;
	u8 opcode = x->cr.write ? 0x22 : 0x20;

	if (ret)
		return ret;
	if (x->reason == VMEXIT_DR_ACCESS)
		opcode++;
	if (i->vex || i->map != 1 || i->opcode != opcode)
		return -EINVAL;
	*gpr = i->rm;
	*len = i->len;
	return 0;
}

void cr_handle(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	u32 len = x->insn_len;
	u8 gpr = x->cr.gpr;
	int ret = 0;

	if (gpr > 15) /* not known */
		ret = cr_decode_gpr(v, x, &gpr, &len, &f);
	if (ret == -EINVAL || (!x->cr.write && x->cr.cr != 8)) {
		guest_stuck(v, GUEST_ERROR_CR, NULL);
	} else if (ret) {
		guest_access_failed(v, ret, &f);
	} else if (hvm->get(v, HVM_CPL) || (x->cr.write && !write_cr(v, x->cr.cr, v->gpr[gpr]))) {
		vcpu_inject_gp(v);
	} else {
		if (!x->cr.write)
			v->gpr[gpr] = lapic_get_cr8(v);
		vcpu_skip(v, len);
	}
}

void cr_handle_xsetbv(struct vcpu *v)
{
	u64 val = vcpu_edx_eax(v);

	if (hvm->get(v, HVM_CPL) || (u32)v->gpr[RCX] || !policy_xcr0_valid(v, val)) {
		vcpu_inject_gp(v);
		return;
	}
	xsetbv(0, val);
	v->xcr0 = val;
	vcpu_skip(v, 3);
}
