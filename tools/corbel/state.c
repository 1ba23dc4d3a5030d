/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests' state: one directory each under run_dir(), no daemon.
 *
 *	lock		flock()ed by whoever changes the guest
 *	vmm.json	written by the process that becomes the VMM, just before it does
 *	config		the guest's file as it was when it started, or with what it was given later
 *	vnc-password, spice-password	what QEMU reads them from
 *	mem-max		how many MiB the guest may have, if that is less than it was started with
 *	mem-set		how many MiB it was last told to have
 *	vmm.log		stdout and stderr of the VMM; a link into log
 *	qmp, console	links to sockets of the VMM, whose names no other VMM's have: it removes
 *			them when it ends, by the paths at which it has made them
 *	console.log	what the guest wrote; a link into log
 *	log		a file system of its own, which what the guest writes can fill
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOCK_WAIT_MS 10000
#define LOG_LINES    15
#define CONNECT_S    3
#define LOG_SIZE     "8m" /* of a guest's logs together: corbel(8) */

static void sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

const char *guest_path(const char *name, const char *file, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/%s%s%s", run_dir(), name, *file ? "/" : "", file);
	return buf;
}

int guest_connect(const char *name, const char *socket_name)
{
	const struct timeval limit = {.tv_sec = CONNECT_S}, none = {0};
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char path[PATH_MAX];
	size_t len = strlen(guest_path(name, socket_name, path));
	int s, err;

	if (len >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(a.sun_path, path, len);
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -1;
	/* A VMM that accepts nothing has its queue full in the end. */
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(s, (struct sockaddr *)&a, sizeof(a))) {
		err = errno == EAGAIN ? ETIMEDOUT : errno;
		close(s);
		errno = err;
		return -1;
	}
	setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	return s;
}

int mkdir_run(void)
{
	if (!mkdir(run_dir(), 0755) || errno == EEXIST)
		return 0;
	fail("cannot make %s: %s; run as root, or set CORBEL_RUN to a directory of yours",
	     run_dir(), strerror(errno));
	return -1;
}

/* ---- processes ---- */

/* Fields from the third (state) on of /proc/PID/stat, or NULL. */
static const char *read_stat(pid_t pid, char *buf, size_t size)
{
	char path[64], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n <= 0)
		return NULL;
	buf[n] = 0;
	p = strrchr(buf, ')'); /* the name in () may hold anything */
	return p && p[1] ? p + 2 : NULL;
}

static uint64_t stat_field(const char *s, int n)
{
	for (n -= 3; n && s; n--)
		s = strchr(s + 1, ' ');
	return s ? strtoull(s, NULL, 10) : 0;
}

uint64_t process_start(pid_t pid)
{
	char buf[1024];
	const char *s = read_stat(pid, buf, sizeof(buf));

	return s && *s != 'Z' && *s != 'X' ? stat_field(s, 22) : 0;
}

bool process_alive(pid_t pid, uint64_t start_time)
{
	return pid > 0 && start_time && process_start(pid) == start_time;
}

bool process_in(pid_t pid, const char *group)
{
	char path[64], line[1024];
	bool in = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	f = fopen(path, "re");
	while (f && !in && fgets(line, sizeof(line), f))
		in = strstr(line, group);
	if (f)
		fclose(f);
	return in;
}

#define PF_EXITING 4 /* Linux' include/linux/sched.h */

bool process_is_ending(pid_t pid)
{
	char buf[1024];
	const char *s = read_stat(pid, buf, sizeof(buf));

	return s && stat_field(s, 9) & PF_EXITING;
}

uint64_t process_cpu_ns(pid_t pid)
{
	char buf[1024];
	const char *s = read_stat(pid, buf, sizeof(buf));

	return s ? (stat_field(s, 14) + stat_field(s, 15)) * (1000000000ull / sysconf(_SC_CLK_TCK))
		 : 0;
}

#define CMDLINE_MOST 65536

/* -name NAME[,OPTION...] or -name guest=NAME[,OPTION...]; a comma of the name is doubled. */
bool process_guest_name(pid_t pid, char *name, size_t size)
{
	static char line[CMDLINE_MOST + 1]; /* it may be anybody's, and as long as he likes */
	char path[64], *from = line;
	ssize_t len = -1;
	size_t n = 0;
	bool found = false;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		len = read(fd, line, CMDLINE_MOST);
		close(fd);
	}
	if (len <= 0)
		return false;
	line[len] = 0;
	for (; !found && from < line + len; from += strlen(from) + 1)
		found = !strcmp(from, "-name");
	if (!found || from >= line + len)
		return false;
	if (!strncmp(from, "guest=", 6))
		from += 6;
	for (; *from && n + 1 < size; from++) {
		if (*from == ',' && *++from != ',')
			break;
		name[n++] = *from;
	}
	if (n)
		name[n] = 0;
	return n;
}

bool guest_wait_end(const struct guest *g, long ms)
{
	for (; process_alive(g->pid, g->start_time); ms -= 20) {
		if (ms <= 0)
			return false;
		sleep_ms(20);
	}
	return true;
}

