/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/*
 * The scheduler under simulated time (1 tick = 1 ns) on several CPUs: fairness, latency, placing,
 * caps, wake-ups. Beside it: sched_dom0_test.c, sched_yield_test.c, sched_threads_test.c, and who
 * gets how much of several CPUs in sched_share_test.c.
 */
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
	sched_set(&b->s, 1024, NULL, 0);
	a->s.runtime = b->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(b, SEC) / share(a, SEC), 1, .05), "a changed weight takes effect: %.2f",
	      share(b, SEC) / share(a, SEC));
	CHECK(!sched_set(&b->s, NICE_MINUS_20, NULL, 0), "the weight of nice -20 is one");
	a->s.runtime = b->s.runtime = 0;
	run(20 * SEC);
	CHECK(near(share(b, SEC) / share(a, SEC), NICE_MINUS_20 / 1024., .2),
	      "and takes effect: %.1f", share(b, SEC) / share(a, SEC));
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
	sched_set(&h->s, 0, cpu_set(1), 0);
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
	CHECK(sched_set(&p[0]->s, 0, cpu_set(BIT(2)), 0) == -EPERM,
	      "the affinity of a pinned unit cannot be changed");
}

static void test_affinity(void)
{
	struct sim_unit *a, *b;
	u32 asked = 0;

	machine(4, "fair");
	a = hog(1024);
	b = hog(1024);
	sched_set(&a->s, 0, cpu_set(BIT(2)), 0);
	sched_set(&b->s, 0, cpu_set(BIT(2)), 0);
	run(10 * MS);
	a->ran_on = b->ran_on = 0;
	run(SEC);
	CHECK(a->ran_on == BIT(2) && b->ran_on == BIT(2),
	      "a changed affinity moves running and waiting units");
	sched_set(&b->s, 0, cpu_set(BIT(0) | BIT(3)), 0);
	run(10 * MS);
	b->ran_on = 0;
	run(SEC);
	b->ran_on |= BIT(b->s.cpu); /* who is alone goes on without being asked */
	CHECK(b->ran_on && !(b->ran_on & ~(BIT(0) | BIT(3))), "and moves them again: %llx",
	      (unsigned long long)b->ran_on);
	a->s.runtime = b->s.runtime = 0;
	memset(asked_of, 0, sizeof(asked_of));
	run(SEC);
	CHECK(share(a, SEC) > .99 && share(b, SEC) > .99, "each has its CPU then");
	for (u32 i = 0; i < cpu_count; i++)
		asked += asked_of[i];
	CHECK(!asked,
	      "and nobody asks in a second whom to run, on 2 CPUs with one unit or 2 with none");
	CHECK(sched_set(&a->s, 0, cpu_set(BIT(7)), 0) == -EINVAL &&
		  sched_set(&a->s, 100001, NULL, 0) == -EINVAL &&
		  sched_set(&a->s, 0, NULL, 101) == -EINVAL,
	      "nonsense is refused: CPUs that are not online, weight over 100000, cap over 100");
}

