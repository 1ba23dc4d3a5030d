/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/*
 * VMs of several vCPUs: what each VM, and each vCPU in it, gets beside the ideal. The VMs divide
 * the CPUs by weight, as far as their caps and their vCPUs' need let them, and vCPUs their VM's
 * part.
 */
#include "sched_sim.h"
#include "test.h"

#define SETTLE	  (100 * MS)
#define TOLERANCE .02
#define GRAIN	  .006	    /* of a second: half of the longest turn */
#define LATE	  (30 * MS) /* who wakes, where others have not had their share, either */

static void begin(u32 on)
{
	machine(on, "fair");
}

/* ---- the ideal ---- */

/* What the unit can use at most. */
static double limit(const struct sim_unit *s)
{
	double cap = s->s.cap.percent ? s->s.cap.percent / 100. : 1;

	return MIN(cap, s->burst ? (double)s->burst / (s->burst + s->sleep) : 1);
}

static double part_at(double rate)
{
	double sum = 0;

	for (u32 i = 0; i < groups; i++)
		sum += use_of_vm(&group[i], rate * group[i].weight, limit);
	return sum;
}

static void weigh(double *ideal)
{
	double low = 0, high = 1;

	for (u32 step = 0; step < 60; step++) {
		double rate = (low + high) / 2;

		*(part_at(rate) < cpu_count ? &low : &high) = rate;
	}
	for (u32 i = 0; i < groups; i++) {
		double mine = use_of_vm(&group[i], high * group[i].weight, limit), least = 0,
		       most = 1;

		for (u32 step = 0; step < 60; step++) {
			double rate = (least + most) / 2;

			*(use_of_units(&group[i], rate, limit) < mine ? &least : &most) = rate;
		}
		for (u32 j = 0; j < units; j++)
			if (unit[j].s.group == &group[i])
				ideal[j] = MIN(limit(&unit[j]), most);
	}
}

/* ---- what came of it ---- */

struct result {
	double vm, vcpu; /* how far the worst is off its ideal, beyond the grain, in any second */
	double got, ideal;
	u64 late; /* of the units that sleep, the latest */
};

static double off_by(double got, double ideal)
{
	double off = got > ideal ? got - ideal : ideal - got;

	return MAX(off - GRAIN, 0.) / ideal;
}

static void look(struct result *r, const double *ideal, const u64 *before)
{
	for (u32 g = 0; g < groups; g++) {
		double got = 0, want = 0, off;

		for (u32 i = 0; i < units; i++) {
			double mine = (sched_runtime(&unit[i].s, now) - before[i]) / (double)SEC;

			if (unit[i].s.group != &group[g])
				continue;
			got += mine;
			want += ideal[i];
			r->vcpu = MAX(r->vcpu, off_by(mine, ideal[i]));
		}
		off = off_by(got, want);
		if (off < r->vm)
			continue;
		r->vm = off;
		r->got = got;
		r->ideal = want;
	}
}

static struct result measure(u32 seconds)
{
	double ideal[MAX_UNITS];
	struct result r = {0};
	u64 before[MAX_UNITS];

	weigh(ideal);
	run(SETTLE);
	for (u32 i = 0; i < units; i++)
		unit[i].max_latency = 0;
	wasted = longest_waste = 0;
	memset(wasted_since, 0, sizeof(wasted_since));
	for (u32 s = 0; s < seconds; s++) {
		for (u32 i = 0; i < units; i++)
			before[i] = sched_runtime(&unit[i].s, now);
		run(SEC);
		look(&r, ideal, before);
	}
	for (u32 i = 0; i < units; i++)
		r.late = MAX(r.late, unit[i].max_latency);
	return r;
}

static double vcpu_off; /* of what check_vms() has seen */

static void check_vms(const char *what)
{
	struct result r = measure(4);

	CHECK(
	    r.vm <= TOLERANCE && longest_waste <= 3 * MS && r.late <= LATE,
	    "%s on %u CPUs: VMs are at most %.1f %% off in a second (%.4f of %.4f), vCPUs %.1f %%, "
	    "and who wakes is late by %llu us",
	    what, cpu_count, r.vm * 100, r.got, r.ideal, r.vcpu * 100, r.late / US);
	vcpu_off = r.vcpu;
}

