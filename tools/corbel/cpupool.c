/* SPDX-License-Identifier: GPL-2.0-only */
/* Pools of CPUs: the commands cpupool-*. */
#include "corbel.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_loose(const struct corbel_pool_stat *p)
{
	return p->id == CORBEL_MAX_POOLS;
}

int pools_get(struct corbel_pool_stat **out)
{
	return hv_all(CORBEL_STAT_POOL, sizeof(**out), out);
}

const struct corbel_pool_stat *pool_find(const struct corbel_pool_stat *p, int n, uint32_t id)
{
	static const struct corbel_pool_stat gone = {.name = "?"};
	int i;

	for (i = 0; i < n; i++)
		if (p[i].id == id)
			return &p[i];
	return &gone;
}

/* By name, or id. 0, or -1 told. */
static int pool_of_name(const char *name, struct corbel_pool_stat *found)
{
	struct corbel_pool_stat *p;
	int i, n = pools_get(&p), at = -1;
	char id[16];

	for (i = 0; i < n; i++) {
		snprintf(id, sizeof(id), "%u", p[i].id);
		if (!is_loose(&p[i]) && (!strcmp(p[i].name, name) || (at < 0 && !strcmp(id, name))))
			at = i;
	}
	if (at >= 0)
		*found = p[at];
	else if (n >= 0)
		fail("there is no pool %s; `corbel cpupool-list' shows those that there are", name);
	free(p);
	return at < 0 ? -1 : 0;
}

/* ---- cpupool-list ---- */

struct looked {
	struct corbel_vcpu_stat *vcpu;
	struct got *got;
	struct corbel_vm_stat *vm;
	int vcpus, vms;
};

static int look_at_vcpus(double seconds, struct looked *l)
{
	l->vcpus = got_all(seconds, &l->vcpu, &l->got);
	l->vms = l->vcpus < 0 ? -1 : hv_all(CORBEL_STAT_VM, sizeof(*l->vm), &l->vm);
	return l->vms < 0 ? -1 : 0;
}

static void forget_looked(struct looked *l)
{
	free(l->vcpu);
	free(l->got);
	free(l->vm);
}

/* What its guests' vCPUs are promised, and what they have got, of one CPU. */
struct use {
	double promised;
	struct got got;
};

static struct use use_of(const struct corbel_pool_stat *p, const struct looked *l)
{
	struct use use = {.got.known = true};
	int i, k;

	for (i = 0; i < l->vcpus; i++)
		for (k = 0; k < l->vms; k++) {
			if (l->vm[k].id != l->vcpu[i].vm || l->vm[k].pool != p->id || !l->vm[k].id)
				continue;
			use.promised += promised_percent(&l->vcpu[i], p);
			got_add(&use.got, &l->got[i]);
		}
	return use;
}

static struct json_object *pool_json(const struct corbel_pool_stat *p, const struct use *use)
{
	struct json_object *o = json_object_new_object();
	char cpus[CPULIST_TEXT];

	cpulist_format(&p->cpus, cpus, sizeof(cpus));
	if (!is_loose(p)) {
		json_object_object_add(o, "id", json_object_new_int(p->id));
		json_object_object_add(o, "policy", json_object_new_string(p->policy));
		json_object_object_add(o, "vms", json_object_new_int(p->vms));
		json_object_object_add(o, "promised_percent",
				       json_object_new_double(use->promised));
		got_json(o, &use->got);
	}
	json_object_object_add(o, "name", is_loose(p) ? NULL : json_object_new_string(p->name));
	json_object_object_add(o, "cpus", json_object_new_string(cpus));
	json_object_object_add(o, "cpu_count", json_object_new_int(cpus_count(&p->cpus)));
	return o;
}

static void pool_text(const struct corbel_pool_stat *p, const struct use *use, bool cpus)
{
	char text[CPULIST_TEXT], promised[16];

	if (cpus)
		cpulist_format(&p->cpus, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "%u", cpus_count(&p->cpus));
	if (is_loose(p))
		printf("%-24s %-8s %4s %9s %6s %6s  %s\n", "(of no pool)", "-", "-", "-", "-", "-",
		       text);
	if (is_loose(p))
		return;
	snprintf(promised, sizeof(promised), use->promised ? "%.1f" : "-", use->promised);
	printf("%-24s %-8s %4u %9s", p->name, p->policy, p->vms, promised);
	got_text(&use->got);
	printf("  %s\n", text);
}

