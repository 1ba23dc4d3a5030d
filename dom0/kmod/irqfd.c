// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqfd: a write to an eventfd drives a GSI, straight from the writer's context. With a resample
 * eventfd the line stays high until the guest has acknowledged it, which is then told by that
 * eventfd.
 *
 * An irqfd is in its VM's list before it waits at its eventfd. What takes it out again and frees it
 * therefore must not come in between: deassigning is kept out by vm->lock, the eventfd's end by a
 * reference to its file, the VM's end by the ioctl's.
 *
 * Where the eventfd is the one that VFIO signals for a device's interrupt, Linux' irqbypass brings
 * the two together, and if IOMMUs can, the interrupt is posted to the vCPU that would get it:
 *
 *   device ──IOMMU──> dom0's handler ──eventfd──> eventfd_wakes() ──HC_MSI──> vCPU
 *   device ──IOMMU──> vCPU
 *
 * The first way is there at all times, and taken again whenever the second is not to be had.
 */
#include "irq.h"
#include "kmod.h"

#include <linux/file.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqbypass.h>
#include <linux/poll.h>
#include <linux/workqueue.h>

#define MAX_IRQFDS 16384u /* KVM has as many as there are descriptors; their list is walked */

struct irqfd {
	struct cb_vm *vm;
	u32 gsi;
	struct eventfd_ctx *eventfd, *resamplefd;
	wait_queue_entry_t wait;
	poll_table poll;
	struct list_head list;	     /* vm->irqfds; empty once it is being shut down */
	struct hlist_node resampler; /* vm->resamplers[gsi], if there is a resamplefd */
	struct work_struct shutdown;
	struct irq_bypass_consumer consumer;
	/* under vm->irqfds_lock: the device's interrupt, or NULL; where it is posted to, 0: not */
	struct irq_bypass_producer *producer;
	struct vcpu_data posted;
};

static void inject_irqfd(struct irqfd *f)
{
	if (f->resamplefd) {
		cb_irq_set(f->vm, CB_SRC_RESAMPLE, f->gsi, true);
		return;
	}
	cb_irq_set(f->vm, CB_SRC_IRQFD, f->gsi, true);
	cb_irq_set(f->vm, CB_SRC_IRQFD, f->gsi, false);
}

/* ---- posting ---- */

/* After any change of what there is to decide by. */
static void decide_posting(struct irqfd *f)
{
	struct vcpu_data to = {};
	bool changed;

	lockdep_assert_held(&f->vm->irqfds_lock);
	if (!f->producer)
		return;
	if (!f->resamplefd && !list_empty(&f->list))
		cb_irq_posting(f->vm, f->gsi, &to);
	changed = to.pi_desc_addr != f->posted.pi_desc_addr || to.vector != f->posted.vector;
	if (changed && to.pi_desc_addr && irq_set_vcpu_affinity(f->producer->irq, &to))
		to = (struct vcpu_data){};
	if (f->posted.pi_desc_addr && !to.pi_desc_addr)
		irq_set_vcpu_affinity(f->producer->irq, NULL);
	f->posted = to;
}

static int add_producer(struct irq_bypass_consumer *c, struct irq_bypass_producer *p)
{
	struct irqfd *f = container_of(c, struct irqfd, consumer);
	unsigned long flags;

	spin_lock_irqsave(&f->vm->irqfds_lock, flags);
	f->producer = p;
	decide_posting(f);
	spin_unlock_irqrestore(&f->vm->irqfds_lock, flags);
	return 0;
}

static void del_producer(struct irq_bypass_consumer *c, struct irq_bypass_producer *p)
{
	struct irqfd *f = container_of(c, struct irqfd, consumer);
	unsigned long flags;

	spin_lock_irqsave(&f->vm->irqfds_lock, flags);
	if (f->posted.pi_desc_addr)
		irq_set_vcpu_affinity(p->irq, NULL);
	f->posted = (struct vcpu_data){};
	f->producer = NULL;
	spin_unlock_irqrestore(&f->vm->irqfds_lock, flags);
}

/* Another VM may have the same eventfd, which then has it: there is the other way. */
static void find_producer(struct irqfd *f)
{
	f->consumer.token = f->eventfd;
	f->consumer.add_producer = add_producer;
	f->consumer.del_producer = del_producer;
	if (irq_bypass_register_consumer(&f->consumer))
		f->consumer.token = NULL; /* so it is not taken out, either */
}

void cb_irqfd_rerouted(struct cb_vm *vm)
{
	struct irqfd *f;

	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry(f, &vm->irqfds, list) decide_posting(f);
	spin_unlock_irq(&vm->irqfds_lock);
}

