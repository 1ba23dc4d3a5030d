/* SPDX-License-Identifier: GPL-2.0-only */
/* links: -Itests/unit/kernel */
/*
 * CPUs of dom0 with APIC ids above 255: which interrupts are nailed down before they start, and
 * when they stay offline. Linux' CPUs, interrupts and devices are the test's.
 */
#include "hv/lib/types.h"
#include "kernel.h"
#include "test.h"

/* ---- what wide.c asks of Linux ---- */

#define CPUS 4
#define IRQS 6

struct irq_domain {
	const struct irq_domain *parent;
};
struct irq_data {
	struct irq_domain *domain;
	bool managed, nailed;
};
struct device {
	struct irq_domain *msi;
};
struct pci_dev {
	struct device dev;
	bool msi_enabled, msix_enabled;
	int irq, vector[2]; /* Linux' numbers of its messages; 0: there are no more */
};
struct notifier_block {
	int (*notifier_call)(struct notifier_block *nb, unsigned long event, void *data);
};
struct bus {
	struct notifier_block *nb;
};

#define NOTIFY_DONE		    0
#define BUS_NOTIFY_BOUND_DRIVER	    4
#define BAD_APICID		    0xffffu
#define IRQ_NO_BALANCING	    1
#define KVM_CPUID_FEATURES	    0x40000001
#define KVM_FEATURE_MSI_EXT_DEST_ID 15
#define CPUHP_BP_PREPARE_DYN	    1
#define per_cpu(var, cpu)	    ((var)[cpu])
#define for_each_present_cpu(cpu)   for ((cpu) = 0; (cpu) < CPUS; (cpu)++)
#define to_pci_dev(d)		    ((struct pci_dev *)(d))
#define irqd_affinity_is_managed(d) ((d)->managed)
#define dev_get_msi_domain(d)	    ((d)->msi)
#define pci_name(d)		    "dev"
#define nr_irqs			    IRQS
#define pr_err(...)		    (errors++)
#define bus_register_notifier(b, n) ((b)->nb = (n))

static struct irq_domain vector_domain, lines = {&vector_domain}, kept = {&vector_domain},
					unkept = {&lines}, other;
static struct irq_domain *x86_vector_domain = &vector_domain;
static struct irq_data irqs[IRQS];
static bool has_irq[IRQS];
static struct bus pci_bus_type;
static u32 x86_cpu_to_apicid[CPUS], started_at[CPUS], starts, errors;
static bool cpu_up[CPUS], shown;
static int (*hotplug)(unsigned int cpu);

static struct irq_data *irq_get_irq_data(unsigned int irq)
{
	return has_irq[irq] ? &irqs[irq] : NULL;
}

static void irq_set_status_flags(unsigned int irq, unsigned int flags)
{
	irqs[irq].nailed |= flags == IRQ_NO_BALANCING;
}

static int pci_irq_vector(struct pci_dev *d, int nr)
{
	return nr < 2 && d->vector[nr] ? d->vector[nr] : -EINVAL;
}

static bool cpu_online(unsigned int cpu)
{
	return cpu_up[cpu];
}

/* They are to start when what would go astray cannot be moved to them any more. */
static int add_cpu(unsigned int cpu)
{
	int r = hotplug ? hotplug(cpu) : 0;

	if (!r) {
		cpu_up[cpu] = true;
		started_at[cpu] = ++starts;
	}
	return r;
}

static u32 cpuid_eax(u32 leaf)
{
	return leaf == KVM_CPUID_FEATURES && shown ? BIT(KVM_FEATURE_MSI_EXT_DEST_ID) : 0;
}

static int cpuhp_setup_state_nocalls(int state, const char *name, int (*up)(unsigned int cpu),
				     void *down)
{
	hotplug = up;
	return state;
}

#include "dom0/kmod/wide.c"

/* ---- the machine ---- */

