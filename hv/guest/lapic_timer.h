/* SPDX-License-Identifier: GPL-2.0-only */
/* The timer of a virtual APIC. */
#pragma once

#include "hv/lib/types.h"

struct timer;
struct vcpu;

/* v->tsc_offset or v->tsc_mul has changed: a TSC deadline is due at another time. */
void lapic_tsc_changed(struct vcpu *v);
void lapic_timer_fn(struct timer *t);
void lapic_timer_stop(struct vcpu *v);
void lapic_timer_set_lvt(struct vcpu *v, u32 lvt);
void lapic_timer_set_count(struct vcpu *v, u32 count);
void lapic_timer_set_divide(struct vcpu *v, u32 dcr);
void lapic_timer_set_deadline(struct vcpu *v, u64 guest_tsc);
/* Before an entry, when timer_due: the TSC to wait for, some microseconds ahead at most. */
u64 lapic_timer_due(struct vcpu *v);
u64 lapic_timer_deadline(struct vcpu *v);
u32 lapic_timer_count(struct vcpu *v);
/* LVT, divide and initial count are those of the saved state; run on from this current count. */
void lapic_timer_restore(struct vcpu *v, u32 count);
/* The guest has taken the timer's vector: go on if that was waited for. */
void lapic_timer_taken(struct vcpu *v);
