/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/idle.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define L5C_SUBSTATES BIT(0) /* EDX tells of states */
/* BKDG and PPR of families 10h and later, "C-state Base Address" */
#define MSR_CSTATE_BASE 0xc0010073
#define CSTATE_PORTS	8
#define FAMILY_ZEN	0x17
#define FAMILY_HYGON	0x18
/*
 * AMD's erratum 1474: a core of Zen 1 or 2 that has been on for 1044 days does not come back from
 * C6. Three bits allow that.
 */
#define MSR_CSTATE_CFG 0xc0010296
#define CSTATE_CFG_C6  (BIT(6) | BIT(14) | BIT(22))
#define C6_NS	       (1000ull * 24 * 3600 * 1000000000)
/* States, see CORBEL_IDLE_NAMES */
#define C1	1
#define C1E	2
#define PORT_C2 9
#define PORT_C3 10

/* A sleep that MWAIT ends for nothing within so many us; so many without another, and it is none.
 */
#define AT_ONCE_US 100
#define AT_ONCE	   64
/* What is longer pays for any state. */
#define TYPICAL_MAX 8000

struct idle_plan idle = {.table.states = BIT(0)};
static u64 last_c6 = ~0ull; /* when the TSC is beyond that there is to be none; set once */

/* For CPUs that dom0 has no vCPU on, what it has said of the first. `count` comes last, and once.
 */
static struct {
	u32 count;
	struct corbel_cst cst[CORBEL_MAX_CST];
} for_others;

/*
 * What MWAIT is told, and how many us a sleep must last for which more energy is saved than it
 * takes to get there and back. CPUID tells neither: these are those of client CPUs, on the safe
 * side.
 */
static const struct {
	u8 hint;
	u16 pays;
} usual[PORT_C2] = {
    {0, 0},	  /* HLT */
    {0x00, 0},	  /* C1 */
    {0x01, 20},	  /* C1E */
    {0x10, 200},  /* C2, which is C3 in most books */
    {0x20, 600},  /* C3: C6 */
    {0x30, 1000}, /* C4: C7 */
    {0x40, 1500}, /* C5: C8 */
    {0x50, 5000}, /* C6: C9 */
    {0x60, 6000}, /* C7: C10 */
};

/*
 * Intel's whose MONITOR misses stores: Dunnington, Nehalem-EX, Westmere-EX, Goldmont, Ice Lake's
 * servers (ICX143), Lunar Lake
 */
static bool misses_stores(const struct idle_facts *f)
{
	static const u8 models[] = {0x1d, 0x2e, 0x2f, 0x5c, 0x6a, 0xbd};

	for (u32 i = 0; !f->amd && f->family == 6 && i < ARRAY_SIZE(models); i++)
		if (f->model == models[i])
			return true;
	return false;
}

/*
 * Westmere's threads that come and go in C3 and C6 hang the machine: AAT and BD, "Rapid Core C3/C6
 * Transition".
 */
static bool may_be_deep(const struct idle_facts *f)
{
	return f->apic_runs && (f->amd || f->family != 6 || (f->model != 0x25 && f->model != 0x2c));
}

/* How many variants of MWAIT's state n there are. */
static u32 count_substates(const struct idle_facts *f, u32 n)
{
	return f->l5d >> 4 * n & 15;
}

static bool has_mwait(const struct idle_facts *f)
{
	return f->monitor && f->l5c & L5C_SUBSTATES && count_substates(f, 1);
}

static void add_state(struct idle_table *t, u32 n, u32 how, u32 pays)
{
	BUG_ON(n >= CORBEL_IDLE_STATES);
	t->states |= BIT(n);
	t->state[n].how = how;
	t->state[n].pays = pays;
}

void idle_plan_make(const struct idle_facts *f, struct idle_plan *p)
{
	*p = (struct idle_plan){.table.states = BIT(0)};
	if (!has_mwait(f))
		return;
	p->stores = !misses_stores(f);
	p->deep = may_be_deep(f);
	for (u32 n = C1; n < PORT_C2; n++)
		if (n <= C1E ? count_substates(f, 1) >= n : p->deep && count_substates(f, n - 1))
			add_state(&p->table, n, usual[n].hint, usual[n].pays);
}

/* The state that MWAIT with this hint is; 0: none that the CPU has. */
static u32 state_of_hint(const struct idle_facts *f, u32 hint)
{
	u32 n = (hint >> 4) + 1, sub = hint & 15;

	if (!has_mwait(f) || hint > 0x6f || sub >= count_substates(f, n))
		return 0;
	if (n == 1)
		return sub ? C1E : C1;
	return may_be_deep(f) ? n + 1 : 0;
}

/*
 * The state that reading this port is; 0: nothing that this CPU catches, so a device's port, or
 * nobody's. Others than AMD's have such states also by MWAIT. C3 has caches empty before the Zens.
 */
