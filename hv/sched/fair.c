/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The default policy: weighted fair by virtual runtime.
 *
 * A unit's virtual runtime grows by ran * 1024 / weight; the unit with the least runs next. The
 * queue's floor follows the least virtual runtime of all units here and never falls. A unit that
 * slept is placed not further than CREDIT before the least: enough to preempt whoever runs, too
 * little to starve him. Between CPUs only the distance to the floor counts.
 *
 * The units of a group have its weight in parts: group_look() in unit.c.
 *
 * dom0's unit stands for many threads: one that runs all the time would make others wait that have
 * hardly run. So it has a second virtual runtime, `urgent`, as of one more unit of the default
 * weight: while that is behind, an event lets dom0 in before its turn, for as long as it says that
 * a thread runs that has woken of late. What others run on that occasion is charged to both.
 */
#include "hv/sched/policy.h"

/* in which each of a few waiting units runs once, for as long as its weight says */
#define LATENCY_MS   12
#define SLICE_MIN_MS 1
#define CREDIT_MS    3
#define URGENT_PART  10 /* of a millisecond has dom0 for an interrupt, if no thread wakes there */
/*
 * Until it has first run: so it also comes before a unit that came from a busier CPU and is behind
 */
#define WAKE_MS	   24
#define PREEMPT_MS 1 /* a woken unit this far behind the running one preempts it */

/* dom0's weight on a CPU is at least this part of what all others there have; set once */
#define PART 1024
static u32 pinned_part = 25 * PART / (100 - 25);

void sched_set_pinned_share(u32 percent)
{
	BUG_ON(!percent || percent > 90);
	sched_pinned_percent = percent;
	pinned_part = percent * PART / (100 - percent);
}

/* Virtual runtimes may wrap around: only their distance means something. */
static s64 runs_ahead(u64 a, u64 b)
{
	return (s64)(a - b);
}

static u64 virtual_ticks(u64 ticks, u64 share)
{
	return ticks * SHARE_DEFAULT / share;
}

/*
 * Everybody's interrupts are handled in dom0, whose kernel takes a CPU that hardly runs for a dead
 * one: while it has something to do there it gets a share of its own, however many guests of
 * whatever weight there are.
 */
static u64 share_here(const struct sched_rq *rq, const struct sched_unit *u, u64 share)
{
	u64 others = 0;

	if (u->pinned)
		others = READ_ONCE(rq->load) - u->load;
	return MAX(share, others * pinned_part / PART);
}

static void fair_arrive(struct sched_rq *rq, struct sched_unit *u)
{
	u64 credit = (READ_ONCE(u->boost) ? WAKE_MS : CREDIT_MS) * sched_ms,
	    least = rq->least - virtual_ticks(credit, MAX(READ_ONCE(u->share), SHARE_DEFAULT));

	if (u->slept && u->floor_rq) /* the floor there is passed also by who wakes elsewhere */
		u->floor = READ_ONCE(u->floor_rq->floor);
	if (u->floor_rq != rq)
		u->vruntime += rq->floor - u->floor;
	if (u->slept && runs_ahead(u->vruntime, least) < 0)
		u->vruntime = least;
	u->slept &= READ_ONCE(u->boost);
	u->floor = rq->floor;
	u->floor_rq = rq;
}

static bool is_behind(const struct sched_unit *a, const struct sched_unit *b)
{
	return runs_ahead(a->vruntime, b->vruntime) > 0;
}

static void fair_enqueue(struct sched_rq *rq, struct sched_unit *u)
{
	fair_arrive(rq, u);
	rq_insert(rq, u, is_behind);
}

static u64 fair_slice(const struct sched_rq *rq, const struct sched_unit *u)
{
	u64 share = READ_ONCE(u->share), load = READ_ONCE(rq->load);

	if (unlikely(u->out_of_turn))
		return u->is_fresh ? SLICE_MIN_MS * sched_ms : sched_ms / URGENT_PART;
	if (!rq->queue.count)
		return SLICE_ALONE_MS * sched_ms;
	return MAX(LATENCY_MS * sched_ms * share / MAX(load, share), SLICE_MIN_MS * sched_ms);
}

/* What it runs out of turn, never further from the floor than a credit. */
static __noinline void charge_urgent(struct sched_rq *rq, struct sched_unit *u, u64 ran)
{
	const s64 credit = CREDIT_MS * sched_ms;
	s64 lead = MAX(runs_ahead(u->urgent, rq->floor), -credit);

	lead += virtual_ticks(ran, share_here(rq, u, SHARE_DEFAULT));
	u->urgent = rq->floor + MIN(lead, credit);
}

static void fair_charge(struct sched_rq *rq, struct sched_unit *u, u64 ran)
{
	const struct sched_unit *first = rq->queue.head;
	u64 least;

	if (unlikely(u->out_of_turn))
		charge_urgent(rq, u, ran);
	if (likely(!u->out_of_turn || !u->is_fresh))
		u->vruntime += virtual_ticks(ran, share_here(rq, u, READ_ONCE(u->share)));
	least = u->vruntime;
	if (first && runs_ahead(first->vruntime, least) < 0)
		least = first->vruntime;
	rq->least = least;
	if (runs_ahead(least, rq->floor) > 0)
		WRITE_ONCE(rq->floor, least);
}

/* Where an event puts dom0's unit: on a level with others that have just woken. */
static u64 urgent_at(const struct sched_unit *u)
{
	return u->urgent - (WAKE_MS - CREDIT_MS) * sched_ms;
}

static bool fair_preempts(const struct sched_unit *woken, const struct sched_unit *running, u64 now)
{
	u64 uncharged = now > running->since ? now - running->since : 0;
	u64 reached = running->out_of_turn ? running->urgent : running->vruntime;
	u64 from = woken->vruntime;

	reached += virtual_ticks(uncharged, READ_ONCE(running->share));
	if (woken->pinned && runs_ahead(from, urgent_at(woken)) > 0)
		from = urgent_at(woken);
	/* of a light unit as well: its credit is no greater */
	return runs_ahead(reached, from) >
	       (s64)virtual_ticks(PREEMPT_MS * sched_ms,
				  MAX(READ_ONCE(woken->share), SHARE_DEFAULT));
}

static bool fair_urgent(const struct sched_rq *rq, const struct sched_unit *u)
{
	const struct sched_unit *first = rq->queue.head;

	if (READ_ONCE(first->boost) && runs_ahead(urgent_at(u), first->vruntime) > 0)
		return false;
	return runs_ahead(rq->floor, u->urgent) > 0;
}

const struct sched_ops sched_fair = {"fair",	  fair_arrive,	 fair_enqueue, fair_slice,
				     fair_charge, fair_preempts, fair_urgent};

/* ---- null: each vCPU has a CPU of its own; there only dom0's unit runs beside it ---- */

static u32 null_need(const struct sched_unit *u, u32 room, bool beside)
{
	return room;
}

const struct sched_ops sched_null = {"null",	  fair_arrive,	 fair_enqueue, fair_slice,
				     fair_charge, fair_preempts, fair_urgent,  null_need};
