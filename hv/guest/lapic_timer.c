/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The timer of the virtual local APIC; SDM "APIC Timer". The APIC's bus clock is 1 GHz, so one
 * count is 1 ns at divide 1, unless the VMM wants another.
 */
#include "hv/guest/lapic_timer.h"
#include "hv/cpu/time.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

enum { MODE_ONE_SHOT, MODE_PERIODIC, MODE_DEADLINE }; /* 3: reserved, no timer */

/* Guests cannot make us take interrupts more often than this. */
#define MIN_PERIOD_NS 100000
/*
 * An interrupt, a switch of vCPUs, an entry: so long before its time the timer is to fire at most
 * for the guest to have it in time.
 */
#define MAX_LEAD_NS 5000
#define LEAD_FALLS  32
#define ENTRY_NS    25	/* what is left behind lapic_timer_wait() takes longer anywhere */
#define DOM0_NS	    300 /* and with what dom0's kernel does until it looks at the clock */
/*
 * A guest's timer that is further away than FAR_MS, as those of an idle kernel are, fires with all
 * others of the same part of a millisecond, at its end: never early, and late by less than that.
 */
#define FAR_MS	   20
#define SLACK_PART 10

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

static u64 counts_to_tsc(const struct vcpu *v, u32 counts)
{
	u64 ns = ((u64)counts << divide_shift(&v->lapic)) * v->vm->bus_ns;

	return ns_to_tsc(MIN(ns, BIT(59))); /* which is 18 years */
}

static u32 current_count(const struct vcpu *v)
{
	const struct lapic *l = &v->lapic;
	s64 ticks = rdtsc() - l->timer_start; /* written on a CPU whose TSC may be ahead */
	u64 passed = tsc_to_ns(MAX(ticks, 0)) / v->vm->bus_ns >> divide_shift(l);

	if (timer_mode(l) >= MODE_DEADLINE || !l->timer_icr || l->timer_ended)
		return 0;
	if (timer_mode(l) == MODE_PERIODIC)
		passed %= l->timer_icr;
	if (l->timer_on) /* it has not fired: within its slack it is not at its end either */
		passed = MIN(passed, l->timer_icr - 1);
	return l->timer_icr - MIN(passed, l->timer_icr);
}

/*
 * When the registers say that the timer runs out; 0: never. Periodic: the first tick after now on
 * the grid that began at timer_start, so that missed ticks are not made up for.
 */
static u64 end_of_timer(struct vcpu *v, u64 now)
{
	struct lapic *l = &v->lapic;
	u64 guest_now, period, min = 1;

	if (timer_mode(l) == MODE_DEADLINE && l->tsc_deadline) {
		guest_now = vcpu_tsc(v, now);
		if (l->tsc_deadline <= guest_now)
			return now;
		return now + MIN(scale_tsc_back(l->tsc_deadline - guest_now, v->tsc_mul), BIT(62));
	}
	if (timer_mode(l) >= MODE_DEADLINE || !l->timer_icr || l->timer_ended)
		return 0;
	period = counts_to_tsc(v, l->timer_icr);
	if (timer_mode(l) == MODE_ONE_SHOT)
		return l->timer_start + period;
	if (!v->vm->is_dom0)
		min = ns_to_tsc(MIN_PERIOD_NS);
	period = MAX(period, min);
	return l->timer_start + ((now - l->timer_start) / period + 1) * period;
}

/*
 * dom0's timers are everybody's; who was promised a CPU, or has more weight than nice -12 gives, as
 * real-time threads have, waits for nobody.
 */
static bool is_punctual(const struct vcpu *v)
{
	const struct sched_unit *u = &v->sched;

	return v->vm->is_dom0 || u->seat.need || READ_ONCE(u->weight) > 16 * SCHED_WEIGHT_DEFAULT;
}

/* When it fires, for the guest to have it at that time, or within its slack. */
static u64 with_slack(const struct vcpu *v, u64 at, u64 now)
{
	u64 slack = tsc_khz / SLACK_PART;

	if (at <= now + FAR_MS * tsc_khz || at > BIT(63) || is_punctual(v))
		return at;
	return (at + slack - 1) / slack * slack;
}

/*
 * Arm for what the registers say. True: it is due now (never in periodic mode). Wants the lock, as
 * does restart_timer(); those of their callers that are not just behind lock_acquire() assert it.
 */
static bool arm_timer(struct vcpu *v, u64 now)
{
	struct lapic *l = &v->lapic;
	u64 at = end_of_timer(v, now);

	l->timer_wait = false;
	l->timer_on = at > now;
	if (l->timer_on) {
		l->timer_at = at = with_slack(v, at, now);
		timer_arm(&l->timer, at - l->timer_lead);
		return false;
	}
	timer_cancel(&l->timer);
	return at;
}

/*
 * The timer has run out. A periodic one goes on only when the guest has taken the tick before this
 * one: a vCPU that is stopped, keeps its interrupts off, or has its LAPIC off, as a VMM can set it,
 * costs no timer interrupts. timer_wait is set before the IRR bit, so lapic_accept() sees it.
 */
static void expire_locked(struct vcpu *v, u64 now)
{
	struct lapic *l = &v->lapic;
	u32 lvt = l->lvt[LVT_TIMER];
	u8 vector = lvt;

	ASSERT_HELD(&l->lock);
	l->timer_on = false;
	if (timer_mode(l) == MODE_DEADLINE)
		l->tsc_deadline = 0;
	if (timer_mode(l) == MODE_PERIODIC) {
		if (lvt & LVT_MASKED || vector < 16 || lapic_bit(l->irr, vector) ||
		    !lapic_is_enabled(l))
			WRITE_ONCE(l->timer_wait, true);
		else
			arm_timer(v, now);
	}
	if (!(lvt & LVT_MASKED))
		lapic_set_irq(v, vector, false);
}

