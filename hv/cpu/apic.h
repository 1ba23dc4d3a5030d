/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The physical local APIC and IPIs. Its mode, xAPIC or x2APIC, is at first what the firmware left
 * the boot CPU in.
 */
#pragma once

#include "hv/lib/apicdef.h"

/*
 * On each CPU, and again after a sleep, the boot CPU first, which measures the timer, but once.
 */
void apic_init_cpu(void);
u32 apic_id_self(void);
bool apic_is_x2apic(void); /* this CPU's mode */
/*
 * From now on all CPUs' APICs are to be in this mode; each goes there at its next apic_follow().
 * True if that is a change. Not where the CPU has no x2APIC, nor back where an APIC id needs it.
 */
bool apic_want(bool x2apic);
/* This CPU, with interrupts off and no EOI due of an interrupt of the hypervisor's own. */
void apic_follow(void);
#define XAPIC_LAST_ID 0xfeu /* above are broadcasts, and ids of x2APICs */
#define MSI_LAST_ID   0xffu /* of x2APICs, in messages that nobody remaps */
void apic_eoi(void);
/* Performance counters raise VEC_PMI, after each of which this is due. */
void apic_open_pmi(void);
/*
 * The vector's bit of a register: in APIC_TMR, is it level-triggered; in APIC_ISR, is it in
 * service? If not, it came from the 8259 through LINT0 (ExtINT) or was spurious, and no EOI is due.
 * APM/SDM "Trigger Mode Register", "In-Service Register".
 */
bool apic_test(u32 reg, u8 vector);
/*
 * A vector that is an exception's, or of nobody: has a message raised it? Then its EOI is done, and
 * told, not each time. Only devices whose interrupts are not remapped can do that.
 */
bool apic_end_stray(u8 vector);
void apic_send_ipi(u32 apic_id, u8 vector);
/*
 * In an NMI's handler, whatever it interrupted: VEC_KICK on this CPU as soon as interrupts are on,
 * or at the next entry to a guest.
 */
void apic_kick_from_nmi(void);
void apic_send_init(u32 apic_id);
void apic_send_sipi(u32 apic_id, u8 page);
/*
 * Arm this CPU's timer interrupt (VEC_TIMER) for an absolute TSC value, not 0. In the past: fires
 * at once.
 */
void apic_timer_arm(u64 tsc);
/* Mirror dom0's logical destination into the hardware (xAPIC mode only). */
void apic_set_logical(u32 ldr, u32 dfr);
/* Panic: stop all other CPUs by NMI, whatever they do; nothing before apic_init_cpu(). */
void apic_stop_others(void);
