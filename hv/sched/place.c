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
#include "hv/sched/place.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"

/* A unit of the default weight alone on a CPU may be ahead of others by this. */
#define LEAD_MS	   8
#define MAX_DEBT   4 /* what a CPU is behind by more than this often that, is forgotten */
#define ALONE_DEBT 2 /* the same where nobody has waited for ALONE_MS */
#define ALONE_MS   50
#define LIKE_PART  8  /* loads that differ by less than such a part are as good as equal */
#define CHARGE_MS  35 /* one alone on its CPU is charged that often, if others compare */
#define BUSY_MS	   2  /* what another CPU of the core runs for less drives nobody away */
#define EVEN_MS	   1  /* how often a CPU passes on a unit because of that */

struct cpupool cpupools[CORBEL_MAX_POOLS + 1];
static struct sched_cpu sched_cpus[MAX_CPUS];
static sched_leave_fn *leave_unit;
u64 sched_ms;
u32 sched_pinned_percent = 25;
static bool has_threads; /* some core has several CPUs */
/* A CPU's idle bit is taken away by whoever sends it work. */
u64 sched_online, sched_idle;

void place_init(sched_leave_fn *leave)
{
	leave_unit = leave;
	sched_ms = ns_to_tsc(1000000);
	sched_online = sched_idle = 0;
	has_threads = false;
	smt_init(sched_ms);
}

/* This CPU is near to those that are there already, and they to it. Nothing runs anywhere yet. */
static void join_neighbours(struct sched_cpu *sc, const struct cpu *c)
{
	for (u64 others = READ_ONCE(sched_online) | BIT(sc->index); others; others &= others - 1) {
		u32 i = __builtin_ctzll(others);
		u32 d = i == sc->index ? NEAR_CORE : topology_distance(&c->place, &cpus[i]->place);

		if (i != sc->index && d == NEAR_CORE) {
			WRITE_ONCE(has_threads, true);
			sc->core = smt_join(i, sc->index);
			WRITE_ONCE(sched_cpus[i].core, sc->core);
		}
		for (; d < NEAR_COUNT; d++) {
			__atomic_fetch_or(&sc->near[d], BIT(i), __ATOMIC_SEQ_CST);
			__atomic_fetch_or(&sched_cpus[i].near[d], BIT(sc->index), __ATOMIC_SEQ_CST);
		}
	}
}

void sched_init_cpu(void)
{
	struct cpu *c = this_cpu();
	struct sched_cpu *sc = &sched_cpus[c->index];

	*sc = (struct sched_cpu){.index = c->index,
				 .lock = LOCK_INIT(LOCK_SCHED),
				 .pool = &cpupools[0],
				 .policy = cpupools[0].policy,
				 .charged_at = SCHED_NEVER};
	c->sched = sc;
	join_neighbours(sc, c);
	__atomic_fetch_or(&sched_online, BIT(c->index), __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&cpupools[0].cpus, BIT(c->index), __ATOMIC_SEQ_CST);
}

void place_recheck(u32 cpu)
{
	__atomic_store_n(&sched_cpus[cpu].recheck, true, __ATOMIC_SEQ_CST);
	place_poke(cpu);
}

void place_set_pool(u32 cpu, struct cpupool *p)
{
	ASSERT_HELD(&sched_set_up);
	WRITE_ONCE(sched_cpus[cpu].pool, p);
	if (place_home(cpu))
		unit_changed(place_home(cpu));
	place_recheck(cpu);
}

const struct cpupool *place_pool(u32 cpu)
{
	ASSERT_HELD(&sched_set_up);
	return sched_cpus[cpu].pool;
}

struct sched_unit *place_home(u32 cpu)
{
	return READ_ONCE(sched_cpus[cpu].home);
}

void place_set_home(u32 cpu, struct sched_unit *u)
{
	WRITE_ONCE(sched_cpus[cpu].home, u);
}

void place_unload(struct sched_cpu *sc)
{
	struct sched_unit *u = sc->loaded;

	BUG_ON(READ_ONCE(u->cpu) != sc->index);
	sc->loaded = NULL;
	leave_unit(u, READ_ONCE(u->state) == SCHED_QUEUED && u != sc->giver);
	__atomic_store_n(&u->on_cpu, 0, __ATOMIC_RELEASE);
}

