/* SPDX-License-Identifier: GPL-2.0-only */
/* What any CPU can ask and change of a unit, whatever that does meanwhile. */
#include "hv/cpu/time.h"
#include "hv/sched/cap.h"
#include "hv/sched/deadline.h"
#include "hv/sched/place.h"
#include "hv/sched/seat.h"

void sched_unit_init(struct sched_unit *u, u32 weight, const struct corbel_cpus *affinity, u32 cpu,
		     bool pinned)
{
	struct corbel_cpus set = {0};

	if (pinned)
		cpus_add(&set, cpu);
	else if (!affinity || !cpus_and(&set, affinity, &sched_online))
		set = sched_online;
	*u = (struct sched_unit){
	    .cpu = cpu,
	    .weight = weight,
	    .share = SHARE_OF(weight),
	    .affinity = set,
	    .allowed = set,
	    .pinned = pinned,
	    .since = sched_clock(),
	};
	if (pinned)
		place_set_home(cpu, u);
}

bool sched_is_off(const struct sched_unit *u)
{
	return __atomic_load_n(&u->state, __ATOMIC_SEQ_CST) == SCHED_BLOCKED &&
	       !__atomic_load_n(&u->on_cpu, __ATOMIC_ACQUIRE);
}

/* ---- weights, groups ---- */

static u32 share_of(const struct sched_unit *u, u32 *parts)
{
	const struct sched_group *g = READ_ONCE(u->group);
	u64 share = SHARE_OF(READ_ONCE(u->weight));

	*parts = g ? READ_ONCE(g->parts) : 0;
	if (g && share != SHARE_OF(SCHED_WEIGHT_REALTIME))
		share = share * READ_ONCE(g->weight) * GROUP_PARTS / SCHED_WEIGHT_DEFAULT / *parts;
	return MAX(share, 1ull);
}

/*
 * Others may do the same, by another weight: the exchange orders them, so that the last to write
 * the share sees what all have changed, and goes on until nothing has.
 */
void unit_weigh(struct sched_unit *u)
{
	u32 share, parts, again;

	do {
		share = share_of(u, &parts);
		WRITE_ONCE(u->parts, parts);
		__atomic_exchange_n(&u->share, share, __ATOMIC_SEQ_CST);
	} while (share_of(u, &again) != share || again != parts);
}

struct lock sched_set_up = LOCK_INIT(LOCK_GROUP);

/* It could run all the time since its group was last looked at. */
static bool was_busy(const struct sched_unit *u)
{
	return !READ_ONCE(u->napped) && READ_ONCE(u->state) != SCHED_BLOCKED;
}

#define USED_KEPT 5 /* eighths, from one look to the next */

/*
 * What it has run of late, now that it is looked at again. Of one that sleeps a single look sees
 * more or less than there is on average, and the most that is seen of several is always more: so
 * those before count, too. Clocks of two CPUs may differ.
 */
static u64 look_at_use(struct sched_unit *u, u64 now)
{
	u64 runtime = sched_runtime(u, now), ran = runtime > u->had ? runtime - u->had : 0;

	u->had += ran;
	u->used = u->used * USED_KEPT / 8 + ran;
	return u->used;
}

/*
 * One part for each that was busy, and for each other what it has run, as part of what one of those
 * has, or if there are none of what the busiest has. So the group has its weight's share whoever
 * sleeps, and those that sleep are let in as often as they wake.
 */
static u64 count_parts_locked(struct sched_group *g, u64 now)
{
	u64 busy = 0, sum = 0, most = 0, parts, one;

	ASSERT_HELD(&sched_set_up);
	for (struct sched_unit *u = g->members; u; u = u->sibling) {
		u64 used = look_at_use(u, now);

		busy += was_busy(u);
		sum += was_busy(u) ? used : 0;
		most = MAX(most, used);
	}
	one = busy ? sum / busy : most;
	one = MAX(one, 1ull);
	parts = busy * GROUP_PARTS;
	for (struct sched_unit *u = g->members; u; u = u->sibling) {
		if (!was_busy(u))
			parts += MIN(u->used, one) * GROUP_PARTS / one;
		WRITE_ONCE(u->napped, false);
	}
	return MAX(parts, GROUP_PARTS);
}

