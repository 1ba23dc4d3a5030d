/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/idle.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/lib/log.h"

#define L5C_SUBSTATES BIT(0) /* EDX tells of states */

/* A sleep that MWAIT ends for nothing within so many us; so many without another, and it is none.
 */
#define AT_ONCE_US 100
#define AT_ONCE	   64
/* What is longer pays for any state. */
#define TYPICAL_MAX 8000

struct idle_plan idle = {.states = BIT(0)};

/*
 * What MWAIT is told, and how many us a sleep must last for which more energy is saved than it
 * takes to get there and back. CPUID tells neither: these are those of client CPUs, on the safe
 * side.
 */
static const struct {
	u8 hint;
	u16 pays;
} table[CORBEL_IDLE_STATES] = {
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

/* Intel's whose MONITOR misses stores: Dunnington, Nehalem-EX, Westmere-EX, Goldmont, Lunar Lake */
static bool misses_stores(const struct idle_facts *f)
{
	static const u8 models[] = {0x1d, 0x2e, 0x2f, 0x5c, 0xbd};

	for (u32 i = 0; !f->amd && f->family == 6 && i < ARRAY_SIZE(models); i++)
		if (f->model == models[i])
			return true;
	return false;
}

/* How many variants of MWAIT's state n there are. */
static u32 count_substates(const struct idle_facts *f, u32 n)
{
	return f->l5d >> 4 * n & 15;
}

void idle_plan_make(const struct idle_facts *f, struct idle_plan *p)
{
	*p = (struct idle_plan){.states = BIT(0)};
	if (!f->monitor || !(f->l5c & L5C_SUBSTATES) || !count_substates(f, 1))
		return;
	p->stores = !misses_stores(f);
	p->states |= BIT(1);
	if (count_substates(f, 1) > 1)
		p->states |= BIT(2);
	for (u32 n = 2; f->apic_runs && n < 8; n++)
		if (count_substates(f, n))
			p->states |= BIT(n + 1);
}

u32 idle_choose(u32 states, u32 typical, u64 timer)
{
	u64 expected = MIN(timer, 2ull * typical);
	u32 best = 0;

	BUG_ON(!(states & BIT(0)));
	for (u32 i = 1; i < CORBEL_IDLE_STATES; i++)
		if (states & BIT(i) && table[i].pays <= expected)
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

	f->amd = cpuid_is_amd(cpuid_read(0, 0).b);
	f->family = FIELD_GET(GENMASK(11, 8), sig);
	f->model = FIELD_GET(GENMASK(7, 4), sig) | FIELD_GET(GENMASK(19, 16), sig) << 4;
	f->monitor = cpuid_read(1, 0).c & CPUID_1C_MONITOR && !cap_masked("mwait");
	f->l5c = cpuid_read(5, 0).c;
	f->l5d = cpuid_read(5, 0).d;
	f->apic_runs = cpuid_read(6, 0).a & CPUID_6A_ARAT &&
		       cpuid_read(0x80000007, 0).d & CPUID_X7D_INVARIANT_TSC &&
		       !cap_masked("deep-idle");
}

void idle_init(bool misses)
{
	static const char *const names[] = {CORBEL_IDLE_NAMES};
	struct idle_facts f = {0};

	_Static_assert(ARRAY_SIZE(names) == CORBEL_IDLE_STATES, "a name for each");
	read_facts(&f);
	idle_plan_make(&f, &idle);
	idle.stores &= !misses;
	if (idle.states == BIT(0))
		log_info("idle: HLT");
	else
		log_info("idle: MWAIT, %s at most, woken by %s",
			 names[63 - __builtin_clzll(idle.states)],
			 idle.stores ? "stores" : "interrupts");
}

/*
 * idle_poke() sets resched before it looks at `watches`, and here it is the other way round: either
 * the store is seen, or it comes behind MONITOR, which notices it, or an interrupt comes.
 */
static void sleep_watching(struct cpu *c, u32 state)
{
	__atomic_store_n(&c->watches, idle.stores, __ATOMIC_SEQ_CST);
	cpu_monitor(&c->resched);
	if (!__atomic_load_n(&c->resched, __ATOMIC_SEQ_CST))
		cpu_mwait(table[state].hint);
	/* before anything is looked at that those who call idle_poke() have written */
	__atomic_store_n(&c->watches, false, __ATOMIC_SEQ_CST);
}

/*
 * MWAIT has come back, and no interrupt has. Where another hypervisor or an emulator only pretends
 * to sleep the CPU would be busy for ever.
 */
static void note_why(struct cpu *c, u64 us)
{
	bool wanted = READ_ONCE(c->resched);

	if (wanted)
		WRITE_ONCE(c->idle.by_store, c->idle.by_store + idle.stores);
	if (us >= AT_ONCE_US)
		c->idle.at_once = 0;
	else if (!wanted && ++c->idle.at_once == AT_ONCE)
		log_warn("CPU %u: MWAIT does not sleep here, HLT is used; mask=mwait avoids it",
			 c->index);
}

/* The state for a sleep that begins now. */
static u32 choose_now(const struct cpu *c, u64 now)
{
	u64 until = timer_next(), us = ~0ull;

	if (idle.states == BIT(0) || c->idle.at_once >= AT_ONCE)
		return 0;
	if (until != TIMER_NEVER)
		us = until > now ? tsc_to_ns(until - now) / 1000 : 0;
	return idle_choose(idle.states, c->idle.typical, us);
}

void idle_sleep(struct cpu *c)
{
	u64 began = rdtsc(), interrupts = c->interrupts, slept;
	u32 state = choose_now(c, began);

	BUG_ON(c != this_cpu());
	if (READ_ONCE(c->resched))
		return;
	if (spec.each & SPEC_VERW) /* when a thread sleeps its part of them is the other's */
		cpu_clear_buffers();
	if (state)
		sleep_watching(c, state);
	else
		cpu_idle();
	slept = rdtsc() - began;
	WRITE_ONCE(c->idle.ticks[state], c->idle.ticks[state] + slept);
	WRITE_ONCE(c->idle.times[state], c->idle.times[state] + 1);
	if (!state)
		return;
	slept = tsc_to_ns(slept) / 1000;
	c->idle.typical = idle_learn(c->idle.typical, slept);
	if (c->interrupts == interrupts)
		note_why(c, slept);
	else
		c->idle.at_once = 0;
}
