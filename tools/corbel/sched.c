/* SPDX-License-Identifier: GPL-2.0-only */
/* What guests and their vCPUs are to get, and where: sched and vcpu-pin. */
#define _GNU_SOURCE
#include "corbel.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* One vCPU: the cap is at most one CPU then. */
static int apply_vcpu(const struct corbel_vcpu_stat *v, unsigned int weight,
		      const struct corbel_cpus *affinity, unsigned int cap)
{
	struct corbel_sched_set s = {.vcpu = v->number, .weight = weight, .affinity = *affinity};

	if (cap > 100 && cap != CORBEL_MAX_CAP)
		return fail("a vCPU has at most one CPU: its cap goes from 1 to 100");
	s.cap = cap < 100 ? cap : 100;
	return s.weight || !cpus_empty(&s.affinity) || s.cap ? hv_sched(&s, v) : 0;
}

int apply_sched(const char *name, unsigned int weight, const struct corbel_cpus *affinity,
		unsigned int cap, long only)
{
	struct corbel_vcpu_stat *v = NULL;
	struct corbel_vm_stat vm;
	int i, n, done = 0, err = 0;

	if (vm_of_name(name, &vm))
		return -1;
	if (only < 0 && (weight || cap)) {
		err = hv_sched_vm(
		    &(struct corbel_sched_vm){.vm = vm.id, .weight = weight, .cap = cap});
		weight = cap = 0;
	}
	n = vcpus_of(vm.id, &v);
	for (i = 0; i < n && !err; i++) {
		/* Where there are more they were asked for all alike. */
		unsigned int at = v[i].index < CFG_MAX_VCPUS ? v[i].index : CFG_MAX_VCPUS - 1;

		if (only >= 0 && v[i].index != only)
			continue;
		err = apply_vcpu(&v[i], weight, &affinity[at], cap);
		done++;
	}
	free(v);
	if (n < 0 || err)
		return -1;
	if (!done) {
		fail("%s has no vCPU %ld; it has %d", name, only, n);
		return -1;
	}
	return 0;
}

int cmd_sched(struct opts *o)
{
	struct corbel_cpus affinity[CFG_MAX_VCPUS];
	int i;

	for (i = 0; i < CFG_MAX_VCPUS; i++)
		affinity[i] = o->cpus;
	if (!o->period != !o->budget)
		return fail("sched: --period and --budget belong together");
	if (o->weight || !cpus_empty(&o->cpus) || o->cap || o->budget) {
		if (!o->nargs)
			return fail("sched: whose? name a guest: corbel sched --weight=512 NAME");
		if (o->budget && budget_set(o->args[0], o->period, o->budget, o->vcpu))
			return 1;
		return apply_sched(o->args[0], o->weight, affinity, o->cap, o->vcpu) ? 1 : 0;
	}
	return o->json ? cmd_vcpu_list(o) : !!show_sched(o);
}

/* xl's words for `sched --vcpu=N --cpus=LIST NAME'. */
int cmd_vcpu_pin(struct opts *o)
{
	struct corbel_cpus affinity[CFG_MAX_VCPUS], cpus;
	const char *which = o->args[1];
	char err[160], *end;
	long only = -1;
	int i;

	if (strcmp(which, "all")) {
		only = strtol(which, &end, 10);
		if (!isdigit((unsigned char)*which) || *end)
			return fail("\"%s\" is no vCPU; give its number, or all", which);
	}
	if (cpulist_parse(o->args[2], &cpus, err, sizeof(err)))
		return fail("%s", err);
	for (i = 0; i < CFG_MAX_VCPUS; i++)
		affinity[i] = cpus;
	return apply_sched(o->args[0], 0, affinity, 0, only) ? 1 : 0;
}
