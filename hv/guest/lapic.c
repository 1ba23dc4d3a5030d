/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual local APIC: registers, priorities, state. SDM "Advanced Programmable Interrupt
 * Controller (APIC)".
 */
#include "hv/guest/lapic.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/string.h"

#define APIC_DEFAULT_BASE   0xfee00000ull
#define VERSION_REG	    (0x14 | (LVT_NR - 1) << 16)
#define ICR_X2APIC_RESERVED (GENMASK(31, 20) | GENMASK(17, 16) | BIT(13))

/* What can be written of each LVT entry */
static const u32 lvt_bits[LVT_NR] = {
    [LVT_TIMER] = 0x700ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

/* ---- what the CPUID shown to the vCPU promises ---- */

/* The guest has ended a level-triggered interrupt: whoever raised it may raise it again. */
static void level_eoi(struct vcpu *v, u8 vector)
{
	const struct vm *vm = v->vm;

	if (vm->ops) {
		vm->ops->level_eoi(v, vector);
	} else if (vm->eoi_mask[vector / 64] & BIT(vector % 64)) {
		v->page->eoi.vector = vector;
		vcpu_exit_to_dom0(v, CORBEL_EXIT_EOI);
	}
}

static const struct corbel_cpuid *cpuid_leaf(const struct vcpu *v, u32 leaf)
{
	u32 i;

	for (i = 0; i < v->cpuid_count && i < VCPU_MAX_CPUID; i++)
		if (v->cpuid[i].function == leaf)
			return &v->cpuid[i];
	return NULL;
}

static bool has_feature(const struct vcpu *v, u64 leaf1_ecx)
{
	const struct corbel_cpuid *c = v->vm->is_dom0 ? NULL : cpuid_leaf(v, 1);

	return v->vm->is_dom0 || (c && c->ecx & leaf1_ecx);
}

/* ---- priorities ---- */

/* SDM "Task and Processor Priorities" */
static u8 ppr(const struct lapic *l)
{
	u8 isr = l->isr_top < 0 ? 0 : l->isr_top & 0xf0;

	return (l->tpr & 0xf0) >= isr ? l->tpr : isr;
}

/*
 * Highest requested vector. When there is none DUE_IRQ goes, then IRR is read again: a bit set in
 * between is not lost.
 */
static int irr_highest(struct vcpu *v)
{
	int vector = lapic_highest(v->lapic.irr);

	if (vector < 0) {
		__atomic_fetch_and(&v->due, ~DUE_IRQ, __ATOMIC_SEQ_CST);
		vector = lapic_highest(v->lapic.irr);
		if (vector >= 0)
			vcpu_note(v, DUE_IRQ);
	}
	return vector;
}

void lapic_ended(struct vcpu *v, u8 vector)
{
	if (unlikely(READ_ONCE(v->lapic.tmr[vector / 32]) & 1u << vector % 32))
		level_eoi(v, vector);
}

static void end_of_interrupt(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u8 vector = l->isr_top;

	if (l->isr_top < 0)
		return;
	l->isr[vector / 32] &= ~(1u << vector % 32);
	l->isr_top = lapic_highest(l->isr);
	l->hw_stale = true;
	lapic_ended(v, vector);
}

/*
 * PV EOI: bit 0 of the guest's word says that no EOI is needed for the vector in service; the guest
 * clears it instead of doing one. It is set only when no other vector waits, and looked at again
 * when one does. If the word cannot be reached any more the EOI counts as done: the guest does
 * exactly one more "EOI" for this vector, which it finds in the word.
 */
static u64 pv_eoi_word(const struct lapic *l)
{
	return l->pv_eoi & ~3ull;
}

static void pv_eoi_offer(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	l->pv_eoi_pending = !p2m_cmpxchg(&v->vm->p2m, gpa(pv_eoi_word(l)), 0, 1, 4);
}

static void pv_eoi_take(struct vcpu *v)
{
	struct lapic *l = &v->lapic;

	if (!l->pv_eoi_pending)
		return;
	l->pv_eoi_pending = false;
	if (p2m_cmpxchg(&v->vm->p2m, gpa(pv_eoi_word(l)), 1, 0, 4))
		end_of_interrupt(v);
}

int lapic_set_pv_eoi(struct vcpu *v, u64 val)
{
	if (val & BIT(1) || val >> 52)
		return -EINVAL;
	if (!v->lapic.present) /* VMMs restore it as it was: off */
		return val ? -EINVAL : 0;
	pv_eoi_take(v);
	v->lapic.pv_eoi = val;
	return 0;
}

int lapic_pending(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	int vector;

	if (likely(!(READ_ONCE(v->due) & DUE_IRQ)) || !lapic_is_on(l))
		return -1;
	pv_eoi_take(v);
	vector = irr_highest(v);
	return vector >= 0 && (vector & 0xf0) > (ppr(l) & 0xf0) ? vector : -1;
}

void lapic_accept(struct vcpu *v, u8 vector)
{
	struct lapic *l = &v->lapic;
	u32 bit = 1u << vector % 32;

	__atomic_fetch_and(&l->irr[vector / 32], ~bit, __ATOMIC_SEQ_CST);
	l->isr[vector / 32] |= bit;
	l->isr_top = MAX(l->isr_top, vector);
	if (unlikely(READ_ONCE(l->timer_wait)) && vector == (l->lvt[LVT_TIMER] & 0xff))
		lapic_timer_taken(v);
	if (l->pv_eoi & 1 && !(READ_ONCE(l->tmr[vector / 32]) & bit) && irr_highest(v) < 0)
		pv_eoi_offer(v);
}

bool lapic_extint_pending(struct vcpu *v)
{
	const struct lapic *l = &v->lapic;

	if (likely(!(READ_ONCE(v->due) & DUE_EXTINT)))
		return false;
	return !lapic_is_on(l) ||
	       (l->lvt[LVT_LINT0] & (LVT_MASKED | LVT_MODE_EXTINT)) == LVT_MODE_EXTINT;
}

bool lapic_has_work(struct vcpu *v)
{
	return v->rflags & BIT(9) && (lapic_pending(v) >= 0 || lapic_extint_pending(v));
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
	int class, tpr = l->tpr >> 4;

	if (likely(!(READ_ONCE(v->due) & DUE_IRQ) || !tpr) || !lapic_is_on(l))
		return 0;
	class = irr_highest(v) >> 4; /* -1: none */
	return class > (l->isr_top < 0 ? 0 : l->isr_top >> 4) && class <= tpr ? class : 0;
}

/* ---- hardware that delivers ---- */

u16 lapic_to_hw(struct vcpu *v, u32 *page, u64 eoi_exits[4])
{
	struct lapic *l = &v->lapic;
	u32 top = 0;

	pv_eoi_take(v);
	__atomic_fetch_and(&v->due, ~DUE_IRQ, __ATOMIC_SEQ_CST);
	memset(eoi_exits, 0, 4 * sizeof(*eoi_exits));
	for (u32 i = 0; i < 8; i++) {
		u32 irr =
		    READ_ONCE(l->irr[i]) ? __atomic_exchange_n(&l->irr[i], 0, __ATOMIC_SEQ_CST) : 0;
		u32 tmr = READ_ONCE(l->tmr[i]); /* after the request that it belongs to */

		if (irr)
			top = i * 32 + 31 - __builtin_clz(irr);
		page[APIC_IRR / 4 + i * 4] = irr;
		page[APIC_ISR / 4 + i * 4] = l->isr[i];
		page[APIC_TMR / 4 + i * 4] = tmr;
		eoi_exits[i / 2] |= (u64)tmr << i % 2 * 32;
	}
	if (READ_ONCE(l->timer_wait))
		eoi_exits[(l->lvt[LVT_TIMER] & 0xff) / 64] |= BIT(l->lvt[LVT_TIMER] % 64);
	return top | (l->isr_top < 0 ? 0 : l->isr_top << 8);
}

void lapic_from_hw(struct vcpu *v, const u32 *page, u16 status)
{
	struct lapic *l = &v->lapic;
	u32 lvt = READ_ONCE(l->lvt[LVT_TIMER]);

	for (u32 i = 0; i < 8; i++)
		l->isr[i] = page[APIC_ISR / 4 + i * 4];
	l->isr_top = status >> 8 ? status >> 8 : -1;
	for (u32 i = 0; i < 8 && (status & 0xff); i++)
		__atomic_fetch_or(&l->irr[i], page[APIC_IRR / 4 + i * 4], __ATOMIC_SEQ_CST);
	if (status & 0xff)
		vcpu_note(v, DUE_IRQ);
	if (unlikely(READ_ONCE(l->timer_wait)) && !(lvt & LVT_MASKED) &&
	    !(READ_ONCE(l->irr[(lvt & 0xff) / 32]) & 1u << lvt % 32))
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
		if (l->tmr[i / 32] & (l->irr[i / 32] | l->isr[i / 32]) & 1u << i % 32)
			level_eoi(v, i);
	for (i = 0; i < 8; i++) {
		WRITE_ONCE(l->irr[i], 0);
		WRITE_ONCE(l->tmr[i], 0);
		l->isr[i] = 0;
	}
	l->isr_top = -1;
	l->hw_stale = true;
	l->tpr = l->ldr = l->esr = l->esr_latch = 0;
	l->dfr = ~0u;
	l->svr = 0xff;
	l->icr = 0;
	l->timer_dcr = 0;
	for (i = 0; i < LVT_NR; i++)
		l->lvt[i] = LVT_MASKED;
	/* As firmware leaves it and KVM starts it: the PIC reaches the boot CPU without set-up. */
	if (l->base & APIC_BASE_BSP)
		l->lvt[LVT_LINT0] = LVT_MODE_EXTINT;
	l->pv_eoi = 0;
	l->pv_eoi_pending = false;
}

void lapic_init(struct vcpu *v, u32 apic_id, bool present)
{
	struct lapic *l = &v->lapic;

	memset(l, 0, sizeof(*l));
	l->present = present;
	l->id = apic_id;
	l->lock.level = LOCK_LAPIC;
	timer_setup(&l->timer, lapic_timer_fn);
	lapic_reset(v, false);
}

void lapic_reset(struct vcpu *v, bool init)
{
	struct lapic *l = &v->lapic;

	if (!init)
		l->base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE |
			  (l->id == v->vm->bsp_apic_id ? APIC_BASE_BSP : 0);
	reset_registers(v);
}

void lapic_destroy(struct vcpu *v)
{
	lapic_timer_stop(v);
	timer_cancel_wait(&v->lapic.timer);
}

int lapic_set_base(struct vcpu *v, u64 val, bool host)
{
	const u64 mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	const struct corbel_cpuid *c = v->vm->is_dom0 ? NULL : cpuid_leaf(v, 0x80000008);
	u32 phys_bits = v->vm->is_dom0 ? 52 : c ? c->eax & 0xff : 36;
	struct lapic *l = &v->lapic;
	u64 old = l->base;

	if (val & (GENMASK(7, 0) | BIT(9)) || (phys_bits < 52 ? val >> phys_bits : val >> 52))
		return -EINVAL;
	if (val & APIC_BASE_X2APIC &&
	    (!(val & APIC_BASE_ENABLE) || !l->present || !has_feature(v, CPUID_1C_X2APIC)))
		return -EINVAL;
	if (!host && (((old & mode) == mode && (val & mode) == APIC_BASE_ENABLE) ||
		      (!(old & APIC_BASE_ENABLE) && val & APIC_BASE_X2APIC)))
		return -EINVAL;
	WRITE_ONCE(l->base, val);
	l->hw_stale = true;
	if (!host && (old & ~val) & APIC_BASE_ENABLE)
		reset_registers(v);
	if ((val & ~old) & APIC_BASE_X2APIC)
		l->icr = (u32)l->icr;
	return 0;
}

/* ---- registers ---- */

static bool is_register(u32 offset, bool x2apic)
{
	if (offset >= APIC_ISR && offset < APIC_ESR)
		return true;
	if (offset >= APIC_LVT_TIMER && offset < APIC_LVT_TIMER + LVT_NR * 16)
		return true;
	switch (offset) {
	case APIC_ID:
	case APIC_VERSION:
	case APIC_TPR:
	case APIC_PPR:
	case APIC_EOI:
	case APIC_LDR:
	case APIC_SVR:
	case APIC_ESR:
	case APIC_ICR:
	case APIC_TIMER_INIT:
	case APIC_TIMER_COUNT:
	case APIC_TIMER_DIV:
		return true;
	case APIC_APR:
	case APIC_DFR:
	case APIC_ICR_HIGH:
		return !x2apic;
	case APIC_SELF_IPI:
		return x2apic;
	}
	return false;
}

/* The value of a register of the mode the APIC is in; what cannot be read gives 0. */
static u32 register_value(struct vcpu *v, u32 offset)
{
	struct lapic *l = &v->lapic;
	u32 word = (offset & 0x70) >> 4;

	switch (offset) {
	case APIC_ID:
		return lapic_is_x2apic(l) ? l->id : l->id << 24;
	case APIC_VERSION:
		return VERSION_REG;
	case APIC_TPR:
		return l->tpr;
	case APIC_PPR:
		return ppr(l);
	case APIC_LDR:
		return lapic_is_x2apic(l) ? lapic_x2apic_ldr(l) : l->ldr;
	case APIC_DFR:
		return l->dfr;
	case APIC_SVR:
		return l->svr;
	case APIC_ISR ... APIC_TMR - 1:
		return l->isr[word];
	case APIC_TMR ... APIC_IRR - 1:
		return READ_ONCE(l->tmr[word]);
	case APIC_IRR ... APIC_ESR - 1:
		return READ_ONCE(l->irr[word]);
	case APIC_ESR:
		return l->esr;
	case APIC_ICR:
		return l->icr;
	case APIC_ICR_HIGH:
		return l->icr >> 32;
	case APIC_LVT_TIMER ... APIC_LVT_TIMER + LVT_NR * 16 - 1:
		return l->lvt[(offset - APIC_LVT_TIMER) >> 4];
	case APIC_TIMER_INIT:
		return l->timer_icr;
	case APIC_TIMER_COUNT:
		return lapic_timer_count(v);
	case APIC_TIMER_DIV:
		return l->timer_dcr;
	}
	return 0;
}

int lapic_read(struct vcpu *v, u32 offset, u64 *val, bool x2apic)
{
	struct lapic *l = &v->lapic;
	u32 reg = offset & ~15u;

	*val = x2apic ? 0 : ~0u;
	if (!lapic_is_on(l) || lapic_is_x2apic(l) != x2apic)
		return x2apic ? -EINVAL : 0;
	if (reg >= APIC_PPR && reg < APIC_TMR)
		pv_eoi_take(v);
	if (!is_register(reg, x2apic)) {
		*val = 0;
		if (x2apic)
			return -EINVAL;
		lapic_error(v, ESR_REGISTER);
		return 0;
	}
	if (x2apic && (reg == APIC_EOI || reg == APIC_SELF_IPI))
		return -EINVAL;
	*val = x2apic && reg == APIC_ICR ? l->icr : register_value(v, reg);
	/* bytes within the register's 32 bits; the rest of its 16 bytes is undefined */
	if (offset & 15)
		*val = offset & 12 ? 0 : *val >> (offset & 3) * 8;
	return 0;
}

static void write_svr(struct vcpu *v, u32 val)
{
	struct lapic *l = &v->lapic;
	u32 i;

	WRITE_ONCE(l->svr, val & 0x3ff);
	l->hw_stale = true;
	if (val & SVR_ENABLE)
		return;
	for (i = LVT_TIMER + 1; i < LVT_NR; i++)
		l->lvt[i] |= LVT_MASKED;
	lapic_timer_set_lvt(v, l->lvt[LVT_TIMER] | LVT_MASKED);
}

static void write_lvt(struct vcpu *v, u32 index, u32 val)
{
	struct lapic *l = &v->lapic;

	val &= lvt_bits[index];
	if (!(l->svr & SVR_ENABLE))
		val |= LVT_MASKED;
	if (index != LVT_TIMER)
		WRITE_ONCE(l->lvt[index], val);
	else
		lapic_timer_set_lvt(v, val & LVT_DEADLINE && !has_feature(v, CPUID_1C_TSC_DEADLINE)
					   ? val & ~LVT_DEADLINE
					   : val);
}

static void write_icr(struct vcpu *v, u64 icr, bool x2apic)
{
	struct apic_msg m = {
	    .dest = x2apic ? icr >> 32 : icr >> 56,
	    .x2apic_dest = x2apic,
	    .vector = icr,
	    .mode = FIELD_GET(GENMASK(10, 8), icr),
	    .logical = icr & BIT(11),
	    .assert = icr & BIT(14),
	    .shorthand = FIELD_GET(GENMASK(19, 18), icr),
	};

	v->lapic.icr = icr & ~ICR_PENDING;
	if (m.mode <= 1 && m.vector < 16) {
		lapic_error(v, ESR_SEND_VECTOR);
		return;
	}
	/* fixed IPIs are edge-triggered whatever the bit says */
	m.level = m.mode == 5 && icr & BIT(15);
	lapic_send(v->vm, &m, v);
}

static void write_logical(struct vcpu *v, u32 *reg, u32 val)
{
	WRITE_ONCE(*reg, val);
	if (v->vm->is_dom0)
		apic_set_logical(v->lapic.ldr, v->lapic.dfr);
}

/* Registers that exist in both modes. -ENOENT: none of them. */
static int write_common(struct vcpu *v, u32 offset, u32 val)
{
	struct lapic *l = &v->lapic;

	switch (offset) {
	case APIC_TPR:
		l->tpr = val & 0xff;
		return 0;
	case APIC_EOI:
		pv_eoi_take(v);
		end_of_interrupt(v);
		return 0;
	case APIC_SVR:
		write_svr(v, val);
		return 0;
	case APIC_ESR: /* a write makes the errors since the last one readable */
		l->esr = __atomic_exchange_n(&l->esr_latch, 0, __ATOMIC_RELAXED);
		return 0;
	case APIC_LVT_TIMER ... APIC_LVT_TIMER + LVT_NR * 16 - 1:
		write_lvt(v, (offset - APIC_LVT_TIMER) >> 4, val);
		return 0;
	case APIC_TIMER_INIT:
		lapic_timer_set_count(v, val);
		return 0;
	case APIC_TIMER_DIV:
		lapic_timer_set_divide(v, val);
		return 0;
	}
	return -ENOENT;
}

static int write_x2apic(struct vcpu *v, u32 offset, u64 val)
{
	if (offset == APIC_ICR) {
		if (val & ICR_X2APIC_RESERVED)
			return -EINVAL;
		write_icr(v, val, true);
		return 0;
	}
	if (val >> 32)
		return -EINVAL;
	if (offset == APIC_SELF_IPI) {
		if (val & ~0xffull)
			return -EINVAL;
		if (val < 16)
			lapic_error(v, ESR_SEND_VECTOR);
		else
			lapic_set_irq(v, val, false);
		return 0;
	}
	if (((offset == APIC_EOI || offset == APIC_ESR) && val) ||
	    (offset == APIC_TPR && val > 0xff))
		return -EINVAL;
	return write_common(v, offset, val) ? -EINVAL : 0;
}

static void write_xapic(struct vcpu *v, u32 offset, u32 val)
{
	struct lapic *l = &v->lapic;

	switch (offset) {
	case APIC_LDR:
		write_logical(v, &l->ldr, val & 0xff000000);
		break;
	case APIC_DFR:
		write_logical(v, &l->dfr, val | 0x0fffffff);
		break;
	case APIC_ICR:
		write_icr(v, (l->icr & ~0xffffffffull) | val, false);
		break;
	case APIC_ICR_HIGH:
		l->icr = (u32)l->icr | (u64)(val & 0xff000000) << 32;
		break;
	default:
		if (write_common(v, offset, val) && !is_register(offset, false))
			lapic_error(v, ESR_REGISTER);
	}
}

int lapic_write(struct vcpu *v, u32 offset, u64 val, bool x2apic)
{
	struct lapic *l = &v->lapic;

	if (!lapic_is_on(l) || lapic_is_x2apic(l) != x2apic)
		return x2apic ? -EINVAL : 0;
	if (x2apic)
		return write_x2apic(v, offset, val);
	if (!(offset & 15))
		write_xapic(v, offset, val);
	return 0;
}

int lapic_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	*val = 0;
	if (msr - MSR_X2APIC < 0x100)
		return lapic_read(v, (msr - MSR_X2APIC) << 4, val, true);
	if (msr == MSR_APIC_BASE)
		*val = v->lapic.base;
	else if (msr == MSR_TSC_DEADLINE)
		*val = lapic_timer_deadline(v);
	else
		return -EINVAL;
	return 0;
}

