/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile VMMs: processes that use /dev/kvm from several threads at once, or as nobody would. They
 * may be refused; dom0's kernel and everybody else's VMs go on.
 *
 * usage: vmms [NAME...]
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RACE_MS 6000

static volatile bool stop;

/* ---- irqfds: assigned, deassigned, written and closed all at once ---- */

enum { PLAIN_GSI = 5, RESAMPLE_GSI = 6 };

static struct vm irq_vm;
static int plain_fd, resample_fd, again_fd;
static u64 assigned, refused;

static int irqfd(int fd, u32 gsi, u32 flags)
{
	struct kvm_irqfd f = {.fd = fd, .gsi = gsi, .flags = flags, .resamplefd = again_fd};

	return vm_ioctl(&irq_vm, KVM_IRQFD, &f);
}

static void ring(int fd)
{
	u64 one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		fatal("an eventfd takes no event: errno %d", errno);
}

static void *assigner(void *plain)
{
	int fd = plain ? plain_fd : resample_fd;

	while (!stop) {
		int bad = irqfd(fd, plain ? PLAIN_GSI : RESAMPLE_GSI,
				plain ? 0 : KVM_IRQFD_FLAG_RESAMPLE);

		__atomic_add_fetch(bad ? &refused : &assigned, 1, __ATOMIC_RELAXED);
		ring(fd);
	}
	return NULL;
}

static void *deassigner(void *plain)
{
	while (!stop)
		irqfd(plain ? plain_fd : resample_fd, plain ? PLAIN_GSI : RESAMPLE_GSI,
		      KVM_IRQFD_FLAG_DEASSIGN);
	return NULL;
}

/* The last reference to an eventfd goes while its irqfd is there. */
static void *closer(void *plain)
{
	while (!stop) {
		int fd = eventfd(1, EFD_NONBLOCK);

		irqfd(fd, plain ? PLAIN_GSI : RESAMPLE_GSI, plain ? 0 : KVM_IRQFD_FLAG_RESAMPLE);
		close(fd);
	}
	return NULL;
}

static void race(u32 ms, void *(*const what[])(void *), u32 n, void *plain)
{
	pthread_t t[4];

	stop = false;
	for (u32 i = 0; i < n; i++)
		pthread_create(&t[i], NULL, what[i], plain);
	usleep(ms * 1000);
	stop = true;
	for (u32 i = 0; i < n; i++)
		pthread_join(t[i], NULL);
}

/* Does a write to the eventfd come out at the PIC? */
static bool interrupts(int fd, u32 gsi)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	vm_ioctl(&irq_vm, KVM_GET_IRQCHIP, &chip);
	chip.chip.pic.irr = 0;
	chip.chip.pic.last_irr = 0;
	vm_ioctl(&irq_vm, KVM_SET_IRQCHIP, &chip);
	ring(fd);
	vm_ioctl(&irq_vm, KVM_GET_IRQCHIP, &chip);
	return chip.chip.pic.irr >> gsi & 1;
}

static bool irqfds(void)
{
	void *(*const what[])(void *) = {assigner, deassigner, closer, closer};
	bool good;

	vm_init(&irq_vm, 1, VM_IRQCHIP);
	plain_fd = eventfd(0, EFD_NONBLOCK);
	resample_fd = eventfd(0, EFD_NONBLOCK);
	again_fd = eventfd(0, EFD_NONBLOCK);
	race(RACE_MS, what, 2, &plain_fd);
	race(RACE_MS / 4, what, 4, &plain_fd);
	race(RACE_MS / 4, what, 2, NULL);
	race(RACE_MS / 4, what, 4, NULL);
	note("irqfds: %llu assigned, %llu refused", (unsigned long long)assigned,
	     (unsigned long long)refused);
	irqfd(plain_fd, PLAIN_GSI, KVM_IRQFD_FLAG_DEASSIGN);
	good = !interrupts(plain_fd, PLAIN_GSI) && !irqfd(plain_fd, PLAIN_GSI, 0) &&
	       interrupts(plain_fd, PLAIN_GSI) && irqfd(plain_fd, PLAIN_GSI, 0) == -EBUSY;
	vm_free(&irq_vm);
	close(plain_fd), close(resample_fd), close(again_fd);
	return good && assigned > 10;
}

/* ---- ioeventfds of two VMs, which share the hypervisor's numbers ---- */

