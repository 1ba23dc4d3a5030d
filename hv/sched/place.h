/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which CPU a unit runs on: where it goes when it wakes, and what busy CPUs pass on to others. In
 * hv/sched only; hv/sched/sched.h is what others use.
 */
#pragma once

#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/cpu/topology.h"
#include "hv/lib/lock.h"
#include "hv/sched/cpupool.h"
#include "hv/sched/policy.h"
#include "hv/sched/smt.h"

/*
 * One CPU's part of the scheduler. Where nothing else is said only that CPU touches a field; the
 * length of rq is read by others, as a hint.
 */
struct sched_cpu {
	struct lock lock;	  /* LOCK_SCHED, for the inbox, and the two that follow it */
	struct sched_queue inbox; /* units that other CPUs have sent, under the lock */
	/* is to run next, since the second one cannot go on before: sched_give_way() */
	struct sched_unit *favoured, *favours;
	struct corbel_cpus pull; /* idle CPUs that ask for a unit; atomic */
	u64 lift;		 /* on top of rq.floor, where CPUs are compared; atomic, any CPU */
	u32 index;		 /* set once */
	/* the CPUs, this one too, that are no further than that; atomic, any CPU */
	struct corbel_cpus near[NEAR_COUNT];
	struct smt_core *core;		/* NULL: its CPUs do not look at each other; set once */
	struct cpupool *pool;		/* under sched_set_up; its CPU reads it, too */
	bool recheck;			/* atomic, any CPU: what may run here is to be looked at */
	const struct sched_ops *policy; /* its pool's, once it has seen that */
	struct sched_rq rq;
	struct sched_queue parked;
	u64 unpark_at; /* no window of theirs ends before; SCHED_NEVER: none is there */
	u32 to_look;   /* at so many of them, the first, since it was time */
	const struct sched_unit *used_up; /* was the last to run, may be parked, or gone */
	u64 others_at;			  /* and as unpark_at, of the others */
	struct sched_unit *curr;	  /* picked, and not blocked since */
	struct sched_unit *loaded;	  /* its on_cpu is set for this CPU */
	struct sched_unit *hand;  /* yielded to, and on no queue: see hand_over() in sched.c */
	struct sched_unit *home;  /* dom0's unit of this CPU; set once */
	bool leaving;		  /* others have to leave the core before it runs what it chose */
	struct sched_unit *giver; /* gave the CPU by sched_yield_to(), and waits; pinned */
	u64 started, slice_end;	  /* of curr, in ticks; others read the first */
	/* when a unit last started or was charged, SCHED_NEVER when idle; others read it */
	u64 charged_at;
	u64 shared_at;		 /* when it was last asked and units waited; others read it */
	u64 asked_at, evened_at; /* when it last looked for work, and for CPUs that get on faster */
	struct corbel_cpus asked; /* CPUs asked since it ran one that is not pinned */
	bool has_asked;		  /* any */
} __aligned(64);

#ifdef HV_HOST_TEST
u64 sched_test_clock(void);
#define sched_clock() sched_test_clock()
#else
#define sched_clock() rdtsc()
#endif

extern PER_CPU(struct sched_cpu, sched_cpus);

static inline struct sched_cpu *sched_of(u32 cpu)
{
	return &per_cpu(sched_cpus, cpu);
}

/* The last is none of them: it has the CPUs of no pool. */
extern struct cpupool cpupools[CORBEL_MAX_POOLS + 1];
/* LOCK_GROUP: for pools, lists of members, and what units are told of both */
extern struct lock sched_set_up;

static inline bool may_run_here(const struct sched_cpu *sc, const struct sched_unit *u)
{
	return cpus_has(&u->allowed, sc->index);
}

static inline u64 place_load(const struct sched_cpu *sc)
{
	return READ_ONCE(sc->rq.load);
}

/* What of it is dom0's. */
static inline u64 place_home_load(const struct sched_cpu *sc)
{
	return sc->home ? READ_ONCE(sc->home->load) : 0;
}

/* Take a unit off the queue on which it waits for this CPU. */
static inline void rq_remove(struct sched_cpu *sc, struct sched_unit *u)
{
	BUG_ON(!u->on_rq || u->cpu != sc->index);
	queue_remove(&sc->rq.queue, u);
	lanes_leave(&sc->rq, u);
	u->on_rq = false;
	u->floor = sc->rq.floor;
	u->floor_rq = &sc->rq;
}

/* Units wait here, and the running one has had the CPU for a while. */
static inline bool place_may_give(const struct sched_cpu *sc, u64 now)
{
	return (now >= sc->started + sched_ms || sc->core) && sc->rq.queue.count;
}

/* Does another CPU of the set idle? */
static inline bool place_others_idle(const struct sched_cpu *sc, const struct corbel_cpus *of)
{
	return cpus_share(&sched_idle, of, sc->index);
}

/* And would take one. */
static inline bool place_has_takers(const struct sched_cpu *sc, u64 now)
{
	return place_may_give(sc, now) && place_others_idle(sc, &READ_ONCE(sc->pool)->cpus);
}

static inline void place_forget_asked(struct sched_cpu *sc)
{
	if (sc->has_asked)
		cpus_clear(&sc->asked);
	sc->has_asked = false;
}

/* dom0's unit has something to do here. */
static inline bool place_has_home(const struct sched_cpu *sc)
{
	return sc->home && READ_ONCE(sc->home->load);
}

/* dom0's unit waits here with an event that cannot wait its turn. */
static inline bool place_is_urgent(const struct sched_cpu *sc)
{
	const struct sched_unit *home = sc->home;

	return home && home->on_rq && READ_ONCE(home->boost) && sc->policy->urgent(&sc->rq, home);
}

