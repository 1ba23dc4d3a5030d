/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/place.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/sched/even.h"

#define GIVE_LOOK 64 /* so many of those that wait, from the first on, are looked at for a CPU */
#define BUSY_MS	  2  /* what another CPU of the core runs for less drives nobody away */

struct cpupool cpupools[CORBEL_MAX_POOLS + 1];
static sched_leave_fn *leave_unit;
u32 sched_pinned_percent = 25;
static bool has_threads; /* some core has several CPUs */

void place_init(sched_leave_fn *leave)
{
	leave_unit = leave;
	sched_ms = ns_to_tsc(1000000);
	cpus_clear(&sched_online);
	cpus_clear(&sched_idle);
	has_threads = false;
	smt_init(sched_ms);
}

/* This CPU is near to those that are there already, and they to it. Nothing runs anywhere yet. */
static void join_neighbours(struct sched_cpu *sc, const struct cpu *c)
{
	FOR_EACH_CPU(i, &sched_online) {
		u32 d = i == sc->index ? NEAR_CORE : topology_distance(&c->place, &cpus[i]->place);

		if (i != sc->index && d == NEAR_CORE) {
			WRITE_ONCE(has_threads, true);
			sc->core = smt_join(i, sc->index);
			WRITE_ONCE(sched_of(i)->core, sc->core);
		}
		for (; d < NEAR_COUNT; d++) {
			cpus_add(&sc->near[d], i);
			cpus_add(&sched_of(i)->near[d], sc->index);
		}
	}
}

void sched_init_cpu(struct cpu *c)
{
	struct sched_cpu *sc = sched_of(c->index);

	*sc = (struct sched_cpu){.index = c->index,
				 .lock = LOCK_INIT(LOCK_SCHED),
				 .pool = &cpupools[0],
				 .policy = cpupools[0].policy,
				 .charged_at = SCHED_NEVER,
				 .unpark_at = SCHED_NEVER};
	BUG_ON(c->index >= cpus_words * 64);
	c->sched = sc;
	cpus_add(&sched_online, c->index);
	join_neighbours(sc, c);
	cpus_add(&cpupools[0].cpus, c->index);
}

void place_recheck(u32 cpu)
{
	__atomic_store_n(&sched_of(cpu)->recheck, true, __ATOMIC_SEQ_CST);
	place_poke(cpu);
}

void place_set_pool(u32 cpu, struct cpupool *p)
{
	ASSERT_HELD(&sched_set_up);
	WRITE_ONCE(sched_of(cpu)->pool, p);
	if (place_home(cpu))
		unit_changed(place_home(cpu));
	place_recheck(cpu);
}

const struct cpupool *place_pool(u32 cpu)
{
	ASSERT_HELD(&sched_set_up);
	return sched_of(cpu)->pool;
}

struct sched_unit *place_home(u32 cpu)
{
	return READ_ONCE(sched_of(cpu)->home);
}

void place_set_home(u32 cpu, struct sched_unit *u)
{
	WRITE_ONCE(sched_of(cpu)->home, u);
}

void place_unload(struct sched_cpu *sc)
{
	struct sched_unit *u = sc->loaded;

	BUG_ON(READ_ONCE(u->cpu) != sc->index);
	sc->loaded = NULL;
	leave_unit(u, READ_ONCE(u->state) == SCHED_QUEUED && u != sc->giver);
	__atomic_store_n(&u->on_cpu, 0, __ATOMIC_RELEASE);
}

void place_set_load(struct sched_unit *u, u32 share)
{
	__atomic_fetch_add(&sched_of(u->cpu)->rq.load, (u64)share - u->load, __ATOMIC_SEQ_CST);
	WRITE_ONCE(u->load, share);
}

void place_count_in_group(struct sched_unit *u, bool counts)
{
	__atomic_fetch_add(&u->group->runnable, counts - u->counted, __ATOMIC_SEQ_CST);
	u->counted = counts;
	if (counts)
		unit_weigh_again(u, u->since);
}

