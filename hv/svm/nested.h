/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested guests on AMD-V: a guest with SVM in its CPUID (hypervisor option nested=on) runs guests
 * of its own. APM volume 2, "Secure Virtual Machine".
 *
 * There is one VMCB for the hardware. VMRUN puts the guest's own state aside and loads that of its
 * VMCB, which is read once; #VMEXIT goes the other way. In between the vCPU is the nested guest to
 * all other code ("guest mode"): what of its exits the guest has not asked for is handled like any
 * other. What the guest asks for is added to our intercepts for each entry alone (nested.c), so
 * nothing that changes ours can lose it. Its permission maps are looked at when a port or an MSR
 * exits (nested_exit.c). Nested paging is in nested_npt.c, what a VMCB must be in nested_rules.c.
 *
 * What FS, GS, TR, LDTR, the system-call MSRs and the debug registers' addresses are is left alone
 * by VMRUN and #VMEXIT, and by this.
 */
#pragma once

#include "hv/guest/shadow.h"
#include "hv/guest/vm.h"
#include "hv/svm/svm.h"

/* Of the CPU that has the vCPU. */
struct svm_nested {
	struct shadow shadow;
	struct vmcb vmcb12; /* as VMRUN has read it; after #VMEXIT as it is to be written */
	struct vmcb l1;	    /* the guest's own state, in guest mode */
	u64 at;		    /* where its VMCB is */
	u64 hsave_pa, vm_cr;
	struct vmcb_exits ours; /* during an entry */
	u64 inject;		/* EVENTINJ's form: for the next entry with room for it; or 0 */
	u64 vintr;		/* the nested guest's virtual interrupt while a window is open */
	u64 cr2;		/* at the last exit */
	bool masking; /* V_INTR_MASKING: its TPR, and whose IF interrupts depend on, are its own */
	bool hif;     /* IF of the guest at VMRUN */
	bool paging;  /* nested */
	u8 tpr;	      /* with masking: V_TPR */
	/* nested_npt.c */
	u32 asid; /* of the guest's that the shadow is for, and its tables */
	u64 root, root_cr4, root_efer;
};
#define SVM_NESTED_ORDER 2
_Static_assert(sizeof(struct svm_nested) <= PAGE_SIZE << SVM_NESTED_ORDER, "fits");
_Static_assert(!offsetof(struct svm_nested, shadow), "shadow_create() makes all of it");

/* NULL: it can have no guests. */
static inline struct svm_nested *svm_nested(struct vcpu *v)
{
	return (struct svm_nested *)v->shadow;
}

/* At an exit: the event that has not been delivered, in EXITINTINFO's form; or 0. */
static inline u64 svm_nested_intinfo(struct vcpu *v)
{
	u64 event = svm_vmcb(v)->exitintinfo;

	return event & EVT_VALID ? event : svm_nested(v)->inject;
}

extern const struct nested_ops svm_nested_ops;

void svm_nested_reset(struct vcpu *v, bool init);
/* EFER has been set. Without SVME a VMM ends guest mode: what the registers are then it knows. */
void svm_nested_set_efer(struct vcpu *v, u64 efer);
/* MSRs of SVM: -ENOENT: none, or not this guest's; -EINVAL */
int svm_nested_msr_get(struct vcpu *v, u32 msr, u64 *val);
int svm_nested_msr_set(struct vcpu *v, u32 msr, u64 val);

/* Events, with the guest's GIF clear or in guest mode: as can_inject() and want_window(). */
bool svm_nested_can_inject(struct vcpu *v, enum hvm_event_kind k);
bool svm_nested_hif(struct vcpu *v);
void svm_nested_window(struct vcpu *v, bool on);

/* Before a change between the two: a window belongs to the one, and is asked for anew. */
void svm_nested_close_window(struct vcpu *v);
/* Guest mode by n->vmcb12 and n->l1. load: its state is in the VMCB, else it is in place already.
 */
void svm_nested_begin(struct vcpu *v, bool load);
/* Which MSRs exit: as the VM's map says, or all, where the guest wants to see some of its own's. */
void svm_set_msr_map(struct vcpu *v);
/* What the hardware has of it beside the registers ends. */
void svm_nested_end(struct vcpu *v);
/* V_TPR and V_IRQ as they are now, all else as the guest has it. */
u64 svm_nested_vintr(struct vcpu *v);
/* Is a #VMEXIT owed to the guest's VMCB? Settled, it is written; false: dom0 has to bring that. */
bool svm_nested_is_leaving(const struct vcpu *v);
bool svm_nested_settle(struct vcpu *v);
/* #VMEXIT with such a code. intinfo: the event that was not delivered, or 0. */
void svm_nested_leave(struct vcpu *v, u64 code, u64 info1, u64 info2, u64 intinfo);
