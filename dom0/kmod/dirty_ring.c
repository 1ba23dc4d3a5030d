// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty ring: a vCPU's list of the pages that it has written, mapped by user space, in place of
 * the bitmap of a slot (KVM_CAP_DIRTY_LOG_RING).
 *
 * In a slot with a log a page is mapped for writing only by the fault of a write, which puts it
 * into the ring of the vCPU that faults (fault.c). KVM_RESET_DIRTY_RINGS takes the pages that user
 * space has harvested away from the guest: the next access maps them anew. So nothing is asked of
 * the hypervisor, and what notifiers take away is in a ring already.
 *
 * Of what user space writes into a ring only this is used: that an entry in use has been harvested,
 * and which page is to be logged again, if there is one. It can spoil nothing but its own log.
 */
#include "kmod.h"
#include "memory.h"

#include <linux/sched/signal.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#define RING_RESERVED 64u  /* entries left when user space is told that a ring is full */
#define RESET_BATCH   512u /* pages sorted, and taken from the guest, at a time */

/* Between the two of them entries are in use; both only grow. */
static u32 ring_used(const struct cb_dirty_ring *r)
{
	return r->pushed - smp_load_acquire(&r->reset);
}

bool cb_ring_is_full(const struct cb_dirty_ring *r)
{
	return r->gfns && ring_used(r) >= r->size - RING_RESERVED;
}

bool cb_ring_has_room(const struct cb_dirty_ring *r, u32 entries)
{
	return !r->gfns || ring_used(r) + entries <= r->size;
}

static struct kvm_dirty_gfn __shared *ring_entry(const struct cb_dirty_ring *r, u32 number)
{
	return &r->gfns[number & (r->size - 1)];
}

void cb_ring_push(struct cb_dirty_ring *r, u32 slot, u64 offset)
{
	struct kvm_dirty_gfn __shared *e = ring_entry(r, r->pushed);

	WRITE_ONCE(e->slot, slot);
	WRITE_ONCE(e->offset, offset);
	smp_store_release(&e->flags, KVM_DIRTY_GFN_F_DIRTY);
	smp_store_release(&r->pushed, r->pushed + 1);
}

/* The next entry, if user space has harvested it; what it names may be anything. */
static bool ring_take(struct cb_dirty_ring *r, u32 end, u32 *slot, u64 *offset)
{
	struct kvm_dirty_gfn __shared *e = ring_entry(r, r->reset);

	if (r->reset == end || !(READ_ONCE(e->flags) & KVM_DIRTY_GFN_F_RESET))
		return false;
	*slot = READ_ONCE(e->slot);
	*offset = READ_ONCE(e->offset);
	WRITE_ONCE(e->flags, 0);
	smp_store_release(&r->reset, r->reset + 1);
	return true;
}

static int by_number(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

/* Those that follow each other go at once: each time is a flush of TLBs. */
static void take_pages(struct cb_vm *vm, u64 *gfns, u32 n)
{
	u32 first, end;

	sort(gfns, n, sizeof(*gfns), by_number, NULL);
	for (first = 0; first < n; first = end) {
		for (end = first + 1; end < n && gfns[end] - gfns[end - 1] <= 1; end++)
			;
		cb_mem_unmap(vm, gfns[first], gfns[end - 1] - gfns[first] + 1);
	}
}

/* What is pushed meanwhile waits for the next time, so that this ends. */
static u32 reset_ring(struct cb_vm *vm, struct cb_dirty_ring *r, u64 *gfns)
{
	u32 end = smp_load_acquire(&r->pushed), done = 0, n = 0, slot;
	const struct cb_slot *s = NULL;
	u64 offset;

	while (ring_take(r, end, &slot, &offset)) {
		done++;
		if (!s || s->id != slot)
			s = cb_mem_logged_slot(vm, slot);
		if (s && offset < s->pages)
			gfns[n++] = s->gfn + offset;
		if (n < RESET_BATCH)
			continue;
		take_pages(vm, gfns, n);
		n = 0;
		cond_resched();
		if (fatal_signal_pending(current))
			break;
	}
	take_pages(vm, gfns, n);
	return done;
}

int cb_ring_reset(struct cb_vm *vm)
{
	u32 vcpus = smp_load_acquire(&vm->vcpus), i;
	u64 *gfns;
	int done = 0;

	if (!READ_ONCE(vm->ring_entries))
		return -EINVAL;
	gfns = kmalloc_array(RESET_BATCH, sizeof(*gfns), GFP_KERNEL);
	if (!gfns)
		return -ENOMEM;
	mutex_lock(&vm->slots_lock);
	for (i = 0; i < vcpus && !fatal_signal_pending(current); i++)
		done += reset_ring(vm, &vm->vcpu[i]->dirty, gfns);
	mutex_unlock(&vm->slots_lock);
	kfree(gfns);
	return done;
}

int cb_ring_enable(struct cb_vm *vm, u64 bytes)
{
	int r = 0;

	if (!is_power_of_2(bytes) || bytes < PAGE_SIZE)
		return -EINVAL;
	if (bytes > CB_RING_BYTES)
		return -E2BIG;
	mutex_lock(&vm->lock);
	if (vm->ring_entries || vm->vcpus)
		r = -EINVAL;
	else
		WRITE_ONCE(vm->ring_entries, bytes / sizeof(struct kvm_dirty_gfn));
	mutex_unlock(&vm->lock);
	return r;
}

int cb_ring_alloc(struct cb_dirty_ring *r, u32 entries)
{
	if (!entries)
		return 0;
	r->size = entries;
	r->gfns = (void __shared *)__vmalloc(entries * sizeof(struct kvm_dirty_gfn),
					     GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	return r->gfns ? 0 : -ENOMEM;
}

void cb_ring_free(struct cb_dirty_ring *r)
{
	vfree(shared_plain(r->gfns));
}

void __shared *cb_ring_page(const struct cb_dirty_ring *r, u64 number)
{
	if (!r->gfns || number >= r->size * sizeof(struct kvm_dirty_gfn) >> PAGE_SHIFT)
		return NULL;
	return (u8 __shared *)r->gfns + (number << PAGE_SHIFT);
}
