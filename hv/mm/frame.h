/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames: one record per physical frame of RAM, which says whose it is. */
#pragma once

#include "hv/lib/types.h"

struct boot_info;

enum frame_kind {
	FRAME_NONE = 0, /* not RAM: MMIO, reserved, firmware */
	FRAME_DOM0,	/* dom0's memory */
	FRAME_HV,	/* image, pool, page tables: never mapped into any domain */
	FRAME_SHARED,	/* pool page lent to dom0's map (vCPU pages, events page) */
};
struct frame {
	u32 maps; /* how many times mapped into guests; atomic */
	u8 kind;  /* set at boot; what is lent, to dom0 or by it, changes under its p2m's lock */
};
_Static_assert(sizeof(struct frame) == 8, "one record per frame is 8 bytes");

/*
 * Build the frame table, 8 bytes for each frame that is wholly RAM, as boot_plan() has left bi;
 * pool and image become FRAME_HV. The table is taken off the pool by pool_take_front(): call this
 * after pool_init() and before the first pool_alloc(). 0 or -ENOMEM (pool too small).
 */
int frame_init(const struct boot_info *bi);
/*
 * Record of a frame, NULL if pfn is beyond RAM; one of FRAME_NONE, not to be written, in holes.
 */
struct frame *frame_of(u64 pfn);
/*
 * The CORBEL_SECTION frames around one above 4 GiB, but for those that have records, are dom0's
 * from now on; they stay so. Not by two CPUs at once. 0, also if that is done; -ENOMEM: of the
 * pool not so much can be spared; -ENOSPC: too many.
 */
int frame_add(u64 pfn);
/*
 * Take count consecutive dom0 frames for a guest mapping: all are FRAME_DOM0, or -EPERM and nothing
 * is taken.
 */
int frame_get(u64 pfn, u64 count);
void frame_put(u64 pfn, u64 count);
/*
 * Consecutive dom0 frames, which no guest maps, become the hypervisor's: 0, or nothing has changed,
 * -EPERM: one is not dom0's; -EBUSY: one is mapped. The caller keeps frame_get() out meanwhile.
 */
int frame_take(u64 pfn, u64 count);
/* The opposite. */
void frame_give(u64 pfn, u64 count);
/* Only for frames of RAM that no guest maps. */
void frame_set_kind(u64 pfn, enum frame_kind kind);
/*
 * The first frame of RAM at or behind *pfn, and the end of RAM without a hole from there; their
 * records are an array. False: there is none.
 */
bool frame_next_ram(u64 *pfn, u64 *end);
/* Is any of it RAM? */
bool frame_has_ram(u64 pfn, u64 count);
/* Likewise, and all of them dom0's. */
bool frame_next_dom0(u64 *pfn, u64 *end);
/* First frame beyond RAM. */
u64 frame_count(void);
