/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c */
/*
 * Core scheduling: the CPUs of a core run one VM, or dom0, at a time. What that costs, and that no
 * VM has less for it than it need. `make sched-sim` runs more:
 *
 * usage: sched_core [SCENARIOS [SEED]]
 *
 * Two VMs on a core: checked at each step of each run (check_units() in sched_sim.h).
 */
#include <stdio.h>
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

/* The bounds that hv/README.md names: of the ideal in each second for nine VMs of ten, and for all
 */
#define GOOD	   .85
#define LEAST	   .55
#define MOST_WAIT  (400 * MS)
#define MOST_DOM0  (60 * MS)
#define MOST_WASTE (12 * MS)
#define MOST_VMS   6
#define DOM0_RUNS  (20 * US)
#define DOM0_EACH  (4 * MS)

struct mix {
	u32 cpus, of_core, vms;
	bool dom0, sleepers;
	u32 count[MOST_VMS], weight[MOST_VMS];
};

/* ---- the ideal ---- */

/* How much of cores a VM needs whose vCPUs use so many CPUs: it fills as many cores as it can. */
static double cores_for(double use, u32 count, u32 of)
{
	double full = count / of, rest = count % of;

	if (use <= full * of)
		return use / of;
	return full + (use - full * of) / rest;
}

/* Weighted max-min: nobody gets more until all that want more have as much for their weight. */
static void find_ideal(const struct mix *m, double *ideal)
{
	double cores = m->cpus / m->of_core, low = 0, high = 64;

	if (m->dom0)
		cores *= 1 - (double)m->of_core * DOM0_RUNS / DOM0_EACH;
	for (u32 step = 0; step < 60; step++) {
		double rate = (low + high) / 2, need = 0;

		for (u32 i = 0; i < m->vms; i++) {
			ideal[i] = MIN(rate * m->weight[i] / 1024, (double)m->count[i]);
			need += cores_for(ideal[i], m->count[i], m->of_core);
		}
		*(need < cores ? &low : &high) = rate;
	}
}

/* ---- what comes of it ---- */

struct result {
	double got[MOST_VMS], sum;
	double worst; /* the least that a VM got, as part of its ideal, in a second */
	/* the longest wait, dom0's, and idle beside one that fits, ns */
	u64 wait, dom0_wait, waste, moves, asks;
};

static void begin(const struct mix *m, bool core, const char *policy)
{
	by_core = core;
	of_core = m->of_core;
	of_cache = MIN(8u, m->cpus);
	of_package = MAX_CPUS;
	machine(m->cpus, policy);
	for (u32 i = 0; m->dom0 && i < m->cpus; i++)
		add(2048, i, true, DOM0_RUNS, DOM0_EACH);
	for (u32 i = 0; i < m->vms; i++) {
		vm(m->weight[i], 0);
		for (u32 j = 0; j < m->count[i]; j++) {
			bool sleeps = m->sleepers && (i + j) % 2;

			add_to(&group[i], 1024, (i + j) % m->cpus, false,
			       sleeps ? 100 * US + 7 * j : 0, sleeps ? MS + 100 * US * i : 0);
		}
	}
}

/* Sets what has been counted back, but returns what the VMs have had since it was last called. */
static void look_at(double *got, struct result *r)
{
	memset(got, 0, MOST_VMS * sizeof(*got));
	for (u32 i = 0; i < units; i++) {
		struct sim_unit *s = &unit[i];
		u64 ran = sched_runtime(&s->s, now);

		if (s->s.group)
			got[s->s.group - group] += (double)(ran - s->had) / SEC;
		s->had = ran;
		r->wait = MAX(r->wait, s->longest_wait);
		if (s->s.pinned)
			r->dom0_wait = MAX(r->dom0_wait, s->longest_wait);
		r->moves += s->moves;
		s->longest_wait = s->moves = 0;
	}
}

