/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest wakes a thousand vCPUs by one IPI: what that costs is counted in the compiler's basic
 * blocks, and grows hardly more than the crowd does, whoever waits there; so where each has a
 * deadline.
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c -fsanitize-coverage=trace-pc
 */
#include <stdlib.h>

#include "hv/sched/place.h"
#include "sched_sim.h"
#include "test.h"

#define CROWD	     1024
#define PER_WAKE     900   /* blocks */
#define MOST_AT_ONCE 40000 /* for one choice: 0.1 ms */
#define MORE_TIMES   2	   /* as many for each of a crowd of 1024 as of 64 */

static struct sched_unit crowd[CROWD];
static u64 blocks;

void __sanitizer_cov_trace_pc(void);
__attribute__((no_sanitize_coverage)) void __sanitizer_cov_trace_pc(void)
{
	blocks++;
}

/* How far they have got when they wake, the i-th of n. */
enum order { EQUAL, FORWARDS, BACKWARDS, SHUFFLED, BEFORE_OTHERS };
static const char *const names[] = {"all alike", "each behind the last", "each before the last",
				    "in any order", "half of them before the other half"};

static u64 ahead_of(enum order order, u32 i, u32 n)
{
	switch (order) {
	case FORWARDS:
		return i;
	case BACKWARDS:
		return n - i;
	case SHUFFLED:
		return rand() % n;
	case BEFORE_OTHERS:
		return i < n / 2 ? n + i : i;
	default:
		return 0;
	}
}

/* Does the one come before the other, by its deadline, or by how far it has got? */
static bool comes_first(const struct sched_unit *a, const struct sched_unit *b, bool by_deadline)
{
	if (by_deadline)
		return a->budget.deadline < b->budget.deadline;
	return (s64)(a->vruntime - b->vruntime) < 0;
}

static bool is_sorted(const struct sched_rq *rq, u32 n, bool by_deadline)
{
	const struct sched_unit *u, *next;
	u32 count = 0;

	for (u = rq->queue.head; u; u = u->next, count++)
		if (u->next && comes_first(u->next, u, by_deadline))
			return false;
	for (u32 i = 0; i < SCHED_LANES; i++)
		for (u = rq->lane[i]; u; u = next) {
			next = u->lane[i];
			if (!u->on_rq || (next && comes_first(next, u, by_deadline)))
				return false;
		}
	return count == n;
}

/* Blocks for each of n that are woken beside one that runs: dom0's, or a guest's. */
static u64 cost_of_waking(u32 n, enum order order, bool by_dom0)
{
	struct sched_cpu *sc;
	u64 begun;

	machine(1, "fair");
	add(1024, 0, by_dom0, 0, 0);
	run(MS);
	sc = sched_of(0);
	memset(crowd, 0, sizeof(crowd));
	for (u32 i = 0; i < n; i++) {
		sched_unit_init(&crowd[i], 1024, NULL, 0, false);
		crowd[i].vruntime = sc->rq.floor + ahead_of(order, i, n) * US;
		crowd[i].floor_rq = &sc->rq;
		crowd[i].floor = sc->rq.floor;
	}
	begun = blocks;
	for (u32 i = 0; i < n; i++) {
		now += 100;
		sched_wake(&crowd[i]);
	}
	begun = blocks - begun;
	CHECK_QUIET(is_sorted(&sc->rq, n, false), "%s: they wait in their order", names[order]);
	while (sc->rq.queue.count > n / 2) /* some go, from anywhere */
		for (u32 i = 0; i < n; i++)
			if (crowd[i].on_rq && !(rand() % 3))
				rq_remove(sc, &crowd[i]);
	CHECK_QUIET(is_sorted(&sc->rq, sc->rq.queue.count, false), "%s: so do those left",
		    names[order]);
	return begun / n;
}

