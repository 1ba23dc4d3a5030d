/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose a frame is where memory has come since the boot: RAM that was there ends within such a
 * section, and begins again within another. links: hv/mm/frame.c tests/unit/rest.c
 */
#include <stdlib.h>

#include "boot/boot.h"
#include "hv/abi.h"
#include "hv/mm/frame.h"
#include "hv/mm/pool.h"
#include "stand_in.h"
#include "test.h"

/* ---- the pool ---- */

static u64 promised, taken;
static bool is_low, is_split;

void *pool_take_front(u64 bytes)
{
	return calloc(1, bytes);
}

int pool_promise(struct account *acct, u64 pages)
{
	if (is_low)
		return -ENOMEM;
	promised += pages;
	return 0;
}

void pool_retract(struct account *acct, u64 pages)
{
	promised -= pages;
}

void *pool_alloc(u32 order, struct account *acct)
{
	CHECK_QUIET(acct && promised >= taken + BIT(order), "what is taken was promised");
	if (is_split)
		return NULL;
	taken += BIT(order);
	return calloc(1, PAGE_SIZE << order);
}

/* ---- the machine: RAM up to the middle of one section, and from the middle of another ---- */

#define SECTION	 ((u64)CORBEL_SECTION)
#define FIRST	 (64 * SECTION)
#define RAM_END	 (FIRST + 0x1234)
#define NEXT	 (FIRST + SECTION)
#define RAM_BACK (NEXT + 0x4321)
#define POOL	 (RAM_BACK + 0x100)

static void boot(void)
{
	static struct boot_info b;

	b.map.r[0] = (struct mem_region){FIRST << PAGE_SHIFT, RAM_END << PAGE_SHIFT, MEM_RAM};
	b.map.r[1] =
	    (struct mem_region){RAM_BACK << PAGE_SHIFT, (RAM_BACK + 0x1000) << PAGE_SHIFT, MEM_RAM};
	b.map.count = 2;
	b.pool_start = POOL << PAGE_SHIFT;
	b.pool_end = (POOL + 0x100) << PAGE_SHIFT;
	CHECK(!frame_init(&b), "there is RAM");
}

static bool is_kind(u64 pfn, enum frame_kind kind)
{
	const struct frame *f = frame_of(pfn);

	return f && f->kind == kind;
}

static void test_before(void)
{
	CHECK(is_kind(RAM_END, FRAME_NONE) && !frame_of(NEXT + SECTION) &&
		  !frame_of(0x1000 * SECTION),
	      "a hole, and what is behind RAM, is nobody's");
	CHECK(frame_get(RAM_END, 1) == -EPERM && frame_get(NEXT + SECTION, 1) == -EPERM,
	      "no guest can have it");
	is_low = true;
	CHECK(frame_add(RAM_END) == -ENOMEM && !promised && is_kind(RAM_END, FRAME_NONE),
	      "where the pool runs low it stays so");
	is_low = false;
	is_split = true;
	CHECK(frame_add(RAM_END) == -ENOMEM && !promised && is_kind(RAM_END, FRAME_NONE),
	      "or has nothing in one piece: what was promised is given back");
	is_split = false;
}

static void test_added(void)
{
	u64 before;

	CHECK(!frame_add(RAM_END + 5) && !frame_add(NEXT) && promised == 128 && taken == 128,
	      "of two sections there are records, in 256 KiB each");
	CHECK(!frame_add(RAM_END) && promised == 128, "which are made once");
	CHECK(is_kind(RAM_END, FRAME_DOM0) && is_kind(RAM_BACK - 1, FRAME_DOM0) &&
		  is_kind(RAM_END - 1, FRAME_DOM0),
	      "all around RAM is dom0's");
	CHECK(is_kind(POOL, FRAME_HV) && frame_get(POOL, 1) == -EPERM,
	      "what is the hypervisor's stays so in such a section");
	before = frame_of(POOL)->maps;
	CHECK(frame_get(POOL - 0x101, 0x102) == -EPERM && frame_of(POOL)->maps == before,
	      "also for who begins in front of it");
	CHECK(frame_get(NEXT - 1, 2) == -EPERM, "what has no records in one piece is not taken");
	CHECK(!frame_of(NEXT + SECTION), "what is beyond is nobody's");
	CHECK(frame_take(RAM_END, 1) == -EPERM, "nor can it be lent");
}

/* A run that is given back may go over the end of RAM, and of a section. */
static void test_runs(void)
{
	const u64 first = RAM_END - 3, count = SECTION + 7;
	bool all = true, none = true;

	for (u64 pfn = first; pfn < first + count; pfn++)
		all &= !frame_get(pfn, 1) && frame_of(pfn)->maps == 1;
	CHECK(all, "guests take each of its frames");
	frame_put(first, count);
	for (u64 pfn = first; pfn < first + count; pfn++)
		none &= !frame_of(pfn)->maps;
	CHECK(none, "and give them back in one go");
	CHECK(!frame_get(RAM_END, 512) && frame_of(RAM_END + 511)->maps == 1, "or 2 MiB at a time");
	frame_put(RAM_END, 512);
}

static void test_many(void)
{
	u64 n = 0;

	while (n < 16384 && !frame_add((1000 + n * 1024) * SECTION))
		n++;
	CHECK(n > 2000 && n < 4096 && frame_add((1000 + n * 1024) * SECTION) == -ENOSPC,
	      "there are %lu at most, whatever their places", n);
	for (u64 i = 0; i < n; i++)
		CHECK_QUIET(is_kind((1000 + i * 1024) * SECTION + i, FRAME_DOM0), "section %lu", i);
	CHECK(!frame_of((1000 + n * 1024) * SECTION), "others are none");
	CHECK(!frame_add(NEXT + 1), "those that are there are none more");
}

int main(void)
{
	boot();
	test_before();
	test_added();
	test_runs();
	test_many();
	return test_end();
}
