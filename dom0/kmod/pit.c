// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM's 8254 is the hypervisor's (hv/guest/i8254.c); here is the timer that makes channel 0's
 * interrupt on GSI 0, which begins when the guest loads that channel.
 */
#include "irq.h"
#include "kmod.h"

#include <linux/ktime.h>

#define PORT_PIT      0x40
#define PORT_SPEAKER  0x61
#define UNPROGRAMMED  0xff /* KVM's mode of a channel that no control word has reached */
#define RW_WORD	      3
#define MIN_PERIOD_NS 200000ull /* what a guest asks for must not keep dom0 busy */
#define MAX_PENDING   1000u
#define WORDS	      (sizeof(struct corbel_pit) / sizeof(u32))
static_assert(offsetof(struct corbel_pit, pad) == offsetof(struct kvm_pit_state2, reserved));

struct cb_pit {
	struct cb_vm *vm;
	struct mutex mutex;	 /* what follows, starting and stopping of the timer */
	struct corbel_pit early; /* until the hypervisor has the VM */
	bool there;		 /* it has */
	bool has_speaker;
	struct hrtimer timer;
	u64 period_ns;	 /* 0 = once; changed only while the timer is stopped */
	spinlock_t lock; /* what follows */
	bool reinject;	 /* ticks the guest was too slow for are made up for */
	bool acked;	 /* it has taken the last one */
	u32 pending;
};

static void pulse_line(struct cb_pit *p)
{
	cb_irq_set(p->vm, CB_SRC_PIT, 0, true);
	cb_irq_set(p->vm, CB_SRC_PIT, 0, false);
}

static enum hrtimer_restart pit_tick(struct hrtimer *t)
{
	struct cb_pit *p = container_of(t, struct cb_pit, timer);
	unsigned long flags;
	bool now = true;

	spin_lock_irqsave(&p->lock, flags);
	if (p->reinject) {
		now = p->acked;
		p->acked = false;
		if (!now && p->pending < MAX_PENDING)
			p->pending++;
	}
	spin_unlock_irqrestore(&p->lock, flags);
	if (now)
		pulse_line(p);
	if (!p->period_ns)
		return HRTIMER_NORESTART;
	hrtimer_forward_now(t, ns_to_ktime(p->period_ns));
	return HRTIMER_RESTART;
}

void cb_pit_acked(struct cb_pit *p)
{
	unsigned long flags;
	bool again = false;

	spin_lock_irqsave(&p->lock, flags);
	if (p->pending) {
		p->pending--;
		again = true;
	} else {
		p->acked = true;
	}
	spin_unlock_irqrestore(&p->lock, flags);
	if (again)
		pulse_line(p);
}

static void forget_pending(struct cb_pit *p)
{
	unsigned long flags;

	spin_lock_irqsave(&p->lock, flags);
	p->pending = 0;
	p->acked = true;
	spin_unlock_irqrestore(&p->lock, flags);
}

/* What was raised while the line was masked will never be acknowledged. */
void cb_pit_unmasked(struct cb_pit *p)
{
	forget_pending(p);
}

bool cb_pit_wants_ack(const struct cb_pit *p)
{
	return READ_ONCE(p->reinject);
}

static void restart_timer(struct cb_pit *p)
{
	long period;
	u64 ns;

	lockdep_assert_held(&p->mutex);
	hrtimer_cancel(&p->timer);
	forget_pending(p);
	period = p->there ? HC2(PIC, p->vm->id, CORBEL_PIT_PERIOD) : 0;
	if (period <= 0)
		return;
	ns = max_t(u64, period >> 1, MIN_PERIOD_NS);
	p->period_ns = period & 1 ? ns : 0;
	hrtimer_start(&p->timer, ns_to_ktime(ns), HRTIMER_MODE_REL);
}

void cb_pit_loaded(struct cb_pit *p)
{
	mutex_lock(&p->mutex);
	restart_timer(p);
	mutex_unlock(&p->mutex);
}

