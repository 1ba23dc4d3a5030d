/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/seat.h"
#include "hv/lib/string.h"
#include "hv/sched/place.h"

/* Of a CPU, beside dom0's share: for what the hypervisor itself does there. */
#define SLACK (SEAT_WHOLE / 20)

static u32 taken[MAX_CPUS];

void seat_init(void)
{
	memset(taken, 0, sizeof(taken));
}

static u32 room_of(u32 cpu)
{
	u32 room = SEAT_WHOLE - SLACK;

	return place_home(cpu) ? room - sched_pinned_percent * (SEAT_WHOLE / 100) : room;
}

static void give_seat(struct sched_unit *u, struct sched_seat s)
{
	taken[s.cpu] += s.need;
	u->seat = s;
}

void seat_leave(struct sched_unit *u)
{
	BUG_ON(taken[u->seat.cpu] < u->seat.need);
	taken[u->seat.cpu] -= u->seat.need;
	u->seat = (struct sched_seat){0};
}

void seat_lift(struct sched_unit *u)
{
	ASSERT_HELD(&sched_set_up);
	u->seat_was = u->seat;
	u->seat_changes = true;
	seat_leave(u);
}

static bool take_seat(struct sched_unit *u, const struct sched_ops *policy, u32 cpu)
{
	u32 room = room_of(cpu), need = policy->need(u, room);
	bool fits = taken[cpu] + need <= room;

	if (fits)
		give_seat(u, (struct sched_seat){.cpu = cpu, .need = need});
	return fits;
}

/* On one of these CPUs, if possible where it was, else the first that has room. */
static bool find_seat(struct sched_unit *u, const struct sched_ops *policy,
		      const struct corbel_cpus *cpus)
{
	const struct sched_seat *was = &u->seat_was;

	if (was->need && cpus_has(cpus, was->cpu) && take_seat(u, policy, was->cpu))
		return true;
	FOR_EACH_CPU(cpu, cpus)
		if (take_seat(u, policy, cpu))
			return true;
	return false;
}

static bool find_best(struct sched_unit *u, const struct sched_ops *policy,
		      const struct corbel_cpus *cpus)
{
	struct corbel_cpus liked;

	u->seat_changes = true;
	return (cpus_and(&liked, cpus, &u->affinity) && find_seat(u, policy, &liked)) ||
	       find_seat(u, policy, cpus);
}

static bool has_seat(const struct sched_unit *u, const struct corbel_cpus *cpus)
{
	return u->seat.need && cpus_has(cpus, u->seat.cpu);
}

/* What has changed stays so, or nothing has. */
static void settle_seat(struct sched_unit *u, bool stays)
{
	if (u->seat_changes && !stays) {
		seat_leave(u);
		give_seat(u, u->seat_was);
	}
	u->seat_was = (struct sched_seat){0};
	u->seat_changes = false;
}

#define FOR_EACH_UNIT(u, p)                                                                        \
	for (struct sched_group *g = (p)->groups; g; g = g->next)                                  \
		for (struct sched_unit *u = g->members; u; u = u->sibling)

bool seat_all(const struct cpupool *p, const struct corbel_cpus *cpus)
{
	bool found = true;

	ASSERT_HELD(&sched_set_up);
	FOR_EACH_UNIT(u, p)
		if (u->seat.need && !has_seat(u, cpus))
			seat_lift(u);
	if (p->policy->need)
		FOR_EACH_UNIT(u, p)
			found = found && (has_seat(u, cpus) || find_best(u, p->policy, cpus));
	FOR_EACH_UNIT(u, p)
		settle_seat(u, found);
	return found;
}
