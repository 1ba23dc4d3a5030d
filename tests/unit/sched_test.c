/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/fair.c hv/sched/rr.c
 * hv/sched/unit.c -lpthread
 */
/*
 * The scheduler under simulated time (1 tick = 1 ns) on several CPUs, and under real threads for
 * the races.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hv/sched/place.h"
#include "sched_sim.h"
#include "test.h"

#define STEP (20 * US)

/* ---- fairness ---- */

static void test_equal(const char *policy)
{
	struct sim_unit *a, *b;

	machine(1, policy);
	a = hog(1024);
	b = hog(1024);
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .5, .05) && near(share(b, 10 * SEC), .5, .05),
	      "%s: two equal hogs share one CPU within 5 %%: %.3f %.3f", sched_policy_name(),
	      share(a, 10 * SEC), share(b, 10 * SEC));
}

#define NICE_MINUS_20 88761 /* dom0/kmod/run.c */

static void test_weights(void)
{
	struct sim_unit *a, *b;

	machine(1, "fair");
	a = hog(1024);
	b = hog(3072);
	run(10 * SEC);
	CHECK(near(share(b, SEC) / share(a, SEC), 3, .1), "weights 1:3 give 1:3 within 10 %%: %.2f",
	      share(b, SEC) / share(a, SEC));
	sched_set(&b->s, 1024, 0, 0);
	a->s.runtime = b->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(b, SEC) / share(a, SEC), 1, .05), "a changed weight takes effect: %.2f",
	      share(b, SEC) / share(a, SEC));
	CHECK(!sched_set(&b->s, NICE_MINUS_20, 0, 0), "the weight of nice -20 is one");
	a->s.runtime = b->s.runtime = 0;
	run(20 * SEC);
	CHECK(near(share(b, SEC) / share(a, SEC), NICE_MINUS_20 / 1024., .2),
	      "and takes effect: %.1f", share(b, SEC) / share(a, SEC));
}

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

/* How often b runs while a makes way for it whenever that has the CPU, beside others, in 2 s. */
static void make_way(const char *policy, bool makes)
{
	struct sim_unit *a, *b, *c, *d;
	u32 waits = 0, next = 0;

	machine(1, policy);
	a = hog(1024);
	b = hog(1024);
	c = hog(1024);
	d = hog(1024);
	for (u32 i = 0; i < 20000; i++) {
		run(100 * US);
		if (running[0] != &a->s)
			continue;
		waits++;
		if (!makes)
			continue;
		me = &cpu_mem[0];
		sched_give_way(&a->s, &b->s);
		CHECK_QUIET(b->s.state == SCHED_QUEUED, "it is still to be asked for");
		run(US);
		next += running[0] == &b->s;
	}
	if (!makes) {
		CHECK(waits > 4500, "%s: one that waits for another burns its share", policy);
		return;
	}
	CHECK(waits < 900 && next * 10 > waits * 8,
	      "%s: it makes way at once, %u of %u times, and burns little", policy, next, waits);
	CHECK(share(b, 2 * SEC) > .42 && share(c, 2 * SEC) > .24 && share(d, 2 * SEC) > .24,
	      "%s: what it leaves is for the other, and nobody else has less: %.3f %.3f %.3f",
	      policy, share(b, 2 * SEC), share(c, 2 * SEC), share(d, 2 * SEC));
}

/* A spinning vCPU makes way for the holder of the lock. */
static void test_make_way(void)
{
	struct sim_unit *a, *b;

	make_way("fair", false);
	make_way("fair", true);
	machine(2, "fair");
	a = hog(1024);
	b = hog(1024);
	run(10 * MS);
	me = &cpu_mem[a->s.cpu];
	sched_give_way(&a->s, &b->s);
	CHECK(!me->resched, "not for one that runs elsewhere");
}