static u32 state_of_port(const struct idle_facts *f, u32 port, u32 type)
{
	if (!f->amd || !f->apic_runs || !f->ports)
		return 0;
	if (port > 0xffff || port - f->ports >= CSTATE_PORTS)
		return 0;
	if (type == 2)
		return PORT_C2;
	return type == 3 && f->family >= FAMILY_ZEN ? PORT_C3 : 0;
}

u32 idle_plan_take(const struct idle_facts *f, const struct corbel_cst *cst, u32 count,
		   struct idle_table *t)
{
	struct idle_table new = {.states = BIT(0)};
	u32 taken = 0;

	BUG_ON(count > CORBEL_MAX_CST);
	if (has_mwait(f))
		add_state(&new, C1, 0, 0);
	for (u32 i = 0; i < count; i++) {
		const struct corbel_cst *s = &cst[i];
		u32 n = 0;

		/* what a firmware says to who does not know MWAIT */
		if (s->by == CORBEL_CST_PORT && !f->amd)
			return 0;
		if (s->by == CORBEL_CST_MWAIT)
			n = state_of_hint(f, s->address);
		else if (s->by == CORBEL_CST_PORT)
			n = state_of_port(f, s->address, s->type);
		/* the break-even is not told, and taken to be twice the latency */
		if (n > C1)
			add_state(&new, n, s->address, 2 * MIN(s->latency_us, 1000000u));
		if (n || s->by == CORBEL_CST_HLT)
			taken |= BIT(i);
	}
	if (taken)
		*t = new;
	return taken;
}

u32 idle_choose(const struct idle_table *t, u32 typical, u64 timer)
{
	u64 expected = MIN(timer, 2ull * typical);
	u32 best = 0;

	BUG_ON(!(t->states & BIT(0)));
	for (u32 i = 1; i < CORBEL_IDLE_STATES; i++)
		if (t->states & BIT(i) && t->state[i].pays <= expected)
			best = i;
	return best;
}

/* Short sleeps are believed sooner than long ones: to be late is worse than to save less. */
u32 idle_learn(u32 typical, u64 slept)
{
	u32 us = MIN(slept, TYPICAL_MAX);

	if (us < typical)
		return typical - (typical - us + 1) / 2;
	return typical + (us - typical + 3) / 4;
}

static void read_facts(struct idle_facts *f)
{
	u32 sig = cpuid_read(1, 0).a;
	u64 base;

	f->amd = cpuid_is_amd(cpuid_read(0, 0).b);
	f->family = FIELD_GET(GENMASK(11, 8), sig);
	if (f->family == 0xf)
		f->family += FIELD_GET(GENMASK(27, 20), sig);
	if (f->amd && !rdmsr_safe(MSR_CSTATE_BASE, &base))
		f->ports = base & 0xffff;
	f->model = FIELD_GET(GENMASK(7, 4), sig) | FIELD_GET(GENMASK(19, 16), sig) << 4;
	f->monitor = cpuid_read(1, 0).c & CPUID_1C_MONITOR && !cap_masked("mwait");
	f->l5c = cpuid_read(5, 0).c;
	f->l5d = cpuid_read(5, 0).d;
	f->apic_runs = cpuid_read(6, 0).a & CPUID_6A_ARAT &&
		       cpuid_read(0x80000007, 0).d & CPUID_X7D_INVARIANT_TSC &&
		       !cap_masked("deep-idle");
}

static const char *name_deepest(u32 states)
{
	static const char *const names[] = {CORBEL_IDLE_NAMES};

	_Static_assert(ARRAY_SIZE(names) == CORBEL_IDLE_STATES, "a name for each");
	return names[31 - __builtin_clz(states)];
}

void idle_init(bool misses)
{
	struct idle_facts f = {0};

	read_facts(&f);
	idle_plan_make(&f, &idle);
	idle.stores &= !misses;
	if (f.amd && (f.family == FAMILY_ZEN || f.family == FAMILY_HYGON))
		last_c6 = ns_to_tsc(C6_NS);
	if (idle.table.states == BIT(0))
		log_info("idle: HLT");
	else
		log_info("idle: MWAIT, %s at most, woken by %s", name_deepest(idle.table.states),
			 idle.stores ? "stores" : "interrupts");
}

/* Facts are asked for anew, of this CPU: not all have to be of one kind. */
static u32 take_here(struct cpu *c, const struct corbel_cst *cst, u32 count)
{
	struct idle_facts f = {0};

	BUG_ON(c != this_cpu());
	c->idle.asked = true;
	c->idle.at_once = 0;
	read_facts(&f);
	return idle_plan_take(&f, cst, count, &c->idle.table);
}

