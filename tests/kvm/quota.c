/* SPDX-License-Identifier: GPL-2.0-only */
/* Hostile VMMs that want more than their user's part: see vmms.c. */
#define _GNU_SOURCE
#include "quota.h"
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

bool quota_limits(void)
{
	enum { USER = 1000, OTHER = 1001 };
	u32 vms = set_limit("max_vms_per_user", 5), vcpus = set_limit("max_vcpus_per_user", 7);
	bool good = vms <= 128 && vcpus <= 1024; /* half of the hypervisor's numbers */
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

/* ---- doorbells ---- */

enum { DOORBELLS = 5, EVENTFDS = 1100, FIRST_PORT = 0x1000 };

/* More ioeventfds than a VM has doorbells; the guest's writes to all are heard, by none else. */
static void ring_as(uid_t uid, int report, int wait)
{
	/* mov edx, FIRST_PORT; .next: out dx, al; inc edx; cmp edx, FIRST_PORT + EVENTFDS; jb
	 * .next; out PORT_DONE, al */
	static const u8 code[] = {0xba, 0,    0x10, 0, 0, 0xee, 0xff, 0xc2, 0x81,
				  0xfa, 0x4c, 0x14, 0, 0, 0x72, 0xf5, 0xe6, PORT_DONE};
	struct kvm_ioeventfd e = {.len = 1, .flags = KVM_IOEVENTFD_FLAG_PIO};
	const struct rlimit room = {.rlim_cur = EVENTFDS + 100, .rlim_max = EVENTFDS + 100};
	struct had had = {};
	struct vm vm;
	int fd[EVENTFDS];
	u64 n;

	setrlimit(RLIMIT_NOFILE, &room);
	if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
		_exit(1);
	open_kvm();
	vm_init(&vm, 1, 0);
	for (u32 i = 0; i < EVENTFDS; i++) {
		fd[i] = eventfd(0, EFD_NONBLOCK);
		e.fd = fd[i];
		e.addr = FIRST_PORT + i;
		had.vms += !vm_ioctl(&vm, KVM_IOEVENTFD, &e);
	}
	e.addr = FIRST_PORT; /* is there */
	had.error = vm_ioctl(&vm, KVM_IOEVENTFD, &e) ? errno : 0;
	if (run_code(&vm, code, sizeof(code), 0) != END_DONE || vm.io_exits != 1)
		had.vms = 0;
	for (u32 i = 0; i < EVENTFDS; i++)
		had.vcpus += read(fd[i], &n, sizeof(n)) == sizeof(n) && n == 1;
	e.addr = FIRST_PORT + EVENTFDS - 1;
	e.fd = fd[EVENTFDS - 1];
	e.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	if (vm_ioctl(&vm, KVM_IOEVENTFD, &e) || run_code(&vm, code, sizeof(code), 0) != END_DONE ||
	    vm.io_exits != 3) /* its write is the VMM's again */
		had.vms = 0;
	if (write(report, &had, sizeof(had)) == sizeof(had) && read(wait, &n, 1) < 0)
		_exit(1);
	_exit(0);
}

/* Of the hypervisor's doorbells a user gets a part; beyond it eventfds are signalled all the same.
 */
bool quota_doorbells(void)
{
	enum { USER = 1000, OTHER = 1001 };
	u32 before = hv_info().doorbells, limit = set_limit("max_doorbells_per_user", DOORBELLS);
	bool good = limit <= 2048;
	struct taker user, other;

	if (chmod("/dev/kvm", 0666))
		fatal("chmod: errno %d", errno);
	user = taker_start(ring_as, USER);
	good &= is_had(user.had, EVENTFDS, EVENTFDS, EEXIST);
	good &= hv_info().doorbells == before + DOORBELLS;
	set_limit("max_doorbells_per_user", limit);
	other = taker_start(ring_as, OTHER);
	good &= is_had(other.had, EVENTFDS, EVENTFDS, EEXIST);
	good &=
	    hv_info().doorbells > before + DOORBELLS + 200; /* the rest of a VM's find no place */
	taker_end(other); /* first: it has the other's pipe, too */
	taker_end(user);
	good &= hv_info().doorbells == before;
	chmod("/dev/kvm", 0660);
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
bool quota_stops_late(void)
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
bool quota_pool_limit(void)
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
bool quota_pool(void)
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

#define STRIDES 4000

/* A guest with 8 GiB at 4 GiB, for which its code uses a page each 2 MiB: 16 MiB of page tables. */
static bool run_sparse(struct vm *vm, const u8 *code, u32 len)
{
	const u64 size = STRIDES * VICTIM_STRIDE;
	u8 *m = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kvm_userspace_memory_region r = {
	    .slot = 1, .guest_phys_addr = 4 * GB, .memory_size = size, .userspace_addr = (u64)m};
	bool done;

	madvise(m, size, MADV_NOHUGEPAGE);
	vm_init(vm, 1, VM_IRQCHIP);
	for (u64 i = 4; i < 4 + size / GB + 1; i++)
		((u64 *)(vm->ram + PML4 + 0x1000))[i] = i * GB | 0x87;
	if (m == MAP_FAILED || vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("a slot of %llu bytes: errno %d", (unsigned long long)size, errno);
	done = run_code(vm, code, len, 4 * GB) == END_DONE;
	vm_free(vm);
	munmap(m, size);
	return done;
}

/*
 * Each page has its number, which is found again. After each one there is a store to a device,
 * which needs tables as well.
 */
static bool sparse_written(void)
{
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
	struct vm vm;
	bool done = run_sparse(&vm, code, sizeof(code));

	note("sparse: %u of %u, %u stores", vm.values[0], STRIDES, (u32)vm.mmio_exits);
	return done && vm.values[0] == STRIDES && vm.mmio_exits == STRIDES;
}

/* All are the page of zeroes, since nothing is written: Linux has no memory for any of them. */
static bool sparse_read(void)
{
	/*
	 * mov ecx, STRIDES; xor eax, eax; .next: or eax, [rdi]; add rdi, 2 MiB; dec ecx; jnz .next;
	 * sub eax, ecx; out PORT_VALUE, eax; out PORT_DONE, al
	 */
	static const u8 code[] = {0xb9, 0xa0, 0x0f, 0,	  0,	0x31,	    0xc0, 0x0b,	    0x07,
				  0x48, 0x81, 0xc7, 0,	  0,	0x20,	    0,	  0xff,	    0xc9,
				  0x75, 0xf3, 0x29, 0xc8, 0xe7, PORT_VALUE, 0xe6, PORT_DONE};
	struct rusage before, after;
	struct vm vm;
	bool done;

	getrusage(RUSAGE_SELF, &before);
	done = run_sparse(&vm, code, sizeof(code));
	getrusage(RUSAGE_SELF, &after);
	note("sparse: the highest resident set was %ld KiB, is %ld KiB", before.ru_maxrss,
	     after.ru_maxrss);
	return done && vm.value_count == 1 && !vm.values[0] &&
	       after.ru_maxrss - before.ru_maxrss < STRIDES * 4 / 2;
}

bool quota_sparse(void)
{
	return sparse_read() && sparse_written();
}