enum { BUSY_PORT = 0x510, BELL_PORT = 0x520 };

static struct vm busy_vm;

static int ioeventfd(struct vm *vm, int fd, u32 port, u32 flags)
{
	struct kvm_ioeventfd e = {
	    .addr = port, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO | flags};

	return vm_ioctl(vm, KVM_IOEVENTFD, &e);
}

static void *bell_maker(void *fd)
{
	while (!stop) {
		ioeventfd(&busy_vm, *(int *)fd, BUSY_PORT, 0);
		ioeventfd(&busy_vm, *(int *)fd, BUSY_PORT, KVM_IOEVENTFD_FLAG_DEASSIGN);
	}
	return NULL;
}

/* Long mode, flat; RDI as given. */
static enum end run_code(struct vm *vm, const void *code, size_t len, u64 rdi)
{
	struct kvm_regs r;

	vm->value_count = 0;
	memcpy(vm->ram + DATA, code, len);
	cpu_setup(vm, 0, MODE_LONG, payload_start, rdi, 0);
	cpu_get_regs(vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(vm, 0, &r);
	return vm_run(vm, 0, 30000);
}

static bool doorbells(void)
{
	/* mov dx, BELL_PORT; out dx, al; out PORT_DONE, al */
	static const u8 code[] = {0x66, 0xba, BELL_PORT & 0xff, BELL_PORT >> 8,
				  0xee, 0xe6, PORT_DONE};
	int other = eventfd(0, EFD_NONBLOCK), bell = eventfd(0, EFD_NONBLOCK);
	u64 until = now_ms() + RACE_MS / 2, rounds = 0, lost = 0, rings;
	struct vm vm;
	pthread_t t;

	vm_init(&busy_vm, 1, VM_IRQCHIP);
	vm_init(&vm, 1, VM_IRQCHIP);
	widen_load("cb_event_del_doorbell", "ms", 2);
	stop = false;
	pthread_create(&t, NULL, bell_maker, &other);
	/* a busy machine needs longer for enough of them */
	for (; now_ms() < until + (rounds <= 10 ? 4 * RACE_MS : 0); rounds++) {
		if (ioeventfd(&vm, bell, BELL_PORT, 0) ||
		    run_code(&vm, code, sizeof(code), 0) != END_DONE)
			break;
		ioeventfd(&vm, bell, BELL_PORT, KVM_IOEVENTFD_FLAG_DEASSIGN);
		lost += read(bell, &rings, sizeof(rings)) != sizeof(rings) || rings != 1;
	}
	stop = true;
	pthread_join(t, NULL);
	widen_end();
	note("doorbells: %llu rounds, %llu with another number of rings than one",
	     (unsigned long long)rounds, (unsigned long long)lost);
	vm_free(&vm);
	vm_free(&busy_vm);
	close(other), close(bell);
	return rounds > 10 && !lost;
}

/* ---- vCPUs' numbers: another VM has them as soon as they are given back ---- */

#define ROUNDS	 20
#define WIDTH_MS 20
#define FAST_MS	 500
#define DEAF_MS	 1000 /* what it costs at least to be woken eight times by a clock */

static void *vm_ender(void *vm)
{
	stay_on_cpu(0);
	vm_free(vm);
	return NULL;
}

/*
 * Eight times: spin for some 10 ms, so that the thread in KVM_RUN is asleep, and exit. Whoever is
 * not woken looks by itself after a quarter of a second.
 */
static u64 spin_ms(struct vm *vm)
{
	static const u8 code[] = {0xbb, 8,	    0,	  0,	    0, /* mov ebx, 8 */
				  0xb9, 0xa0,	    0x25, 0x26,	    0, /* .a: mov ecx, 2500000 */
				  0xff, 0xc9,	    0x75, 0xfc,	       /* .b: dec ecx; jnz .b */
				  0xe7, PORT_VALUE, 0xff, 0xcb,	       /* out; dec ebx */
				  0x75, 0xf1,	    0xe6, PORT_DONE};  /* jnz .a; out */
	u64 from = now_ms();

	if (run_code(vm, code, sizeof(code), 0) != END_DONE)
		fatal("a guest that only spins does not end");
	return now_ms() - from;
}

/* A busy machine is slow, too, but so it is for another VM, and not each time. */
static bool is_heard(struct vm *vm, struct vm *other)
{
	for (int i = 0; i < 3; i++) {
		u64 ms = spin_ms(vm);

		if (ms < FAST_MS || ms < spin_ms(other) + DEAF_MS)
			return true;
	}
	return false;
}

static bool vcpu_ids(void)
{
	struct vm other;
	cpu_set_t cpus;
	u32 lost = 0;

	vm_init(&other, 1, VM_IRQCHIP);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	widen_load("cb_event_del_vcpu", "ms", WIDTH_MS);
	for (u32 i = 0; i < ROUNDS; i++) {
		struct vm old, new;
		pthread_t t;

		vm_init(&old, 1, VM_IRQCHIP);
		pthread_create(&t, NULL, vm_ender, &old);
		stay_on_cpu(sysconf(_SC_NPROCESSORS_ONLN) - 1); /* the other one loses time */
		usleep(i * 2000);
		vm_init(&new, 1, VM_IRQCHIP);
		pthread_join(t, NULL);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		lost += !is_heard(&new, &other);
		vm_free(&new);
	}
	widen_end();
	vm_free(&other);
	note("vcpu-ids: %u of %u vCPUs are not heard when they stop", lost, ROUNDS);
	return !lost;
}

/* ---- what one user can have ---- */

#define PARAMETERS "/sys/module/corbel/parameters/"

/* Returns what it was. */
static u32 set_limit(const char *name, u32 to)
{
	char path[100], text[20] = "";
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || dprintf(fd, "%u\n", to) <= 0)
		fatal("%s: errno %d", path, errno);
	close(fd);
	return strtoul(text, NULL, 10);
}

