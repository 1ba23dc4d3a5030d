/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"

/*
 * A VM's doorbells are a page of slots in a hash table by address, open addressing. A ring reads
 * without the lock: a slot is filled before its `used` is set, and a removed one stays as a
 * tombstone until all are gone, so a reader sees old or new, never half.
 */
enum { SLOT_FREE, SLOT_USED, SLOT_DEAD };

struct doorbell {
	u64 addr, data;
	u32 id;
	u8 len, state;
	bool pio, match;
};
#define SLOTS (PAGE_SIZE * 2 / sizeof(struct doorbell))
_Static_assert(sizeof(struct doorbell) == 24, "slots are packed");
#define SLOTS_ORDER 1

/* Ids of all VMs: a bitmap. */
static u64 ids[CORBEL_MAX_DOORBELLS / 64];
static u32 ids_used;

static int id_take(void)
{
	for (u32 w = 0; w < ARRAY_SIZE(ids); w++) {
		u64 old = READ_ONCE(ids[w]);

		while (~old) {
			u32 bit = __builtin_ctzll(~old);

			if (__atomic_compare_exchange_n(&ids[w], &old, old | BIT(bit), false,
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
				__atomic_fetch_add(&ids_used, 1, __ATOMIC_RELAXED);
				return w * 64 + bit;
			}
		}
	}
	return -ENOSPC;
}

static void id_give(u32 id)
{
	__atomic_fetch_and(&ids[id / 64], ~BIT(id % 64), __ATOMIC_SEQ_CST);
	__atomic_fetch_sub(&ids_used, 1, __ATOMIC_RELAXED);
}

u32 doorbell_total(void)
{
	return ids_used;
}

static u32 hash(bool pio, u64 addr)
{
	_Static_assert(SLOTS >= 256, "eight bits are taken");
	return (addr ^ (u64)pio << 63) * 0x9e3779b97f4a7c15ull >> 56;
}

static bool same(const struct doorbell *s, const struct corbel_doorbell *d)
{
	return s->state == SLOT_USED && s->addr == d->addr && s->len == d->len &&
	       s->pio == !!(d->flags & CORBEL_DOORBELL_PIO) &&
	       s->match == !!(d->flags & CORBEL_DOORBELL_MATCH) &&
	       (!s->match || s->data == d->data);
}

static int add_locked(struct vm *vm, const struct corbel_doorbell *d)
{
	u32 at = hash(d->flags & CORBEL_DOORBELL_PIO, d->addr);
	struct doorbell *slot = NULL;
	int id;

	for (u32 i = 0; i < SLOTS; i++, at = (at + 1) % SLOTS) {
		struct doorbell *s = &vm->doorbells[at];

		if (same(s, d))
			return -EEXIST;
		if (s->state == SLOT_FREE || (s->state == SLOT_DEAD && !slot))
			slot = slot ?: s;
		if (s->state == SLOT_FREE)
			break;
	}
	if (!slot)
		return -ENOSPC;
	id = id_take();
	if (id < 0)
		return id;
	slot->addr = d->addr;
	slot->data = d->data;
	slot->len = d->len;
	slot->pio = d->flags & CORBEL_DOORBELL_PIO;
	slot->match = d->flags & CORBEL_DOORBELL_MATCH;
	slot->id = id;
	__atomic_store_n(&slot->state, SLOT_USED, __ATOMIC_RELEASE);
	vm->doorbell_count++;
	return id;
}

static int remove_locked(struct vm *vm, const struct corbel_doorbell *d)
{
	u32 at = hash(d->flags & CORBEL_DOORBELL_PIO, d->addr);

	for (u32 i = 0; i < SLOTS; i++, at = (at + 1) % SLOTS) {
		struct doorbell *s = &vm->doorbells[at];

		if (s->state == SLOT_FREE)
			break;
		if (!same(s, d))
			continue;
		__atomic_store_n(&s->state, SLOT_DEAD, __ATOMIC_RELEASE);
		id_give(s->id);
		vm->doorbell_count--;
		return 0;
	}
	return -ENOENT;
}

int doorbell_update(struct vm *vm, const struct corbel_doorbell *d)
{
	int ret;

	if ((d->len & (d->len - 1)) || d->len > 8)
		return -EINVAL;
	lock_acquire(&vm->lock);
	if (!vm->doorbells)
		vm->doorbells = pool_alloc(SLOTS_ORDER, &vm->acct);
	if (!vm->doorbells)
		ret = -ENOMEM;
	else
		ret = d->flags & CORBEL_DOORBELL_REMOVE ? remove_locked(vm, d) : add_locked(vm, d);
	lock_release(&vm->lock);
	return ret;
}

bool doorbell_ring(struct vm *vm, bool pio, u64 addr, u32 len, u64 val)
{
	const struct doorbell *first = vm->doorbells, *s = first + hash(pio, addr);
	u32 left = SLOTS;

	for (;;) {
		u8 state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);

		if (likely(state == SLOT_USED && s->addr == addr && s->pio == pio &&
			   (!s->len || s->len == len) &&
			   (!s->match || s->data == (val & ~0ull >> (64 - 8 * len)))))
			break;
		if (state == SLOT_FREE || !--left)
			return false;
		if (++s == first + SLOTS)
			s = first;
	}
	event_doorbell(s->id);
	return true;
}

void doorbell_destroy(struct vm *vm)
{
	if (!vm->doorbells)
		return;
	for (u32 i = 0; i < SLOTS; i++)
		if (vm->doorbells[i].state == SLOT_USED)
			id_give(vm->doorbells[i].id);
	pool_free(vm->doorbells, SLOTS_ORDER, &vm->acct);
	vm->doorbells = NULL;
	vm->doorbell_count = 0;
}
