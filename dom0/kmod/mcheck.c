// SPDX-License-Identifier: GPL-2.0-only
/*
 * Machine checks that the machine survives. Their banks are the hypervisor's, and what it tells of
 * them goes into Linux' own log, where rasdaemon looks for it (tracepoint mce_record).
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/timekeeping.h>
#include <linux/topology.h>
#include <asm/mce.h>
#include <asm/smp.h>

#ifdef CONFIG_X86_MCE

/* Which CPU that is here; one that dom0 does not have is told by its APIC id. */
static unsigned int cpu_of(u32 apic_id)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu) if (per_cpu(x86_cpu_to_apicid, cpu) == apic_id) return cpu;
	return 0;
}

static void pass_on(const struct corbel_error *e)
{
	unsigned int cpu = cpu_of(e->apic_id);
	/* No severity: of what is lost the hypervisor tells apart, see broken.c. */
	struct mce m = {
	    .status = e->status,
	    .addr = e->addr,
	    .misc = e->misc,
	    .synd = e->synd,
	    .ipid = e->ipid,
	    .mcgstatus = e->mcg_status,
	    .mcgcap = e->mcg_cap,
	    .tsc = e->tsc,
	    .time = ktime_get_real_seconds(),
	    .cpuvendor = boot_cpu_data.x86_vendor,
	    .cpuid = cpuid_eax(1),
	    .microcode = boot_cpu_data.microcode,
	    .bank = e->bank,
	    .cpu = cpu,
	    .extcpu = cpu,
	    .socketid = topology_physical_package_id(cpu),
	    .apicid = e->apic_id,
	};

#ifdef CB_MCE_HW_ERR
	struct mce_hw_err err = {.m = m};

	mce_log(&err);
#else
	mce_log(&m);
#endif
}

#else

static void pass_on(const struct corbel_error *e)
{
	/* no limit: there are no more at a time than places in the page */
	pr_warn("machine check of the CPU with APIC id %u, bank %u: status %llx, address %llx, "
		"misc %llx\n",
		e->apic_id, e->bank, e->status, e->addr, e->misc);
}

#endif

/* In the event interrupt, of any CPU. */
void cb_errors_found(struct corbel_events *events)
{
	static DEFINE_RAW_SPINLOCK(lock);
	unsigned long there;
	u64 lost;
	u32 i;

	if (likely(!READ_ONCE(events->errors)))
		return;
	raw_spin_lock(&lock);
	there = READ_ONCE(events->errors);
	smp_rmb();
	for_each_set_bit(i, &there, CORBEL_ERRORS)
	{
		pass_on(&events->error[i]);
		smp_mb__before_atomic();
		clear_bit(i, (unsigned long *)&events->errors);
	}
	lost = xchg(&events->errors_lost, 0);
	if (lost)
		pr_warn("%llu machine checks more than could be told; see corbel dmesg\n", lost);
	raw_spin_unlock(&lock);
}
