/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/unit.h"

#define COMMAND_SIZE 16u

bool unit_make_queue(struct iommu_unit *u)
{
	_Static_assert(IOMMU_QUEUE * COMMAND_SIZE == PAGE_SIZE, "a queue is a page");
	BUG_ON(u->queue);
	u->queue = pool_alloc(1, NULL);
	if (!u->queue)
		return false;
	u->done = u->queue + PAGE_SIZE / sizeof(u64);
	u->tail = 0;
	return true;
}

bool unit_command(struct iommu_unit *u, u32 head, u32 tail, u64 lo, u64 hi)
{
	u32 next = (u->tail + 1) % IOMMU_QUEUE;

	BUG_ON(!u->queue || u->tail >= IOMMU_QUEUE);
	if (!UNIT_WAIT(unit_read64(u, head) / COMMAND_SIZE != next))
		return false;
	WRITE_ONCE(u->queue[2 * u->tail], lo);
	WRITE_ONCE(u->queue[2 * u->tail + 1], hi);
	u->tail = next;
	unit_write64(u, tail, next * COMMAND_SIZE);
	return true;
}

bool unit_wait_done(struct iommu_unit *u, u32 head, u32 tail, u64 lo, u64 hi)
{
	WRITE_ONCE(*u->done, 0);
	return unit_command(u, head, tail, lo, hi) && UNIT_WAIT(READ_ONCE(*u->done));
}
