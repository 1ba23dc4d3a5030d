/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The policy-independent half of the scheduler: states, wake-ups, placing, balancing, caps,
 * accounting.
 */
#include "hv/sched/sched.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/sched/queue.h"

#define CAP_WINDOW_MS 100
/*
 * windows' budgets it can owe: who waits for a capped unit waits no longer, whatever it was charged
 * for
 */
#define CAP_DEBT    5
#define BALANCE_MS  50 /* how often a busy CPU looks for one with more waiting units */
#define IDLE_ASK_MS 2  /* how often an idle one does */
/* ticks of an epoch of sched_unit.recent, as a power of two: some 50 ms */
#define RECENT_SHIFT 27
#define RQ_MAX	     128

/* One CPU's part. All but the inbox, the atomics and load is touched by that CPU only. */
struct sched_cpu {
	struct lock lock; /* LOCK_SCHED: inbox */
	struct sched_queue inbox;
	u64 pull; /* atomic: CPUs that ask for a unit */
	/* units on rq or running here; written by this CPU, read as a hint by others */
	u32 load;
	struct sched_unit *curr;    /* picked, and not blocked since */
	struct sched_unit *loaded;  /* its on_cpu is set for this CPU */
	struct sched_unit *next_up; /* to be picked next out of turn */
	/* yielded to, on no queue: takes over when sched_next() is asked */
	struct sched_unit *hand;
	struct sched_unit *giver;  /* gave the CPU to curr by sched_yield_to(); pinned */
	struct sched_queue parked; /* used up their cap */
	u64 started, slice_end;
	u64 asked_at; /* when it last looked for work */
	u64 rq[RQ_MAX / sizeof(u64)] __aligned(16);
} __aligned(64);

static struct sched_cpu sched_cpus[MAX_CPUS];
static const struct sched_ops *ops = &sched_fair;
static sched_leave_fn *leave;
/* atomic; a CPU's idle bit is taken away by whoever sends it work */
static u64 online_mask, idle_mask;
static u64 ms; /* in ticks */

#ifdef HV_HOST_TEST
u64 sched_test_clock(void);
#define clock() sched_test_clock()
#else
#define clock() rdtsc()
#endif

static struct sched_rq *rq_of(struct sched_cpu *sc)
{
	return (struct sched_rq *)sc->rq;
}

static u32 index_of(const struct sched_cpu *sc)
{
	return sc - sched_cpus;
}

static struct sched_cpu *this_sched(void)
{
	return this_cpu()->sched;
}

static u64 load_mask(const u64 *mask)
{
	return __atomic_load_n(mask, __ATOMIC_SEQ_CST);
}

static bool claim_idle(u32 cpu)
{
	return __atomic_fetch_and(&idle_mask, ~BIT(cpu), __ATOMIC_SEQ_CST) & BIT(cpu);
}

/* Make a CPU call sched_next() soon. */
static void poke(u32 cpu)
{
	__atomic_store_n(&cpus[cpu]->resched, true, __ATOMIC_SEQ_CST);
	smp_kick(cpus[cpu]);
}

