/* SPDX-License-Identifier: GPL-2.0-only */
/* Software timers: a heap per CPU behind the physical APIC timer. */
#pragma once

#include "hv/lib/types.h"

struct timer {
	u64 deadline; /* absolute TSC */
	/* runs on the CPU that armed it, interrupts off, no locks held */
	void (*fn)(struct timer *);
	s32 cpu; /* where queued, -1 = not */
	u32 pos; /* in that CPU's heap */
};

/* On each CPU, before its first timer, and again after a sleep, when its timers are as they were.
 */
void timer_init_cpu(void);
void timer_setup(struct timer *t, void (*fn)(struct timer *));
/*
 * Arm (or re-arm) on this CPU. One timer is not armed or cancelled by two CPUs at once: its user
 * sees to that.
 */
void timer_arm(struct timer *t, u64 deadline_tsc);
/* After return fn is not pending; it may still be running on another CPU. */
void timer_cancel(struct timer *t);
/*
 * This CPU is about to idle, and t, if it is the next to fire here, need not fire. After return the
 * hardware waits for nothing that has been cancelled or put off meanwhile.
 */
void timer_idle(struct timer *t);
/* TSC at which the hardware fires next on this CPU, TIMER_NEVER: not at all. */
#define TIMER_NEVER (~0ull)
u64 timer_next(void);
/*
 * As timer_cancel(), and fn is not running either: the timer's memory may go. Not from fn, no lock
 * held that fn takes.
 */
void timer_cancel_wait(struct timer *t);
/* From the timer interrupt: run what is due and program the hardware for the next. */
void timer_run(u64 now);
