/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest whose vCPUs may run on one node's CPUs only has its memory there, as far as there is any.
 * dom0's Linux places what VMMs allocate, and its CPUs have the numbers of the hypervisor's; a node
 * where it has no CPU is none here.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_NODES 64

static bool runs_within(const struct cfg *c, const struct corbel_cpus *cpus)
{
	unsigned int i, k;

	for (i = 0; i < c->vcpus; i++) {
		if (cpus_empty(&c->affinity[i])) /* anywhere */
			return false;
		for (k = 0; k < CORBEL_MAX_CPUS / 64; k++)
			if (c->affinity[i].word[k] & ~cpus->word[k])
				return false;
	}
	return true;
}

void node_prefer(const struct cfg *c)
{
	unsigned long nodes;
	struct corbel_cpus cpus;
	unsigned int node = 0;
	int mode;

	while (node < MOST_NODES && !(node_cpus(node, &cpus) && runs_within(c, &cpus)))
		node++;
	/* who has started us with a policy, as by numactl, wants that */
	if (node == MOST_NODES || syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) ||
	    mode != MPOL_DEFAULT)
		return;
	nodes = 1ul << node;
	/* of the bits that it is told of the kernel leaves the last one out */
	if (syscall(SYS_set_mempolicy, MPOL_PREFERRED, &nodes, MOST_NODES + 1))
		fprintf(stderr, "the guest's memory may be on any node: %s\n", strerror(errno));
}
