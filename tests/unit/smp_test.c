/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How other CPUs start: those that come, that refuse, that do not answer, that come to life again
 * when they have been given up, and that nobody uses. The boot CPU and each of them are a context
 * of their own; time passes when the boot CPU waits. links: tests/unit/rest.c -no-pie
 */
#include <string.h>
#include <ucontext.h>

#include "boot/boot.h"
#include "hv/cpu/alike.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/tsc.h"
#include "hv/cpu/ucode.h"
#include "hv/lib/lock.h"
#include "hv/mm/mm.h"
#include "hv/mm/mtrr.h"
#include "stand_in.h"
#include "test.h"

static void ap_halts(void);
static void others_go_on(void);
#define cpu_halt()                                                                                 \
	for (;;)                                                                                   \
	ap_halts()
#define cpu_relax      others_go_on
#define rdmsr(msr)     0ull
#define read_cr3()     0ull
#define read_cr4()     now_on->cr4
#define write_cr4(val) (now_on->cr4 = (val))
#define virt_to_hpa(p) ((void)(p), hpa(0))

static struct machine_cpu *now_on;
static struct machine_cpu {
	struct cpu cpu;
	ucontext_t context;
	u8 stack[0x40000];
	u32 deed;
	bool started, halted, enabled, joined, runs, compared;
	bool rests, flushed; /* it is in cpu_rest(); nothing is in its caches only */
	u64 cr4;
	u32 inits, sipis;
} machine[4]; /* by APIC id; 0: the boot CPU */
#define cpu_runs_in(...) false
#include "hv/cpu/smp.c"

#define OTHERS 3
#define KHZ    1000000ull

/* What a CPU does once it has been told to start. */
enum deed { COMES, SILENT, REFUSES, LATE, ODD };

u64 tsc_khz = KHZ;
/* A trampoline: 64 bytes of code, and what it is told. */
__asm__(".pushsection .rodata; .globl trampoline_start, trampoline_args, trampoline_end;"
	"trampoline_start: .fill 64; trampoline_args: .fill 56; trampoline_end: .popsection");
u8 trampoline_high[1], early_pml4[1];

u8 cpu_spare_stack[PAGE_SIZE];
static bool has_mca = true;
static bool no_rest; /* mask=rest */
static u64 clock_tsc;
static bool wake_late; /* those that were late go on */
static u32 wakes_with; /* they do so while that CPU is starting */
static u8 low_page[PAGE_SIZE];

struct cpu *this_cpu(void)
{
	return &now_on->cpu;
}

u64 rdtsc(void)
{
	return clock_tsc += 1000;
}

void udelay(u64 us)
{
	clock_tsc += us * KHZ / 1000;
}

static void switch_to(struct machine_cpu *m)
{
	struct machine_cpu *from = now_on;

	now_on = m;
	swapcontext(&from->context, &m->context);
}

static void others_go_on(void)
{
	if (now_on != machine)
		switch_to(machine);
}

static void ap_halts(void)
{
	now_on->halted = true;
	switch_to(machine);
}

/* The boot CPU looks at its watch: everybody else gets on a bit, and that takes 10 ms. */
static void let_others_run(void)
{
	for (u32 i = 1; i <= OTHERS; i++)
		if (machine[i].started && !machine[i].halted && !machine[i].runs)
			switch_to(&machine[i]);
	clock_tsc += 10 * KHZ;
}

void tsc_look(struct cpu *c)
{
	let_others_run();
}

void tsc_join(const struct cpu *c)
{
	machine[c->apic_id].compared = true;
}

void apic_send_init(u32 apic_id)
{
	machine[apic_id].inits++;
	machine[apic_id].started = machine[apic_id].halted = machine[apic_id].rests = false;
	machine[apic_id].cr4 = 0;
}

void apic_send_sipi(u32 apic_id, u8 page)
{
	struct machine_cpu *m = &machine[apic_id];
	struct trampoline_args args;

	m->sipis++;
	memcpy(&args, low_page + 64, sizeof(args));
	if (m->deed == SILENT || m->started)
		return;
	m->started = true;
	getcontext(&m->context);
	m->context.uc_stack.ss_sp = m->stack;
	m->context.uc_stack.ss_size = sizeof(m->stack);
	makecontext(&m->context, (void (*)(void))args.entry, 0);
}

void *mm_map_temp(hpa_t page)
{
	return low_page;
}

struct cpu *cpu_alloc(u32 index, u32 apic_id)
{
	struct cpu *c = &machine[apic_id].cpu;

	*c = (struct cpu){.index = index, .apic_id = apic_id};
	return c;
}

