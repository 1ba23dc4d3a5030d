/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c */
/*
 * VMs of any size and weight, of vCPUs that are busy or sleep, with and without caps, which come,
 * go and change, on 1 to 16 CPUs with and without dom0 beside them, whole or in two parts as
 * cpusets make them: from 100 ms after the last change on each VM has what is its own. `make
 * sched-sim` runs more:
 *
 * usage: sched_mix [SCENARIOS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

#define SETTLE	  (100 * MS)
#define SECONDS	  2
#define TOLERANCE .02
#define GRAIN	  .006 /* of a second: half of the longest turn */
#define MOST_VMS  6
#define MOST_EACH 8
#define DOM0_RUNS (20 * US) /* of each of its vCPUs */
#define DOM0_EACH (2 * MS)

/* ---- scenarios ---- */

enum phase { STAYS, COMES, GOES };
enum kind { BUSY, SLEEPERS, CAPS };

struct vcpu_plan {
	u32 weight, burst, sleep; /* us; burst 0: busy */
};

struct vm_plan {
	enum phase phase;
	u32 weight, cap, new_weight, new_cap; /* 0: as it was */
	u32 part, new_part, count;
	struct vcpu_plan vcpu[MOST_EACH];
};

struct scenario {
	u32 cpus, vms;
	u32 of_core, of_cache, of_package; /* CPUs of each */
	u32 weight;			   /* of most vCPUs */
	bool parts, dom0;
	struct vm_plan vm[MOST_VMS];
};

static u32 pick(u32 below)
{
	return rand() % below;
}

static struct vcpu_plan invent_vcpu(bool sleeps, u32 weight)
{
	struct vcpu_plan v = {.weight = weight};

	if (sleeps && pick(2)) {
		v.burst = 50 + pick(400);
		v.sleep = v.burst + 300 + pick(4000);
	}
	return v;
}

static struct vm_plan invent_vm(const struct scenario *sc, enum kind kind)
{
	/* of busy ones any: those that sleep have less than their ideal the longer turns are */
	static const u32 all[] = {128, 512, 1024, 1024, 1024, 2048, 8192, 16384},
			 some[] = {256, 512, 1024, 1024, 1024, 1024, 2048, 4096},
			 nice[] = {335, 670, 1340, 2680, 335, 3121, 88761, 110};
	const u32 *weights = kind == BUSY ? all : some;
	struct vm_plan p = {.phase = pick(2)   ? STAYS
				     : pick(2) ? COMES
					       : GOES,
			    .weight = weights[pick(ARRAY_SIZE(all))],
			    .cap = pick(6) || kind != CAPS ? 0 : 20 + pick(100 * sc->cpus),
			    .part = pick(2),
			    .count = 1 + pick(MIN(sc->cpus + 2, (u32)MOST_EACH))};
	bool sleeps = pick(3) == 0 && kind == SLEEPERS;
	u32 weight = pick(4) ? sc->weight : nice[pick(4) + 4 * (kind == BUSY)];

	p.new_part = pick(4) ? p.part : !p.part;
	p.new_weight = pick(3) ? 0 : weights[pick(ARRAY_SIZE(all))];
	p.new_cap = pick(6) || kind != CAPS ? 0 : 20 + pick(100 * sc->cpus);
	for (u32 i = 0; i < p.count; i++)
		p.vcpu[i] = invent_vcpu(sleeps, weight);
	return p;
}

static struct scenario invent(u32 seed, enum kind kind)
{
	struct scenario sc = {0};

	srand(seed);
	sc.cpus = 1 + pick(16);
	sc.parts = sc.cpus > 1 && pick(3) == 0;
	sc.dom0 = pick(2);
	sc.weight = kind == BUSY && pick(4) == 0 ? 88761 : 1024;
	sc.vms = 1 + pick(MOST_VMS);
	for (u32 i = 0; i < sc.vms; i++)
		sc.vm[i] = invent_vm(&sc, kind);
	sc.of_core = 1 + pick(2);
	sc.of_cache = sc.of_core << pick(4);
	sc.of_package = sc.of_cache << pick(2);
	return sc;
}

/* ---- playing one ---- */

static u64 mask_of(const struct scenario *sc, u32 part)
{
	u64 all = BIT(sc->cpus) - 1, half = BIT(sc->cpus / 2) - 1;

	if (!sc->parts)
		return all;
	return part ? all & ~half : half;
}

static void arrive(const struct scenario *sc, u32 nth)
{
	const struct vm_plan *p = &sc->vm[nth];
	struct sched_group *g = &group[nth];

	for (u32 i = 0; i < p->count; i++) {
		const struct vcpu_plan *v = &p->vcpu[i];
		struct sim_unit *s = add_to(g, v->weight, i % sc->cpus, false,
					    v->burst * US + (v->burst ? 7 * i : 0), v->sleep * US);

		sched_set(&s->s, 0, cpu_set(mask_of(sc, p->part)), 0);
	}
}

