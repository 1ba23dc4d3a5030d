/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c
 */
/*
 * A VM whose vCPUs share a lock by tickets, on fewer CPUs and beside others: what those that spin
 * give to the one whose turn it is, wherever that waits. The choice is hv/guest/spin.c's.
 */
#include "sched_sim.h"

#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/sched/place.h"

static void gives_way(struct sched_unit *from, struct sched_unit *to);
#define sched_give_way gives_way
#include "hv/guest/spin.c"
#undef sched_give_way

#define STEP	 (5 * US)
#define SPINNERS 8
#define WORKS	 (40 * US) /* between two turns */
#define HOLDS	 (5 * US)
#define EXITS	 (40 * US) /* of PAUSEs in a row, as SPIN_COUNT */

static struct vm the_vm;
static struct vcpu vcpu[SPINNERS]; /* as spin.c sees the first units */
static struct spinner {
	u64 works, holds, spins; /* what is left; how long it has */
	u32 ticket;
	bool ran;
} spinner[SPINNERS];
static u32 next_ticket, served, yields;

static void gives_way(struct sched_unit *from, struct sched_unit *to)
{
	u32 a = container_of(from, struct vcpu, sched)->index,
	    b = container_of(to, struct vcpu, sched)->index;

	yields++;
	sched_give_way(&unit[a].s, &unit[b].s);
}

static void begin(u32 on, u32 others)
{
	machine(on, "fair");
	memset(vcpu, 0, sizeof(vcpu));
	memset(spinner, 0, sizeof(spinner));
	the_vm = (struct vm){.vcpu_count = SPINNERS, .vcpu_end = SPINNERS};
	the_vm.vcpu = the_vm.few;
	next_ticket = served = yields = 0;
	vm(1024, SPINNERS);
	for (u32 i = 0; i < SPINNERS; i++) {
		vcpu[i].vm = &the_vm;
		vcpu[i].index = i;
		the_vm.vcpu[i] = &vcpu[i];
		spinner[i].works = WORKS + i * US;
	}
	for (u32 i = 0; i < others; i++)
		vm(1024, on);
}

/* It has exited by a PAUSE, and looks for whom to make way. */
static void exit_by_pause(u32 i)
{
	for (u32 j = 0; j < SPINNERS; j++) {
		vcpu[j].sched.state = unit[j].s.state;
		vcpu[j].sched.cpu = unit[j].s.cpu;
	}
	me = &cpu_mem[unit[i].s.cpu];
	vcpu[i].exits_total++;
	spin_make_way(&vcpu[i]);
	spinner[i].ran = false;
}

/* What a vCPU has done of its program in the time it ran. */
static void go_on(u32 i, bool makes_way)
{
	struct spinner *s = &spinner[i];

	s->ran = true;
	if (s->works) {
		s->works -= MIN(s->works, STEP);
		if (s->works)
			return;
		s->ticket = next_ticket++;
		s->holds = HOLDS;
		s->spins = 0;
		return;
	}
	if (s->ticket != served) {
		s->spins += STEP;
		if (makes_way && s->spins % EXITS == 0)
			exit_by_pause(i);
		return;
	}
	s->holds -= MIN(s->holds, STEP);
	if (s->holds)
		return;
	served++;
	s->works = WORKS;
}

/* How often the lock is had in a second, in two of them. */
static u32 contend(u32 on, u32 others, bool makes_way)
{
	begin(on, others);
	for (u64 end = now + 2 * SEC; now < end;) {
		run(STEP);
		for (u32 i = 0; i < SPINNERS; i++) {
			if (running[unit[i].s.cpu] == &unit[i].s)
				go_on(i, makes_way);
			else if (spinner[i].ran)
				vcpu[i].exits_total++;
			spinner[i].ran &= running[unit[i].s.cpu] == &unit[i].s;
		}
	}
	return served / 2;
}

static void test_locks(u32 others, u32 least)
{
	double got = 0, fair = 4. / (others + 1);
	u64 late = 0;
	u32 burns = contend(4, others, false), makes = contend(4, others, true);

	for (u32 i = 0; i < SPINNERS; i++)
		got += share(&unit[i], 2 * SEC);
	for (u32 i = SPINNERS; i < units; i++)
		late = MAX(late, unit[i].longest_wait);
	CHECK(makes >= least && burns < least / 4 && yields < 150000,
	      "8 vCPUs on 4 CPUs beside %u busy VMs have their lock %u times a second, with %u "
	      "yields; without %u times",
	      others, makes, yields / 2, burns);
	CHECK(near(got, fair, .02) && late < 40 * MS,
	      "which takes nothing from others: they get %.3f CPUs of %.3f, nobody else waits "
	      "longer than %llu us",
	      got, fair, late / US);
}

