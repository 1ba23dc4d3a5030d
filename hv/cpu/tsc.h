/* SPDX-License-Identifier: GPL-2.0-only */
/* All CPUs' TSCs are to be one clock: they are compared when a CPU comes up, and moved. */
#pragma once

#include "hv/lib/percpu.h"

/*
 * All CPUs' TSCs are one clock of constant rate. Set while CPUs come up; once it is not so it stays
 * so, but may cease to be so after a sleep.
 */
extern bool tsc_stable;

/*
 * On each CPU when it comes up, before its first timer, and again after a sleep: the boot CPU
 * notes what holds for it, another's TSC is made its. SDM "IA32_TSC_ADJUST Register Support"
 */
void tsc_init_cpu(void);
/* The boot CPU's part of that: where it waits for c, which is in tsc_init_cpu(). */
void tsc_look(struct cpu *c);
/* And when c has come: what c has found holds for all. One that has been given up tells nobody. */
void tsc_join(const struct cpu *c);
/* When all are there: say in a line how many were moved, if any were, since the last call. */
void tsc_tell(void);
