/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the Intel VT-x back end. */
#pragma once

#include "hv/guest/vcpu.h"
#include "hv/vmx/caps.h"
#include "hv/vmx/vmcs.h"

/* ---- vmcs.c: VMCS life, borrowing, errors ---- */

/*
 *             vmptrld                     vmlaunch
 *   CLEAR ---------------> CURRENT on c -----------> CURRENT, launched
 *     ^                     |      ^                   |      ^
 *     |                 put |      | vmptrld       put |      | vmptrld
 *     |                     v      |                   v      |
 *     '-- vmclear, by c -- ACTIVE on c ------------ ACTIVE on c, launched
 *
 * A VMCS is current only between vmx_load() and vmx_put(), or vmx_borrow() and vmx_give_back(), and
 * then stays active: to go on with it there is cheap. It is cleared when its CPU idles, sleeps or
 * leaves VMX, when it is freed, and when another CPU wants it, by an interrupt. Who wants one
 *   - has the vCPU, so that nobody makes it current meanwhile;
 *   - holds no lock and clears what others want of it while it waits, in vmx_load();
 *   - or does not wait, in vmx_borrow(), and comes again: vcpu_destroy(), and a hypercall behind a
 *     window for interrupts.
 * So it has it as soon as the other CPU takes interrupts next, and none waits for another for ever.
 */
struct vmcs_state {
	struct lock lock; /* LOCK_VMCS: is held while it is borrowed */
	void *region;
	hpa_t at;	       /* as region set once, and the next */
	bool stays;	       /* dom0's: idle CPUs keep it, and nobody wants it elsewhere */
	bool launched, wanted; /* by another CPU; atomic */
	struct cpu *cpu;       /* where it is current or active, NULL: clear; cleared by that CPU */
	struct vmcs_state *next, **link; /* among those that are active there */
};

#define VAPIC_TPR (APIC_TPR / 4) /* in virtual_apic[] */
/*
 * STAR, LSTAR, CSTAR, SFMASK: no VMCS holds them, and writes to them exit, so that none needs
 * saving
 */
#define SYSCALL_MSRS 4
static inline bool vmx_is_syscall_msr(u32 msr)
{
	return msr - MSR_STAR < SYSCALL_MSRS;
}

/*
 * EFER, without LMA, and PAT: for the CPU to load where it has no controls for them; SDM "VM-Entry
 * Controls for MSRs".
 */
enum { AREA_EFER, AREA_PAT, AREA_NR };
struct vmx_area {
	u32 index, reserved;
	u64 value;
} __aligned(16);

/* Of the CPU that has the vCPU or has borrowed it. */
struct vmx_vcpu {
	u32 *virtual_apic; /* a page of the pool, set once: TPR, and with direct more */
	struct vmx_area guest[AREA_NR], host[AREA_NR];
	struct vmcs_state vmcs;
	bool direct;	  /* x2APIC registers are the CPU's to serve, see vmx_direct_msrs() */
	bool vid;	  /* and it delivers interrupts */
	u16 intr_status;  /* GUEST_INTR_STATUS: highest bits of IRR and ISR */
	u64 eoi_exits[4]; /* in the VMCS */
	u64 syscall_msr[SYSCALL_MSRS];
	u64 kernel_gs_base, cr2, dr6; /* in the hardware while the vCPU is loaded */
	u64 host_rsp, rsp, rflags;    /* in the VMCS */
	struct cpu *host_cpu; /* whose host state is in the VMCS, and where the last entry was */
	u64 tlb_gen;	      /* p2m.tlb_gen seen then, or NO_GEN */
	u32 watch;	      /* WATCH_x: entries that need more than the usual */
	u32 proc, proc2;      /* primary controls, and secondary ones while direct */
	u32 shadow;	      /* SHADOW_x */
	u32 intr_state_hw;    /* INTERRUPTIBILITY in the VMCS */
	u32 threshold_hw;
};

#define WATCH_INJECT	 BIT(0) /* an event is in the VMCS */
#define WATCH_BLOCK	 BIT(1) /* INTERRUPTIBILITY is not 0, or not to stay so */
#define WATCH_APIC	 BIT(2) /* the TPR threshold is not 0, or RVI */
#define WATCH_PDPTES	 BIT(3) /* PAE's top entries are stale */
#define WATCH_VPID	 BIT(4) /* the guest's own translations are void */
#define WATCH_INJECT_NMI BIT(5) /* the event is an NMI */
#define WATCH_L2	 BIT(6) /* in guest mode */
#define NO_GEN		 ~0ull

/* Of its own CPU only. */
struct vmx_cpu {
	u8 vmxon[PAGE_SIZE]; /* region */
	bool on;
	struct vcpu *loaded, *current; /* different while one is borrowed */
	struct vmcs_state *active;     /* a list of those that are not clear */
	u64 syscall_msr[SYSCALL_MSRS]; /* in the hardware */
};

#define VMX_CPU_ORDER 1 /* a page, and the fields */
_Static_assert(sizeof(struct vmx_vcpu) <= VCPU_ARCH_BYTES, "fits in the vCPU's pages");
_Static_assert(sizeof(struct vmx_cpu) <= PAGE_SIZE << VMX_CPU_ORDER, "fits");

static inline struct vmx_cpu *vmx_here(void)
{
	return this_cpu()->vmx;
}

static inline struct vmx_vcpu *vmx_of(struct vcpu *v)
{
	return v->arch;
}

/* The same, of the vCPU whose VMCS is current: fields may be read and written. */
static inline struct vmx_vcpu *vmx_current(struct vcpu *v)
{
	BUG_ON(vmx_here()->current != v);
	return v->arch;
}

/* Is the vCPU loaded here, so that its hardware-held state is in the hardware? */
static inline bool vmx_is_loaded(struct vcpu *v)
{
	return vmx_here()->loaded == v;
}

/* ---- entry.asm ---- */
bool vmx_enter(struct vcpu *v, u64 *host_rsp, bool launched);
extern u8 vmx_exit[];

#define X(type, name, ...) type vmx_##name(__VA_ARGS__);
HVM_OPS(X)
#undef X
extern const struct hvm_ops vmx_ops;