static void check_shares(const char *what)
{
	check_vms(what);
	CHECK(vcpu_off <= 2 * TOLERANCE, "and no vCPU more than %.0f %%", 200 * TOLERANCE);
}

static void test_sizes(void)
{
	for (u32 on = 1; on <= 8; on++) {
		begin(on);
		vm(0, 1);
		vm(0, 4);
		check_shares("a VM of one vCPU and one of four");
	}
	for (u32 on = 1; on <= 8; on++) {
		begin(on);
		vm(0, 3);
		vm(0, 8);
		vm(2048, 4);
		check_shares("VMs of 3 and 8 vCPUs, and one of 4 with twice the weight");
	}
	begin(3);
	vm(0, 2);
	vm(0, 4);
	check_shares("VMs of two and four vCPUs");
	begin(5);
	vm(0,
	   7); /* who is behind has to stay where the other one leaves, else some never catch up */
	check_shares("a VM of seven vCPUs");
}

/* vCPUs that sleep leave to their siblings what they do not need, and no more. */
static void test_sleepers(void)
{
	for (u32 on = 1; on <= 4; on++) {
		struct sched_group *g;

		begin(on);
		g = vm(0, 1);
		add_to(g, 1024, 0, false, 300 * US, 2700 * US);
		add_to(g, 1024, 0, false, 200 * US, 1900 * US);
		vm(0, 2);
		check_shares("a VM of one busy vCPU and two that sleep, and one of two busy ones");
	}
	for (u32 on = 1; on <= 4; on++) {
		struct sched_group *g;

		begin(on);
		g = vm(0, 0);
		for (u32 i = 0; i < 8; i++)
			add_to(g, 1024, 0, false, (100 + 10 * i) * US, 900 * US);
		vm(0, 4);
		check_vms("a VM of eight vCPUs that sleep, and one of four busy ones");
	}
	/* In none of its looks the scheduler sees each of them as often as the others. */
	for (u32 on = 1; on <= 2; on++) {
		struct sched_group *g;

		begin(on);
		g = vm(256, 0);
		add_to(g, 1024, 0, false, 182 * US, 3154 * US);
		add_to(g, 1024, 0, false, 274 * US, 1049 * US);
		add_to(g, 1024, 0, false, 271 * US, 2829 * US);
		for (u32 i = 0; i < 2 * on; i++)
			vm(1024, 1);
		check_vms("a light VM of three vCPUs that sleep and want more, and busy ones");
	}
}

/* The VM gets so much, and the second one no less than it had without the cap. */
static void check_cap(struct sched_group *g, u32 percent, const char *beside)
{
	double got[2] = {0},
	       had = group[1].members ? use_of_vm(&group[1], cpu_count / 2., limit) : 0;

	sched_group_set(g, 0, percent);
	run(SETTLE);
	for (u32 i = 0; i < units; i++)
		got[unit[i].s.group != g] -= sched_runtime(&unit[i].s, now) / 4e9;
	run(4 * SEC);
	for (u32 i = 0; i < units; i++)
		got[unit[i].s.group != g] += sched_runtime(&unit[i].s, now) / 4e9;
	CHECK(near(got[0], percent / 100., TOLERANCE) && got[1] >= had * (1 - TOLERANCE),
	      "%u CPUs: a VM with a cap of %u %% gets %.3f, %s %.3f", cpu_count, percent, got[0],
	      beside, got[1]);
}

