/* SPDX-License-Identifier: GPL-2.0-only */
/* A guest's page walk, linear to guest-physical, in all paging modes. Pure. */
#pragma once

#include "hv/lib/types.h"

struct walk_env {
	u64 cr0, cr3, cr4, efer, rflags;
	u32 cpl;
	u32 maxphyaddr;
	bool global_reserved; /* AMD: bit 8 of entries of 4- and 5-level tables that map no page */
	u32 (*pkru)(void *ctx); /* asked for where keys count; NULL: they do not */
	void *ctx;
	int (*read)(void *ctx, u64 gpa, void *buf, u32 len); /* 0, or negative: p2m miss */
	/*
	 * Sets A/D bits. 0; -EAGAIN: the entry has changed; other negative: p2m miss. NULL: leave
	 * them as they are.
	 */
	int (*cmpxchg)(void *ctx, u64 gpa, u64 old, u64 new, u32 size);
};
#define WALK_WRITE  BIT(0)
#define WALK_FETCH  BIT(1)
#define WALK_SYSTEM BIT(2) /* implicit supervisor access */
/*
 * 0 and *gpa (it holds for the 4 KiB page of linear, the mapping may be larger); -EFAULT and the
 * error code of the #PF; -EAGAIN and *gpa where the p2m missed, *error = WALK_WRITE if A/D bits
 * could not be written there, else 0. 1 GiB pages are taken as supported, so is PSE-36. Bits of
 * linear that the paging mode does not use are ignored.
 */
int walk_linear(const struct walk_env *w, u64 linear, u64 access, u64 *gpa, u32 *error);
