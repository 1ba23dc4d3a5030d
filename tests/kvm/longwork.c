/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VMMs that give dom0's kernel long work, or have a thread wait for long: who wants the CPU
 * meanwhile gets it.
 *
 * usage: longwork [NAME...]
 */
#define _GNU_SOURCE
#include "hv/abi.h"
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile bool stop;

/* ---- memory that is long to take from a guest: the CPU is given back meanwhile ---- */

#define MB	   (1ul << 20)
#define TRIES	   8
#define SHARE	   2	      /* the longest stretch is less than this part of the whole */
#define ALIAS_SIZE (512 * MB) /* memory that is ALIASES times in the guest, in small pages */
#define ALIASES	   4

static u64 now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

#define NAP_US 1000
static volatile u64 worst_us; /* that somebody urgent woke too late */

static void *napper(void *unused)
{
	const struct sched_param fifo = {.sched_priority = 10};
	const struct timespec nap = {.tv_nsec = NAP_US * 1000};
	u64 then, now;

	stay_on_cpu(0);
	if (sched_setscheduler(0, SCHED_FIFO, &fifo))
		fatal("sched_setscheduler: errno %d", errno);
	for (then = now_us(); !stop; then = now) {
		nanosleep(&nap, NULL);
		now = now_us();
		if (now - then > worst_us + NAP_US)
			worst_us = now - then - NAP_US;
	}
	return NULL;
}

/* It works while somebody more urgent wants the same CPU. False: who had to wait for long. */
static bool gives_cpu_back(const char *what, void (*work)(void *arg), void *arg)
{
	cpu_set_t cpus;
	pthread_t t;
	u64 us;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	stay_on_cpu(0);
	stop = false;
	pthread_create(&t, NULL, napper, NULL);
	usleep(20000);
	worst_us = 0;
	us = now_us();
	work(arg);
	us = now_us() - us;
	usleep(5000); /* who had to wait till the end counts, too */
	stop = true;
	pthread_join(t, NULL);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	note("cpu-back: %s take %llu us, at most %llu us of them at a stretch", what,
	     (unsigned long long)us, (unsigned long long)worst_us);
	return us > 4000 && worst_us < us / SHARE;
}

struct span {
	void *at;
	size_t len;
};

static void drop_span(void *arg)
{
	const struct span *s = arg;

	madvise(s->at, s->len, MADV_DONTNEED);
}

/* mov eax, [rdi]; add rdi, 64 pages; dec rsi; jnz; out PORT_DONE, al */
static const u8 touch_code[] = {0x8b, 0x07, 0x48, 0x81, 0xc7, 0,    0,	  4,
				0,    0x48, 0xff, 0xce, 0x75, 0xf2, 0xe6, PORT_DONE};
#define TOUCHED (64 * 4096ul) /* by each read: the neighbours are mapped with it */

static bool many_pages(void)
{
	struct kvm_userspace_memory_region r = {.memory_size = ALIAS_SIZE};
	struct kvm_regs regs;
	bool good = false;
	struct vm vm;
	u8 *m;

	vm_init(&vm, 1, VM_IRQCHIP);
	m = mmap(NULL, ALIAS_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(m, ALIAS_SIZE, MADV_NOHUGEPAGE);
	for (r.slot = 1; r.slot <= ALIASES; r.slot++) {
		r.guest_phys_addr = (r.slot + 1) * ALIAS_SIZE;
		r.userspace_addr = (u64)m;
		if (vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r))
			fatal("slot %u", r.slot);
	}
	for (int i = 0; i < TRIES && !good; i++) {
		madvise(m, ALIAS_SIZE, MADV_POPULATE_READ);
		memcpy(vm.ram + DATA, touch_code, sizeof(touch_code));
		cpu_setup(&vm, 0, MODE_LONG, payload_start, 2 * ALIAS_SIZE,
			  ALIASES * ALIAS_SIZE / TOUCHED);
		cpu_get_regs(&vm, 0, &regs);
		regs.rip = DATA;
		cpu_set_regs(&vm, 0, &regs);
		if (vm_run(&vm, 0, 60000) != END_DONE)
			break;
		good = gives_cpu_back("pages of a guest", drop_span, &(struct span){m, ALIAS_SIZE});
	}
	vm_free(&vm);
	munmap(m, ALIAS_SIZE);
	return good;
}