static void test_many(const char *policy, u32 count, u32 cpus_used, double tolerance)
{
	double want = (double)cpus_used / count, low = 1, high = 0;
	u32 i;

	machine(cpus_used, policy);
	for (i = 0; i < count; i++)
		hog(1024);
	run(10 * SEC);
	for (i = 0; i < count; i++) {
		low = MIN(low, share(&unit[i], 10 * SEC));
		high = MAX(high, share(&unit[i], 10 * SEC));
	}
	CHECK(near(low, want, tolerance) && near(high, want, tolerance),
	      "%s: %u hogs on %u CPUs get %.3f each within %.0f %%: %.3f..%.3f",
	      sched_policy_name(), count, cpus_used, want, tolerance * 100, low, high);
}

static void test_starvation(void)
{
	struct sim_unit *h;
	u32 i;

	machine(1, "fair");
	h = hog(1024);
	for (i = 0; i < 4; i++)
		add(1024, 0, false, 500 * US, 100 * US);
	run(10 * SEC);
	CHECK(share(h, 10 * SEC) > .2 * .9,
	      "four restless sleepers do not starve a hog: %.3f of 0.2", share(h, 10 * SEC));
}

/* ---- latency ---- */

static void test_latency(u32 cpus_used, u32 hogs)
{
	struct sim_unit *inter;
	u32 i;

	machine(cpus_used, "fair");
	for (i = 0; i < hogs; i++)
		hog(1024);
	run(SEC);
	inter = add(1024, 0, false, 200 * US, 10 * MS);
	run(100 * MS); /* as a newcomer it waits for its turn */
	inter->max_latency = 0;
	run(10 * SEC);
	CHECK(
	    inter->max_latency <= 1 * MS && inter->runs > 900,
	    "an interactive unit among %u hogs on %u CPUs waits at most 1 ms: %llu us in %llu runs",
	    hogs, cpus_used, (unsigned long long)inter->max_latency / 1000,
	    (unsigned long long)inter->runs);
}

/* A light unit that runs less than its share does not wait either; alone it would not. */
static void test_light_latency(u32 weight, u64 burst)
{
	struct sim_unit *light;

	machine(1, "fair");
	hog(1024);
	hog(1024);
	run(SEC);
	light = add(weight, 0, false, burst, 10 * MS);
	run(2 * SEC);
	light->max_latency = 0;
	run(5 * SEC);
	CHECK(light->max_latency <= 100 * US,
	      "a unit of weight %u that runs %llu us each 10 ms waits at most 0.1 ms: %llu us",
	      weight, (unsigned long long)burst / 1000,
	      (unsigned long long)light->max_latency / 1000);
}

/*
 * A unit preempted in mid-burst gets an event: it comes soon, also when the wake comes from another
 * CPU.
 */
static void test_queued_event(void)
{
	struct sim_unit *d, *h;
	u64 t0;

	machine(2, "fair");
	h = add(1024, 0, false, 0, 0);
	h->s.affinity = 1;
	add(1024, 1, true, 0, 0);
	d = add(8192, 0, true, 0, 0);
	run(SEC + 10 * MS);
	do {
		while (running[0] == &h->s)
			run(STEP);
		while (running[0] != &h->s)
			run(STEP);
		run(MS / 2); /* the hog's slice is used in part; d is behind by its weight */
	} while (running[0] != &h->s && now < 7 * SEC);
	CHECK(running[0] == &h->s && d->s.state == SCHED_QUEUED,
	      "a queued unit waits without an event");
	t0 = now;
	me = &cpu_mem[1];
	sched_wake(&d->s);
	while (running[0] != &d->s && now < t0 + 20 * MS)
		run(STEP);
	CHECK(now - t0 <= 100 * US,
	      "an event from another CPU brings a queued unit ahead of its turn: %llu us",
	      (unsigned long long)(now - t0) / 1000);
}

/* ---- placing ---- */

static void test_pinned(void)
{
	struct sim_unit *p[2];
	u32 i;

	machine(4, "fair");
	p[0] = add(1024, 1, true, 0, 0);
	p[1] = add(1024, 1, true, 300 * US, 2 * MS);
	for (i = 0; i < 6; i++)
		hog(1024);
	run(5 * SEC);
	CHECK(p[0]->ran_on == BIT(1) && p[1]->ran_on == BIT(1),
	      "pinned units run on their CPU only");
	CHECK(!p[0]->left_cpu || p[0]->s.cpu == 1, "pinned units stay");
	CHECK(sched_set(&p[0]->s, 0, BIT(2), 0) == -EPERM,
	      "the affinity of a pinned unit cannot be changed");
}

