/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' control registers and XCR0. */
#include "hv/guest/cr.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/guest/pio.h"

/*
 * MOV to CR0, of which a back end leaves out nothing but what cannot fail; SDM "MOV - Move to/from
 * Control Registers".
 */
static bool cr0_valid(struct vcpu *v, u64 val)
{
	u64 old = hvm->get(v, HVM_CR0);
	struct corbel_segment cs;

	if (val >> 32 || ~val & v->fixed_cr0 || ((val & CR0_PG) && !(val & CR0_PE)) ||
	    ((val & CR0_NW) && !(val & CR0_CD)))
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

	if (val & ~v->rights.cr4 || ~val & v->fixed_cr4 ||
	    (lma && (!(val & CR4_PAE) || ((old ^ val) & CR4_LA57))))
		return false;
	return !(val & ~old & CR4_PCIDE) || (lma && !(hvm->get(v, HVM_CR3) & 0xfff));
}

/* A VMM that has the LAPICs may have an interrupt that waits for that. */
static void write_cr8(struct vcpu *v, u64 val)
{
	if (unlikely(!v->vm->has_lapic && val < lapic_get_cr8(v)))
		vcpu_exit_to_dom0(v, CORBEL_EXIT_TPR);
	lapic_set_cr8(v, val);
}

bool cr_write(struct vcpu *v, u8 cr, u64 val)
{
	if (hvm->get(v, HVM_MODE) != EMUL_64)
		val = (u32)val;
	if (cr == 0 && cr0_valid(v, val))
		hvm->set(v, HVM_CR0, val & CR0_ALL);
	else if (cr == 4 && cr4_valid(v, val))
		vcpu_set_cr4(v, val);
	else if (cr == 8 && val < 16)
		write_cr8(v, val);
	else
		return false;
	return true;
}

static bool is_insn(const struct insn *i, u8 opcode)
{
	return i->len && !i->vex && i->map == 1 && i->opcode == opcode;
}

/*
 * The exit may be by CLTS, or by LMSW or SMSW, older ways to CR0, of which a register gets all and
 * memory 16 bits: the emulator does that. -EINVAL: another instruction.
 */
static int handle_msw(struct vcpu *v, const struct vm_exit *x)
{
	const struct insn *i = &v->emul->insn->insn;
	bool clts = x->cr.write && is_insn(i, 0x06);
	u64 cr0 = hvm->get(v, HVM_CR0);

	if (x->cr.cr || (!clts && (!is_insn(i, 0x01) || modrm_ext(i) != (x->cr.write ? 6 : 4))))
		return -EINVAL;
	if (hvm->get(v, HVM_CPL) && (x->cr.write || hvm->get(v, HVM_CR4) & CR4_UMIP)) {
		vcpu_inject_gp(v);
		return 0;
	}
	if (!clts && i->has_mem) {
		mmio_emulate(v);
		return 0;
	}
	if (clts)
		cr_write(v, 0, cr0 & ~CR0_TS);
	else if (x->cr.write)
		cr_write(v, 0, cr0_with_msw(cr0, v->gpr[i->rm]));
	else
		pio_write_reg(v, i->rm, cr0, i->op_size);
	vcpu_skip(v, i->len);
	return 0;
}

static u64 read_cr(struct vcpu *v, u8 cr)
{
	switch (cr) {
	case 2:
		return hvm->get(v, HVM_CR2);
	case 3:
		return hvm->get(v, HVM_CR3);
	case 4:
		return hvm->get(v, HVM_CR4);
	case 8:
		return lapic_get_cr8(v);
	default:
		return hvm->get(v, HVM_CR0);
	}
}

static void handle_mov(struct vcpu *v, bool write, u8 cr, u8 gpr, u32 len)
{
	if (hvm->get(v, HVM_CPL) || (write && !cr_write(v, cr, v->gpr[gpr]))) {
		vcpu_inject_gp(v);
		return;
	}
	if (!write)
		v->gpr[gpr] = read_cr(v, cr);
	vcpu_skip(v, len);
}

void cr_handle(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	const struct insn *i;
	u32 len = x->insn_len;
	u8 cr = x->cr.cr, gpr = x->cr.gpr;
	int ret = 0;

	if (gpr > 15) { /* not known: the instruction tells all of it */
		ret = vcpu_fetch_cr_move(v, x, &gpr, &len, &f);
		i = &v->emul->insn->insn;
		if (!ret) /* LOCK: CR8 where there is no REX */
			cr = i->lock ? i->reg | 8 : i->reg;
		if (ret == -EINVAL) {
			ret = handle_msw(v, x);
			if (!ret)
				return;
		}
	}
	if (ret == -EINVAL && hvm->get(v, HVM_CPL))
		return; /* a program has changed its code meanwhile: once more */
	if (ret == -EINVAL)
		guest_stuck(v, GUEST_ERROR_CR, NULL);
	else if (ret)
		guest_access_failed(v, ret, &f);
	else
		handle_mov(v, x->cr.write, cr, gpr, len);
}

void cr_handle_xsetbv(struct vcpu *v)
{
	u64 val = vcpu_edx_eax(v);

	if (!(hvm->get(v, HVM_CR4) & CR4_OSXSAVE)) { /* should not have exited: quirks.c */
		vcpu_inject_exception(v, VEC_UD, false, 0);
		return;
	}
	if (hvm->get(v, HVM_CPL) || (u32)v->gpr[RCX] || !policy_xcr0_valid(v, val)) {
		vcpu_inject_gp(v);
		return;
	}
	xsetbv(0, val);
	v->xcr0 = val;
	vcpu_skip(v, 3);
}
