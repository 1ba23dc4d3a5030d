/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vCPU scheduler: core (states, queues, wake-ups) and policies (const ops tables, pure, time is a parameter).
 *
 * Rules. (1) Only CPU c touches c's run queue. Remote wakes go through c's inbox (LOCK_SCHED) + smp_kick(). (2) A unit is
 * on at most one queue or inbox. (3) A wake is never lost: one that comes between sched_next() and sched_block() makes
 * sched_block() fail.
 */
#ifndef HV_SCHED_SCHED_H
#define HV_SCHED_SCHED_H

#include "../types.h"

#define SCHED_WEIGHT_DEFAULT 1024 /* nice 0, as in Linux */

enum sched_state { SCHED_BLOCKED, SCHED_QUEUED, SCHED_RUNNING };

struct sched_unit { /* embedded in struct vcpu */
	u32 state;    /* enum sched_state; by the CPU it is on */
	u32 wake;     /* atomic: a wake came */
	u32 cpu;      /* where it is, or last was, queued or running */
	u32 weight;   /* 1..65536 */
	u32 cap;      /* percent of one CPU, 0 = none */
	bool boost;   /* woken by an event, not yet run */
	bool pinned;  /* dom0: never moves */
	u64 affinity; /* bit mask of CPUs, not 0 */
	u64 vruntime; /* policy's */
	u64 runtime;  /* ticks run in all */
	u64 steal;    /* ticks waited while runnable */
	u64 since;    /* ticks: when the state began */
	struct sched_unit *next, *prev; /* policy's queue, or inbox */
	u64 policy[4];
};

struct sched_rq; /* policy's queue of one CPU */

struct sched_ops {
	const char *name;
	size_t rq_size;
	void (*rq_init)(struct sched_rq *rq, u32 cpu);
	void (*enqueue)(struct sched_rq *rq, struct sched_unit *u, u64 now, bool wakeup);
	void (*dequeue)(struct sched_rq *rq, struct sched_unit *u, u64 now);
	struct sched_unit *(*pick)(struct sched_rq *rq, u64 now); /* removes it from the queue; NULL = idle */
	u64 (*slice)(struct sched_rq *rq, struct sched_unit *u);   /* ticks it may run now */
	void (*charge)(struct sched_rq *rq, struct sched_unit *u, u64 ran);
	bool (*preempts)(struct sched_rq *rq, struct sched_unit *woken, struct sched_unit *running, u64 now);
	u32 (*load)(struct sched_rq *rq);
	struct sched_unit *(*steal)(struct sched_rq *rq, u32 for_cpu, u64 now); /* give one away, NULL = none */
};
extern const struct sched_ops sched_fair; /* default */
extern const struct sched_ops sched_rr;

/* Choose the policy by name ("" = default); an unknown name is named in a warning and the default used. */
void sched_init(const char *policy);
void sched_init_cpu(void);
const char *sched_policy_name(void);

void sched_unit_init(struct sched_unit *u, u32 weight, u64 affinity, u32 cpu, bool pinned);
/* Make a blocked unit runnable. Any CPU, any time, idempotent. On a queued unit: boost it (it has an event to handle). */
void sched_wake(struct sched_unit *u);
/* The running unit of this CPU has nothing to do. False if a wake came since it was picked: it goes on running. */
bool sched_block(struct sched_unit *u);
/*
 * Ask on this CPU whom to run: puts back the unit that ran (NULL if none or it blocked), charges it, takes in the inbox,
 * picks. *slice_end is the TSC at which to ask again (the core arms a timer for it that sets cpu->resched).
 * NULL: idle until an interrupt.
 */
struct sched_unit *sched_next(struct sched_unit *ran, u64 now, u64 *slice_end);
/* Change parameters; a running or queued unit that may no longer be on its CPU moves by itself soon. */
int sched_set(struct sched_unit *u, u32 weight, u64 affinity, u32 cap);
/* Ticks run until now, also while running. */
u64 sched_runtime(const struct sched_unit *u, u64 now);
u64 sched_steal(const struct sched_unit *u, u64 now);

#endif
