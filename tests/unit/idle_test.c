/* links: hv/cpu/idle.c */
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How deep a CPU sleeps: the states of seven CPUs by what their CPUID says, the choice by the next
 * timer and by how long the last sleeps were, and a fake MWAIT that sleeps, is woken by a store, by
 * an interrupt, or comes back at once for ever.
 */
#include <string.h>

#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "test.h"

static int fake_rdmsr(u32 msr, u64 *val);
#define rdmsr_safe fake_rdmsr
#include "hv/cpu/freq.c"

#define C(n) (1u << (n)) /* as in CORBEL_IDLE_NAMES */

/* ---- the machine ---- */

static struct cpu me;
static u64 now, next_timer = TIMER_NEVER, sleeps_for;
static u32 mwaits, hlts, last_hint, cleared;
static bool by_store, by_irq, watched, was_watched;
static u32 leaf1a, leaf1c, leaf5c, leaf5d, leaf6a, leaf6c, leaf7d;
static const char *masked = "";
static u64 aperf, mperf;
static bool perf_faults;
u64 tsc_khz = 1000000; /* a tick is a nanosecond */
struct spec_plan spec;

struct cpu *this_cpu(void)
{
	return &me;
}

u64 rdtsc(void)
{
	return now;
}

u64 tsc_to_ns(u64 ticks)
{
	return ticks;
}

u64 timer_next(void)
{
	return next_timer;
}

bool cap_masked(const char *name)
{
	return !strcmp(name, masked);
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	(void)subleaf;
	*a = *b = *c = *d = 0;
	switch (leaf) {
	case 0:
		*a = 0xd;
		break;
	case 1:
		*a = leaf1a;
		*c = leaf1c;
		break;
	case 5:
		*c = leaf5c;
		*d = leaf5d;
		break;
	case 6:
		*a = leaf6a;
		*c = leaf6c;
		break;
	case 0x80000000:
		*a = 0x80000008;
		break;
	case 0x80000007:
		*d = leaf7d;
	}
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	*val = msr == 0xe8 ? aperf : mperf;
	return perf_faults ? -1 : 0;
}

static void sleep_now(void)
{
	now += sleeps_for;
	if (by_store)
		me.resched = true;
	if (by_irq)
		me.interrupts++;
}

void cpu_monitor(const bool *at)
{
	watched = at == &me.resched;
	was_watched = me.watches;
}

void cpu_mwait(u32 hint)
{
	CHECK_QUIET(watched, "MWAIT comes behind MONITOR of what idle_poke() writes");
	mwaits++;
	last_hint = hint;
	sleep_now();
}

void cpu_clear_buffers(void)
{
	cleared++;
}

void cpu_idle(void)
{
	hlts++;
	by_irq = true;
	sleep_now();
}

/* ---- what there is ---- */

static void test_plan(void)
{
	static const struct {
		const char *name;
		struct idle_facts f;
		u32 states;
		bool stores;
	} t[] = {
	    {"Skylake", {false, 6, 0x5e, true, 3, 0x142120, true}, 0x7f, true},
	    {"Skylake server",
	     {false, 6, 0x55, true, 3, 0x2020, true},
	     C(0) | C(1) | C(2) | C(4),
	     true},
	    {"Sapphire Rapids",
	     {false, 6, 0x8f, true, 3, 0x4020, true},
	     C(0) | C(1) | C(2) | C(4),
	     true},
	    {"Alder Lake",
	     {false, 6, 0x97, true, 3, 0x10102020, true},
	     C(0) | C(1) | C(2) | C(4) | C(6) | C(8),
	     true},
	    {"Goldmont", {false, 6, 0x5c, true, 3, 0x11142120, true}, 0x1ff, false},
	    {"Lunar Lake", {false, 6, 0xbd, true, 3, 0x20, true}, C(0) | C(1) | C(2), false},
	    {"a model of AMD's with Goldmont's number",
	     {true, 0x17, 0x5c, true, 3, 0x11, true},
	     C(0) | C(1),
	     true},
	    {"Zen", {true, 0x17, 1, true, 3, 0x11, true}, C(0) | C(1), true},
	    {"an APIC or TSC that stands still",
	     {false, 6, 0x5e, true, 3, 0x142120, false},
	     C(0) | C(1) | C(2),
	     true},
	    {"no MONITOR", {false, 6, 0x5e, false, 3, 0x142120, true}, C(0), false},
	    {"no leaf of states", {false, 6, 0x5e, true, 0, 0x142120, true}, C(0), false},
	    {"QEMU, with MWAIT that does not sleep",
	     {true, 0x17, 1, true, 3, 0, true},
	     C(0),
	     false},
	    {"no C1", {false, 6, 0x5e, true, 3, 0x1100, true}, C(0), false},
	};
	struct idle_plan p;

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		idle_plan_make(&t[i].f, &p);
		CHECK(p.states == t[i].states && p.stores == t[i].stores,
		      "%s: states %x, stores %d", t[i].name, p.states, p.stores);
	}
}

