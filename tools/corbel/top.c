/* SPDX-License-Identifier: GPL-2.0-only */
/* corbel top: CPU use of CPUs and VMs between two looks. */
#define _GNU_SOURCE
#include "corbel.h"

#include <curses.h>
#include <json-c/json.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct look {
	double at; /* seconds */
	struct corbel_info info;
	struct corbel_cpu_stat *cpu;
	struct corbel_vcpu_stat *vcpu;
	struct row *row;
	int cpus, vcpus, rows;
};

static int take_look(struct look *l)
{
	struct timespec t;

	memset(l, 0, sizeof(*l));
	if (hv_info(&l->info))
		return -1;
	l->cpus = hv_all(CORBEL_STAT_CPU, sizeof(*l->cpu), &l->cpu);
	l->vcpus = l->cpus < 0 ? -1 : hv_all(CORBEL_STAT_VCPU, sizeof(*l->vcpu), &l->vcpu);
	l->rows = l->vcpus < 0 ? -1 : rows_get(&l->row, false);
	rows_traffic(l->row, l->rows);
	clock_gettime(CLOCK_MONOTONIC, &t);
	l->at = t.tv_sec + t.tv_nsec / 1e9;
	return l->rows < 0 ? -1 : 0;
}

static void forget_look(struct look *l)
{
	free(l->cpu);
	free(l->vcpu);
	free(l->row);
	memset(l, 0, sizeof(*l));
}

/* Sums over a VM's vCPUs. */
static void vm_sums(const struct look *l, int64_t vm, uint64_t *exits, uint64_t *steal)
{
	int i;

	*exits = *steal = 0;
	for (i = 0; i < l->vcpus; i++)
		if (l->vcpu[i].vm == vm) {
			*exits += l->vcpu[i].exits_total;
			*steal += l->vcpu[i].steal_ns;
		}
}

struct rates {
	double cpu, stolen, exits;		 /* percent of one CPU, percent, 1/s */
	double net_tx, net_rx, disk_rd, disk_wr; /* bytes/s */
	double reads, writes;			 /* 1/s */
};

/* Of a counter that begins again when a device comes or goes. */
static double per_second(uint64_t before, uint64_t now, double t)
{
	return now > before ? (now - before) / t : 0;
}

static struct rates vm_rates(const struct look *a, const struct look *b, const struct row *r)
{
	uint64_t e0, e1, s0, s1;
	double t = b->at - a->at;
	const struct traffic *was;
	struct rates x = {0};
	int i;

	for (i = 0; i < a->rows; i++)
		if (a->row[i].id == r->id && a->row[i].pid == r->pid)
			break;
	if (i == a->rows || t <= 0)
		return x;
	vm_sums(a, r->id, &e0, &s0);
	vm_sums(b, r->id, &e1, &s1);
	x.cpu = (double)(int64_t)(r->cpu_ns - a->row[i].cpu_ns) / t / 1e7;
	x.stolen = (double)(int64_t)(s1 - s0) / t / 1e7;
	x.exits = (double)(int64_t)(e1 - e0) / t;
	was = &a->row[i].traffic;
	x.net_tx = per_second(was->net_tx, r->traffic.net_tx, t);
	x.net_rx = per_second(was->net_rx, r->traffic.net_rx, t);
	x.disk_rd = per_second(was->disk_rd, r->traffic.disk_rd, t);
	x.disk_wr = per_second(was->disk_wr, r->traffic.disk_wr, t);
	x.reads = per_second(was->reads, r->traffic.reads, t);
	x.writes = per_second(was->writes, r->traffic.writes, t);
	return x;
}

/* Percent of the time that the CPU was busy; forced: that it idled since its core was others'. */
static double cpu_time(const struct look *a, const struct look *b, int cpu, bool forced)
{
	double busy, idle, part;

	if (cpu >= a->cpus)
		return 0;
	busy = (double)(int64_t)(b->cpu[cpu].busy_ns - a->cpu[cpu].busy_ns);
	idle = (double)(int64_t)(b->cpu[cpu].idle_ns - a->cpu[cpu].idle_ns);
	part = (double)(int64_t)(b->cpu[cpu].forced_ns - a->cpu[cpu].forced_ns);
	if (!forced)
		part = busy;
	return busy + idle > 0 ? 100 * part / (busy + idle) : 0;
}