/* Its vCPUs have nothing to do any more. */
static void depart(u32 nth)
{
	for (u32 i = 0; i < units; i++)
		if (unit[i].s.group == &group[nth]) {
			unit[i].burst = unit[i].left = 1;
			unit[i].sleep = unit[i].wake_at = 0;
		}
}

static void begin(const struct scenario *sc)
{
	of_core = sc->of_core;
	of_cache = sc->of_cache;
	of_package = sc->of_package;
	machine(sc->cpus, "fair");
	for (u32 i = 0; sc->dom0 && i < sc->cpus; i++)
		add(2048, i, true, DOM0_RUNS, DOM0_EACH);
	groups = sc->vms;
	for (u32 i = 0; i < groups; i++) {
		sched_group_init(&group[i]);
		sched_group_set(&group[i], sc->vm[i].weight, sc->vm[i].cap);
		if (sc->vm[i].phase != COMES)
			arrive(sc, i);
	}
	run(300 * MS);
}

static void change(const struct scenario *sc)
{
	for (u32 i = 0; i < groups; i++) {
		const struct vm_plan *p = &sc->vm[i];

		if (p->phase == COMES)
			arrive(sc, i);
		if (p->phase == GOES)
			depart(i);
		sched_group_set(&group[i], p->new_weight, p->new_cap);
		for (u32 j = 0; j < units; j++)
			if (unit[j].s.group == &group[i])
				sched_set(&unit[j].s, 0, cpu_set(mask_of(sc, p->new_part)), 0);
		run(pick(20) * MS);
	}
}

/* ---- the ideal: of each part of the machine ---- */

static bool is_gone(const struct sim_unit *s)
{
	return s->burst == 1;
}

/* One that is always busy cannot have what dom0 takes of its CPU. */
static double limit(const struct sim_unit *s)
{
	if (is_gone(s))
		return 0;
	if (s->burst)
		return (double)s->burst / (s->burst + s->sleep);
	return unit[0].s.pinned ? 1 - limit(&unit[0]) : 1;
}

static bool is_in(const struct scenario *sc, u32 nth, u64 mask)
{
	return mask_of(sc, sc->vm[nth].new_part) == mask;
}

/* All vCPUs of a VM have the same weight, as by nice for its VMM. */
static double weight_of(const struct scenario *sc, u32 nth)
{
	return group[nth].weight * (double)sc->vm[nth].vcpu[0].weight;
}

static double room_for_guests(u64 mask)
{
	double room = __builtin_popcountll(mask);

	for (u32 i = 0; i < units; i++)
		if (unit[i].s.pinned && (BIT(unit[i].s.cpu) & mask))
			room -= limit(&unit[i]);
	return room;
}

static void weigh_part(const struct scenario *sc, u64 mask, double *ideal)
{
	double room = room_for_guests(mask), low = 0, high = 1;

	for (u32 step = 0; step < 60; step++) {
		double rate = (low + high) / 2, sum = 0;

		for (u32 i = 0; i < groups; i++)
			if (is_in(sc, i, mask))
				sum += use_of_vm(&group[i], rate * weight_of(sc, i), limit);
		*(sum < room ? &low : &high) = rate;
	}
	for (u32 i = 0; i < groups; i++)
		if (is_in(sc, i, mask))
			ideal[i] = use_of_vm(&group[i], high * weight_of(sc, i), limit);
}

/* ---- a machine that divides itself ---- */

/*
 * The ideal takes a vCPU that sleeps for one that never waits. Here it does: each VM has at any
 * moment what its weight makes of those that are awake, and its vCPUs divide that. Without turns,
 * and without a memory of who has had less before, so a scheduler may be between the two.
 */
struct flow {
	u64 left, wake_at; /* of its burst; 0: it is awake */
	double rate;
};

static u32 count_awake(u32 nth, const struct flow *flow)
{
	u32 awake = 0;

	for (u32 i = 0; i < units; i++)
		awake += unit[i].s.group == &group[nth] && !is_gone(&unit[i]) && !flow[i].wake_at;
	return awake;
}

