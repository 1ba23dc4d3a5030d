// SPDX-License-Identifier: GPL-2.0-only
/*
 * irqfd: a write to an eventfd drives a GSI, straight from the writer's context. With a resample
 * eventfd the line stays high until the guest has acknowledged it, which is then told by that
 * eventfd.
 *
 * An irqfd is in its VM's list before it waits at its eventfd. What takes it out again and frees it
 * therefore must not come in between: deassigning is kept out by vm->lock, the eventfd's end by a
 * reference to its file, the VM's end by the ioctl's.
 */
#include "kmod.h"

#include <linux/file.h>
#include <linux/poll.h>
#include <linux/workqueue.h>

struct irqfd {
	struct cb_vm *vm;
	u32 gsi;
	struct eventfd_ctx *eventfd, *resamplefd;
	wait_queue_entry_t wait;
	poll_table poll;
	struct list_head list;	    /* vm->irqfds; empty once it is being shut down */
	struct list_head resampler; /* vm->resamplers, if there is a resamplefd */
	struct work_struct shutdown;
};

static void inject(struct irqfd *f)
{
	if (f->resamplefd) {
		cb_irq_set(f->vm, CB_SRC_RESAMPLE, f->gsi, true);
		return;
	}
	cb_irq_set(f->vm, CB_SRC_IRQFD, f->gsi, true);
	cb_irq_set(f->vm, CB_SRC_IRQFD, f->gsi, false);
}

static void shutdown(struct work_struct *work)
{
	struct irqfd *f = container_of(work, struct irqfd, shutdown);
	u64 count;

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
		list_del_rcu(&f->resampler);
	queue_work(cb_wq, &f->shutdown);
}

/* Called with the eventfd's lock held and interrupts off. */
static int wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct irqfd *f = container_of(wait, struct irqfd, wait);
	__poll_t events = key_to_poll(key);
	unsigned long flags;
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(f->eventfd, &count);
		inject(f);
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

void cb_irqfd_acked(struct cb_vm *vm, u32 gsi)
{
	struct irqfd *f;
	bool lowered = false;

	rcu_read_lock();
	list_for_each_entry_rcu(f, &vm->resamplers, resampler)
	{
		if (f->gsi != gsi)
			continue;
		if (!lowered)
			cb_irq_set(vm, CB_SRC_RESAMPLE, gsi, false);
		lowered = true;
		cb_eventfd_signal(f->resamplefd);
	}
	rcu_read_unlock();
}

bool cb_irqfd_wants_ack(struct cb_vm *vm, u32 gsi)
{
	struct irqfd *f;
	bool found = false;

	rcu_read_lock();
	list_for_each_entry_rcu(f, &vm->resamplers, resampler) found |= f->gsi == gsi;
	rcu_read_unlock();
	return found;
}

static int activate(struct cb_vm *vm, struct irqfd *f)
{
	struct irqfd *other;
	int r = 0;

	lockdep_assert_held(&vm->lock);
	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry(other, &vm->irqfds, list) if (other->eventfd == f->eventfd) r = -EBUSY;
	if (!r) {
		list_add_tail(&f->list, &vm->irqfds);
		if (f->resamplefd)
			list_add_tail_rcu(&f->resampler, &vm->resamplers);
	}
	spin_unlock_irq(&vm->irqfds_lock);
	return r;
}

static struct eventfd_ctx *resamplefd_of(const struct kvm_irqfd *args)
{
	return args->flags & KVM_IRQFD_FLAG_RESAMPLE ? eventfd_ctx_fdget(args->resamplefd) : NULL;
}

static int assign(struct cb_vm *vm, const struct kvm_irqfd *args)
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
	INIT_WORK(&f->shutdown, shutdown);
	init_waitqueue_func_entry(&f->wait, wakeup);
	init_poll_funcptr(&f->poll, queue_proc);
	f->eventfd = eventfd_ctx_fileget(file);
	f->resamplefd = resamplefd_of(args);
	r = PTR_ERR_OR_ZERO(f->resamplefd);
	if (r)
		goto out_ctx;
	mutex_lock(&vm->lock);
	r = activate(vm, f);
	if (!r && (vfs_poll(file, &f->poll) & EPOLLIN))
		inject(f);
	mutex_unlock(&vm->lock);
	if (r)
		goto out_resample;
	/*
	 * f may have been freed by now, or is so by the eventfd's end as soon as the file is let
	 * go.
	 */
	fput(file);
	cb_irq_update_eoi(vm);
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

static int deassign(struct cb_vm *vm, const struct kvm_irqfd *args)
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
	return args->flags & KVM_IRQFD_FLAG_DEASSIGN ? deassign(vm, args) : assign(vm, args);
}

void cb_irqfd_release(struct cb_vm *vm)
{
	struct irqfd *f, *next;

	spin_lock_irq(&vm->irqfds_lock);
	list_for_each_entry_safe(f, next, &vm->irqfds, list) deactivate_locked(f);
	spin_unlock_irq(&vm->irqfds_lock);
	flush_workqueue(cb_wq);
}
