/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual local APIC of dom0's and guests' vCPUs: registers, priorities, IPIs, timer. Vendor-neutral.
 * IRR and TMR take bits from any CPU (atomic); everything else is touched only by the CPU that has the vCPU, or while it
 * is stopped.
 */
#ifndef HV_LAPIC_H
#define HV_LAPIC_H

#include "lock.h"
#include "timer.h"

struct vcpu;
struct vm;

#define APIC_BASE_BSP	 BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

struct lapic {
	bool present;	 /* CORBEL_VM_LAPIC, or dom0 */
	u32 id;		 /* initial APIC id */
	u64 base;	 /* APIC_BASE MSR */
	u32 irr[8], isr[8], tmr[8]; /* irr, tmr: atomic */
	u32 tpr, svr, ldr, dfr, esr, esr_latch, apicid;
	u64 icr;
	u32 lvt[7];	 /* CMCI, timer, thermal, perf, LINT0, LINT1, error */
	u32 timer_icr, timer_dcr;
	u64 timer_start; /* TSC when the initial count was written */
	u64 tsc_deadline; /* guest TSC */
	struct timer timer;
	u64 pv_eoi;	 /* MSR_KVM_PV_EOI_EN */
	bool pv_eoi_pending; /* the guest may skip the EOI of the vector in service */
	bool extint;	 /* the PIC's INTR line (CORBEL_HC_EXTINT) */
};

/* A message as MSIs and ICR writes carry it; SDM "Message Signalled Interrupts", "Interrupt Command Register". */
struct apic_msg {
	u32 dest;
	u8 vector;
	u8 mode;	/* 0 fixed, 1 lowest, 2 SMI, 4 NMI, 5 INIT, 6 STARTUP, 7 ExtINT */
	bool logical, level, assert;
	u8 shorthand;	/* 0 none, 1 self, 2 all, 3 all but self */
	bool x2apic_dest; /* 32-bit destination, 0xffffffff broadcasts */
};

void lapic_init(struct vcpu *v, u32 apic_id, bool present);
void lapic_reset(struct vcpu *v, bool init); /* INIT keeps the id and base */
void lapic_destroy(struct vcpu *v);

/* Make a vector pending and wake or kick the vCPU. Any CPU. */
void lapic_set_irq(struct vcpu *v, u8 vector, bool level);
/* Deliver to all targets of vm. from may be NULL. Returns the number of targets. */
u32 lapic_send(struct vm *vm, const struct apic_msg *m, struct vcpu *from);
/* MSI address/data pair (with KVM's extended destination bits in the high address half). */
u32 lapic_send_msi(struct vm *vm, u64 address, u32 data);

/* Highest vector that may be injected now (above PPR), or -1. */
int lapic_pending(struct vcpu *v);
/* It was injected: IRR -> ISR, and sets up PV EOI. */
void lapic_accept(struct vcpu *v, u8 vector);
/* PPR-relevant: is the ExtINT line up and would LINT0/virtual wire take it? */
bool lapic_extint_pending(struct vcpu *v);
/* Something that would end HLT. */
bool lapic_has_work(struct vcpu *v);
/* Before an entry and on EOI-relevant exits: take in the guest's PV EOI word. */
void lapic_sync_pv_eoi(struct vcpu *v);

/* Register access; offset as in xAPIC (0x20 id, 0x80 TPR ...). x2apic: offset = (msr - 0x800) << 4. -EINVAL: #GP. */
int lapic_read(struct vcpu *v, u32 offset, u64 *val, bool x2apic);
int lapic_write(struct vcpu *v, u32 offset, u64 val, bool x2apic);
/* MSRs 0x1b, 0x6e0, 0x800..0x8ff. -EINVAL: #GP. */
int lapic_msr_read(struct vcpu *v, u32 msr, u64 *val);
int lapic_msr_write(struct vcpu *v, u32 msr, u64 val);
u64 lapic_get_cr8(const struct vcpu *v);
void lapic_set_cr8(struct vcpu *v, u64 cr8);

/* KVM's kvm_lapic_state, 1024 bytes. set: -EINVAL on nonsense. */
void lapic_get_state(struct vcpu *v, u8 *regs);
int lapic_set_state(struct vcpu *v, const u8 *regs);

#endif
