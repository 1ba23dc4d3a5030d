/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A machine for the scheduler: CPUs under simulated time (1 tick = 1 ns), from event to event, and
 * units that run and sleep on them. A CPU that is poked asks POKE later.
 */
#ifndef TESTS_UNIT_SCHED_SIM_H
#define TESTS_UNIT_SCHED_SIM_H

#include <string.h>

#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/cpu/topology.h"
#include "hv/lib/percpu.h"
#include "hv/sched/place.h"
#include "test.h"

#define US	   1000ull
#define MS	   1000000ull
#define SEC	   1000000000ull
#define POKE	   (2 * US)
#define MAX_UNITS  64
#define MAX_GROUPS 64

/* The first 64 CPUs as a set, until the next but three; none: NULL. */
static inline const struct corbel_cpus *cpu_set(u64 mask)
{
	static __thread struct corbel_cpus sets[4];
	static __thread u32 n;
	struct corbel_cpus *s = &sets[n++ % ARRAY_SIZE(sets)];

	*s = (struct corbel_cpus){{mask}};
	return mask ? s : NULL;
}

/* ---- what the scheduler asks of the machine ---- */
struct cpu *cpus[MAX_CPUS];
u32 cpu_count;
static struct cpu cpu_mem[MAX_CPUS];
static __thread struct cpu *me;
static u64 now;
static bool threaded;

struct cpu *this_cpu(void)
{
	return me;
}

void smp_kick(struct cpu *c)
{
	__atomic_store_n(&c->resched, true, __ATOMIC_SEQ_CST);
}

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

u64 sched_test_clock(void);
u64 sched_test_clock(void)
{
	return threaded ? rdtsc() : now;
}

/* What has been recorded of a vCPU: from then on, in ns since the beginning, it wants to run so
 * long. */
struct recorded {
	u64 at, ran;
};

/* ---- simulated units: hogs (burst 0), or run `burst`, sleep `sleep`, again ---- */
struct sim_unit {
	struct sched_unit s; /* first */
	u64 burst, sleep, left, wake_at, woken_at;
	u64 period, begun, longest; /* instead of `sleep`; the longest from wake to end of burst */
	u64 max_latency, runs, left_cpu;
	u64 had; /* runtime when a test began to look */
	u64 longest_wait, seen_at;
	u32 promised_us, period_us;
	u64 moves; /* it ran on another CPU than the last time */
	u32 last_cpu;
	u64 ran_on;		   /* mask of CPUs, of the first 64 */
	struct corbel_cpus on;	   /* all of them */
	struct sim_unit *gives_to; /* hand-off when the burst ends */
	/* woken by an IPI then; one that sends them notes in io_late how long each answer takes */
	struct sim_unit *wakes;
	u64 sent_at;
	const struct recorded *record; /* instead of bursts that are alike */
	u32 record_len, record_at;
	/*
	 * dom0: beside what else runs in it a thread that an interrupt wakes each `io_period`, that
	 * then runs `io_burst`, before all others, and is late if that has not ended by then. Its
	 * handler takes `io_entry`. There is a tick, too.
	 */
	struct corbel_load inside;
	u64 io_period, io_burst, io_left, io_at, io_since, io_entry, io_enters, tick, tick_at,
	    noted_at;
	u64 io_late[4096]; /* the last so many */
	u32 io_done;
};
static struct sim_unit unit[MAX_UNITS];
static u32 units;
static struct sched_group group[MAX_GROUPS]; /* VMs */
static u32 groups;
static struct sched_unit *running[MAX_CPUS];
static u64 slice_end[MAX_CPUS];
static u32 asked_of[MAX_CPUS]; /* how often a CPU has asked whom to run */
static u32 leaves;
/* CPU time that was idle while a unit without a cap waited that could have run there */
static u64 wasted, wasted_since[MAX_CPUS], longest_waste;

