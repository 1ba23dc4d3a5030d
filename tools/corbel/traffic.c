/* SPDX-License-Identifier: GPL-2.0-only */
/* What guests send, receive, read and write, and what VMMs tell of it. */
#include "corbel.h"

#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_MS 3000

/* A counter of a network device of dom0, 0 if there is none. */
static uint64_t read_counter(const char *ifname, const char *what)
{
	unsigned long long n = 0;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", ifname, what);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* If this open file is a tap device: Linux names it in a line "iff:". */
static void add_tap(const char *fdinfo, struct traffic *t)
{
	FILE *f = fopen(fdinfo, "re");
	char line[128], ifname[16];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "iff: %15s", ifname) == 1 && !strchr(ifname, '/')) {
			/* What the device has received came from the guest. */
			t->net_tx += read_counter(ifname, "rx_bytes");
			t->net_rx += read_counter(ifname, "tx_bytes");
			t->nets++;
		}
	if (f)
		fclose(f);
}

static void of_taps(pid_t pid, struct traffic *t)
{
	char path[64], file[sizeof(path) + 256];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		if (*e->d_name != '.')
			add_tap(file, t);
	}
	if (d)
		closedir(d);
}

static uint64_t number_of(struct json_object *o, const char *key)
{
	return json_object_get_uint64(qmp_member(o, key));
}

/* A drive without a disk in it counts, a file that is only another's backing does not. */
static void of_vmm(const char *name, struct traffic *t)
{
	struct json_object *all = NULL, *stats;
	static struct qmp q;
	char err[128];
	bool limited;
	long mib;
	size_t i;

	if (qmp_open(&q, name, ANSWER_MS))
		return;
	t->disks_known = !qmp_command(&q, "query-blockstats", &all, err);
	if (t->disks_known)
		for (i = 0; i < qmp_count(all); i++) {
			t->disks += *qmp_text(json_object_array_get_idx(all, i), "qdev") != 0;
			stats = qmp_member(json_object_array_get_idx(all, i), "stats");
			t->reads += number_of(stats, "rd_operations");
			t->writes += number_of(stats, "wr_operations");
			t->disk_rd += number_of(stats, "rd_bytes");
			t->disk_wr += number_of(stats, "wr_bytes");
		}
	json_object_put(all);
	if (!mem_most(&q, name, &mib, &limited, err))
		t->most_bytes = (uint64_t)mib << 20;
	qmp_close(&q);
}

void rows_traffic(struct row *r, int n)
{
	char word[16];
	int i;

	for (i = 0; i < n; i++) {
		if (r[i].id && r[i].pid > 0)
			of_taps(r[i].pid, &r[i].traffic);
		if (r[i].managed && strcmp(r[i].state, "ended") &&
		    strcmp(r[i].state, "unresponsive") &&
		    !guest_is_at_work(r[i].name, word, sizeof(word)))
			of_vmm(r[i].name, &r[i].traffic);
	}
}