/* CPU 0 runs; 1 and 3 have narrow ids, 2 a wide one. */
static void begin_machine(bool is_shown)
{
	memset(irqs, 0, sizeof(irqs));
	memset(has_irq, 0, sizeof(has_irq));
	memset(cpu_up, 0, sizeof(cpu_up));
	memset(started_at, 0, sizeof(started_at));
	hotplug = NULL;
	pci_bus_type.nb = NULL;
	starts = errors = 0;
	shown = is_shown;
	cpu_up[0] = true;
	x86_cpu_to_apicid[0] = 0;
	x86_cpu_to_apicid[1] = 255;
	x86_cpu_to_apicid[2] = 256;
	x86_cpu_to_apicid[3] = 7;
}

static void add_irq(u32 irq, struct irq_domain *of, bool managed)
{
	has_irq[irq] = true;
	irqs[irq] = (struct irq_data){.domain = of, .managed = managed};
}

static void test_start(void)
{
	begin_machine(true);
	add_irq(0, &lines, false);
	add_irq(1, &unkept, false);
	add_irq(2, &kept, false);
	add_irq(3, &other, false);
	add_irq(4, &kept, true);
	wide_start(&kept);
	CHECK(cpu_up[1] && cpu_up[2] && cpu_up[3] && !errors, "all CPUs start");
	CHECK(started_at[2] == 3, "the one with the wide id is the last");
	CHECK(irqs[0].nailed && irqs[1].nailed, "lines and messages as they are written stay");
	CHECK(!irqs[2].nailed && !irqs[4].nailed, "what is translated may go anywhere");
	CHECK(!irqs[3].nailed, "so may what is no vector");
	CHECK(pci_bus_type.nb, "devices that come are seen");
}

static void test_stay_offline(void)
{
	begin_machine(true);
	add_irq(0, &lines, true);
	wide_start(&kept);
	CHECK(!cpu_up[2] && cpu_up[1] && cpu_up[3], "an interrupt for all CPUs that is not "
						    "translated: the wide one stays offline");
	CHECK(errors == 1, "a line says so");
	CHECK(add_cpu(2) == -EPERM && !cpu_up[2], "root cannot start it");
	cpu_up[3] = false;
	CHECK(!add_cpu(3), "but another one");
	begin_machine(false);
	wide_start(&kept);
	CHECK(!cpu_up[1] && !cpu_up[2] && !pci_bus_type.nb, "nothing is done where the hypervisor "
							    "does not say that it remaps");
	begin_machine(true);
	x86_cpu_to_apicid[2] = BAD_APICID;
	wide_start(&kept);
	CHECK(!starts && !pci_bus_type.nb, "nor where there is no such CPU");
}

static void plug(struct pci_dev *d)
{
	errors = 0;
	pci_bus_type.nb->notifier_call(pci_bus_type.nb, BUS_NOTIFY_BOUND_DRIVER, d);
}

/* Devices whose drivers come later */
static void test_devices(void)
{
	struct pci_dev line = {.irq = 1}, none = {.irq = 0};
	struct pci_dev good = {.dev = {&kept}, .msix_enabled = true, .vector = {2, 3}};
	struct pci_dev bad = {.dev = {&unkept}, .msi_enabled = true, .irq = 5, .vector = {4}};

	begin_machine(true);
	wide_start(&kept);
	for (u32 i = 0; i < IRQS; i++)
		add_irq(i, &unkept, false);
	pci_bus_type.nb->notifier_call(pci_bus_type.nb, BUS_NOTIFY_BOUND_DRIVER + 1, &line);
	CHECK(!irqs[1].nailed, "before its driver is there nothing is done");
	plug(&line);
	plug(&none);
	CHECK(irqs[1].nailed && !irqs[0].nailed && !errors, "a device's line is nailed down");
	plug(&good);
	CHECK(!irqs[2].nailed && !irqs[3].nailed && !errors,
	      "messages that are translated are not");
	plug(&bad);
	CHECK(irqs[4].nailed && !irqs[5].nailed && !errors, "others are");
	add_irq(4, &unkept, true);
	plug(&bad);
	CHECK(errors == 1, "a line says if they are for all CPUs");
}

int main(void)
{
	test_start();
	test_stay_offline();
	test_devices();
	return test_end();
}
