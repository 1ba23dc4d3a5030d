/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hypervisor's pool: a buddy allocator. One state byte per page lies at the pool's start:
 *
 *   [ taken in front ][ state bytes ][ managed pages ........ ]
 *
 * Free blocks carry a poison pattern and their list links in their first bytes: a stray write there
 * is found when the block is handed out again, a double or mis-sized free by the state byte.
 */
#include "hv/mm/pool.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/mm.h"

#define ORDERS 11
#define POISON 0xdeadf4eedeadf4eeull

/* USED and FREE: block head, | order */
enum { STATE_INSIDE = 0, STATE_USED = 0x40, STATE_FREE = 0x80 };

struct free_block {
	u64 poison[6]; /* first, where stray writes are likeliest */
	struct free_block *next, **pprev;
};

static struct {
	struct lock lock; /* LOCK_POOL: free, head, state, and all accounts */
	/* set by the boot CPU before anything is allocated */
	u64 start, end;	 /* bytes, as given less what was taken in front */
	u64 first, last; /* managed pfns, last exclusive */
	u8 *state;	 /* of pfn first and up */
	u64 free;	 /* pages */
	u64 promised;	 /* of those: the sum over all accounts */
	struct free_block *head[ORDERS];
} pool = {.lock = LOCK_INIT(LOCK_POOL)};

static u8 *state_of(u64 pfn)
{
	BUG_ON(pfn < pool.first || pfn >= pool.last);
	return &pool.state[pfn - pool.first];
}

static struct free_block *block_of(u64 pfn)
{
	return hpa_to_virt(hpa(pfn << PAGE_SHIFT));
}

static void block_insert(u64 pfn, u32 order)
{
	struct free_block *b = block_of(pfn);

	b->next = pool.head[order];
	b->pprev = &pool.head[order];
	if (b->next)
		b->next->pprev = &b->next;
	pool.head[order] = b;
	for (u32 i = 0; i < ARRAY_SIZE(b->poison); i++)
		b->poison[i] = POISON;
	*state_of(pfn) = STATE_FREE | order;
}

static void block_remove(u64 pfn, u32 order)
{
	struct free_block *b = block_of(pfn);
	bool intact = *state_of(pfn) == (STATE_FREE | order) && *b->pprev == b;

	for (u32 i = 0; i < ARRAY_SIZE(b->poison); i++)
		intact &= b->poison[i] == POISON;
	if (!intact)
		panic("pool: free page %lx was written to", pfn << PAGE_SHIFT);
	*b->pprev = b->next;
	if (b->next)
		b->next->pprev = b->pprev;
	*state_of(pfn) = STATE_INSIDE;
}

/* Merge with the buddies that are free, as far as alignment and the pool's borders allow. */
static void block_free(u64 pfn, u32 order)
{
	for (; order < ORDERS - 1; order++) {
		u64 buddy = pfn ^ BIT(order);

		if (buddy < pool.first || buddy + BIT(order) > pool.last ||
		    *state_of(buddy) != (STATE_FREE | order))
			break;
		block_remove(buddy, order);
		pfn &= ~BIT(order);
	}
	block_insert(pfn, order);
}

void pool_init(u64 start, u64 end)
{
	u64 pages = (end - start) >> PAGE_SHIFT, meta = ALIGN_UP(pages, PAGE_SIZE);

	BUG_ON(!IS_ALIGNED(start, PAGE_SIZE) || !IS_ALIGNED(end, PAGE_SIZE) || start >= end ||
	       meta >= end - start);
	pool.start = start;
	pool.end = end;
	pool.first = (start + meta) >> PAGE_SHIFT;
	pool.last = end >> PAGE_SHIFT;
	pool.state = hpa_to_virt(hpa(start));
	pool.free = pool.last - pool.first;
	pool.promised = 0;
	memset(pool.state, STATE_INSIDE, pages);
	memset(pool.head, 0, sizeof(pool.head));
	for (u64 pfn = pool.first; pfn < pool.last;) {
		u32 order = 0;

		while (order < ORDERS - 1 && IS_ALIGNED(pfn, BIT(order + 1)) &&
		       pfn + BIT(order + 1) <= pool.last)
			order++;
		block_insert(pfn, order);
		pfn += BIT(order);
	}
}

void *pool_take_front(u64 bytes)
{
	u64 start = pool.start, size = ALIGN_UP(bytes, PAGE_SIZE);

	BUG_ON(pool.free != pool.last - pool.first);
	if (size >= pool.end - start || pool.end - start - size < 16 * PAGE_SIZE)
		return NULL;
	pool_init(start + size, pool.end);
	return memset(hpa_to_virt(hpa(start)), 0, size);
}

