/* SPDX-License-Identifier: GPL-2.0-only */
/* dom0, guests and others' VMs, and which is meant by a name. */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * The hypervisor knows a VM by its process; libvirt, like others, tells QEMU the guest's name. Both
 * are chosen by whoever runs the process.
 */
static void name_vm(struct corbel_vm_stat *vm)
{
	vm->name[sizeof(vm->name) - 1] = 0;
	if (vm->id)
		process_guest_name(vm->pid, vm->name, sizeof(vm->name));
	printable(vm->name, false);
}

static void row_of_vm(struct row *r, struct corbel_vm_stat *vm,
		      const struct corbel_pool_stat *pools, int npools)
{
	name_vm(vm);
	*r = (struct row){.id = vm->id,
			  .pid = vm->pid,
			  .vcpus = vm->vcpus,
			  .memory_bytes = vm->mapped_bytes,
			  .pool_bytes = vm->pool_bytes,
			  .weight = vm->weight,
			  .cap = vm->cap,
			  .cpu_ns = vm->runtime_ns};
	snprintf(r->name, sizeof(r->name), "%s", vm->name);
	snprintf(r->pool, sizeof(r->pool), "%s", pool_find(pools, npools, vm->pool)->name);
	snprintf(r->state, sizeof(r->state), "running");
	if (!r->memory_bytes && !vm->id) /* dom0 has what nobody else has; its kernel knows */
		r->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

static void row_of_guest(struct row *r, const struct guest *g)
{
	snprintf(r->name, sizeof(r->name), "%s", g->name);
	r->managed = true;
	r->pid = g->pid;
	r->vcpus = g->vcpus;
	r->memory_bytes = g->memory_mib << 20;
	if (!g->alive)
		snprintf(r->state, sizeof(r->state), "ended");
	else
		qmp_status(g->name, r->state, sizeof(r->state));
	if (r->id < 0 && g->alive)
		r->cpu_ns = process_cpu_ns(g->pid);
}

static int by_id(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->id != y->id) /* without an id: last */
		return (uint64_t)x->id < (uint64_t)y->id ? -1 : 1;
	return strcmp(x->name, y->name);
}

int rows_get(struct row **out, bool ended)
{
	struct corbel_pool_stat *pool = NULL;
	struct corbel_vm_stat *vm = NULL;
	struct guest *guest = NULL;
	int vms = 0, pools = 0, guests, n = 0, i, j;
	struct row *rows;

	if (hv_present())
		pools = pools_get(&pool);
	if (pools > 0)
		vms = hv_all(CORBEL_STAT_VM, sizeof(*vm), &vm);
	if (pools < 0)
		vms = -1;
	guests = vms < 0 ? -1 : guest_all(&guest);
	rows = guests < 0 ? NULL : calloc(vms + guests + 1, sizeof(*rows));
	for (i = 0; rows && i < vms; i++)
		row_of_vm(&rows[n++], &vm[i], pool, pools);
	for (i = 0; rows && i < guests; i++) {
		if (!guest[i].alive && !ended)
			continue;
		for (j = 0; j < vms && !(guest[i].alive && rows[j].pid == guest[i].pid); j++)
			;
		if (j == vms) {
			j = n++;
			rows[j].id = -1;
		}
		row_of_guest(&rows[j], &guest[i]);
	}
	free(pool);
	free(vm);
	free(guest);
	*out = rows;
	if (!rows)
		return -1;
	qsort(rows, n, sizeof(*rows), by_id);
	return n;
}

static void list_json(const struct row *r, int n)
{
	struct json_object *all = json_object_new_array(), *o;
	int i;

	for (i = 0; i < n; i++) {
		o = json_object_new_object();
		add_str(o, "name", r[i].name);
		json_object_object_add(o, "id",
				       r[i].id < 0 ? NULL : json_object_new_int64(r[i].id));
		add_str(o, "state", r[i].state);
		add_u64(o, "vcpus", r[i].vcpus);
		add_u64(o, "memory_bytes", r[i].memory_bytes);
		add_u64(o, "cpu_time_ns", r[i].cpu_ns);
		add_u64(o, "pool_bytes", r[i].pool_bytes);
		add_u64(o, "pid", r[i].pid);
		add_str(o, "pool", r[i].pool[0] ? r[i].pool : NULL);
		json_object_object_add(o, "managed", json_object_new_boolean(r[i].managed));
		json_object_array_add(all, o);
	}
	print_json(all);
}

