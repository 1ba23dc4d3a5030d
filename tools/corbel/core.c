/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cores: a guest's memory in a file. QEMU has no command that ends a dump which it has begun, so it
 * writes into a pipe: when nobody reads that any more it gives up, and lets the guest run on.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define STILL_MS  120000 /* without a byte more: it goes nowhere */
#define ENDED_MS  10000	 /* for QEMU to say how it was */
#define LOOK_MS	  1000
#define PIPE_SIZE (1 << 20)

/* In a thread of its own, so that QEMU can be asked meanwhile. 0, or -1 with why in err. */
static int begin_dump(struct qmp *q, int fd, char *err)
{
	struct json_object *args = json_object_new_object(),
			   *name = json_pair("fdname", json_object_new_string("core"));

	json_object_object_add(args, "paging", json_object_new_boolean(false));
	json_object_object_add(args, "protocol", json_object_new_string("fd:core"));
	json_object_object_add(args, "detach", json_object_new_boolean(true));
	if (qmp_call(q, "getfd", name, fd, NULL, err)) {
		json_object_put(args);
		return -1;
	}
	return qmp_call(q, "dump-guest-memory", args, -1, NULL, err);
}

/* 0, or -1 (errno) */
static int write_whole(int fd, const char *from, ssize_t size)
{
	ssize_t n = 0;

	for (; size > 0; size -= n > 0 ? n : 0, from += n > 0 ? n : 0) {
		n = write(fd, from, size);
		if (n < 0 && errno != EINTR)
			return -1;
	}
	return 0;
}

/* All that comes, however long it takes while there is progress. 0, or -1 with why in err. */
static int copy_dump(int from, int to, char *err)
{
	struct pollfd p = {.fd = from, .events = POLLIN};
	static char some[PIPE_SIZE];
	long end = now_ms() + STILL_MS;
	ssize_t n = 1;
	int sig;

	while (n > 0) {
		sig = signal_take();
		if (sig) {
			snprintf(err, 128, "interrupted: %s", strsignal(sig));
			return -1;
		}
		if (now_ms() >= end) {
			snprintf(err, 128, "no progress for %d s", STILL_MS / 1000);
			return -1;
		}
		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		n = read(from, some, sizeof(some));
		if (n < 0 || write_whole(to, some, n)) {
			snprintf(err, 128, "%s", strerror(errno));
			return -1;
		}
		end = now_ms() + STILL_MS;
	}
	return 0;
}

/* 0, or -1 with why in err. QEMU has no more to write then, and nothing to write to. */
static int dump_memory(struct qmp *q, int fd, char *err)
{
	static const char *const ends[] = {"completed", "failed", NULL};
	int s[2], ret;

	if (pipe2(s, O_CLOEXEC)) {
		snprintf(err, 128, "%s", strerror(errno));
		return -1;
	}
	fcntl(s[0], F_SETPIPE_SZ, PIPE_SIZE); /* may be more than there is left of: it is slower */
	ret = begin_dump(q, s[1], err);
	close(s[1]);
	if (!ret)
		ret = copy_dump(s[0], fd, err);
	close(s[0]);
	if (ret)
		return -1;
	snprintf(err, 128, "QEMU gave up");
	return qmp_wait_status(q, "query-dump", ends, ENDED_MS, err) ? -1 : 0;
}

/* It hangs up on the VMM. 0, or 1 told */
static int dump_guest(struct qmp *q, const struct guest *g, int fd, const char *tmp,
		      const char *path)
{
	struct json_object *status = NULL;
	char err[128];
	bool ran;
	int ret = qmp_command(q, "query-status", &status, err);

	ran = !strcmp(qmp_text(status, "status"), "running");
	json_object_put(status);
	if (!ret)
		ret = dump_memory(q, fd, err) || keep_file(fd, tmp, path, err);
	qmp_close(q); /* for run_on() */
	if (!ret)
		return 0;
	if (ran && !run_on(g->name))
		return fail("%s: no core: %s; it stands still: QEMU is still at work, or `corbel "
			    "unpause %s' lets it run",
			    g->name, err, g->name);
	return fail("%s: no core: %s; it %s", g->name, err, ran ? "runs on" : "stays as it was");
}

int cmd_dump_core(struct opts *o)
{
	char tmp[PATH_MAX];
	static struct qmp q;
	struct guest g;
	int fd, ret = 1;

	if (open_guest(o->args[0], &g, &q))
		return 1;
	guest_work(&g, "dumping");
	catch_signals();
	fd = begin_file(o->args[1], tmp);
	if (fd >= 0) {
		ret = dump_guest(&q, &g, fd, tmp, o->args[1]);
		if (ret)
			unlink(tmp);
		close(fd);
	} else {
		qmp_close(&q);
	}
	guest_unlock(&g);
	return ret;
}
