/* SPDX-License-Identifier: GPL-2.0-only */
/* Doorbells: adding, removing and ringing them. */
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"
#include "hv/lib/log.h"

/*
 * A VM's doorbells are in a page of slots, a hash table by address, open addressing, under the VM's
 * lock; what does not fit in is in a second page. A ring reads without it: a slot is filled before
 * its state becomes SLOT_USED, and a removed one is only marked as dead, so that those behind it
 * are still found: one that is free says that there is no second page, either.
 */
enum { SLOT_FREE, SLOT_USED, SLOT_DEAD };

struct doorbell {
	u64 addr, data;
	u32 number;
	u8 len, state;
	bool pio, match;
};
#define SLOTS (u32)(PAGE_SIZE / sizeof(struct doorbell)) /* of a page */
static struct doorbell none[SLOTS]; /* of VMs that have not had one yet; stays free */
_Static_assert(sizeof(struct doorbell) == 24, "slots are packed");
#define NUMBERS 0x7fffffffu /* what a result of 32 bits holds */

/* Ids of all VMs: a bitmap. */
static u64 ids[CORBEL_MAX_DOORBELLS / 64];
static u32 ids_used, ids_given; /* now; ever */
static u32 next_id;		/* to be looked at first */

/*
 * -> a number. All other ids have their turn first: a CPU that rings a doorbell just when it is
 * removed then rings nobody, instead of whoever has come in its place.
 */
