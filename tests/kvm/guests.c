/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hostile guests. Each may be killed or go on as it likes, but nobody else may notice: beside them
 * runs a witness, a guest that computes all the time, and a thread that wakes up often. After each
 * hostile guest both must be well.
 *
 * What the machine underneath cannot take is left out, since these tests also run in QEMU's TCG,
 * which crashes by guests of its own KVM as well: data breakpoints (it mixes them up with those on
 * instructions when guests take turns; one that is hit while an interrupt is delivered is an
 * assertion) and x87 faults with CR0.NE clear.
 *
 * usage: guests [NAME...]
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "hv/abi.h"

#define LATE_MS 8000 /* emulated machines on a loaded host stop for a second now and then */
#define LAPIC	0xfee00000ul

/* ---- the others ---- */

static struct vm witness;
static volatile bool witness_stop;
static enum end witness_end = END_TIME;
static volatile u64 worst_ms;

static u64 witness_count(void)
{
	return *(volatile u64 *)(witness.ram + DATA);
}

static void *witness_thread(void *unused)
{
	do
		witness_end = vm_run(&witness, 0, 500);
	while (!witness_stop && witness_end == END_TIME);
	return NULL;
}

static void *latency_thread(void *unused)
{
	struct timespec nap = {.tv_nsec = 10000000};

	while (!witness_stop) {
		u64 before = now_ms(), late;

		nanosleep(&nap, NULL);
		late = now_ms() - before - 10;
		if (late > worst_ms && late < 1ull << 40)
			worst_ms = late;
	}
	return NULL;
}

static void start_others(pthread_t *threads)
{
	u32 sum = 0;

	vm_init(&witness, 1, VM_IRQCHIP);
	for (u32 i = 0; i < 1024; i++) {
		u32 word = rnd();

		memcpy(witness.ram + DATA + 0x1000 + i * 4, &word, 4);
		sum += word;
	}
	memcpy(witness.ram + DATA + 8, &sum, 4);
	cpu_setup(&witness, 0, MODE_LONG, pl_witness, 0, 0);
	pthread_create(&threads[0], NULL, witness_thread, NULL);
	pthread_create(&threads[1], NULL, latency_thread, NULL);
}

static void check_others(const char *what)
{
	u64 count = witness_count(), until = now_ms() + 2 * LATE_MS;
	bool goes_on;

	while (witness_count() < count + 1000 && now_ms() < until && witness_end == END_TIME)
		usleep(10000);
	goes_on = witness_count() >= count + 1000 && witness_end == END_TIME;
	ok(goes_on && worst_ms <= LATE_MS, "%s: another guest and dom0 do not notice", what);
	if (!goes_on || worst_ms > LATE_MS)
		note("the guest: %s, counts %llu; a thread of dom0 waited %llu ms for the CPU",
		     end_names[witness_end], (unsigned long long)witness_count(),
		     (unsigned long long)worst_ms);
	worst_ms = 0;
}

/* ---- running hostile guests ---- */

struct job {
	struct vm *vm;
	u32 cpu, ms;
	enum end end;
};

static void *job_thread(void *arg)
{
	struct job *j = arg;

	j->end = vm_run(j->vm, j->cpu, j->ms);
	return NULL;
}

/* All vCPUs at once; how vCPU 0 ended. */
static enum end run_all(struct vm *vm, u32 ms)
{
	pthread_t t[MAX_VCPU];
	struct job j[MAX_VCPU];

	for (u32 i = 0; i < vm->vcpus; i++) {
		j[i] = (struct job){vm, i, ms, END_TIME};
		pthread_create(&t[i], NULL, job_thread, &j[i]);
	}
	for (u32 i = 0; i < vm->vcpus; i++)
		pthread_join(t[i], NULL);
	return j[0].end;
}

/* Killed by a proper exit, or it goes on. */
static bool lives_or_dies(enum end end)
{
	return end != END_ERROR && end != END_OTHER;
}

static bool triple_fault(void)
{
	static const struct {
		enum mode mode;
		const unsigned char *entry;
	} how[] = {{MODE_LONG, pl_triple64}, {MODE_PROT32, pl_triple32}, {MODE_REAL, pl_triple16}};
	bool good = true;
	struct vm vm;

	for (u32 i = 0; i < 3; i++) {
		vm_init(&vm, 1, VM_IRQCHIP);
		cpu_setup(&vm, 0, how[i].mode, how[i].entry, 0, 0);
		good &= vm_run(&vm, 0, 10000) == END_SHUTDOWN;
		vm_free(&vm);
	}
	return good;
}

