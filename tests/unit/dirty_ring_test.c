/* SPDX-License-Identifier: GPL-2.0-only */
/* links: -Itests/unit/kernel -lpthread */
/*
 * Dirty rings of corbel.ko beside a kernel made of threads: each page that was written is logged
 * again once it has been harvested, whatever user space writes into a ring, and no other is.
 */
#include "hv/lib/types.h"
#include "kernel.h"
#include "test.h"

#define CB_RING_BYTES (65536u * sizeof(struct kvm_dirty_gfn))
#define __GFP_ZERO    0
#define ENTRIES	      256u
#define SLOT	      (1u << 16 | 3)
#define GFN	      0x1000u
#define PAGES	      0x3000u

struct cb_dirty_ring {
	struct kvm_dirty_gfn __shared *gfns;
	u32 size, pushed, reset;
};
struct cb_vcpu {
	struct cb_dirty_ring dirty;
};
struct cb_vm {
	struct mutex lock, slots_lock;
	u32 vcpus, ring_entries;
	struct cb_vcpu *vcpu[2];
};

/* ---- the rest of corbel.ko, and of Linux ---- */

static struct cb_vcpu v0, v1;
static struct cb_vm vm = {.vcpu = {&v0, &v1}};
static const struct cb_slot logged = {.gfn = GFN, .pages = PAGES, .id = SLOT};
static u32 taken[PAGES], calls; /* how often each page was taken from the guest */
static bool dies;

static void cb_mem_unmap(struct cb_vm *of, u64 gfn, u64 pages)
{
	calls++;
	CHECK_QUIET(gfn >= GFN && pages && gfn + pages <= GFN + PAGES,
		    "nothing is taken that is not in the slot");
	for (u64 i = 0; i < pages && gfn - GFN + i < PAGES; i++)
		taken[gfn - GFN + i]++;
}

static const struct cb_slot *cb_mem_logged_slot(struct cb_vm *of, u32 id)
{
	return id == SLOT ? &logged : NULL;
}

static void sort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *),
		 void *swap)
{
	if (n)
		qsort(base, n, size, compare);
}

#define cond_resched()		   ((void)0)
#define current			   NULL
#define is_power_of_2(n)	   ((n) && !((n) & ((n)-1)))
#define kmalloc_array(n, s, f)	   kzalloc((n) * (s), f)
#define __vmalloc		   kzalloc
#define vfree			   kfree
#define shared_plain(p)		   ((void *)(p))
#define smp_store_release(p, v)	   __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define fatal_signal_pending(task) dies

int cb_ring_enable(struct cb_vm *of, u64 bytes);
int cb_ring_alloc(struct cb_dirty_ring *r, u32 entries);
void cb_ring_free(struct cb_dirty_ring *r);
bool cb_ring_is_full(const struct cb_dirty_ring *r);
bool cb_ring_has_room(const struct cb_dirty_ring *r, u32 entries);
void cb_ring_push(struct cb_dirty_ring *r, u32 slot, u64 offset);
int cb_ring_reset(struct cb_vm *of);
void __shared *cb_ring_page(const struct cb_dirty_ring *r, u64 number);
#include "dom0/kmod/dirty_ring.c"

/* ---- a VMM ---- */

/* Entries from here on are marked as harvested, as many as are in use. */
static u32 harvest(struct cb_dirty_ring *r, u32 *at)
{
	u32 n = 0;

	for (;; n++, ++*at) {
		struct kvm_dirty_gfn *e = &r->gfns[*at & (r->size - 1)];

		if (__atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY)
			return n;
		__atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
	}
}

/* Rings whose running numbers are near their end */
static void new_rings(void)
{
	cb_ring_free(&v0.dirty);
	cb_ring_free(&v1.dirty);
	CHECK_QUIET(!cb_ring_alloc(&v0.dirty, ENTRIES) && !cb_ring_alloc(&v1.dirty, ENTRIES),
		    "rings");
	v0.dirty.pushed = v0.dirty.reset = v1.dirty.pushed = v1.dirty.reset = -100u;
	memset(taken, 0, sizeof(taken));
	calls = 0;
}

