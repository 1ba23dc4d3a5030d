/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Templates, and guests that begin as one. A template is a file like a saved guest's without the
 * memory, which is in another beside it:
 *
 *	guest, or saved one ---> a VMM whose memory is the file T.ram ---> T: the rest of its state
 *	T, T.ram ---> clones: T.ram mapped privately, so that a page is copied when it is written
 *
 * A clone has a directory of its own under lib_dir(): its file, its disks, and the template if that
 * was made for it alone.
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DIR_MAX (PATH_MAX - 64)
#define LOOK_MS 100

/* ---- what QEMU is told ---- */

/* Whether a state goes without the memory that is in a file. 0, or -1 with why in err. */
static int leave_shared(struct qmp *q, bool leave, char *err)
{
	return state_capability(q, "x-ignore-shared", leave, err);
}

/* Nothing comes or goes by them, and their links are down. */
static int cut_off(struct qmp *q, const struct cfg *c, char *err)
{
	struct json_object *args;
	char id[16];
	int i, ret = 0;

	for (i = 0; i < c->nvifs && !ret; i++) {
		vif_id(&c->vif[i], id);
		args = json_pair("name", json_object_new_string(id));
		json_object_object_add(args, "up", json_object_new_boolean(false));
		ret = qmp_call(q, "set_link", args, -1, NULL, err);
	}
	return ret;
}

/* ---- making a template ---- */

/* The VMM that a template is made in, which is no guest of anybody's. */
struct maker {
	char name[CFG_NAME_MAX + 1], ram[PATH_MAX];
	char dir[DIR_MAX]; /* for its TPM, or "" */
	bool started;
};

static const char *ram_of(const char *path, char *buf)
{
	snprintf(buf, PATH_MAX, "%.*s.ram", PATH_MAX - 5, path);
	return buf;
}

/* Its TPM has a place of its own as long as it runs: what that knows is in the state. 0, or 1 told.
 */
static int maker_dir(struct maker *m, const struct cfg *c)
{
	char dir[DIR_MAX];
	int ret = 0;

	if (c->tpm) {
		snprintf(dir, sizeof(dir), "%s/%s", lib_dir(), m->name);
		ret = make_guest_dir(dir);
		if (!ret)
			strcpy(m->dir, dir);
	}
	return ret;
}