NOTHING(mm_unmap_temp, void)
NOTHING(mm_load_cpu, void)
NOTHING(cpu_load, struct cpu *c)
NOTHING(ucode_load_cpu, void)
NOTHING(mtrr_save, void)
NOTHING(time_wake_cpu, void)
NOTHING(tsc_init_cpu, void)
NOTHING(mcheck_init_cpu, void)
ZERO(int, spec_init_cpu, void)
NOTHING(apic_init_cpu, void)
NOTHING(timer_init_cpu, void)
NOTHING(tsc_tell, void)
NOTHING(apic_follow, void)
NOTHING(irq_set, u8 vector, void (*fn)(u8 vector))
ZERO(bool, apic_want, bool x2apic)

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = 1;
	*b = *c = 0;
	*d = has_mca ? CPUID_1D_MCA : 0;
}

void wbinvd(void)
{
	now_on->flushed = true;
}

bool cap_named(const char *name)
{
	return no_rest && !strcmp(name, "rest");
}

void cpu_rest(void)
{
	now_on->rests = true;
	for (;;)
		ap_halts();
}

static bool odd_left_out; /* one that is not as the boot CPU has got to where it would fault */

static bool other_mtrrs;

bool mtrr_restore(void)
{
	return other_mtrrs;
}

int alike_check(void)
{
	return now_on->deed == ODD ? -ENODEV : 0;
}

void cpu_init_features(void)
{
	odd_left_out &= now_on->deed != ODD;
	now_on->cr4 = CR4_MCE;
}

static int enable_cpu(struct cpu *c)
{
	now_on->enabled = true;
	if (now_on == &machine[wakes_with]) { /* the late one gets on before it does */
		wake_late = true;
		others_go_on();
	}
	if (now_on->deed == REFUSES)
		return -ENODEV;
	while (now_on->deed == LATE && !wake_late)
		others_go_on();
	return 0;
}

static void join_machine(struct cpu *c)
{
	CHECK_QUIET(now_on == machine, "the boot CPU lets it in");
	CHECK_QUIET(cpus[c->index] == c && c->index < cpu_count, "when it counts");
	let_others_run(); /* it waits for that */
	machine[c->apic_id].joined = true;
}

static void run_vcpus(void)
{
	CHECK_QUIET(now_on->joined, "nobody runs before it is let in");
	now_on->runs = true;
	for (;;)
		switch_to(machine);
}

static u32 maxcpus;

static void start_machine(enum deed a, enum deed b, enum deed c)
{
	const enum deed deeds[] = {COMES, a, b, c};

	memset(machine, 0, sizeof(machine));
	memset(cpus, 0, sizeof(cpus));
	memset(alive, 0, sizeof(alive));
	memset(low_page, 0, sizeof(low_page));
	odd_left_out = true;
	boot_info.opt.maxcpus = maxcpus;
	boot_info.acpi.cpu_count = OTHERS + 1;
	for (u32 i = 0; i <= OTHERS; i++) {
		machine[i].deed = deeds[i];
		machine[i].cpu.apic_id = boot_info.acpi.apic_id[i] = i;
	}
	cpus[0] = &machine[0].cpu;
	cpu_count = 1;
	wake_late = false;
	*test_log_text = 0;
	smp_init(enable_cpu, join_machine, run_vcpus);
	let_others_run();
}

static bool is_in(u32 id, u32 index)
{
	return machine[id].joined && machine[id].runs && machine[id].compared &&
	       machine[id].cpu.index == index && cpus[index] == &machine[id].cpu;
}

static bool is_out(u32 id)
{
	return machine[id].halted && !machine[id].joined && !machine[id].runs &&
	       !machine[id].compared && machine[id].cpu.left_out && machine[id].flushed &&
	       machine[id].cr4 & CR4_MCE;
}

static void test_start(void)
{
	start_machine(COMES, COMES, COMES);
	CHECK(cpu_count == 4 && is_in(1, 1) && is_in(2, 2) && is_in(3, 3), "all come and run");
	start_machine(COMES, SILENT, COMES);
	CHECK(cpu_count == 3 && is_in(1, 1) && is_in(3, 2), "one that does not answer is left out");
	CHECK(machine[2].inits == 3, "and put back to sleep");
	CHECK(strstr(test_log_text, "APIC id 2 does not answer"), "a line says so (%s)",
	      test_log_text);
	start_machine(REFUSES, COMES, COMES);
	CHECK(cpu_count == 3 && is_out(1) && is_in(2, 1) && is_in(3, 2), "so is one that refuses");
	CHECK(strstr(test_log_text, "APIC id 1 came up but"), "a line says so (%s)", test_log_text);
	other_mtrrs = true;
	start_machine(COMES, COMES, COMES);
	other_mtrrs = false;
	CHECK(cpu_count == 4 && strstr(test_log_text, "not given CPU 1 the boot CPU's MTRRs"),
	      "a line says that the firmware has not set up MTRRs (%s)", test_log_text);
	start_machine(COMES, ODD, COMES);
	CHECK(cpu_count == 3 && is_out(2) && is_in(1, 1) && is_in(3, 2) && odd_left_out &&
		  !machine[2].enabled,
	      "one that lacks a feature is left out before it would use it");
}

