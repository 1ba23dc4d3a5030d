/* SPDX-License-Identifier: GPL-2.0-only */
/* Events on their way into the guest. */
#include "hv/guest/inject.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/debug.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

void vcpu_shutdown(struct vcpu *v)
{
	if (v->vm->is_dom0) {
		hvm->dump(v);
		boot_fail(
		    "dom0 has triple-faulted (rip %lx); see its last console lines for the cause",
		    v->rip);
	}
	if (v->guest_mode && READ_ONCE(v->stopped)) { /* the VMM has done it: when it runs */
		vcpu_note(v, DUE_TRIPLE);
		return;
	}
	if (v->guest_mode && !v->stop_reason && hvm->nested->shutdown(v))
		return;
	/* What led here has happened: nothing of it is for the state that the VMM may set now. */
	v->irq_injected = v->nmi_injected = v->nmi_pending = v->exception.pending = false;
	v->user_irq = -1;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_SHUTDOWN);
}

void vcpu_trap_step(struct vcpu *v)
{
	if (likely(!(v->rflags & RFLAGS_TF)))
		return;
	hvm->set(v, HVM_DR6, hvm->get(v, HVM_DR6) | DR6_BS);
	vcpu_inject_exception(v, VEC_DB, false, 0);
}

void vcpu_retire(struct vcpu *v)
{
	v->rflags &= ~RFLAGS_RF;
	if (hvm->get(v, HVM_SHADOW))
		hvm->set(v, HVM_SHADOW, 0);
	if (unlikely(v->debug.control) && debug_retired(v))
		return;
	vcpu_trap_step(v);
}

/* #DE, #TS, #NP, #SS, #GP */
static bool is_contributory(u8 vector)
{
	return !vector || (vector >= 10 && vector <= VEC_GP);
}

void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error)
{
	BUG_ON(vector > 31);
	if (v->exception.pending) {
		u8 first = v->exception.vector;
		bool after_pf = first == VEC_PF;

		if (first == VEC_DF) {
			vcpu_shutdown(v);
			return;
		}
		if (((after_pf || is_contributory(first)) && is_contributory(vector)) ||
		    (after_pf && vector == VEC_PF)) {
			vector = VEC_DF;
			has_error = true;
			error = 0;
		}
	}
	v->exception.pending = true;
	v->exception.injected = v->exception.has_payload = false;
	vcpu_note(v, DUE_LOOK);
	v->exception.vector = vector;
	v->exception.has_error = has_error && (hvm->get(v, HVM_CR0) & CR0_PE);
	v->exception.error = error;
}

void vcpu_inject_pf(struct vcpu *v, u64 cr2, u32 error)
{
	hvm->set(v, HVM_CR2, cr2);
	vcpu_inject_exception(v, VEC_PF, true, error);
}

void vcpu_inject_gp(struct vcpu *v)
{
	vcpu_inject_exception(v, VEC_GP, true, 0);
}

static inline void inject_interrupt(struct vcpu *v, enum hvm_event_kind kind, u8 vector)
{
	hvm->inject(v, kind, vector, false, 0);
}

/* Can an interrupt be injected? If not, it waits for the window. */
static inline bool irq_fits(struct vcpu *v)
{
	bool fits = hvm->can_inject(v, HVM_INJ_IRQ);

	v->window |= !fits;
	return fits;
}

/* Linux' api.rst, KVM_CAP_EXCEPTION_PAYLOAD: of a #DB bits of DR6 with the sense of all turned. */
static void take_payload(struct vcpu *v)
{
	u64 payload = v->exception.payload;

	v->exception.has_payload = false;
	if (v->exception.vector == VEC_PF)
		hvm->set(v, HVM_CR2, payload);
	else if (v->exception.vector == VEC_DB)
		debug_set_dr(v, 6,
			     ((debug_get_dr(v, 6) & ~DR6_TRAPS) | DR6_ONES | payload) ^
				 (payload & DR6_ONES));
}

static void inject_exception(struct vcpu *v)
{
	u8 vector = v->exception.vector;
	/* whatever the VMM says of one in real mode */
	bool has_error = v->exception.has_error && hvm->get(v, HVM_CR0) & CR0_PE;

	if (unlikely(v->exception.has_payload))
		take_payload(v);
	v->exception.pending = v->exception.injected = false;
	if (EXC_IS_FAULT & BIT(vector))
		v->rflags |= RFLAGS_RF;
	if (vector == VEC_DB)
		debug_set_dr(v, 7, debug_get_dr(v, 7) & ~DR7_GD);
	v->trap_injected = vector == VEC_BP || vector == VEC_OF;
	if (v->trap_injected) { /* behind the instruction, which has one byte */
		vcpu_move_rip(v, 1);
		vcpu_note(v, DUE_LOOK);
	}
	hvm->inject(v, HVM_INJ_EXCEPTION, vector, has_error, v->exception.error);
}

static inline bool hw_delivers(const struct vcpu *v)
{
	return hvm_caps.flags & HVM_CAP_VID && lapic_is_direct(&v->lapic) && !debug_keeps_irqs(v) &&
	       !v->guest_mode;
}

static inline void deliver_interrupts(struct vcpu *v)
{
	int vector;

	/* before an NMI, whose handler's IF would keep out what has been acknowledged */
	if (v->user_irq >= 0 && irq_fits(v)) {
		inject_interrupt(v, HVM_INJ_IRQ, v->user_irq);
		v->user_irq = -1;
	}
	if (v->nmi_pending) {
		v->nmi_pending = !hvm->can_inject(v, HVM_INJ_NMI);
		if (v->nmi_pending)
			hvm->want_window(v, HVM_INJ_NMI, true);
		else
			inject_interrupt(v, HVM_INJ_NMI, VEC_NMI);
	}
	vector = lapic_pending(v);
	if (vector >= 0 && !hw_delivers(v) && irq_fits(v)) {
		/* one that waits or was injected has left no room for another */
		BUG_ON(v->user_irq >= 0);
		lapic_accept(v, vector);
		inject_interrupt(v, HVM_INJ_IRQ, vector);
		v->window = lapic_pending(v) >= 0;
	}
}

void vcpu_deliver_events(struct vcpu *v)
{
	v->trap_injected = false;
	/* so a VMM says of one that has been acknowledged, too: VT-x refuses it where IF is clear
	 */
	if (unlikely(v->irq_injected) && !(v->rflags & RFLAGS_IF) && !v->guest_mode) {
		v->irq_injected = false;
		v->user_irq = v->irq_vector;
	}
	if (v->irq_injected) {
		v->irq_injected = false;
		inject_interrupt(v, HVM_INJ_IRQ, v->irq_vector);
	} else if (v->nmi_injected) {
		v->nmi_injected = false;
		inject_interrupt(v, HVM_INJ_NMI, VEC_NMI);
	} else if (v->exception.pending) {
		inject_exception(v);
	}
	if (unlikely(v->exception.pending)) /* behind another: at the next entry */
		vcpu_note(v, DUE_LOOK);
	if (likely(!debug_blocks_irqs(v)))
		deliver_interrupts(v);
	if (v->window != v->window_on) {
		hvm->want_window(v, HVM_INJ_IRQ, v->window);
		v->window_on = v->window;
	}
	v->window = false;
}

bool vcpu_can_take_irq(struct vcpu *v)
{
	bool nmi_first = v->nmi_injected || (v->nmi_pending && !v->nmi_masked);

	return v->user_irq < 0 && !v->irq_injected && !v->exception.pending && !nmi_first &&
	       hvm->can_inject(v, HVM_INJ_IRQ);
}
