/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty rings (KVM_CAP_DIRTY_LOG_RING): who may have one, what comes into it, what a full one does,
 * and what a VMM may write into it that is not so.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define AT	 0x40000000ul /* in the guest */
#define PAGES	 512u
#define SLOT	 5u
#define ENTRIES	 256u
#define RESERVED 64u /* left when it is full */
#define BYTES	 (ENTRIES * sizeof(struct kvm_dirty_gfn))
#define RING_AT	 (4096ul * KVM_DIRTY_LOG_PAGE_OFFSET)

#define MSR_SYSTEM_TIME 0x4b564d01

static struct kvm_dirty_gfn *ring[2];
static u32 next_entry[2]; /* looked at next */
static u32 seen[PAGES], wrong;
static u8 *memory;

static int enable(struct vm *vm, u32 cap, u64 bytes)
{
	struct kvm_enable_cap e = {.cap = cap, .args = {bytes}};

	return vm_ioctl(vm, KVM_ENABLE_CAP, &e);
}

static int set_slot(struct vm *vm, u32 flags)
{
	struct kvm_userspace_memory_region r = {.slot = SLOT,
						.flags = flags,
						.guest_phys_addr = AT,
						.memory_size = PAGES * 4096,
						.userspace_addr = (u64)memory};

	return vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static void *map_ring(struct vm *vm, u32 cpu, u64 bytes, int prot, int flags)
{
	return mmap(NULL, bytes, prot, flags, vm->cpu_fd[cpu], RING_AT);
}

/* Entries that are new since the last time, counted in seen[]; they are marked as harvested. */
static u32 harvest(u32 cpu)
{
	u32 n = 0;

	for (;; n++, next_entry[cpu]++) {
		struct kvm_dirty_gfn *e = &ring[cpu][next_entry[cpu] % ENTRIES];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return n;
		if (e->slot == SLOT && e->offset < PAGES)
			seen[e->offset]++;
		else
			wrong++;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

static int reset(struct vm *vm)
{
	return vm_ioctl(vm, KVM_RESET_DIRTY_RINGS, NULL);
}

static void forget(void)
{
	memset(seen, 0, sizeof(seen));
	wrong = 0;
}

/* As many pages were seen, each once, the first of them this one. */
static bool saw(u32 first, u32 pages)
{
	u32 n = 0;

	for (u32 i = 0; i < PAGES; i++)
		n += seen[i];
	for (u32 i = first; i < first + pages; i++)
		if (seen[i] != 1)
			return false;
	return n == pages && !wrong;
}

/* The guest writes zeros to pages that had none. */
static void write_pages(struct vm *vm, u32 cpu, u32 first, u32 pages)
{
	cpu_setup(vm, cpu, MODE_LONG, pl_stos, AT + first * 4096ul, pages * 1024ul);
}

static bool wrote(struct vm *vm, u32 cpu, u32 first, u32 pages)
{
	write_pages(vm, cpu, first, pages);
	return vm_run(vm, cpu, 10000) == END_DONE;
}

static bool reads(struct vm *vm, u32 page)
{
	cpu_setup(vm, 0, MODE_LONG, pl_stride, AT + page * 4096ul, 1);
	return vm_run(vm, 0, 10000) == END_DONE;
}

static bool is_full(struct vm *vm, u32 cpu)
{
	return vm_run(vm, cpu, 10000) == END_OTHER &&
	       vm->run[cpu]->exit_reason == KVM_EXIT_DIRTY_RING_FULL;
}

static void check_enable(void)
{
	const u32 cap = KVM_CAP_DIRTY_LOG_RING;
	int max;
	struct vm vm;

	vm_init(&vm, 0, 0);
	max = vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)(u64)cap);
	ok(max >= 65536 &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_DIRTY_LOG_RING_ACQ_REL) == max,
	   "ring: a VMM hears how large it can be (%d)", max);
	ok(reset(&vm) == -EINVAL, "ring: without one there is nothing to reset");
	ok(enable(&vm, cap, 0) == -EINVAL && enable(&vm, cap, 2048) == -EINVAL &&
	       enable(&vm, cap, 12288) == -EINVAL && enable(&vm, cap, 2ul * max) == -E2BIG &&
	       enable(&vm, cap, 1ul << 63) == -E2BIG,
	   "ring: sizes that there are not are refused");
	ok(!enable(&vm, KVM_CAP_DIRTY_LOG_RING_ACQ_REL, BYTES) &&
	       enable(&vm, cap, BYTES) == -EINVAL,
	   "ring: it is had once");
	vm_free(&vm);
	vm_init(&vm, 1, 0);
	ok(enable(&vm, cap, BYTES) == -EINVAL, "ring: when there are vCPUs it is too late");
	ok(map_ring(&vm, 0, BYTES, PROT_READ, MAP_SHARED) != MAP_FAILED,
	   "ring: where there is none something can be mapped");
	vm_free(&vm);
}

