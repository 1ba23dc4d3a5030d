/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual local APIC: priorities, what is pending and in service, its modes and its life. SDM
 * "Advanced Programmable Interrupt Controller (APIC)".
 */
#include "hv/guest/lapic.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define APIC_DEFAULT_BASE  0xfee00000ull
#define APIC_BASE_RESERVED (GENMASK(7, 0) | BIT(9))

/* ---- priorities ---- */

/* SDM "Task and Processor Priorities" */
u8 lapic_ppr(const struct lapic *l)
{
	u8 isr = l->isr_top & 0xf0;

	if ((l->tpr & 0xf0) >= isr)
		return l->tpr;
	return isr;
}

/*
 * Highest requested vector, 0: none. When there is none DUE_IRQ goes, then IRR is read again: a bit
 * set in between is not lost.
 */
static u8 irr_highest(struct vcpu *v)
{
	u8 vector = lapic_highest(v->lapic.irr);

	if (!vector) {
		vcpu_unnote(v, DUE_IRQ);
		vector = lapic_highest(v->lapic.irr);
		if (vector)
			vcpu_note(v, DUE_IRQ);
	}
	return vector;
}

/* The guest has ended a level-triggered interrupt: whoever raised it may raise it again. */
static void level_eoi(struct vcpu *v, u8 vector)
{
	const struct vm *vm = v->vm;

	if (vm->ops) {
		vm->ops->level_eoi(v, vector);
	} else if (vm->eoi_mask[vector / 64] & BIT(vector % 64)) {
		v->lapic.eoi_owed[vector / 32] |= 1u << vector % 32;
		vcpu_note(v, DUE_EOI);
	}
}

void lapic_tell_eoi(struct vcpu *v)
{
	u32 *owed = v->lapic.eoi_owed, vector = lapic_highest(owed);

	BUG_ON(v->stop_reason || !vector);
	WRITE_ONCE(v->page->eoi.vector, vector);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_EOI);
	owed[vector / 32] &= ~(1u << vector % 32);
	if (!lapic_highest(owed))
		vcpu_unnote(v, DUE_EOI);
}

void lapic_ended(struct vcpu *v, u8 vector)
{
	if (unlikely(lapic_bit(v->lapic.tmr, vector)))
		level_eoi(v, vector);
}

/* The highest vector in service is so no more; 0: there is none. */
static u8 end_service(struct lapic *l)
{
	u8 vector = l->isr_top;

	if (vector) {
		l->isr[vector / 32] &= ~(1u << vector % 32);
		l->isr_top = lapic_highest(l->isr);
		l->hw_stale = true;
	}
	return vector;
}

void lapic_eoi(struct vcpu *v)
{
	u8 vector = end_service(&v->lapic);

	if (vector)
		lapic_ended(v, vector);
}

/*
 * PV EOI: bit 0 of the guest's word says that no EOI is needed for the vector in service; the guest
 * clears it instead of doing one. It is set only when no other vector waits, and looked at again
 * when one does. If the word cannot be reached any more the EOI counts as done: the guest does
 * exactly one more "EOI" for this vector, which it finds in the word.
 */
static bool pv_eoi_change(struct vcpu *v, u64 from, u64 to)
{
	return !p2m_cmpxchg(&v->vm->p2m, gpa(v->lapic.pv_eoi & ~3ull), from, to, 4);
}

void lapic_take_pv_eoi(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	if (!l->pv_eoi_pending)
		return;
	BUG_ON(!l->isr_top);
	l->pv_eoi_pending = false;
	/* It was edge-triggered when accepted: nobody is told, whatever TMR says by now. */
	if (!pv_eoi_change(v, 1, 0))
		end_service(l);
}

int lapic_set_pv_eoi(struct vcpu *v, u64 val)
{
	if (val & BIT(1) || val >> 52)
		return -EINVAL;
	if (!v->lapic.present) /* VMMs restore it as it was: off */
		return val ? -EINVAL : 0;
	lapic_take_pv_eoi(v);
	v->lapic.pv_eoi = val;
	return 0;
}

int lapic_set_auto_eoi(struct vcpu *v, const u64 vectors[4])
{
	struct lapic *l = &v->lapic;

	BUG_ON(!v->stopped);
	if (vectors[0] & GENMASK(15, 0))
		return -EINVAL;
	memcpy(l->auto_eoi, vectors, sizeof(l->auto_eoi));
	WRITE_ONCE(l->has_auto_eoi, vectors[0] | vectors[1] | vectors[2] | vectors[3]);
	l->hw_stale = true;
	return 0;
}

int lapic_pending(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u8 vector;

	if (likely(!(READ_ONCE(v->due) & DUE_IRQ)) || !lapic_is_on(l))
		return -1;
	lapic_take_pv_eoi(v);
	vector = irr_highest(v);
	if ((vector & 0xf0) > (lapic_ppr(l) & 0xf0))
		return vector;
	return -1;
}

