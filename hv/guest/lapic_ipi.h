/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupt messages between the virtual APICs. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;

/* Delivery modes; ExtINT (7) is not delivered by a message. */
enum { DM_FIXED = 0, DM_LOWEST = 1, DM_SMI = 2, DM_NMI = 4, DM_INIT = 5, DM_STARTUP = 6 };
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

/*
 * A message as MSIs and ICR writes carry it; SDM "Message Signalled Interrupts", "Interrupt Command
 * Register".
 */
struct apic_msg {
	u32 dest;
	u8 vector;
	u8 mode; /* DM_x */
	bool logical, level, assert;
	u8 shorthand;	  /* SHORT_x */
	bool x2apic_dest; /* 32-bit destination, 0xffffffff broadcasts */
	bool strict;	  /* 0xff does not broadcast to LAPICs in x2APIC mode */
};

/*
 * Make a vector pending and wake or kick the vCPU. Any CPU. False: this APIC does not take it
 * (disabled, or vector < 16), so a physical level interrupt for dom0 must be acknowledged by the
 * caller.
 */
bool lapic_set_irq(struct vcpu *v, u8 vector, bool level);
/* Deliver to all targets of vm. from may be NULL. Returns the number of targets. */
u32 lapic_send(struct vm *vm, const struct apic_msg *m, struct vcpu *from);
/*
 * The same to the physical ids that two words of so many bits name, from m->dest on, by one look at
 * each vCPU: for where lapic_send() has to look at all of them.
 */
u32 lapic_send_words(struct vcpu *from, const struct apic_msg *m, u64 low, u64 high, u32 bits);
/* MSI address/data pair (with KVM's extended destination bits in the high address half). */
u32 lapic_send_msi(struct vm *vm, u64 address, u32 data, bool strict);

/*
 * Who alone takes this message, as a common interrupt, as long as its LAPIC is in x2APIC mode,
 * which it is now: its ids do not change there. NULL: nobody, or several might.
 */
struct vcpu *lapic_msi_target(struct vm *vm, u64 address, u32 data, bool strict);

/* Note an error and raise LVT error. Any CPU. */
void lapic_error(struct vcpu *v, u32 bit);