static void test_wake(enum order order, bool by_dom0)
{
	u64 few = cost_of_waking(CROWD / 16, order, by_dom0),
	    many = cost_of_waking(CROWD, order, by_dom0);

	CHECK(few > 10 && many <= PER_WAKE && many <= MORE_TIMES * few,
	      "%u that wake beside %s, %s, cost %u blocks each, %u of them %u", CROWD,
	      by_dom0 ? "dom0" : "a vCPU", names[order], (u32)many, CROWD / 16, (u32)few);
}

/*
 * Blocks for each choice of who runs next, at most, where n wait that may run nowhere else, and one
 * that may on a CPU that is far ahead.
 */
static u64 cost_of_evening(u32 n)
{
	static struct sim_unit runners[CROWD];
	u64 most = 0;

	machine(2, "fair");
	sched_set(&hog(1024)->s, 0, cpu_set(BIT(1)), 0);
	run(MS);
	memset(runners, 0, sizeof(runners));
	for (u32 i = 0; i < n; i++) {
		sched_unit_init(&runners[i].s, 1024, cpu_set(1 + 2 * !i), 0, false);
		runners[i].last_cpu = MAX_CPUS;
		sched_wake(&runners[i].s);
	}
	run(2 * n * MS); /* till nobody waits who has just woken */
	for (u32 i = 0; i < 64; i++) {
		u64 begun;

		run(3 * MS);
		begun = blocks;
		ask(&cpu_mem[0], false);
		most = MAX(most, blocks - begun);
	}
	return most;
}

static void test_even(void)
{
	u64 few = cost_of_evening(CROWD / 16), many = cost_of_evening(CROWD);

	CHECK(few > 10 && many <= MORE_TIMES * few,
	      "where %u wait it costs %u blocks at most to look for one for another CPU, where %u "
	      "do, %u",
	      CROWD, (u32)many, CROWD / 16, (u32)few);
}

/* Likewise where n wait that may run nowhere else, and other CPUs idle. */
static u64 cost_of_giving(u32 n)
{
	u64 begun;

	machine(64, "fair");
	run(MS); /* all idle */
	memset(crowd, 0, sizeof(crowd));
	for (u32 i = 0; i < n; i++) {
		sched_unit_init(&crowd[i], 1024, cpu_set(1), 0, false);
		sched_wake(&crowd[i]);
	}
	sched_next(NULL, now, &slice_end[0]);
	now += 2 * MS;
	begun = blocks;
	sched_next(sched_of(0)->curr, now, &slice_end[0]);
	return blocks - begun;
}

static void test_give(void)
{
	u64 few = cost_of_giving(CROWD / 16), many = cost_of_giving(CROWD);

	CHECK(few > 10 && many <= MORE_TIMES * few,
	      "where %u wait and 63 CPUs idle it costs %u blocks to choose, where %u wait, %u",
	      CROWD, (u32)many, CROWD / 16, (u32)few);
}

static struct sim_unit capped[CROWD], free_ones[CROWD];

/* n of a VM wake. */
static void begin_vm(struct sched_group *g, struct sim_unit *its, u32 n)
{
	memset(its, 0, n * sizeof(*its));
	for (u32 i = 0; i < n; i++) {
		sched_unit_init(&its[i].s, 1024, NULL, 0, false);
		its[i].last_cpu = MAX_CPUS;
		CHECK_QUIET(!sched_group_join(g, &its[i].s), "one more");
		sched_wake(&its[i].s);
	}
}

/*
 * n of a VM wait, and its cap keeps them; one that has none runs. Where two CPUs share a core there
 * are as many of a VM without a cap.
 */
static void begin_caps(u32 n)
{
	struct sched_group *g;

	machine(of_core, "fair");
	add(1024, 0, false, 0, 0);
	g = vm(0, 0);
	CHECK_QUIET(!sched_group_set(g, 0, 1), "a cap");
	begin_vm(g, capped, n);
	if (by_core)
		begin_vm(vm(0, 0), free_ones, n);
	run(200 * MS);
	CHECK_QUIET(by_core || sched_of(0)->parked.count > n / 2, "most wait for another window");
}

