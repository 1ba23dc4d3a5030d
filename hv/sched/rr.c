/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Plain round robin: equal slices in order of arrival, no preemption by wake-ups, weights are
 * ignored.
 */
#include "hv/sched/policy.h"

#define RR_SLICE_MS 5

/* No unit is ahead of others, should another policy go on with it. */
static void rr_arrive(struct sched_rq *rq, struct sched_unit *u)
{
	u->vruntime = rq->floor;
}

static void rr_enqueue(struct sched_rq *rq, struct sched_unit *u)
{
	rr_arrive(rq, u);
	queue_insert(&rq->queue, rq->queue.tail, u);
}

static u64 rr_slice(const struct sched_rq *rq, const struct sched_unit *u)
{
	return (rq->queue.count ? RR_SLICE_MS : SLICE_ALONE_MS) * sched_ms;
}

static void rr_charge(struct sched_rq *rq, struct sched_unit *u, u64 ran)
{
	WRITE_ONCE(rq->floor, rq->floor + ran / (rq->queue.count + 1));
}

static bool rr_preempts(const struct sched_unit *woken, const struct sched_unit *running, u64 now)
{
	return false;
}

static bool rr_urgent(const struct sched_rq *rq, const struct sched_unit *u)
{
	return false;
}

const struct sched_ops sched_rr = {"rr",      rr_arrive,   rr_enqueue, rr_slice,
				   rr_charge, rr_preempts, rr_urgent};
