/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The timer of the virtual local APIC; SDM "APIC Timer". The APIC's bus clock is 1 GHz: one count
 * is 1 ns at divide 1.
 */
#include "hv/guest/lapic_timer.h"
#include "hv/cpu/time.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"

enum { MODE_ONE_SHOT, MODE_PERIODIC, MODE_DEADLINE };

/* Guests cannot make us take interrupts more often than this. */
#define MIN_PERIOD_NS 100000
/*
 * An interrupt, a switch of vCPUs, an entry: so long before its time the timer is to fire at most
 * for the guest to have it in time.
 */
#define MAX_LEAD_NS 5000

static u32 timer_mode(const struct lapic *l)
{
	return FIELD_GET(GENMASK(18, 17), l->lvt[LVT_TIMER]);
}

/*
 * Divide configuration register: value 0..6 divides by 2..128, 7 by 1. Bit 2 of the register is not
 * part of the value.
 */
static u32 divide_shift(const struct lapic *l)
{
	return (((l->timer_dcr & 3) | (l->timer_dcr & 8) >> 1) + 1) & 7;
}

static u64 counts_to_tsc(const struct lapic *l, u32 counts)
{
	return ns_to_tsc((u64)counts << divide_shift(l));
}

static u32 current_count(const struct lapic *l, u64 now)
{
	u64 passed;

	if (timer_mode(l) >= MODE_DEADLINE || !l->timer_icr)
		return 0;
	passed = (s64)(now - l->timer_start) < 0
		     ? 0
		     : tsc_to_ns(now - l->timer_start) >> divide_shift(l);
	if (timer_mode(l) == MODE_PERIODIC)
		return l->timer_icr - passed % l->timer_icr;
	return passed < l->timer_icr ? l->timer_icr - passed : 0;
}

static bool arm(struct lapic *l, u64 at)
{
	l->timer_on = true;
	l->timer_at = at;
	timer_arm(&l->timer, at - l->timer_lead);
	return false;
}

static bool disarm(struct lapic *l)
{
	l->timer_on = false;
	timer_cancel(&l->timer);
	return false;
}

/*
 * Periodic: the first tick after now on the grid that began at timer_start, so that missed ticks
 * are not made up for.
 */
static u64 next_tick(struct vcpu *v, u64 now)
{
	struct lapic *l = &v->lapic;
	u64 period =
	    MAX(counts_to_tsc(l, l->timer_icr), v->vm->is_dom0 ? 1 : ns_to_tsc(MIN_PERIOD_NS));

	return l->timer_start + ((now - l->timer_start) / period + 1) * period;
}

/* Arm for what the registers say. True: it is due now (never in periodic mode). */
static bool program(struct vcpu *v, u64 now)
{
	struct lapic *l = &v->lapic;
	u64 guest_now = vcpu_tsc(v, now), at;

	l->timer_wait = false;
	switch (timer_mode(l)) {
	case MODE_DEADLINE:
		if (!l->tsc_deadline)
			break;
		if (l->tsc_deadline > guest_now)
			return arm(
			    l, now + MIN(scale_tsc_back(l->tsc_deadline - guest_now, v->tsc_mul),
					 BIT(62)));
		disarm(l);
		return true;
	case MODE_ONE_SHOT:
		if (!l->timer_icr)
			break;
		at = l->timer_start + counts_to_tsc(l, l->timer_icr);
		if (at > now)
			return arm(l, at);
		disarm(l);
		return true;
	case MODE_PERIODIC:
		if (!l->timer_icr)
			break;
		return arm(l, next_tick(v, now));
	}
	return disarm(l);
}

/*
 * The timer has run out. A periodic one goes on only when the guest has taken the tick before this
 * one: a vCPU that is stopped or keeps its interrupts off costs no timer interrupts. timer_wait is
 * set before the IRR bit, so lapic_accept() sees it.
 */
static void expire(struct vcpu *v, u64 now)
{
	struct lapic *l = &v->lapic;
	u32 lvt = l->lvt[LVT_TIMER], vector = lvt & 0xff;
	bool masked = lvt & LVT_MASKED;

	l->timer_on = false;
	if (timer_mode(l) == MODE_DEADLINE)
		l->tsc_deadline = 0;
	if (timer_mode(l) == MODE_PERIODIC) {
		if (masked || vector < 16 || READ_ONCE(l->irr[vector / 32]) & 1u << vector % 32)
			WRITE_ONCE(l->timer_wait, true);
		else
			program(v, now);
	}
	if (!masked)
		lapic_set_irq(v, vector, false);
}

