/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Plain round robin: equal slices in order of arrival, no preemption by wake-ups, weights are
 * ignored.
 */
#include "hv/cpu/time.h"
#include "hv/sched/queue.h"

#define RR_SLICE_NS 5000000

struct sched_rq {
	struct sched_queue queue;
};

static void rr_init(struct sched_rq *rq, u32 cpu)
{
	*rq = (struct sched_rq){0};
}

static void rr_enqueue(struct sched_rq *rq, struct sched_unit *u, u64 now)
{
	queue_insert(&rq->queue, rq->queue.tail, u);
}

static void rr_dequeue(struct sched_rq *rq, struct sched_unit *u, u64 now)
{
	queue_remove(&rq->queue, u);
}

static struct sched_unit *rr_pick(struct sched_rq *rq, u64 now)
{
	return queue_take(&rq->queue);
}

static struct sched_unit *rr_peek(struct sched_rq *rq)
{
	return rq->queue.head;
}

static u64 rr_slice(struct sched_rq *rq, struct sched_unit *u)
{
	return ns_to_tsc(RR_SLICE_NS);
}

static void rr_charge(struct sched_rq *rq, struct sched_unit *u, u64 ran)
{
}

static bool rr_preempts(struct sched_rq *rq, struct sched_unit *woken, struct sched_unit *running,
			u64 now)
{
	return false;
}

static u32 rr_load(struct sched_rq *rq)
{
	return rq->queue.count;
}

static struct sched_unit *rr_steal(struct sched_rq *rq, u32 for_cpu, u64 now)
{
	struct sched_unit *u = queue_movable(&rq->queue, for_cpu);

	if (u)
		queue_remove(&rq->queue, u);
	return u;
}

const struct sched_ops sched_rr = {
    .name = "rr",
    .rq_size = sizeof(struct sched_rq),
    .rq_init = rr_init,
    .enqueue = rr_enqueue,
    .dequeue = rr_dequeue,
    .pick = rr_pick,
    .peek = rr_peek,
    .slice = rr_slice,
    .charge = rr_charge,
    .preempts = rr_preempts,
    .load = rr_load,
    .steal = rr_steal,
};
