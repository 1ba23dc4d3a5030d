/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random and half-random ioctls on /dev/kvm, VMs, vCPUs and /dev/corbel: several processes with
 * several threads each share their file descriptors, close them, change the guests' memory under
 * them, and are killed at any moment. In every third process all threads make, use and end the same
 * few objects instead. The only thing that is checked is that everything else survives; whoever
 * calls this looks.
 *
 * usage: fuzz_ioctl SECONDS [SEED]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "dom0/kmod/devctl.h"
#include "dom0/kmod/later_kvm.h"
#include "hv/abi.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define PROCESSES 3
#define THREADS	  3
#define VMS	  3
#define VCPUS	  6
#define EVENTS	  3
#define AREA	  (1ul << 20) /* memory for slots */
#define AREAS	  3
#define SCRATCH	  (64ul << 10)
#define RUN_MS	  15

/* Hyper-V's synthetic interrupts and timers */
#define MSR_SCONTROL 0x40000080u
#define MSR_SINT0    0x40000090u
#define MSR_STIMER0  0x400000b0u

static u64 contending; /* not 0: this process' threads get in each other's way on purpose */
static int kvm_fd, corbel_fd, vm_fd[VMS], vcpu_fd[VCPUS], event_fd[EVENTS];
static struct kvm_run *run_map[VCPUS];
static u8 *area[AREAS];
/* Calls, of these without an error; then what the threads took from each other, by kind */
enum { CALLS, GOOD, IRQFDS, IOEVENTFDS, SLOTS, CPUS, RINGS, COUNTS };
static u64 counts[COUNTS];
static __thread u64 seed;
static __thread u8 *scratch;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

static u32 below(u32 n)
{
	return (rnd() >> 32) % n;
}

/* Numbers that are likelier than others to be at a border. */
static u64 odd_number(void)
{
	static const u64 some[] = {0,
				   1,
				   2,
				   3,
				   4,
				   7,
				   8,
				   0xf,
				   0x10,
				   0x1f,
				   0x20,
				   0x3f,
				   0x40,
				   0x7f,
				   0x80,
				   0xff,
				   0x100,
				   0xfff,
				   0x1000,
				   0xffff,
				   0x10000,
				   0x7fffffff,
				   0x80000000,
				   0xffffffff,
				   0x100000000,
				   0xfee00000,
				   0xfec00000,
				   0xfffff000,
				   1ull << 40,
				   1ull << 51,
				   1ull << 63,
				   ~0ull,
				   ~0xfffull,
				   0x7ffffffff000,
				   0xffff800000000000};
	u64 v = some[below(sizeof(some) / sizeof(some[0]))];

	return below(4) ? v : v + below(5) - 2;
}

static u64 number(void)
{
	switch (below(4)) {
	case 0:
		return rnd();
	case 1:
		return below(16);
	default:
		return odd_number();
	}
}

static void fill(void *to, size_t len)
{
	u64 how = below(4);

	for (size_t i = 0; i < len; i += 8) {
		u64 v = how == 0 ? 0 : how == 1 ? rnd() : below(4) ? 0 : number();

		memcpy((u8 *)to + i, &v, len - i < 8 ? len - i : 8);
	}
}

static int count(int r)
{
	__atomic_add_fetch(&counts[CALLS], 1, __ATOMIC_RELAXED);
	if (r >= 0)
		__atomic_add_fetch(&counts[GOOD], 1, __ATOMIC_RELAXED);
	return r;
}

static int count_as(u32 kind, int r)
{
	if (count(r) >= 0)
		__atomic_add_fetch(&counts[kind], 1, __ATOMIC_RELAXED);
	return r;
}

/* Others may be using, or replacing, the old one. */
static void replace(int *fd, int by)
{
	int old = __atomic_exchange_n(fd, by, __ATOMIC_SEQ_CST);

	if (old >= 0)
		close(old);
}

static int *any_vm(void)
{
	return &vm_fd[below(VMS)];
}

static u32 any_vcpu(void)
{
	return below(VCPUS);
}

/* Where user space says a structure is: mostly where it is. */
static void *pointer(void *good)
{
	switch (below(40)) {
	case 0:
		return NULL;
	case 1:
		return (void *)0xffff888000001000;
	case 2:
		return scratch + SCRATCH - 8; /* the next page is not there */
	case 3:
		return area[below(AREAS)] + below(AREA);
	case 4:
		return (u8 *)good + 1;
	default:
		return good;
	}
}

/* ---- one operation each ---- */

static void enable_ring(int fd)
{
	struct kvm_enable_cap e = {.cap = KVM_CAP_DIRTY_LOG_RING,
				   .args = {below(8) ? 0x1000 : number()}};

	count(ioctl(fd, KVM_ENABLE_CAP, &e));
}

