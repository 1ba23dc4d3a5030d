/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The timer of the virtual local APIC.
 * links: hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c hv/guest/lapic_timer.c
 * hv/cpu/timer.c hv/lib/scale.c
 */
#include "lapic_regs.h"

#define ONE_SHOT     0xec /* LVT: mode and vector */
#define MASKED	     0x100ec
#define PERIODIC     0x200ec
#define TSC_DEADLINE 0x400ec

/* A timer of this kind, not running, that counts nanoseconds. */
static void start_timer(u32 lvt)
{
	fake_reset(NULL);
	enable_all(false);
	wr(v0, LVT_T, lvt);
	wr(v0, TDCR, 0xb);
}

/* How often it fires in so many steps of so many ns. */
static u32 ticks(u32 steps, u32 ns)
{
	u32 n = 0;

	while (steps--) {
		advance(ns);
		n += take(v0) == 0xec;
	}
	return n;
}

static void test_timer_one_shot(void)
{
	start_timer(ONE_SHOT);
	wr(v0, TMICT, 1000);
	advance(400);
	CHECK(rd(v0, TMCCT) == 600 && take(v0) == -1, "one-shot counts ns at divide 1");
	advance(600);
	CHECK(take(v0) == 0xec && rd(v0, TMCCT) == 0 && rd(v0, TMICT) == 1000, "and fires at 0");
	advance(5000);
	CHECK(take(v0) == -1, "once");
	wr(v0, TDCR, 0);
	advance(100);
	CHECK(take(v0) == -1 && rd(v0, TMCCT) == 0, "changing the divisor does not start it again");
	wr(v0, TMICT, 1000);
	advance(1000);
	CHECK(rd(v0, TMCCT) == 500, "divide by 2");
	wr(v0, TDCR, 0xa);
	CHECK(rd(v0, TMCCT) == 500, "a change of divisor keeps the count");
	advance(499 * 128);
	CHECK(rd(v0, TMCCT) == 1 && take(v0) == -1, "and goes on at the new rate");
	advance(128);
	CHECK(take(v0) == 0xec, "to the end");
	wr(v0, TMICT, 10);
	wr(v0, TMICT, 0);
	advance(100000);
	CHECK(take(v0) == -1, "count 0 stops it");
	wr(v0, LVT_T, MASKED);
	wr(v0, TMICT, 10);
	advance(100000);
	CHECK(take(v0) == -1, "masked: nothing");
	lapic_destroy(v0);
}

static void test_timer_periodic(void)
{
	start_timer(PERIODIC);
	wr(v0, TMICT, 1000000);
	CHECK(ticks(100, 100000) == 10 && rd(v0, TMCCT) == 1000000, "periodic");
	advance(50000000);
	advance(1000000);
	advance(1000000);
	CHECK(v0->lapic.timer_wait && !v0->lapic.timer_on,
	      "a guest that takes no ticks costs no timer interrupts");
	CHECK(take(v0) == 0xec && take(v0) == -1, "missed ticks are not made up for");
	advance(999000);
	CHECK(take(v0) == -1, "the next is not early");
	advance(1000);
	CHECK(take(v0) == 0xec, "and on the old grid");
	wr(v0, TMICT, 10);
	CHECK(ticks(1000, 1000) == 10, "a period below 100 us is stretched to that");
	wr(v0, LVT_T, PERIODIC | MASKED);
	advance(100000);
	advance(100000);
	CHECK(v0->lapic.timer_wait, "a masked periodic timer rests");
	wr(v0, LVT_T, PERIODIC);
	advance(100000);
	CHECK(take(v0) == 0xec, "and goes on when unmasked");
	wr(v0, LVT_T, PERIODIC | MASKED);
	advance(100000);
	advance(100000);
	wr(v0, TMICT, 1000000);
	advance(1500000);
	wr(v0, LVT_T, MASKED);
	advance(1000000);
	wr(v0, LVT_T, ONE_SHOT);
	advance(100000);
	CHECK(take(v0) == -1, "made one-shot meanwhile it runs out unseen");
	lapic_destroy(v0);
}

/* A state that only a VMM can set: switched off by its register, or by its base, and yet it ticks.
 */
