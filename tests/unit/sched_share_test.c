/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c */
/*
 * Who gets how much of several CPUs, beside the ideal: the shares that are fair by weight and as
 * high as affinities and caps let them be (weighted max-min). `make sched-sim` runs more of it:
 *
 * usage: sched_share [SCENARIOS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

#define SETTLE	   (100 * MS)	       /* after a change */
#define TOLERANCE  .02		       /* of the ideal share, in each second */
#define GRAIN	   .006		       /* of a second: half of the longest turn */
#define TURN	   (4 * MS + 100 * US) /* an idle CPU that has asked in vain waits for one's end */
#define MASK_COUNT 6		       /* different affinities in a scenario */

/* ---- the ideal ---- */

#define NO_RATE 2

struct ideal {
	double share[MAX_UNITS];
	bool fixed[MAX_UNITS];
	u64 cpus; /* that are not used up */
};

/* What it can use at most. */
static double limit(const struct sim_unit *s)
{
	if (s->s.state == SCHED_BLOCKED && !s->wake_at)
		return 0; /* it is gone */
	if (s->burst)
		return (double)s->burst / (s->burst + s->sleep);
	return s->s.cap.percent ? s->s.cap.percent / 100. : 1;
}

/* What those get in all that can only run in `set`, if nothing but their limits keeps them. */
static double sum_within(const struct ideal *w, u64 set, double rate)
{
	double sum = 0;

	for (u32 i = 0; i < units; i++)
		if (!w->fixed[i] && !(unit[i].s.affinity.word[0] & w->cpus & ~set))
			sum += MIN(limit(&unit[i]), rate * unit[i].s.weight);
	return sum;
}

/* The share of a unit of weight 1 when they fill the set; NO_RATE: they cannot. */
static double rate_within(const struct ideal *w, u64 set)
{
	double room = __builtin_popcountll(set & w->cpus), low = 0, high = 1;

	if (sum_within(w, set, 1) <= room)
		return NO_RATE;
	for (u32 step = 0; step < 60; step++) {
		double rate = (low + high) / 2;

		*(sum_within(w, set, rate) < room ? &low : &high) = rate;
	}
	return low;
}

/* The set of CPUs that is filled first when all shares grow by weight. */
static u64 first_filled(const struct ideal *w, double *rate)
{
	u64 sets[1 << MASK_COUNT] = {0}, best = 0;
	u32 count = 1;

	*rate = NO_RATE;
	for (u32 i = 0; i < units; i++) {
		u64 mask = unit[i].s.affinity.word[0] & w->cpus;
		u32 n = count;

		for (u32 j = 0; !w->fixed[i] && j < n; j++) {
			u64 set = sets[j] | mask;
			u32 k = 0;

			while (k < count && sets[k] != set)
				k++;
			if (k == count && count < ARRAY_SIZE(sets))
				sets[count++] = set;
		}
	}
	for (u32 j = 1; j < count; j++) {
		double r = rate_within(w, sets[j]);

		if (r < *rate) {
			*rate = r;
			best = sets[j];
		}
	}
	return best;
}

static struct ideal weigh(void)
{
	struct ideal w = {.cpus = BIT(cpu_count) - 1};
	double rate;
	u64 set;

	while ((set = first_filled(&w, &rate))) {
		for (u32 i = 0; i < units; i++)
			if (!w.fixed[i] && !(unit[i].s.affinity.word[0] & w.cpus & ~set)) {
				w.share[i] = MIN(limit(&unit[i]), rate * unit[i].s.weight);
				w.fixed[i] = true;
			}
		w.cpus &= ~set;
	}
	for (u32 i = 0; i < units; i++)
		if (!w.fixed[i])
			w.share[i] = limit(&unit[i]);
	return w;
}

/* ---- what came of it ---- */

struct result {
	double worst; /* |share - ideal| beyond the grain / ideal, of the worst unit and second */
	double least; /* shares over all seconds: of the ideal, the least and the most */
	double most;
	u32 unit, moves; /* whose; moves a second */
	double got, ideal;
};

static struct result measure(u32 seconds)
{
	struct ideal w = weigh();
	struct result r = {.least = 9};
	u64 before[MAX_UNITS], first[MAX_UNITS], moves = 0;

