/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The default policy: weighted fair by virtual runtime.
 *
 * A unit's virtual runtime grows by ran * 1024 / weight; the unit with the least runs next. The
 * queue's floor `min` follows the least virtual runtime of all units here and never falls. A unit
 * that slept is placed not further than CREDIT before the floor: enough to preempt whoever runs,
 * too little to starve him. Between CPUs only the distance to the floor counts.
 */
#include "hv/cpu/time.h"
#include "hv/sched/queue.h"

/* in which each of a few waiting units runs once: two of them get 6 ms each */
#define LATENCY_NS   12000000
#define SLICE_MIN_NS 1000000
#define SLICE_ALONE_NS                                                                             \
	50000000 /* nobody waits: look around for work of busier CPUs now and then                 \
		  */
#define CREDIT_NS  3000000
#define PREEMPT_NS 1000000 /* a woken unit this far behind the running one preempts it */
/* dom0's weight on a CPU is at least this part of what all others there have */
#define PINNED_SHARE 8

/* struct sched_unit.policy[] */
enum {
	F_FLOOR /* rq->min when it was last charged or taken off */,
	F_RQ /* whose floor that was */
};

struct sched_rq {
	struct sched_queue queue; /* by vruntime */
	u64 min;
	u64 latency, slice_min, slice_alone, credit, preempt; /* in ticks */
};

static s64 ahead(u64 a, u64 b)
{
	return (s64)(a - b);
}

static u64 virtual_ticks(const struct sched_unit *u, u64 ticks)
{
	return ticks * SCHED_WEIGHT_DEFAULT / READ_ONCE(u->weight);
}

/*
 * Everybody's interrupts are handled in dom0, whose kernel takes a CPU that hardly runs for a dead
 * one: while it has something to do there it gets a share of its own, however many guests of
 * whatever weight there are.
 */
static u64 pinned_ticks(const struct sched_rq *rq, const struct sched_unit *u, u64 ticks)
{
	u64 others = 0;

	for (const struct sched_unit *other = rq->queue.head; other; other = other->next)
		others += READ_ONCE(other->weight);
	return ticks * SCHED_WEIGHT_DEFAULT / MAX(READ_ONCE(u->weight), others / PINNED_SHARE);
}

static void fair_init(struct sched_rq *rq, u32 cpu)
{
	*rq = (struct sched_rq){
	    .latency = ns_to_tsc(LATENCY_NS),
	    .slice_min = ns_to_tsc(SLICE_MIN_NS),
	    .slice_alone = ns_to_tsc(SLICE_ALONE_NS),
	    .credit = ns_to_tsc(CREDIT_NS),
	    .preempt = ns_to_tsc(PREEMPT_NS),
	};
}

static void mark_floor(struct sched_rq *rq, struct sched_unit *u)
{
	u->policy[F_FLOOR] = rq->min;
	u->policy[F_RQ] = (u64)rq;
}

static void fair_enqueue(struct sched_rq *rq, struct sched_unit *u, u64 now)
{
	struct sched_unit *pos = rq->queue.tail;

	if (u->policy[F_RQ] != (u64)rq)
		u->vruntime += rq->min - u->policy[F_FLOOR];
	if (ahead(u->vruntime, rq->min - rq->credit) < 0)
		u->vruntime = rq->min - rq->credit;
	mark_floor(rq, u);
	while (pos && ahead(pos->vruntime, u->vruntime) > 0)
		pos = pos->prev;
	queue_insert(&rq->queue, pos, u);
}

static void fair_dequeue(struct sched_rq *rq, struct sched_unit *u, u64 now)
{
	queue_remove(&rq->queue, u);
	mark_floor(rq, u);
}

static struct sched_unit *fair_pick(struct sched_rq *rq, u64 now)
{
	struct sched_unit *u = rq->queue.head;

	if (!u)
		return NULL;
	if (ahead(u->vruntime, rq->min) > 0)
		rq->min = u->vruntime;
	fair_dequeue(rq, u, now);
	return u;
}

static struct sched_unit *fair_peek(struct sched_rq *rq)
{
	return rq->queue.head;
}

static u64 fair_slice(struct sched_rq *rq, struct sched_unit *u)
{
	u64 waiting = rq->queue.count;

	return waiting ? MAX(rq->latency / (waiting + 1), rq->slice_min) : rq->slice_alone;
}

static void fair_charge(struct sched_rq *rq, struct sched_unit *u, u64 ran)
{
	u64 least;

	u->vruntime += u->pinned ? pinned_ticks(rq, u, ran) : virtual_ticks(u, ran);
	least = u->vruntime;
	if (rq->queue.head && ahead(rq->queue.head->vruntime, least) < 0)
		least = rq->queue.head->vruntime;
	if (ahead(least, rq->min) > 0)
		rq->min = least;
	mark_floor(rq, u);
}

static bool fair_preempts(struct sched_rq *rq, struct sched_unit *woken, struct sched_unit *running,
			  u64 now)
{
	u64 uncharged = now > running->since ? now - running->since : 0;

	return ahead(running->vruntime + virtual_ticks(running, uncharged), woken->vruntime) >
	       (s64)virtual_ticks(woken, rq->preempt);
}

static u32 fair_load(struct sched_rq *rq)
{
	return rq->queue.count;
}

static struct sched_unit *fair_steal(struct sched_rq *rq, u32 for_cpu, u64 now)
{
	struct sched_unit *u = queue_movable(&rq->queue, for_cpu);

	if (u)
		fair_dequeue(rq, u, now);
	return u;
}

const struct sched_ops sched_fair = {
    .name = "fair",
    .rq_size = sizeof(struct sched_rq),
    .rq_init = fair_init,
    .enqueue = fair_enqueue,
    .dequeue = fair_dequeue,
    .pick = fair_pick,
    .peek = fair_peek,
    .slice = fair_slice,
    .charge = fair_charge,
    .preempts = fair_preempts,
    .load = fair_load,
    .steal = fair_steal,
};
