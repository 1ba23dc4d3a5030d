/*
 * links: tests/unit/rest.c hv/guest/run.c hv/guest/exit.c hv/guest/inject.c hv/guest/kick.c
 * hv/guest/apic_ids.c hv/guest/spin.c hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c
 * hv/guest/lapic_timer.c hv/lib/scale.c hv/sched/place.c hv/sched/cap.c hv/sched/sched.c
 * hv/sched/cpupool.c hv/sched/fair.c hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c
 * hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c hv/cpu/idle.c -include tests/unit/steps.h
 * -fno-sanitize=all
 */
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * No wake-up is lost. Two CPUs run the real run loop: CPU 0 has dom0's vCPU, which sends interrupts
 * to a guest, pauses it, and resumes it when it has stopped; the guest's vCPU is on either CPU and
 * halts, or spins without ever leaving guest mode by itself. CPUs that idle are in HLT, or in
 * MWAIT, or asleep by a port. Each CPU is a coroutine, and each access to what they share a point
 * at which the other may go on: all ways with two such changes are tried, then many with more, at
 * random but the same each time. When neither CPU has anything to do any more, all that was sent
 * must have arrived.
 */
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "hv/console/console.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/cr.h"
#include "hv/guest/debug.h"
#include "hv/guest/hyperv.h"
#include "hv/guest/event.h"
#include "hv/guest/exit.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/lazy.h"
#include "hv/guest/mmio.h"
#include "hv/guest/msr.h"
#include "hv/guest/msr_exit.h"
#include "hv/guest/pio.h"
#include "hv/guest/quirks.h"
#include "hv/guest/run.h"
#include "hv/guest/vm.h"
#include "hv/lib/io.h"
#include "test.h"

#define CPUS	     2
#define STACK	     (256 * 1024)
#define MAX_SWITCHES 8
#define MAX_STEPS    20000
#define VEC_EVENT    0xe0
#define VEC_FIRST    0x40
#define VEC_DEVICE   0x50
#define RFLAGS_IF    BIT(9)

u64 sched_test_clock(void);

/* ---- CPUs ---- */

static struct model_cpu {
	struct cpu cpu; /* first */
	ucontext_t context;
	char stack[STACK] __aligned(16);
	bool irq;   /* one is pending */
	bool waits; /* for that, be it in HLT or inside a guest that spins */
	bool armed; /* MONITOR: it waits for a store to cpu.resched, too, which was false */
} machine[CPUS];
static ucontext_t outside;
static u32 running;
static u32 steps, switches_done, switches;
static u32 switch_at[MAX_SWITCHES];
static bool exploring, endless;
static u32 entries;
static bool unnoted; /* entered with something pending that v->due does not tell of */

struct cpu *cpus[MAX_CPUS];
u32 cpu_count = CPUS;
u64 tsc_khz = 2000000, boot_tsc;

struct cpu *this_cpu(void)
{
	return &machine[running].cpu;
}

static bool can_go_on(const struct model_cpu *c)
{
	return c->irq || !c->waits || (c->armed && c->cpu.resched);
}

static void let_other_go_on(void)
{
	struct model_cpu *from = &machine[running];

	running ^= 1;
	swapcontext(&from->context, &machine[running].context);
}

static void end_of_run(void)
{
	exploring = false;
	setcontext(&outside);
}

void test_step(void)
{
	if (!exploring)
		return;
	if (++steps > MAX_STEPS) {
		endless = true;
		end_of_run();
	}
	if (switches_done == switches || steps != switch_at[switches_done])
		return;
	switches_done++;
	if (can_go_on(&machine[running ^ 1]))
		let_other_go_on();
}

void test_relax(void)
{
	test_step();
	let_other_go_on();
}

