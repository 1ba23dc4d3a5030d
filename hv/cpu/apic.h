/* SPDX-License-Identifier: GPL-2.0-only */
/* The physical local APIC (xAPIC or x2APIC, as found) and IPIs. */
#pragma once

#include "hv/lib/types.h"

/* On each CPU; the boot CPU (first) also measures the timer. */
void apic_init_cpu(void);
u32 apic_id_self(void);
bool apic_is_x2apic(void);
void apic_eoi(void);
/* Is the vector in service marked level-triggered (TMR)? APM/SDM "Trigger Mode Register". */
bool apic_is_level(u8 vector);
/*
 * Is the vector in service? No: it came from the 8259 through LINT0 (ExtINT) or was spurious, and
 * no EOI is due.
 */
bool apic_in_service(u8 vector);
void apic_send_ipi(u32 apic_id, u8 vector);
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