static void create(void)
{
	u32 i = any_vcpu();
	int *vm = any_vm(), fd;

	if (below(3) == 0) {
		fd = count(ioctl(kvm_fd, KVM_CREATE_VM, below(20) ? below(4) == 0 : number()));
		if (fd < 0)
			return;
		if (below(4))
			count(ioctl(fd, KVM_CREATE_IRQCHIP, 0));
		if (below(2))
			enable_ring(fd);
		replace(vm, fd);
	} else {
		fd = count(ioctl(*vm, KVM_CREATE_VCPU, below(8) ? below(5) : number()));
		if (fd < 0)
			return;
		replace(&vcpu_fd[i], fd);
	}
}

static void close_one(void)
{
	replace(below(3) ? &vcpu_fd[any_vcpu()] : any_vm(), -1);
}

static void map_run(void)
{
	u32 i = any_vcpu();
	struct kvm_run *p;

	p = mmap(NULL, below(4) ? 0x2000 : 0x1000 * (1 + below(4)), PROT_READ | PROT_WRITE,
		 below(4) ? MAP_SHARED : MAP_PRIVATE, vcpu_fd[i], below(8) ? 0 : 0x1000 * below(4));
	if (p == MAP_FAILED)
		return;
	p = __atomic_exchange_n(&run_map[i], p, __ATOMIC_SEQ_CST);
	if (p)
		munmap(p, 0x2000);
}

/*
 * Where others may be mapping and unmapping, or nothing is: faults are for the kernel to meet, so
 * the write is left to it. At most a page.
 */
static void poke(void *to, const void *from, size_t len)
{
	int pipes[2];

	if (pipe(pipes))
		return;
	if (write(pipes[1], from, len) == (ssize_t)len && read(pipes[0], to, len) < 0)
		errno = 0;
	close(pipes[0]);
	close(pipes[1]);
}

static void poke_run(void)
{
	struct kvm_run *p = run_map[any_vcpu()];

	if (!p)
		return;
	fill(scratch, 64);
	poke((u8 *)p + 8 * below(below(2) ? 16 : 512), scratch, 8 + below(56));
}

static void set_memory(void)
{
	struct kvm_userspace_memory_region r = {
	    .slot = below(20) ? below(4) | (below(3) ? 0 : 1 << 16) : number(),
	    .flags = below(4)	 ? 0
		     : below(20) ? below(4)
				 : number(),
	    .guest_phys_addr = below(8) ? below(4) * 0x80000 : number(),
	    .memory_size = below(8) ? below(5) * 0x40000 : number(),
	    .userspace_addr = (u64)(area[below(AREAS)] + (below(4) ? 0 : below(16) * 0x1000)),
	};

	count(
	    ioctl(*any_vm(), KVM_SET_USER_MEMORY_REGION, pointer(memcpy(scratch, &r, sizeof(r)))));
}

/* Frames become private, or shared; a file for them comes, has holes, and goes. */
static void private_memory(void)
{
	struct kvm_create_guest_memfd c = {.size = below(8) ? below(5) * 0x40000 : number(),
					   .flags = below(8) ? 0 : number()};
	struct kvm_memory_attributes a = {
	    below(8) ? below(8) * 0x40000 : number(), below(8) ? below(64) * 0x1000 : number(),
	    below(8) ? below(2) * KVM_MEMORY_ATTRIBUTE_PRIVATE : number(),
	    below(20) ? 0 : number()};
	struct kvm_userspace_memory_region2 r = {
	    .slot = below(4),
	    .flags = KVM_MEM_GUEST_MEMFD,
	    .guest_phys_addr = below(4) * 0x80000,
	    .memory_size = below(5) * 0x40000,
	    .userspace_addr = (u64)area[below(AREAS)],
	    .guest_memfd_offset = below(4) ? 0 : number(),
	};
	int vm = *any_vm(), fd = count(ioctl(vm, KVM_CREATE_GUEST_MEMFD, &c));

	count(ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &a));
	if (fd < 0)
		return;
	r.guest_memfd = fd;
	count(ioctl(below(8) ? vm : *any_vm(), KVM_SET_USER_MEMORY_REGION2, &r));
	count(ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &a));
	count(fallocate(fd, FALLOC_FL_KEEP_SIZE | (below(2) ? FALLOC_FL_PUNCH_HOLE : 0),
			below(8) * 0x1000, below(64) * 0x1000));
	close(fd);
}

/* The VMM's own memory changes under the guest. */
static void change_memory(void)
{
	u64 offset = below(AREA / 0x1000) * 0x1000ul, len = (1 + below(64)) * 0x1000ul;
	u8 *at = area[below(AREAS)] + offset;

	if (len > AREA - offset)
		len = AREA - offset;
	switch (below(6)) {
	case 0:
		madvise(at, len, MADV_DONTNEED);
		break;
	case 1:
		mprotect(at, len, below(2) ? PROT_READ : PROT_NONE);
		break;
	case 2:
		mprotect(at, len, PROT_READ | PROT_WRITE);
		break;
	case 3:
		madvise(at, len, below(2) ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		break;
	case 4:
		mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		     0);
		break;
	case 5:
		if (below(50) == 0 && fork() == 0)
			_exit(0); /* copy on write for all of it */
		break;
	}
}