static void set_up(const char *mask)
{
	memset(&me, 0, sizeof(me));
	memset(&idle, 0, sizeof(idle));
	masked = mask;
	leaf1a = 0x506e3;
	leaf1c = BIT(3);
	leaf5c = 3;
	leaf5d = 0x142120;
	leaf6a = BIT(2);
	leaf7d = BIT(8);
	idle_init(false);
	now = 1000;
	next_timer = TIMER_NEVER;
	mwaits = hlts = 0;
	by_irq = by_store = false;
}

static void test_facts(void)
{
	set_up("");
	CHECK(idle.states == 0x7f && idle.stores, "what CPUID says is used (%x)", idle.states);
	set_up("mwait");
	CHECK(idle.states == C(0), "mask=mwait: HLT alone");
	set_up("deep-idle");
	CHECK(idle.states == (C(0) | C(1) | C(2)), "mask=deep-idle: no deeper than C1E");
	leaf6a = 0;
	masked = "";
	idle_init(false);
	CHECK(idle.states == (C(0) | C(1) | C(2)), "nor without ARAT");
	leaf6a = BIT(2);
	leaf7d = 0;
	idle_init(false);
	CHECK(idle.states == (C(0) | C(1) | C(2)), "nor where the TSC may stop");
	leaf1c = 0;
	idle_init(false);
	CHECK(idle.states == C(0), "nor at all without MONITOR");
}

/* ---- the choice ---- */

static void test_choice(void)
{
	const u32 all = 0x1ff;

	CHECK(idle_choose(all, 8000, ~0ull) == 8, "long sleeps and no timer: the deepest");
	CHECK(idle_choose(all, 8000, 5999) == 7 && idle_choose(all, 8000, 6000) == 8,
	      "a timer before that pays: one less deep");
	CHECK(idle_choose(all, 8000, 19) == 1 && idle_choose(all, 8000, 20) == 2 &&
		  idle_choose(all, 8000, 0) == 1,
	      "a timer at once: C1");
	CHECK(idle_choose(all, 50, ~0ull) == 2, "short sleeps: shallow whatever the timer says");
	CHECK(idle_choose(C(0) | C(1) | C(4), 8000, ~0ull) == 4 &&
		  idle_choose(C(0) | C(1) | C(4), 8000, 500) == 1,
	      "only of those that there are");
	CHECK(idle_choose(C(0), 8000, ~0ull) == 0, "else HLT");
	for (u32 timer = 0, was = 0; timer < 10000; timer += 10) {
		u32 state = idle_choose(all, 8000, timer);

		if (!CHECK_QUIET(state >= was, "never less deep for a later timer (%u us: %u)",
				 timer, state))
			break;
		was = state;
	}
}

static void test_learning(void)
{
	u32 typical = 0, steps;

	for (steps = 0; typical < 3000 && steps < 100; steps++)
		typical = idle_learn(typical, 1000000);
	CHECK(steps == 2, "two long sleeps are believed (%u)", steps);
	for (steps = 0; typical < 8000 && steps < 100; steps++)
		typical = idle_learn(typical, ~0ull);
	CHECK(typical == 8000 && idle_learn(typical, ~0ull) == 8000, "it ends at 8 ms");
	for (steps = 0; typical > 100 && steps < 100; steps++)
		typical = idle_learn(typical, 50);
	CHECK(steps == 8, "and so are a few short ones (%u)", steps);
	for (steps = 0; typical != 50 && steps < 100; steps++)
		typical = idle_learn(typical, 50);
	CHECK(typical == 50, "which it comes to");
	typical = idle_learn(0, 0);
	CHECK(!typical, "nothing is learnt of nothing");
}

/* ---- asleep ---- */

