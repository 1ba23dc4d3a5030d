/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers of the virtual local APIC, by MMIO, by MSR, and as KVM saves them. SDM "Local APIC
 * Registers", "x2APIC Register Availability".
 */
#include "hv/guest/lapic_regs.h"
#include "hv/cpu/apic.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/vm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define VERSION_REG	    (0x14 | (LVT_NR - 1) << 16)
#define ICR_X2APIC_RESERVED (GENMASK(31, 20) | GENMASK(17, 16) | BIT(13))
#define LDR_ID		    0xff000000
#define DFR_RESERVED	    0x0fffffff /* all ones */
#define SVR_BITS	    0x3ff
#define LVT_LAST	    (APIC_LVT_TIMER + (LVT_NR - 1) * 16)

/* What can be written of each LVT entry: timer, thermal, performance, LINT0, LINT1, error */
static const u32 lvt_bits[LVT_NR] = {0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff};

/* ---- reading ---- */

/* The value of a register of the mode the APIC is in; -ENOENT: there is none. */
static s64 register_value(struct vcpu *v, u32 offset)
{
	struct lapic *l = &v->lapic;
	u32 word = (offset & 0x70) / 16;

	switch (offset) {
	case APIC_ID:
		if (lapic_is_x2apic(l))
			return l->id;
		return (u64)l->xapic_id << 24;
	case APIC_VERSION:
		return VERSION_REG;
	case APIC_TPR:
		return l->tpr;
	case APIC_PPR:
		return lapic_ppr(l);
	case APIC_APR: /* not on CPUs of today */
	case APIC_EOI: /* write-only */
		return 0;
	case APIC_LDR:
		if (lapic_is_x2apic(l))
			return lapic_x2apic_ldr(l);
		return l->ldr;
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
		return (u32)l->icr;
	case APIC_ICR_HIGH:
		return l->icr >> 32;
	case APIC_LVT_TIMER ... LVT_LAST:
		return l->lvt[(offset - APIC_LVT_TIMER) / 16];
	case APIC_TIMER_INIT:
		return l->timer_icr;
	case APIC_TIMER_COUNT:
		return lapic_timer_count(v);
	case APIC_TIMER_DIV:
		return l->timer_dcr;
	}
	return -ENOENT;
}

int lapic_read(struct vcpu *v, u32 offset, u64 *val)
{
	struct lapic *l = &v->lapic;
	s64 reg;

	BUG_ON(!lapic_is_on(l));
	if (offset >= APIC_PPR && offset < APIC_TMR)
		lapic_take_pv_eoi(v);
	reg = register_value(v, offset);
	*val = MAX(reg, 0);
	if (lapic_is_x2apic(l)) {
		switch (offset) {
		case APIC_APR:
		case APIC_EOI:
		case APIC_DFR:
		case APIC_ICR_HIGH:
			return -EINVAL;
		case APIC_ICR:
			*val = l->icr;
		}
		return reg < 0 ? -EINVAL : 0;
	}
	if (reg < 0)
		lapic_error(v, ESR_REGISTER);
	return 0;
}

/* ---- writing ---- */

static void write_svr(struct vcpu *v, u32 val)
{
	struct lapic *l = &v->lapic;

	WRITE_ONCE(l->svr, val & SVR_BITS);
	l->hw_stale = true;
	if (val & SVR_ENABLE)
		return lapic_timer_taken(v);
	for (u32 i = LVT_TIMER + 1; i < LVT_NR; i++)
		l->lvt[i] |= LVT_MASKED;
	lapic_timer_write(v, APIC_LVT_TIMER, l->lvt[LVT_TIMER] | LVT_MASKED);
	/* No event can come any more. So Linux ends, also where it uses none of our clocks. */
	if (v->event_vector || v->vm->is_dom0)
		v->vm->ops->cpu_ends(v);
}

/* What an LVT entry keeps of a value. */
static u32 lvt_value(const struct vcpu *v, u32 index, u32 val)
{
	val &= lvt_bits[index];
	if (val & LVT_DEADLINE && !cpuid_shows(v, CPUID_1C_TSC_DEADLINE))
		val &= ~LVT_DEADLINE;
	return val;
}

