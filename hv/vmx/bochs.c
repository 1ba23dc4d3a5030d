/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/vmx/bochs.h"
#include "hv/cpu/time.h"
#include "hv/vmx/vmx.h"

#define WATCHDOG_US 1000

void vmx_quirk_controls(struct vmx_controls *c)
{
	if (!quirk_has(QUIRK_IRQ_WATCHDOG))
		c->pin &= ~PIN_TIMER;
	if (quirk_has(QUIRK_BOCHS_VID)) {
		c->proc2 &= ~(PROC2_VID | PROC2_APIC_REGS);
		c->pin &= ~PIN_POSTED;
	}
	if (quirk_has(QUIRK_BOCHS_XSAVES))
		c->proc2 &= ~PROC2_XSAVES;
}

void vmx_quirk_reset(void)
{
	if (vmx_ctl.pin & PIN_TIMER)
		vmcs_write32(VMCS_PREEMPTION_TIMER, tsc_khz * WATCHDOG_US / 1000);
}

u32 vmx_quirk_event(struct vcpu *v, u32 info)
{
	if (quirk_has(QUIRK_LOST_EVENT) && vmx_of(v)->vid && info & EVT_VALID &&
	    v->rflags & RFLAGS_IF && v->lapic.isr_top)
		return EVT_VALID | v->lapic.isr_top;
	return info;
}