static void leave(struct sched_unit *u, bool preempted)
{
	struct sim_unit *s = (struct sim_unit *)u;

	__atomic_fetch_add(&leaves, 1, __ATOMIC_RELAXED);
	CHECK_QUIET(READ_ONCE(u->cpu) == me->index, "leaves the CPU it ran on");
	s->left_cpu++;
}

/* Of the machine that is made next: so many CPUs share a core, a cache, a package. */
static bool by_core; /* core scheduling */
static u32 of_core = 1, of_cache = MAX_CPUS, of_package = MAX_CPUS;
static u64 moves_by[NEAR_COUNT], lost_to_moves;
/* What a unit loses when it comes to colder caches. */
static const u64 cost_of[NEAR_COUNT] = {US, 10 * US, 100 * US, 200 * US};

static void machine(u32 count, const char *policy)
{
	u32 i;

	memset(cpu_mem, 0, sizeof(cpu_mem));
	memset(unit, 0, sizeof(unit));
	memset(running, 0, sizeof(running));
	memset(slice_end, 0, sizeof(slice_end));
	memset(wasted_since, 0, sizeof(wasted_since));
	memset(moves_by, 0, sizeof(moves_by));
	wasted = longest_waste = lost_to_moves = 0;
	now = 5 * SEC;
	units = groups = 0;
	cpu_count = count;
	me = &cpu_mem[0];
	sched_init(policy, leave, count);
	sched_by_core(by_core);
	for (i = 0; i < count; i++) {
		cpus[i] = me = &cpu_mem[i];
		me->index = i;
		me->place = (struct cpu_place){i / of_core, i / of_cache, i / of_package, 0};
		sched_init_cpu(me);
	}
	me = &cpu_mem[0];
}

static struct sim_unit *add_to(struct sched_group *g, u32 weight, u32 cpu, bool pinned, u64 burst,
			       u64 sleep)
{
	struct sim_unit *s = &unit[units++];

	sched_unit_init(&s->s, weight, NULL, cpu, pinned);
	if (g)
		sched_group_join(g, &s->s);
	s->burst = s->left = burst;
	s->sleep = sleep;
	s->woken_at = s->begun = now;
	s->last_cpu = MAX_CPUS;
	sched_wake(&s->s);
	return s;
}

static struct sim_unit *add(u32 weight, u32 cpu, bool pinned, u64 burst, u64 sleep)
{
	return add_to(NULL, weight, cpu, pinned, burst, sleep);
}

static inline struct sim_unit *hog(u32 weight)
{
	return add(weight, 0, false, 0, 0);
}

/* A VM with so many vCPUs that never sleep. Weight 0: as usual */
static inline struct sched_group *vm(u32 weight, u32 hogs)
{
	struct sched_group *g = &group[groups++];

	sched_group_init(g);
	sched_group_set(g, weight, 0);
	for (u32 i = 0; i < hogs; i++)
		add_to(g, 1024, i % cpu_count, false, 0, 0);
	return g;
}

static void ask(struct cpu *c, bool blocked)
{
	u32 i;
	struct sim_unit *s;

	asked_of[c->index]++;
	running[c->index] =
	    sched_next(blocked ? NULL : running[c->index], now, &slice_end[c->index]);
	s = (struct sim_unit *)running[c->index];
	for (i = 0; s && i < cpu_count; i++)
		CHECK_QUIET(i == c->index || running[i] != &s->s,
			    "a unit runs on one CPU at a time");
	if (!s)
		return;
	if (s->last_cpu != c->index && s->last_cpu != MAX_CPUS) {
		u32 d = topology_distance(&c->place, &cpus[s->last_cpu]->place);

		s->moves++;
		moves_by[d]++;
		lost_to_moves += cost_of[d];
	}
	s->last_cpu = c->index;
	s->ran_on |= c->index < 64 ? BIT(c->index) : 0;
	cpus_add(&s->on, c->index);
	s->runs++;
	CHECK_QUIET(slice_end[c->index] > now, "a slice is not empty");
	if (s->sent_at)
		s->io_late[s->io_done++ % ARRAY_SIZE(s->io_late)] = now - s->sent_at;
	s->sent_at = 0;
	if (s->woken_at)
		s->max_latency = MAX(s->max_latency, now - s->woken_at);
	s->woken_at = 0;
}

