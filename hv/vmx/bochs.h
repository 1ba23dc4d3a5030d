/* SPDX-License-Identifier: GPL-2.0-only */
/* Remedies for Bochs; hv/guest/quirks.c says what for. On other machines none of this does
 * anything. */
#pragma once

#include "hv/cpu/cpu.h"
#include "hv/guest/quirks.h"
#include "hv/vmx/caps.h"

struct vcpu;

/* Do without controls that do not work, and without the preemption timer if it is not needed. */
void vmx_quirk_controls(struct vmx_controls *c);
/* Controls of a vCPU whose VMCS is current. */
void vmx_quirk_reset(void);
/* -> IDT-vectoring information as it should be. */
u32 vmx_quirk_event(struct vcpu *v, u32 info);

/* QUIRK_IRQ_WATCHDOG: take what has come, after each exit; the guest's turn ends by the timer. */
static inline void vmx_quirk_exit(void)
{
	if (unlikely(quirk_has(QUIRK_IRQ_WATCHDOG)))
		irq_window();
}
