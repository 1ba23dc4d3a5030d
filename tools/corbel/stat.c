/* SPDX-License-Identifier: GPL-2.0-only */
/* Exits, counted by reason and vCPU. */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const exit_names[] = {
#define X(id, name) name,
    CORBEL_EXIT_NAMES
#undef X
};
#define NEXITS (sizeof(exit_names) / sizeof(exit_names[0]))

static struct json_object *exits_json(const uint64_t *exits)
{
	struct json_object *o = json_object_new_object();
	size_t i;

	for (i = 0; i < NEXITS; i++)
		if (exits[i])
			add_u64(o, exit_names[i], exits[i]);
	return o;
}

static void add_exits(struct json_object *o, const uint64_t *exits, uint64_t total)
{
	add_u64(o, "exits_total", total);
	json_object_object_add(o, "exits", exits_json(exits));
}

/* A row a reason, a column a vCPU; v are the n vCPUs of one VM. */
static void exits_text(const uint64_t *sum, const struct corbel_vcpu_stat **v, int n)
{
	size_t e;
	int i;

	printf("  %-16s %14s", "", "all");
	for (i = 0; i < n; i++)
		printf("   vCPU %6u", v[i]->index);
	for (e = 0; e < NEXITS; e++) {
		if (!sum[e])
			continue;
		printf("\n  %-16s %14llu", exit_names[e], (unsigned long long)sum[e]);
		for (i = 0; i < n; i++)
			printf(" %13llu", (unsigned long long)v[i]->exits[e]);
	}
	putchar('\n');
}

/* One VM's exits: of all its vCPUs, and of each. */
static void stat_vm(struct opts *o, struct json_object *all, const char *name, uint32_t id,
		    const struct corbel_vcpu_stat *v, int n)
{
	const struct corbel_vcpu_stat **mine = calloc(n + 1, sizeof(*mine));
	uint64_t sum[CORBEL_EXIT_STATS] = {0}, total = 0;
	struct json_object *obj, *vcpus, *one;
	int i, count = 0;
	size_t e;

	for (i = 0; mine && i < n; i++) {
		if (v[i].vm != id)
			continue;
		mine[count++] = &v[i];
		total += v[i].exits_total;
		for (e = 0; e < NEXITS; e++)
			sum[e] += v[i].exits[e];
	}
	if (!o->json) {
		printf("%s: %llu exits\n", name, (unsigned long long)total);
		exits_text(sum, mine, count);
		free(mine);
		return;
	}
	obj = json_object_new_object();
	add_str(obj, "vm", name);
	add_u64(obj, "vm_id", id);
	add_exits(obj, sum, total);
	vcpus = json_object_new_array();
	for (i = 0; i < count; i++) {
		one = json_object_new_object();
		add_u64(one, "vcpu", mine[i]->index);
		add_exits(one, mine[i]->exits, mine[i]->exits_total);
		json_object_array_add(vcpus, one);
	}
	json_object_object_add(obj, "vcpus", vcpus);
	json_object_array_add(all, obj);
	free(mine);
}

/* vCPUs of the VM named in args, or of all; and all VMs, for their names. Count of vCPUs, or -1. */
static int select_vcpus(struct opts *o, struct corbel_vcpu_stat **v, struct corbel_vm_stat **vms,
			int *nvms)
{
	struct corbel_vm_stat vm = {0};

	if (o->nargs && vm_of_name(o->args[0], &vm))
		return -1;
	*nvms = vms_get(vms);
	return *nvms < 0 ? -1 : vcpus_of(o->nargs ? (int64_t)vm.id : -1, v);
}

int cmd_stat(struct opts *o)
{
	struct json_object *all = json_object_new_array();
	struct corbel_vcpu_stat *v = NULL;
	struct corbel_vm_stat *vms = NULL, one = {0};
	int nvms = 0, i, n = select_vcpus(o, &v, &vms, &nvms);

	if (n >= 0 && o->nargs && vm_of_name(o->args[0], &one))
		n = -1;
	for (i = 0; n >= 0 && i < nvms; i++)
		if (!o->nargs || vms[i].id == one.id)
			stat_vm(o, all, vms[i].name, vms[i].id, v, n);
	if (n >= 0 && o->json)
		print_json(json_object_get(all));
	json_object_put(all);
	free(v);
	free(vms);
	return n < 0;
}
