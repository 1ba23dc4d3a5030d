/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands that show and tune: info, list, vcpu-list, sched, stat, dmesg, debug-dump. */
#define _GNU_SOURCE
#include "corbel.h"

#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const exit_names[] = {
#define X(id, name) name,
    CORBEL_EXIT_NAMES
#undef X
};
#define NEXITS (sizeof(exit_names) / sizeof(exit_names[0]))

static const char *const vcpu_states[] = {"stopped", "runnable", "running", "blocked"};

static void add_str(struct json_object *o, const char *key, const char *val)
{
	json_object_object_add(o, key, val ? json_object_new_string(val) : NULL);
}

static void add_u64(struct json_object *o, const char *key, uint64_t val)
{
	json_object_object_add(o, key, json_object_new_uint64(val));
}

static const char *backend_name(uint32_t b)
{
	return b == CORBEL_BACKEND_SVM ? "svm" : b == CORBEL_BACKEND_VMX ? "vmx" : "unknown";
}

static uint64_t to_mib(uint64_t bytes)
{
	return bytes >> 20;
}

/* ---- info ---- */

static const char *iommu_name(uint32_t iommu)
{
	static const char *const names[] = {
	    [CORBEL_IOMMU_NONE] = "none",
	    [CORBEL_IOMMU_OFF] = "off",
	    [CORBEL_IOMMU_DOM0] = "dom0",
	    [CORBEL_IOMMU_STRICT] = "strict",
	};

	return iommu < sizeof(names) / sizeof(*names) ? names[iommu] : "?";
}

/* What devices may reach by DMA, and which interrupts they may raise. */
static const char *dma_reach(const struct corbel_info *i)
{
	if (i->iommu == CORBEL_IOMMU_STRICT && i->features & CORBEL_FEATURE_DEVICE_IRQ)
		return "devices reach dom0's memory only, and raise any interrupt; guests', "
		       "and dom0's that are kept to them, only their own";
	if (i->iommu == CORBEL_IOMMU_STRICT && i->features & CORBEL_FEATURE_IRQ_REMAP)
		return "devices reach dom0's memory only, and raise what dom0 has set for each";
	if (i->iommu == CORBEL_IOMMU_STRICT)
		return "devices reach dom0's memory only, and raise any interrupt";
	if (i->iommu == CORBEL_IOMMU_DOM0)
		return "devices reach, and raise, what dom0 lets them";
	return "devices reach all memory, and raise any interrupt";
}

/* "core": the CPUs of a core run one VM at a time. */
static const char *sched_granularity(const struct corbel_info *i)
{
	return i->features & CORBEL_FEATURE_BY_CORE ? "core" : "cpu";
}

/*
 * The lowest and the highest revision of microcode that dom0's kernel has read, of each CPU when it
 * started it, from the hardware's own register. 0: not known.
 */
static void microcode_range(unsigned int range[2])
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096];
	unsigned int rev;

	range[0] = range[1] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "microcode : %x", &rev) != 1)
			continue;
		range[0] = range[0] && range[0] < rev ? range[0] : rev;
		range[1] = range[1] > rev ? range[1] : rev;
	}
	if (f)
		fclose(f);
}

static void microcode_text(void)
{
	unsigned int rev[2];

	microcode_range(rev);
	if (rev[0] == rev[1])
		printf("microcode   %#x\n", rev[0]);
	else
		printf("microcode   %#x to %#x: CPUs differ\n", rev[0], rev[1]);
}

static struct json_object *microcode_json(void)
{
	struct json_object *o = json_object_new_array();
	unsigned int rev[2];

	microcode_range(rev);
	for (int i = 0; i < 2; i++)
		json_object_array_add(o, json_object_new_uint64(rev[i]));
	return o;
}

static struct json_object *info_json(const struct corbel_info *i)
{
	struct json_object *o = json_object_new_object();

	add_str(o, "version", i->version);
	add_str(o, "backend", backend_name(i->backend));
	add_u64(o, "abi_version", i->abi_version);
	add_str(o, "scheduler", i->scheduler);
	add_str(o, "sched_gran", sched_granularity(i));
	add_u64(o, "cpus", i->cpus);
	json_object_object_add(o, "microcode", microcode_json());
	add_u64(o, "memory_total_bytes", i->memory_total_bytes);
	add_u64(o, "pool_total_bytes", i->pool_total_bytes);
	add_u64(o, "pool_free_bytes", i->pool_free_bytes);
	add_u64(o, "pool_promised_bytes", i->pool_promised_bytes);
	add_u64(o, "vms", i->vms);
	add_u64(o, "vcpus", i->vcpus);
	add_u64(o, "doorbells", i->doorbells);
	add_str(o, "iommu", iommu_name(i->iommu));
	add_u64(o, "iommu_units", i->iommu_units);
	add_u64(o, "iommu_pages", i->iommu_pages);
	add_u64(o, "tsc_khz", i->tsc_khz);
	add_u64(o, "uptime_ns", i->uptime_ns);
	json_object_object_add(o, "topology", topology_json());
	json_object_object_add(o, "power", power_json());
	return o;
}