static void test_affinity(void)
{
	struct sim_unit *a, *b;

	machine(4, "fair");
	a = hog(1024);
	b = hog(1024);
	sched_set(&a->s, 0, BIT(2), 0);
	sched_set(&b->s, 0, BIT(2), 0);
	run(10 * MS);
	a->ran_on = b->ran_on = 0;
	run(SEC);
	CHECK(a->ran_on == BIT(2) && b->ran_on == BIT(2),
	      "a changed affinity moves running and waiting units");
	sched_set(&b->s, 0, BIT(0) | BIT(3), 0);
	run(10 * MS);
	b->ran_on = 0;
	run(SEC);
	CHECK(b->ran_on && !(b->ran_on & ~(BIT(0) | BIT(3))), "and moves them again: %llx",
	      (unsigned long long)b->ran_on);
	a->s.runtime = b->s.runtime = 0;
	run(SEC);
	CHECK(share(a, SEC) > .99 && share(b, SEC) > .99, "each has its CPU then");
	CHECK(sched_set(&a->s, 0, BIT(7), 0) == -EINVAL &&
		  sched_set(&a->s, 100001, 0, 0) == -EINVAL &&
		  sched_set(&a->s, 0, 0, 101) == -EINVAL,
	      "nonsense is refused: CPUs that are not online, weight over 100000, cap over 100");
}

static void test_idle_pull(void)
{
	u32 i;

	machine(2, "fair");
	sched_set(&hog(1024)->s, 0, BIT(0), 0);
	sched_set(&hog(1024)->s, 0, BIT(0), 0);
	run(100 * MS);
	CHECK(!running[1], "a CPU idles when nobody may run there");
	sched_set(&unit[1].s, 0, 3, 0);
	run(60 * MS);
	CHECK(running[1] == &unit[1].s || running[1] == &unit[0].s,
	      "an idle CPU gets a waiting unit as soon as one may move");
	machine(4, "fair");
	for (i = 0; i < 4; i++)
		add(1024, i, true, 100 * US, 3 * MS);
	for (i = 0; i < 4; i++)
		hog(1024);
	run(5 * SEC);
	for (i = 4; i < 8; i++)
		CHECK(share(&unit[i], 5 * SEC) > .90,
		      "four hogs beside four busy dom0 vCPUs fill four CPUs: %.3f",
		      share(&unit[i], 5 * SEC));
	CHECK(unit[4].left_cpu < 3000, "without moving all the time: %llu",
	      (unsigned long long)unit[4].left_cpu);
}

/* Three hogs on CPU 0, of which one runs, one on CPU 1, four on CPU 2; as far ahead as said, in ms.
 */
static u32 left_after_evening(u64 ahead1, u64 ahead2)
{
	static const u8 where[] = {0, 0, 0, 1, 2, 2, 2, 2};
	struct sched_cpu *sc, *one, *two;

	machine(3, "fair");
	for (u32 i = 0; i < ARRAY_SIZE(where); i++)
		sched_set(&hog(1024)->s, 0, BIT(where[i]), 0);
	run(60 * MS);
	for (u32 i = 0; i < 3; i++)
		unit[i].s.affinity = 7;
	sc = cpus[0]->sched;
	one = cpus[1]->sched;
	two = cpus[2]->sched;
	sc->evened_at = 0;
	one->charged_at = now;
	one->rq.floor = sc->rq.floor + ahead1 * MS;
	two->rq.floor = sc->rq.floor + ahead2 * MS;
	place_give_away(sc, true, now);
	return sc->rq.queue.count;
}

/* Nobody goes to one CPU because of another that ran away and where none can go. */
static void test_debts(void)
{
	CHECK(left_after_evening(6, 0) == 1, "a CPU ahead of the others by 6 ms is sent a unit");
	CHECK(left_after_evening(6, 900) == 2,
	      "not if a busier one is so far ahead that what CPUs are behind is forgotten");
}

/* ---- caps and accounting ---- */

