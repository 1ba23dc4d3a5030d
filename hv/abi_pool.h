/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The part of hv/abi.h that is about pools of CPUs. */
#ifndef CORBEL_ABI_POOL_H
#define CORBEL_ABI_POOL_H

#include "abi.h"

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
	 * -EINVAL: no name, or no such policy; -ENOSPC: too many pools
	 */
	CORBEL_POOL_CREATE,
	CORBEL_POOL_DESTROY, /* pool; its CPUs are of none. -EBUSY: it has VMs; -EPERM: pool 0 */
	/*
	 * pool, cpus, which have been of no pool, or of pool 0. -EBUSY: another has them, or pool 0
	 * would have none; -EINVAL: no such CPUs
	 */
	CORBEL_POOL_ADD,
	/* pool, cpus, which are of none then. -EBUSY: no CPU would be left, and it has VMs */
	CORBEL_POOL_REMOVE,
	CORBEL_POOL_RENAME, /* pool, name. -EEXIST */
	CORBEL_POOL_MOVE,   /* vm, pool. -ENODEV: it has no CPUs */
};
struct corbel_pool_call {
	uint32_t op, pool;
	uint64_t cpus; /* bit mask */
	uint32_t vm, pad;
	char name[CORBEL_POOL_NAME]; /* printable */
	char policy[16];
};
CORBEL_ASSERT(sizeof(struct corbel_pool_call) == 72);

/* The CPUs of no pool come last, as a pool of the id CORBEL_MAX_POOLS, if there are any. */
struct corbel_pool_stat {
	uint32_t id, vms; /* dom0 is one of pool 0's */
	uint64_t cpus;	  /* bit mask */
	char name[CORBEL_POOL_NAME];
	char policy[16];
};
CORBEL_ASSERT(sizeof(struct corbel_pool_stat) == 64);

#endif