static u32 taken_pages(void)
{
	u32 n = 0;

	for (u32 i = 0; i < PAGES; i++)
		n += taken[i] != 0;
	return n;
}

static void test_enable(void)
{
	struct cb_dirty_ring none = {};

	CHECK(cb_ring_reset(&vm) == -EINVAL, "without rings there is nothing to reset");
	CHECK(!cb_ring_is_full(&none) && cb_ring_has_room(&none, 2) && !cb_ring_page(&none, 0) &&
		  !cb_ring_alloc(&none, 0) && !none.gfns,
	      "a vCPU without one always has room, and no page");
	CHECK(cb_ring_enable(&vm, 0) == -EINVAL && cb_ring_enable(&vm, 2048) == -EINVAL &&
		  cb_ring_enable(&vm, 12288) == -EINVAL &&
		  cb_ring_enable(&vm, 2 * CB_RING_BYTES) == -E2BIG &&
		  cb_ring_enable(&vm, 1ull << 63) == -E2BIG && !vm.ring_entries,
	      "a size that is none is refused");
	vm.vcpus = 1;
	CHECK(cb_ring_enable(&vm, 4096) == -EINVAL, "with vCPUs it is too late");
	vm.vcpus = 0;
	CHECK(!cb_ring_enable(&vm, 4096) && vm.ring_entries == ENTRIES, "256 entries fill a page");
	CHECK(cb_ring_enable(&vm, 4096) == -EINVAL, "once");
	kernel_fail = 1;
	CHECK(cb_ring_alloc(&none, ENTRIES) == -ENOMEM, "without memory there is no vCPU");
	kernel_fail = 0;
	vm.vcpus = 2;
	new_rings();
	CHECK(cb_ring_page(&v0.dirty, 0) == v0.dirty.gfns && !cb_ring_page(&v0.dirty, 1) &&
		  !cb_ring_page(&v0.dirty, -64ull),
	      "user space can map it, and nothing behind it");
}

static void test_full(void)
{
	u32 at = -100u, i;

	for (i = 0; i < ENTRIES && !cb_ring_is_full(&v0.dirty); i++)
		cb_ring_push(&v0.dirty, SLOT, 2 * i);
	CHECK(i == ENTRIES - 64, "it is full while there is room for what cannot wait (%u)", i);
	CHECK(!cb_ring_is_full(&v1.dirty), "each vCPU has its own");
	CHECK(!cb_ring_reset(&vm) && cb_ring_is_full(&v0.dirty),
	      "what nobody has harvested stays there");
	for (; cb_ring_has_room(&v0.dirty, 1); i++)
		cb_ring_push(&v0.dirty, SLOT, 2 * i);
	CHECK(i == ENTRIES && cb_ring_has_room(&v1.dirty, ENTRIES) &&
		  !cb_ring_has_room(&v1.dirty, ENTRIES + 1),
	      "it takes as many as it has entries");
	CHECK(harvest(&v0.dirty, &at) == ENTRIES && cb_ring_reset(&vm) == ENTRIES &&
		  taken_pages() == ENTRIES && taken[2 * i - 2] == 1 && !taken[2 * i - 1],
	      "those that are harvested are logged again, and no other");
	CHECK(cb_ring_has_room(&v0.dirty, ENTRIES) && !harvest(&v0.dirty, &at) &&
		  !cb_ring_reset(&vm),
	      "once");
	new_rings();
	at = -100u;
	for (i = 0; i < 100; i++)
		cb_ring_push(&v0.dirty, SLOT, 99 - i);
	cb_ring_push(&v0.dirty, SLOT, 7);
	CHECK(harvest(&v0.dirty, &at) == 101 && cb_ring_reset(&vm) == 101 && calls == 1 &&
		  taken_pages() == 100,
	      "neighbours go at once, one that is there twice, too");
}

