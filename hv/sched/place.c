/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/place.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/sched/even.h"

#define BUSY_MS 2 /* what another CPU of the core runs for less drives nobody away */

struct cpupool cpupools[CORBEL_MAX_POOLS + 1];
static sched_leave_fn *leave_unit;
u32 sched_pinned_percent = 25;
static bool has_threads; /* some core has several CPUs */

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
		if (even_is_better(&sched_cpus[cpu], &sched_cpus[best], u->since))
			best = cpu;
	}
	for (u64 rest = allowed & ~near; rest; rest &= rest - 1) {
		cpu = __builtin_ctzll(rest);
		if (even_load_around(&sched_cpus[cpu]) < even_load_around(&sched_cpus[best]) / 2)
			best = cpu;
	}
	return best;
}

static void even_out(struct sched_cpu *sc, u64 now)
{
	u32 cpu;
	struct sched_unit *u = even_pick(sc, &cpu, now);

	if (!u)
		return;
	rq_remove(sc, u);
	even_join(sc, u, &sched_cpus[cpu]);
	send_from(sc, u, cpu);
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

static void give_to(struct sched_cpu *sc, struct sched_unit *u, u32 cpu, u64 now)
{
	even_lead(sc, &sched_cpus[cpu], 0, now);
	rq_remove(sc, u);
	if (unlikely(sc->core)) /* those there may not have idled */
		even_join(sc, u, &sched_cpus[cpu]);
	send_from(sc, u, cpu);
}

void place_give_partner(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *u = sc->loaded;
	u64 idle = READ_ONCE(sc->pull) & READ_ONCE(sched_idle);

	if (!u || !u->on_rq || u->pinned)
		return;
	for (idle &= READ_ONCE(u->allowed); idle; idle &= idle - 1) {
		u32 cpu = __builtin_ctzll(idle);

		if (smt_would_pair(cpu, sc->index, now) && claim_idle(cpu)) {
			give_to(sc, u, cpu, now);
			break;
		}
	}
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
		if (u && claim_idle(cpu))
			give_to(sc, u, cpu, now);
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

	if (likely(!READ_ONCE(has_threads)) || !idle_cores(BIT(sc->index)))
		return MAX_CPUS;
	for (of &= ~READ_ONCE(sched_idle); of; of &= of - 1) {
		const struct sched_cpu *other = &sched_cpus[__builtin_ctzll(of)];

		if (has_busy_mate(other, now) && place_load(other) > place_home_load(other))
			found |= of & -of;
	}
	return found ? (u32)__builtin_ctzll(nearest_of(found, sc->index)) : MAX_CPUS;
}

/*
 * Units wait that do not fit beside what this CPU's core runs. Another core has one of the same
 * group, which leaves it to them if it comes here.
 */
static u32 find_partner(const struct sched_cpu *sc, u64 of, u64 now)
{
	u64 found = 0;

	for (of &= ~READ_ONCE(sched_idle); of; of &= of - 1)
		if (smt_would_pair(sc->index, __builtin_ctzll(of), now))
			found |= of & -of;
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
		others = READ_ONCE(READ_ONCE(sc->pool)->cpus) & ~BIT(sc->index);
		if (likely(!sc->core))
			busiest = find_crowded(sc, others, now);
		else if (anybody || sc->rq.queue.count)
			busiest = find_partner(sc, others, now);
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
