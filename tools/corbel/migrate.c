/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests that move to another machine while they run. `corbel migrate' starts `corbel
 * migrate-receive' there, by ssh, and writes to it what a saved guest's file has; QEMU copies the
 * memory before it stops the guest. Then they talk, a word and a line end each:
 *
 *	there	loaded		the VMM there has the guest's state
 *	here	go | stay	the guest here has stopped: it is yours, to run or to stay paused
 *	there	runs		so the guest here can go
 *
 * Up to "go" whatever fails leaves the guest here.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORD_MAX   16
#define LOADED_MS  600000
#define ANSWER_MS  60000
#define SSH_END_MS 5000
#define FIRST_FREE 3 /* no standard stream */

static int say_word(int fd, const char *word)
{
	return dprintf(fd, "%s\n", word) > 0 ? 0 : -1;
}

/* The other side's next word. The VMM may have made the stream one that does not wait. */
static int hear_word(int fd, char word[WORD_MAX], long ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	long end = now_ms() + ms;
	size_t n = 0;
	ssize_t got;

	while (n < WORD_MAX) {
		if (now_ms() >= end || poll(&p, 1, end - now_ms()) <= 0)
			return -1;
		got = read(fd, word + n, 1);
		if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
			return -1;
		if (got > 0 && word[n++] == '\n') {
			word[n - 1] = 0;
			return 0;
		}
	}
	return -1;
}

static bool hears_word(int fd, const char *want, long ms)
{
	char word[WORD_MAX];

	return !hear_word(fd, word, ms) && !strcmp(word, want);
}

/* ---- here ---- */

/* The other side's streams are one socket. Its fd, or -1 told. */
static int run_ssh(const char *ssh, const char *host, pid_t *pid)
{
	char *line;
	int s[2];

	if (asprintf(&line, "exec %s \"$1\" corbel migrate-receive", ssh) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s)) {
		fail("cannot run ssh: %s", strerror(errno));
		return -1;
	}
	*pid = fork();
	if (!*pid) {
		dup2(s[1], 0);
		dup2(s[1], 1);
		execl("/bin/sh", "sh", "-c", line, "sh", host, NULL);
		_exit(127);
	}
	close(s[1]);
	free(line);
	if (*pid > 0)
		return s[0];
	close(s[0]);
	fail("cannot run ssh: %s", strerror(errno));
	return -1;
}

/* When QEMU stopped the guest to move it, by now_ms(). */
static long stopped_at(struct qmp *q)
{
	struct json_object *o = NULL, *v;
	char err[128];
	long ms = 0;

	if (!qmp_command(q, "query-migrate", &o, err) &&
	    json_object_object_get_ex(o, "downtime", &v))
		ms = json_object_get_int64(v);
	json_object_put(o);
	return now_ms() - ms;
}

/* The guest's state goes over; *since: stopped. 0, or -1 with why in err. */
static int send_state(struct qmp *q, const char *host, int s, long *since, char *err)
{
	if (state_write(q, s, err))
		return -1;
	*since = stopped_at(q);
	if (hears_word(s, "loaded", LOADED_MS))
		return 0;
	snprintf(err, 128, "%s has not taken it", host);
	return -1;
}

/*
 * 0: the guest is there; 1, told: it is not; -1, told: nobody knows, and the one here stays as it
 * is.
 */