/* Until this CPU has an interrupt; if the other cannot go on either, the run is over. */
static void wait_for_irq(void)
{
	struct model_cpu *c = &machine[running];

	c->waits = true;
	while (!c->irq && !(c->armed && c->cpu.resched)) {
		if (!can_go_on(&machine[running ^ 1]))
			end_of_run();
		let_other_go_on();
	}
	c->waits = c->armed = false;
}

/* Interrupts that tell no vCPU anything are the slice's end. */
static bool slice_ends;

void irq_window(void)
{
	machine[running].irq = false;
	if (slice_ends)
		this_cpu()->resched = true;
}

void cpu_idle(void)
{
	wait_for_irq();
	irq_window();
}

/* A store between this and MWAIT has MWAIT end at once, one before does not. */
void cpu_monitor(const bool *at)
{
	machine[running].armed = at == &this_cpu()->resched && !*at;
	test_step();
}

void cpu_clear_buffers(void)
{
}

void cpu_mwait(u32 hint)
{
	(void)hint;
	wait_for_irq();
	irq_window();
}

/* Ended by an interrupt that is pending, which stays so. */
u8 inb(u16 port)
{
	(void)port;
	wait_for_irq();
	return 0;
}

u64 timer_next(void)
{
	return TIMER_NEVER;
}

/* As in hv/cpu/smp.c */
void smp_kick(struct cpu *c)
{
	if (c == this_cpu())
		WRITE_ONCE(c->resched, true);
	else if (!idle_poke(c))
		((struct model_cpu *)c)->irq = true;
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
	machine[apic_id].irq = true;
}

u64 rdtsc(void)
{
	return 1000000000 + steps;
}

u64 sched_test_clock(void)
{
	return rdtsc();
}

u64 ns_to_tsc(u64 ns)
{
	return ns * 2;
}

u64 tsc_to_ns(u64 ticks)
{
	return ticks / 2;
}

/* ---- guests ---- */

enum kind {
	HALTS,
	SPINS,
	FAULTS, /* at each entry, before an interrupt is taken */
};
enum {
	MSI = CORBEL_HC_MSI, /* RBX: data */
	NMI = CORBEL_HC_NMI,
	PAUSE = CORBEL_HC_VCPU_PAUSE,
	RESUME = CORBEL_HC_VCPU_RESUME,
};
#define DATA_LEVEL BIT(15)

struct action {
	u64 hypercall; /* 0: end */
	u32 data;
};

static const struct scenario {
	const char *name;
	enum kind kind; /* of the guest's vCPU */
	u64 affinity;	/* its CPUs */
	bool faults;	/* it begins with an MSR that does not exist */
	struct action dom0[4];
	bool device; /* the guest has been stopped, and CPU 1 sends dom0 VEC_DEVICE */
} scenarios[] = {
    {"an interrupt to a vCPU that halts", HALTS, BIT(1), false, {{MSI, 0x40}}},
    {"an interrupt to a vCPU that spins", SPINS, BIT(1), false, {{MSI, 0x40}}},
    {"two interrupts", HALTS, BIT(1), false, {{MSI, 0x41}, {MSI, 0x50}}},
    {"an NMI to a vCPU that halts", HALTS, BIT(1), false, {{NMI}}},
    {"an NMI to a vCPU that spins", SPINS, BIT(1), false, {{NMI}}},
    {"a pause of a vCPU that halts", HALTS, BIT(1), false, {{PAUSE}}},
    {"a pause of a vCPU that spins", SPINS, BIT(1), false, {{PAUSE}, {MSI, 0x40}}},
    {"an EOI that stops the vCPU", HALTS, BIT(1), false, {{MSI, DATA_LEVEL | 0x40}}},
    {"an exception", HALTS, BIT(1), true, {{MSI, 0x40}}},
    {"an interrupt on the sender's CPU", HALTS, BIT(0), false, {{MSI, 0x40}, {PAUSE}}},
    {"a vCPU that may be anywhere",
     HALTS,
     BIT(0) | BIT(1),
     true,
     {{MSI, DATA_LEVEL | 0x40}, {NMI}, {PAUSE}}},
    {"an interrupt to dom0 while it gives its CPU to a guest that spins",
     SPINS,
     BIT(0),
     false,
     {{0}},
     true},
};

