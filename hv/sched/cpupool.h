/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pools of CPUs: each CPU is in one at most, and has its policy; each VM is in one, and its vCPUs
 * run only there. Pool 0 has dom0, and all else at first. dom0's vCPU of a CPU stays on it, and
 * keeps its share there, whatever pool that is in; a CPU of no pool runs nothing else.
 */
#pragma once

#include "hv/sched/sched.h"

struct sched_ops; /* hv/sched/policy.h */

struct cpupool {
	struct corbel_cpus cpus;	/* any CPU reads it */
	const struct sched_ops *policy; /* NULL: there is no such pool; set once */
	struct sched_group *groups;	/* sched_set_up, as all is written under it */
	char name[CORBEL_POOL_NAME];
};

/* Of the pool that a VM is in. */
u32 cpupool_id(const struct sched_group *g);
/*
 * What HC_POOL asks for, and its errors: hv/abi.h. The texts end within their fields. g: of the VM
 * to be moved.
 */
s64 cpupool_call(const struct corbel_pool_call *c, struct sched_group *g);
/* The nth of the pools, and after them the CPUs of none, if there are such. -ENOENT: no more */
s64 cpupool_stat(u64 nth, struct corbel_pool_stat *s);
