// SPDX-License-Identifier: GPL-2.0-only
/*
 * How dom0 idles where no driver of Linux's says so, for want of states that its firmware tells of:
 * by HLT, and with the tick stopped at once. Without a driver Linux keeps the tick on for one
 * period each time a CPU comes to idle, so all that happens now and then would wake it twice.
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/cpu.h>
#include <linux/cpuidle.h>
#include <linux/stop_machine.h>

#define STATES 2

static bool may_hide; /* the second state, while the driver is registered */

/*
 * Twice the same state: with a single one Linux does not ask its governor how long this will take,
 * and keeps the tick on for a period. That is also cheaper: so after a short sleep there is a
 * single one, for all CPUs, until one has slept for a millisecond, or until a timer comes: the
 * governor knows of the next one, and if that is near, to stop the tick and start it again would
 * delay whoever waits for it.
 */
static __cpuidle void set_states(struct cpuidle_driver *drv, u64 slept, bool by_timer)
{
	/* shorter than a tick, which would be on for ever otherwise */
	u64 brief = HZ > 500 ? cb_tsc_khz / 2 : cb_tsc_khz;
	int count = slept < brief && !by_timer ? 1 : STATES;

	if (READ_ONCE(may_hide) && READ_ONCE(drv->state_count) != count)
		WRITE_ONCE(drv->state_count, count);
}

static __cpuidle int halt_cpu(struct cpuidle_device *dev, struct cpuidle_driver *drv, int index)
{
	unsigned int timers = this_cpu_read(irq_stat.apic_timer_irqs);
	u64 began = rdtsc();

	raw_safe_halt();
	raw_local_irq_disable(); /* later kernels want them as they were */
	set_states(drv, rdtsc() - began, this_cpu_read(irq_stat.apic_timer_irqs) != timers);
	return index;
}

#define HALT(us)                                                                                   \
	{                                                                                          \
		.enter = halt_cpu, .exit_latency = (us), .target_residency = (us), .name = "HLT",  \
		.desc = "until an interrupt"                                                       \
	}

/* No owner: devices would hold the module for ever. */
static struct cpuidle_driver idle_driver = {
    .name = "corbel",
    .states = {HALT(1), HALT(2)},
    .state_count = STATES,
};
static bool is_registered;

void cb_idle_init(void)
{
	if (cpuidle_get_driver()) /* Linux would complain of a second one */
		return;
	idle_driver.cpumask = (struct cpumask *)cpu_present_mask;
	is_registered = !cpuidle_register(&idle_driver, NULL);
	WRITE_ONCE(may_hide, is_registered);
}

static int do_nothing(void *unused)
{
	return 0;
}

void cb_idle_exit(void)
{
	if (!is_registered)
		return;
	WRITE_ONCE(may_hide, false);
	stop_machine(do_nothing, NULL, cpu_online_mask); /* nobody is in set_states() */
	idle_driver.state_count = STATES;		 /* what Linux has made files for */
	cpuidle_unregister(&idle_driver);
	/* A CPU that has just been woken may still be in halt_cpu(): until its next thread runs. */
	stop_machine(do_nothing, NULL, cpu_online_mask);
}
