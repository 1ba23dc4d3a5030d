/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c */
/* Where units go on machines whose CPUs share cores and caches, and what moving costs them. */
#include "sched_sim.h"
#include "test.h"

/* Two packages of two caches of two cores of two threads */
static void begin(void)
{
	of_core = 2;
	of_cache = 4;
	of_package = 8;
	machine(16, "fair");
}

static void busy(u64 cpus_mask)
{
	for (; cpus_mask; cpus_mask &= cpus_mask - 1)
		sched_set(&hog(1024)->s, 0, cpu_set(cpus_mask & -cpus_mask), 0);
	run(60 * MS);
}

/* On which CPU does a unit run that was on that one, when those are busy? */
static u32 wakes_on(u64 busy_cpus, u32 last, u64 allowed)
{
	struct sim_unit *s;

	begin();
	busy(busy_cpus);
	s = &unit[units++];
	sched_unit_init(&s->s, 1024, cpu_set(allowed), last, false);
	s->last_cpu = MAX_CPUS;
	s->burst = s->left = 100 * US;
	sched_wake(&s->s);
	run(20 * US);
	return s->last_cpu;
}

static void test_waking(void)
{
	CHECK(wakes_on(0, 5, ~0ull) == 5, "one that wakes runs where it was, if that core idles");
	CHECK(wakes_on(BIT(4), 5, ~0ull) == 6, "if not, on a core that idles and has the cache");
	CHECK(wakes_on(BIT(4) | BIT(6), 5, ~0ull) == 0, "or on one of its package");
	CHECK(wakes_on(0x55, 5, ~0ull) == 8, "or on another");
	CHECK(wakes_on(0x5555, 5, ~0ull) == 5, "if none idles, on the thread where it was");
	CHECK(wakes_on(0x5575, 5, ~0ull) == 7, "or on one with the cache");
	CHECK(wakes_on(0x55f5, 5, ~0ull) == 1, "or on one of its package");
	CHECK(wakes_on(0x55f5, 5, 0xff00) == 9, "as far as it may run there");
	CHECK(wakes_on(0xffff, 5, ~0ull) == 5, "if no thread idles, where it was");
	CHECK(wakes_on(0xffff, 5, 0xff00) == 8, "or on another, if that is not allowed");
}

/* One alone on a CPU of a core that another uses goes to a core that becomes idle, and stays. */
static void test_spreading(void)
{
	struct sim_unit *a, *b;

	begin();
	for (u32 i = 2; i < 16; i++) /* one on each other thread: they sleep from 10 ms on */
		sched_set(&add(1024, i, false, 10 * MS, 0)->s, 0, cpu_set(BIT(i)), 0);
	a = hog(1024);
	b = hog(1024);
	run(5 * MS);
	CHECK(a->s.cpu / 2 == b->s.cpu / 2, "two hogs find one core only");
	run(10 * MS);
	CHECK(a->s.cpu / 2 != b->s.cpu / 2, "and one leaves it when others idle");
	CHECK(a->s.cpu / 4 == b->s.cpu / 4, "for one with the same cache");
	a->moves = b->moves = 0;
	run(SEC);
	CHECK(!a->moves && !b->moves && a->s.state == SCHED_RUNNING && b->s.state == SCHED_RUNNING,
	      "where it stays");
}

/* Whoever runs beside it for a moment does not drive it away. */
static void test_not_for_a_moment(void)
{
	struct sim_unit *a;

	begin();
	for (u32 i = 1; i < 16; i += 2)
		sched_set(&add(1024, i, false, 20 * US, 4 * MS + 17 * i * US)->s, 0,
			  cpu_set(BIT(i)), 0);
	a = hog(1024);
	sched_set(&a->s, 0, cpu_set(0x5555), 0);
	run(10 * MS);
	a->moves = 0;
	run(SEC);
	CHECK(!a->moves,
	      "a hog leaves no core for who runs there for a moment: %lu moves in a second",
	      a->moves);
}

static double least_share(u32 hogs, u64 ns)
{
	double least = 1;

	for (u32 i = 0; i < hogs; i++)
		least = MIN(least, (double)(sched_runtime(&unit[i].s, now) - unit[i].had) / ns);
	return least;
}

/* Hogs on 16 CPUs: what they get at least, of what they should, and how they move. */
static void test_moves(u32 hogs, double far_part)
{
	double least, ideal = 16. / hogs;
	u64 far;

	begin();
	for (u32 i = 0; i < hogs; i++)
		hog(1024);
	run(100 * MS);
	for (u32 i = 0; i < units; i++)
		unit[i].had = sched_runtime(&unit[i].s, now);
	memset(moves_by, 0, sizeof(moves_by));
	lost_to_moves = 0;
	run(2 * SEC);
	least = least_share(hogs, 2 * SEC) / ideal;
	far = moves_by[NEAR_NODE] + moves_by[NEAR_NONE];
	CHECK(least > .98 && far <= far_part * (far + moves_by[NEAR_CORE] + moves_by[NEAR_CACHE]) &&
		  lost_to_moves < SEC * 32 / 500,
	      "%u hogs on 16 CPUs get %.3f of the ideal at least; moves a second in a core %llu, "
	      "in a "
	      "cache %llu, in a package %llu, between packages %llu: %.2f %% of the time is lost",
	      hogs, least, moves_by[NEAR_CORE] / 2ull, moves_by[NEAR_CACHE] / 2ull,
	      moves_by[NEAR_NODE] / 2ull, moves_by[NEAR_NONE] / 2ull,
	      100. * lost_to_moves / (32. * SEC));
}

int main(void)
{
	test_waking();
	test_spreading();
	test_not_for_a_moment();
	test_moves(20, .15);
	test_moves(24, .1);
	test_moves(26, .5);
	test_moves(40, .5);
	return test_end();
}