/*
 * Code without x87 instructions: some emulators below us do not survive their exceptions in real
 * mode.
 */
static void fill_code(void)
{
	static const u8 pieces[][8] = {
	    {0xf4, 0xeb, 0xfd, 0xf4}, {0xee, 0xec, 0xeb, 0xfc}, {0xe6, 0x80, 0xe4, 0x80},
	    {0x0f, 0x01, 0xd9, 0x90}, {0x0f, 0xa2, 0xeb, 0xfc}, {0x6c, 0x6e, 0xf3, 0x6e},
	    {0x0f, 0x30, 0x0f, 0x32}, {0x88, 0x07, 0x8a, 0x06}, {0xfb, 0x90, 0xeb, 0xfe},
	    {0xcd, 0x10, 0xcd, 0x80}, {0x0f, 0x22, 0xc0, 0x90}, {0xf3, 0xa4, 0xf3, 0xab},
	};
	u8 code[256];

	for (u32 i = 0; i < sizeof(code); i += 4)
		memcpy(code + i, pieces[below(sizeof(pieces) / sizeof(pieces[0]))], 4);
	if (below(2)) {
		int pipes[2];

		if (pipe(pipes))
			return;
		if (write(pipes[1], code, sizeof(code)) > 0 &&
		    read(pipes[0], area[below(AREAS)] + below(255) * 0x1000, sizeof(code)) < 0)
			errno = 0;
		close(pipes[0]);
		close(pipes[1]);
	}
}

static void set_registers(void)
{
	u32 i = any_vcpu();
	struct kvm_sregs *s = (void *)scratch;
	struct kvm_regs *r = (void *)scratch;

	if (below(2)) {
		if (count(ioctl(vcpu_fd[i], KVM_GET_SREGS, s)) < 0)
			fill(s, sizeof(*s));
		switch (below(4)) {
		case 0: /* a flat segment at the beginning */
			s->cs.base = s->cs.selector = 0;
			break;
		case 1:
			s->cr0 = 0x31, s->cs.base = 0, s->cs.limit = ~0u, s->cs.g = s->cs.db = 1,
			s->cs.type = 11;
			break;
		case 2:
			((u64 *)s)[below(sizeof(*s) / 8)] = number();
			break;
		default:
			fill(s, sizeof(*s));
		}
		count(ioctl(vcpu_fd[i], KVM_SET_SREGS, pointer(s)));
	} else {
		fill(r, sizeof(*r));
		if (below(4)) {
			r->rip = below(AREA) & ~0xfffull;
			r->rflags = 2 | (below(2) ? 0x200 : 0);
			if (below(4) == 0) /* some of the code is WRMSR */
				r->rcx = MSR_SCONTROL + below(0x40);
		}
		count(ioctl(vcpu_fd[i], KVM_SET_REGS, pointer(r)));
	}
}

static void on_signal(int sig)
{
}

static void run_vcpu(u32 i)
{
	static __thread timer_t timer;
	static __thread bool there;
	struct itimerspec t = {.it_interval = {0, 5000000},
			       .it_value = {0, 1000000 * (1 + below(RUN_MS))}},
			  off = {0};

	if (!there) {
		struct sigevent how = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};

		how._sigev_un._tid = syscall(SYS_gettid);
		if (timer_create(CLOCK_MONOTONIC, &how, &timer))
			return;
		there = true;
	}
	timer_settime(timer, 0, &t, NULL);
	count(ioctl(vcpu_fd[i], KVM_RUN, below(50) ? 0 : number()));
	timer_settime(timer, 0, &off, NULL);
}

static void run(void)
{
	run_vcpu(any_vcpu());
}

/* What a VMM can write into a dirty ring, most of it as if all had been harvested. */
static void rings(void)
{
	struct kvm_dirty_gfn e[0x1000 / sizeof(struct kvm_dirty_gfn)];
	u64 at = 0x1000 * KVM_DIRTY_LOG_PAGE_OFFSET + (below(8) ? 0 : below(20) * 0x1000);
	size_t len = 0x1000 << below(2);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, below(8) ? MAP_SHARED : MAP_PRIVATE,
		       vcpu_fd[contending ? 0 : any_vcpu()], at);
	int r;

	if (p == MAP_FAILED)
		return;
	if (contending)
		run_vcpu(0);
	for (u32 i = 0; i < sizeof(e) / sizeof(e[0]); i++) {
		e[i].flags = below(8) ? KVM_DIRTY_GFN_F_RESET : number();
		e[i].slot = below(4) ? 0 : number();
		e[i].offset = below(4) ? below(0x100) : number();
	}
	if (below(8))
		poke(p, e, sizeof(e));
	munmap(p, len);
	r = count(ioctl(contending ? vm_fd[0] : *any_vm(), KVM_RESET_DIRTY_RINGS, 0));
	if (r > 0)
		__atomic_fetch_add(&counts[RINGS], 1, __ATOMIC_RELAXED);
}

