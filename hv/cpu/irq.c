/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/irq.h"
#include "hv/cpu/apic.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"

static void (*own[0x100 - VEC_HV_FIRST])(u8 vector); /* set at boot */
static void (*dom0s)(u8 vector);

void irq_set(u8 vector, void (*fn)(u8 vector))
{
	BUG_ON(vector < VEC_HV_FIRST || vector == VEC_SPURIOUS);
	own[vector - VEC_HV_FIRST] = fn;
}

void irq_set_dom0(void (*fn)(u8 vector))
{
	BUG_ON(!fn);
	dom0s = fn;
}

void irq_handle(u8 vector)
{
	void (*fn)(u8) = NULL;

	if (vector >= VEC_HV_FIRST)
		fn = own[vector - VEC_HV_FIRST];
	else if (vector >= VEC_DOM0_FIRST)
		fn = dom0s;
	lock_none_held();
	this_cpu()->interrupts++;
	if (fn)
		fn(vector);
	else
		apic_end_stray(vector);
}
