/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypervisor's and guests' numbers in Prometheus' text format. */
#include "corbel.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MAX (2 * sizeof(((struct row *)0)->name) + 32)

/* What stands above the samples of one metric. */
static void print_head(const char *name, const char *type, const char *help)
{
	printf("# HELP corbel_%s %s\n# TYPE corbel_%s %s\n", name, help, name, type);
}

static void print_sample(const char *name, const char *type, const char *help, double value)
{
	print_head(name, type, help);
	printf("corbel_%s %.17g\n", name, value);
}

static void of_hypervisor(const struct corbel_info *i)
{
	print_sample("uptime_seconds", "gauge", "Time since the hypervisor booted.",
		     i->uptime_ns / 1e9);
	print_sample("cpus", "gauge", "Physical CPUs.", i->cpus);
	print_sample("memory_bytes", "gauge", "Memory of the machine.", i->memory_total_bytes);
	print_sample("pool_free_bytes", "gauge", "The hypervisor's own memory that is free.",
		     i->pool_free_bytes);
}

/*
 * Row i's name is what its process chose, but printable. Who reads the numbers refuses all of them
 * for one name that is no UTF-8, or that two have. buf of LABEL_MAX.
 */
static const char *label_of(const struct row *r, int i, char *buf)
{
	const char *name = r[i].name;
	char *to = buf;
	int k = 0;

	for (; *name && to < buf + LABEL_MAX - 32; name++) {
		if (*name == '"' || *name == '\\')
			*to++ = '\\';
		*to++ = *name;
	}
	*to = 0;
	while (k < i && strcmp(r[k].name, r[i].name) != 0)
		k++;
	if (k < i)
		sprintf(to, " (%lld)", (long long)r[i].id);
	return buf;
}

static void of_domains(const struct row *r, int n)
{
	char name[LABEL_MAX];
	int i;

	print_head("domain_info_memory_usage_bytes", "gauge", "Memory of the domain.");
	for (i = 0; i < n; i++)
		printf("corbel_domain_info_memory_usage_bytes{domain=\"%s\"} %llu\n",
		       label_of(r, i, name), (unsigned long long)r[i].memory_bytes);
	print_head("domain_info_virtual_cpus", "gauge", "Virtual CPUs of the domain.");
	for (i = 0; i < n; i++)
		printf("corbel_domain_info_virtual_cpus{domain=\"%s\"} %u\n", label_of(r, i, name),
		       r[i].vcpus);
	print_head("domain_info_cpu_time_seconds_total", "counter", "CPU time of the domain.");
	for (i = 0; i < n; i++)
		printf("corbel_domain_info_cpu_time_seconds_total{domain=\"%s\"} %.9f\n",
		       label_of(r, i, name), r[i].cpu_ns / 1e9);
}

/*
 * One counter of those that have a VMM, which for disks has to have told: a counter that falls to 0
 * would have begun anew. at: of the counter in struct traffic.
 */
static void of_traffic(const char *name, const char *help, size_t at, const struct row *r, int n)
{
	char buf[LABEL_MAX];
	bool disks =
	    at == offsetof(struct traffic, disk_rd) || at == offsetof(struct traffic, disk_wr);
	uint64_t value;
	int i;

	print_head(name, "counter", help);
	for (i = 0; i < n; i++) {
		if (!r[i].id || (disks && !r[i].traffic.disks_known))
			continue;
		memcpy(&value, (const char *)&r[i].traffic + at, sizeof(value));
		printf("corbel_%s{domain=\"%s\"} %llu\n", name, label_of(r, i, buf),
		       (unsigned long long)value);
	}
}

static const char *label_of_id(const struct row *r, int n, uint32_t id, char *buf)
{
	int i;

	for (i = 0; i < n; i++)
		if (r[i].id == id)
			return label_of(r, i, buf);
	return "";
}

enum figure { TIME, STEAL, EXITS };

static void of_vcpus(const char *name, const char *help, enum figure what,
		     const struct corbel_vcpu_stat *v, int n, const struct row *r, int rows)
{
	char buf[LABEL_MAX];
	int i;

	print_head(name, "counter", help);
	for (i = 0; i < n; i++) {
		double value = what == TIME    ? v[i].runtime_ns / 1e9
			       : what == STEAL ? v[i].steal_ns / 1e9
					       : (double)v[i].exits_total;

		printf("corbel_%s{domain=\"%s\",vcpu=\"%u\"} %.17g\n", name,
		       label_of_id(r, rows, v[i].vm, buf), v[i].index, value);
	}
}

int cmd_metrics(struct opts *o)
{
	struct corbel_vcpu_stat *v = NULL;
	struct corbel_info info;
	struct row *r = NULL;
	int vcpus, rows;

	if (hv_info(&info))
		return 1;
	rows = rows_get(&r, false);
	rows_traffic(r, rows);
	vcpus = rows < 0 ? -1 : vcpus_of(-1, &v);
	if (vcpus >= 0) {
		of_hypervisor(&info);
		of_domains(r, rows);
		of_traffic("domain_interface_stats_receive_bytes_total",
			   "Bytes that the domain received.", offsetof(struct traffic, net_rx), r,
			   rows);
		of_traffic("domain_interface_stats_transmit_bytes_total",
			   "Bytes that the domain sent.", offsetof(struct traffic, net_tx), r,
			   rows);
		of_traffic("domain_block_stats_read_bytes_total",
			   "Bytes that the domain read from its disks.",
			   offsetof(struct traffic, disk_rd), r, rows);
		of_traffic("domain_block_stats_write_bytes_total",
			   "Bytes that the domain wrote to its disks.",
			   offsetof(struct traffic, disk_wr), r, rows);
		of_vcpus("domain_vcpu_time_seconds_total", "CPU time of the virtual CPU.", TIME, v,
			 vcpus, r, rows);
		of_vcpus("domain_vcpu_steal_seconds_total",
			 "Time for which it wanted to run and did not.", STEAL, v, vcpus, r, rows);
		of_vcpus("domain_vcpu_exits_total", "Exits to the hypervisor.", EXITS, v, vcpus, r,
			 rows);
	}
	free(v);
	free(r);
	return vcpus < 0;
}
