/* SPDX-License-Identifier: GPL-2.0-only */
/* links: -lpthread */
/*
 * corbel.ko's registry of events beside a kernel made of threads: each stop and each ring reaches
 * who is registered for it, and nobody who comes after him or has gone.
 */
#include "hv/lib/types.h"
#include "kernel.h"
#include "test.h"

struct cb_vcpu {
	u64 number;
	u32 wait; /* how often it was woken; atomic */
};

static inline void wake_up(u32 *wait)
{
	__atomic_fetch_add(wait, 1, __ATOMIC_SEQ_CST);
}

static u64 paused[4], told[4];
static u32 pauses, tells;

static void note_call(u64 nr, u64 number)
{
	if (nr == CORBEL_HC_VCPU_PAUSE && pauses < ARRAY_SIZE(paused))
		paused[pauses++] = number;
	if (nr == CORBEL_HC_VCPU_SET && tells < ARRAY_SIZE(told))
		told[tells++] = number;
}
#define HC1(call, arg) note_call(CORBEL_HC_##call, arg)
#define HC3(call, arg, what, n)                                                                    \
	note_call((what) == CORBEL_STATE_CLOCK_STOPPED ? CORBEL_HC_##call : 0, arg)

#include "dom0/kmod/registry.c"

/* ---- the hypervisor ---- */

static struct corbel_events page;

static void set_event(uint64_t *words, uint64_t *summary, u32 id)
{
	if (__atomic_fetch_or(&words[id / 64], BIT(id % 64), __ATOMIC_SEQ_CST) & BIT(id % 64))
		return;
	__atomic_fetch_or(summary, BIT(id / 64), __ATOMIC_SEQ_CST);
}

static void stops(u64 number)
{
	set_event(page.vcpu, &page.vcpu_summary, CORBEL_VCPU_ID(number));
}

static void rings(u32 number)
{
	set_event(page.doorbell, &page.doorbell_summary, CORBEL_DOORBELL_ID(number));
}

static u64 rung(int fd)
{
	u64 count;

	spin_lock_irq(&kernel_fd[fd]->ctx->wqh.lock);
	eventfd_ctx_do_read(kernel_fd[fd]->ctx, &count);
	spin_unlock_irq(&kernel_fd[fd]->ctx->wqh.lock);
	return count;
}

/* ---- one at a time ---- */

static void test_vcpus(void)
{
	struct cb_vcpu a = {.number = 5 * CORBEL_MAX_VCPUS + 70}, next = {.number = a.number};
	struct cb_vcpu last = {.number = CORBEL_MAX_VCPUS - 1};

	next.number += CORBEL_MAX_VCPUS;
	cb_event_add_vcpu(&a);
	cb_event_add_vcpu(&last);
	stops(a.number);
	stops(last.number);
	stops(71); /* nobody's */
	cb_registry_scan();
	CHECK(a.wait == 1 && last.wait == 1, "who waits for a vCPU hears that it has stopped");
	cb_registry_scan();
	CHECK(a.wait == 1, "once");
	cb_event_pause_vcpus();
	CHECK(pauses == 2 && paused[0] == a.number && paused[1] == last.number,
	      "all can be made to stop, by their numbers");
	cb_event_tell_stopped();
	CHECK(tells == 2 && told[0] == a.number && told[1] == last.number,
	      "and told that they have stood still");
	cb_event_del_vcpu(&a);
	stops(a.number);
	cb_registry_scan();
	CHECK(a.wait == 1, "one that has gone is not touched");
	cb_event_add_vcpu(&next);
	stops(next.number);
	cb_registry_scan();
	CHECK(a.wait == 1 && next.wait == 1, "but the next that has its id is");
	cb_event_del_vcpu(&next);
	cb_event_del_vcpu(&last);
}

static void test_doorbells(void)
{
	const u32 one = 3 * CORBEL_MAX_DOORBELLS + 200, same = one + CORBEL_MAX_DOORBELLS;

	kernel_open(0);
	kernel_open(1);
	rings(one);
	cb_registry_scan();
	cb_event_add_doorbell(one, kernel_fd[0]->ctx);
	CHECK(rung(0) == 1, "a ring before the eventfd is known is not lost");
	rings(one);
	cb_event_sync_doorbells();
	CHECK(rung(0) == 1, "nor one whose interrupt is still to come");
	cb_event_sync_doorbells();
	cb_registry_scan();
	CHECK(!rung(0), "each signals once");
	rings(one);
	cb_event_del_doorbell(one);
	CHECK(rung(0) == 1, "what rang while it was there signals it");
	cb_event_add_doorbell(same, kernel_fd[1]->ctx);
	CHECK(!rung(0) && !rung(1), "and not the next that has its id");
	rings(same);
	cb_registry_scan();
	CHECK(!rung(0) && rung(1) == 1, "which hears of its own");
	cb_event_del_doorbell(same);
	rings(same);
	cb_registry_scan();
	CHECK(!rung(1), "one that has gone is not signalled");
	kernel_close(0);
	kernel_close(1);
	CHECK(!kernel_live, "nothing stays");
}

/* ---- all at once ---- */

#define FIGHT_MS 1000
#define IDS	 4 /* of vCPUs and doorbells that come and go: one for each thread that has them */
static bool stop;
static bool may_ring[IDS]; /* atomic: the hypervisor has it */
static u32 rings_of[IDS];

static void *interrupts(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		cb_registry_scan();
		cb_event_sync_doorbells();
		sched_yield();
	}
	return NULL;
}

