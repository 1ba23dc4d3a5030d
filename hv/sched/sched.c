/* SPDX-License-Identifier: GPL-2.0-only */
/* The choice of who runs. */
#include "hv/sched/sched.h"
#include "hv/sched/deadline.h"
#include "hv/sched/even.h"
#include "hv/sched/here.h"

#define IDLE_ASK_US 250 /* how often an idle CPU looks for one where units wait */
#define CORE_ASK_MS 50	/* how often a CPU of a core that runs only one group does */
/* of those that caps park, or let go: then interrupts have a chance */
#define LOOKED_AT 32

static u64 soon_after(u64 now)
{
	return now + sched_ms / 500;
}

static void take_inbox(struct sched_cpu *sc, u64 now)
{
	struct sched_queue in;
	struct sched_unit *u;

	if (!READ_ONCE(sc->inbox.head))
		return;
	lock_acquire(&sc->lock);
	in = sc->inbox;
	sc->inbox = (struct sched_queue){0};
	lock_release(&sc->lock);
	while ((u = in.head)) {
		queue_remove(&in, u);
		here_enqueue(sc, u, now);
	}
}

/* It may run again; several may have been parked here, and other CPUs idle. */
static void unpark_unit(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	bool stays = sc->loaded == u || READ_ONCE(u->budget.split);
	u32 cpu = stays ? sc->index : place_choose(u);

	if (cpu == sc->index)
		here_enqueue(sc, u, now);
	else
		place_send(u, cpu);
}

static void unpark_due(struct sched_cpu *sc, u64 now)
{
	if (likely(now < sc->unpark_at))
		return;
	if (!sc->to_look) {
		sc->to_look = sc->parked.count;
		sc->others_at = SCHED_NEVER;
	}
	for (u32 n = 0; n < LOOKED_AT && sc->to_look && sc->parked.head; n++, sc->to_look--) {
		struct sched_unit *u = sc->parked.head;

		queue_remove(&sc->parked, u);
		if (may_run_here(sc, u) && !cap_left(u, now) && deadline_cpu(u, now) == sc->index) {
			here_park(sc, u);
		} else {
			unpark_unit(sc, u, now);
		}
	}
	if (!sc->parked.head)
		sc->to_look = 0;
	sc->unpark_at = sc->to_look ? soon_after(now) : sc->others_at;
}

/*
 * This CPU is in another pool, or what may run here is: those that wait and may not any more go at
 * once, and where the policy is another one, it puts the others into its order.
 */
static __noinline void recheck_waiting(struct sched_cpu *sc, u64 now)
{
	const struct sched_ops *was = sc->policy;
	struct sched_queue again = {0};
	struct sched_unit *u, *next;

	__atomic_store_n(&sc->recheck, false, __ATOMIC_SEQ_CST);
	sc->unpark_at = sc->to_look = 0;
	lock_acquire(&sched_set_up);
	sc->policy = sc->pool->policy;
	lock_release(&sched_set_up);
	for (u = sc->rq.queue.head; u; u = next) {
		next = u->next;
		if (may_run_here(sc, u) && sc->policy == was && !here_has_gained(u))
			continue;
		rq_remove(sc, u);
		queue_insert(&again, again.tail, u);
	}
	if (sc->policy != was)
		sc->rq.least = sc->rq.floor;
	while ((u = again.head)) {
		queue_remove(&again, u);
		here_enqueue(sc, u, now);
	}
}

/* The running unit, charged, waits from now on. */
static inline void requeue_running(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *u = sc->curr;

	WRITE_ONCE(u->boost, place_keeps_event(sc, u, now));
	sc->curr = NULL;
	unit_set_out_of_turn(u, false);
	__atomic_store_n(&u->state, SCHED_QUEUED, __ATOMIC_SEQ_CST);
	if (unlikely(sc->core))
		even_forgive(sc, u);
	here_enqueue(sc, u, now);
	if (READ_ONCE(u->wake)) /* it has not seen all that has come */
		here_boost(u);
}

/* May the running unit keep the CPU, as far as it depends on those here? */
static bool may_keep_cpu(const struct sched_cpu *sc, u64 now)
{
	if (!here_fits(sc, sc->curr, now) || now >= sc->slice_end)
		return false;
	if (sc->giver && READ_ONCE(sc->giver->boost))
		return false;
	if (unlikely(sc->core) && !smt_may_keep(sc))
		return false;
	return !here_is_preempted(sc, now);
}

static void start_unit(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	BUG_ON(READ_ONCE(u->state) != SCHED_QUEUED);
	sc->curr = u;
	WRITE_ONCE(sc->started, now);
	WRITE_ONCE(sc->charged_at, now);
	WRITE_ONCE(u->boost, false);
	unit_account(u, &u->steal, SCHED_RUNNING, now);
	__atomic_store_n(&u->wake, 0, __ATOMIC_SEQ_CST);
	if (sc->loaded == u)
		return;
	if (sc->loaded)
		place_unload(sc);
	BUG_ON(u->on_cpu); /* another CPU has its registers */
	sc->loaded = u;
	__atomic_store_n(&u->on_cpu, 1, __ATOMIC_SEQ_CST);
}

