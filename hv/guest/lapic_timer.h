/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The timer of a virtual APIC. For the CPU that has the vCPU, but that the timer runs out on any.
 */
#pragma once

#include "hv/lib/types.h"

/* 2^32 cycles of so many ns, and 128 of them a count, are counted in 64 bits. */
#define LAPIC_BUS_NS_MAX 0x2000000u

struct timer;
struct vcpu;

/*
 * Its LVT entry, initial count or divide register is written. Or the current count, which the guest
 * cannot: LVT, divide and initial count are those of a saved state, and the timer runs on from
 * there.
 */
void lapic_timer_write(struct vcpu *v, u32 offset, u32 val);
void lapic_timer_set_deadline(struct vcpu *v, u64 guest_tsc);
u32 lapic_timer_count(struct vcpu *v);
void lapic_timer_stop(struct vcpu *v);
/* v->tsc_offset or v->tsc_mul has changed: a TSC deadline is due at another time. */
void lapic_tsc_changed(struct vcpu *v);
/* The guest has taken the timer's vector, or now can: go on if that was waited for. */
void lapic_timer_taken(struct vcpu *v);
/*
 * Right before an entry, when timer_due: wait for it, some microseconds at most; and the TSC that
 * is waited for.
 */
void lapic_timer_wait(struct vcpu *v);
u64 lapic_timer_due(struct vcpu *v);
void lapic_timer_fn(struct timer *t);
