/* SPDX-License-Identifier: GPL-2.0-only */
/* Starting the VMM of a guest: what must be there, its process and the TPM beside it. */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS 180000 /* of a busy dom0: an idle one needs one second */
#define TPM_MS	 10000

/* ---- checks that QEMU would fail late or obscurely ---- */

static int check_file(const char *what, char **path, bool write)
{
	char *full;

	if (!*path || !**path)
		return 0;
	full = realpath(*path, NULL);
	if (!full || access(full, write ? R_OK | W_OK : R_OK)) {
		fail("%s %s: %s%s", what, *path, strerror(errno),
		     errno == ENOENT			 ? "; give the path of a file that exists"
		     : errno == EACCES || errno == EROFS ? "; check its permissions"
							 : "");
		free(full);
		return -1;
	}
	free(*path);
	*path = full;
	return 0;
}

static int check_files(struct cfg *c)
{
	int i;

	if (check_file("kernel", &c->kernel, false) || check_file("ramdisk", &c->ramdisk, false))
		return -1;
	for (i = 0; i < c->ndisks; i++)
		if (check_file("disk", &c->disk[i].path, !c->disk[i].readonly))
			return -1;
	return 0;
}

/* Where PATH has a program, in path of PATH_MAX. False: nowhere. */
static bool find_program(const char *name, char *path)
{
	const char *dir = getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin", *end;

	for (; *dir; dir = *end ? end + 1 : end) {
		end = strchrnul(dir, ':');
		snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - dir), dir, name);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

static int find_vmm(struct start *s)
{
	/* Debian's microvm build has no accelerator but kvm. */
	bool full = cfg_is_pc(s->c) || is_tcg(s);
	const char *name = s->c->vmm ? s->c->vmm
			   : full    ? "qemu-system-x86_64"
				     : "qemu-system-x86_64-microvm";

	if (strchr(name, '/')) {
		snprintf(s->vmm, sizeof(s->vmm), "%s", name);
		if (!access(name, X_OK))
			return 0;
		fail("%s: %s; set device_model_override to a VMM that can be run", name,
		     strerror(errno));
		return -1;
	}
	if (find_program(name, s->vmm))
		return 0;
	fail("%s is not in PATH; install QEMU (package qemu-system-x86), or name another VMM with "
	     "device_model_override",
	     name);
	return -1;
}

static int find_tpm(struct start *s)
{
	if (!s->c->tpm || find_program("swtpm", s->swtpm))
		return 0;
	fail("tpm = 1 wants swtpm, which is not in PATH; install the package swtpm");
	return -1;
}

/* Do guests have SVM or VMX? Yes, if there is no /dev/kvm to ask. */
static bool can_nest(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool can = kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE) > 0;

	if (kvm >= 0)
		close(kvm);
	return can;
}

static int check_host(struct start *s)
{
	struct sockaddr_un a;
	char path[PATH_MAX];

	if (strlen(guest_path(s->g.name, "console.0123456789abcdef", path)) >= sizeof(a.sun_path)) {
		fail("%s is too long for a socket's path (%zu characters at most); set CORBEL_RUN "
		     "to a shorter "
		     "directory",
		     path, sizeof(a.sun_path) - 1);
		return -1;
	}
	if (!strncmp(s->accel, "kvm", 3) && access("/dev/kvm", R_OK | W_OK)) {
		fail("/dev/kvm: %s; %s", strerror(errno),
		     errno == EACCES
			 ? "run as root"
			 : "corbel.ko is not loaded (try `modprobe corbel'), or use --accel=tcg");
		return -1;
	}
	if (check_files(s->c) || find_vmm(s) || find_tpm(s))
		return -1;
	if (s->c->nested && !can_nest())
		warning("nestedhvm = 1: guests can have guests with Corbel booted with nested=on; "
			"this one cannot");
	return 0;
}

static int take_devices(struct start *s)
{
	int i;

	for (i = 0; i < s->c->npci; i++)
		if (pci_take(&s->c->pci[i]))
			return -1;
	return 0;
}

static int open_taps(struct start *s)
{
	int i;

	for (i = 0; i < s->c->nvifs; i++) {
		if (s->c->vif[i].user)
			continue;
		s->tap[i] = tap_open(s->c->vif[i].bridge, s->tap_name[i]);
		if (s->tap[i] < 0)
			return -1;
	}
	return 0;
}