static void test_caps(void)
{
	struct sim_unit *a, *b;

	machine(1, "fair");
	a = hog(1024);
	sched_set(&a->s, 0, 0, 25);
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .25, .05), "a cap of 25 %% holds on an idle CPU: %.3f",
	      share(a, 10 * SEC));
	CHECK(near((double)sched_steal(&a->s, now) / SEC, 7.5, .05),
	      "parked time counts as stolen");
	b = hog(1024);
	sched_set(&a->s, 0, 0, 80);
	a->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .5, .05) && near(share(b, 10 * SEC), .5, .05),
	      "a cap above the fair share does nothing");
	sched_set(&a->s, 0, 0, 10);
	a->s.runtime = b->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .1, .1) && near(share(b, 10 * SEC), .9, .05),
	      "the rest goes to others: %.3f %.3f", share(a, 10 * SEC), share(b, 10 * SEC));
	sched_set(&a->s, 0, 0, 100);
	a->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .5, .05), "cap 100 lifts the cap: %.3f", share(a, 10 * SEC));
}

/* What the hypervisor does for a unit is charged to it, be it as much as it likes. */
static void test_cap_debt(void)
{
	struct sim_unit *a;
	u64 before;

	machine(1, "fair");
	a = hog(1024);
	sched_set(&a->s, 0, 0, 1);
	while (a->s.state != SCHED_RUNNING)
		run(MS / 4);
	a->s.since -= 500 * MS;
	run(10 * MS);
	before = sched_runtime(&a->s, now);
	run(SEC);
	CHECK(sched_runtime(&a->s, now) > before,
	      "a unit that is charged half a second at a cap of 1 %% runs again within one");
}

static void test_cap_sleeper(void)
{
	struct sim_unit *a;

	machine(2, "fair");
	a = add(1024, 0, false, 5 * MS, 1 * MS);
	sched_set(&a->s, 0, 0, 20);
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .2, .05),
	      "a cap holds for a unit that sleeps and wakes: %.3f", share(a, 10 * SEC));
}

static void test_steal(void)
{
	struct sim_unit *a, *b;
	u64 t0;

	machine(1, "fair");
	t0 = now;
	a = hog(1024);
	run(SEC);
	CHECK(!sched_steal(&a->s, now) && sched_runtime(&a->s, now) == now - t0,
	      "alone, nothing is stolen");
	t0 = now;
	b = hog(1024);
	run(SEC + 333 * US);
	CHECK(sched_runtime(&b->s, now) + sched_steal(&b->s, now) == now - t0,
	      "run and stolen time add up to the time passed");
	CHECK(near((double)sched_steal(&b->s, now) / SEC, .5, .05),
	      "half is stolen by an equal hog: %.3f", (double)sched_steal(&b->s, now) / SEC);
	machine(1, "fair");
	a = add(1024, 0, false, 1 * MS, 9 * MS);
	run(SEC);
	CHECK(sched_steal(&a->s, now) <= 2 * MS && near(share(a, SEC), .1, .05),
	      "sleep is not stolen time: %llu us",
	      (unsigned long long)sched_steal(&a->s, now) / 1000);
}

/* ---- hand-off ---- */

static void test_yield(void)
{
	struct sim_unit *from, *to, *h;
	u64 runs;

	machine(1, "fair");
	from = add(1024, 0, true, 100 * US, 0);
	to = add(1024, 0, false, 100 * US, 0);
	run(MS);
	CHECK(from->s.state == SCHED_BLOCKED && to->s.state == SCHED_BLOCKED,
	      "both sleep at first");
	from->gives_to = to;
	sched_wake(&from->s);
	runs = to->runs;
	run(100 * MS);
	CHECK(to->runs - runs >= 400, "two units hand the CPU to and fro: %llu times in 100 ms",
	      (unsigned long long)(to->runs - runs));
	h = hog(1024);
	run(10 * SEC);
	CHECK(share(h, 10 * SEC) > .33 * .9 && share(h, 10 * SEC) < .5 && share(to, 10 * SEC) > .2,
	      "a hog beside them gets its third: hog %.3f from %.3f to %.3f", share(h, 10 * SEC),
	      share(from, 10 * SEC), share(to, 10 * SEC));
}

