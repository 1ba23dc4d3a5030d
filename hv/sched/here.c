/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/here.h"
#include "hv/sched/deadline.h"

void here_charge(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *u = sc->curr;
	u64 ran;

	BUG_ON(READ_ONCE(u->state) != SCHED_RUNNING);
	ran = unit_account(u, &u->runtime, SCHED_RUNNING, now);
	cap_charge(u, ran);
	if (u->inside)
		unit_hear(u, ran);
	else if (unlikely(u->divides))
		unit_weigh_again(u, now);
	sc->policy->charge(&sc->rq, u, ran);
	WRITE_ONCE(sc->charged_at, u->since);
	u->floor = sc->rq.floor;
	u->floor_rq = &sc->rq;
}

static bool send_off(struct sched_cpu *sc, struct sched_unit *u, u32 cpu)
{
	if (sc->loaded == u)
		place_unload(sc);
	place_send(u, cpu);
	return false;
}

u64 here_park(struct sched_cpu *sc, struct sched_unit *u)
{
	struct sched_unit *pos = sc->parked.tail;
	u64 end = cap_window_end(u);

	if (sc->loaded == u)
		sc->used_up = u;
	else if (pos && pos == sc->used_up && sc->parked.count > sc->to_look)
		pos = pos->prev;
	queue_insert(&sc->parked, pos, u);
	sc->others_at = MIN(sc->others_at, end);
	return end;
}

/* It waits for what it has run ahead of others; with a greater weight that is less. */
static void weigh_lead(struct sched_unit *u)
{
	u64 weight = here_weight(u);
	s64 lead = u->vruntime - u->floor;

	if (likely(weight == u->weighed) || u->pinned)
		return;
	if (u->weighed && weight > u->weighed && lead > 0)
		u->vruntime = u->floor + lead / (s64)(weight / u->weighed);
	if (here_has_gained(u) || weight < u->weighed)
		u->weighed = weight;
}

bool here_enqueue(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	BUG_ON(u->on_rq || READ_ONCE(u->state) != SCHED_QUEUED);
	if (!may_run_here(sc, u))
		return send_off(sc, u, place_choose(u));
	BUG_ON(u->load && u->cpu != sc->index);
	WRITE_ONCE(u->cpu, sc->index);
	if (!cap_left(u, now)) {
		u32 cpu = deadline_cpu(u, now);

		if (cpu != sc->index)
			return send_off(sc, u, cpu);
		place_count(u, false);
		u->slept = true;
		WRITE_ONCE(u->napped, true);
		sc->unpark_at = MIN(sc->unpark_at, here_park(sc, u));
		return false;
	}
	place_count(u, true);
	if (unlikely(sc->core) && sc->charged_at == SCHED_NEVER && !sc->rq.queue.count)
		smt_catch_up(sc);
	weigh_lead(u);
	sc->policy->enqueue(&sc->rq, u);
	u->on_rq = true;
	return true;
}

void here_boost(struct sched_unit *u)
{
	struct sched_cpu *sc = here_sched();
	u32 cpu = READ_ONCE(u->cpu);
	bool was = __atomic_exchange_n(&u->boost, true, __ATOMIC_SEQ_CST);

	if (cpu != sc->index) {
		if (!was)
			place_poke(cpu);
	} else if (sc->giver == u || (sc->curr && here_is_preempted(sc, sched_clock()))) {
		WRITE_ONCE(this_cpu()->resched, true);
	}
}
