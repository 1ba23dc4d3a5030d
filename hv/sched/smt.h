/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Core scheduling: CPUs that share a core run units of one group (a VM, or dom0) at a time, or
 * idle. In hv/sched only, but sched_by_core().
 *
 * A core has an owner. Each of its CPUs picks among those units of the owner that wait for it, and
 * may start one when no other CPU of the core has one of another group: so a change of owner is
 * over when all have left. Whose turn it is, is told by how far units have got: the core is one
 * queue, in the order of virtual time, counted as between any CPUs (hv/sched/place.c).
 */
#pragma once

#include "hv/sched/policy.h"

struct sched_cpu;
struct smt_core;

/* No CPU has taken part yet; a millisecond has so many ticks. */
void smt_init(u64 ticks);
/* Two CPUs share that core; NULL: and need not care. */
struct smt_core *smt_join(u32 a, u32 b);
/*
 * The unit to start, which is on the CPU's queue: that one, which is on no queue and is put there,
 * or if it may not or is NULL one of the owner's. NULL: none may run here now. Then others may be
 * `leaving`, and the CPU is poked when they have left.
 */
struct sched_unit *smt_first(struct sched_cpu *sc, struct sched_unit *preferred, u64 now);
/* The unit that runs here may go on: its group is the owner still. */
bool smt_may_keep(const struct sched_cpu *sc);
/* The unit is dom0's, and runs here for an event, or is to once others have left. */
bool smt_is_urgent(const struct sched_cpu *sc, const struct sched_unit *u);
/* The same of any CPU of the core: it will not be for long. */
bool smt_core_is_urgent(const struct sched_cpu *sc);
/* When a CPU that idles beside units that wait for it has to ask for the core. */
u64 smt_ask_at(const struct sched_cpu *sc, u64 now);
/*
 * How far the unit has got that of all of the core has got least. As in rq.floor, `lift`, which is
 * the same for all its CPUs, comes on top.
 */
u64 smt_level(const struct smt_core *core);
/* Nobody has run here: those who come are not behind others of the core. */
void smt_catch_up(struct sched_cpu *sc);
/* Could the unit run there, beside what the core's other CPUs run? */
bool smt_fits(u32 cpu, const struct sched_unit *u);
/* CPUs where it could not are taken out of the set. */
void smt_keep_fitting(struct corbel_cpus *set, const struct sched_unit *u);
/*
 * One group has the cores of both CPUs, and both have been in this state for a while: others had
 * one core if its unit that runs on the second CPU came to the first, which idles. Never both ways.
 */
bool smt_would_pair(u32 idle, u32 busy, u64 now);
/* For each CPU of the set, all of its core are in it, or cores are not looked at. */
bool smt_is_whole(const struct corbel_cpus *set);
/* A policy that promises each unit a CPU, or a part of it, cannot be held to that. */
bool smt_can(const struct sched_ops *policy);
/* Others wait on this CPU than it has told the core. */
void smt_look(struct sched_cpu *sc, u64 now);
