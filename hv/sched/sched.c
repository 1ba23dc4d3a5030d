/* SPDX-License-Identifier: GPL-2.0-only */
/* The heart of the scheduler: states, wake-ups, the choice of who runs, caps, accounting. */
#include "hv/sched/sched.h"
#include "hv/cpu/time.h"
#include "hv/lib/string.h"
#include "hv/sched/cap.h"
#include "hv/sched/even.h"
#include "hv/sched/place.h"

#define IDLE_ASK_US 250 /* how often an idle CPU looks for one where units wait */
#define CORE_ASK_MS 50	/* how often a CPU of a core that runs only one group does */
#define LEAVE_PART  50	/* of a millisecond has dom0 to leave the CPU when its turn is over */
#define FAVOUR_PART 10	/* of one a CPU is left alone by who spins on another */

static struct sched_cpu *this_sched(void)
{
	return this_cpu()->sched;
}

/* ---- time ---- */

/* Charge the running unit up to now. */
static void charge_running(struct sched_cpu *sc, u64 now)
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

/* ---- queues ---- */

/* May it run on this CPU now? If not, enqueue_here() sends it away or parks it. */
static bool fits_here(const struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	return may_run_here(sc, u) && cap_left(u, now);
}

/*
 * Queue a unit here, or pass it on to a CPU it may run on, or park it. True if it can be picked
 * here.
 */
static bool enqueue_here(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	BUG_ON(u->on_rq || READ_ONCE(u->state) != SCHED_QUEUED);
	if (!may_run_here(sc, u)) {
		if (sc->loaded == u)
			place_unload(sc);
		place_send(u, place_choose(u));
		return false;
	}
	BUG_ON(u->load && u->cpu != sc->index);
	WRITE_ONCE(u->cpu, sc->index);
	if (!cap_left(u, now)) {
		place_count(u, false);
		u->slept = true;
		WRITE_ONCE(u->napped, true);
		queue_insert(&sc->parked, sc->parked.tail, u);
		return false;
	}
	place_count(u, true);
	if (unlikely(sc->core) && sc->charged_at == SCHED_NEVER && !sc->rq.queue.count)
		smt_catch_up(sc);
	sc->policy->enqueue(&sc->rq, u);
	u->on_rq = true;
	return true;
}

/* Does a unit that waits here have an event, and come before the running one? */
static inline bool is_preempted(const struct sched_cpu *sc, u64 now)
{
	const struct sched_unit *first = place_first(sc);

	return first && READ_ONCE(first->boost) && sc->policy->preempts(first, sc->curr, now);
}

/* ---- wake-ups ---- */

/* The unit is queued and has an event. */
static void boost_queued(struct sched_unit *u)
{
	struct sched_cpu *sc = this_sched();
	u32 cpu = READ_ONCE(u->cpu);
	bool was = __atomic_exchange_n(&u->boost, true, __ATOMIC_SEQ_CST);

	if (cpu != sc->index) {
		if (!was)
			place_poke(cpu);
	} else if (sc->giver == u || (sc->curr && is_preempted(sc, sched_clock()))) {
		WRITE_ONCE(this_cpu()->resched, true);
	}
}