static bool claim_idle(u32 cpu)
{
	return __atomic_fetch_and(&sched_idle, ~BIT(cpu), __ATOMIC_SEQ_CST) & BIT(cpu);
}

void place_set_load(struct sched_unit *u, u32 share)
{
	__atomic_fetch_add(&sched_cpus[u->cpu].rq.load, (u64)share - u->load, __ATOMIC_SEQ_CST);
	WRITE_ONCE(u->load, share);
}

void place_count_in_group(struct sched_unit *u, bool counts)
{
	__atomic_fetch_add(&u->group->runnable, counts - u->counted, __ATOMIC_SEQ_CST);
	u->counted = counts;
	if (counts)
		unit_weigh_again(u, u->since);
}

static u64 load_of(const struct sched_cpu *sc)
{
	return READ_ONCE(sc->rq.load);
}

/* The CPUs that run one group at a time, this one at least. */
static u64 mates_of(const struct sched_cpu *sc)
{
	return sc->core ? READ_ONCE(sc->near[NEAR_CORE]) : BIT(sc->index);
}

/* Of all with which it takes turns. */
static u64 load_around(const struct sched_cpu *sc)
{
	u64 sum = 0;

	if (likely(!sc->core))
		return load_of(sc);
	for (u64 rest = mates_of(sc); rest; rest &= rest - 1)
		sum += load_of(&sched_cpus[__builtin_ctzll(rest)]);
	return sum;
}

void place_send(struct sched_unit *u, u32 cpu)
{
	struct sched_cpu *sc = &sched_cpus[cpu];

	BUG_ON(u->on_rq || READ_ONCE(u->state) != SCHED_QUEUED);
	place_set_load(u, 0);
	__atomic_store_n(&u->cpu, cpu, __ATOMIC_RELEASE); /* it is on no queue of this CPU */
	place_count(u, true);
	lock_acquire(&sc->lock);
	queue_insert(&sc->inbox, sc->inbox.tail, u);
	lock_release(&sc->lock);
	place_poke(cpu);
}

static void send_from(struct sched_cpu *sc, struct sched_unit *u, u32 cpu)
{
	if (sc->loaded == u)
		place_unload(sc);
	place_send(u, cpu);
}

/* The first that may go to that CPU. */
static struct sched_unit *first_for(const struct sched_cpu *sc, u32 cpu)
{
	struct sched_unit *u;

	for (u = sc->rq.queue.head; u; u = u->next)
		if (!u->pinned && (READ_ONCE(u->allowed) & BIT(cpu)) && smt_fits(cpu, u))
			break;
	return u;
}

/*
 * How far units of the default weight have got there. A unit that runs alone is seldom charged:
 * what it has run since is added.
 */
static u64 level_of(const struct sched_cpu *sc, u64 now)
{
	u64 since = READ_ONCE(sc->charged_at),
	    level = READ_ONCE(sc->rq.floor) + READ_ONCE(sc->lift);

	if (unlikely(sc->core))
		level = smt_level(sc->core);

	if (!READ_ONCE(sc->rq.queue.count) && now > since)
		level += (now - since) * SHARE_DEFAULT / MAX(load_of(sc), 1ull);
	return level;
}

/* What of it is dom0's. */
static u64 home_load(const struct sched_cpu *sc)
{
	return sc->home ? READ_ONCE(sc->home->load) : 0;
}

/*
 * Ticks of a unit of the default weight: the same part of the share of each, whatever the load. But
 * dom0's unit, which comes and goes all the time.
 */
static s64 lead_allowed(const struct sched_cpu *sc)
{
	u64 load = load_of(sc), homes = home_load(sc);

	if (load > homes)
		load -= homes;
	return LEAD_MS * sched_ms * SHARE_DEFAULT / MAX(load, 1ull);
}

/* May the unit get on faster on the first? By what is to run there, or else by how far units got.
 */
static bool is_better(const struct sched_cpu *a, const struct sched_cpu *b, u64 now)
{
	u64 load = load_around(a), other = load_around(b);

	if (MAX(load, other) - MIN(load, other) > MAX(load, other) / LIKE_PART)
		return load < other;
	return (s64)(level_of(a, now) - level_of(b, now)) > lead_allowed(b);
}

