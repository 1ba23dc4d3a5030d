/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/memmap.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* How restricted a kind is: where firmware contradicts itself the higher rank is believed. */
static u32 kind_rank(u32 kind)
{
	switch (kind) {
	case MEM_RAM:
		return 0;
	case MEM_ACPI:
		return 1;
	case MEM_NVS:
		return 2;
	case MEM_BAD:
		return 4;
	default:
		return 3;
	}
}

static int insert_region(struct mem_map *m, u32 at, u64 start, u64 end, u32 kind)
{
	if (m->count == BOOT_MAX_REGIONS)
		return -ENOSPC;
	memmove(&m->r[at + 1], &m->r[at], (m->count - at) * sizeof(m->r[0]));
	m->r[at] = (struct mem_region){start, end, kind};
	m->count++;
	BUG_ON(start >= end);
	return 0;
}

/*
 * Give [start, end), which lies within region i, another kind; the rest of the region stays on
 * either side.
 */
static int recolour_part(struct mem_map *m, u32 i, u64 start, u64 end, u32 kind)
{
	struct mem_region old = m->r[i];

	/* All or nothing: each end that stays needs a place. */
	if (m->count + (old.start < start) + (old.end > end) > BOOT_MAX_REGIONS)
		return -ENOSPC;
	BUG_ON(start < old.start || end > old.end || start >= end);
	m->r[i] = (struct mem_region){start, end, kind};
	if (old.end > end)
		insert_region(m, i + 1, end, old.end, old.kind);
	if (old.start < start)
		insert_region(m, i, old.start, start, old.kind);
	return 0;
}

static void merge_regions(struct mem_map *m)
{
	struct mem_region *last = m->r;

	for (u32 i = 1; i < m->count; i++) {
		const struct mem_region *r = &m->r[i];

		BUG_ON(r->start < last->end); /* sorted and disjoint: all searches rely on it */
		if (last->end == r->start && last->kind == r->kind)
			last->end = r->end;
		else
			*++last = *r;
	}
	if (m->count)
		m->count = last - m->r + 1;
}

/* Forget the smallest region of RAM, so that it is nobody's. False: there is none. */
static bool make_room(struct mem_map *m)
{
	struct mem_region *least = NULL, *last = m->r + --m->count;

	for (struct mem_region *r = m->r; r <= last; r++)
		if (r->kind == MEM_RAM && (!least || r->end - r->start < least->end - least->start))
			least = r;
	if (!least) {
		m->count++;
		return false;
	}
	m->dropped += least->end - least->start;
	memmove(least, least + 1, (last - least) * sizeof(*least));
	return true;
}

static int overlay_range(struct mem_map *m, u64 start, u64 end, u32 kind, bool force)
{
	int err = 0;
	u32 i = 0;

	BUG_ON(kind < MEM_RAM || kind > MEM_BAD);
	/* Piece by piece: each lies either in a gap or in one region. */
	while (start < end && !err) {
		u64 stop = end;

		while (i < m->count && m->r[i].end <= start)
			i++;
		if (i == m->count || m->r[i].start > start) {
			if (i < m->count)
				stop = MIN(end, m->r[i].start);
			err = insert_region(m, i, start, stop, kind);
		} else {
			stop = MIN(end, m->r[i].end);
			if (force || kind_rank(kind) > kind_rank(m->r[i].kind))
				err = recolour_part(m, i, start, stop, kind);
		}
		if (!err)
			start = stop;
		else if (make_room(m))
			err = i = 0;
	}
	merge_regions(m);
	return err;
}

int memmap_add(struct mem_map *m, u64 start, u64 end, u32 kind)
{
	return overlay_range(m, start, end, kind, false);
}

int memmap_set(struct mem_map *m, u64 start, u64 end, u32 kind)
{
	int err = m->calm ? memmap_set(m->calm, start, end, kind) : 0;

	return overlay_range(m, start, end, kind, true) ?: err;
}

bool memmap_is(const struct mem_map *m, u64 start, u64 end, u32 kind)
{
	for (u32 i = 0; i < m->count; i++)
		if (m->r[i].start <= start && end <= m->r[i].end)
			return m->r[i].kind == kind;
	return false;
}

u64 memmap_bytes(const struct mem_map *m, u32 kind)
{
	u64 sum = 0;

	for (u32 i = 0; i < m->count; i++)
		if (m->r[i].kind == kind)
			sum += m->r[i].end - m->r[i].start;
	return sum;
}

u64 memmap_max_ram_end(const struct mem_map *m)
{
	for (u32 i = m->count; i-- > 0;)
		if (m->r[i].kind == MEM_RAM)
			return m->r[i].end;
	return 0;
}

static const struct mem_range *first_overlap(u64 start, u64 end, const struct mem_range *avoid,
					     u32 count)
{
	for (u32 i = 0; i < count; i++)
		if (avoid[i].start < end && start < avoid[i].end)
			return &avoid[i];
	return NULL;
}

static u64 find_in(const struct mem_map *m, enum mem_side side, u64 size, u64 align, u64 lo, u64 hi,
		   const struct mem_range *avoid, u32 avoid_count)
{
	BUG_ON(!align || align & (align - 1));
	for (u32 i = 0; i < m->count; i++) {
		const struct mem_region *r = &m->r[side == MEM_LOW ? i : m->count - 1 - i];
		u64 start = MAX(MAX(r->start, lo), PAGE_SIZE), end = MIN(r->end, hi);

		while (r->kind == MEM_RAM && start < end && end - start >= size) {
			u64 at = ALIGN_UP(start, align);
			const struct mem_range *hit;

			if (side == MEM_HIGH)
				at = ALIGN_DOWN(end - size, align);
			if (at < start || at > end || end - at < size)
				break;
			hit = first_overlap(at, at + size, avoid, avoid_count);
			if (!hit)
				return at;
			if (side == MEM_LOW)
				start = hit->end;
			else
				end = hit->start;
		}
	}
	return 0;
}