/* Random bytes, but no x87 instruction and no write of a debug register: see above. */
static void fill_garbage(u8 *at, u32 len)
{
	for (u32 i = 0; i < len; i++) {
		at[i] = rnd() >> 32;
		if ((at[i] & 0xf8) == 0xd8 || (at[i] == 0x23 && i && at[i - 1] == 0x0f))
			at[i] = 0x90;
	}
}

/* In all modes; without a table of handlers, and with one that jumps back into the garbage. */
static bool garbage(void)
{
	u32 ends[END_OTHER + 1] = {0};
	struct kvm_sregs s;
	struct kvm_regs r;
	struct vm vm;

	for (u32 run = 0; run < 120; run++) {
		enum mode mode = run % 3;

		rnd_seed(run + 1);
		vm_init(&vm, 1, VM_IRQCHIP | VM_PIT);
		fill_garbage(vm.ram + 0x20000, 0x10000);
		cpu_setup(&vm, 0, mode, pl_spin, rnd(), rnd());
		cpu_get_regs(&vm, 0, &r);
		cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
		r.rip = mode == MODE_REAL ? 0x4000 + rnd() % 0x4000 : 0x20000 + rnd() % 0xf000;
		if (mode == MODE_REAL)
			s.cs.base = 0x20000, s.cs.selector = 0x2000;
		else if (rnd() % 4 == 0)
			s.idt.limit = 0;
		r.rax = rnd(), r.rbx = rnd() % RAM_SIZE, r.rcx = rnd() % 64, r.rdx = rnd();
		r.r15 = 0x20000 + rnd() % 0xf000;
		cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
		cpu_set_regs(&vm, 0, &r);
		ends[vm_run(&vm, 0, 50)]++;
		vm_free(&vm);
	}
	note("garbage: %u shutdowns, %u halts, %u internal errors, %u failed entries, %u went on, "
	     "%u errnos",
	     ends[END_SHUTDOWN], ends[END_HLT], ends[END_INTERNAL], ends[END_FAIL_ENTRY],
	     ends[END_TIME], ends[END_ERROR]);
	return ends[END_SHUTDOWN] && !ends[END_ERROR] && !ends[END_OTHER];
}

static bool port_flood(void)
{
	struct vm vm;
	enum end end;

	vm_init(&vm, 2, VM_IRQCHIP);
	cpu_setup(&vm, 0, MODE_LONG, pl_flood_out, 0x1234, 0);
	cpu_setup(&vm, 1, MODE_LONG, pl_flood_in, 0x4321, 0);
	end = run_all(&vm, 2000);
	note("port-flood: %llu accesses", (unsigned long long)vm.io_exits);
	vm_free(&vm);
	return end == END_TIME && vm.io_exits > 100;
}

static bool msr_sweep(void)
{
	static const u32 ranges[] = {
	    /* first, count */
	    0x00000000, 0x140, 0x00000174, 0x10, 0x00000186, 0x60,  0x00000200, 0x100,
	    0x00000309, 0x20,  0x00000345, 8,	 0x00000380, 0x20,  0x000003f0, 0x20,
	    0x00000400, 0x80,  0x00000480, 0x20, 0x000004c1, 8,	    0x00000560, 0x20,
	    0x00000600, 0x100, 0x000006e0, 1,	 0x00000770, 0x10,  0x00000c80, 0x20,
	    0x00000d90, 8,     0x00000da0, 1,	 0x40000000, 0x120, 0x4b564d00, 0x10,
	    0xc0000080, 8,     0xc0000100, 4,	 0xc0000100, 8,	    0xc0010000, 0x140,
	    0xc0011000, 0x60,  0x00000010, 2,	 0x00000800, 0x100, 0x0000001b, 1,
	    0,		0,
	};
	bool good = true;
	struct vm vm;

	for (u32 seed = 1; seed <= 2; seed++) {
		enum end end;

		vm_init(&vm, 1, VM_IRQCHIP);
		memcpy(vm.ram + 0x200000, ranges, sizeof(ranges));
		cpu_setup(&vm, 0, MODE_LONG, pl_msr_sweep, 0x200000, seed * 77777);
		end = vm_run(&vm, 0, 20000);
		note("msr-sweep: %s, %u MSRs, %u faults", end_names[end], vm.values[0],
		     vm.values[1]);
		good &= lives_or_dies(end) && (end != END_DONE || vm.values[1]);
		vm_free(&vm);
	}
	return good;
}