static void check_map(struct vm *vm)
{
	struct kvm_dirty_log log = {.slot = SLOT, .dirty_bitmap = seen};
	struct kvm_clear_dirty_log clear = {.slot = SLOT, .num_pages = 64, .dirty_bitmap = seen};
	const int rw = PROT_READ | PROT_WRITE;

	ok(map_ring(vm, 0, BYTES, rw, MAP_PRIVATE) == MAP_FAILED &&
	       map_ring(vm, 0, BYTES, rw | PROT_EXEC, MAP_SHARED) == MAP_FAILED,
	   "ring: it is mapped neither private nor as code");
	for (u32 i = 0; i < 2; i++)
		ring[i] = map_ring(vm, i, BYTES, rw, MAP_SHARED);
	if (ring[0] == MAP_FAILED || ring[1] == MAP_FAILED)
		fatal("a ring can be mapped");
	ok(vm_ioctl(vm, KVM_GET_DIRTY_LOG, &log) == -ENXIO &&
	       vm_ioctl(vm, KVM_CLEAR_DIRTY_LOG, &clear) == -ENXIO,
	   "ring: with it there are no bitmaps");
}

static void check_log(struct vm *vm)
{
	forget();
	ok(wrote(vm, 0, 0, PAGES) && !harvest(0), "ring: without a log nothing comes into it");
	memset(memory, 1, PAGES * 4096);
	ok(!set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES) && reads(vm, 3) && !harvest(0),
	   "ring: what is read does not");
	ok(wrote(vm, 0, 3, 5) && harvest(0) == 5 && saw(3, 5) && !harvest(1),
	   "ring: what is written does, into the ring of who has written it");
	forget();
	memset(memory, 1, PAGES * 4096);
	ok(wrote(vm, 0, 3, 5) && !harvest(0) && !memory[3 * 4096], "ring: once");
	ok(reset(vm) == 5 && !reset(vm), "ring: what has been harvested is reset");
	ok(wrote(vm, 1, 4, 2) && harvest(1) == 2 && saw(4, 2) && !harvest(0) && reset(vm) == 2,
	   "ring: and comes again, by another vCPU into its own");
	forget();
	ok(wrote(vm, 0, 20, 1) && !madvise(memory + 20 * 4096, 4096, MADV_DONTNEED) &&
	       wrote(vm, 0, 20, 1) && harvest(0) == 2 && seen[20] == 2 && reset(vm) == 2,
	   "ring: a page that has been given back and written again is there twice");
	forget();
	ok(!set_slot(vm, 0) && wrote(vm, 0, 0, PAGES) && !harvest(0),
	   "ring: a log that has ended is told nothing");
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES);
	ok(wrote(vm, 0, 9, 1) && harvest(0) == 1 && saw(9, 1) && reset(vm) == 1,
	   "ring: it can begin again");
}

/*
 * The guest is at the page that has filled the ring when it is told: that is written when it goes
 * on, and is in the ring again if it has been harvested meanwhile.
 */
static void check_full(struct vm *vm)
{
	u32 turns = 0, n = 0;
	struct kvm_regs r;
	enum end end;

	forget();
	memset(memory, 1, PAGES * 4096);
	write_pages(vm, 0, 0, PAGES);
	ok(is_full(vm, 0), "ring: a full one stops its vCPU");
	cpu_get_regs(vm, 0, &r);
	ok(r.rdi == AT + (ENTRIES - RESERVED - 1) * 4096ul,
	   "ring: at the page that has filled it (%llx)", r.rdi);
	ok(is_full(vm, 0) && is_full(vm, 0) && wrote(vm, 1, PAGES - 1, 1),
	   "ring: that goes on for as long as nobody harvests, others run");
	ok(harvest(1) == 1 && reset(vm) == 1 && is_full(vm, 0), "ring: another's makes no room");
	forget();
	do {
		n += harvest(0);
		turns += reset(vm) > 0;
		end = vm_run(vm, 0, 10000);
	} while (end == END_OTHER && vm->run[0]->exit_reason == KVM_EXIT_DIRTY_RING_FULL &&
		 turns < 20);
	n += harvest(0);
	for (u32 i = 0; i < PAGES; i++)
		wrong += !seen[i];
	ok(end == END_DONE && n <= PAGES + turns && turns < 20 && !wrong && !memory[0] &&
	       !memory[PAGES * 4096 - 1],
	   "ring: each page comes, and the guest to its end (%u in %u turns)", n, turns);
	reset(vm);
}