static void set_lists(void)
{
	struct kvm_enable_cap enforce = {.cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .args = {below(2)}};
	u32 i = any_vcpu(), n = below(8) ? below(100) : (u32)number();

	fill(scratch, SCRATCH / 2);
	memcpy(scratch, &n, 4);
	switch (below(7)) {
	case 0:
		count(ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, pointer(scratch)));
		break;
	case 1:
		n = 100;
		memcpy(scratch, &n, 4);
		count(ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, scratch));
		((u32 *)scratch)[2 + below(200)] = number();
		/* fall through */
	case 2:
		count(ioctl(vcpu_fd[i], KVM_SET_CPUID2, pointer(scratch)));
		break;
	case 3:
	case 4:
		for (u32 k = 0; k < 64; k++) {
			static const u32 base[] = {
			    0,		0x10,	    0x174,	0x200,	    0x277,	0x400,
			    0x6e0,	0x800,	    0x1b,	0x4b564d00, 0xc0000080, 0xc0000100,
			    0xc0010000, 0x40000000, 0x40000020, 0x40000070, 0x40000100};

			((struct kvm_msrs *)scratch)->entries[k].index =
			    base[below(17)] + below(16);
		}
		count(ioctl(vcpu_fd[i], below(2) ? KVM_SET_MSRS : KVM_GET_MSRS, pointer(scratch)));
		break;
	case 5: /* a guest of Hyper-V, which may use what it sees */
		n = 100;
		memcpy(scratch, &n, 4);
		count(ioctl(below(2) ? kvm_fd : vcpu_fd[i], KVM_GET_SUPPORTED_HV_CPUID,
			    pointer(scratch)));
		count(ioctl(vcpu_fd[i], KVM_ENABLE_CAP, &enforce));
		count(ioctl(vcpu_fd[i], KVM_SET_CPUID2, scratch));
		break;
	default:
		count(ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, pointer(scratch)));
	}
}

/* SINTs that may be raised, pages that may be there, timers of all kinds, of which some never end.
 */
static u64 synic_value(u32 msr)
{
	u64 config = below(0x10) | (u64)below(4) << 16 | (below(2) ? 1 << 12 | 0x51 << 4 : 0);

	if (below(8) == 0)
		return number();
	if (msr < MSR_SINT0)
		return below(AREA / 0x1000 + 4) << 12 | below(2);
	if (msr < MSR_STIMER0)
		return (u64)below(8) << 16 | (0x50 + below(4));
	return msr & 1 ? (1ull << below(24)) : config;
}

static void synic(void)
{
	struct kvm_enable_cap enable = {
	    .cap = below(2) ? KVM_CAP_HYPERV_SYNIC2 : KVM_CAP_HYPERV_SYNIC, .args = {!below(8)}};
	struct kvm_hyperv_eventfd e = {.conn_id = below(8) ? below(8) : number(),
				       .fd = event_fd[below(EVENTS)],
				       .flags = below(8) ? below(2) : number()};
	struct kvm_msrs *m = (void *)scratch;
	u32 i = any_vcpu();

	switch (below(8)) {
	case 0:
		count(
		    ioctl(*any_vm(), KVM_HYPERV_EVENTFD, pointer(memcpy(scratch, &e, sizeof(e)))));
		break;
	case 1:
		count(ioctl(vcpu_fd[i], KVM_ENABLE_CAP,
			    pointer(memcpy(scratch, &enable, sizeof(enable)))));
		break;
	default:
		m->nmsrs = 1 + below(20);
		for (u32 k = 0; k < m->nmsrs; k++) {
			u32 msr =
			    (u32[]){MSR_SCONTROL, MSR_SINT0, MSR_STIMER0, MSR_STIMER0}[below(4)] +
			    below(8);

			m->entries[k] = (struct kvm_msr_entry){msr, 0, synic_value(msr)};
		}
		count(ioctl(vcpu_fd[i], below(4) ? KVM_SET_MSRS : KVM_GET_MSRS, pointer(m)));
	}
}

