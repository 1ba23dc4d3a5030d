/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/mcheck_timer.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/lib/percpu.h"

#define MCHECK_POLL_NS 60000000000ull

static PER_CPU(struct timer, poll_timer);

static void poll_fn(struct timer *t)
{
	mcheck_poll();
	timer_arm(t, rdtsc() + ns_to_tsc(MCHECK_POLL_NS));
}

void mcheck_start_polling(void)
{
	struct timer *t = &own_cpu(poll_timer);

	if (!t->fn)
		timer_setup(t, poll_fn);
	timer_arm(t, rdtsc() + ns_to_tsc(MCHECK_POLL_NS));
}
