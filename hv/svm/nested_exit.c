/* SPDX-License-Identifier: GPL-2.0-only */
/* An entry of a nested guest, and whose its exit is: see nested.h. */
#include "hv/svm/nested_exit.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/time.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/svm/nested_rules.h"
#include "hv/svm/tcg.h"

/* Those that are the machine's: the guest's own of these kinds come by svm_nested_ops.event. */
#define OUR_EXITS (SVM_INT3_INTR | SVM_INT3_NMI | SVM_INT3_SMI | SVM_INT3_INIT)

/* What is pushed of an event of software's: for a guest that knows of no such field it is RIP. */
static u64 pushed_rip(struct vcpu *v)
{
	const struct corbel_cpuid *c = cpuid_leaf(v, CPUID_SVM);

	return c && c->edx & CPUID_SVM_NRIPS ? svm_nested(v)->vmcb12.next_rip : v->rip;
}

void svm_nested_inject(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);
	u64 event = n->inject;
	bool waits = v->nmi_pending || v->init_latched || (v->window_on && (n->hif || !n->masking));

	if (event && !(s->watch & WATCH_INJECT)) {
		bool irq = FIELD_GET(EVT_TYPE, event) == HVM_INJ_IRQ && v->rflags & RFLAGS_IF &&
			   !(s->vmcb->int_state & SVM_INT_SHADOW) && !waits; /* the kick is first */

		n->inject = 0;
		s->watch |= WATCH_INJECT;
		s->vmcb->next_rip = pushed_rip(v); /* the last exit has written to it */
		if (!(irq && quirk_has(QUIRK_VIRQ) && svm_virq_inject(s, event & EVT_VECTOR)))
			s->vmcb->eventinj = event;
	}
	/* What waits behind it would end guest mode now: it does right behind the injection. */
	if (waits && s->watch & WATCH_INJECT)
		apic_send_ipi(this_cpu()->apic_id, VEC_NOP);
}

void svm_nested_enter(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);
	const struct vmcb_exits *its = &n->vmcb12.exits;
	struct vmcb *m = svm_vmcb(v);

	n->ours = m->exits;
	m->cr_read |= its->cr_read;
	m->cr_write |= its->cr_write;
	m->dr_read |= its->dr_read;
	m->dr_write |= its->dr_write;
	m->exceptions |= its->exceptions;
	m->int3 |= its->int3 & ~OUR_EXITS;
	m->int4 = (m->int4 & ~SVM_INT4_VMMCALL) | (its->int4 & SVM_INT4_ALL);
	m->int5 |= its->int5 & SVM_INT5_INVPCID;
	if (n->masking)
		m->v_tpr = n->tpr;
}

void svm_nested_exit(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);
	struct vmcb *m = svm_vmcb(v);

	m->exits = n->ours;
	n->cr2 = m->cr2;
	if (n->masking) {
		n->tpr = m->v_tpr & 15;
		m->v_tpr = v->lapic.tpr >> 4;
	}
}

void svm_nested_take_back(struct vcpu *v, u64 event)
{
	struct svm_nested *n = svm_nested(v);
	struct vmcb *m = svm_vmcb(v);

	m->exitintinfo = event;
	if (quirk_has(QUIRK_VIRQ))
		svm_virq_taken(svm_of(v), event);
	if (n->inject) /* another was first, and is so again */
		hvm_take_back_event(v, event, FIELD_GET(SVM_EVT_ERROR, event));
	else
		n->inject = svm_event_again(event, m->eventinj);
}

static int wants_port(struct vcpu *v, const struct vm_exit *x)
{
	u64 map = svm_nested(v)->vmcb12.iopm & PAGE_MASK;
	u32 bits = (BIT(x->io.size) - 1) << x->io.port % 8;
	int ret;

	if (!(svm_nested(v)->vmcb12.int3 & SVM_INT3_PORTS))
		return 0;
	ret = nested_map_bits(v, map + x->io.port / 8, bits);
	if (!ret && bits >> 8)
		ret = nested_map_bits(v, map + x->io.port / 8 + 1, bits >> 8);
	return ret;
}

static int wants_msr(struct vcpu *v, bool write)
{
	u32 shift;
	int at = svm_msr_bit(v->gpr[RCX], &shift);

	if (!(svm_nested(v)->vmcb12.int3 & SVM_INT3_MSRS))
		return 0;
	if (at < 0)
		return 1;
	return nested_map_bits(v, (svm_nested(v)->vmcb12.msrpm & PAGE_MASK) + at,
			       BIT(shift + write));
}