/* What stops the vCPU first is finished before the ring is told of. */
static void check_order(struct vm *vm)
{
	forget();
	write_pages(vm, 0, 0, PAGES);
	ok(is_full(vm, 0), "ring: full again");
	vm->run[0]->immediate_exit = 1;
	ok(cpu_ioctl(vm, 0, KVM_RUN, NULL) == -EINTR, "ring: immediate_exit comes first");
	vm->run[0]->immediate_exit = 0;
	ok(is_full(vm, 0), "ring: full once more");
	cpu_setup(vm, 0, MODE_LONG, pl_exits, 0, 0);
	ok(is_full(vm, 0), "ring: whatever it wants to do next");
	harvest(0);
	reset(vm);
}

/* The whole ring is filled with things that are not so, and read as harvested. */
static void check_lies(struct vm *vm)
{
	u32 i;

	forget();
	for (i = 0; i < ENTRIES; i++)
		ring[0][i] = (struct kvm_dirty_gfn){KVM_DIRTY_GFN_F_RESET, (u32)rnd(), rnd()};
	ok(!reset(vm), "ring: entries that are not in use are not looked at");
	ok(wrote(vm, 0, 0, 100), "ring: the guest goes on");
	for (i = 0; i < ENTRIES; i++)
		ring[0][i] = (struct kvm_dirty_gfn){~0u, rnd() & 1 ? SLOT : (u32)rnd(),
						    rnd() & 1 ? PAGES + rnd() % 4 : rnd()};
	ok(reset(vm) == 100 && !reset(vm), "ring: of those in use any can be harvested, once");
	next_entry[0] += 100;
	for (i = 0; i < ENTRIES; i++)
		ring[0][i].flags = 0;
	ok(wrote(vm, 0, 0, 200 - RESERVED) && harvest(0) && !wrong && reset(vm) > 0,
	   "ring: it can be used afterwards");
	/* those whose entries were spoilt have stayed writable */
	set_slot(vm, 0);
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES);
	forget();
	ok(wrote(vm, 0, 0, 100) && harvest(0) == 100 && saw(0, 100) && reset(vm) == 100,
	   "ring: a new log has everything");
}

/* The clock is written by the hypervisor, to a page that the guest has read meanwhile. */
static void check_clock(struct vm *vm)
{
	struct kvm_clock_data clock = {.clock = 1000000000ull};
	u32 version;

	forget();
	set_slot(vm, 0);
	ok(set_msr(vm, 0, MSR_SYSTEM_TIME, (AT + 30 * 4096) | 1) == 1 && reads(vm, 30) &&
	       reads(vm, 30),
	   "ring: a guest with a clock");
	version = *(u32 *)(memory + 30 * 4096);
	set_slot(vm, KVM_MEM_LOG_DIRTY_PAGES);
	ok(reads(vm, 30) && !harvest(0), "ring: it is read while the log runs");
	ok(!vm_ioctl(vm, KVM_SET_CLOCK, &clock) && reads(vm, 31) && harvest(0) == 1 && saw(30, 1) &&
	       *(u32 *)(memory + 30 * 4096) > version,
	   "ring: what the hypervisor writes comes into it, and is written");
	reset(vm);
	set_msr(vm, 0, MSR_SYSTEM_TIME, 0);
}

/* ---- a vCPU is kicked, by a signal that only KVM_RUN lets in and that would kill the VMM ---- */

struct kicked {
	struct vm *vm;
	int result, taken;
};

static void *kicked_thread(void *arg)
{
	char room[sizeof(struct kvm_signal_mask) + 8];
	struct kvm_signal_mask *mask = (void *)room;
	struct kicked *k = arg;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	mask->len = 8;
	memset(mask->sigset, 0, 8);
	if (cpu_ioctl(k->vm, 0, KVM_SET_SIGNAL_MASK, mask))
		fatal("KVM_SET_SIGNAL_MASK");
	k->result = cpu_ioctl(k->vm, 0, KVM_RUN, NULL);
	if (k->result == -EINTR)
		sigwait(&set, &k->taken);
	cpu_ioctl(k->vm, 0, KVM_SET_SIGNAL_MASK, NULL);
	return NULL;
}

static void check_kick(struct vm *vm)
{
	struct kicked k = {.vm = vm};
	pthread_t t;

	cpu_setup(vm, 0, MODE_LONG, pl_spin, 0, 0);
	if (pthread_create(&t, NULL, kicked_thread, &k))
		fatal("a thread");
	usleep(200000); /* until it runs */
	pthread_kill(t, SIGUSR2);
	pthread_join(t, NULL);
	ok(k.result == -EINTR && k.taken == SIGUSR2,
	   "ring: a vCPU is kicked by a signal, which waits for its thread to take it");
}

/* ---- harvested while the guest writes ---- */

static bool ends;

