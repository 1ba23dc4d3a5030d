/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/svm/tcg.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/svm/svm.h"

bool svm_virq_inject(struct svm_vcpu *s, u8 vector)
{
	struct vmcb *m = &s->vmcb;

	BUG_ON(s->virq); /* svm_virq_exit() has seen to the last one */
	if (m->int3 & SVM_INT3_VINTR)
		return false;
	s->virq = vector;
	m->vintr = (m->vintr & ~SVM_V_VECTOR) | SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_INTR_PRIO |
		   FIELD_PREP(SVM_V_VECTOR, vector);
	return true;
}

void svm_virq_make_way(struct svm_vcpu *s)
{
	if (s->virq)
		s->vmcb.eventinj = hvm_event(HVM_INJ_IRQ, s->virq, false);
	s->virq = 0;
}

void svm_virq_enter(const struct svm_vcpu *s)
{
	u64 event = s->vmcb.eventinj;

	/* With a window behind it: a kick of our own has the exit come before the harm is done. */
	if (event & EVT_VALID && FIELD_GET(EVT_TYPE, event) == HVM_INJ_IRQ)
		apic_send_ipi(this_cpu()->apic_id, VEC_NOP);
}

void svm_virq_exit(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	if (s->virq && s->vmcb.vintr & SVM_V_IRQ) { /* not delivered */
		s->vmcb.vintr &= ~SVM_V_IRQ;
		v->irq_injected = true;
		v->irq_vector = s->virq;
		v->exception.pending = false; /* so TCG may call it */
	}
	s->virq = 0;
}

void svm_lme_hide(struct svm_vcpu *s)
{
	struct vmcb *m = &s->vmcb;

	m->efer |= s->hidden_lme;
	s->hidden_lme = 0;
	if (!(m->cr0 & CR0_PG) && !(m->cr4 & CR4_PAE))
		s->hidden_lme = m->efer & EFER_LME;
	m->efer &= ~s->hidden_lme;
}

u64 svm_event_repair(u64 event)
{
	u8 vector = event & EVT_VECTOR;
	u64 kind = FIELD_GET(EVT_TYPE, event);

	if (kind != HVM_INJ_EXCEPTION)
		return event;
	if (vector == VEC_NMI)
		kind = HVM_INJ_NMI;
	else if (vector >= 32)
		kind = HVM_INJ_IRQ;
	return (event & ~EVT_TYPE) | FIELD_PREP(EVT_TYPE, kind);
}