u32 idle_tell(struct cpu *c, const struct corbel_cst *cst, u32 count)
{
	u32 taken = take_here(c, cst, count);

	log_debug("idle: CPU %u is told what _CST has", c->index);
	if (for_others.count || (!taken && c->index))
		return taken;
	log_info("idle: _CST has %u states, of which bits %x are used: %s at most", count, taken,
		 name_deepest(idle_states(c)));
	if (!taken)
		return taken;
	memcpy(for_others.cst, cst, count * sizeof(*cst));
	__atomic_store_n(&for_others.count, count, __ATOMIC_RELEASE);
	return taken;
}

static const struct idle_table *table_of(const struct cpu *c)
{
	return READ_ONCE(c->idle.table.states) ? &c->idle.table : &idle.table;
}

u32 idle_states(const struct cpu *c)
{
	return READ_ONCE(table_of(c)->states);
}

/*
 * idle_poke() sets resched before it looks at `watches`, and here it is the other way round: either
 * the store is seen, or it comes behind MONITOR, which notices it, or an interrupt comes.
 */
static void sleep_watching(struct cpu *c, u32 hint)
{
	__atomic_store_n(&c->watches, idle.stores, __ATOMIC_SEQ_CST);
	cpu_monitor(&c->resched);
	if (!__atomic_load_n(&c->resched, __ATOMIC_SEQ_CST))
		cpu_mwait(hint);
	/* before anything is looked at that those who call idle_poke() have written */
	__atomic_store_n(&c->watches, false, __ATOMIC_SEQ_CST);
}

/*
 * With interrupts off: one that comes ends this, or has it not begin, and is taken behind it. So
 * none gets between the look at resched and the sleep.
 */
static void sleep_by_port(struct cpu *c, u16 port)
{
	BUG_ON(c->watches); /* no store wakes it */
	if (!__atomic_load_n(&c->resched, __ATOMIC_SEQ_CST))
		inb(port);
	irq_window();
}

/*
 * It has come back, and no interrupt has. Where another hypervisor or an emulator only pretends
 * to sleep the CPU would be busy for ever.
 */
static void note_why(struct cpu *c, u32 state, u64 us)
{
	bool wanted = READ_ONCE(c->resched), port = state >= PORT_C2;

	if (wanted)
		WRITE_ONCE(c->idle.by_store, c->idle.by_store + (idle.stores && !port));
	if (us >= AT_ONCE_US)
		c->idle.at_once = 0;
	else if (!wanted && ++c->idle.at_once == AT_ONCE)
		log_warn("CPU %u: %s does not sleep here, HLT is used; mask=%s avoids it", c->index,
			 port ? "a port of _CST" : "MWAIT", port ? "deep-idle" : "mwait");
}

static __noinline void leave_out_c6(struct cpu *c)
{
	u64 val;

	c->idle.no_c6 = true;
	if (!rdmsr_safe(MSR_CSTATE_CFG, &val))
		wrmsr_safe(MSR_CSTATE_CFG, val & ~CSTATE_CFG_C6);
	if (!c->index)
		log_info("idle: no C6 any more, which cores may not leave after 1044 days");
}

/* The state for a sleep that begins now. */
static u32 choose_now(const struct cpu *c, const struct idle_table *t, u64 now)
{
	u64 until = timer_next(), us = ~0ull;

	if (t->states == BIT(0) || c->idle.at_once >= AT_ONCE)
		return 0;
	if (until != TIMER_NEVER)
		us = until > now ? tsc_to_ns(until - now) / 1000 : 0;
	return idle_choose(t, c->idle.typical, us);
}

void idle_sleep(struct cpu *c)
{
	u64 began = rdtsc(), interrupts = c->interrupts, slept;
	u32 others = __atomic_load_n(&for_others.count, __ATOMIC_ACQUIRE), state;
	const struct idle_table *t;

	BUG_ON(c != this_cpu());
	if (unlikely(others && !c->idle.asked))
		take_here(c, for_others.cst, others);
	if (unlikely(began > last_c6) && !c->idle.no_c6)
		leave_out_c6(c);
	t = table_of(c);
	state = choose_now(c, t, began);
	if (READ_ONCE(c->resched))
		return;
	if (spec.each & SPEC_VERW) /* when a thread sleeps its part of them is the other's */
		cpu_clear_buffers();
	if (state >= PORT_C2)
		sleep_by_port(c, t->state[state].how);
	else if (state)
		sleep_watching(c, t->state[state].how);
	else
		cpu_idle();
	slept = rdtsc() - began;
	WRITE_ONCE(c->idle.ticks[state], c->idle.ticks[state] + slept);
	WRITE_ONCE(c->idle.times[state], c->idle.times[state] + 1);
	if (t->states == BIT(0))
		return;
	slept = tsc_to_ns(slept) / 1000;
	c->idle.typical = idle_learn(c->idle.typical, slept);
	if (!state)
		return;
	if (c->interrupts == interrupts)
		note_why(c, state, slept);
	else
		c->idle.at_once = 0;
}
