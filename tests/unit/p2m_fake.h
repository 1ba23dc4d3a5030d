/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest's p2m in the arena, and what it asks of the rest of the hypervisor. */
#pragma once

#include <string.h>

#include "boot/boot.h"
#include "hv/cpu/smp.h"
#include "hv/guest/vm.h"
#include "hv/mm/mtrr.h"
#include "arena.h"

#define MB	   0x100000ull
#define POOL_START (64 * MB)
#define POOL_END   (96 * MB)
#define RIGHTS	   (PT_R | PT_W | PT_X)

static struct vm guest;

/* ---- what p2m.c asks of the rest ---- */

static u32 flushes;
static u64 last_gen;
static bool gen_bumped = true, lock_held = true;
static void (*at_flush)(void); /* what must hold at the moment of the flush */

static void fake_flush_wait(struct vm *vm)
{
	flushes++;
	gen_bumped &= vm->p2m.tlb_gen > last_gen || vm->is_dom0;
	lock_held &= lock_is_held(&vm->p2m.lock);
	last_gen = vm->is_dom0 ? last_gen : vm->p2m.tlb_gen;
	if (at_flush)
		at_flush();
}

/* MTRRs have nothing as write-back, or each second MiB, be it RAM or not. */
static bool mtrr_stripes __attribute__((unused));

enum mtrr_type mtrr_of(u64 pfn, u32 order)
{
	if (!mtrr_stripes)
		return MTRR_OTHER;
	if (order)
		return MTRR_MIXED;
	return pfn & 0x100 ? MTRR_WB : MTRR_OTHER;
}

static u32 temp_mapped;

void *mm_map_temp(hpa_t page)
{
	temp_mapped++;
	return hpa_to_virt(page);
}

void mm_unmap_temp(void)
{
	temp_mapped--;
}

bool mm_compare(const struct mm_word *w, u32 n)
{
	for (; n; n--, w++)
		if (*(u64 *)hpa_to_virt(w->at) != w->val)
			return false;
	return true;
}

/* ---- guests ---- */

static struct mem_map ram = {.count = 1, .r = {{0, 256 * MB, MEM_RAM}}};

static inline void start_guest(const struct pt_format *fmt)
{
	pt_guest = *fmt;
	pt_guest.max_order = 18;
	pt_ram = pt_guest;
	pt_ram.wb = pt_guest.wb_only;
	pool_init(POOL_START, POOL_END);
	init_frames(&ram, 1 * MB, 2 * MB, POOL_START, POOL_END);
	memset(&guest, 0, sizeof(guest));
	guest.id = 1;
	last_gen = 0;
	p2m_set_flush_wait(fake_flush_wait);
	p2m_init(&guest.p2m, &guest, false, &guest.acct, &guest.acct);
}

static inline u64 maps_total(void)
{
	u64 n = 0;

	for (u64 pfn = 0; pfn < frame_count(); pfn++)
		n += frame_of(pfn)->maps;
	return n;
}

static inline bool destroy_guest(void)
{
	int err;

	while ((err = p2m_destroy(&guest.p2m)) == -EAGAIN)
		;
	return !err && !maps_total() && !guest.acct.pages;
}

#define GFNS 4096ull /* of a guest, in random tests */
