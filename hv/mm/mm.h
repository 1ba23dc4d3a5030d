/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames, the hypervisor's pool, and its own address space.
 *
 * Virtual layout (4-level paging, higher half):
 *   HV_DIRECT + hpa	the pool and the image only, 4 KiB or 2 MiB pages, NX; RW but for the image's text and rodata
 *   HV_BOOT + hpa	whatever mm_map_boot() was asked for, until mm_boot_done()
 *   HV_MMIO		device registers mapped by mm_map_mmio(), UC
 *   HV_TEMP		per-CPU slots for single foreign pages, RW NX
 *   HV_STACKS		per-CPU stacks with unmapped guard pages
 *   HV_IMAGE		the image: text RX, rodata R, data RW
 */
#pragma once

#include "hv/lib/types.h"

#ifdef HV_HOST_TEST
extern u64 test_direct_base; /* host tests: where "physical" address 0 lies */
#define HV_DIRECT test_direct_base
#else
#define HV_DIRECT 0xffff800000000000ull
#endif
#define HV_BOOT	  0xffff900000000000ull
#define HV_MMIO	  0xffffc00000000000ull
#define HV_TEMP	  0xffffd00000000000ull
#define HV_STACKS 0xffffe00000000000ull
#define HV_IMAGE  0xffffffff80000000ull /* image linked at HV_IMAGE + its physical address */

struct mem_map;

/* ---- frames: one record per physical frame of RAM ---- */
enum frame_kind {
	FRAME_NONE = 0, /* not RAM: MMIO, reserved, firmware */
	FRAME_DOM0,	/* dom0's memory */
	FRAME_HV,	/* image, pool, page tables: never mapped into any domain */
	FRAME_SHARED,	/* pool page lent to dom0's map (vCPU pages, events page) */
};
struct frame {
	u32 maps; /* how many times mapped into guests; atomic */
	u8 kind;
	u8 pad[3];
};
_Static_assert(sizeof(struct frame) == 8, "one record per frame is 8 bytes");

/*
 * Build the frame table, 8 bytes for each frame below the end of RAM, from the map; pool and image become FRAME_HV.
 * The table is taken off the pool by pool_take_front(): call this after pool_init() and before the first pool_alloc().
 * 0 or -ENOMEM (pool too small).
 */
int frame_init(const struct mem_map *map, u64 image_start, u64 image_end, u64 pool_start, u64 pool_end);
/* Record of a frame, NULL if pfn is beyond RAM. */
struct frame *frame_of(u64 pfn);
/* Take count consecutive dom0 frames for a guest mapping: all are FRAME_DOM0, or -EPERM and nothing is taken. */
int frame_get(u64 pfn, u64 count);
void frame_put(u64 pfn, u64 count);
/* Only for frames of RAM that no guest maps. */
void frame_set_kind(u64 pfn, enum frame_kind kind);
/* First frame beyond the table. */
u64 frame_count(void);

/* ---- pool: page allocator over the hypervisor's memory (buddy, order 0..10) ---- */
struct account {
	u64 pages, limit; /* limit 0 = none; limit reached: allocation fails */
};
void pool_init(u64 start, u64 end); /* physical */
/* Take a contiguous zeroed piece off the pool for ever; only before the first pool_alloc(). NULL if it does not fit. */
void *pool_take_front(u64 bytes);
/* 2^order zeroed pages, naturally aligned, charged to acct (may be NULL). NULL when full. Any context. */
void *pool_alloc(u32 order, struct account *acct);
/* Same order and account as allocated; NULL is ignored. Double or foreign frees end in panic(). */
void pool_free(void *p, u32 order, struct account *acct);
u64 pool_total_bytes(void);
u64 pool_free_bytes(void);

/* ---- the hypervisor's address space ---- */
/*
 * Build the final page tables (W^X, guard pages) and switch to them on the boot CPU; ends in boot_fail() when the pool
 * is too small. Runs after frame_init(), on early tables with HV_IMAGE and HV_DIRECT for the first 4 GiB; these and the
 * identity mapping are gone afterwards. Trims the formats in pt.h to the CPU's address width and NX.
 */
void mm_init(void);
/* Switch this CPU to them, with EFER.NXE and CR0.WP set. mm_init() does it for the boot CPU. */
void mm_load_cpu(void);
static inline void *hpa_to_virt(hpa_t a) /* pool and image only */
{
	return (void *)(HV_DIRECT + a.v);
}
static inline hpa_t virt_to_hpa(const void *p)
{
	u64 v = (u64)p;

	return hpa(v >= HV_IMAGE ? v - HV_IMAGE : v - HV_DIRECT);
}
/* Map device registers, uncached, for ever. NULL when out of space or memory. */
void *mm_map_mmio(u64 addr, u64 size);
/*
 * Map one foreign page for the moment; slots are per CPU. The mapping is local to this CPU and ends with
 * mm_unmap_temp() or the next use of the slot. Type: write-back (the MTRRs make device memory uncached all the same).
 */
enum mm_temp_slot { MM_TEMP_P2M, MM_TEMP_1, MM_TEMP_2, MM_TEMP_3, MM_TEMP_SLOTS }; /* the first belongs to p2m.c */
void *mm_map_temp(u32 slot, hpa_t page);
void mm_unmap_temp(u32 slot);
/* 8 bytes of foreign memory, within a page */
struct mm_word {
	hpa_t at;
	u64 val;
};
/* Has each of them, one at least, still its value? Uses the slot, and looks at them in their order. */
bool mm_compare(u32 slot, const struct mm_word *w, u32 n);
/*
 * Boot CPU, boot only: map any physical range read-write (modules, ACPI tables, dom0's memory while it is loaded).
 * Ranges stay mapped until mm_boot_done(), may overlap and cost nothing when asked for again. NULL if out of memory.
 * Before mm_init() it serves the first 4 GiB from the early tables; such a pointer is void after mm_init().
 */
void *mm_map_boot(u64 addr, u64 size);
/* Unmap all of it; from now on mm_map_boot() returns NULL. */
void mm_boot_done(void);
#define MM_STACK_SIZE 0x4000ul
/* Per-CPU stack number which (0..7), MM_STACK_SIZE bytes, guard pages below. Returns the top, NULL if out of memory. */
void *mm_alloc_stack(u32 cpu, u32 which);
