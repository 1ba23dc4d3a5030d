/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A running guest's memory. What it was started with is the most that it can have: `maxmem` of its
 * file, of which the balloon has what it does not use. mem-max allows it less than that. This
 * number, and what the guest was last told to have, lie in its directory: how far a balloon has
 * come is the guest's to say, and no measure for what it may have.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <ctype.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB_MOST (1 << 24)

/* A number of bytes in an answer of QEMU's, in MiB. 0, or -1 with why in err[128]. */
static int ask_mib(struct qmp *q, const char *command, const char *member, long *mib, char *err)
{
	struct json_object *ret = NULL;

	if (qmp_command(q, command, &ret, err))
		return -1;
	*mib = json_object_get_int64(qmp_member(ret, member)) >> 20;
	json_object_put(ret);
	return 0;
}

bool mem_told(const char *name, uint64_t mib)
{
	char path[PATH_MAX], text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)mib);
	return !write_text(guest_path(name, "mem-set", path), text);
}

/* A number of MiB in a file of the guest's directory; 0: there is none. */
static long read_mib(const char *name, const char *file)
{
	char path[PATH_MAX];
	FILE *f = fopen(guest_path(name, file, path), "re");
	long mib = 0;

	if (f && (fscanf(f, "%ld", &mib) != 1 || mib < 0))
		mib = 0;
	if (f)
		fclose(f);
	return mib;
}

int mem_most(struct qmp *q, const char *name, long *most, bool *limited, char *err)
{
	long mib = read_mib(name, "mem-max");

	if (ask_mib(q, "query-memory-size-summary", "base-memory", most, err))
		return -1;
	*limited = mib && mib < *most;
	if (*limited)
		*most = mib;
	return 0;
}

static int set_memory(struct qmp *q, const char *name, long mib)
{
	struct json_object *args;
	char err[128];
	bool limited;
	long most;

	if (mem_most(q, name, &most, &limited, err))
		return fail("%s: %s", name, err);
	if (mib > most)
		return fail("%s has at most %ld MiB; %s", name, most,
			    limited ? "`corbel mem-max' allows it more"
				    : "have maxmem in its file and start it anew");
	args = json_object_new_object();
	json_object_object_add(args, "value", json_object_new_int64((int64_t)mib << 20));
	if (!qmp_call(q, "balloon", args, -1, NULL, err))
		return mem_told(name, mib) ? 0 : 1;
	return fail("%s: %s; it has a balloon only if its file says maxmem = ...", name, err);
}

static int set_most(struct qmp *q, const char *name, long mib)
{
	char path[PATH_MAX], text[32], err[128];
	long start, now, told = read_mib(name, "mem-set");

	if (ask_mib(q, "query-memory-size-summary", "base-memory", &start, err))
		return fail("%s: %s", name, err);
	if (mib > start)
		return fail("%s was started with room for %ld MiB; have maxmem = %ld in its file "
			    "and start it anew",
			    name, start, mib);
	if (ask_mib(q, "query-balloon", "actual", &now, err))
		return fail("%s: %s; it has a balloon only if its file says maxmem = ...", name,
			    err);
	/* One that has come from a file or elsewhere was told there. */
	if (mib < (told ? told : now))
		return fail("%s was told to have %ld MiB; `corbel mem-set %s %ld' first tells it "
			    "to give them back",
			    name, told ? told : now, name, mib);
	snprintf(text, sizeof(text), "%ld\n", mib);
	return write_text(guest_path(name, "mem-max", path), text);
}

/* A number of MiB, or of what its last letter says, as in xl: b, k, m, g or t. */
static bool read_size(const char *s, long *mib)
{
	static const char units[] = "bkmgt";
	size_t len = strspn(s, "0123456789");
	const char *unit = s[len] ? strchr(units, tolower((unsigned char)s[len])) : units + 2;
	char digits[16];
	int shift;

	if (!len || len >= sizeof(digits) || !unit || (s[len] && s[len + 1]))
		return false;
	snprintf(digits, sizeof(digits), "%.*s", (int)len, s);
	*mib = atoll(digits);
	shift = 10 * (int)(unit - units) - 20;
	if (shift < 0)
		*mib >>= -shift;
	else if (*mib <= MIB_MOST)
		*mib <<= shift;
	return *mib >= 1 && *mib <= MIB_MOST;
}

static int with_memory(struct opts *o, int (*change)(struct qmp *q, const char *name, long mib))
{
	static struct qmp q;
	struct guest g;
	long mib;
	int ret;

	if (!read_size(o->args[1], &mib))
		return fail("\"%s\" is not a number of MiB, or a size like 512m or 2g", o->args[1]);
	if (open_guest(o->args[0], &g, &q))
		return 1;
	ret = change(&q, g.name, mib);
	qmp_close(&q);
	guest_unlock(&g);
	return ret;
}

int cmd_mem_set(struct opts *o)
{
	return with_memory(o, set_memory);
}

int cmd_mem_max(struct opts *o)
{
	return with_memory(o, set_most);
}
