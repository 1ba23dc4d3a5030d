/* SPDX-License-Identifier: GPL-2.0-only */
/* vCPUs, and what they and their VMs were to get and got. */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const vcpu_states[] = {"stopped", "runnable", "running", "blocked"};

int vcpus_of(int64_t vm, struct corbel_vcpu_stat **out)
{
	int i, kept = 0, n = hv_all(CORBEL_STAT_VCPU, sizeof(**out), out);

	for (i = 0; i < n; i++)
		if (vm < 0 || (*out)[i].vm == vm)
			(*out)[kept++] = (*out)[i];
	return n < 0 ? -1 : kept;
}

static const struct corbel_vm_stat *find_vm(uint32_t id, const struct corbel_vm_stat *vms, int n)
{
	static const struct corbel_vm_stat gone = {.name = "?"};
	int i;

	for (i = 0; i < n; i++)
		if (vms[i].id == id)
			return &vms[i];
	return &gone;
}

static const char *state_name(uint32_t state)
{
	return state < sizeof(vcpu_states) / sizeof(vcpu_states[0]) ? vcpu_states[state]
								    : "unknown";
}

static bool has_deadline(const struct corbel_vcpu_stat *v, const struct corbel_pool_stat *pool)
{
	return v->vm && !strcmp(pool->policy, "deadline");
}

static struct json_object *vcpu_json(const struct corbel_vcpu_stat *v, const struct got *got,
				     const struct corbel_vm_stat *vm,
				     const struct corbel_pool_stat *pool)
{
	struct json_object *o = json_object_new_object();
	char cpus[CPULIST_TEXT];

	add_str(o, "vm", vm->name);
	add_u64(o, "vm_id", v->vm);
	add_u64(o, "vm_weight", vm->weight);
	add_u64(o, "vm_cap", vm->cap);
	add_u64(o, "vcpu", v->index);
	add_u64(o, "id", v->id);
	add_u64(o, "apic_id", v->apic_id);
	add_u64(o, "cpu", v->cpu);
	add_str(o, "state", state_name(v->state));
	add_u64(o, "runtime_ns", v->runtime_ns);
	add_u64(o, "steal_ns", v->steal_ns);
	add_u64(o, "weight", v->weight);
	add_u64(o, "cap", v->cap);
	got_json(o, got);
	add_str(o, "cpus", cpulist_format(&v->affinity, cpus, sizeof(cpus)));
	add_u64(o, "affinity_mask", v->affinity.word[0]); /* the first 64, as the other mask */
	add_str(o, "pool", pool->name);
	add_str(o, "runs_on", cpulist_format(&v->runs_on, cpus, sizeof(cpus)));
	add_u64(o, "runs_on_mask", v->runs_on.word[0]);
	if (has_deadline(v, pool)) {
		add_u64(o, "period_us", v->period_us);
		add_u64(o, "budget_us", v->budget_us);
	}
	add_u64(o, "exits", v->exits_total);
	return o;
}

static struct corbel_cpus common_cpus(const struct corbel_cpus *a, const struct corbel_cpus *b)
{
	struct corbel_cpus both;

	for (unsigned int i = 0; i < CORBEL_MAX_CPUS / 64; i++)
		both.word[i] = a->word[i] & b->word[i];
	return both;
}

static void vcpu_text(const struct corbel_vcpu_stat *v, const struct got *got, const char *name,
		      const struct corbel_pool_stat *pool)
{
	struct corbel_cpus both = common_cpus(&v->affinity, &pool->cpus);
	char cpus[CPULIST_TEXT], weight[16], cap[16];

	snprintf(cap, sizeof(cap), v->cap ? "%u%%" : "-", v->cap);
	snprintf(weight, sizeof(weight), v->weight == CORBEL_REALTIME_WEIGHT ? "rt" : "%u",
		 v->weight);
	printf("%-24s %4u %5u %4u  %-9s %10.1f %10.1f %6s %5s", name, v->vm, v->index, v->cpu,
	       state_name(v->state), v->runtime_ns / 1e9, v->steal_ns / 1e9, weight, cap);
	got_text(got);
	printf("  %-10s  %s", pool->name, cpulist_format(&v->affinity, cpus, sizeof(cpus)));
	if (v->vm && cpus_empty(&both))
		printf(", of which its pool has none");
	if (v->vm && memcmp(&v->runs_on, &both, sizeof(both)) != 0)
		printf(": runs on %s", cpulist_format(&v->runs_on, cpus, sizeof(cpus)));
	if (has_deadline(v, pool))
		printf(", %u us each %u us", v->budget_us, v->period_us);
	putchar('\n');
}