static bool lapic(void)
{
	bool good = true;
	struct vm vm;

	for (u32 seed = 1; seed <= 10; seed++) {
		enum end end;

		vm_init(&vm, 2, VM_IRQCHIP);
		cpu_setup(&vm, 0, MODE_LONG, seed & 1 ? pl_lapic_mmio : pl_x2apic, 3000,
			  seed * 1234577);
		cpu_setup(&vm, 1, MODE_LONG, seed & 1 ? pl_x2apic : pl_lapic_mmio, 3000,
			  seed * 7654321);
		end = run_all(&vm, 800);
		note("lapic: %s: %s", seed & 1 ? "by MMIO" : "by MSRs", end_names[end]);
		good &= lives_or_dies(end);
		vm_free(&vm);
	}
	return good;
}

static bool registers(void)
{
	u32 ends[END_OTHER + 1] = {0};
	struct vm vm;

	for (u32 seed = 1; seed <= 40; seed++) {
		vm_init(&vm, 1, VM_IRQCHIP);
		cpu_setup(&vm, 0, MODE_LONG, pl_registers, 2000, seed * 99991);
		ends[vm_run(&vm, 0, 200)]++;
		vm_free(&vm);
	}
	note("registers: %u came to the end, %u went on, %u shutdowns, %u failed entries",
	     ends[END_DONE], ends[END_TIME], ends[END_SHUTDOWN], ends[END_FAIL_ENTRY]);
	return !ends[END_ERROR] && !ends[END_OTHER];
}