static void list_text(const struct row *r, int n, bool verbose)
{
	char id[24];
	int i;

	printf("%-24s %4s  %-12s %5s %9s %10s", "NAME", "ID", "STATE", "VCPUS", "MEM(MiB)",
	       "TIME(s)");
	if (verbose)
		printf(" %8s %9s  %-8s  %s", "PID", "POOL(KiB)", "BY", "CPUPOOL");
	putchar('\n');
	for (i = 0; i < n; i++) {
		snprintf(id, sizeof(id), r[i].id < 0 ? "-" : "%lld", (long long)r[i].id);
		printf("%-24s %4s  %-12s %5u %9llu %10.1f", r[i].name, id, r[i].state, r[i].vcpus,
		       (unsigned long long)r[i].memory_bytes >> 20, r[i].cpu_ns / 1e9);
		if (verbose)
			printf(" %8d %9llu  %-8s  %s", r[i].pid,
			       (unsigned long long)r[i].pool_bytes >> 10,
			       r[i].managed ? "corbel"
			       : r[i].id    ? "another"
					    : "-",
			       r[i].pool[0] ? r[i].pool : "-");
		putchar('\n');
	}
}

/* The rows of this name to the front. How many there are. */
static int only_named(struct row *r, int n, const char *name)
{
	int i, found = 0;

	for (i = 0; i < n; i++)
		if (!strcmp(r[i].name, name))
			r[found++] = r[i];
	return found;
}

int cmd_list(struct opts *o)
{
	struct row *r;
	int n = rows_get(&r, o->all);

	if (n < 0)
		return 1;
	if (o->nargs)
		n = only_named(r, n, o->args[0]);
	if (o->nargs && !n) {
		free(r);
		return fail("there is no guest %s; `corbel list --all' shows also those that have "
			    "ended",
			    o->args[0]);
	}
	if (!hv_present())
		warning("/dev/corbel cannot be opened: guests are shown as their processes tell, "
			"dom0 is not");
	if (o->json)
		list_json(r, n);
	else
		list_text(r, n, o->verbose);
	free(r);
	return 0;
}

static double machine_uptime(void)
{
	FILE *f = fopen("/proc/uptime", "re");
	double s = 0;

	if (f && fscanf(f, "%lf", &s) != 1)
		s = 0;
	if (f)
		fclose(f);
	return s;
}

static void show_uptime(const struct guest *g, struct json_object *all)
{
	long s = machine_uptime() - (double)g->start_time / sysconf(_SC_CLK_TCK);
	struct json_object *o;

	if (!all) {
		printf("%-24s %ld days %02ld:%02ld:%02ld\n", g->name, s / 86400, s / 3600 % 24,
		       s / 60 % 60, s % 60);
		return;
	}
	o = json_object_new_object();
	add_str(o, "name", g->name);
	json_object_object_add(o, "uptime_seconds", json_object_new_int64(s));
	json_object_array_add(all, o);
}

int cmd_uptime(struct opts *o)
{
	struct json_object *all = o->json ? json_object_new_array() : NULL;
	struct guest *g;
	int i, n = guest_all(&g), shown = 0;

	for (i = 0; i < n; i++) {
		if (!g[i].alive || (o->nargs && strcmp(g[i].name, o->args[0])))
			continue;
		show_uptime(&g[i], all);
		shown++;
	}
	free(g);
	if (n >= 0 && o->nargs && !shown)
		n = -fail("there is no guest %s that runs", o->args[0]);
	if (all && n >= 0)
		print_json(json_object_get(all));
	json_object_put(all);
	return n < 0;
}

/* ---- by name ---- */

int vms_get(struct corbel_vm_stat **out)
{
	struct guest *g;
	int i, j, guests, n = hv_all(CORBEL_STAT_VM, sizeof(**out), out);

	guests = n < 0 ? -1 : guest_all(&g);
	if (guests < 0)
		return -1;
	for (i = 0; i < n; i++) {
		name_vm(&(*out)[i]);
		for (j = 0; j < guests; j++)
			if (g[j].alive && (uint32_t)g[j].pid == (*out)[i].pid)
				snprintf((*out)[i].name, sizeof((*out)[i].name), "%s", g[j].name);
	}
	free(g);
	return n;
}

/* A guest is known by its VMM: a VM of anybody's may have the same name. */
int vm_of_name(const char *name, struct corbel_vm_stat *found)
{
	struct corbel_vm_stat *vm;
	struct guest g;
	bool managed = !cfg_bad_name(name) && !guest_load(name, &g) && g.alive;
	int i, n = vms_get(&vm), count = 0;

	if (n < 0)
		return -1;
	for (i = 0; i < n; i++)
		if (managed ? vm[i].pid == (uint32_t)g.pid : !strcmp(vm[i].name, name)) {
			*found = vm[i];
			count++;
		}
	free(vm);
	if (count == 1)
		return 0;
	if (count)
		fail("%d VMs are called %s, and corbel has started none of them; give theirs "
		     "names of their own",
		     count, name);
	else if (managed)
		fail("%s runs, but not under the hypervisor (its VMM uses another accelerator)",
		     name);
	else
		fail("there is no VM %s; `corbel list' shows those that run", name);
	return -1;
}

pid_t pid_of_other(const char *name)
{
	struct row *r = NULL;
	int i, n = hv_present() ? rows_get(&r, false) : 0;
	pid_t pid = 0;

	for (i = 0; i < n && !pid; i++)
		if (!r[i].managed && r[i].id && !strcmp(r[i].name, name))
			pid = r[i].pid;
	free(r);
	return pid;
}
