// SPDX-License-Identifier: GPL-2.0-only
/*
 * The event interrupt. Each dom0 CPU has one Linux interrupt with a vector from the x86 vector
 * domain, which the hypervisor raises after it has set bits in struct corbel_events.
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/cpuhotplug.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/syscore_ops.h>
#include <asm/irqdomain.h>
#include <asm/smp.h>

u64 cb_features, cb_gfn_end, cb_pool_bytes;
bool cb_strict;
u32 cb_tsc_khz;
static struct corbel_events *events;
static struct corbel_load *loads; /* in the pages behind, so many */
static u32 load_count;
static struct fwnode_handle *fwnode;
static struct irq_domain *domain;
static DEFINE_PER_CPU(int, event_irq);
static int hotplug_state;

static irqreturn_t event_interrupt(int irq, void *unused)
{
	cb_registry_scan();
	cb_broken_found(events);
	cb_errors_found(events);
	return IRQ_HANDLED;
}

static struct irq_chip event_chip = {
    .name = "corbel",
    .irq_ack = irq_chip_ack_parent,
    .irq_set_affinity = irq_chip_set_affinity_parent,
};

static int event_domain_alloc(struct irq_domain *d, unsigned int virq, unsigned int nr, void *arg)
{
	struct irq_alloc_info *info = arg;
	int r = irq_domain_alloc_irqs_parent(d, virq, nr, arg);

	if (r)
		return r;
	irq_domain_set_info(d, virq, info->hwirq, &event_chip, NULL, handle_edge_irq, NULL, "edge");
	return 0;
}

static const struct irq_domain_ops event_domain_ops = {
    .alloc = event_domain_alloc,
    .free = irq_domain_free_irqs_common,
};

/*
 * Runs on the CPU that comes online, one at a time. Its vector stays there only if the interrupt is
 * for no other CPU from the beginning: Linux activates it for those of irqaffinity=, if not told.
 */
static int event_cpu_up(unsigned int cpu)
{
	static struct irq_affinity_desc only;
	struct irq_alloc_info info = {.hwirq = cpu, .mask = cpumask_of(cpu)};
	u32 apic_id = per_cpu(x86_cpu_to_apicid, cpu);
	int irq, r;

	cpumask_copy(&only.mask, cpumask_of(cpu));
	irq = __irq_domain_alloc_irqs(domain, -1, 1, cpu_to_node(cpu), &info, false, &only);
	if (irq < 0)
		return irq;
	/* Neither irqbalance nor users may move it: the hypervisor knows it by CPU and vector. */
	r = request_irq(irq, event_interrupt, IRQF_NOBALANCING | IRQF_NO_THREAD | IRQF_NO_SUSPEND,
			"corbel", &event_irq);
	if (r)
		goto free_irq;
	/* Not by a message: there is none for APIC ids above 255. */
	r = HC2(EVENT_BIND, apic_id, irqd_cfg(irq_get_irq_data(irq))->vector);
	if (r < 0) {
		pr_err("event interrupt of CPU %u refused (%d)\n", cpu, r);
		goto free_action;
	}
	if (r < load_count)
		cb_load_start(&loads[r]);
	per_cpu(event_irq, cpu) = irq;
	return 0;

free_action:
	free_irq(irq, &event_irq);
free_irq:
	irq_dispose_mapping(irq);
	return r;
}

static int event_cpu_down(unsigned int cpu)
{
	int irq = per_cpu(event_irq, cpu);

	cb_load_stop(cpu);
	HC2(EVENT_BIND, per_cpu(x86_cpu_to_apicid, cpu), 0);
	per_cpu(event_irq, cpu) = 0;
	free_irq(irq, &event_irq);
	irq_dispose_mapping(irq);
	return 0;
}

#ifdef CB_SYSCORE_DATA
#define SYSCORE_ARG void *data
#else
#define SYSCORE_ARG void
#endif

/*
 * The last CPU's part of a sleep, others are offline. Linux switches its clock and its APIC off,
 * and another kernel would be taken to have come if an event were still bound.
 */
static int unbind_last(SYSCORE_ARG)
{
	HC2(EVENT_BIND, per_cpu(x86_cpu_to_apicid, smp_processor_id()), 0);
	return 0;
}