/*
 * ---- giving the CPU to and fro ----
 *
 * What happens most is an exit that QEMU serves: the dom0 unit that resumes a vCPU gives it the
 * CPU, and gets it back when that one blocks. While their slice lasts and nobody else has a say,
 * this goes without a queue and without a choice; each of the two would otherwise cost some 150
 * instructions (bench rows pio-mini, mmio-mini, pio-vmm, mmio-vmm, irqfd).
 *
 * sched_yield_to() leaves the vCPU's unit in `hand`. When sched_next() is asked it starts at once,
 * or is queued like any other and only preferred. The dom0 unit meanwhile is `giver`, and on the
 * run queue as every unit that waits, so that it needs nothing of its own when the slice ends.
 */

/* No third unit and no other CPU has a say in who runs here next. */
static bool is_between_two(const struct sched_cpu *sc, const struct sched_unit *to, u64 now)
{
	return now < sc->slice_end && !sc->core && !sc->parked.count &&
	       !READ_ONCE(sc->inbox.head) && !cpus_any(&sc->pull) && !READ_ONCE(to->capped) &&
	       may_run_here(sc, to) && !place_has_takers(sc, now);
}

/*
 * A giver may have more to do than to wait for u: if u could run on an idle CPU, this one is asked
 * again soon, and place_give_away() then sends u there.
 */
static void shorten_for_giver(struct sched_cpu *sc, const struct sched_unit *u, u64 now)
{
	if (sc->giver && u != sc->giver && place_others_idle(sc, &u->allowed))
		here_cut_slice(sc, now + sched_ms);
}

/*
 * The unit that has started without a choice, or NULL: choose, and if there is *next, prefer that
 * one of the queue.
 */
static struct sched_unit *hand_over(struct sched_cpu *sc, struct sched_unit **next, u64 now)
{
	struct sched_unit *ran = sc->curr, *to = sc->hand;
	bool waits = ran && !READ_ONCE(ran->wake); /* for `to` */

	*next = NULL;
	if (to) {
		sc->hand = NULL;
		if (!waits || !is_between_two(sc, to, now)) {
			if (!here_enqueue(sc, to, now) || !waits)
				return NULL;
			*next = to;
			sc->giver = ran;
			return NULL;
		}
		sc->giver = ran;
		requeue_running(sc, now);
		sc->policy->arrive(&sc->rq, to);
		here_cut_slice(sc, now + sc->policy->slice(&sc->rq, to));
		shorten_for_giver(sc, to, now);
	} else {
		to = sc->giver;
		if (ran || !to || !to->on_rq || !is_between_two(sc, to, now))
			return NULL;
		rq_remove(sc, to);
		sc->giver = NULL;
	}
	start_unit(sc, to, now);
	return to;
}

/*
 * Take off the queue who is to run out of turn: `next`, or the giver when the other one has done
 * with the CPU.
 */
static struct sched_unit *take_preferred(struct sched_cpu *sc, struct sched_unit *next,
					 bool blocked, u64 now)
{
	struct sched_unit *giver = sc->giver;

	if (!next && giver && (blocked || READ_ONCE(giver->boost)))
		next = giver;
	if (!next || !next->on_rq || sc->policy->in_order || !here_fits(sc, next, now))
		return NULL;
	if (now >= sc->slice_end && sc->rq.queue.count > 2)
		return NULL;
	rq_remove(sc, next);
	return next;
}

/* Off the queue: u, who is on none, or who is first, of those that may run beside others. */
static struct sched_unit *take_next(struct sched_cpu *sc, struct sched_unit *u, bool *early,
				    u64 now)
{
	const struct sched_unit *preferred = u;
	u32 more = LOOKED_AT;

	while (more && (!u || unlikely(sc->core))) {
		struct sched_unit *first = place_first(sc);

		u = unlikely(sc->core) ? smt_first(sc, u, now) : first;
		if (!u)
			break;
		*early = u != preferred && u == first && u != sc->rq.queue.head;
		if (unlikely(sc->core))
			*early = smt_is_urgent(sc, u);
		rq_remove(sc, u);
		if (here_fits(sc, u, now))
			break;
		here_enqueue(sc, u, now);
		u = NULL;
		more--;
	}
	return u;
}

