/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A debugger outside the guest: KVM_SET_GUEST_DEBUG. It stops the vCPU after each instruction, at
 * breakpoints of its own in the code, or by the debug registers.
 *
 * While it steps or uses the debug registers, the guest's own ones are only kept (v->dr,
 * v->debug.dr6 and dr7): its MOVs to and from them exit, and every #DB is the debugger's to see.
 */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/guest/vcpu.h"

/* in v->debug.control, of no debugger's: every exit stops the vCPU, and is told to dom0 */
#define DEBUG_TRACE BIT(31)
#define DEBUG_HOLDS (CORBEL_DEBUG_STEP | CORBEL_DEBUG_HW)

static inline bool debug_holds_drs(const struct vcpu *v)
{
	return v->debug.control & DEBUG_HOLDS;
}

/* DR0..3 as the hardware is to have them */
static inline const u64 *debug_hw_dr(const struct vcpu *v)
{
	return v->debug.control & CORBEL_DEBUG_HW ? v->debug.own : v->dr;
}

/* Interrupts and NMIs wait until the debugger allows them. */
static inline bool debug_blocks_irqs(const struct vcpu *v)
{
	return v->debug.control & CORBEL_DEBUG_BLOCKIRQ;
}

/*
 * Hardware that delivers interrupts is not to do so: it would deliver what the debugger holds back,
 * and in the middle of a step, with a TF that is not the guest's.
 */
static inline bool debug_keeps_irqs(const struct vcpu *v)
{
	return v->debug.control & (CORBEL_DEBUG_STEP | CORBEL_DEBUG_BLOCKIRQ);
}

/* What the debugger wants from now on. -EINVAL: unknown; -EBUSY: nothing can be injected now. */
s64 debug_set(struct vcpu *v, const struct corbel_guest_debug *d);
/* The guest's DR6 or DR7 of a vCPU that is loaded or borrowed; n = 6, 7. */
u64 debug_get_dr(struct vcpu *v, u32 n);
void debug_set_dr(struct vcpu *v, u32 n, u64 val);
/* The back end has forgotten: tell it again. */
void debug_reset(struct vcpu *v);

/* hvm->run() for a vCPU with a debugger. */
void debug_run(struct vcpu *v, struct vm_exit *x);
/* An exception has exited: true if the vCPU stops for the debugger. */
bool debug_takes(struct vcpu *v, const struct vm_exit *x);
/* An instruction has been emulated: true if the debugger is to see its single-step trap. */
bool debug_retired(struct vcpu *v);
/* Before an entry: stop for the trap that debug_retired() has noted. */
void debug_stop_owed(struct vcpu *v);
/* MOV to or from a debug register. */
void debug_handle_mov(struct vcpu *v, const struct vm_exit *x);