/* It has not been on the queue, but is no further behind than who has. */
static void test_yield_to_hog(void)
{
	struct sim_unit *from, *old, *to;
	double was, got;

	machine(1, "fair");
	from = add(2048, 0, true, 100 * US, 10 * MS);
	old = hog(1024);
	run(10 * SEC);
	while (running[0] != &from->s)
		run(STEP);
	to = &unit[units++];
	sched_unit_init(&to->s, 1024, ~0ull, 0, false);
	sched_yield_to(&from->s, &to->s);
	was = share(old, SEC);
	run(SEC);
	got = share(old, SEC) - was;
	CHECK(near(got, .5, .03) && near(share(to, SEC), .5, .03),
	      "who is given the CPU shares it from then on: %.3f %.3f", got, share(to, SEC));
}

static void test_yield_event(void)
{
	struct sim_unit *from, *to;
	u64 slice;

	machine(2, "fair");
	from = add(1024, 0, true, 0, 0);
	to = add(1024, 0, false, 100 * US, 0);
	add(1024, 0, false, 0, 0);
	run(10 * MS);
	to->burst = to->left = 0; /* a hog from now on */
	while (running[0] != &from->s)
		run(STEP);
	sched_yield_to(&from->s, &to->s);
	run(2 * STEP);
	CHECK(running[0] == &to->s && from->s.state == SCHED_QUEUED,
	      "the unit yielded to runs next, though another waits");
	me = &cpu_mem[1];
	sched_wake(&from->s);
	run(2 * STEP);
	CHECK(running[0] == &from->s, "an event for the giver brings it back at once");
	me = &cpu_mem[0];
	slice = now;
	machine(1, "fair");
	from = add(1024, 0, true, 0, 0);
	run(MS);
	to = &unit[units++];
	sched_unit_init(&to->s, 1024, ~0ull, 0, false);
	sched_yield_to(&from->s, &to->s);
	run(2 * STEP);
	slice = now;
	while (running[0] == &to->s && now < slice + SEC)
		run(STEP);
	CHECK(running[0] == &from->s && now - slice < 13 * MS,
	      "the giver comes back when the slice ends: %llu us",
	      (unsigned long long)(now - slice) / 1000);
	machine(2, "fair");
	from = add(1024, 0, true, 0, 0);
	run(MS);
	to = &unit[units++];
	sched_unit_init(&to->s, 1024, BIT(1), 0, false);
	sched_yield_to(&from->s, &to->s);
	run(2 * STEP);
	CHECK(running[0] == &from->s && running[1] == &to->s,
	      "who may not run here is woken elsewhere");
	machine(2, "fair");
	from = add(1024, 0, true, 0, 0);
	run(10 * MS);
	to = &unit[units++];
	sched_unit_init(&to->s, 1024, ~0ull, 0, false);
	sched_yield_to(&from->s, &to->s);
	run(2 * STEP);
	CHECK(running[0] == &to->s, "it runs here, though another CPU idles");
	run(1100 * US);
	CHECK(running[0] == &from->s && running[1] == &to->s,
	      "but goes to the idle CPU when it runs on for 1 ms");
}

/* ---- wake-ups ---- */

static void test_wakes(void)
{
	struct sim_unit *a;

	machine(2, "fair");
	a = add(1024, 0, false, 0, 0);
	run(MS);
	sched_wake(&a->s);
	CHECK(!sched_block(&a->s) && a->s.state == SCHED_RUNNING,
	      "a wake that came while it ran makes sched_block() fail");
	CHECK(!sched_is_off(&a->s), "a running unit is not off");
	CHECK(sched_block(&a->s), "the next one succeeds");
	CHECK(!sched_is_off(&a->s), "a blocked unit is not off while its registers are in the CPU");
	me = &cpu_mem[1];
	sched_wake(&a->s);
	sched_wake(&a->s);
	CHECK(a->s.state == SCHED_QUEUED && a->s.cpu == 0, "and stays on its CPU when woken then");
	me = &cpu_mem[0];
	running[0] = NULL;
	run(MS);
	CHECK(running[0] == &a->s, "where it runs again");
	sched_block(&a->s);
	ask(me, true);
	CHECK(!running[0] && sched_is_off(&a->s),
	      "a unit is off once the CPU has asked for the next");
	CHECK(PANICS(sched_block(&a->s)), "only the unit that runs can block");
	CHECK(PANICS(sched_next(&a->s, now, &slice_end[0])) &&
		  PANICS(sched_yield_to(&a->s, &unit[1].s)),
	      "none that blocked is taken for the one that ran, or gives a CPU away");
}