static void *guests(void *arg)
{
	u32 seed = 7;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		u32 i = rand_r(&seed) % IDS;

		if (__atomic_load_n(&may_ring[i], __ATOMIC_SEQ_CST)) {
			rings(i);
			__atomic_fetch_add(&rings_of[i], 1, __ATOMIC_SEQ_CST);
		}
		stops(i);
		sched_yield();
	}
	return NULL;
}

/* A VM of one vCPU and one doorbell that comes and goes: how often it has missed a ring. */
static void *vm_main(void *arg)
{
	u32 id = (u32)(u64)arg;
	u64 missed = 0, lives = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		struct cb_vcpu *v = kzalloc(sizeof(*v), 0);
		u64 heard;
		u32 before;

		v->number = lives++ * CORBEL_MAX_VCPUS + id;
		kernel_open((int)id);
		cb_event_add_vcpu(v);
		before = __atomic_load_n(&rings_of[id], __ATOMIC_SEQ_CST);
		__atomic_store_n(&may_ring[id], true, __ATOMIC_SEQ_CST);
		cb_event_add_doorbell(id, kernel_fd[id]->ctx);
		sched_yield();
		__atomic_store_n(&may_ring[id], false, __ATOMIC_SEQ_CST);
		cb_event_del_doorbell(id);
		heard = rung((int)id);
		missed += !heard && __atomic_load_n(&rings_of[id], __ATOMIC_SEQ_CST) > before + 1;
		kernel_close((int)id);
		cb_event_del_vcpu(v);
		synchronize_rcu();
		kfree(v);
	}
	return (void *)(missed << 32 | lives);
}

static void test_fight(void)
{
	pthread_t t[IDS + 3];
	u64 lives = 0, missed = 0;

	pthread_create(&t[IDS], NULL, interrupts, NULL);
	pthread_create(&t[IDS + 1], NULL, interrupts, NULL);
	pthread_create(&t[IDS + 2], NULL, guests, NULL);
	for (u64 i = 0; i < IDS; i++)
		pthread_create(&t[i], NULL, vm_main, (void *)i);
	nanosleep(&(struct timespec){FIGHT_MS / 1000, FIGHT_MS % 1000 * 1000000}, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		void *got;

		pthread_join(t[i], &got);
		lives += (u64)got & 0xffffffff;
		missed += (u64)got >> 32;
	}
	CHECK(lives > 2 * IDS && !missed, "%llu VMs come and go, %llu have missed their rings",
	      (unsigned long long)lives, (unsigned long long)missed);
	CHECK(!kernel_live, "nothing stays (%u)", kernel_live);
}

int main(void)
{
	cb_registry_init(&page);
	test_vcpus();
	test_doorbells();
	test_fight();
	return test_end();
}