static void msr_filter(void)
{
	static const u64 base[] = {0x10, 0x174, 0x277, 0x800, 0xc0000080, 0xc0000100, 0xc0010000};
	struct kvm_enable_cap exits = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				       .args = {below(8) ? below(8) : number()}};
	struct kvm_msr_filter *f = (void *)scratch;
	struct kvm_pmu_event_filter *events = (void *)scratch;

	if (below(3) == 0) {
		fill(scratch, 0x1000);
		events->action = below(8) ? below(2) : number();
		events->nevents = below(8) ? below(302) : number();
		events->flags = below(8) ? 0 : number();
		count(ioctl(*any_vm(), KVM_SET_PMU_EVENT_FILTER, pointer(events)));
		exits.cap = KVM_CAP_PMU_CAPABILITY;
		count(ioctl(*any_vm(), KVM_ENABLE_CAP, &exits));
		return;
	}
	if (below(3) == 0) {
		count(ioctl(*any_vm(), KVM_ENABLE_CAP, &exits));
		return;
	}
	fill(scratch + 0x1000, 0x1000);
	memset(f, 0, sizeof(*f));
	f->flags = below(8) ? below(2) : number();
	for (u32 i = below(KVM_MSR_FILTER_MAX_RANGES + 1); i--;)
		f->ranges[i] = (struct kvm_msr_filter_range){
		    .flags = below(20) ? 1 + below(3) : number(),
		    .nmsrs = below(20) ? below(0x300) : number(),
		    .base = below(8) ? base[below(7)] : number(),
		    .bitmap = below(20) ? scratch + 0x1000 : pointer(scratch)};
	count(ioctl(*any_vm(), KVM_X86_SET_MSR_FILTER, pointer(f)));
}

static void interrupts(void)
{
	int vm = *any_vm();
	struct kvm_irqfd irqfd = {.fd = event_fd[below(EVENTS)],
				  .gsi = below(8) ? below(32) : number(),
				  .flags = below(8) ? below(4) : number(),
				  .resamplefd = event_fd[below(EVENTS)]};
	struct kvm_ioeventfd io = {.fd = event_fd[below(EVENTS)],
				   .addr = below(4) ? below(4) * 0x1000 : number(),
				   .len = below(8) ? 1u << below(4) : number(),
				   .flags = below(8) ? below(8) : number(),
				   .datamatch = below(4)};
	struct kvm_irq_routing *table = (void *)scratch;
	struct kvm_msi msi = {.address_lo = 0xfee00000 | (below(4) ? below(4) << 12 : number()),
			      .data = number()};
	struct kvm_irq_level line = {.irq = below(8) ? below(32) : number(), .level = below(2)};
	u64 one = 1;

	switch (below(6)) {
	case 0:
		count(ioctl(vm, KVM_IRQFD, pointer(memcpy(scratch, &irqfd, sizeof(irqfd)))));
		break;
	case 1:
		count(ioctl(vm, KVM_IOEVENTFD, pointer(memcpy(scratch, &io, sizeof(io)))));
		break;
	case 2:
		fill(table, 4096);
		table->nr = below(8) ? below(60) : number();
		table->flags = 0;
		for (u32 i = 0; i < 60; i++) {
			table->entries[i].gsi = below(8) ? below(40) : number();
			table->entries[i].type = below(8) ? (u32[]){1, 2, 4}[below(3)] : number();
			table->entries[i].flags = 0;
			if (below(2))
				table->entries[i].u.irqchip =
				    (struct kvm_irq_routing_irqchip){below(4), below(24)};
		}
		count(ioctl(vm, KVM_SET_GSI_ROUTING, pointer(table)));
		break;
	case 3:
		count(ioctl(vm, KVM_SIGNAL_MSI, pointer(memcpy(scratch, &msi, sizeof(msi)))));
		break;
	case 4:
		count(ioctl(vm, KVM_IRQ_LINE, pointer(memcpy(scratch, &line, sizeof(line)))));
		break;
	default:
		if (write(event_fd[below(EVENTS)], &one, 8) < 0)
			errno = 0;
	}
}

/* State that was read, changed a little (or all), and written back. */
static void state(void)
{
	static const struct {
		unsigned long get, set;
		u32 len;
		bool vm;
	} kinds[] = {
	    {KVM_GET_LAPIC, KVM_SET_LAPIC, 1024, false},
	    {KVM_GET_XSAVE, KVM_SET_XSAVE, 4096, false},
	    {KVM_GET_FPU, KVM_SET_FPU, sizeof(struct kvm_fpu), false},
	    {KVM_GET_XCRS, KVM_SET_XCRS, sizeof(struct kvm_xcrs), false},
	    {KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, sizeof(struct kvm_vcpu_events), false},
	    {KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state), false},
	    {KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs), false},
	    {KVM_GET_IRQCHIP, KVM_SET_IRQCHIP, sizeof(struct kvm_irqchip), true},
	    {KVM_GET_PIT2, KVM_SET_PIT2, sizeof(struct kvm_pit_state2), true},
	    {KVM_GET_CLOCK, KVM_SET_CLOCK, sizeof(struct kvm_clock_data), true},
	};
	u32 k = below(sizeof(kinds) / sizeof(kinds[0])), chip = below(4);
	int fd = kinds[k].vm ? *any_vm() : vcpu_fd[any_vcpu()];

	memcpy(scratch, &chip, 4);
	if (count(ioctl(fd, kinds[k].get, pointer(scratch))) < 0 || below(8) == 0)
		fill(scratch, kinds[k].len);
	for (u32 n = below(4); n; n--)
		scratch[below(kinds[k].len)] = number();
	count(ioctl(fd, kinds[k].set, pointer(scratch)));
}

