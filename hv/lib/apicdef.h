/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers of local APICs, the physical and the virtual ones. SDM "Advanced Programmable Interrupt
 * Controller (APIC)". Registers are named by their xAPIC offsets; in x2APIC mode they are MSRs from
 * MSR_X2APIC on, one for each 16 bytes.
 */
#pragma once

#include "hv/lib/types.h"

#define APIC_BASE_BSP	 BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)

#define APIC_ID		 0x20
#define APIC_VERSION	 0x30
#define APIC_TPR	 0x80
#define APIC_APR	 0x90
#define APIC_PPR	 0xa0
#define APIC_EOI	 0xb0
#define APIC_LDR	 0xd0
#define APIC_DFR	 0xe0
#define APIC_SVR	 0xf0
#define APIC_ISR	 0x100 /* 8 registers each */
#define APIC_TMR	 0x180
#define APIC_IRR	 0x200
#define APIC_ESR	 0x280
#define APIC_LVT_CMCI	 0x2f0
#define APIC_ICR	 0x300
#define APIC_ICR_HIGH	 0x310
#define APIC_LVT_TIMER	 0x320
#define APIC_LVT_THERMAL 0x330
#define APIC_LVT_PERF	 0x340
#define APIC_LVT_LINT0	 0x350
#define APIC_LVT_LINT1	 0x360
#define APIC_LVT_ERROR	 0x370
#define APIC_TIMER_INIT	 0x380
#define APIC_TIMER_COUNT 0x390
#define APIC_TIMER_DIV	 0x3e0
#define APIC_SELF_IPI	 0x3f0 /* x2APIC only */

#define MSR_X2APIC	0x800u
#define MSR_X2APIC_LAST 0x8ffu
#define MSR_X2APIC_EOI	(MSR_X2APIC + APIC_EOI / 16)

#define SVR_ENABLE BIT(8)

#define LVT_MASKED	BIT(16)
#define LVT_DEADLINE	BIT(18)
#define LVT_MODE	GENMASK(10, 8)
#define LVT_MODE_SMI	0x200
#define LVT_MODE_NMI	0x400
#define LVT_MODE_EXTINT 0x700

#define ESR_SEND_VECTOR BIT(5)
#define ESR_RECV_VECTOR BIT(6)
#define ESR_REGISTER	BIT(7)

#define ICR_INIT	 0x500
#define ICR_STARTUP	 0x600
#define ICR_NMI		 0x400
#define ICR_PENDING	 BIT(12)
#define ICR_MODE	 GENMASK(10, 8) /* in the low word of MSIs, too, as are the bits below */
#define ICR_LOGICAL	 BIT(11)	/* not in MSIs */
#define ICR_ASSERT	 BIT(14)
#define ICR_LEVEL	 BIT(15)
#define ICR_SHORTHAND	 GENMASK(19, 18)
#define ICR_SELF	 BIT(18)
#define ICR_ALL_BUT_SELF GENMASK(19, 18)

#define TIMER_DIV_1    0xb
#define TIMER_DIV_BITS 0xb
