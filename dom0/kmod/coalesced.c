// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coalesced writes: what guests write to a zone of ports or memory waits in a ring until user space
 * is there for another reason. A VM has one ring; each of its vCPUs maps it.
 */
#include "irq.h"
#include "kmod.h"

#define MAX_ZONES 1000u /* as many devices as KVM allows on a bus */

struct cb_zone {
	struct list_head list;
	u64 addr;
	u32 size;
	bool pio;
};

static bool zone_holds(const struct cb_zone *z, u64 addr, u32 len, bool pio)
{
	return z->pio == pio && addr >= z->addr && len <= z->size &&
	       addr - z->addr <= z->size - len;
}

void cb_coalesced_init(struct cb_vm *vm)
{
	spin_lock_init(&vm->zones_lock);
	INIT_LIST_HEAD(&vm->zones);
}

struct kvm_coalesced_mmio_ring __shared *cb_coalesced_ring(struct cb_vm *vm)
{
	struct kvm_coalesced_mmio_ring __shared *new, *ring = READ_ONCE(vm->ring);

	if (ring)
		return ring;
	new = (void __shared *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!new)
		return NULL;
	ring = cmpxchg(&vm->ring, NULL, new);
	if (!ring)
		return new;
	free_page((unsigned long)new); /* another thread was first */
	return ring;
}

static void free_zones(struct list_head *zones)
{
	struct cb_zone *z, *next;

	list_for_each_entry_safe(z, next, zones, list) kfree(z);
}

void cb_coalesced_exit(struct cb_vm *vm)
{
	free_zones(&vm->zones);
	free_page((unsigned long)vm->ring);
}

int cb_coalesced_add(struct cb_vm *vm, const struct kvm_coalesced_mmio_zone *arg)
{
	struct cb_zone *z;
	int r = 0;

	if (arg->pio > 1)
		return -EINVAL;
	if (!cb_coalesced_ring(vm))
		return -ENOMEM;
	z = kzalloc(sizeof(*z), GFP_KERNEL_ACCOUNT);
	if (!z)
		return -ENOMEM;
	z->addr = arg->addr;
	z->size = arg->size;
	z->pio = arg->pio;
	spin_lock(&vm->zones_lock);
	if (vm->zone_count == MAX_ZONES) {
		r = -ENOSPC;
	} else {
		vm->zone_count++;
		list_add_tail(&z->list, &vm->zones);
	}
	spin_unlock(&vm->zones_lock);
	if (r)
		kfree(z);
	return r;
}

/* All zones that hold this range; KVM has no complaint if there are none. */
int cb_coalesced_del(struct cb_vm *vm, const struct kvm_coalesced_mmio_zone *arg)
{
	struct cb_zone *z, *next;
	LIST_HEAD(gone);

	if (arg->pio > 1)
		return -EINVAL;
	spin_lock(&vm->zones_lock);
	list_for_each_entry_safe(z, next, &vm->zones,
				 list) if (zone_holds(z, arg->addr, arg->size, arg->pio))
	{
		vm->zone_count--;
		list_move(&z->list, &gone);
	}
	spin_unlock(&vm->zones_lock);
	free_zones(&gone);
	return 0;
}

static bool in_zone(const struct cb_vm *vm, u64 addr, u32 len, bool pio)
{
	const struct cb_zone *z;

	list_for_each_entry(z, &vm->zones, list) if (zone_holds(z, addr, len, pio)) return true;
	return false;
}

/* User space may have written anything into the ring. False: full, or spoilt. */
static bool ring_put(struct kvm_coalesced_mmio_ring __shared *ring, u64 addr, u32 len,
		     const void *data, bool pio)
{
	u32 last = READ_ONCE(ring->last), next = (last + 1) % KVM_COALESCED_MMIO_MAX;
	struct kvm_coalesced_mmio __shared *e;

	if (last >= KVM_COALESCED_MMIO_MAX || next == READ_ONCE(ring->first))
		return false;
	e = &ring->coalesced_mmio[last];
	WRITE_ONCE(e->phys_addr, addr);
	WRITE_ONCE(e->len, len);
	WRITE_ONCE(e->pio, pio);
	shared_write(e->data, data, len);
	smp_store_release(&ring->last, next);
	return true;
}

bool cb_coalesce(struct cb_vm *vm, u64 addr, u32 len, const void *data, bool pio)
{
	bool taken;

	if (list_empty(&vm->zones) || len > sizeof_field(struct kvm_coalesced_mmio, data))
		return false;
	spin_lock(&vm->zones_lock);
	taken = in_zone(vm, addr, len, pio) && ring_put(vm->ring, addr, len, data, pio);
	spin_unlock(&vm->zones_lock);
	return taken;
}
