/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How CPUs sleep that have nothing to run: all that they sleep is counted by state, where the CPU
 * has MWAIT a store wakes them and no interrupt, and who idles does not count as running. And what
 * dom0 says of _CST's states, of which only those are used that the CPU has.
 */
#include "guest.h"

#define ROUNDS	 50
#define SLACK_US 50000 /* a sleep that began before, or goes on */

/* One page each, as CORBEL_HC_STAT fills it */
static union {
	struct corbel_cpu_stat s;
	u8 page[4096];
} before __attribute__((aligned(4096))), after __attribute__((aligned(4096)));

static u64 sum(const uint64_t *of)
{
	u64 all = 0;

	for (u32 i = 0; i < CORBEL_IDLE_STATES; i++)
		all += of[i];
	return all;
}

static void nothing(void *arg)
{
	(void)arg;
}

/* The hypervisor's number of the payload's CPU 1. */
static u32 find_cpu(void)
{
	for (u32 n = 0; hc(CORBEL_HC_STAT, CORBEL_STAT_CPU, n, &before, sizeof(before.s)) > 0; n++)
		if (before.s.apic_id == cpu_of(1)->apic_id)
			return n;
	return ~0u;
}

/* And of dom0's vCPU there. */
static s64 find_vcpu(u32 cpu)
{
	static struct corbel_vcpu_stat v __attribute__((aligned(4096)));

	for (u64 i = 0; hc(CORBEL_HC_STAT, CORBEL_STAT_VCPU, i, &v, sizeof(v)) > 0; i++)
		if (!v.vm && v.cpu == cpu)
			return v.id;
	return -1;
}

/* Wakes CPU 1 so many times, each time when it has gone to sleep; how many times it came. */
static u32 wake(u32 times)
{
	u32 came = 0;

	for (u32 i = 0; i < times; i++) {
		WAIT(false, 2);
		run_on(1, nothing, NULL);
		came += wait_for(1, 1000);
	}
	return came;
}

/* ---- what dom0 says ---- */

static struct corbel_cst cst[CORBEL_MAX_CST + 1] __attribute__((aligned(4096)));
static s64 said;

/* On the CPU that it is for */
static void say(void *count)
{
	said = hc(CORBEL_HC_IDLE, (u64)cst, (u64)count);
}

static s64 say_of_cpu1(u64 count)
{
	said = -1;
	run_on(1, say, (void *)count);
	wait_for(1, 1000);
	return said;
}

static void look(u32 cpu, struct corbel_cpu_stat *s)
{
	hc(CORBEL_HC_STAT, CORBEL_STAT_CPU, cpu, s, sizeof(*s));
}

/* Nothing of this is a state that the CPU has. */
static void check_refused(u32 cpu)
{
	static const struct corbel_cst wrong[] = {
	    {CORBEL_CST_MWAIT, 3, 0x7f, 1}, {CORBEL_CST_MWAIT, 3, 0xf0, 1},
	    {CORBEL_CST_MWAIT, 3, ~0u, 1},  {CORBEL_CST_PORT, 2, 0x60, 1},
	    {CORBEL_CST_PORT, 3, 0x3f8, 1}, {CORBEL_CST_PORT, 2, 0x10414, 1},
	    {CORBEL_CST_PORT, 2, ~0u, 1},   {~0u, 1, 0, 1},
	};
	u32 were = after.s.idle_states;

	_Static_assert(sizeof(wrong) == CORBEL_MAX_CST * sizeof(*cst), "as many as there can be");
	memcpy(cst, wrong, sizeof(wrong));
	say_of_cpu1(CORBEL_MAX_CST);
	report(!said, "of states that the CPU has not none is used (%lx)", said);
	look(cpu, &after.s);
	report(after.s.idle_states == were, "and it sleeps as before (%x)", after.s.idle_states);
	report(say_of_cpu1(0) == -EINVAL && say_of_cpu1(CORBEL_MAX_CST + 1) == -EINVAL &&
		   say_of_cpu1(BIT(32) | 1) == -EINVAL &&
		   hc(CORBEL_HC_IDLE, (u64)cst + 4090, 1) < 0 && hc(CORBEL_HC_IDLE, ~0ull, 1) < 0,
	       "none, too many, or what cannot be read is refused");
}