static void start(struct vcpu *v, u64 now)
{
	if (program(v, now))
		expire(v, now);
}

void lapic_timer_fn(struct timer *t)
{
	struct vcpu *v = container_of(t, struct vcpu, lapic.timer);
	struct lapic *l = &v->lapic;
	u64 now;

	lock_acquire(&l->lock);
	now = rdtsc();
	/*
	 * Between its removal from the heap and the lock, the vCPU's CPU may have stopped it or set
	 * another time.
	 */
	if (l->timer_on && READ_ONCE(t->cpu) < 0 && t->deadline <= now) {
		WRITE_ONCE(l->timer_due, l->timer_at);
		expire(v, MAX(now, l->timer_at));
	}
	lock_release(&l->lock);
}

/*
 * What the vCPU comes too late or too early, it comes next time by a quarter less; not if it had
 * other reasons to be late.
 */
u64 lapic_timer_due(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u64 due = l->timer_due;
	s64 late = rdtsc() - due, max = ns_to_tsc(MAX_LEAD_NS);

	l->timer_due = 0;
	if (late < 2 * max)
		l->timer_lead = MIN(MAX(l->timer_lead + late / 4, 0), max);
	return due;
}

void lapic_timer_stop(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	disarm(l);
	l->timer_wait = false;
	l->timer_icr = 0;
	l->tsc_deadline = 0;
	lock_release(&l->lock);
}

void lapic_timer_set_lvt(struct vcpu *v, u32 lvt)
{
	struct lapic *l = &v->lapic;
	u32 old;

	lock_acquire(&l->lock);
	old = timer_mode(l);
	l->lvt[LVT_TIMER] = lvt;
	if (old != timer_mode(l) && MAX(old, timer_mode(l)) >= MODE_DEADLINE) {
		l->timer_icr = 0;
		l->tsc_deadline = 0;
		disarm(l);
	}
	if (l->timer_wait && !(lvt & LVT_MASKED))
		start(v, rdtsc());
	lock_release(&l->lock);
}

void lapic_timer_set_count(struct vcpu *v, u32 count)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (timer_mode(l) < MODE_DEADLINE) {
		l->timer_icr = count;
		l->timer_start = rdtsc();
		start(v, l->timer_start);
	}
	lock_release(&l->lock);
}

/* Begin anew with count left of the initial count; a one-shot that has run out stays so. */
static void go_on(struct vcpu *v, u32 count)
{
	struct lapic *l = &v->lapic;
	u64 now = rdtsc();

	l->timer_start = now - counts_to_tsc(l, l->timer_icr - MIN(count, l->timer_icr));
	if (timer_mode(l) == MODE_ONE_SHOT && !count) {
		l->timer_wait = false;
		disarm(l);
	} else {
		start(v, now);
	}
}

void lapic_timer_set_divide(struct vcpu *v, u32 dcr)
{
	struct lapic *l = &v->lapic;
	u32 count;

	lock_acquire(&l->lock);
	count = current_count(l, rdtsc());
	l->timer_dcr = dcr & 0xb;
	if (timer_mode(l) < MODE_DEADLINE)
		go_on(v, count);
	lock_release(&l->lock);
}

void lapic_timer_set_deadline(struct vcpu *v, u64 guest_tsc)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (timer_mode(l) == MODE_DEADLINE) {
		l->tsc_deadline = guest_tsc;
		start(v, rdtsc());
	}
	lock_release(&l->lock);
}

u64 lapic_timer_deadline(struct vcpu *v)
{
	return READ_ONCE(v->lapic.tsc_deadline);
}

u32 lapic_timer_count(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u32 count;

	lock_acquire(&l->lock);
	count = current_count(l, rdtsc());
	lock_release(&l->lock);
	return count;
}

void lapic_timer_restore(struct vcpu *v, u32 count)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (timer_mode(l) >= MODE_DEADLINE) /* the deadline is an MSR of its own */
		start(v, rdtsc());
	else
		go_on(v, count);
	lock_release(&l->lock);
}

void lapic_timer_taken(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (l->timer_wait)
		start(v, rdtsc());
	lock_release(&l->lock);
}

void lapic_tsc_changed(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	if (!l->present)
		return;
	lock_acquire(&l->lock);
	if (timer_mode(l) == MODE_DEADLINE)
		start(v, rdtsc());
	lock_release(&l->lock);
}
