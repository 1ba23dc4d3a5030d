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
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_NODES 64

static bool read_cpus(unsigned int node, struct corbel_cpus *cpus)
{
	const char *dir = getenv("CORBEL_NODES"); /* for tests */
	char path[PATH_MAX], list[4096] = "", err[256];
	FILE *f;

	if (!dir || !*dir)
		dir = "/sys/devices/system/node";
	snprintf(path, sizeof(path), "%s/node%u/cpulist", dir, node);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fgets(list, sizeof(list), f))
		list[strcspn(list, "\n")] = 0;
	fclose(f);
	return !cpulist_parse(list, cpus, err, sizeof(err));
}

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

	while (node < MOST_NODES && !(read_cpus(node, &cpus) && runs_within(c, &cpus)))
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
