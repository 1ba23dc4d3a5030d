/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands that change guests. */
#define _GNU_SOURCE
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONFIG_MAX   (1 << 20)
#define QUIT_MS	     3000
#define KILL_MS	     10000
#define LOOK_MS	     500
#define SHUTDOWN_SEC 60

/* ---- start ---- */

char *config_read(const char *path)
{
	FILE *f = fopen(path, "re");
	char *text = f ? malloc(CONFIG_MAX + 1) : NULL;
	size_t n = 0;

	if (text) {
		n = fread(text, 1, CONFIG_MAX + 1, f);
		text[n <= CONFIG_MAX ? n : 0] = 0;
	}
	if (!text || ferror(f)) {
		fail("cannot read %s: %s", path, strerror(errno));
	} else if (n > CONFIG_MAX || strlen(text) != n) {
		fail("%s is not a guest's file: %s", path,
		     n > CONFIG_MAX ? "it is longer than 1 MiB" : "it holds zero bytes");
	} else {
		fclose(f);
		return text;
	}
	if (f)
		fclose(f);
	free(text);
	return NULL;
}

/* create --check: what is ignored is a fault, too. */
static int check_file(struct cfg *c, const char *path, const char *accel)
{
	if (vmm_check(c, accel))
		return 1;
	if (c->unknown)
		return fail("%s: %d of its settings would be ignored", path, c->unknown);
	return 0;
}

/* What has been told on standard error, too. */
static void show_check(const struct cfg *c, const char *path, bool good, bool json)
{
	struct json_object *o, *warnings;

	if (!json && good)
		printf("%s: good\n", path);
	if (!json)
		return;
	o = json_object_new_object();
	warnings = json_object_new_array();
	for (int i = 0; c && i < c->nwarnings; i++)
		json_object_array_add(warnings, json_object_new_string(c->warnings[i]));
	json_object_object_add(o, "file", json_object_new_string(path));
	json_object_object_add(o, "good", json_object_new_boolean(good));
	json_object_object_add(o, "warnings", warnings);
	json_object_object_add(o, "error", good ? NULL : json_object_new_string(failure_text()));
	print_json(o);
}

static void warn_of_password(const struct cfg *c, const char *path)
{
	struct stat st;

	if ((c->screen.vncpasswd || c->screen.spicepasswd) && !stat(path, &st) &&
	    st.st_mode & (S_IRGRP | S_IROTH))
		warning("%s: others can read the password in it; try chmod 600", path);
}

/* systemd waits for what it has run itself ("systemd.exec", $SYSTEMD_EXEC_PID). */
static void warn_unattended(const struct cfg *c)
{
	const char *pid = getenv("SYSTEMD_EXEC_PID");
	bool off = c->on_poweroff == END_RESTART,
	     crash = c->on_crash == END_RESTART && cfg_is_pc(c);

	if ((off || crash) && !(pid && atol(pid) == getpid()))
		warning("%s = \"restart\": nobody waits here for the end of %s; --foreground does, "
			"or its unit: `systemctl start corbel@%s'",
			off ? "on_poweroff" : "on_crash", c->name, c->name);
}

#define MOST_OVERRIDES 64

/*
 * The file, with these assignments in place of its own to the same keys. Takes text over; NULL
 * told.
 */
static char *override_keys(char *text, const char *path, char **vars, int n)
{
	char *names[MOST_OVERRIDES + 1] = {0}, *rest, *all = NULL;
	size_t len, size;
	FILE *f = NULL;
	int i, used = 0;

	for (i = 0; i < n && i < MOST_OVERRIDES; i++) {
		len = strcspn(vars[i], " \t+=");
		if (vars[i][len + strspn(vars[i] + len, " \t")] == '=')
			names[used++] = strndup(vars[i], len);
	}
	rest = cfg_without(text, (const char *const *)names);
	if (rest)
		f = open_memstream(&all, &size);
	else /* what is wrong in it is told with its place */
		fail("%s: cannot be read; `corbel create --check %s' tells why", path, path);
	if (f) {
		fputs(rest, f);
		for (i = 0; i < n; i++)
			fprintf(f, "\n%s", vars[i]);
		fputs("\n", f);
		fclose(f);
	}
	while (used)
		free(names[--used]);
	free(rest);
	free(text);
	return all;
}

