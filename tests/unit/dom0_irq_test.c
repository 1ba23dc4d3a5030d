/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0's level-triggered interrupts: in which order the hardware hears of their ends.
 * links: tests/unit/rest.c hv/dom0/irq.c
 */
#include "hv/cpu/apic.h"
#include "hv/dom0/irq.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/apicdef.h"
#include "test.h"

static struct vm machine;
static struct vcpu vcpus[2], *machine_vcpus[2] = {&vcpus[0], &vcpus[1]};
struct vm *dom0 = &machine;
static u32 eois, taken;
static bool is_level;

bool apic_test(u32 reg, u8 vector)
{
	return reg == APIC_ISR || is_level;
}

void apic_eoi(void)
{
	eois++;
}

bool lapic_set_irq(struct vcpu *v, u8 vector, bool level)
{
	taken = vector;
	return true;
}

int main(void)
{
	machine.vcpu = machine_vcpus;
	machine.vcpu_end = 2;
	is_level = false;
	dom0_irq(0x30);
	CHECK(taken == 0x30 && eois == 1, "an edge is ended at once");
	is_level = true;
	dom0_irq(0x40);
	dom0_irq(0x50);
	CHECK(taken == 0x50 && eois == 1, "a level is not");
	dom0_level_eoi(&vcpus[0], 0x40);
	CHECK(eois == 1, "the lower of two waits for the higher");
	dom0_level_eoi(&vcpus[0], 0x50);
	CHECK(eois == 3, "then both are ended");
	dom0_irq(0x40);
	dom0_irq_forget();
	dom0_level_eoi(&vcpus[0], 0x40);
	CHECK(eois == 3, "what the hardware has forgotten is not");
	dom0_irq(0x40);
	dom0_level_eoi(&vcpus[1], 0x40);
	CHECK(eois == 3,
	      "nor what another vCPU had, which is reset here when the machine wakes up");
	return test_end();
}