static void small_calls(void)
{
	static const unsigned long vm_calls[] = {KVM_CREATE_IRQCHIP,
						 KVM_CREATE_PIT2,
						 KVM_SET_TSS_ADDR,
						 KVM_SET_IDENTITY_MAP_ADDR,
						 KVM_SET_BOOT_CPU_ID,
						 KVM_ENABLE_CAP,
						 KVM_GET_DIRTY_LOG,
						 KVM_CHECK_EXTENSION,
						 KVM_REINJECT_CONTROL,
						 KVM_GET_NR_MMU_PAGES,
						 KVM_SET_NR_MMU_PAGES,
						 KVM_CREATE_DEVICE,
						 KVM_GET_PIT,
						 KVM_SET_PIT,
						 KVM_IRQ_LINE_STATUS,
						 KVM_REGISTER_COALESCED_MMIO,
						 KVM_UNREGISTER_COALESCED_MMIO,
						 KVM_CLEAR_DIRTY_LOG,
						 KVM_RESET_DIRTY_RINGS,
						 KVM_SET_TSC_KHZ,
						 KVM_GET_TSC_KHZ};
	static const unsigned long vcpu_calls[] = {KVM_INTERRUPT,
						   KVM_NMI,
						   KVM_SET_SIGNAL_MASK,
						   KVM_SET_TSC_KHZ,
						   KVM_GET_TSC_KHZ,
						   KVM_TRANSLATE,
						   KVM_SET_GUEST_DEBUG,
						   KVM_GET_DEBUGREGS,
						   KVM_SET_VAPIC_ADDR,
						   KVM_GET_CPUID2,
						   KVM_KVMCLOCK_CTRL,
						   KVM_ENABLE_CAP,
						   KVM_SMI,
						   KVM_TPR_ACCESS_REPORTING,
						   KVM_X86_SETUP_MCE,
						   KVM_GET_DEVICE_ATTR,
						   KVM_SET_DEVICE_ATTR,
						   KVM_X86_SET_MCE};
	bool vm = below(2);
	u64 log[] = {below(4), (u64)(scratch + 0x1000)};

	fill(scratch, 4096);
	if (below(2))
		memcpy(scratch, log, sizeof(log));
	if (vm)
		count(ioctl(*any_vm(), vm_calls[below(sizeof(vm_calls) / 8)],
			    below(4) ? pointer(scratch) : (void *)number()));
	else
		count(ioctl(vcpu_fd[any_vcpu()], vcpu_calls[below(sizeof(vcpu_calls) / 8)],
			    below(4) ? pointer(scratch) : (void *)number()));
}

static void any_ioctl(void)
{
	int fd = below(3)   ? vcpu_fd[any_vcpu()]
		 : below(3) ? *any_vm()
		 : below(2) ? kvm_fd
			    : corbel_fd;
	unsigned long cmd =
	    _IOC(below(4), below(8) ? KVMIO : below(256), below(256), below(4) ? below(512) : 0);

	/* Breakpoints on arbitrary addresses crash some emulators below us. */
	if (_IOC_NR(cmd) == _IOC_NR(KVM_SET_DEBUGREGS))
		return;
	fill(scratch, 4096);
	count(ioctl(fd, cmd, below(4) ? pointer(scratch) : (void *)number()));
}

static void corbel(void)
{
	struct corbel_query q = {.what = below(8) ? below(5) : number(),
				 .index = below(8) ? below(8) : number(),
				 .seq = number(),
				 .buf = (u64)pointer(scratch + 0x1000),
				 .len = below(2) ? 0x1000 : number()};
	/* not dom0's own vCPUs, which come first: they may be throttled */
	struct corbel_sched_set s = {.vcpu = sysconf(_SC_NPROCESSORS_CONF) +
					     (below(4) ? below(16) : below(~0u - 256)),
				     .weight = below(2) ? 1024 : number(),
				     .affinity.word = {number(), below(4) ? 0 : number()},
				     .cap = below(2) ? 0 : number()};
	struct corbel_pool_call p = {
	    .op = below(8),
	    .pool = below(4),
	    .cpus.word = {below(4) ? below(8) : number(), below(8) ? 0 : number()},
	    .vm = below(8),
	    .vcpu = below(2) ? CORBEL_POOL_ALL : s.vcpu,
	    .name = {'a' + below(8)}};
	static const char *const policies[] = {"", "rr", "deadline", "null"};

	strcpy(p.policy, policies[below(4)]);
	if (p.op == CORBEL_POOL_BUDGET && below(8)) {
		p.period_us = 1000 + below(10000);
		p.budget_us = 100 + below(1000);
	}

	if (below(8) == 0)
		q.what = CORBEL_QUERY_LOG;
	switch (below(8)) {
	case 0:
		count(ioctl(corbel_fd, below(2) ? CORBEL_IOC_SCHED : CORBEL_IOC_SCHED_VM,
			    pointer(memcpy(scratch, &s, sizeof(s)))));
		break;
	case 1:
		count(ioctl(corbel_fd, CORBEL_IOC_POOL, pointer(memcpy(scratch, &p, sizeof(p)))));
		if (below(200) == 0) /* these fill the console */
			count(ioctl(corbel_fd, CORBEL_IOC_DEBUG,
				    below(2) ? (u64) "hqmiRP?\n"[below(8)] : number()));
		break;
	default:
		count(ioctl(corbel_fd, CORBEL_IOC_QUERY, pointer(memcpy(scratch, &q, sizeof(q)))));
	}
}