/* Of a string, or while exits are traced: others the hypervisor has done. */
bool cb_pit_pio(struct cb_pit *p, u16 port, bool is_in, u8 *data)
{
	long r;

	if (port - PORT_PIT > 3u && !(port == PORT_SPEAKER && p->has_speaker))
		return false;
	r = HC5(PIC, p->vm->id, CORBEL_PIC_IO, port, is_in, *data);
	if (r < 0)
		return false;
	*data = r;
	if (r >> 8)
		cb_pit_loaded(p);
	return true;
}

void cb_pit_reinject(struct cb_pit *p, bool on)
{
	mutex_lock(&p->mutex);
	forget_pending(p);
	WRITE_ONCE(p->reinject, on);
	mutex_unlock(&p->mutex);
	cb_irq_update_eoi(p->vm);
}

void cb_pit_get(struct cb_pit *p, struct kvm_pit_state2 *s)
{
	u32 *word = (u32 *)s, i;

	memset(s, 0, sizeof(*s));
	mutex_lock(&p->mutex);
	memcpy(s, &p->early, sizeof(p->early));
	for (i = 0; p->there && i < WORDS; i++)
		word[i] = HC3(PIC, p->vm->id, CORBEL_PIT_GET, i);
	/* VMMs that have the speaker reckon with CLOCK_MONOTONIC, as KVM does. */
	for (i = 0; p->there && i < 3; i++)
		s->channels[i].count_load_time =
		    ktime_get_ns() - HC3(PIC, p->vm->id, CORBEL_PIT_AGE, i);
	mutex_unlock(&p->mutex);
}

static void give_state(struct cb_pit *p)
{
	const u32 *word = (const u32 *)&p->early;
	u32 i;

	lockdep_assert_held(&p->mutex);
	for (i = 0; p->there && i < WORDS; i++)
		HC4(PIC, p->vm->id, CORBEL_PIT_SET, i, word[i]);
	restart_timer(p);
}

int cb_pit_set(struct cb_pit *p, const struct kvm_pit_state2 *s)
{
	u32 i;

	for (i = 0; i < 3; i++)
		if (s->channels[i].count > 0x10000)
			return -EINVAL;
	mutex_lock(&p->mutex);
	memcpy(&p->early, s, offsetof(struct kvm_pit_state2, reserved));
	give_state(p);
	mutex_unlock(&p->mutex);
	return 0;
}

void cb_pit_realize(struct cb_pit *p)
{
	mutex_lock(&p->mutex);
	if (!p->there && READ_ONCE(p->vm->id)) {
		p->there = !HC3(PIC, p->vm->id, CORBEL_PIT_ON, p->has_speaker);
		give_state(p);
	}
	mutex_unlock(&p->mutex);
}

static void reset_chip(struct corbel_pit *chip)
{
	struct corbel_pit_channel *c;

	for (c = chip->ch; c < chip->ch + 3; c++) {
		c->count = 0x10000;
		c->mode = UNPROGRAMMED;
		c->gate = c != chip->ch + 2;
		c->rw_mode = c->read_state = c->write_state = RW_WORD;
	}
}

int cb_pit_create(struct cb_vm *vm, u32 flags)
{
	struct cb_pit *p;
	int r;

	if (flags & ~KVM_PIT_SPEAKER_DUMMY)
		return -EINVAL;
	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return -ENOMEM;
	p->vm = vm;
	p->has_speaker = flags & KVM_PIT_SPEAKER_DUMMY;
	p->reinject = true;
	p->acked = true;
	mutex_init(&p->mutex);
	spin_lock_init(&p->lock);
	hrtimer_init(&p->timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	p->timer.function = pit_tick;
	reset_chip(&p->early);
	mutex_lock(&vm->lock);
	if (vm->pit || vm->irqchip != CB_IRQCHIP_FULL) {
		r = vm->pit ? -EEXIST : -ENOENT;
		mutex_unlock(&vm->lock);
		kfree(p);
		return r;
	}
	smp_store_release(&vm->pit, p);
	mutex_unlock(&vm->lock);
	cb_pit_realize(p);
	cb_irq_update_eoi(vm);
	return 0;
}

void cb_pit_destroy(struct cb_vm *vm)
{
	if (!vm->pit)
		return;
	hrtimer_cancel(&vm->pit->timer);
	kfree(vm->pit);
	vm->pit = NULL;
}
