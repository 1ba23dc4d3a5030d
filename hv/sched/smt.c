/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/smt.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/string.h"
#include "hv/sched/place.h"

/*
 * An owner whom nothing urgent interrupts keeps the core for so long; not the same time on all, or
 * those with the same VMs would change owners at once, and never have units for each other.
 */
#define TURN_MS	   3
#define TURN_PARTS 8
#define ASK_MS	   1 /* then an idle CPU asks so often whether it is the others' turn */
#define PAIR_MS                                                                                    \
	1 /* a CPU idles beside a unit for so long before it asks for another of its group */

/* Why is a CPU to run this one of those that wait there? */
enum smt_why {
	SMT_FIRST,     /* it is the first of the queue */
	SMT_PREFERRED, /* somebody waits for it, or gives it what is left of his turn */
	SMT_URGENT,    /* dom0's, for an event */
};

/* What others of the core know of a CPU; under the core's lock. */
struct smt_cpu {
	const void *runs;  /* whose unit it has started */
	const void *wants; /* whose unit is the first that waits */
	u64 at, waits_at;  /* how far these have got; the first one at `since`, */
	u64 since;	   /* if nothing runs: when that has ended */
	u32 share;	   /* with that share */
	u64 forced;	   /* ticks that it has idled while units waited for the core */
	bool urgent;	   /* it runs something urgent, or is to, once others have left */
} __aligned(64);

struct smt_core {
	struct lock lock;  /* LOCK_SCHED */
	const void *owner; /* NULL: nobody runs or waits; any CPU reads it */
	struct corbel_cpus cpus;
	u32 urgent;	/* so many of them are; any CPU reads it */
	u64 turn;	/* since when it is the owner's, but for what was urgent */
	u64 told_at;	/* until then `forced` is counted */
	u64 turn_ticks; /* how long a turn is; set once */
	u32 first;	/* of its CPUs; set once */
	u64 level;	/* how far the last of all has got; never falls; any CPU reads it */
};

/* Somebody wants the core, and has got so far. */
struct claim {
	const void *group;
	u64 at;
};

static PER_CPU(struct smt_cpu, smt_cpus);
static PER_CPU(struct smt_core, cores); /* in use is that of a core's first CPU */
static struct smt_core *core_of[MAX_CPUS];
static bool by_core;
static u64 ms; /* its ticks */

static struct smt_cpu *smt_of(u32 cpu)
{
	return &per_cpu(smt_cpus, cpu);
}

#define FOR_EACH_MATE(cpu, core, me)                                                               \
	FOR_EACH_CPU(cpu, &(core)->cpus)                                                           \
		if (cpu != (me))

void sched_by_core(bool yes)
{
	by_core = yes;
}

u32 sched_shared_cores(void)
{
	u32 n = 0;

	for (u32 i = 0; i < MAX_CPUS; i++)
		n += core_of[i] && core_of[i]->first == i;
	return n;
}

void smt_init(u64 ticks)
{
	ms = ticks;
	by_core = false;
	memset(core_of, 0, sizeof(core_of));
}

/* Neither has run anything yet. What belongs to the core lies where its first CPU has it. */
struct smt_core *smt_join(u32 a, u32 b)
{
	struct smt_core *core = core_of[a] ?: core_of[b];

	if (!by_core)
		return NULL;
	if (!core) {
		core = &per_cpu(cores, a);
		*core = (struct smt_core){.lock = LOCK_INIT(LOCK_SCHED), .first = a};
		core->turn_ticks = TURN_MS * ms + a / 2 % TURN_PARTS * ms / TURN_PARTS;
	}
	cpus_add(&core->cpus, a);
	cpus_add(&core->cpus, b);
	FOR_EACH_CPU(i, &core->cpus) {
		BUG_ON(core_of[i] && (core_of[i] != core || smt_of(i)->runs));
		if (!core_of[i])
			*smt_of(i) = (struct smt_cpu){0};
		core_of[i] = core;
		WRITE_ONCE(cpus[i]->core, &core->cpus);
	}
	return core;
}