/* ---- the same few objects for all threads: VM 0, its vCPUs 0 and 1, eventfd 0, slot 0 ---- */

static void contend_irqfd(void)
{
	struct kvm_irqfd f = {.fd = event_fd[0], .gsi = 5, .resamplefd = event_fd[1]};

	if (below(2))
		f.flags = KVM_IRQFD_FLAG_DEASSIGN;
	else if (below(2))
		f.flags = KVM_IRQFD_FLAG_RESAMPLE;
	count_as(IRQFDS, ioctl(vm_fd[0], KVM_IRQFD, &f));
}

static void contend_ioeventfd(void)
{
	struct kvm_ioeventfd e = {.fd = event_fd[0], .addr = 0x510, .len = 1};

	e.flags = below(2) ? KVM_IOEVENTFD_FLAG_PIO : 0;
	e.flags |= below(2) ? KVM_IOEVENTFD_FLAG_DEASSIGN : 0;
	count_as(IOEVENTFDS, ioctl(vm_fd[0], KVM_IOEVENTFD, &e));
}

/* Written, or closed while irqfds and ioeventfds refer to it. */
static void contend_event(void)
{
	u64 one = 1;

	if (below(4) == 0)
		replace(&event_fd[0], eventfd(below(2), EFD_NONBLOCK));
	else if (write(event_fd[0], &one, sizeof(one)) < 0)
		errno = 0;
}

static void contend_slot(void)
{
	struct kvm_userspace_memory_region r = {.memory_size = below(2) ? AREA : 0,
						.flags = below(2) ? KVM_MEM_LOG_DIRTY_PAGES : 0,
						.userspace_addr = (u64)area[0]};
	struct kvm_dirty_log log = {.dirty_bitmap = scratch};

	if (below(4))
		count_as(SLOTS, ioctl(vm_fd[0], KVM_SET_USER_MEMORY_REGION, &r));
	else
		count(ioctl(vm_fd[0], KVM_GET_DIRTY_LOG, &log));
}