/* What has just been accepted is, if its EOI is automatic, not in service. */
static __noinline bool end_by_itself(struct lapic *l)
{
	u8 vector = l->isr_top;

	if (!(l->auto_eoi[vector / 64] & BIT(vector % 64)))
		return false;
	end_service(l);
	return true;
}

void lapic_accept(struct vcpu *v, u8 vector)
{
	struct lapic *l = &v->lapic;
	u32 bit = 1u << vector % 32;

	/* Only this CPU takes bits of IRR away, and what interrupts is of a higher class. */
	BUG_ON(!lapic_bit(l->irr, vector));
	BUG_ON(vector <= l->isr_top);
	__atomic_fetch_and(&l->irr[vector / 32], ~bit, __ATOMIC_SEQ_CST);
	l->isr[vector / 32] |= bit;
	l->isr_top = vector;
	if (unlikely(READ_ONCE(l->timer_wait)) && vector == (u8)l->lvt[LVT_TIMER])
		lapic_timer_taken(v);
	if (unlikely(l->has_auto_eoi) && end_by_itself(l))
		return;
	if (l->pv_eoi & 1 && !lapic_bit(l->tmr, vector) && !irr_highest(v))
		l->pv_eoi_pending = pv_eoi_change(v, 0, 1);
}

bool lapic_takes_extint(const struct vcpu *v)
{
	const struct lapic *l = &v->lapic;

	return !v->vm->has_lapic || !lapic_is_on(l) ||
	       (l->lvt[LVT_LINT0] & (LVT_MASKED | LVT_MODE_EXTINT)) == LVT_MODE_EXTINT;
}

bool lapic_extint_pending(struct vcpu *v)
{
	return unlikely(READ_ONCE(v->due) & DUE_EXTINT) && lapic_takes_extint(v);
}

bool lapic_has_work(struct vcpu *v)
{
	/* of a nested guest's IF its host need not care */
	return (v->rflags & RFLAGS_IF || v->guest_mode) &&
	       (lapic_pending(v) >= 0 || lapic_extint_pending(v));
}

u64 lapic_get_cr8(const struct vcpu *v)
{
	return v->lapic.tpr >> 4;
}

void lapic_set_cr8(struct vcpu *v, u64 cr8)
{
	v->lapic.tpr = (cr8 & 15) << 4;
}

u32 lapic_tpr_threshold(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u32 class, tpr = l->tpr >> 4;

	if (likely(!(READ_ONCE(v->due) & DUE_IRQ) || !tpr) || !lapic_is_on(l))
		return 0;
	class = irr_highest(v) >> 4;
	if (class > l->isr_top >> 4 && class <= tpr)
		return class;
	return 0;
}

/* ---- hardware that delivers ---- */

u16 lapic_to_hw(struct vcpu *v, u32 *page, u64 eoi_exits[4])
{
	struct lapic *l = &v->lapic;
	u8 top = 0, timer = l->lvt[LVT_TIMER];

	BUG_ON(!lapic_is_direct(l));
	lapic_take_pv_eoi(v);
	/* First the hint, then the bits: one that is set in between sets the hint again. */
	vcpu_unnote(v, DUE_IRQ);
	memset(eoi_exits, 0, 4 * sizeof(*eoi_exits));
	for (u32 i = 0; i < 8; i++) {
		u32 tmr, irr = READ_ONCE(l->irr[i]);

		if (irr) {
			irr = __atomic_exchange_n(&l->irr[i], 0, __ATOMIC_SEQ_CST);
			top = i * 32 + 31 - __builtin_clz(irr);
		}
		tmr = READ_ONCE(l->tmr[i]); /* after the request that it belongs to */
		page[APIC_IRR / 4 + i * 4] = irr;
		page[APIC_ISR / 4 + i * 4] = l->isr[i];
		page[APIC_TMR / 4 + i * 4] = tmr;
		eoi_exits[i / 2] |= (u64)tmr << i % 2 * 32;
	}
	if (READ_ONCE(l->timer_wait))
		eoi_exits[timer / 64] |= BIT(timer % 64);
	return l->isr_top << 8 | top;
}

void lapic_from_hw(struct vcpu *v, const u32 *page, u16 status)
{
	struct lapic *l = &v->lapic;
	u32 lvt = READ_ONCE(l->lvt[LVT_TIMER]);

	BUG_ON(l->pv_eoi_pending);
	for (u32 i = 0; i < 8; i++)
		l->isr[i] = page[APIC_ISR / 4 + i * 4];
	l->isr_top = status >> 8;
	if (status & 0xff) {
		for (u32 i = 0; i < 8; i++)
			__atomic_fetch_or(&l->irr[i], page[APIC_IRR / 4 + i * 4], __ATOMIC_SEQ_CST);
		vcpu_note(v, DUE_IRQ);
	}
	if (unlikely(READ_ONCE(l->timer_wait)) && !(lvt & LVT_MASKED) && !lapic_bit(l->irr, lvt))
		lapic_timer_taken(v);
}

