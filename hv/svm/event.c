/* SPDX-License-Identifier: GPL-2.0-only */
/* Event injection and windows on AMD-V; APM "Event Injection", "Virtual Interrupts". */
#include "hv/svm/svm.h"

#define RFLAGS_IF BIT(9)

bool svm_uses_virq;

bool svm_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	struct vmcb *m = svm_vmcb(v);

	if (m->eventinj & SVM_EVT_VALID || ((struct svm_vcpu *)v->arch)->virq)
		return false;
	if (k == HVM_INJ_NMI)
		return !v->nmi_masked && !(m->int_state & SVM_INT_SHADOW);
	if (k == HVM_INJ_IRQ)
		return (v->rflags & RFLAGS_IF) && !(m->int_state & SVM_INT_SHADOW);
	return true;
}

void svm_inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error, u32 error)
{
	static const u8 type[] = {
	    [HVM_INJ_IRQ] = SVM_EVT_INTR,
	    [HVM_INJ_NMI] = SVM_EVT_NMI,
	    [HVM_INJ_EXCEPTION] = SVM_EVT_EXC,
	};
	struct svm_vcpu *s = v->arch;
	struct vmcb *m = s->vmcb;

	s->watch |= WATCH_INJECT;
	if (k == HVM_INJ_IRQ && svm_uses_virq && !(m->int3 & SVM_INT3_VINTR)) {
		s->virq = vector;
		m->vintr = (m->vintr & ~SVM_V_VECTOR) | SVM_V_IRQ | SVM_V_IGN_TPR |
			   SVM_V_INTR_PRIO | FIELD_PREP(SVM_V_VECTOR, vector);
		return;
	}
	m->eventinj = vector | FIELD_PREP(SVM_EVT_TYPE, type[k]) | SVM_EVT_VALID;
	if (has_error)
		m->eventinj |= SVM_EVT_HAS_ERR | FIELD_PREP(SVM_EVT_ERROR, error);
	if (k == HVM_INJ_NMI) {
		/*
		 * EVENTINJ does not block further NMIs by itself: watch for the IRET that ends the
		 * handler.
		 */
		v->nmi_masked = true;
		m->int3 |= SVM_INT3_IRET;
		s->watch |= WATCH_NMI;
	}
}

/*
 * The interrupt window is a virtual interrupt of the highest priority that is intercepted the
 * moment it would be taken.
 */
void svm_want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
	struct svm_vcpu *s = v->arch;
	struct vmcb *m = s->vmcb;

	/* the IRET intercept is on while NMIs are masked; it comes before the IRET, though */
	if (k == HVM_INJ_NMI) {
		s->nmi_step = s->nmi_iret_rip && !(m->eventinj & SVM_EVT_VALID) && !s->virq;
		return;
	}
	if (on) {
		if (s->virq) /* the window needs the virtual interrupt for itself */
			m->eventinj =
			    s->virq | FIELD_PREP(SVM_EVT_TYPE, SVM_EVT_INTR) | SVM_EVT_VALID;
		s->virq = 0;
		m->vintr |= SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_INTR_PRIO;
		m->int3 |= SVM_INT3_VINTR;
	} else if (m->int3 & SVM_INT3_VINTR) {
		m->vintr &= ~(SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_INTR_PRIO);
		m->int3 &= ~SVM_INT3_VINTR;
	}
}
