/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How CPUs stay even. A policy counts in rq.floor how far units get on a CPU. Where the others are
 * ahead of a CPU, units that wait there have got less than their weight's share, and one of them is
 * passed on to a CPU that is ahead and has less to run. With it goes what it is behind, so that it
 * runs there until it has caught up. So units take turns on the less busy CPUs, of whatever weight
 * they are and wherever they may run, and none falls behind by more than the tolerance.
 *
 * Only CPUs between which a unit could move are compared. If one runs away from another that cannot
 * be helped (a unit alone on its CPU, or tied to one), the other's debt stops growing: `lift`.
 */
#include "hv/sched/even.h"
#include "hv/sched/place.h"

/* A unit of the default weight alone on a CPU may be ahead of others by this. */
#define LEAD_MS	   8
#define MAX_DEBT   4 /* what a CPU is behind by more than this often that, is forgotten */
#define ALONE_DEBT 2 /* the same where nobody has waited for ALONE_MS */
#define ALONE_MS   50
#define LIKE_PART  8  /* loads that differ by less than such a part are as good as equal */
#define CHARGE_MS  35 /* one alone on its CPU is charged that often, if others compare */
#define EVEN_MS	   1  /* how often a CPU passes on a unit because of that */
#define EVEN_LOOK  64 /* so many of those that wait, from the last on, are looked at */

PER_CPU(struct sched_cpu, sched_cpus);
u64 sched_ms;
u32 cpus_words = 1;
/* A CPU's idle bit is taken away by whoever sends it work. */
struct corbel_cpus sched_online, sched_idle;

u64 even_load_around(const struct sched_cpu *sc)
{
	u64 sum = 0;

	if (likely(!sc->core))
		return place_load(sc);
	FOR_EACH_CPU(i, &sc->near[NEAR_CORE])
		sum += place_load(sched_of(i));
	return sum;
}

/*
 * How far units of the default weight have got there. A unit that runs alone is seldom charged:
 * what it has run since is added.
 */
static u64 level_of(const struct sched_cpu *sc, u64 now)
{
	u64 since = READ_ONCE(sc->charged_at),
	    level = unlikely(sc->core) ? smt_level(sc->core) : READ_ONCE(sc->rq.floor);

	level += READ_ONCE(sc->lift);
	if (!READ_ONCE(sc->rq.queue.count) && now > since)
		level += (now - since) * SHARE_DEFAULT / MAX(place_load(sc), 1ull);
	return level;
}

/*
 * Ticks of a unit of the default weight: the same part of the share of each, whatever the load. But
 * dom0's unit, which comes and goes all the time.
 */
static s64 lead_for(const struct sched_cpu *sc, u64 least)
{
	u64 load = place_load(sc), homes = place_home_load(sc);

	if (load > homes)
		load -= homes;
	return LEAD_MS * sched_ms * SHARE_DEFAULT / MAX(load, least);
}

static s64 lead_allowed(const struct sched_cpu *sc)
{
	return lead_for(sc, 1);
}

/*
 * What a unit brings or keeps of a debt or a lead: not more than goes with its own share, however
 * little there is to run where it comes to.
 */
static s64 most_off(const struct sched_cpu *sc, const struct sched_unit *u)
{
	return MAX_DEBT * lead_for(sc, MAX(READ_ONCE(u->share), 1u));
}

bool even_is_better(const struct sched_cpu *a, const struct sched_cpu *b, u64 now)
{
	u64 load = even_load_around(a), other = even_load_around(b);

	if (MAX(load, other) - MIN(load, other) > MAX(load, other) / LIKE_PART)
		return load < other;
	return (s64)(level_of(a, now) - level_of(b, now)) > lead_allowed(b);
}

s64 even_lead(const struct sched_cpu *ahead, struct sched_cpu *behind, s64 most, u64 now)
{
	s64 lead = (s64)(level_of(ahead, now) - level_of(behind, now));

	if (lead <= most)
		return lead;
	if (likely(!behind->core))
		__atomic_fetch_add(&behind->lift, lead - most, __ATOMIC_SEQ_CST);
	else
		FOR_EACH_CPU(i, &behind->near[NEAR_CORE])
			__atomic_fetch_add(&sched_of(i)->lift, lead - most, __ATOMIC_SEQ_CST);
	return most;
}

/*
 * Forget what cannot be helped between this CPU and those of `reach`. Before any are compared: to
 * be far behind one CPU is no reason to send a unit to another.
 */
static void forget_debts(struct sched_cpu *sc, const struct corbel_cpus *reach, u64 now)
{
	FOR_EACH_CPU(i, reach) {
		struct sched_cpu *other = sched_of(i);

		if (now > READ_ONCE(other->shared_at) + ALONE_MS * sched_ms)
			even_lead(sc, other, ALONE_DEBT * lead_allowed(other), now);
		even_lead(other, sc, MAX_DEBT * lead_allowed(sc), now);
	}
}

/* How far others get where the unit may go, beyond those here. */
static s64 lead_over(const struct sched_cpu *sc, const struct sched_cpu *other, u64 now)
{
	if (unlikely(sc->core) && sc->core == other->core)
		return READ_ONCE(other->rq.floor) - sc->rq.floor;
	return level_of(other, now) - level_of(sc, now);
}