/* `again` is true if the guest has ended meanwhile and is to be started again. 0, or 1 told. */
static int start_once(const char *path, const char *want_name, struct opts *o, bool *again)
{
	char full[PATH_MAX], name[CFG_NAME_MAX + 1];
	char *text = config_read(path);
	struct cfg c;
	int i, err;

	if (text && o->nargs > 1)
		text = override_keys(text, path, o->args + 1, o->nargs - 1);
	if (!text && o->check)
		show_check(NULL, path, false, o->json);
	if (!text)
		return 1;
	err = cfg_parse(&c, path, text);
	c.paused = o->paused;
	for (i = 0; i < c.nwarnings; i++)
		warning("%s", c.warnings[i]);
	if (!err && !o->check)
		warn_of_password(&c, path);
	if (!err && !o->check && !o->foreground)
		warn_unattended(&c);
	if (err)
		fail("%s", c.error);
	else if (want_name && strcmp(want_name, c.name))
		err = fail("%s: its name is \"%s\", not \"%s\"; rename the file or the guest", path,
			   c.name, want_name);
	else if (o->check)
		err = check_file(&c, path, o->accel);
	else
		err = vmm_start(&c, realpath(path, full) ? full : path, text, o->accel, NULL);
	if (o->check)
		show_check(&c, path, !err, o->json);
	free(text);
	snprintf(name, sizeof(name), "%s", c.name ? c.name : "");
	cfg_free(&c);
	if (err)
		return 1;
	fflush(stdout);
	if (o->attach && !o->check)
		err = console_attach(name, 0);
	*again = o->foreground && !o->check && guest_attend(name);
	return err;
}

/* With --foreground it comes back when the guest is not started again. */
static int start_file(const char *path, const char *want_name, struct opts *o)
{
	bool again;
	int err;

	do {
		again = false;
		err = start_once(path, want_name, o, &again);
	} while (again);
	return err;
}

int cmd_create(struct opts *o)
{
	return start_file(o->args[0], NULL, o);
}

int cmd_start(struct opts *o)
{
	const char *why = cfg_bad_name(o->args[0]);
	char path[PATH_MAX];

	if (why)
		return fail("\"%s\" is not a guest's name: %s", o->args[0], why);
	snprintf(path, sizeof(path), "%s/%s.cfg", etc_dir(), o->args[0]);
	if (access(path, F_OK))
		return fail("%s: %s; write that file, or use `corbel create FILE'", path,
			    strerror(errno));
	return start_file(path, o->args[0], o);
}

/* Beside it, under a name that nobody has; 0, or 1 told. */
static int keep_old(const char *path, const char *unique)
{
	char old[PATH_MAX], tmp[PATH_MAX];

	snprintf(old, sizeof(old), "%.*s.old", PATH_MAX - 5, path);
	snprintf(tmp, sizeof(tmp), "%.*s.old", PATH_MAX - 5, unique);
	if (link(path, tmp))
		return errno == ENOENT
			   ? 0
			   : fail("cannot keep %s as %s: %s", path, old, strerror(errno));
	if (rename(tmp, old)) {
		unlink(tmp);
		return fail("cannot keep %s as %s", path, old);
	}
	unlink(tmp); /* where they were the same file already */
	return 0;
}

/*
 * Instead of the file from which start takes a guest; what was there is kept beside it. There may
 * be a password in it: it is root's alone from the beginning.
 */
static int replace_file(const char *name, const char *text)
{
	char path[PATH_MAX], new[PATH_MAX], err[128];
	size_t len = strlen(text);
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%s/%s.cfg", etc_dir(), name);
	snprintf(new, sizeof(new), "%s/.%s.cfg.XXXXXX", etc_dir(), name);
	fd = mkostemp(new, O_CLOEXEC);
	if (fd < 0)
		return fail("cannot write %s: %s", path, strerror(errno));
	if (write(fd, text, len) != (ssize_t)len)
		ret = fail("cannot write %s: %s", path, strerror(errno));
	if (!ret)
		ret = keep_old(path, new);
	if (!ret && keep_file(fd, new, path, err))
		ret = fail("%s", err);
	close(fd);
	if (ret)
		unlink(new);
	else
		printf("%s: from the next start on as %s says\n", name, path);
	return ret;
}