static void test_idle_pull(void)
{
	u32 i;

	machine(2, "fair");
	sched_set(&hog(1024)->s, 0, cpu_set(BIT(0)), 0);
	sched_set(&hog(1024)->s, 0, cpu_set(BIT(0)), 0);
	run(100 * MS);
	CHECK(!running[1], "a CPU idles when nobody may run there");
	sched_set(&unit[1].s, 0, cpu_set(3), 0);
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

/*
 * Three hogs on CPU 0, of which one runs, one on CPU 1, four on CPU 2; as far ahead as said, in ms.
 * To which CPU does one go? 0: to none.
 */
static u32 goes_by_evening(u64 ahead1, u64 ahead2)
{
	static const u8 where[] = {0, 0, 0, 1, 2, 2, 2, 2};
	struct sched_cpu *sc, *one, *two;

	machine(3, "fair");
	for (u32 i = 0; i < ARRAY_SIZE(where); i++)
		sched_set(&hog(1024)->s, 0, cpu_set(BIT(where[i])), 0);
	run(60 * MS);
	for (u32 i = 0; i < 3; i++)
		sched_set(&unit[i].s, 0, cpu_set(7), 0);
	sc = cpus[0]->sched;
	one = cpus[1]->sched;
	two = cpus[2]->sched;
	sc->evened_at = 0;
	one->charged_at = now;
	one->rq.floor = sc->rq.floor + ahead1 * MS;
	two->rq.floor = sc->rq.floor + ahead2 * MS;
	place_give_away(sc, true, now);
	return unit[0].s.cpu + unit[1].s.cpu + unit[2].s.cpu;
}

/* Nobody goes to one CPU because of another that ran away. */
static void test_debts(void)
{
	CHECK(goes_by_evening(6, 0) == 1, "a CPU ahead of the others by 6 ms is sent a unit");
	CHECK(goes_by_evening(6, 5) == 1, "a busier one that is ahead as far is not");
	CHECK(goes_by_evening(2, 0) == 0, "one that is ahead by 2 ms is not");
	CHECK(goes_by_evening(6, 900) == 2,
	      "a busier one is if it is so far ahead that what CPUs are behind is forgotten");
}

/* ---- caps and accounting ---- */

static void test_caps(void)
{
	struct sim_unit *a, *b;

	machine(1, "fair");
	a = hog(1024);
	sched_set(&a->s, 0, NULL, 25);
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .25, .05), "a cap of 25 %% holds on an idle CPU: %.3f",
	      share(a, 10 * SEC));
	CHECK(near((double)sched_steal(&a->s, now) / SEC, 7.5, .05),
	      "parked time counts as stolen");
	b = hog(1024);
	sched_set(&a->s, 0, NULL, 80);
	a->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .5, .05) && near(share(b, 10 * SEC), .5, .05),
	      "a cap above the fair share does nothing");
	sched_set(&a->s, 0, NULL, 10);
	a->s.runtime = b->s.runtime = 0;
	run(10 * SEC);
	CHECK(near(share(a, 10 * SEC), .1, .1) && near(share(b, 10 * SEC), .9, .05),
	      "the rest goes to others: %.3f %.3f", share(a, 10 * SEC), share(b, 10 * SEC));
	sched_set(&a->s, 0, NULL, 100);
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
	sched_set(&a->s, 0, NULL, 1);
	while (a->s.state != SCHED_RUNNING)
		run(STEP);
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
	sched_set(&a->s, 0, NULL, 20);
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
	at_random = true;
	machine(1 + seed % 4, seed % 3 ? "fair" : "rr");
	for (i = 0; i < 12; i++)
		add(1 + rand() % 4096, rand() % cpu_count, rand() % 4 == 0, rand() % 3 * 400 * US,
		    rand() % 5 * MS + STEP);
	for (i = 0; i < 20000; i++) {
		r = rand() % units;
		me = &cpu_mem[rand() % cpu_count];
		switch (rand() % 12) {
		case 0:
			sched_set(&unit[r].s, 1 + rand() % 4096, NULL, 0);
			break;
		case 1:
			sched_set(&unit[r].s, 0, cpu_set(rand() & (BIT(cpu_count) - 1)), 0);
			break;
		case 2:
			sched_set(&unit[r].s, 0, NULL, rand() % 101);
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
		sched_set(&unit[i].s, 1024, NULL, 100);
	run(SEC);
	for (i = 0; i < units; i++)
		unit[i].s.runtime = 0;
	run(2 * SEC);
	limit = 2 * SEC / 2000;
	for (i = 0; i < units; i++)
		stuck += !sched_runtime(&unit[i].s, now) ||
			 (!unit[i].burst && unit[i].s.runtime < limit);
	at_random = false;
	CHECK(!stuck, "random run %u (%s, %u CPUs): nobody is stuck", seed, sched_policy_name(),
	      cpu_count);
}

int main(void)
{
	u32 i;

	test_init();
	test_equal("fair");
	test_equal("rr");
	test_weights();
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
	test_wakes();
	for (i = 1; i <= 8; i++)
		test_random(i);
	return test_end();
}
