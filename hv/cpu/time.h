/* SPDX-License-Identifier: GPL-2.0-only */
/* TSC time. Everything inside counts TSC ticks; nanoseconds at the borders. */
#pragma once

#include "hv/lib/types.h"

/* calibrated at boot (CPUID 0x15, KVM leaf, HPET, PM timer, PIT, CPUID 0x16, in this order) */
extern u64 tsc_khz;
extern u64 boot_tsc;	      /* TSC when the hypervisor started */
extern u64 wallclock_boot_ns; /* RTC at boot_tsc, ns since 1970 UTC */

void time_init(void);

#ifdef HV_HOST_TEST
u64 rdtsc(void); /* tests/unit/host.c has a weak one that runs; a test may have its own */
#else
static inline u64 rdtsc(void)
{
	u64 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return hi << 32 | lo;
}
#endif

u64 tsc_to_ns(u64 ticks);
u64 ns_to_tsc(u64 ns);
/*
 * A sleep, in which TSCs may start again or stand still. On the boot CPU before it, and behind it,
 * first of all: by how much has each CPU's TSC to go forward, so that it is as if it had run on?
 * The real-time clock tells, in seconds; a TSC that has run on is left alone.
 */
void time_sleep(void);
void time_wake(void);
/* On each CPU behind that: its TSC goes forward. Ends in panic() if it does not. */
void time_wake_cpu(void);
/* Pure, for the above: TSC before and now, and for how long it has been. Ticks. */
u64 time_owed(u64 before, u64 now, u64 slept_ns);
/* Busy-wait, for boot code. */
void udelay(u64 us);
