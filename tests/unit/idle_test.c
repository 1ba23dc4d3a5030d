/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How deep a CPU sleeps: the states of seven CPUs by what their CPUID says, the choice by the next
 * timer and by how long the last sleeps were, what dom0 says of _CST and how little of it is
 * believed, and a fake MWAIT, or port, that sleeps, is woken by a store, by an interrupt, or comes
 * back at once for ever.
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
static int fake_wrmsr(u32 msr, u64 val);
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#include "hv/cpu/idle.c"

#define C(n) (1u << (n)) /* as in CORBEL_IDLE_NAMES */

/* ---- the machine ---- */

static struct cpu me;
static u64 now, next_timer = TIMER_NEVER, sleeps_for;
static u32 mwaits, hlts, last_hint, cleared;
static bool by_store, by_irq, watched, was_watched;
static u32 leaf1a, leaf1c, leaf5c, leaf5d, leaf6a, leaf7d;
static const char *masked = "";
static u64 ports; /* ~0: no such MSR */
static u32 vendor;
static u16 last_port;
static u32 port_reads, windows;
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

u64 ns_to_tsc(u64 ns)
{
	return ns;
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
		*b = vendor;
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
		break;
	case 0x80000000:
		*a = 0x80000008;
		break;
	case 0x80000007:
		*d = leaf7d;
	}
}

static u64 cstate_cfg;
static u32 cfg_writes;

static int fake_wrmsr(u32 msr, u64 val)
{
	CHECK_QUIET(msr == 0xc0010296, "no other MSR is written");
	cstate_cfg = val;
	cfg_writes++;
	return 0;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	if (msr == 0xc0010296) {
		*val = cstate_cfg;
		return 0;
	}
	CHECK_QUIET(msr == 0xc0010073, "no other MSR is read");
	*val = ports;
	return ports == ~0ull ? -1 : 0;
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

/* Asleep until an interrupt is pending, which is taken only in a window. */
u8 inb(u16 port)
{
	CHECK_QUIET(!me.watches, "no store is said to wake who sleeps by a port");
	port_reads++;
	last_port = port;
	now += sleeps_for;
	return 0;
}

void irq_window(void)
{
	windows++;
	if (by_irq)
		me.interrupts++;
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
	    {"Ice Lake, server", {false, 6, 0x6a, true, 3, 0x20, true}, C(0) | C(1) | C(2), false},
	    {"Westmere", {false, 6, 0x2c, true, 3, 0x1120, true}, C(0) | C(1) | C(2), true},
	    {"Westmere, notebook",
	     {false, 6, 0x25, true, 3, 0x1120, true},
	     C(0) | C(1) | C(2),
	     true},
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
		CHECK(p.table.states == t[i].states && p.stores == t[i].stores,
		      "%s: states %x, stores %d", t[i].name, p.table.states, p.stores);
	}
}

static void set_up(const char *mask)
{
	memset(&me, 0, sizeof(me));
	memset(&idle, 0, sizeof(idle));
	memset(&for_others, 0, sizeof(for_others));
	masked = mask;
	vendor = 0;
	ports = ~0ull;
	leaf1a = 0x506e3;
	leaf1c = BIT(3);
	leaf5c = 3;
	leaf5d = 0x142120;
	leaf6a = BIT(2);
	leaf7d = BIT(8);
	idle_init(false);
	now = 1000;
	next_timer = TIMER_NEVER;
	mwaits = hlts = port_reads = windows = 0;
	by_irq = by_store = false;
}

static void test_facts(void)
{
	set_up("");
	CHECK(idle.table.states == 0x7f && idle.stores, "what CPUID says is used (%x)",
	      idle.table.states);
	set_up("mwait");
	CHECK(idle.table.states == C(0), "mask=mwait: HLT alone");
	set_up("deep-idle");
	CHECK(idle.table.states == (C(0) | C(1) | C(2)), "mask=deep-idle: no deeper than C1E");
	leaf6a = 0;
	masked = "";
	idle_init(false);
	CHECK(idle.table.states == (C(0) | C(1) | C(2)), "nor without ARAT");
	leaf6a = BIT(2);
	leaf7d = 0;
	idle_init(false);
	CHECK(idle.table.states == (C(0) | C(1) | C(2)), "nor where the TSC may stop");
	leaf1c = 0;
	idle_init(false);
	CHECK(idle.table.states == C(0), "nor at all without MONITOR");
}

