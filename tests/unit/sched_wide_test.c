/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Machines with more CPUs than a word has bits: vCPUs are placed, moved, kept in pools and woken
 * on all of them, and sets that cross words mean what they say.
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

#define WIDE   200 /* CPUs */
#define MOVES  (200 * US)
#define SETTLE (100 * MS)

static struct corbel_cpus range(u32 from, u32 to)
{
	struct corbel_cpus set = {0};

	for (; from <= to; from++)
		set.word[from / 64] |= BIT(from % 64);
	return set;
}

/* Has each of the units run on CPUs of the set only, since that was last asked? */
static bool all_within(const struct corbel_cpus *set)
{
	bool good = true;

	for (u32 i = 0; i < units; i++) {
		good &= cpus_has(set, unit[i].s.cpu) && cpus_within(&unit[i].on, set);
		cpus_clear(&unit[i].on);
	}
	return good;
}

static void forget_where(void)
{
	run(MOVES);
	for (u32 i = 0; i < units; i++)
		cpus_clear(&unit[i].on);
}

static u32 idle_count(void)
{
	u32 n = 0;

	FOR_EACH_CPU(i, sched_idle_cpus())
		n++;
	return n;
}

static double least_and_most(u64 ns, double *most)
{
	double least = 1;

	*most = 0;
	for (u32 i = 0; i < units; i++)
		unit[i].had = sched_runtime(&unit[i].s, now);
	run(ns);
	for (u32 i = 0; i < units; i++) {
		double part = (double)(sched_runtime(&unit[i].s, now) - unit[i].had) / ns;

		least = MIN(least, part);
		*most = MAX(*most, part);
	}
	return least;
}

static void test_sets(void)
{
	struct corbel_cpus a = range(60, 130), b = range(64, 127), c;
	u32 n = 0, last = 0;

	machine(WIDE, "fair");
	CHECK(cpus_words == 4, "of 200 CPUs four words are looked at");
	FOR_EACH_CPU(i, &a) {
		CHECK_QUIET(i == 60 + n, "in order");
		last = i;
		n++;
	}
	CHECK(n == 71 && last == 130 && cpus_next(&a, 131) == MAX_CPUS, "a set that crosses words");
	CHECK(cpus_without(&c, &a, &b) && cpus_next(&c, 64) == 128 && cpus_within(&b, &a) &&
		  !cpus_within(&a, &b) && cpus_first_of(&a, &b) == 64,
	      "differences, parts and the first in common");
	CHECK(!cpus_take(&b, 60) && cpus_take(&b, 64) && cpus_next(&b, 0) == 65,
	      "what is taken out is gone");
	b = range(130, 194);
	CHECK(cpus_share(&a, &b, 2) && cpus_share(&a, &b, 66) && !cpus_share(&a, &b, 130),
	      "what two sets share beside one CPU, of whichever word");
	cpus_add(&b, 129);
	CHECK(cpus_share(&a, &b, 130) && cpus_share(&a, &b, 129), "or of the same word");
	cpus_add(&a, 500);
	CHECK(cpus_next(&a, 131) == MAX_CPUS, "words that are not used are not looked at");
}

static void test_place(void)
{
	struct corbel_cpus all = range(0, WIDE - 1), some = range(60, 69), two = {{0, 1, 0, 1}},
			   none = range(WIDE, 255);
	double most;

	machine(WIDE, "fair");
	for (u32 i = 0; i < 60; i++)
		hog(1024);
	run(SETTLE);
	CHECK(least_and_most(SEC, &most) > 0.999 && idle_count() == WIDE - 60,
	      "60 hogs have a CPU each of 200");
	CHECK(all_within(&all), "which exist");
	for (u32 i = 0; i < units; i++)
		sched_set(&unit[i].s, 0, &some, 0);
	forget_where();
	run(SETTLE);
	CHECK(least_and_most(5 * SEC, &most) > 0.99 / 6 && most < 1.01 / 6,
	      "tied to ten CPUs in two words they have a sixth each");
	CHECK(all_within(&some) && idle_count() == WIDE - 10, "and run nowhere else");
	for (u32 i = 0; i < units; i++)
		sched_set(&unit[i].s, 0, &two, 0);
	forget_where();
	run(SETTLE);
	CHECK(all_within(&two) && idle_count() == WIDE - 2,
	      "with all in the fourth and the second word they are there");
	CHECK(sched_set(&unit[0].s, 0, &none, 0) == -EINVAL, "CPUs that there are not are refused");
	for (u32 i = 0; i < units; i++)
		sched_set(&unit[i].s, 0, &all, 0);
	run(SETTLE);
	CHECK(least_and_most(SEC, &most) > 0.99 && longest_waste < SEC,
	      "idle CPUs of other words ask for those that wait");
}