static void test_sleep(void)
{
	set_up("");
	me.resched = true;
	idle_sleep(&me);
	CHECK(!mwaits && !hlts, "nobody sleeps who is wanted");
	me.resched = false;
	sleeps_for = 50000000;
	by_irq = true;
	for (u32 i = 0; i < 4; i++)
		idle_sleep(&me);
	CHECK(mwaits == 4 && last_hint == 0x40, "sleep by sleep it comes to the deepest (%x)",
	      last_hint);
	CHECK(was_watched && !me.watches, "stores wake it while it sleeps, and interrupts else");
	CHECK(!me.idle.by_store, "none was ended by a store");
	next_timer = now + 100000;
	idle_sleep(&me);
	CHECK(last_hint == 0x01, "with a timer in 0.1 ms it is C1E (%x)", last_hint);
	next_timer = now - 1;
	idle_sleep(&me);
	CHECK(last_hint == 0, "with one that is due C1");
	CHECK(me.idle.times[6] == 3 && me.idle.ticks[6] == 3 * sleeps_for && me.idle.times[2] == 1,
	      "each is counted where it belongs (%lu in C5)", me.idle.times[6]);
	by_irq = false;
	by_store = true;
	idle_sleep(&me);
	CHECK(me.idle.by_store == 1, "one that a store has ended, too");
	set_up("");
	idle_init(true);
	idle_sleep(&me);
	CHECK(mwaits == 1 && !was_watched,
	      "nor are stores relied on where an emulator misses them");
	set_up("mwait");
	idle_sleep(&me);
	CHECK(hlts == 1 && !mwaits && me.idle.times[0] == 1, "mask=mwait: HLT");
	set_up("");
	leaf1a = 0x506c9;
	idle_init(false);
	idle_sleep(&me);
	CHECK(mwaits == 1 && !was_watched && !idle_poke(&me) && me.resched,
	      "where MONITOR misses stores an interrupt is asked for");
	CHECK(!cleared, "buffers are left alone");
	spec.each = SPEC_VERW;
	set_up("");
	idle_sleep(&me);
	set_up("mwait");
	idle_sleep(&me);
	CHECK(cleared == 2, "unless a thread's would become another's");
	spec.each = 0;
}

static void test_no_sleep(void)
{
	set_up("");
	sleeps_for = 1000;
	for (u32 i = 0; i < 63; i++)
		idle_sleep(&me);
	by_irq = true;
	idle_sleep(&me);
	by_irq = false;
	for (u32 i = 0; i < 63; i++)
		idle_sleep(&me);
	CHECK(mwaits == 127 && !hlts, "an interrupt now and then is sleep enough");
	sleeps_for = 1000000;
	idle_sleep(&me);
	sleeps_for = 1000;
	for (u32 i = 0; i < 64; i++)
		idle_sleep(&me);
	CHECK(mwaits == 192 && !hlts, "and so is a long sleep");
	for (u32 i = 0; i < 10; i++) {
		by_irq = false;
		idle_sleep(&me);
	}
	CHECK(mwaits == 192 && hlts == 10,
	      "MWAIT that comes back at once 64 times is given up (%u, %u)", mwaits, hlts);
}

static void test_clock(void)
{
	CHECK(freq_khz(3000, 2000, 2000000) == 3000000, "turbo: more than the TSC's");
	CHECK(freq_khz(1ull << 50, 1ull << 51, 2000000) == 1000000, "long counts do not overflow");
	CHECK(!freq_khz(5, 0, 2000000), "nothing counted, nothing known");
	CHECK(freq_khz(~0ull, 1, ~0u) == 0 || freq_khz(~0ull, 1, ~0u) == ~0u, "nor anything wild");
	set_up("");
	aperf = mperf = 1000000;
	freq_look(&me);
	CHECK(!me.freq.khz, "a CPU without APERF tells nothing");
	leaf6c = BIT(0);
	me.freq.wanted = true;
	freq_look(&me);
	aperf += 3000000;
	mperf += 2000000;
	freq_look(&me);
	CHECK(me.freq.khz == 1500000 && !me.freq.wanted, "half as fast again as the TSC (%u)",
	      me.freq.khz);
	aperf = mperf = 10;
	freq_look(&me);
	CHECK(me.freq.khz == 1500000, "counters that begin again tell nothing new");
	aperf = 110;
	mperf = 210;
	freq_look(&me);
	CHECK(me.freq.khz == 500000, "until they are looked at once more (%u)", me.freq.khz);
	perf_faults = true;
	aperf = 10000;
	freq_look(&me);
	CHECK(me.freq.khz == 500000, "nor do MSRs that are not there");
}

int main(void)
{
	test_plan();
	test_facts();
	test_choice();
	test_learning();
	test_sleep();
	test_no_sleep();
	test_clock();
	return test_end();
}