/* A vCPU that spins all the time for one on another CPU, where another VM runs, too. */
static void test_pest(void)
{
	struct sim_unit *from, *to, *other;
	u32 asked;

	machine(2, "fair");
	vm(1024, 2);
	vm(1024, 1);
	from = &unit[0];
	to = &unit[1];
	other = &unit[2];
	sched_set(&from->s, 0, cpu_set(BIT(0)), 0);
	sched_set(&to->s, 0, cpu_set(BIT(1)), 0);
	sched_set(&other->s, 0, cpu_set(BIT(1)), 0);
	sched_group_set(&group[0], 2048, 0);
	run(100 * MS);
	asked = asked_of[1];
	to->had = sched_runtime(&to->s, now);
	for (u64 end = now + SEC; now < end;) {
		run(2 * US);
		me = &cpu_mem[0];
		if (running[0] == &from->s && to->s.state == SCHED_QUEUED)
			sched_give_way(&from->s, &to->s);
	}
	asked = asked_of[1] - asked;
	CHECK(asked < 10500, "who spins for one elsewhere disturbs that CPU %u times a second",
	      asked);
	CHECK(near((sched_runtime(&to->s, now) - to->had) / 1e9, .5, .03),
	      "and has no more of it for that: %.3f", (sched_runtime(&to->s, now) - to->had) / 1e9);
}

/* It was to run next, and is gone before anybody has looked. */
static void test_gone(void)
{
	machine(2, "fair");
	vm(1024, 2);
	vm(1024, 2);
	for (u32 i = 0; i < 4; i++)
		sched_set(&unit[i].s, 0, cpu_set(BIT(i % 2)), 0);
	run(10 * MS);
	while (running[0] != &unit[0].s || running[1] != &unit[1].s)
		run(100 * US);
	sched_of(1)->favours = &unit[2].s; /* which ran elsewhere */
	sched_of(1)->favoured = &unit[3].s;
	me = &cpu_mem[1];
	sched_block(&unit[1].s);
	ask(&cpu_mem[1], true);
	CHECK(running[1] == &unit[3].s && !sched_of(1)->favoured, "it runs next");
	sched_of(0)->favoured = &unit[3].s;
	sched_block(&unit[3].s);
	ask(&cpu_mem[1], true);
	sched_group_leave(&unit[3].s);
	CHECK(!sched_of(0)->favoured, "who leaves is to run nowhere");
	sched_of(0)->favoured = &unit[2].s;
	sched_of(0)->favours = &unit[1].s;
	sched_group_leave(&unit[1].s);
	CHECK(!sched_of(0)->favoured, "nor does anybody run there for him");
}

/* What dom0 does is not to wait for that, nor is who has an event. */
static void test_dom0(void)
{
	struct sim_unit *dom0, *to;

	machine(2, "fair");
	dom0 = add(2048, 1, true, 0, 0);
	vm(1024, 2);
	vm(1024, 1);
	to = &unit[2];
	sched_set(&unit[1].s, 0, cpu_set(BIT(0)), 0);
	sched_set(&to->s, 0, cpu_set(BIT(1)), 0);
	sched_set(&unit[3].s, 0, cpu_set(BIT(1)), 0);
	run(10 * MS);
	while (running[1] != &dom0->s)
		run(100 * US);
	run(100 * US);
	me = &cpu_mem[0];
	sched_give_way(&unit[1].s, &to->s);
	CHECK(cpu_mem[1].resched && sched_of(1)->favoured == &to->s, "another CPU is asked");
	run(3 * US);
	CHECK(running[1] == &dom0->s && !sched_of(1)->favoured, "where dom0 runs on");
	while (running[1] != &unit[3].s)
		run(100 * US);
	dom0->s.boost = true;
	sched_of(1)->favours = &unit[1].s;
	sched_of(1)->favoured = &to->s;
	me = &cpu_mem[1];
	ask(me, false);
	CHECK(running[1] != &to->s && !sched_of(1)->favoured, "or waits with an event");
}

int main(void)
{
	test_locks(0, 20000);
	test_locks(1, 5000);
	test_locks(3, 2500);
	test_pest();
	test_gone();
	test_dom0();
	return test_end();
}
