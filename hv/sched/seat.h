/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Seats: a pool whose policy promises a vCPU something ties it to a CPU that has as much left: all
 * of it (null), or budget / period (deadline). In hv/sched only, under sched_set_up.
 */
#pragma once

#include "hv/sched/cpupool.h"
#include "hv/sched/policy.h"

#define SEAT_WHOLE 1000000u /* a CPU, in the unit of sched_seat.need */

/*
 * Percent of a CPU where dom0 has a vCPU that are promised to that: not its share in fair pools, as
 * all that is not promised is its own as well.
 */
static inline u32 seat_of_dom0(void)
{
	return MIN(sched_pinned_percent, 5u);
}
/* A unit of the pool gives up its seat; it has another, or this one again, by seat_all(). */
void seat_lift(struct sched_unit *u);
/*
 * Each unit of the pool's VMs has a seat on one of the CPUs, if its policy has any: who has one
 * there keeps it, others get one where there is room, first on CPUs of their affinity. If there is
 * none, all are seated anew, and whose seat is elsewhere then goes there; in the end with seats
 * that are on two CPUs (deadline). False: somebody finds none nevertheless, and all is as before,
 * also for who was lifted since.
 */
bool seat_all(const struct cpupool *p, const struct corbel_cpus *cpus);
/* The unit goes. */
void seat_leave(struct sched_unit *u);
/* Nobody sits anywhere. */
void seat_init(void);
