/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine's interrupts, which are dom0's. */
#include "hv/dom0/irq.h"
#include "hv/cpu/apic.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* Level-triggered vectors in service in this CPU's hardware, and those dom0 is done with. */
struct level_state {
	u64 owed[4], done[4];
};

static PER_CPU(struct level_state, level);

/*
 * The hardware's EOI ends the highest vector in service, so EOIs wait until all higher ones are
 * done.
 */
static void end_highest(struct level_state *l)
{
	for (int w = 3; w >= 0; w--) {
		BUG_ON(l->done[w] & ~l->owed[w]);
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
	u32 cpu = this_cpu()->index, w = vector / 64;
	struct level_state *l = &per_cpu(level, cpu);

	if (v != dom0->vcpu[cpu]) /* reset behind a sleep: its CPU has forgotten it */
		return;
	l->done[w] |= l->owed[w] & BIT(vector % 64);
	end_highest(l);
}

void dom0_irq_forget(void)
{
	for (u32 i = 0; i < cpu_count; i++)
		per_cpu(level, i) = (struct level_state){0};
}

void dom0_irq(u8 vector)
{
	u32 cpu = this_cpu()->index, w = vector / 64;
	struct level_state *l = &per_cpu(level, cpu);
	struct vcpu *v = vm_vcpu(dom0, cpu);
	bool is_level;

	if (!apic_test(APIC_ISR, vector)) /* spurious: no EOI is due */
		return;
	/* Without a dom0 vCPU nobody asked for interrupts here. */
	is_level = v && apic_test(APIC_TMR, vector);
	if (is_level) {
		l->owed[w] |= BIT(vector % 64);
		l->done[w] &= ~BIT(vector % 64);
	} else {
		apic_eoi();
	}
	if (v && !lapic_set_irq(v, vector, is_level) && is_level)
		dom0_level_eoi(v, vector); /* dom0's APIC is off: nobody will */
}
