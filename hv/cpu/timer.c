/* SPDX-License-Identifier: GPL-2.0-only */
/* Software timers: a binary heap per CPU, its earliest deadline in the local APIC timer. */
#include "hv/cpu/timer.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/time.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/mm/pool.h"

#define HEAP_ORDER 3 /* pool pages */

struct heap {
	struct lock lock;
	u32 n;
	u64 armed;	       /* what the hardware was last told; 0 = nothing */
	struct timer *running; /* its fn is being called */
	struct timer *at[];
};

#define HEAP_CAPACITY (((PAGE_SIZE << HEAP_ORDER) - sizeof(struct heap)) / sizeof(struct timer *))
_Static_assert(HEAP_CAPACITY >= MAX_VCPUS + MAX_CPUS,
	       "a timer for each vCPU and some of the hypervisor's own fit");

static void heap_put(struct heap *h, u32 pos, struct timer *t)
{
	h->at[pos] = t;
	t->pos = pos;
}

/* t, wherever it belongs, comes in the place of the one at pos; others move up or down for it. */
static void heap_place(struct heap *h, u32 pos, struct timer *t)
{
	u32 parent, child;

	for (; pos; pos = parent) {
		parent = (pos - 1) / 2;
		if (h->at[parent]->deadline <= t->deadline)
			break;
		heap_put(h, pos, h->at[parent]);
	}
	while ((child = 2 * pos + 1) < h->n) {
		if (child + 1 < h->n && h->at[child + 1]->deadline < h->at[child]->deadline)
			child++;
		if (h->at[child]->deadline >= t->deadline)
			break;
		heap_put(h, pos, h->at[child]);
		pos = child;
	}
	heap_put(h, pos, t);
}

static void heap_remove(struct heap *h, struct timer *t)
{
	struct timer *last = h->at[--h->n];

	ASSERT_HELD(&h->lock);
	BUG_ON(h->at[t->pos] != t);
	if (last != t)
		heap_place(h, t->pos, last);
	WRITE_ONCE(t->cpu, -1);
}

/* Tell the hardware of the earliest one. 0 would disarm it. */
static void arm_hardware(struct heap *h)
{
	ASSERT_HELD(&h->lock);
	h->armed = MAX(h->at[0]->deadline, 1);
	apic_timer_arm(h->armed);
}

static void timer_irq(u8 vector)
{
	apic_eoi();
	timer_run(rdtsc());
}

/* After a sleep the hardware knows nothing any more. What has become due meanwhile fires. */
static void arm_again(struct heap *h)
{
	lock_acquire(&h->lock);
	h->armed = 0;
	if (h->n)
		arm_hardware(h);
	lock_release(&h->lock);
}

void timer_init_cpu(void)
{
	struct heap *h = this_cpu()->timer;

	if (h) {
		arm_again(h);
		return;
	}
	h = pool_alloc(HEAP_ORDER, NULL);

	if (!h)
		boot_fail("no memory for the timers of CPU %u; give more with hvmem=",
			  this_cpu()->index);
	h->lock.level = LOCK_TIMER;
	irq_set(VEC_TIMER, timer_irq);
	this_cpu()->timer = h;
}

void timer_setup(struct timer *t, void (*fn)(struct timer *))
{
	BUG_ON(!fn);
	*t = (struct timer){.fn = fn, .cpu = -1};
}

void timer_cancel(struct timer *t)
{
	s32 cpu = READ_ONCE(t->cpu);
	struct heap *h;

	if (cpu < 0)
		return;
	h = cpus[cpu]->timer;
	lock_acquire(&h->lock);
	/*
	 * Its CPU may have taken it out to run it. The hardware stays armed: one interrupt for
	 * nothing costs less.
	 */
	if (t->cpu == cpu)
		heap_remove(h, t);
	lock_release(&h->lock);
}

void timer_idle(struct timer *t)
{
	struct heap *h = this_cpu()->timer;

	lock_acquire(&h->lock);
	if (h->n > 1 && h->at[0] == t)
		heap_remove(h, t);
	if (h->armed && h->n && h->armed < h->at[0]->deadline)
		arm_hardware(h);
	lock_release(&h->lock);
}

u64 timer_next(void)
{
	const struct heap *h = this_cpu()->timer;

	return h->armed ?: TIMER_NEVER;
}

void timer_cancel_wait(struct timer *t)
{
	do {
		timer_cancel(t);
		for (u32 i = 0; i < MAX_CPUS && cpus[i]; i++) {
			const struct heap *h = cpus[i]->timer;

			while (__atomic_load_n(&h->running, __ATOMIC_ACQUIRE) == t)
				cpu_relax();
		}
	} while (READ_ONCE(t->cpu) >= 0);
}

void timer_arm(struct timer *t, u64 deadline)
{
	struct cpu *c = this_cpu();
	struct heap *h = c->timer;
	s32 on = READ_ONCE(t->cpu);

	if (on >= 0 && on != (s32)c->index)
		timer_cancel(t);
	lock_acquire(&h->lock);
	BUG_ON(t->cpu >= 0 && t->cpu != (s32)c->index);
	t->deadline = deadline;
	if (t->cpu == (s32)c->index) {
		heap_place(h, t->pos, t);
	} else {
		WRITE_ONCE(t->cpu, c->index);
		/* Timers are embedded in vCPUs and CPUs, whose number is bounded. */
		BUG_ON(h->n >= HEAP_CAPACITY);
		h->n++;
		heap_place(h, h->n - 1, t);
	}
	if (h->at[0] == t && (!h->armed || deadline < h->armed))
		arm_hardware(h);
	lock_release(&h->lock);
}

void timer_run(u64 now)
{
	struct heap *h = this_cpu()->timer;
	u32 budget;

	lock_acquire(&h->lock);
	/*
	 * One that arms itself again in the past must not keep us here: the hardware then fires at
	 * once.
	 */
	BUG_ON(h->running);
	for (budget = h->n; budget && h->n && h->at[0]->deadline <= now; budget--) {
		struct timer *t = h->at[0];

		WRITE_ONCE(h->running, t); /* first: timer_cancel_wait() looks at cpu, then at it */
		heap_remove(h, t);
		lock_release(&h->lock);
		t->fn(t);
		__atomic_store_n(&h->running, NULL, __ATOMIC_RELEASE);
		lock_acquire(&h->lock);
	}
	h->armed = 0; /* it has fired */
	if (h->n)
		arm_hardware(h);
	lock_release(&h->lock);
}