/* The two vCPUs, and what their software and the hardware they run on know. */
static struct model_vcpu {
	struct vcpu v; /* first */
	struct {
		bool full;
		enum hvm_event_kind kind;
		u8 vector;
	} injected;
	bool window, nmi_window, in_irq, after_eoi, faulted;
	u64 irqs[4]; /* vectors handled */
	u32 nmis, faults, stops;
} vcpus[2];
static struct model_vcpu *const dom0_vcpu = &vcpus[0], *const guest = &vcpus[1];
static struct vm dom0_vm, guest_vm;
struct vm *dom0 = &dom0_vm;
static struct corbel_vcpu_page page;
static u8 data[PAGE_SIZE];
static const struct scenario *scenario;
static u32 next_action;

static void guest_take_event(struct model_vcpu *m)
{
	if (!m->injected.full)
		return;
	m->injected.full = false;
	if (m->injected.kind == HVM_INJ_NMI) {
		m->nmis++;
	} else if (m->injected.kind == HVM_INJ_EXCEPTION) {
		m->faults++;
	} else {
		m->irqs[m->injected.vector / 64] |= BIT(m->injected.vector % 64);
		m->v.rflags &= ~RFLAGS_IF;
		m->in_irq = true;
	}
}

static void dom0_next(struct model_vcpu *m, struct vm_exit *x)
{
	const struct action *a = &scenario->dom0[next_action];

	x->reason = VMEXIT_HYPERCALL;
	if (READ_ONCE(page.state) == CORBEL_VCPU_STOPPED) {
		m->v.gpr[RAX] = RESUME;
		m->stops++;
	} else if (a->hypercall) {
		m->v.gpr[RAX] = a->hypercall;
		m->v.gpr[RBX] = a->data;
		next_action++;
	} else {
		x->reason = VMEXIT_HLT;
	}
}

/* What the vCPU's software does next that exits. False: it spins. */
static bool next_exit(struct model_vcpu *m, struct vm_exit *x)
{
	if (m->in_irq) {
		m->in_irq = false;
		m->after_eoi = true;
		x->reason = VMEXIT_MSR_WRITE;
		m->v.gpr[RCX] = MSR_X2APIC_EOI;
		m->v.gpr[RAX] = m->v.gpr[RDX] = 0;
	} else if (m == dom0_vcpu) {
		dom0_next(m, x);
	} else if (scenario->faults && !m->faulted) {
		m->faulted = true;
		x->reason = VMEXIT_MSR_READ;
	} else if (scenario->kind == HALTS) {
		x->reason = VMEXIT_HLT;
	} else {
		return false;
	}
	return true;
}

static void model_run(struct vcpu *v, struct vm_exit *x)
{
	struct model_vcpu *m = (struct model_vcpu *)v;

	this_cpu()->exit_seq++;
	entries++;
	*x = (struct vm_exit){.plain = true, .insn_len = 2};
	CHECK_QUIET(this_cpu()->loaded == v && this_cpu()->current == v, "it runs where it is");
	/* Else it would be entered again and again without anybody looking. */
	if ((v->stop_reason || v->exception.pending) && !v->due)
		unnoted = true;
	if (m == guest && scenario->kind == FAULTS) {
		this_cpu()->resched |= entries >= 1000; /* the check has failed */
		x->reason = VMEXIT_P2M_FAULT;
		return;
	}
	guest_take_event(m);
	for (;;) {
		test_step();
		if (m->after_eoi && !m->in_irq) { /* IRET */
			m->after_eoi = false;
			v->rflags |= RFLAGS_IF;
		}
		if (machine[running].irq) {
			x->reason = VMEXIT_INTR;
			return;
		}
		if (m->window && v->rflags & RFLAGS_IF) {
			x->reason = VMEXIT_IRQ_WINDOW;
			return;
		}
		if (m->nmi_window) { /* asked for once, it comes once */
			m->nmi_window = false;
			x->reason = VMEXIT_NMI_WINDOW;
			return;
		}
		if (next_exit(m, x))
			return;
		wait_for_irq();
	}
}

