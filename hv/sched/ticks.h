/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ticks that a unit has run and waited: written by the CPU it is on, read by any (unit->seq). In
 * hv/sched only.
 */
#pragma once

#include "hv/sched/sched.h"

/* What has passed since u->since goes into one of its counters; it is in that state from now on. */
static inline u64 account_ticks(struct sched_unit *u, u64 *total, enum sched_state state, u64 now)
{
	u64 passed = now > u->since ? now - u->since : 0;

	WRITE_ONCE(u->seq, u->seq + 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*total += passed;
	u->since += passed;
	WRITE_ONCE(u->state, state);
	__atomic_store_n(&u->seq, u->seq + 1, __ATOMIC_RELEASE);
	return passed;
}

/*
 * One of a unit's counters, which grows while the unit is in a state: a snapshot without its CPU's
 * lock.
 */
static inline u64 read_counter(const struct sched_unit *u, const u64 *total, u32 growing, u64 now)
{
	u64 value, since;
	u32 seq, state;

	do {
		seq = __atomic_load_n(&u->seq, __ATOMIC_ACQUIRE);
		value = READ_ONCE(*total);
		since = READ_ONCE(u->since);
		state = READ_ONCE(u->state);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while ((seq & 1) || seq != READ_ONCE(u->seq));
	if (state == growing && now > since)
		value += now - since;
	return value;
}
