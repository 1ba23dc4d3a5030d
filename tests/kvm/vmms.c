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
