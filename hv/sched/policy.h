/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the core of the scheduler and its policies: queues of units, and the table of a policy.
 */
#pragma once

#include "hv/lib/log.h"
#include "hv/sched/sched.h"

extern u64 sched_ms;				    /* ticks of a millisecond; set once */
extern struct corbel_cpus sched_online, sched_idle; /* atomic */

/* The slice of a unit for whose CPU nobody waits: whoever comes ends it. */
#define SLICE_ALONE_MS (3600u * 1000)

/* A share is a weight, finer: many may divide a small one. */
#define SHARE_OF(weight) ((weight)*64ull)
#define SHARE_DEFAULT	 SHARE_OF(SCHED_WEIGHT_DEFAULT)
/* the greatest: both weights are; a share has 32 bits */
_Static_assert(SHARE_OF(SCHED_WEIGHT_MAX) * SCHED_WEIGHT_MAX / SCHED_WEIGHT_DEFAULT >> 32 == 0,
	       "struct sched_unit");

/* The share of a unit, but dom0's, by its weight and what becomes of its group. Any CPU. */
void unit_weigh(struct sched_unit *u);

/* Weight, cap, affinity or pool of it are others now. The caller holds sched_set_up. */
void unit_changed(struct sched_unit *u);

#define GROUP_PARTS   64 /* of a unit that could run all the time */
#define GROUP_LOOK_MS 25

/* Into how many parts is the group's weight divided? A unit that sleeps needs less than one. */
void group_look(struct sched_group *g, u64 now);

/* The group shares no cap any more. The caller holds sched_set_up. */
void group_leave_caps(struct sched_group *g);

/*
 * What has passed since u->since goes into one of its counters, and is returned; the unit is in
 * that state from now on.
 */
u64 unit_account(struct sched_unit *u, u64 *total, enum sched_state state, u64 now);

/* The share of one of several, if its group has other parts by now. */
static inline void unit_weigh_again(struct sched_unit *u, u64 now)
{
	struct sched_group *g = u->group;

	if (now > READ_ONCE(g->looked_at) + GROUP_LOOK_MS * sched_ms)
		group_look(g, now);
	if (READ_ONCE(u->parts) != READ_ONCE(g->parts))
		unit_weigh(u);
}

#define UNIT_FRESH_MS 3

/*
 * dom0's unit has run for so long: what it tells of the threads in it holds from now on. It tells
 * of them only when one follows another, which can run for longer than it is fresh.
 */
static inline void unit_hear(struct sched_unit *u, u64 ran)
{
	u32 weight = READ_ONCE(u->inside->weight), fresh = READ_ONCE(u->inside->fresh);

	u->fresh_ran = fresh == u->fresh ? u->fresh_ran + ran : 0;
	u->fresh = fresh;
	u->is_fresh = fresh && u->fresh_ran < UNIT_FRESH_MS * sched_ms;
	weight = weight ? MIN(weight, SCHED_WEIGHT_MAX) : READ_ONCE(u->weight);
	WRITE_ONCE(u->share, SHARE_OF(weight));
}

/* Only dom0's units ever run so; dom0 is told. */
static inline void unit_set_out_of_turn(struct sched_unit *u, bool yes)
{
	if (u->out_of_turn == yes)
		return;
	u->out_of_turn = yes;
	if (u->inside)
		WRITE_ONCE(u->inside->out_of_turn, yes);
}

/*
 * A list of units: those that wait for a CPU, its inbox, or those parked there for their cap. Its
 * length, and whether there are any, is also read by who may not touch it, as a hint.
 */
struct sched_queue {
	struct sched_unit *head, *tail;
	u32 count;
};

/* Insert behind pos; NULL = at the head. */
static inline void queue_insert(struct sched_queue *q, struct sched_unit *pos, struct sched_unit *u)
{
	BUG_ON(u->prev || u->next);
	u->prev = pos;
	u->next = pos ? pos->next : q->head;
	WRITE_ONCE(*(pos ? &pos->next : &q->head), u);
	*(u->next ? &u->next->prev : &q->tail) = u;
	WRITE_ONCE(q->count, q->count + 1);
}

static inline void queue_remove(struct sched_queue *q, struct sched_unit *u)
{
	BUG_ON(!q->count);
	WRITE_ONCE(*(u->prev ? &u->prev->next : &q->head), u->next);
	*(u->next ? &u->next->prev : &q->tail) = u->prev;
	u->next = u->prev = NULL;
	WRITE_ONCE(q->count, q->count - 1);
}

