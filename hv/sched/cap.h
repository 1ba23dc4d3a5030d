/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Caps: a unit, and a group, get at most so much CPU time in each window. What they ran too much is
 * taken off the next windows. Where there are deadlines, budgets count as well. In hv/sched only;
 * where nothing else is said called on the CPU the unit is on.
 */
#pragma once

#include "hv/sched/policy.h"

#define CAP_WINDOW_MS 10

/* Ticks of a window. */
static inline s64 cap_budget(s64 percent)
{
	return percent * (s64)(sched_ms * CAP_WINDOW_MS) / 100;
}

/* Of one that has a cap: as the two below. */
void cap_charge_capped(struct sched_unit *u, u64 ran);
u64 cap_left_capped(struct sched_unit *u, u64 now);

/* It has run. */
static inline void cap_charge(struct sched_unit *u, u64 ran)
{
	if (unlikely(READ_ONCE(u->capped)))
		cap_charge_capped(u, ran);
}

/* Ticks the cap lets it run in the window around now; SCHED_NEVER: it has none. */
static inline u64 cap_left(struct sched_unit *u, u64 now)
{
	return likely(!READ_ONCE(u->capped)) ? SCHED_NEVER : cap_left_capped(u, now);
}

/* When the cap of the one that runs has the CPU asked next. */
u64 cap_ask_at(struct sched_unit *runs, u64 now);
/* When a unit that has used up its cap may run again at the earliest. */
u64 cap_window_end(const struct sched_unit *u);
/*
 * Off the queue: dom0's, which may run though its budget is used up, as nobody else wants to
 * (hv/sched/deadline.c); NULL: it is not there.
 */
struct sched_unit *cap_take_parked(struct sched_queue *parked, u64 now);
