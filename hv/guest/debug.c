/* SPDX-License-Identifier: GPL-2.0-only */
/* A debugger outside the guest; SDM "Debug, Branch Profile, TSC, ...", APM "Debug". */
#include "hv/guest/debug.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/emul/walk.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/lazy.h"
#include "hv/guest/linear.h"
#include "hv/lib/string.h"

#define OP_PUSHF 0x9c
#define OP_POPF	 0x9d
#define OP_IRET	 0xcf

#define BLOCKIRQ CORBEL_DEBUG_BLOCKIRQ
#define INJECT	 (CORBEL_DEBUG_INJECT_DB | CORBEL_DEBUG_INJECT_BP)
#define VALID	 (CORBEL_DEBUG_ENABLE | DEBUG_HOLDS | INJECT | CORBEL_DEBUG_SW | BLOCKIRQ)

/* ---- registers ---- */

u64 debug_get_dr(struct vcpu *v, u32 n)
{
	BUG_ON(n != 6 && n != 7);
	if (n == 6)
		return debug_holds_drs(v) ? v->debug.dr6 : hvm->get(v, HVM_DR6);
	return debug_holds_drs(v) ? v->debug.dr7 : hvm->get(v, HVM_DR7);
}

/*
 * The back end has what is to be in the hardware. General detection is done here: the exit comes
 * before it.
 */
static void tell_back_end(struct vcpu *v)
{
	bool holds = debug_holds_drs(v);
	u64 dr6 = v->debug.dr6, dr7 = v->debug.dr7;

	if (v->debug.control & CORBEL_DEBUG_HW)
		dr7 = v->debug.own_dr7;
	if (holds) {
		dr6 = DR6_ONES;
		dr7 &= ~DR7_GD;
	}
	hvm->set_debug(v, v->debug.control & CORBEL_DEBUG_SW, holds);
	hvm->set(v, HVM_DR6, dr6);
	hvm->set(v, HVM_DR7, dr7);
}

void debug_set_dr(struct vcpu *v, u32 n, u64 val)
{
	enum hvm_reg reg = HVM_DR7;

	if (n == 6) {
		reg = HVM_DR6;
		v->debug.dr6 = (u32)val | DR6_ONES;
	} else {
		v->debug.dr7 = (u32)val | DR7_ONE;
	}
	if (debug_holds_drs(v))
		tell_back_end(v);
	else
		hvm->set(v, reg, (u32)val);
}

void debug_reset(struct vcpu *v)
{
	v->debug.owed = false;
	v->debug.dr6 = DR6_ONES;
	v->debug.dr7 = DR7_ONE;
	tell_back_end(v);
}

s64 debug_set(struct vcpu *v, const struct corbel_guest_debug *d)
{
	u32 control = d->control & CORBEL_DEBUG_ENABLE ? d->control & ~INJECT : 0;

	if (d->control & ~VALID || (control & CORBEL_DEBUG_HW && d->dr[7] >> 32))
		return -EINVAL;
	if (d->control & INJECT && v->exception.pending)
		return -EBUSY;
	v->debug.dr6 = debug_get_dr(v, 6);
	v->debug.dr7 = debug_get_dr(v, 7);
	v->debug.control = control;
	v->debug.owed = false;
	memcpy(v->debug.own, d->dr, sizeof(v->debug.own));
	v->debug.own_dr7 = (u32)d->dr[7] | DR7_ONE;
	v->lapic.hw_stale = true; /* who delivers interrupts may change */
	tell_back_end(v);
	if (d->control & CORBEL_DEBUG_INJECT_DB)
		vcpu_inject_exception(v, VEC_DB, false, 0);
	else if (d->control & INJECT)
		vcpu_inject_exception(v, VEC_BP, false, 0);
	return 0;
}

/* ---- stops ---- */

static void debug_stop(struct vcpu *v, u8 vector, u64 dr6)
{
	struct hvm_paging p;

	BUG_ON(!v->page || v->stop_reason);
	hvm->get_paging(v, &p);
	WRITE_ONCE(v->page->debug.rip, p.next);
	WRITE_ONCE(v->page->debug.dr6, dr6 | DR6_ONES);
	WRITE_ONCE(v->page->debug.dr7, hvm->get(v, HVM_DR7));
	WRITE_ONCE(v->page->debug.vector, vector);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_DEBUG);
}

bool debug_takes(struct vcpu *v, const struct vm_exit *x)
{
	if (x->exc.vector == VEC_BP && v->debug.control & CORBEL_DEBUG_SW) {
		debug_stop(v, VEC_BP, 0);
	} else if (x->exc.vector == VEC_DB && debug_holds_drs(v)) {
		debug_stop(v, VEC_DB, hvm->get(v, HVM_DR6));
		hvm->set(v, HVM_DR6, DR6_ONES); /* where its bits are sticky */
	} else {
		return false;
	}
	return true;
}

bool debug_retired(struct vcpu *v)
{
	if (!(v->debug.control & CORBEL_DEBUG_STEP) &&
	    !(debug_holds_drs(v) && v->rflags & RFLAGS_TF))
		return false;
	v->debug.owed = true;
	vcpu_note(v, DUE_LOOK);
	return true;
}

void debug_stop_owed(struct vcpu *v)
{
	v->debug.owed = false;
	vcpu_load(v);
	tell_back_end(v); /* nor is another to follow, that a CPU may have noted at the exit */
	debug_stop(v, VEC_DB, DR6_BS);
}

/* ---- single steps ---- */

/* What the next instruction does with the flags' TF, which is not the guest's own while it runs. */
enum tf_use { TF_KEPT, TF_PUSHED, TF_LOADED };

