/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hypervisor's own address space.
 *
 * Virtual layout (4-level paging, higher half):
 *
 *   HV_DIRECT + hpa	the pool and the image only, 4 KiB or 2 MiB pages, NX; RW but for the
 *			image's text and rodata
 *   HV_BOOT + hpa	whatever mm_map_boot() was asked for, until mm_boot_done()
 *   HV_MMIO		device registers mapped by mm_map_mmio(), UC, and the screen, WC
 *   HV_TEMP		a page for each CPU, for single foreign pages, RW NX
 *   HV_STACKS		per-CPU stacks with unmapped guard pages
 *   HV_IMAGE		the image: text RX, rodata R, data RW
 */
#pragma once

#include "hv/lib/types.h"

#ifdef HV_HOST_TEST
extern u64 test_direct_base; /* host tests: where "physical" address 0 lies */
#define HV_DIRECT   test_direct_base
#define image_moved 0ul
#else
#define HV_DIRECT 0xffff800000000000ull
/* By how much the loader has moved the image; set by boot/entry.asm, a multiple of 2 MiB */
extern const u64 image_moved;
#endif
#define HV_BOOT	  0xffff900000000000ull
#define HV_MMIO	  0xffffc00000000000ull
#define HV_TEMP	  0xffffd00000000000ull
#define HV_STACKS 0xffffe00000000000ull
#define HV_IMAGE  0xffffffff80000000ull /* image linked at HV_IMAGE + 2 MiB, its usual place */

extern u32 phys_bits;	  /* width of physical addresses; set once, by the next */
void mm_read_width(void); /* pt_frames_end, too; before any other here, and mtrr_init() */

/*
 * Build the final page tables (W^X, guard pages) and switch to them on the boot CPU; ends in
 * boot_fail() when the pool is too small. Runs after frame_init(), on early tables with HV_IMAGE
 * and HV_DIRECT for the first 4 GiB; these and the identity mapping are gone afterwards.
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

	if (v >= HV_IMAGE)
		return hpa(v - HV_IMAGE + image_moved);
	return hpa(v - HV_DIRECT);
}
/*
 * Map memory that the pool has got, and unmap it again: whoever may have it in his TLB is to be
 * flushed (smp_flush_host()), and then mm_reap_direct() called. 0 or -ENOMEM.
 */
int mm_map_direct(u64 addr, u64 size);
void mm_unmap_direct(u64 addr, u64 size);
void mm_reap_direct(void);
/* Map device registers, uncached, for ever. NULL when out of space or memory. */
void *mm_map_mmio(u64 addr, u64 size);
/* The same for a screen, write-combining: what is written may wait, until an SFENCE at most. */
void *mm_map_screen(u64 addr, u64 size);
/*
 * Map one foreign page for the moment, at this CPU's only address for such: until mm_unmap_temp()
 * or the next call. Type: write-back (the MTRRs make device memory uncached all the same).
 */
void *mm_map_temp(hpa_t page);
void mm_unmap_temp(void);
/* 8 bytes of foreign memory, within a page */
struct mm_word {
	hpa_t at;
	u64 val;
};
/* Has each of them, one at least, still its value? They are mapped as above, in their order. */
bool mm_compare(const struct mm_word *w, u32 n);
/*
 * Boot CPU, boot only: map any physical range read-write (modules, ACPI tables, dom0's memory while
 * it is loaded). Ranges stay mapped until mm_boot_done(), may overlap and cost nothing when asked
 * for again. NULL if out of memory. Before mm_init() it serves the first 4 GiB from the early
 * tables; such a pointer is void after mm_init().
 */
void *mm_map_boot(u64 addr, u64 size);
/* Unmap all of it; from now on mm_map_boot() returns NULL. */
void mm_boot_done(void);
#define MM_STACK_SIZE 0x4000ul
/*
 * Stack number which (0..7) of a CPU, MM_STACK_SIZE bytes, guard pages below. Returns the top, NULL
 * if out of memory. CPUs are counted from 0 on, those too that are left out later.
 */
void *mm_alloc_stack(u32 cpu, u32 which);
