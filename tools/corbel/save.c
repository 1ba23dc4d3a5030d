/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests in files. A saved guest is a line with SAVE_MAGIC, the length of its own file, that file,
 * zeros up to SAVE_ALIGN, and what QEMU writes for a migration.
 */
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
#include <unistd.h>

#define SAVE_MAGIC     "corbel saved guest 2"
#define TEMPLATE_MAGIC "corbel template 2"
#define SAVE_ALIGN     4096
#define HEAD_MAX       64
#define CONFIG_MAX     (1 << 20)
#define STILL_MS       120000	   /* without a byte more: it goes nowhere */
#define LOAD_MS	       QMP_LONG_MS /* who sends the state gives up before */
#define CANCEL_MS      10000
#define LOOK_MS	       1000

/* ---- signals ---- */

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
	caught = sig;
}

void catch_signals(void)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction old, catch = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (!sigaction(ends[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(ends[i], &catch, NULL);
}

int signal_take(void)
{
	int sig = caught;

	caught = 0;
	return sig;
}

/* Once for each that came. */
static bool is_interrupted(char *err)
{
	int sig = signal_take();

	if (sig)
		snprintf(err, 128, "interrupted: %s", strsignal(sig));
	return sig;
}

/* ---- the migration ---- */

int qmp_wait_status(struct qmp *q, const char *command, const char *const *words, long ms,
		    char *err)
{
	long end = now_ms() + ms;
	struct json_object *o;
	const char *status;
	int i, found = -1;

	while (now_ms() < end && found < 0) {
		if (is_interrupted(err))
			return -1;
		o = NULL;
		if (qmp_command(q, command, &o, err)) {
			if (strcmp(err, QMP_NO_ANSWER))
				return -1;
			continue; /* it is busy with just this */
		}
		status = qmp_text(o, "status");
		for (i = 0; words[i] && found < 0; i++)
			if (!strcmp(status, words[i]))
				found = i;
		if (found > 0 && *qmp_text(o, "error-desc"))
			snprintf(err, 128, "%s", qmp_text(o, "error-desc"));
		json_object_put(o);
		if (found < 0)
			usleep(20000);
	}
	if (found >= 0)
		return found;
	snprintf(err, 128, "not done after %ld s", ms / 1000);
	return QMP_LATE;
}

int state_capability(struct qmp *q, const char *name, bool on, char *err)
{
	struct json_object *all = json_object_new_array(),
			   *one = json_pair("capability", json_object_new_string(name));

	json_object_object_add(one, "state", json_object_new_boolean(on));
	json_object_array_add(all, one);
	return qmp_call(q, "migrate-set-capabilities", json_pair("capabilities", all), -1, NULL,
			err);
}

#define NO_LIMIT (1ll << 40) /* bytes per second */

/*
 * As fast as disk or network are, where QEMU keeps to 128 MiB/s otherwise; a guest that writes its
 * memory faster than that is slowed down until it does not.
 */
static int lift_limits(struct qmp *q, char *err)
{
	return qmp_call(q, "migrate-set-parameters",
			json_pair("max-bandwidth", json_object_new_int64(NO_LIMIT)), -1, NULL,
			err) ||
	       state_capability(q, "auto-converge", true, err);
}

/* How much of a state has been written. */
static int64_t bytes_written(struct qmp *q)
{
	struct json_object *o = NULL;
	char err[128];
	int64_t bytes = -1;

	if (!qmp_command(q, "query-migrate", &o, err))
		bytes = json_object_get_int64(qmp_member(qmp_member(o, "ram"), "transferred"));
	json_object_put(o);
	return bytes;
}

static const char *const written[] = {"completed", "failed", "cancelled", NULL};

/* However long it takes, while there is progress. */
static int wait_written(struct qmp *q, char *err)
{
	long end = now_ms() + STILL_MS;
	int64_t was = 0, is;
	int ret;

	do {
		snprintf(err, 128, "QEMU gave up");
		ret = qmp_wait_status(q, "query-migrate", written, LOOK_MS, err);
		is = ret == QMP_LATE ? bytes_written(q) : was;
		if (is > was)
			end = now_ms() + STILL_MS;
		was = is > was ? is : was;
	} while (ret == QMP_LATE && now_ms() < end);
	if (ret == QMP_LATE)
		snprintf(err, 128, "no progress for %d s", STILL_MS / 1000);
	return ret;
}

int state_write(struct qmp *q, int fd, char *err)
{
	char ignored[128];
	int ret;
	struct json_object *name = json_object_new_object(), *uri = json_object_new_object();

	json_object_object_add(name, "fdname", json_object_new_string("save"));
	json_object_object_add(uri, "uri", json_object_new_string("fd:save"));
	if (qmp_call(q, "getfd", name, fd, NULL, err) || lift_limits(q, err)) {
		json_object_put(uri);
		return -1;
	}
	if (qmp_call(q, "migrate", uri, -1, NULL, err))
		return -1;
	ret = wait_written(q, err);
	if (ret < 0 && !qmp_command(q, "migrate_cancel", NULL, ignored))
		qmp_wait_status(q, "query-migrate", written, CANCEL_MS, ignored);
	return ret ? -1 : 0;
}

#define RUN_ON_MS 60000

bool run_on(const char *name)
{
	static struct qmp q; /* a new one: the last may have been left in the middle of something */
	long end = now_ms() + RUN_ON_MS;
	struct json_object *o = NULL;
	char err[128];
	bool runs = false;

	do {
		if (qmp_open(&q, name, CANCEL_MS))
			return false;
		qmp_command(&q, "cont", NULL, err);
		if (!qmp_command(&q, "query-status", &o, err)) {
			runs = !strcmp(qmp_text(o, "status"), "running");
			json_object_put(o);
			o = NULL;
		}
		qmp_close(&q);
		if (!runs)
			usleep(200000);
	} while (!runs && now_ms() < end);
	return runs;
}

/* ---- save ---- */

int head_write(int fd, const char *path, const struct guest *g, bool template)
{
	char file[PATH_MAX], *config = config_read(guest_path(g->name, "config", file));
	static const char zeros[SAVE_ALIGN];
	int n = -1, rest;

	if (!config)
		return -1;
	if (strlen(config) <= CONFIG_MAX)
		n = dprintf(fd, "%s %zu %s\n%s", template ? TEMPLATE_MAGIC : SAVE_MAGIC,
			    strlen(config), g->name, config);
	free(config);
	rest = n > 0 ? (SAVE_ALIGN - n % SAVE_ALIGN) % SAVE_ALIGN : 0;
	if (n > 0 && write(fd, zeros, rest) == rest)
		return 0;
	fail("cannot write %s: %s", path, strerror(errno));
	return -1;
}

int begin_file(const char *path, char *tmp)
{
	struct stat st;
	int fd = -1;

	if (!stat(path, &st) && !S_ISREG(st.st_mode))
		errno = S_ISDIR(st.st_mode) ? EISDIR : EEXIST; /* a device would be lost */
	else if (snprintf(tmp, PATH_MAX, "%s.XXXXXX", path) >= PATH_MAX)
		errno = ENAMETOOLONG;
	else
		fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		fail("cannot write %s: %s", path, strerror(errno));
	return fd;
}

/* The name that a file has got, too; some file systems cannot say. 0, or -1 (errno). */
static int sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX] = ".";
	int fd, err;

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path) + 1, path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = fd >= 0 && fsync(fd) && errno != EINVAL ? errno : 0;
	if (fd >= 0)
		close(fd);
	errno = err;
	return err ? -1 : 0;
}