static struct result play(const struct mix *m, bool core, const char *policy)
{
	struct result r = {.worst = 1e9};
	double ideal[MOST_VMS], before[MOST_VMS];

	begin(m, core, policy);
	run(300 * MS);
	look_at(before, &r);
	r.wait = r.dom0_wait = r.moves = 0;
	wasted = longest_waste = 0;
	memset(wasted_since, 0, sizeof(wasted_since));
	memset(asked_of, 0, sizeof(asked_of));
	find_ideal(m, ideal);
	for (u32 s = 0; s < 2; s++) {
		run(SEC);
		look_at(r.got, &r);
		for (u32 i = 0; i < m->vms; i++)
			r.worst = MIN(r.worst, r.got[i] / ideal[i]);
	}
	for (u32 i = 0; i < m->vms; i++)
		r.sum += r.got[i];
	for (u32 i = 0; i < m->cpus; i++)
		r.asks += asked_of[i];
	r.waste = longest_waste;
	return r;
}

/* ---- named ones, as a table ---- */

static void print_vms(const struct mix *m)
{
	for (u32 i = 0; i < m->vms; i++)
		printf("%s%u", i ? "+" : "", m->count[i]);
}

static void test_named(void)
{
	static const struct mix mixes[] = {
	    {2, 2, 2, 0, 0, {1, 1}, {1024, 1024}},
	    {2, 2, 2, 0, 0, {1, 2}, {1024, 1024}},
	    {2, 2, 2, 0, 0, {2, 2}, {1024, 1024}},
	    {2, 2, 2, 0, 0, {2, 2}, {1024, 3072}},
	    {2, 2, 3, 0, 0, {3, 1, 1}, {1024, 1024, 1024}},
	    {4, 2, 3, 0, 0, {1, 1, 1}, {1024, 1024, 1024}},
	    {4, 2, 3, 0, 0, {2, 2, 2}, {1024, 1024, 1024}},
	    {4, 2, 2, 0, 0, {4, 4}, {1024, 1024}},
	    {4, 2, 3, 1, 0, {1, 2, 3}, {1024, 1024, 1024}},
	    {8, 2, 3, 0, 0, {3, 3, 3}, {1024, 1024, 1024}},
	    {8, 2, 3, 1, 0, {4, 4, 4}, {1024, 1024, 1024}},
	    {8, 4, 2, 0, 0, {4, 6}, {1024, 1024}},
	    {16, 2, 3, 0, 0, {8, 8, 8}, {1024, 1024, 1024}},
	};
	double least = 1;
	struct result r;

	printf("# CPUs, a core; vCPUs of each VM: CPUs used with sched-gran=cpu, =core, ideal; "
	       "least of ideal; moves, decisions a second\n");
	for (u32 i = 0; i < ARRAY_SIZE(mixes); i++) {
		const struct mix *m = &mixes[i];
		struct result cpu = play(m, false, "fair"), core = play(m, true, "fair");
		double ideal[MOST_VMS], sum = 0;

		find_ideal(m, ideal);
		for (u32 j = 0; j < m->vms; j++)
			sum += ideal[j];
		least = MIN(least, core.worst);
		printf("# %2u %u  ", m->cpus, m->of_core);
		print_vms(m);
		printf("%s: %.2f %.2f %.2f; %.3f; %llu, %llu -> %llu, %llu\n",
		       m->dom0 ? " and dom0" : "", cpu.sum, core.sum, sum, core.worst,
		       cpu.moves / 2ull, cpu.asks / 2ull, core.moves / 2ull, core.asks / 2ull);
	}
	r = play(&mixes[0], true, "fair");
	CHECK(r.wait < 5 * MS, "two vCPUs on a core wait for each other for %lu us at most",
	      r.wait / (u64)US);
	CHECK(least > .85, "each VM has %.2f of its ideal at least in each second", least);
}

/* ---- random ones ---- */

static u32 pick(u32 below)
{
	return rand() % below;
}