/* ---- records ---- */

static int64_t get_int(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_int64(v) : 0;
}

int guest_load(const char *name, struct guest *g)
{
	struct json_object *o, *v;
	char path[PATH_MAX];

	memset(g, 0, sizeof(*g));
	g->lock = -1;
	snprintf(g->name, sizeof(g->name), "%s", name);
	o = json_object_from_file(guest_path(name, "vmm.json", path));
	if (!o) {
		errno = ENOENT;
		return -1;
	}
	g->pid = get_int(o, "pid");
	g->start_time = get_int(o, "start_time");
	g->vcpus = get_int(o, "vcpus");
	g->memory_mib = get_int(o, "memory_mib");
	if (json_object_object_get_ex(o, "config", &v))
		snprintf(g->config, sizeof(g->config), "%s", json_object_get_string(v));
	json_object_put(o);
	g->alive = process_alive(g->pid, g->start_time);
	return 0;
}

int guest_record(const struct guest *g)
{
	struct json_object *o = json_object_new_object();
	char path[PATH_MAX], tmp[PATH_MAX];
	int err;

	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	json_object_object_add(o, "start_time", json_object_new_int64(process_start(getpid())));
	json_object_object_add(o, "vcpus", json_object_new_int(g->vcpus));
	json_object_object_add(o, "memory_mib", json_object_new_int64(g->memory_mib));
	json_object_object_add(o, "config", json_object_new_string(g->config));
	guest_path(g->name, "vmm.json.new", tmp);
	err = json_object_to_file(tmp, o);
	json_object_put(o);
	return err || rename(tmp, guest_path(g->name, "vmm.json", path)) ? -1 : 0;
}

static const char *const logs[] = {"vmm.log", "console.log"};
#define NLOGS (sizeof(logs) / sizeof(logs[0]))

static bool is_mounted(const char *name)
{
	char path[PATH_MAX];
	struct stat in, above;

	return !stat(guest_path(name, "log", path), &in) &&
	       !stat(guest_path(name, "", path), &above) && in.st_dev != above.st_dev;
}

/* More than half of what there is for them is used up. */
static bool logs_are_long(const char *name)
{
	char path[PATH_MAX];
	struct statvfs s;

	return !statvfs(guest_path(name, "log", path), &s) && s.f_bavail < s.f_blocks / 2;
}

static bool mount_logs(const char *name)
{
	char path[PATH_MAX];

	mkdir(guest_path(name, "log", path), 0700);
	if (!mount("corbel", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		   "size=" LOG_SIZE ",mode=0700"))
		return true;
	warning("%s: cannot mount %s: %s; what the guest writes may fill %s", name, path,
		strerror(errno), run_dir());
	return false;
}

/* In a directory of somebody's own he looks to that himself. */
void guest_bound_logs(const char *name)
{
	char path[PATH_MAX], to[64];
	size_t i;

	if (getenv("CORBEL_RUN"))
		return;
	if (is_mounted(name)) {
		if (logs_are_long(name) && truncate(guest_path(name, "console.log", path), 0))
			warning("%s: %s", path, strerror(errno));
	} else if (!mount_logs(name)) {
		return;
	}
	for (i = 0; i < NLOGS; i++) {
		snprintf(to, sizeof(to), "log/%s", logs[i]);
		unlink(guest_path(name, logs[i], path));
		if (symlink(to, path))
			warning("%s: %s", path, strerror(errno));
	}
}

/* This one of its sockets, and where it leads. */
static void remove_socket(const char *name, const char *file)
{
	char path[PATH_MAX], to[64];
	ssize_t n = readlink(guest_path(name, file, path), to, sizeof(to) - 1);

	if (n > 0) {
		to[n] = 0;
		unlink(guest_path(name, to, path));
	}
	unlink(guest_path(name, file, path));
}

const char *guest_socket(const char *name, const char *file, char *buf)
{
	char path[PATH_MAX], to[64];

	snprintf(to, sizeof(to), "%s.%lx", file, now_ms());
	if (symlink(to, guest_path(name, file, path)))
		warning("%s: %s", path, strerror(errno));
	return guest_path(name, to, buf);
}

void guest_remove(const char *name, bool keep_log)
{
	static const char *const files[] = {"vmm.json", "vmm.json.new", "console.lock",
					    "config",	"config.new",	"mem-max",
					    "mem-set",	"vnc-password", "spice-password"};
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(guest_path(name, files[i], path));
	remove_socket(name, "qmp");
	remove_socket(name, "console");
	if (keep_log)
		return;
	for (i = 0; i < NLOGS; i++)
		unlink(guest_path(name, logs[i], path));
	if (is_mounted(name))
		umount2(guest_path(name, "log", path), MNT_DETACH);
	rmdir(guest_path(name, "log", path));
	unlink(guest_path(name, "lock", path));
	rmdir(guest_path(name, "", path));
}

/* ---- locks ---- */