/* It begins to read the state from fd. 0, or 1 told. */
static int maker_start(struct maker *m, const char *path, const char *config, const char *accel,
		       int fd)
{
	const struct origin from = {.fd = fd, .ram = m->ram, .ram_shared = true};
	char ram[PATH_MAX];
	struct cfg c;
	int ret, out;

	snprintf(m->name, sizeof(m->name), "template-%d", getpid());
	if (!access(path, F_OK))
		return fail("%s is there already; remove it and its memory, or give another name",
			    path);
	/* The VMM gives it its size; nobody else may read what the guest knows. */
	out = open(ram_of(path, ram), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return fail("cannot write %s: %s", ram, strerror(errno));
	close(out);
	strcpy(m->ram, ram);
	if (cfg_parse(&c, path, config)) {
		ret = fail("%s", c.error);
	} else {
		free(c.name);
		c.name = strdup(m->name);
		ret = c.name ? maker_dir(m, &c) : fail("out of memory");
		ret = ret || vmm_start(&c, path, config, accel, &from);
		m->started = !ret;
	}
	cfg_free(&c);
	return ret;
}

/* The guest's memory is on the disk before the file that belongs to it. 0, or -1 with why in err.
 */
static int memory_keep(const struct maker *m, char *err)
{
	int fd = open(m->ram, O_RDWR | O_CLOEXEC), ret = fd < 0 || fsync(fd) ? -1 : 0;

	if (ret)
		snprintf(err, 128, "its memory: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

/* It has read all; the rest of its state becomes the file. 0, or -1 with why in err. */
static int maker_write(struct maker *m, const char *path, char *err)
{
	static struct qmp q;
	char tmp[PATH_MAX];
	struct guest g;
	int fd, ret = -1;

	snprintf(err, 128, "its VMM ended");
	if (guest_load(m->name, &g) || qmp_open(&q, m->name, 5000))
		return -1;
	snprintf(err, 128, "see above");
	fd = begin_file(path, tmp);
	if (fd >= 0) {
		ret = state_wait(&q, err) || leave_shared(&q, true, err) ||
		      head_write(fd, path, &g, true) || state_write(&q, fd, err) ||
		      memory_keep(m, err) || keep_file(fd, tmp, path, err);
		close(fd);
		if (ret)
			unlink(tmp);
	}
	qmp_close(&q);
	return ret ? -1 : 0;
}

/* Its disks are free then. */
static void maker_end(struct maker *m, bool failed)
{
	struct guest g;

	if (failed && m->started)
		guest_show_log(m->name);
	if (m->started && !guest_get(m->name, false, &g)) {
		end_vmm(&g);
		guest_unlock(&g);
	}
	if (*m->name)
		guest_remove(m->name, false);
	if (*m->dir && tpm_wait_end(m->name))
		RUN("rm", "-rf", "--", m->dir);
	if (failed && *m->ram)
		unlink(m->ram);
}

static int template_of_file(const char *from, const char *path, const char *accel)
{
	char name[CFG_NAME_MAX + 1], *config, err[128];
	struct maker m = {0};
	int fd = open(from, O_RDONLY | O_CLOEXEC), ret = 1;
	bool template;

	if (fd < 0)
		return fail("cannot read %s: %s", from, strerror(errno));
	config = head_read(fd, from, name, &template);
	if (config && template)
		fail("%s is a template already", from);
	else if (config)
		ret = maker_start(&m, path, config, accel, fd);
	if (!ret && maker_write(&m, path, err))
		ret = fail("%s: cannot make %s: %s", from, path, err);
	maker_end(&m, ret);
	free(config);
	close(fd);
	return ret;
}

/* The guest's state goes to the maker while it runs, then it stands still. 0, or -1, in err. */
static int give_state(struct qmp *q, const struct guest *g, const char *path, const char *accel,
		      struct maker *m, char *err)
{
	char file[PATH_MAX], *config;
	int s[2], ret = -1;

	if (config_now(q, g->name, err))
		return -1;
	config = config_read(guest_path(g->name, "config", file));
	snprintf(err, 128, "see above");
	if (config && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s)) {
		snprintf(err, 128, "%s", strerror(errno));
	} else if (config) {
		ret = maker_start(m, path, config, accel, s[1]);
		close(s[1]);
		if (!ret)
			ret = state_write(q, s[0], err) || maker_write(m, path, err);
		close(s[0]);
	}
	free(config);
	return ret ? -1 : 0;
}

/*
 * While the guest stands still, and its disks are written: copy them to the clone's directory, or
 * do nothing if that is NULL. 0, or 1 told.
 */
static int copy_disks(const struct guest *g, const char *dir);

/* If it is to run on it does so, whatever fails. 0, or 1 told. */
static int template_of_guest(const char *name, const char *path, const char *dir, bool keep,
			     const char *accel)
{
	struct json_object *status = NULL;
	static struct qmp q;
	struct maker m = {0};
	char err[128] = "";
	struct guest g;
	bool ran;
	int ret;

	if (guest_get(name, true, &g))
		return 1;
	guest_work(&g, "copying");
	ret = qmp_need(&q, name) ? 1 : 0;
	if (ret) {
		guest_unlock(&g);
		return ret;
	}
	ret = qmp_command(&q, "query-status", &status, err);
	ran = !strcmp(qmp_text(status, "status"), "running");
	json_object_put(status);
	if (ret || give_state(&q, &g, path, accel, &m, err))
		ret = fail("%s: cannot make a template: %s", name, err);
	qmp_close(&q);
	maker_end(&m, ret);
	if (!ret)
		ret = copy_disks(&g, dir);
	if ((ret || keep) && ran && !run_on(name))
		ret = fail("%s stands still; `corbel unpause %s' lets it run", name, name);
	if (!ret && !keep)
		ret = end_vmm(&g);
	if (!ret && !keep)
		guest_remove(name, true);
	guest_unlock(&g);
	return ret ? 1 : 0;
}

int cmd_template(struct opts *o)
{
	const char *from = o->args[0];

	catch_signals();
	return strchr(from, '/') ? template_of_file(from, o->args[1], o->accel)
				 : template_of_guest(from, o->args[1], NULL, o->keep, o->accel);
}

/* ---- the clone's disks and file ---- */

static pid_t start_program(char *const argv[])
{
	pid_t pid = fork();

	if (!pid) {
		execvp(argv[0], argv);
		fprintf(stderr, "corbel: cannot run %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	return pid;
}

static bool has_done(pid_t pid)
{
	int status = -1;

	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

bool run_program(char *const argv[])
{
	return has_done(start_program(argv));
}

/* It may take long: a signal to us ends it, too. */
static bool copy_file(char *from, char *to)
{
	pid_t pid = start_program((char *[]){"cp", "--", from, to, NULL});
	struct pollfd p = {.fd = pid > 0 ? syscall(SYS_pidfd_open, pid, 0) : -1, .events = POLLIN};
	int sig;

	while (p.fd >= 0 && poll(&p, 1, LOOK_MS) <= 0) {
		sig = signal_take();
		if (sig)
			kill(pid, sig);
	}
	if (p.fd >= 0)
		close(p.fd);
	return has_done(pid);
}

static const char *disk_path(const char *dir, int i, bool qcow2, char *buf)
{
	snprintf(buf, PATH_MAX, "%s/disk%d.%s", dir, i, qcow2 ? "qcow2" : "img");
	return buf;
}

static int copy_disks(const struct guest *g, const char *dir)
{
	char file[PATH_MAX], to[PATH_MAX], *text;
	struct cfg c;
	int i, ret = 0;

	if (!dir)
		return 0;
	text = config_read(guest_path(g->name, "config", file));
	if (!text)
		return 1;
	if (cfg_parse(&c, file, text))
		ret = fail("%s", c.error);
	for (i = 0; i < c.ndisks && !ret; i++)
		if (!c.disk[i].readonly &&
		    !copy_file(c.disk[i].path, (char *)disk_path(dir, i, c.disk[i].qcow2, to)))
			ret = fail("%s: cannot copy its disk %s", g->name, c.disk[i].path);
	cfg_free(&c);
	free(text);
	return ret;
}

/* Make the clone's own of this disk, unless it is there or is only read. 0, or 1 told. */
static int own_disk(struct cfg_disk *d, const char *dir, int i)
{
	char to[PATH_MAX], *full;
	bool made;

	if (d->readonly)
		return 0;
	disk_path(dir, i, d->qcow2, to);
	made = !access(to, F_OK); /* by copy_disks() */
	if (!made) {
		full = realpath(d->path, NULL);
		if (!full)
			return fail("disk %s: %s", d->path, strerror(errno));
		disk_path(dir, i, true, to);
		made = RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F",
			   d->qcow2 ? "qcow2" : "raw", "-b", full, to);
		free(full);
		d->qcow2 = true;
	}
	free(d->path);
	d->path = strdup(to);
	return made && d->path ? 0 : fail("cannot make %s; package qemu-utils has qemu-img", to);
}

int random_uuid(char uuid[37])
{
	FILE *random = fopen("/proc/sys/kernel/random/uuid", "re");
	bool there = random && fgets(uuid, 37, random);

	if (random)
		fclose(random);
	return there ? 0 : -1;
}

/* The template's file with what is the clone's own. malloc, or NULL. */
static char *clone_text(const char *config, const struct cfg *c, const char *name)
{
	static const char *const own[] = {"name", "uuid", "disk", "vif", NULL};
	char *rest = cfg_without(config, own), *text = NULL, uuid[37];
	size_t size;
	FILE *f = rest && !random_uuid(uuid) ? open_memstream(&text, &size) : NULL;

	if (f) {
		fprintf(f, "%s\nname = \"%s\"\nuuid = \"%s\"\n", rest, name, uuid);
		if (c->ndisks)
			write_disks(f, c);
		if (c->nvifs)
			write_vifs(f, c, false);
		fclose(f);
	}
	free(rest);
	return text;
}

/* ---- the clone ---- */

struct clone {
	const char *name, *accel, *template;
	char dir[DIR_MAX], file[PATH_MAX];
	bool paused, started;
};

/* It reads its state, and stands still. 0, or -1 with why in err. */
static int clone_load(struct qmp *q, int fd, const struct cfg *c, char *err)
{
	if (leave_shared(q, true, err) || state_read(q, fd, err) || state_wait(q, err) ||
	    leave_shared(q, false, err)) /* for `corbel save' */
		return -1;
	return cut_off(q, c, err);
}

/* What stays the template's, or the first guest's */
static void clone_warn(const struct cfg *c)
{
	if (c->screen.spice)
		warning("%s has no SPICE server: the port of its file is not its own", c->name);
}

/* One more, with an address of its own, which stands in the guest's file from now on. */
static void clone_vif(struct qmp *q, const struct cfg *c, const struct cfg_vif *old)
{
	struct cfg_vif vif = {
	    .bridge = old->bridge, .model = old->model, .user = old->user, .port = -1};
	char err[128];

	if (vif_attach(q, c->name, &vif, err))
		warning("%s: cannot attach a network interface: %s", c->name, err);
}

/*
 * In place of the interfaces with the template's addresses, which are cut off. Where some are
 * behind ports, the template was a clone itself, or was given one instead: those are in use.
 */
static void clone_network(struct qmp *q, struct cfg *c)
{
	bool later = false;
	int i;

	clone_warn(c);
	if (c->nvifs && !cfg_is_pc(c))
		warning("%s is cut off from its networks, since it has the template's addresses "
			"there; a PC would get new interfaces",
			c->name);
	for (i = 0; i < c->nvifs; i++)
		later |= c->vif[i].port >= 0;
	for (i = 0; i < c->nvifs && cfg_is_pc(c); i++)
		if (later == (c->vif[i].port >= 0))
			clone_vif(q, c, &c->vif[i]);
}

static int clone_go(struct clone *k, struct cfg *c, const char *text, int fd)
{
	char ram[PATH_MAX], err[128];
	const struct origin from = {.fd = -1, .ram = ram_of(k->template, ram)};
	static struct qmp q;
	int ret;

	if (access(ram, R_OK))
		return fail("%s: %s; a template is two files", ram, strerror(errno));
	if (vmm_start(c, k->file, text, k->accel, &from))
		return 1;
	k->started = true;
	if (qmp_need(&q, k->name))
		return 1;
	ret = clone_load(&q, fd, c, err);
	if (!ret)
		clone_network(&q, c);
	if (!ret && !k->paused)
		ret = qmp_command(&q, "cont", NULL, err);
	qmp_close(&q);
	return ret ? fail("%s: it cannot go on from %s: %s", k->name, k->template, err) : 0;
}

int write_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	bool written = f && fputs(text, f) >= 0;

	if (f && !fclose(f) && written)
		return 0;
	return fail("cannot write %s: %s", path, strerror(errno));
}

/* As config, the template's file, says, but for what is its own. 0, or 1 told. */
static int clone_config(struct clone *k, const char *config, int fd)
{
	struct cfg c, own;
	char *text = NULL;
	int i, ret = cfg_parse(&c, k->template, config) ? fail("%s", c.error) : 0;

	for (i = 0; i < c.ndisks && !ret; i++)
		ret = own_disk(&c.disk[i], k->dir, i);
	if (!ret)
		text = clone_text(config, &c, k->name);
	if (!ret)
		ret = text ? write_text(k->file, text) : fail("cannot make %s", k->file);
	if (!ret) {
		ret = cfg_parse(&own, k->file, text) ? fail("%s", own.error)
						     : clone_go(k, &own, text, fd);
		cfg_free(&own);
	}
	cfg_free(&c);
	free(text);
	return ret;
}

static int clone_start(struct clone *k)
{
	char name[CFG_NAME_MAX + 1], *config;
	int fd = open(k->template, O_RDONLY | O_CLOEXEC), ret;
	bool template;

	if (fd < 0)
		return fail("cannot read %s: %s", k->template, strerror(errno));
	config = head_read(fd, k->template, name, &template);
	ret = config ? clone_config(k, config, fd) : 1;
	free(config);
	close(fd);
	return ret;
}

/* What has been made is taken away again. */
static void clone_undo(const struct clone *k)
{
	struct guest g;

	if (k->started && !guest_get(k->name, false, &g)) {
		guest_show_log(k->name);
		if (!end_vmm(&g))
			guest_remove(k->name, true);
		guest_unlock(&g);
	}
	tpm_wait_end(k->name);
	RUN("rm", "-rf", "--", (char *)k->dir);
}

/* Is the file of this name a template? -1, told: it is neither that nor a saved guest's. */
static int is_template(const char *path)
{
	char name[CFG_NAME_MAX + 1], *config;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool template;

	if (fd < 0) {
		fail("cannot read %s: %s", path, strerror(errno));
		return -1;
	}
	config = head_read(fd, path, name, &template);
	close(fd);
	free(config);
	return config ? template : -1;
}

int make_guest_dir(const char *dir)
{
	if (mkdir(lib_dir(), 0755) && errno != EEXIST)
		return fail("cannot make %s: %s", lib_dir(), strerror(errno));
	if (!mkdir(dir, 0700))
		return 0;
	if (errno == EEXIST)
		return fail("%s is there already, with the disks of a guest of this name; remove "
			    "it, or choose another name",
			    dir);
	return fail("cannot make %s: %s", dir, strerror(errno));
}

int cmd_clone(struct opts *o)
{
	const char *from = o->args[0], *why = cfg_bad_name(o->args[1]);
	struct clone k = {.name = o->args[1], .accel = o->accel, .paused = o->paused};
	bool of_file = strchr(from, '/');
	char own[PATH_MAX], ram[PATH_MAX];
	int template = of_file ? is_template(from) : 0, ret = 0;

	if (why)
		return fail("\"%s\" is not a guest's name: %s", k.name, why);
	if (template <0)
		return 1;
	snprintf(k.dir, sizeof(k.dir), "%s/%s", lib_dir(), k.name);
	snprintf(k.file, sizeof(k.file), "%s/%s.cfg", k.dir, k.name);
	if (make_guest_dir(k.dir))
		return 1;
	catch_signals();
	snprintf(own, sizeof(own), "%s/template", k.dir);
	k.template = template ? from : own;
	if (!template)
		ret = of_file ? template_of_file(from, own, k.accel)
			      : template_of_guest(from, own, k.dir, true, k.accel);
	if (!ret)
		ret = clone_start(&k);
	if (!template) { /* the VMM has them open */
		unlink(own);
		unlink(ram_of(own, ram));
	}
	if (ret)
		clone_undo(&k);
	return ret;
}
