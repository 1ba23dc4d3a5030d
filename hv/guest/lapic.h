/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual local APIC of dom0's and guests' vCPUs: registers, priorities, IPIs, timer.
 * Vendor-neutral. IRR and TMR take bits from any CPU (atomic), the timer has a lock; everything
 * else is touched only by the CPU that has the vCPU, or while it is stopped.
 */
#pragma once

#include "hv/cpu/timer.h"
#include "hv/lib/apicdef.h"
#include "hv/lib/lock.h"

struct vcpu;
struct vm;

/* LVT entries in register order; there is no CMCI */
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_NR };

struct lapic {
	/* atomic; together VT-x' posted-interrupt descriptor; first */
	u32 irr[8] __aligned(64);
	u64 posted_control[4];
	bool present; /* CORBEL_VM_LAPIC, or dom0 */
	/* base, SVR or ISR have changed: the hardware that delivers is to be told */
	bool hw_stale;
	u8 isr_top;  /* highest vector in service, 0: none, as there are none below 16 */
	u8 xapic_id; /* the ID register of xAPIC mode, which guests may change; any CPU reads it */
	u32 id;	     /* initial APIC id, and that of x2APIC mode */
	u64 base;    /* APIC_BASE MSR */
	u32 isr[8], tmr[8];			/* tmr: atomic */
	u32 tpr, svr, ldr, dfr, esr, esr_latch; /* esr_latch: atomic */
	u64 icr;
	u32 lvt[LVT_NR];

	/* The timer runs out on any CPU */
	struct lock lock; /* LOCK_LAPIC: all below and lvt[LVT_TIMER] */
	u32 timer_icr, timer_dcr;
	u64 timer_start;  /* TSC when the initial count was written */
	u64 tsc_deadline; /* guest TSC */
	u64 timer_at;	  /* TSC when it runs out */
	u64 timer_due;	  /* its interrupt, sent early, is not to be taken before; 0: none */
	u32 timer_lead;	  /* how early, in ticks */
	bool timer_on;	  /* armed */
	/* a one-shot that had run out when it was made periodic: at 0 until it is started anew */
	bool timer_ended;
	/* periodic, but the guest has not taken the last tick: armed again when it does */
	bool timer_wait;
	struct timer timer;

	/* vectors that are never in service: Hyper-V's SINTs with auto-EOI; are there any? */
	u64 auto_eoi[4];
	bool has_auto_eoi;
	u64 vapic;	     /* pv_vapic(): address of the word; 0: none */
	u32 vapic_tpr;	     /* as the word had it last, or VAPIC_NEW */
	u64 pv_eoi;	     /* MSR_KVM_PV_EOI_EN */
	bool pv_eoi_pending; /* the guest may skip the EOI of the vector in service */
	/* level-triggered vectors it has ended and dom0 has not been told of: DUE_EOI; own CPU */
	u32 eoi_owed[8] __aligned(8);
};

void lapic_init(struct vcpu *v, u32 apic_id, bool present);
void lapic_reset(struct vcpu *v, bool init); /* INIT keeps the id and base */
void lapic_destroy(struct vcpu *v);

/*
 * Highest vector that may be injected now (above PPR), or -1. Takes in the guest's PV EOI word when
 * it matters.
 */
int lapic_pending(struct vcpu *v);
/* It was injected: IRR -> ISR, unless its EOI is automatic, and sets up PV EOI. */
void lapic_accept(struct vcpu *v, u8 vector);
/*
 * Hardware that delivers interrupts and takes EOIs by itself has IRR and ISR in a page of the
 * xAPIC's layout while the guest runs; all other time they are in struct lapic, and other CPUs set
 * IRR bits only there. to_hw: before an entry; moves IRR out, copies ISR and TMR, and says which
 * vectors' EOIs are to exit. Returns the highest bits of IRR and, times 256, ISR; 0: none. from_hw:
 * after the exit, with what the hardware says of the highest bits then.
 */
u16 lapic_to_hw(struct vcpu *v, u32 *page, u64 eoi_exits[4]);
void lapic_from_hw(struct vcpu *v, const u32 *page, u16 status);
/* An EOI has ended the vector: tell whom it concerns if it was level-triggered. */
void lapic_ended(struct vcpu *v, u8 vector);
/*
 * With DUE_EOI, before an entry: stop for dom0 to hear of one. What stops the vCPU already, as the
 * instruction that wrote the EOI may have done later, comes first.
 */