int lapic_msr_write(struct vcpu *v, u32 msr, u64 val)
{
	if (msr == MSR_TSC_DEADLINE) {
		if (lapic_is_on(&v->lapic))
			lapic_timer_set_deadline(v, val);
		return 0;
	}
	if (msr - MSR_X2APIC < 0x100)
		return lapic_write(v, (msr - MSR_X2APIC) << 4, val, true);
	return msr == MSR_APIC_BASE ? lapic_set_base(v, val, false) : -EINVAL;
}

/* ---- state ---- */

static void put32(u8 *regs, u32 offset, u32 val)
{
	memcpy(regs + offset, &val, 4);
}

static u32 get32(const u8 *regs, u32 offset)
{
	u32 val;

	memcpy(&val, regs + offset, 4);
	return val;
}

void lapic_get_state(struct vcpu *v, u8 *regs)
{
	u32 offset;

	memset(regs, 0, 1024);
	if (!v->lapic.present)
		return;
	pv_eoi_take(v);
	for (offset = 0; offset < 0x400; offset += 16)
		put32(regs, offset, register_value(v, offset));
	/* KVM's format in x2APIC mode too, without KVM_CAP_X2APIC_API */
	put32(regs, APIC_ID, v->lapic.id << 24);
}

int lapic_set_state(struct vcpu *v, const u8 *regs)
{
	struct lapic *l = &v->lapic;
	u32 i, id = get32(regs, APIC_ID);
	u64 deadline = l->tsc_deadline;

	if (!l->present || (lapic_is_x2apic(l) && id != l->id && id != l->id << 24))
		return -EINVAL;
	lapic_timer_stop(v);
	l->pv_eoi_pending = false;
	for (i = 0; i < 8; i++) {
		u32 legal = i ? ~0u : ~0xffffu; /* vectors below 16 do not exist */

		l->isr[i] = get32(regs, APIC_ISR + i * 16) & legal;
		WRITE_ONCE(l->tmr[i], get32(regs, APIC_TMR + i * 16));
		__atomic_store_n(&l->irr[i], get32(regs, APIC_IRR + i * 16) & legal,
				 __ATOMIC_SEQ_CST);
	}
	l->isr_top = lapic_highest(l->isr);
	l->hw_stale = true;
	vcpu_note(v, DUE_IRQ);
	l->tpr = get32(regs, APIC_TPR) & 0xff;
	l->ldr = get32(regs, APIC_LDR) & 0xff000000;
	l->dfr = get32(regs, APIC_DFR) | 0x0fffffff;
	l->svr = get32(regs, APIC_SVR) & 0x3ff;
	l->esr = get32(regs, APIC_ESR) & 0xff;
	l->esr_latch = 0;
	l->icr = (get32(regs, APIC_ICR) & ~ICR_PENDING) | (u64)get32(regs, APIC_ICR_HIGH) << 32;
	for (i = 0; i < LVT_NR; i++)
		l->lvt[i] = get32(regs, APIC_LVT_TIMER + i * 16) & lvt_bits[i];
	if (!has_feature(v, CPUID_1C_TSC_DEADLINE))
		l->lvt[LVT_TIMER] &= ~LVT_DEADLINE;
	l->timer_icr = get32(regs, APIC_TIMER_INIT);
	l->timer_dcr = get32(regs, APIC_TIMER_DIV) & 0xb;
	l->tsc_deadline = deadline; /* not in regs; the MSR may have been restored before */
	lapic_timer_restore(v, get32(regs, APIC_TIMER_COUNT));
	return 0;
}