/* CR8 with masking is V_TPR, not the guest's TPR, and exits for reasons of ours only. */
static void handle_cr8(struct vcpu *v, struct vm_exit *x)
{
	struct svm_nested *n = svm_nested(v);
	struct guest_fault f;
	u8 gpr;
	u32 len;
	int err = vcpu_fetch_cr_move(v, x, &gpr, &len, &f);

	x->reason = VMEXIT_IRQ_WINDOW;
	if (err == -EINVAL) /* the code has changed meanwhile: once more */
		return;
	if (err) {
		guest_access_failed(v, err, &f);
		return;
	}
	if (x->cr.write && v->gpr[gpr] > 15) {
		vcpu_inject_gp(v);
		return;
	}
	if (x->cr.write)
		n->tpr = v->gpr[gpr];
	else
		v->gpr[gpr] = n->tpr;
	vcpu_skip(v, len);
}

/* 1: the guest wants it; 0; -EAGAIN: memory is missing to tell. */
static int wants_exit(struct vcpu *v, const struct vm_exit *x, u32 code)
{
	const struct svm_nested *n = svm_nested(v);

	if (x->reason == VMEXIT_INTR || x->reason == VMEXIT_NMI || x->reason == VMEXIT_INIT ||
	    code == SVM_EXIT_SMI || code == SVM_EXIT_EXCEPTION + VEC_MC)
		return 0;
	if (code == SVM_EXIT_VINTR && n->ours.int3 & SVM_INT3_VINTR)
		return 0;
	if ((code == SVM_EXIT_RDTSCP && n->ours.int4 & SVM_INT4_RDTSCP) ||
	    (code == SVM_EXIT_INVPCID && n->ours.int5 & SVM_INT5_INVPCID)) /* it has none */
		return 0;
	/* a debugger's, or the step behind an IRET that opens NMIs */
	if ((svm_of(v)->watch & WATCH_DEBUG || x->reason == VMEXIT_NMI_WINDOW) &&
	    (code == SVM_EXIT_EXCEPTION + VEC_DB || code == SVM_EXIT_EXCEPTION + VEC_BP))
		return 0;
	if (code == SVM_EXIT_IOIO)
		return wants_port(v, x);
	if (code == SVM_EXIT_MSR)
		return wants_msr(v, x->reason == VMEXIT_MSR_WRITE);
	/* one that changes CR0 may come as any other where we want all of them */
	if (code == SVM_EXIT_CR_WRITE && n->vmcb12.int3 & BIT(SVM_EXIT_CR0_SEL % 32))
		return 1;
	return svm_vmcb_wants(&n->vmcb12, code);
}

bool svm_nested_hypercall(struct vcpu *v)
{
	bool wanted = svm_nested(v)->vmcb12.int4 & SVM_INT4_VMMCALL;

	if (wanted) {
		svm_vmcb(v)->next_rip = v->rip + 3;
		svm_nested_leave(v, SVM_EXIT_VMMCALL, 0, 0, 0);
	}
	return wanted;
}

void svm_nested_sort(struct vcpu *v, struct vm_exit *x)
{
	struct svm_nested *n = svm_nested(v);
	const struct vmcb *m = svm_vmcb(v);
	u32 code = m->exitcode;
	int wants;

	if (v->irq_injected) { /* by QUIRK_VIRQ, and not delivered */
		v->irq_injected = false;
		n->inject = hvm_event(HVM_INJ_IRQ, v->irq_vector, false);
	}
	if (code == SVM_EXIT_NPF && n->paging) {
		shadow_handle_fault(v, x);
		return;
	}
	wants = wants_exit(v, x, code);
	if (code == SVM_EXIT_CR_WRITE && !(n->vmcb12.cr_write & BIT(0)))
		code = SVM_EXIT_CR0_SEL; /* if it is the guest's, then by this */
	if (wants > 0)
		svm_nested_leave(v, code, m->exitinfo1, m->exitinfo2, svm_nested_intinfo(v));
	if (!wants && x->reason == VMEXIT_TASK_SWITCH && n->inject) { /* which delivers it */
		hvm_take_back_event(v, n->inject, FIELD_GET(SVM_EVT_ERROR, n->inject));
		n->inject = 0;
	}
	if (wants)
		x->reason = VMEXIT_IRQ_WINDOW;
	else if (n->masking && (code == 8 || code == SVM_EXIT_CR_WRITE + 8))
		handle_cr8(v, x);
}
