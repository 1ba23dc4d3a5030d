// SPDX-License-Identifier: GPL-2.0-only
/*
 * ioeventfd: a guest's write signals an eventfd. The hypervisor matches the write (a doorbell) and
 * lets the guest go on. It has a number of them for all, of which a user gets no more than a part
 * (limits.c): the write of an ioeventfd that has got none comes here as any other, and is matched
 * here. That is slower, but no VMM is prepared for an error.
 */
#include "dom0.h"
#include "irq.h"
#include "kmod.h"

#define NO_DOORBELL (~0u)
#define MAX_OF_BUS  16384u /* KVM has as many as there are descriptors; the list is walked */
#define FLAG_PIO    KVM_IOEVENTFD_FLAG_PIO
#define FLAGS	    (KVM_IOEVENTFD_FLAG_DATAMATCH | FLAG_PIO | KVM_IOEVENTFD_FLAG_DEASSIGN)

static DEFINE_MUTEX(doorbell_ids); /* see cb_event_add_doorbell() */

/* Its size is a power of two, so that kmalloc() has it within a page. */
static_assert(sizeof(struct corbel_doorbell) == 32);

struct ioeventfd {
	struct list_head list; /* vm->ioeventfds */
	struct list_head slow; /* vm->slow_ioeventfds, or empty */
	struct eventfd_ctx *ctx;
	u64 addr, data;
	u32 len;
	u32 flags;		     /* KVM_IOEVENTFD_FLAG_DATAMATCH, _PIO */
	u32 doorbell;		     /* the hypervisor's number */
	struct corbel_doorbell *arg; /* of its hypercalls: to give it back must not take memory */
};

static long doorbell_call(struct cb_vm *vm, const struct ioeventfd *e, u32 flags)
{
	struct corbel_doorbell *d = e->arg;

	d->addr = e->addr;
	d->data = e->data;
	d->len = e->len;
	d->id = e->doorbell;
	d->flags = flags;
	if (e->flags & FLAG_PIO)
		d->flags |= CORBEL_DOORBELL_PIO;
	if (e->flags & KVM_IOEVENTFD_FLAG_DATAMATCH)
		d->flags |= CORBEL_DOORBELL_MATCH;
	return HC2(DOORBELL, vm->id, cb_phys(d));
}

static int take_doorbell(struct cb_vm *vm, struct ioeventfd *e)
{
	long number = cb_account_doorbell(vm->account);

	if (number)
		return number;
	mutex_lock(&doorbell_ids);
	number = doorbell_call(vm, e, 0);
	if (number >= 0) {
		e->doorbell = number;
		cb_event_add_doorbell(number, e->ctx);
	}
	mutex_unlock(&doorbell_ids);
	if (number < 0)
		cb_account_doorbell_gone(vm->account);
	return number < 0 ? number : 0;
}

static int add_doorbell(struct cb_vm *vm, struct ioeventfd *e)
{
	int r;

	if (!vm->id)
		return 0; /* cb_ioeventfd_realize() */
	r = take_doorbell(vm, e);
	if (r != -ENOSPC)
		return r;
	spin_lock(&vm->zones_lock);
	list_move_tail(&e->slow, &vm->slow_ioeventfds);
	spin_unlock(&vm->zones_lock);
	return 0;
}

static void free_ioeventfd(struct cb_vm *vm, struct ioeventfd *e)
{
	if (e->doorbell != NO_DOORBELL) {
		mutex_lock(&doorbell_ids);
		doorbell_call(vm, e, CORBEL_DOORBELL_REMOVE);
		cb_event_del_doorbell(e->doorbell);
		mutex_unlock(&doorbell_ids);
		cb_account_doorbell_gone(vm->account);
	}
	spin_lock(&vm->zones_lock);
	list_del(&e->slow);
	spin_unlock(&vm->zones_lock);
	eventfd_ctx_put(e->ctx);
	kfree(e->arg);
	kfree(e);
}

int cb_ioeventfd_realize(struct cb_vm *vm)
{
	struct ioeventfd *e;
	int r = 0;

	list_for_each_entry(e, &vm->ioeventfds, list)
	{
		if (e->doorbell == NO_DOORBELL && list_empty(&e->slow))
			r = add_doorbell(vm, e);
		if (r)
			break;
	}
	return r;
}

