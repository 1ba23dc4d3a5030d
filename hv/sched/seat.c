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

/* The first of these CPUs that has room. */
static bool find_seat(struct sched_unit *u, const struct sched_ops *policy, u64 cpus)
{
	for (; cpus; cpus &= cpus - 1) {
		u32 cpu = __builtin_ctzll(cpus), room = room_of(cpu), need = policy->need(u, room);

		if (taken[cpu] + need <= room) {
			give_seat(u, (struct sched_seat){.cpu = cpu, .need = need});
			return true;
		}
	}
	return false;
}

/* If possible where it was. */
static bool find_best(struct sched_unit *u, const struct sched_ops *policy, u64 cpus)
{
	u64 was = cpus & (u->seat_was.need ? BIT(u->seat_was.cpu) : 0), liked = u->affinity;

	u->seat_changes = true;
	return find_seat(u, policy, was & liked) || find_seat(u, policy, cpus & liked) ||
	       find_seat(u, policy, was) || find_seat(u, policy, cpus);
}

static bool has_seat(const struct sched_unit *u, u64 cpus)
{
	return u->seat.need && (BIT(u->seat.cpu) & cpus);
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

bool seat_all(const struct cpupool *p, u64 cpus)
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