/* All pages of a slot whose dirty log runs are to be marked in a bitmap of many MiB. */
static bool long_bitmap(void)
{
	const u64 size = 1ul << (address_bits() - 1 < 39 ? address_bits() - 1 : 39);
	struct kvm_userspace_memory_region r = {.slot = 1,
						.flags = KVM_MEM_LOG_DIRTY_PAGES,
						.guest_phys_addr = size,
						.memory_size = size};
	bool good = false;
	struct vm vm;
	void *m;

	vm_init(&vm, 1, VM_IRQCHIP);
	m = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	r.userspace_addr = (u64)m;
	if (m == MAP_FAILED || vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("a slot of %llu bytes: errno %d", (unsigned long long)size, errno);
	for (int i = 0; i < TRIES && !good; i++)
		good = gives_cpu_back("pages of a dirty log", drop_span, &(struct span){m, size});
	vm_free(&vm);
	munmap(m, size);
	return good;
}

/* More than the hypervisor has doorbells: the last ones are looked for in a list. */
#define BELLS	   (2 * CORBEL_MAX_DOORBELLS)
#define FIRST_BELL 0x1000u
#define LAST_BELL  (FIRST_BELL + BELLS - 1)

/* mov ecx, 4096; mov edx, LAST_BELL; mov esi, edi; rep outsb; out PORT_DONE, al */
static const u8 page_code[] = {0xb9, 0, 0x10, 0,    0,	  0xba, 0xff, 0x2f,
			       0,    0, 0x89, 0xfe, 0xf3, 0x6e, 0xe6, PORT_DONE};
_Static_assert(LAST_BELL == 0x2fff, "as the code has it");

static void write_page(void *vm)
{
	run_code(vm, page_code, sizeof(page_code), DATA);
}

/* A guest writes a page to a port at one stroke, and for each byte the list is long. */
static bool long_writes(void)
{
	int bell = eventfd(0, EFD_NONBLOCK);
	bool good = true;
	struct vm vm;
	u64 rings;

	vm_init(&vm, 1, VM_IRQCHIP);
	for (u32 i = 0; i < BELLS; i++)
		if (ioeventfd(&vm, bell, FIRST_BELL + i, 0))
			fatal("ioeventfd %u: errno %d", i, errno);
	for (int i = 0; i < 3 && good; i++)
		good = gives_cpu_back("a guest's writes to many ioeventfds", write_page, &vm) &&
		       read(bell, &rings, sizeof(rings)) == sizeof(rings) && rings == 4096;
	vm_free(&vm);
	close(bell);
	return good;
}

#define CONNECTIONS (1u << 17)

static void end_vm(void *vm)
{
	vm_free(vm);
}

/* A VM ends that has many of Hyper-V's connections. */
static bool long_end(void)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_hyperv_eventfd e = {.fd = fd};
	bool good = false;
	struct vm vm;

	for (int i = 0; i < TRIES && !good; i++) {
		vm_init(&vm, 1, VM_IRQCHIP);
		for (e.conn_id = 0; e.conn_id < CONNECTIONS; e.conn_id++)
			if (vm_ioctl(&vm, KVM_HYPERV_EVENTFD, &e))
				fatal("connection %u: errno %d", e.conn_id, errno);
		good = gives_cpu_back("a VM's connections", end_vm, &vm);
	}
	close(fd);
	return good;
}

static bool cpu_back(void)
{
	bool pages = many_pages(), bitmap = long_bitmap(), writes = long_writes(), end = long_end();

	return pages && bitmap && writes && end;
}

/* ---- cgroups, which each thread of a VM looks at, one at a time: who waits for that sleeps ----
 */

#define CGROUPS	 "/run/vmms-cgroups"
#define DEEP	 "/waits/a/b/c"
#define LEVEL_MS 100

static void put(const char *file, const char *text)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), CGROUPS "%s", file);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fatal("%s: errno %d", path, errno);
	close(fd);
}

