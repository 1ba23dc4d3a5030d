/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c -lpthread
 */
/*
 * The scheduler under real threads, while pools of CPUs and weights change and somebody counts: no
 * unit is on two CPUs at once, no wake and no weight is lost. Also where two CPUs share a core, and
 * run one VM at a time. With ThreadSanitizer: whatever two CPUs touch is marked so.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "hv/sched/policy.h"
#include "sched_sim.h"
#include "test.h"

#define T_CPUS	4
#define T_UNITS 10
static struct {
	struct sched_unit s; /* first */
	u64 pad[16];	     /* leave() counts here */
	u32 owner;	     /* CPU + 1 that runs it */
	u32 events, handled;
} tu[T_UNITS];
static u32 stop_posting, stop_all;

static void post(u32 to, struct sched_unit *giver)
{
	if (__atomic_load_n(&stop_posting, __ATOMIC_SEQ_CST))
		return;
	__atomic_fetch_add(&tu[to].events, 1, __ATOMIC_SEQ_CST);
	if (giver)
		sched_yield_to(giver, &tu[to].s);
	else
		sched_wake(&tu[to].s);
}

static void thread_burst(u32 i, u32 *seed)
{
	u32 none = 0, n, events;

	if (!CHECK_QUIET(__atomic_compare_exchange_n(&tu[i].owner, &none, me->index + 1, false,
						     __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST),
			 "unit %u is on one CPU at a time", i))
		abort();
	events = __atomic_load_n(&tu[i].events, __ATOMIC_SEQ_CST);
	__atomic_store_n(&tu[i].handled, events, __ATOMIC_SEQ_CST);
	for (n = rand_r(seed) % 3; n; n--)
		post(rand_r(seed) % T_UNITS, rand_r(seed) % 3 ? NULL : &tu[i].s);
	if (rand_r(seed) % 10 == 0)
		sched_give_way(&tu[i].s, &tu[i < 2 ? 1 - i : 2 + (i + 2) % (T_UNITS - 2)].s);
	if (rand_r(seed) % 50 == 0)
		sched_set(&tu[rand_r(seed) % T_UNITS].s, 1 + rand_r(seed) % 4096,
			  cpu_set(rand_r(seed) % 16), 0);
	__atomic_store_n(&tu[i].owner, 0, __ATOMIC_SEQ_CST);
}

static void *thread_main(void *arg)
{
	struct sched_unit *u = NULL;
	u64 end;
	u32 i, events, seed = 1 + (u32)(u64)arg;

	me = &cpu_mem[(u64)arg];
	while (!__atomic_load_n(&stop_all, __ATOMIC_SEQ_CST)) {
		u = sched_next(u, rdtsc(), &end);
		if (!u) {
			/* as a device's interrupt would */
			post(rand_r(&seed) % T_UNITS, NULL);
			for (i = 0; i < 20 && !__atomic_load_n(&me->resched, __ATOMIC_SEQ_CST) &&
				    rdtsc() < end;
			     i++)
				sched_yield();
			continue;
		}
		do {
			i = (u32)((char *)u - (char *)tu) / sizeof(tu[0]);
			thread_burst(i, &seed);
			/*
			 * Like HLT: sleep when there is nothing to handle; a wake meanwhile makes
			 * this fail.
			 */
			events = __atomic_load_n(&tu[i].events, __ATOMIC_SEQ_CST);
			if (events == tu[i].handled && rand_r(&seed) % 4 && sched_block(u))
				u = NULL;
		} while (u && !__atomic_load_n(&me->resched, __ATOMIC_SEQ_CST) && rdtsc() < end);
	}
	return NULL;
}

static u64 unhandled(void)
{
	u64 n = 0;
	u32 i;

	for (i = 0; i < T_UNITS; i++)
		n += __atomic_load_n(&tu[i].events, __ATOMIC_SEQ_CST) !=
		     __atomic_load_n(&tu[i].handled, __ATOMIC_SEQ_CST);
	return n;
}

#define VMS   4
#define POOLS 5
static u32 moved[POOLS];
static bool splits; /* no pool changes, but those of one have seats on two CPUs, or have not */
static u32 seen_split;

/* Two VMs on three CPUs of a pool with deadlines. */
static void change_seats(struct sched_group *vm, u32 *seed)
{
	u32 budget = rand_r(seed) % 4 ? 600 : 300;

	for (u32 i = 0; i < 2; i++)
		sched_set_budget(&vm[i], NULL, 1000, budget);
	sched_set(&tu[2 + rand_r(seed) % (T_UNITS - 2)].s, 0, cpu_set(1 + rand_r(seed) % 15), 0);
}

