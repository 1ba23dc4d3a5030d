/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/*
 * dom0 beside guests on one CPU: what it gets by weight, by what it tells of its threads, and when
 * one of them is urgent.
 */
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

#define NICE_MINUS_20 88761 /* dom0/kmod/run.c */

/* dom0's CPU must not look dead to it, whatever guests are given. */
static void test_pinned_share(void)
{
	struct sim_unit *dom0;

	static const u32 percents[] = {25, 11, 50, 90};

	for (u32 i = 0; i < ARRAY_SIZE(percents); i++) {
		double want = percents[i] / 100.;

		sched_set_pinned_share(percents[i]);
		machine(1, "fair");
		dom0 = add(1024, 0, true, 0, 0);
		for (u32 n = 0; n < 32; n++)
			hog(1024);
		run(20 * SEC);
		CHECK(near(share(dom0, 20 * SEC), want, .04),
		      "a thread of dom0 beside 32 guests gets %.3f of its CPU by dom0_share=%u",
		      share(dom0, 20 * SEC), percents[i]);
		machine(1, "fair");
		dom0 = add(2048, 0, true, 0, 0);
		for (u32 n = 0; n < 4; n++)
			hog(NICE_MINUS_20);
		run(20 * SEC);
		CHECK(near(share(dom0, 20 * SEC), want, .04),
		      "beside four guests of nice -20 it gets %.3f", share(dom0, 20 * SEC));
	}
	CHECK(PANICS(sched_set_pinned_share(0)) && PANICS(sched_set_pinned_share(91)),
	      "nobody has nothing");
	sched_set_pinned_share(25);
	machine(1, "fair");
	dom0 = add(2048, 0, true, 0, 0);
	hog(1024);
	run(10 * SEC);
	CHECK(near(share(dom0, 10 * SEC), .667, .05),
	      "and two thirds beside one of nice 0, by weight: %.3f", share(dom0, 10 * SEC));
}

/* A vCPU of the greatest weight wakes beside it, again and again, and does not sleep for long. */
static void test_heavy_wakes(void)
{
	struct sim_unit *dom0;
	u64 before, least = SEC;

	machine(1, "fair");
	dom0 = add(2048, 0, true, 0, 0);
	add(NICE_MINUS_20, 0, false, SEC, 300 * MS);
	run(SEC);
	for (u32 i = 0; i < 100; i++) {
		before = sched_runtime(&dom0->s, now);
		run(200 * MS);
		least = MIN(least, sched_runtime(&dom0->s, now) - before);
	}
	CHECK(least > 30 * MS,
	      "beside one of nice -20 that wakes it gets its quarter at once: %llu of 200 ms",
	      (unsigned long long)least / MS);
}