static void test_timer_off(void)
{
	static u32 state[256];

	for (u32 i = 0; i < 2; i++) {
		u64 base = v0->lapic.base;

		start_timer(PERIODIC);
		wr(v0, TMICT, 1000000);
		lapic_get_state(v0, state);
		if (i)
			lapic_msr_write(v0, MSR_BASE, base & ~APIC_BASE_ENABLE, true);
		else
			state[SVR / 4] = 0xff;
		CHECK(!lapic_set_state(v0, state), "a VMM sets such a state");
		for (u32 n = 0; n < 3; n++)
			advance(1000000);
		CHECK(!v0->lapic.timer_on, "an APIC that is off costs no timer interrupts");
		if (i)
			lapic_msr_write(v0, MSR_BASE, base, true);
		else
			wr(v0, SVR, 0x1ff);
		advance(1000000);
		CHECK(take(v0) == 0xec, "and ticks when it is switched on");
		lapic_destroy(v0);
	}
}

/* The mode is changed while it counts, and when it has run out. */
static void test_timer_modes(void)
{
	start_timer(ONE_SHOT);
	wr(v0, TMICT, 1000000);
	advance(1000000);
	CHECK(take(v0) == 0xec && rd(v0, TMCCT) == 0, "a one-shot has run out");
	wr(v0, LVT_T, PERIODIC);
	CHECK(rd(v0, TMCCT) == 0 && rd(v0, TMICT) == 1000000, "made periodic it stays at 0");
	advance(300000);
	CHECK(rd(v0, TMCCT) == 0, "and does not count");
	wr(v0, TDCR, 0xb);
	advance(3000000);
	CHECK(rd(v0, TMCCT) == 0 && take(v0) == -1, "nor tick, whatever is done to the divisor");
	wr(v0, TMICT, 1000000);
	advance(1000000);
	CHECK(take(v0) == 0xec && rd(v0, TMCCT) == 1000000, "until the initial count is written");
	advance(1000000);
	CHECK(take(v0) == 0xec, "then it does");
	advance(400000);
	wr(v0, LVT_T, ONE_SHOT);
	CHECK(rd(v0, TMCCT) == 600000, "a periodic one made one-shot counts on");
	advance(600000);
	CHECK(take(v0) == 0xec && rd(v0, TMCCT) == 0, "to 0");
	advance(3000000);
	CHECK(take(v0) == -1, "once");
	wr(v0, TMICT, 1000000);
	advance(300000);
	wr(v0, LVT_T, PERIODIC);
	CHECK(rd(v0, TMCCT) == 700000, "a one-shot under way made periodic counts on, too");
	advance(700000);
	CHECK(take(v0) == 0xec && rd(v0, TMCCT) == 1000000, "and then periodically");

	wr(v0, LVT_T, TSC_DEADLINE);
	advance(1000000);
	CHECK(take(v0) == -1 && rd(v0, TMICT) == 0, "change to TSC-deadline stops it");
	lapic_destroy(v0);
}

#define ENTRY ns_to_tsc(25) /* what comes behind the wait */

/* A tick for a vCPU that comes so many ticks after the timer has fired. */
static void one_tick(u32 after)
{
	u64 due = fake_tsc + 20000;

	lapic_msr_write(v0, MSR_TSCD, vcpu_tsc(v0, due), false);
	advance((20000 - v0->lapic.timer_lead) / 2 + 1);
	fake_tsc += after;
	CHECK(lapic_timer_due(v0) == due - ENTRY, "each tick has its time");
	CHECK(take(v0) == 0xec, "and comes");
}

