/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The part of hv/abi.h that is about CPUs: what they and vCPUs do, pools, dom0's share of each. */
#ifndef CORBEL_ABI_POOL_H
#define CORBEL_ABI_POOL_H

#include "abi.h"

#define CORBEL_MAX_CPUS 512u
/* A set of them, by their numbers in struct corbel_cpu_stat: bit n % 64 of word n / 64 is CPU n. */
struct corbel_cpus {
	uint64_t word[CORBEL_MAX_CPUS / 64];
};

/*
 * How a CPU sleeps: HLT, or MWAIT with its states as CPUID numbers them, C1 also deeper; or by
 * reading a port, in a state that ACPI calls C2 or C3.
 */
#define CORBEL_IDLE_NAMES                                                                          \
	"HLT", "C1", "C1E", "C2", "C3", "C4", "C5", "C6", "C7", "C2-port", "C3-port"
#define CORBEL_IDLE_STATES 11u
/*
 * HC_IDLE: how ACPI's _CST says that a CPU sleeps. Used are, beside HLT and C1, only those that the
 * CPU itself has; if none is, nothing changes. CPUs that are told nothing do as the first that was.
 */
enum corbel_cst_by { CORBEL_CST_HLT, CORBEL_CST_MWAIT, CORBEL_CST_PORT };
#define CORBEL_MAX_CST 8u
struct corbel_cst {
	uint32_t by, type; /* enum corbel_cst_by; of ACPI: 1 is C1 */
	uint32_t address;  /* MWAIT's hint, or the port */
	uint32_t latency_us;
};
struct corbel_cpu_stat {
	uint32_t cpu, apic_id, core, cache, package, node; /* what it shares with equal ones */
	uint64_t idle_ns, busy_ns, interrupts, switches;
	uint64_t forced_ns; /* of idle_ns: vCPUs waited for its core, which was others' */
	/*
	 * The frequency that it had while it did not sleep, between the last two times that this
	 * was asked for; 0: not known
	 */
	uint32_t khz;
	uint32_t idle_states; /* bit mask of those it uses */
	uint64_t by_store;    /* sleeps that were ended without an interrupt */
	/* sleeps that have ended, and how long they were, by state */
	uint64_t sleeps[CORBEL_IDLE_STATES], sleep_ns[CORBEL_IDLE_STATES];
};

#define CORBEL_EXIT_STATS 40u
struct corbel_vcpu_stat {
	uint32_t id, vm, index, apic_id;
	uint32_t state, cpu, weight, cap, period_us, budget_us; /* these: CORBEL_POOL_BUDGET */
	struct corbel_cpus affinity, runs_on;			/* where its pool lets it run */
	uint64_t number;					/* as HC_VCPU_CREATE has given it */
	uint64_t runtime_ns, steal_ns; /* ran; was runnable but did not run */
	/* by hv exit reason, names in corbel_exit_names */
	uint64_t exits_total, exits[CORBEL_EXIT_STATS];
};

#define CORBEL_MAX_POOLS 16u
#define CORBEL_POOL_NAME 32

/*
 * HC_POOL: each CPU is in one pool at most, each VM in one, where its vCPUs run: on those CPUs of
 * the pool that are in their affinity, or if there are none on all. Pool 0 is dom0's, and has all
 * CPUs and VMs at first. A vCPU of dom0's stays on its CPU. -ENOENT: no such pool, or VM
 */
enum corbel_pool_op {
	/*
	 * name, policy ("": fair), cpus as of ADD, or 0 -> its id. -EEXIST: a pool has that name;
	 * -EINVAL: no name, or no such policy; -ENOSPC: too many pools; -EOPNOTSUPP: not with
	 * sched-gran=core, with which CPUs of a core come and go together (else -EINVAL)
	 */
	CORBEL_POOL_CREATE,
	CORBEL_POOL_DESTROY, /* pool; its CPUs are of none. -EBUSY: it has VMs; -EPERM: pool 0 */
	/*
	 * pool, cpus, which have been of no pool, or of pool 0. -EBUSY: another has them, or pool 0
	 * would have none; -EINVAL: no such CPUs
	 */
	CORBEL_POOL_ADD,
	/*
	 * pool, cpus, which are of none then. -EBUSY: no CPU would be left, and it has VMs;
	 * -ENOSPC: see below
	 */
	CORBEL_POOL_REMOVE,
	CORBEL_POOL_RENAME, /* pool, name. -EEXIST */
	CORBEL_POOL_MOVE,   /* vm, pool. -ENODEV: it has no CPUs; -ENOSPC: see below */
	/*
	 * vm, vcpu (its id, or CORBEL_POOL_ALL, also for those to come), period, budget. -EINVAL:
	 * out of range; -ENOSPC: see below
	 */
	CORBEL_POOL_BUDGET,
};
/*
 * In a pool with policy deadline each vCPU is promised its budget in each of its periods, and gets
 * no more; 4 of 10 ms, if nothing else is said. With null it has a CPU to itself, but for dom0's
 * vCPU. Both tie it to one CPU, first to one of its affinity. -ENOSPC: for some vCPU no CPU has as
 * much left; what was asked for is not done. So VCPU_CREATE may answer as well. Of a CPU 95 % can
 * be promised, 90 % where dom0 has a vCPU. Others may change CPUs to make room.
 */
#define CORBEL_POOL_ALL	     0xffffffffu
#define CORBEL_MAX_PERIOD_US 1000000u
#define CORBEL_MIN_BUDGET_US 100u
struct corbel_pool_call {
	uint32_t op, pool;
	union {
		struct corbel_cpus cpus;
		struct {
			uint32_t period_us, budget_us;
		};
	};
	uint32_t vm, vcpu;
	char name[CORBEL_POOL_NAME]; /* printable */
	char policy[16];
};
CORBEL_ASSERT(sizeof(struct corbel_pool_call) == 128);

/* The CPUs of no pool come last, as a pool of the id CORBEL_MAX_POOLS, if there are any. */
struct corbel_pool_stat {
	uint32_t id, vms; /* dom0 is one of pool 0's */
	struct corbel_cpus cpus;
	char name[CORBEL_POOL_NAME];
	char policy[16];
};
CORBEL_ASSERT(sizeof(struct corbel_pool_stat) == 120);

/*
 * ---- in the pages behind struct corbel_events, one for each CPU: what runs in dom0 there, so that
 * dom0's share there follows it. Written by dom0, but for what says otherwise ----
 */
struct corbel_load {
	/* sum of the weights of the threads that could run; 0: none, or not known */
	uint32_t weight;
	/* not 0: the thread that runs has hardly run since it woke; another number for the next */
	uint32_t fresh;
	/*
	 * dom0 runs because of an event, ahead of guests whose turn it is: before `fresh` is
	 * cleared HC_TURN_OVER is to be called. Written by the hypervisor
	 */
	uint32_t out_of_turn;
	/*
	 * not 0: at the beginning of its timer's interrupt dom0 waits for timer_at, since that
	 * comes a little early
	 */
	uint32_t waits;
	uint64_t timer_at; /* TSC. Written by the hypervisor */
	uint32_t pad[10];
};
CORBEL_ASSERT(sizeof(struct corbel_load) == 64);

#endif