static void write_lvt(struct vcpu *v, u32 index, u32 val)
{
	struct lapic *l = &v->lapic;

	val = lvt_value(v, index, val);
	if (!(l->svr & SVR_ENABLE))
		val |= LVT_MASKED;
	if (index == LVT_TIMER)
		lapic_timer_write(v, APIC_LVT_TIMER, val);
	else
		WRITE_ONCE(l->lvt[index], val);
}

static void write_icr(struct vcpu *v, u64 icr, bool x2apic)
{
	struct apic_msg m = {
	    .dest = icr >> 56,
	    .x2apic_dest = x2apic,
	    .vector = icr,
	    .mode = FIELD_GET(ICR_MODE, icr),
	    .logical = icr & ICR_LOGICAL,
	    .assert = icr & ICR_ASSERT,
	    .shorthand = FIELD_GET(ICR_SHORTHAND, icr),
	};

	if (x2apic)
		m.dest = icr >> 32;
	v->lapic.icr = icr & ~ICR_PENDING;
	if (m.mode <= DM_LOWEST && m.vector < 16) {
		lapic_error(v, ESR_SEND_VECTOR);
		return;
	}
	/* fixed IPIs are edge-triggered whatever the bit says */
	m.level = m.mode == DM_INIT && icr & ICR_LEVEL;
	lapic_send(v->vm, &m, v);
}

static void write_logical(struct vcpu *v, u32 *reg, u32 val)
{
	WRITE_ONCE(*reg, val);
	if (v->vm->is_dom0)
		apic_set_logical(v->lapic.ldr, v->lapic.dfr);
}

/* Interrupts find it by this id from now on. dom0's would have to be the hardware's. */
static void write_id(struct vcpu *v, u8 id)
{
	if (v->vm->is_dom0)
		return;
	WRITE_ONCE(v->lapic.xapic_id, id);
	if (id != (u8)v->lapic.id)
		WRITE_ONCE(v->vm->apic_ids_moved, true);
}

/* Registers that only xAPIC mode has, or lets be written. */
static void write_xapic(struct vcpu *v, u32 offset, u32 val)
{
	struct lapic *l = &v->lapic;

	switch (offset) {
	case APIC_ID:
		write_id(v, val >> 24);
		break;
	case APIC_LDR:
		write_logical(v, &l->ldr, val & LDR_ID);
		break;
	case APIC_DFR:
		write_logical(v, &l->dfr, val | DFR_RESERVED);
		break;
	case APIC_ICR_HIGH:
		l->icr = (u32)l->icr | (u64)(val & LDR_ID) << 32;
		break;
	default: /* to a read-only register: nothing */
		if (register_value(v, offset) < 0)
			lapic_error(v, ESR_REGISTER);
	}
}

static u64 x2apic_reserved(u32 offset)
{
	switch (offset) {
	case APIC_ICR:
		return ICR_X2APIC_RESERVED;
	case APIC_EOI:
	case APIC_ESR:
		return ~0ull;
	case APIC_TPR:
	case APIC_SELF_IPI:
		return ~0xffull;
	}
	return GENMASK(63, 32);
}

int lapic_write(struct vcpu *v, u32 offset, u64 val)
{
	struct lapic *l = &v->lapic;
	bool x2apic = lapic_is_x2apic(l);

	BUG_ON(!x2apic && !lapic_is_on(l));
	if (x2apic && val & x2apic_reserved(offset))
		return -EINVAL;
	switch (offset) {
	case APIC_TPR:
		l->tpr = (u8)val;
		return 0;
	case APIC_EOI:
		lapic_take_pv_eoi(v);
		lapic_eoi(v);
		return 0;
	case APIC_SVR:
		write_svr(v, val);
		return 0;
	case APIC_ESR: /* a write makes the errors since the last one readable */
		l->esr = __atomic_exchange_n(&l->esr_latch, 0, __ATOMIC_RELAXED);
		return 0;
	case APIC_ICR:
		if (!x2apic)
			val = (l->icr & GENMASK(63, 32)) | (u32)val;
		write_icr(v, val, x2apic);
		return 0;
	case APIC_LVT_TIMER ... LVT_LAST:
		write_lvt(v, (offset - APIC_LVT_TIMER) / 16, val);
		return 0;
	case APIC_TIMER_INIT:
	case APIC_TIMER_DIV:
		lapic_timer_write(v, offset, val);
		return 0;
	}
	if (!x2apic) {
		write_xapic(v, offset, val);
		return 0;
	}
	if (offset != APIC_SELF_IPI)
		return -EINVAL;
	if (val < 16)
		lapic_error(v, ESR_SEND_VECTOR);
	else
		lapic_set_irq(v, val, false);
	return 0;
}

