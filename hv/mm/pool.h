/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pool: page allocator over the hypervisor's memory (buddy, order 0..10), and over blocks of
 * 2 MiB that dom0 has lent, out of which page tables of guests' memory come, and nothing else: so
 * when guests have no memory any more dom0 can have its own back.
 */
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
	bool tables; /* set once: single pages, and lent ones first */
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
/*
 * What tables are promised beyond this leaves less than a quarter of the pool to what cannot be
 * lent: time to lend some.
 */
bool pool_is_low(u64 tables);
#define POOL_LENT_ORDER 9u
/* A block is the pool's, from its first frame on; it is mapped. Panics if there is no room. */
void pool_lend(u64 pfn);
/* Not yet so much as it has itself. */
bool pool_can_lend(void);
/*
 * Take a block out that is free and not needed lest the pool be low, or, if all, any that is free,
 * whatever is promised; 0: there is none.
 */
u64 pool_unlend(bool all);
/* Same order and account as allocated; NULL is ignored. Double or foreign frees end in panic(). */
void pool_free(void *p, u32 order, struct account *acct);
u64 pool_total_bytes(void);
u64 pool_free_bytes(void);
u64 pool_promised_bytes(void); /* a part of those */
