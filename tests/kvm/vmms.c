/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile VMMs: processes that use /dev/kvm from several threads at once, or as nobody would. They
 * may be refused; dom0's kernel and everybody else's VMs go on.
 *
 * usage: vmms [NAME...]
 */
#define _GNU_SOURCE
#include "dom0/kmod/devctl.h"
#include "quota.h"
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
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

/* ---- what fails that nobody knows a way to: a page taken from a guest, a vCPU's reset ---- */

/* What VMs of this process have mapped; ~0: there is none. */
static u64 mapped_bytes(void)
{
	struct corbel_vm_stat s;
	struct corbel_query q = {.what = CORBEL_STAT_VM, .buf = (u64)&s, .len = sizeof(s)};
	int fd = open("/dev/corbel", O_RDWR);
	u64 found = ~0ull;

	for (; !ioctl(fd, CORBEL_IOC_QUERY, &q); q.index++)
		if (s.pid == (u32)getpid())
			found = s.mapped_bytes;
	close(fd);
	return found;
}

static bool create_fails(void)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_DISABLE_QUIRKS2,
				     .args = {KVM_X86_QUIRK_LINT0_REENABLED}};
	struct corbel_info before, after, again;
	bool off, runs;
	struct vm vm;
	int error;

	vm_init(&vm, 1, VM_IRQCHIP);
	off = !vm_ioctl(&vm, KVM_ENABLE_CAP, &cap);
	before = hv_info();
	widen_fail_once("reset_without_lint0", EIO);
	error = vm_ioctl(&vm, KVM_CREATE_VCPU, (void *)1);
	widen_end();
	after = hv_info();
	vm_add_cpu(&vm);
	again = hv_info();
	runs = guest_reads(&vm, DATA) != ~0u;
	vm_free(&vm);
	note("create-fails: %d; %u vCPUs, then %u, then %u", error, before.vcpus, after.vcpus,
	     again.vcpus);
	return off && error == -EIO && after.vcpus == before.vcpus &&
	       again.vcpus == before.vcpus + 1 && runs;
}

static bool unmap_fails(void)
{
	const u64 at = DATA + 0x10000;
	u64 mapped, left;
	u32 before, after;
	struct vm vm;
	int error;

	vm_init(&vm, 1, VM_IRQCHIP);
	memset(vm.ram + at, 0x11, 4096);
	before = guest_reads(&vm, at);
	mapped = mapped_bytes();
	widen_fail_once("try_unmap", EIO);
	madvise(vm.ram + at, 4096, MADV_DONTNEED);
	widen_end();
	left = mapped_bytes();
	after = guest_reads(&vm, at);
	error = cpu_ioctl(&vm, 0, KVM_RUN, NULL);
	vm_free(&vm);
	note("unmap-fails: %llu bytes were mapped, then %llu; the guest reads %x, KVM_RUN says %d",
	     (unsigned long long)mapped, (unsigned long long)left, after, error);
	return before == 0x11111111 && mapped && mapped != ~0ull && !left && after == ~0u &&
	       error == -EIO;
}

/* ---- memory that is changed in all ways under a guest ---- */

#define MMU_BASE   (16ul << 20) /* in the guest, as in its page tables */
#define MMU_PAGES  1024u
#define MMU_ROUNDS 1500

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static bool guest_writes(struct vm *vm, u64 linear, u32 val)
{
	u8 code[] = {0xc7, 0x07, 0, 0, 0, 0, 0xe6, PORT_DONE};

	memcpy(code + 2, &val, sizeof(val));
	return run_code(vm, code, sizeof(code), linear) == END_DONE;
}

static void fork_once(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
}

/* Something happens to a page, or to all. Returns whether the page has val then, else its old
 * value. */
static bool change_memory(struct vm *vm, struct kvm_userspace_memory_region *r, u8 *page, u32 val)
{
	u8 *all = (u8 *)r->userspace_addr;
	u64 linear = MMU_BASE + (page - all);

	switch (rand() % 10) {
	case 0:
		*(u32 *)page = val;
		return true;
	case 1:
		return guest_writes(vm, linear, val);
	case 2:
		madvise(page, 4096, MADV_DONTNEED);
		return guest_writes(vm, linear, val);
	case 3: /* what is written then stays */
		madvise(page, 4096, MADV_FREE);
		return guest_writes(vm, linear, val);
	case 4:
		madvise(all, r->memory_size, MADV_HUGEPAGE);
		return false;
	case 5:
		madvise(all, r->memory_size, MADV_NOHUGEPAGE);
		return false;
	case 6:
		madvise(all, r->memory_size, MADV_COLLAPSE);
		return false;
	case 7:
		fork_once(); /* all pages have been copy-on-write */
		return guest_writes(vm, linear, val);
	case 8:
		r->flags ^= KVM_MEM_LOG_DIRTY_PAGES;
		if (vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, r))
			fatal("slot: flags %x", r->flags);
		return false;
	default:
		mprotect(page, 4096, PROT_READ);
		guest_reads(vm, linear);
		mprotect(page, 4096, PROT_READ | PROT_WRITE);
		return false;
	}
}

