/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/*
 * Pools that promise something: with deadline each vCPU its budget in each period, with null a CPU.
 * What is promised is kept, whatever others do, and what cannot be kept is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

#define SETTLE (50 * MS)
#define MOVES  (200 * US) /* until a change has reached all CPUs */
#define WHOLE  1000000u

static s64 budget(struct sched_group *g, const struct sim_unit *s, u32 period, u32 us)
{
	return sched_set_budget(g, s ? (struct sched_unit *)&s->s : NULL, period, us);
}

/* The unit runs `burst` in each period, the first time when it is woken now. */
static struct sim_unit *add_job(struct sched_group *g, u64 burst, u64 period)
{
	struct sim_unit *s = add_to(g, 1024, 0, false, burst, 0);

	s->period = period;
	return s;
}

/* Each unit has a new account. */
static void look_away(void)
{
	run(MOVES);
	for (u32 i = 0; i < units; i++) {
		unit[i].ran_on = unit[i].longest = unit[i].max_latency = unit[i].runs = 0;
		unit[i].had = sched_runtime(&unit[i].s, now);
	}
}

/* Of a CPU, since then. */
static double part(const struct sim_unit *s, u64 ns)
{
	return (double)(sched_runtime(&s->s, now) - s->had) / ns;
}

/* ---- deadlines ---- */

/*
 * So many units for a CPU, whose parts are together `all` of SEAT_WHOLE by chance: half of them
 * hogs, half of them with a job for each period that needs what they are promised.
 */
static void fill_cpu(u32 cpu, u32 count, u32 all)
{
	for (u32 i = 0; i < count; i++) {
		struct sched_group *g = &group[groups++];
		u32 period = 1000 + rand() % 49000, part = all / (count - i);
		struct sim_unit *s;
		u64 us;

		if (i + 1 < count)
			part = part / 2 + rand() % part;
		all -= part;
		us = MAX((u64)period * part / WHOLE, 100ull);
		sched_group_init(g);
		s = i % 2 ? add_to(g, 1024, 0, false, 0, 0)
			  : add_job(g, us * US - 20 * US, period * US);
		sched_set(&s->s, 0, cpu_set(BIT(cpu)), 0);
		s->promised_us = us;
		s->period_us = period;
		CHECK_QUIET(!budget(g, NULL, period, us), "a budget of %u us", (u32)us);
		CHECK_QUIET(!move(g, 1), "there is room");
	}
}

/* The promises are kept in the next `ns`. */
static void check_kept(const char *what, u64 ns)
{
	double worst_part = 2, worst_time = 0;

	look_away();
	run(ns);
	for (u32 i = 0; i < units; i++) {
		double want = unit[i].promised_us / (double)unit[i].period_us;

		if (!unit[i].promised_us)
			continue;
		if (unit[i].period)
			worst_time = MAX(worst_time, (double)unit[i].longest / unit[i].period);
		else
			worst_part = MIN(worst_part, part(&unit[i], ns) / want);
	}
	CHECK(worst_time <= 1, "%s: all jobs are done within their periods: %.3f of it at most",
	      what, worst_time);
	CHECK(worst_part >= .985, "%s: hogs have their budgets: %.3f of them at least", what,
	      worst_part);
}

static void test_no_miss(void)
{
	char text[32];

	sched_set_pinned_share(5);
	for (u32 on = 1; on <= 8; on++) {
		machine_with_dom0(on + 1);
		CHECK_QUIET(create("rt", "deadline", ((BIT(on) - 1) << 1)) == 1, "a pool");
		for (u32 cpu = 1; cpu <= on; cpu++)
			fill_cpu(cpu, 4, WHOLE / 100 * 90);
		run(SETTLE);
		snprintf(text, sizeof(text), "%u CPUs, 90 %% promised", on);
		check_kept(text, 2 * SEC);
	}
	sched_set_pinned_share(25);
}

