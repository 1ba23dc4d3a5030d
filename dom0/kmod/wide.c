// SPDX-License-Identifier: GPL-2.0-only
/*
 * Linux is told by CPUID that messages may bear ids of 15 bits, but that holds only for those that
 * the hypervisor translates. Lines of IOAPICs, bridges' messages and those of drivers that came
 * before us go as they are written, with 8 bits, and would end at another CPU. So the hypervisor
 * has Linux begin without such CPUs, and with the others as the default for interrupts
 * (maxcpus=, irqaffinity=). Here what is not translated is nailed down where it is by then, and the
 * CPUs are started.
 */
#define pr_fmt(fmt) "corbel_iommu: " fmt

#include <linux/cpu.h>
#include <linux/irq.h>
#include <linux/pci.h>
#include <linux/rcupdate.h>

#include <asm/irqdomain.h>
#include <asm/kvm_para.h>
#include <asm/processor.h>
#include <asm/smp.h>

#include "wide.h"

#define NARROW_LAST 255u
#ifdef CB_GET_NR_IRQS
#define ALL_IRQS irq_get_nr_irqs()
#else
#define ALL_IRQS nr_irqs
#endif

static const struct irq_domain *translated;

static bool is_wide(unsigned int cpu)
{
	unsigned int id = per_cpu(x86_cpu_to_apicid, cpu);

	return id != BAD_APICID && id > NARROW_LAST;
}

static bool is_as_written(const struct irq_data *d)
{
	const struct irq_domain *of = d->domain;

	if (of == translated)
		return false;
	while (of && of != x86_vector_domain)
		of = of->parent;
	return of;
}

/*
 * Neither irqbalance nor users move them any more. How many there are that Linux spreads over all
 * CPUs by itself, also over those that come: these cannot be held.
 */
static unsigned int nail_down(void)
{
	unsigned int irq, spread = 0;

	for (irq = 0; irq < ALL_IRQS; irq++) {
		struct irq_data *d;

		rcu_read_lock();
		d = irq_get_irq_data(irq);
		if (d && is_as_written(d)) {
			if (irqd_affinity_is_managed(d))
				spread++;
			else
				irq_set_status_flags(irq, IRQ_NO_BALANCING);
		}
		rcu_read_unlock();
	}
	return spread;
}

/* Of a device that comes later: its line, and messages if they are not translated. */
static int nail_device(struct notifier_block *nb, unsigned long event, void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);
	bool managed = false;
	int i, irq;

	if (event != BUS_NOTIFY_BOUND_DRIVER)
		return NOTIFY_DONE;
	if (!pdev->msi_enabled && !pdev->msix_enabled) {
		if (pdev->irq)
			irq_set_status_flags(pdev->irq, IRQ_NO_BALANCING);
		return NOTIFY_DONE;
	}
	if (dev_get_msi_domain(&pdev->dev) == translated)
		return NOTIFY_DONE;
	for (i = 0; (irq = pci_irq_vector(pdev, i)) >= 0; i++) {
		irq_set_status_flags(irq, IRQ_NO_BALANCING);
		managed |= irqd_affinity_is_managed(irq_get_irq_data(irq));
	}
	if (managed)
		pr_err("%s: its messages are not translated, but spread over all CPUs: those for "
		       "CPUs with APIC ids above %u are lost; keep these CPUs offline\n",
		       pci_name(pdev), NARROW_LAST);
	return NOTIFY_DONE;
}

static struct notifier_block devices = {.notifier_call = nail_device};

/* Of root's, or of udev's */
static int refuse_wide(unsigned int cpu)
{
	return is_wide(cpu) ? -EPERM : 0;
}

/* Those that the hypervisor has held back, too, as they stand behind the first of the others. */
static void start_cpus(bool wide)
{
	unsigned int cpu;

	for_each_present_cpu(cpu)
	{
		int r = is_wide(cpu) == wide && !cpu_online(cpu) ? add_cpu(cpu) : 0;

		if (r)
			pr_err("CPU %u does not start (%d)\n", cpu, r);
	}
}

void wide_start(const struct irq_domain *messages)
{
	unsigned int cpu, wide = 0, spread;

	for_each_present_cpu(cpu) wide += is_wide(cpu);
	/* Without that Linux cannot start them. */
	if (!wide || !(cpuid_eax(KVM_CPUID_FEATURES) & BIT(KVM_FEATURE_MSI_EXT_DEST_ID)))
		return;
	translated = messages;
	start_cpus(false);
	bus_register_notifier(&pci_bus_type, &devices);
	spread = nail_down();
	if (spread) {
		pr_err("%u CPUs whose APIC ids are above %u stay offline: %u interrupts that go "
		       "to all CPUs are of drivers that came before this module; load it before "
		       "them\n",
		       wide, NARROW_LAST, spread);
		cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "corbel:wide", refuse_wide, NULL);
		return;
	}
	start_cpus(true);
}
