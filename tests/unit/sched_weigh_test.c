/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c
 * hv/sched/even.c hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/* A share is worked out by several CPUs at once: none that another has changed meanwhile stays. */
#include "hv/lib/types.h"

/* Another CPU may do something before any write. */
static void others_act(void);
#undef WRITE_ONCE
#define WRITE_ONCE(x, v)		  (others_act(), *(volatile __typeof__(x) *)&(x) = (v))
#define __atomic_exchange_n(at, v, order) (others_act(), __atomic_exchange_n(at, v, order))
#include "hv/sched/unit.c"
#undef __atomic_exchange_n
#include "sched_sim.h"

static u32 writes, act_at;
static void (*act)(void);
static struct sched_group *vm1;

static void others_act(void)
{
	if (act && ++writes == act_at) {
		void (*now_act)(void) = act;

		act = NULL;
		now_act();
	}
}

static void set_weight(void)
{
	sched_set(&unit[0].s, 2048, NULL, 0);
}

static void set_group(void)
{
	sched_group_set(vm1, 512, 0);
}

static void set_parts(void)
{
	WRITE_ONCE(vm1->parts, 3 * GROUP_PARTS);
	unit_weigh(&unit[0].s);
}

/* At each write of the one that works it out the other CPU does all of it. */
static void test_change(const char *what, void (*change)(void))
{
	bool fits = true, reached;
	u32 at = 0;

	do {
		u32 again;

		machine(2, "fair");
		vm1 = vm(1024, 2);
		run(10 * MS);
		writes = 0;
		act_at = ++at;
		act = change;
		unit_weigh(&unit[0].s);
		reached = !act;
		unit_weigh_again(&unit[0].s, now);
		act = NULL;
		again = unit[0].s.share;
		unit_weigh(&unit[0].s);
		fits &= again == unit[0].s.share;
	} while (reached);
	CHECK(at > 1 && fits, "%s while another CPU works a share out is not lost (%u places)",
	      what, at - 1);
}

int main(void)
{
	test_change("a unit's weight", set_weight);
	test_change("a group's weight", set_group);
	test_change("what a group's units need", set_parts);
	return test_end();
}
