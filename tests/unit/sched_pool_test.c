/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/*
 * Pools of CPUs: vCPUs run on their pool's CPUs and nowhere else, whatever changes under them, and
 * divide these by weight, whatever other pools have; dom0's vCPUs stay where they are.
 */
#include <stdlib.h>

#include "sched_sim.h"
#include "test.h"

#define SETTLE (100 * MS)
#define MOVES  (200 * US) /* until a change has reached all CPUs */

/* Each unit has run only where it may since it was last looked at, and nobody idled beside a queue.
 */
static void look_away(void)
{
	run(MOVES);
	for (u32 i = 0; i < units; i++)
		unit[i].ran_on = 0;
	longest_waste = 0;
	memset(wasted_since, 0, sizeof(wasted_since));
}

static bool kept_inside(void)
{
	bool inside = true;

	for (u32 i = 0; i < units; i++) {
		const struct sched_unit *u = &unit[i].s;
		u64 may = u->pinned ? BIT(u->cpu) : cpus_of(cpupool_id(u->group));

		if (unit[i].ran_on & ~may)
			inside = false;
	}
	return inside;
}

/* The part of the CPUs that each VM's vCPUs get in the next second. */
static void measure(double *part)
{
	for (u32 g = 0; g < groups; g++)
		part[g] = 0;
	for (u32 step = 0; step < 2; step++) {
		for (u32 i = 0; i < units; i++)
			if (unit[i].s.group)
				part[unit[i].s.group - group] +=
				    (step ? 1 : -1) * (double)sched_runtime(&unit[i].s, now) / SEC;
		if (!step)
			run(SEC);
	}
}

static void test_shares(void)
{
	double part[MAX_GROUPS];
	s64 id;

	machine_with_dom0(4);
	vm(1024, 3);
	vm(1024, 3);
	vm(3072, 3);
	id = create("fast", "", BIT(2) | BIT(3));
	CHECK(id == 1 && cpus_of(0) == 3 && cpus_of(1) == 12, "a pool takes CPUs of pool 0");
	CHECK(!move(&group[1], id), "a VM that runs moves to it");
	look_away();
	run(SETTLE);
	measure(part);
	CHECK(near(part[1], 1.98, .02), "it has the two CPUs there: %.3f", part[1]);
	CHECK(near(part[0], .495, .03) && near(part[2], 1.485, .03),
	      "the others divide the rest by weight: %.3f, %.3f", part[0], part[2]);
	CHECK(kept_inside() && longest_waste <= 3 * MS,
	      "all run in their pools, none of whose CPUs idles for long: %llu us",
	      (unsigned long long)longest_waste / US);
	for (u32 i = 0; i < 4; i++)
		CHECK_QUIET(unit[i].ran_on == BIT(i), "dom0's vCPUs run where they were");

	CHECK(!move(&group[0], id) && !call(CORBEL_POOL_ADD, id, BIT(1), NULL) && cpus_of(0) == 1,
	      "a CPU of pool 0 is added");
	look_away();
	run(SETTLE);
	measure(part);
	CHECK(near(part[0], 1.485, .03) && near(part[1], 1.485, .03) && near(part[2], .99, .02),
	      "three CPUs for two VMs, one for the third: %.3f, %.3f, %.3f", part[0], part[1],
	      part[2]);
	CHECK(!call(CORBEL_POOL_REMOVE, id, BIT(2) | BIT(3), NULL) && cpus_of(id) == 2, "two go");
	look_away();
	run(SETTLE);
	measure(part);
	CHECK(near(part[0], .495, .03) && near(part[1], .495, .03) && kept_inside(),
	      "what ran there runs on the one that is left: %.3f, %.3f", part[0], part[1]);
	CHECK(cpus_of(CORBEL_MAX_POOLS) == 12 && unit[2].ran_on == BIT(2),
	      "a CPU of no pool has dom0's vCPU");
}