int keep_file(int fd, const char *tmp, const char *path, char *err)
{
	if (fsync(fd) || rename(tmp, path)) {
		snprintf(err, 128, "%s: %s", path, strerror(errno));
		return -1;
	}
	if (sync_directory(path)) /* what was there is gone, and this is whole */
		warning("%s: a power cut may lose its name: %s", path, strerror(errno));
	return 0;
}

/* The guest ends only when its file is safe. 0, or 1 told. */
static int save_guest(struct opts *o, const struct guest *g, const char *tmp, const char *path,
		      int fd)
{
	struct json_object *status = NULL;
	static struct qmp q;
	char err[128];
	bool ran;
	int ret;

	if (qmp_need(&q, g->name))
		return 1;
	ret = qmp_command(&q, "query-status", &status, err);
	ran = !strcmp(qmp_text(status, "status"), "running");
	json_object_put(status);
	if (!ret)
		ret = config_now(&q, g->name, err);
	if (!ret && head_write(fd, path, g, false)) {
		qmp_close(&q);
		return 1;
	}
	if (!ret)
		ret = qmp_call_within(&q, STILL_MS, "stop", NULL, -1, NULL, err) || /* it flushes */
		      state_write(&q, fd, err) || keep_file(fd, tmp, path, err);
	qmp_close(&q);
	if ((ret || o->keep) && ran && !run_on(g->name)) {
		fail("%s stands still; `corbel unpause %s' lets it run", g->name, g->name);
		ran = false;
	}
	if (ret)
		return fail("%s: cannot be saved: %s; it %s", g->name, err,
			    ran ? "runs on" : "stays as it was");
	return o->keep ? 0 : end_vmm(g);
}