static void test_caps(void)
{
	struct sched_group *g;

	begin(4);
	g = vm(0, 4);
	group[1].members = NULL;
	check_cap(g, 150, "others");
	vm(0, 3);
	check_cap(g, 150, "one of three vCPUs");
	check_cap(g, 40, "one of three vCPUs");
	check_cap(g, 5, "one of three vCPUs");
	sched_group_set(g, 0, SCHED_CAP_MAX);
	check_shares("VMs of four and three vCPUs when no cap is left");
	sched_set(&unit[0].s, 0, NULL, 20);
	check_cap(g, 120, "one of three vCPUs");
	begin(1);
	g = vm(0, 3);
	vm(0, 1);
	check_cap(g, 10, "one of one vCPU");
	begin(2);
	g = vm(0, 0);
	for (u32 i = 0; i < 3; i++)
		add_to(g, 1024, 0, false, 700 * US, 700 * US);
	vm(0, 2);
	check_cap(g, 60, "one of two vCPUs");
}

/* So much do they get of a second, the nth VM and those that follow it. */
static double got_by(u32 nth, u32 count, u64 ns)
{
	double got = 0;
	u64 before[MAX_UNITS];

	run(SETTLE);
	for (u32 i = 0; i < units; i++)
		before[i] = sched_runtime(&unit[i].s, now);
	run(ns);
	for (u32 i = 0; i < units; i++)
		if (unit[i].s.group >= &group[nth] && unit[i].s.group < &group[nth + count])
			got += (double)(sched_runtime(&unit[i].s, now) - before[i]) / ns;
	return got;
}

/* As many vCPUs as CPUs, all of which begin at once: what each runs at least is more than it owes.
 */
static void test_small_caps(void)
{
	double got;

	begin(16);
	sched_group_set(vm(0, 16), 0, 5);
	got = got_by(0, 1, 4 * SEC);
	CHECK(near(got, .05, TOLERANCE), "16 CPUs: a VM of 16 vCPUs with a cap of 5 %% gets %.4f",
	      got);
	begin(64);
	sched_group_set(vm(0, 64), 0, 1);
	got = got_by(0, 1, 20 * SEC);
	CHECK(near(got, .01, .03), "64 CPUs: a VM of 64 vCPUs with a cap of 1 %% gets %.4f", got);
	begin(60);
	for (u32 i = 0; i < 20; i++)
		sched_group_share(vm(0, 3), 1, 80, 1);
	got = got_by(0, 20, 20 * SEC);
	CHECK(near(got, .01, .03), "60 CPUs: 20 VMs that share a cap of 1 %% get %.4f", got);
}

/* A cap that several VMs share: what a cgroup allows is for all VMs in it together. */
static void test_shared_caps(void)
{
	double all, part, one;

	begin(8);
	for (u32 i = 0; i < 10; i++) {
		vm(0, 1 + i % 3);
		sched_group_share(&group[i], 2, 77, 200);
	}
	all = got_by(0, 10, SEC);
	CHECK(near(all, 2, TOLERANCE), "ten VMs that share a cap of 200 %% get %.3f", all);
	sched_group_share(&group[0], 0, 5, 50);
	sched_group_share(&group[1], 0, 5, 50);
	sched_group_set(&group[0], 0, 10);
	all = got_by(0, 10, SEC);
	part = got_by(0, 2, SEC);
	one = got_by(0, 1, SEC);
	CHECK(near(all, 2, TOLERANCE) && part < .51 && one < .102,
	      "two of them within a cap of 50 %%, and one with 10 %% of its own: %.3f %.3f %.3f",
	      all, part, one);
	for (u32 i = 0; i < 9; i++)
		sched_group_share(&group[i], 2, 77, SCHED_CAP_MAX);
	one = got_by(9, 1, SEC);
	part = got_by(0, 2, SEC);
	CHECK(one > .5 && near(part, .5, TOLERANCE),
	      "who shares it no longer is free of it: %.3f, but not of the other: %.3f", one, part);
	begin(2);
	vm(0, 1);
	sched_group_share(&group[0], 1, 79, 30);
	one = got_by(0, 1, SEC);
	CHECK(near(one, .3, TOLERANCE), "one alone has all of it: %.3f", one);
	sched_group_share(&group[0], 1, 78, 60);
	one = got_by(0, 1, SEC);
	CHECK(near(one, .6, TOLERANCE), "or of another in its place: %.3f", one);
}

