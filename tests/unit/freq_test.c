/* SPDX-License-Identifier: GPL-2.0-only */
/* The frequency that a CPU had while it did not sleep, by counters that not all have. */
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "test.h"

static int fake_rdmsr(u32 msr, u64 *val);
#define rdmsr_safe fake_rdmsr
#include "hv/cpu/freq.c"

static struct cpu me;
static u32 leaf6c;
static u64 aperf, mperf;
static bool perf_faults;
u64 tsc_khz = 1000000;

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	(void)subleaf;
	*a = leaf ? 0 : 0xd;
	*b = *d = 0;
	*c = leaf == 6 ? leaf6c : 0;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	*val = msr == 0xe8 ? aperf : mperf;
	return perf_faults ? -1 : 0;
}

static void test_clock(void)
{
	CHECK(freq_khz(3000, 2000, 2000000) == 3000000, "turbo: more than the TSC's");
	CHECK(freq_khz(1ull << 50, 1ull << 51, 2000000) == 1000000, "long counts do not overflow");
	CHECK(!freq_khz(5, 0, 2000000), "nothing counted, nothing known");
	CHECK(freq_khz(~0ull, 1, ~0u) == 0 || freq_khz(~0ull, 1, ~0u) == ~0u, "nor anything wild");
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
	test_clock();
	return test_end();
}