/* As many VMs of so many vCPUs as can be had, at most `most`; errno says why not more. */
static u32 take_vms(u32 most, u32 vcpus, u32 *vcpus_had)
{
	int dev = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	u32 n;

	*vcpus_had = 0;
	for (n = 0; n < most; n++) {
		int fd = ioctl(dev, KVM_CREATE_VM, 0);

		if (fd < 0)
			break;
		for (u32 i = 0; i < vcpus; i++, ++*vcpus_had)
			if (ioctl(fd, KVM_CREATE_VCPU, (unsigned long)i) < 0)
				return n;
	}
	return n;
}

struct had {
	u32 vms, vcpus;
	int error;
};

/* A process of this user that takes what it can get, and keeps it until it is let go. */
struct taker {
	pid_t pid;
	int let_go;
	struct had had;
};

typedef void take_fn(uid_t uid, int report, int wait);
static u32 want_vms, want_vcpus; /* of take_as() */

static void take_as(uid_t uid, int report, int wait)
{
	struct had had;
	char c;

	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		_exit(1);
	errno = 0;
	had.vms = take_vms(want_vms, want_vcpus, &had.vcpus);
	had.error = errno;
	if (write(report, &had, sizeof(had)) == sizeof(had) && read(wait, &c, 1) < 0)
		_exit(1);
	_exit(0);
}

static struct taker taker_start(take_fn *take, uid_t uid)
{
	struct taker t;
	int report[2], wait[2];

	if (pipe2(report, O_CLOEXEC) || pipe2(wait, O_CLOEXEC))
		fatal("pipe: errno %d", errno);
	t.pid = fork();
	if (t.pid == 0) {
		close(wait[1]);
		take(uid, report[1], wait[0]);
	}
	close(report[1]), close(wait[0]);
	t.let_go = wait[1];
	if (read(report[0], &t.had, sizeof(t.had)) != sizeof(t.had))
		fatal("uid %u cannot use /dev/kvm", uid);
	close(report[0]);
	return t;
}

static struct taker taker_start_vms(uid_t uid, u32 most, u32 vcpus)
{
	want_vms = most;
	want_vcpus = vcpus;
	return taker_start(take_as, uid);
}

static struct had taker_end(struct taker t)
{
	close(t.let_go);
	waitpid(t.pid, NULL, 0);
	return t.had;
}

static bool is_had(struct had h, u32 vms, u32 vcpus, int error)
{
	if (h.vms == vms && h.vcpus == vcpus && h.error == error)
		return true;
	note("limits: %u VMs and %u vCPUs, errno %d; not %u, %u, %d", h.vms, h.vcpus, h.error, vms,
	     vcpus, error);
	return false;
}

