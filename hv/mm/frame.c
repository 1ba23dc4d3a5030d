/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/mm/frame.h"
#include "boot/boot.h"
#include "hv/abi.h"
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

/* ---- what has come since ---- */

#define SECTIONS      4096
#define SECTION_ORDER 6 /* of its records, in pages */
_Static_assert(CORBEL_SECTION * sizeof(struct frame) == PAGE_SIZE << SECTION_ORDER, "their size");

/* By a hash, with an end: some stay free. Number 0 is none's, since it lies below 4 GiB. */
static struct section {
	u64 number; /* written last */
	struct frame *frames;
} sections[SECTIONS];
static u32 section_count;

/* Where that section is, or would come. */
static struct section *find_section(u64 number)
{
	for (u64 i = number;; i++) {
		struct section *s = &sections[i % SECTIONS];
		u64 has = __atomic_load_n(&s->number, __ATOMIC_ACQUIRE);

		if (!has || has == number)
			return s;
	}
}

static struct frame *find_added(u64 pfn)
{
	u64 number = pfn / CORBEL_SECTION;
	const struct section *s = find_section(number);

	if (!number || __atomic_load_n(&s->number, __ATOMIC_ACQUIRE) != number)
		return NULL;
	return &s->frames[pfn % CORBEL_SECTION];
}

int frame_add(u64 pfn)
{
	static struct account acct;
	u64 number = pfn / CORBEL_SECTION;
	struct section *s = find_section(number);
	struct frame *frames;

	BUG_ON(!number);
	if (s->number)
		return 0;
	if (section_count > SECTIONS / 2)
		return -ENOSPC;
	if (pool_promise(&acct, BIT(SECTION_ORDER)))
		return -ENOMEM;
	frames = pool_alloc(SECTION_ORDER, &acct);
	if (!frames) {
		pool_retract(&acct, BIT(SECTION_ORDER));
		return -ENOMEM;
	}
	for (u32 i = 0; i < CORBEL_SECTION; i++)
		frames[i].kind = FRAME_DOM0;
	section_count++;
	s->frames = frames;
	__atomic_store_n(&s->number, number, __ATOMIC_RELEASE);
	return 0;
}

struct frame *frame_of(u64 pfn)
{
	const struct ram *r = find_ram(pfn);
	struct frame *f;

	if (r && pfn >= r->start)
		return &r->frames[pfn - r->start];
	f = find_added(pfn);
	if (!f && r)
		f = &hole;
	return f;
}

/* The records from that frame on, as far as they are an array. -> how many; 0: it is not RAM */
static u64 run_at(u64 pfn, struct frame **f)
{
	const struct ram *r = find_ram(pfn);
	u64 rest = CORBEL_SECTION - pfn % CORBEL_SECTION;

	if (r && pfn >= r->start) {
		*f = &r->frames[pfn - r->start];
		return r->end - pfn;
	}
	*f = find_added(pfn);
	if (!*f)
		return 0;
	return r ? MIN(rest, r->start - pfn) : rest;
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
	struct frame *f;

	if (run_at(pfn, &f) < count)
		return -EPERM;
	for (u64 i = 0; i < count; i++) {
		if (!get_one(f + i)) {
			frame_put(pfn, i);
			return -EPERM;
		}
	}
	return 0;
}

static void put_run(struct frame *f, u64 count)
{
	for (; count; f++, count--) {
		BUG_ON(!f->maps || f->kind != FRAME_DOM0);
		__atomic_sub_fetch(&f->maps, 1, __ATOMIC_RELEASE);
	}
}

void frame_put(u64 pfn, u64 count)
{
	while (count) {
		struct frame *f;
		u64 n = run_at(pfn, &f);

		BUG_ON(!n);
		n = MIN(n, count);
		put_run(f, n);
		pfn += n;
		count -= n;
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