	run(SETTLE);
	for (u32 i = 0; i < units; i++) {
		first[i] = before[i] = sched_runtime(&unit[i].s, now);
		unit[i].moves = 0;
	}
	wasted = longest_waste = 0;
	memset(wasted_since, 0, sizeof(wasted_since));
	for (u32 s = 0; s < seconds; s++) {
		run(SEC);
		for (u32 i = 0; i < units; i++) {
			double got = (sched_runtime(&unit[i].s, now) - before[i]) / (double)SEC;
			double off = got > w.share[i] ? got - w.share[i] : w.share[i] - got;

			before[i] = sched_runtime(&unit[i].s, now);
			if (!w.share[i])
				continue;
			off = MAX(off - GRAIN, 0.) / w.share[i];
			if (off > r.worst) {
				r.worst = off;
				r.unit = i;
				r.got = got;
				r.ideal = w.share[i];
			}
		}
	}
	for (u32 i = 0; i < units; i++) {
		double part;

		if (!w.share[i])
			continue;
		part = (before[i] - first[i]) / (double)(seconds * SEC) / w.share[i];

		r.least = MIN(r.least, part);
		r.most = MAX(r.most, part);
		moves += unit[i].moves;
	}
	r.moves = moves / seconds;
	return r;
}

static void test_equal(u32 count, u32 on)
{
	struct result r;

	machine(on, "fair");
	for (u32 i = 0; i < count; i++)
		hog(1024);
	r = measure(3);
	CHECK(r.least / r.most >= .97 && r.worst <= TOLERANCE && r.moves <= 60 * on && !wasted,
	      "%2u equal hogs on %2u CPUs: min/max %.3f over 3 s, at most %.1f %% off in a second, "
	      "%u moves/s, no CPU idles",
	      count, on, r.least / r.most, r.worst * 100, r.moves);
}

static void check_shares(const char *what)
{
	struct result r = measure(3);

	CHECK(r.worst <= TOLERANCE && longest_waste <= TURN,
	      "%s: at most %.1f %% off in a second (%.4f of %.4f), %u moves/s, a CPU idles beside "
	      "waiting units for %llu us at most",
	      what, r.worst * 100, r.got, r.ideal, r.moves, (unsigned long long)longest_waste / US);
}

static void test_weights(const char *what, u32 on, const u32 *weights, u32 count)
{
	machine(on, "fair");
	for (u32 i = 0; i < count; i++)
		hog(weights[i]);
	check_shares(what);
}

/* More weight never gives less. */
static void test_order(void)
{
	bool ordered = true;

	machine(5, "fair");
	for (u32 i = 0; i < 12; i++)
		hog(200 + 150 * i);
	run(SETTLE);
	for (u32 i = 0; i < units; i++)
		unit[i].s.runtime = 0;
	run(3 * SEC);
	for (u32 i = 1; i < units; i++)
		ordered &=
		    sched_runtime(&unit[i].s, now) + 6 * MS >= sched_runtime(&unit[i - 1].s, now);
	CHECK(ordered, "12 units of rising weight on 5 CPUs: none gets less than a lighter one");
}

static void test_mixed(void)
{
	machine(4, "fair");
	for (u32 i = 0; i < 6; i++)
		hog(1024);
	for (u32 i = 0; i < 8; i++)
		add(1024, i % 4, false, 100 * US, MS + i * 30 * US);
	check_shares("6 hogs and 8 units that run 0.1 ms each 1.1 ms, on 4 CPUs");

	machine(3, "fair");
	for (u32 i = 0; i < 5; i++)
		hog(1024);
	sched_set(&unit[0].s, 0, NULL, 20);
	sched_set(&unit[1].s, 0, NULL, 50);
	check_shares("5 hogs on 3 CPUs, two with caps of 20 and 50 %");

	machine(4, "fair");
	for (u32 i = 0; i < 4; i++)
		hog(1024);
	for (u32 i = 0; i < 5; i++)
		add(3072, 0, false, 200 * MS, 0);
	run(2 * SEC);
	check_shares("4 hogs on 4 CPUs, when 5 heavier ones have gone");
	for (u32 i = 0; i < 3; i++)
		hog(1024);
	check_shares("7 hogs, when 3 have come");
	for (u32 i = 0; i < units; i++)
		sched_set(&unit[i].s, 0, cpu_set(i % 2 ? 3 : 12), 0);
	check_shares("the same when they are tied to two CPUs each, 3 to one pair, 4 to the other");
	for (u32 i = 0; i < units; i++)
		sched_set(&unit[i].s, 0, cpu_set(15), 0);
	check_shares("and when they are free again");
}