int cmd_cpupool_list(struct opts *o)
{
	struct json_object *all = json_object_new_array();
	struct corbel_pool_stat *p, one;
	struct looked l = {0};
	int i, n = -1;

	p = NULL;
	if ((!o->nargs || !pool_of_name(o->args[0], &one)) && !look_at_vcpus(o->delay, &l))
		n = pools_get(&p);
	if (n >= 0 && !o->json)
		printf("%-24s %-8s %4s %9s %6s %6s  %s\n", "NAME", "POLICY", "VMS", "PROMISED%",
		       "GOT%", "WAIT%", "CPUS");
	for (i = 0; i < n; i++) {
		struct use use = use_of(&p[i], &l);

		if (o->nargs && p[i].id != one.id)
			continue;
		if (o->json)
			json_object_array_add(all, pool_json(&p[i], &use));
		else
			pool_text(&p[i], &use, o->attach);
	}
	forget_looked(&l);
	if (n >= 0 && o->json)
		print_json(json_object_get(all));
	json_object_put(all);
	free(p);
	return n < 0;
}

/* ---- what changes them ---- */

/* "all", or all but some, means those that there are in a pool, or (NULL) in all. 0, or 1 told. */
static int keep_there(struct corbel_cpus *c, const struct corbel_pool_stat *pool)
{
	const unsigned int words = CORBEL_MAX_CPUS / 64;
	struct corbel_cpus there = {0};
	struct corbel_pool_stat *p;
	int i, n;
	unsigned int k;

	if (!(c->word[words - 1] >> 63))
		return 0;
	n = pools_get(&p);
	for (i = 0; i < n; i++)
		for (k = 0; k < words && (!pool || pool->id == p[i].id); k++)
			there.word[k] |= p[i].cpus.word[k];
	for (k = 0; k < words; k++)
		c->word[k] &= there.word[k];
	free(p);
	return n < 0;
}

/* The words NAME=VALUE of cpupool-create. */
static int take_word(const char *word, struct corbel_pool_call *c)
{
	char err[160];

	if (!strncmp(word, "cpus=", 5)) {
		if (!cpulist_parse(word + 5, &c->cpus, err, sizeof(err)))
			return keep_there(&c->cpus, NULL);
		return fail("cpupool-create: cpus: %s", err);
	}
	if (strncmp(word, "policy=", 7) || strlen(word + 7) >= sizeof(c->policy))
		return fail("cpupool-create: \"%s\" is not known; there are cpus=LIST and "
			    "policy=fair, rr, deadline or null",
			    word);
	strcpy(c->policy, word + 7);
	return 0;
}

static int set_name(struct corbel_pool_call *c, const char *name)
{
	const char *why = cfg_bad_name(name);

	if (!why && strlen(name) >= sizeof(c->name))
		why = "it is too long";
	if (why)
		return fail("\"%s\" is not a name for a pool: %s", name, why);
	strcpy(c->name, name);
	return 0;
}

int cmd_cpupool_create(struct opts *o)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_CREATE};
	int i;

	if (set_name(&c, o->args[0]))
		return 1;
	for (i = 1; i < o->nargs; i++)
		if (take_word(o->args[i], &c))
			return 1;
	if (hv_need())
		return 1;
	if (!hv_pool(&c))
		return 0;
	switch (errno) {
	case EEXIST:
		return fail("there is a pool %s already", c.name);
	case EBUSY:
		return fail("cpupool-create: another pool has one of these CPUs, or Pool-0 would "
			    "have none left; `corbel cpupool-list -c' shows who has which");
	case EINVAL:
		return fail("cpupool-create: there is no such CPU, or no policy %s; `corbel info' "
			    "tells how many CPUs there are, policies are fair, rr, deadline and "
			    "null. With sched-gran=core the CPUs of a core come together",
			    c.policy);
	case EOPNOTSUPP:
		return fail("cpupool-create: not with sched-gran=core: a CPU that waits for others "
			    "of its core cannot be promised");
	case ENOSPC:
		return fail("cpupool-create: there are %u pools already", CORBEL_MAX_POOLS);
	}
	return fail("cpupool-create: %s", strerror(errno));
}