/* dom0 keeps what it has by right, on any CPU. */
static void test_dom0(void)
{
	struct sim_unit *busy;
	double before;

	machine(2, "fair");
	add(2048, 0, true, 20 * US, 2 * MS);
	busy = add(1024, 1, true, 0, 0);
	vm(SCHED_WEIGHT_MAX, 4);
	CHECK(create("guests", "", BIT(1)) == 1 && !move(&group[0], 1), "a pool of guests");
	run(SETTLE);
	before = share(busy, SEC);
	run(SEC);
	CHECK(busy->ran_on == BIT(1) && share(busy, SEC) - before >= .245,
	      "dom0's busy vCPU has its quarter of a CPU in another pool, beside any weight: %.3f",
	      share(busy, SEC) - before);
}

static void test_affinity(void)
{
	machine_with_dom0(4);
	vm(1024, 2);
	vm(1024, 2);
	create("right", "", BIT(2) | BIT(3));
	move(&group[1], 1);
	sched_set(&unit[6].s, 0, cpu_set(BIT(1) | BIT(3)), 0);
	sched_set(&unit[7].s, 0, cpu_set(BIT(0) | BIT(1)), 0);
	look_away();
	run(SEC);
	CHECK(unit[6].ran_on == BIT(3), "a vCPU runs where both its affinity and its pool are");
	CHECK(unit[7].ran_on && !(unit[7].ran_on & 3), "and if there is no such CPU, in its pool");
	CHECK(!move(&group[1], 0), "back to pool 0");
	look_away();
	run(SEC);
	CHECK(unit[6].ran_on == BIT(1) && !(unit[7].ran_on & 12), "its affinity holds again");
}

static void test_refusals(void)
{
	s64 id;

	machine_with_dom0(2);
	vm(1024, 1);
	CHECK(create("", "", 1) == -EINVAL && create("Pool-0", "", 1) == -EEXIST &&
		  create("new", "lottery", 1) == -EINVAL && create("new", "", 4) == -EINVAL,
	      "no name, a name twice, an unknown policy, a CPU that is not there");
	CHECK(create("new", "", 3) == -EBUSY && cpus_of(0) == 3, "pool 0 keeps a CPU");
	CHECK(call(CORBEL_POOL_REMOVE, 0, 3, NULL) == -EBUSY, "it cannot be taken away either");
	CHECK(call(CORBEL_POOL_DESTROY, 0, 0, NULL) == -EPERM, "nor can pool 0");
	id = create("empty", "rr", 0);
	CHECK(id == 1 && move(&group[0], id) == -ENODEV, "no VM moves where no CPU is");
	CHECK(create("other", "", BIT(1)) == 2 && call(CORBEL_POOL_ADD, id, BIT(1), NULL) == -EBUSY,
	      "a CPU of another pool is not added");
	CHECK(!move(&group[0], 2) && call(CORBEL_POOL_DESTROY, 2, 0, NULL) == -EBUSY &&
		  call(CORBEL_POOL_REMOVE, 2, BIT(1), NULL) == -EBUSY && cpus_of(2) == 2,
	      "a pool with VMs stays, and keeps its last CPU");
	CHECK(call(CORBEL_POOL_REMOVE, 2, BIT(0), NULL) == -EINVAL &&
		  call(CORBEL_POOL_ADD, 2, 0, NULL) == -EINVAL,
	      "CPUs of another pool, or none, are not removed or added");
	CHECK(move(&group[0], 3) == -ENOENT && move(&group[0], 99) == -ENOENT &&
		  call(99, 2, 0, NULL) == -EINVAL,
	      "there is no such pool, or call");
	CHECK(!move(&group[0], 0) && !call(CORBEL_POOL_DESTROY, 2, 0, NULL) &&
		  cpus_of(CORBEL_MAX_POOLS) == 2 && move(&group[0], 2) == -ENOENT,
	      "one without VMs goes, and its CPUs are of no pool");
	for (id = 0; create((char[]){'a' + id, 0}, "", 0) > 0; id++)
		;
	CHECK(id == CORBEL_MAX_POOLS - 2, "there are 16 at most");
}

