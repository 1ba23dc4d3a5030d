/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The vCPU scheduler: states, wake-ups, groups and caps here, which CPU a unit runs on in
 * hv/sched/place.h, who of those that wait there is next in policies (hv/sched/policy.h).
 *
 * Rules. (1) Only CPU c touches c's run queue. Remote wakes go through c's inbox (LOCK_SCHED) +
 * smp_kick(). (2) A unit is on at most one queue or inbox. (3) A wake is never lost: one that comes
 * between sched_next() and sched_block() makes sched_block() fail. (4) A unit that ran on c goes to
 * another CPU only after c has called sched_leave() for it.
 *
 * BLOCKED -> QUEUED is a compare-exchange of the one waker that wins, who owns the unit until it is
 * on a queue or inbox; all other changes are made by the CPU the unit is on.
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/lock.h"
#include "hv/lib/types.h"
#include "hv/sched/cpus.h"

#define SCHED_WEIGHT_DEFAULT  1024 /* nice 0, as in Linux */
#define SCHED_WEIGHT_MAX      CORBEL_MAX_WEIGHT
#define SCHED_WEIGHT_REALTIME CORBEL_REALTIME_WEIGHT
#define SCHED_CAP_MAX	      CORBEL_MAX_CAP
#define SCHED_NEVER	      (~0ull) /* *slice_end of sched_next(): no timer needed */

enum sched_state { SCHED_BLOCKED, SCHED_QUEUED, SCHED_RUNNING };

struct sched_rq; /* hv/sched/policy.h */
struct cpupool;

/* At most so much CPU time in each window: hv/sched/cap.h */
struct sched_cap {
	u32 percent; /* of one CPU, 0 = none; any CPU, by sched_set() or sched_group_set() */
	u64 start;   /* of the window */
	s64 used;    /* ticks run in it, and more than allowed before it */
};

/* That of all groups that name the id, together. */
struct sched_shared {
	struct lock lock; /* LOCK_GROUP: the cap */
	u32 users;	  /* 0: nobody's; this and the next under sched_set_up */
	u64 id;
	struct sched_cap cap;
};

/* What a unit may run in a pool with deadlines: hv/sched/deadline.h */
struct sched_budget {
	u64 terms;  /* period << 32 | budget, us; any CPU, by sched_set_budget() */
	u64 wanted; /* the same, while it is not known whether there is room; under sched_set_up */
	u64 split;  /* its seat, if on two CPUs: hv/sched/deadline.c; 0: one; any CPU */
	u64 deadline;
	s64 left; /* ticks that it may run until then */
};

/*
 * Its CPU, and how much of that is its own; need 0: none. The rest, if there is any, is on the
 * next. hv/sched/seat.h
 */
struct sched_seat {
	u64 rest : 20, need : 20, next : 12, cpu : 12;
};

/*
 * The units of a VM, which divide its weight: each has its own weight, times the group's in parts
 * of the default, divided by how many parts they need (group_look()). Embedded in struct vm.
 */
struct sched_group {
	struct lock lock; /* LOCK_GROUP: the list, the cap */
	u32 weight;	  /* 1..SCHED_WEIGHT_MAX; any CPU, by sched_group_set() */
	u32 runnable;	  /* units that run, or wait for a CPU; atomic */
	u32 parts;	  /* its weight is divided by; in GROUP_PARTS; any CPU reads it */
	u64 looked_at;	  /* when that was last found out; under sched_set_up */
	struct sched_cap cap;
	struct sched_shared *shared[CORBEL_CAP_LEVELS]; /* any CPU, by sched_group_share() */
	u64 terms; /* of units that join: struct sched_budget; under sched_set_up */
	struct sched_unit *members;
	struct cpupool *pool; /* hv/sched/cpupool.h; this and the next are written under its lock */
	struct sched_group *next;
};

#define SCHED_LANES 2

/*
 * Embedded in struct vcpu. Where nothing else is said only the CPU `cpu` writes a field, or, while
 * the unit is blocked, whoever has won it. Fields of sched_set() are read anew wherever they
 * matter.
 */