/* ---- life ---- */

static void shutdown_irqfd(struct work_struct *work)
{
	struct irqfd *f = container_of(work, struct irqfd, shutdown);
	u64 count;

	irq_bypass_unregister_consumer(&f->consumer);
	eventfd_ctx_remove_wait_queue(f->eventfd, &f->wait, &count);
	if (f->resamplefd) {
		synchronize_rcu(); /* cb_irqfd_acked() */
		/* one that is assigned meanwhile raises it afterwards */
		spin_lock_irq(&f->vm->irqfds_lock);
		if (!cb_irqfd_wants_ack(f->vm, f->gsi)) /* none is left that would lower it */
			cb_irq_set(f->vm, CB_SRC_RESAMPLE, f->gsi, false);
		spin_unlock_irq(&f->vm->irqfds_lock);
		eventfd_ctx_put(f->resamplefd);
	}
	eventfd_ctx_put(f->eventfd);
	kfree(f);
}

static void deactivate_locked(struct irqfd *f)
{
	list_del_init(&f->list);
	if (f->resamplefd)
		hlist_del_rcu(&f->resampler);
	queue_work(cb_wq, &f->shutdown);
}

/* Called with the eventfd's lock held and interrupts off. */
static int eventfd_wakes(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *f = container_of(wait, struct irqfd, wait);
	__poll_t events = key_to_poll(key);
	unsigned long flags;
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(f->eventfd, &count);
		inject_irqfd(f);
	}
	if (events & EPOLLHUP) {
		spin_lock_irqsave(&f->vm->irqfds_lock, flags);
		if (!list_empty(&f->list))
			deactivate_locked(f);
		spin_unlock_irqrestore(&f->vm->irqfds_lock, flags);
	}
	return events & EPOLLIN ? 1 : 0;
}

static void queue_proc(struct file *file, wait_queue_head_t *head, poll_table *table)
{
	struct irqfd *f = container_of(table, struct irqfd, poll);

	add_wait_queue_priority(head, &f->wait);
}

bool cb_irqfd_wants_ack(struct cb_vm *vm, u32 gsi)
{
	const struct hlist_head *all = smp_load_acquire(&vm->resamplers);

	return all && !hlist_empty(&all[gsi]);
}

/* Under RCU. */
static void tell_resamplers(struct cb_vm *vm, u32 gsi)
{
	struct irqfd *f;

	cb_irq_set(vm, CB_SRC_RESAMPLE, gsi, false);
	hlist_for_each_entry_rcu(f, &vm->resamplers[gsi], resampler)
	    cb_eventfd_signal(f->resamplefd);
}

void cb_irqfd_acked(struct cb_vm *vm, u32 gsi)
{
	rcu_read_lock();
	if (cb_irqfd_wants_ack(vm, gsi))
		tell_resamplers(vm, gsi);
	rcu_read_unlock();
}

/* Under RCU. */
void cb_irqfd_sint_acked(struct cb_vm *vm, const struct routes *routes, u32 vcpu)
{
	u32 gsi;

	for (gsi = 0; gsi < CB_MAX_ROUTES; gsi++)
		if (cb_irqfd_wants_ack(vm, gsi) && routes_is_sint(routes, gsi, vcpu))
			tell_resamplers(vm, gsi);
}

bool cb_irqfd_awaits_sint(struct cb_vm *vm, const struct routes *routes)
{
	u32 gsi;

	for (gsi = 0; routes->has_sints && gsi < CB_MAX_ROUTES; gsi++)
		if (cb_irqfd_wants_ack(vm, gsi) && routes_leads_to_sint(routes, gsi))
			return true;
	return false;
}

/* Interrupts are off: it is looked for by pins, since of irqfds there may be many. */
u64 cb_irqfd_awaited_pins(struct cb_vm *vm, const struct routes *routes)
{
	const s16 *gsi = routes->gsi_of[0], *end = routes->gsi_of[KVM_NR_IRQCHIPS];
	u64 pins = 0;

	for (; gsi < end; gsi++)
		if (*gsi != NO_GSI && cb_irqfd_wants_ack(vm, *gsi))
			pins |= routes_pins(routes, *gsi);
	return pins;
}

