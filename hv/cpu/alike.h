/* SPDX-License-Identifier: GPL-2.0-only */
/* The features of CPUs, which all are to have that the boot CPU has. */
#pragma once

#include "hv/lib/types.h"

enum cpuid_reg { EAX, EBX, ECX, EDX };

/* A word of features, and what of it may be shown when the CPU has it. */
struct cpuid_word {
	u32 leaf, sub, reg, allow;
	u32 force; /* ours, whatever the CPU has */
	u32 dom0;  /* what dom0 may see besides: it drives the machine */
	u32 own;   /* what the hypervisor itself goes by besides what is shown */
};
#define CPUID_WORDS 16
extern const struct cpuid_word cpuid_words[CPUID_WORDS];

/*
 * On each CPU, before it uses any of them: what the boot CPU has, which is the first, and what is
 * used or shown, another has to have, too; it may have more. 0, or -ENODEV and a line.
 */
int alike_check(void);
