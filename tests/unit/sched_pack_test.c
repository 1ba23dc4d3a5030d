/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who seats thousands of vCPUs holds the lock of the scheduler's set-up, with interrupts off: what
 * that costs at most, counted in the compiler's basic blocks.
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c -fsanitize-coverage=trace-pc -lm
 */
#include <math.h>

#include "sched_sim.h"
#include "test.h"

#define MOST_BLOCKS 1000000 /* some 2 ms */
#define PERIOD_US   CORBEL_MAX_PERIOD_US
#define WHOLE_US    950000 /* of a period, what can be promised of a CPU without dom0's vCPU */

static struct sched_unit crowd[MAX_VCPUS];
static u64 blocks;

void __sanitizer_cov_trace_pc(void);
__attribute__((no_sanitize_coverage)) void __sanitizer_cov_trace_pc(void)
{
	blocks++;
}

/* On all CPUs but the first. */
static struct sched_group *pool_with_vm(u32 on)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_CREATE, .name = "rt", .policy = "deadline"};
	struct sched_group *g;

	machine(on + 1, "fair");
	for (u32 i = 1; i <= on; i++)
		cpus_add(&c.cpus, i);
	CHECK_QUIET(cpupool_call(&c, NULL) == 1, "a pool");
	g = vm(0, 0);
	CHECK_QUIET(!move(g, 1), "a VM is in it");
	return g;
}

/* How large the i-th of n is. */
enum kind { ALIKE, EACH_OTHER, FEW_LARGE };
static const char *const names[] = {"all alike", "each of another size", "a few of them large"};

static double size_of(enum kind kind, u32 i, u32 n)
{
	if (kind == EACH_OTHER) /* by the same factor, from 1 to 30: no two are as large */
		return pow(30, (double)(i * 7 % n) / n);
	return kind == FEW_LARGE && i % 8 ? 1 : 6;
}

static s64 join(struct sched_group *g, u32 i, u64 us)
{
	sched_unit_init(&crowd[i], 1024, NULL, 0, false);
	g->terms = (u64)PERIOD_US << 32 | MIN(MAX(us, CORBEL_MIN_BUDGET_US), WHOLE_US);
	return sched_group_join(g, &crowd[i]);
}

/* Blocks for the dearest of n that come and leave room for a half, and of one that needs more. */
static u64 cost_of_seats(u32 on, u32 n, enum kind kind)
{
	struct sched_group *g = pool_with_vm(on);
	u64 most = 0, begun;
	double all = 0;
	s64 ret = 0;

	for (u32 i = 0; i < n; i++)
		all += size_of(kind, i, n);
	for (u32 i = 0; i <= n && !ret; i++) {
		u64 us = size_of(kind, i, n) / all * WHOLE_US * (on - .5);

		begun = blocks;
		ret = join(g, i, i < n ? us : WHOLE_US);
		most = MAX(most, blocks - begun);
	}
	CHECK_QUIET(ret == -ENOSPC, "there is no room for all");
	return most;
}

int main(void)
{
	static const struct {
		u32 cpus, vcpus;
	} of[] = {{2, 2046}, {16, 128}, {64, 1024}, {64, 2046}, {511, 2046}};

	for (u32 i = 0; i < ARRAY_SIZE(of); i++)
		for (enum kind k = ALIKE; k <= FEW_LARGE; k++) {
			u64 most = cost_of_seats(of[i].cpus, of[i].vcpus, k);

			CHECK(most > of[i].vcpus && most <= MOST_BLOCKS,
			      "one of %u vCPUs, %s, that wants a seat on %u CPUs costs %llu blocks",
			      of[i].vcpus, names[k], of[i].cpus, (unsigned long long)most);
		}
	return test_end();
}
