/* SPDX-License-Identifier: GPL-2.0-only */
/* Event injection and windows on VT-x; SDM "Event Injection", "Virtual NMIs". */
#include "vmx.h"

bool vmx_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	struct vmx_vcpu *s = vmx_of(v);

	if (s->intr_info & INTR_VALID)
		return false;
	if (k == HVM_INJ_NMI)
		return !v->nmi_masked && !s->shadow;
	if (k == HVM_INJ_IRQ)
		return (v->rflags & RFLAGS_IF) && !s->shadow;
	return true;
}

void vmx_inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error, u32 error, u8 insn_len)
{
	static const u8 type[] = {
		[HVM_INJ_IRQ] = INTR_TYPE_EXT,
		[HVM_INJ_NMI] = INTR_TYPE_NMI,
		[HVM_INJ_EXCEPTION] = INTR_TYPE_EXC,
		[HVM_INJ_SOFT] = INTR_TYPE_SOFT,
	};
	struct vmx_vcpu *s = vmx_of(v);

	s->intr_info = vector | FIELD_PREP(INTR_TYPE, type[k]) | (has_error ? INTR_HAS_ERROR : 0) | INTR_VALID;
	s->intr_error = error;
	s->intr_len = insn_len;
	s->shadow = 0; /* the handler's first instruction is under no shadow */
	if (k == HVM_INJ_NMI)
		v->nmi_masked = false; /* the entry itself blocks NMIs, and wants to find them open */
}

void vmx_want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 bit = k == HVM_INJ_NMI ? PROC_NMI_WINDOW : PROC_INTR_WINDOW;

	if (on)
		s->proc |= bit;
	else
		s->proc &= ~bit;
}

void vmx_take_back_event(struct vcpu *v, u32 info)
{
	u8 vector = info & INTR_VECTOR;

	switch (FIELD_GET(INTR_TYPE, info)) {
	case INTR_TYPE_EXT:
		v->irq_injected = true;
		v->irq_vector = vector;
		break;
	case INTR_TYPE_NMI:
		v->nmi_injected = true;
		v->nmi_masked = false;
		break;
	case INTR_TYPE_EXC:
		v->exception.pending = true;
		v->exception.vector = vector;
		v->exception.has_error = info & INTR_HAS_ERROR;
		v->exception.error = info & INTR_HAS_ERROR ? vmcs_read32(VMCS_IDT_ERROR) : 0;
		break;
	default: /* software interrupts, INT3, INTO, INT1: RIP is at the instruction, it runs again */
		break;
	}
}