bool smt_is_whole(const struct corbel_cpus *set)
{
	FOR_EACH_CPU(i, set)
		if (core_of[i] && !cpus_within(&core_of[i]->cpus, set))
			return false;
	return true;
}

bool smt_can(const struct sched_ops *policy)
{
	return !by_core || !policy->need;
}

static const char dom0;

/* dom0's units are one group; a unit without one is alone. */
static const void *group_of(const struct sched_unit *u)
{
	if (u->pinned)
		return &dom0;
	return u->group ?: (const void *)u;
}

bool smt_fits(u32 cpu, const struct sched_unit *u)
{
	const struct smt_core *core = core_of[cpu];
	const void *owner = core ? READ_ONCE(core->owner) : NULL;

	return !owner || owner == group_of(u);
}

void smt_keep_fitting(struct corbel_cpus *set, const struct sched_unit *u)
{
	if (by_core)
		FOR_EACH_CPU(i, set)
			if (!smt_fits(i, u))
				cpus_drop(set, i);
}

/* CPUs on which its owner runs. */
static u32 count_running(const struct smt_core *core)
{
	u32 n = 0;

	FOR_EACH_CPU(i, &core->cpus)
		n += READ_ONCE(smt_of(i)->runs) == READ_ONCE(core->owner);
	return n;
}

bool smt_would_pair(u32 idle, u32 busy, u64 now)
{
	const struct smt_core *a = core_of[idle], *b = core_of[busy];
	const struct smt_cpu *to = smt_of(idle), *from = smt_of(busy);
	const void *owner = b ? READ_ONCE(b->owner) : NULL;
	u32 there, here;

	if (!a || a == b || !owner || owner == &dom0)
		return false;
	if (owner != READ_ONCE(a->owner) || owner != READ_ONCE(from->runs))
		return false;
	if (now < MAX(READ_ONCE(to->since), READ_ONCE(from->since)) + PAIR_MS * ms)
		return false;
	there = count_running(a);
	here = count_running(b);
	return there > here || (there == here && a->first < b->first);
}

bool smt_may_keep(const struct sched_cpu *sc)
{
	return READ_ONCE(sc->core->owner) == smt_of(sc->index)->runs;
}

bool smt_is_urgent(const struct sched_cpu *sc, const struct sched_unit *u)
{
	return u == sc->home && READ_ONCE(smt_of(sc->index)->urgent);
}

bool smt_core_is_urgent(const struct sched_cpu *sc)
{
	return READ_ONCE(sc->core->urgent);
}

u64 smt_ask_at(const struct sched_cpu *sc, u64 now)
{
	if (smt_of(sc->index)->runs) /* which was parked, and there are more to look at */
		return now;
	return MAX(READ_ONCE(sc->core->turn) + sc->core->turn_ticks, now + ASK_MS * ms);
}

u64 smt_level(const struct smt_core *core)
{
	return READ_ONCE(core->level);
}

void smt_catch_up(struct sched_cpu *sc)
{
	s64 behind = READ_ONCE(sc->core->level) - sc->rq.floor;

	if (behind <= 0)
		return;
	WRITE_ONCE(sc->rq.floor, sc->rq.floor + behind);
	sc->rq.least = sc->rq.floor;
}

/* Each CPU that idles now has done so since anybody of the core last told something. */
static void count_forced_locked(struct smt_core *core, u64 now)
{
	u64 idled = now > core->told_at ? now - core->told_at : 0;
	bool any = false;

	ASSERT_HELD(&core->lock);
	FOR_EACH_CPU(i, &core->cpus)
		any |= !!smt_of(i)->wants;
	core->told_at += idled;
	FOR_EACH_CPU(i, &core->cpus)
		smt_of(i)->forced += smt_of(i)->runs || !any ? 0 : idled;
}