static bool limits(void)
{
	enum { USER = 1000, OTHER = 1001 };
	u32 vms = set_limit("max_vms_per_user", 5), vcpus = set_limit("max_vcpus_per_user", 7);
	bool good = vms <= 128 && vcpus <= 512; /* half of the hypervisor's numbers */
	struct taker user;

	if (chmod("/dev/kvm", 0666))
		fatal("chmod: errno %d", errno);
	user = taker_start_vms(USER, 20, 0);
	good &= is_had(user.had, 5, 0, ENOSPC);
	good &=
	    is_had(taker_end(taker_start_vms(USER, 20, 1)), 0, 0, ENOSPC); /* its other process */
	good &= is_had(taker_end(taker_start_vms(OTHER, 5, 1)), 5, 5, 0);
	good &= is_had(taker_end(taker_start_vms(0, 10, 1)), 10, 10, 0);
	taker_end(user);
	user = taker_start_vms(USER, 5, 4);
	good &= is_had(user.had, 1, 7, ENOSPC);
	good &= is_had(taker_end(taker_start_vms(OTHER, 3, 2)), 3, 6, 0);
	taker_end(user);
	good &= is_had(taker_end(taker_start_vms(USER, 3, 2)), 3, 6, 0);
	chmod("/dev/kvm", 0660);
	set_limit("max_vms_per_user", vms);
	set_limit("max_vcpus_per_user", vcpus);
	return good;
}

/* ---- a vCPU that does not stop when its VM ends ---- */

static void spin_as(uid_t uid, int report, int wait)
{
	static const u8 code[] = {0xeb, 0xfe}; /* jmp . */
	struct had had = {.vms = 1};
	struct vm vm;

	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		_exit(1);
	open_kvm();
	vm_init(&vm, 1, VM_IRQCHIP);
	if (write(report, &had, sizeof(had)) == sizeof(had))
		run_code(&vm, code, sizeof(code), 0);
	_exit(0);
}

static bool is_vms(u32 n, u32 tries)
{
	for (; hv_info().vms != n && tries; tries--)
		usleep(100000);
	return hv_info().vms == n;
}

/* The module is told for a while that it has not stopped. */
static bool stops_late(void)
{
	enum { USER = 1000, LATE_MS = 2500 };
	u32 vms = set_limit("max_vms_per_user", 1), before = hv_info().vms, vcpus = hv_info().vcpus;
	bool kept, counted, back;
	struct taker t;

	if (chmod("/dev/kvm", 0666))
		fatal("chmod: errno %d", errno);
	t = taker_start(spin_as, USER);
	widen_load("cb_vcpu_stop", "error", EIO);
	kill(t.pid, SIGKILL);
	taker_end(t);
	usleep(LATE_MS * 1000);
	kept = hv_info().vms == before + 1 && hv_info().vcpus == vcpus + 1;
	counted = is_had(taker_end(taker_start_vms(USER, 1, 1)), 0, 0, ENOSPC);
	widen_end();
	back = is_vms(before, 600) && hv_info().vcpus == vcpus;
	note("stops-late: %s, %s, %s", kept ? "kept" : "not kept",
	     counted ? "counted" : "not counted", back ? "taken back" : "not taken back");
	back &= is_had(taker_end(taker_start_vms(USER, 2, 1)), 1, 1, ENOSPC);
	chmod("/dev/kvm", 0660);
	set_limit("max_vms_per_user", vms);
	return kept && counted && back;
}

/* ---- the hypervisor's memory, which pays for page tables ---- */

#define GB	      (1ul << 30)
#define HOG_SLOTS     500 /* of a page each, a GiB apart: three tables each */
#define VICTIM_STRIDE (2ul << 20)

/* A VM whose guest touches as many such slots as can be had; errno of the first that was refused.
 */
static int hog_vm(struct vm *vm, u8 *page)
{
	/* mov ecx, n; .next: mov eax, [rdi]; add rdi, GB; dec ecx; jnz .next; out PORT_DONE, al */
	u8 code[] = {0xb9, 0, 0, 0,    0,    0x8b, 0x07, 0x48, 0x81, 0xc7,
		     0,	   0, 0, 0x40, 0xff, 0xc9, 0x75, 0xf3, 0xe6, PORT_DONE};
	int error = 0, fd = ioctl(kvm, KVM_CREATE_VM, 0), cpu = ioctl(fd, KVM_CREATE_VCPU, 0);
	u32 n;

	if (cpu < 0) /* which ends the program in vm_init() */
		return errno;
	close(cpu), close(fd);
	vm_init(vm, 1, VM_IRQCHIP);
	for (n = 0; n < HOG_SLOTS && !error; n++) {
		struct kvm_userspace_memory_region r = {.slot = n + 1,
							.guest_phys_addr = (n + 4) * GB,
							.memory_size = 4096,
							.userspace_addr = (u64)page};

		((u64 *)(vm->ram + PML4 + 0x1000))[n + 4] = (n + 4) * GB | 0x87;
		error = -vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
	}
	n -= !!error;
	memcpy(code + 1, &n, sizeof(n));
	if (n && run_code(vm, code, sizeof(code), 4 * GB) != END_DONE)
		fatal("a guest cannot touch the memory that it was given");
	return error;
}