/* Who would like more gets none of it, and no other misses anything for that. */
static void test_overrun(void)
{
	struct sim_unit *one, *job, *late;
	struct sched_group *g;

	machine_with_dom0(2);
	g = vm(0, 1);
	one = &unit[units - 1];
	CHECK(create("rt", "deadline", BIT(1)) == 1 && !budget(g, NULL, 10000, 1000) && !move(g, 1),
	      "a pool with deadlines");
	look_away();
	run(SEC);
	CHECK(near(part(one, SEC), .1, .02), "a hog alone has its tenth and no more: %.4f",
	      part(one, SEC));

	for (u32 i = 0; i < 4; i++) {
		g = vm(0, 1);
		CHECK_QUIET(!budget(g, NULL, 7000 + i, 700) && !move(g, 1), "more of them");
	}
	g = vm(0, 0);
	CHECK_QUIET(!budget(g, NULL, 10000, 1000) && !move(g, 1), "a VM with a job");
	job = add_job(g, 950 * US, 10 * MS);
	late = add_to(g, 1024, 0, false, 30 * US, 0);
	late->period = 3 * MS; /* it sleeps for long, as cyclictest does */
	CHECK(!budget(g, late, 2000, 100), "a vCPU of it may have other terms");
	look_away();
	run(2 * SEC);
	CHECK(job->longest <= 10 * MS && part(job, 2 * SEC) >= .0949,
	      "beside five hogs a job is done in time: %llu us", job->longest / 1000ull);
	CHECK(late->longest <= 2 * MS && late->runs >= 600,
	      "one that sleeps and wakes is served within its period: %llu us",
	      late->longest / 1000ull);
	CHECK(near(part(one, 2 * SEC), .1, .02), "the first hog has what it had: %.4f",
	      part(one, 2 * SEC));
}

/* Whose budget is used up for long, and who then may run without one, waits no longer. */
static void test_let_go(void)
{
	struct sched_group *g;
	struct sim_unit *hog;

	machine_with_dom0(2);
	g = vm(0, 1);
	hog = &unit[units - 1];
	create("rt", "deadline", BIT(1));
	CHECK_QUIET(!budget(g, NULL, 1000000, 100000) && !move(g, 1), "100 ms in a second");
	run(500 * MS);
	look_away();
	run(20 * MS);
	CHECK(part(hog, 20 * MS) == 0, "who has had his 100 ms waits for the next second");
	look_away();
	move(g, 0);
	run(20 * MS);
	CHECK(part(hog, 20 * MS) >= .9, "but not in another pool: %.3f", part(hog, 20 * MS));
}

/* Who has slept for most of his period cannot want all of his budget in what is left of it. */
static void test_late(void)
{
	struct sim_unit *late, *job;
	u64 longest = 0;

	sched_set_pinned_share(5);
	for (u32 phase = 0; phase < 20; phase++) {
		machine_with_dom0(2);
		create("rt", "deadline", BIT(1));
		vm(0, 0);
		vm(0, 0);
		CHECK_QUIET(!budget(&group[0], NULL, 100000, 45000) &&
				!budget(&group[1], NULL, 20000, 9000) && !move(&group[0], 1) &&
				!move(&group[1], 1),
			    "two parts of 45 %%");
		late = add_to(&group[0], 1024, 0, false, MS, 55 * MS);
		run(phase * MS);
		job = add_job(&group[1], 8950 * US, 20 * MS);
		run(30 * MS);
		late->burst = late->left = 43900 * US;
		run(200 * MS);
		longest = MAX(longest, job->longest);
		CHECK_QUIET(late->longest > 44 * MS, "it wakes, and runs");
	}
	CHECK(longest <= 20 * MS, "beside one that wakes late a job is done in time: %llu us",
	      longest / 1000ull);
	sched_set_pinned_share(25);
}