/* As vCPUs come late by 1000 ticks, the timer fires earlier, and they wait for the rest. */
static void test_lead(void)
{
	struct corbel_load load = {0};
	u64 due, next, lead = 0, ticks = 0;

	fake_reset(NULL);
	enable_all(false);
	wr(v0, TDCR, 0xb);
	wr(v0, LVT_T, TSC_DEADLINE);
	for (u32 i = 0; i < 50; i++) {
		due = fake_tsc + 20000;
		lapic_msr_write(v0, MSR_TSCD, vcpu_tsc(v0, due), false);
		CHECK(hw_deadline == due - lead, "round %u: the hardware is told %llu ticks before",
		      i, (unsigned long long)lead);
		advance((20000 - lead) / 2 + 1);
		CHECK(take(v0) == 0xec && v0->lapic.timer_due == due,
		      "the tick is there, with its time");
		fake_tsc += 1000;
		CHECK(lapic_timer_due(v0) == due - ENTRY && !v0->lapic.timer_due,
		      "which is to be waited for");
		CHECK(v0->lapic.timer_lead >= lead && v0->lapic.timer_lead <= 1002 + ENTRY,
		      "ever earlier, but not too early");
		lead = v0->lapic.timer_lead;
	}
	CHECK(lead > 990, "the vCPU is there in time (%llu)", (unsigned long long)lead);
	due = fake_tsc + 20000;
	lapic_msr_write(v0, MSR_TSCD, vcpu_tsc(v0, due), false);
	advance(100000);
	CHECK(take(v0) == 0xec && lapic_timer_due(v0) == due - ENTRY &&
		  v0->lapic.timer_lead == lead,
	      "who is away for long teaches nothing");
	for (u32 i = 0; i < 200; i++)
		one_tick(i % 8 ? 0 : 1000);
	CHECK(v0->lapic.timer_lead > 700,
	      "one of eight comes later: it is all but in time, too (%u)", v0->lapic.timer_lead);
	for (u32 i = 0; i < 200; i++)
		one_tick(0);
	v0->lapic.timer_due = fake_tsc + ns_to_tsc(1000000);
	CHECK(!lapic_timer_due(v0), "nobody waits for a clock that is behind the one of the tick");
	CHECK(v0->lapic.timer_lead < ENTRY + 40, "who comes at once needs no lead (%u)",
	      v0->lapic.timer_lead);
	v0->sched.inside = &load;
	v0->lapic.timer_due = fake_tsc + 5000;
	CHECK(lapic_timer_due(v0) == fake_tsc + 5000 - ENTRY && !load.timer_at,
	      "who does not wait himself is entered in time");
	load.waits = 1;
	v0->tsc_offset = 12345;
	v0->lapic.timer_due = fake_tsc + 5000;
	CHECK(lapic_timer_due(v0) == fake_tsc + 5000 - ns_to_tsc(300) &&
		  load.timer_at == vcpu_tsc(v0, fake_tsc + 5000),
	      "who does a little before, and is told how long to wait, by his clock");
	v0->tsc_offset = 0;
	v0->sched.inside = NULL;
	v0->lapic.timer_lead = 5000;
	wr(v0, LVT_T, 0x200ed);
	wr(v0, TMICT, 200000);
	due = fake_tsc + 400000;
	for (next = fake_tsc + 4000000; fake_tsc < next; advance(500)) {
		if (take(v0) != 0xed)
			continue;
		ticks++;
		CHECK(v0->lapic.timer_due == due, "a periodic tick has its own time");
		v0->lapic.timer_due = 0;
		due += 400000;
	}
	CHECK(ticks == 10, "none comes twice (%llu)", (unsigned long long)ticks);
	lapic_destroy(v0);
}

static void test_deadline(void)
{
	fake_reset(NULL);
	enable_all(false);
	wr(v0, TDCR, 0xb);
	wr(v0, LVT_T, TSC_DEADLINE);
	v0->tsc_offset = -4000000ull;
	lapic_msr_write(v0, MSR_TSCD, fake_tsc + v0->tsc_offset + 2000, false);
	wr(v0, TMICT, 10);
	advance(999);
	CHECK(take(v0) == -1 && guest_rdmsr(v0, MSR_TSCD), "the deadline is in guest time");
	advance(1);
	CHECK(take(v0) == 0xec && guest_rdmsr(v0, MSR_TSCD) == 0, "it fires and reads 0 then");
	v0->tsc_mul = 3ull << 46; /* three quarters */
	lapic_msr_write(v0, MSR_TSCD, vcpu_tsc(v0, fake_tsc) + 1500, false);
	advance(999);
	CHECK(take(v0) == -1, "and in its scale");
	advance(1);
	CHECK(take(v0) == 0xec, "neither late nor early");
	lapic_msr_write(v0, MSR_TSCD, ~0ull, false);
	advance(1000000);
	CHECK(take(v0) == -1, "a deadline that does not fit is far away");
	v0->tsc_mul = 0;
	lapic_msr_write(v0, MSR_TSCD, 1, false);
	CHECK(take(v0) == 0xec && guest_rdmsr(v0, MSR_TSCD) == 0,
	      "a deadline in the past fires at once");
	lapic_msr_write(v0, MSR_TSCD, ~0ull, false);
	advance(10000000000);
	CHECK(take(v0) == -1, "the furthest deadline does not fire");
	lapic_msr_write(v0, MSR_TSCD, fake_tsc + v0->tsc_offset + 2000, false);
	v0->tsc_offset += 1000;
	lapic_tsc_changed(v0);
	advance(500);
	CHECK(take(v0) == 0xec, "a change of the guest's TSC moves the deadline");
	lapic_msr_write(v0, MSR_TSCD, fake_tsc + v0->tsc_offset + 2000, false);
	lapic_msr_write(v0, MSR_TSCD, 0, false);
	advance(5000);
	CHECK(take(v0) == -1, "0 disarms");
	lapic_msr_write(v0, MSR_TSCD, fake_tsc + v0->tsc_offset + 2000, false);
	wr(v0, LVT_T, ONE_SHOT);
	CHECK(guest_rdmsr(v0, MSR_TSCD) == 0, "leaving TSC-deadline mode disarms");
	wr(v0, TMICT, 100);
	lapic_reset(v0, true);
	wr(v0, SVR, 0x1ff);
	advance(1000);
	CHECK(take(v0) == -1, "INIT stops the timer");
	lapic_destroy(v0);
}