/* With what others of its core have kept from it, if there is any. */
static void show_cpu(FILE *f, const struct look *a, const struct look *b, int cpu)
{
	double forced = cpu_time(a, b, cpu, true);

	fprintf(f, " %u:%.0f", b->cpu[cpu].cpu, cpu_time(a, b, cpu, false));
	if (forced >= .5)
		fprintf(f, "(forced idle %.0f)", forced);
}

/* Percent of the machine's memory. */
static double memory_part(const struct look *l, const struct row *r)
{
	double all = l->info.memory_total_bytes;

	return all > 0 ? 100 * r->memory_bytes / all : 0;
}

/* What xentop has besides. */
static void show_devices(FILE *f, const struct look *l, const struct row *r, const struct rates *x)
{
	char most[24] = "-";

	if (r->traffic.most_bytes)
		snprintf(most, sizeof(most), "%llu",
			 (unsigned long long)r->traffic.most_bytes >> 20);
	fprintf(f, " %15.0f %8.0f %4u %5u %5.1f %11s\n", x->reads, x->writes, r->traffic.nets,
		r->traffic.disks, memory_part(l, r), most);
}

/* A weight, or a cap. */
static void show_asked(FILE *f, unsigned int value)
{
	if (value)
		fprintf(f, " %6u", value);
	else
		fprintf(f, " %6s", "-");
}

static void show_text(FILE *f, const struct look *a, const struct look *b)
{
	struct rates x;
	int i;

	fprintf(f, "Corbel %s (%s), up %llu s, %u CPUs, pool %llu of %llu KiB free\n",
		b->info.version, b->info.backend == CORBEL_BACKEND_SVM ? "svm" : "vmx",
		(unsigned long long)(b->info.uptime_ns / 1000000000), b->info.cpus,
		(unsigned long long)b->info.pool_free_bytes >> 10,
		(unsigned long long)b->info.pool_total_bytes >> 10);
	fprintf(f, "CPU %%");
	for (i = 0; i < b->cpus; i++)
		show_cpu(f, a, b, i);
	fprintf(f, "\n\n%-24s %4s  %-12s %5s %9s %10s %6s %6s %7s %7s %9s %s\n", "NAME", "ID",
		"STATE", "VCPUS", "MEM(MiB)", "TIME(s)", "WEIGHT", "CAP%", "CPU%", "STOLEN%",
		"EXITS/s",
		"  NETTX   NETRX  DISKRD  DISKWR (KiB/s) READS/s WRITES/s NETS DISKS  MEM% "
		"MAXMEM(MiB)");
	for (i = 0; i < b->rows; i++) {
		x = vm_rates(a, b, &b->row[i]);
		fprintf(f, "%-24s %4lld  %-12s %5u %9llu %10.1f", b->row[i].name,
			(long long)b->row[i].id, b->row[i].state, b->row[i].vcpus,
			(unsigned long long)b->row[i].memory_bytes >> 20, b->row[i].cpu_ns / 1e9);
		show_asked(f, b->row[i].id > 0 ? b->row[i].weight : 0);
		show_asked(f, b->row[i].cap);
		fprintf(f, " %7.1f %7.1f %9.0f", x.cpu, x.stolen, x.exits);
		fprintf(f, " %7.0f %7.0f %7.0f %7.0f", x.net_tx / 1024, x.net_rx / 1024,
			x.disk_rd / 1024, x.disk_wr / 1024);
		show_devices(f, b, &b->row[i], &x);
	}
}

/* As much of it as there is room for. */
static void show_screen(const struct look *a, const struct look *b)
{
	char *text = NULL, *rest, *line;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int y;

	if (!f)
		return;
	show_text(f, a, b);
	if (!fclose(f)) {
		erase();
		rest = text;
		for (y = 0; y < LINES && (line = strsep(&rest, "\n")); y++)
			mvaddnstr(y, 0, line, COLS);
		refresh();
	}
	free(text);
}

static void add_rate(struct json_object *o, const char *key, double rate)
{
	json_object_object_add(o, key, json_object_new_double(rate));
}