/* ---- the choice ---- */

static void test_choice(void)
{
	struct idle_plan p;
	const struct idle_facts f = {false, 6, 0x5c, true, 3, 0x11142120, true, 0};
	const struct idle_table *all = &p.table;
	struct idle_table few = {.states = C(0) | C(1) | C(4), .state[4].pays = 600},
			  none = {.states = C(0)};

	idle_plan_make(&f, &p);

	CHECK(idle_choose(all, 8000, ~0ull) == 8, "long sleeps and no timer: the deepest");
	CHECK(idle_choose(all, 8000, 5999) == 7 && idle_choose(all, 8000, 6000) == 8,
	      "a timer before that pays: one less deep");
	CHECK(idle_choose(all, 8000, 19) == 1 && idle_choose(all, 8000, 20) == 2 &&
		  idle_choose(all, 8000, 0) == 1,
	      "a timer at once: C1");
	CHECK(idle_choose(all, 50, ~0ull) == 2, "short sleeps: shallow whatever the timer says");
	CHECK(idle_choose(&few, 8000, ~0ull) == 4 && idle_choose(&few, 8000, 500) == 1,
	      "only of those that there are");
	CHECK(idle_choose(&none, 8000, ~0ull) == 0, "else HLT");
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

/* ---- what ACPI's _CST says ---- */

static const struct idle_facts skylake = {false, 6, 0x5e, true, 3, 0x142120, true, 0},
			       zen = {true, 0x17, 1, true, 3, 0x11, true, 0x413},
			       westmere = {false, 6, 0x2c, true, 3, 0x1120, true, 0},
			       shanghai = {true, 0x10, 4, true, 3, 0x11, true, 0x413};

#define HALT(type)                                                                                 \
	{                                                                                          \
		CORBEL_CST_HLT, type, 0, 1                                                         \
	}
#define HINT(type, hint, us)                                                                       \
	{                                                                                          \
		CORBEL_CST_MWAIT, type, hint, us                                                   \
	}
#define READ(type, port, us)                                                                       \
	{                                                                                          \
		CORBEL_CST_PORT, type, port, us                                                    \
	}

static void test_cst(void)
{
	static const struct {
		const char *name;
		const struct idle_facts *f;
		struct corbel_cst cst[4];
		u32 taken, states;
	} t[] = {
	    {"an Intel's by MWAIT",
	     &skylake,
	     {HINT(1, 0, 1), HINT(2, 0x21, 151), HINT(3, 0x33, 1034)},
	     7,
	     C(0) | C(1) | C(4) | C(5)},
	    {"C1 alone, as set in the firmware", &skylake, {HALT(1)}, 1, C(0) | C(1)},
	    {"an Intel's by ports, for those without MWAIT",
	     &skylake,
	     {HALT(1), READ(2, 0x1814, 151), READ(3, 0x1815, 1034)},
	     0,
	     0},
	    {"hints that the CPU has not",
	     &skylake,
	     {HINT(1, 2, 1), HINT(3, 0x70, 1), HINT(3, 0xf0, 1), HINT(3, 0x100, 1)},
	     0,
	     0},
	    {"hints far away", &skylake, {HINT(3, ~0u, 1), HINT(3, 0x80000010, 1)}, 0, 0},
	    {"a Zen's, C2 by a port",
	     &zen,
	     {HINT(1, 0, 1), READ(2, 0x414, 400)},
	     3,
	     C(0) | C(1) | C(9)},
	    {"and C3",
	     &zen,
	     {HINT(1, 0, 1), READ(2, 0x414, 18), READ(3, 0x415, 350)},
	     7,
	     C(0) | C(1) | C(9) | C(10)},
	    {"the first and the last port that it catches",
	     &zen,
	     {READ(2, 0x413, 1), READ(3, 0x41a, 1)},
	     3,
	     C(0) | C(1) | C(9) | C(10)},
	    {"ports beside them, a UART's among them",
	     &zen,
	     {READ(2, 0x412, 1), READ(2, 0x41b, 1), READ(2, 0x3f8, 1), READ(2, 0x10414, 1)},
	     0,
	     0},
	    {"a port that is no C2",
	     &zen,
	     {READ(1, 0x414, 1), READ(0, 0x414, 1), READ(4, 0x414, 1)},
	     0,
	     0},
	    {"C3 whose caches Linux would empty",
	     &shanghai,
	     {READ(2, 0x414, 75), READ(3, 0x415, 75)},
	     1,
	     C(0) | C(1) | C(9)},
	    {"C3 that may hang the machine",
	     &westmere,
	     {HINT(1, 0, 3), HINT(3, 0x10, 20), HINT(3, 0x20, 200)},
	     1,
	     C(0) | C(1)},
	    {"nothing known", &zen, {{3, 2, 0x414, 1}, {~0u, ~0u, ~0u, ~0u}}, 0, 0},
	};
	struct idle_table now_is, was = {.states = 0x55};
	struct idle_facts f;

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		u32 count = 4, taken;

		while (count > 1 && !t[i].cst[count - 1].type)
			count--;
		now_is = was;
		taken = idle_plan_take(t[i].f, t[i].cst, count, &now_is);
		CHECK(taken == t[i].taken && now_is.states == (taken ? t[i].states : 0x55),
		      "_CST, %s: %x are taken, states %x", t[i].name, taken, now_is.states);
	}
	f = zen;
	f.ports = 0;
	CHECK(idle_plan_take(&f, t[5].cst, 2, &now_is) == 1 && now_is.states == (C(0) | C(1)),
	      "no port where the CPU catches none");
	f.ports = 0xfffc;
	now_is = was;
	CHECK(!idle_plan_take(&f, (struct corbel_cst[]){READ(2, 0x10000, 1)}, 1, &now_is) &&
		  now_is.states == was.states,
	      "nor one beyond the last");
	f = zen;
	f.apic_runs = false;
	CHECK(idle_plan_take(&f, t[5].cst, 2, &now_is) == 1, "or its APIC would stand still");
	f = skylake;
	f.monitor = false;
	CHECK(!idle_plan_take(&f, t[0].cst, 3, &now_is), "no hint without MONITOR");
	CHECK(PANICS(idle_plan_take(&zen, t[0].cst, CORBEL_MAX_CST + 1, &now_is)),
	      "the caller has looked at how many there are");
}

