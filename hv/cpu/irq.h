/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupt vectors: which are the hypervisor's own, and who handles them. */
#pragma once

#include "hv/lib/types.h"

/* Vectors arriving on a CPU from here on belong to dom0, lower ones are exceptions. */
#define VEC_DOM0_FIRST 0x20
/* What a message may raise nevertheless: APICs take none below. */
#define VEC_LEAST 0x10

/* The hypervisor's own: */
#define VEC_HV_FIRST 0xf0
#define VEC_TIMER    0xf0 /* local APIC timer */
#define VEC_KICK     0xf1 /* makes a guest exit, wakes an idle CPU, and has the scheduler asked */
#define VEC_NOP	     0xf2 /* only makes a guest exit */
/* tells a CPU inside a guest to take in posted interrupts; elsewhere as hv/guest/posting.h says */
#define VEC_POSTED   0xf3
#define VEC_WAKE     0xf4 /* some have been posted to a vCPU that is in no CPU */
#define VEC_PMI	     0xf5 /* a performance counter has run over */
#define VEC_VMCS     0xf6 /* another CPU wants a VMCS that is active in this one */
#define VEC_ERROR    0xfe
#define VEC_SPURIOUS 0xff /* has no handler: no EOI is due, unless a device has sent it */

/*
 * Boot: fn handles a vector of the hypervisor's own, EOI included. Interrupts are off, no lock is
 * held.
 */
void irq_set(u8 vector, void (*fn)(u8 vector));
/* Boot: fn handles all that are dom0's. Until then nothing may raise one. */
void irq_set_dom0(void (*fn)(u8 vector));
/*
 * An interrupt has arrived on this CPU: from hv/cpu/entry.asm, and from back ends whose exits
 * acknowledge it.
 */
void irq_handle(u8 vector);
