/* SPDX-License-Identifier: GPL-2.0-only */
/* The physical local APIC (xAPIC or x2APIC, as found), IPIs, and the interrupt vectors of the hypervisor. */
#pragma once

#include "hv/lib/types.h"

/* Vectors 0x20..0xef arriving on a CPU belong to dom0. The hypervisor's own: */
#define VEC_HV_FIRST 0xf0
#define VEC_TIMER    0xf0 /* local APIC timer: runs timer_run() */
#define VEC_KICK     0xf1 /* only makes a guest exit / wakes an idle CPU; sets cpu->resched */
#define VEC_NOP	     0xf2 /* only makes a guest exit */
#define VEC_POSTED   0xf3 /* tells a CPU inside a guest to take in posted interrupts; elsewhere it means nothing */
#define VEC_ERROR    0xfe
#define VEC_SPURIOUS 0xff

/* On each CPU; the boot CPU (first) also measures the timer. */
void apic_init_cpu(void);
u32 apic_id_self(void);
bool apic_is_x2apic(void);
void apic_eoi(void);
/* Is the vector in service marked level-triggered (TMR)? APM/SDM "Trigger Mode Register". */
bool apic_is_level(u8 vector);
/* Is the vector in service? No: it came from the 8259 through LINT0 (ExtINT) or was spurious, and no EOI is due. */
bool apic_in_service(u8 vector);
void apic_send_ipi(u32 apic_id, u8 vector);
void apic_send_init(u32 apic_id);
void apic_send_sipi(u32 apic_id, u8 page);
/* Arm this CPU's timer interrupt (VEC_TIMER) for an absolute TSC value; 0 disarms. In the past: fires at once. */
void apic_timer_arm(u64 tsc);
/* Mirror dom0's logical destination into the hardware (xAPIC mode only). */
void apic_set_logical(u32 ldr, u32 dfr);
/* Panic: stop all other CPUs by NMI, whatever they do; nothing before apic_init_cpu(). */
void apic_stop_others(void);
/* Handler of VEC_ERROR: into the log, not more often than makes sense. */
void apic_log_error(void);
