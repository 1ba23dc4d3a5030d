/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events on their way into the guest, and stepping over an instruction. All for the vCPU that runs
 * on this CPU.
 */
#pragma once

#include "hv/emul/emul.h"
#include "hv/guest/vcpu.h"

/*
 * Those that are faults: their handler returns to the instruction, whose breakpoint is not to be
 * met again. #DB leaves RF as it is. SDM "EFLAGS Register", RF.
 */
#define EXC_IS_FAULT                                                                               \
	(BIT(0) | GENMASK(7, 5) | GENMASK(14, 10) | BIT(16) | BIT(17) | GENMASK(21, 19))

/*
 * Queue an exception for the next entry; contributory and double-fault rules, SDM "Interrupt 8 -
 * Double Fault".
 */
void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error);
void vcpu_inject_pf(struct vcpu *v, u64 cr2, u32 error);
void vcpu_inject_gp(struct vcpu *v);
/* It has triple-faulted: a guest stops, dom0 ends the machine. */
void vcpu_shutdown(struct vcpu *v);
/*
 * Deliver at most one event for this entry, in architectural order: what was broken off,
 * exceptions, NMI, interrupts; and ask for a window for what cannot be delivered yet.
 */
void vcpu_deliver_events(struct vcpu *v);
/* Could an interrupt be taken at the next entry? */
bool vcpu_can_take_irq(struct vcpu *v);

/* An instruction is done that was a step: #DB if the guest's RFLAGS.TF is set. */
void vcpu_trap_step(struct vcpu *v);
/*
 * An instruction is done: the interrupt shadow before it ends, and a single-stepping guest gets its
 * #DB.
 */
void vcpu_retire(struct vcpu *v);

/* Outside of 64-bit mode RIP has 32 bits, and VT-x takes no others. */
static inline void vcpu_move_rip(struct vcpu *v, s64 by)
{
	v->rip += by;
	if (hvm->get(v, HVM_MODE) != EMUL_64)
		v->rip = (u32)v->rip;
}

/* Step over the instruction that exited. */
static inline void vcpu_skip(struct vcpu *v, u32 len)
{
	vcpu_move_rip(v, len);
	vcpu_retire(v);
}

/* The same at its cheapest. The mode matters only where RIP leaves its 4 GiB. */
static inline void vcpu_step(struct vcpu *v, const struct vm_exit *x, u32 len)
{
	u64 next = v->rip + len;

	if (unlikely(!x->plain || (next ^ v->rip) >> 32)) {
		vcpu_skip(v, len);
		return;
	}
	v->rip = next;
	v->rflags &= ~RFLAGS_RF;
}
