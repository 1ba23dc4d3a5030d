/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The map of physical memory: sorted, disjoint regions of one kind; and the choice of the
 * hypervisor's own. Pure.
 */
#pragma once

#include "boot/boot.h"

#define MIB	 BIT(20)
#define BELOW_4G BIT(32)
#define BIOS_LOW 0x10000ull /* below, BIOSes may write at any time */

/*
 * Tell the map about a range in any order; where ranges overlap the more restricted kind wins, RAM
 * last. Empty ranges are ignored. Where the map is full the smallest RAM goes, see dropped;
 * -ENOSPC: there is none any more, and part of the range may be missing.
 */
int memmap_add(struct mem_map *m, u64 start, u64 end, u32 kind);
/* Make [start, end) this kind whatever was there, in m->calm as well. -ENOSPC as above. */
int memmap_set(struct mem_map *m, u64 start, u64 end, u32 kind);
/* Is all of [start, end) of this kind? */
bool memmap_is(const struct mem_map *m, u64 start, u64 end, u32 kind);
/* Bytes of a kind. */
u64 memmap_bytes(const struct mem_map *m, u32 kind);
u64 memmap_max_ram_end(const struct mem_map *m);
/*
 * Find size bytes of RAM inside [lo, hi) at a multiple of align (a power of two) that touch none of
 * the ranges to avoid: the lowest such place, or the highest; in m->calm, if that has one. 0 if
 * there is none (page 0 is never given).
 */
enum mem_side { MEM_LOW, MEM_HIGH };
u64 memmap_find(const struct mem_map *m, enum mem_side side, u64 size, u64 align, u64 lo, u64 hi,
		const struct mem_range *avoid, u32 avoid_count);

/*
 * Choose low_page, pool_start, pool_end and max_ram_end from the map, the modules, opt.hvmem and
 * image_start/image_end and reach (which the caller has filled in). NULL, or a text "cause; cure"
 * for boot_fail().
 */
const char *boot_plan(struct boot_info *bi);