/* ---- life ---- */

/* Registers as after RESET, SDM "Local APIC State After Power-Up or Reset". */
static void reset_registers(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u32 i;

	lapic_timer_stop(v);
	/* Dom0's level interrupts are still in service in the hardware. */
	for (i = 0; v->vm->is_dom0 && i < 256; i++)
		if (lapic_bit(l->tmr, i) && (lapic_bit(l->irr, i) || lapic_bit(l->isr, i)))
			level_eoi(v, i);
	for (i = 0; i < 8; i++) {
		WRITE_ONCE(l->irr[i], 0);
		WRITE_ONCE(l->tmr[i], 0);
		l->isr[i] = 0;
	}
	l->isr_top = 0;
	l->hw_stale = true;
	l->tpr = l->ldr = l->esr = l->esr_latch = 0;
	l->dfr = ~0u;
	l->svr = 0xff;
	l->icr = 0;
	l->timer_dcr = 0;
	for (i = 0; i < LVT_NR; i++)
		l->lvt[i] = LVT_MASKED;
	/* As firmware leaves it and KVM starts it: the PIC reaches the boot CPU without set-up. */
	if (l->base & APIC_BASE_BSP && !vcpu_lacks_quirk(v, CORBEL_QUIRK_LINT0))
		l->lvt[LVT_LINT0] = LVT_MODE_EXTINT;
	l->pv_eoi = 0;
	l->pv_eoi_pending = false;
}

void lapic_init(struct vcpu *v, u32 apic_id, bool present)
{
	struct lapic *l = &v->lapic;

	BUG_ON(l->base); /* the vCPU is new, all of it is 0 */
	l->present = present;
	l->id = apic_id;
	l->lock.level = LOCK_LAPIC;
	timer_setup(&l->timer, lapic_timer_fn);
	lapic_reset(v, false);
}

void lapic_reset(struct vcpu *v, bool init)
{
	struct lapic *l = &v->lapic;

	if (!init) {
		l->xapic_id = l->id;
		l->base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE;
		if (l->id == v->vm->bsp_apic_id)
			l->base |= APIC_BASE_BSP;
		if (v->vm->is_dom0 && apic_is_x2apic())
			l->base |= APIC_BASE_X2APIC;
	}
	reset_registers(v);
}

void lapic_destroy(struct vcpu *v)
{
	lapic_timer_stop(v);
	timer_cancel_wait(&v->lapic.timer);
	BUG_ON(v->lapic.timer_on);
}

/* Width of physical addresses. */
static u32 guest_phys_bits(const struct vcpu *v)
{
	const struct corbel_cpuid *c = cpuid_leaf(v, 0x80000008);

	if (v->vm->is_dom0)
		return 52;
	if (!c)
		return 36;
	return MIN(c->eax & 0xff, 52u);
}

int lapic_set_base(struct vcpu *v, u64 val, bool host)
{
	struct lapic *l = &v->lapic;
	u64 old = l->base;
	bool on = val & APIC_BASE_ENABLE, x2apic = val & APIC_BASE_X2APIC;

	if (val & APIC_BASE_RESERVED || val >> guest_phys_bits(v))
		return -EINVAL;
	if (x2apic && (!on || !l->present || !cpuid_shows(v, CPUID_1C_X2APIC)))
		return -EINVAL;
	/* A guest goes into x2APIC mode from xAPIC mode only, and from there only to off. */
	if (!host && x2apic && !(old & APIC_BASE_ENABLE))
		return -EINVAL;
	if (!host && old & APIC_BASE_X2APIC && on && !x2apic)
		return -EINVAL;
	WRITE_ONCE(l->base, val);
	l->hw_stale = true;
	if ((old ^ val) & (APIC_BASE_ENABLE | APIC_BASE_X2APIC))
		WRITE_ONCE(l->xapic_id, l->id); /* as in KVM: other modes forget it */
	if (!host && old & APIC_BASE_ENABLE && !on)
		reset_registers(v);
	if (x2apic && !(old & APIC_BASE_X2APIC))
		l->icr = (u32)l->icr;
	if (on)
		lapic_timer_taken(v);
	/*
	 * The ids that dom0 writes into I/O APICs, MSIs and interrupt remapping tables are those of
	 * its mode.
	 */
	if (v->vm->is_dom0 && l->id == v->vm->bsp_apic_id && on &&
	    (x2apic || !quirk_has(QUIRK_APIC_OFF)))
		smp_set_x2apic(x2apic);
	return 0;
}
