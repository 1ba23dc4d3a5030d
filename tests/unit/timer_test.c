/* SPDX-License-Identifier: GPL-2.0-only */
#include <stdlib.h>

#include "hv/cpu/timer.c"

#include "test.h"

struct cpu *cpus[MAX_CPUS];
static struct cpu cpu_data[2];
static u32 self;
static u64 armed[2], arm_calls;

struct cpu *this_cpu(void)
{
	return cpus[self];
}

void apic_eoi(void)
{
}

void irq_set(u8 vector, void (*fn)(u8 vector))
{
}

void apic_timer_arm(u64 tsc)
{
	armed[self] = tsc;
	arm_calls++;
}

void *pool_alloc(u32 order, struct account *acct)
{
	return calloc(1, PAGE_SIZE << order);
}

#define N 1000
static struct timer t[N];
static u32 fired, rearm_past;
static u64 last, now_run;
static bool in_order = true, not_early = true;

static void fn(struct timer *x)
{
	fired++;
	in_order &= x->deadline >= last;
	not_early &= x->deadline <= now_run;
	last = x->deadline;
	x->pos = 0xdead;
}

static void fn_past(struct timer *x)
{
	rearm_past++;
	timer_arm(x, 1);
}

static void run(u64 now)
{
	now_run = now;
	last = 0;
	timer_run(now);
}

static void check_random(void)
{
	u64 want[N], earliest;
	u32 queued = 0, due, i, r;
	bool hw_ok = true, count_ok = true;

	for (i = 0; i < N; i++) {
		timer_setup(&t[i], fn);
		want[i] = 0;
	}
	for (r = 0; r < 300; r++) {
		u64 now = 1000 * r + 1;

		for (u32 k = 0; k < 40; k++) {
			i = rand() % N;
			queued -= !!want[i];
			want[i] = 0;
			if (rand() % 3 == 0) {
				timer_cancel(&t[i]);
			} else {
				want[i] = now + rand() % 20000;
				queued++;
				timer_arm(&t[i], want[i]);
			}
		}
		for (due = 0, earliest = ~0ull, i = 0; i < N; i++)
			if (want[i] && want[i] < earliest)
				earliest = want[i];
		hw_ok &= !queued || armed[0] <= earliest;
		for (due = 0, earliest = ~0ull, i = 0; i < N; i++)
			if (want[i] && want[i] <= now + 500) {
				due++;
				want[i] = 0;
			} else if (want[i] && want[i] < earliest) {
				earliest = want[i];
			}
		fired = 0;
		run(now + 500);
		count_ok &= fired == due;
		queued -= due;
		hw_ok &= !queued || armed[0] == earliest;
	}
	CHECK(count_ok, "exactly the due timers fire, each once");
	CHECK(in_order && not_early, "in the order of their deadlines and none early");
	CHECK(hw_ok, "the hardware is never set later than the earliest deadline");
	fired = 0;
	run(~0ull);
	CHECK(fired == queued, "after all have fired none is left");
}

int main(void)
{
	u64 calls;

	for (self = 2; self-- > 0;) {
		cpus[self] = &cpu_data[self];
		cpu_data[self].index = self;
		timer_init_cpu();
	}
	self = 0;
	timer_setup(&t[0], fn);
	timer_setup(&t[1], fn);
	timer_arm(&t[0], 500);
	CHECK(armed[0] == 500, "the first timer programs the hardware");
	calls = arm_calls;
	timer_arm(&t[1], 700);
	CHECK(arm_calls == calls, "a later one does not");
	timer_arm(&t[1], 0);
	CHECK(armed[0] == 1, "deadline 0 is in the past, not a disarm");
	timer_cancel(&t[1]);
	timer_cancel(&t[1]);
	run(499);
	CHECK(fired == 0 && armed[0] == 500, "a spurious interrupt programs the hardware again");

	self = 1;
	timer_arm(&t[0], 900);
	self = 0;
	run(1000);
	CHECK(fired == 0 && t[0].cpu == 1, "arming on another CPU takes the timer from the first");
	timer_cancel_wait(&t[0]);
	self = 1;
	run(1000);
	CHECK(fired == 0, "a timer is cancelled from another CPU");
	self = 0;

	timer_arm(&t[0], 2000);
	timer_arm(&t[1], 3000);
	timer_idle(&t[1]);
	CHECK(armed[0] == 2000 && t[1].cpu == 0, "who idles keeps a timer that is not the next");
	timer_idle(&t[0]);
	CHECK(armed[0] == 3000 && t[0].cpu < 0 && t[1].cpu == 0,
	      "the next one he does not wait for, but for the one behind it");
	timer_arm(&t[1], 4000);
	CHECK(armed[0] == 3000, "one put off leaves the hardware as it is");
	timer_idle(&t[0]);
	CHECK(armed[0] == 4000, "until the CPU idles");
	timer_idle(&t[1]);
	CHECK(armed[0] == 4000 && t[1].cpu == 0, "the only one stays");
	timer_cancel(&t[1]);

	timer_setup(&t[1], fn);
	timer_arm(&t[1], 5000);
	armed[0] = 0;
	fired = 0;
	timer_init_cpu();
	CHECK(armed[0] == 5000, "after a sleep the hardware is armed again");
	run(6000);
	CHECK(fired == 1, "and the timer that was there fires");

	timer_setup(&t[2], fn_past);
	timer_arm(&t[2], 1);
	run(10);
	CHECK(rearm_past == 1 && armed[0] == 1,
	      "a timer that arms itself in the past does not hold timer_run()");
	timer_cancel(&t[2]);
	check_random();
	for (self = 0; self < 2; self++)
		free(cpus[self]->timer);
	CHECK(PANICS(timer_setup(&(struct timer){0}, NULL)),
	      "a timer without a function is our own bug");
	return test_end();
}