/* dom0's vCPUs are tied to their CPUs and have twice the weight. */
static void test_pinned(void)
{
	machine(4, "fair");
	add(2048, 0, true, 0, 0);
	for (u32 i = 1; i < 4; i++)
		add(2048, i, true, 100 * US, 3 * MS);
	for (u32 i = 0; i < 8; i++)
		hog(1024);
	check_shares("dom0 busy on one of 4 CPUs, and 8 hogs");
}

/* ---- real time ---- */

static double share_of(const struct sim_unit *s, u64 ns)
{
	return (double)(sched_runtime(&s->s, now) - s->had) / ns;
}

static void run_anew(u64 ns)
{
	run(200 * MS);
	for (u32 i = 0; i < units; i++)
		unit[i].had = sched_runtime(&unit[i].s, now);
	run(ns);
}

/* A VM of several real-time vCPUs, each tied to a CPU of its own, with so many of nice 0 there. */
static void test_realtime(u32 vcpus, u32 hogs)
{
	struct sched_group *g;
	double least = 1, rest = 1;

	machine(vcpus, "fair");
	g = vm(0, 0);
	for (u32 i = 0; i < vcpus; i++)
		add_to(g, SCHED_WEIGHT_REALTIME, i, false, 0, 0);
	for (u32 i = 0; i < vcpus * hogs; i++)
		add_to(vm(0, 0), 1024, i % vcpus, false, 0, 0);
	for (u32 i = 0; i < units; i++)
		sched_set(&unit[i].s, 0, cpu_set(BIT(i % vcpus)), 0);
	run_anew(2 * SEC);
	for (u32 i = 0; i < units; i++)
		*(i < vcpus ? &least : &rest) =
		    MIN(i < vcpus ? least : rest, share_of(&unit[i], 2 * SEC));
	CHECK(least >= .95, "%u real-time vCPUs, each beside %u of nice 0: .%03.0f of their CPUs",
	      vcpus, hogs, least * 1000);
	CHECK(rest >= .002, "and each of the others %.4f", rest);
}

/* Its siblings' sleep does not make more of it: what dom0 has beside it is a part of that. */
static void test_realtime_naps(void)
{
	struct sched_unit *u = &unit[0].s;
	struct sched_group *g;

	machine(1, "fair");
	g = vm(0, 0);
	for (u32 i = 0; i < 4; i++)
		add_to(g, i ? 1024 : SCHED_WEIGHT_REALTIME, 0, false, 0, 0);
	u->napped = true;
	u->parts = 4 * GROUP_PARTS;
	g->runnable = 1;
	CHECK(place_share_now(u) == SHARE_OF(SCHED_WEIGHT_REALTIME),
	      "one of real time whose siblings sleep is no more of its CPU's load");
}

static void test_realtime_alike(void)
{
	machine(1, "fair");
	for (u32 i = 0; i < 2; i++)
		add_to(vm(0, 0), SCHED_WEIGHT_REALTIME, 0, false, 0, 0);
	add_to(vm(SCHED_WEIGHT_MAX, 0), SCHED_WEIGHT_MAX, 0, false, 0, 0);
	unit[1].s.group->weight = 1;
	run_anew(2 * SEC);
	CHECK(share_of(&unit[0], 2 * SEC) / share_of(&unit[1], 2 * SEC) > .98,
	      "two of real time have the same");
	CHECK(sched_set(&unit[0].s, SCHED_WEIGHT_MAX + 1, NULL, 0) == -EINVAL &&
		  sched_set(&unit[0].s, SCHED_WEIGHT_REALTIME + 1, NULL, 0) == -EINVAL &&
		  sched_group_set(&group[0], SCHED_WEIGHT_REALTIME, 0) == -EINVAL,
	      "no other weight is so great, nor is a VM's");
}

/* ---- random scenarios ---- */

static const u32 nice[] = {88761, 9548, 3121, 1277, 1024, 820, 335, 110, 15};

struct scenario {
	u32 cpus, count;
	struct {
		u32 weight, cpu, cap;
		u64 affinity;
	} unit[MAX_UNITS];
};

/*
 * Units of many weights on a machine that is one, or in two parts, as cpusets make them; or equal
 * units that are tied to any sets of CPUs.
 */
static struct scenario invent(u32 seed)
{
	struct scenario sc = {0};
	u64 all, masks[MASK_COUNT];
	u32 kind;

