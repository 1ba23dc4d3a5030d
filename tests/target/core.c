/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched-gran=core, on CPUs of which two share a core: the hypervisor itself looks at each entry
 * whether another VM's guest is in the core, and panics if so (exit_check_mates()). Here are those
 * who would meet, and what they have of the CPUs.
 */
#include "guest.h"

PROGRAM(g_spin);

#define HOGS 3

static struct guest g[HOGS];
static struct corbel_pool_call pool_call __attribute__((aligned(4096)));

static u64 runtime_ms(u32 n)
{
	return vcpu_stat(g[n].vcpu)->runtime_ns / 1000000;
}

/* Milliseconds that CPUs have idled beside a guest, while another waited for them. */
static u64 forced_ms(void)
{
	static struct corbel_cpu_stat s __attribute__((aligned(4096)));
	u64 sum = 0;

	for (u64 i = 0; hc(CORBEL_HC_STAT, CORBEL_STAT_CPU, i, &s, sizeof(s)) > 0; i++) {
		sum += s.forced_ns / 1000000;
		if (s.forced_ns > s.idle_ns)
			return ~0ull;
	}
	return sum;
}

static s64 create_pool(const char *policy, u64 cpus)
{
	memset(&pool_call, 0, sizeof(pool_call));
	pool_call.op = CORBEL_POOL_CREATE;
	pool_call.name[0] = 'p';
	for (u32 i = 0; policy[i]; i++)
		pool_call.policy[i] = policy[i];
	pool_call.cpus.word[0] = cpus;
	return hc(CORBEL_HC_POOL, &pool_call);
}

/* Milliseconds that the hogs run while dom0 is busy on its CPU for so long, or sleeps now and then.
 */
static u64 run_beside(bool busy, u32 ms, u64 *each)
{
	u64 sum = 0, before[HOGS];

	for (u32 i = 0; i < HOGS; i++)
		before[i] = runtime_ms(i);
	for (u32 i = 0; i < ms / 50; i++)
		if (busy)
			WAIT(false, 50);
		else
			sleep_ms(50);
	for (u32 i = 0; i < HOGS; i++)
		sum += each[i] = runtime_ms(i) - before[i];
	return sum;
}

/* Three guests of one vCPU on two cores of two CPUs. */
void test_core(void)
{
	u64 each[HOGS], sum, t, forced;

	report(create_pool("null", 0xc) == -EOPNOTSUPP &&
		   create_pool("deadline", 0xc) == -EOPNOTSUPP,
	       "a pool cannot promise a vCPU a CPU");
	report(create_pool("fair", 8) == -EINVAL && create_pool("fair", 6) == -EINVAL,
	       "nor have half of a core");
	for (u32 i = 0; i < HOGS; i++) {
		if (!report(guest_make(&g[i], i, 0, g_spin, g_spin_end), "hog %u is made", i))
			return;
		guest_resume(&g[i]);
	}
	sleep_ms(500);
	forced = forced_ms();
	t = rdtsc();
	sum = run_beside(false, 3000, each);
	t = (rdtsc() - t) / tsc_khz;
	forced = forced_ms() - forced;
	report(forced > t / 2 && forced < t * 3 / 2,
	       "one CPU idles for that, and tells how long: %lu of %lu ms", forced, t);
	report(sum < t * 21 / 10 && sum > t * 16 / 10,
	       "three hogs have two of four CPUs (%lu of %lu ms)", sum, t);
	report(each[0] > t / 4 && each[1] > t / 4 && each[2] > t / 4,
	       "none of them is left out (%lu, %lu and %lu ms)", each[0], each[1], each[2]);
	t = rdtsc();
	sum = run_beside(true, 3000, each);
	t = (rdtsc() - t) / tsc_khz;
	report(sum < t * 18 / 10 && sum > t,
	       "less beside a busy dom0 (%lu of %lu ms: %lu, %lu and %lu)", sum, t, each[0],
	       each[1], each[2]);
	for (u32 i = 0; i < HOGS; i++)
		report(guest_free(&g[i]), "hog %u goes", i);
}
