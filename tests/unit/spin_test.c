/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/guest/spin.c */
/* For whom a vCPU that spins makes way. */
#include "hv/guest/spin.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "test.h"

static struct vm vm;
static struct vcpu vcpu[4];
static struct vcpu *favoured, *many[100];

void sched_give_way(struct sched_unit *from, struct sched_unit *to)
{
	CHECK_QUIET(from != to && to->state == SCHED_QUEUED, "another, which waits");
	favoured = container_of(to, struct vcpu, sched);
}

/* The index of whom v makes way for, -1: nobody. */
static int by(struct vcpu *v)
{
	favoured = NULL;
	v->exits_total++; /* by PAUSE */
	spin_make_way(v);
	return favoured ? (int)favoured->index : -1;
}

int main(void)
{
	vm.vcpu = vm.few;
	vm.vcpu_count = 4;
	vm.vcpu_end = 7;
	for (u32 i = 0; i < 4; i++) {
		vcpu[i] = (struct vcpu){
		    .vm = &vm, .index = 2 * i, .exits_total = 10, .sched.state = SCHED_QUEUED};
		vm.vcpu[2 * i] = &vcpu[i];
	}
	CHECK(by(&vcpu[0]) == 2 && by(&vcpu[0]) == 4 && by(&vcpu[0]) == 6 && by(&vcpu[0]) == 2,
	      "each of those that wait for a CPU in turn, not itself");
	by(&vcpu[2]);
	CHECK(by(&vcpu[0]) == 2 && by(&vcpu[0]) == 6 && by(&vcpu[0]) == 2,
	      "but not one that spins itself, while another waits");
	by(&vcpu[1]);
	by(&vcpu[3]);
	CHECK(by(&vcpu[0]) == 2 && by(&vcpu[0]) == 4 && by(&vcpu[0]) == 6,
	      "if all spin, each in turn");
	vcpu[2].exits_total++;
	CHECK(by(&vcpu[0]) == 4 && by(&vcpu[0]) == 4, "one that has run since is better");
	vcpu[1].sched.state = vcpu[2].sched.state = SCHED_RUNNING;
	CHECK(by(&vcpu[0]) == 6 && spin_others_wait(&vcpu[0]), "none that runs");
	vcpu[3].sched.state = SCHED_BLOCKED;
	CHECK(by(&vcpu[0]) == -1 && !spin_others_wait(&vcpu[0]), "none that sleeps");
	vm.vcpu = many;
	vm.vcpu_end = ARRAY_SIZE(many);
	vm.favoured = 0;
	many[0] = &vcpu[0];
	many[90] = &vcpu[1];
	vcpu[1].index = 90;
	vcpu[1].sched.state = SCHED_QUEUED;
	CHECK(by(&vcpu[0]) == -1 && by(&vcpu[0]) == -1 && by(&vcpu[0]) == 90,
	      "of many not all are looked at for each PAUSE, but the next time others");
	vm.vcpu = vm.few;
	vm.vcpu_end = 7;
	vm.vcpu_count = 1;
	vm.vcpu[2] = vm.vcpu[4] = vm.vcpu[6] = NULL;
	CHECK(by(&vcpu[0]) == -1, "nobody, where there is no other");
	return test_end();
}