/* What has been run under a greater cap is not owed under a small one for ever. */
static void test_lowered_cap(void)
{
	u64 ran, begun;

	begin(4);
	sched_group_set(vm(0, 4), 0, 200);
	run(SETTLE);
	run(10 * MS - now % (10 * MS) + 9 * MS);
	sched_group_set(&group[0], 0, 1);
	run(MS);
	begun = now;
	ran = sched_runtime(&unit[0].s, now);
	while (sched_runtime(&unit[0].s, now) == ran && now < begun + 8 * SEC)
		run(10 * MS);
	CHECK(now <= begun + 600 * MS,
	      "4 CPUs: a cap of 200 %%, and then of 1 %%, lets run after %llu ms",
	      (now - begun) / MS);
}

/* Who had little weight, and has run a turn, does not wait for long when he has more. */
static void test_raised_weight(void)
{
	double got;

	begin(1);
	vm(10, 4);
	vm(0, 1);
	run(SEC);
	sched_group_set(&group[0], 1024, 0);
	got = got_by(0, 1, 300 * MS);
	CHECK(near(got, .5, .03), "a weight that was 10, and is 1024 as another's, gives %.3f",
	      got);
	sched_set(&unit[4].s, 10, NULL, 0);
	run(SEC);
	sched_set(&unit[4].s, 1024, NULL, 0);
	got = got_by(1, 1, 300 * MS);
	CHECK(near(got, .5, .03), "so does a vCPU's own: %.3f", got);
}

/* All vCPUs of a VM but one fall asleep: soon that one has all that the VM has. */
static void test_left_alone(u32 vcpus, u32 settles)
{
	double got;

	begin(1);
	vm(0, vcpus);
	vm(0, 1);
	run(SEC);
	for (u32 i = 1; i < vcpus; i++)
		unit[i].burst = unit[i].left = US;
	run(settles * MS);
	got = got_by(0, 1, 300 * MS);
	CHECK(near(got, .5, .03), "the last awake of %u vCPUs gives its VM %.3f", vcpus, got);
}

/* A cap that is new has no windows behind it of which anything would be left. */
static void test_fresh_cap(void)
{
	u64 ran;

	begin(1);
	vm(0, 1);
	run(MS);
	cpu_mem[0].resched = true; /* what it has run is charged */
	run(10 * US);
	sched_group_set(&group[0], 0, 20);
	ran = sched_runtime(&unit[0].s, now);
	run(9 * MS);
	ran = sched_runtime(&unit[0].s, now) - ran;
	CHECK(ran <= 2 * MS,
	      "a new cap of 20 %% leaves %llu us of the 9 ms that are left of a window", ran / US);
	sched_group_set(&group[0], 0, SCHED_CAP_MAX);
	run(200 * MS);
	run(11 * MS - now % (10 * MS));
	cpu_mem[0].resched = true;
	run(10 * US);
	sched_set(&unit[0].s, 0, NULL, 30);
	ran = sched_runtime(&unit[0].s, now);
	run(9 * MS);
	ran = sched_runtime(&unit[0].s, now) - ran;
	CHECK(ran <= 3 * MS, "one of 30 %% for a vCPU %llu us", ran / US);
}

static void test_many_shared(void)
{
	static struct sched_group many[900];
	u32 n = 0;

	for (u32 i = 0; i < ARRAY_SIZE(many); i++)
		sched_group_init(&many[i]);
	while (n < ARRAY_SIZE(many) && !sched_group_share(&many[n], 0, 1000 + n, 100))
		n++;
	CHECK(n > 500 && n < ARRAY_SIZE(many) &&
		  sched_group_share(&many[n], 0, 1000 + n, 100) == -ENOSPC &&
		  !sched_group_share(&many[n], 0, 1000, 100),
	      "there are %u such caps; who shares one needs no other", n);
	CHECK(sched_group_share(&many[0], CORBEL_CAP_LEVELS, 1, 100) == -EINVAL &&
		  sched_group_share(&many[0], 0, 1, 0) == -EINVAL &&
		  sched_group_share(&many[0], 0, 1, SCHED_CAP_MAX + 1) == -EINVAL,
	      "nonsense is refused");
	sched_group_exit(&many[0]);
	CHECK(sched_group_share(&many[n + 1], 0, 1, 100) == -ENOSPC, "another has it still");
	sched_group_exit(&many[n]);
	CHECK(!sched_group_share(&many[n + 1], 0, 1, 100), "and when all are gone it is free");
	for (u32 i = 1; i < ARRAY_SIZE(many); i++)
		if (i != n)
			sched_group_exit(&many[i]);
}