/* Blocks for each choice of who runs next, at most, in a window that is used up. */
static u64 cost_of_caps(u32 n)
{
	u64 most = 0;

	begin_caps(n);
	now += 10 * MS - now % (10 * MS);
	run(5 * MS);
	for (u32 i = 0; i < 4; i++) {
		u64 begun;

		run(MS / 2);
		begun = blocks;
		ask(&cpu_mem[0], false);
		most = MAX(most, blocks - begun);
	}
	return most;
}

static void test_caps(void)
{
	u64 few = cost_of_caps(CROWD / 16), many = cost_of_caps(CROWD);

	CHECK(few > 10 && many <= MORE_TIMES * few,
	      "where a cap keeps %u it costs %u blocks at most to choose, where it keeps %u, %u",
	      CROWD, (u32)many, CROWD / 16, (u32)few);
}

/* The same where windows begin, and are used up. All get on nevertheless. */
static u64 cost_of_windows(u32 n)
{
	u64 most = 0, had[CROWD], end, passes, idle = 0;
	u32 ran = 0;

	begin_caps(n);
	for (u32 i = 0; i < n; i++)
		had[i] = sched_runtime(&capped[i].s, now);
	for (end = now + 4 * SEC; now < end;) {
		for (u32 i = 0; i < cpu_count; i++) {
			u64 begun = blocks;

			me = &cpu_mem[i];
			ask(me, false);
			most = MAX(most, blocks - begun);
		}
		passes = MIN(MIN(slice_end[0], slice_end[cpu_count - 1]), now + 2 * MS) - now;
		passes = MAX(passes, US);
		for (u32 i = 0; i < cpu_count; i++)
			idle += running[i] ? 0 : passes;
		now += passes;
	}
	for (u32 i = 0; i < n; i++)
		ran += sched_runtime(&capped[i].s, now) > had[i];
	CHECK_QUIET(ran >= CROWD / 16, "so have other %u, of %u", ran, n);
	CHECK_QUIET(idle <= cpu_count * SEC, "CPUs idle a quarter of the time at most");
	return most;
}

static void test_windows(void)
{
	u64 few = cost_of_windows(CROWD / 16), many = cost_of_windows(CROWD);

	CHECK(few > 10 && many <= MOST_AT_ONCE,
	      "where windows of %u begin and end a choice costs %u blocks at most, where those of "
	      "%u do, %u%s",
	      CROWD, (u32)many, CROWD / 16, (u32)few, by_core ? ", with sched-gran=core" : "");
}

static void test_core_windows(void)
{
	by_core = true;
	of_core = 2;
	test_windows();
	by_core = false;
	of_core = 1;
}

/* Blocks for each of n that are queued by their deadlines. */
static u64 cost_of_queuing(u32 n, enum order order)
{
	struct sched_rq rq = {0};
	u64 begun = blocks;

	memset(crowd, 0, sizeof(crowd));
	for (u32 i = 0; i < n; i++) {
		crowd[i].budget.deadline = ahead_of(order, i, n);
		crowd[i].on_rq = true;
		sched_deadline.enqueue(&rq, &crowd[i]);
	}
	begun = blocks - begun;
	CHECK_QUIET(is_sorted(&rq, n, true), "%s: the earliest deadline is first", names[order]);
	return begun / n;
}

static void test_deadlines(enum order order)
{
	u64 few = cost_of_queuing(CROWD / 16, order), many = cost_of_queuing(CROWD, order);

	CHECK(few && many <= PER_WAKE / 4 && many <= MORE_TIMES * few,
	      "%u with deadlines, %s, cost %u blocks each, %u of them %u", CROWD, names[order],
	      (u32)many, CROWD / 16, (u32)few);
}

int main(void)
{
	test_even();
	test_give();
	test_caps();
	test_windows();
	test_core_windows();
	for (enum order o = EQUAL; o <= BEFORE_OTHERS; o++) {
		test_wake(o, false);
		test_wake(o, true);
		test_deadlines(o);
	}
	return test_end();
}