static void test_dom0(void)
{
	struct sim_unit *busy, *reader, *sleeper;
	struct sched_group *g;

	machine(2, "fair");
	add(2048, 0, true, 20 * US, 2 * MS);
	busy = add(2048, 1, true, 0, 0);
	g = vm(0, 2);
	CHECK(create("rt", "deadline", BIT(1)) == 1 && !budget(g, NULL, 100000, 45000) &&
		  !move(g, 1),
	      "all that can be promised beside dom0's twentieth");
	run(SETTLE);
	look_away();
	run(2 * SEC);
	CHECK(part(busy, 2 * SEC) >= .095, "a busy dom0 has all that is left: %.3f",
	      part(busy, 2 * SEC));
	CHECK(near(part(&unit[2], 2 * SEC), .45, .02) && near(part(&unit[3], 2 * SEC), .45, .02),
	      "and the guests what they were promised: %.3f, %.3f", part(&unit[2], 2 * SEC),
	      part(&unit[3], 2 * SEC));
	CHECK(!budget(g, NULL, 100000, 1000), "they may have less");
	run(SEC);
	look_away();
	run(SEC);
	CHECK(part(busy, SEC) >= .97, "what is left over is dom0's: %.3f", part(busy, SEC));

	machine(2, "fair");
	add(2048, 0, true, 20 * US, 2 * MS);
	reader = add(2048, 1, true, 100 * US, 2 * MS);
	g = vm(0, 1);
	sleeper = add_to(g, 1024, 0, false, 30 * US, 5 * MS);
	create("rt", "deadline", BIT(1));
	CHECK(!budget(g, NULL, 50000, 22500) && !move(g, 1), "a pool whose budgets are long");
	look_away();
	run(2 * SEC);
	CHECK(reader->max_latency <= 2 * MS && reader->longest <= 2 * MS,
	      "dom0 is served within its period: %llu us", reader->longest / 1000ull);
	CHECK(sleeper->longest <= 50 * MS && sleeper->runs > 40, "a guest within its own: %llu us",
	      sleeper->longest / 1000ull);
}

/* ---- who is let in ---- */

static void test_admission(void)
{
	struct sched_group *g, *other;
	u64 was;
	u32 one;

	machine(3, "fair");
	add(2048, 0, true, 20 * US, 2 * MS);
	add(2048, 1, true, 20 * US, 2 * MS);
	CHECK(create("rt", "deadline", BIT(1)) == 1, "a pool");
	g = vm(0, 2);
	other = vm(0, 1);
	CHECK(budget(g, NULL, 0, 0) == -EINVAL && budget(g, NULL, 1000, 1001) == -EINVAL &&
		  budget(g, NULL, 1000, 99) == -EINVAL && budget(g, NULL, 1000001, 100) == -EINVAL,
	      "a budget of nothing, longer than its period, or out of range");
	CHECK(!budget(g, NULL, 1000, 451) && move(g, 1) == -ENOSPC && !cpupool_id(g),
	      "twice 45.1 %% are more than 90 %%");
	CHECK(!budget(g, NULL, 1000, 450) && !move(g, 1), "twice 45 %% are not");
	CHECK(!budget(other, NULL, 1000000, 100) && move(other, 1) == -ENOSPC,
	      "one in ten thousand more is too much");
	was = unit[2].s.budget.terms;
	CHECK(budget(g, &unit[2], 1000000, 450001) == -ENOSPC && unit[2].s.budget.terms == was,
	      "also for one of them, which keeps what it has");
	CHECK(!budget(g, &unit[2], 1000000, 449900) && !move(other, 1),
	      "if that has less there is room");
	CHECK(budget(g, NULL, 1000, 450) == -ENOSPC && unit[2].s.budget.terms >> 32 == 1000000,
	      "of a VM's vCPUs all or none change");
	CHECK(call(CORBEL_POOL_REMOVE, 1, BIT(1), NULL) == -EBUSY, "its only CPU stays");
	CHECK(!call(CORBEL_POOL_ADD, 1, BIT(2), NULL) && !budget(g, NULL, 1000, 690),
	      "with one more CPU there is room for more");
	CHECK(unit[2].s.allowed.word[0] != unit[3].s.allowed.word[0] &&
		  unit[2].s.seat.need == 690000,
	      "of which each has one");
	CHECK(call(CORBEL_POOL_REMOVE, 1, BIT(2), NULL) == -ENOSPC &&
		  call(CORBEL_POOL_REMOVE, 1, BIT(1), NULL) == -ENOSPC && cpus_of(1) == 6,
	      "none of the two can be taken away then");
	CHECK(!move(other, 0) && budget(g, NULL, 1000, 951) == -ENOSPC,
	      "nobody has more than 95 %%");
	one = unit[2].s.allowed.word[0] == BIT(1);
	CHECK(!budget(g, &unit[3 - one], 1000, 910) && unit[3 - one].s.allowed.word[0] == BIT(2) &&
		  unit[2 + one].s.allowed.word[0] == BIT(1) &&
		  budget(g, &unit[2 + one], 1000, 941) == -ENOSPC,
	      "and more than 90 %% where dom0 has no vCPU: the two change places");
	CHECK(!budget(g, &unit[3 - one], 1000, 950), "and 95 %% there");
	CHECK(!move(g, 0) && unit[2].s.allowed.word[0] == 1 && !unit[2].s.counts &&
		  !unit[2].s.capped,
	      "who leaves is free");
	CHECK(!budget(other, NULL, 1000, 950) && !move(other, 1), "and so is the CPU he had");
	run(SETTLE);
}