/* C1, and the deepest state by MWAIT, which takes no time. */
static void check_said(u32 cpu)
{
	u32 deepest = 63 - __builtin_clzll(after.s.idle_states), n = deepest > 2 ? deepest - 1 : 1,
	    states = deepest ? 3 | BIT(deepest) : 1;

	cst[0] = (struct corbel_cst){CORBEL_CST_HLT, 1, 0, 1};
	cst[1] = (struct corbel_cst){CORBEL_CST_MWAIT, 2, (n - 1) << 4 | (deepest == 2), 0};
	say_of_cpu1(2);
	report(said == (deepest ? 3 : 1), "those that it has are used (%lx)", said);
	look(cpu, &before.s);
	report(wake(ROUNDS) == ROUNDS, "and so it sleeps, and wakes up");
	look(cpu, &after.s);
	report(after.s.idle_states == states, "in no others (%x)", after.s.idle_states);
	report(after.s.sleeps[deepest] - before.s.sleeps[deepest] >= ROUNDS / 2,
	       "in state %u, for which every sleep is long enough (%lu times)", deepest,
	       after.s.sleeps[deepest] - before.s.sleeps[deepest]);
}

void test_idle(void)
{
	const struct corbel_cpu_stat *a = &after.s, *b = &before.s;
	u32 cpu = find_cpu(), came, used = 0;
	s64 vcpu = find_vcpu(cpu);
	u64 slept, us, ran;

	wake(1);
	report(hc(CORBEL_HC_STAT, CORBEL_STAT_CPU, cpu, &before, sizeof(*b)) == sizeof(*b),
	       "CPU %u tells how it sleeps", cpu);
	came = wake(ROUNDS);
	hc(CORBEL_HC_STAT, CORBEL_STAT_CPU, cpu, &after, sizeof(*a));
	slept = sum(a->sleeps) - sum(b->sleeps);
	us = (sum(a->sleep_ns) - sum(b->sleep_ns)) / 1000;
	for (u32 i = 0; i < CORBEL_IDLE_STATES; i++)
		used |= a->sleeps[i] ? BIT(i) : 0;
	note("states %x, woken %s, %u kHz", a->idle_states,
	     a->by_store ? "by stores" : "by interrupts", a->khz);
	report(came == ROUNDS, "a CPU that sleeps is woken %u times of %u", came, ROUNDS);
	report(slept >= ROUNDS, "it has slept as often (%lu)", slept);
	report(us && us <= (a->idle_ns - b->idle_ns) / 1000 + SLACK_US,
	       "no longer than it has idled (%lu of %lu us)", us, (a->idle_ns - b->idle_ns) / 1000);
	report(used && a->idle_states & 1 && !(used & ~a->idle_states),
	       "in states that it has (%x of %x)", used, a->idle_states);
	if (a->by_store)
		report(a->by_store - b->by_store >= ROUNDS * 4 / 5 && used & ~1u,
		       "ended by a store %lu times", a->by_store - b->by_store);
	else
		report(a->interrupts - b->interrupts >= ROUNDS, "ended by interrupts, %lu",
		       a->interrupts - b->interrupts);
	ran = vcpu_stat(vcpu)->runtime_ns;
	WAIT(false, 200);
	ran = vcpu_stat(vcpu)->runtime_ns - ran;
	report(ran < 20000000, "dom0's vCPU there does not count as running (%lu us of 200 ms)",
	       ran / 1000);
	look(cpu, &after.s);
	check_refused(cpu);
	check_said(cpu);
}
