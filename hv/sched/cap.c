/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/cap.h"

#define WINDOW_MS 100
/*
 * windows' budgets it can owe: who waits for a capped unit waits no longer, whatever it was charged
 * for
 */
#define CAP_MAX_DEBT 5

/* Ticks of a window. */
static u64 budget_of(u64 cap)
{
	return cap * sched_ms * WINDOW_MS / 100;
}

void cap_charge_capped(struct sched_unit *u, u64 ran)
{
	u64 cap = READ_ONCE(u->cap);

	BUG_ON(cap >= 100);
	if (cap)
		u->cap_used = MIN(u->cap_used + ran, CAP_MAX_DEBT * budget_of(cap));
}

u64 cap_left_capped(struct sched_unit *u, u64 now)
{
	const u64 window = sched_ms * WINDOW_MS;
	u64 cap = READ_ONCE(u->cap), budget, passed;

	if (!cap) /* lifted just now */
		return SCHED_NEVER;
	budget = budget_of(cap);
	passed = now > u->cap_start ? (now - u->cap_start) / window : 0;
	if (passed) {
		u->cap_used = u->cap_used / budget >= passed ? u->cap_used - passed * budget : 0;
		u->cap_start += passed * window;
	}
	return u->cap_used < budget ? budget - u->cap_used : 0;
}

u64 cap_window_end(const struct sched_unit *u)
{
	return u->cap_start + sched_ms * WINDOW_MS;
}
