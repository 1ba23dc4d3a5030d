/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Earliest deadline first, each unit on the CPU where it has a seat.
 *
 * A unit has a budget in each period, whose end is its deadline: a constant bandwidth server. Who
 * has used up his budget is parked, as for a cap, till his deadline, which then is a period later.
 * Who wakes goes on with what is left of his budget if that is no more than his part of the time
 * until his deadline, else a period begins. So none can ever want more than his part of any time,
 * and since the parts of a CPU are less than the whole of it, all meet their deadlines.
 *
 * Whose seat is on two CPUs has a part of each turn, a millisecond, to himself on both: at its end
 * on the first, and at the beginning of the next on the other, to which he then goes. All turns
 * begin at one time, so he is on one CPU at a time. He is as good as first in the order, so others
 * there have what is left of each turn. That is as much of so many whole turns as of all time, and
 * so they, and he, count with periods of whole turns, rounded down.
 *
 * dom0's unit is one of them, with its share in short periods. It is not held back when nobody else
 * wants the CPU: sched_next() then takes it from those parked.
 */
#include "hv/sched/deadline.h"
#include "hv/sched/policy.h"
#include "hv/sched/seat.h"

#define USUAL_PERIOD_US 10000
#define USUAL_BUDGET_US 4000
#define DOM0_PERIOD_US	2000
#define SLICE_MS	1000 /* budgets end earlier */
#define TURN_US		1000
/* Of a turn, in SEAT_WHOLE, for the way from one CPU to the other: hv/sched/seat.c's slack pays. */
#define TURN_LOST 10000

/* ---- period and budget ---- */

static u64 terms_of(u32 period_us, u32 budget_us)
{
	return (u64)period_us << 32 | budget_us;
}

u64 deadline_usual(void)
{
	return terms_of(USUAL_PERIOD_US, USUAL_BUDGET_US);
}

s64 deadline_terms(u32 period_us, u32 budget_us, u64 *terms)
{
	if (period_us > CORBEL_MAX_PERIOD_US || budget_us < CORBEL_MIN_BUDGET_US ||
	    budget_us > period_us)
		return -EINVAL;
	*terms = terms_of(period_us, budget_us);
	return 0;
}

static u64 terms_in_effect(const struct sched_unit *u)
{
	if (u->pinned)
		return terms_of(DOM0_PERIOD_US, DOM0_PERIOD_US * seat_of_dom0() / 100);
	return READ_ONCE(u->budget.terms);
}

static s64 us_to_ticks(u32 us)
{
	return us * sched_ms / 1000;
}

/* In parts of SEAT_WHOLE, not less than budget / period. */
static u32 part_of(u64 terms)
{
	u64 period = terms >> 32;

	return ((u64)SEAT_WHOLE * (u32)terms + period - 1) / period;
}

static u32 deadline_need(const struct sched_unit *u, u32 room, bool beside)
{
	u32 period = u->budget.wanted >> 32, budget = u->budget.wanted;

	/* of less than a turn nothing is left, for which there is no room */
	period -= beside * (period % TURN_US);
	return part_of(terms_of(MAX(period, 1u), budget));
}

void deadline_charge(struct sched_unit *u, u64 ran)
{
	s64 most_behind = u->pinned ? 0 : -us_to_ticks(terms_in_effect(u));

	u->budget.left = MAX(u->budget.left - (s64)ran, most_behind);
}

/* ---- seats on two CPUs ---- */

_Static_assert(SEAT_WHOLE < BIT(20) && MAX_CPUS <= BIT(12), "deadline_split()");

u64 deadline_split(const struct sched_seat *s)
{
	return s->rest ? (u64)s->cpu << 52 | (u64)s->next << 40 | (u64)s->need << 20 | s->rest : 0;
}

static u64 part_of_turn(u32 part)
{
	return us_to_ticks(TURN_US) * (u64)(part + TURN_LOST) / SEAT_WHOLE;
}

/* How much of its part of the turn that comes first is to come still, for one on two CPUs. */
static u64 left_of_turn(u64 split, u64 now)
{
	u64 passed = now % us_to_ticks(TURN_US), first = part_of_turn(split & (BIT(20) - 1));

	return passed < first ? first - passed : 0;
}