static u64 model_get(struct vcpu *v, enum hvm_reg r)
{
	return r == HVM_CR0 ? CR0_PE : 0;
}

static bool model_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	if (((struct model_vcpu *)v)->injected.full)
		return false;
	return k == HVM_INJ_NMI || v->rflags & RFLAGS_IF;
}

static void model_inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error,
			 u32 error)
{
	struct model_vcpu *m = (struct model_vcpu *)v;

	CHECK_QUIET(!m->injected.full, "one event is injected at a time");
	m->injected.full = true;
	m->injected.kind = k;
	m->injected.vector = vector;
}

static void model_want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
	struct model_vcpu *m = (struct model_vcpu *)v;

	*(k == HVM_INJ_NMI ? &m->nmi_window : &m->window) = on;
}

static void model_idle(void)
{
}

static const struct hvm_ops model_ops = {
    .idle = model_idle,
    .get = model_get,
    .can_inject = model_can_inject,
    .inject = model_inject,
    .want_window = model_want_window,
    .run = model_run,
};
const struct hvm_ops *hvm = &model_ops;

static s64 model_hypercall(struct vcpu *v, u64 nr)
{
	switch (nr) {
	case RESUME:
		return vcpu_resume(&guest->v, v);
	case MSI:
		return lapic_send_msi(&guest_vm, 0xfee00000, v->gpr[RBX], false);
	case NMI:
		return lapic_send_msi(&guest_vm, 0xfee00000, ICR_NMI, false);
	case PAUSE:
		vcpu_request(&guest->v, DUE_PAUSE);
		return 0;
	}
	return -ENOSYS;
}

static const struct vm_ops dom0_ops = {.hypercall = model_hypercall};

void event_vcpu_stopped(u32 id)
{
	lapic_set_irq(&dom0_vcpu->v, VEC_EVENT, false);
}

void vcpu_put(struct vcpu *v)
{
	if (this_cpu()->loaded == v)
		this_cpu()->loaded = NULL;
}

void vcpu_load(struct vcpu *v)
{
	CHECK_QUIET(machine[running ^ 1].cpu.loaded != v, "a vCPU is loaded on one CPU at a time");
	this_cpu()->loaded = v;
}

int msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	return -EINVAL;
}

int msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	return lapic_msr_write(v, msr, val, host);
}

/* ---- of no concern here ---- */

bool hypercall_is_dom0s(struct vcpu *v, const struct vm_exit *x)
{
	return false;
}

void hyperv_hypercall(struct vcpu *v, const struct vm_exit *x)
{
}

void msr_refused(struct vcpu *v, const struct vm_exit *x, int err)
{
	vcpu_inject_gp(v);
}

bool msr_filter_allows(const struct msr_filter *f, u32 msr, u32 how)
{
	return true;
}

void console_work(void)
{
}

bool vm_may_log(struct vm *vm, u32 bytes)
{
	return true;
}

int p2m_cmpxchg(struct p2m *p, gpa_t at, u64 old, u64 new, u32 size)
{
	return -EFAULT;
}

enum after_exit mmio_handle_fault(struct vcpu *v, const struct vm_exit *x)
{
	return EXIT_AGAIN;
}

enum after_exit pio_handle(struct vcpu *v, const struct vm_exit *x)
{
	return EXIT_PREPARE;
}

/* ---- exploration ---- */

static void device_main(void)
{
	test_step();
	lapic_set_irq(&dom0_vcpu->v, VEC_DEVICE, false);
	cpu_main();
}

