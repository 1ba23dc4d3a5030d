/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hypervisor's pool: a buddy allocator. One state byte per page lies at the pool's start:
 *
 *   [ taken in front ][ state bytes ][ managed pages ........ ]
 *
 * Pages of lent blocks have a bit each. Free blocks carry a poison pattern and their list links in
 * their first bytes: a stray write there is found when the block is handed out again, a double or
 * mis-sized free by the state byte.
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

#define LENT_PAGES BIT(POOL_LENT_ORDER)
#define LENT_MAX   256u

struct lent {
	u64 pfn; /* 0: none */
	u64 free;
	u64 used[LENT_PAGES / 64];
};

static struct {
	struct lock lock; /* LOCK_POOL: what comes behind `state`, and all accounts */
	/* set by the boot CPU before anything is allocated */
	u64 start, end;	 /* bytes, as given less what was taken in front */
	u64 first, last; /* managed pfns, last exclusive */
	u8 *state;	 /* of pfn first and up */
	u64 free;	 /* pages */
	u64 promised;	 /* of those: the sum over all accounts, but for */
	u64 tables;	 /* what those of tables were promised, of lent pages first */
	struct free_block *head[ORDERS];
	u64 lent_free, lent_total; /* pages */
	struct lent lent[LENT_MAX];
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
	pool.promised = pool.tables = pool.lent_free = pool.lent_total = 0;
	memset(pool.lent, 0, sizeof(pool.lent));
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

/*
 * What of the pool's own pages is free and promised to nobody, if tables were promised so many
 * pages more and there were less lent. Negative: that cannot be.
 */
static s64 spare_pages(u64 tables, u64 less)
{
	s64 lacking = (s64)(pool.tables + tables) - (s64)(pool.lent_free - less);

	BUG_ON(less > pool.lent_free || pool.promised > pool.free);
	return (s64)(pool.free - pool.promised) - MAX(lacking, 0);
}

static bool can_take(const struct account *acct, u64 pages)
{
	BUG_ON(spare_pages(0, 0) < 0);
	if (acct && acct->bounded)
		return acct->promised >= pages;
	return spare_pages(0, 0) >= (s64)pages;
}

static void promise_locked(struct account *acct, s64 pages)
{
	BUG_ON(!lock_is_held(&pool.lock));
	acct->promised += pages;
	if (acct->tables)
		pool.tables += pages;
	else
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
	u64 reserve = (pool.last - pool.first) / 16, of_own = acct->tables ? 0 : pages;

	ASSERT_HELD(&pool.lock);
	if (pages > BIT(40) || spare_pages(pages - of_own, 0) < (s64)(reserve + of_own))
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

static u64 take_lent_locked(void)
{
	ASSERT_HELD(&pool.lock);
	for (struct lent *l = pool.lent; l < pool.lent + LENT_MAX; l++) {
		u32 i = 0;

		if (!l->pfn || !l->free)
			continue;
		while (l->used[i / 64] & BIT(i % 64))
			i++;
		BUG_ON(i >= LENT_PAGES);
		l->used[i / 64] |= BIT(i % 64);
		l->free--;
		pool.lent_free--;
		return l->pfn + i;
	}
	return 0;
}

/* False: it is in no lent block. */
static bool free_lent_locked(u64 pfn, u32 order)
{
	struct lent *l = pool.lent;
	u32 i = pfn % LENT_PAGES;

	ASSERT_HELD(&pool.lock);
	while (l < pool.lent + LENT_MAX && (!l->pfn || l->pfn != pfn - i))
		l++;
	if (l == pool.lent + LENT_MAX)
		return false;
	if (order || !(l->used[i / 64] & BIT(i % 64)))
		panic("pool: bad free of %lx, order %u, in a lent block", pfn << PAGE_SHIFT, order);
	l->used[i / 64] &= ~BIT(i % 64);
	l->free++;
	pool.lent_free++;
	return true;
}

void *pool_alloc(u32 order, struct account *acct)
{
	u64 pfn = 0;

	if (order >= ORDERS)
		return NULL;
	lock_acquire(&pool.lock);
	if (can_take(acct, BIT(order))) {
		if (acct && acct->tables && !order)
			pfn = take_lent_locked();
		if (!pfn)
			pfn = take_block_locked(order);
	}
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
	if (!IS_ALIGNED(pa, PAGE_SIZE) || !free_lent_locked(pfn, order)) {
		if (order >= ORDERS || !IS_ALIGNED(pa, PAGE_SIZE) || pfn < pool.first ||
		    pfn >= pool.last || *state_of(pfn) != (STATE_USED | order))
			panic("pool: bad free of %lx, order %u", pa, order);
		pool.free += BIT(order);
		block_free(pfn, order);
	}
	if (acct)
		uncharge_locked(acct, BIT(order));
	lock_release(&pool.lock);
}

/* ---- blocks that dom0 has lent ---- */

static s64 low_mark(void)
{
	return (pool.last - pool.first) / 4;
}

bool pool_is_low(u64 tables)
{
	bool low;

	lock_acquire(&pool.lock);
	low = spare_pages(tables, 0) < low_mark();
	lock_release(&pool.lock);
	return low;
}

bool pool_can_lend(void)
{
	return pool.lent_total < LENT_MAX * LENT_PAGES && pool.lent_total < pool.last - pool.first;
}

void pool_lend(u64 pfn)
{
	struct lent *l = pool.lent;

	BUG_ON(!pfn || !IS_ALIGNED(pfn, LENT_PAGES) || !pool_can_lend());
	lock_acquire(&pool.lock);
	while (l->pfn)
		l++;
	BUG_ON(l >= pool.lent + LENT_MAX);
	*l = (struct lent){.pfn = pfn, .free = LENT_PAGES};
	pool.lent_free += LENT_PAGES;
	pool.lent_total += LENT_PAGES;
	lock_release(&pool.lock);
}

u64 pool_unlend(bool all)
{
	u64 pfn = 0;

	lock_acquire(&pool.lock);
	for (struct lent *l = pool.lent; l < pool.lent + LENT_MAX && !pfn; l++) {
		if (!l->pfn || l->free != LENT_PAGES ||
		    (!all && spare_pages(0, LENT_PAGES) < low_mark()))
			continue;
		pfn = l->pfn;
		l->pfn = 0;
		pool.lent_free -= LENT_PAGES;
		pool.lent_total -= LENT_PAGES;
	}
	lock_release(&pool.lock);
	return pfn;
}

u64 pool_total_bytes(void)
{
	return (pool.last - pool.first + READ_ONCE(pool.lent_total)) << PAGE_SHIFT;
}

u64 pool_promised_bytes(void)
{
	return (READ_ONCE(pool.promised) + READ_ONCE(pool.tables)) << PAGE_SHIFT;
}

u64 pool_free_bytes(void)
{
	return (READ_ONCE(pool.free) + READ_ONCE(pool.lent_free)) << PAGE_SHIFT;
}