/* ---- scopes of systemd ---- */

/*
 * The processes of a login are ended as soon as dom0 goes down: there a guest and its TPM get
 * scopes of their own, which are ended when corbel.service has shut down what is in them. Back if
 * that cannot be.
 */
static void exec_in_scope(const struct start *s, const char *kind, char *const command[])
{
	char what[64];
	char *argv[MAX_ARGV + 16] = {"systemd-run",
				     "--scope",
				     "--quiet",
				     "--collect",
				     "--description",
				     what,
				     "--property",
				     "Before=corbel.service",
				     "--"};
	int n = 0, i;

	if (geteuid() || access("/run/systemd/system", F_OK) ||
	    !process_in(getpid(), "/user.slice/"))
		return;
	snprintf(what, sizeof(what), "%s %s of Corbel", kind, s->g.name);
	while (argv[n])
		n++;
	for (i = 0; command[i]; i++)
		argv[n + i] = command[i];
	execvp(argv[0], argv);
	fprintf(stderr, "cannot run systemd-run: %s; dom0's end will cut it off\n",
		strerror(errno));
}

/* ---- the TPM: swtpm beside QEMU ---- */

bool tpm_wait_end(const char *guest)
{
	struct timespec step = {0, 10000000};
	long deadline = now_ms() + TPM_MS;
	struct flock held = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s/tpm/.lock", lib_dir(), guest);
	fd = open(path, O_RDWR | O_CLOEXEC);
	while (fd >= 0 && !fcntl(fd, F_GETLK, &held) && held.l_type != F_UNLCK &&
	       now_ms() < deadline) {
		held.l_type = F_WRLCK;
		nanosleep(&step, NULL);
	}
	if (fd < 0)
		return true; /* none has been there */
	close(fd);
	return held.l_type == F_UNLCK;
}

/* What it stores is the guest's for good, as its disks are. 0, or -1 told. */
static int open_tpm(struct start *s)
{
	char dir[PATH_MAX];

	if (!s->c->tpm)
		return 0;
	snprintf(dir, sizeof(dir), "%s/%s", lib_dir(), s->c->name);
	snprintf(s->tpm_dir, sizeof(s->tpm_dir), "%s/tpm", dir);
	mkdir(lib_dir(), 0755);
	mkdir(dir, 0700);
	if (mkdir(s->tpm_dir, 0700) && errno != EEXIST) {
		fail("cannot make %s: %s", s->tpm_dir, strerror(errno));
		return -1;
	}
	if (!tpm_wait_end(s->c->name)) {
		fail("%s: another process has this TPM; end that", s->tpm_dir);
		return -1;
	}
	if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->tpm))
		return 0;
	fail("cannot connect a TPM: %s", strerror(errno));
	return -1;
}

static void close_tpm(const struct start *s)
{
	int i;

	for (i = 0; i < 2; i++)
		if (s->tpm[i] >= 0)
			close(s->tpm[i]);
}

/*
 * In what becomes the VMM, whose child it is. When that shuts the connection it ends by itself;
 * should that have died before, or never come so far, it is told to.
 */
static void run_tpm(const struct start *s)
{
	char state[sizeof(s->tpm_dir) + 16], control[48];
	char *argv[] = {(char *)s->swtpm, "socket", "--tpm2",	   "--tpmstate", state,
			"--ctrl",	  control,  "--terminate", NULL};
	pid_t vmm = getpid();

	if (s->tpm[0] < 0)
		return;
	if (fork()) {
		fcntl(s->tpm[0], F_SETFD, 0);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != vmm)
		_exit(1);
	fcntl(s->tpm[1], F_SETFD, 0);
	snprintf(state, sizeof(state), "dir=%s,mode=0600", s->tpm_dir);
	snprintf(control, sizeof(control), "type=unixio,clientfd=%d", s->tpm[1]);
	exec_in_scope(s, "TPM of guest", argv);
	execv(s->swtpm, argv);
	fprintf(stderr, "cannot run %s: %s\n", s->swtpm, strerror(errno));
	_exit(127);
}