struct sched_unit {
	u32 state;    /* enum sched_state; atomic */
	u32 wake;     /* atomic, any CPU: a wake came */
	u32 on_cpu;   /* atomic: its registers may still be in the hardware of CPU `cpu` */
	u32 cpu;      /* where it is, or last was, queued or running; any CPU reads it */
	u32 weight;   /* 1..SCHED_WEIGHT_MAX, or of real time; any CPU, by sched_set() */
	u32 share;    /* the weight in effect, finer: SHARE_OF() in hv/sched/policy.h */
	u32 parts;    /* of its group's weight, of which one is its own; any CPU, as the share */
	bool divides; /* its group has others; any CPU, by sched_group_join() */
	bool counted; /* in group->runnable */
	bool capped;  /* it or its group has a cap, or a budget counts; any CPU, as the two */
	bool boost;   /* woken by an event, not yet run; atomic, any CPU */
	bool asked;   /* by one of its group, by an IPI, and not yet run; any CPU */
	bool pinned;  /* dom0: never moves; set once */
	bool on_rq;   /* on the run queue (not in an inbox, not parked for its cap) */
	bool slept;   /* since it was last on a run queue */
	bool napped;  /* since group_look() last looked; any CPU */
	bool counts;  /* its budget: it is in such a pool; any CPU, as capped */
	bool waits;   /* its budget is used up */
	bool crowded; /* found no seat, and has one before others; under sched_set_up */
	u32 load;     /* part of it in the load of CPU `cpu`: its share, or 0 if none */
	u32 seq;      /* odd while runtime, steal and since change; other CPUs read these so */
	struct corbel_cpus affinity; /* not empty; any CPU, by sched_set() */
	/* where it may run: of these its pool's, or if that has none of them all the pool's; any
	 * CPU */
	struct corbel_cpus allowed;
	u64 vruntime; /* the policy's */
	/* dom0's, with what dom0 tells of the threads in it; NULL: nothing. See sched_turn_over()
	 */
	struct corbel_load __shared *inside;
	union {
		u64 urgent;  /* dom0's; the policy's, of what it has run out of turn */
		u64 weighed; /* of others: here_weight() when they last got ahead */
	};
	bool out_of_turn;  /* it runs, and others were to come before it */
	u8 lanes;	   /* of the run queue that it is in; the policy's: struct sched_rq */
	bool seat_changes; /* under sched_set_up */
	bool is_fresh;	   /* a thread runs in it that has woken of late */
	/* what `inside` said when the unit was last charged, and the ticks run since */
	u32 fresh;
	u64 event_at; /* ticks: when it, a pinned one, last had an event while it ran; any CPU */
	u64 fresh_ran;
	/* the floor of the queue it was on, when it was last charged or taken off there */
	u64 floor;
	struct sched_rq *floor_rq;
	u64 runtime; /* ticks run in all */
	u64 steal;   /* ticks waited while runnable */
	u64 since;   /* ticks: when the state began, or when it was last charged */
	struct sched_unit *next, *prev;	      /* run queue, inbox (its lock) or parked */
	struct sched_unit *lane[SCHED_LANES]; /* the next in each */
	struct sched_cap cap;
	struct sched_group *group;  /* NULL: none */
	struct sched_unit *sibling; /* the next of the group */
	u64 had;		    /* what it had run when group_look() last looked */
	u64 used;		    /* what it has run of late, older looks counting less */
	struct sched_budget budget;
	struct sched_seat seat, seat_was; /* under sched_set_up, as is the next */
	struct sched_unit *as_large;	  /* while all are seated anew: the next of its size */
};

/*
 * What the run loop does when called out of sched_next(): u, which ran here last, may go to another
 * CPU, or another unit runs here next: save all of u that is still in this CPU's hardware. Not
 * called when a pinned unit idles. preempted: it would go on running, and has not given its CPU
 * away.
 */
typedef void sched_leave_fn(struct sched_unit *u, bool preempted);
/*
 * A pinned unit that has something to run gets at least so many percent of its CPU from the fair
 * policy, whatever weight others have. 1 to 90.
 */
void sched_set_pinned_share(u32 percent);
/*
 * Choose the policy of pool 0 by name ("" = default); an unknown name is named in a warning and the
 * default used. At most so many CPUs will take part.
 */
void sched_init(const char *policy, sched_leave_fn *leave, u32 most_cpus);
/*
 * CPUs that share a core run units of one group only at a time: hv/sched/smt.h. Between
 * sched_init() and sched_init_cpu()
 */
void sched_by_core(bool yes);
/* Ticks that the CPU has idled while units waited for its core, which was others'. Any CPU. */
u64 sched_forced(u32 cpu, u64 now);
/* How many cores do so. */
u32 sched_shared_cores(void);
/* On the boot CPU: that CPU, whose place is known, takes part from now on, in pool 0. */
void sched_init_cpu(struct cpu *c);
const char *sched_policy_name(void);
/* The CPUs that have nothing to run now; it changes all the time. */
const struct corbel_cpus *sched_idle_cpus(void);