static void test_latencies(void)
{
	static const struct corbel_cst cst[] = {HINT(1, 0, 1), READ(2, 0x414, 400),
						READ(3, 0x415, ~0u)};
	struct idle_table t;

	idle_plan_take(&zen, cst, 3, &t);
	CHECK(idle_choose(&t, 8000, 799) == 1 && idle_choose(&t, 8000, 800) == 9,
	      "a state pays for twice its latency");
	CHECK(idle_choose(&t, 8000, ~0ull) == 9, "one that takes for ever never does");
}

static void make_zen(void)
{
	set_up("");
	vendor = 0x68747541; /* Auth */
	leaf1a = 0x800f12;
	leaf5d = 0x11;
	ports = 0x413;
	idle_init(false);
	sleeps_for = 50000000;
	by_irq = true;
}

static void test_told(void)
{
	static const struct corbel_cst cst[] = {HINT(1, 0, 1), READ(2, 0x414, 400)},
				       wrong[] = {READ(2, 0x60, 1)};
	u64 slept;

	make_zen();
	CHECK(idle_states(&me) == (C(0) | C(1)), "a Zen has C1 by MWAIT (%x)", idle_states(&me));
	CHECK(!idle_tell(&me, wrong, 1) && idle_states(&me) == (C(0) | C(1)),
	      "what is wrong changes nothing");
	CHECK(idle_tell(&me, cst, 2) == 3 && idle_states(&me) == (C(0) | C(1) | C(9)),
	      "dom0 is told of what is used (%x)", idle_states(&me));
	for (u32 i = 0; i < 4; i++)
		idle_sleep(&me);
	CHECK(port_reads == 4 - mwaits && port_reads && last_port == 0x414 &&
		  windows == port_reads && !me.watches,
	      "it sleeps by the port, and then takes what has woken it (%u)", port_reads);
	slept = me.idle.ticks[9];
	CHECK(me.idle.times[9] == port_reads && slept == port_reads * sleeps_for &&
		  !me.idle.by_store,
	      "which is counted");
	me.resched = true;
	CHECK(!idle_poke(&me), "nobody thinks that a store would wake it");
	me.resched = false;
	next_timer = now + 700000;
	idle_sleep(&me);
	CHECK(me.idle.ticks[9] == slept, "a timer before it pays: not so deep");
	next_timer = TIMER_NEVER;
	ports = ~0ull;
	me.idle.asked = false;
	me.idle.table.states = 0;
	idle_sleep(&me);
	CHECK(me.idle.asked && idle_states(&me) == (C(0) | C(1)),
	      "a CPU that is told nothing looks at what the first was, and whether it has that");
	ports = 0x413;
	me.idle.asked = false;
	idle_sleep(&me);
	CHECK(idle_states(&me) == (C(0) | C(1) | C(9)), "which it may");
}