static void test_init(void)
{
	machine(1, "nonsense");
	CHECK(!strcmp(sched_policy_name(), "fair"), "an unknown policy is replaced by the default");
	machine(1, "");
	CHECK(!strcmp(sched_policy_name(), "fair"), "fair is the default");
	machine(1, "rr");
	CHECK(!strcmp(sched_policy_name(), "rr"), "rr can be chosen");
}

/* ---- random simulation ---- */

static void test_random(u32 seed)
{
	u32 i, r;
	u64 stuck = 0, limit;

	srand(seed);
	machine(1 + seed % 4, seed % 3 ? "fair" : "rr");
	for (i = 0; i < 12; i++)
		add(1 + rand() % 4096, rand() % cpu_count, rand() % 4 == 0, rand() % 3 * 400 * US,
		    rand() % 5 * MS + STEP);
	for (i = 0; i < 20000; i++) {
		r = rand() % units;
		me = &cpu_mem[rand() % cpu_count];
		switch (rand() % 12) {
		case 0:
			sched_set(&unit[r].s, 1 + rand() % 4096, 0, 0);
			break;
		case 1:
			sched_set(&unit[r].s, 0, rand() & (BIT(cpu_count) - 1), 0);
			break;
		case 2:
			sched_set(&unit[r].s, 0, 0, rand() % 101);
			break;
		case 3:
		case 4:
			sched_wake(&unit[r].s);
			break;
		case 5:
			if (running[me->index] && running[me->index] != &unit[r].s)
				sched_yield_to(running[me->index], &unit[r].s);
			break;
		}
		run(STEP * (rand() % 4));
	}
	/* Now without interference all runnable units must come on. */
	for (i = 0; i < units; i++)
		sched_set(&unit[i].s, 1024, 0, 100);
	run(SEC);
	for (i = 0; i < units; i++)
		unit[i].s.runtime = 0;
	run(2 * SEC);
	limit = 2 * SEC / 2000;
	for (i = 0; i < units; i++)
		stuck += !sched_runtime(&unit[i].s, now) ||
			 (!unit[i].burst && unit[i].s.runtime < limit);
	CHECK(!stuck, "random run %u (%s, %u CPUs): nobody is stuck", seed, sched_policy_name(),
	      cpu_count);
}

/* ---- real threads: no unit on two CPUs at once, no wake lost ---- */

#define T_CPUS	4
#define T_UNITS 10
static struct {
	struct sched_unit s; /* first */
	u64 pad[16];	     /* leave() above counts here */
	u32 owner;	     /* CPU + 1 that runs it */
	u32 events, handled;
} tu[T_UNITS];
static u32 stop_posting, stop_all;