int cmd_info(struct opts *o)
{
	struct corbel_info i;

	if (hv_info(&i))
		return 1;
	if (o->json) {
		print_json(info_json(&i));
		return 0;
	}
	printf("version     %s (ABI %u)\n", i.version, i.abi_version);
	printf("back end    %s\n", backend_name(i.backend));
	printf("scheduler   %s, sched-gran=%s\n", i.scheduler, sched_granularity(&i));
	printf("CPUs        %u, TSC %llu.%03llu MHz\n", i.cpus,
	       (unsigned long long)i.tsc_khz / 1000, (unsigned long long)i.tsc_khz % 1000);
	microcode_text();
	topology_text();
	power_text();
	printf("memory      %llu MiB\n", (unsigned long long)to_mib(i.memory_total_bytes));
	printf("pool        %llu KiB, %llu KiB free, of which %llu KiB are promised to guests\n",
	       (unsigned long long)i.pool_total_bytes >> 10,
	       (unsigned long long)i.pool_free_bytes >> 10,
	       (unsigned long long)i.pool_promised_bytes >> 10);
	printf("VMs         %u (dom0 included)\n", i.vms);
	printf("vCPUs       %u\n", i.vcpus);
	printf("doorbells   %u\n", i.doorbells);
	printf("IOMMU       %s, %u units, %u KiB of the pool: %s\n", iommu_name(i.iommu),
	       i.iommu_units, i.iommu_pages * 4, dma_reach(&i));
	printf("uptime      %llu s\n", (unsigned long long)(i.uptime_ns / 1000000000));
	return 0;
}

/* ---- list ---- */

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
		       (unsigned long long)to_mib(r[i].memory_bytes), r[i].cpu_ns / 1e9);
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

/* ---- vCPUs ---- */

/* All VMs; those of guests under run_dir() have the guest's name. Count, or -1 told. */
static int vms_get(struct corbel_vm_stat **out)
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

int vcpus_of(int64_t vm, struct corbel_vcpu_stat **out)
{
	int i, kept = 0, n = hv_all(CORBEL_STAT_VCPU, sizeof(**out), out);

	for (i = 0; i < n; i++)
		if (vm < 0 || (*out)[i].vm == vm)
			(*out)[kept++] = (*out)[i];
	return n < 0 ? -1 : kept;
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

/* ---- sched ---- */

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

static int show_sched(struct opts *o)
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

/* ---- stat ---- */

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
			stat_vm(o, all, find_vm(vms[i].id, vms, nvms)->name, vms[i].id, v, n);
	if (n >= 0 && o->json)
		print_json(json_object_get(all));
	json_object_put(all);
	free(v);
	free(vms);
	return n < 0;
}

/* ---- dmesg ---- */

#define LOG_LINE 1024 /* longer ones are cut */

static int dmesg_json(void)
{
	struct json_object *o = json_object_new_object(), *lines = json_object_new_array();
	char buf[4096], *text = NULL, *line, *rest;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	uint64_t seq = 0;
	int n;

	while (f && (n = hv_log(&seq, buf, sizeof(buf))) > 0)
		fwrite(buf, 1, n, f);
	if (!f || fclose(f) || n < 0) {
		json_object_put(o);
		json_object_put(lines);
		free(text);
		return 1;
	}
	for (rest = text; (line = strsep(&rest, "\n"));)
		if (*line || rest)
			json_object_array_add(lines, json_object_new_string(line));
	json_object_object_add(o, "lines", lines);
	add_u64(o, "next", seq);
	free(text);
	print_json(o);
	return 0;
}

static void print_line_json(const char *line)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "line", json_object_new_string(line));
	print_json_line(o);
}

/* An object for each line, in a line of its own, when the whole of it is there. */
static void log_json(const char *text, int n)
{
	static char line[LOG_LINE];
	static size_t used;
	int i;

	for (i = 0; i < n; i++) {
		if (text[i] != '\n' && used + 1 < sizeof(line))
			line[used++] = text[i];
		if (text[i] != '\n')
			continue;
		line[used] = 0;
		print_line_json(line);
		used = 0;
	}
}

int cmd_dmesg(struct opts *o)
{
	struct timespec pause = {0, 500000000};
	uint64_t seq = 0;
	char buf[4096];
	int n;

	if (o->json && !o->follow)
		return dmesg_json();
	for (;;) {
		while ((n = hv_log(&seq, buf, sizeof(buf))) > 0) {
			if (o->json)
				log_json(buf, n);
			else
				fwrite(buf, 1, n, stdout);
		}
		if (n < 0 || fflush(stdout) || !o->follow)
			return n < 0;
		nanosleep(&pause, NULL);
	}
}

/* ---- debug-dump ---- */

/* A file of dom0's, up to its first empty line: of /proc/cpuinfo that is one CPU. */
static void show_file(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[4096];

	printf("== %s\n", path);
	while (f && fgets(line, sizeof(line), f) && *line != '\n')
		fputs(line, stdout);
	if (f)
		fclose(f);
}

int cmd_debug_dump(struct opts *o)
{
	static const struct {
		const char *name;
		int (*run)(struct opts *o);
	} parts[] = {{"info", cmd_info},	   {"list", cmd_list},
		     {"vcpu-list", cmd_vcpu_list}, {"cpupool-list", cmd_cpupool_list},
		     {"stat", cmd_stat},	   {"dmesg", cmd_dmesg}};
	int ret = hv_debug("qmi"); /* its answers stand at the end of the log */
	size_t i;

	show_file("/proc/version");
	show_file("/proc/cmdline");
	show_file("/proc/cpuinfo");
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		printf("== corbel %s\n", parts[i].name);
		ret |= parts[i].run(o);
	}
	return !!ret;
}