/* A VM of one vCPU that is busy, with such a budget in 10 ms. */
static struct sched_group *busy_vm(u32 us)
{
	struct sched_group *g = vm(0, 1);

	CHECK_QUIET(!budget(g, NULL, 10000, us), "a budget");
	unit[units - 1].promised_us = us;
	unit[units - 1].period_us = 10000;
	return g;
}

/* What fits when others go elsewhere is let in, and nobody loses what he was promised. */
static void test_packed_anew(void)
{
	struct sched_unit *pinned = &unit[5].s;
	struct sched_group *late;

	machine_with_dom0(3);
	create("rt", "deadline", BIT(1) | BIT(2));
	CHECK(!move(busy_vm(3000), 1) && !move(busy_vm(3000), 1) && !move(busy_vm(6000), 1) &&
		  unit[3].s.seat.cpu == unit[4].s.seat.cpu,
	      "30 and 30 %% on one CPU, 60 on another");
	late = busy_vm(6000);
	sched_set(&unit[6].s, 0, cpu_set(BIT(2)), 0);
	run(SETTLE);
	CHECK(!move(late, 1) && unit[3].s.seat.cpu != unit[4].s.seat.cpu &&
		  unit[5].s.seat.cpu != unit[6].s.seat.cpu && unit[6].s.seat.cpu == 2,
	      "another 60 are let in, where they like it: one of the 30 makes room");
	run(SETTLE);
	CHECK(unit[3].s.cpu != unit[4].s.cpu && pinned->cpu == pinned->seat.cpu,
	      "and goes there at once");
	check_kept("2 CPUs, 90 % promised, packed anew", 2 * SEC);
	CHECK(move(busy_vm(100), 1) == -ENOSPC && !cpupool_id(&group[4]) && unit[3].s.seat.need &&
		  unit[3].s.allowed.word[0] == BIT(unit[3].s.seat.cpu),
	      "what has no room in any order is refused, and all is as it was");
	check_kept("and nobody has noticed", SEC);
}

static u32 count_split(void)
{
	u32 split = 0;

	for (u32 i = 0; i < units; i++)
		split += !!unit[i].s.seat.rest;
	return split;
}

/* So many VMs of a busy vCPU, each with `us` of 10 ms, on so many CPUs with 90 % to promise. */
static void fill_with(u32 on, u32 count, u32 us)
{
	char text[64];

	machine_with_dom0(on + 1);
	create("rt", "deadline", (BIT(on) - 1) << 1);
	for (u32 i = 0; i < count; i++)
		CHECK_QUIET(!move(busy_vm(us), 1), "a vCPU of %u us is let in", us);
	CHECK(count_split(), "of %u vCPUs of %u us %u have a part of two CPUs", count, us,
	      count_split());
	run(SETTLE);
	snprintf(text, sizeof(text), "%u of %u us each 10 ms on %u CPUs", count, us, on);
	check_kept(text, 2 * SEC);
}

/*
 * Sets by chance that need 90 % of their CPUs: a few large vCPUs, so that most do not fit whole,
 * with any periods. Are they let in?
 */