static int by_size(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* dom0 with so many threads that run all the time, beside guests' hogs. */
static struct sim_unit *busy_dom0(u32 threads, u32 hogs, u64 io_burst)
{
	struct sim_unit *dom0;

	machine(1, "fair");
	dom0 = add(2048, 0, true, 0, 0);
	dom0->s.inside = &dom0->inside;
	dom0->inside.weight = threads * 1024;
	dom0->io_burst = io_burst;
	dom0->io_period = io_burst ? MS : 0;
	dom0->io_at = io_burst ? now + MS : 0;
	for (u32 i = 0; i < hogs; i++)
		hog(1024);
	run(200 * MS);
	for (u32 i = 0; i < units; i++)
		unit[i].s.runtime = 0;
	dom0->io_done = 0;
	return dom0;
}

/* QEMU's I/O threads, behind guests and beside a thread of dom0 that never sleeps. */
static void test_dom0_threads(void)
{
	static const u8 hogs[] = {1, 2, 8};
	struct sim_unit *dom0;

	for (u32 i = 0; i < ARRAY_SIZE(hogs); i++) {
		double ideal = (1 - .05) * MIN(1. / (1 + hogs[i]), .75 / hogs[i]), worst = 0;

		dom0 = busy_dom0(1, hogs[i], 50 * US);
		run(4 * SEC);
		qsort(dom0->io_late, dom0->io_done, sizeof(u64), by_size);
		for (u32 j = 0; j < hogs[i]; j++)
			worst = MAX(worst, MAX(ideal - share(&unit[1 + j], 4 * SEC),
					       share(&unit[1 + j], 4 * SEC) - ideal));
		CHECK(dom0->io_done > 3990 && dom0->io_late[dom0->io_done * 99 / 100] <= 10 * US &&
			  dom0->io_late[dom0->io_done - 1] <= 100 * US,
		      "a 1 ms sleeper of dom0 beside a hog there and %u guests' is late by %llu us "
		      "at p99, %llu us at most",
		      hogs[i], (unsigned long long)dom0->io_late[dom0->io_done * 99 / 100] / US,
		      (unsigned long long)dom0->io_late[dom0->io_done - 1] / US);
		CHECK(worst < ideal * .05, "and guests get what is theirs: %.3f of %.3f",
		      share(&unit[1], 4 * SEC), ideal);
	}
	for (u32 n = 1; n <= 8; n *= 2) {
		busy_dom0(n, 1, 0);
		run(4 * SEC);
		CHECK(near(share(&unit[1], 4 * SEC), 1. / (n + 1), .02),
		      "beside %u busy threads of dom0 a guest gets 1/%u of the CPU: %.3f", n, n + 1,
		      share(&unit[1], 4 * SEC));
	}
}

/*
 * The same where the thread's time comes in whatever moment of turns and ticks, and the interrupt
 * takes a while, in which dom0 cannot yet say that a thread has woken.
 */
static void test_dom0_any_moment(void)
{
	static const u8 hogs[] = {1, 2, 8};

	for (u32 i = 0; i < ARRAY_SIZE(hogs); i++) {
		struct sim_unit *dom0 = busy_dom0(1, hogs[i], 5 * US);
		u64 most = 0;

		dom0->io_period = MS + 6667;
		dom0->io_entry = 3 * US;
		dom0->tick = 4 * MS;
		dom0->tick_at = now + 300 * US;
		for (u32 part = 0; part < 10; part++) {
			dom0->io_done = 0;
			run(4 * SEC);
			CHECK_QUIET(dom0->io_done > 3950, "it runs each time");
			for (u32 j = 0; j < dom0->io_done; j++)
				most = MAX(most, dom0->io_late[j]);
		}
		CHECK(most <= 100 * US,
		      "a thread of dom0 that wakes at any moment beside %u guests' hogs is late by "
		      "%llu us at most",
		      hogs[i], (unsigned long long)most / US);
	}
}

/* A guest that does I/O lets dom0 in a thousand times a second, at the cost of the two only. */
static void test_dom0_serves(void)
{
	double least = 1;

	for (u32 phase = 0; phase < 5; phase++) {
		struct sim_unit *dom0 = busy_dom0(1, 1, 900 * US);

		add(1024, 0, false, 200 * US, 800 * US);
		dom0->io_at += phase * 200 * US;
		run(200 * MS);
		unit[1].s.runtime = 0;
		run(2 * SEC);
		least = MIN(least, share(&unit[1], 2 * SEC));
	}
	CHECK(
	    least > .3,
	    "a hog beside dom0 with a hog, I/O threads and a guest that keeps them busy gets %.3f",
	    least);
}

/* Whatever is said of dom0, by whomever: guests get a share, and dom0 one thread's more than its
 * own. */
static void test_dom0_lies(void)
{
	struct sim_unit *dom0 = busy_dom0(1, 1, 0);

	dom0->inside.fresh = 1;
	run(4 * SEC);
	CHECK(near(share(&unit[1], 4 * SEC), .5, .02),
	      "a thread of dom0 that has been running for long is no fresh one: a guest has %.3f",
	      share(&unit[1], 4 * SEC));
	dom0 = busy_dom0(1, 1, 0);
	for (u32 i = 0; i < 4000; i++) {
		dom0->inside.fresh++;
		sched_wake(&dom0->s);
		run(MS);
	}
	CHECK(share(&unit[1], 4 * SEC) > .32, "a dom0 that is always urgent leaves a guest %.3f",
	      share(&unit[1], 4 * SEC));
	dom0 = busy_dom0(1, 1, 0);
	dom0->inside.weight = ~0u;
	run(4 * SEC);
	CHECK(share(&unit[1], 4 * SEC) > .009, "one of endless weight leaves it %.4f",
	      share(&unit[1], 4 * SEC));
}

int main(void)
{
	test_pinned_share();
	test_heavy_wakes();
	test_dom0_threads();
	test_dom0_any_moment();
	test_dom0_serves();
	test_dom0_lies();
	return test_end();
}