static struct mix invent(u32 seed, bool sleepers)
{
	static const u32 weights[] = {512, 1024, 1024, 1024, 1024, 2048};
	struct mix m = {.sleepers = sleepers};

	srand(seed);
	m.of_core = !sleepers || pick(4) ? 2 : 4;
	m.cpus = m.of_core * (1 + pick(16 / m.of_core));
	m.vms = 1 + pick(MOST_VMS);
	m.dom0 = pick(2);
	for (u32 i = 0; i < m.vms; i++) {
		m.count[i] = 1 + pick(MIN(m.cpus + 2, 8u));
		m.weight[i] = weights[pick(ARRAY_SIZE(weights))];
	}
	return m;
}

static void print_mix(const struct mix *m, u32 seed, double worst)
{
	printf("# seed %u: %.3f of the ideal: %u CPUs, %u a core%s:", seed, worst, m->cpus,
	       m->of_core, m->dom0 ? ", dom0" : "");
	for (u32 i = 0; i < m->vms; i++)
		printf(" %ux%u", m->count[i], m->weight[i]);
	printf("\n");
}

/* Busy VMs, whose ideal is known. */
static void test_busy(u32 first, u32 count)
{
	u64 wait = 0, dom0_wait = 0, waste = 0;
	double least = 1, sum = 0;
	u32 bad = 0;

	for (u32 seed = first; seed < first + count; seed++) {
		struct mix m = invent(seed, false);
		struct result r = play(&m, true, "fair");

		wait = MAX(wait, r.wait);
		dom0_wait = MAX(dom0_wait, r.dom0_wait);
		waste = MAX(waste, r.waste);
		least = MIN(least, r.worst);
		sum += MIN(r.worst, 1.);
		if (r.worst < GOOD && bad++ < 4)
			print_mix(&m, seed, r.worst);
	}
	CHECK(bad <= count / 8 + 1 && least > LEAST && sum > .9 * count,
	      "%u random mixes of busy VMs from seed %u: the worst VM of a mix has %.3f of its "
	      "ideal in a second on average, in %u mixes less than %.2f, %.2f at least",
	      count, first, sum / count, bad, GOOD, least);
	CHECK(wait < MOST_WAIT && dom0_wait < MOST_DOM0 && waste < MOST_WASTE,
	      "no vCPU waits longer than %lu ms, none of dom0's than %lu ms, no CPU idles longer "
	      "than %lu ms beside one that fits",
	      wait / (u64)MS, dom0_wait / (u64)MS, waste / (u64)MS);
}

/* Some sleep, and cores may have four CPUs. */
static void test_sleepers(u32 first, u32 count)
{
	u64 wait = 0, dom0_wait = 0, waste = 0;

	for (u32 seed = first; seed < first + count; seed++) {
		struct mix m = invent(seed, true);
		struct result r = play(&m, true, "fair");

		wait = MAX(wait, r.wait);
		dom0_wait = MAX(dom0_wait, r.dom0_wait);
		waste = MAX(waste, r.waste);
	}
	CHECK(wait < MOST_WAIT && dom0_wait < MOST_DOM0 && waste < MOST_WASTE,
	      "%u mixes where some sleep, some with four CPUs a core: no vCPU waits longer than "
	      "%lu ms, none of dom0's than %lu ms, no CPU idles longer than %lu ms beside one that "
	      "fits",
	      count, wait / (u64)MS, dom0_wait / (u64)MS, waste / (u64)MS);
}

/* ---- what else there is ---- */

/* Mixes of those above that once went wrong, most from seeds further on. */
static struct result play_seed(u32 seed, bool sleepers)
{
	const struct mix m = invent(seed, sleepers);

	return play(&m, true, "fair");
}