u64 memmap_find(const struct mem_map *m, enum mem_side side, u64 size, u64 align, u64 lo, u64 hi,
		const struct mem_range *avoid, u32 avoid_count)
{
	u64 at = m->calm ? find_in(m->calm, side, size, align, lo, hi, avoid, avoid_count) : 0;

	return at ?: find_in(m, side, size, align, lo, hi, avoid, avoid_count);
}

/* ---- the hypervisor's own memory ---- */

#define POOL_ALIGN (2 * MIB) /* so that dom0's large pages end where the pool begins */
#define POOL_BASE  (32 * MIB)
#define POOL_SPARE (8 * MIB)	/* the least beside the frame table */
#define POOL_EXTRA (1024 * MIB) /* at most this much of the share that grows with memory */
#define DOM0_LEAST (64 * MIB)
#define BELOW_640K 0xa0000ull

/*
 * Places for the pool, best first: above 4 GiB, so that dom0 keeps what old devices and its crash
 * kernel need; below, an ELF kernel is linked at 16 MiB and what it unpacks grows from there.
 */
static u64 find_pool(const struct boot_info *bi, u64 size, const struct mem_range *avoid, u32 n)
{
	static const u64 lowest[] = {256 * MIB, 64 * MIB, MIB};
	u64 at = memmap_find(&bi->map, MEM_HIGH, size, POOL_ALIGN, BELOW_4G, bi->reach, avoid, n);

	for (u32 i = 0; i < ARRAY_SIZE(lowest) && !at; i++)
		at = memmap_find(&bi->map, MEM_HIGH, size, POOL_ALIGN, lowest[i], BELOW_4G, avoid,
				 n);
	return at;
}

static const char *plan_pool(struct boot_info *bi, const struct mem_range *avoid, u32 n)
{
	u64 ram = memmap_bytes(&bi->map, MEM_RAM);
	u64 frames = ram / PAGE_SIZE * 8; /* struct frame for each */
	u64 least = ALIGN_UP(frames + POOL_SPARE, POOL_ALIGN);
	u64 size = ALIGN_UP(POOL_BASE + frames + MIN(ram / 128, POOL_EXTRA), POOL_ALIGN);

	if (bi->opt.hvmem) {
		size = ALIGN_UP(bi->opt.hvmem, POOL_ALIGN);
		if (size < least) {
			log_warn("hvmem=: %llu MiB are too few for this machine, taking %llu MiB",
				 size / MIB, least / MIB);
			size = least;
		}
	}
	if (ram < size + DOM0_LEAST) {
		if (bi->opt.hvmem)
			return "hvmem= leaves dom0 less than 64 MiB; make it smaller or drop it";
		return "not enough memory for the hypervisor and dom0; give the machine at least "
		       "128 MiB";
	}
	bi->pool_start = find_pool(bi, size, avoid, n);
	/* What was not asked for may be smaller: half way to the least each time. */
	while (!bi->pool_start && !bi->opt.hvmem && size > least) {
		size = ALIGN_UP(least + (size - least) / 2, POOL_ALIGN) - POOL_ALIGN;
		bi->pool_start = find_pool(bi, size, avoid, n);
	}
	bi->pool_end = bi->pool_start + size;
	BUG_ON(!IS_ALIGNED(bi->pool_start | size, POOL_ALIGN));
	if (bi->pool_start)
		return NULL;
	if (bi->opt.hvmem)
		return "no contiguous memory of the size hvmem= asks for; make it smaller or drop "
		       "it";
	return "no contiguous memory for the hypervisor's pool; load smaller modules";
}

const char *boot_plan(struct boot_info *bi)
{
	struct mem_range avoid[1 + ARRAY_SIZE(bi->module)] = {{bi->image_start, bi->image_end}};
	u32 n = 1 + bi->module_count;

	BUG_ON(bi->image_start >= bi->image_end);
	memcpy(avoid + 1, bi->module, sizeof(bi->module));
	bi->max_ram_end = memmap_max_ram_end(&bi->map);
	/* frames that are not RAM have no record: dom0 could map and write them */
	if (!memmap_is(&bi->map, bi->image_start, bi->image_end, MEM_RAM))
		return "the loader has put the hypervisor where its memory map has no RAM; use "
		       "GRUB 2.06 or newer";

	/*
	 * Low, since Linux's own real-mode code wants the top; but the machine wakes up there, and
	 * there are BIOSes that write to the first 64 KiB while it sleeps.
	 */
	bi->low_page =
	    memmap_find(&bi->map, MEM_LOW, PAGE_SIZE, PAGE_SIZE, BIOS_LOW, BELOW_640K, avoid, n);
	if (!bi->low_page)
		bi->low_page = memmap_find(&bi->map, MEM_HIGH, PAGE_SIZE, PAGE_SIZE, PAGE_SIZE,
					   BIOS_LOW, avoid, n);
	if (!bi->low_page)
		return "no free page below 640 KiB to start the other CPUs from; check the "
		       "firmware's memory map";
	return plan_pool(bi, avoid, n);
}