/* What runs is not touched: its own copy of the file is what save, migrate and clone go by. */
int cmd_config_update(struct opts *o)
{
	const char *name = o->args[0], *file = o->args[1];
	char *text;
	struct guest g;
	struct cfg c;
	int i, ret;

	if (guest_get(name, false, &g))
		return 1;
	text = config_read(file);
	ret = text ? cfg_parse(&c, file, text) : 1;
	for (i = 0; text && i < c.nwarnings; i++)
		warning("%s", c.warnings[i]);
	if (text && ret)
		ret = fail("%s", c.error);
	else if (text && strcmp(c.name, name))
		ret = fail("%s: its name is \"%s\", not \"%s\"", file, c.name, name);
	else if (text)
		ret = vmm_check(&c, o->accel) || replace_file(name, text);
	if (text)
		cfg_free(&c);
	free(text);
	guest_unlock(&g);
	return ret ? 1 : 0;
}

/* ---- console, pause and the like ---- */

int cmd_console(struct opts *o)
{
	struct guest g;

	if (guest_get(o->args[0], true, &g))
		return 1;
	guest_unlock(&g);
	return console_attach(g.name, o->timeout);
}

static int run_simple(const char *name, const char *command)
{
	struct guest g;
	int err;

	if (guest_get(name, true, &g))
		return 1;
	err = qmp_do(name, command);
	guest_unlock(&g);
	return err ? 1 : 0;
}

int cmd_pause(struct opts *o)
{
	return run_simple(o->args[0], "stop");
}

int cmd_unpause(struct opts *o)
{
	return run_simple(o->args[0], "cont");
}

/* A name, or --all: not both, and not neither. */
static bool names_guests(const struct opts *o, const char *command)
{
	if (o->all == !o->nargs)
		return true;
	fail("%s: of one guest or --all; right is: corbel %s NAME", command, command);
	return false;
}

int cmd_reboot(struct opts *o)
{
	struct guest *all;
	int i, n, err = 0;

	if (!names_guests(o, "reboot"))
		return 2;
	if (!o->all)
		return run_simple(o->args[0], "system_reset");
	n = guest_all(&all);
	for (i = 0; i < n; i++)
		if (all[i].alive)
			err |= run_simple(all[i].name, "system_reset");
	free(all);
	return n < 0 ? 1 : err;
}

/* Until it has ended, or is off and stays so that somebody can look at it. */
static bool wait_off(const struct guest *g, long ms, bool *preserved)
{
	long end = now_ms() + ms, left;
	char status[24];

	for (*preserved = false; !*preserved;) {
		left = end - now_ms();
		if (guest_wait_end(g, left < LOOK_MS ? left : LOOK_MS))
			return true;
		if (left <= LOOK_MS)
			return false;
		qmp_status(g->name, status, sizeof(status));
		*preserved = !strcmp(status, "shutdown") || !strcmp(status, "guest-panicked");
	}
	return true;
}

/* Who starts it again wants its record yet, and may have done so already. */
static void forget_ended(const struct guest *mine)
{
	char path[PATH_MAX];
	struct guest g;

	if (access(guest_path(mine->name, "vmm.json", path), F_OK) ||
	    guest_get(mine->name, false, &g))
		return;
	if (g.pid == mine->pid && g.start_time == mine->start_time && !guest_wants_restart(g.name))
		guest_remove(g.name, true);
	guest_unlock(&g);
}

/* 0, or 1 told. */
static int press_button(const char *name, struct guest *g)
{
	int err;

	if (guest_get(name, true, g))
		return 1;
	err = qmp_do(g->name, "system_powerdown");
	guest_unlock(g);
	return err ? 1 : 0;
}

/* What does not listen (seconds 0: it cannot be told), unless it is another by now. 1, told. */
static int cut_deaf(const struct guest *mine, long seconds)
{
	struct guest g;

	if (seconds)
		fail("%s was told to shut down, but runs on after %ld s: it is ended", mine->name,
		     seconds);
	else
		fail("%s cannot be told to shut down: it is ended", mine->name);
	if (guest_get(mine->name, true, &g))
		return 1;
	if (g.pid == mine->pid && g.start_time == mine->start_time && !end_vmm(&g))
		guest_remove(g.name, true);
	guest_unlock(&g);
	return 1;
}