/* ---- MSRs ---- */

int lapic_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	switch (msr) {
	case MSR_APIC_BASE:
		*val = v->lapic.base;
		return 0;
	case MSR_TSC_DEADLINE:
		*val = READ_ONCE(v->lapic.tsc_deadline);
		return 0;
	}
	if (msr - MSR_X2APIC > 0xff || !lapic_is_x2apic(&v->lapic))
		return -EINVAL;
	return lapic_read(v, (msr - MSR_X2APIC) * 16, val);
}

int lapic_msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_APIC_BASE:
		return lapic_set_base(v, val, host);
	case MSR_TSC_DEADLINE:
		if (lapic_is_on(&v->lapic))
			lapic_timer_set_deadline(v, val);
		return 0;
	}
	if (msr - MSR_X2APIC > 0xff || !lapic_is_x2apic(&v->lapic))
		return -EINVAL;
	return lapic_write(v, (msr - MSR_X2APIC) * 16, val);
}

/* ---- state ---- */

void lapic_get_state(struct vcpu *v, void *state)
{
	u32 *regs = state;

	BUG_ON(!v->lapic.present);
	memset(regs, 0, 1024);
	lapic_take_pv_eoi(v);
	for (u32 offset = 0; offset < 1024; offset += 16) {
		s64 reg = register_value(v, offset);

		regs[offset / 4] = MAX(reg, 0);
	}
	/* KVM's format in x2APIC mode too, without KVM_CAP_X2APIC_API */
	if (lapic_is_x2apic(&v->lapic))
		regs[APIC_ID / 4] = v->lapic.id << 24;
}

int lapic_set_state(struct vcpu *v, const void *state)
{
	struct lapic *l = &v->lapic;
	const u32 *regs = state;
	u32 i, id = regs[APIC_ID / 4];
	u64 deadline = l->tsc_deadline;

	BUG_ON(!l->present);
	if (lapic_is_x2apic(l) && id != l->id && id != l->id << 24)
		return -EINVAL;
	if (!lapic_is_x2apic(l))
		write_id(v, id >> 24);
	lapic_timer_stop(v);
	l->pv_eoi_pending = false;
	for (i = 0; i < 8; i++) {
		u32 legal = ~0u;

		/*
		 * Vectors below 16 do not exist: their class is that of no interrupt at all. As
		 * requests they stay as the VMM put them, and are never delivered. Level-triggered
		 * they are not: an EOI with nothing in service can exit with vector 0.
		 */
		if (!i)
			legal = ~0xffffu;
		l->isr[i] = regs[APIC_ISR / 4 + i * 4] & legal;
		WRITE_ONCE(l->tmr[i], regs[APIC_TMR / 4 + i * 4] & legal);
		__atomic_store_n(&l->irr[i], regs[APIC_IRR / 4 + i * 4], __ATOMIC_SEQ_CST);
	}
	l->isr_top = lapic_highest(l->isr);
	l->hw_stale = true;
	vcpu_note(v, DUE_IRQ);
	l->tpr = (u8)regs[APIC_TPR / 4];
	l->ldr = regs[APIC_LDR / 4] & LDR_ID;
	l->dfr = regs[APIC_DFR / 4] | DFR_RESERVED;
	l->svr = regs[APIC_SVR / 4] & SVR_BITS;
	l->esr = (u8)regs[APIC_ESR / 4];
	l->esr_latch = 0;
	l->icr = (regs[APIC_ICR / 4] & ~ICR_PENDING) | (u64)regs[APIC_ICR_HIGH / 4] << 32;
	for (i = 0; i < LVT_NR; i++)
		l->lvt[i] = lvt_value(v, i, regs[APIC_LVT_TIMER / 4 + i * 4]);
	l->timer_icr = regs[APIC_TIMER_INIT / 4];
	l->timer_dcr = regs[APIC_TIMER_DIV / 4] & TIMER_DIV_BITS;
	l->tsc_deadline = deadline; /* not in regs; the MSR may have been restored before */
	lapic_timer_write(v, APIC_TIMER_COUNT, regs[APIC_TIMER_COUNT / 4]);
	return 0;
}
