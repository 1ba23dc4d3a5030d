/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/posting.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/guest/kick.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/iommu/post.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define POSTED_ON   BIT(0)
#define POSTED_NV   GENMASK(23, 16)
#define POSTED_NDST GENMASK(63, 32)

/* Who leaves them has nothing to do with the CPU's handler any more. */
struct waiting {
	struct lock lock; /* LOCK_POSTING */
	struct vcpu *first;
};
static PER_CPU(struct waiting, waiting);

static void join_waiting(struct vcpu *v)
{
	u32 cpu = this_cpu()->index;
	struct waiting *w = &per_cpu(waiting, cpu);

	BUG_ON(v->posting.waits >= 0);
	lock_acquire(&w->lock);
	v->posting.next = w->first;
	v->posting.link = &w->first;
	if (w->first)
		w->first->posting.link = &v->posting.next;
	w->first = v;
	lock_release(&w->lock);
	v->posting.waits = cpu;
}

static void leave_waiting(struct vcpu *v)
{
	struct waiting *w;

	BUG_ON(v->posting.waits < 0);
	w = &per_cpu(waiting, v->posting.waits);
	lock_acquire(&w->lock);
	BUG_ON(*v->posting.link != v);
	*v->posting.link = v->posting.next;
	if (v->posting.next)
		v->posting.next->posting.link = v->posting.link;
	lock_release(&w->lock);
	v->posting.waits = -1;
}

/* From now on the unit tells this CPU, by this vector. ON is clear. */
static void tell_here(struct vcpu *v, u8 vector)
{
	u64 val = FIELD_PREP(POSTED_NV, vector) | FIELD_PREP(POSTED_NDST, this_cpu()->apic_id);

	__atomic_exchange_n(&v->lapic.posted_control[0], val, __ATOMIC_SEQ_CST);
}

static bool clear_on(struct vcpu *v)
{
	return __atomic_fetch_and(&v->lapic.posted_control[0], ~POSTED_ON, __ATOMIC_SEQ_CST) &
	       POSTED_ON;
}

void posting_load(struct vcpu *v)
{
	BUG_ON(this_cpu()->loaded != v);
	tell_here(v, VEC_POSTED);
	if (lapic_highest(v->lapic.irr))
		vcpu_note(v, DUE_IRQ);
	leave_waiting(v);
}

/*
 * What has come meanwhile may have been told to this CPU by VEC_POSTED, whose handler does not find
 * the vCPU any more; the scheduler is just at work on it, so it is not woken here.
 */
void posting_put(struct vcpu *v)
{
	BUG_ON(this_cpu()->loaded == v);
	if (v->posting.waits >= 0) /* loaded since before posting began */
		leave_waiting(v);
	join_waiting(v);
	tell_here(v, VEC_WAKE);
	if (!lapic_highest(v->lapic.irr))
		return;
	__atomic_fetch_or(&v->lapic.posted_control[0], POSTED_ON, __ATOMIC_SEQ_CST);
	apic_send_ipi(this_cpu()->apic_id, VEC_WAKE);
}

static void take_posted(struct vcpu *v)
{
	if (!clear_on(v))
		return;
	vcpu_note(v, DUE_IRQ);
	vcpu_notify(v, false);
}

/* Outside of guests. From vcpu_notify(), too, who has noted what there is. */
static void posted_irq(u8 vector)
{
	struct vcpu *v = this_cpu()->loaded;

	apic_eoi();
	if (v && READ_ONCE(v->posting.on))
		take_posted(v);
}

static void wake_irq(u8 vector)
{
	struct waiting *w = &own_cpu(waiting);

	apic_eoi();
	lock_acquire(&w->lock);
	for (struct vcpu *v = w->first; v; v = v->posting.next)
		take_posted(v);
	lock_release(&w->lock);
}

s64 posting_begin(struct vcpu *v)
{
	s64 handle = -ENODEV;

	BUG_ON(v->vm->is_dom0);
	if (apic_is_x2apic()) /* whose ids the descriptor is given */
		handle = post_begin(v->id, virt_to_hpa(v->lapic.irr).v);
	if (handle < 0 || v->posting.on)
		return handle;
	v->posting.waits = -1;
	join_waiting(v);
	tell_here(v, VEC_WAKE);
	__atomic_store_n(&v->posting.on, true, __ATOMIC_RELEASE);
	return handle;
}

void posting_end(struct vcpu *v)
{
	if (!v->posting.on)
		return;
	post_end(v->id);
	leave_waiting(v);
	v->posting.on = false;
}

void posting_init(void)
{
	for (u32 i = 0; i < cpu_count; i++)
		per_cpu(waiting, i).lock = (struct lock)LOCK_INIT(LOCK_POSTING);
	post_init(hvm_caps.flags & HVM_CAP_POST);
	irq_set(VEC_POSTED, posted_irq);
	irq_set(VEC_WAKE, wake_irq);
}