static bool state_change(struct sched_unit *u, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(&u->state, &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static bool may_run_on(const struct sched_unit *u, u32 cpu)
{
	return READ_ONCE(u->affinity) & BIT(cpu);
}

/* ---- time ---- */

static void seq_begin(struct sched_unit *u)
{
	WRITE_ONCE(u->seq, u->seq + 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void seq_end(struct sched_unit *u)
{
	__atomic_store_n(&u->seq, u->seq + 1, __ATOMIC_RELEASE);
}

/* Ticks of a window. */
static u64 cap_budget(u64 cap)
{
	return cap * ms * CAP_WINDOW_MS / 100;
}

/* Charge the running unit up to now. */
static void charge(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	u64 ran = now > u->since ? now - u->since : 0;
	u64 epochs = (now >> RECENT_SHIFT) - u->recent_epoch, cap = READ_ONCE(u->cap);

	seq_begin(u);
	u->runtime += ran;
	u->since += ran;
	seq_end(u);
	u->recent = (epochs < 64 ? u->recent >> epochs : 0) + ran;
	u->recent_epoch = now >> RECENT_SHIFT;
	if (cap)
		u->cap_used = MIN(u->cap_used + ran, CAP_DEBT * cap_budget(cap));
	ops->charge(rq_of(sc), u, ran);
}

/*
 * Ticks the cap lets it run in the window around now. What was run too much is taken off the next
 * windows.
 */
static u64 cap_left(struct sched_unit *u, u64 now)
{
	u64 cap = READ_ONCE(u->cap), budget, passed;

	if (likely(!cap))
		return SCHED_NEVER;
	budget = cap_budget(cap);
	passed = now > u->cap_start ? (now - u->cap_start) / (ms * CAP_WINDOW_MS) : 0;
	if (passed) {
		u->cap_used = u->cap_used / budget >= passed ? u->cap_used - passed * budget : 0;
		u->cap_start += passed * ms * CAP_WINDOW_MS;
	}
	return u->cap_used < budget ? budget - u->cap_used : 0;
}

static u64 cap_refill_at(const struct sched_unit *u)
{
	return u->cap_start + ms * CAP_WINDOW_MS;
}

/* ---- placing ---- */

/* May it run on this CPU now? If not, enqueue() sends it away or parks it. */
static bool fits(const struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	return may_run_on(u, index_of(sc)) && cap_left(u, now);
}

static void publish_load(struct sched_cpu *sc)
{
	WRITE_ONCE(sc->load, ops->load(rq_of(sc)) + (sc->curr ? 1 : 0));
}

/* The unit's registers leave this CPU's hardware. */
static void unload(struct sched_cpu *sc)
{
	struct sched_unit *u = sc->loaded;

	sc->loaded = NULL;
	leave(u, u->state == SCHED_QUEUED && u != sc->giver);
	__atomic_store_n(&u->on_cpu, 0, __ATOMIC_RELEASE);
}

static u32 least_loaded(u64 allowed)
{
	u32 cpu, best = __builtin_ctzll(allowed);

	for (; allowed; allowed &= allowed - 1) {
		cpu = __builtin_ctzll(allowed);
		if (READ_ONCE(sched_cpus[cpu].load) < READ_ONCE(sched_cpus[best].load))
			best = cpu;
	}
	return best;
}

/*
 * Where a unit goes that is on no CPU's hardware: where it was if idle, another idle CPU, where it
 * was, the least busy.
 */
static u32 choose_cpu(struct sched_unit *u)
{
	u64 allowed = READ_ONCE(u->affinity) & load_mask(&online_mask), idle;
	u32 last = READ_ONCE(u->cpu), cpu;

	if (u->pinned || !allowed)
		return last;
	if ((allowed & BIT(last)) && claim_idle(last))
		return last;
	for (idle = load_mask(&idle_mask) & allowed; idle; idle &= idle - 1) {
		cpu = __builtin_ctzll(idle);
		if (claim_idle(cpu))
			return cpu;
	}
	return (allowed & BIT(last)) ? last : least_loaded(allowed);
}

static void send(struct sched_unit *u, u32 cpu)
{
	struct sched_cpu *sc = &sched_cpus[cpu];

	WRITE_ONCE(u->cpu, cpu);
	lock_acquire(&sc->lock);
	queue_insert(&sc->inbox, sc->inbox.tail, u);
	lock_release(&sc->lock);
	poke(cpu);
}

/*
 * Queue a unit here, or pass it on to a CPU it may run on, or park it. True if it can be picked
 * here.
 */
static bool enqueue(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	if (!may_run_on(u, index_of(sc))) {
		if (sc->loaded == u)
			unload(sc);
		send(u, choose_cpu(u));
		return false;
	}
	WRITE_ONCE(u->cpu, index_of(sc));
	if (!cap_left(u, now)) {
		queue_insert(&sc->parked, sc->parked.tail, u);
		return false;
	}
	u->on_rq = true;
	ops->enqueue(rq_of(sc), u, now);
	return true;
}

static bool deserves_cpu(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *first = ops->peek(rq_of(sc));

	return first && READ_ONCE(first->boost) && ops->preempts(rq_of(sc), first, sc->curr, now);
}

/*
 * After something changed on this CPU's queue: does sched_next() have to be asked before the slice
 * ends?
 */
static bool must_ask(struct sched_cpu *sc, u64 now)
{
	if (!sc->curr || sc->next_up || sc->parked.count || deserves_cpu(sc, now))
		return true;
	return sc->started + ops->slice(rq_of(sc), sc->curr) < sc->slice_end;
}

/* ---- wake-ups ---- */

/* The unit is queued and has an event. */
static void boost(struct sched_unit *u)
{
	struct sched_cpu *sc = this_sched();
	u32 cpu = READ_ONCE(u->cpu);
	bool was = __atomic_exchange_n(&u->boost, true, __ATOMIC_SEQ_CST);

	if (cpu != index_of(sc)) {
		if (!was)
			poke(cpu);
	} else if (sc->giver == u || (sc->curr && deserves_cpu(sc, clock()))) {
		this_cpu()->resched = true;
	}
}

static void begin_waiting(struct sched_unit *u, u64 now)
{
	seq_begin(u);
	u->since = now;
	seq_end(u);
}

/* The caller has won the unit: BLOCKED -> QUEUED. */
static void place(struct sched_unit *u, bool here)
{
	struct sched_cpu *sc = this_sched();
	u64 now = clock();
	u32 cpu;

	begin_waiting(u, now);
	WRITE_ONCE(u->boost, true);
	if (__atomic_load_n(&u->on_cpu, __ATOMIC_ACQUIRE))
		cpu = u->cpu;
	else if (here && may_run_on(u, index_of(sc)))
		cpu = index_of(sc);
	else
		cpu = choose_cpu(u);
	if (cpu != index_of(sc)) {
		send(u, cpu);
		return;
	}
	if (sc->curr) /* the policy compares the two */
		charge(sc, sc->curr, now);
	if (enqueue(sc, u, now) && here)
		sc->next_up = u;
	publish_load(sc);
	if (must_ask(sc, now))
		this_cpu()->resched = true;
}

static bool win(struct sched_unit *u)
{
	u32 state;

	__atomic_store_n(&u->wake, 1, __ATOMIC_SEQ_CST);
	if (state_change(u, SCHED_BLOCKED, SCHED_QUEUED))
		return true;
	state = __atomic_load_n(&u->state, __ATOMIC_SEQ_CST);
	if (state == SCHED_QUEUED)
		boost(u);
	return false;
}

void sched_wake(struct sched_unit *u)
{
	if (win(u))
		place(u, false);
}

void sched_yield_to(struct sched_unit *from, struct sched_unit *to)
{
	struct sched_cpu *sc = this_sched();

	BUG_ON(sc->curr != from);
	if (!win(to))
		return;
	if (from->pinned && !sc->hand && may_run_on(to, index_of(sc)) &&
	    !__atomic_load_n(&to->on_cpu, __ATOMIC_ACQUIRE)) {
		begin_waiting(to, clock());
		WRITE_ONCE(to->cpu, index_of(sc));
		sc->hand = to;
		/* what comes from now on keeps `from` here */
		(void)__atomic_exchange_n(&from->wake, 0, __ATOMIC_SEQ_CST);
		this_cpu()->resched = true;
		return;
	}
	place(to, true);
}

bool sched_block(struct sched_unit *u)
{
	struct sched_cpu *sc = this_sched();

	BUG_ON(sc->curr != u);
	charge(sc, u, clock());
	__atomic_store_n(&u->state, SCHED_BLOCKED, __ATOMIC_SEQ_CST);
	if (__atomic_exchange_n(&u->wake, 0, __ATOMIC_SEQ_CST) &&
	    state_change(u, SCHED_BLOCKED, SCHED_RUNNING))
		return false;
	sc->curr = NULL;
	return true;
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
	while ((u = queue_take(&in)))
		enqueue(sc, u, now);
}

static void unpark(struct sched_cpu *sc, u64 now)
{
	struct sched_unit *u, *next;

	for (u = sc->parked.head; u; u = next) {
		next = u->next;
		if (may_run_on(u, index_of(sc)) && !cap_left(u, now))
			continue;
		queue_remove(&sc->parked, u);
		enqueue(sc, u, now);
	}
}

static void requeue(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	u->boost = false;
	sc->curr = NULL;
	__atomic_store_n(&u->state, SCHED_QUEUED, __ATOMIC_SEQ_CST);
	enqueue(sc, u, now);
}

static bool give_one(struct sched_cpu *sc, u32 cpu, u64 now)
{
	struct sched_unit *u = ops->steal(rq_of(sc), cpu, now);

	if (!u)
		return false;
	u->on_rq = false;
	if (sc->loaded == u)
		unload(sc);
	send(u, cpu);
	return true;
}

/* CPUs that idle while units wait here, once the running one has had the CPU for a while. */
static u64 idle_takers(struct sched_cpu *sc, u64 now)
{
	if (now < sc->started + ms || !ops->load(rq_of(sc)))
		return 0;
	return load_mask(&idle_mask) & ~BIT(index_of(sc));
}

/*
 * Pass waiting units on to CPUs that asked, and to idle ones. One stays to run here: on the queue,
 * or kept by the caller.
 */
static void give_away(struct sched_cpu *sc, bool kept, u64 now)
{
	u64 asked = __atomic_exchange_n(&sc->pull, 0, __ATOMIC_SEQ_CST),
	    idle = idle_takers(sc, now);
	u32 cpu;

	for (; asked && ops->load(rq_of(sc)) + kept > 1; asked &= asked - 1) {
		cpu = __builtin_ctzll(asked);
		if (READ_ONCE(sched_cpus[cpu].load) < ops->load(rq_of(sc)) + kept &&
		    give_one(sc, cpu, now))
			claim_idle(cpu);
	}
	for (; idle && ops->load(rq_of(sc)) + kept > 1; idle &= idle - 1) {
		cpu = __builtin_ctzll(idle);
		if (claim_idle(cpu) && !give_one(sc, cpu, now))
			__atomic_fetch_or(&idle_mask, BIT(cpu), __ATOMIC_SEQ_CST);
	}
}

/* Ask the busiest CPU for a unit if it has more than this one. */
static void ask_for_work(struct sched_cpu *sc, u64 now)
{
	u64 others = load_mask(&online_mask) & ~BIT(index_of(sc));
	u32 cpu, load, most = MAX(READ_ONCE(sc->load), 1u), busiest = MAX_CPUS;

	for (; others; others &= others - 1) {
		cpu = __builtin_ctzll(others);
		load = READ_ONCE(sched_cpus[cpu].load);
		if (load > most) {
			most = load;
			busiest = cpu;
		}
	}
	sc->asked_at = now;
	if (busiest == MAX_CPUS)
		return;
	__atomic_fetch_or(&sched_cpus[busiest].pull, BIT(index_of(sc)), __ATOMIC_SEQ_CST);
	poke(busiest);
}

/* May the unit that ran keep the CPU? */
static bool stays(struct sched_cpu *sc, struct sched_unit *ran, u64 now)
{
	if (!fits(sc, ran, now) || sc->next_up)
		return false;
	if ((sc->giver && READ_ONCE(sc->giver->boost)) || READ_ONCE(sc->pull) ||
	    idle_takers(sc, now))
		return false;
	return now < sc->slice_end && !deserves_cpu(sc, now);
}

/*
 * Take off the queue who is to run out of turn: the unit yielded to, or the giver when that one has
 * done with the CPU.
 */
static struct sched_unit *out_of_turn(struct sched_cpu *sc, bool blocked, u64 now)
{
	struct sched_unit *u = sc->next_up;

	sc->next_up = NULL;
	if (!u && sc->giver && (blocked || READ_ONCE(sc->giver->boost)))
		u = sc->giver;
	if (!u || !u->on_rq || u->cpu != index_of(sc) || !fits(sc, u, now))
		return NULL;
	if (now >= sc->slice_end && ops->load(rq_of(sc)) > 2)
		return NULL;
	ops->dequeue(rq_of(sc), u, now);
	return u;
}

/*
 * A pinned giver may have more to do than to wait for u: if u could run on an idle CPU, this one is
 * asked again soon, and give_away() then sends u there.
 */
static void shorten_for_giver(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	if (sc->giver && u != sc->giver &&
	    (load_mask(&idle_mask) & READ_ONCE(u->affinity) & ~BIT(index_of(sc))))
		sc->slice_end = MIN(sc->slice_end, now + ms);
}

/* u: who runs out of turn, if anyone. */
static struct sched_unit *choose(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	bool inherits = u && now < sc->slice_end;

	if (!u)
		sc->giver = NULL;
	while (!u && (u = ops->pick(rq_of(sc), now)))
		if (!fits(sc, u, now)) {
			u->on_rq = false;
			enqueue(sc, u, now);
			u = NULL;
		}
	if (!u)
		return NULL;
	u->on_rq = false;
	sc->started = now;
	if (!inherits)
		sc->slice_end = now + ops->slice(rq_of(sc), u);
	shorten_for_giver(sc, u, now);
	if (u == sc->giver)
		sc->giver = NULL;
	return u;
}

static void start(struct sched_cpu *sc, struct sched_unit *u, u64 now)
{
	u64 waited = now > u->since ? now - u->since : 0;

	sc->curr = u;
	u->boost = false;
	seq_begin(u);
	u->steal += waited;
	u->since += waited;
	__atomic_store_n(&u->state, SCHED_RUNNING, __ATOMIC_SEQ_CST);
	seq_end(u);
	(void)__atomic_exchange_n(&u->wake, 0, __ATOMIC_SEQ_CST);
	if (sc->loaded == u)
		return;
	if (sc->loaded)
		unload(sc);
	sc->loaded = u;
	__atomic_store_n(&u->on_cpu, 1, __ATOMIC_SEQ_CST);
}

/* No third unit and no other CPU has a say in who runs here next. */
static bool is_between_two(struct sched_cpu *sc, const struct sched_unit *to, u64 now)
{
	return now < sc->slice_end && !sc->next_up && !sc->parked.count &&
	       !READ_ONCE(sc->inbox.head) && !READ_ONCE(sc->pull) && !READ_ONCE(to->cap) &&
	       may_run_on(to, index_of(sc)) && !idle_takers(sc, now);
}

/*
 * What happens most: a dom0 unit gives its CPU to a guest's, or gets it back when that one blocks.
 * Within their slice this takes no choice. NULL: choose.
 */
static struct sched_unit *hand_over(struct sched_cpu *sc, struct sched_unit *ran, u64 now)
{
	struct sched_unit *to = sc->hand ?: ran ? NULL : sc->giver;
	bool simple = to && is_between_two(sc, to, now);

	if (sc->hand) {
		sc->hand = NULL;
		if (!simple || !ran || READ_ONCE(ran->wake)) {
			if (enqueue(sc, to, now) && ran && !READ_ONCE(ran->wake)) {
				sc->next_up = to;
				sc->giver = ran;
			}
			return NULL;
		}
		requeue(sc, ran, now);
		sc->giver = ran;
		sc->slice_end = MIN(sc->slice_end, now + ops->slice(rq_of(sc), to));
		shorten_for_giver(sc, to, now);
	} else if (simple && to->on_rq && to->cpu == index_of(sc)) {
		ops->dequeue(rq_of(sc), to, now);
		to->on_rq = false;
		sc->giver = NULL;
	} else {
		return NULL;
	}
	sc->started = now;
	start(sc, to, now);
	publish_load(sc);
	return to;
}

/* When sched_next() must be called again at the latest. */
static u64 ask_again_at(struct sched_cpu *sc, u64 now)
{
	u64 at = sc->curr ? MIN(sc->slice_end, now + MIN(cap_left(sc->curr, now), ms * 1000))
			  : SCHED_NEVER;
	struct sched_unit *u;

	for (u = sc->parked.head; u; u = u->next)
		at = MIN(at, cap_refill_at(u));
	return at;
}

struct sched_unit *sched_next(struct sched_unit *ran, u64 now, u64 *slice_end)
{
	struct cpu *c = this_cpu();
	struct sched_cpu *sc = c->sched;
	struct sched_unit *u;

	BUG_ON(ran != sc->curr);
	/* Before the inbox is looked at: whoever fills it later sets this again. */
	(void)__atomic_exchange_n(&c->resched, false, __ATOMIC_SEQ_CST);
	if (ran) {
		now = MAX(now, ran->since);
		charge(sc, ran, now);
	}
	u = hand_over(sc, ran, now);
	if (u) {
		*slice_end = sc->slice_end;
		return u;
	}
	u = ran;
	unpark(sc, now);
	take_inbox(sc, now);
	if (ran) /* more may wait now than when the slice began */
		sc->slice_end = MIN(sc->slice_end, sc->started + ops->slice(rq_of(sc), ran));
	if (!ran || !stays(sc, ran, now)) {
		if (ran)
			requeue(sc, ran, now);
		u = out_of_turn(sc, !ran, now);
		give_away(sc, u, now);
		u = choose(sc, u, now);
		if (u)
			start(sc, u, now);
		else if (sc->loaded && !sc->loaded->pinned)
			unload(sc);
	}
	publish_load(sc);
	if (u)
		__atomic_fetch_and(&idle_mask, ~BIT(c->index), __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_or(&idle_mask, BIT(c->index), __ATOMIC_SEQ_CST);
	if (now >= sc->asked_at + ms * (u ? BALANCE_MS : IDLE_ASK_MS))
		ask_for_work(sc, now);
	*slice_end = ask_again_at(sc, now);
	return u;
}

/* ---- set-up and parameters ---- */

void sched_init(const char *policy, sched_leave_fn *leave_fn)
{
	static const struct sched_ops *const all[] = {&sched_fair, &sched_rr};
	u32 i;

	leave = leave_fn;
	ops = NULL;
	for (i = 0; i < ARRAY_SIZE(all); i++)
		if (!strcmp(policy, all[i]->name))
			ops = all[i];
	if (!ops) {
		ops = &sched_fair;
		if (policy[0])
			log_warn("sched=%s: no such scheduler, using %s (there are fair and rr)",
				 policy, ops->name);
	}
	BUG_ON(ops->rq_size > RQ_MAX);
	ms = ns_to_tsc(1000000);
	online_mask = idle_mask = 0;
	for (i = 0; i < MAX_CPUS; i++)
		sched_cpus[i] = (struct sched_cpu){.lock = LOCK_INIT(LOCK_SCHED)};
}

void sched_init_cpu(void)
{
	struct cpu *c = this_cpu();
	struct sched_cpu *sc = &sched_cpus[c->index];

	c->sched = sc;
	ops->rq_init(rq_of(sc), c->index);
	__atomic_fetch_or(&online_mask, BIT(c->index), __ATOMIC_SEQ_CST);
}

u64 sched_idle_cpus(void)
{
	return load_mask(&idle_mask);
}

const char *sched_policy_name(void)
{
	return ops->name;
}

void sched_unit_init(struct sched_unit *u, u32 weight, u64 affinity, u32 cpu, bool pinned)
{
	*u = (struct sched_unit){
	    .state = SCHED_BLOCKED,
	    .cpu = cpu,
	    .weight = weight,
	    .affinity = pinned				     ? BIT(cpu)
			: affinity & load_mask(&online_mask) ? affinity
							     : ~0ull,
	    .pinned = pinned,
	    .since = clock(),
	};
}

bool sched_is_off(const struct sched_unit *u)
{
	return __atomic_load_n(&u->state, __ATOMIC_SEQ_CST) == SCHED_BLOCKED &&
	       !__atomic_load_n(&u->on_cpu, __ATOMIC_ACQUIRE);
}

int sched_set(struct sched_unit *u, u32 weight, u64 affinity, u32 cap)
{
	u32 cpu;

	if (weight > SCHED_WEIGHT_MAX || cap > 100 ||
	    (affinity && !(affinity & load_mask(&online_mask))))
		return -EINVAL;
	if (affinity && u->pinned)
		return -EPERM;
	if (weight)
		WRITE_ONCE(u->weight, weight);
	if (cap)
		WRITE_ONCE(u->cap, cap == 100 ? 0 : cap);
	if (affinity)
		__atomic_store_n(&u->affinity, affinity & load_mask(&online_mask),
				 __ATOMIC_SEQ_CST);
	cpu = READ_ONCE(u->cpu);
	if (__atomic_load_n(&u->state, __ATOMIC_SEQ_CST) != SCHED_BLOCKED)
		poke(cpu);
	return 0;
}

/*
 * One of a unit's counters, which grows while the unit is in a state: a snapshot without its CPU's
 * lock.
 */
static u64 counter(const struct sched_unit *u, const u64 *total, u32 growing, u64 now)
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
	return state == growing && now > since ? value + (now - since) : value;
}

u64 sched_runtime(const struct sched_unit *u, u64 now)
{
	return counter(u, &u->runtime, SCHED_RUNNING, now);
}

u64 sched_steal(const struct sched_unit *u, u64 now)
{
	return counter(u, &u->steal, SCHED_QUEUED, now);
}
