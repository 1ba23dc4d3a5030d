/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a CPU sleeps that has nothing to run: by HLT, or by MWAIT as deep as pays for the time until
 * it is needed again, and what it then needs to be woken. SDM "MONITOR/MWAIT Address Range
 * Determination", "Waiting for Sub C-States"; APM volume 3, "MWAIT". dom0 may know better, by
 * ACPI's _CST ("Processor Power State Control"): which states the firmware wants used, how long
 * they take to leave, and states of AMD's CPUs that are entered by reading a port.
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/percpu.h"

/* What the choice is made by: CPUID */
struct idle_facts {
	bool amd;
	u32 family, model;
	bool monitor;	/* it has MONITOR and MWAIT */
	u32 l5c, l5d;	/* leaf 5: ECX, EDX */
	bool apic_runs; /* in deep sleep the timer of the APIC does, too, and the TSC */
	u32 ports; /* AMD's: reading one of 8 ports from here on is to sleep; 0: there are none */
};

struct idle_plan {
	struct idle_table table; /* by CPUID; HLT always */
	bool stores;		 /* what MONITOR watches wakes reliably */
	bool deep;		 /* the APIC's timer and the TSC run on in deep states */
};

/* Pure functions. */
void idle_plan_make(const struct idle_facts *f, struct idle_plan *p);
/*
 * What comes of `count` states that _CST names, CORBEL_MAX_CST at most, in anything dom0 says. ->
 * bit mask of those that are used; 0: none, and *t is as it was.
 */
u32 idle_plan_take(const struct idle_facts *f, const struct corbel_cst *cst, u32 count,
		   struct idle_table *t);
/*
 * The deepest state that pays if the CPU is to sleep for `timer` us at most, and has lately slept
 * for `typical`.
 */
u32 idle_choose(const struct idle_table *t, u32 typical, u64 timer);
/* What is typical now, in us, after a sleep of so many. */
u32 idle_learn(u32 typical, u64 slept);

extern struct idle_plan idle; /* set once */
/* Boot CPU: find out, and say it in one line. misses: MONITOR misses stores here, QUIRK_MONITOR */
void idle_init(bool misses);
/*
 * dom0 says what _CST names for this CPU, and, the first time, for those that are told nothing. The
 * caller is alone. -> as idle_plan_take()
 */
u32 idle_tell(struct cpu *c, const struct corbel_cst *cst, u32 count);
/* Any CPU's states, as a bit mask. */
u32 idle_states(const struct cpu *c);
/*
 * This CPU sleeps until an interrupt, which it takes, or until another has idle_poke() called. It
 * does not if cpu->resched is set.
 */
void idle_sleep(struct cpu *c);
/* The CPU is to ask its scheduler. False: it needs an interrupt for that. */
static inline bool idle_poke(struct cpu *c)
{
	__atomic_store_n(&c->resched, true, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&c->watches, __ATOMIC_SEQ_CST);
}