/* affinity: NULL: all CPUs that are online, as if none of it is */
void sched_unit_init(struct sched_unit *u, u32 weight, const struct corbel_cpus *affinity, u32 cpu,
		     bool pinned);
/* A group without members, of the default weight, in pool 0; before it is freed it leaves its pool.
 */
void sched_group_init(struct sched_group *g);
void sched_group_exit(struct sched_group *g);
/*
 * A blocked unit becomes one of the group's, or is it no longer. Before it is freed it leaves.
 * -ENOSPC: in the group's pool each unit has a seat, and there is none for it
 */
int sched_group_join(struct sched_group *g, struct sched_unit *u);
void sched_group_leave(struct sched_unit *u);
/*
 * Make a blocked unit runnable. Any CPU, any time, idempotent. On a queued unit: boost it (it has
 * an event to handle). On a running unit only `wake` is set: whoever raised the event kicks the CPU
 * if the unit must see it in mid-run.
 */
void sched_wake(struct sched_unit *u);
/*
 * `from`, a dom0 unit running here, has made `to` runnable and expects to wait for it: as
 * sched_wake(to), but if `to` may run here it is picked next. `from` stays runnable and gets the
 * CPU back when `to` blocks, its slice ends, or `from` is woken. The pair shares one slice while
 * others wait, so handing to and fro starves nobody. Not if sched_wake(from) comes before
 * sched_next().
 */
void sched_yield_to(struct sched_unit *from, struct sched_unit *to);
/*
 * `from`, which runs here, cannot go on before `to`, which is queued, has run: what is left of
 * from's slice, and its place among those that wait, is for `to` if that waits for this CPU. On
 * another CPU `to` runs next if it is not further ahead of others than by a turn; that CPU is asked
 * at most each 0.1 ms. Nothing if `to` is not queued any more. For units of one VM only: `to` must
 * not leave its group while `from` runs.
 */
void sched_give_way(struct sched_unit *from, struct sched_unit *to);
/*
 * What has woken the unit running here until now counts no more. The caller looks for events then;
 * of one that the unit has not handled it says so by sched_wake(), and so do others of those that
 * come. When the unit has to wait it is boosted if there were any.
 */
void sched_seen(struct sched_unit *u);
/*
 * The running unit of this CPU has nothing to do. False if a wake came since it was picked: it goes
 * on running.
 */
bool sched_block(struct sched_unit *u);
/*
 * Ask on this CPU whom to run: puts back the unit that ran (NULL if none or it blocked), charges
 * it, takes in the inbox, picks. Clears cpu->resched. *slice_end is the TSC at which to ask again
 * (the caller arms a timer for it that sets cpu->resched), also when idle. NULL: idle until an
 * interrupt or cpu->resched.
 */
struct sched_unit *sched_next(struct sched_unit *ran, u64 now, u64 *slice_end);
/*
 * The unit that runs here, let in out of turn by an event, has done what was urgent. It keeps the
 * CPU for a moment, since it may hold a lock.
 */
void sched_turn_over(void);
/* Blocked and saved: no CPU uses the unit. It may be freed if nobody wakes it. */
bool sched_is_off(const struct sched_unit *u);
/*
 * Change parameters, 0 and NULL = leave as it is; cap 100 lifts the cap. A running or queued unit
 * that may no longer be on its CPU moves by itself soon. -EINVAL: out of range, or no CPU online is
 * in affinity. -EPERM: affinity of a pinned unit.
 */
int sched_set(struct sched_unit *u, u32 weight, const struct corbel_cpus *affinity, u32 cap);
/*
 * The same for a group: 0 = leave as it is; cap in percent of one CPU for all of it together, from
 * 1 to SCHED_CAP_MAX, which lifts it. -EINVAL: out of range.
 */
int sched_group_set(struct sched_group *g, u32 weight, u32 cap);
/*
 * All groups that name the id share that cap, each at one of CORBEL_CAP_LEVELS levels, in place of
 * what it had there; percent as above. -EINVAL: out of range; -ENOSPC: too many ids
 */
int sched_group_share(struct sched_group *g, u32 level, u64 id, u32 cap);
/*
 * Period and budget of a unit, or NULL: of all of the group's and those that come to it, in
 * microseconds. -EINVAL: out of range. -ENOSPC: the pool's CPUs have not enough left, and all is as
 * before
 */
s64 sched_set_budget(struct sched_group *g, struct sched_unit *u, u32 period, u32 budget);
/* Ticks run, and waited, until now, also while running or waiting. Any CPU. */
u64 sched_runtime(const struct sched_unit *u, u64 now);
u64 sched_steal(const struct sched_unit *u, u64 now);