static void set_up_vcpu(struct model_vcpu *m, struct vm *vm, u64 affinity, u32 cpu)
{
	struct vcpu *v = &m->v;

	v->vm = vm;
	v->id = vm->id;
	vm->vcpu = vm->few;
	vm->vcpu[0] = v;
	vm->vcpu_count = vm->vcpu_end = vm->apic_to_index[0] = 1;
	v->rflags = RFLAGS_IF;
	v->user_irq = -1;
	lapic_init(v, 0, true);
	v->lapic.base |= APIC_BASE_X2APIC;
	v->lapic.svr |= SVR_ENABLE;
	sched_unit_init(&v->sched, SCHED_WEIGHT_DEFAULT, &(struct corbel_cpus){{affinity}}, cpu,
			vm == dom0);
	running = cpu;
	if (!v->stopped)
		sched_wake(&v->sched);
}

static void set_up(void)
{
	memset(vcpus, 0, sizeof(vcpus));
	memset(&dom0_vm, 0, sizeof(dom0_vm));
	memset(&guest_vm, 0, sizeof(guest_vm));
	memset(&page, 0, sizeof(page));
	steps = switches_done = next_action = 0;
	sched_init("fair", vcpu_leave, CPUS);
	for (running = 0; running < CPUS; running++) {
		struct model_cpu *c = &machine[running];

		memset(&c->cpu, 0, sizeof(c->cpu));
		c->irq = c->waits = false;
		c->cpu.index = c->cpu.apic_id = running;
		cpus[running] = &c->cpu;
		sched_init_cpu(&c->cpu);
		getcontext(&c->context);
		c->context.uc_stack.ss_sp = c->stack;
		c->context.uc_stack.ss_size = STACK;
		makecontext(&c->context, scenario->device && running ? device_main : cpu_main, 0);
	}
	running = 0;
	guest_vm.id = 1;
	dom0_vm.is_dom0 = true;
	dom0_vm.ops = &dom0_ops;
	for (const struct action *a = scenario->dom0; a->hypercall; a++)
		if (a->hypercall == MSI && a->data & DATA_LEVEL)
			guest_vm.eoi_mask[VEC_FIRST / 64] |= BIT((u8)a->data % 64);
	guest->v.stopped = scenario->device;
	page.state = scenario->device ? CORBEL_VCPU_STOPPED : CORBEL_VCPU_RUNNABLE;
	guest->v.page = &page;
	guest->v.data = data;
	set_up_vcpu(dom0_vcpu, &dom0_vm, BIT(0), 0);
	set_up_vcpu(guest, &guest_vm, scenario->affinity, __builtin_ctzll(scenario->affinity));
}

/* Has all that was sent arrived? */
static bool all_arrived(void)
{
	u64 irqs = 0;
	u32 nmis = 0, stops = scenario->device;

	if (scenario->device && !(dom0_vcpu->irqs[VEC_DEVICE / 64] & BIT(VEC_DEVICE % 64)))
		return false;
	for (const struct action *a = scenario->dom0; a->hypercall; a++) {
		nmis += a->hypercall == NMI;
		stops += a->hypercall == PAUSE;
		if (a->hypercall == MSI) {
			irqs |= BIT((u8)a->data % 64);
			stops += !!(a->data & DATA_LEVEL);
		}
	}
	/* A pause that finds the vCPU stopping for something else may end with that. */
	return !endless && !unnoted && guest->irqs[VEC_FIRST / 64] == irqs && guest->nmis == nmis &&
	       guest->faults == scenario->faults && page.state == CORBEL_VCPU_RUNNABLE &&
	       !scenario->dom0[next_action].hypercall && dom0_vcpu->stops <= stops &&
	       !!dom0_vcpu->stops == !!stops;
}

