/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the AMD-V back end. */
#pragma once

#include "hv/guest/vcpu.h"
#include "hv/svm/vmcb.h"

struct svm_vcpu {
	struct vmcb *vmcb;
	u64 vmcb_pa;
	struct cpu *asid_cpu; /* the CPU whose ASID the VMCB holds */
	u64 asid_gen;	      /* and its generation; 0: none */
	u64 tlb_gen;	      /* p2m.tlb_gen seen at the last entry */
	u64 nmi_iret_rip;     /* IRET was intercepted here: NMIs are open once RIP has moved on */
	u8 watch;	      /* WATCH_x: entries and exits that need more than the usual */
	/* an NMI waits for that: exit when the IRET is done, by single-step */
	bool nmi_step;
	u8 virq;	 /* injected as a virtual interrupt; 0: none */
	bool lme_hidden; /* EFER.LME is set but not in the VMCB */
};

#define WATCH_INJECT BIT(0) /* EVENTINJ is set */
#define WATCH_NMI    BIT(1) /* IRET is intercepted, or nmi_iret_rip set */
#define WATCH_CR8    BIT(2) /* writes of CR8 exit: an interrupt waits for it to be lowered */
#define WATCH_TLB    BIT(3) /* the last entry flushed, the next must not */

static inline struct vmcb *svm_vmcb(struct vcpu *v)
{
	return ((struct svm_vcpu *)v->arch)->vmcb;
}

extern struct hvm_ops svm_ops;

/* entry.asm */
void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb, u64 int_state);

/* The next entry takes a fresh ASID: the guest's own translations are gone. */
void svm_flush_asid(struct vcpu *v);

/* state.c, event.c */
#define X(type, name, ...) type svm_##name(__VA_ARGS__);
HVM_STATE_OPS(X)
#undef X
/*
 * QEMU's TCG does not load the host's CR0 when a guest exits that has EFER.LME but neither CR4.PAE
 * nor paging: LME, which does nothing then, is kept out of the VMCB. mask=lme-hiding switches the
 * workaround off.
 */
extern bool svm_hides_lme;
/*
 * QEMU's TCG leaves the vector of an interrupt that EVENTINJ delivered in its pending exception:
 * when its loop is left before the next exit, for the sake of another CPU, be it one that we do not
 * use, or since the instructions of -icount are used up, the vector is delivered once more, as an
 * exception, whatever the guest does by then (IF off, half way through SWAPGS). So interrupts are
 * injected as virtual ones there. mask=virq switches the workaround off.
 */
extern bool svm_uses_virq;