/* Those of the CPUs whose whole core idles. */
static u64 idle_cores(u64 of)
{
	u64 idle = READ_ONCE(sched_idle) | ~READ_ONCE(sched_online), found = 0;

	for (; of; of &= of - 1)
		if (!(READ_ONCE(sched_cpus[__builtin_ctzll(of)].near[NEAR_CORE]) & ~idle))
			found |= of & -of;
	return found;
}

/* Those of the CPUs that are nearest to one. */
static u64 nearest_of(u64 of, u32 cpu)
{
	const u64 *near = sched_cpus[cpu].near;

	if (of & BIT(cpu))
		return BIT(cpu);
	for (u32 d = NEAR_CORE; d < NEAR_COUNT; d++)
		if (of & READ_ONCE(near[d]))
			return of & near[d];
	return of;
}

/* MAX_CPUS: somebody was quicker, or none of them idles. */
static u32 claim_nearest(u64 of, u32 last)
{
	while (of) {
		u32 cpu = __builtin_ctzll(nearest_of(of, last));

		if (claim_idle(cpu))
			return cpu;
		of &= ~BIT(cpu);
	}
	return MAX_CPUS;
}

/*
 * A core that idles, where it was or near, else a thread of one that does not; if none idles, where
 * least is to run, if possible where it was, or with the same cache.
 */
u32 place_choose(const struct sched_unit *u)
{
	u64 allowed = READ_ONCE(u->allowed) & READ_ONCE(sched_online), near;
	u64 idle = smt_fitting(READ_ONCE(sched_idle) & allowed, u);
	u32 last = READ_ONCE(u->cpu), cpu = MAX_CPUS, best;

	BUG_ON(!allowed);
	if (READ_ONCE(has_threads))
		cpu = claim_nearest(idle_cores(idle), last);
	if (cpu == MAX_CPUS)
		cpu = claim_nearest(idle, last);
	if (cpu != MAX_CPUS)
		return cpu;
	near = allowed & READ_ONCE(sched_cpus[last].near[NEAR_CACHE]);
	best = __builtin_ctzll(nearest_of(allowed, last));
	for (u64 rest = near & ~BIT(best); rest; rest &= rest - 1) {
		cpu = __builtin_ctzll(rest);
		if (is_better(&sched_cpus[cpu], &sched_cpus[best], u->since))
			best = cpu;
	}
	for (u64 rest = allowed & ~near; rest; rest &= rest - 1) {
		cpu = __builtin_ctzll(rest);
		if (load_around(&sched_cpus[cpu]) < load_around(&sched_cpus[best]) / 2)
			best = cpu;
	}
	return best;
}

/* How far one CPU is ahead of another; what is more than `most` is forgotten. */
static s64 lead_of(const struct sched_cpu *ahead, struct sched_cpu *behind, s64 most, u64 now)
{
	s64 lead = (s64)(level_of(ahead, now) - level_of(behind, now));

	for (u64 rest = lead > most ? mates_of(behind) : 0; rest; rest &= rest - 1)
		__atomic_fetch_add(&sched_cpus[__builtin_ctzll(rest)].lift, lead - most,
				   __ATOMIC_SEQ_CST);
	if (lead > most && unlikely(behind->core))
		smt_lift(behind->core, lead - most);
	return MIN(lead, most);
}

/*
 * Forget what cannot be helped between this CPU and those of `reach`. Before any are compared: to
 * be far behind one CPU is no reason to send a unit to another.
 */