static void post(u32 to, struct sched_unit *giver)
{
	if (__atomic_load_n(&stop_posting, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&tu[to].events, 1, __ATOMIC_SEQ_CST);
	if (giver)
		sched_yield_to(giver, &tu[to].s);
	else
		sched_wake(&tu[to].s);
}

static void thread_burst(u32 i, u32 *seed)
{
	u32 none = 0, n, events;

	if (!CHECK_QUIET(__atomic_compare_exchange_n(&tu[i].owner, &none, me->index + 1, false,
						     __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST),
			 "unit %u is on one CPU at a time", i))
		abort();
	events = __atomic_load_n(&tu[i].events, __ATOMIC_SEQ_CST);
	__atomic_store_n(&tu[i].handled, events, __ATOMIC_SEQ_CST);
	for (n = rand_r(seed) % 3; n; n--)
		post(rand_r(seed) % T_UNITS, rand_r(seed) % 3 ? NULL : &tu[i].s);
	if (rand_r(seed) % 50 == 0)
		sched_set(&tu[rand_r(seed) % T_UNITS].s, 1 + rand_r(seed) % 4096, rand_r(seed) % 16,
			  0);
	__atomic_store_n(&tu[i].owner, 0, __ATOMIC_SEQ_CST);
}

static void *thread_main(void *arg)
{
	struct sched_unit *u = NULL;
	u64 end;
	u32 i, seed = 1 + (u32)(u64)arg;

	me = &cpu_mem[(u64)arg];
	while (!__atomic_load_n(&stop_all, __ATOMIC_SEQ_CST)) {
		u = sched_next(u, rdtsc(), &end);
		if (!u) {
			/* as a device's interrupt would */
			post(rand_r(&seed) % T_UNITS, NULL);
			for (i = 0; i < 20 && !__atomic_load_n(&me->resched, __ATOMIC_SEQ_CST) &&
				    rdtsc() < end;
			     i++)
				sched_yield();
			continue;
		}
		do {
			i = (u32)((char *)u - (char *)tu) / sizeof(tu[0]);
			thread_burst(i, &seed);
			/*
			 * Like HLT: sleep when there is nothing to handle; a wake meanwhile makes
			 * this fail.
			 */
			if (tu[i].events == tu[i].handled && rand_r(&seed) % 4 && sched_block(u))
				u = NULL;
		} while (u && !__atomic_load_n(&me->resched, __ATOMIC_SEQ_CST) && rdtsc() < end);
	}
	return NULL;
}

static u64 unhandled(void)
{
	u64 n = 0;
	u32 i;

	for (i = 0; i < T_UNITS; i++)
		n += __atomic_load_n(&tu[i].events, __ATOMIC_SEQ_CST) !=
		     __atomic_load_n(&tu[i].handled, __ATOMIC_SEQ_CST);
	return n;
}

static void test_threads(void)
{
	struct timespec ms10 = {0, 10 * MS};
	pthread_t t[T_CPUS];
	u64 i, posted = 0;

	machine(T_CPUS, "fair");
	threaded = true;
	for (i = 0; i < T_UNITS; i++) {
		sched_unit_init(&tu[i].s, 1024, ~0ull, i % T_CPUS, i < 2);
		tu[i].events = 1;
		sched_wake(&tu[i].s);
	}
	for (i = 0; i < T_CPUS; i++)
		pthread_create(&t[i], NULL, thread_main, (void *)i);
	for (i = 0; i < 100; i++)
		nanosleep(&ms10, NULL);
	__atomic_store_n(&stop_posting, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 1000 && unhandled(); i++)
		nanosleep(&ms10, NULL);
	for (i = 0; i < T_UNITS; i++)
		posted += tu[i].events;
	CHECK(!unhandled(), "threads: of %llu wake-ups none is lost", (unsigned long long)posted);
	__atomic_store_n(&stop_all, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < T_CPUS; i++)
		pthread_join(t[i], NULL);
	CHECK(posted > 1000 && leaves > 100, "threads: enough happened");
	threaded = false;
}

int main(void)
{
	u32 i;

	test_init();
	test_equal("fair");
	test_equal("rr");
	test_weights();
	test_pinned_share();
	test_dom0_threads();
	test_dom0_serves();
	test_dom0_lies();
	test_make_way();
	test_many("fair", 8, 2, .05);
	test_many("fair", 3, 2, .02);
	test_many("fair", 5, 4, .02);
	test_many("rr", 8, 2, .05);
	test_starvation();
	test_latency(1, 4);
	test_latency(2, 8);
	test_light_latency(335, 200 * US);
	test_light_latency(110, 200 * US);
	test_light_latency(15, 20 * US);
	test_queued_event();
	test_pinned();
	test_affinity();
	test_idle_pull();
	test_debts();
	test_caps();
	test_cap_debt();
	test_cap_sleeper();
	test_steal();
	test_yield();
	test_yield_to_hog();
	test_yield_event();
	test_wakes();
	for (i = 1; i <= 8; i++)
		test_random(i);
	test_threads();
	return test_end();
}