/* A wake has come. True: the unit was blocked, is queued now, and the caller's to put somewhere. */
static bool win_blocked(struct sched_unit *u)
{
	u32 state = SCHED_BLOCKED;

	__atomic_store_n(&u->wake, 1, __ATOMIC_SEQ_CST);
	if (__atomic_compare_exchange_n(&u->state, &state, SCHED_QUEUED, false, __ATOMIC_SEQ_CST,
					__ATOMIC_SEQ_CST))
		return true;
	state == SCHED_QUEUED ? boost_queued(u) : place_note_event(u);
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

/* The slice ends at that time, if not before. */
static void cut_slice(struct sched_cpu *sc, u64 end)
{
	sc->slice_end = MIN(sc->slice_end, end);
}

/* Put a unit that the caller has won where it waits for a CPU. */
static void put_woken(struct sched_unit *u)
{
	struct sched_cpu *sc = this_sched();
	u64 now = begin_waiting(u);
	u32 cpu;

	WRITE_ONCE(u->boost, true);
	/* Its registers can only leave the hardware of the CPU where they are. */
	if (__atomic_load_n(&u->on_cpu, __ATOMIC_ACQUIRE))
		cpu = u->cpu;
	else
		cpu = place_choose(u);
	/* What may not run here is sent on by the next sched_next(): no lock is held there. */
	if (cpu != sc->index || !may_run_here(sc, u)) {
		place_send(u, cpu);
		return;
	}
	if (sc->curr) /* the policy compares the two */
		charge_running(sc, now);
	enqueue_here(sc, u, now);
	/* Has sched_next() to be asked before the slice ends, or does that now end earlier? */
	if (!sc->curr || sc->parked.count || is_preempted(sc, now) ||
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
	struct sched_cpu *sc = this_sched();

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
	struct sched_cpu *sc = this_sched(), *at = sched_of(READ_ONCE(to->cpu));
	u64 now = sched_clock();

	BUG_ON(sc->curr != from || from == to);
	if (READ_ONCE(to->state) != SCHED_QUEUED)
		return;
	if (at != sc && sc->rq.queue.head != sc->giver) { /* nor is dom0's to run instead */
		cut_slice(sc, now);
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
	BUG_ON(this_sched()->curr != u);
	__atomic_store_n(&u->wake, 0, __ATOMIC_SEQ_CST);
}

bool sched_block(struct sched_unit *u)
{
	struct sched_cpu *sc = this_sched();
	u32 blocked = SCHED_BLOCKED;

	BUG_ON(sc->curr != u);
	charge_running(sc, sched_clock());
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
	struct sched_cpu *sc = this_sched();
	u64 now = sched_clock();

	if (sc->curr && sc->curr->out_of_turn) {
		charge_running(sc, now);
		cut_slice(sc, now + sched_ms / LEAVE_PART);
		WRITE_ONCE(this_cpu()->resched, true); /* to arm the timer */
	}
}

/* ---- choosing ---- */

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
		enqueue_here(sc, u, now);
	}
}

static void unpark_due(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *u, *next;
	u32 cpu;

	for (u = sc->parked.head; u; u = next) {
		next = u->next;
		if (may_run_here(sc, u) && !cap_left(u, now))
			continue;
		queue_remove(&sc->parked, u);
		/* several may have been parked here, and other CPUs idle */
		cpu = sc->loaded == u ? sc->index : place_choose(u);
		cpu == sc->index ? (void)enqueue_here(sc, u, now) : place_send(u, cpu);
	}
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
	lock_acquire(&sched_set_up);
	sc->policy = sc->pool->policy;
	lock_release(&sched_set_up);
	for (u = sc->rq.queue.head; u; u = next) {
		next = u->next;
		if (may_run_here(sc, u) && sc->policy == was)
			continue;
		rq_remove(sc, u);
		queue_insert(&again, again.tail, u);
	}
	if (sc->policy != was)
		sc->rq.least = sc->rq.floor;
	while ((u = again.head)) {
		queue_remove(&again, u);
		enqueue_here(sc, u, now);
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
	enqueue_here(sc, u, now);
	if (READ_ONCE(u->wake)) /* it has not seen all that has come */
		boost_queued(u);
}

/* May the running unit keep the CPU, as far as it depends on those here? */
static bool may_keep_cpu(const struct sched_cpu *sc, u64 now)
{
	if (!fits_here(sc, sc->curr, now) || now >= sc->slice_end)
		return false;
	if (sc->giver && READ_ONCE(sc->giver->boost))
		return false;
	if (unlikely(sc->core) && !smt_may_keep(sc))
		return false;
	return !is_preempted(sc, now);
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
		cut_slice(sc, now + sched_ms);
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
			if (!enqueue_here(sc, to, now) || !waits)
				return NULL;
			*next = to;
			sc->giver = ran;
			return NULL;
		}
		sc->giver = ran;
		requeue_running(sc, now);
		sc->policy->arrive(&sc->rq, to);
		cut_slice(sc, now + sc->policy->slice(&sc->rq, to));
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
	if (!next || !next->on_rq || sc->policy->in_order || !fits_here(sc, next, now))
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

	while (!u || unlikely(sc->core)) {
		struct sched_unit *first = place_first(sc);

		u = unlikely(sc->core) ? smt_first(sc, u, now) : first;
		if (!u)
			break;
		*early = u != preferred && u == first && u != sc->rq.queue.head;
		if (unlikely(sc->core))
			*early = smt_is_urgent(sc, u);
		rq_remove(sc, u);
		if (fits_here(sc, u, now))
			break;
		enqueue_here(sc, u, now);
		u = NULL;
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
	if (!u && sc->parked.count) {
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
		cut_slice(sc, now + CORE_ASK_MS * sched_ms);
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

	at = MIN(at, cap_ask_at(sc->curr, &sc->parked, now));
	if (unlikely(sc->core) && !sc->curr && sc->rq.queue.count)
		at = MIN(at, smt_ask_at(sc, now));
	return at;
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
	struct sched_cpu *sc = this_sched();
	struct sched_unit *u, *next;

	BUG_ON(ran != sc->curr);
	/* Before the inbox is looked at: whoever fills it later sets this again. */
	__atomic_store_n(&this_cpu()->resched, false, __ATOMIC_SEQ_CST);
	if (ran) {
		now = MAX(now, ran->since);
		charge_running(sc, now);
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
		cut_slice(sc, sc->started + sc->policy->slice(&sc->rq, ran));
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