static void *harvester(void *arg)
{
	u32 *done = calloc(1, sizeof(*done));

	while (!__atomic_load_n(&ends, __ATOMIC_ACQUIRE)) {
		int r = (harvest(0), reset(arg));

		if (r > 0)
			*done += r;
		usleep(2000);
	}
	return done;
}

static void check_threads(struct vm *vm)
{
	u32 rounds = 0, told = 0, full = 0, left, again, *done;
	pthread_t t;

	forget();
	if (pthread_create(&t, NULL, harvester, vm))
		fatal("a thread");
	for (u64 until = now_ms() + 1500; now_ms() < until; rounds++) {
		enum end end;

		write_pages(vm, 0, 0, PAGES);
		while ((end = vm_run(vm, 0, 10000)) == END_OTHER &&
		       vm->run[0]->exit_reason == KVM_EXIT_DIRTY_RING_FULL)
			full++;
		if (end != END_DONE)
			break;
	}
	__atomic_store_n(&ends, true, __ATOMIC_RELEASE);
	pthread_join(t, (void **)&done);
	left = harvest(0);
	for (u32 i = 0; i < PAGES; i++)
		told += seen[i];
	again = reset(vm);
	ok(rounds && !wrong && again == left && *done + left == told,
	   "ring: another thread harvests while the guest writes");
	note("%u rounds, %u entries, full %u times", rounds, told, full);
	forget();
	ok(wrote(vm, 0, 0, 100) && harvest(0) == 100 && saw(0, 100) && reset(vm) == 100,
	   "ring: afterwards all pages are logged again");
	free(done);
}

/* ---- the ring comes while others look at the log ---- */

enum { OTHER_SLOT = SLOT + 1, WIDTH_MS = 100, THREADS = 3, TRIES = 20 };

static struct vm late;
static int log_error;

static void *sets_other(void *arg)
{
	struct kvm_userspace_memory_region r = {.slot = OTHER_SLOT,
						.guest_phys_addr = AT * 2,
						.memory_size = 4096,
						.userspace_addr = (u64)memory};

	vm_ioctl(&late, KVM_SET_USER_MEMORY_REGION, &r); /* and is slow with it */
	return NULL;
}

static void *sets_slot(void *arg)
{
	set_slot(&late, KVM_MEM_LOG_DIRTY_PAGES);
	return NULL;
}

static void *asks_log(void *clears)
{
	u64 bits[PAGES / 64] = {};
	struct kvm_dirty_log log = {.slot = SLOT, .dirty_bitmap = bits};
	struct kvm_clear_dirty_log clear = {.slot = SLOT, .num_pages = PAGES, .dirty_bitmap = bits};

	errno = 0;
	if (clears)
		vm_ioctl(&late, KVM_CLEAR_DIRTY_LOG, &clear);
	else
		vm_ioctl(&late, KVM_GET_DIRTY_LOG, &log);
	log_error = errno;
	return NULL;
}

/* Who asks has seen no ring, but waits behind who then sets the slot, which has a ring's log. */
static bool is_refused(bool clears)
{
	void *(*what[THREADS])(void *) = {sets_other, sets_slot, asks_log};
	pthread_t t[THREADS];

	vm_init(&late, 0, 0);
	widen_load("slots_change", "ms", WIDTH_MS);
	for (u32 i = 0; i < THREADS; i++) {
		pthread_create(&t[i], NULL, what[i], clears ? &late : NULL);
		usleep(WIDTH_MS * 1000 / 4);
	}
	if (enable(&late, KVM_CAP_DIRTY_LOG_RING, BYTES))
		fatal("a ring: errno %d", errno);
	for (u32 i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	widen_end();
	vm_free(&late);
	return log_error == ENXIO;
}

static void check_late(void)
{
	bool get = false, clear = false;

	for (u32 i = 0; i < TRIES && !get; i++) /* the last two may change places */
		get = is_refused(false);
	for (u32 i = 0; i < TRIES && !clear; i++)
		clear = is_refused(true);
	ok(get && clear, "ring: who asked for the log just before there was one is refused");
}

int main(void)
{
	struct vm vm;

	open_kvm();
	check_enable();
	memory =
	    mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm_init(&vm, 0, 0);
	if (memory == MAP_FAILED || enable(&vm, KVM_CAP_DIRTY_LOG_RING, BYTES) || set_slot(&vm, 0))
		fatal("a VM with a ring");
	vm_add_cpu(&vm);
	vm_add_cpu(&vm);
	check_map(&vm);
	check_log(&vm);
	check_full(&vm);
	check_order(&vm);
	check_lies(&vm);
	check_clock(&vm);
	check_kick(&vm);
	check_threads(&vm);
	vm_free(&vm);
	check_late();
	return failures != 0;
}
