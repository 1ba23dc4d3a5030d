/* SPDX-License-Identifier: GPL-2.0-only */
/* A CPU's own part of the scheduler: who runs here is charged, who waits here is queued. */
#pragma once

#include "hv/sched/cap.h"
#include "hv/sched/place.h"

static inline struct sched_cpu *here_sched(void)
{
	return this_cpu()->sched;
}

/* May it run on this CPU now? If not, here_enqueue() sends it away or parks it. */
static inline bool here_fits(const struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	return may_run_here(sc, u) && cap_left(u, now);
}

/* The slice ends at that time, if not before. */
static inline void here_cut_slice(struct sched_cpu *sc, u64 end)
{
	sc->slice_end = MIN(sc->slice_end, end);
}

/* Does a unit that waits here have an event, and come before the running one? */
static inline bool here_is_preempted(const struct sched_cpu *sc, u64 now)
{
	const struct sched_unit *first = place_first(sc);

	return first && READ_ONCE(first->boost) && sc->policy->preempts(first, sc->curr, now);
}

/* With its group's, but not what other units of that leave it. */
static inline u64 here_weight(const struct sched_unit *u)
{
	const struct sched_group *g = u->group;

	return (u64)READ_ONCE(u->weight) * (g ? READ_ONCE(g->weight) : SCHED_WEIGHT_DEFAULT);
}

/* It has twice the weight, or more, of when it got ahead of others. */
static inline bool here_has_gained(const struct sched_unit *u)
{
	return !u->pinned && here_weight(u) / 2 >= u->weighed;
}

/* Charge the running unit up to now. */
void here_charge(struct sched_cpu *sc, u64 now);
/*
 * Its cap, or that of its group, is used up. If it was the last to run it stays behind others, so
 * that where they have a cap together they are first in the next window. When it may run again.
 */
u64 here_park(struct sched_cpu *sc, struct sched_unit *u);
/*
 * Queue a unit here, or pass it on to a CPU it may run on, or park it. True if it can be picked
 * here.
 */
bool here_enqueue(struct sched_cpu *sc, struct sched_unit *u, u64 now);
/* The unit is queued, here or elsewhere, and has an event. */
void here_boost(struct sched_unit *u);