static int id_take(void)
{
	const u32 n = __atomic_fetch_add(&ids_given, 1, __ATOMIC_RELAXED), at = READ_ONCE(next_id);

	for (u32 i = 0; i <= ARRAY_SIZE(ids); i++) {
		u32 from = i ? 0 : at % 64, w = (at / 64 + i) % ARRAY_SIZE(ids);
		u64 taken = GENMASK(from, 0) >> 1, old = READ_ONCE(ids[w]);

		while (~(old | taken)) {
			u32 bit = __builtin_ctzll(~(old | taken));

			if (__atomic_compare_exchange_n(&ids[w], &old, old | BIT(bit), false,
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
				__atomic_fetch_add(&ids_used, 1, __ATOMIC_RELAXED);
				bit += w * 64;
				WRITE_ONCE(next_id, CORBEL_DOORBELL_ID(bit + 1));
				return (n * CORBEL_MAX_DOORBELLS + bit) & NUMBERS;
			}
		}
	}
	return -ENOSPC;
}

static void id_give(u32 number)
{
	u32 id = CORBEL_DOORBELL_ID(number);
	u64 bit = BIT(id % 64);

	BUG_ON(!(__atomic_fetch_and(&ids[id / 64], ~bit, __ATOMIC_SEQ_CST) & bit));
	__atomic_fetch_sub(&ids_used, 1, __ATOMIC_RELAXED);
}

u32 doorbell_total(void)
{
	return ids_used;
}

static u32 doorbell_hash(bool pio, u64 addr)
{
	_Static_assert(SLOTS >= 128, "seven bits are taken");
	return (addr ^ (u64)pio << 63) * 0x9e3779b97f4a7c15ull >> 57;
}

/* The slot that is for the same; or NULL, and in *room where it may be put, NULL if nowhere. */
static struct doorbell *find_locked(struct vm *vm, const struct doorbell *d, struct doorbell **room)
{
	u32 at = doorbell_hash(d->pio, d->addr);

	ASSERT_HELD(&vm->lock);
	*room = NULL;
	for (u32 i = 0; i < DOORBELL_PAGES * SLOTS && vm->doorbells[i / SLOTS]; i++) {
		struct doorbell *s = &vm->doorbells[i / SLOTS][(at + i) % SLOTS];

		if (s->state == SLOT_USED && s->addr == d->addr && s->data == d->data &&
		    s->len == d->len && s->pio == d->pio && s->match == d->match)
			return s;
		if (s->state != SLOT_USED && !*room)
			*room = s;
		if (s->state == SLOT_FREE)
			break;
	}
	return NULL;
}

static int add_locked(struct vm *vm, struct doorbell *d)
{
	bool is_first = vm->doorbells[0] == none;
	struct doorbell *slot, *more = NULL;
	int number;

	ASSERT_HELD(&vm->lock);
	if (find_locked(vm, d, &slot))
		return -EEXIST;
	if (is_first || (!slot && !vm->doorbells[1])) { /* it is promised */
		more = pool_alloc(0, &vm->acct);
		slot = more ? &more[doorbell_hash(d->pio, d->addr)] : NULL;
	}
	if (!slot)
		return -ENOSPC;
	if (more)
		__atomic_store_n(&vm->doorbells[!is_first], more, __ATOMIC_RELEASE);
	number = id_take();
	if (number < 0)
		return number;
	d->number = number;
	d->state = slot->state;
	*slot = *d;
	__atomic_store_n(&slot->state, SLOT_USED, __ATOMIC_RELEASE);
	vm->doorbell_count++;
	return number;
}

static int remove_locked(struct vm *vm, const struct doorbell *d)
{
	struct doorbell *room, *slot = find_locked(vm, d, &room);

	ASSERT_HELD(&vm->lock);
	if (!slot || slot->number != d->number)
		return -ENOENT;
	BUG_ON(!vm->doorbell_count);
	__atomic_store_n(&slot->state, SLOT_DEAD, __ATOMIC_RELEASE);
	id_give(slot->number);
	vm->doorbell_count--;
	return 0;
}

void doorbell_init(struct vm *vm)
{
	vm->doorbells[0] = none;
}

int doorbell_update(struct vm *vm, const struct corbel_doorbell *c)
{
	struct doorbell d = {
	    .addr = c->addr,
	    .number = c->id,
	    .len = c->len,
	    .pio = c->flags & CORBEL_DOORBELL_PIO,
	    .match = c->flags & CORBEL_DOORBELL_MATCH,
	};
	int ret;

	if ((c->len & (c->len - 1)) || c->len > 8)
		return -EINVAL;
	if (d.match)
		d.data = c->data;
	lock_acquire(&vm->lock);
	if (c->flags & CORBEL_DOORBELL_REMOVE)
		ret = remove_locked(vm, &d);
	else
		ret = add_locked(vm, &d);
	lock_release(&vm->lock);
	return ret;
}

/* The doorbell of that access in one page; *more: there may be one in the next. */
static inline const struct doorbell *find_in(const struct doorbell *first, bool pio, u64 addr,
					     u32 len, u64 val, bool *more)
{
	const struct doorbell *s = first + doorbell_hash(pio, addr);

	*more = false;
	for (u32 left = SLOTS; left; left--) {
		u8 state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);

		if (likely(state == SLOT_USED && s->addr == addr && s->pio == pio &&
			   (!s->len || s->len == len) &&
			   (!s->match || s->data == (val & ~0ull >> (64 - 8 * len)))))
			return s;
		if (state == SLOT_FREE)
			return NULL;
		if (++s == first + SLOTS)
			s = first;
	}
	*more = true;
	return NULL;
}

bool doorbell_ring(struct vm *vm, bool pio, u64 addr, u32 len, u64 val)
{
	bool more;
	const struct doorbell *second,
	    *s = find_in(__atomic_load_n(&vm->doorbells[0], __ATOMIC_ACQUIRE), pio, addr, len, val,
			 &more);

	if (unlikely(more)) {
		second = __atomic_load_n(&vm->doorbells[1], __ATOMIC_ACQUIRE);
		if (second)
			s = find_in(second, pio, addr, len, val, &more);
	}
	if (!s)
		return false;
	event_doorbell(CORBEL_DOORBELL_ID(READ_ONCE(s->number)));
	return true;
}

void doorbell_destroy(struct vm *vm)
{
	BUG_ON(vm->vcpu_count); /* none is left to ring */
	if (vm->doorbells[0] == none)
		vm->doorbells[0] = NULL;
	for (u32 k = 0; k < DOORBELL_PAGES && vm->doorbells[k]; k++) {
		for (u32 i = 0; i < SLOTS; i++)
			if (vm->doorbells[k][i].state == SLOT_USED)
				id_give(vm->doorbells[k][i].number);
		pool_free(vm->doorbells[k], 0, &vm->acct);
		vm->doorbells[k] = NULL;
	}
}
