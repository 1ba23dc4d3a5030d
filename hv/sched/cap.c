/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/cap.h"
#include "hv/sched/deadline.h"
#include "hv/sched/place.h"

#define WINDOW_MS 10
/*
 * windows' budgets it can owe: who waits for a capped unit waits no longer, whatever it was charged
 * for
 */
#define CAP_MAX_DEBT 50
/* Units of a group that run at once share what is left, in parts of a millisecond at least. */
#define LEAST_PART 10

#define MOST_SHARED 512

static struct sched_shared all_shared[MOST_SHARED];

/* Ticks of a window. */
static s64 budget_of(s64 percent)
{
	return percent * (s64)(sched_ms * WINDOW_MS) / 100;
}

static void charge_cap(struct sched_cap *c, u64 ran)
{
	u64 percent = READ_ONCE(c->percent);

	BUG_ON(percent >= SCHED_CAP_MAX);
	if (percent)
		c->used = MIN(c->used + (s64)ran, CAP_MAX_DEBT * budget_of(percent));
}

/* Ticks left in the window around now. */
static u64 left_of(struct sched_cap *c, u64 now)
{
	const u64 window = sched_ms * WINDOW_MS;
	u64 percent = READ_ONCE(c->percent);
	s64 budget, passed;

	if (!percent) /* lifted just now, or only the other of unit and group has one */
		return SCHED_NEVER;
	budget = budget_of(percent);
	passed = now > c->start ? (now - c->start) / window : 0;
	if (passed) {
		/* what one window leaves over is for the next */
		c->used = MAX(c->used - MIN(passed, CAP_MAX_DEBT + 1) * budget, -budget);
		WRITE_ONCE(c->start, c->start + passed * window);
	}
	return c->used < budget ? budget - c->used : 0;
}

void cap_set(struct sched_cap *c, u32 percent, u32 lifts)
{
	ASSERT_HELD(&sched_set_up);
	if (percent && percent != lifts && !c->percent) { /* nobody looks at the rest yet */
		u64 since = sched_clock() % (sched_ms * WINDOW_MS);

		WRITE_ONCE(c->start, sched_clock() - since);
		WRITE_ONCE(c->used, budget_of(percent) * since / (sched_ms * WINDOW_MS));
	}
	if (percent)
		WRITE_ONCE(c->percent, percent % lifts);
}

/* ---- of several groups ---- */

bool cap_any(const struct sched_group *g)
{
	bool any = g->cap.percent;

	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++)
		any |= !!g->shared[i];
	return any;
}

/* That of the id, or one that is nobody's; NULL: there is none. */
static struct sched_shared *find_shared(u64 id)
{
	struct sched_shared *found = NULL;

	for (u32 i = 0; i < MOST_SHARED; i++) {
		struct sched_shared *s = &all_shared[i];

		if (s->users && s->id == id)
			return s;
		if (!s->users)
			found = s;
	}
	return found;
}

static void leave_level(struct sched_group *g, u32 level)
{
	ASSERT_HELD(&sched_set_up);
	if (g->shared[level])
		g->shared[level]->users--;
	WRITE_ONCE(g->shared[level], NULL);
}

void cap_leave(struct sched_group *g)
{
	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++)
		leave_level(g, i);
}

static int share_locked(struct sched_group *g, u32 level, u64 id, u32 percent)
{
	struct sched_shared *s = NULL;

	if (percent != SCHED_CAP_MAX) {
		s = find_shared(id);
		if (!s)
			return -ENOSPC;
		if (!s->users++) { /* who had it before may just hold the lock */
			s->id = id;
			s->lock.level = LOCK_GROUP;
			WRITE_ONCE(s->cap.percent, 0);
		}
		cap_set(&s->cap, percent, SCHED_CAP_MAX);
	}
	leave_level(g, level);
	WRITE_ONCE(g->shared[level], s);
	return 0;
}

int sched_group_share(struct sched_group *g, u32 level, u64 id, u32 cap)
{
	int ret;

	if (level >= CORBEL_CAP_LEVELS || !cap || cap > SCHED_CAP_MAX)
		return -EINVAL;
	lock_acquire(&sched_set_up);
	ret = share_locked(g, level, id, cap);
	for (struct sched_unit *u = g->members; u; u = u->sibling)
		unit_changed(u);
	lock_release(&sched_set_up);
	return ret;
}

/* ---- charged and looked at ---- */

static void charge_locked(struct lock *l, struct sched_cap *c, u64 ran)
{
	lock_acquire(l);
	charge_cap(c, ran);
	lock_release(l);
}

/* Of those that may run at once none gets all that is left. */
static u64 left_for_one(struct lock *l, struct sched_cap *c, u32 of, u64 now)
{
	u64 left;

	lock_acquire(l);
	left = left_of(c, now);
	lock_release(l);
	if (!left || left == SCHED_NEVER)
		return left;
	return MAX(left / MAX(of, 1u), sched_ms / LEAST_PART);
}

void cap_charge_capped(struct sched_unit *u, u64 ran)
{
	struct sched_group *g = u->group;

	charge_cap(&u->cap, ran);
	if (READ_ONCE(u->budget.counts))
		deadline_charge(u, ran);
	if (!g)
		return;
	charge_locked(&g->lock, &g->cap, ran);
	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++) {
		struct sched_shared *s = READ_ONCE(g->shared[i]);

		if (s)
			charge_locked(&s->lock, &s->cap, ran);
	}
}

u64 cap_left_capped(struct sched_unit *u, u64 now)
{
	struct sched_group *g = u->group;
	u64 left = left_of(&u->cap, now);
	u32 of;

	if (READ_ONCE(u->budget.counts))
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
	return READ_ONCE(c->percent) ? READ_ONCE(c->start) + sched_ms * WINDOW_MS : SCHED_NEVER;
}

/* When a unit that has used up its cap may run again at the earliest. */
static u64 window_end(const struct sched_unit *u)
{
	u64 end = end_of(&u->cap);

	if (u->budget.waits && READ_ONCE(u->budget.counts))
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

u64 cap_ask_at(struct sched_unit *runs, const struct sched_queue *parked, u64 now)
{
	u64 left = runs ? cap_left(runs, now) : SCHED_NEVER, at = SCHED_NEVER;

	if (!left) /* it was taken from those parked */
		at = window_end(runs);
	else if (left < SCHED_NEVER - now)
		at = now + left;
	for (const struct sched_unit *u = parked->head; u; u = u->next)
		at = MIN(at, window_end(u));
	return at;
}

struct sched_unit *cap_take_parked(struct sched_queue *parked, u64 now)
{
	struct sched_unit *u;

	for (u = parked->head; u; u = u->next)
		if (u->pinned && READ_ONCE(u->budget.counts) && left_of(&u->cap, now))
			break;
	if (u)
		queue_remove(parked, u);
	return u;
}