/* ---- the process ---- */

/* In the child: become the VMM. Why it failed goes into the log. */
static void __attribute__((noreturn)) become_vmm(struct start *s)
{
	char path[PATH_MAX];
	int i,
	    log = open(guest_path(s->g.name, "vmm.log", path), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int null = open("/dev/null", O_RDONLY);

	/* It says why the guest has ended, also where this one has filled what there is for logs.
	 */
	fallocate(log, FALLOC_FL_KEEP_SIZE, 0, 65536);
	setsid();
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	if (null > 2)
		close(null);
	if (log > 2)
		close(log);
	run_tpm(s);
	for (i = 0; i < s->c->nvifs; i++)
		if (s->tap[i] >= 0)
			fcntl(s->tap[i], F_SETFD, 0);
	signal(SIGPIPE, SIG_DFL);
	if (guest_record(&s->g)) {
		fprintf(stderr, "cannot write %s: %s\n", guest_path(s->g.name, "vmm.json", path),
			strerror(errno));
		_exit(127);
	}
	node_prefer(s->c);
	exec_in_scope(s, "Guest", s->argv);
	execv(s->vmm, s->argv);
	fprintf(stderr, "cannot run %s: %s\n", s->vmm, strerror(errno));
	_exit(127);
}

static int start_failed(struct start *s, const char *why)
{
	fail("%s did not start: %s %s", s->g.name, s->vmm, why);
	guest_show_log(s->g.name);
	guest_remove(s->g.name, true);
	return -1;
}

/* Wait until the VMM answers on its control socket: the machine is built then, with all vCPUs. */
static int wait_for_vmm(struct start *s, pid_t pid)
{
	struct timespec step = {0, 20000000};
	long deadline = now_ms() + START_MS;
	static struct qmp q;
	char why[64];
	int status;

	while (now_ms() < deadline) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			if (WIFSIGNALED(status))
				snprintf(why, sizeof(why), "was killed by signal %d",
					 WTERMSIG(status));
			else
				snprintf(why, sizeof(why), "ended with exit code %d",
					 WEXITSTATUS(status));
			return start_failed(s, why);
		}
		if (!qmp_open(&q, s->g.name, START_MS / 2)) {
			qmp_close(&q);
			return 0;
		}
		nanosleep(&step, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return start_failed(s, "did not open its control socket in 180 s and was killed");
}

static int run_vmm(struct start *s)
{
	pid_t pid = fork();

	if (pid < 0) {
		fail("cannot fork: %s", strerror(errno));
		return -1;
	}
	if (!pid)
		become_vmm(s);
	if (wait_for_vmm(s, pid))
		return -1;
	return guest_load(s->c->name, &s->g);
}

static int write_password(const struct start *s, const char *file, const char *password)
{
	char path[PATH_MAX];
	int fd, err;

	if (!password)
		return 0;
	guest_path(s->g.name, file, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	err = fd < 0 || write(fd, password, strlen(password)) != (ssize_t)strlen(password);
	if (err)
		fail("cannot write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return err ? -1 : 0;
}

static int write_passwords(const struct start *s)
{
	const struct cfg_screen *screen = &s->c->screen;

	return write_password(s, "vnc-password", screen->vncpasswd) ||
	       write_password(s, "spice-password", screen->spicepasswd);
}

static int prepare_start(struct start *s, const char *config)
{
	struct guest old;

	if (mkdir_run() || guest_lock(s->c->name, true, &s->g))
		return -1;
	if (!guest_load(s->c->name, &old) && old.alive &&
	    !(process_is_ending(old.pid) && guest_wait_end(&old, ENDING_MS))) {
		fail("%s runs already (pid %d); `corbel destroy %s' ends it", s->c->name, old.pid,
		     s->c->name);
		return -1;
	}
	guest_work(&s->g, "starting");
	snprintf(s->g.name, sizeof(s->g.name), "%s", s->c->name);
	snprintf(s->g.config, sizeof(s->g.config), "%s", config);
	s->g.vcpus = s->c->vcpus;
	s->g.memory_mib = s->c->memory_mib;
	if (check_host(s) || take_devices(s))
		return -1;
	guest_remove(s->g.name, true);
	guest_bound_logs(s->g.name);
	return write_passwords(s) || open_taps(s) || open_tpm(s) ? -1 : 0;
}

static int tune_start(struct start *s)
{
	struct cfg *c = s->c;
	bool wanted = c->weight || c->cap || c->pool[0] || c->budget;
	unsigned int i;

	for (i = 0; i < c->vcpus; i++)
		wanted |= !cpus_empty(&c->affinity[i]);
	if (!wanted)
		return 0;
	if (!hv_present()) {
		warning("cpu_weight, cpus, cap, budget and pool need the hypervisor (/dev/corbel); "
			"they are "
			"ignored");
		return 0;
	}
	if (c->budget && budget_set(c->name, c->period, c->budget, -1))
		return -1;
	if (c->pool[0] && pool_move(c->name, c->pool))
		return -1;
	return apply_sched(c->name, c->weight, c->affinity, c->cap, -1);
}

/* Down to `memory`, as far as the guest's driver gives it back. */
static void set_balloon(const struct cfg *c)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, "value", json_object_new_int64(c->memory_mib << 20));
	if (!qmp_do_with(c->name, "balloon", args, NULL))
		mem_told(c->name, c->memory_mib);
}

/* The guest's file as it was, for `corbel save'. */
static int keep_text(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f = fopen(guest_path(name, "config", path), "we");
	bool written = f && fputs(text, f) >= 0;

	if (f && !fclose(f) && written)
		return 0;
	fail("cannot write %s: %s", path, strerror(errno));
	return -1;
}

int state_read(struct qmp *q, int fd, char *err)
{
	struct json_object *getfd = json_pair("fdname", json_object_new_string("state"));

	return qmp_call(q, "getfd", getfd, fd, NULL, err) ||
		       qmp_call(q, "migrate-incoming",
				json_pair("uri", json_object_new_string("fd:state")), -1, NULL, err)
		   ? -1
		   : 0;
}

/* With the vCPUs that the state has, which are those of a running guest. 0, or -1 told. */
static int take_state(const struct start *s)
{
	static struct qmp q;
	char err[128];
	int ret;

	if (qmp_need(&q, s->c->name))
		return -1;
	ret = s->c->vcpus_now ? set_vcpus(&q, s->c->name, s->c->vcpus_now) : 0;
	if (!ret && s->from->fd >= 0 && state_read(&q, s->from->fd, err))
		ret = fail("%s: its state cannot be read: %s", s->c->name, err);
	qmp_close(&q);
	if (ret && !end_vmm(&s->g))
		guest_remove(s->c->name, true);
	return ret ? -1 : 0;
}

int vmm_check(struct cfg *c, const char *accel)
{
	struct start s = {.c = c, .accel = accel};

	return check_files(c) || find_vmm(&s) || find_tpm(&s) ? -1 : 0;
}

int vmm_start(struct cfg *c, const char *config, const char *text, const char *accel,
	      const struct origin *from)
{
	struct start s = {.c = c, .accel = accel, .g.lock = -1, .from = from, .tpm = {-1, -1}};
	int i, lock, err;

	memset(s.tap, -1, sizeof(s.tap));
	err = prepare_start(&s, config) || keep_text(c->name, text) ? -1 : 0;
	lock = s.g.lock;
	if (!err) {
		vmm_args(&s);
		err = run_vmm(&s);
	}
	if (!err && from)
		err = take_state(&s);
	if (!err && !(from && from->ram_shared))
		printf("%s: started, pid %d\n", c->name, s.g.pid);
	if (!err && c->maxmem_mib > c->memory_mib && !from)
		set_balloon(c);
	if (!err && tune_start(&s)) {
		fail("%s runs, but without what cpu_weight, cpus, cap, budget and pool ask for; "
		     "`corbel "
		     "sched' and `corbel cpupool-migrate' set it",
		     c->name);
		err = from ? 0 : -1; /* one that has come from elsewhere is to go on */
	}
	for (i = 0; i < c->nvifs; i++)
		if (s.tap[i] >= 0)
			close(s.tap[i]);
	close_tpm(&s);
	while (s.argc)
		free(s.argv[--s.argc]);
	if (lock >= 0)
		close(lock);
	return err ? 1 : 0;
}