/* Open and lock the file; -EAGAIN when its directory was removed meanwhile. */
static int lock_file(const char *path, long *ms)
{
	struct stat a, b;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (*ms <= 0) {
			close(fd);
			return -EBUSY;
		}
		sleep_ms(50);
		*ms -= 50;
	}
	if (!fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino && !ftruncate(fd, 0))
		return fd;
	close(fd);
	return -EAGAIN;
}

int guest_lock(const char *name, bool create, struct guest *g)
{
	char dir[PATH_MAX], path[PATH_MAX];
	const char *why = cfg_bad_name(name);
	long ms = LOCK_WAIT_MS;
	int fd;

	g->lock = -1;
	if (why) {
		fail("\"%s\" is not a guest's name: %s", name, why);
		return -1;
	}
	guest_path(name, "", dir);
	guest_path(name, "lock", path);
	do {
		if (create && mkdir(dir, 0700) && errno != EEXIST) {
			fail("cannot make %s: %s", dir, strerror(errno));
			return -1;
		}
		fd = lock_file(path, &ms);
	} while (fd == -EAGAIN || (create && fd == -ENOENT));
	g->lock = fd;
	if (fd >= 0)
		return 0;
	if (fd == -ENOENT && pid_of_other(name))
		fail("%s was not started by corbel: who has started its VMM, process %d, manages "
		     "it, "
		     "as `virsh' for libvirt; what is the hypervisor's works: stat, vcpu-list, "
		     "sched, vcpu-pin, cpupool-migrate",
		     name, pid_of_other(name));
	else if (fd == -ENOENT)
		fail("there is no guest %s; `corbel list' shows those that run, `corbel create "
		     "FILE' starts one",
		     name);
	else if (fd == -EBUSY)
		fail("%s: another corbel command is at work on it; try again when that has ended",
		     name);
	else
		fail("%s: %s", path, strerror(-fd));
	return -1;
}

void guest_unlock(struct guest *g)
{
	if (g->lock >= 0)
		close(g->lock);
	g->lock = -1;
}

void guest_work(const struct guest *g, const char *word)
{
	if (pwrite(g->lock, word, strlen(word), 0) < 0)
		warning("%s: it will not be shown as %s: %s", g->name, word, strerror(errno));
}

/* The word of who has ended without a lock to tell of it means nothing. */
bool guest_is_at_work(const char *name, char *word, size_t size)
{
	char path[PATH_MAX];
	int fd = open(guest_path(name, "lock", path), O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;

	if (fd < 0)
		return false;
	if (flock(fd, LOCK_SH | LOCK_NB))
		n = read(fd, word, size - 1);
	close(fd);
	word[n > 0 ? n : 0] = 0;
	return n > 0;
}

int guest_get(const char *name, bool must_live, struct guest *g)
{
	char log[PATH_MAX];
	int fd;

	if (guest_lock(name, false, g))
		return -1;
	fd = g->lock;
	if (guest_load(name, g)) {
		if (access(guest_path(name, "vmm.log", log), F_OK))
			fail("there is no guest %s; `corbel list' shows those that run", name);
		else
			fail("there is no guest %s; it was ended, or its last start failed (see "
			     "%s)",
			     name, log);
	} else if (must_live && !g->alive) {
		fail("%s has ended; `corbel start' or `corbel create' starts it again", name);
		guest_show_log(name);
	} else {
		g->lock = fd;
		return 0;
	}
	close(fd);
	return -1;
}

/* ---- listing ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct guest *)a)->name, ((const struct guest *)b)->name);
}

int guest_all(struct guest **out)
{
	DIR *d = opendir(run_dir());
	struct guest *all = NULL, *more, g;
	struct dirent *e;
	int n = 0;

	*out = NULL;
	if (!d && errno == ENOENT)
		return 0;
	if (!d) {
		fail("cannot read %s: %s", run_dir(), strerror(errno));
		return -1;
	}
	while ((e = readdir(d))) {
		if (cfg_bad_name(e->d_name) || guest_load(e->d_name, &g))
			continue;
		more = realloc(all, (n + 1) * sizeof(*all));
		if (!more)
			break;
		all = more;
		all[n++] = g;
	}
	closedir(d);
	if (n)
		qsort(all, n, sizeof(*all), by_name);
	*out = all;
	return n;
}

void guest_show_log(const char *name)
{
	char path[PATH_MAX], *line[LOG_LINES] = {0};
	FILE *f = fopen(guest_path(name, "vmm.log", path), "re");
	size_t size = 0;
	char *s = NULL;
	int i, n = 0;

	if (!f)
		return;
	while (getline(&s, &size, f) > 0) {
		s[strcspn(s, "\n")] = 0;
		free(line[n % LOG_LINES]);
		line[n++ % LOG_LINES] = strdup(s);
	}
	free(s);
	fclose(f);
	if (n)
		fprintf(stderr, "last lines of %s:\n", path);
	for (i = n > LOG_LINES ? n - LOG_LINES : 0; i < n; i++)
		fprintf(stderr, "  %s\n",
			line[i % LOG_LINES] ? printable(line[i % LOG_LINES], false) : "");
	for (i = 0; i < LOG_LINES; i++)
		free(line[i]);
}