static void hog(uid_t uid, int report, int wait)
{
	static struct vm vms[100];
	u8 *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct had had = {};
	char c;

	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		_exit(1);
	open_kvm();
	*page = 1;
	while (had.vms < 100 && !had.error)
		had.error = hog_vm(&vms[had.vms++], page);
	if (write(report, &had, sizeof(had)) == sizeof(had) && read(wait, &c, 1) < 0)
		_exit(1);
	_exit(0);
}

/* From here on in the log of dom0's kernel. */
static int log_from_here(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
		fatal("/dev/kmsg: errno %d", errno);
	return fd;
}

/* Has a line been added that has both? */
static bool log_names(int fd, const char *who, const char *limit)
{
	char text[1024];
	bool found = false;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		text[n > 0 ? n : 0] = 0;
		found |= strstr(text, who) && strstr(text, limit);
	}
	close(fd);
	if (!found)
		note("the log has no line of `%s` and `%s`", who, limit);
	return found;
}

/* A small part of the pool for each user: one takes it, which is told; others have theirs. */
static bool pool_limit(void)
{
	enum { USER = 1000, OTHER = 1001 };
	u32 percent = set_limit("max_pool_percent_per_user", 2);
	int log = log_from_here();
	struct taker user;
	bool good;

	if (chmod("/dev/kvm", 0666))
		fatal("chmod: errno %d", errno);
	user = taker_start(hog, USER);
	good = user.had.error == ENOMEM &&
	       log_names(log, "user 1000 gets no more of the hypervisor's memory",
			 "parameter max_pool_percent_per_user of module corbel");
	note("pool-limit: errno %d for the first of %u VMs", user.had.error, user.had.vms);
	good &= is_had(taker_end(taker_start_vms(OTHER, 2, 1)), 2, 2, 0);
	good &= is_had(taker_end(taker_start_vms(0, 2, 1)), 2, 2, 0);
	taker_end(user);
	set_limit("max_pool_percent_per_user", percent);
	good &= is_had(taker_end(taker_start_vms(USER, 2, 1)), 2, 2, 0);
	chmod("/dev/kvm", 0660);
	return good;
}

/* The next n pages, each of which takes a table. */
static bool victim_touches(struct vm *vm, u64 *at, u32 n)
{
	/* mov ecx, n; .next: mov [rdi], eax; add rdi, 2 MiB; dec ecx; jnz .next; out PORT_DONE */
	u8 code[] = {0xb9, 0, 0,    0, 0,    0x89, 0x07, 0x48, 0x81, 0xc7,
		     0,	   0, 0x20, 0, 0xff, 0xc9, 0x75, 0xf3, 0xe6, PORT_DONE};
	enum end end;

	memcpy(code + 1, &n, sizeof(n));
	end = run_code(vm, code, sizeof(code), *at);
	*at += n * VICTIM_STRIDE;
	if (end != END_DONE)
		note("pool: a guest that only touches its memory: %s, errno %u", end_names[end],
		     vm->values[0]);
	return end == END_DONE;
}

/* What dom0 has lent the pool is dom0's again, soon after the VMs have gone. */
static bool is_pool_of(u64 bytes)
{
	for (u32 i = 0; i < 500 && hv_info().pool_total_bytes != bytes; i++)
		usleep(20000);
	return hv_info().pool_total_bytes == bytes;
}

/*
 * One user takes what he can get, then root: others' guests go on, and new ones can be made. By
 * then the pool has grown by what dom0 has lent it for page tables.
 */