static int activate_irqfd(struct cb_vm *vm, struct irqfd *f)
{
	struct irqfd *other;
	u32 have = 0;
	int r = 0;

	lockdep_assert_held(&vm->lock);
	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry(other, &vm->irqfds, list)
	{
		have++;
		if (other->eventfd == f->eventfd)
			r = -EBUSY;
	}
	if (have == MAX_IRQFDS)
		r = -ENOSPC;
	if (!r) {
		list_add_tail(&f->list, &vm->irqfds);
		if (f->resamplefd)
			hlist_add_head_rcu(&f->resampler, &vm->resamplers[f->gsi]);
	}
	spin_unlock_irq(&vm->irqfds_lock);
	return r;
}

static struct eventfd_ctx *resamplefd_of(const struct kvm_irqfd *args)
{
	return args->flags & KVM_IRQFD_FLAG_RESAMPLE ? eventfd_ctx_fdget(args->resamplefd) : NULL;
}

/* Only few VMs have one that waits for acknowledgements, so it comes with the first. */
static int prepare_resampling(struct cb_vm *vm)
{
	struct hlist_head *all;

	lockdep_assert_held(&vm->lock);
	if (vm->resamplers)
		return 0;
	all = kvcalloc(CB_MAX_ROUTES, sizeof(*all), GFP_KERNEL_ACCOUNT);
	if (!all)
		return -ENOMEM;
	smp_store_release(&vm->resamplers, all);
	return 0;
}

static int assign_irqfd(struct cb_vm *vm, const struct kvm_irqfd *args)
{
	struct file *file = eventfd_fget(args->fd);
	struct irqfd *f;
	int r;

	if (IS_ERR(file))
		return PTR_ERR(file);
	r = -ENOMEM;
	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		goto out_file;
	f->vm = vm;
	f->gsi = args->gsi;
	INIT_WORK(&f->shutdown, shutdown_irqfd);
	init_waitqueue_func_entry(&f->wait, eventfd_wakes);
	init_poll_funcptr(&f->poll, queue_proc);
	f->eventfd = eventfd_ctx_fileget(file);
	f->resamplefd = resamplefd_of(args);
	r = PTR_ERR_OR_ZERO(f->resamplefd);
	if (r)
		goto out_ctx;
	mutex_lock(&vm->lock);
	if (f->resamplefd)
		r = prepare_resampling(vm);
	if (!r)
		r = activate_irqfd(vm, f);
	if (!r) {
		cb_irq_update_eoi(vm); /* before the first interrupt, whose end it is to hear of */
		find_producer(f);
	}
	if (!r && (vfs_poll(file, &f->poll) & EPOLLIN))
		inject_irqfd(f);
	mutex_unlock(&vm->lock);
	if (r)
		goto out_resample;
	/*
	 * f may have been freed by now, or is so by the eventfd's end as soon as the file is let
	 * go.
	 */
	fput(file);
	return 0;

out_resample:
	if (f->resamplefd)
		eventfd_ctx_put(f->resamplefd);
out_ctx:
	eventfd_ctx_put(f->eventfd);
	kfree(f);
out_file:
	fput(file);
	return r;
}

static int deassign_irqfd(struct cb_vm *vm, const struct kvm_irqfd *args)
{
	struct eventfd_ctx *ctx = eventfd_ctx_fdget(args->fd);
	struct irqfd *f, *next;

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	mutex_lock(&vm->lock); /* none is between its list and its eventfd */
	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds,
				 list) if (f->eventfd == ctx && f->gsi == args->gsi)
	    deactivate_locked(f);
	spin_unlock_irq(&vm->irqfds_lock);
	mutex_unlock(&vm->lock);
	eventfd_ctx_put(ctx);
	/* After return no interrupt comes from it any more. */
	flush_workqueue(cb_wq);
	cb_irq_update_eoi(vm);
	return 0;
}

int cb_irqfd(struct cb_vm *vm, const struct kvm_irqfd *args)
{
	if (vm->irqchip == CB_IRQCHIP_NONE ||
	    (args->flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)))
		return -EINVAL;
	if (args->gsi >= CB_MAX_ROUTES)
		return -EINVAL;
	/* Of an IOAPIC that the VMM has, nobody here hears of acknowledgements. */
	if (args->flags == KVM_IRQFD_FLAG_RESAMPLE && vm->irqchip != CB_IRQCHIP_FULL)
		return -EINVAL;
	return args->flags & KVM_IRQFD_FLAG_DEASSIGN ? deassign_irqfd(vm, args)
						     : assign_irqfd(vm, args);
}

void cb_irqfd_release(struct cb_vm *vm)
{
	struct irqfd *f, *next;

	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds, list) deactivate_locked(f);
	spin_unlock_irq(&vm->irqfds_lock);
	flush_workqueue(cb_wq);
}