/* The same, and expire if it is due. */
static void restart_timer(struct vcpu *v)
{
	u64 now = rdtsc();

	if (arm_timer(v, now))
		expire_locked(v, now);
}

static void stop_locked(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	ASSERT_HELD(&l->lock);
	l->timer_icr = 0;
	l->timer_ended = false;
	l->tsc_deadline = 0;
	arm_timer(v, 0);
	BUG_ON(l->timer_on); /* nothing is left to wait for */
}

/* Begin anew with count left of the initial count; a one-shot that has run out stays so. */
static void go_on_locked(struct vcpu *v, u32 count)
{
	struct lapic *l = &v->lapic;
	u64 now = rdtsc();

	ASSERT_HELD(&l->lock);
	l->timer_start = now - counts_to_tsc(v, l->timer_icr - MIN(count, l->timer_icr));
	if (arm_timer(v, now) && (count || timer_mode(l) == MODE_DEADLINE))
		expire_locked(v, now);
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
		expire_locked(v, MAX(now, l->timer_at));
	}
	lock_release(&l->lock);
}

/* So long before that time the vCPU is entered; if that is long, it is told, and waits itself. */
static u64 early_by(struct vcpu *v, u64 due)
{
	u64 at = vcpu_tsc(v, due);

	if (!v->sched.inside || !READ_ONCE(v->sched.inside->waits))
		return ns_to_tsc(ENTRY_NS);
	WRITE_ONCE(v->sched.inside->timer_at, at);
	return ns_to_tsc(DOM0_NS);
}

/*
 * What the vCPU comes too late, it comes next time by half less, and what it comes too early, and
 * then waits, by a little less: it is to be in time nearly always, not on average. Not if it had
 * other reasons to be late.
 */
u64 lapic_timer_due(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u64 due = l->timer_due - early_by(v, l->timer_due);
	s64 late = rdtsc() - due, max = ns_to_tsc(MAX_LEAD_NS), lead = l->timer_lead;

	l->timer_due = 0;
	lead += late > 0 ? late / 2 : late / LEAD_FALLS;
	if (late < 2 * max)
		l->timer_lead = MIN(MAX(lead, 0), max);
	/* So early it is not fired: the clock of the CPU that did is ahead of this one's. */
	return late < -max ? 0 : due;
}

void lapic_timer_wait(struct vcpu *v)
{
	u64 due = lapic_timer_due(v);

	while ((s64)(due - rdtsc()) > 0)
		cpu_relax();
}

void lapic_timer_stop(struct vcpu *v)
{
	lock_acquire(&v->lapic.lock);
	stop_locked(v);
	lock_release(&v->lapic.lock);
}

/* Between one-shot and periodic, with count left: when it runs out, if it runs, stays. */
static void change_mode_locked(struct vcpu *v, u32 old, u32 count)
{
	struct lapic *l = &v->lapic;

	BUG_ON(!lock_is_held(&l->lock));
	if (old == MODE_ONE_SHOT && !count)
		l->timer_ended = l->timer_icr;
	else
		l->timer_start = rdtsc() - counts_to_tsc(v, l->timer_icr - count);
}

static void set_lvt_locked(struct vcpu *v, u32 lvt)
{
	struct lapic *l = &v->lapic;
	u32 old = timer_mode(l), count = current_count(v), mode;

	ASSERT_HELD(&l->lock);
	l->lvt[LVT_TIMER] = lvt;
	mode = timer_mode(l);
	/* Counts and deadlines do not outlive a change between them. */
	if (old != mode && MAX(old, mode) >= MODE_DEADLINE)
		stop_locked(v);
	else if (old != mode) /* one that counts goes on */
		change_mode_locked(v, old, count);
	/* only a periodic one waits */
	if (l->timer_wait && !(lvt & LVT_MASKED && mode == MODE_PERIODIC))
		restart_timer(v);
}

void lapic_timer_set_deadline(struct vcpu *v, u64 guest_tsc)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (timer_mode(l) == MODE_DEADLINE) {
		l->tsc_deadline = guest_tsc;
		restart_timer(v);
	}
	lock_release(&l->lock);
}

void lapic_timer_write(struct vcpu *v, u32 offset, u32 val)
{
	struct lapic *l = &v->lapic;
	u32 count;

	lock_acquire(&l->lock);
	switch (offset) {
	case APIC_LVT_TIMER:
		set_lvt_locked(v, val);
		break;
	case APIC_TIMER_INIT:
		if (timer_mode(l) < MODE_DEADLINE) {
			l->timer_icr = val;
			l->timer_ended = false;
			l->timer_start = rdtsc();
			restart_timer(v);
		}
		break;
	case APIC_TIMER_DIV:
		count = current_count(v);
		l->timer_dcr = val & TIMER_DIV_BITS;
		if (timer_mode(l) < MODE_DEADLINE)
			go_on_locked(v, count);
		break;
	case APIC_TIMER_COUNT:
		go_on_locked(v, val);
	}
	lock_release(&l->lock);
}

u32 lapic_timer_count(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u32 count;

	lock_acquire(&l->lock);
	count = current_count(v);
	lock_release(&l->lock);
	return count;
}

void lapic_timer_taken(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (l->timer_wait)
		restart_timer(v);
	lock_release(&l->lock);
}

void lapic_tsc_changed(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	lock_acquire(&l->lock);
	if (timer_mode(l) == MODE_DEADLINE)
		restart_timer(v);
	lock_release(&l->lock);
}