/* Four VMs, and a pool of each policy beside pool 0: what dom0 asks for meanwhile, by chance. */
static void change_pools(struct sched_group *vm, u32 *seed)
{
	struct corbel_pool_call c = {
	    .op = CORBEL_POOL_ADD + rand_r(seed) % 4,
	    .pool = rand_r(seed) % (by_core ? 2 : POOLS),
	    .cpus.word = {1 + rand_r(seed) % (BIT(T_CPUS) - 1)},
	};

	if (rand_r(seed) % 2)
		c.cpus.word[0] = BIT(rand_r(seed) % T_CPUS);
	if (by_core)
		c.cpus.word[0] = (u64[]){3, 12, 15}[rand_r(seed) % 3];
	if (rand_r(seed) % 8 == 0)
		sched_group_set(&vm[rand_r(seed) % VMS], 1 + rand_r(seed) % 4096,
				1 + rand_r(seed) % 400);
	if (rand_r(seed) % 8 == 0)
		sched_set_budget(&vm[rand_r(seed) % VMS], NULL, 200 + rand_r(seed) % 2000,
				 100 + rand_r(seed) % 400);
	if (c.op == CORBEL_POOL_RENAME)
		sched_set(&tu[2 + rand_r(seed) % (T_UNITS - 2)].s, 0, &c.cpus, 0);
	else if (!cpupool_call(&c, &vm[rand_r(seed) % VMS]) && c.op == CORBEL_POOL_MOVE)
		moved[c.pool]++;
}

/* What listings ask for, at any time: runtimes grow. */
static void count_times(u64 *had)
{
	struct corbel_pool_stat s;

	for (u32 i = 0; i < T_UNITS; i++) {
		u64 ran = sched_runtime(&tu[i].s, 0);

		CHECK_QUIET(ran >= had[i], "threads: unit %u has run for longer than before", i);
		had[i] = ran;
		sched_steal(&tu[i].s, rdtsc());
		seen_split += !!READ_ONCE(tu[i].s.budget.split);
	}
	cpupool_stat(rdtsc() % POOLS, &s);
	sched_idle_cpus();
}

/* Nobody is at work any more: is the share of each what follows from what has been set last? */
static void check_shares(void)
{
	for (u32 i = 0; i < T_UNITS; i++) {
		struct sched_unit *u = &tu[i].s;
		u32 share = u->share, parts = u->parts;

		unit_weigh(u);
		CHECK_QUIET(u->share == share || u->parts != parts,
			    "threads: unit %u has the share %u by its weight, not %u", i, u->share,
			    share);
	}
}

static void test_threads(u32 seed)
{
	static struct sched_group vm[VMS];
	struct timespec ms1 = {0, MS}, ms10 = {0, 10 * MS};
	pthread_t t[T_CPUS];
	u64 i, posted = 0, had[T_UNITS] = {0};

	memset(tu, 0, sizeof(tu));
	memset(moved, 0, sizeof(moved));
	stop_posting = stop_all = leaves = seen_split = 0;
	machine(T_CPUS, "fair");
	threaded = true;
	for (i = 0; i < VMS; i++)
		sched_group_init(&vm[i]);
	create("one", splits ? "deadline" : "", splits ? 14 : by_core ? 12 : 0);
	if (!by_core && !splits) {
		create("two", "rr", 0);
		create("three", "deadline", 2);
		create("four", "null", 12);
	}
	for (i = 0; i < T_UNITS; i++) {
		sched_unit_init(&tu[i].s, 1024, NULL, i % T_CPUS, i < 2);
		if (i >= 2)
			sched_group_join(&vm[i % VMS], &tu[i].s);
		tu[i].events = 1;
		sched_wake(&tu[i].s);
	}
	for (i = 0; splits && i < 2; i++)
		CHECK(!move(&vm[i], 1), "threads: a VM of vCPUs with deadlines");
	for (i = 0; i < T_CPUS; i++)
		pthread_create(&t[i], NULL, thread_main, (void *)i);
	for (i = 0; i < 1000; i++) {
		if (splits)
			change_seats(vm, &seed);
		else
			change_pools(vm, &seed);
		count_times(had);
		nanosleep(&ms1, NULL);
	}
	__atomic_store_n(&stop_posting, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < 1000 && unhandled(); i++)
		nanosleep(&ms10, NULL);
	for (i = 0; i < T_UNITS; i++)
		posted += __atomic_load_n(&tu[i].events, __ATOMIC_SEQ_CST);
	CHECK(!unhandled(), "threads: of %llu wake-ups none is lost", (unsigned long long)posted);
	__atomic_store_n(&stop_all, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < T_CPUS; i++)
		pthread_join(t[i], NULL);
	check_shares();
	if (splits)
		CHECK(seen_split > 300, "threads: %u times a unit has two CPUs", seen_split);
	for (i = 0; !splits && i < (by_core ? 2 : POOLS); i++)
		CHECK(moved[i] >= 3, "threads: %u times a VM moves to pool %u", moved[i], (u32)i);
	CHECK(posted > 1000 && leaves > 100, "threads: enough happened");
	threaded = false;
}

int main(void)
{
	test_threads(9);
	splits = true;
	test_threads(9);
	splits = false;
	by_core = true;
	of_core = of_cache = 2;
	test_threads(9);
	return test_end();
}
