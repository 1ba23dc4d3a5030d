/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What it costs to read the clock, in ticks of the TSC: where a tick is an instruction the smallest
 * of many is exact. With an argument it is woken up by the clock a thousand times instead.
 *
 * usage: clock [sleep]
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static uint64_t tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static uint64_t reading(clockid_t clock)
{
	uint64_t best = UINT64_MAX, t, none = UINT64_MAX;
	struct timespec now;
	int i;

	for (i = 0; i < 1000; i++) {
		t = tsc();
		t = tsc() - t;
		none = t < none ? t : none;
		t = tsc();
		clock_gettime(clock, &now);
		t = tsc() - t;
		best = t < best ? t : best;
	}
	return best - none;
}

/* A thousand times for 100 us. */
static void sleeps(void)
{
	struct timespec pause = {.tv_nsec = 100000};
	int i;

	for (i = 0; i < 1000; i++)
		nanosleep(&pause, NULL);
}

int main(int argc, char *argv[] __attribute__((unused)))
{
	if (argc > 1) {
		sleeps();
		return 0;
	}
	printf("realtime %llu\n", (unsigned long long)reading(CLOCK_REALTIME));
	printf("monotonic %llu\n", (unsigned long long)reading(CLOCK_MONOTONIC));
	return 0;
}
