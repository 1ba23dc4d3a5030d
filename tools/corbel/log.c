/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypervisor's log, and all there is to be sent with a bug report. */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
