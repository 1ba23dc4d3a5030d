/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/unit.h"
#include "hv/lib/asm.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define COMMAND_SIZE 16u
#define NOT_ENDED    "does not end what it has been told"

void unit_exchange(u64 *entry, u64 low, u64 high)
{
	u64 old_low = entry[0], old_high = entry[1];
	bool done;

	__asm__ volatile("lock cmpxchg16b (%5)"
			 : "=@ccz"(done), "+a"(old_low), "+d"(old_high)
			 : "b"(low), "c"(high), "r"(entry)
			 : "memory");
	BUG_ON(!done); /* nobody else writes there */
}

void unit_must(const struct iommu_unit *u, bool done, const char *what)
{
	if (done)
		return;
	if (!u->is_set_up)
		boot_fail("the %s unit at %lx %s; start with iommu=dom0", u->ops->name, u->at,
			  what);
	panic("the %s unit at %lx %s: devices may reach what is no longer theirs; see to the "
	      "hardware",
	      u->ops->name, u->at, what);
}

void *unit_alloc(const struct iommu_unit *u, u32 order)
{
	void *pages = pool_alloc(order, NULL);

	unit_must(u, pages, "has no memory for its tables");
	return pages;
}

void unit_written(const struct iommu_unit *u, const void *entries, u64 len)
{
	if (!u->coherent)
		cache_write_back(entries, len);
}

void unit_make_queue(struct iommu_unit *u)
{
	_Static_assert(IOMMU_QUEUE * COMMAND_SIZE == PAGE_SIZE, "a queue is a page");
	if (!u->queue)
		u->queue = unit_alloc(u, 1);
	u->done = u->queue + PAGE_SIZE / sizeof(u64);
	u->tail = 0;
}

void unit_submit(struct iommu_unit *u, u64 lo, u64 hi)
{
	u32 next = (u->tail + 1) % IOMMU_QUEUE;

	BUG_ON(!u->queue || u->tail >= IOMMU_QUEUE);
	unit_must(u, UNIT_WAIT(unit_read64(u, u->ops->head) / COMMAND_SIZE != next), NOT_ENDED);
	WRITE_ONCE(u->queue[2 * u->tail], lo);
	WRITE_ONCE(u->queue[2 * u->tail + 1], hi);
	u->tail = next;
	unit_write64(u, u->ops->tail, next * COMMAND_SIZE);
}

void unit_do(struct iommu_unit *u, u64 lo, u64 hi)
{
	u64 wait[2] = {u->ops->wait[0], u->ops->wait[1]};

	wait[u->ops->wait_at] |= virt_to_hpa(u->done).v;
	WRITE_ONCE(*u->done, 0);
	unit_submit(u, lo, hi);
	unit_submit(u, wait[0], wait[1]);
	unit_must(u, UNIT_WAIT(READ_ONCE(*u->done)), NOT_ENDED);
}