u64 sched_forced(u32 cpu, u64 now)
{
	struct smt_core *core = core_of[cpu];
	u64 forced;

	if (!core)
		return 0;
	lock_acquire(&core->lock);
	count_forced_locked(core, now);
	forced = smt_of(cpu)->forced;
	lock_release(&core->lock);
	return forced;
}

/* ---- whose turn it is ---- */

static struct claim claim_of(const struct sched_unit *u)
{
	if (!u)
		return (struct claim){0};
	return (struct claim){group_of(u), u->vruntime};
}

/* The one that has got less far, or is the owner's. */
static struct claim first_of_two(const struct smt_core *core, struct claim a, struct claim b)
{
	s64 ahead = (s64)(b.at - a.at);

	if (!a.group || !b.group)
		return a.group ? a : b;
	return ahead < 0 || (!ahead && b.group == core->owner) ? b : a;
}

static struct claim first_claim_locked(const struct smt_core *core, u32 me, struct claim best,
				       u64 now)
{
	ASSERT_HELD(&core->lock);
	FOR_EACH_MATE(i, core, me) {
		const struct smt_cpu *t = smt_of(i);
		u64 ran = now > t->since ? now - t->since : 0;
		struct claim runs = {t->runs, t->at}, waits = {t->wants, t->waits_at};

		if (t->runs)
			runs.at += ran * SHARE_DEFAULT / t->share;
		best = first_of_two(core, first_of_two(core, runs, waits), best);
	}
	return best;
}

static bool others_run_locked(const struct smt_core *core, u32 me, const void *but)
{
	ASSERT_HELD(&core->lock);
	FOR_EACH_MATE(i, core, me) {
		const void *runs = smt_of(i)->runs;

		if (runs && runs != but)
			return true;
	}
	return false;
}

/* Behind so many others, who have got less far, it is not looked for. */
#define GROUP_LOOK 32

static struct sched_unit *first_of_group(const struct sched_cpu *sc, const void *group)
{
	struct sched_unit *u = sc->rq.queue.head;

	for (u32 n = 0; u && n < GROUP_LOOK; u = u->next, n++)
		if (group_of(u) == group)
			return u;
	return NULL;
}

/* Another CPU runs one of the owner's, or is to do so. */
static bool is_owned_locked(const struct smt_core *core, u32 me)
{
	ASSERT_HELD(&core->lock);
	FOR_EACH_MATE(i, core, me) {
		const struct smt_cpu *t = smt_of(i);

		if (core->owner && (t->runs == core->owner || t->wants == core->owner))
			return true;
	}
	return false;
}

/*
 * A turn lasts, but one that has woken may have the better claim, and what is urgent is done at
 * once: it is little, and no turn begins with it, so that those who wait for theirs need not wait
 * longer.
 */
static void choose_owner_locked(struct sched_cpu *sc, const struct sched_unit *first,
				enum smt_why why, u64 now)
{
	struct smt_core *core = sc->core;
	struct claim mine = claim_of(first), best;
	bool owned = is_owned_locked(core, sc->index) || first_of_group(sc, core->owner),
	     due = !owned || now >= core->turn + core->turn_ticks;

	ASSERT_HELD(&core->lock);
	if (why == SMT_URGENT ||
	    (why == SMT_PREFERRED && !due &&
	     (first->pinned || !others_run_locked(core, sc->index, mine.group)))) {
		WRITE_ONCE(core->owner, mine.group);
		return;
	}
	if (core->urgent && owned) /* or they would take it from each other, and nobody start */
		return;
	best = first_claim_locked(core, sc->index, mine, now);
	if (best.group && (s64)(best.at - core->level) > 0)
		WRITE_ONCE(core->level, best.at);
	if ((!due && !(first && READ_ONCE(first->boost))) || (owned && best.group == core->owner))
		return;
	WRITE_ONCE(core->owner, best.group);
	if (due)
		WRITE_ONCE(core->turn, now);
}

/* ---- what is told to the others ---- */