/* Until `end` by now_ms(). 0, or 1 told. */
static int wait_shutdown(const struct opts *o, const struct guest *g, long end)
{
	bool preserved;

	if (!wait_off(g, end - now_ms(), &preserved)) {
		if (o->destroy)
			return cut_deaf(g, o->timeout);
		return fail("%s was told to shut down, but runs on after %ld s; it may not listen "
			    "to its power button: "
			    "shut it down from "
			    "within, or use `corbel destroy %s'",
			    g->name, o->timeout, g->name);
	}
	if (preserved)
		printf("%s: is off, and preserved; `corbel destroy %s' ends it\n", g->name,
		       g->name);
	else
		forget_ended(g);
	return 0;
}

/* Until `end` by now_ms(), or only told. 0, or 1 told. */
static int shutdown_one(const struct opts *o, const char *name, long end)
{
	struct guest mine, told;
	bool runs = !cfg_bad_name(name) && !guest_load(name, &mine) && mine.alive;

	while (press_button(name, &told)) {
		if (!runs || !o->destroy)
			return 1;
		/* Its VMM does not answer; or another command works on it, which may end in time.
		 */
		if (told.lock != -EBUSY || now_ms() >= end)
			return cut_deaf(&mine, 0);
	}
	return o->wait ? wait_shutdown(o, &told, end) : 0;
}

/* Each by a process of its own, so that one that hangs takes no time of the others. */
static int shutdown_all(const struct opts *o, long end)
{
	struct guest *all;
	int i, status, err = 0, n = guest_all(&all);
	pid_t pid;

	fflush(stdout);
	for (i = 0; i < n; i++) {
		if (!all[i].alive)
			continue;
		pid = fork();
		if (!pid)
			exit(shutdown_one(o, all[i].name, end));
		if (pid < 0)
			err |= shutdown_one(o, all[i].name, end);
	}
	while (wait(&status) > 0)
		err |= status != 0;
	free(all);
	return n < 0 ? 1 : err;
}

int cmd_shutdown(struct opts *o)
{
	long end;

	if (!names_guests(o, "shutdown"))
		return 2;
	o->timeout = o->timeout ? o->timeout : SHUTDOWN_SEC;
	o->wait |= o->destroy;
	end = now_ms() + o->timeout * 1000;
	return o->all ? shutdown_all(o, end) : shutdown_one(o, o->args[0], end);
}

/* ---- destroy ---- */

/* Kill by pidfd, so that a pid used again meanwhile is never hit. */
static int kill_vmm(const struct guest *g)
{
	int fd = syscall(SYS_pidfd_open, g->pid, 0), err = 0;

	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	if (process_alive(g->pid, g->start_time) &&
	    syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) && errno != ESRCH)
		err = -errno;
	close(fd);
	return err;
}

int end_vmm(const struct guest *g)
{
	static struct qmp q;
	char err[128];
	bool asked;
	int ret;

	if (!g->alive)
		return 0;
	asked = !qmp_open(&q, g->name, QUIT_MS);
	if (asked) {
		qmp_command(&q, "quit", NULL, err);
		qmp_close(&q);
	}
	if (guest_wait_end(g, asked ? QUIT_MS : 0))
		return 0;
	ret = kill_vmm(g);
	if (ret)
		return fail("%s: cannot kill its VMM (pid %d): %s%s", g->name, g->pid,
			    strerror(-ret), ret == -EPERM ? "; run as root" : "");
	if (guest_wait_end(g, KILL_MS))
		return 0;
	return fail("%s: its VMM (pid %d) was killed but does not end; it may hang in the kernel: "
		    "look into dmesg",
		    g->name, g->pid);
}

int cmd_destroy(struct opts *o)
{
	struct guest g;
	int err;

	if (guest_get(o->args[0], false, &g))
		return 1;
	err = end_vmm(&g);
	if (!err)
		guest_remove(g.name, false);
	guest_unlock(&g);
	return err;
}