static bool has_less_than(const struct sched_cpu *a, const struct sched_cpu *b)
{
	if (unlikely(a->core) && a->core == b->core)
		return place_load(a) < place_load(b);
	return even_load_around(a) < even_load_around(b);
}

/*
 * A unit that runs alone has no end of its slice, at which it would be charged, and be told of its
 * group's parts: who compares himself with it sees to that.
 */
static void poke_alone(const struct corbel_cpus *of, u64 now)
{
	FOR_EACH_CPU(cpu, of) {
		u64 at = READ_ONCE(sched_of(cpu)->charged_at);

		if (at != SCHED_NEVER && now > at + CHARGE_MS * sched_ms)
			place_poke(cpu);
	}
}

/*
 * The CPUs that are ahead of this one by more than the tolerance and have less to run, of those
 * that a unit waiting here may go to.
 */
static bool find_ahead(struct sched_cpu *sc, struct corbel_cpus *found, u64 now)
{
	const s64 tolerated = lead_allowed(sc);
	struct corbel_cpus others = {0};

	u32 n = 0;

	for (const struct sched_unit *u = sc->rq.queue.tail; u && n < EVEN_LOOK; u = u->prev, n++)
		if (!u->pinned)
			cpus_or(&others, &others, &u->allowed);
	cpus_drop(&others, sc->index);
	if (!cpus_and(&others, &others, &sched_online))
		return false;
	FOR_EACH_CPU(i, &others) /* one that idles does not get on at all */
		if (!place_load(sched_of(i)))
			cpus_drop(&others, i);
	forget_debts(sc, &others, now);
	poke_alone(&others, now);
	FOR_EACH_CPU(i, &others) {
		struct sched_cpu *other = sched_of(i);
		s64 lead = lead_over(sc, other, now);
		u32 times = has_less_than(other, sc) ? 1 : 2;

		if (!cpus_has(&sc->near[NEAR_CACHE], i))
			times++; /* what it has in the cache stays behind */
		if (lead <= tolerated * times)
			cpus_drop(&others, i);
	}
	return cpus_and(found, &others, &others);
}

/*
 * Where the unit goes: the most ahead of those CPUs. One that outweighs all others here stays, and
 * others go, unless it would find less there; one just woken runs first.
 */
static struct sched_cpu *best_for(const struct sched_cpu *sc, const struct sched_unit *u,
				  const struct corbel_cpus *ahead, u64 now)
{
	struct sched_cpu *best = NULL;
	u64 load = even_load_around(sc);

	if (u->pinned || READ_ONCE(u->boost))
		return NULL;
	FOR_EACH_CPU(i, ahead) {
		struct sched_cpu *other = sched_of(i);

		if (!cpus_has(&u->allowed, i))
			continue;
		if (2ull * u->load > load && even_load_around(other) + u->load >= load)
			continue;
		if (!best || lead_over(sc, other, now) > lead_over(sc, best, now))
			best = other;
	}
	return best;
}

/* Somebody runs here for an event, and may be gone soon. */
static bool is_disturbed(const struct sched_cpu *sc)
{
	const struct sched_unit *home = sc->home;

	return READ_ONCE(sc->rq.queue.head->boost) ||
	       (home && home->on_rq && READ_ONCE(home->boost));
}

/* It is as far there as it was, and so behind others. */
static void take_along(const struct sched_cpu *sc, struct sched_unit *u, struct sched_cpu *to)
{
	u64 reached = READ_ONCE(to->rq.floor), most_behind;

	if (unlikely(to->core)) { /* others there may have got further */
		u64 level = smt_level(to->core);

		reached = (s64)(level - reached) > 0 ? level : reached;
	}
	most_behind = reached - most_off(to, u);
	u->vruntime += READ_ONCE(sc->lift) - READ_ONCE(to->lift);
	if ((s64)(most_behind - u->vruntime) > 0)
		u->vruntime = most_behind;
	u->floor = READ_ONCE(to->rq.floor); /* it may have to go on from there */
	u->floor_rq = &to->rq;
}

void even_forgive(const struct sched_cpu *sc, struct sched_unit *u)
{
	u64 most_ahead = smt_level(sc->core) + most_off(sc, u);

	if ((s64)(u->vruntime - most_ahead) > 0)
		u->vruntime = most_ahead;
}

void even_join(const struct sched_cpu *sc, struct sched_unit *u, struct sched_cpu *to)
{
	take_along(sc, u, to);
	if (unlikely(to->core))
		even_forgive(to, u);
}

struct sched_unit *even_pick(struct sched_cpu *sc, u32 *cpu, u64 now)
{
	const struct sched_cpu *to;
	struct corbel_cpus ahead;
	u32 n = 0;

	if (now < sc->evened_at + EVEN_MS * sched_ms || sc->policy->need || is_disturbed(sc))
		return NULL;
	sc->evened_at = now;
	if (!find_ahead(sc, &ahead, now))
		return NULL;
	for (struct sched_unit *u = sc->rq.queue.tail; u && n < EVEN_LOOK; u = u->prev, n++) {
		to = best_for(sc, u, &ahead, now);
		if (to) {
			*cpu = to->index;
			return u;
		}
	}
	return NULL;
}