static void test_once_bad(void)
{
	struct result r = play_seed(108, true), s;

	CHECK(r.waste < MOST_WASTE,
	      "a core that dom0's event and a vCPU of a better claim both want is not idle: %lu us",
	      r.waste / (u64)US);
	r = play_seed(11, true);
	CHECK(r.wait < MOST_WAIT,
	      "who comes behind from another core does not keep this one: %lu ms",
	      r.wait / (u64)MS);
	r = play_seed(1925, false);
	s = play_seed(1344, true);
	CHECK(r.dom0_wait < MOST_DOM0 && s.dom0_wait < MOST_DOM0,
	      "nor from dom0, when it has an event and waits alone on its CPU: %lu and %lu ms",
	      r.dom0_wait / (u64)MS, s.dom0_wait / (u64)MS);
	r = play_seed(623, true);
	s = play_seed(755, true);
	CHECK(r.dom0_wait < 20 * MS && s.dom0_wait < 20 * MS,
	      "nor when its event lost the core to another before it was served: %lu and %lu ms",
	      r.dom0_wait / (u64)MS, s.dom0_wait / (u64)MS);
	r = play_seed(10, true);
	CHECK(r.dom0_wait < MOST_DOM0,
	      "vCPUs that wake all the time do not prolong turns, while dom0 waits: %lu ms",
	      r.dom0_wait / (u64)MS);
	r = play_seed(2397, true);
	s = play_seed(2894, true);
	CHECK(r.wait < MOST_WAIT && s.wait < MOST_WAIT,
	      "debts that are forgotten are so for all of a core, whenever they were told: %lu and "
	      "%lu ms",
	      r.wait / (u64)MS, s.wait / (u64)MS);
	r = play_seed(5385, false);
	for (u32 i = 0; i < 3; i++) {
		run(SEC);
		look_at(r.got, &r);
	}
	CHECK(r.wait < MOST_WAIT, "who comes from far ahead does not wait for that: %lu ms",
	      r.wait / (u64)MS);
	r = play_seed(1743, true);
	CHECK(r.dom0_wait < MOST_DOM0,
	      "a busy vCPU that comes to a core of sleepers has no debt of a second with dom0: %lu "
	      "ms",
	      r.dom0_wait / (u64)MS);
	r = play_seed(971, false);
	s = play_seed(2430, false);
	CHECK(
	    r.worst > LEAST && s.worst > LEAST,
	    "vCPUs of a VM that run alone on two cores come together on one, and others have %.2f "
	    "and %.2f of their ideal",
	    r.worst, s.worst);
}

/*
 * dom0's thread that an interrupt wakes, beside another one and two busy VMs: how late is it at the
 * most?
 */
static u64 latest(bool core)
{
	const struct mix m = {2, 2, 2, .count = {2, 2}, .weight = {1024, 1024}};
	struct sim_unit *s;
	u64 late = 0;

	begin(&m, core, "fair");
	s = add(2048, 0, true, 0, 0);
	s->s.inside = &s->inside;
	s->inside.weight = 1024; /* another one is busy */
	s->io_period = 5 * MS;
	s->io_burst = 50 * US;
	s->io_at = now + MS;
	run(2 * SEC);
	for (u32 i = 10; i < MIN(s->io_done, (u32)ARRAY_SIZE(s->io_late)); i++)
		late = MAX(late, s->io_late[i]);
	CHECK(s->io_done > 350, "the thread has run %u times", s->io_done);
	return late;
}

static void test_dom0(void)
{
	u64 cpu = latest(false), core = latest(true);

	CHECK(core < 2 * MS,
	      "an interrupt for dom0 takes the core at once: late by %lu us at most, "
	      "%lu with sched-gran=cpu",
	      core / (u64)US, cpu / (u64)US);
}

