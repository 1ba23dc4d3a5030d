/* SPDX-License-Identifier: GPL-2.0-only */
/* A fake machine's local APICs as their guests use them. */
#pragma once

#include "fake_machine.h"

#define TPR	  0x80
#define PPR	  0xa0
#define EOI	  0xb0
#define LDR	  0xd0
#define DFR	  0xe0
#define SVR	  0xf0
#define ISR	  0x100
#define IRR	  0x200
#define ESR	  0x280
#define ICR	  0x300
#define ICR2	  0x310
#define LVT_T	  0x320
#define LINT0	  0x350
#define LVT_E	  0x370
#define TMICT	  0x380
#define TMCCT	  0x390
#define TDCR	  0x3e0
#define MSR_BASE  0x1b
#define MSR_X2(o) (0x800 + ((o) >> 4))
#define MSR_TSCD  0x6e0

static struct vcpu *const v0 = &fake_vcpu[0];

static inline void wr(struct vcpu *v, u32 offset, u32 val)
{
	lapic_write(v, offset, val);
}

static inline u32 rd(struct vcpu *v, u32 offset)
{
	u64 val = 0;

	lapic_read(v, offset, &val);
	return val;
}

static inline u64 guest_rdmsr(struct vcpu *v, u32 msr)
{
	u64 val = 0;

	return lapic_msr_read(v, msr, &val) ? 0xbad : val;
}

static inline void enable_all(bool x2apic)
{
	u32 i;

	for (i = 0; i < FAKE_VCPUS; i++) {
		wr(&fake_vcpu[i], SVR, 0x1ff);
		if (x2apic)
			lapic_msr_write(&fake_vcpu[i], MSR_BASE,
					fake_vcpu[i].lapic.base | APIC_BASE_X2APIC, false);
	}
}

static inline void advance(u64 ns)
{
	fake_tsc += ns * 2;
	if (hw_deadline && hw_deadline <= fake_tsc) {
		hw_deadline = 0;
		timer_run(fake_tsc);
	}
}

/* Take the pending vector and end it: the vector, or -1 */
static inline int take(struct vcpu *v)
{
	int vector = lapic_pending(v);

	if (vector < 0)
		return -1;
	lapic_accept(v, vector);
	if (lapic_is_x2apic(&v->lapic))
		lapic_msr_write(v, MSR_X2(EOI), 0, false);
	else
		wr(v, EOI, 0);
	return vector;
}
