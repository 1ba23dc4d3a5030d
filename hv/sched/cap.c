/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/cap.h"
#include "hv/sched/deadline.h"

/*
 * windows' budgets it can owe: who waits for a capped unit waits no longer, whatever it was charged
 * for
 */
#define CAP_MAX_DEBT 50
/*
 * Units of a group that run at once share what is left, in parts of a millisecond at least; less
 * only where all of them together would owe more than half of the most that is remembered.
 */
#define LEAST_PART 10

static void charge_cap(struct sched_cap *c, u64 ran)
{
	u64 percent = READ_ONCE(c->percent);

	BUG_ON(percent >= SCHED_CAP_MAX);
	if (percent)
		WRITE_ONCE(c->used,
			   MIN(READ_ONCE(c->used) + (s64)ran, CAP_MAX_DEBT * cap_budget(percent)));
}

/* Ticks left in the window around now. */
static u64 left_of(struct sched_cap *c, u64 now)
{
	const u64 window = sched_ms * CAP_WINDOW_MS;
	u64 percent = READ_ONCE(c->percent), start = READ_ONCE(c->start);
	s64 budget, passed, used = READ_ONCE(c->used);

	if (!percent) /* lifted just now, or only the other of unit and group has one */
		return SCHED_NEVER;
	budget = cap_budget(percent);
	passed = now > start ? (now - start) / window : 0;
	if (passed) {
		/* what one window leaves over is for the next; the cap may have been greater */
		used = MIN(used, CAP_MAX_DEBT * budget) - MIN(passed, CAP_MAX_DEBT + 1) * budget;
		used = MAX(used, -budget);
		WRITE_ONCE(c->used, used);
		WRITE_ONCE(c->start, start + passed * window);
	}
	return used < budget ? budget - used : 0;
}

static void charge_shared(struct lock *l, struct sched_cap *c, u64 ran)
{
	lock_acquire(l);
	charge_cap(c, ran);
	lock_release(l);
}

/* Of those that may run at once none gets all that is left. */
static u64 left_for_one(struct lock *l, struct sched_cap *c, u32 of, u64 now)
{
	u64 left, least;

	lock_acquire(l);
	left = left_of(c, now);
	lock_release(l);
	if (!left || left == SCHED_NEVER)
		return left;
	of = MAX(of, 1u);
	least = CAP_MAX_DEBT / 2 * cap_budget(READ_ONCE(c->percent)) / MIN(of, cpus_words * 64);
	return MAX(left / of, MIN(least, sched_ms / LEAST_PART));
}

void cap_charge_capped(struct sched_unit *u, u64 ran)
{
	struct sched_group *g = u->group;

	charge_cap(&u->cap, ran);
	if (READ_ONCE(u->counts))
		deadline_charge(u, ran);
	if (!g)
		return;
	charge_shared(&g->lock, &g->cap, ran);
	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++) {
		struct sched_shared *s = READ_ONCE(g->shared[i]);

		if (s)
			charge_shared(&s->lock, &s->cap, ran);
	}
}

u64 cap_left_capped(struct sched_unit *u, u64 now)
{
	struct sched_group *g = u->group;
	u64 left = left_of(&u->cap, now);
	u32 of;

	if (READ_ONCE(u->counts))
		left = MIN(left, deadline_left(u, now));
	if (!g)
		return left;
	of = READ_ONCE(g->runnable);
	left = MIN(left, left_for_one(&g->lock, &g->cap, of, now));
	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++) {
		struct sched_shared *s = READ_ONCE(g->shared[i]);

		if (s)
			left = MIN(left,
				   left_for_one(&s->lock, &s->cap, of * READ_ONCE(s->users), now));
	}
	return left;
}

static u64 end_of(const struct sched_cap *c)
{
	return READ_ONCE(c->percent) ? READ_ONCE(c->start) + sched_ms * CAP_WINDOW_MS : SCHED_NEVER;
}

u64 cap_window_end(const struct sched_unit *u)
{
	u64 end = end_of(&u->cap);

	if (u->waits && READ_ONCE(u->counts))
		end = MIN(end, u->budget.deadline);
	if (!u->group)
		return end;
	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++) {
		const struct sched_shared *s = READ_ONCE(u->group->shared[i]);

		if (s)
			end = MIN(end, end_of(&s->cap));
	}
	return MIN(end, end_of(&u->group->cap));
}

u64 cap_ask_at(struct sched_unit *runs, u64 now)
{
	u64 left = cap_left(runs, now);

	if (!left) /* it was taken from those parked */
		return cap_window_end(runs);
	return left < SCHED_NEVER - now ? now + left : SCHED_NEVER;
}

struct sched_unit *cap_take_parked(struct sched_queue *parked, u64 now)
{
	struct sched_unit *u;

	for (u = parked->head; u; u = u->next)
		if (u->pinned && READ_ONCE(u->counts) && left_of(&u->cap, now))
			break;
	if (u)
		queue_remove(parked, u);
	return u;
}