static bool fill_by_chance(u32 on, u32 count)
{
	u32 left = WHOLE / 10 * 9 * on;
	bool fits = true;

	machine(on + 1, "fair");
	create("rt", "deadline", (BIT(on) - 1) << 1);
	for (u32 i = 0; i < count && fits; i++) {
		u32 period = 1000 + rand() % 49000, mean = left / (count - i), part = mean;
		u64 us;

		if (i + 1 < count)
			part = MIN(mean / 2 + rand() % mean, WHOLE / 10 * 9);
		left -= part;
		us = MAX((u64)period * MIN(part, WHOLE / 100 * 95) / WHOLE, 100ull);
		vm(0, i % 2);
		if (!(i % 2))
			add_job(&group[i], us * US - 20 * US, period * US);
		unit[i].promised_us = us;
		unit[i].period_us = period;
		fits = !budget(&group[i], NULL, period, us) && !move(&group[i], 1);
	}
	return fits;
}

static void test_split(void)
{
	u32 sets = 200, whole = 0, split = 0;

	fill_with(2, 3, 6000);
	fill_with(4, 5, 7000);
	for (u32 i = 0; i < sets; i++) {
		u32 on = 2 + i % 7;

		if (!fill_by_chance(on, on + 1 + i % (2 * on)))
			continue;
		count_split() ? split++ : whole++;
		if (!count_split() || i % 4)
			continue;
		run(SETTLE);
		check_kept("a set by chance, some of it on two CPUs", SEC);
	}
	CHECK(split + whole >= sets * 17 / 20,
	      "of %u sets that need 90 %% %u are let in whole, %u with parts of two CPUs", sets,
	      whole, split);
}

/* So much of each CPU, in parts that once fitted, in any order and wherever there is room. */
static void test_crowds(u32 percent, u32 least)
{
	u32 let_in = 0, rounds = 100;

	for (u32 round = 0; round < rounds; round++) {
		u32 on = 2 + round % 7, order[MAX_GROUPS];
		bool fits = true;

		machine_with_dom0(on + 1);
		create("rt", "deadline", (BIT(on) - 1) << 1);
		for (u32 i = 0; i < on * 4; i++) {
			u32 left = 10000 * percent / 100, at = i / 4 * 4;

			for (u32 k = at; k < i; k++)
				left -= unit[on + 1 + k].promised_us;
			left /= 4 - i % 4;
			if (i % 4 != 3)
				left = left / 4 + rand() % (left * 3 / 2);
			busy_vm(left);
			order[i] = i;
		}
		for (u32 i = on * 4; i-- > 1;) {
			u32 k = rand() % (i + 1), was = order[i];

			order[i] = order[k];
			order[k] = was;
		}
		for (u32 i = 0; i < on * 4; i++)
			fits = fits && !move(&group[order[i]], 1);
		let_in += fits;
		if (!fits || round % 10)
			continue;
		run(SETTLE);
		check_kept("a crowd that is let in", SEC);
	}
	CHECK(let_in >= least, "of %u crowds that need %u %% of their CPUs %u are let in", rounds,
	      percent, let_in);
}

/* A vCPU that comes is let in as any other, and with its VM's terms. */
static void test_newcomers(void)
{
	struct sched_group *g;
	struct sched_unit extra;

	machine_with_dom0(2);
	create("rt", "deadline", BIT(1));
	g = vm(0, 1);
	CHECK(!budget(g, NULL, 1000, 300) && !move(g, 1), "30 %%");
	sched_unit_init(&extra, 1024, NULL, 0, false);
	CHECK(!sched_group_join(g, &extra) && extra.seat.need == 300000 &&
		  extra.allowed.word[0] == BIT(1),
	      "and 30 %%");
	sched_group_leave(&extra);
	CHECK(!extra.seat.need && !budget(g, NULL, 1000, 500), "it has gone");
	CHECK(sched_group_join(g, &extra) == -ENOSPC && !extra.group && !extra.seat.need &&
		  g->members == &unit[2].s && !unit[2].s.sibling,
	      "for another 50 %% there is no room");
	CHECK(!budget(g, NULL, 1000, 450) && !sched_group_join(g, &extra), "for 45 %% there is");
	sched_group_leave(&extra);
}

/* ---- null ---- */

static bool is_one_to_one(u64 of_pool)
{
	u64 had = 0;

	for (u32 i = 0; i < units; i++) {
		u64 on = unit[i].s.allowed.word[0];

		if (!unit[i].s.seat.need)
			continue;
		if (on & had || __builtin_popcountll(on) != 1 || on & ~of_pool)
			return false;
		had |= on;
	}
	return true;
}