/* Nobody is ahead or behind for what another policy let him run. */
static void test_policies(void)
{
	double part[MAX_GROUPS];

	machine_with_dom0(2);
	vm(1024, 1);
	vm(4096, 1);
	vm(1024, 1);
	run(SETTLE);
	CHECK(create("turns", "rr", BIT(1)) == 1 && !move(&group[0], 1) && !move(&group[1], 1),
	      "a pool with another policy");
	look_away();
	measure(part);
	CHECK(near(part[0], .495, .03) && near(part[1], .495, .03) && near(part[2], .99, .03),
	      "they take turns there, whatever they weigh: %.3f, %.3f", part[0], part[1]);
	run(2 * SEC);
	move(&group[0], 0);
	move(&group[1], 0);
	run(SETTLE);
	measure(part);
	CHECK(near(part[0], .165, .1) && near(part[1], .66, .1) && near(part[2], .165, .1),
	      "back in pool 0 weights hold at once: %.3f, %.3f, %.3f", part[0], part[1], part[2]);
	call(CORBEL_POOL_DESTROY, 1, 0, NULL);
	call(CORBEL_POOL_ADD, 0, BIT(1), NULL);
	run(SETTLE);
	measure(part);
	CHECK(near(part[0] + part[1] + part[2], 1.98, .01), "and its CPU works for all again");
}

/* Whatever happens in whatever order. */
static void test_random(void)
{
	static const char *const policies[] = {"fair", "rr"};
	bool inside = true;
	u64 worst = 0;

	for (u32 round = 0; round < 8; round++) {
		machine_with_dom0(2 + round);
		for (u32 i = 0; i < 5; i++) {
			vm(512 << i % 3, i);
			add_to(&group[i], 1024, 0, false, 300 * US, 900 * US);
		}
		for (u32 i = 0; i < 3; i++)
			create((char[]){'a' + i, 0}, policies[rand() % 2], 0);
		for (u32 i = 0; i < 150; i++) {
			u32 op = CORBEL_POOL_ADD + rand() % 4, pool = rand() % 4;

			if (op == CORBEL_POOL_RENAME)
				sched_set(&unit[rand() % units].s, 0, cpu_set(1 + rand() % 255), 0);
			else
				call(op, pool, rand() & (BIT(cpu_count) - 1), &group[rand() % 5]);
			if (rand() % 3)
				continue;
			look_away();
			run(20 * MS);
			inside = inside && kept_inside();
			worst = MAX(worst, longest_waste);
		}
		for (u32 i = 0; i < 5; i++)
			CHECK_QUIET(!move(&group[i], 0), "all can go back to pool 0");
		for (u32 i = 1; i < 4; i++)
			CHECK_QUIET(!call(CORBEL_POOL_DESTROY, i, 0, NULL), "a pool goes");
		call(CORBEL_POOL_ADD, 0, cpus_of(CORBEL_MAX_POOLS), NULL);
		for (u32 i = 0; i < units; i++)
			if (!unit[i].s.pinned)
				sched_set(&unit[i].s, 0, cpu_set(~0ull), 0);
		run(50 * MS);
		look_away();
		run(SEC);
		for (u32 i = 0; i < units; i++)
			CHECK_QUIET(unit[i].ran_on, "nobody is lost");
		CHECK_QUIET(cpus_of(0) == BIT(cpu_count) - 1, "nor is a CPU");
	}
	CHECK(inside && worst <= 20 * MS,
	      "after 1200 changes by chance all run in their pools; longest idle beside a queue: "
	      "%llu us",
	      (unsigned long long)worst / US);
}

int main(void)
{
	srand(7);
	test_shares();
	test_dom0();
	test_affinity();
	test_refusals();
	test_policies();
	test_random();
	return test_end();
}