/*
 * The units that wait for a CPU, in the order of the policy; the first is next. Of a long queue one
 * of LANE_EVERY is in the first lane, too, and one of LANE_EVERY of these in the second, by chance:
 * who looks for a place passes over most. A guest can wake a thousand vCPUs in one exit.
 */
#define LANE_EVERY 8
struct sched_rq {
	struct sched_queue queue;
	struct sched_unit *lane[SCHED_LANES]; /* the first of each */
	u64 dice;
	/*
	 * How far units get here: the ticks that one of the default weight has run, or would have.
	 * The policy counts it when it charges; it never falls. Other CPUs read it.
	 */
	u64 floor;
	u64 least; /* the least virtual runtime here, of late: hv/sched/fair.c */
	u64 load;  /* shares of all units that run, wait, or are sent here; atomic, any CPU */
};

static inline void lanes_leave(struct sched_rq *rq, struct sched_unit *u)
{
	while (unlikely(u->lanes)) {
		struct sched_unit **at = &rq->lane[--u->lanes];

		while (*at != u)
			at = &(*at)->lane[u->lanes];
		*at = u->lane[u->lanes];
	}
}

/* Of how many lanes it is to be. */
static inline u32 throw_dice(struct sched_rq *rq)
{
	u32 lanes = 0;

	if (likely(rq->queue.count < LANE_EVERY))
		return 0;
	rq->dice = rq->dice * 6364136223846793005 + 1442695040888963407;
	for (u64 rest = rq->dice >> 32; lanes < SCHED_LANES && !(rest % LANE_EVERY); lanes++)
		rest /= LANE_EVERY;
	return lanes;
}

/* Is the first one's place behind the other's? */
typedef bool sched_behind_fn(const struct sched_unit *a, const struct sched_unit *b);

/* Where is u's? It goes into its lanes. Returns who is before it. */
static inline struct sched_unit *find_place(struct sched_rq *rq, struct sched_unit *u,
					    sched_behind_fn *is_behind)
{
	struct sched_unit *pos = NULL, *next;

	for (u32 i = SCHED_LANES; i--;) {
		struct sched_unit **at = pos ? &pos->lane[i] : &rq->lane[i];

		for (; *at && !is_behind(*at, u); at = &pos->lane[i])
			pos = *at;
		if (i < u->lanes) {
			u->lane[i] = *at;
			*at = u;
		}
	}
	while ((next = pos ? pos->next : rq->queue.head) && !is_behind(next, u))
		pos = next;
	return pos;
}

/* Of those whose place is the same the last. A constant function: it is not called by a pointer. */
static inline __attribute__((always_inline)) void
rq_insert(struct sched_rq *rq, struct sched_unit *u, sched_behind_fn *is_behind)
{
	struct sched_unit *pos = rq->queue.tail;

	u->lanes = throw_dice(rq);
	if (unlikely(u->lanes) || (pos && is_behind(pos, u)))
		pos = find_place(rq, u, is_behind);
	queue_insert(&rq->queue, pos, u);
}

/* A policy. All is called on the CPU whose queue it is. */
struct sched_ops {
	char name[16];
	/* it is about to run without having been on the queue: as far as enqueue() would put it */
	void (*arrive)(struct sched_rq *rq, struct sched_unit *u);
	/* put it where it belongs; the core takes units off */
	void (*enqueue)(struct sched_rq *rq, struct sched_unit *u);
	/* ticks that u may run when it is picked now */
	u64 (*slice)(const struct sched_rq *rq, const struct sched_unit *u);
	void (*charge)(struct sched_rq *rq, struct sched_unit *u, u64 ran);
	/* has the running unit, charged up to running->since, to make way for the one woken? */
	bool (*preempts)(const struct sched_unit *woken, const struct sched_unit *running, u64 now);
	/* may dom0's unit, which waits and has an event, go before those whose turn it is? */
	bool (*urgent)(const struct sched_rq *rq, const struct sched_unit *u);
	/*
	 * how much of a CPU with so much room its seat takes (hv/sched/seat.h), also beside those
	 * that have only a part of theirs there; NULL: no seats
	 */
	u32 (*need)(const struct sched_unit *u, u32 room, bool beside);
	bool
	    in_order; /* nobody runs before those in front of him, also not for who waits for him */
};
extern const struct sched_ops sched_fair; /* default */
extern const struct sched_ops sched_rr;
extern const struct sched_ops sched_deadline;
extern const struct sched_ops sched_null;

extern u32 sched_pinned_percent; /* as set by sched_set_pinned_share() */
