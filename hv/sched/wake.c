/* SPDX-License-Identifier: GPL-2.0-only */
/* Wake-ups, and what a unit that runs says of itself: for whom it waits, that it has done. */
#include "hv/sched/here.h"

#define LEAVE_PART  50 /* of a millisecond has dom0 to leave the CPU when its turn is over */
#define FAVOUR_PART 10 /* of one a CPU is left alone by who spins on another */

/* A wake has come. True: the unit was blocked, is queued now, and the caller's to put somewhere. */
static bool win_blocked(struct sched_unit *u)
{
	u32 state = SCHED_BLOCKED;

	__atomic_store_n(&u->wake, 1, __ATOMIC_SEQ_CST);
	if (__atomic_compare_exchange_n(&u->state, &state, SCHED_QUEUED, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		return true;
	state == SCHED_QUEUED ? here_boost(u) : place_note_event(u);
	return false;
}

/* The caller has won the unit, which waits from now on. */
static u64 begin_waiting(struct sched_unit *u)
{
	u64 asleep = 0, now = sched_clock();

	unit_account(u, &asleep, SCHED_QUEUED, now); /* which is nobody's */
	u->slept = true;
	return now;
}

/* Put a unit that the caller has won where it waits for a CPU. */
static void put_woken(struct sched_unit *u)
{
	struct sched_cpu *sc = here_sched();
	u64 now = begin_waiting(u);
	u32 cpu;

	WRITE_ONCE(u->boost, true);
	/* Its registers can only leave the hardware of the CPU where they are. */
	if (__atomic_load_n(&u->on_cpu, __ATOMIC_ACQUIRE))
		cpu = u->cpu;
	else
		cpu = place_choose(u);
	/* What may not run here is sent on by the next sched_next(): no lock is held there. */
	if (cpu != sc->index || !may_run_here(sc, u) || unlikely(READ_ONCE(u->budget.split))) {
		place_send(u, cpu);
		return;
	}
	if (sc->curr) /* the policy compares the two */
		here_charge(sc, now);
	here_enqueue(sc, u, now);
	/* Has sched_next() to be asked before the slice ends, or does that now end earlier? */
	if (!sc->curr || sc->parked.count || here_is_preempted(sc, now) ||
	    sc->started + sc->policy->slice(&sc->rq, sc->curr) < sc->slice_end)
		WRITE_ONCE(this_cpu()->resched, true);
}

void sched_wake(struct sched_unit *u)
{
	if (win_blocked(u))
		put_woken(u);
}

void sched_yield_to(struct sched_unit *from, struct sched_unit *to)
{
	struct sched_cpu *sc = here_sched();

	BUG_ON(sc->curr != from);
	if (!win_blocked(to))
		return;
	if (!from->pinned || sc->hand || !may_run_here(sc, to) ||
	    __atomic_load_n(&to->on_cpu, __ATOMIC_ACQUIRE)) {
		put_woken(to);
		return;
	}
	begin_waiting(to);
	WRITE_ONCE(to->cpu, sc->index);
	place_count(to, true);
	sc->hand = to;
	/* what comes from now on keeps `from` here */
	__atomic_store_n(&from->wake, 0, __ATOMIC_SEQ_CST);
	WRITE_ONCE(this_cpu()->resched, true);
}

void sched_give_way(struct sched_unit *from, struct sched_unit *to)
{
	struct sched_cpu *sc = here_sched(), *at = sched_of(READ_ONCE(to->cpu));
	u64 now = sched_clock();

	BUG_ON(sc->curr != from || from == to);
	if (READ_ONCE(to->state) != SCHED_QUEUED)
		return;
	if (at != sc && sc->rq.queue.head != sc->giver) { /* nor is dom0's to run instead */
		here_cut_slice(sc, now);
		WRITE_ONCE(this_cpu()->resched, true);
	}
	/* others there are not to be interrupted all the time; SCHED_NEVER: it idles, and knows */
	if (at != sc && READ_ONCE(at->charged_at) > now - sched_ms / FAVOUR_PART)
		return;
	lock_acquire(&at->lock);
	WRITE_ONCE(at->favoured, to);
	at->favours = from;
	lock_release(&at->lock);
	place_poke(at->index);
}

void sched_seen(struct sched_unit *u)
{
	BUG_ON(here_sched()->curr != u);
	__atomic_store_n(&u->wake, 0, __ATOMIC_SEQ_CST);
}

bool sched_block(struct sched_unit *u)
{
	struct sched_cpu *sc = here_sched();
	u32 blocked = SCHED_BLOCKED;

	BUG_ON(sc->curr != u);
	here_charge(sc, sched_clock());
	place_count(u, false);
	WRITE_ONCE(u->napped, true);
	__atomic_store_n(&u->state, SCHED_BLOCKED, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&u->wake, 0, __ATOMIC_SEQ_CST) &&
	    __atomic_compare_exchange_n(&u->state, &blocked, SCHED_RUNNING, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST)) {
		place_count(u, true);
		return false;
	}
	sc->curr = NULL;
	unit_set_out_of_turn(u, false);
	return true;
}

void sched_turn_over(void)
{
	struct sched_cpu *sc = here_sched();
	u64 now = sched_clock();

	if (sc->curr && sc->curr->out_of_turn) {
		here_charge(sc, now);
		here_cut_slice(sc, now + sched_ms / LEAVE_PART);
		WRITE_ONCE(this_cpu()->resched, true); /* to arm the timer */
	}
}