/* Would both answer to one write? */
static bool doorbells_collide(const struct ioeventfd *a, const struct ioeventfd *b)
{
	if (a->addr != b->addr || ((a->flags ^ b->flags) & FLAG_PIO))
		return false;
	if (a->len && b->len && a->len != b->len)
		return false;
	return !(a->flags & b->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) || a->data == b->data;
}

static int assign_ioeventfd(struct cb_vm *vm, struct ioeventfd *new)
{
	struct ioeventfd *e;
	u32 have = 0;
	int r;

	list_for_each_entry(e, &vm->ioeventfds, list)
	{
		if (doorbells_collide(e, new))
			return -EEXIST;
		have += !((e->flags ^ new->flags) & FLAG_PIO);
	}
	if (have == MAX_OF_BUS)
		return -ENOSPC;
	r = add_doorbell(vm, new);
	if (!r)
		list_add_tail(&new->list, &vm->ioeventfds);
	return r;
}

static int deassign_ioeventfd(struct cb_vm *vm, const struct ioeventfd *like)
{
	struct ioeventfd *e;

	list_for_each_entry(e, &vm->ioeventfds, list)
	{
		if (e->ctx != like->ctx || e->addr != like->addr || e->len != like->len ||
		    e->flags != like->flags)
			continue;
		if ((e->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) && e->data != like->data)
			continue;
		list_del(&e->list);
		free_ioeventfd(vm, e);
		return 0;
	}
	return -ENOENT;
}

static int check_ioeventfd(const struct kvm_ioeventfd *args)
{
	bool match = args->flags & KVM_IOEVENTFD_FLAG_DATAMATCH;

	if (args->flags & ~FLAGS)
		return -EINVAL;
	if (args->len && (args->len > 8 || !is_power_of_2(args->len)))
		return -EINVAL;
	if (!args->len && match)
		return -EINVAL;
	if (args->addr + args->len < args->addr)
		return -EINVAL;
	if ((args->flags & FLAG_PIO) && args->addr > 0xffff)
		return -EINVAL;
	return 0;
}

int cb_ioeventfd(struct cb_vm *vm, const struct kvm_ioeventfd *args)
{
	bool remove = args->flags & KVM_IOEVENTFD_FLAG_DEASSIGN;
	struct ioeventfd *e;
	int r = check_ioeventfd(args);

	if (r)
		return r;
	e = kzalloc(sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e)
		return -ENOMEM;
	r = -ENOMEM;
	e->arg = kzalloc(sizeof(*e->arg), GFP_KERNEL_ACCOUNT);
	if (!e->arg)
		goto out;
	e->ctx = eventfd_ctx_fdget(args->fd);
	r = PTR_ERR_OR_ZERO(e->ctx);
	if (r)
		goto out;
	e->addr = args->addr;
	e->data = args->datamatch;
	e->len = args->len;
	e->flags = args->flags & ~KVM_IOEVENTFD_FLAG_DEASSIGN;
	e->doorbell = NO_DOORBELL;
	INIT_LIST_HEAD(&e->slow);
	mutex_lock(&vm->lock);
	r = remove ? deassign_ioeventfd(vm, e) : assign_ioeventfd(vm, e);
	if (r || remove)
		free_ioeventfd(vm, e);
	mutex_unlock(&vm->lock);
	return r;
out:
	kfree(e->arg);
	kfree(e);
	return r;
}

static bool matches_write(const struct ioeventfd *e, u64 addr, u32 len, u64 data, bool pio)
{
	return e->addr == addr && !(e->flags & FLAG_PIO) == !pio && (!e->len || e->len == len) &&
	       (!(e->flags & KVM_IOEVENTFD_FLAG_DATAMATCH) || e->data == data);
}

bool cb_ioeventfd_write(struct cb_vm *vm, u64 addr, u32 len, const void *data, bool pio)
{
	struct ioeventfd *e;
	bool found = false;
	u64 val = 0;

	if (list_empty(&vm->slow_ioeventfds) || len > sizeof(val))
		return false;
	memcpy(&val, data, len);
	spin_lock(&vm->zones_lock);
	list_for_each_entry(e, &vm->slow_ioeventfds, slow)
	{
		found = matches_write(e, addr, len, val, pio);
		if (found) {
			cb_eventfd_signal(e->ctx);
			break;
		}
	}
	spin_unlock(&vm->zones_lock);
	return found;
}

void cb_ioeventfd_release(struct cb_vm *vm)
{
	struct ioeventfd *e, *next;

	list_for_each_entry_safe(e, next, &vm->ioeventfds, list) free_ioeventfd(vm, e);
}
