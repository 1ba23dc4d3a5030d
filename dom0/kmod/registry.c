// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is told what the hypervisor says in struct corbel_events: threads that wait for a vCPU to
 * stop, eventfds of doorbells that ring.
 */
#include "dom0.h"
#include "kmod.h"

static struct corbel_events *events;

static struct cb_vcpu __rcu *vcpus[CORBEL_MAX_VCPUS];
/* for what follows; held from taking bits to signalling them */
static DEFINE_SPINLOCK(doorbells_lock);
static struct eventfd_ctx *doorbells[CORBEL_MAX_DOORBELLS];
/* Doorbells that rang between their registration and cb_event_add_doorbell(). */
static DECLARE_BITMAP(early_rings, CORBEL_MAX_DOORBELLS);

static void wake_vcpu(u32 id)
{
	struct cb_vcpu *v = rcu_dereference(vcpus[id]);

	if (v)
		wake_up(&v->wait);
}

static void ring_doorbell(u32 id)
{
	struct eventfd_ctx *ctx = doorbells[id];

	if (ctx)
		cb_eventfd_signal(ctx);
	else
		__set_bit(id, early_rings);
}

/*
 * The summary is cleared before the words it stands for, so a bit set meanwhile is seen now or
 * announced again. n: how many words there are.
 */
static void scan_bits(uint64_t *summary, uint64_t *words, u32 n, void (*found)(u32))
{
	unsigned long s = xchg(summary, 0) & GENMASK(n - 1, 0), w;

	while (s) {
		u32 i = __ffs(s);

		s &= s - 1;
		for (w = xchg(&words[i], 0); w; w &= w - 1)
			found(i * 64 + __ffs(w));
	}
}

static void scan_doorbells_locked(void)
{
	scan_bits(&events->doorbell_summary, events->doorbell, ARRAY_SIZE(events->doorbell),
		  ring_doorbell);
}

static void scan_doorbells(void)
{
	unsigned long flags;

	spin_lock_irqsave(&doorbells_lock, flags);
	scan_doorbells_locked();
	spin_unlock_irqrestore(&doorbells_lock, flags);
}

/* The interrupt for a doorbell may be on its way to another CPU, or under way there. */
void cb_event_sync_doorbells(void)
{
	if (unlikely(smp_load_acquire(&events->doorbell_summary) ||
		     spin_is_locked(&doorbells_lock)))
		scan_doorbells();
}

void cb_registry_init(struct corbel_events *page)
{
	events = page;
}

void cb_registry_scan(void)
{
	rcu_read_lock();
	scan_bits(&events->vcpu_summary, events->vcpu, ARRAY_SIZE(events->vcpu), wake_vcpu);
	rcu_read_unlock();
	scan_doorbells();
}

void cb_event_add_vcpu(struct cb_vcpu *v)
{
	rcu_assign_pointer(vcpus[CORBEL_VCPU_ID(v->number)], v);
}

void cb_event_del_vcpu(struct cb_vcpu *v)
{
	RCU_INIT_POINTER(vcpus[CORBEL_VCPU_ID(v->number)], NULL);
}

void cb_event_each_vcpu(void (*fn)(struct cb_vcpu *v))
{
	struct cb_vcpu *v;
	u32 id;

	rcu_read_lock();
	for (id = 0; id < ARRAY_SIZE(vcpus); id++) {
		v = rcu_dereference(vcpus[id]);
		if (v)
			fn(v);
	}
	rcu_read_unlock();
}

static void pause_vcpu(struct cb_vcpu *v)
{
	HC1(VCPU_PAUSE, v->number);
}

void cb_event_pause_vcpus(void)
{
	cb_event_each_vcpu(pause_vcpu);
}

static void tell_stopped(struct cb_vcpu *v)
{
	HC3(VCPU_SET, v->number, CORBEL_STATE_CLOCK_STOPPED, 0);
}

void cb_event_tell_stopped(void)
{
	cb_event_each_vcpu(tell_stopped);
}

void cb_event_add_doorbell(u32 number, struct eventfd_ctx *ctx)
{
	u32 id = CORBEL_DOORBELL_ID(number);

	spin_lock_irq(&doorbells_lock);
	doorbells[id] = ctx;
	if (__test_and_clear_bit(id, early_rings))
		cb_eventfd_signal(ctx);
	spin_unlock_irq(&doorbells_lock);
}

void cb_event_del_doorbell(u32 number)
{
	u32 id = CORBEL_DOORBELL_ID(number);

	spin_lock_irq(&doorbells_lock);
	scan_doorbells_locked(); /* what rang while it was there */
	doorbells[id] = NULL;
	__clear_bit(id, early_rings);
	spin_unlock_irq(&doorbells_lock);
}