static void add_count(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static void show_json(const struct look *a, const struct look *b)
{
	struct json_object *o = json_object_new_object(), *cpus = json_object_new_array(),
			   *forced = json_object_new_array(), *vms = json_object_new_array(), *v;
	struct rates x;
	int i;

	for (i = 0; i < b->cpus; i++) {
		json_object_array_add(cpus, json_object_new_double(cpu_time(a, b, i, false)));
		json_object_array_add(forced, json_object_new_double(cpu_time(a, b, i, true)));
	}
	for (i = 0; i < b->rows; i++) {
		x = vm_rates(a, b, &b->row[i]);
		v = json_object_new_object();
		json_object_object_add(v, "name", json_object_new_string(b->row[i].name));
		json_object_object_add(v, "id", json_object_new_int64(b->row[i].id));
		json_object_object_add(v, "weight", json_object_new_int64(b->row[i].weight));
		json_object_object_add(v, "cap", json_object_new_int64(b->row[i].cap));
		add_rate(v, "cpu_percent", x.cpu);
		add_rate(v, "stolen_percent", x.stolen);
		add_rate(v, "exits_per_second", x.exits);
		add_rate(v, "net_transmit_bytes_per_second", x.net_tx);
		add_rate(v, "net_receive_bytes_per_second", x.net_rx);
		add_rate(v, "disk_read_bytes_per_second", x.disk_rd);
		add_rate(v, "disk_write_bytes_per_second", x.disk_wr);
		add_rate(v, "disk_reads_per_second", x.reads);
		add_rate(v, "disk_writes_per_second", x.writes);
		add_count(v, "networks", b->row[i].traffic.nets);
		add_count(v, "disks", b->row[i].traffic.disks);
		add_rate(v, "memory_percent", memory_part(b, &b->row[i]));
		add_count(v, "most_memory_bytes", b->row[i].traffic.most_bytes);
		json_object_array_add(vms, v);
	}
	json_object_object_add(o, "seconds", json_object_new_double(b->at - a->at));
	json_object_object_add(o, "cpu_busy_percent", cpus);
	json_object_object_add(o, "cpu_forced_idle_percent", forced);
	json_object_object_add(o, "vms", vms);
	print_json(o);
	fflush(stdout);
}

/* Take the terminal. NULL: there is none, or nobody knows what it can do. */
static SCREEN *open_screen(void)
{
	SCREEN *screen;

	if (!isatty(0) || !isatty(1))
		return NULL;
	setlocale(LC_CTYPE, "");
	screen = newterm(NULL, stdout, stdin);
	if (screen) {
		cbreak();
		noecho();
		nodelay(stdscr, true);
		curs_set(0);
	}
	return screen;
}

static void close_screen(SCREEN *screen)
{
	if (!screen)
		return;
	endwin();
	delscreen(screen);
}

/* Wait for the next picture, which also another size of the window is a reason for. False: a q was
 * typed, or the terminal is gone. */
static bool pause_for(double seconds, const SCREEN *screen)
{
	struct pollfd p = {.fd = screen ? 0 : -1, .events = POLLIN};
	int key;

	poll(&p, 1, seconds * 1000);
	if (!screen)
		return true;
	key = getch();
	return key != 'q' && key != 'Q' && !(p.revents & (POLLHUP | POLLERR));
}

static void show_look(const struct opts *o, const SCREEN *screen, const struct look *a,
		      const struct look *b)
{
	if (o->json) {
		show_json(a, b);
	} else if (screen) {
		show_screen(a, b);
	} else {
		show_text(stdout, a, b);
		printf("\n");
		fflush(stdout);
	}
}

int cmd_top(struct opts *o)
{
	double delay = o->delay ? o->delay : 2;
	SCREEN *screen = NULL;
	bool had_screen;
	struct look a, b;
	long n;
	int err = take_look(&a);

	if (!err && !o->json && !o->batch)
		screen = open_screen();
	for (n = 0; !err && (!o->iterations || n < o->iterations); n++) {
		/* A short first interval, so that something is shown at once. */
		if (!pause_for(n ? delay : delay < 0.5 ? delay : 0.5, screen))
			break;
		err = take_look(&b);
		if (!err)
			show_look(o, screen, &a, &b);
		forget_look(&a);
		a = b;
	}
	forget_look(&a);
	had_screen = screen != NULL;
	close_screen(screen);
	if (err && had_screen) { /* what was said has gone with it */
		if (!take_look(&a))
			fail("a look at the hypervisor failed; try again");
		forget_look(&a);
	}
	return err ? 1 : 0;
}