static void forget_debts(struct sched_cpu *sc, u64 reach, u64 now)
{
	for (; reach; reach &= reach - 1) {
		struct sched_cpu *other = &sched_cpus[__builtin_ctzll(reach)];

		if (now > READ_ONCE(other->shared_at) + ALONE_MS * sched_ms)
			lead_of(sc, other, ALONE_DEBT * lead_allowed(other), now);
		lead_of(other, sc, MAX_DEBT * lead_allowed(sc), now);
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
		return load_of(a) < load_of(b);
	return load_around(a) < load_around(b);
}

/*
 * A unit that runs alone has no end of its slice, at which it would be charged, and be told of its
 * group's parts: who compares himself with it sees to that.
 */
static void poke_alone(u64 of, u64 now)
{
	for (; of; of &= of - 1) {
		u32 cpu = __builtin_ctzll(of);
		u64 at = READ_ONCE(sched_cpus[cpu].charged_at);

		if (at != SCHED_NEVER && now > at + CHARGE_MS * sched_ms)
			place_poke(cpu);
	}
}

/*
 * The CPUs that are ahead of this one by more than the tolerance and have less to run, of those
 * that a unit waiting here may go to.
 */
static u64 cpus_ahead(struct sched_cpu *sc, u64 now)
{
	const s64 tolerated = lead_allowed(sc);
	u64 reach = 0, others = 0, found = 0;

	for (const struct sched_unit *u = sc->rq.queue.head; u; u = u->next)
		reach |= u->pinned ? 0 : READ_ONCE(u->allowed);
	reach &= READ_ONCE(sched_online) & ~BIT(sc->index);
	for (; reach; reach &= reach - 1) /* one that idles does not get on at all */
		if (load_of(&sched_cpus[__builtin_ctzll(reach)]))
			others |= reach & -reach;
	forget_debts(sc, others, now);
	poke_alone(others, now);
	for (; others; others &= others - 1) {
		struct sched_cpu *other = &sched_cpus[__builtin_ctzll(others)];
		s64 lead = lead_over(sc, other, now);
		u32 times = has_less_than(other, sc) ? 1 : 2;

		if (!(READ_ONCE(sc->near[NEAR_CACHE]) & BIT(other->index)))
			times++; /* what it has in the cache stays behind */
		if (lead > tolerated * times)
			found |= BIT(other->index);
	}
	return found;
}

/*
 * Where the unit goes: the most ahead of those CPUs. One that outweighs all others here stays, and
 * others go, unless it would find less there; one just woken runs first.
 */
static struct sched_cpu *best_for(const struct sched_cpu *sc, const struct sched_unit *u, u64 ahead,
				  u64 now)
{
	struct sched_cpu *best = NULL;
	u64 load = load_around(sc);

	if (u->pinned || READ_ONCE(u->boost))
		return NULL;
	for (ahead &= READ_ONCE(u->allowed); ahead; ahead &= ahead - 1) {
		struct sched_cpu *other = &sched_cpus[__builtin_ctzll(ahead)];

		if (2ull * u->load > load && load_around(other) + u->load >= load)
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
		u64 level = smt_level(to->core) - READ_ONCE(to->lift);

		reached = (s64)(level - reached) > 0 ? level : reached;
	}
	most_behind = reached - MAX_DEBT * lead_allowed(to);
	u->vruntime += READ_ONCE(sc->lift) - READ_ONCE(to->lift);
	if ((s64)(most_behind - u->vruntime) > 0)
		u->vruntime = most_behind;
	u->floor = READ_ONCE(to->rq.floor); /* it may have to go on from there */
	u->floor_rq = &to->rq;
}

void place_forgive(struct sched_cpu *sc, struct sched_unit *u)
{
	u64 most_ahead = smt_level(sc->core) + MAX_DEBT * lead_allowed(sc) - READ_ONCE(sc->lift);

	if ((s64)(u->vruntime - most_ahead) > 0)
		u->vruntime = most_ahead;
}

/* But it may have got further elsewhere, where fewer wanted to run, and need not wait for that. */
static void join_core(const struct sched_cpu *sc, struct sched_unit *u, struct sched_cpu *to)
{
	take_along(sc, u, to);
	place_forgive(to, u);
}

static void even_out(struct sched_cpu *sc, u64 now)
{
	struct sched_cpu *to = NULL;
	struct sched_unit *u;
	u64 ahead;

	if (now < sc->evened_at + EVEN_MS * sched_ms || is_disturbed(sc))
		return;
	sc->evened_at = now;
	ahead = cpus_ahead(sc, now);
	for (u = ahead ? sc->rq.queue.tail : NULL; u; u = u->prev) {
		to = best_for(sc, u, ahead, now);
		if (to)
			break;
	}
	if (!u)
		return;
	rq_remove(sc, u);
	take_along(sc, u, to);
	send_from(sc, u, to->index);
}

/* Does another CPU of its core run something that is not over at once? */
static bool has_busy_mate(const struct sched_cpu *sc, u64 now)
{
	u64 mates = READ_ONCE(sc->near[NEAR_CORE]) & ~READ_ONCE(sched_idle) & ~BIT(sc->index);

	for (; mates; mates &= mates - 1) {
		const struct sched_cpu *mate = &sched_cpus[__builtin_ctzll(mates)];

		if (now > READ_ONCE(mate->started) + BUSY_MS * sched_ms)
			return true;
	}
	return false;
}

/* One that is alone here, on a core that others use, too, is better off on a core that idles. */
static bool is_crowded(const struct sched_cpu *sc, u32 idle_cpu, u64 now)
{
	return READ_ONCE(has_threads) && !sc->core && has_busy_mate(sc, now) &&
	       idle_cores(BIT(idle_cpu));
}

void place_give_away(struct sched_cpu *sc, bool kept, u64 now)
{
	/* in this order: who asks has set its bit in sched_idle before */
	u64 idle = __atomic_exchange_n(&sc->pull, 0, __ATOMIC_SEQ_CST) | place_takers(sc, now);
	const u32 *waiting = &sc->rq.queue.count;

	idle &= READ_ONCE(sched_idle) & ~BIT(sc->index);
	for (u32 cpu; idle && *waiting; idle &= ~BIT(cpu)) {
		struct sched_unit *u;

		cpu = __builtin_ctzll(nearest_of(idle, sc->index));
		if (*waiting + kept == 1 && (kept || !is_crowded(sc, cpu, now)))
			continue;
		u = first_for(sc, cpu);
		if (u && claim_idle(cpu)) {
			lead_of(sc, &sched_cpus[cpu], 0, now);
			rq_remove(sc, u);
			if (unlikely(sc->core)) /* those there may not have idled */
				join_core(sc, u, &sched_cpus[cpu]);
			send_from(sc, u, cpu);
		}
	}
	if (*waiting + kept > 1)
		even_out(sc, now);
}

/*
 * No unit waits anywhere. A CPU of those, the nearest, whose core has several busy CPUs, one of
 * them with a unit that may move, if this CPU's whole core idles; MAX_CPUS: there is none.
 */
static u32 find_crowded(const struct sched_cpu *sc, u64 of, u64 now)
{
	u64 found = 0;

	if (likely(!READ_ONCE(has_threads)) || sc->core || !idle_cores(BIT(sc->index)))
		return MAX_CPUS;
	for (of &= ~READ_ONCE(sched_idle); of; of &= of - 1) {
		const struct sched_cpu *other = &sched_cpus[__builtin_ctzll(of)];

		if (has_busy_mate(other, now) && load_of(other) > home_load(other))
			found |= of & -of;
	}
	return found ? (u32)__builtin_ctzll(nearest_of(found, sc->index)) : MAX_CPUS;
}

bool place_ask_for_work(struct sched_cpu *sc, u64 now)
{
	u64 others = READ_ONCE(READ_ONCE(sc->pool)->cpus) & ~BIT(sc->index);
	u32 busiest = MAX_CPUS;
	bool anybody = sc->asked;
	u64 most = 0;

	if (sc->policy->need) /* nobody may move */
		return false;
	sc->asked_at = now;
	for (others &= ~sc->asked; others; others &= others - 1) {
		u32 cpu = __builtin_ctzll(others);
		u64 waiting = READ_ONCE(sched_cpus[cpu].rq.queue.count);

		/* near ones first */
		if (waiting && (READ_ONCE(sc->near[NEAR_CACHE]) & BIT(cpu)))
			waiting += MAX_VCPUS;
		if (waiting > most) {
			most = waiting;
			busiest = cpu;
		}
	}
	if (busiest == MAX_CPUS) {
		sc->asked = 0;
		busiest =
		    find_crowded(sc, READ_ONCE(READ_ONCE(sc->pool)->cpus) & ~BIT(sc->index), now);
	}
	if (busiest == MAX_CPUS)
		return anybody;
	sc->asked |= BIT(busiest);
	__atomic_fetch_or(&sched_cpus[busiest].pull, BIT(sc->index), __ATOMIC_SEQ_CST);
	place_poke(busiest);
	return true;
}

struct sched_unit *place_trade(struct sched_cpu *sc, struct sched_unit *u)
{
	u64 vruntime = u->vruntime;

	rq_remove(sc, u);
	u->vruntime = sc->curr->vruntime;
	sc->curr->vruntime = vruntime;
	sc->policy->enqueue(&sc->rq, u);
	u->on_rq = true;
	return u;
}
