/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a unit may run in a pool with deadlines: its budget in each of its periods, and then no more
 * till the next begins. In hv/sched only; called on the CPU the unit is on.
 */
#pragma once

#include "hv/sched/sched.h"

/* It has run. */
void deadline_charge(struct sched_unit *u, u64 ran);
/* Ticks of its budget that are left; a new period begins if it is time. */
u64 deadline_left(struct sched_unit *u, u64 now);
/* For a CPU to send it to: where it may run next, if its seat is on two. */
u32 deadline_cpu(const struct sched_unit *u, u64 now);
/* Of struct sched_budget, for that seat. */
u64 deadline_split(const struct sched_seat *s);
/* Of what a vCPU has that is told nothing else. */
u64 deadline_usual(void);
/* -EINVAL: out of the range in hv/abi_pool.h */
s64 deadline_terms(u32 period_us, u32 budget_us, u64 *terms);