static enum tf_use next_tf_use(struct vcpu *v)
{
	struct guest_fault f;
	const struct insn *i;

	if (vcpu_fetch(v, &f))
		return TF_KEPT; /* it will fault */
	i = &v->emul->insn->insn;
	if (i->vex || i->map)
		return TF_KEPT;
	if (i->opcode == OP_PUSHF)
		return TF_PUSHED;
	return i->opcode == OP_POPF || i->opcode == OP_IRET ? TF_LOADED : TF_KEPT;
}

/* Top of the stack: the flags have been pushed, with a TF that is not the guest's. */
static void hide_pushed_tf(struct vcpu *v)
{
	u64 linear = v->gpr[RSP];
	struct corbel_segment ss;
	struct guest_fault f;
	u16 flags;

	if (hvm->get(v, HVM_MODE) != EMUL_64) {
		hvm->get_seg(v, HVM_SS, &ss);
		linear = (u32)(ss.base + (ss.db ? (u32)linear : (u16)linear));
	}
	if (vcpu_access_linear(v, linear, &flags, sizeof(flags), 0, &f))
		return;
	flags &= ~RFLAGS_TF;
	vcpu_access_linear(v, linear, &flags, sizeof(flags), WALK_WRITE, &f);
}

static void debug_step(struct vcpu *v, struct vm_exit *x)
{
	u64 own = v->rflags & RFLAGS_TF;
	enum tf_use use = next_tf_use(v);
	u64 rip = v->rip;
	bool done;

	v->rflags |= RFLAGS_TF;
	hvm->run(v, x);
	if (v->rip == rip)
		use = TF_KEPT; /* a trap is of the instruction before: this one has not run */
	done = x->reason == VMEXIT_EXCEPTION && x->exc.vector == VEC_DB &&
	       hvm->get(v, HVM_DR6) & DR6_BS;
	if (done && use == TF_LOADED)
		return;
	v->rflags = (v->rflags & ~RFLAGS_TF) | own;
	if (done && use == TF_PUSHED && !own)
		hide_pushed_tf(v);
}

static void debug_tell(struct vcpu *v, const struct vm_exit *x)
{
	struct corbel_vcpu_page __shared *p = v->page;

	WRITE_ONCE(p->exit.reason, x->reason);
	WRITE_ONCE(p->exit.code, x->raw);
	WRITE_ONCE(p->exit.rip, v->rip);
	WRITE_ONCE(p->exit.rax, v->gpr[RAX]);
	WRITE_ONCE(p->exit.rcx, v->gpr[RCX]);
	vcpu_note(v, DUE_PAUSE);
}

/*
 * An event that is delivered at this entry comes first, and must not push our TF: the exit is to
 * follow at once, before the first instruction of its handler, which is the one that is stepped.
 */
void debug_run(struct vcpu *v, struct vm_exit *x)
{
	bool steps = v->debug.control & CORBEL_DEBUG_STEP;

	if (!steps) {
		hvm->run(v, x);
	} else if (hvm->can_inject(v, HVM_INJ_EXCEPTION)) {
		debug_step(v, x);
	} else {
		apic_send_ipi(this_cpu()->apic_id, VEC_KICK);
		hvm->run(v, x);
	}
	x->plain = false; /* what is emulated retires the long way */
	if (v->debug.control & DEBUG_TRACE)
		debug_tell(v, x);
}

/* ---- MOV to and from debug registers ---- */

static bool write_dr(struct vcpu *v, u32 n, u64 val)
{
	if (n < ARRAY_SIZE(v->dr)) {
		v->dr[n] = val;
		drs_to_hw(v);
		return true;
	}
	if (val >> 32)
		return false;
	debug_set_dr(v, n, val);
	return true;
}

/* DR7.GD, the debugger's or the guest's: the access is told, not done. */
static bool general_detect(struct vcpu *v)
{
	if (v->debug.control & CORBEL_DEBUG_HW && v->debug.own_dr7 & DR7_GD) {
		debug_stop(v, VEC_DB, DR6_BD);
		return true;
	}
	if (!(debug_get_dr(v, 7) & DR7_GD))
		return false;
	debug_set_dr(v, 6, debug_get_dr(v, 6) | DR6_BD);
	vcpu_inject_exception(v, VEC_DB, false, 0);
	return true;
}

void debug_handle_mov(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	u32 len = x->insn_len, n = x->cr.cr & 7;
	u8 gpr = x->cr.gpr;
	int ret = 0;

	if (gpr > 15) /* not known */
		ret = vcpu_fetch_cr_move(v, x, &gpr, &len, &f);
	if (ret == -EINVAL) {
		guest_stuck(v, GUEST_ERROR_CR, NULL);
	} else if (ret) {
		guest_access_failed(v, ret, &f);
	} else if (hvm->get(v, HVM_CPL)) {
		vcpu_inject_gp(v);
	} else if ((n == 4 || n == 5) && hvm->get(v, HVM_CR4) & CR4_DE) {
		vcpu_inject_exception(v, VEC_UD, false, 0);
	} else if (!general_detect(v)) {
		u64 val = v->gpr[gpr];

		n = n == 4 || n == 5 ? n + 2 : n; /* their old names */
		if (hvm->get(v, HVM_MODE) != EMUL_64)
			val = (u32)val;
		if (!x->cr.write)
			v->gpr[gpr] = n < 4 ? v->dr[n] : debug_get_dr(v, n);
		else if (!write_dr(v, n, val))
			return vcpu_inject_gp(v);
		vcpu_skip(v, len);
	}
}