/* Goes on with what is recorded next; false: that is later, and it sleeps until then. */
static bool record_goes_on(struct sim_unit *s, u64 began)
{
	const struct recorded *r = &s->record[++s->record_at];

	s->sleep = 0;
	if (s->record_at >= s->record_len)
		return false;
	s->left = s->burst = r->ran;
	s->sleep = began + r->at > now ? began + r->at - now : 0;
	return !s->sleep;
}

static void burst_ends(struct cpu *c, struct sim_unit *s)
{
	if (s->record && record_goes_on(s, 5 * SEC))
		return;
	s->left = s->burst;
	if (s->gives_to) {
		sched_yield_to(&s->s, &s->gives_to->s);
		return;
	}
	if (s->wakes) {
		s->wakes->woken_at = now;
		s->wakes->s.asked = true;
		sched_wake(&s->wakes->s);
	}
	if (!sched_block(&s->s))
		return;
	s->sent_at = s->wakes ? now : 0;
	s->longest = MAX(s->longest, now - s->begun);
	s->wake_at = s->sleep ? now + s->sleep : 0;
	if (s->period)
		s->wake_at = MAX(s->begun + s->period, now + 1);
	ask(c, true);
}

/* The thread in dom0 has run for so long: `inside` says what dom0's module does. */
static void run_io(struct sim_unit *s, u64 ran)
{
	u64 late = now + ran - s->io_since - s->io_burst - s->io_entry,
	    enters = MIN(s->io_enters, ran);

	s->io_enters -= enters;
	if (!s->io_left)
		return;
	s->io_left -= MIN(s->io_left, ran - enters);
	if (!s->io_left)
		s->io_late[s->io_done++ % ARRAY_SIZE(s->io_late)] = late;
}

/* The interrupt has come, or has been taken. */
static void step_io(struct cpu *c, struct sim_unit *s)
{
	if (s->io_left && !s->io_enters && !s->inside.fresh) {
		s->inside.fresh = 1;
		s->inside.weight += 1024;
	} else if (!s->io_left && s->inside.fresh) {
		if (s->inside.out_of_turn)
			sched_turn_over();
		s->inside.fresh = 0;
		s->inside.weight -= 1024;
	}
}

static void step_cpu(struct cpu *c)
{
	struct sim_unit *s = (struct sim_unit *)running[c->index];

	me = c;
	if (s && s->io_period && now > s->noted_at) /* it has taken its interrupts */
		sched_seen(&s->s);
	if (c->resched || now >= slice_end[c->index])
		ask(c, false);
	s = (struct sim_unit *)running[c->index];
	if (s && s->io_period)
		step_io(c, s);
	if (s && s->burst && !s->left)
		burst_ends(c, s);
}

/* dom0's interrupts. */
static void interrupt_due(struct sim_unit *s)
{
	bool io = s->io_period && now >= s->io_at, tick = s->tick && now >= s->tick_at;

	if (io && !s->io_left) {
		s->io_left = s->io_burst;
		s->io_since = now;
		s->io_enters = s->io_entry;
	}
	s->io_at += io ? s->io_period : 0;
	s->tick_at += tick ? s->tick : 0;
	me = &cpu_mem[s->s.cpu];
	if (!io && !tick)
		return;
	s->noted_at = now;
	sched_wake(&s->s);
}

/* Each is woken from a CPU that has nothing to do with it. */
static void wake_due(void)
{
	u32 i;

	for (i = 0; i < units; i++)
		if (unit[i].wake_at && now >= unit[i].wake_at) {
			unit[i].wake_at = 0;
			unit[i].woken_at = unit[i].begun = now;
			me = &cpu_mem[now / (20 * US) % cpu_count];
			sched_wake(&unit[i].s);
		}
	for (i = 0; i < units; i++)
		interrupt_due(&unit[i]);
}

