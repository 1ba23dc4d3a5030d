/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Work-arounds for faults of emulators. The table in quirks.c tells what each is about; what is
 * done lies in hv/svm/tcg.c and hv/vmx/bochs.c. Real machines, and KVM below us, have none of them.
 */
#pragma once

#include "hv/lib/types.h"

enum quirk {
	QUIRK_LME,
	QUIRK_VIRQ,
	QUIRK_CR8,
	QUIRK_EVENT_TYPE,
	QUIRK_BAD_ENTRY,
	QUIRK_XSETBV,
	QUIRK_INT3,
	QUIRK_DR7,
	QUIRK_SMI,
	QUIRK_TSS,
	QUIRK_FLAGS,
	QUIRK_IRQ_WATCHDOG,
	QUIRK_LOST_EVENT,
	QUIRK_BOCHS_VID,
	QUIRK_BOCHS_XSAVES,
	QUIRK_APIC_OFF,
	QUIRK_IRQ_FORWARD,
	QUIRK_MONITOR,
	QUIRK_NR
};

extern u32 quirks; /* BIT(QUIRK_x); set once, by quirks_detect() */

/* Does this machine have it? */
static inline bool quirk_has(enum quirk q)
{
	return quirks & BIT(q);
}

/* At boot, before the back end is probed. */
void quirks_detect(void);