static bool pool(void)
{
	enum { USER = 1000, OTHER = 1001 };
	u8 *m = mmap(NULL, GB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		     -1, 0);
	struct kvm_userspace_memory_region r = {
	    .slot = 1, .guest_phys_addr = GB, .memory_size = GB, .userspace_addr = (u64)m};
	struct taker user, root;
	struct vm victim;
	u64 at = GB, own = hv_info().pool_total_bytes, grown;
	bool good;
	int log;

	if (chmod("/dev/kvm", 0666))
		fatal("chmod: errno %d", errno);
	madvise(m, GB, MADV_NOHUGEPAGE);
	vm_init(&victim, 1, VM_IRQCHIP);
	good =
	    !vm_ioctl(&victim, KVM_SET_USER_MEMORY_REGION, &r) && victim_touches(&victim, &at, 10);
	user = taker_start(hog, USER);
	good &= user.had.error == ENOMEM && victim_touches(&victim, &at, 100);
	good &= is_had(taker_end(taker_start_vms(OTHER, 2, 1)), 2, 2, 0);
	log = log_from_here();
	root = taker_start(hog, 0);
	good &= log_names(log, "user 0 gets no more of the hypervisor's memory",
			  "option hvmem= of Corbel");
	good &= root.had.error == ENOMEM && victim_touches(&victim, &at, 400);
	good &= taker_end(taker_start_vms(OTHER, 2, 1)).error == ENOMEM;
	grown = hv_info().pool_total_bytes;
	note("pool: a user had %u VMs, then root %u, errnos %d and %d; %llu KiB, first %llu",
	     user.had.vms, root.had.vms, user.had.error, root.had.error,
	     (unsigned long long)grown >> 10, (unsigned long long)own >> 10);
	good &= grown > own;
	taker_end(root); /* it has inherited what keeps the other waiting */
	taker_end(user);
	good &= is_had(taker_end(taker_start_vms(OTHER, 5, 1)), 5, 5, 0);
	vm_free(&victim);
	good &= is_pool_of(own);
	munmap(m, GB);
	chmod("/dev/kvm", 0660);
	return good;
}

/*
 * 8 GiB, of which a page each 2 MiB is touched: 16 MiB of page tables. Each has its number, which
 * is found again. After each one there is a store to a device, which needs tables as well.
 */
static bool sparse(void)
{
	enum { STRIDES = 4000 };
	/*
	 * mov ecx, STRIDES; mov esi, 3 GiB; .next: mov [rdi], ecx; mov [rsi], ecx; add rdi, 2 MiB;
	 * dec ecx; jnz .next; likewise backwards, without the device: inc ecx; sub rdi, 2 MiB;
	 * cmp [rdi], ecx; jne .bad; cmp ecx, STRIDES; jb; .bad: mov eax, ecx; out PORT_VALUE, eax;
	 * out PORT_DONE, al
	 */
	static const u8 code[] = {
	    0xb9, 0xa0, 0x0f, 0,    0, 0xbe, 0,	   0,	 0,    0xc0, 0x89,	 0x0f, 0x89,
	    0x0e, 0x48, 0x81, 0xc7, 0, 0,    0x20, 0,	 0xff, 0xc9, 0x75,	 0xf1, 0xff,
	    0xc1, 0x48, 0x81, 0xef, 0, 0,    0x20, 0,	 0x39, 0x0f, 0x75,	 0x08, 0x81,
	    0xf9, 0xa0, 0x0f, 0,    0, 0x72, 0xeb, 0x89, 0xc8, 0xe7, PORT_VALUE, 0xe6, PORT_DONE};
	const u64 size = STRIDES * VICTIM_STRIDE;
	u8 *m = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region r = {
	    .slot = 1, .guest_phys_addr = 4 * GB, .memory_size = size, .userspace_addr = (u64)m};
	struct vm vm;
	bool good;

	madvise(m, size, MADV_NOHUGEPAGE);
	vm_init(&vm, 1, VM_IRQCHIP);
	for (u64 i = 4; i < 4 + size / GB + 1; i++)
		((u64 *)(vm.ram + PML4 + 0x1000))[i] = i * GB | 0x87;
	if (m == MAP_FAILED || vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("a slot of %llu bytes: errno %d", (unsigned long long)size, errno);
	good = run_code(&vm, code, sizeof(code), 4 * GB) == END_DONE;
	note("sparse: %u of %u, %u stores", vm.values[0], STRIDES, (u32)vm.mmio_exits);
	good &= vm.values[0] == STRIDES && vm.mmio_exits == STRIDES;
	vm_free(&vm);
	munmap(m, size);
	return good;
}

/* ---- memory at the end of what guests can have ---- */

/* mov eax, [rdi]; out PORT_VALUE, eax; out PORT_DONE, al */
static const u8 read_code[] = {0x8b, 0x07, 0xe7, PORT_VALUE, 0xe6, PORT_DONE};

static u32 guest_reads(struct vm *vm, u64 linear)
{
	return run_code(vm, read_code, sizeof(read_code), linear) == END_DONE ? vm->values[0] : ~0u;
}

/* Physical addresses have so many bits here, and nested tables of four levels reach 48 of them. */
static u32 address_bits(void)
{
	u32 eax = 0x80000008, ebx, ecx = 0, edx;

	__asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return (eax & 0xff) < 48 ? eax & 0xff : 48;
}

static bool last_slot(void)
{
	const u64 size = 2ul << 20, end = 1ul << address_bits(), linear = 0x8000000000ul;
	u8 *m = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region r = {
	    .slot = 1, .userspace_addr = (u64)m, .memory_size = 2 * size};
	bool refused, taken;
	u32 before, after;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	madvise(m, 2 * size, MADV_NOHUGEPAGE);
	r.guest_phys_addr = end - size;
	refused = vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r) == -EINVAL;
	r.guest_phys_addr = end;
	refused &= vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r) == -EINVAL;
	r.guest_phys_addr = end - size;
	r.memory_size = size;
	taken = !vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r);
	vm_map_page(&vm, linear, end - size, 3);
	memset(m, 0x11, 4096);
	before = guest_reads(&vm, linear);
	madvise(m, 2 * size, MADV_DONTNEED);
	after = guest_reads(&vm, linear);
	vm_free(&vm);
	munmap(m, 2 * size);
	note("last-slot: at %#llx the guest reads %x, then %x", (unsigned long long)(end - size),
	     before, after);
	return refused && taken && before == 0x11111111 && !after;
}

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

