/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/freq.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/lib/x86.h"

u32 freq_khz(u64 aperf, u64 mperf, u32 tsc_khz)
{
	for (; (aperf | mperf) >> 32; aperf >>= 1)
		mperf >>= 1;
	return mperf ? MIN(aperf * tsc_khz / mperf, 0xffffffffull) : 0;
}

void freq_look(struct cpu *c)
{
	u64 aperf, mperf;

	WRITE_ONCE(c->freq.wanted, false);
	if (!(cpuid_read(6, 0).c & CPUID_6C_APERF) || rdmsr_safe(MSR_APERF, &aperf) ||
	    rdmsr_safe(MSR_MPERF, &mperf))
		return;
	/* they begin again behind a sleep of the machine */
	if (aperf >= c->freq.aperf && mperf > c->freq.mperf)
		WRITE_ONCE(c->freq.khz,
			   freq_khz(aperf - c->freq.aperf, mperf - c->freq.mperf, tsc_khz));
	c->freq.aperf = aperf;
	c->freq.mperf = mperf;
}