int cmd_cpupool_destroy(struct opts *o)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_DESTROY};
	struct corbel_pool_stat p;

	if (pool_of_name(o->args[0], &p))
		return 1;
	c.pool = p.id;
	if (!hv_pool(&c))
		return 0;
	if (errno == EPERM)
		return fail("cpupool-destroy: %s is dom0's, and stays", p.name);
	if (errno == EBUSY)
		return fail("cpupool-destroy: %s has VMs; `corbel cpupool-migrate' moves them",
			    p.name);
	return fail("cpupool-destroy: %s", strerror(errno));
}

int cmd_cpupool_rename(struct opts *o)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_RENAME};
	struct corbel_pool_stat p;

	if (pool_of_name(o->args[0], &p) || set_name(&c, o->args[1]))
		return 1;
	c.pool = p.id;
	if (!hv_pool(&c))
		return 0;
	return fail("cpupool-rename: %s",
		    errno == EEXIST ? "another pool has that name" : strerror(errno));
}

static int change_cpus(struct opts *o, uint32_t op)
{
	const char *what = op == CORBEL_POOL_ADD ? "cpupool-cpu-add" : "cpupool-cpu-remove";
	struct corbel_pool_call c = {.op = op};
	struct corbel_pool_stat p;
	char err[160];

	if (pool_of_name(o->args[0], &p))
		return 1;
	if (cpulist_parse(o->args[1], &c.cpus, err, sizeof(err)))
		return fail("%s: %s", what, err);
	if (keep_there(&c.cpus, op == CORBEL_POOL_ADD ? NULL : &p))
		return 1;
	c.pool = p.id;
	if (!hv_pool(&c))
		return 0;
	if (errno == EBUSY && op == CORBEL_POOL_ADD)
		return fail("%s: another pool has one of these CPUs, or Pool-0 would have none "
			    "left; `corbel cpupool-list -c' shows who has which",
			    what);
	if (errno == ENOSPC)
		return fail("%s: %s has promised these CPUs to its VMs' vCPUs; `corbel "
			    "vcpu-list' shows to which, `corbel cpupool-migrate' moves VMs",
			    what, p.name);
	if (errno == EBUSY)
		return fail("%s: %s has VMs, and would have no CPU left for them", what, p.name);
	if (errno == EINVAL)
		return fail("%s: there is no such CPU%s. With sched-gran=core the CPUs of a core "
			    "come and go together",
			    what, op == CORBEL_POOL_ADD ? "" : " in that pool");
	return fail("%s: %s", what, strerror(errno));
}

int cmd_cpupool_cpu_add(struct opts *o)
{
	return change_cpus(o, CORBEL_POOL_ADD);
}

int cmd_cpupool_cpu_remove(struct opts *o)
{
	return change_cpus(o, CORBEL_POOL_REMOVE);
}

/* ---- a pool for each node ---- */

#define MOST_NODES 512

/* The pools that have been made are no more, and Pool-0 has their CPUs again. */
static void give_back(void)
{
	struct corbel_pool_call gives, gets;
	struct corbel_pool_stat *p = NULL;
	int i, n = pools_get(&p);

	for (i = 0; i < n; i++) {
		gives = (struct corbel_pool_call){.op = CORBEL_POOL_DESTROY, .pool = p[i].id};
		gets = (struct corbel_pool_call){.op = CORBEL_POOL_ADD, .cpus = p[i].cpus};
		if (p[i].id && !is_loose(&p[i]) && !hv_pool(&gives))
			hv_pool(&gets);
	}
	free(p);
}

/* The node's CPUs that are of the pool. Has it any? */
static bool node_cpus_of(const struct corbel_pool_stat *p, unsigned int node,
			 struct corbel_cpus *cpus)
{
	unsigned int i;

	if (!node_cpus(node, cpus))
		return false;
	for (i = 0; i < CORBEL_MAX_CPUS / 64; i++)
		cpus->word[i] &= p->cpus.word[i];
	return !cpus_empty(cpus);
}