/* It has taken a SIPI for nothing but that. */
static bool has_rested(u32 id)
{
	return machine[id].rests && machine[id].sipis == 2 && machine[id].inits == 1;
}

static void test_unused(void)
{
	start_machine(COMES, COMES, COMES);
	CHECK(machine[1].sipis == 1 && machine[2].sipis == 1 && machine[3].sipis == 1,
	      "where all are used each is started once");
	maxcpus = 1;
	start_machine(COMES, COMES, COMES);
	CHECK(cpu_count == 1 && has_rested(1) && has_rested(2) && has_rested(3),
	      "maxcpus=1: the others rest, and take machine checks");
	maxcpus = 2;
	start_machine(REFUSES, COMES, COMES);
	CHECK(cpu_count == 2 && is_out(1) && machine[1].inits == 1 && is_in(2, 1) && has_rested(3),
	      "maxcpus=2: so does what is beyond; one that was left out, and used nothing up, not");
	start_machine(LATE, SILENT, COMES);
	CHECK(is_in(3, 1) && machine[1].inits == 1 && !machine[1].rests,
	      "one that may hold a lock gets no INIT");
	CHECK(machine[2].sipis == 4 && machine[2].inits == 3,
	      "one that has not answered is tried once more");
	has_mca = false;
	maxcpus = 1;
	start_machine(COMES, COMES, COMES);
	CHECK(!machine[1].sipis && !machine[2].inits, "without machine checks nobody has to");
	has_mca = true;
	no_rest = true;
	start_machine(COMES, COMES, COMES);
	CHECK(cpu_count == 1 && !machine[1].sipis && !machine[1].inits && !machine[2].inits &&
		  !machine[3].inits,
	      "maxcpus=1 mask=rest: nobody says a word to the others");
	maxcpus = 0;
	start_machine(COMES, COMES, COMES);
	CHECK(cpu_count == 4 && is_in(1, 1) && is_in(3, 3), "those that are used are started");
	no_rest = false;
}

/* A sleep has put all CPUs out. */
static void test_sleep(void)
{
	maxcpus = 2;
	start_machine(REFUSES, COMES, COMES);
	for (u32 slept = 0; slept < 2; slept++) {
		for (u32 i = 1; i <= OTHERS; i++)
			machine[i].sipis = machine[i].inits = 0;
		machine[2].runs = machine[2].started = false;
		machine[2].cpu.parked = true;
		machine[1].deed = COMES;
		smp_start_parked(slept);
		let_others_run();
		CHECK(is_in(2, 1) && machine[2].sipis == 1, "who was parked goes on");
		if (slept)
			CHECK(has_rested(1) && has_rested(3),
			      "after a sleep all rest that nobody uses, also who was left out");
		else
			CHECK(!machine[1].inits && !machine[3].inits,
			      "where the machine has not slept they are left alone");
	}
	maxcpus = 0;
}

/* Given up while it makes itself ready, it goes on some time. */
static void test_late(void)
{
	start_machine(LATE, COMES, COMES);
	CHECK(cpu_count == 3 && is_in(2, 1) && is_in(3, 2),
	      "one that is not ready in time is left out");
	CHECK(!machine[1].halted && !machine[1].joined, "nobody knows of it");
	CHECK(machine[1].inits == 1, "no INIT catches it with a lock in its hand");
	wake_late = true;
	let_others_run();
	CHECK(is_out(1) && cpu_count == 3 && is_in(2, 1), "when it is ready after all it halts");
	start_machine(COMES, COMES, LATE);
	CHECK(cpu_count == 3 && !cpus[3], "the same with the last one");
	wake_late = true;
	let_others_run();
	CHECK(is_out(3), "which halts, too");
}

/* It gets ready at the worst time: while another one is starting, with its index. */
static void test_late_meanwhile(void)
{
	wakes_with = 2;
	start_machine(LATE, COMES, COMES);
	CHECK(wake_late && is_out(1), "a late one does not take another's start for its own");
	CHECK(cpu_count == 3 && is_in(2, 1) && is_in(3, 2), "and that one comes");
	wakes_with = 0;
}

int main(void)
{
	now_on = machine;
	test_start();
	test_late();
	test_late_meanwhile();
	test_unused();
	test_sleep();
	return test_end();
}
