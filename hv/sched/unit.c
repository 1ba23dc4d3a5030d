/* SPDX-License-Identifier: GPL-2.0-only */
/* What any CPU can ask and change of a unit, whatever that does meanwhile. */
#include "hv/sched/place.h"

bool sched_is_off(const struct sched_unit *u)
{
	return __atomic_load_n(&u->state, __ATOMIC_SEQ_CST) == SCHED_BLOCKED &&
	       !__atomic_load_n(&u->on_cpu, __ATOMIC_ACQUIRE);
}

int sched_set(struct sched_unit *u, u32 weight, u64 affinity, u32 cap)
{
	u64 online = affinity & READ_ONCE(sched_online);

	if (weight > SCHED_WEIGHT_MAX || cap > 100 || (affinity && !online))
		return -EINVAL;
	if (affinity && u->pinned)
		return -EPERM;
	if (weight)
		WRITE_ONCE(u->weight, weight);
	if (weight && !u->inside)
		WRITE_ONCE(u->share, weight);
	if (cap == 100)
		WRITE_ONCE(u->cap, 0);
	else if (cap)
		WRITE_ONCE(u->cap, cap);
	if (affinity)
		__atomic_store_n(&u->affinity, online, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&u->state, __ATOMIC_SEQ_CST) != SCHED_BLOCKED)
		place_poke(READ_ONCE(u->cpu));
	return 0;
}

/*
 * One of a unit's counters, which grows while the unit is in a state: a snapshot without its CPU's
 * lock.
 */
static u64 read_counter(const struct sched_unit *u, const u64 *total, u32 growing, u64 now)
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

u64 sched_runtime(const struct sched_unit *u, u64 now)
{
	return read_counter(u, &u->runtime, SCHED_RUNNING, now);
}

u64 sched_steal(const struct sched_unit *u, u64 now)
{
	return read_counter(u, &u->steal, SCHED_QUEUED, now);
}