int cmd_save(struct opts *o)
{
	const char *path = o->args[1];
	char tmp[PATH_MAX];
	struct guest g;
	int fd, ret;

	if (guest_get(o->args[0], true, &g))
		return 1;
	guest_work(&g, "saving");
	catch_signals();
	fd = begin_file(path, tmp);
	ret = fd < 0 ? 1 : save_guest(o, &g, tmp, path, fd);
	if (fd >= 0)
		close(fd);
	if (ret && fd >= 0)
		unlink(tmp);
	else if (!ret && !o->keep)
		guest_remove(g.name, true);
	guest_unlock(&g);
	return ret;
}

/* ---- restore ---- */

/* Exactly so much: of a pipe, too, from which the VMM reads what follows. */
static bool read_all(int fd, char *to, size_t size)
{
	ssize_t n = 1;

	for (; size && n > 0; size -= n > 0 ? n : 0, to += n > 0 ? n : 0)
		n = read(fd, to, size);
	return !size;
}

char *head_read(int fd, const char *path, char *name, bool *template)
{
	char head[HEAD_MAX + CFG_NAME_MAX + 2] = {0}, *config = NULL, zeros[SAVE_ALIGN];
	size_t size = 0, line = 0;

	do
		if (line + 1 == sizeof(head) || !read_all(fd, head + line, 1))
			break;
	while (head[line++] != '\n');
	*template = sscanf(head, TEMPLATE_MAGIC " %zu %31s\n", &size, name) == 2;
	if ((*template || sscanf(head, SAVE_MAGIC " %zu %31s\n", &size, name) == 2) &&
	    size <= CONFIG_MAX)
		config = calloc(size + 1, 1);
	if (config && read_all(fd, config, size) && strlen(config) == size &&
	    read_all(fd, zeros, (SAVE_ALIGN - (line + size) % SAVE_ALIGN) % SAVE_ALIGN))
		return config;
	free(config);
	fail("%s is not a saved guest; `corbel save' makes such files", path);
	return NULL;
}

int state_wait(struct qmp *q, char *err)
{
	static const char *const words[] = {"paused",	 "postmigrate", "running",
					    "prelaunch", "suspended",	NULL};

	return qmp_wait_status(q, "query-status", words, LOAD_MS, err) < 0 ? -1 : 0;
}

/* The state is read, then the guest goes on. */
static int resume_guest(const char *name, bool paused)
{
	static struct qmp q;
	char err[128];
	int ret;

	if (qmp_need(&q, name))
		return 1;
	ret = state_wait(&q, err);
	if (!ret && !paused)
		ret = qmp_command(&q, "cont", NULL, err);
	qmp_close(&q);
	if (!ret)
		return 0;
	guest_show_log(name);
	return fail("%s: its state cannot be read: %s; `corbel destroy %s' ends it", name, err,
		    name);
}

int state_start(int fd, const char *path, const char *accel, char *name)
{
	const struct origin from = {.fd = fd};
	bool template;
	char file[PATH_MAX], *config = head_read(fd, path, name, &template);
	struct cfg c;
	int ret;

	if (!config)
		return 1;
	if (template) {
		free(config);
		return fail("%s is a template; `corbel clone' starts guests like it", path);
	}
	if (cfg_parse(&c, path, config)) {
		ret = fail("%s", c.error);
	} else {
		free(c.name);
		c.name = strdup(name);
		snprintf(file, sizeof(file), "%s/%s.cfg", etc_dir(), name);
		ret = vmm_start(&c, file, config, accel, &from);
	}
	cfg_free(&c);
	free(config);
	return ret;
}

int cmd_restore(struct opts *o)
{
	const char *path = o->args[0];
	char name[CFG_NAME_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return fail("cannot read %s: %s", path, strerror(errno));
	catch_signals();
	ret = state_start(fd, path, o->accel, name) || resume_guest(name, o->paused);
	close(fd);
	return ret;
}
