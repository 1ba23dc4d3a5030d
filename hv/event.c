/* SPDX-License-Identifier: GPL-2.0-only */
/* Events for dom0: bits in a shared page, and an interrupt on the CPU where the event arose. */
#include "hypercall.h"
#include "log.h"

static struct corbel_events *events;

void event_init(void)
{
	events = pool_alloc(0, NULL);
	if (!events || p2m_dom0_share(&dom0->p2m, virt_to_hpa(events)))
		boot_fail("not enough hypervisor memory for dom0's event page; give more with hvmem=");
}

hpa_t event_page(void)
{
	return virt_to_hpa(events);
}

/* The dom0 vCPU of this CPU, or the first that has bound an event interrupt. */
static void interrupt_dom0(void)
{
	struct vcpu *v = dom0->vcpu[this_cpu()->index];

	for (u32 i = 0; (!v || !v->event_vector) && i < MAX_CPUS; i++)
		v = dom0->vcpu[i];
	if (v && v->event_vector)
		lapic_set_irq(v, v->event_vector, false);
}

static void set_bit(u64 *word, u64 *summary, u32 id)
{
	if (__atomic_fetch_or(&word[id / 64], BIT(id % 64), __ATOMIC_SEQ_CST) & BIT(id % 64))
		return; /* dom0 has not looked yet */
	__atomic_fetch_or(summary, BIT(id / 64), __ATOMIC_SEQ_CST);
	interrupt_dom0();
}

void event_vcpu_stopped(u32 id)
{
	set_bit(events->vcpu, &events->vcpu_summary, id);
}

void event_doorbell(u32 id)
{
	set_bit(events->doorbell, &events->doorbell_summary, id);
}
