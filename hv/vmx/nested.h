/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested guests on VT-x: a guest with VMX in its CPUID (hypervisor option nested=on) runs guests of
 * its own. SDM volume 3, "Virtual Machine Extensions".
 *
 * There is one VMCS for the hardware. VMLAUNCH and VMRESUME write what the guest's VMCS has of its
 * guest into it; a VM exit reads that back, and the guest goes on where the host-state area of its
 * VMCS says, so nothing of its own is put aside. In between the vCPU is the nested guest to all
 * other code ("guest mode"): what of its exits the guest has not asked for is handled like any
 * other. What the guest asks for is added to our controls for each entry alone (nested_run.c), so
 * nothing that changes ours can lose it, and nothing of the guest's takes away from ours. Its
 * bitmaps are looked at when a port or an MSR exits. EPT is in nested_ept.c, what a VMCS must be in
 * nested_rules.c.
 *
 * The VMCS that is current (VMPTRLD) is here; in the guest's memory it is up to date after VMCLEAR,
 * or VMPTRLD of another.
 */
#pragma once

#include "hv/guest/shadow.h"
#include "hv/guest/vm.h"
#include "hv/mm/mm.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/vmcs12.h"
#include "hv/vmx/vmx.h"

#define NOWHERE (~0ull)

/* Of the CPU that has the vCPU. */
struct vmx_nested {
	struct shadow shadow;
	struct vmcs12 vmcs12; /* the current one */
	u64 vmxon, current;   /* where the regions are; NOWHERE: not in VMX operation, none */
	/* in guest mode without a current one; NOWHERE: the assist page knows (evmcs.h) */
	u64 evmcs;
	u64 eptp;				/* of the guest's, that the shadow is for */
	u64 cr0_shadow, cr4_shadow, exceptions; /* of ours, during an entry */
	u64 cr2;				/* at the last exit */
	u64 hidden[NESTED_CAPS];		/* nested_hide(), of each VMX MSR */
	/* an event for the next entry with room for it, as ENTRY_INTR_INFO has it; or 0 */
	u32 inject, inject_error, inject_len;
	bool entering;	  /* the hardware has not taken this VMLAUNCH or VMRESUME yet */
	bool nmis_masked; /* of the guest itself, in guest mode */
};
#define VMX_NESTED_ORDER 1
_Static_assert(sizeof(struct vmx_nested) <= PAGE_SIZE << VMX_NESTED_ORDER, "fits");
_Static_assert(!offsetof(struct vmx_nested, shadow), "shadow_create() makes all of it");

/* NULL: it can have no guests. */
static inline struct vmx_nested *vmx_nested(struct vcpu *v)
{
	return (struct vmx_nested *)v->shadow;
}

/* Secondary controls that it is not offered, for its CPUID lacks what they are for */
static inline u32 vmx_denied(struct vcpu *v)
{
	u32 its = vmx_of(v)->proc2, exits = PROC2_RDRAND | PROC2_RDSEED;

	return (vmx_ctl.proc2 & ~its & ~exits) | (its & exits);
}

static inline struct nested_limits vmx_nested_limits(struct vcpu *v, bool is_long)
{
	struct nested_limits l = nested_limits(v, is_long);

	l.hidden = vmx_nested(v)->hidden;
	l.denied = vmx_denied(v);
	return l;
}

static inline u64 vmx_get12(struct vcpu *v, u32 field)
{
	return vmcs12_get(&vmx_nested(v)->vmcs12, field);
}

static inline void vmx_set12(struct vcpu *v, u32 field, u64 val)
{
	vmcs12_set(&vmx_nested(v)->vmcs12, field, val);
}

/* struct nested_ops: insn, features */
void vmx_nested_insn(struct vcpu *v, const struct vm_exit *x);
u32 vmx_nested_features(u64 *out);

void vmx_nested_reset(struct vcpu *v);
/* The VMM has taken CR4.VMXE away: it knows what the registers are then. */
void vmx_nested_off(struct vcpu *v);
/* In VMX operation or not: what of CR0 and CR4 is fixed. */
void vmx_nested_fix(struct vcpu *v);
/*
 * v->in_smm has changed: SMM is outside of VMX operation, which waits for its end. SDM "Default
 * Treatment of SMI Delivery".
 */
void vmx_nested_smm(struct vcpu *v);

/* May a region for VMXON or VMPTRLD, or an eVMCS, lie there? */
static inline bool vmx_nested_region_valid(u64 at)
{
	return !(at % PAGE_SIZE) && !(at >> phys_bits);
}
