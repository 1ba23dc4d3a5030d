/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/mm/frame.h"
#include "boot/boot.h"
#include "hv/lib/log.h"
#include "hv/mm/pool.h"

static struct frame *frames;
static u64 frames_nr;

/*
 * Set the kind of all frames that lie wholly inside (RAM) or touch (everything else) the byte
 * range.
 */
static void set_range(u64 start, u64 end, enum frame_kind kind)
{
	if (kind == FRAME_DOM0)
		start = ALIGN_UP(start, PAGE_SIZE);
	else
		end = ALIGN_UP(end, PAGE_SIZE);
	for (u64 pfn = start >> PAGE_SHIFT; pfn < MIN(end >> PAGE_SHIFT, frames_nr); pfn++)
		frames[pfn].kind = kind;
}

int frame_init(const struct mem_map *map, u64 image_start, u64 image_end, u64 pool_start,
	       u64 pool_end)
{
	u64 end = 0;

	for (u32 i = 0; i < map->count; i++)
		if (map->r[i].kind == MEM_RAM)
			end = MAX(end, map->r[i].end);
	frames_nr = end >> PAGE_SHIFT;
	frames = pool_take_front(frames_nr * sizeof(struct frame));
	if (!frames)
		return -ENOMEM;
	for (u32 i = 0; i < map->count; i++)
		if (map->r[i].kind == MEM_RAM)
			set_range(map->r[i].start, map->r[i].end, FRAME_DOM0);
	set_range(image_start, image_end, FRAME_HV);
	set_range(pool_start, pool_end, FRAME_HV);
	return 0;
}

u64 frame_count(void)
{
	return frames_nr;
}

struct frame *frame_of(u64 pfn)
{
	return pfn < frames_nr ? &frames[pfn] : NULL;
}

static bool frame_get_one(u64 pfn)
{
	struct frame *f = frame_of(pfn);

	if (!f || READ_ONCE(f->kind) != FRAME_DOM0)
		return false;
	/* Far below the wrap, whatever a domain maps and on how many CPUs at once. */
	if (__atomic_add_fetch(&f->maps, 1, __ATOMIC_RELAXED) <= UINT32_MAX / 2)
		return true;
	__atomic_sub_fetch(&f->maps, 1, __ATOMIC_RELAXED);
	return false;
}

int frame_get(u64 pfn, u64 count)
{
	for (u64 i = 0; i < count; i++) {
		if (!frame_get_one(pfn + i)) {
			frame_put(pfn, i);
			return -EPERM;
		}
	}
	return 0;
}

void frame_put(u64 pfn, u64 count)
{
	for (u64 i = 0; i < count; i++) {
		struct frame *f = frame_of(pfn + i);

		BUG_ON(!f || !f->maps || f->kind != FRAME_DOM0);
		__atomic_sub_fetch(&f->maps, 1, __ATOMIC_RELEASE);
	}
}

void frame_set_kind(u64 pfn, enum frame_kind kind)
{
	struct frame *f = frame_of(pfn);

	BUG_ON(!f || f->maps);
	WRITE_ONCE(f->kind, kind);
}
