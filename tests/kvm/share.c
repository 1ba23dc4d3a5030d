/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A busy dom0 beside busy guests, all on one CPU: how late a thread of dom0 is that sleeps for 1 ms
 * at a time, as QEMU's I/O threads do, and what the guests get, by VM and by cap. For a machine
 * whose time is counted in instructions; elsewhere the host's own delays are measured.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "dom0/kmod/devctl.h"
#include "hv/abi.h"

#define MAX_CHILDREN 16
#define SAMPLES	     300
#define SKIP	     50 /* at first, while it all begins */
#define MS	     1000000ull
#define TRIES                                                                                      \
	3 /* dom0 has other things to do now and then; what is wrong always is so each time        \
	   */

static pid_t children[MAX_CHILDREN];
static u32 count;

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void sleep_until(u64 at)
{
	struct timespec t = {at / 1000000000, at % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

static void guest(void)
{
	struct vm vm;

	open_kvm();
	vm_init(&vm, 1, VM_IRQCHIP);
	vm_load(&vm);
	cpu_setup(&vm, 0, MODE_LONG, pl_spin, 0, 0);
	for (;;)
		vm_run(&vm, 0, 1u << 30);
}

static void *spin(void *fd)
{
	for (;;)
		ioctl((int)(intptr_t)fd, KVM_RUN, 0);
	return NULL;
}

static void guest_of_three(void)
{
	pthread_t t;
	struct vm vm;

	open_kvm();
	vm_init(&vm, 3, 0);
	vm_load(&vm);
	for (u32 i = 0; i < 3; i++) {
		cpu_setup(&vm, i, MODE_LONG, pl_spin, 0, 0);
		if (pthread_create(&t, NULL, spin, (void *)(intptr_t)vm.cpu_fd[i]))
			fatal("a thread: %m");
	}
	pthread_join(t, NULL);
}

static void burn(void)
{
	for (;;)
		__asm__ volatile("");
}

static void start(void (*what)(void), u32 how_many)
{
	for (u32 i = 0; i < how_many; i++) {
		children[count] = fork();
		if (!children[count]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			what();
		}
		count++;
	}
}

static void stop_all(void)
{
	while (count) {
		kill(children[--count], SIGKILL);
		waitpid(children[count], NULL, 0);
	}
}

static void fifo_guest(void)
{
	struct sched_param p = {.sched_priority = 10};

	if (sched_setscheduler(0, SCHED_FIFO, &p))
		fatal("SCHED_FIFO: %m");
	guest();
}

static int corbel(unsigned long what, void *arg)
{
	static int fd = -1;

	if (fd < 0)
		fd = open("/dev/corbel", O_RDWR | O_CLOEXEC);
	return ioctl(fd, what, arg);
}

/* The nth vCPU's, if there is one. */
static bool get_stat(u32 n, struct corbel_vcpu_stat *s)
{
	struct corbel_query q = {
	    .what = CORBEL_STAT_VCPU, .index = n, .buf = (uintptr_t)s, .len = sizeof(*s)};

	return !corbel(CORBEL_IOC_QUERY, &q);
}

static volatile u64 *burnt; /* by the next */

static void burn_counted(void)
{
	for (;;)
		++*burnt;
}

/* What all guests of such a weight have run. */
static u64 guests_ns(u32 least)
{
	struct corbel_vcpu_stat s;
	u64 sum = 0;

	for (u32 i = 0; get_stat(i, &s); i++)
		if (s.vm && s.weight >= least)
			sum += s.runtime_ns;
	return sum;
}

/* Until all guests have begun to run: making them takes dom0 time of its own. */
static void wait_for_guests(u32 guests)
{
	u64 until = now_ns() + 10000 * MS;
	u32 begun = 0;

	while (begun < guests && now_ns() < until) {
		struct corbel_vcpu_stat s;

		sleep_until(now_ns() + 10 * MS);
		begun = 0;
		for (u32 i = 0; get_stat(i, &s); i++)
			begun += s.vm && s.runtime_ns > MS;
	}
	if (begun < guests)
		fatal("%u of %u guests have begun after 10 s", begun, guests);
}

static int by_size(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Sorted, without the first SKIP, in late[]. */
static void sample(u64 late[SAMPLES], u32 guests, u32 threads)
{
	start(guest, guests);
	wait_for_guests(guests);
	start(burn, threads);
	prctl(PR_SET_TIMERSLACK, 1);
	for (u32 i = 0; i < SAMPLES; i++) {
		u64 at = now_ns() + MS;

		sleep_until(at);
		late[i] = now_ns() - at;
	}
	stop_all();
	qsort(late + SKIP, SAMPLES - SKIP, sizeof(u64), by_size);
}

static void lateness(u32 guests, u32 threads)
{
	static u64 late[SAMPLES];
	u32 n = SAMPLES - SKIP;
	bool good = false;

	for (u32 i = 0; i < TRIES && !good; i++) {
		sample(late, guests, threads);
		good = late[SKIP + n * 9 / 10] <= MS / 10 && late[SKIP + n * 99 / 100] <= MS;
	}
	ok(good,
	   "share: a 1 ms sleeper of dom0 beside %u busy threads there and %u guests is late by "
	   "%llu us "
	   "at p50, %llu at p90, %llu at p99, %llu at most",
	   threads, guests, (unsigned long long)late[SKIP + n / 2] / 1000,
	   (unsigned long long)late[SKIP + n * 9 / 10] / 1000,
	   (unsigned long long)late[SKIP + n * 99 / 100] / 1000,
	   (unsigned long long)late[SKIP + n - 1] / 1000);
}

/* Which part of the CPU guests of such a weight get in so many ms, when all have begun. */
static double share_of(u32 guests, u32 least, u64 ms)
{
	u64 began, ran;

	wait_for_guests(guests);
	sleep_until(now_ns() + 200 * MS);
	began = now_ns();
	ran = guests_ns(least);
	sleep_until(began + ms * MS);
	return (double)(guests_ns(least) - ran) / (now_ns() - began);
}

static void shares(u32 threads)
{
	double ideal = 1. / (threads + 1), got = 0;
	bool good = false;

	for (u32 i = 0; i < TRIES && !good; i++) {
		start(guest, 1);
		wait_for_guests(1);
		start(burn, threads);
		got = share_of(1, 0, 800);
		stop_all();
		good = got > ideal * .9 && got < ideal * 1.1;
	}
	ok(good,
	   "share: beside %u busy threads of dom0 a guest gets %.3f of the CPU, %.3f are its share",
	   threads, got, ideal);
}

/* As Linux has it: everything but what it leaves to others for the sake of all. */
static void realtime(u32 others)
{
	double got = 0;

	for (u32 i = 0; i < TRIES && got < .95; i++) {
		start(guest, others);
		start(fifo_guest, 1);
		got = share_of(others + 1, 2048, 400);
		stop_all();
	}
	ok(got >= .95, "share: a FIFO guest beside %u of nice 0 gets %.3f of the CPU", others, got);
}

/* The first and the last vCPU's VM are the two; what the second runs in `ms`, and all run. */
static double part_of_last(u64 ms, double *all, u32 *last)
{
	struct corbel_vcpu_stat s;
	u64 ran = 0, sum, began;

	*last = 0;
	for (u32 i = 0; get_stat(i, &s); i++)
		*last = s.vm > *last ? s.vm : *last;
	sum = guests_ns(0);
	for (u32 i = 0; get_stat(i, &s); i++)
		ran -= s.vm == *last ? s.runtime_ns : 0;
	began = now_ns();
	sleep_until(began + ms * MS);
	for (u32 i = 0; get_stat(i, &s); i++)
		ran += s.vm == *last ? s.runtime_ns : 0;
	*all = (double)(guests_ns(0) - sum) / (now_ns() - began);
	return (double)ran / (now_ns() - began);
}

/* vCPUs divide their VM's weight, and have its cap together. */
static void groups(void)
{
	double got = 0, capped = 0, all = 0, most = 0;
	bool fair = false, holds = false;
	struct corbel_sched_vm set = {.cap = 15}, nothing = {.vm = 0, .weight = 1};
	u32 vm;

	for (u32 i = 0; i < TRIES && !(fair && holds); i++) {
		start(guest, 1);
		wait_for_guests(1);
		start(guest_of_three, 1);
		wait_for_guests(4);
		sleep_until(now_ns() + 200 * MS);
		got = part_of_last(800, &all, &vm) / all;
		fair = got > .48 && got < .52;
		set.vm = vm;
		if (corbel(CORBEL_IOC_SCHED_VM, &set))
			fatal("cap of VM %u: %m", vm);
		sleep_until(now_ns() + 200 * MS);
		capped = part_of_last(800, &most, &vm);
		holds = capped > .14 && capped < .155 && most > .9;
		stop_all();
	}
	ok(fair, "share: a VM of three vCPUs beside one of one gets %.3f of what both get", got);
	ok(holds, "share: with a cap of 15 %% its three vCPUs get %.3f, and both VMs %.3f", capped,
	   most);
	ok(corbel(CORBEL_IOC_SCHED_VM, &nothing) == -1 && errno == ENOENT,
	   "share: dom0 is no such group");
}

static u64 burnt_in(u64 ms)
{
	u64 until = now_ns() + ms * MS, before = *burnt;

	sleep_until(until);
	return *burnt - before;
}

/* One thread of root's beside somebody's 33 vCPUs that spin, all of the same weight. */
static void root_thread(void)
{
	double alone, beside;

	burnt = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	start(burn_counted, 1);
	sleep_until(now_ns() + 100 * MS);
	alone = burnt_in(400);
	start(guest_of_three, 11);
	wait_for_guests(33);
	sleep_until(now_ns() + 300 * MS);
	beside = burnt_in(1000) / 2.5;
	stop_all();
	ok(beside > alone * .24 && beside < alone * .5,
	   "share: beside 33 vCPUs that spin a thread of dom0 gets %.3f of the CPU",
	   beside / alone);
}

/* ---- locks ---- */

static u32 by_setting; /* test and set, not tickets */

/* Four vCPUs that take a lock for 1 us each 5 us; counted in *burnt. */
static void guest_with_lock(void)
{
	pthread_t t;
	struct vm vm;

	open_kvm();
	vm_init(&vm, 4, VM_IRQCHIP);
	vm_load(&vm);
	for (u32 i = 0; i < 4; i++) {
		cpu_setup(&vm, i, MODE_LONG, pl_locks, DATA, by_setting);
		if (pthread_create(&t, NULL, spin, (void *)(intptr_t)vm.cpu_fd[i]))
			fatal("a thread: %m");
	}
	for (;;) {
		sleep_until(now_ns() + 20 * MS);
		*burnt = *(volatile u64 *)(vm.ram + DATA + 8);
	}
}

/* How often a lock is had in a second, when all its vCPUs are on one CPU. */
static void locks(u32 how, u64 least, const char *kind)
{
	double rate = 0;

	by_setting = how;
	*burnt = 0;
	for (u32 i = 0; i < TRIES && rate < least; i++) {
		start(guest_with_lock, 1);
		wait_for_guests(4);
		sleep_until(now_ns() + 100 * MS);
		rate = burnt_in(1000);
		stop_all();
	}
	ok(rate >= least,
	   "share: four vCPUs on a CPU have a lock %s %.0f times a second, %llu at least", kind,
	   rate, (unsigned long long)least);
}

/* ---- cgroups of the VMMs ---- */

#define CGROUPS "/run/cgroups"

static int try_put(const char *file, const char *text)
{
	char path[200];
	int fd, n;

	snprintf(path, sizeof(path), CGROUPS "/%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = write(fd, text, strlen(text));
	close(fd);
	return n;
}

static void put(const char *file, const char *text)
{
	if (try_put(file, text) < 0)
		fatal("%s to " CGROUPS "/%s: %m", text, file);
}

static void put_pid(const char *file, pid_t pid)
{
	char text[20];

	snprintf(text, sizeof(text), "%d", pid);
	put(file, text);
}

static void make_cgroups(void)
{
	mkdir(CGROUPS, 0755);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL) || mkdir(CGROUPS "/vms", 0755))
		fatal("cgroups: %m");
	put("cgroup.subtree_control", "+cpu");
	put("vms/cgroup.subtree_control", "+cpu");
	if (mkdir(CGROUPS "/vms/more", 0755) || mkdir(CGROUPS "/vms/less", 0755) ||
	    mkdir(CGROUPS "/vms/less/one", 0755) || mkdir(CGROUPS "/vms/less/two", 0755))
		fatal("cgroups: %m");
}

/* What this process' VM has run. */
static u64 ran_by(pid_t pid)
{
	struct corbel_vm_stat s;
	struct corbel_query q = {.what = CORBEL_STAT_VM, .buf = (uintptr_t)&s, .len = sizeof(s)};
	u64 ns = 0;

	for (; !corbel(CORBEL_IOC_QUERY, &q); q.index++)
		ns += s.pid == (u32)pid ? s.runtime_ns : 0;
	return ns;
}

/* Parts of the CPU that the first two children get in so many ms. */
static void parts(u64 ms, double got[2])
{
	u64 ran[2], began;

	sleep_until(now_ns() + 300 * MS); /* what has changed is told within a tick */
	began = now_ns();
	for (u32 i = 0; i < 2; i++)
		ran[i] = ran_by(children[i]);
	sleep_until(began + ms * MS);
	for (u32 i = 0; i < 2; i++)
		got[i] = (double)(ran_by(children[i]) - ran[i]) / (now_ns() - began);
}

static void cgroup_of_vms(void)
{
	double weighed[2] = {0}, capped[2] = {0}, both[2] = {0}, freed[2] = {0};
	bool good = false;

	for (u32 i = 0; i < TRIES && !good; i++) {
		start(guest, 2);
		wait_for_guests(2);
		put_pid("vms/more/cgroup.procs", children[0]);
		put_pid("vms/less/cgroup.procs", children[1]);
		put("vms/more/cpu.weight", "300");
		parts(800, weighed);
		put("vms/less/cpu.max", "10000 100000");
		parts(800, capped);
		put("vms/cpu.max", "40000 100000");
		parts(800, both);
		put("vms/cpu.max", "max");
		put("vms/less/cpu.max", "max");
		put("vms/more/cpu.weight", "100");
		parts(800, freed);
		stop_all();
		good = weighed[0] > weighed[1] * 2.7 && weighed[0] < weighed[1] * 3.3 &&
		       capped[1] > .085 && capped[1] < .115 && capped[0] > .8 &&
		       both[0] + both[1] > .36 && both[0] + both[1] < .44 && both[1] < .115 &&
		       freed[1] > freed[0] * .9;
	}
	ok(weighed[0] > weighed[1] * 2.7 && weighed[0] < weighed[1] * 3.3,
	   "share: with cpu.weight 300 and 100 of their cgroups two VMs get %.3f and %.3f",
	   weighed[0], weighed[1]);
	ok(capped[1] > .085 && capped[1] < .115 && capped[0] > .8,
	   "share: with cpu.max of 10 %% the one gets %.3f, the other %.3f", capped[1], capped[0]);
	ok(both[0] + both[1] > .36 && both[0] + both[1] < .44 && both[1] < .115,
	   "share: with 40 %% for the cgroup around both they get %.3f and %.3f, together", both[0],
	   both[1]);
	ok(freed[1] > freed[0] * .9 && freed[0] + freed[1] > .9,
	   "share: without all that they get %.3f and %.3f", freed[0], freed[1]);
}

/* What a cgroup is to its siblings counts for all that is in it, whatever that weighs within. */
static void cgroup_of_parents(void)
{
	double got[2] = {0};
	bool good = false;

	if (mkdir(CGROUPS "/others", 0755))
		fatal("cgroups: %m");
	put("others/cgroup.subtree_control", "+cpu");
	if (mkdir(CGROUPS "/others/one", 0755))
		fatal("cgroups: %m");
	put("others/one/cpu.weight", "10000");
	for (u32 i = 0; i < TRIES && !good; i++) {
		start(guest, 2);
		wait_for_guests(2);
		put_pid("vms/more/cgroup.procs", children[0]);
		put_pid("others/one/cgroup.procs", children[1]);
		put("vms/cpu.weight", "300");
		parts(800, got);
		put("vms/cpu.weight", "100");
		stop_all();
		good = got[0] > got[1] * 2.7 && got[0] < got[1] * 3.3;
	}
	ok(good, "share: with 300 and 100 of the cgroups around theirs two VMs get %.3f and %.3f",
	   got[0], got[1]);
}

/* The nth thread but the first of a process. */
static pid_t thread_of(pid_t pid, u32 n)
{
	char path[40];
	struct dirent *e;
	pid_t found = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (atoi(e->d_name) > pid && !n--)
			found = atoi(e->d_name);
	closedir(dir);
	return found;
}

/* As libvirt's vcpu_quota: a thread of a vCPU has a cgroup of its own. */
static void cgroup_of_vcpu(void)
{
	struct corbel_vcpu_stat s;
	u32 capped = 0, light = 0, full = 0, vcpus = 0;

	start(guest_of_three, 1);
	wait_for_guests(3);
	put_pid("vms/less/cgroup.procs", children[0]);
	put("vms/less/one/cgroup.type", "threaded");
	put("vms/less/two/cgroup.type", "threaded");
	put("vms/less/cgroup.subtree_control", "+cpu");
	put_pid("vms/less/one/cgroup.threads", thread_of(children[0], 1));
	put_pid("vms/less/two/cgroup.threads", thread_of(children[0], 2));
	put("vms/less/one/cpu.max", "25000 100000");
	put("vms/less/one/cpu.weight", "5000");
	put("vms/less/two/cpu.weight", "10000");
	sleep_until(now_ns() + 500 * MS);
	for (u32 i = 0; get_stat(i, &s); i++) {
		vcpus += !!s.vm;
		capped += s.vm && s.cap == 25;
		light += s.vm && s.cap == 25 && s.weight == 512;
		full += s.vm && !s.cap && s.weight == 1024;
	}
	stop_all();
	ok(vcpus == 3 && capped == 1 && light == 1,
	   "share: cpu.max and cpu.weight of one thread's cgroup hold for its vCPU (%u of %u)",
	   capped, vcpus);
	ok(full == 2, "share: no weight within a VMM's cgroup gives it more than it had (%u)",
	   full);
	ok(try_put("vms/more/cpu.weight", "0") < 0 && try_put("vms/more/cpu.max", "-1") < 0,
	   "share: Linux refuses values without sense itself");
}

int main(void)
{
	realtime(1);
	realtime(8);
	groups();
	make_cgroups();
	cgroup_of_vms();
	cgroup_of_parents();
	cgroup_of_vcpu();
	root_thread();
	locks(0, 10000, "by tickets");
	locks(1, 184473, "by test and set"); /* as KVM has it */
	shares(1);
	shares(4);
	lateness(2, 1);
	lateness(8, 1);
	return failures != 0;
}