u32 deadline_cpu(const struct sched_unit *u, u64 now)
{
	u64 split = READ_ONCE(u->budget.split);

	if (!split)
		return u->cpu;
	return left_of_turn(split, now) ? split >> 40 & (BIT(12) - 1) : split >> 52;
}

static u64 split_left(struct sched_unit *u, u64 split, u64 now)
{
	struct sched_budget *b = &u->budget;
	u64 turn = us_to_ticks(TURN_US), end = now - now % turn + turn, left;

	b->deadline = end - part_of_turn(split >> 20 & (BIT(20) - 1));
	left = left_of_turn(split, now) ?: now >= b->deadline ? end - now : 0;
	b->left = u->cpu == deadline_cpu(u, now) ? left : 0;
	u->waits = !b->left;
	if (b->left)
		b->deadline = 0;
	return b->left;
}

/* Would what is left of the budget be more than its part of the time until the deadline? */
static bool is_too_much(const struct sched_budget *b, u64 terms, u64 now)
{
	return now >= b->deadline ||
	       b->left > (s64)((b->deadline - now) * part_of(terms) / SEAT_WHOLE);
}

u64 deadline_left(struct sched_unit *u, u64 now)
{
	struct sched_budget *b = &u->budget;
	u64 terms = terms_in_effect(u), split = READ_ONCE(b->split);
	s64 period = us_to_ticks(terms >> 32), budget = us_to_ticks(terms);
	bool woke = u->slept && (!u->waits || READ_ONCE(u->boost)), begins = true;

	if (split)
		return split_left(u, split, now);
	if ((woke && is_too_much(b, terms, now)) || now >= b->deadline + period ||
	    b->deadline > now + period) /* it was elsewhere, or had other terms */
		b->deadline = now + period;
	else if (b->left <= 0 && now >= b->deadline)
		b->deadline += period;
	else
		begins = false;
	if (begins)
		b->left += budget;
	b->left = MIN(b->left, budget);
	u->waits = b->left <= 0;
	u->slept = false;
	return MAX(b->left, 0);
}

/* ---- the policy ---- */

static bool is_before(const struct sched_unit *a, const struct sched_unit *b)
{
	return a->budget.deadline < b->budget.deadline;
}

static bool is_after(const struct sched_unit *a, const struct sched_unit *b)
{
	return is_before(b, a);
}

/* No unit is ahead of others, should another policy go on with it. */
static void deadline_arrive(struct sched_rq *rq, struct sched_unit *u)
{
	u->slept = false;
	u->vruntime = rq->floor;
}

static void deadline_enqueue(struct sched_rq *rq, struct sched_unit *u)
{
	deadline_arrive(rq, u);
	rq_insert(rq, u, is_after);
}

/* Has the running unit to make way? */
static bool comes_before(const struct sched_unit *u, const struct sched_unit *running)
{
	return running->budget.left <= 0 || is_before(u, running);
}

/* The slice of one that runs is over as soon as one with an earlier deadline waits. */
static u64 deadline_slice(const struct sched_rq *rq, const struct sched_unit *u)
{
	const struct sched_unit *first = rq->queue.head;

	if (first && READ_ONCE(u->state) == SCHED_RUNNING && comes_before(first, u))
		return 0;
	return SLICE_MS * sched_ms;
}

static void deadline_ran(struct sched_rq *rq, struct sched_unit *u, u64 ran)
{
	WRITE_ONCE(rq->floor, rq->floor + ran / (rq->queue.count + 1));
}

static bool deadline_preempts(const struct sched_unit *woken, const struct sched_unit *running,
			      u64 now)
{
	return comes_before(woken, running);
}

static bool deadline_urgent(const struct sched_rq *rq, const struct sched_unit *u)
{
	return false;
}

const struct sched_ops sched_deadline = {
    "deadline",	       deadline_arrive, deadline_enqueue, deadline_slice,   deadline_ran,
    deadline_preempts, deadline_urgent, deadline_need,	  .in_order = true,
};