static bool mmu(void)
{
	const u64 size = MMU_PAGES * 4096ul, align = 2ul << 20;
	u8 *m =
	    mmap(NULL, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u8 *all = (u8 *)(((u64)m + align - 1) & -align);
	struct kvm_userspace_memory_region r = {.slot = 1,
						.guest_phys_addr = MMU_BASE,
						.memory_size = size,
						.userspace_addr = (u64)all};
	static u32 is[MMU_PAGES];
	u32 bad = 0, writes = 0;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	if (vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("slot");
	srand(1);
	for (u32 i = 1; i <= MMU_ROUNDS; i++) {
		u32 p = rand() % MMU_PAGES, other = rand() % MMU_PAGES;

		if (change_memory(&vm, &r, all + p * 4096ul, i)) {
			is[p] = i;
			writes++;
		}
		bad += guest_reads(&vm, MMU_BASE + p * 4096ul) != is[p];
		bad += guest_reads(&vm, MMU_BASE + other * 4096ul) != is[other];
		bad += *(u32 *)(all + p * 4096ul) != is[p];
	}
	vm_free(&vm);
	munmap(m, size + align);
	note("mmu: %u rounds, %u values written, %u wrong ones read", MMU_ROUNDS, writes, bad);
	return !bad && writes > MMU_ROUNDS / 4;
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

/* ---- counts of a vCPU, which the hypervisor has in a list, while others in it come and go ---- */

static void *vcpu_maker(void *unused)
{
	struct vm vm;

	for (; !stop; assigned++) {
		vm_init(&vm, 1, 0);
		vm_free(&vm);
	}
	return NULL;
}

/* The first of the counts; 0: it has none. */
static u64 count_of(int fd)
{
	struct kvm_stats_header h;
	u64 count = 0;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h) ||
	    pread(fd, &count, sizeof(count), h.data_offset) != sizeof(count))
		fatal("KVM_GET_STATS_FD: errno %d", errno);
	return count;
}

static bool counts(void)
{
	u64 until = now_ms() + RACE_MS, reads = 0, lost = 0;
	struct vm first, vm;
	pthread_t t;
	int fd;

	vm_init(&first, 1, 0); /* its numbers are the maker's then, and before those of the other */
	vm_init(&vm, 1, 0);
	vm_free(&first);
	fd = cpu_ioctl(&vm, 0, KVM_GET_STATS_FD, NULL);
	run_code(&vm, (const u8[]){0xe6, PORT_DONE}, 2, 0);
	stop = false;
	assigned = 0;
	pthread_create(&t, NULL, vcpu_maker, NULL);
	for (; now_ms() < until + (assigned <= 50 ? 4 * RACE_MS : 0); reads++)
		lost += !count_of(fd);
	stop = true;
	pthread_join(t, NULL);
	note("counts: of %llu times %llu read 0, while %llu vCPUs came and went",
	     (unsigned long long)reads, (unsigned long long)lost, (unsigned long long)assigned);
	close(fd);
	vm_free(&vm);
	return assigned > 50 && !lost;
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
    {"irqfds", "irqfds come and go in four threads at once, and work afterwards", irqfds},
    {"doorbells", "another VM's ioeventfds come and go: each write of a guest signals its own once",
     doorbells},
    {"vcpu-ids",
     "a vCPU that takes over another one's number while that ends is heard when it stops",
     vcpu_ids},
    {"limits", "one user's VMs and vCPUs have a limit; others, and root, have theirs",
     quota_limits},
    {"many-eventfds",
     "a user's ioeventfds have a part of the hypervisor's doorbells; those without one work as "
     "well",
     quota_doorbells},
    {"stops-late",
     "a vCPU that does not stop when its VM ends is its user's until it does, and then given back",
     quota_stops_late},
    {"pool-limit",
     "a user gets no more of the hypervisor's memory than a module parameter says, and a line "
     "names it",
     quota_pool_limit},
    {"pool",
     "a user takes all of the hypervisor's memory that he can get, then root: others' guests go "
     "on, "
     "and what dom0 has lent comes back",
     quota_pool},
    {"sparse",
     "a guest whose memory takes more page tables than a VM can have goes on all the same",
     quota_sparse},
    {"last-slot", "memory ends where guests' addresses do, and is taken from them up to there",
     last_slot},
    {"create-fails",
     "a vCPU whose making fails at the last step is no more, and its id is free for another",
     create_fails},
    {"unmap-fails", "what cannot be taken from a guest ends it, and it has no memory any more",
     unmap_fails},
    {"mmu",
     "memory that is given up, shared, joined, protected, logged under a guest is as it was "
     "written",
     mmu},
    {"cpu-back",
     "memory is taken from a guest, it writes to many ioeventfds, or ends with many connections: "
     "who wants the CPU meanwhile gets it",
     cpu_back},
    {"cgroups",
     "a vCPU's thread that waits until another has looked at their cgroups keeps nobody from the "
     "CPU",
     waits_asleep},
    {"counts", "a vCPU's counts are there whatever vCPUs end while they are read", counts},
};

int main(int argc, char **argv)
{
	open_kvm();
	for (u32 i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (wanted(tests[i].name, argc, argv))
			ok(tests[i].fn(), "%s: %s", tests[i].name, tests[i].behaviour);
	return failures != 0;
}