/* Each node but the first gets a pool, and Pool-0 another name. 0, or 1 told. */
static int split_nodes(const struct corbel_pool_stat *all)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_RENAME}, more = {.op = CORBEL_POOL_CREATE};
	unsigned int node, nodes = 0;

	for (node = 0; node < MOST_NODES; node++) {
		if (!node_cpus_of(all, node, &more.cpus))
			continue;
		if (!nodes++) {
			snprintf(c.name, sizeof(c.name), "Pool-node%u", node);
			continue;
		}
		snprintf(more.name, sizeof(more.name), "Pool-node%u", node);
		memcpy(more.policy, all->policy, sizeof(more.policy));
		if (hv_pool(&more))
			return fail("cpupool-numa-split: %s: %s", more.name, strerror(errno));
	}
	if (nodes < 2)
		return fail("cpupool-numa-split: the CPUs are not of several nodes");
	if (hv_pool(&c))
		return fail("cpupool-numa-split: %s: %s", c.name, strerror(errno));
	return 0;
}

int cmd_cpupool_numa_split(struct opts *o)
{
	struct corbel_pool_stat *p = NULL;
	int n = pools_get(&p), err = 1;

	if (n > 1) {
		fail("cpupool-numa-split: there are other pools already, or CPUs of none; `corbel "
		     "cpupool-list -c' shows them");
	} else if (n == 1) {
		err = split_nodes(p);
		if (err)
			give_back();
	}
	free(p);
	return err;
}

/* What its vCPUs are to have there is more than there is left. */
static int no_room(const char *guest, const struct corbel_pool_stat *p)
{
	if (!strcmp(p->policy, "null"))
		return fail("pool %s has not a CPU left for each vCPU of %s; `corbel "
			    "cpupool-cpu-add' gives it some",
			    p->name, guest);
	return fail("the CPUs of pool %s have not enough left for the budgets of the vCPUs of %s; "
		    "smaller ones (`corbel sched --period --budget') or more CPUs (`corbel "
		    "cpupool-cpu-add') make room",
		    p->name, guest);
}

int pool_move(const char *guest, const char *pool)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_MOVE};
	struct corbel_pool_stat p;
	struct corbel_vm_stat vm;

	if (vm_of_name(guest, &vm) || pool_of_name(pool, &p))
		return 1;
	c.vm = vm.id;
	c.pool = p.id;
	if (!hv_pool(&c))
		return 0;
	if (errno == ENOENT && !vm.id)
		return fail("dom0 stays where it is, and its vCPUs on their CPUs");
	if (errno == ENOENT)
		return fail("%s has ended, or pool %s is gone", guest, p.name);
	if (errno == ENODEV)
		return fail("pool %s has no CPUs; `corbel cpupool-cpu-add' gives it some", p.name);
	if (errno == ENOSPC)
		return no_room(guest, &p);
	return fail("%s does not move to pool %s: %s", guest, p.name, strerror(errno));
}

int cmd_cpupool_migrate(struct opts *o)
{
	return pool_move(o->args[0], o->args[1]);
}

/* ---- budgets, for sched ---- */

/* The id of a VM's vCPU. -1 told */
static int64_t vcpu_of(const struct corbel_vm_stat *vm, long index)
{
	struct corbel_vcpu_stat *v = NULL;
	int i, n = vcpus_of(vm->id, &v);
	int64_t id = -1;

	for (i = 0; i < n; i++)
		if (v[i].index == index)
			id = v[i].id;
	free(v);
	if (n >= 0 && id < 0)
		fail("%s has no vCPU %ld; it has %d", vm->name, index, n);
	return id;
}

int budget_set(const char *guest, unsigned int period, unsigned int budget, long only)
{
	struct corbel_pool_call c = {
	    .op = CORBEL_POOL_BUDGET, .period_us = period, .budget_us = budget};
	struct corbel_pool_stat *p, its;
	struct corbel_vm_stat vm;
	int64_t vcpu = CORBEL_POOL_ALL;
	int n;

	if (budget > period)
		return fail("a budget of %u us does not fit a period of %u us", budget, period);
	if (vm_of_name(guest, &vm))
		return 1;
	if (only >= 0)
		vcpu = vcpu_of(&vm, only);
	if (vcpu < 0)
		return 1;
	c.vm = vm.id;
	c.vcpu = vcpu;
	if (!hv_pool(&c))
		return 0;
	if (errno == ENOENT && !vm.id)
		return fail("dom0 has its share, whatever the pool of a CPU");
	if (errno == ENOENT)
		return fail("budget of %s: it has ended", guest);
	if (errno != ENOSPC)
		return fail("budget of %s: %s", guest, strerror(errno));
	n = pools_get(&p);
	if (n < 0)
		return 1;
	its = *pool_find(p, n, vm.pool);
	free(p);
	return no_room(guest, &its);
}