/* Who is next: the first of the queue, or dom0's unit. */
static inline struct sched_unit *place_first(const struct sched_cpu *sc)
{
	return place_is_urgent(sc) ? sc->home : sc->rq.queue.head;
}

#define EVENT_PART 10 /* of a millisecond */

/* Something has come for a unit that runs. */
static inline void place_note_event(struct sched_unit *u)
{
	if (u->pinned)
		WRITE_ONCE(u->event_at, sched_clock());
}

/*
 * Of dom0's unit, which makes way: an interrupt has come so shortly before that the thread it is
 * for may not have woken yet; or it was let in for an event, and others have taken the core from it
 * before it was done. Were it no longer an event, it would wait for all that have got less far.
 */
static inline bool place_keeps_event(const struct sched_cpu *sc, const struct sched_unit *u,
				     u64 now)
{
	u64 since = READ_ONCE(u->event_at);

	if (sc->core && u->out_of_turn)
		since = MAX(since, sc->started);
	return since && now < since + sched_ms / EVENT_PART;
}

#define ANSWER_PART 20 /* of a millisecond has who asks to go to sleep */
#define PASSED_MS   6  /* who is passed over waits no longer for one that is alone with it */

/*
 * A unit has gone to sleep here, and has just asked another of its group, the only one that could
 * run, by an IPI, but u was chosen now, which has got less far, unless it is dom0's. So that is
 * next in its turn, not as soon as it is behind: who asks and who answers take turns with others,
 * but not for each question.
 */
static inline void place_pass_over(struct sched_cpu *sc, const struct sched_unit *u, u64 now)
{
	struct sched_unit *first = sc->rq.queue.head;
	const struct sched_unit *ran = sc->loaded;

	if (sc->policy == &sched_fair && first && READ_ONCE(first->asked) && ran && !u->pinned &&
	    ran != first && ran->group && ran->group == first->group &&
	    READ_ONCE(ran->group->runnable) == 1 && now < first->since + sched_ms / ANSWER_PART) {
		WRITE_ONCE(first->boost, false);
		sc->slice_end = MIN(sc->slice_end, now + PASSED_MS * sched_ms);
	}
}

void place_init(sched_leave_fn *leave);
/* Make a CPU call sched_next() soon. */
static inline void place_poke(u32 cpu)
{
	__atomic_store_n(&cpus[cpu]->resched, true, __ATOMIC_SEQ_CST);
	smp_kick(cpus[cpu]);
}
/* And look there whether those that wait may run there. */
void place_recheck(u32 cpu);
/* The CPU is that pool's from now on. */
void place_set_pool(u32 cpu, struct cpupool *p);
const struct cpupool *place_pool(u32 cpu);
/* dom0's unit of a CPU; NULL: it has none there. */
struct sched_unit *place_home(u32 cpu);
void place_set_home(u32 cpu, struct sched_unit *u);
/* The loaded unit's registers leave this CPU's hardware. */
void place_unload(struct sched_cpu *sc);
void place_set_load(struct sched_unit *u, u32 share);
void place_count_in_group(struct sched_unit *u, bool counts);

/*
 * How much there is to do on a CPU is told by how many of a group could run now, not by how many
 * parts it needs: else all that sleep would wake on one CPU.
 */
static inline u32 place_share_now(const struct sched_unit *u)
{
	u64 parts = MAX(READ_ONCE(u->group->runnable), 1u) * GROUP_PARTS,
	    share = READ_ONCE(u->share), needs = READ_ONCE(u->parts);

	if (share == SHARE_OF(SCHED_WEIGHT_REALTIME)) /* which the group does not divide */
		return share;
	return READ_ONCE(u->napped) && parts < needs ? share * needs / parts : share;
}

/* The unit could run: it is part of the load of its CPU, and of its group; or it is no longer. */
static inline void place_count(struct sched_unit *u, bool counts)
{
	u32 share;

	if (unlikely(READ_ONCE(u->divides)) && u->counted != counts)
		place_count_in_group(u, counts);
	share = counts ? READ_ONCE(u->share) : 0;
	if (unlikely(u->divides) && counts)
		share = place_share_now(u);
	if (u->load != share)
		place_set_load(u, share);
}

/* For a unit that is on no CPU's hardware. */
u32 place_choose(const struct sched_unit *u);
/* Into the inbox of a CPU. The unit is queued, and the caller's. */
void place_send(struct sched_unit *u, u32 cpu);
/*
 * Pass waiting units on to idle CPUs, and one to a CPU whose units get on faster. One stays to run
 * here: on the queue, or kept by the caller.
 */
void place_give_away(struct sched_cpu *sc, bool kept, u64 now);
/* The unit that ran here goes to a CPU that has asked for it to pair it with one of its group. */
void place_give_partner(struct sched_cpu *sc, u64 now);
/*
 * This CPU idles: ask the one where most units wait for one, then others: those that wait may not
 * be allowed here. False: nobody waits anywhere, or all have been asked in vain.
 */
bool place_ask_for_work(struct sched_cpu *sc, u64 now);
/*
 * Off favoured: who may run next here, `ran`, if any, having made way. Either that has asked for
 * it: so that the two have no more between them than before, each gets the other's place among
 * those that wait. Or one on another CPU has, and it has not run more than one turn ahead of all
 * others here, who neither have an event nor are dom0's. NULL: nobody
 */
struct sched_unit *place_favoured(struct sched_cpu *sc, const struct sched_unit *ran);
/* The unit goes: it is to run next nowhere, and nobody for it. */
void place_forget(const struct sched_unit *u);