void lapic_tell_eoi(struct vcpu *v);
/* Is LINT0 the PIC's (ExtINT, not masked)? With no LAPIC on it is the CPU's. */
bool lapic_takes_extint(const struct vcpu *v);
/* Is that line up as well? */
bool lapic_extint_pending(struct vcpu *v);
/* An interrupt that would end HLT (so only with RFLAGS.IF). */
bool lapic_has_work(struct vcpu *v);

/*
 * Any valid APIC_BASE. Guests are held to the transitions of SDM "x2APIC State Transitions"; a host
 * that sets a state is not.
 */
int lapic_set_base(struct vcpu *v, u64 val, bool host);
/*
 * TLFS "Virtual Interrupt Controller": these vectors of a stopped vCPU need no EOI from now on, all
 * others do. -EINVAL: one of them is none, being below 16.
 */
int lapic_set_auto_eoi(struct vcpu *v, const u64 vectors[4]);
/* MSR_KVM_PV_EOI_EN; -EINVAL: #GP */
int lapic_set_pv_eoi(struct vcpu *v, u64 val);
u64 lapic_get_cr8(const struct vcpu *v);
void lapic_set_cr8(struct vcpu *v, u64 cr8);
/*
 * The class of a pending interrupt that only TPR holds back: it can be delivered once CR8 is below
 * this. 0: there is none.
 */
u32 lapic_tpr_threshold(struct vcpu *v);

/* The processor priority: only vectors of a higher class are delivered. */
u8 lapic_ppr(const struct lapic *l);
/* What the guest has done by its PV EOI word since it was last looked at. */
void lapic_take_pv_eoi(struct vcpu *v);
/* The guest has ended the highest vector in service. */
void lapic_eoi(struct vcpu *v);

static inline bool lapic_is_on(const struct lapic *l)
{
	return l->present && (READ_ONCE(l->base) & APIC_BASE_ENABLE);
}
/* It takes fixed interrupts. */
static inline bool lapic_is_enabled(const struct lapic *l)
{
	return lapic_is_on(l) && READ_ONCE(l->svr) & SVR_ENABLE;
}
/* Which it is only while it is on. */
static inline bool lapic_is_x2apic(const struct lapic *l)
{
	return READ_ONCE(l->base) & APIC_BASE_X2APIC;
}
/*
 * In a mode in which to_hw() makes sense: registers are MSRs, no register but APIC_BASE or SVR
 * refuses interrupts, and each that is accepted is in service.
 */
static inline bool lapic_is_direct(const struct lapic *l)
{
	return lapic_is_x2apic(l) && READ_ONCE(l->svr) & SVR_ENABLE && !READ_ONCE(l->has_auto_eoi);
}
/* Logical id in x2APIC mode, SDM "Deriving Logical x2APIC ID from the Local x2APIC ID". */
static inline u32 lapic_x2apic_ldr(const struct lapic *l)
{
	return (l->id >> 4) << 16 | 1u << (l->id & 15);
}

/* A vector's bit of IRR, ISR or TMR. */
static inline bool lapic_bit(const u32 *words, u8 vector)
{
	return READ_ONCE(words[vector / 32]) >> vector % 32 & 1;
}

/* Highest vector in IRR or ISR, 0: none. */
static inline u8 lapic_highest(const u32 *words)
{
	const u64 *w = (const u64 *)words;

	/* mostly there is none, and this is asked at each interrupt and EOI */
	if (likely(!(READ_ONCE(w[0]) | READ_ONCE(w[1]) | READ_ONCE(w[2]) | READ_ONCE(w[3]))))
		return 0;
	for (int i = 3; i >= 0; i--) {
		u64 bits = READ_ONCE(w[i]);

		if (bits)
			return i * 64 + 63 - __builtin_clzl(bits);
	}
	return 0;
}

/*
 * What a write of 0 to the x2APIC's EOI nearly always is, at its cheapest. False: nothing done, it
 * needs msr_write().
 */
static inline bool lapic_plain_eoi(struct lapic *l)
{
	u64 vector = l->isr_top;
	bool level;

	if (!vector || l->pv_eoi_pending || !lapic_is_x2apic(l))
		return false;
	/* One instruction for each bit, where C has five; with the next it is a tenth of an EOI. */
	__asm__ volatile("bt %2, %1" : "=@ccc"(level) : "m"(l->tmr), "r"(vector));
	if (level)
		return false;
	__asm__ volatile("btr %1, %0" : "+m"(l->isr) : "r"(vector) : "cc");
	l->isr_top = lapic_highest(l->isr);
	return true;
}
