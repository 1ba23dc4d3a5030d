/* SPDX-License-Identifier: GPL-2.0-only */
/* Events in guest mode: which end it; SDM "Other Causes of VM Exits". And struct nested_ops. */
#include "hv/vmx/nested_event.h"
#include "hv/guest/lazy.h"
#include "hv/guest/run.h"
#include "hv/vmx/nested_ept.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/nested_run.h"
#include "hv/vmx/nested_state.h"

static u32 pin_controls12(struct vcpu *v)
{
	return vmx_get12(v, VMCS_PIN_CONTROLS);
}

bool vmx_nested_wants_db(struct vcpu *v)
{
	return !v->debug.control && vmcs12_wants_exception(&vmx_nested(v)->vmcs12, VEC_DB, 0);
}

bool vmx_nested_takes(struct vcpu *v, enum hvm_event_kind k)
{
	if (k == HVM_INJ_NMI)
		return pin_controls12(v) & PIN_NMI;
	return k == HVM_INJ_IRQ && pin_controls12(v) & PIN_EXT_INTR;
}

bool vmx_nested_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	return !vmx_nested(v)->inject && !vmx_nested_takes(v, k);
}

static bool leave_by_exception(struct vcpu *v)
{
	u8 vector = v->exception.vector;
	u32 error = v->exception.has_error ? v->exception.error : 0;
	enum hvm_event_kind type = HVM_INJ_EXCEPTION;
	u64 qual = 0;

	if (v->exception.injected || !vmcs12_wants_exception(&vmx_nested(v)->vmcs12, vector, error))
		return false;
	if (vector == VEC_PF) {
		qual = hvm->get(v, HVM_CR2);
		hvm->set(v, HVM_CR2, vmx_nested(v)->cr2); /* it has not come so far */
	} else if (vector == VEC_DB) {
		/* of an instruction that was emulated, and what waited in the shadow over it */
		qual = DR6_BS | (vmcs_readn(VMCS_PENDING_DEBUG) & QUAL_DB_DR6);
		vmcs_writen(VMCS_PENDING_DEBUG, 0);
	} else if (vector == VEC_BP || vector == VEC_OF) {
		type = INTR_TYPE_SOFT;
	}
	vmx_nested_leave(v, EXIT_EXCEPTION_NMI, qual,
			 hvm_event(type, vector, v->exception.has_error), error);
	return true;
}

/* An interrupt for the guest ends guest mode, and is acknowledged if it wants that. */
static bool leave_by_irq(struct vcpu *v)
{
	bool ack = vmx_get12(v, VMCS_EXIT_CONTROLS) & EXIT_ACK_INTR;
	u32 intr = 0;
	int vector = v->user_irq >= 0 ? v->user_irq : lapic_pending(v);

	if (vector < 0 && ack && lapic_extint_pending(v)) {
		vcpu_acknowledge_pic(v);
		return true; /* to come again, with the vector */
	}
	/* the VMM's own cannot be acknowledged here: it waits for another exit */
	if (vector < 0 && (ack || !(lapic_extint_pending(v) || v->want_irq_window)))
		return false;
	if (ack) {
		intr = hvm_event(HVM_INJ_IRQ, vector, false);
		if (v->user_irq < 0)
			lapic_accept(v, vector);
		v->user_irq = -1;
	}
	vmx_nested_leave(v, EXIT_EXT_INTR, 0, intr, 0);
	return true;
}

static bool handle_event(struct vcpu *v)
{
	bool masked = v->nmi_masked;

	if (pin_controls12(v) & PIN_VNMI)
		masked = vmx_nested(v)->nmis_masked;
	if (v->exception.pending)
		return leave_by_exception(v);
	if (vmx_nested(v)->inject) /* goes in first */
		return false;
	if (v->init_latched) { /* which is all that comes of it */
		v->init_latched = false;
		vmx_nested_leave(v, EXIT_INIT, 0, 0, 0);
		return true;
	}
	if (v->nmi_pending && pin_controls12(v) & PIN_NMI && !masked) {
		v->nmi_pending = false;
		vmx_nested_leave(v, EXIT_EXCEPTION_NMI, 0, hvm_event(HVM_INJ_NMI, VEC_NMI, false),
				 0);
		return true;
	}
	return pin_controls12(v) & PIN_EXT_INTR && leave_by_irq(v);
}

/* ---- the rest of struct nested_ops ---- */

/* VMCALL exits by itself, and VMMCALL is nobody's. */
static bool no_hypercall(struct vcpu *v)
{
	return false;
}

static bool triple_fault(struct vcpu *v)
{
	vcpu_load(v); /* it may be one that the VMM asks for */
	vmx_nested_leave(v, EXIT_TRIPLE_FAULT, 0, 0, 0);
	return true;
}

static bool holds_smi(struct vcpu *v)
{
	return v->guest_mode;
}

/* SDM "Other Causes of VM Exits": outside of guest mode it is blocked. */
static bool holds_init(struct vcpu *v)
{
	return vmx_nested(v)->vmxon != NOWHERE;
}

const struct nested_ops vmx_nested_ops = {
    .insn = vmx_nested_insn,
    .event = handle_event,
    .hypercall = no_hypercall,
    .holds_smi = holds_smi,
    .holds_init = holds_init,
    .translate = shadow_translate,
    .fault = shadow_fault,
    .walk = vmx_nested_walk,
    .refuse = vmx_nested_refuse,
    .flush = vmx_nested_flush,
    .features = vmx_nested_features,
    .off = vmx_nested_off,
    .shutdown = triple_fault,
    .get_state = vmx_nested_get_state,
    .set_state = vmx_nested_set_state,
};
