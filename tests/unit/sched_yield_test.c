/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/* Units that give their CPU away: by sched_give_way() where they spin, by sched_yield_to(). */
#include <stdlib.h>

#include "hv/sched/place.h"
#include "sched_sim.h"
#include "test.h"

#define STEP (20 * US)

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
	sched_unit_init(&to->s, 1024, NULL, 0, false);
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
	sched_unit_init(&to->s, 1024, NULL, 0, false);
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
	sched_unit_init(&to->s, 1024, cpu_set(BIT(1)), 0, false);
	sched_yield_to(&from->s, &to->s);
	run(2 * STEP);
	CHECK(running[0] == &from->s && running[1] == &to->s,
	      "who may not run here is woken elsewhere");
	machine(2, "fair");
	from = add(1024, 0, true, 0, 0);
	run(10 * MS);
	to = &unit[units++];
	sched_unit_init(&to->s, 1024, NULL, 0, false);
	sched_yield_to(&from->s, &to->s);
	run(2 * STEP);
	CHECK(running[0] == &to->s, "it runs here, though another CPU idles");
	run(1100 * US);
	CHECK(running[0] == &from->s && running[1] == &to->s,
	      "but goes to the idle CPU when it runs on for 1 ms");
}

static int by_size(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Two vCPUs of a VM on one CPU ask and answer by IPIs, beside so many VMs that are busy. */
static void test_ipis(u32 hogs, u64 p99, u64 most)
{
	struct sim_unit *a, *b;
	u32 n;

	machine(1, "fair");
	groups = 1;
	sched_group_init(&group[0]);
	a = add_to(&group[0], 1024, 0, false, 20 * US, 0);
	b = add_to(&group[0], 1024, 0, false, 3 * US, 0);
	a->wakes = b;
	b->wakes = a;
	for (u32 i = 0; i < hogs; i++)
		vm(1024, 1);
	for (u32 i = 0; i < 200; i++) {
		cpu_mem[0].resched = true; /* as by a timer of before, for nothing */
		run(MS);
		if (i == 109)
			a->io_done = 0;
	}
	n = MIN(a->io_done, (u32)ARRAY_SIZE(a->io_late));
	qsort(a->io_late, n, sizeof(u64), by_size);
	CHECK(n > 500 && a->io_late[n * 99 / 100] <= p99 && a->io_late[n - 1] <= most,
	      "beside %u busy VMs an IPI is answered after %llu us at p50, %llu at p99, %llu at "
	      "most, %u in 90 ms",
	      hogs, a->io_late[n / 2] / US, a->io_late[n * 99 / 100] / US, a->io_late[n - 1] / US,
	      n);
}

/* Who has just been woken by one of its group is passed over for another's turn, not dom0's. */
static void test_pass_over(void)
{
	struct sched_unit first = {.boost = true}, ran = {0}, u = {0};
	struct sched_group g = {.runnable = 1};
	struct sched_cpu sc = {.policy = &sched_fair, .loaded = &ran};

	machine(1, "fair");
	first.group = ran.group = &g;
	first.since = now;
	sc.rq.queue.head = &first;
	sc.slice_end = now + 100 * MS;
	u.pinned = first.asked = true;
	place_pass_over(&sc, &u, now);
	CHECK(first.boost && sc.slice_end == now + 100 * MS,
	      "what dom0's unit is let in for takes nobody's event away, nor its own slice");
	u.pinned = first.asked = false;
	place_pass_over(&sc, &u, now);
	CHECK(first.boost, "nor one's that a timer of its own has woken");
	first.asked = true;
	place_pass_over(&sc, &u, now);
	CHECK(!first.boost && sc.slice_end < now + 100 * MS, "another's turn does");
}

int main(void)
{
	test_pass_over();
	test_make_way();
	test_yield();
	test_yield_to_hog();
	test_yield_event();
	test_ipis(0, 5 * US, 5 * US);
	test_ipis(1, 26 * US, 6800 * US);
	return test_end();
}