/* All that vcpu-list and sched show. */
struct shown {
	struct corbel_vcpu_stat *vcpu;
	struct got *got;
	struct corbel_vm_stat *vm;
	struct corbel_pool_stat *pool;
	int vcpus, vms, pools;
	int64_t only; /* VM; -1: all */
};

static int shown_get(struct opts *o, struct shown *s)
{
	struct corbel_vm_stat vm;

	*s = (struct shown){.only = -1};
	if (o->nargs && vm_of_name(o->args[0], &vm))
		return -1;
	if (o->nargs)
		s->only = vm.id;
	s->vcpus = got_all(o->delay, &s->vcpu, &s->got);
	s->vms = s->vcpus < 0 ? -1 : vms_get(&s->vm);
	s->pools = s->vms < 0 ? -1 : pools_get(&s->pool);
	return s->pools < 0 ? -1 : 0;
}

static void shown_free(struct shown *s)
{
	free(s->vcpu);
	free(s->got);
	free(s->vm);
	free(s->pool);
}

static void show_vcpus(const struct shown *s, bool json)
{
	struct json_object *all = json_object_new_array();
	int i;

	if (!json)
		printf("%-24s %4s %5s %4s  %-9s %10s %10s %6s %5s %6s %6s  %-10s  %s\n", "NAME",
		       "ID", "VCPU", "CPU", "STATE", "TIME(s)", "STOLEN(s)", "WEIGHT", "CAP",
		       "GOT%", "WAIT%", "POOL", "CPUS");
	for (i = 0; i < s->vcpus; i++) {
		const struct corbel_vcpu_stat *v = &s->vcpu[i];
		const struct corbel_vm_stat *vm = find_vm(v->vm, s->vm, s->vms);
		const struct corbel_pool_stat *pool = pool_find(s->pool, s->pools, vm->pool);

		if (s->only >= 0 && s->only != v->vm)
			continue;
		if (json)
			json_object_array_add(all, vcpu_json(v, &s->got[i], vm, pool));
		else
			vcpu_text(v, &s->got[i], vm->name, pool);
	}
	if (json)
		print_json(json_object_get(all));
	json_object_put(all);
}

int cmd_vcpu_list(struct opts *o)
{
	struct shown s;
	int ret = shown_get(o, &s);

	if (!ret)
		show_vcpus(&s, o->json);
	shown_free(&s);
	return !!ret;
}

/* What a VM's vCPUs have got together. */
static struct got vm_got(const struct shown *s, uint32_t vm)
{
	struct got sum = {0};
	int i;

	for (i = 0; i < s->vcpus; i++)
		if (s->vcpu[i].vm == vm)
			got_add(&sum, &s->got[i]);
	return sum;
}

/* What guests have as a whole, was asked for and got. */
static void show_groups(const struct shown *s)
{
	char cap[16];
	int i;

	printf("%-24s %4s %6s %5s %6s %6s\n", "NAME", "ID", "WEIGHT", "CAP", "GOT%", "WAIT%");
	for (i = 0; i < s->vms; i++) {
		const struct corbel_vm_stat *vm = &s->vm[i];
		struct got got = vm_got(s, vm->id);

		if (!vm->id || (s->only >= 0 && vm->id != s->only))
			continue;
		snprintf(cap, sizeof(cap), vm->cap ? "%u%%" : "-", vm->cap);
		printf("%-24s %4u %6u %5s", vm->name, vm->id, vm->weight, cap);
		got_text(&got);
		putchar('\n');
	}
	putchar('\n');
}

int show_sched(struct opts *o)
{
	struct corbel_info info;
	struct shown s;
	int ret = hv_info(&info);

	if (ret)
		return ret;
	ret = shown_get(o, &s);
	if (!ret) {
		printf("scheduler %s\n", info.scheduler);
		show_groups(&s);
		show_vcpus(&s, false);
	}
	shown_free(&s);
	return ret;
}
