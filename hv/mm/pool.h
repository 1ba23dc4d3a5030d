/* SPDX-License-Identifier: GPL-2.0-only */
/* The pool: page allocator over the hypervisor's memory (buddy, order 0..10). */
#pragma once

#include "hv/lib/types.h"

struct account {
	u64 pages, limit; /* limit 0 = none; limit reached: allocation fails */
};
void pool_init(u64 start, u64 end); /* physical */
/*
 * Take a contiguous zeroed piece off the pool for ever; only before the first pool_alloc(). NULL if
 * it does not fit.
 */
void *pool_take_front(u64 bytes);
/*
 * 2^order zeroed pages, naturally aligned, charged to acct (may be NULL). NULL when full. Any
 * context.
 */
void *pool_alloc(u32 order, struct account *acct);
/* Same order and account as allocated; NULL is ignored. Double or foreign frees end in panic(). */
void pool_free(void *p, u32 order, struct account *acct);
u64 pool_total_bytes(void);
u64 pool_free_bytes(void);
