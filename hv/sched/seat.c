/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/sched/seat.h"
#include "hv/lib/string.h"
#include "hv/sched/place.h"

/* Of a CPU, beside dom0's share: for what the hypervisor itself does there. */
#define SLACK	   (SEAT_WHOLE / 20)
#define MOST_TRIES 8
#define MOST_LOOKS 0x10000 /* for a place, in all tries: a millisecond, with interrupts off */
#define SIZE_STEPS 32
#define SIZES	   (16 * SIZE_STEPS)
_Static_assert(SEAT_WHOLE < BIT(20), "size_of()");

/* In two parts none is less. */
#define LEAST_SEAT (SEAT_WHOLE / 50)

static u32 taken[MAX_CPUS];
static u32 parts[MAX_CPUS]; /* of seats on two CPUs */

void seat_init(void)
{
	memset(taken, 0, sizeof(taken));
	memset(parts, 0, sizeof(parts));
}

static u32 room_of(u32 cpu)
{
	u32 room = SEAT_WHOLE - SLACK;

	return place_home(cpu) ? room - seat_of_dom0() * (SEAT_WHOLE / 100) : room;
}

static void give_seat(struct sched_unit *u, struct sched_seat s)
{
	taken[s.cpu] += s.need;
	taken[s.next] += s.rest;
	parts[s.cpu] += !!s.rest;
	parts[s.next] += !!s.rest;
	u->seat = s;
}

void seat_leave(struct sched_unit *u)
{
	struct sched_seat *s = &u->seat;

	BUG_ON(taken[s->cpu] < s->need || taken[s->next] < s->rest);
	taken[s->cpu] -= s->need;
	taken[s->next] -= s->rest;
	parts[s->cpu] -= !!s->rest;
	parts[s->next] -= !!s->rest;
	*s = (struct sched_seat){0};
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
	u32 room = room_of(cpu), need = policy->need(u, room, parts[cpu]);
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

/* Where the least is left over. */
static u32 tightest_of(const struct sched_unit *u, const struct sched_ops *policy,
		       const struct corbel_cpus *cpus)
{
	u32 least = SEAT_WHOLE, best = MAX_CPUS;

	FOR_EACH_CPU(cpu, cpus) {
		u32 room = room_of(cpu), want = taken[cpu] + policy->need(u, room, parts[cpu]);

		if (want <= room && room - want < least) {
			least = room - want;
			best = cpu;
		}
	}
	return best;
}

static bool find_tightest(struct sched_unit *u, const struct sched_ops *policy,
			  const struct corbel_cpus *cpus)
{
	struct corbel_cpus liked;
	u32 cpu = MAX_CPUS;

	if (cpus_and(&liked, cpus, &u->affinity))
		cpu = tightest_of(u, policy, &liked);
	if (cpu == MAX_CPUS)
		cpu = tightest_of(u, policy, cpus);
	return cpu < MAX_CPUS && take_seat(u, policy, cpu);
}

static bool has_seat(const struct sched_unit *u, const struct corbel_cpus *cpus)
{
	return u->seat.need && cpus_has(cpus, u->seat.cpu) &&
	       (!u->seat.rest || cpus_has(cpus, u->seat.next));
}

/* What has changed stays so, or nothing has. */
static void settle_seat(struct sched_unit *u, bool stays)
{
	bool moves =
	    u->seat_was.need && u->seat.need && memcmp(&u->seat, &u->seat_was, sizeof(u->seat));

	if (u->seat_changes && !stays) {
		seat_leave(u);
		give_seat(u, u->seat_was);
	}
	u->seat_was = (struct sched_seat){0};
	u->seat_changes = u->crowded = false;
	if (moves && stays)
		unit_changed(u);
}

#define FOR_EACH_UNIT(u, p)                                                                        \
	for (struct sched_group *g = (p)->groups; g; g = g->next)                                  \
		for (struct sched_unit *u = g->members; u; u = u->sibling)

static void lift_all(const struct cpupool *p)
{
	FOR_EACH_UNIT(u, p)
		if (u->seat_changes)
			seat_leave(u);
		else
			seat_lift(u);
}

/* Greater for more, and equal only for what differs by a thirty-second at most. */
static u32 size_of(u32 need)
{
	u32 shift = __builtin_clz(SIZE_STEPS) - __builtin_clz(need | SIZE_STEPS);

	return shift * SIZE_STEPS + (need >> shift);
}

/* Those of this kind, none of whom has a seat: the greatest first, and where most is taken. */
static bool pack_those(const struct cpupool *p, const struct corbel_cpus *cpus, bool crowded)
{
	static struct sched_unit *of_size[SIZES];

	ASSERT_HELD(&sched_set_up);
	memset(of_size, 0, sizeof(of_size));
	FOR_EACH_UNIT(u, p) {
		struct sched_unit **at = &of_size[size_of(p->policy->need(u, SEAT_WHOLE, false))];

		if (u->crowded != crowded)
			continue;
		u->as_large = *at;
		*at = u;
	}
	for (u32 i = SIZES; i--;)
		for (struct sched_unit *u = of_size[i]; u; u = u->as_large) {
			if (find_tightest(u, p->policy, cpus))
				continue;
			u->crowded = true;
			return false;
		}
	return true;
}

/* How often all of them may look at all of the CPUs. */
static u32 most_tries(const struct cpupool *p, const struct corbel_cpus *cpus)
{
	u32 looks = 0, on = 0;

	FOR_EACH_CPU(i, cpus)
		on++;
	FOR_EACH_UNIT(u, p)
		looks += on;
	return MIN(MOST_LOOKS / MAX(looks, 1u), MOST_TRIES);
}

/* Everybody may go elsewhere. Who then finds no seat comes before all others the next time. */
static bool pack_anew(const struct cpupool *p, const struct corbel_cpus *cpus)
{
	for (u32 tries = most_tries(p, cpus); tries--;) {
		lift_all(p);
		if (pack_those(p, cpus, true) && pack_those(p, cpus, false))
			return true;
	}
	return false;
}

/* On the CPU, or if there is less room with the rest on the next one. */
static bool share_seat(struct sched_unit *u, u32 need, u32 cpu, u32 next)
{
	u32 room = room_of(cpu) - taken[cpu], here = need;

	if (need > room) {
		if (MIN(room, need / 2) < LEAST_SEAT || next == MAX_CPUS)
			return false;
		here = MIN(room, need - LEAST_SEAT);
		if (need - here > room_of(next))
			return false;
	}
	next = need > here ? next : 0;
	give_seat(u,
		  (struct sched_seat){.cpu = cpu, .need = here, .next = next, .rest = need - here});
	return true;
}

/* One CPU after the other is filled, and who is not whole on the one is on two. */
static bool fill_in_turn(const struct cpupool *p, const struct corbel_cpus *cpus)
{
	u32 cpu = cpus_next(cpus, 0), next;

	if (p->policy != &sched_deadline)
		return false;
	lift_all(p);
	FOR_EACH_UNIT(u, p) {
		u32 need = p->policy->need(u, SEAT_WHOLE, true);

		for (; cpu < MAX_CPUS; cpu = next) {
			next = cpus_next(cpus, cpu + 1);
			if (share_seat(u, need, cpu, next))
				break;
		}
		if (cpu == MAX_CPUS)
			return false;
		if (u->seat.rest)
			cpu = u->seat.next;
	}
	return true;
}

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
	if (!found)
		found = pack_anew(p, cpus) || fill_in_turn(p, cpus);
	FOR_EACH_UNIT(u, p)
		settle_seat(u, found);
	return found;
}
