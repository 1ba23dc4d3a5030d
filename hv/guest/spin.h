/* SPDX-License-Identifier: GPL-2.0-only */
/* Loops of PAUSE: a vCPU that waits for a lock makes way for who may have it. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * When a loop of PAUSE exits, for CPUs that count: in such loops an iteration takes less than GAP
 * ticks (VT-x), and two PAUSEs of one are less than THRESHOLD ticks apart (AMD-V); a lock that is
 * not had after WINDOW ticks, or COUNT times, is most likely held by one that waits for a CPU.
 */
#define SPIN_GAP       128
#define SPIN_WINDOW    4096
#define SPIN_THRESHOLD 128
#define SPIN_COUNT     3000

/*
 * The vCPU that runs here spins. Another of its VM that waits for a CPU is preferred: one that has
 * not given its own away like this, if there is one, else each in turn.
 */
void spin_make_way(struct vcpu *v);
/* Does another of its VM wait for a CPU? If none does it is of no use to know that v spins. */
bool spin_others_wait(const struct vcpu *v);