static bool can_take(const struct account *acct, u64 pages)
{
	BUG_ON(pool.promised > pool.free);
	if (acct && acct->bounded)
		return acct->promised >= pages;
	return pool.free - pool.promised >= pages;
}

static void promise_locked(struct account *acct, s64 pages)
{
	BUG_ON(!lock_is_held(&pool.lock));
	acct->promised += pages;
	pool.promised += pages;
}

static void charge_locked(struct account *acct, u64 pages)
{
	BUG_ON(!lock_is_held(&pool.lock));
	acct->pages += pages;
	if (acct->bounded)
		promise_locked(acct, -(s64)pages);
}

static void uncharge_locked(struct account *acct, u64 pages)
{
	u64 owed = MIN(acct->debt, pages);

	BUG_ON(!lock_is_held(&pool.lock) || acct->pages < pages);
	acct->pages -= pages;
	acct->debt -= owed;
	if (acct->bounded)
		promise_locked(acct, pages - owed);
}

static int try_promise_locked(struct account *acct, u64 pages)
{
	u64 reserve = (pool.last - pool.first) / 16, left = pool.free - pool.promised;

	ASSERT_HELD(&pool.lock);
	if (left < reserve || left - reserve < pages)
		return -ENOMEM;
	acct->bounded = true;
	promise_locked(acct, pages);
	return 0;
}

int pool_promise(struct account *acct, u64 pages)
{
	int err;

	lock_acquire(&pool.lock);
	err = try_promise_locked(acct, pages);
	lock_release(&pool.lock);
	return err;
}

void pool_retract(struct account *acct, u64 pages)
{
	u64 at_once;

	lock_acquire(&pool.lock);
	at_once = MIN(pages, acct->promised);
	BUG_ON(!acct->bounded || pages - at_once > acct->pages - acct->debt);
	promise_locked(acct, -(s64)at_once);
	acct->debt += pages - at_once;
	lock_release(&pool.lock);
}

/* A block of this order, cut out of the smallest that has it; 0 if there is none. */
static u64 take_block_locked(u32 order)
{
	u32 o = order;
	u64 pfn;

	ASSERT_HELD(&pool.lock);
	while (o < ORDERS && !pool.head[o])
		o++;
	if (o == ORDERS)
		return 0;
	pfn = virt_to_hpa(pool.head[o]).v >> PAGE_SHIFT;
	block_remove(pfn, o);
	while (o > order) {
		o--;
		block_insert(pfn + BIT(o), o);
	}
	BUG_ON(!IS_ALIGNED(pfn, BIT(order)) || pool.free < BIT(order));
	*state_of(pfn) = STATE_USED | order;
	pool.free -= BIT(order);
	return pfn;
}

int pool_promise_taken(struct account *acct, void **pages, u32 count)
{
	int err;

	lock_acquire(&pool.lock);
	err = try_promise_locked(acct, count);
	for (u32 i = 0; !err && i < count; i++) {
		u64 pfn = take_block_locked(0);

		BUG_ON(!pfn); /* single ones there are */
		charge_locked(acct, 1);
		pages[i] = block_of(pfn);
	}
	lock_release(&pool.lock);
	for (u32 i = 0; !err && i < count; i++)
		memset(pages[i], 0, PAGE_SIZE);
	return err;
}

void *pool_alloc(u32 order, struct account *acct)
{
	u64 pfn = 0;

	if (order >= ORDERS)
		return NULL;
	lock_acquire(&pool.lock);
	if (can_take(acct, BIT(order)))
		pfn = take_block_locked(order);
	if (pfn && acct)
		charge_locked(acct, BIT(order));
	lock_release(&pool.lock);
	return pfn ? memset(block_of(pfn), 0, PAGE_SIZE << order) : NULL;
}

void pool_free(void *p, u32 order, struct account *acct)
{
	u64 pa = virt_to_hpa(p).v, pfn = pa >> PAGE_SHIFT;

	if (!p)
		return;
	lock_acquire(&pool.lock);
	if (order >= ORDERS || !IS_ALIGNED(pa, PAGE_SIZE) || pfn < pool.first || pfn >= pool.last ||
	    *state_of(pfn) != (STATE_USED | order))
		panic("pool: bad free of %lx, order %u", pa, order);
	pool.free += BIT(order);
	if (acct)
		uncharge_locked(acct, BIT(order));
	block_free(pfn, order);
	lock_release(&pool.lock);
}

u64 pool_total_bytes(void)
{
	return (pool.last - pool.first) << PAGE_SHIFT;
}

u64 pool_promised_bytes(void)
{
	return READ_ONCE(pool.promised) << PAGE_SHIFT;
}

u64 pool_free_bytes(void)
{
	return READ_ONCE(pool.free) << PAGE_SHIFT;
}