/* A cgroup of processes in the root, and of threads in that; the last one is 4 levels deep. */
static void make_cgroups(void)
{
	static const char *const threaded[] = {"/waits/a", "/waits/a/b", DEEP};
	char path[100];

	mkdir(CGROUPS, 0700);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL) || mkdir(CGROUPS "/waits", 0755))
		fatal("cgroups: errno %d", errno);
	put("/cgroup.subtree_control", "+cpu");
	put("/waits/cgroup.procs", "0");
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), CGROUPS "%s", threaded[i]);
		if (mkdir(path, 0755))
			fatal("cgroups: errno %d", errno);
		snprintf(path, sizeof(path), "%s/cgroup.type", threaded[i]);
		put(path, "threaded");
	}
	put("/waits/cgroup.subtree_control", "+cpu");
	put("/waits/a/cgroup.subtree_control", "+cpu");
	put("/waits/a/b/cgroup.subtree_control", "+cpu");
}

static void end_cgroups(void)
{
	put("/cgroup.procs", "0");
	rmdir(CGROUPS DEEP), rmdir(CGROUPS "/waits/a/b"), rmdir(CGROUPS "/waits/a");
	if (rmdir(CGROUPS "/waits") || umount(CGROUPS))
		fatal("cgroups: errno %d", errno);
}

/* vCPU 1, whose thread has many levels to look at, on the other CPU. */
static void *deep_vcpu(void *vm)
{
	put(DEEP "/cgroup.threads", "0");
	stay_on_cpu(1);
	vm_run(vm, 1, 5000);
	return NULL;
}

/* The thread of vCPU 0, and somebody urgent, on this one. */
static u64 longest_wait(void)
{
	static const u8 halt[] = {0xf4, 0xeb, 0xfd};
	pthread_t deep, nap;
	struct kvm_regs r;
	cpu_set_t cpus;
	struct vm vm;

	vm_init(&vm, 2, VM_IRQCHIP);
	memcpy(vm.ram + DATA, halt, sizeof(halt));
	for (u32 i = 0; i < 2; i++) {
		cpu_setup(&vm, i, MODE_LONG, payload_start, 0, 0);
		cpu_get_regs(&vm, i, &r);
		r.rip = DATA;
		cpu_set_regs(&vm, i, &r);
	}
	sched_getaffinity(0, sizeof(cpus), &cpus);
	make_cgroups();
	widen_load("share_level", "ms", LEVEL_MS);
	stop = false;
	pthread_create(&deep, NULL, deep_vcpu, &vm);
	stay_on_cpu(0);
	pthread_create(&nap, NULL, napper, NULL);
	usleep(20000);
	worst_us = 0;
	vm_run(&vm, 0, 4000);
	stop = true;
	pthread_join(nap, NULL);
	pthread_join(deep, NULL);
	widen_end();
	sched_setaffinity(0, sizeof(cpus), &cpus);
	end_cgroups();
	vm_free(&vm);
	note(
	    "cgroups: somebody urgent waited for %llu us at most, where a look takes %u us, and of "
	    "others 4 times as many",
	    (unsigned long long)worst_us, LEVEL_MS * 1000);
	return worst_us;
}

/* A look of its own delays that somebody; those that it would wait for are four more. */
static bool waits_asleep(void)
{
	for (int i = 0; i < TRIES; i++) {
		u64 us = longest_wait();

		if (us > LEVEL_MS * 500 && us < LEVEL_MS * 3500)
			return true;
	}
	return false;
}

static const struct {
	const char *name, *behaviour;
	bool (*fn)(void);
} tests[] = {
    {"cpu-back",
     "memory is taken from a guest, it writes to many ioeventfds, or ends with many connections: "
     "who wants the CPU meanwhile gets it",
     cpu_back},
    {"cgroups",
     "a vCPU's thread that waits until another has looked at their cgroups keeps nobody from the "
     "CPU",
     waits_asleep},
};

int main(int argc, char **argv)
{
	open_kvm();
	for (u32 i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (wanted(tests[i].name, argc, argv))
			ok(tests[i].fn(), "%s: %s", tests[i].name, tests[i].behaviour);
	return failures != 0;
}