void group_look(struct sched_group *g, u64 now)
{
	if (!lock_try(&sched_set_up))
		return;
	WRITE_ONCE(g->parts, count_parts_locked(g, now));
	WRITE_ONCE(g->looked_at, now);
	lock_release(&sched_set_up);
}

/* ---- caps ---- */

/* all that VMs can name, and one that a VM comes to before it leaves its last one */
#define MOST_SHARED (MAX_VMS * CORBEL_CAP_LEVELS + 1)

static struct sched_shared all_shared[MOST_SHARED];

/* 0 leaves it as it is, `lifts` lifts it. */
static void set_cap_locked(struct sched_cap *c, u32 percent, u32 lifts)
{
	ASSERT_HELD(&sched_set_up);
	if (percent && percent != lifts && !c->percent) { /* nobody looks at the rest yet */
		u64 since = sched_clock() % (sched_ms * CAP_WINDOW_MS);

		WRITE_ONCE(c->start, sched_clock() - since);
		WRITE_ONCE(c->used, cap_budget(percent) * since / (sched_ms * CAP_WINDOW_MS));
	}
	if (percent)
		WRITE_ONCE(c->percent, percent % lifts);
}

static bool has_cap(const struct sched_group *g)
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

static void leave_level_locked(struct sched_group *g, u32 level)
{
	ASSERT_HELD(&sched_set_up);
	if (g->shared[level])
		g->shared[level]->users--;
	WRITE_ONCE(g->shared[level], NULL);
}

void group_leave_caps(struct sched_group *g)
{
	for (u32 i = 0; i < CORBEL_CAP_LEVELS; i++)
		leave_level_locked(g, i);
}

static int share_locked(struct sched_group *g, u32 level, u64 id, u32 percent)
{
	struct sched_shared *s = NULL;

	ASSERT_HELD(&sched_set_up);
	if (percent != SCHED_CAP_MAX) {
		s = find_shared(id);
		if (!s)
			return -ENOSPC;
		if (!s->users++) { /* who had it before may just hold the lock */
			s->id = id;
			s->lock.level = LOCK_GROUP;
			WRITE_ONCE(s->cap.percent, 0);
		}
		set_cap_locked(&s->cap, percent, SCHED_CAP_MAX);
	}
	leave_level_locked(g, level);
	WRITE_ONCE(g->shared[level], s);
	return 0;
}

/* ---- changes ---- */

static const struct cpupool *pool_of(const struct sched_unit *u)
{
	if (u->pinned)
		return place_pool(READ_ONCE(u->cpu));
	return u->group ? u->group->pool : cpupools;
}

void unit_changed(struct sched_unit *u)
{
	const struct cpupool *p = pool_of(u);
	bool counts = p->policy == &sched_deadline;
	struct corbel_cpus allowed = {0};

	ASSERT_HELD(&sched_set_up);
	if (u->seat.rest)
		cpus_add(&allowed, u->seat.next);
	if (u->seat.need)
		cpus_add(&allowed, u->seat.cpu);
	else if (!cpus_and(&allowed, &u->affinity, &p->cpus))
		allowed = p->cpus;
	for (u32 i = 0; !u->pinned && i < ARRAY_SIZE(allowed.word); i++)
		__atomic_store_n(&u->allowed.word[i], allowed.word[i], __ATOMIC_SEQ_CST);
	WRITE_ONCE(u->counts, counts);
	WRITE_ONCE(u->budget.split, deadline_split(&u->seat));
	WRITE_ONCE(u->capped, counts || u->cap.percent || (u->group && has_cap(u->group)));
	if (!u->inside)
		unit_weigh(u);
	if (__atomic_load_n(&u->state, __ATOMIC_SEQ_CST) != SCHED_BLOCKED)
		place_recheck(READ_ONCE(u->cpu));
}

static void leave_locked(struct sched_unit *u)
{
	struct sched_unit **at;

	ASSERT_HELD(&sched_set_up);
	for (at = &u->group->members; *at != u; at = &(*at)->sibling)
		BUG_ON(!*at);
	*at = u->sibling;
	u->group = NULL;
	seat_leave(u);
}