void place_send(struct sched_unit *u, u32 cpu)
{
	struct sched_cpu *sc = sched_of(cpu);

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

/* The first of those looked at that may go to that CPU; who has a seat goes there himself. */
static struct sched_unit *first_for(const struct sched_cpu *sc, u32 cpu)
{
	struct sched_unit *u = sc->policy->need ? NULL : sc->rq.queue.head;

	for (u32 n = 0; u && n < GIVE_LOOK; u = u->next, n++)
		if (!u->pinned && cpus_has(&u->allowed, cpu) && smt_fits(cpu, u))
			return u;
	return NULL;
}

static bool is_core_idle(u32 cpu)
{
	return cpus_within(&sched_of(cpu)->near[NEAR_CORE], &sched_idle);
}

/* The one of the CPUs that is nearest to that one; MAX_CPUS: they are none. */
static u32 nearest_of(const struct corbel_cpus *of, u32 cpu)
{
	const struct corbel_cpus *near = sched_of(cpu)->near;
	u32 found = MAX_CPUS;

	if (cpus_has(of, cpu))
		return cpu;
	for (u32 d = NEAR_CORE; d < NEAR_COUNT && found == MAX_CPUS; d++)
		found = cpus_first_of(of, &near[d]);
	return found;
}

/* MAX_CPUS: somebody was quicker, or none of them idles. */
static u32 claim_nearest(struct corbel_cpus *of, u32 last)
{
	u32 cpu;

	while ((cpu = nearest_of(of, last)) != MAX_CPUS && !cpus_take(&sched_idle, cpu))
		cpus_drop(of, cpu);
	return cpu;
}

/* An idle CPU for a unit, whose core idles, if there is one. */
static u32 claim_for(const struct sched_unit *u, const struct corbel_cpus *allowed, u32 last)
{
	struct corbel_cpus idle, whole;
	u32 cpu = MAX_CPUS;

	if (!cpus_and(&idle, &sched_idle, allowed))
		return cpu;
	smt_keep_fitting(&idle, u);
	if (READ_ONCE(has_threads)) {
		cpus_and(&whole, &idle, &idle);
		FOR_EACH_CPU(i, &idle)
			if (!is_core_idle(i))
				cpus_drop(&whole, i);
		cpu = claim_nearest(&whole, last);
	}
	return cpu != MAX_CPUS ? cpu : claim_nearest(&idle, last);
}

/*
 * A core that idles, where it was or near, else a thread of one that does not; if none idles, where
 * least is to run, if possible where it was, or with the same cache.
 */
u32 place_choose(const struct sched_unit *u)
{
	struct corbel_cpus allowed;
	u32 last = READ_ONCE(u->cpu), cpu, best;
	const struct corbel_cpus *near = &sched_of(last)->near[NEAR_CACHE];

	/* it is never empty, but while somebody writes its words may be read as if */
	while (!cpus_and(&allowed, &u->allowed, &sched_online))
		cpu_relax();
	cpu = claim_for(u, &allowed, last);
	if (cpu != MAX_CPUS)
		return cpu;
	best = nearest_of(&allowed, last);
	BUG_ON(best == MAX_CPUS);
	cpus_drop(&allowed, best);
	if (!cpus_any(&allowed))
		return best;
	FOR_EACH_CPU(i, &allowed)
		if (cpus_has(near, i) && even_is_better(sched_of(i), sched_of(best), u->since))
			best = i;
	FOR_EACH_CPU(i, &allowed)
		if (!cpus_has(near, i) &&
		    even_load_around(sched_of(i)) < even_load_around(sched_of(best)) / 2)
			best = i;
	return best;
}

static void even_out(struct sched_cpu *sc, u64 now)
{
	u32 cpu;
	struct sched_unit *u = even_pick(sc, &cpu, now);

	if (!u)
		return;
	rq_remove(sc, u);
	even_join(sc, u, sched_of(cpu));
	send_from(sc, u, cpu);
}

/* Does another CPU of its core run something that is not over at once? */
static bool has_busy_mate(const struct sched_cpu *sc, u64 now)
{
	FOR_EACH_CPU(i, &sc->near[NEAR_CORE])
		if (i != sc->index && !cpus_has(&sched_idle, i) &&
		    now > READ_ONCE(sched_of(i)->started) + BUSY_MS * sched_ms)
			return true;
	return false;
}

/* One that is alone here, on a core that others use, too, is better off on a core that idles. */
static bool is_crowded(const struct sched_cpu *sc, u32 idle_cpu, u64 now)
{
	return READ_ONCE(has_threads) && !sc->core && has_busy_mate(sc, now) &&
	       is_core_idle(idle_cpu);
}

static void give_to(struct sched_cpu *sc, struct sched_unit *u, u32 cpu, u64 now)
{
	even_lead(sc, sched_of(cpu), 0, now);
	rq_remove(sc, u);
	if (unlikely(sc->core)) /* those there may not have idled */
		even_join(sc, u, sched_of(cpu));
	send_from(sc, u, cpu);
}

void place_give_partner(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *u = sc->loaded;
	struct corbel_cpus idle;

	if (!u || !u->on_rq || u->pinned || !cpus_and(&idle, &sc->pull, &sched_idle))
		return;
	cpus_and(&idle, &idle, &u->allowed);
	FOR_EACH_CPU(cpu, &idle)
		if (smt_would_pair(cpu, sc->index, now) && cpus_take(&sched_idle, cpu)) {
			give_to(sc, u, cpu, now);
			break;
		}
}

/* The CPUs that have asked for units, or would take some. Are there any? */
static bool take_pull(struct sched_cpu *sc, struct corbel_cpus *idle, u64 now)
{
	/* in this order: who asks has set its bit in sched_idle before */
	for (u32 i = 0; i < cpus_words; i++)
		idle->word[i] = __atomic_exchange_n(&sc->pull.word[i], 0, __ATOMIC_SEQ_CST);
	if (place_may_give(sc, now))
		cpus_or(idle, idle, &READ_ONCE(sc->pool)->cpus);
	if (!cpus_and(idle, idle, &sched_idle))
		return false;
	cpus_drop(idle, sc->index);
	return true;
}

void place_give_away(struct sched_cpu *sc, bool kept, u64 now)
{
	const u32 *waiting = &sc->rq.queue.count;
	struct corbel_cpus idle;
	bool any = take_pull(sc, &idle, now);
	u32 cpu;

	while (any && *waiting && (cpu = nearest_of(&idle, sc->index)) != MAX_CPUS) {
		struct sched_unit *u;

		cpus_drop(&idle, cpu);
		if (*waiting + kept == 1 && (kept || !is_crowded(sc, cpu, now)))
			continue;
		u = first_for(sc, cpu);
		if (u && cpus_take(&sched_idle, cpu))
			give_to(sc, u, cpu, now);
	}
	if (*waiting + kept > 1)
		even_out(sc, now);
}

/*
 * Would others be better off if its unit, which may move, came to this CPU, whose whole core idles?
 * Or, with core scheduling: units wait here that do not fit beside what this CPU's core runs, and
 * that core has one of the same group, which leaves it to them then.
 */
static bool is_better_here(const struct sched_cpu *sc, const struct sched_cpu *other, u64 now)
{
	if (sc->core)
		return smt_would_pair(sc->index, other->index, now);
	return has_busy_mate(other, now) && place_load(other) > place_home_load(other);
}

/* No unit waits anywhere. The nearest CPU whose unit is to come here; MAX_CPUS: there is none. */
static u32 find_to_relieve(const struct sched_cpu *sc, u64 now)
{
	struct corbel_cpus found;

	if (!sc->core && (likely(!READ_ONCE(has_threads)) || !is_core_idle(sc->index)))
		return MAX_CPUS;
	cpus_without(&found, &READ_ONCE(sc->pool)->cpus, &sched_idle);
	cpus_drop(&found, sc->index);
	FOR_EACH_CPU(cpu, &found)
		if (!is_better_here(sc, sched_of(cpu), now))
			cpus_drop(&found, cpu);
	return nearest_of(&found, sc->index);
}

/* The CPU where most wait, near ones first, of those not asked yet; MAX_CPUS: there is none. */
static u32 find_busiest(const struct sched_cpu *sc)
{
	u32 busiest = MAX_CPUS;
	struct corbel_cpus others;
	u64 most = 0;

	cpus_without(&others, &READ_ONCE(sc->pool)->cpus, &sc->asked);
	cpus_drop(&others, sc->index);
	FOR_EACH_CPU(cpu, &others) {
		u64 waiting = READ_ONCE(sched_of(cpu)->rq.queue.count);

		if (waiting && cpus_has(&sc->near[NEAR_CACHE], cpu))
			waiting += MAX_VCPUS;
		if (waiting > most) {
			most = waiting;
			busiest = cpu;
		}
	}
	return busiest;
}

bool place_ask_for_work(struct sched_cpu *sc, u64 now)
{
	bool anybody = sc->has_asked;
	u32 busiest;

	if (sc->policy->need) /* nobody may move */
		return false;
	sc->asked_at = now;
	busiest = find_busiest(sc);
	if (busiest == MAX_CPUS) {
		place_forget_asked(sc);
		if (!sc->core || anybody || sc->rq.queue.count)
			busiest = find_to_relieve(sc, now);
	}
	if (busiest == MAX_CPUS)
		return anybody;
	cpus_add(&sc->asked, busiest);
	sc->has_asked = true;
	cpus_add(&sched_of(busiest)->pull, sc->index);
	place_poke(busiest);
	return true;
}

static struct sched_unit *trade_places(struct sched_cpu *sc, struct sched_unit *u)
{
	u64 vruntime = u->vruntime;

	rq_remove(sc, u);
	u->vruntime = sc->curr->vruntime;
	sc->curr->vruntime = vruntime;
	sc->policy->enqueue(&sc->rq, u);
	u->on_rq = true;
	return u;
}

struct sched_unit *place_favoured(struct sched_cpu *sc, const struct sched_unit *ran)
{
	struct sched_unit *u;
	const struct sched_unit *by;

	lock_acquire(&sc->lock);
	u = sc->favoured;
	by = sc->favours;
	sc->favoured = NULL;
	/* It may have gone elsewhere, and even have come back into the inbox: cpu is read first. */
	if (u && (__atomic_load_n(&u->cpu, __ATOMIC_ACQUIRE) != sc->index || !u->on_rq))
		u = NULL;
	lock_release(&sc->lock);
	if (!u)
		return NULL;
	if (ran == by)
		return trade_places(sc, u);
	if ((ran && ran->pinned) || READ_ONCE(place_first(sc)->boost) ||
	    (s64)(u->vruntime - sc->rq.least) * READ_ONCE(u->share) >
		(s64)(sc->policy->slice(&sc->rq, u) * SHARE_DEFAULT))
		return NULL;
	return u;
}

void place_forget(const struct sched_unit *u)
{
	FOR_EACH_CPU(i, &sched_online) {
		struct sched_cpu *sc = sched_of(i);

		lock_acquire(&sc->lock);
		if (sc->favoured == u || sc->favours == u)
			sc->favoured = NULL;
		lock_release(&sc->lock);
	}
}