static void contend_memory(void)
{
	u64 offset = below(AREA / 0x1000) * 0x1000ul;

	if (below(4)) {
		madvise(area[0] + offset, AREA - offset, MADV_DONTNEED);
		return;
	}
	munmap(area[0] + offset, AREA - offset);
	mmap(area[0] + offset, AREA - offset, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

/* Zeroes, which are what the memory holds, are instructions that read and write memory. */
static void contend_vcpu(void)
{
	struct kvm_regs r = {.rflags = 2, .rbx = below(AREA) & 0xf000};
	u32 i = below(2);
	struct kvm_sregs s;
	int fd;

	switch (below(4)) {
	case 0:
		fd = count_as(CPUS, ioctl(vm_fd[0], KVM_CREATE_VCPU, (unsigned long)i));
		if (fd >= 0)
			replace(&vcpu_fd[i], fd);
		break;
	case 1:
		if (below(8) == 0)
			replace(&vcpu_fd[i], -1);
		break;
	case 2:
		if (count(ioctl(vcpu_fd[i], KVM_GET_SREGS, &s)) < 0)
			break;
		s.cs.base = s.cs.selector = 0;
		count(ioctl(vcpu_fd[i], KVM_SET_SREGS, &s));
		count(ioctl(vcpu_fd[i], KVM_SET_REGS, &r));
		break;
	default:
		run_vcpu(i);
	}
}

static void contend_vm(void)
{
	int fd;

	fd = count(ioctl(kvm_fd, KVM_CREATE_VM, below(2)));
	if (fd < 0)
		return;
	count(ioctl(fd, KVM_CREATE_IRQCHIP, 0));
	if (contending % 6 == 3)
		enable_ring(fd);
	replace(&vm_fd[0], fd);
}

/* A process either keeps to one kind of object, so that its threads meet often, or has all. */
static void contend(void)
{
	static void (*const ops[][4])(void) = {
	    {contend_irqfd, contend_irqfd, contend_irqfd, contend_event},
	    {contend_ioeventfd, contend_ioeventfd, contend_event, contend_vcpu},
	    {contend_slot, contend_memory, contend_vcpu, contend_vcpu},
	    {contend_slot, rings, contend_vcpu, contend_vcpu},
	    {contend_slot, private_memory, private_memory, contend_vcpu},
	    {contend_irqfd, contend_ioeventfd, contend_slot, contend_vcpu},
	};

	if (below(200) == 0)
		contend_vm();
	else
		ops[contending % 6][below(4)]();
}

static void *thread(void *arg)
{
	static void (*const ops[])(void) = {
	    create,	create,	       close_one,   map_run,	   poke_run,	  set_memory,
	    set_memory, change_memory, fill_code,   set_registers, set_registers, run,
	    run,	run,	       set_lists,   interrupts,	   interrupts,	  state,
	    state,	small_calls,   small_calls, any_ioctl,	   corbel,	  msr_filter,
	    synic,	synic,	       rings,	    private_memory};

	seed = (u64)arg * 0x9e3779b97f4a7c15ull | 1;
	scratch = mmap(NULL, SCRATCH + 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);
	if (scratch == MAP_FAILED)
		_exit(1);
	munmap(scratch + SCRATCH, 0x1000);
	while (contending)
		contend();
	for (;;)
		ops[below(sizeof(ops) / sizeof(ops[0]))]();
	return NULL;
}

static void child(u64 start, int report)
{
	struct sigaction act = {.sa_handler = on_signal};
	u64 life = 300 + start * 7919 % 4000;

	contending = start % 3 ? 0 : start / 3 + 1;
	seed = start * 0x9e3779b97f4a7c15ull | 1;
	sigaction(SIGUSR1, &act, NULL);
	kvm_fd = open("/dev/kvm", O_RDWR);
	corbel_fd = open("/dev/corbel", O_RDWR);
	if (kvm_fd < 0)
		_exit(2);
	for (u32 i = 0; i < VMS; i++)
		vm_fd[i] = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	if (contending % 6 == 3)
		enable_ring(vm_fd[0]);
	for (u32 i = 0; i < VCPUS; i++)
		vcpu_fd[i] = -1;
	for (u32 i = 0; i < EVENTS; i++)
		event_fd[i] = eventfd(0, EFD_NONBLOCK);
	for (u32 i = 0; i < AREAS; i++)
		area[i] =
		    mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (u64 i = 0; i < THREADS; i++) {
		pthread_t t;

		pthread_create(&t, NULL, thread, (void *)(start * THREADS + i + 1));
	}
	/*
	 * Some end by themselves, others are killed: by the parent, or by what they did to their
	 * own memory.
	 */
	usleep(life * 1000);
	if (write(report, counts, sizeof(counts)) < 0)
		_exit(1);
	if (start & 1)
		kill(getpid(), SIGKILL);
	_exit(0);
}

int main(int argc, char **argv)
{
	u64 seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 10,
	    next = argc > 2 ? strtoull(argv[2], NULL, 0) : 1, all[COUNTS] = {0}, some[COUNTS];
	time_t end = time(NULL) + seconds;
	u32 alive = 0, children = 0;
	bool contended = true;
	int report[2];

	if (pipe2(report, O_NONBLOCK))
		return 1;
	while (time(NULL) < end || alive) {
		while (alive < PROCESSES && time(NULL) < end) {
			pid_t pid = fork();

			if (pid == 0)
				child(next, report[1]);
			next++;
			children++;
			alive += pid > 0;
		}
		if (waitpid(-1, NULL, WNOHANG) > 0)
			alive--;
		else
			usleep(10000);
		while (read(report[0], some, sizeof(some)) == sizeof(some))
			for (u32 i = 0; i < COUNTS; i++)
				all[i] += some[i];
		if (time(NULL) > end + 60) {
			printf("not ok - the processes end (%u do not)\n", alive);
			return 1;
		}
	}
	printf("# %u processes, %llu calls, %llu without an error\n", children,
	       (unsigned long long)all[CALLS], (unsigned long long)all[GOOD]);
	printf("# of calls for the same objects without an error: %llu irqfds, %llu ioeventfds, "
	       "%llu slots, %llu vCPUs; %llu resets of dirty rings\n",
	       (unsigned long long)all[IRQFDS], (unsigned long long)all[IOEVENTFDS],
	       (unsigned long long)all[SLOTS], (unsigned long long)all[CPUS],
	       (unsigned long long)all[RINGS]);
	for (u32 i = IRQFDS; i < COUNTS; i++)
		contended &= all[i] > (i == RINGS ? 0 : 10);
	printf("%sok - random ioctls for %llu s, and all processes end\n",
	       all[GOOD] > 1000 ? "" : "not ", (unsigned long long)seconds);
	printf("%sok - threads get the same irqfds, ioeventfds, slots, vCPUs and dirty rings in "
	       "turn\n",
	       contended ? "" : "not ");
	return all[GOOD] <= 1000 || !contended;
}