/* Start u, who is on no queue, or if there is none the first of the queue. */
static struct sched_unit *choose_next(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	struct sched_unit *preferred = u;
	bool early = false, inherits;

	u = take_next(sc, u, &early, now);
	inherits = u && u == preferred && now < sc->slice_end;
	if (!u || u != preferred)
		sc->giver = NULL;
	if (!u && sc->parked.count && !sc->rq.queue.count) {
		u = cap_take_parked(&sc->parked, now);
		if (u)
			sc->policy->arrive(&sc->rq, u);
	}
	if (!u)
		return NULL;
	unit_set_out_of_turn(u, early);
	if (!inherits)
		sc->slice_end = now + sc->policy->slice(&sc->rq, u);
	if (unlikely(sc->core)) /* whose turn it is others are to know */
		here_cut_slice(sc, now + CORE_ASK_MS * sched_ms);
	shorten_for_giver(sc, u, now);
	if (u == sc->giver)
		sc->giver = NULL;
	sc->policy->charge(&sc->rq, u, 0); /* those left may be further than one that has gone */
	place_pass_over(sc, u, now);
	WRITE_ONCE(u->asked, false);
	start_unit(sc, u, now);
	return u;
}

/* Who waits and goes elsewhere must be gone before the choice, but on a core depends on it. */
static struct sched_unit *give_and_choose(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	u32 waiting;

	if (likely(!sc->core)) {
		place_give_away(sc, u, now);
		return choose_next(sc, u, now);
	}
	place_give_partner(sc, now);
	u = choose_next(sc, u, now);
	waiting = sc->rq.queue.count;
	if (!sc->leaving && !smt_core_is_urgent(sc)) /* soon over, and not worth a move */
		place_give_away(sc, true, now);
	if (sc->rq.queue.count != waiting)
		smt_look(sc, now);
	return u;
}

/* When sched_next() must be called again at the latest. */
static u64 ask_again_at(const struct sched_cpu *sc, u64 now)
{
	u64 at = sc->curr ? sc->slice_end : SCHED_NEVER;

	at = MIN(at, sc->unpark_at);
	if (sc->curr)
		at = MIN(at, cap_ask_at(sc->curr, now));
	if (sc->curr || !sc->rq.queue.count)
		return at;
	if (unlikely(sc->core))
		return MIN(at, MAX(smt_ask_at(sc, now), soon_after(now)));
	return MIN(at, soon_after(now));
}

/* The unit that ran goes on, or waits, and another one starts; NULL: none. */
static struct sched_unit *keep_or_choose(struct sched_cpu *sc, struct sched_unit *ran,
					 struct sched_unit *next, u64 now)
{
	bool keeps = ran && !next && may_keep_cpu(sc, now);
	struct sched_unit *u;

	if (keeps && !cpus_any(&sc->pull) && !place_has_takers(sc, now))
		return ran;
	if (ran)
		requeue_running(sc, now);
	if (ran && !next && ran->is_fresh) /* which is as good as an event */
		WRITE_ONCE(ran->boost, true);
	if (keeps && (READ_ONCE(ran->boost) || (unlikely(sc->core) && smt_is_urgent(sc, ran))))
		next = ran; /* others go where they are asked for */
	u = take_preferred(sc, next, !ran, now);
	u = give_and_choose(sc, u, now);
	if (!u && sc->loaded && !sc->loaded->pinned) {
		place_unload(sc);
		place_forget_asked(sc);
	}
	return u;
}

/* What others are to know of this CPU, which runs u from now on, or idles. */
static void show_state(struct sched_cpu *sc, const struct sched_unit *u, u64 now)
{
	if (sc->rq.queue.count && sc->rq.queue.count + !!u > 1u + place_has_home(sc))
		WRITE_ONCE(sc->shared_at, now);
	if (u) {
		cpus_take(&sched_idle, sc->index);
	} else {
		WRITE_ONCE(sc->charged_at, SCHED_NEVER);
		cpus_add(&sched_idle, sc->index);
	}
}

struct sched_unit *sched_next(struct sched_unit *ran, u64 now, u64 *slice_end)
{
	struct sched_cpu *sc = here_sched();
	struct sched_unit *u, *next;

	BUG_ON(ran != sc->curr);
	/* Before the inbox is looked at: whoever fills it later sets this again. */
	__atomic_store_n(&this_cpu()->resched, false, __ATOMIC_SEQ_CST);
	if (ran) {
		now = MAX(now, ran->since);
		here_charge(sc, now);
	}
	if (unlikely(READ_ONCE(sc->recheck)))
		recheck_waiting(sc, now);
	u = hand_over(sc, &next, now);
	if (u) {
		*slice_end = sc->slice_end;
		return u;
	}
	unpark_due(sc, now);
	take_inbox(sc, now);
	if (ran) { /* more may wait now than when the slice began, and in dom0 more or less run */
		place_count(ran, true);
		here_cut_slice(sc, sc->started + sc->policy->slice(&sc->rq, ran));
	}
	if (unlikely(READ_ONCE(sc->favoured)) && !next)
		next = place_favoured(sc, ran);
	u = keep_or_choose(sc, ran, next, now);
	show_state(sc, u, now);
	*slice_end = ask_again_at(sc, now);
	if (!u && !sc->leaving && now >= sc->asked_at + IDLE_ASK_US * sched_ms / 1000 &&
	    place_ask_for_work(sc, now) && unlikely(sc->core)) /* who does not fit now may soon */
		*slice_end = MIN(*slice_end, now + sched_ms);
	return u;
}
