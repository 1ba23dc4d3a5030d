/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/svm/tcg.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/guest/linear.h"
#include "hv/svm/svm.h"

#define OP_INT3 0xcc

bool svm_virq_inject(struct svm_vcpu *s, u8 vector)
{
	struct vmcb *m = s->vmcb;

	BUG_ON(s->virq); /* svm_virq_exit() has seen to the last one */
	if (m->int3 & SVM_INT3_VINTR || m->vintr & SVM_V_IRQ) /* a window, a nested guest's own */
		return false;
	s->virq = vector;
	m->vintr = (m->vintr & ~SVM_V_VECTOR) | SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_INTR_PRIO |
		   FIELD_PREP(SVM_V_VECTOR, vector);
	return true;
}

void svm_virq_make_way(struct svm_vcpu *s)
{
	if (s->virq)
		s->vmcb->eventinj = hvm_event(HVM_INJ_IRQ, s->virq, false);
	s->virq = 0;
}

void svm_virq_enter(struct svm_vcpu *s)
{
	u64 event = s->vmcb->eventinj;

	if (s->vmcb->vintr & SVM_V_IRQ && quirk_has(QUIRK_CR8)) {
		s->vmcb->cr_write |= BIT(8);
		if (!s->virq) /* a window: longer than till the next exit, perhaps */
			s->watch |= WATCH_CR8;
	}
	/* With a window behind it: a kick of our own has the exit come before the harm is done. */
	if (event & EVT_VALID && FIELD_GET(EVT_TYPE, event) == HVM_INJ_IRQ)
		apic_send_ipi(this_cpu()->apic_id, VEC_NOP);
}

void svm_virq_exit(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	if (s->virq && s->vmcb->vintr & SVM_V_IRQ) { /* not delivered */
		s->vmcb->vintr &= ~SVM_V_IRQ;
		v->irq_injected = true;
		v->irq_vector = s->virq;
		v->exception.pending = false; /* so TCG may call it */
	}
	if (s->virq && !(s->watch & WATCH_CR8))
		s->vmcb->cr_write &= ~BIT(8);
	s->virq = 0;
}

void svm_virq_taken(struct svm_vcpu *s, u64 event)
{
	struct vmcb *m = s->vmcb;

	if (!s->virq && !(m->eventinj & EVT_VALID) && FIELD_GET(EVT_TYPE, event) == HVM_INJ_IRQ &&
	    (event & EVT_VECTOR) == FIELD_GET(SVM_V_VECTOR, m->vintr))
		m->vintr &= ~SVM_V_IRQ;
}

void svm_lme_hide(struct svm_vcpu *s)
{
	struct vmcb *m = s->vmcb;

	m->efer |= s->hidden_lme;
	s->hidden_lme = 0;
	if (!(m->cr0 & CR0_PG) && !(m->cr4 & CR4_PAE))
		s->hidden_lme = m->efer & EFER_LME;
	m->efer &= ~s->hidden_lme;
}

void svm_debug_enter(struct svm_vcpu *s)
{
	if (s->virq) { /* would wait for a kick's end, and a step's kick follows each entry */
		svm_virq_make_way(s);
		s->vmcb->vintr &= ~SVM_V_IRQ;
	}
}

void svm_dr7_follow(struct svm_vcpu *s)
{
	s->vmcb->dr_write |= BIT(7) | BIT(5); /* DR5 is its old name */
	s->watch &= ~WATCH_DR7;
	if (s->vmcb->dr7 & DR7_ANY)
		s->watch |= WATCH_DR7;
}

void svm_tss_free(struct vmcb *m)
{
	m->tr.attrib &= ~AR_BUSY;
}

/* What INT n exits by is an exception, or the instruction is to run after all. */
static void sort_int_n(struct vcpu *v, struct vm_exit *x)
{
	struct vmcb *m = svm_vmcb(v);
	struct guest_fault f;

	if (m->exitcode != SVM_EXIT_INT_N) {
		m->int3 |= SVM_INT3_INT_N;
		return;
	}
	if (!vcpu_fetch(v, &f) && v->emul->insn->insn.opcode == OP_INT3) {
		x->reason = VMEXIT_EXCEPTION;
		x->exc.vector = VEC_BP;
		x->exc.behind = false;
	} else {
		x->reason = VMEXIT_IRQ_WINDOW; /* nothing to be done */
		m->int3 &= ~SVM_INT3_INT_N;
	}
}

void svm_debug_exit(struct vcpu *v, struct vm_exit *x)
{
	const struct vmcb *m = svm_vmcb(v);

	if (m->exceptions & BIT(VEC_BP) && quirk_has(QUIRK_INT3))
		sort_int_n(v, x);
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

/*
 * What is not set there is clear: the operand has only been or-ed in. What has been switched on
 * since the entry is lost, but for IF of a program, which has it always.
 */
u64 svm_flags_repair(const struct vmcb *m, u64 entered)
{
	u64 since = m->cpl == 3 ? RFLAGS_IF : 0;

	return m->rflags & (entered | RFLAGS_ARITH | since);
}