static void set_rates(const struct scenario *sc, u64 mask, struct flow *flow)
{
	double room = room_for_guests(mask), low = 0, high = 1,
	       whole = unit[0].s.pinned ? 1 - limit(&unit[0]) : 1;
	u32 awake[MOST_VMS];

	for (u32 i = 0; i < groups; i++)
		awake[i] = is_in(sc, i, mask) ? count_awake(i, flow) : 0;
	for (u32 step = 0; step < 40; step++) {
		double rate = (low + high) / 2, sum = 0;

		for (u32 i = 0; i < groups; i++)
			sum += MIN(awake[i] * whole, rate * weight_of(sc, i) * !!awake[i]);
		*(sum < room ? &low : &high) = rate;
	}
	for (u32 i = 0; i < units; i++) {
		u32 g = unit[i].s.group - group;

		if (unit[i].s.group && awake[g])
			flow[i].rate = MIN(whole, high * weight_of(sc, g) / awake[g]);
	}
}

/* It goes on for so long; what it gets meanwhile. */
static double flow_on(struct flow *f, const struct sim_unit *s, u64 t, u64 ns)
{
	double ran = ns * f->rate;

	if (f->wake_at) {
		f->wake_at = f->wake_at > t + ns ? f->wake_at : 0;
		return 0;
	}
	f->left -= MIN(f->left, (u64)ran + 1);
	if (s->burst && !f->left) {
		f->left = s->burst;
		f->wake_at = t + ns + s->sleep;
	}
	return ran;
}

/* What each VM has of a second. */
static void flow_for_a_second(const struct scenario *sc, double *got)
{
	struct flow flow[MAX_UNITS] = {0};
	u64 next;

	for (u32 i = 0; i < units; i++)
		flow[i].left = unit[i].burst;
	for (u64 t = 0; t < SEC; t += next) {
		next = SEC - t;
		set_rates(sc, mask_of(sc, 0), flow);
		if (sc->parts)
			set_rates(sc, mask_of(sc, 1), flow);
		for (u32 i = 0; i < units; i++) {
			if (!unit[i].s.group || !unit[i].burst || is_gone(&unit[i]))
				continue;
			next = MIN(next, flow[i].wake_at ? flow[i].wake_at - t
							 : (u64)(flow[i].left / flow[i].rate) + 1);
		}
		for (u32 i = 0; i < units; i++)
			if (unit[i].s.group && !is_gone(&unit[i]))
				got[unit[i].s.group - group] +=
				    flow_on(&flow[i], &unit[i], t, next) / SEC;
	}
}

/* ---- what came of it ---- */

struct result {
	double worst, got, ideal;
	double most;   /* of a CPU, beyond the grain */
	double above;  /* its cap, the same */
	double beyond; /* neither ideal nor what a machine gives that divides itself */
	u32 vm;
	u64 moves;
};

static void read_runtimes(double *got, double sign)
{
	for (u32 i = 0; i < units; i++)
		if (unit[i].s.group)
			got[unit[i].s.group - group] += sign * sched_runtime(&unit[i].s, now) / SEC;
}

static void compare(struct result *r, u32 nth, double got, double ideal)
{
	double off = MAX((got > ideal ? got - ideal : ideal - got) - GRAIN, 0),
	       cap = group[nth].cap.percent / 100.;

	r->most = MAX(r->most, off);
	if (cap)
		r->above = MAX(r->above, (got - GRAIN) / cap - 1);
	off /= MAX(ideal, GRAIN);
	if (off <= r->worst)
		return;
	r->worst = off;
	r->got = got;
	r->ideal = ideal;
	r->vm = nth;
}

/* How far it is off both, and what is between them, on average. */
static double off_both(double got, double ideal, double flow)
{
	double low = MIN(ideal, flow), high = MAX(ideal, flow),
	       off = MAX(got > high ? got - high : low - got, 0) - GRAIN;

	return off / MAX(low, GRAIN);
}

static struct result play(const struct scenario *sc)
{
	double ideal[MOST_VMS] = {0}, flow[MOST_VMS] = {0}, mean[MOST_VMS] = {0};
	struct result r = {0};

	begin(sc);
	change(sc);
	run(SETTLE);
	weigh_part(sc, mask_of(sc, 0), ideal);
	if (sc->parts)
		weigh_part(sc, mask_of(sc, 1), ideal);
	wasted = longest_waste = 0;
	memset(wasted_since, 0, sizeof(wasted_since));
	for (u32 i = 0; i < units; i++)
		unit[i].moves = 0;
	for (u32 s = 0; s < SECONDS; s++) {
		double got[MOST_VMS] = {0};

		read_runtimes(got, -1);
		run(SEC);
		read_runtimes(got, 1);
		for (u32 i = 0; i < groups; i++) {
			compare(&r, i, got[i], ideal[i]);
			mean[i] += got[i] / SECONDS;
		}
	}
	if (r.worst > TOLERANCE)
		flow_for_a_second(sc, flow);
	for (u32 i = 0; r.worst > TOLERANCE && i < groups; i++)
		r.beyond = MAX(r.beyond, off_both(mean[i], ideal[i], flow[i]));
	for (u32 i = 0; i < units; i++)
		r.moves += unit[i].moves;
	r.moves /= SECONDS;
	return r;
}

