/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/place.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"

static struct sched_cpu sched_cpus[MAX_CPUS];
static sched_leave_fn *leave_unit;
/* A CPU's idle bit is taken away by whoever sends it work. */
u64 sched_online, sched_idle;

void place_init(sched_leave_fn *leave)
{
	leave_unit = leave;
	sched_online = sched_idle = 0;
}

void place_init_cpu(void)
{
	struct cpu *c = this_cpu();
	struct sched_cpu *sc = &sched_cpus[c->index];

	*sc = (struct sched_cpu){.index = c->index, .lock = LOCK_INIT(LOCK_SCHED)};
	c->sched = sc;
	__atomic_fetch_or(&sched_online, BIT(c->index), __ATOMIC_SEQ_CST);
}

void place_poke(u32 cpu)
{
	__atomic_store_n(&cpus[cpu]->resched, true, __ATOMIC_SEQ_CST);
	smp_kick(cpus[cpu]);
}

void place_unload(struct sched_cpu *sc)
{
	struct sched_unit *u = sc->loaded;

	BUG_ON(u->cpu != sc->index);
	sc->loaded = NULL;
	leave_unit(u, u->state == SCHED_QUEUED && u != sc->giver);
	__atomic_store_n(&u->on_cpu, 0, __ATOMIC_RELEASE);
}

static bool claim_idle(u32 cpu)
{
	return __atomic_fetch_and(&sched_idle, ~BIT(cpu), __ATOMIC_SEQ_CST) & BIT(cpu);
}

/* Units that wait or run there. */
static u32 load_of(u32 cpu)
{
	const struct sched_cpu *sc = &sched_cpus[cpu];

	return READ_ONCE(sc->rq.queue.count) + (READ_ONCE(sc->curr) != NULL);
}

/* Where it was if idle, another idle CPU, where it was, the least busy. */
u32 place_choose(const struct sched_unit *u)
{
	u64 allowed = READ_ONCE(u->affinity) & READ_ONCE(sched_online);
	u32 last = READ_ONCE(u->cpu), cpu, best;

	BUG_ON(!allowed);
	if ((allowed & BIT(last)) && claim_idle(last))
		return last;
	for (u64 idle = READ_ONCE(sched_idle) & allowed; idle; idle &= idle - 1) {
		cpu = __builtin_ctzll(idle);
		if (claim_idle(cpu))
			return cpu;
	}
	if (allowed & BIT(last))
		return last;
	for (best = __builtin_ctzll(allowed); allowed; allowed &= allowed - 1) {
		cpu = __builtin_ctzll(allowed);
		if (load_of(cpu) < load_of(best))
			best = cpu;
	}
	return best;
}

void place_send(struct sched_unit *u, u32 cpu)
{
	struct sched_cpu *sc = &sched_cpus[cpu];

	BUG_ON(u->on_rq || u->state != SCHED_QUEUED);
	WRITE_ONCE(u->cpu, cpu);
	lock_acquire(&sc->lock);
	queue_insert(&sc->inbox, sc->inbox.tail, u);
	lock_release(&sc->lock);
	place_poke(cpu);
}

/*
 * Give the unit that may go to that CPU and ran most of late, so that turns on the less busy CPU go
 * round.
 */
static bool give_one(struct sched_cpu *sc, u32 cpu)
{
	struct sched_unit *u, *best = NULL;

	for (u = sc->rq.queue.head; u; u = u->next)
		if (!u->pinned && (READ_ONCE(u->affinity) & BIT(cpu)) &&
		    (!best || u->recent > best->recent))
			best = u;
	if (!best)
		return false;
	rq_remove(sc, best);
	if (sc->loaded == best)
		place_unload(sc);
	place_send(best, cpu);
	return true;
}

void place_give_away(struct sched_cpu *sc, bool kept, u64 now)
{
	u64 asked = __atomic_exchange_n(&sc->pull, 0, __ATOMIC_SEQ_CST);
	u64 idle = place_takers(sc, now);
	const u32 *waiting = &sc->rq.queue.count;
	u32 cpu;

	for (; asked && *waiting + kept > 1; asked &= asked - 1) {
		cpu = __builtin_ctzll(asked);
		if (load_of(cpu) < *waiting + kept && give_one(sc, cpu))
			claim_idle(cpu);
	}
	for (; idle && *waiting + kept > 1; idle &= idle - 1) {
		cpu = __builtin_ctzll(idle);
		if (claim_idle(cpu) && !give_one(sc, cpu))
			__atomic_fetch_or(&sched_idle, BIT(cpu), __ATOMIC_SEQ_CST);
	}
}

void place_ask_for_work(struct sched_cpu *sc, u64 now)
{
	u64 others = READ_ONCE(sched_online) & ~BIT(sc->index);
	u32 most = MAX(load_of(sc->index), 1u), busiest = MAX_CPUS;

	sc->asked_at = now;
	for (; others; others &= others - 1) {
		u32 cpu = __builtin_ctzll(others), load = load_of(cpu);

		if (load > most) {
			most = load;
			busiest = cpu;
		}
	}
	if (busiest == MAX_CPUS)
		return;
	__atomic_fetch_or(&sched_cpus[busiest].pull, BIT(sc->index), __ATOMIC_SEQ_CST);
	place_poke(busiest);
}