/* With changes from CPU to CPU at the first n steps of switch_at[], beginning on a CPU. */
static bool arrives(u32 n, u32 first_cpu)
{
	volatile bool done = false;

	switches = n;
	endless = unnoted = false;
	set_up();
	running = first_cpu;
	getcontext(&outside);
	if (!done) {
		done = true;
		exploring = true;
		setcontext(&machine[running].context);
	}
	if (all_arrived())
		return true;
	CHECK(false, "%s: lost with %u changes, at steps %u %u %u %u, from CPU %u on",
	      scenario->name, n, switch_at[0], switch_at[1], switch_at[2], switch_at[3], first_cpu);
	return false;
}

static bool try_two_changes(u32 first_cpu, u32 *tried)
{
	u32 end;

	if (!arrives(0, first_cpu))
		return false;
	end = steps;
	for (switch_at[0] = 1; switch_at[0] <= end; switch_at[0]++)
		for (switch_at[1] = switch_at[0] + 1; switch_at[1] <= end; switch_at[1]++, ++*tried)
			if (!arrives(2, first_cpu))
				return false;
	return true;
}

static bool try_at_random(u32 count, u32 *tried)
{
	u32 end;

	if (!arrives(0, 0))
		return false;
	end = steps;
	for (u32 i = 0; i < count; i++, ++*tried) {
		u32 at = 0, n = 3 + rand() % (MAX_SWITCHES - 2);

		for (u32 k = 0; k < n; k++)
			switch_at[k] = at += 1 + rand() % (2 * end / n);
		if (!arrives(n, i & 1))
			return false;
	}
	return true;
}

static void test_asserts(void)
{
	scenario = &scenarios[0];
	set_up();
	CHECK(PANICS(vcpu_inject_exception(&guest->v, 32, false, 0)), "there is no exception 32");
	guest->v.stopped = 1;
	CHECK(PANICS(vcpu_resume(&guest->v, &guest->v)), "only dom0's vCPUs resume others");
	guest->v.stopped = VCPU_CLAIMED;
	CHECK(vcpu_resume(&guest->v, &dom0_vcpu->v) == -EBUSY && guest->v.stopped == VCPU_CLAIMED,
	      "nobody resumes one whose state is being set");
	guest->v.stopped = 0;
	CHECK(vcpu_resume(&guest->v, &dom0_vcpu->v) == -EBUSY, "nor one that runs");
	guest->v.stop_reason = CORBEL_EXIT_PAUSED;
	CHECK(PANICS(exit_loop(&guest->v, this_cpu())), "no entry with a stop that is not noted");
}

static void test_endless_faults(void)
{
	static const struct scenario faults = {"faults", FAULTS, BIT(0)};

	scenario = &faults;
	set_up();
	entries = 0;
	slice_ends = true;
	guest->v.due = 0;
	this_cpu()->resched = false;
	this_cpu()->current = &guest->v;
	vcpu_load(&guest->v);
	exit_loop(&guest->v, this_cpu());
	slice_ends = false;
	CHECK(entries > 1 && entries <= EXIT_TRACE,
	      "the slice of a guest that faults at each entry ends (%u)", entries);
}

static const struct {
	const char *name;
	u32 states;
	bool stores;
} ways[] = {
    {"", BIT(0), false},
    {", with MWAIT,", BIT(0) | BIT(1), true},
    {", with a port of _CST,", BIT(0) | BIT(9), true},
};

int main(void)
{
	test_asserts();
	test_endless_faults();
	srand(1);
	for (u32 i = 0; i < ARRAY_SIZE(ways) * ARRAY_SIZE(scenarios); i++) {
		u32 tried = 0, way = i % ARRAY_SIZE(ways);

		scenario = &scenarios[i / ARRAY_SIZE(ways)];
		idle = (struct idle_plan){.table.states = ways[way].states,
					  .stores = ways[way].stores};
		if (try_two_changes(0, &tried) && try_two_changes(1, &tried) &&
		    try_at_random(5000, &tried))
			CHECK(true, "%s%s arrives in each of %u ways to interleave", scenario->name,
			      ways[way].name, tried);
	}
	return test_end();
}