int sched_group_join(struct sched_group *g, struct sched_unit *u)
{
	u32 parts = GROUP_PARTS; /* for now it counts whole */
	int ret = 0;

	BUG_ON(u->group || u->pinned || u->state != SCHED_BLOCKED);
	lock_acquire(&sched_set_up);
	u->budget.terms = u->budget.wanted = g->terms;
	u->sibling = g->members;
	u->divides = u->sibling;
	u->had = sched_runtime(u, sched_clock());
	if (u->sibling)
		parts += g->parts;
	WRITE_ONCE(g->parts, parts);
	WRITE_ONCE(g->looked_at, sched_clock());
	g->members = u;
	u->group = g;
	if (!seat_all(g->pool, &g->pool->cpus)) {
		leave_locked(u);
		ret = -ENOSPC;
	} else {
		if (u->sibling)
			WRITE_ONCE(u->sibling->divides, true);
		unit_changed(u);
	}
	lock_release(&sched_set_up);
	return ret;
}

void sched_group_leave(struct sched_unit *u)
{
	BUG_ON(!u->group || u->state != SCHED_BLOCKED || u->counted);
	lock_acquire(&sched_set_up);
	leave_locked(u);
	place_forget(u);
	lock_release(&sched_set_up);
}

const struct corbel_cpus *sched_idle_cpus(void)
{
	return &sched_idle;
}

int sched_set(struct sched_unit *u, u32 weight, const struct corbel_cpus *affinity, u32 cap)
{
	struct corbel_cpus online = {0};

	if ((weight > SCHED_WEIGHT_MAX && weight != SCHED_WEIGHT_REALTIME) || cap > 100 ||
	    (affinity && !cpus_and(&online, affinity, &sched_online)))
		return -EINVAL;
	if (affinity && u->pinned)
		return -EPERM;
	lock_acquire(&sched_set_up);
	if (weight)
		WRITE_ONCE(u->weight, weight);
	set_cap_locked(&u->cap, cap, 100);
	if (affinity)
		u->affinity = online;
	if (affinity && u->seat.need) {
		seat_lift(u);
		seat_all(u->group->pool, &u->group->pool->cpus); /* if it can: else all stays */
	}
	unit_changed(u);
	lock_release(&sched_set_up);
	return 0;
}

int sched_group_set(struct sched_group *g, u32 weight, u32 cap)
{
	if (weight > SCHED_WEIGHT_MAX || cap > SCHED_CAP_MAX)
		return -EINVAL;
	lock_acquire(&sched_set_up);
	if (weight)
		WRITE_ONCE(g->weight, weight);
	set_cap_locked(&g->cap, cap, SCHED_CAP_MAX);
	for (struct sched_unit *u = g->members; u; u = u->sibling)
		unit_changed(u);
	lock_release(&sched_set_up);
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

/*
 * One of a unit's counters, which grows while the unit is in a state: a snapshot without its CPU's
 * lock.
 */
static u64 read_counter(const struct sched_unit *u, const u64 *total, u32 growing, u64 now)
{
	u64 value, since;
	u32 seq, state;

	do {
		seq = __atomic_load_n(&u->seq, __ATOMIC_ACQUIRE);
		value = READ_ONCE(*total);
		since = READ_ONCE(u->since);
		state = READ_ONCE(u->state);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while ((seq & 1) || seq != READ_ONCE(u->seq));
	if (state == growing && now > since)
		value += now - since;
	return value;
}

u64 sched_runtime(const struct sched_unit *u, u64 now)
{
	return read_counter(u, &u->runtime, SCHED_RUNNING, now);
}

u64 sched_steal(const struct sched_unit *u, u64 now)
{
	return read_counter(u, &u->steal, SCHED_QUEUED, now);
}

u64 unit_account(struct sched_unit *u, u64 *total, enum sched_state state, u64 now)
{
	u64 passed = now > u->since ? now - u->since : 0;

	WRITE_ONCE(u->seq, u->seq + 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	WRITE_ONCE(*total, *total + passed);
	WRITE_ONCE(u->since, u->since + passed);
	WRITE_ONCE(u->state, state);
	__atomic_store_n(&u->seq, u->seq + 1, __ATOMIC_RELEASE);
	return passed;
}