static s64 pool(u32 op, u32 id, struct corbel_cpus cpus, const char *name)
{
	struct corbel_pool_call c = {.op = op, .pool = id, .cpus = cpus};

	strcpy(c.name, name);
	return cpupool_call(&c, op == CORBEL_POOL_MOVE ? &group[0] : NULL);
}

static void test_pools(void)
{
	struct corbel_cpus beyond = range(100, 150), back = range(100, 150), rest = range(130, 150);

	machine(WIDE, "fair");
	vm(0, 30);
	beyond.word[7] = 1;
	CHECK(pool(CORBEL_POOL_CREATE, 0, beyond, "p") == -EINVAL &&
		  pool(CORBEL_POOL_CREATE, 0, range(511, 511), "p") == -EINVAL &&
		  pool(CORBEL_POOL_CREATE, 0, range(198, 200), "p") == -EINVAL,
	      "no pool of CPUs that there are not, in words that are used or not");
	CHECK(pool(CORBEL_POOL_CREATE, 0, back, "p") == 1 &&
		  pool(CORBEL_POOL_MOVE, 1, (struct corbel_cpus){0}, "") == 0,
	      "a pool of CPUs in two words");
	forget_where();
	run(SETTLE);
	CHECK(all_within(&back), "its VM runs there");
	CHECK(pool(CORBEL_POOL_REMOVE, 1, beyond, "") == -EINVAL &&
		  pool(CORBEL_POOL_ADD, 1, beyond, "") == -EINVAL,
	      "nor are such taken out, or put in");
	CHECK(!pool(CORBEL_POOL_REMOVE, 1, range(100, 129), ""), "some CPUs go");
	forget_where();
	run(SETTLE);
	CHECK(all_within(&rest), "the VM is on what is left");
	CHECK(pool(CORBEL_POOL_ADD, 0, range(0, WIDE - 1), "") == -EBUSY &&
		  !pool(CORBEL_POOL_ADD, 0, range(100, 129), ""),
	      "the others can be in another pool again");
}

static void test_cores(void)
{
	by_core = true;
	of_core = 2;
	machine(130, "fair");
	CHECK(sched_shared_cores() == 65, "65 cores of two threads");
	vm(0, 30);
	vm(0, 30);
	run(SETTLE);
	run(SEC);
	CHECK(idle_count() >= 130 - 60 - 4, "two VMs find their cores in all words");
	by_core = false;
	of_core = 1;
}

static void test_seats(void)
{
	struct corbel_cpus all = range(64, 99);
	struct corbel_pool_call c = {
	    .op = CORBEL_POOL_CREATE, .cpus = all, .name = "p", .policy = "null"};

	machine(WIDE, "fair");
	CHECK(cpupool_call(&c, NULL) == 1, "a pool beyond the first word");
	vm(0, 1);
	CHECK(!pool(CORBEL_POOL_MOVE, 1, (struct corbel_cpus){0}, ""), "with promises");
	forget_where();
	run(SETTLE);
	CHECK(all_within(&all) && unit[0].s.seat.cpu >= 64, "has a seat there");
}

int main(void)
{
	test_sets();
	test_place();
	test_pools();
	test_cores();
	test_seats();
	return test_end();
}