/* Weights of VMs and of vCPUs multiply, up to the greatest of both. */
/* A VM of little weight beside one of the usual: a millisecond of CPU in a hundred. */
static void test_small_weights(void)
{
	for (u32 weight = 10; weight <= 31; weight += 21) {
		double got;
		u64 small, all;

		begin(1);
		add_to(vm(weight, 0), 1024, 0, false, 0, 0);
		add_to(vm(1024, 0), 1024, 0, false, 0, 0);
		run(10 * SEC);
		small = sched_runtime(&unit[0].s, now);
		all = small + sched_runtime(&unit[1].s, now);
		got = (double)small / all * (weight + 1024) / weight;
		CHECK(got > .8 && got < 1.2, "a VM of weight %u gets %.2f of its share", weight,
		      got);
	}
}

static void test_great_weights(void)
{
	for (u32 weight = 88761; weight <= SCHED_WEIGHT_MAX; weight += SCHED_WEIGHT_MAX - 88761) {
		begin(1);
		for (u32 i = 0; i < 3; i++)
			add_to(vm(1024 << i / 2, 0), weight, 0, false, 0, 0);
		check_vms("VMs of one heavy vCPU, one of twice the weight");
	}
	begin(2);
	for (u32 i = 0; i < 4; i++)
		add_to(vm(SCHED_WEIGHT_MAX >> i / 2, 0), SCHED_WEIGHT_MAX, 0, false, 0, 0);
	check_vms("VMs of half of all weight there can be, and of all");
}

static void test_parameters(void)
{
	struct sched_group *g, *other;
	double before, got;

	begin(2);
	g = vm(0, 4);
	other = vm(0, 2);
	check_shares("VMs of four and two vCPUs");
	sched_group_set(other, 3072, 0);
	check_shares("when one has three times the weight");
	CHECK(sched_group_set(g, SCHED_WEIGHT_MAX + 1, 0) == -EINVAL &&
		  sched_group_set(g, 0, SCHED_CAP_MAX + 1) == -EINVAL && g->weight == 1024 &&
		  !g->cap.percent,
	      "nonsense is refused: a weight over 100000, a cap of more than all CPUs");
	begin(1);
	g = vm(0, 1);
	add_to(g, 335, 0, false, 0, 0);
	run(4 * SEC);
	CHECK(near(share(&unit[0], SEC) / share(&unit[1], SEC), 1024. / 335, .03),
	      "each vCPU has its own weight in its VM");

	begin(1);
	g = vm(0, 2);
	vm(0, 1);
	run(SEC);
	while (running[0] != &unit[0].s)
		run(20 * US);
	sched_block(&unit[0].s);
	ask(&cpu_mem[0], true);
	CHECK(PANICS(sched_group_leave(&unit[1].s)), "a vCPU that could run is not taken away");
	sched_group_leave(&unit[0].s);
	CHECK(g->members == &unit[1].s && !g->members->sibling && g->runnable <= 1,
	      "one that is taken away is none of the VM's");
	before = share(&unit[1], SEC);
	run(4 * SEC);
	got = share(&unit[1], SEC) - before;
	CHECK(near(got / 4, .5, .02), "the other has all of the VM's share: %.3f", got / 4);
}

int main(void)
{
	test_sizes();
	test_sleepers();
	test_caps();
	test_small_caps();
	test_shared_caps();
	test_many_shared();
	test_fresh_cap();
	test_lowered_cap();
	test_raised_weight();
	test_left_alone(16, 0);
	test_left_alone(60, 100);
	test_small_weights();
	test_great_weights();
	test_parameters();
	return test_end();
}