static void test_port_no_sleep(void)
{
	static const struct corbel_cst cst[] = {READ(2, 0x414, 0)};

	make_zen();
	by_irq = false;
	sleeps_for = 1000;
	idle_tell(&me, cst, 1);
	me.idle.typical = 1000;
	for (u32 i = 0; i < 64; i++)
		idle_sleep(&me);
	CHECK(port_reads == 64 && !hlts,
	      "a port that does not put the CPU to sleep is tried 64 times");
	idle_sleep(&me);
	CHECK(port_reads == 64 && hlts == 1, "and then HLT is used");
	me.resched = true;
	sleep_by_port(&me, 0x414);
	CHECK(port_reads == 64, "who is wanted does not sleep by a port");
	me.resched = false;
	me.watches = true;
	CHECK(PANICS(sleep_by_port(&me, 0x414)), "nor who says that a store would do");
	me.watches = false;
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

/* Erratum 1474: Zens up to the second, and Hygon's */
static void test_long_up(void)
{
	static const struct {
		const char *name;
		u32 vendor, leaf1a;
		bool has;
	} t[] = {
	    {"Zen 1", 0x68747541, 0x800f12, true},  {"Zen 2", 0x68747541, 0x830f10, true},
	    {"Dhyana", 0x6f677948, 0x900f02, true}, {"Zen 3", 0x68747541, 0xa00f11, false},
	    {"Skylake", 0, 0x506e3, false},
	};
	const u64 day = 24 * 3600 * 1000000000ull;

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		make_zen();
		last_c6 = ~0ull; /* as for whom nothing has been set */
		vendor = t[i].vendor;
		leaf1a = t[i].leaf1a;
		idle_init(false);
		cstate_cfg = ~0ull;
		cfg_writes = 0;
		now = 1000 * day;
		idle_sleep(&me);
		CHECK(!cfg_writes, "%s: C6 is left as it is for 1000 days", t[i].name);
		now = 1000 * day + 1;
		idle_sleep(&me);
		CHECK(cstate_cfg == (t[i].has ? ~0x404040ull : ~0ull), "%s: then %s", t[i].name,
		      t[i].has ? "it is left out" : "as well");
		now = 1001 * day;
		idle_sleep(&me);
		CHECK(cfg_writes == t[i].has, "%s: once", t[i].name);
	}
	last_c6 = ~0ull;
}

int main(void)
{
	test_plan();
	test_facts();
	test_choice();
	test_learning();
	test_cst();
	test_latencies();
	test_told();
	test_port_no_sleep();
	test_sleep();
	test_no_sleep();
	test_long_up();
	return test_end();
}
