/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine's interrupts, which are dom0's. */
#include "hv/dom0/irq.h"
#include "hv/cpu/apic.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vm.h"

/* Level-triggered vectors in service in this CPU's hardware, and those dom0 is done with. */
struct level_state {
	u64 owed[4], done[4];
};

static struct level_state level[MAX_CPUS];

void dom0_irq(u8 vector)
{
	struct cpu *c = this_cpu();
	struct vcpu *v = dom0->vcpu[c->index];

	if (!apic_in_service(vector)) /* spurious: no EOI is due */
		return;
	if (!v) { /* a CPU without a dom0 vCPU: nobody asked for interrupts here */
		apic_eoi();
		return;
	}
	if (apic_is_level(vector)) {
		level[c->index].owed[vector / 64] |= BIT(vector % 64);
		level[c->index].done[vector / 64] &= ~BIT(vector % 64);
		if (!lapic_set_irq(v, vector, true))
			dom0_level_eoi(v, vector); /* dom0's APIC is off: nobody will */
	} else {
		apic_eoi();
		lapic_set_irq(v, vector, false);
	}
}

/*
 * The hardware's EOI ends the highest vector in service, so EOIs wait until all higher ones are
 * done.
 */
static void hardware_eoi(struct level_state *l)
{
	for (int w = 3; w >= 0; w--) {
		while (l->owed[w]) {
			u64 bit = BIT(63 - __builtin_clzll(l->owed[w]));

			if (!(l->done[w] & bit))
				return;
			l->owed[w] &= ~bit;
			l->done[w] &= ~bit;
			apic_eoi();
		}
	}
}

void dom0_level_eoi(struct vcpu *v, u8 vector)
{
	struct level_state *l = &level[this_cpu()->index];

	l->done[vector / 64] |= l->owed[vector / 64] & BIT(vector % 64);
	hardware_eoi(l);
}
