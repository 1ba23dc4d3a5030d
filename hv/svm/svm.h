/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the AMD-V back end. */
#pragma once

#include "hv/cpu/cpu.h"
#include "hv/guest/vcpu.h"
#include "hv/svm/vmcb.h"

/* Of the CPU that has the vCPU or has borrowed it. */
struct svm_vcpu {
	struct vmcb *vmcb;    /* a page of the pool; set once */
	u64 vmcb_pa;	      /* set once */
	struct cpu *cpu;      /* that has loaded or borrowed it */
	struct cpu *asid_cpu; /* the CPU whose ASID the VMCB holds */
	u64 asid_gen;	      /* and its generation; 0: none */
	u64 tlb_gen;	      /* p2m.tlb_gen seen at the last entry */
	u64 nmi_iret_rip;     /* with WATCH_IRET: where that is */
	u16 watch;	      /* WATCH_x: entries and exits that need more than the usual */
	/* an NMI waits for that: exit when the IRET is done, by single-step */
	bool nmi_step;
	u8 virq;	/* tcg.h: injected as a virtual interrupt; 0: none */
	u64 hidden_lme; /* likewise: EFER.LME if it is not in the VMCB */
	/* CR0_CACHE as the guest has it: the hardware's caches are not its to switch off */
	u64 cr0_cache;
	u64 svme; /* EFER_SVME if it has it set; the VMCB always has */
};
#define CR0_CACHE (CR0_CD | CR0_NW)
_Static_assert(sizeof(struct svm_vcpu) <= VCPU_ARCH_BYTES, "fits in the vCPU's pages");

#define WATCH_INJECT BIT(0) /* an event is in the VMCB */
#define WATCH_NMI    BIT(1) /* NMIs are masked: IRET is intercepted */
/* writes of CR8 exit: an interrupt, or a VMM, waits for it to be lowered, or QUIRK_CR8 */
#define WATCH_CR8    BIT(2)
#define WATCH_TLB    BIT(3) /* the last entry flushed, the next must not */
#define WATCH_IRET   BIT(4) /* IRET has been intercepted: NMIs are open once RIP has moved on */
#define WATCH_DEBUG  BIT(5) /* a debugger is there */
#define WATCH_DR7    BIT(6) /* QUIRK_DR7: breakpoints are on */
#define WATCH_NESTED BIT(7) /* in guest mode */
#define WATCH_NO_GIF BIT(8) /* the guest has its GIF clear */

static inline struct svm_vcpu *svm_of(struct vcpu *v)
{
	return v->arch;
}

static inline struct vmcb *svm_vmcb(struct vcpu *v)
{
	return svm_of(v)->vmcb;
}

/* State is set by the CPU that has loaded or borrowed the vCPU. */
static inline void svm_current(struct vcpu *v)
{
	BUG_ON(svm_of(v)->cpu != this_cpu());
}

/* v->nmi_masked, and what makes the IRET at a handler's end seen. */
void svm_mask_nmi(struct vcpu *v, bool masked);

/* entry.asm */
void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb, u64 int_state);

/* The next entry takes a fresh ASID: the guest's own translations are gone. */
static inline void svm_flush_asid(struct vcpu *v)
{
	svm_of(v)->asid_gen = 0;
}

#define X(type, name, ...) type svm_##name(__VA_ARGS__);
HVM_OPS(X)
#undef X
extern const struct hvm_ops svm_ops;
