/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/mm/frame.h"
#include "boot/boot.h"
#include "hv/lib/log.h"
#include "hv/mm/pool.h"

/* RAM without a hole, sorted by pfn; set once */
static struct ram {
	u64 start, end;	      /* pfns, end exclusive */
	struct frame *frames; /* of start and up */
} rams[BOOT_MAX_REGIONS];
static u32 ram_count;
static struct frame hole = {.kind = FRAME_NONE};

/* The first region that ends behind pfn; NULL: all end before. */
static struct ram *find_ram(u64 pfn)
{
	u32 lo = 0, hi = ram_count;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (rams[mid].end > pfn)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < ram_count ? &rams[lo] : NULL;
}

/* Set the kind of all frames of RAM that touch the byte range. */
static void set_range(u64 start, u64 end, enum frame_kind kind)
{
	u64 stop = ALIGN_UP(end, PAGE_SIZE) >> PAGE_SHIFT;

	for (struct ram *r = rams; r < rams + ram_count; r++)
		for (u64 i = MAX(start >> PAGE_SHIFT, r->start); i < MIN(stop, r->end); i++)
			r->frames[i - r->start].kind = kind;
}

/* Note where RAM is, as far as pages are wholly in it. -> frames */
static u64 find_regions(const struct mem_map *map)
{
	u64 sum = 0;

	ram_count = 0;
	for (u32 i = 0; i < map->count; i++) {
		const struct mem_region *r = &map->r[i];
		u64 start = ALIGN_UP(r->start, PAGE_SIZE) >> PAGE_SHIFT, end = r->end >> PAGE_SHIFT;

		if (r->kind != MEM_RAM || start >= end)
			continue;
		BUG_ON(ram_count && rams[ram_count - 1].end >= start);
		rams[ram_count++] = (struct ram){.start = start, .end = end};
		sum += end - start;
	}
	return sum;
}

int frame_init(const struct boot_info *bi)
{
	struct frame *next = pool_take_front(find_regions(&bi->map) * sizeof(*next));

	if (!next)
		return -ENOMEM;
	for (struct ram *r = rams; r < rams + ram_count; r++) {
		r->frames = next;
		next += r->end - r->start;
	}
	set_range(0, ~0ull & PAGE_MASK, FRAME_DOM0);
	set_range(bi->image_start, bi->image_end, FRAME_HV);
	set_range(bi->pool_start, bi->pool_end, FRAME_HV);
	return 0;
}

u64 frame_count(void)
{
	return ram_count ? rams[ram_count - 1].end : 0;
}

bool frame_next_ram(u64 *pfn, u64 *end)
{
	const struct ram *r = find_ram(*pfn);

	if (!r)
		return false;
	*pfn = MAX(*pfn, r->start);
	*end = r->end;
	return true;
}

bool frame_has_ram(u64 pfn, u64 count)
{
	u64 first = pfn, end;

	return frame_next_ram(&first, &end) && first < pfn + count;
}

bool frame_next_dom0(u64 *pfn, u64 *end)
{
	for (u64 stop; frame_next_ram(pfn, &stop); *pfn = stop) {
		const struct frame *f = frame_of(*pfn);

		for (; *pfn < stop && f->kind != FRAME_DOM0; f++)
			++*pfn;
		for (*end = *pfn; *end < stop && f->kind == FRAME_DOM0; f++)
			++*end;
		if (*end > *pfn)
			return true;
	}
	return false;
}

struct frame *frame_of(u64 pfn)
{
	const struct ram *r = find_ram(pfn);

	if (!r)
		return NULL;
	return pfn < r->start ? &hole : &r->frames[pfn - r->start];
}

static bool get_one(struct frame *f)
{
	if (READ_ONCE(f->kind) != FRAME_DOM0)
		return false;
	/* Far below the wrap, whatever a domain maps and on how many CPUs at once. */
	if (__atomic_add_fetch(&f->maps, 1, __ATOMIC_RELAXED) <= UINT32_MAX / 2)
		return true;
	__atomic_sub_fetch(&f->maps, 1, __ATOMIC_RELAXED);
	return false;
}

int frame_get(u64 pfn, u64 count)
{
	const struct ram *r = find_ram(pfn);

	if (!r || pfn < r->start || count > r->end - pfn)
		return -EPERM;
	for (u64 i = 0; i < count; i++) {
		if (!get_one(&r->frames[pfn + i - r->start])) {
			frame_put(pfn, i);
			return -EPERM;
		}
	}
	return 0;
}

void frame_put(u64 pfn, u64 count)
{
	struct frame *f = frame_of(pfn);

	for (u64 i = 0; i < count; i++, f++) {
		BUG_ON(!f || !f->maps || f->kind != FRAME_DOM0);
		__atomic_sub_fetch(&f->maps, 1, __ATOMIC_RELEASE);
	}
}

int frame_take(u64 pfn, u64 count)
{
	const struct ram *r = find_ram(pfn);
	struct frame *f;

	if (!r || pfn < r->start || count > r->end - pfn)
		return -EPERM;
	f = &r->frames[pfn - r->start];
	for (u64 i = 0; i < count; i++) {
		if (f[i].kind != FRAME_DOM0)
			return -EPERM;
		if (READ_ONCE(f[i].maps))
			return -EBUSY;
	}
	for (u64 i = 0; i < count; i++)
		frame_set_kind(pfn + i, FRAME_HV);
	return 0;
}

void frame_give(u64 pfn, u64 count)
{
	for (u64 i = 0; i < count; i++) {
		BUG_ON(frame_of(pfn + i)->kind != FRAME_HV);
		frame_set_kind(pfn + i, FRAME_DOM0);
	}
}

void frame_set_kind(u64 pfn, enum frame_kind kind)
{
	struct frame *f = frame_of(pfn);

	BUG_ON(!f || f->maps || f->kind == FRAME_NONE);
	WRITE_ONCE(f->kind, kind);
}
