// SPDX-License-Identifier: GPL-2.0-only
/* The 8254 of a VM: ports, and the timer that makes channel 0's interrupt on GSI 0. */
#include "kmod.h"

#include <linux/ktime.h>

#define PORT_PIT      0x40
#define PORT_SPEAKER  0x61
#define MIN_PERIOD_NS 200000ull /* what a guest asks for must not keep dom0 busy */
#define MAX_PENDING   1000u

struct cb_pit {
	struct cb_vm *vm;
	struct mutex mutex; /* chip, starting and stopping of the timer */
	struct i8254 chip;
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
	bool periodic;
	u64 ns;

	hrtimer_cancel(&p->timer);
	forget_pending(p);
	ns = i8254_period_ns(&p->chip, &periodic);
	if (!ns || (p->chip.flags & KVM_PIT_FLAGS_HPET_LEGACY))
		return;
	ns = max(ns, MIN_PERIOD_NS);
	p->period_ns = periodic ? ns : 0;
	hrtimer_start(&p->timer, ns_to_ktime(ns), HRTIMER_MODE_REL);
}

bool cb_pit_pio(struct cb_pit *p, u16 port, bool is_in, u8 *data)
{
	u32 reg = port - PORT_PIT;
	s64 now;

	if (reg > 3 && !(port == PORT_SPEAKER && p->has_speaker))
		return false;
	now = ktime_get_ns();
	mutex_lock(&p->mutex);
	if (port == PORT_SPEAKER) {
		if (is_in)
			*data = i8254_port61_read(&p->chip, now);
		else
			i8254_port61_write(&p->chip, *data, now);
	} else if (is_in) {
		*data = i8254_read(&p->chip, reg, now);
	} else if (i8254_write(&p->chip, reg, *data, now)) {
		restart_timer(p);
	}
	mutex_unlock(&p->mutex);
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
	memset(s, 0, sizeof(*s));
	mutex_lock(&p->mutex);
	memcpy(s->channels, p->chip.ch, sizeof(s->channels));
	s->flags = p->chip.flags;
	mutex_unlock(&p->mutex);
}

int cb_pit_set(struct cb_pit *p, const struct kvm_pit_state2 *s)
{
	s64 now = ktime_get_ns();
	u32 i;

	for (i = 0; i < 3; i++)
		if (s->channels[i].count > 0x10000)
			return -EINVAL;
	mutex_lock(&p->mutex);
	memcpy(p->chip.ch, s->channels, sizeof(s->channels));
	p->chip.flags = s->flags;
	/* The times are another clock's: counting begins anew. */
	for (i = 0; i < 3; i++)
		p->chip.ch[i].count_load_time = now;
	restart_timer(p);
	mutex_unlock(&p->mutex);
	return 0;
}

int cb_pit_create(struct cb_vm *vm, u32 flags)
{
	struct cb_pit *p;

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
	i8254_reset(&p->chip, ktime_get_ns());
	mutex_lock(&vm->lock);
	if (vm->pit) {
		mutex_unlock(&vm->lock);
		kfree(p);
		return -EEXIST;
	}
	smp_store_release(&vm->pit, p);
	mutex_unlock(&vm->lock);
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
