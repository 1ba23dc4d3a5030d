// SPDX-License-Identifier: GPL-2.0-only
/* Which CPUs share a core, the last cache, a package, a node. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "corbel.h"

struct json_object *topology_json(void)
{
	struct json_object *list = json_object_new_array();
	struct corbel_cpu_stat *cpu = NULL;
	int n = hv_all(CORBEL_STAT_CPU, sizeof(*cpu), &cpu);

	for (int i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object();
		const struct {
			const char *key;
			unsigned int val;
		} all[] = {{"cpu", cpu[i].cpu},
			   {"core", cpu[i].core},
			   {"cache", cpu[i].cache},
			   {"package", cpu[i].package},
			   {"node", cpu[i].node}};

		for (size_t k = 0; k < sizeof(all) / sizeof(all[0]); k++)
			json_object_object_add(o, all[k].key, json_object_new_uint64(all[k].val));
		json_object_array_add(list, o);
	}
	free(cpu);
	return list;
}

/* Threads of a core are joined by +, caches kept apart by |, packages and nodes by ||. */
static const char *separator_between(const struct corbel_cpu_stat *a,
				     const struct corbel_cpu_stat *b)
{
	if (a->package != b->package || a->node != b->node)
		return " || ";
	if (a->cache != b->cache)
		return " | ";
	return a->core == b->core ? "+" : " ";
}

static int by_place(const void *one, const void *other)
{
	const struct corbel_cpu_stat *a = one, *b = other;
	const unsigned int keys[][2] = {{a->node, b->node},
					{a->package, b->package},
					{a->cache, b->cache},
					{a->core, b->core},
					{a->cpu, b->cpu}};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (keys[i][0] != keys[i][1])
			return keys[i][0] < keys[i][1] ? -1 : 1;
	return 0;
}

void topology_text(void)
{
	struct corbel_cpu_stat *cpu = NULL;
	int n = hv_all(CORBEL_STAT_CPU, sizeof(*cpu), &cpu);

	if (n > 0)
		qsort(cpu, n, sizeof(*cpu), by_place);
	for (int i = 0; i < n; i++)
		printf("%s%u", i ? separator_between(&cpu[i - 1], &cpu[i]) : "cores       ",
		       cpu[i].cpu);
	if (n > 0)
		printf("\n");
	free(cpu);
}