static int send_guest(const struct guest *g, const char *host, int s)
{
	struct json_object *status = NULL;
	static struct qmp q;
	char err[128];
	long since;
	bool ran;
	int ret;

	if (qmp_need(&q, g->name))
		return 1;
	ret = qmp_command(&q, "query-status", &status, err);
	ran = !strcmp(qmp_text(status, "status"), "running");
	json_object_put(status);
	if (!ret)
		ret = config_now(&q, g->name, err);
	if (!ret && head_write(s, host, g, false)) {
		snprintf(err, sizeof(err), "%s takes nothing", host);
		ret = -1;
	}
	if (!ret)
		ret = send_state(&q, host, s, &since, err);
	qmp_close(&q);
	if (ret && ran && !run_on(g->name))
		return fail("%s: cannot move: %s; it stands still here, `corbel unpause %s' lets "
			    "it run when %s has let go of its disks",
			    g->name, err, g->name, host);
	if (ret)
		return fail("%s: cannot move: %s; it %s", g->name, err,
			    ran ? "runs on here" : "stays as it was");
	if (say_word(s, ran ? "go" : "stay") || !hears_word(s, "runs", ANSWER_MS)) {
		fail("%s: %s does not answer any more, and may run it or not. It is paused here: "
		     "look there, then `corbel destroy %s' or `corbel unpause %s'",
		     g->name, host, g->name, g->name);
		return -1;
	}
	if (ran)
		printf("%s: runs on %s now; it stood still for %ld ms\n", g->name, host,
		       now_ms() - since);
	else
		printf("%s: is on %s now, paused as it was\n", g->name, host);
	return 0;
}

/* It may wait for a network that is gone. */
static void end_ssh(pid_t pid, bool failed)
{
	long end = now_ms() + (failed ? 0 : SSH_END_MS);
	int left;

	while (!(left = waitpid(pid, NULL, WNOHANG)) && now_ms() < end)
		usleep(20000);
	if (left)
		return;
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}

int cmd_migrate(struct opts *o)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
	const char *host = o->args[1];
	struct guest g;
	pid_t pid;
	int s, ret = 1;

	if (*host == '-' || !*host)
		return fail("\"%s\" is not a machine's name", host);
	if (guest_get(o->args[0], true, &g))
		return 1;
	guest_work(&g, "migrating");
	s = run_ssh(o->ssh ? o->ssh : "ssh", host, &pid);
	if (s >= 0) {
		/* What ends ssh shows here; what ended this one in between would leave nobody. */
		for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
			signal(ends[i], SIG_IGN);
		ret = send_guest(&g, host, s);
		close(s);
		end_ssh(pid, ret);
	}
	if (!ret)
		ret = end_vmm(&g);
	if (!ret)
		guest_remove(g.name, true);
	guest_unlock(&g);
	return ret ? 1 : 0;
}

/* ---- there ---- */

/* What came goes again, for the guest is still where it was. */
static int give_up(const struct guest *mine)
{
	struct guest g;

	if (guest_get(mine->name, false, &g))
		return 1;
	guest_show_log(g.name);
	/* Somebody may have ended it and started another by this name. */
	if (g.pid == mine->pid && g.start_time == mine->start_time && !end_vmm(&g))
		guest_remove(g.name, true);
	guest_unlock(&g);
	return 1;
}

int cmd_migrate_receive(struct opts *o)
{
	char name[CFG_NAME_MAX + 1], word[WORD_MAX], err[128];
	int in = fcntl(0, F_DUPFD_CLOEXEC, FIRST_FREE), out = fcntl(1, F_DUPFD_CLOEXEC, FIRST_FREE);
	struct guest mine;
	static struct qmp q;
	int ret;

	if (in < 0 || out < 0)
		return fail("standard input and output: %s", strerror(errno));
	if (isatty(in))
		return fail("this is what `corbel migrate' runs on the other machine");
	dup2(2, 1); /* what else is printed is no word of ours */
	signal(SIGPIPE, SIG_IGN);
	if (state_start(in, "what comes", o->accel, name))
		return 1;
	if (guest_load(name, &mine))
		return fail("%s ended", name);
	if (qmp_need(&q, name))
		return give_up(&mine);
	ret = state_wait(&q, err);
	if (!ret && (say_word(out, "loaded") || hear_word(in, word, ANSWER_MS))) {
		snprintf(err, sizeof(err), "the other machine does not answer any more");
		ret = -1;
	}
	qmp_close(&q);
	if (ret) {
		fail("%s: cannot be taken: %s", name, err);
		return give_up(&mine);
	}
	if (!strcmp(word, "go") && !run_on(name))
		return fail("%s has come but does not run; `corbel unpause %s' lets it", name,
			    name);
	return say_word(out, "runs") ? 1 : 0;
}
