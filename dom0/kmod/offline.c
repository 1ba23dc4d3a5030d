// SPDX-License-Identifier: GPL-2.0-only
/*
 * A CPU that root takes offline in dom0 is taken from guests as well: it leaves its pool, and comes
 * back to it when it comes online. Not for a sleep of the machine, which all of them sleep.
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/cpu.h>

#define NO_POOL (-1)

static int left_pool[NR_CPUS]; /* which the CPU was taken out of; serialized by CPU hotplug */
static int offline_state = -1;

/* The hypervisor's number of dom0's CPU; negative: an error. */
static int hypervisors_cpu(unsigned int cpu, void *page)
{
	struct corbel_cpu_stat *s = page;
	u32 apic_id = per_cpu(x86_cpu_to_apicid, cpu);

	for (int n = 0; HC4(STAT, CORBEL_STAT_CPU, n, cb_phys(s), PAGE_SIZE) > 0; n++)
		if (s->apic_id == apic_id)
			return n;
	return -ENOENT;
}

/* The pool that has the CPU */
static int pool_with(int n, void *page)
{
	struct corbel_pool_stat *s = page;

	for (u32 i = 0; HC4(STAT, CORBEL_STAT_POOL, i, cb_phys(s), PAGE_SIZE) > 0; i++)
		if (s->cpus.word[n / 64] & BIT_ULL(n % 64))
			return s->id < CORBEL_MAX_POOLS ? s->id : NO_POOL;
	return NO_POOL;
}

static long change_pool(u32 op, int pool, int n, void *page)
{
	struct corbel_pool_call *c = page;

	*c = (struct corbel_pool_call){.op = op, .pool = pool};
	c->cpus.word[n / 64] = BIT_ULL(n % 64);
	return HC1(POOL, cb_phys(c));
}

static int cpu_leaves(unsigned int cpu)
{
	void *page = cpuhp_tasks_frozen ? NULL : (void *)get_zeroed_page(GFP_KERNEL);
	int n, pool;
	long r;

	if (!page)
		return 0;
	n = hypervisors_cpu(cpu, page);
	pool = n < 0 ? NO_POOL : pool_with(n, page);
	if (pool != NO_POOL) {
		r = change_pool(CORBEL_POOL_REMOVE, pool, n, page);
		if (r)
			pr_warn(
			    "CPU %u goes on for guests: their pool %d has no other, or its CPUs "
			    "go together (%ld)\n",
			    cpu, pool, r);
		else
			left_pool[cpu] = pool;
	}
	free_page((unsigned long)page);
	return 0;
}

static int cpu_comes(unsigned int cpu)
{
	void *page = left_pool[cpu] == NO_POOL ? NULL : (void *)get_zeroed_page(GFP_KERNEL);
	int n;

	if (!page)
		return 0;
	n = hypervisors_cpu(cpu, page);
	/* a pool that has gone meanwhile has left its CPUs to nobody */
	if (n >= 0 && change_pool(CORBEL_POOL_ADD, left_pool[cpu], n, page))
		change_pool(CORBEL_POOL_ADD, 0, n, page);
	left_pool[cpu] = NO_POOL;
	free_page((unsigned long)page);
	return 0;
}

void cb_offline_init(void)
{
	for (int i = 0; i < NR_CPUS; i++)
		left_pool[i] = NO_POOL;
	offline_state =
	    cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "corbel:offline", cpu_comes, cpu_leaves);
}

/* Nobody else would do it: another kernel starts these CPUs, but knows of no pools. */
void cb_offline_give_back(void)
{
	unsigned int cpu;

	cpus_read_lock();
	for_each_possible_cpu(cpu) cpu_comes(cpu);
	cpus_read_unlock();
}

void cb_offline_exit(void)
{
	if (offline_state < 0)
		return;
	cpuhp_remove_state_nocalls(offline_state);
	cb_offline_give_back();
}