static void bind_again(SYSCORE_ARG)
{
	unsigned int cpu = smp_processor_id();
	u8 vector = irqd_cfg(irq_get_irq_data(per_cpu(event_irq, cpu)))->vector;
	long r = HC2(EVENT_BIND, per_cpu(x86_cpu_to_apicid, cpu), vector);

	if (r < 0)
		pr_err("event interrupt of CPU %u refused after the sleep (%ld)\n", cpu, r);
	cb_event_tell_stopped();
	event_interrupt(0, NULL); /* nobody was told of what has been since */
}

static struct syscore_ops sleep_ops = {
    .suspend = unbind_last,
    .resume = bind_again,
};
#ifdef CB_SYSCORE_DATA
static struct syscore sleep_hook = {.ops = &sleep_ops};
#define register_syscore_ops(ops)   register_syscore(&sleep_hook)
#define unregister_syscore_ops(ops) unregister_syscore(&sleep_hook)
#endif

static int map_events(void)
{
	struct corbel_info *info = (void *)get_zeroed_page(GFP_KERNEL);
	long r;

	if (!info)
		return -ENOMEM;
	r = HC4(STAT, CORBEL_STAT_INFO, 0, cb_phys(info), sizeof(*info));
	if (r >= 0) {
		cb_features = info->features;
		cb_strict = info->iommu == CORBEL_IOMMU_STRICT;
		cb_tsc_khz = info->tsc_khz;
		cb_pool_bytes = info->pool_total_bytes;
		cb_gfn_end =
		    min_t(u64, info->gfn_end, BIT(boot_cpu_data.x86_phys_bits - PAGE_SHIFT));
		load_count = min(info->cpus, CORBEL_MAX_CPUS);
		events = memremap(info->events_hpa,
				  PAGE_SIZE + PAGE_ALIGN(load_count * sizeof(*loads)), MEMREMAP_WB);
		loads = (void *)events + PAGE_SIZE;
		cb_registry_init(events);
	}
	free_page((unsigned long)info);
	if (!events) {
		pr_err("cannot map the hypervisor's event page (%ld)\n", r);
		return r < 0 ? r : -ENOMEM;
	}
	return 0;
}

#define BEGIN_TIMEOUT (10 * HZ)

/*
 * Whatever VMs there are were another kernel's, whose place this one has taken: kexec, or a crash.
 * A hypervisor that does not know the call (-ENOSYS) has ended none.
 */
static int end_others_guests(void)
{
	unsigned long end = jiffies + BEGIN_TIMEOUT;
	long r;

	while ((r = HC1(KERNEL, 1)) == -EAGAIN && time_before(jiffies, end))
		cond_resched();
	if (!r || r == -ENOSYS)
		return 0;
	pr_err("guests of the kernel before this one do not end (%ld): reboot\n", r);
	return r;
}

int cb_event_init(void)
{
	int r = map_events();

	if (r)
		return r;
	r = end_others_guests();
	if (r)
		goto out_unmap;
	r = -ENOMEM;
	fwnode = irq_domain_alloc_named_fwnode("corbel");
	if (!fwnode)
		goto out_unmap;
	domain =
	    irq_domain_create_hierarchy(x86_vector_domain, 0, 0, fwnode, &event_domain_ops, NULL);
	if (!domain)
		goto out_fwnode;
	hotplug_state =
	    cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "corbel:online", event_cpu_up, event_cpu_down);
	if (hotplug_state < 0) {
		r = hotplug_state;
		pr_err("no event interrupt (%d)\n", r);
		goto out_domain;
	}
	/* Last in the list, so unbinding comes before what Linux does, and binding behind it. */
	register_syscore_ops(&sleep_ops);
	return 0;

out_domain:
	irq_domain_remove(domain);
out_fwnode:
	irq_domain_free_fwnode(fwnode);
out_unmap:
	memunmap(events);
	return r;
}

void cb_event_exit(void)
{
	unregister_syscore_ops(&sleep_ops);
	cpuhp_remove_state(hotplug_state);
	irq_domain_remove(domain);
	irq_domain_free_fwnode(fwnode);
	memunmap(events);
}