	srand(seed);
	kind = rand() % 3;
	sc.cpus = 1 + rand() % 16;
	sc.count = 1 + rand() % MIN(3 * sc.cpus + 2, (u32)MAX_UNITS);
	all = BIT(sc.cpus) - 1;
	for (u32 i = 0; i < MASK_COUNT; i++) {
		u64 part = kind == 1 ? BIT(sc.cpus / 2) - 1 : rand() & all;

		masks[i] = kind == 0 || !part ? all : i % 2 && kind == 1 ? all & ~part : part;
	}
	for (u32 i = 0; i < sc.count; i++) {
		sc.unit[i].weight = kind == 2 ? 1024 : nice[rand() % ARRAY_SIZE(nice)];
		sc.unit[i].affinity = masks[rand() % MASK_COUNT];
		sc.unit[i].cpu = rand() % 2 ? 0 : rand() % sc.cpus;
	}
	return sc;
}

static struct result play(const struct scenario *sc)
{
	machine(sc->cpus, "fair");
	for (u32 i = 0; i < sc->count; i++) {
		struct sim_unit *s = &unit[units++];

		sched_unit_init(&s->s, sc->unit[i].weight, cpu_set(sc->unit[i].affinity),
				sc->unit[i].cpu, false);
		s->last_cpu = MAX_CPUS;
		sched_wake(&s->s);
	}
	return measure(2);
}

static void print_scenario(void)
{
	printf("# %u CPUs:", cpu_count);
	for (u32 i = 0; i < units; i++)
		printf(" %u/%llx", unit[i].s.weight,
		       (unsigned long long)unit[i].s.affinity.word[0]);
	printf("\n");
}

/* Leave out what is not needed to fail. */
static void shrink(struct scenario *sc)
{
	for (u32 i = 0; i < sc->count;) {
		struct scenario less = *sc;

		less.unit[i] = less.unit[--less.count];
		if (less.count && play(&less).worst > TOLERANCE)
			*sc = less;
		else
			i++;
	}
}

static void test_random(u32 first, u32 count)
{
	u32 bad = 0;
	double worst = 0;

	for (u32 seed = first; seed < first + count; seed++) {
		struct scenario sc = invent(seed);
		struct result r = play(&sc);

		worst = MAX(worst, r.worst);
		if (r.worst <= TOLERANCE)
			continue;
		bad++;
		if (bad > 4)
			continue;
		shrink(&sc);
		r = play(&sc);
		printf("# seed %u: unit %u got %.4f of %.4f\n", seed, r.unit, r.got, r.ideal);
		print_scenario();
	}
	CHECK(bad <= count / 100 + 2 && worst < .15,
	      "%u random scenarios from seed %u: %u are more than %.0f %% off in a second, %.1f %% "
	      "at "
	      "most",
	      count, first, bad, TOLERANCE * 100, worst * 100);
}

int main(int argc, char **argv)
{
	u32 scenarios = argc > 1 ? atoi(argv[1]) : 200, seed = argc > 2 ? atoi(argv[2]) : 1;
	static const u8 counts[][2] = {{2, 1}, {8, 1}, {3, 2},	{5, 2},	  {8, 2},   {5, 4},
				       {7, 4}, {9, 8}, {12, 8}, {17, 16}, {24, 16}, {40, 16}};

	for (u32 i = 0; i < ARRAY_SIZE(counts); i++)
		test_equal(counts[i][0], counts[i][1]);
#define WEIGHTS(what, on, ...)                                                                     \
	test_weights(what, on, (const u32[]){__VA_ARGS__},                                         \
		     sizeof((const u32[]){__VA_ARGS__}) / sizeof(u32))
	WEIGHTS("nice 0, 0, 5, 10 on 2 CPUs", 2, 1024, 1024, 335, 110);
	WEIGHTS("weights 4, 1, 1, 1 on 2", 2, 4096, 1024, 1024, 1024);
	WEIGHTS("nice 19 beside three of nice 0 on 2", 2, 15, 1024, 1024, 1024);
	WEIGHTS("nice -20 and seven of nice 0 on 4", 4, 88761, 1024, 1024, 1024, 1024, 1024, 1024,
		1024);
	WEIGHTS("nice 0, 0, 5, 5 on 2", 2, 1024, 1024, 335, 335);
	WEIGHTS("four of nice 19 and four of nice 0 on 4", 4, 15, 15, 15, 15, 1024, 1024, 1024,
		1024);
	test_order();
	test_mixed();
	test_pinned();
	for (u32 hogs = 1; hogs <= 16; hogs *= 2)
		test_realtime(1, hogs);
	test_realtime(4, 8);
	test_realtime_naps();
	test_realtime_alike();
	test_random(seed, scenarios);
	return test_end();
}
