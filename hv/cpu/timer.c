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

#define HEAP_ORDER 2 /* pool pages */

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

bool tsc_stable;

static struct heap *heap_of(u32 cpu)
{
	return cpus[cpu]->timer;
}

static void heap_put(struct heap *h, u32 pos, struct timer *t)
{
	h->at[pos] = t;
	t->pos = pos;
}

static void heap_up(struct heap *h, u32 pos, struct timer *t)
{
	while (pos && h->at[(pos - 1) / 2]->deadline > t->deadline) {
		heap_put(h, pos, h->at[(pos - 1) / 2]);
		pos = (pos - 1) / 2;
	}
	heap_put(h, pos, t);
}

static void heap_down(struct heap *h, u32 pos, struct timer *t)
{
	u32 child;

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

static void heap_insert(struct heap *h, struct timer *t)
{
	/*
	 * Timers are embedded in vCPUs and CPUs, whose number is bounded: overflow is our own bug.
	 */
	BUG_ON(h->n >= HEAP_CAPACITY);
	heap_up(h, h->n++, t);
}

/* t, wherever it belongs, comes in the place of the one at pos. */
static void heap_replace(struct heap *h, u32 pos, struct timer *t)
{
	if (pos && h->at[(pos - 1) / 2]->deadline > t->deadline)
		heap_up(h, pos, t);
	else
		heap_down(h, pos, t);
}

static void heap_remove(struct heap *h, struct timer *t)
{
	struct timer *last = h->at[--h->n];

	if (last != t)
		heap_replace(h, t->pos, last);
}

static bool tsc_is_stable(void)
{
	u32 a, b, c, d;

	if (cpuid_max(0x80000000) >= 0x80000007) {
		cpuid(0x80000007, 0, &a, &b, &c, &d);
		if (d & BIT(8)) /* invariant TSC */
			return true;
	}
	if (!cpu_runs_in(IN_KVM))
		return cpu_runs_in(IN_TCG); /* which derives all TSCs from its own clock */
	cpuid(0x40000001, 0, &a, &b, &c, &d);
	return a & BIT(24); /* KVM_FEATURE_CLOCKSOURCE_STABLE_BIT */
}

/*
 * Is it one clock on all CPUs? By promise, and no CPU's clock may be seen behind that of a CPU that
 * came up before it.
 */
static void check_tsc(void)
{
	static u64 seen;
	static bool known;
	u64 now = rdtsc();

	if (!known) {
		known = true;
		tsc_stable = tsc_is_stable();
	}
	if (now < __atomic_load_n(&seen, __ATOMIC_SEQ_CST)) {
		if (tsc_stable)
			log_warn("TSC of CPU %u is behind the others': guests' clocks are not "
				 "marked stable",
				 this_cpu()->index);
		tsc_stable = false;
	}
	__atomic_store_n(&seen, rdtsc(), __ATOMIC_SEQ_CST);
}

static void timer_irq(u8 vector)
{
	apic_eoi();
	timer_run(rdtsc());
}

void timer_init_cpu(void)
{
	struct heap *h = pool_alloc(HEAP_ORDER, NULL);

	if (!h)
		boot_fail("no memory for the timers of CPU %u; give more with hvmem=",
			  this_cpu()->index);
	h->lock.level = LOCK_TIMER;
	irq_set(VEC_TIMER, timer_irq);
	this_cpu()->timer = h;
	check_tsc();
}

void timer_setup(struct timer *t, void (*fn)(struct timer *))
{
	*t = (struct timer){.fn = fn, .cpu = -1};
}

void timer_cancel(struct timer *t)
{
	s32 cpu = READ_ONCE(t->cpu);
	struct heap *h;

	if (cpu < 0)
		return;
	h = heap_of(cpu);
	lock_acquire(&h->lock);
	/*
	 * Its CPU may have taken it out to run it. The hardware stays armed: one interrupt for
	 * nothing costs less.
	 */
	if (t->cpu == cpu) {
		heap_remove(h, t);
		WRITE_ONCE(t->cpu, -1);
	}
	lock_release(&h->lock);
}

void timer_cancel_wait(struct timer *t)
{
	u32 i;

	do {
		timer_cancel(t);
		for (i = 0; i < MAX_CPUS; i++) {
			struct heap *h = cpus[i] ? cpus[i]->timer : NULL;

			while (h && __atomic_load_n(&h->running, __ATOMIC_ACQUIRE) == t)
				cpu_relax();
		}
	} while (READ_ONCE(t->cpu) >= 0);
}

void timer_arm(struct timer *t, u64 deadline)
{
	struct cpu *c = this_cpu();
	struct heap *h = c->timer;

	if (READ_ONCE(t->cpu) != (s32)c->index)
		timer_cancel(t);
	lock_acquire(&h->lock);
	t->deadline = deadline;
	if (t->cpu == (s32)c->index) {
		heap_replace(h, t->pos, t);
	} else {
		WRITE_ONCE(t->cpu, c->index);
		heap_insert(h, t);
	}
	if (h->at[0] == t && (!h->armed || deadline < h->armed)) {
		h->armed = MAX(deadline, 1);
		apic_timer_arm(h->armed);
	}
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
	for (budget = h->n; budget && h->n && h->at[0]->deadline <= now; budget--) {
		struct timer *t = h->at[0];

		heap_remove(h, t);
		WRITE_ONCE(h->running, t);
		WRITE_ONCE(t->cpu, -1);
		lock_release(&h->lock);
		t->fn(t);
		__atomic_store_n(&h->running, NULL, __ATOMIC_RELEASE);
		lock_acquire(&h->lock);
	}
	h->armed = h->n ? MAX(h->at[0]->deadline, 1) : 0;
	if (h->armed)
		apic_timer_arm(h->armed);
	lock_release(&h->lock);
}