/* When something happens next. */
static u64 next_event(u64 end)
{
	u64 t = end;
	u32 i;

	for (i = 0; i < cpu_count; i++) {
		const struct sim_unit *s = (struct sim_unit *)running[i];

		if (cpu_mem[i].resched)
			t = MIN(t, now + POKE);
		t = MIN(t, MAX(slice_end[i], now + 1));
		if (s && s->burst)
			t = MIN(t, now + MAX(s->left, 1ull));
		if (s && s->io_left)
			t = MIN(t, now + (s->io_enters ?: s->io_left));
	}
	for (i = 0; i < units; i++) {
		if (unit[i].wake_at)
			t = MIN(t, unit[i].wake_at);
		if (unit[i].io_at)
			t = MIN(t, unit[i].io_at);
		if (unit[i].tick_at)
			t = MIN(t, unit[i].tick_at);
	}
	return t;
}

/* Of core scheduling: whose units are one group. */
static inline const void *whose(const struct sched_unit *u)
{
	if (u->pinned)
		return unit;
	return u->group ?: (const void *)u;
}

/* What runs on the other CPUs of a core; NULL: nothing. */
static inline const struct sched_unit *runs_beside(u32 cpu)
{
	for (u32 i = cpu / of_core * of_core; i < cpu_count && i / of_core == cpu / of_core; i++)
		if (i != cpu && running[i])
			return running[i];
	return NULL;
}

/* Those of the queue wait, and in their order. */
static inline void check_queue(const struct sched_queue *q, bool by_vruntime)
{
	u32 n = 0;

	for (struct sched_unit *u = q->head; u; u = u->next, n++) {
		((struct sim_unit *)u)->seen_at = now;
		CHECK_QUIET(u->state == SCHED_QUEUED, "who is on a queue waits");
		CHECK_QUIET(u->next ? u->next->prev == u : q->tail == u, "a queue is whole");
		CHECK_QUIET(!by_vruntime || !u->next || (s64)(u->next->vruntime - u->vruntime) >= 0,
			    "and in its order");
	}
	CHECK_QUIET(n == q->count, "and as long as it says");
}

/* No unit is lost, at any moment. */
static inline void check_queues(void)
{
	for (u32 i = 0; i < cpu_count; i++) {
		const struct sched_cpu *sc = sched_of(i);

		check_queue(&sc->rq.queue, sc->policy == &sched_fair);
		check_queue(&sc->inbox, false);
		check_queue(&sc->parked, false);
		if (sc->hand)
			((struct sim_unit *)sc->hand)->seen_at = now;
		CHECK_QUIET(sc->curr == running[i], "a CPU runs what it has chosen");
	}
	for (u32 i = 0; i < units; i++) {
		const struct sched_unit *u = &unit[i].s;

		CHECK_QUIET(u->state != SCHED_QUEUED || unit[i].seen_at == now,
			    "who waits is on a queue");
		CHECK_QUIET(u->state != SCHED_RUNNING || running[u->cpu] == u,
			    "who runs has a CPU");
	}
}

/* Turns that a unit waits at most: its share of what is to run there takes 12 ms. */
#define MOST_TURNS 4
#define MOST_MORE  (500 * MS) /* and on top where all has just changed, or cores are shared */

static bool at_random; /* what wakes, yields and weighs how much: no bound holds */

static inline void check_wait(const struct sched_unit *u)
{
	const struct sched_cpu *sc = sched_of(u->cpu);
	u64 turn = 12 * MS * MAX(place_load(sc), (u64)u->share) / u->share;

	CHECK_QUIET(at_random || u->capped || sc->policy != &sched_fair ||
			now - u->since <= MOST_MORE + MOST_TURNS * turn,
		    "nobody starves: one has waited %llu us",
		    (unsigned long long)(now - u->since) / US);
}