static void test_order(void)
{
	u32 i;

	new_rings();
	for (i = 0; i < 3; i++)
		cb_ring_push(&v0.dirty, SLOT, 10 * i);
	v0.dirty.gfns[(-100u + 1) & (ENTRIES - 1)].flags = KVM_DIRTY_GFN_F_RESET;
	CHECK(!cb_ring_reset(&vm) && !taken_pages(), "the first comes first");
	v0.dirty.gfns[-100u & (ENTRIES - 1)].flags = KVM_DIRTY_GFN_F_RESET;
	CHECK(cb_ring_reset(&vm) == 2 && taken[0] && taken[10] && !taken[20],
	      "then the next, up to one that is not harvested");
	dies = true;
	v0.dirty.gfns[(-100u + 2) & (ENTRIES - 1)].flags = KVM_DIRTY_GFN_F_RESET;
	CHECK(!cb_ring_reset(&vm), "who is killed does not go on");
	dies = false;
	CHECK(cb_ring_reset(&vm) == 1 && taken[20], "another can");
}

/* What a VMM may write there without having looked. */
static void test_lies(void)
{
	struct kvm_dirty_gfn *e;
	u32 i;

	new_rings();
	for (i = 0; i < ENTRIES; i++)
		v0.dirty.gfns[i] = (struct kvm_dirty_gfn){KVM_DIRTY_GFN_F_RESET, SLOT, i};
	CHECK(!cb_ring_reset(&vm) && !taken_pages() && v0.dirty.reset == v0.dirty.pushed,
	      "entries that are not in use are not looked at");
	for (i = 0; i < 6; i++)
		cb_ring_push(&v0.dirty, SLOT, i);
	e = &v0.dirty.gfns[-100u & (ENTRIES - 1)];
	e[0].offset = PAGES;
	e[1].offset = ~0ull;
	e[2].slot = ~0u;
	e[3].slot = 3;
	e[4].offset = PAGES - 1;
	for (i = 0; i < 6; i++)
		e[i].flags = ~0u;
	CHECK(cb_ring_reset(&vm) == 6, "an entry is free again whatever is in it");
	CHECK(taken_pages() == 2 && taken[PAGES - 1] == 1 && taken[5] == 1,
	      "what no slot has is nothing, another page of the VMM's is its own affair");
	for (i = 0; i < 6; i++)
		CHECK_QUIET(!e[i].flags, "a free entry has no flags");
}

/* ---- at once ---- */

#define PUSHES 200000u

static void *vcpu_thread(void *arg)
{
	for (u32 i = 0; i < PUSHES; i++) {
		while (!cb_ring_has_room(&v0.dirty, 1))
			sched_yield();
		cb_ring_push(&v0.dirty, SLOT, i % PAGES);
	}
	return NULL;
}

static void test_threads(void)
{
	u32 at = -100u, harvested = 0, done = 0;
	pthread_t t;

	new_rings();
	pthread_create(&t, NULL, vcpu_thread, NULL);
	while (done < PUSHES) {
		harvested += harvest(&v0.dirty, &at);
		done += cb_ring_reset(&vm);
		CHECK_QUIET(done <= harvested, "no more than was harvested");
	}
	pthread_join(t, NULL);
	CHECK(done == PUSHES && harvested == PUSHES && taken_pages() == PAGES,
	      "a vCPU that goes on meanwhile loses nothing");
}

int main(void)
{
	pthread_mutex_init(&vm.lock.m, NULL);
	pthread_mutex_init(&vm.slots_lock.m, NULL);
	test_enable();
	test_full();
	test_order();
	test_lies();
	test_threads();
	cb_ring_free(&v0.dirty);
	cb_ring_free(&v1.dirty);
	CHECK(!kernel_live, "nothing is left");
	return test_end();
}