static void test_null(void)
{
	struct sched_group *g, *other;
	struct sched_unit extra;
	u32 asked = 0;

	machine_with_dom0(5);
	CHECK(create("own", "null", BIT(1) | BIT(2) | BIT(3)) == 1, "a pool where vCPUs are alone");
	g = vm(0, 2);
	other = vm(0, 2);
	CHECK(!move(g, 1) && move(other, 1) == -ENOSPC && !cpupool_id(other),
	      "two of three CPUs are taken, so two more vCPUs are refused");
	run(SETTLE);
	look_away();
	run(20 * SEC);
	CHECK(is_one_to_one(14) && unit[5].s.allowed.word[0] != unit[6].s.allowed.word[0],
	      "each vCPU has a CPU");
	CHECK(unit[5].ran_on == unit[5].s.allowed.word[0] &&
		  unit[6].ran_on == unit[6].s.allowed.word[0],
	      "and runs there");
	CHECK(part(&unit[5], 20 * SEC) >= .985, "all the time, but what dom0 needs: %.3f",
	      part(&unit[5], 20 * SEC));
	sched_unit_init(&extra, 1024, NULL, 0, false);
	CHECK(!sched_group_join(g, &extra) &&
		  extra.allowed.word[0] ==
		      (14 & ~unit[5].s.allowed.word[0] & ~unit[6].s.allowed.word[0]),
	      "a new vCPU has the last CPU");
	CHECK(call(CORBEL_POOL_REMOVE, 1, extra.allowed.word[0], NULL) == -ENOSPC &&
		  cpus_of(1) == 14,
	      "which cannot be taken away then");
	CHECK(!call(CORBEL_POOL_ADD, 1, BIT(4), NULL), "another one comes");
	CHECK(!call(CORBEL_POOL_REMOVE, 1, unit[5].s.allowed.word[0], NULL) &&
		  unit[5].s.allowed.word[0] == BIT(4),
	      "so one may go, and who was there has the new one");
	look_away();
	run(SEC);
	CHECK(unit[5].ran_on == BIT(4) && is_one_to_one(cpus_of(1)), "and runs there");
	sched_group_leave(&extra);
	CHECK(sched_set(&unit[5].s, 0, cpu_set(unit[6].s.allowed.word[0]), 0) == 0 &&
		  unit[5].s.allowed.word[0] == BIT(4),
	      "nobody goes where his affinity is, if that is taken");
	look_away();

	/* without dom0's vCPUs there is nobody to look for */
	machine(3, "fair");
	create("own", "null", BIT(1) | BIT(2));
	g = vm(0, 1);
	move(g, 1);
	run(SETTLE);
	look_away();
	memset(asked_of, 0, sizeof(asked_of));
	run(20 * SEC);
	for (u32 i = 1; i < 3; i++)
		asked += asked_of[i];
	CHECK(!asked && part(&unit[0], 20 * SEC) > .9999, "there are no ticks, busy or idle: %u",
	      asked);
	CHECK(!call(CORBEL_POOL_REMOVE, 1, unit[0].s.allowed.word[0] ^ 6, NULL),
	      "a free CPU can go");
	sched_init("null", leave, 4);
	CHECK(!strcmp(sched_policy_name(), "fair"), "dom0's pool is none of these");
}

/* ---- by chance ---- */

static const char *const policies[] = {"fair", "rr", "deadline", "null"};

