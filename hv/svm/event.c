/* SPDX-License-Identifier: GPL-2.0-only */
/* Event injection and windows on AMD-V; APM "Event Injection", "Virtual Interrupts". */
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/svm/nested.h"
#include "hv/svm/svm.h"
#include "hv/svm/tcg.h"

/* The virtual interrupt that opens the window: of the highest priority, whatever TPR says. */
#define WINDOW (SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_INTR_PRIO)

bool svm_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	struct svm_vcpu *s = svm_of(v);

	if (s->watch & WATCH_INJECT)
		return false;
	if (k == HVM_INJ_EXCEPTION)
		return true;
	if (unlikely(s->watch & (WATCH_NESTED | WATCH_NO_GIF)) && !svm_nested_can_inject(v, k))
		return false;
	if (s->vmcb->int_state & SVM_INT_SHADOW)
		return false;
	if (k == HVM_INJ_NMI)
		return !v->nmi_masked;
	return v->rflags & RFLAGS_IF || (s->watch & WATCH_NESTED && svm_nested_hif(v));
}

void svm_inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error, u32 error)
{
	struct svm_vcpu *s = svm_of(v);

	BUG_ON(s->watch & WATCH_INJECT); /* one an entry */
	s->watch |= WATCH_INJECT;
	if (k == HVM_INJ_IRQ && quirk_has(QUIRK_VIRQ) && svm_virq_inject(s, vector))
		return;
	s->vmcb->eventinj = hvm_event(k, vector, has_error) | FIELD_PREP(SVM_EVT_ERROR, error);
	/* of #BP and #OF a CPU that has it pushes this; the last exit has written to it */
	s->vmcb->next_rip = v->rip;
	if (k == HVM_INJ_NMI) /* EVENTINJ does not block further NMIs by itself */
		svm_mask_nmi(v, true);
}

void svm_set_debug(struct vcpu *v, bool int3, bool drs)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *m = s->vmcb;

	svm_current(v);
	s->watch &= ~WATCH_DEBUG;
	if (int3 || drs)
		s->watch |= WATCH_DEBUG;
	m->exceptions = HVM_OUR_EXCEPTIONS;
	m->int3 &= ~SVM_INT3_INT_N;
	if (int3)
		m->exceptions |= BIT(VEC_BP);
	if (int3 && quirk_has(QUIRK_INT3))
		m->int3 |= SVM_INT3_INT_N;
	m->dr_read = m->dr_write = drs ? 0xffff : 0;
}

/* The interrupt window is a virtual interrupt that is intercepted the moment it would be taken. */
void svm_want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *m = s->vmcb;

	/* the IRET intercept is on while NMIs are masked; it comes before the IRET, though */
	if (k == HVM_INJ_NMI) {
		s->nmi_step = s->watch & WATCH_IRET;
		if (on && !v->nmi_masked && m->eventinj & EVT_VALID) /* right behind that */
			apic_send_ipi(this_cpu()->apic_id, VEC_NOP);
	} else if (unlikely(s->watch & (WATCH_NESTED | WATCH_NO_GIF))) {
		svm_nested_window(v, on);
	} else if (on) {
		if (quirk_has(QUIRK_VIRQ))
			svm_virq_make_way(s);
		if (quirk_has(QUIRK_CR8))
			s->watch |= WATCH_CR8;
		m->vintr |= WINDOW;
		m->int3 |= SVM_INT3_VINTR;
	} else if (m->int3 & SVM_INT3_VINTR) {
		m->vintr &= ~WINDOW;
		m->int3 &= ~SVM_INT3_VINTR;
	}
}