/* ---- many ---- */

static void print_scenario(const struct scenario *sc)
{
	static const char *const phases[] = {"", "comes ", "goes "};

	printf("# %u CPUs, %u a core, %u a cache, %u a package%s%s:", sc->cpus, sc->of_core,
	       sc->of_cache, sc->of_package, sc->parts ? " in two parts" : "",
	       sc->dom0 ? " with dom0" : "");
	for (u32 i = 0; i < sc->vms; i++) {
		const struct vm_plan *p = &sc->vm[i];

		printf(" [%s%u->%u cap %u->%u part %u->%u:", phases[p->phase], p->weight,
		       p->new_weight, p->cap, p->new_cap, p->part, p->new_part);
		for (u32 j = 0; j < p->count; j++)
			printf(" %u/%u+%u", p->vcpu[j].weight, p->vcpu[j].burst, p->vcpu[j].sleep);
		printf("]");
	}
	printf("\n");
}

/* Leave out what is not needed to fail. */
static void shrink(struct scenario *sc)
{
	for (u32 i = 0; i < sc->vms;) {
		struct scenario less = *sc;

		less.vm[i] = less.vm[--less.vms];
		if (less.vms && play(&less).worst > TOLERANCE)
			*sc = less;
		else
			i++;
	}
	for (u32 i = 0; i < sc->vms; i++)
		for (u32 j = 0; j < sc->vm[i].count;) {
			struct scenario less = *sc;
			struct vm_plan *p = &less.vm[i];

			p->vcpu[j] = p->vcpu[--p->count];
			if (p->count && play(&less).worst > TOLERANCE)
				*sc = less;
			else
				j++;
		}
}

static void explain(const struct scenario *failed, u32 seed)
{
	struct scenario sc = *failed;
	struct result r;

	shrink(&sc);
	r = play(&sc);
	printf("# seed %u: VM %u got %.4f of %.4f\n", seed, r.vm, r.got, r.ideal);
	print_scenario(&sc);
}

struct sum {
	u32 bad, beyond;
	double most, above;
	u64 moves, cpus, waste;
};

static struct sum play_all(enum kind kind, u32 first, u32 count)
{
	struct sum sum = {0};

	for (u32 seed = first; seed < first + count; seed++) {
		struct scenario sc = invent(seed, kind);
		struct result r = play(&sc);

		sum.moves += r.moves;
		sum.cpus += sc.cpus;
		sum.waste = MAX(sum.waste, longest_waste / US);
		sum.most = MAX(sum.most, r.most);
		sum.above = MAX(sum.above, r.above);
		if (r.worst <= TOLERANCE)
			continue;
		sum.bad++;
		sum.beyond += r.beyond > TOLERANCE;
		if (kind == BUSY && sum.bad <= 4)
			explain(&sc, seed);
	}
	return sum;
}

static void test_random(u32 first, u32 count)
{
	struct sum s = play_all(BUSY, first, count);

	CHECK(
	    s.bad <= count / 100 + 2 && s.most < .3 && s.waste < 2500,
	    "%u random mixes of busy VMs from seed %u: in %u one is more than %.0f %% off in a "
	    "second, %.2f of a CPU at most; %llu moves a second and CPU; no CPU idles longer than "
	    "%llu us beside those that wait",
	    count, first, s.bad, TOLERANCE * 100, s.most, (unsigned long long)(s.moves / s.cpus),
	    (unsigned long long)s.waste);
	/* Those that sleep wait for each other, too, as they do not in the ideal, but in the flow.
	 */
	s = play_all(SLEEPERS, first, count);
	CHECK(
	    s.bad <= count / 20 + 5 && s.beyond <= count / 40 + 5 && s.most < .5,
	    "and when some vCPUs sleep: in %u, %.2f of a CPU at most; %llu moves; in %u it is not "
	    "between the ideal and what a machine gives that divides itself at any moment",
	    s.bad, s.most, (unsigned long long)(s.moves / s.cpus), s.beyond);
	/* What has a cap runs at once till it has had it, and takes CPUs from others meanwhile. */
	s = play_all(CAPS, first, count);
	CHECK(s.bad <= count / 12 + 2 && s.above <= TOLERANCE,
	      "and when some VMs have caps: in %u, but none has more than its cap by %.1f %%",
	      s.bad, MAX(s.above, 0.) * 100);
}

int main(int argc, char **argv)
{
	u32 scenarios = argc > 1 ? atoi(argv[1]) : 150, seed = argc > 2 ? atoi(argv[2]) : 1;

	test_random(seed, scenarios);
	return test_end();
}