/* Two VMs of one vCPU on a core, then one of them, which idles its other CPU of its own will. */
static void test_forced(void)
{
	const struct mix m = {4, 2, 2, .count = {1, 1}, .weight = {1024, 1024}};
	u64 at[4], sum = 0;

	begin(&m, true, "fair");
	for (u32 i = 0; i < m.vms; i++)
		sched_set(&unit[i].s, 0, cpu_set(3), 0);
	run(SEC);
	for (u32 i = 0; i < 4; i++)
		at[i] = sched_forced(i, now);
	run(SEC);
	for (u32 i = 0; i < 4; i++)
		sum += at[i] = sched_forced(i, now) - at[i];
	CHECK(near(at[0] + at[1], SEC, .02) && sum == at[0] + at[1],
	      "two vCPUs that take turns on a core keep a CPU idle, the other core is not wanted: "
	      "%lu and %lu ms of a second",
	      (at[0] + at[1]) / (u64)MS, (at[2] + at[3]) / (u64)MS);
	sched_set(&unit[1].s, 0, cpu_set(0xc), 0);
	run(10 * MS);
	at[0] = sched_forced(0, now) + sched_forced(1, now);
	run(SEC);
	at[0] = sched_forced(0, now) + sched_forced(1, now) - at[0];
	CHECK(!at[0], "who has a core for himself keeps none idle: %lu ms", at[0] / (u64)MS);
}

static void test_rr(void)
{
	const struct mix m = {2, 2, 2, .count = {1, 2}, .weight = {1024, 1024}};
	struct result r = play(&m, true, "rr");

	CHECK(near(r.got[0], .5, .2) && near(r.got[1], 1, .2),
	      "with rr VMs of one and of two vCPUs take turns on a core (%.2f, %.2f CPUs)",
	      r.got[0], r.got[1]);
}

static void test_no_threads(void)
{
	const struct mix m = {
	    4, 1, 3, .dom0 = true, .count = {2, 3, 4}, .weight = {512, 1024, 1024}};
	struct result a = play(&m, false, "fair"), b = play(&m, true, "fair");

	CHECK(a.asks == b.asks && a.moves == b.moves && !memcmp(a.got, b.got, sizeof(a.got)),
	      "where no CPUs share a core all is as without");
}

static void test_pools(void)
{
	const struct mix m = {8, 2, 0};

	begin(&m, true, "fair");
	CHECK(create("p", "null", 0xc0) == -EOPNOTSUPP &&
		  create("p", "deadline", 0xc0) == -EOPNOTSUPP && cpus_of(0) == 0xff,
	      "no pool promises a vCPU a CPU, or a part of one");
	CHECK(create("p", "fair", 0x80) == -EINVAL && create("p", "fair", 0xe0) == -EINVAL &&
		  create("p", "rr", 0xc0) == 1 &&
		  call(CORBEL_POOL_REMOVE, 1, 0x40, NULL) == -EINVAL &&
		  call(CORBEL_POOL_ADD, 1, 0x10, NULL) == -EINVAL && cpus_of(1) == 0xc0,
	      "CPUs of a core come to a pool, and go, together");
	CHECK(!call(CORBEL_POOL_ADD, 1, 0x30, NULL) && !call(CORBEL_POOL_REMOVE, 1, 0xc0, NULL) &&
		  cpus_of(1) == 0x30 && cpus_of(0) == 0xf,
	      "as whole cores they do");
	vm(1024, 3);
	vm(1024, 2);
	CHECK(!move(&group[1], 1), "a VM goes to the pool");
	run(SEC);
	begin(&m, false, "fair");
	CHECK(create("p", "null", 0x80) == 1 && create("q", "deadline", 0x40) == 2,
	      "all this only with core scheduling");
}

int main(int argc, char **argv)
{
	u32 scenarios = argc > 1 ? atoi(argv[1]) : 60, seed = argc > 2 ? atoi(argv[2]) : 1;

	test_named();
	test_busy(seed, scenarios);
	test_sleepers(seed, scenarios / 2);
	test_once_bad();
	test_dom0();
	test_forced();
	test_rr();
	test_no_threads();
	test_pools();
	return test_end();
}