static void start_locked(struct sched_cpu *sc, const struct sched_unit *u, u64 now)
{
	struct smt_cpu *me = smt_of(sc->index);

	ASSERT_HELD(&sc->core->lock);
	BUG_ON(others_run_locked(sc->core, sc->index, group_of(u)));
	WRITE_ONCE(me->runs, group_of(u));
	me->at = claim_of(u).at;
	WRITE_ONCE(me->since, now);
	me->share = READ_ONCE(u->share);
}

/* The first that goes on waiting, or the one that cannot start yet. */
static void wait_locked(struct sched_cpu *sc, const struct sched_unit *starts,
			const struct sched_unit *cannot)
{
	const struct sched_unit *head = sc->rq.queue.head;
	struct claim c = claim_of(cannot ?: head);

	ASSERT_HELD(&sc->core->lock);
	if (head && head == starts)
		c = claim_of(head->next);
	smt_of(sc->index)->wants = c.group;
	smt_of(sc->index)->waits_at = c.at;
}

/* They have to leave, or can start now that this CPU has left. */
static void tell_others_locked(const struct smt_core *core, u32 me, bool changed, bool left)
{
	ASSERT_HELD(&core->lock);
	FOR_EACH_MATE(i, core, me) {
		const struct smt_cpu *t = smt_of(i);

		if (t->runs == core->owner)
			continue;
		if ((changed && (t->runs || t->wants)) ||
		    (left && t->wants && t->wants == core->owner))
			place_poke(i);
	}
}

static void set_urgent_locked(struct smt_core *core, struct smt_cpu *me, bool urgent)
{
	ASSERT_HELD(&core->lock);
	WRITE_ONCE(core->urgent, core->urgent + urgent - me->urgent);
	WRITE_ONCE(me->urgent, urgent);
}

static struct sched_unit *choose_locked(struct sched_cpu *sc, struct sched_unit *first,
					enum smt_why why, u64 now)
{
	struct smt_core *core = sc->core;
	struct smt_cpu *me = smt_of(sc->index);
	struct sched_unit *u = NULL;
	const void *ran = me->runs, *was = core->owner;

	ASSERT_HELD(&core->lock);
	if (why == SMT_PREFERRED && smt_is_urgent(sc, first)) /* it goes on */
		why = SMT_URGENT;
	WRITE_ONCE(me->runs, NULL);
	if (ran)
		WRITE_ONCE(me->since, now);
	set_urgent_locked(core, me, false);
	choose_owner_locked(sc, first, why, now);
	if (first)
		u = group_of(first) == core->owner ? first : first_of_group(sc, core->owner);
	if (why == SMT_URGENT)
		set_urgent_locked(core, me, true);
	sc->leaving = u && others_run_locked(core, sc->index, core->owner);
	if (sc->leaving) {
		wait_locked(sc, NULL, u);
		u = NULL;
	} else {
		wait_locked(sc, u, NULL);
	}
	if (u)
		start_locked(sc, u, now);
	tell_others_locked(core, sc->index, core->owner != was, ran && ran != core->owner);
	return u;
}

struct sched_unit *smt_first(struct sched_cpu *sc, struct sched_unit *preferred, u64 now)
{
	struct sched_unit *u = preferred;
	enum smt_why why = SMT_PREFERRED;

	if (u) {
		sc->policy->enqueue(&sc->rq, u);
		u->on_rq = true;
	} else {
		u = place_first(sc);
		why = place_is_urgent(sc) ? SMT_URGENT : SMT_FIRST;
	}
	lock_acquire(&sc->core->lock);
	count_forced_locked(sc->core, now);
	u = choose_locked(sc, u, why, now);
	lock_release(&sc->core->lock);
	return u;
}

void smt_look(struct sched_cpu *sc, u64 now)
{
	lock_acquire(&sc->core->lock);
	count_forced_locked(sc->core, now);
	wait_locked(sc, NULL, NULL);
	lock_release(&sc->core->lock);
}