static bool string_io(void)
{
	const u64 far = 0x8000000000ul, at[][2] = {
					    {0x111ff9, 1300},
					    {0x111003, 0x18},
					    {0x8000000000000000ul, 3},
					    {0x7ffffffffffeul, 3},
					    {~0ul, 3},
					    {0x120000, 0},
					    {RAM_SIZE - 0x10, 40},
					    {LAPIC - 8, 20},
					    /*
					     * across the ends of these pages: none, read-only,
					     * none, device, LAPIC, a reserved bit
					     */
					    {far - 3, 5},
					    {far + 0xffd, 5},
					    {far + 0x1ffd, 5},
					    {far + 0x2ffd, 5},
					    {far + 0x3ffd, 5},
					    {far + 0x4ffd, 5},
					    {far + 0x5ffd, 5},
					};
	u32 ends[END_OTHER + 1] = {0};
	struct {
		u64 addr, count;
		u32 kind, down;
	} * e;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	vm_map_page(&vm, far, 0x110000, 3);
	vm_map_page(&vm, far + 0x1000, 0x112000, 1);
	vm_map_page(&vm, far + 0x3000, MMIO_BASE, 3);
	vm_map_page(&vm, far + 0x4000, LAPIC, 3);
	vm_map_page(&vm, far + 0x5000, 0x111000, 3 | 1ull << 51);
	e = (void *)(vm.ram + 0x200000);
	e[1].kind = ~0u;
	for (u32 i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		for (u32 n = 0; n < 12; n++) { /* bytes, words, dwords; in, out; up, down */
			e->addr = at[i][0];
			e->count = at[i][1];
			e->kind = n % 3 + n / 6 * 4;
			e->down = n / 3 & 1;
			cpu_setup(&vm, 0, MODE_LONG, pl_string_table, 0x200000, 0x1000);
			ends[vm_run(&vm, 0, 1000)]++;
		}
	note("string-io: %u came to the end, %u internal errors, %u went on", ends[END_DONE],
	     ends[END_INTERNAL], ends[END_TIME]);
	vm_free(&vm);
	return ends[END_DONE] && !ends[END_INTERNAL] && !ends[END_ERROR] && !ends[END_OTHER];
}

static bool page_tables(void)
{
	static const u64 memory[] = {0x110003,	     2, 0x110001, 1ull << 51 | 3, 0x110007,
				     1ull << 39 | 3, 0};
	static const u64 devices[] = {0x110003, MMIO_BASE | 3, LAPIC | 3,
				      0x110007, RAM_SIZE | 3,  0};
	const u64 page = 0x8000000000ul;
	bool good = true;
	struct vm vm;

	for (u32 i = 0; i < 8; i++) {
		vm_init(&vm, 3, VM_IRQCHIP);
		vm_map_page(&vm, page, 0x110000, 3);
		memcpy(vm.ram + 0x200000, i ? devices : memory,
		       i ? sizeof(devices) : sizeof(memory));
		cpu_setup(&vm, 0, MODE_LONG, pl_pte_user, page, 0);
		cpu_setup(&vm, 1, MODE_LONG, pl_pte_writer, vm.free_table - 0x1000, 0x200000);
		cpu_setup(&vm, 2, MODE_LONG, pl_pte_user, page, 0);
		good &= lives_or_dies(run_all(&vm, i ? 200 : 1500));
		vm_free(&vm);
	}
	return good;
}

/* mov dword [rsi], n; ret */
static void put_store(u8 *at, u32 n)
{
	memcpy(at, (u8[]){0xc7, 0x06, n, 0, 0, 0, 0xc3}, 7);
}

#define STALE_LINEAR 0x8000000000ul
#define STALE_CODE   0x240000ul /* pages of code; the last one is a slot's of its own */
#define STALE_MMIO   (MMIO_BASE + 0x5000)

/* The store at STALE_LINEAR runs three times: n each time, by the doorbell for n or as an exit? */
static bool stores(struct vm *vm, const int *bell, u64 cr3, u32 n)
{
	struct kvm_sregs s;
	u64 count;

	for (u32 i = 0; i < 3; i++) {
		vm->mmio_value = 0;
		cpu_setup(vm, 0, MODE_LONG, pl_call, STALE_LINEAR, STALE_MMIO);
		cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
		s.cr3 = cr3;
		cpu_ioctl(vm, 0, KVM_SET_SREGS, &s);
		if (vm_run(vm, 0, 5000) != END_DONE)
			return false;
		if (bell && (read(bell[n], &count, sizeof(count)) != sizeof(count) || count != 1 ||
			     vm->mmio_value))
			return false;
		if (!bell && vm->mmio_value != n)
			return false;
	}
	return true;
}

static void set_slot(struct vm *vm, u64 gpa, void *at)
{
	struct kvm_userspace_memory_region r = {.slot = 7,
						.guest_phys_addr = gpa,
						.memory_size = at ? 0x1000 : 0,
						.userspace_addr = (u64)at};

	if (vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("KVM_SET_USER_MEMORY_REGION");
}

/*
 * Whatever leads from RIP to a store has changed since it was last run, and what is at its address.
 */
static bool stale_run(struct vm *vm, const int *bell)
{
	const u64 far = 1ul << 32;
	u64 *pml4 = (u64 *)(vm->ram + PML4), tables;
	u8 *page = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u8 *code = vm->ram + STALE_CODE;
	u32 failed = 0;

#define STORES(n, what)                                                                            \
	do {                                                                                       \
		if (!stores(vm, bell, cr3, n)) {                                                   \
			note("stale-code: %s: %s", bell ? "doorbell" : "exit", what);              \
			failed++;                                                                  \
		}                                                                                  \
	} while (0)
	u64 cr3 = PML4;

	for (u32 i = 0; i < 4; i++)
		put_store(code + i * 0x1000, 1 + i);
	vm_map_page(vm, STALE_LINEAR, STALE_CODE, 3);
	tables = vm->free_table - 0x3000; /* its own three tables */
	cpu_setup(vm, 0, MODE_LONG, pl_call, STALE_LINEAR, STALE_MMIO + 0x1000); /* a neighbour */
	failed += vm_run(vm, 0, 5000) != END_DONE;
	STORES(1, "first");
	put_store(code, 5);
	STORES(5, "other code");
	vm_map_page(vm, STALE_LINEAR, STALE_CODE + 0x1000, 3);
	STORES(2, "another page");
	vm_map_page(vm, STALE_LINEAR + (1ul << 21), STALE_CODE + 0x2000, 3);
	*(u64 *)(vm->ram + tables + 0x1000) = *(u64 *)(vm->ram + tables + 0x1008);
	STORES(3, "another table");
	vm_map_page(vm, STALE_LINEAR + (1ul << 39), STALE_CODE + 0x3000, 3);
	memcpy(vm->ram + 0x280000, pml4, 0x1000);
	*(u64 *)(vm->ram + 0x280008) = pml4[2];
	cr3 = 0x280000;
	STORES(4, "another root");
	cr3 = PML4;
	STORES(3, "the first root");
	if (mmap(code + 0x2000, 0x1000, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		fatal("mmap");
	put_store(code + 0x2000, 6);
	STORES(6, "other memory in the VMM");
	put_store(page, 7);
	put_store(page + 0x1000, 1);
	set_slot(vm, far, page);
	*(u64 *)(vm->ram + tables + 0x2000) = 3 | far;
	*(u64 *)(vm->ram + tables + 0x1000) = 7 | (tables + 0x2000);
	STORES(7, "a new slot");
	set_slot(vm, 0, NULL);
	set_slot(vm, far, page + 0x1000);
	STORES(1, "the slot elsewhere");
	set_slot(vm, 0, NULL);
	*(u64 *)(vm->ram + tables + 0x2000) = 3 | STALE_CODE;
	STORES(5, "back again");
	set_slot(vm, STALE_MMIO, page);
	failed += stores(vm, bell, cr3, 5) || *(u32 *)page != 5;
	set_slot(vm, 0, NULL);
	STORES(5, "a device again");
#undef STORES
	munmap(page, 0x2000);
	return !failed;
}

static bool stale_code(void)
{
	bool good = true;
	int bell[8];
	struct vm vm;

	for (u32 bells = 0; bells < 2; bells++) {
		vm_init(&vm, 1, VM_IRQCHIP);
		for (u32 i = 0; i < 8 * bells; i++) {
			struct kvm_ioeventfd d = {.datamatch = i,
						  .addr = STALE_MMIO,
						  .len = 4,
						  .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
						  .fd = bell[i] = eventfd(0, EFD_NONBLOCK)};

			if (vm_ioctl(&vm, KVM_IOEVENTFD, &d))
				fatal("KVM_IOEVENTFD");
		}
		good &= stale_run(&vm, bells ? bell : NULL);
		vm_free(&vm);
		for (u32 i = 0; i < 8 * bells; i++)
			close(bell[i]);
	}
	return good;
}

static bool ipi_storm(void)
{
	/*
	 * bits that vary: vector; + shorthand, destination mode; + delivery mode, which includes
	 * NMI, INIT and SIPI
	 */
	static const u32 bits[] = {0x000000ff, 0x000c08ff, 0x000ccfff};
	bool good = true;
	struct vm vm;

	for (u32 i = 0; i < 3; i++) {
		vm_init(&vm, 4, VM_IRQCHIP);
		for (u32 c = 0; c < 4; c++)
			cpu_setup(&vm, c, MODE_LONG, c == 3 ? pl_irq_storm : pl_ipi_storm, bits[i],
				  1000 * i + c + 1);
		good &= lives_or_dies(run_all(&vm, 2000));
		vm_free(&vm);
	}
	return good;
}

/*
 * One instruction that stays in the LAPIC's page for ever, if the hypervisor lets it: each of 512
 * GiB is that page.
 */
static bool lapic_stos(void)
{
	u64 *table, at = 0x300000, link;
	struct vm vm;
	enum end end;

	vm_init(&vm, 1, VM_IRQCHIP);
	link = LAPIC | 3;
	for (u32 level = 0; level < 3; level++, at += 0x1000) {
		table = (u64 *)(vm.ram + at);
		for (u32 i = 0; i < 512; i++)
			table[i] = link;
		link = at | 3;
	}
	*(u64 *)(vm.ram + PML4 + 8) = link;
	cpu_setup(&vm, 0, MODE_LONG, pl_stos, 0x8000000000ul, 0x1f00000000ul);
	end = vm_run(&vm, 0, 2000);
	vm_free(&vm);
	return lives_or_dies(end);
}

static bool debug_registers(void)
{
	/* where hypervisors and kernels live */
	static const u64 addr[][4] = {
	    {0xffffffff80000000, 0xffffffff80100000, 0xffffffff80101000, 0xffffffff80200000},
	    {0xffffffff81000000, 0xffff800000000000, 0xffff888000000000, 0x100000},
	};
	static const u64 dr7[] = {0x7ff, 0x755, 0x7aa, 0x401};
	bool good = true;
	struct vm vm;

	for (u32 i = 0; i < 8; i++) {
		vm_init(&vm, 2, VM_IRQCHIP);
		memcpy(vm.ram + 0x200000, addr[i & 1], sizeof(addr[0]));
		cpu_setup(&vm, 0, MODE_LONG, pl_debug_regs, 0x200000, dr7[i >> 1]);
		cpu_setup(&vm, 1, MODE_LONG, pl_debug_regs, 0x200000, dr7[3 - (i >> 1)]);
		good &= lives_or_dies(run_all(&vm, 200));
		vm_free(&vm);
	}
	return good;
}

/* Run a counting payload to its end; false if it does not come there. */
static bool count(struct vm *vm, payload entry, u64 arg0, u64 arg1)
{
	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, entry, arg0, arg1);
	return vm_run(vm, 0, 10000) == END_DONE;
}

static bool instructions(void)
{
	struct vm vm;
	bool good;

	vm_init(&vm, 1, VM_IRQCHIP);
	good = count(&vm, pl_instructions, 0, 0) && vm.values[0] >= 15;
	note("instructions: %u of 33 fault", vm.values[0]);
	good &= count(&vm, pl_int_n, 0, 0) && vm.values[0] + vm.values[1] > 200;
	note("instructions: INT n: %u exceptions, %u interrupts", vm.values[0], vm.values[1]);
	vm_free(&vm);
	return good;
}

static bool cr8(void)
{
	const u32 rounds = 200;
	struct vm vm;
	bool good;

	vm_init(&vm, 1, VM_IRQCHIP);
	good = count(&vm, pl_cr8, rounds, 0) && !vm.values[0] && vm.values[1] == rounds;
	note("cr8: %u interrupts came, %u of them early", vm.values[1], vm.values[0]);
	vm_free(&vm);
	return good;
}

/* Dom0's hypercalls are not there for guests; the low numbers, which are KVM's, come back. */
static bool hypercalls(void)
{
	struct vm vm;
	bool good;

	vm_init(&vm, 1, VM_IRQCHIP);
	good = count(&vm, pl_hypercalls, CORBEL_HC_BASE, 0x60) && !vm.values[0];
	note("hypercalls: %u of 96 answered", vm.values[0]);
	good &= count(&vm, pl_hypercalls, 0, 0x40);
	vm_free(&vm);
	return good;
}

/*
 * Addresses of the paravirtual structures: across page ends, over holes, MMIO, the LAPIC, read-only
 * memory, the stack.
 */
static bool pv_addresses(void)
{
	static const u32 msrs[] = {0x11,       0x12,	   0x4b564d00, 0x4b564d01,
				   0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d07};
	static const u64 at[] = {0xfff,	   0xffc,	  0x110ffc,	      RAM_SIZE - 4,
				 RAM_SIZE, MMIO_BASE,	  MMIO_BASE + 0xffe,  LAPIC,
				 0x7f000,  1ul << 39,	  (1ul << 51) + 0x40, 0xffffffffff000,
				 ~0ul,	   0x400000000000};
	bool good = true;
	u32 refused = 0;
	struct vm vm;

	vm_init(&vm, 2, VM_IRQCHIP);
	for (u32 i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		for (u32 low = 0; low < 2; low++) {
			for (u32 m = 0; m < sizeof(msrs) / sizeof(msrs[0]); m++)
				refused += set_msr(&vm, m & 1, msrs[m], (at[i] & ~3ul) | low) != 1;
			cpu_setup(&vm, 0, MODE_LONG, pl_exits, 0, 0);
			cpu_setup(&vm, 1, MODE_LONG, pl_irq_storm, 0, 0);
			good &= lives_or_dies(run_all(&vm, 40));
		}
	vm_free(&vm);
	note("pv-addresses: %u refused", refused);
	return good && refused;
}

static u64 pool_free(void)
{
	return hv_info().pool_free_bytes;
}

/*
 * One access in each 2 MiB of a huge address space: each of them could cost the hypervisor a page
 * table.
 */
static bool stride(void)
{
	const u64 wanted = 4000, until = now_ms() + 30000;
	enum end end = END_TIME;
	u64 before, spent;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	for (u64 i = 0; i < 512; i++)
		*(u64 *)(vm.ram + 0x300000 + i * 8) = (i + 4) << 30 | 0x83;
	*(u64 *)(vm.ram + PML4 + 8) = 0x300000 | 3;
	cpu_setup(&vm, 0, MODE_LONG, pl_stride, 0x8000000000ul, 512 << 9);
	before = pool_free();
	while (end == END_TIME && vm.mmio_exits < wanted && now_ms() < until)
		end = vm_run(&vm, 0, 100);
	spent = before - pool_free();
	note("stride: %llu places, %llu KiB of the hypervisor's memory",
	     (unsigned long long)vm.mmio_exits, (unsigned long long)spent >> 10);
	vm_free(&vm);
	return vm.mmio_exits >= wanted && spent < wanted << 10;
}

static bool timer_flood(void)
{
	struct kvm_pit_state2 pit = {
	    .channels = {{.count = 1, .mode = 2, .gate = 1, .rw_mode = 3}}};
	struct kvm_irqchip pic = {.chip_id = KVM_IRQCHIP_PIC_MASTER,
				  .chip.pic = {.irq_base = 0x40, .auto_eoi = 1, .elcr_mask = 0xf8}};
	struct vm vm;
	enum end end;

	vm_init(&vm, 4, VM_IRQCHIP | VM_PIT);
	for (u32 i = 0; i < 4; i++)
		cpu_setup(&vm, i, MODE_LONG, pl_timer, i & 1 ? 0x20040 : 0x40, 1);
	vm_ioctl(&vm, KVM_SET_IRQCHIP, &pic);
	vm_ioctl(&vm, KVM_SET_PIT2, &pit);
	end = run_all(&vm, 2000);
	vm_free(&vm);
	return end == END_TIME;
}

static const struct {
	const char *name, *behaviour;
	bool (*fn)(void);
} tests[] = {
    {"triple-fault", "a triple fault in real, protected and long mode ends as KVM_EXIT_SHUTDOWN",
     triple_fault},
    {"garbage", "a guest that jumps to random bytes goes on or is killed, in all modes", garbage},
    {"port-flood", "a guest that floods ports nobody handles goes on", port_flood},
    {"msr-sweep", "a guest reads all MSRs and writes what it likes to them", msr_sweep},
    {"lapic", "a guest programs its LAPIC at random, by MMIO and by MSRs", lapic},
    {"registers", "a guest writes CR0, CR3, CR4, CR8, EFER, XCR0 and debug registers at random",
     registers},
    {"string-io", "string I/O across page ends, over holes, devices and the LAPIC", string_io},
    {"page-tables", "page tables change under string I/O and accesses to devices", page_tables},
    {"stale-code",
     "a store to a device is the one the guest's memory has now, whatever has changed", stale_code},
    {"ipi-storm", "four vCPUs bury each other in IPIs of all kinds", ipi_storm},
    {"lapic-stos", "one string instruction stays in the LAPIC's page without end", lapic_stos},
    {"debug-registers", "breakpoints on addresses of hypervisor and kernel", debug_registers},
    {"instructions",
     "instructions of virtualization fault, INT n comes to the guest's own handlers", instructions},
    {"cr8", "an interrupt waits for IF and for CR8, which is written meanwhile", cr8},
    {"hypercalls", "a guest has none of dom0's hypercalls", hypercalls},
    {"pv-addresses", "paravirtual structures at odd addresses", pv_addresses},
    {"stride", "a guest that looks for devices everywhere costs the hypervisor little memory",
     stride},
    {"timer-flood", "timers with the shortest periods", timer_flood},
};

int main(int argc, char **argv)
{
	pthread_t others[2];

	open_kvm();
	start_others(others);
	for (u32 i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		u64 start = now_ms();

		if (!wanted(tests[i].name, argc, argv))
			continue;
		rnd_seed(i + 1);
		ok(tests[i].fn(), "%s: %s", tests[i].name, tests[i].behaviour);
		check_others(tests[i].name);
		note("%s: %llu ms", tests[i].name, (unsigned long long)(now_ms() - start));
	}
	witness_stop = true;
	pthread_join(others[0], NULL);
	pthread_join(others[1], NULL);
	ok(witness_end == END_TIME, "the other guest has computed the right sums all the time");
	return failures != 0;
}