static inline void check_units(void)
{
	check_queues();
	for (u32 i = 0; i < units; i++) {
		struct sim_unit *s = &unit[i];

		if (s->s.state != SCHED_QUEUED)
			continue;
		s->longest_wait = MAX(s->longest_wait, now - s->s.since);
		check_wait(&s->s);
	}
	for (u32 i = 0; by_core && i < cpu_count; i++) {
		const struct sched_unit *beside = runs_beside(i);

		CHECK_QUIET(!running[i] || !beside || whose(running[i]) == whose(beside),
			    "a core runs units of one group only");
	}
}

static bool could_run_on(u32 cpu)
{
	const struct sched_unit *beside = by_core ? runs_beside(cpu) : NULL;

	for (u32 i = 0; i < units; i++)
		if (unit[i].s.state == SCHED_QUEUED && !unit[i].s.capped &&
		    cpus_has(&unit[i].s.allowed, cpu) &&
		    (!beside || whose(beside) == whose(&unit[i].s)))
			return true;
	return false;
}

static void look_for_waste(u64 until)
{
	for (u32 i = 0; i < cpu_count; i++) {
		if (running[i] || !could_run_on(i)) {
			wasted_since[i] = 0;
			continue;
		}
		if (!wasted_since[i])
			wasted_since[i] = now;
		wasted += until - now;
		longest_waste = MAX(longest_waste, until - wasted_since[i]);
	}
}

static inline void run(u64 ns)
{
	u64 end = now + ns, next;
	u32 i;

	while (now < end) {
		wake_due();
		for (i = 0; i < cpu_count; i++)
			step_cpu(&cpu_mem[i]);
		check_units();
		next = next_event(end);
		look_for_waste(next);
		for (i = 0; i < cpu_count; i++) {
			struct sim_unit *s = (struct sim_unit *)running[i];

			if (s && s->burst)
				s->left -= MIN(s->left, next - now);
			if (s)
				run_io(s, next - now);
		}
		now = next;
	}
	me = &cpu_mem[0];
}

/* ---- pools ---- */

static inline s64 call(u32 op, u32 pool, u64 cpus, struct sched_group *g)
{
	const struct corbel_pool_call c = {.op = op, .pool = pool, .cpus.word = {cpus}};

	return cpupool_call(&c, g);
}

static inline s64 create(const char *name, const char *policy, u64 cpus)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_CREATE, .cpus.word = {cpus}};

	strcpy(c.name, name);
	strcpy(c.policy, policy);
	return cpupool_call(&c, NULL);
}

static inline s64 move(struct sched_group *g, u32 pool)
{
	return call(CORBEL_POOL_MOVE, pool, 0, g);
}

static inline u64 cpus_of(u32 pool)
{
	struct corbel_pool_stat s;

	for (u32 i = 0; cpupool_stat(i, &s) > 0; i++)
		if (s.id == pool)
			return s.cpus.word[0];
	return 0;
}

/* With a vCPU of dom0's on each CPU that does little. */
static inline void machine_with_dom0(u32 on)
{
	machine(on, "fair");
	for (u32 i = 0; i < on; i++)
		add(2048, i, true, 20 * US, 2 * MS);
}

static inline double share(const struct sim_unit *s, u64 ns)
{
	return (double)sched_runtime(&s->s, now) / ns;
}

/* What a VM's units use when each gets `rate` at most, of what it could use: `limit`. */
static inline double use_of_units(const struct sched_group *g, double rate,
				  double (*limit)(const struct sim_unit *s))
{
	double sum = 0;

	for (u32 i = 0; i < units; i++)
		if (unit[i].s.group == g)
			sum += MIN(limit(&unit[i]), rate);
	return sum;
}

/* What the VM uses when it gets so much at most. */
static inline double use_of_vm(const struct sched_group *g, double at_most,
			       double (*limit)(const struct sim_unit *s))
{
	double cap = g->cap.percent ? g->cap.percent / 100. : 64;

	return MIN(MIN(use_of_units(g, 1, limit), cap), at_most);
}

static inline bool near(double got, double want, double tolerance)
{
	return got >= want * (1 - tolerance) && got <= want * (1 + tolerance);
}

#endif