/* Where the timer fires that is set now to so many us. */
static u64 fires_at(struct vcpu *v, u32 us)
{
	wr(v, LVT_T, ONE_SHOT);
	wr(v, TDCR, 0xb);
	wr(v, TMICT, us * 1000);
	return v->lapic.timer.deadline;
}

static void test_slack(void)
{
	struct vcpu *const v1 = &fake_vcpu[1];
	u64 from, a, b, c, slack;

	fake_reset(NULL);
	enable_all(false);
	slack = ns_to_tsc(100000);
	from = rdtsc();
	a = fires_at(v0, 25010) - from;
	b = fires_at(v1, 25040) - from;
	c = fires_at(v1, 25130) - from;
	CHECK(a == b || c == b, "far timers of two guests fire together: %lu, %lu, %lu", a, b, c);
	CHECK(a >= ns_to_tsc(25010000) && a < ns_to_tsc(25010000) + slack &&
		  b >= ns_to_tsc(25040000) && b < ns_to_tsc(25040000) + slack,
	      "never early, and less than 100 us late");
	fires_at(v0, 25010);
	advance(25009000);
	CHECK(take(v0) == -1, "the guest has none before its time");
	advance(1010);
	CHECK(rd(v0, TMCCT) && take(v0) == -1,
	      "within its slack it has not ended: who saves it there has it fire elsewhere");
	advance(101000);
	CHECK(take(v0) == 0xec, "but then");
	from = rdtsc();
	CHECK(fires_at(v0, 20000) == from + ns_to_tsc(20000000),
	      "one of 20 ms or less is in time, as a sleeper needs it");
	v0->sched.weight = 88761;
	CHECK(fires_at(v0, 25010) == from + ns_to_tsc(25010000), "one of real time is");
	v0->sched.weight = SCHED_WEIGHT_DEFAULT;
	v0->sched.seat.need = 1;
	CHECK(fires_at(v0, 25010) == from + ns_to_tsc(25010000), "and who was promised a CPU");
	v0->sched.seat.need = 0;
	v0->vm->is_dom0 = true;
	CHECK(fires_at(v0, 25010) == from + ns_to_tsc(25010000), "and dom0");
	v0->vm->is_dom0 = false;
	CHECK(fires_at(v0, 25010) != from + ns_to_tsc(25010000), "no other");
	lapic_destroy(v0);
	lapic_destroy(v1);
}

/* A cycle that is not 1 ns */
static void test_bus(void)
{
	start_timer(ONE_SHOT);
	v0->vm->bus_ns = 40;
	wr(v0, TMICT, 1000);
	advance(4000);
	CHECK(rd(v0, TMCCT) == 900 && take(v0) == -1, "a count takes as long as the VMM wants");
	advance(36000);
	CHECK(take(v0) == 0xec && !rd(v0, TMCCT), "and so many of them");
	wr(v0, TDCR, 0xa);
	wr(v0, TMICT, 10);
	advance(128 * 40 * 9);
	CHECK(rd(v0, TMCCT) == 1 && take(v0) == -1, "also with a divisor");
	advance(128 * 40);
	CHECK(take(v0) == 0xec, "to the end");
	v0->vm->bus_ns = LAPIC_BUS_NS_MAX;
	wr(v0, TMICT, ~0u);
	advance(1u << 31);
	CHECK(take(v0) == -1 && rd(v0, TMCCT) == ~0u, "the longest lasts for ever");
	wr(v0, TMICT, 0);
	v0->vm->bus_ns = 1;
}

int main(void)
{
	test_slack();
	test_timer_one_shot();
	test_timer_periodic();
	test_timer_off();
	test_timer_modes();
	test_lead();
	test_deadline();
	test_bus();
	return test_end();
}
