/* SPDX-License-Identifier: GPL-2.0-only */
/* Events on their way into the guest. */
#include "hv/guest/inject.h"
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
	vcpu_exit_to_dom0(v, CORBEL_EXIT_SHUTDOWN);
}

void vcpu_retire(struct vcpu *v)
{
	v->rflags &= ~RFLAGS_RF;
	if (hvm->get(v, HVM_SHADOW))
		hvm->set(v, HVM_SHADOW, 0);
	if (unlikely(v->rflags & RFLAGS_TF)) {
		hvm->set(v, HVM_DR6, hvm->get(v, HVM_DR6) | DR6_BS);
		vcpu_inject_exception(v, 1, false, 0);
	}
}

static bool contributory(u8 vector)
{
	return vector == 0 || (vector >= 10 && vector <= 13);
}

void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error)
{
	if (v->exception.pending) {
		u8 first = v->exception.vector;

		if (first == 8) {
			vcpu_shutdown(v);
			return;
		}
		if ((contributory(first) && contributory(vector)) ||
		    (first == 14 && (contributory(vector) || vector == 14))) {
			vector = 8;
			has_error = true;
			error = 0;
		}
	}
	v->exception.pending = true;
	vcpu_note(v, DUE_LOOK);
	v->exception.vector = vector;
	v->exception.has_error = has_error && (hvm->get(v, HVM_CR0) & CR0_PE);
	v->exception.error = error;
}

void vcpu_inject_pf(struct vcpu *v, u64 cr2, u32 error)
{
	hvm->set(v, HVM_CR2, cr2);
	vcpu_inject_exception(v, 14, true, error);
	v->exception.cr2 = cr2;
}

void vcpu_inject_gp(struct vcpu *v)
{
	vcpu_inject_exception(v, 13, true, 0);
}

void vcpu_deliver_events(struct vcpu *v)
{
	int vector;

	if (v->irq_injected) {
		v->irq_injected = false;
		hvm->inject(v, HVM_INJ_IRQ, v->irq_vector, false, 0);
	} else if (v->nmi_injected) {
		v->nmi_injected = false;
		hvm->inject(v, HVM_INJ_NMI, 2, false, 0);
	} else if (v->exception.pending) {
		v->exception.pending = false;
		hvm->inject(v, HVM_INJ_EXCEPTION, v->exception.vector, v->exception.has_error,
			    v->exception.error);
	}
	if (v->nmi_pending && hvm->can_inject(v, HVM_INJ_NMI)) {
		v->nmi_pending = false;
		hvm->inject(v, HVM_INJ_NMI, 2, false, 0);
	} else if (v->nmi_pending) {
		hvm->want_window(v, HVM_INJ_NMI, true);
	}
	if (v->user_irq >= 0) {
		if (hvm->can_inject(v, HVM_INJ_IRQ)) {
			hvm->inject(v, HVM_INJ_IRQ, v->user_irq, false, 0);
			v->user_irq = -1;
		} else {
			v->window = true;
		}
	}
	vector = lapic_pending(v);
	if (vector >= 0 && !(hvm_caps.flags & HVM_CAP_VID && lapic_is_direct(&v->lapic))) {
		if (v->user_irq < 0 && hvm->can_inject(v, HVM_INJ_IRQ)) {
			lapic_accept(v, vector);
			hvm->inject(v, HVM_INJ_IRQ, vector, false, 0);
			v->window = lapic_pending(v) >= 0;
		} else {
			v->window = true;
		}
	}
	if (v->window != v->window_on) {
		hvm->want_window(v, HVM_INJ_IRQ, v->window);
		v->window_on = v->window;
	}
	v->window = false;
}

bool vcpu_can_take_irq(struct vcpu *v)
{
	return v->user_irq < 0 && !v->irq_injected && !v->exception.pending &&
	       hvm->can_inject(v, HVM_INJ_IRQ);
}
