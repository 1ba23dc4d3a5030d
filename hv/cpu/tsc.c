/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/tsc.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"

#define LOOKS	   1000u /* some 100 us */
#define LOOKS_BOOT 100u	 /* of the boot CPU meanwhile, at least */
#define LOOKS_LONG 100u	 /* so many times as long the boot CPU may be away meanwhile */
#define TRIES	   (TSC_ROUNDS / 2)

#define KVM_CLOCKSOURCE_STABLE BIT(24) /* KVM_FEATURE_CLOCKSOURCE_STABLE_BIT */

bool tsc_stable;

static bool is_promised, has_adjust;
static u64 boot_adjust; /* the boot CPU's TSC_ADJUST */
static u32 moved;	/* CPUs, and the furthest: what tsc_tell() tells */
static u64 moved_by;

static bool one_clock_promised(void)
{
	if (cpuid_read(0x80000007, 0).d & CPUID_X7D_INVARIANT_TSC)
		return true;
	if (cpu_runs_in(IN_KVM))
		return cpuid_read(0x40000001, 0).a & KVM_CLOCKSOURCE_STABLE;
	return cpu_runs_in(IN_TCG); /* which derives all TSCs from its own clock */
}

/* The boot CPU, or c itself, which are compared */
static void look_once(struct cpu *c)
{
	u32 at = __atomic_load_n(&c->tsc.at, __ATOMIC_ACQUIRE), me = this_cpu() == c;
	struct tsc_round *r = &c->tsc.rounds[at % TSC_ROUNDS];
	u64 before = __atomic_load_n(&r->seen, __ATOMIC_ACQUIRE), now;

	__asm__ volatile("lfence" : : : "memory"); /* RDTSC waits for nothing by itself */
	now = rdtsc();
	if (before > now && before - now > READ_ONCE(r->behind[me]))
		WRITE_ONCE(r->behind[me], before - now);
	while (before < now && !__atomic_compare_exchange_n(&r->seen, &before, now, false,
							    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
	WRITE_ONCE(r->looks[me], r->looks[me] + 1);
}

/* Many at a time, for other CPUs of an emulator run only meanwhile. */
void tsc_look(struct cpu *c)
{
	for (u32 i = 0; i < LOOKS_BOOT; i++)
		look_once(c);
	cpu_relax();
}

/* By how much is this CPU's clock ahead of the boot CPU's, as far as it can be seen? */
static u64 measure_lead(void)
{
	struct cpu *c = this_cpu();
	u32 next = c->tsc.at + 1;
	struct tsc_round *r = &c->tsc.rounds[next % TSC_ROUNDS];

	*r = (struct tsc_round){0};
	__atomic_store_n(&c->tsc.at, next, __ATOMIC_RELEASE);
	for (u32 i = 0; i < LOOKS * LOOKS_LONG; i++) {
		if (i >= LOOKS && READ_ONCE(r->looks[0]) >= LOOKS_BOOT)
			break;
		if (i >= LOOKS)
			cpu_relax();
		look_once(c);
	}
	if (READ_ONCE(r->behind[0]))
		return r->behind[0];
	return -r->behind[1];
}

/* What the firmware has moved one CPU's TSC by it has to move all by. By how much: this one's. */
static u64 follow_adjust(void)
{
	u64 adjust;

	if (!has_adjust || rdmsr_safe(MSR_TSC_ADJUST, &adjust) || adjust == boot_adjust)
		return 0;
	return wrmsr_safe(MSR_TSC_ADJUST, boot_adjust) ? 0 : boot_adjust - adjust;
}

/*
 * Without TSC_ADJUST the time that the write itself takes is lost; what has been lost by the last
 * one is the caller's to add.
 */
static void move_tsc(u64 by, u64 lost)
{
	u64 adjust;

	if (has_adjust && !rdmsr_safe(MSR_TSC_ADJUST, &adjust))
		wrmsr_safe(MSR_TSC_ADJUST, adjust + by);
	else
		wrmsr_safe(MSR_TSC, rdtsc() + by + lost);
}

static void init_boot_cpu(void)
{
	static bool known;

	if (!known)
		tsc_stable = is_promised = one_clock_promised();
	known = true;
	has_adjust =
	    cpuid_read(7, 0).b & CPUID_7B_TSC_ADJUST && !rdmsr_safe(MSR_TSC_ADJUST, &boot_adjust);
}

void tsc_init_cpu(void)
{
	struct cpu *c = this_cpu();
	u64 by, lead, lost = 0;

	if (!c->index) {
		init_boot_cpu();
		return;
	}
	by = follow_adjust();
	lead = measure_lead();
	by = by ? by : lead;
	for (u32 i = 0; i < TRIES && lead && is_promised; i++) {
		move_tsc(-lead, lost);
		lead = measure_lead();
		lost -= lead;
	}
	c->tsc.lead = lead;
	c->tsc.moved = by;
}

void tsc_join(const struct cpu *c)
{
	u64 by = c->tsc.moved, lead = c->tsc.lead;

	if (lead && tsc_stable)
		log_warn("the TSCs of CPU %u and of the boot CPU are %lu ticks apart: guests' "
			 "clocks are not marked stable",
			 c->index, MIN(lead, -lead));
	tsc_stable &= !lead;
	if (by && !lead) {
		moved++;
		moved_by = MAX(moved_by, MIN(by, -by));
	}
}

void tsc_tell(void)
{
	if (moved)
		log_info("TSC: CPUs that were not as the boot CPU, by up to %lu ticks, and are "
			 "now: %u",
			 moved_by, moved);
	moved = 0;
	moved_by = 0;
}
