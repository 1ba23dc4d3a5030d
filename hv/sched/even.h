/* SPDX-License-Identifier: GPL-2.0-only */
/* How far units get on one CPU, compared with others. In hv/sched only. */
#pragma once

#include "hv/sched/policy.h"

struct sched_cpu;

/* What is to run there, and on all CPUs with which it takes turns. */
u64 even_load_around(const struct sched_cpu *sc);
/* May the unit get on faster on the first? By what is to run there, or else by how far units got.
 */
bool even_is_better(const struct sched_cpu *a, const struct sched_cpu *b, u64 now);
/* How far one CPU is ahead of another, in virtual ticks; what is more than `most` is forgotten. */
s64 even_lead(const struct sched_cpu *ahead, struct sched_cpu *behind, s64 most, u64 now);
/*
 * Of those that wait here one for a CPU on which units get on faster, which goes into *cpu. NULL:
 * none, or it is not yet time to look again.
 */
struct sched_unit *even_pick(struct sched_cpu *sc, u32 *cpu, u64 now);
/*
 * The unit goes there: it is as far there as it was, and so behind others. But on a core it need
 * not wait for what it has got further elsewhere, where fewer wanted to run.
 */
void even_join(const struct sched_cpu *sc, struct sched_unit *u, struct sched_cpu *to);
/*
 * A unit has got far ahead of others on its core, where it ran beside another of its group: it need
 * not wait for that.
 */
void even_forgive(const struct sched_cpu *sc, struct sched_unit *u);
