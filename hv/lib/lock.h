/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Spinlocks with a level. The hypervisor runs with interrupts off except in marked windows, so
 * there is no irqsave variant; interrupt handlers run only in those windows, where no lock is held.
 * Lock order: see hv/README.md. They are not fair: where the CPUs themselves are scheduled (an
 * emulator, a hypervisor below ours), a queue of waiters would move on only as fast as the next in
 * line gets to run. Built with -DCHECK_LOCKS (`make CHECKS=-DCHECK_LOCKS`, test `locks`), a CPU
 * that takes a lock whose level is not higher than those of all the locks it holds panics, or takes
 * an interrupt or enters a guest with one.
 */
#pragma once

#include "hv/lib/log.h"
#include "hv/lib/percpu.h"

enum lock_level {
	LOCK_VMS = 1, /* table of VMs and vCPUs */
	LOCK_VM,      /* one VM's set-up */
	LOCK_VMCS,    /* one vCPU's VMCS: who has it */
	LOCK_VM_TSC,  /* what one VM's TSCs were set to */
	LOCK_PIC,     /* one VM's 8259s */
	LOCK_P2M,     /* one p2m: structure and hv access to guest memory */
	LOCK_LAPIC,
	LOCK_TIMER,   /* one CPU's timer heap */
	LOCK_POSTING, /* which vCPUs that are posted to wait for one CPU */
	LOCK_GROUP,   /* a group's members and cap */
	LOCK_SCHED,   /* one CPU's inbox */
	LOCK_HOSTMAP, /* the hypervisor's own address space; its tables come from the pool */
	LOCK_POOL,
	LOCK_CONSOLE,
	LOCK_LAST,  /* of who takes no other, and whom only an exception interrupts */
	LOCK_BANKS, /* machine-check banks that CPUs share; in exceptions, too: no lock in it */
};

struct lock {
	u32 holder; /* index of the CPU that holds it, + 1; 0: free */
	u32 level;
};

#define LOCK_INIT(l)                                                                               \
	{                                                                                          \
		0, (l)                                                                             \
	}

static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

#ifdef CHECK_LOCKS
void lock_taken(u32 level);
void lock_tried(u32 level); /* and got: who does not wait may come in any order */
void lock_given(u32 level);
/* Where interrupts are open or a guest is entered. */
void lock_none_held(void);
#else
static inline void lock_taken(u32 level)
{
}
static inline void lock_tried(u32 level)
{
}
static inline void lock_given(u32 level)
{
}
static inline void lock_none_held(void)
{
}
#endif
extern bool lock_unchecked; /* the order matters no more: panic */

/* Is it held by this CPU? */
static inline bool lock_is_held(const struct lock *l)
{
	return READ_ONCE(l->holder) == this_cpu()->index + 1;
}

#define ASSERT_HELD(l) BUG_ON(!lock_is_held(l))

static inline bool lock_got(struct lock *l)
{
	u32 none = 0;

	return __atomic_compare_exchange_n(&l->holder, &none, this_cpu()->index + 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* False: somebody has it. */
static inline bool lock_try(struct lock *l)
{
	if (!lock_got(l))
		return false;
	lock_tried(l->level);
	return true;
}

static inline void lock_acquire(struct lock *l)
{
	lock_taken(l->level);
	while (unlikely(!lock_got(l)))
		while (__atomic_load_n(&l->holder, __ATOMIC_RELAXED))
			cpu_relax();
}

static inline void lock_release(struct lock *l)
{
	lock_given(l->level);
	__atomic_store_n(&l->holder, 0, __ATOMIC_RELEASE);
}

/* Many readers or one writer; the writer waits for the readers to drain and keeps new ones out. */
struct rwlock {
	u32 state; /* readers, and RW_WRITER: a writer holds or wants it */
};
#define RW_WRITER (1u << 31)

/* False if there is a writer. */
static inline bool read_try(struct rwlock *l)
{
	if (!(__atomic_fetch_add(&l->state, 1, __ATOMIC_ACQUIRE) & RW_WRITER))
		return true;
	__atomic_fetch_sub(&l->state, 1, __ATOMIC_RELAXED);
	return false;
}

static inline void read_acquire(struct rwlock *l)
{
	while (!read_try(l))
		while (__atomic_load_n(&l->state, __ATOMIC_RELAXED) & RW_WRITER)
			cpu_relax();
}

static inline void read_release(struct rwlock *l)
{
	BUG_ON(!(__atomic_fetch_sub(&l->state, 1, __ATOMIC_RELEASE) & ~RW_WRITER));
}

static inline void write_acquire(struct rwlock *l)
{
	while (__atomic_fetch_or(&l->state, RW_WRITER, __ATOMIC_ACQUIRE) & RW_WRITER)
		cpu_relax();
	while (__atomic_load_n(&l->state, __ATOMIC_ACQUIRE) & ~RW_WRITER)
		cpu_relax();
}

static inline void write_release(struct rwlock *l)
{
	BUG_ON(!(__atomic_fetch_and(&l->state, ~RW_WRITER, __ATOMIC_RELEASE) & RW_WRITER));
}
