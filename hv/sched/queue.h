/* SPDX-License-Identifier: GPL-2.0-only */
/* Doubly linked lists of scheduling units, for inboxes and policies. */
#pragma once

#include "hv/sched/sched.h"

struct sched_queue {
	struct sched_unit *head, *tail;
	u32 count;
};

/* Insert behind pos; NULL = at the head. */
static inline void queue_insert(struct sched_queue *q, struct sched_unit *pos, struct sched_unit *u)
{
	u->prev = pos;
	u->next = pos ? pos->next : q->head;
	*(pos ? &pos->next : &q->head) = u;
	*(u->next ? &u->next->prev : &q->tail) = u;
	q->count++;
}

static inline void queue_remove(struct sched_queue *q, struct sched_unit *u)
{
	*(u->prev ? &u->prev->next : &q->head) = u->next;
	*(u->next ? &u->next->prev : &q->tail) = u->prev;
	u->next = u->prev = NULL;
	q->count--;
}

static inline struct sched_unit *queue_take(struct sched_queue *q)
{
	struct sched_unit *u = q->head;

	if (u)
		queue_remove(q, u);
	return u;
}

/*
 * The unit that may go to that CPU and ran most of late, so that turns on the less busy CPU go
 * round.
 */
static inline struct sched_unit *queue_movable(const struct sched_queue *q, u32 cpu)
{
	struct sched_unit *u, *best = NULL;

	for (u = q->head; u; u = u->next)
		if (!u->pinned && (READ_ONCE(u->affinity) & BIT(cpu)) &&
		    (!best || u->recent > best->recent))
			best = u;
	return best;
}
