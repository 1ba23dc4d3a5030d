/* SPDX-License-Identifier: GPL-2.0-only */
/* The frequency that CPUs have. SDM "Hardware Feedback", IA32_APERF and IA32_MPERF. */
#pragma once

#include "hv/lib/percpu.h"

/* kHz, by what APERF and MPERF have counted; 0: not known. A pure function. */
u32 freq_khz(u64 aperf, u64 mperf, u32 tsc_khz);
/* On the CPU itself, which has been asked for it: c->freq.khz since the last time. */
void freq_look(struct cpu *c);