/* MADV_DONTNEED while somebody more urgent wants the same CPU. False: it had to wait for long. */
static bool gives_cpu_back(const char *what, void *at, size_t len)
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
	madvise(at, len, MADV_DONTNEED);
	us = now_us() - us;
	usleep(5000); /* who had to wait till the end counts, too */
	stop = true;
	pthread_join(t, NULL);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	note("cpu-back: %s take %llu us, at most %llu us of them at a stretch", what,
	     (unsigned long long)us, (unsigned long long)worst_us);
	return us > 4000 && worst_us < us / SHARE;
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
		good = gives_cpu_back("pages of a guest", m, ALIAS_SIZE);
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
		good = gives_cpu_back("pages of a dirty log", m, size);
	vm_free(&vm);
	munmap(m, size);
	return good;
}

static bool cpu_back(void)
{
	bool pages = many_pages(), bitmap = long_bitmap();

	return pages && bitmap;
}

static const struct {
	const char *name, *behaviour;
	bool (*fn)(void);
} tests[] = {
    {"irqfds", "irqfds come and go in four threads at once, and work afterwards", irqfds},
    {"doorbells", "another VM's ioeventfds come and go: each write of a guest signals its own once",
     doorbells},
    {"vcpu-ids",
     "a vCPU that takes over another one's number while that ends is heard when it stops",
     vcpu_ids},
    {"limits", "one user's VMs and vCPUs have a limit; others, and root, have theirs", limits},
    {"stops-late",
     "a vCPU that does not stop when its VM ends is its user's until it does, and then given back",
     stops_late},
    {"pool-limit",
     "a user gets no more of the hypervisor's memory than a module parameter says, and a line "
     "names it",
     pool_limit},
    {"pool",
     "a user takes all of the hypervisor's memory that he can get, then root: others' guests go "
     "on, "
     "and what dom0 has lent comes back",
     pool},
    {"sparse",
     "a guest whose memory takes more page tables than a VM can have goes on all the same", sparse},
    {"last-slot", "memory ends where guests' addresses do, and is taken from them up to there",
     last_slot},
    {"cpu-back", "memory is taken from a guest: who wants the CPU meanwhile gets it", cpu_back},
};

int main(int argc, char **argv)
{
	open_kvm();
	for (u32 i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (wanted(tests[i].name, argc, argv))
			ok(tests[i].fn(), "%s: %s", tests[i].name, tests[i].behaviour);
	return failures != 0;
}
