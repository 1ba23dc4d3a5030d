/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Snapshots of guests with their memory, inside their qcow2 disks: QEMU's monitor makes them and
 * goes back to them.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/*
 * A command of QEMU's monitor, which has its errors in its answer, and answers when all memory is
 * written or read. 0, or 1 told.
 */
static int run_monitor(const char *name, const char *line)
{
	struct json_object *ret = NULL;
	static struct qmp q;
	struct guest g;
	const char *said;
	char why[128];
	int err;

	if (open_guest(name, &g, &q))
		return 1;
	err =
	    qmp_call_within(&q, QMP_LONG_MS, "human-monitor-command",
			    json_pair("command-line", json_object_new_string(line)), -1, &ret, why);
	if (err)
		fail("%s: %s: %s", name, line, why);
	qmp_close(&q);
	guest_unlock(&g);
	said = ret ? json_object_get_string(ret) : "";
	if (!err && *said)
		err = fail("%s: %.*s", name, (int)strcspn(said, "\r\n"), said);
	json_object_put(ret);
	return err ? 1 : 0;
}

/* What a guest's disks are, as query-block has it; NULL told. */
static struct json_object *disks_of(const char *name)
{
	struct json_object *disks = NULL;
	struct guest g;

	if (guest_get(name, true, &g))
		return NULL;
	qmp_do_with(name, "query-block", NULL, &disks);
	guest_unlock(&g);
	return disks;
}

/* The snapshots of a disk in its drive; NULL: it has none, or there is none. */
static struct json_object *snapshots_of(struct json_object *disks, size_t i)
{
	struct json_object *in = qmp_member(json_object_array_get_idx(disks, i), "inserted");

	return qmp_member(qmp_member(in, "image"), "snapshots");
}

/* One of them, by its name. */
static bool has_tag(struct json_object *snapshots, const char *tag)
{
	size_t i;

	for (i = 0; i < qmp_count(snapshots); i++)
		if (!strcmp(qmp_text(json_object_array_get_idx(snapshots, i), "name"), tag))
			return true;
	return false;
}

/*
 * QEMU stops a guest before it looks for the snapshot, and lets it stand if there is none: all
 * disks that the guest can write are to have it.
 */
static int check_tag(const char *name, const char *tag)
{
	struct json_object *disks = disks_of(name);
	bool found = false, missing = false;
	size_t i;

	if (!disks)
		return 1;
	for (i = 0; i < qmp_count(disks); i++) {
		struct json_object *in =
		    qmp_member(json_object_array_get_idx(disks, i), "inserted");

		if (!in || json_object_get_boolean(qmp_member(in, "ro")))
			continue;
		if (has_tag(snapshots_of(disks, i), tag))
			found = true;
		else
			missing = true;
	}
	json_object_put(disks);
	if (found && !missing)
		return 0;
	if (found)
		return fail("%s has disks without a snapshot %s; nothing is done", name, tag);
	return fail("%s has no snapshot %s; `corbel snapshot %s' lists those that there are", name,
		    tag, name);
}

/* savevm or loadvm */
static int with_tag(struct opts *o, const char *command, bool back)
{
	char line[64];
	const char *why = cfg_bad_name(o->args[1]);

	if (why)
		return fail("\"%s\" cannot be a snapshot's name: %s", o->args[1], why);
	if (back && check_tag(o->args[0], o->args[1]))
		return 1;
	snprintf(line, sizeof(line), "%s %s", command, o->args[1]);
	return run_monitor(o->args[0], line);
}

static void show_snapshots(struct json_object *all)
{
	size_t i;

	printf("%-24s %-19s %10s %12s\n", "TAG", "DATE", "MEM(MiB)", "RUNNING(s)");
	for (i = 0; i < qmp_count(all); i++) {
		struct json_object *one = json_object_array_get_idx(all, i);
		time_t at = json_object_get_int64(qmp_member(one, "date-sec"));
		char date[24] = "";
		struct tm tm;

		if (localtime_r(&at, &tm))
			strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
		printf("%-24s %-19s %10.1f %12.1f\n", qmp_text(one, "name"), date,
		       json_object_get_int64(qmp_member(one, "vm-state-size")) / 1048576.0,
		       json_object_get_int64(qmp_member(one, "vm-clock-sec")) +
			   json_object_get_int64(qmp_member(one, "vm-clock-nsec")) / 1e9);
	}
}

/* Those of the first disk that has any: that is where the memory is. */
static int list_snapshots(const char *name, bool json)
{
	struct json_object *disks = disks_of(name), *all = NULL;
	size_t i;

	if (!disks)
		return 1;
	for (i = 0; i < qmp_count(disks) && !all; i++)
		all = snapshots_of(disks, i);
	if (json)
		print_json(all ? json_object_get(all) : json_object_new_array());
	else
		show_snapshots(all);
	json_object_put(disks);
	return 0;
}

int cmd_snapshot(struct opts *o)
{
	if (o->nargs > 1)
		return with_tag(o, "savevm", false);
	return list_snapshots(o->args[0], o->json);
}

int cmd_revert(struct opts *o)
{
	return with_tag(o, "loadvm", true);
}
