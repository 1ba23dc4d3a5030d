/* SPDX-License-Identifier: GPL-2.0-only */
/* The pool: page allocator over the hypervisor's memory (buddy, order 0..10). */
#pragma once

#include "hv/lib/types.h"

/*
 * What a VM, or something else, has of the pool. A bounded one gets what it was promised, whatever
 * others do, and no more; the others share what is neither taken nor promised. Guarded by the
 * pool's lock.
 */
struct account {
	u64 pages;    /* taken */
	u64 promised; /* still to be had */
	u64 debt;     /* given back with pool_retract() while it was taken: off the next frees */
	bool bounded;
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
/*
 * Promise acct, which is bounded from then on, so many pages more: single ones can always be had
 * up to that. -ENOMEM: only the reserve would be left, a 16th of the pool, by which dom0 and the
 * hypervisor itself go on.
 */
int pool_promise(struct account *acct, u64 pages);
/*
 * The same for single zeroed pages that are taken at once, so that nobody else with that account
 * has them first.
 */
int pool_promise_taken(struct account *acct, void **pages, u32 count);
/* Take such a promise back; what has been taken beyond what remains is not given again once freed.
 */
void pool_retract(struct account *acct, u64 pages);
/* Same order and account as allocated; NULL is ignored. Double or foreign frees end in panic(). */
void pool_free(void *p, u32 order, struct account *acct);
u64 pool_total_bytes(void);
u64 pool_free_bytes(void);
u64 pool_promised_bytes(void); /* a part of those */
