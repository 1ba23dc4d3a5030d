/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Caps: a unit gets at most so much of a CPU in each window. What it ran too much is taken off the
 * next windows. In hv/sched only; where nothing else is said called on the CPU the unit is on.
 */
#pragma once

#include "hv/sched/policy.h"

/* It has run. */
void cap_charge(struct sched_unit *u, u64 ran);
/* Ticks the cap lets it run in the window around now; SCHED_NEVER: it has none. */
u64 cap_left(struct sched_unit *u, u64 now);
/* When a unit that has used up its cap may run again at the earliest. */
u64 cap_window_end(const struct sched_unit *u);