/* What seats are for, at any time. */
static void check_seats(void)
{
	u64 used[MAX_CPUS] = {0};

	for (u32 i = 0; i < units; i++) {
		const struct sched_unit *u = &unit[i].s;
		u32 pool = u->group ? cpupool_id(u->group) : 0;

		if (u->pinned)
			continue;
		CHECK_QUIET(!(u->allowed.word[0] & ~cpus_of(pool)), "a unit is in its pool");
		CHECK_QUIET(!u->seat_changes && !u->seat_was.need, "nothing is half done");
		CHECK_QUIET(!!u->seat.need == (pool >= 3), "pools with promises have seats");
		if (!u->seat.need)
			continue;
		CHECK_QUIET(u->allowed.word[0] ==
				(BIT(u->seat.cpu) | (u->seat.rest ? BIT(u->seat.next) : 0)),
			    "a seat is where it runs");
		used[u->seat.cpu] += u->seat.need;
		used[u->seat.next] += u->seat.rest;
		if (pool == 3)
			CHECK_QUIET((u64)(u->seat.need + u->seat.rest) * (u->budget.terms >> 32) >=
					(u64)WHOLE * (u32)u->budget.terms,
				    "a seat is as large as its budget");
		else
			CHECK_QUIET(u->seat.need == 900000, "or all there is");
	}
	for (u32 i = 0; i < cpu_count; i++)
		CHECK_QUIET(used[i] <= 900000, "no CPU is promised twice: %llu",
			    (unsigned long long)used[i]);
}

static void change_anything(void)
{
	struct sched_group *g = &group[rand() % groups];
	struct sim_unit *s = &unit[rand() % units];
	u64 cpus = rand() & (BIT(cpu_count) - 1);

	switch (rand() % 6) {
	case 0:
		call(CORBEL_POOL_ADD, rand() % 5, cpus, NULL);
		break;
	case 1:
		call(CORBEL_POOL_REMOVE, 1 + rand() % 4, cpus, NULL); /* dom0 keeps one */
		break;
	case 2:
	case 3:
		move(g, rand() % 5);
		break;
	case 4:
		if (!s->s.pinned && cpus)
			sched_set(&s->s, 0, cpu_set(cpus), 0);
		break;
	case 5:
		budget(g, rand() % 2 && s->s.group == g ? s : NULL, 500 + rand() % 20000,
		       100 + rand() % 8000);
		break;
	}
}

static void test_random(void)
{
	for (u32 round = 0; round < 8; round++) {
		machine_with_dom0(3 + round);
		for (u32 i = 0; i < 6; i++) {
			vm(0, i % 3);
			add_to(&group[i], 1024, 0, false, 300 * US, 900 * US);
		}
		for (u32 i = 0; i < 4; i++)
			create(policies[i], policies[i], 0);
		for (u32 i = 0; i < 400; i++) {
			change_anything();
			check_seats();
			if (rand() % 4)
				continue;
			look_away();
			run(20 * MS);
			for (u32 k = 0; k < units; k++)
				CHECK_QUIET(!(unit[k].ran_on & ~unit[k].s.allowed.word[0]),
					    "all run where they may");
		}
		look_away();
		run(SEC);
		for (u32 i = 0; i < units; i++) {
			const struct sched_budget *b = &unit[i].s.budget;
			double want = (double)(u32)b->terms / (b->terms >> 32);

			CHECK_QUIET(unit[i].ran_on, "nobody is lost");
			if (unit[i].s.counts && !unit[i].s.pinned && !unit[i].burst)
				CHECK_QUIET(
				    near(part(&unit[i], SEC), want, .05) ||
					(unit[i].s.seat.rest && part(&unit[i], SEC) >= want),
				    "hogs have their budgets: %.4f for %.4f", part(&unit[i], SEC),
				    want);
		}
		for (u32 i = 0; i < groups; i++)
			CHECK_QUIET(!move(&group[i], 0), "all can go back to pool 0");
		check_seats();
		for (u32 i = 1; i < 5; i++)
			CHECK_QUIET(!call(CORBEL_POOL_DESTROY, i, 0, NULL), "a pool goes");
		call(CORBEL_POOL_ADD, 0, cpus_of(CORBEL_MAX_POOLS), NULL);
		CHECK_QUIET(create("all", "deadline", BIT(1)) == 1 &&
				!budget(&group[0], NULL, 1000, 700) && !move(&group[0], 1),
			    "no CPU has lost anything it could promise");
	}
	CHECK(true, "after 3200 changes by chance promises are kept and seats are where they were");
}

int main(void)
{
	srand(11);
	test_no_miss();
	test_overrun();
	test_late();
	test_let_go();
	test_dom0();
	test_admission();
	test_newcomers();
	test_packed_anew();
	test_split();
	test_crowds(89, 50);
	test_crowds(88, 100);
	test_null();
	test_random();
	return test_end();
}
