/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupt messages between the virtual APICs: destinations and delivery; SDM "Issuing
 * Interprocessor Interrupts".
 */
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/kick.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"

enum {
	DM_FIXED = 0,
	DM_LOWEST = 1,
	DM_SMI = 2,
	DM_NMI = 4,
	DM_INIT = 5,
	DM_STARTUP = 6,
	DM_EXTINT = 7
};
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };

void lapic_error(struct vcpu *v, u32 bit)
{
	u32 lvt = READ_ONCE(v->lapic.lvt[LVT_ERROR]);

	__atomic_fetch_or(&v->lapic.esr_latch, bit, __ATOMIC_RELAXED);
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= 16)
		lapic_set_irq(v, lvt & 0xff, false);
}

bool lapic_set_irq(struct vcpu *v, u8 vector, bool level)
{
	struct lapic *l = &v->lapic;
	u32 bit = 1u << vector % 32;

	if (unlikely(!lapic_is_on(l) || !(READ_ONCE(l->svr) & SVR_ENABLE)))
		return false;
	if (unlikely(vector < 16)) {
		lapic_error(v, ESR_RECV_VECTOR);
		return false;
	}
	if (unlikely(level))
		__atomic_fetch_or(&l->tmr[vector / 32], bit, __ATOMIC_RELAXED);
	else if (unlikely(READ_ONCE(l->tmr[vector / 32]) & bit))
		__atomic_fetch_and(&l->tmr[vector / 32], ~bit, __ATOMIC_RELAXED);
	/* DUE_IRQ follows the bit; irr_highest() takes it away before it looks a last time. */
	__atomic_fetch_or(&l->irr[vector / 32], bit, __ATOMIC_SEQ_CST);
	vcpu_note(v, DUE_IRQ);
	/* which EOIs exit is decided at entries */
	vcpu_notify(v, level || READ_ONCE(l->timer_wait));
	return true;
}

static bool is_broadcast(const struct apic_msg *m)
{
	return m->dest == (m->x2apic_dest ? 0xffffffff : 0xff);
}

/* SDM "Determining IPI Destination". */
static bool is_dest(const struct vcpu *v, const struct apic_msg *m)
{
	const struct lapic *l = &v->lapic;
	u32 ldr;

	if (is_broadcast(m))
		return true;
	if (!m->logical)
		return l->id == m->dest;
	if (lapic_is_x2apic(l)) {
		ldr = lapic_x2apic_ldr(l);
		return ldr >> 16 == m->dest >> 16 && (ldr & m->dest & 0xffff);
	}
	ldr = READ_ONCE(l->ldr) >> 24;
	if (m->dest > 0xff)
		return false;
	if (READ_ONCE(l->dfr) >> 28 == 0xf)
		return ldr & m->dest;
	return ldr >> 4 == m->dest >> 4 && (ldr & m->dest & 0xf);
}

/*
 * The targets as a mask of indices. The logical x2APIC id names them directly; everything else asks
 * each vCPU.
 */
static u64 find_targets(struct vm *vm, const struct apic_msg *m, struct vcpu *from)
{
	u32 i, seen, count = READ_ONCE(vm->vcpu_count);
	struct vcpu *v;
	u64 mask = 0;

	if (m->logical && m->x2apic_dest && !m->shorthand && !is_broadcast(m)) {
		for (i = 0; i < 16; i++)
			if (m->dest >> i & 1 && (v = vm_vcpu_by_apic(vm, m->dest >> 16 << 4 | i)) &&
			    lapic_is_x2apic(&v->lapic))
				mask |= BIT(v->index);
		return mask;
	}
	for (i = seen = 0; i < ARRAY_SIZE(vm->vcpu) && seen < count; i++) {
		if (!(v = READ_ONCE(vm->vcpu[i])))
			continue;
		seen++;
		if (m->shorthand ? v != from || m->shorthand == SHORT_ALL : is_dest(v, m))
			mask |= BIT(i);
	}
	return mask;
}

static bool deliver(struct vcpu *v, const struct apic_msg *m)
{
	if (unlikely(!lapic_is_on(&v->lapic)))
		return false;
	switch (m->mode) {
	case DM_FIXED:
	case DM_LOWEST:
		return lapic_set_irq(v, m->vector, m->level);
	case DM_NMI:
		vcpu_request(v, DUE_NMI);
		return true;
	case DM_INIT: /* level de-assert only synchronised arbitration ids on CPUs long gone */
		if (m->level && !m->assert)
			return true;
		/* one that came before counted for nothing */
		__atomic_fetch_and(&v->due, ~DUE_SIPI, __ATOMIC_SEQ_CST);
		vcpu_request(v, DUE_INIT);
		return true;
	case DM_STARTUP:
		WRITE_ONCE(v->sipi_vector, m->vector);
		vcpu_request(v, DUE_SIPI);
		return true;
	}
	return false; /* there is no SMM; ExtINT comes by CORBEL_HC_EXTINT */
}

/*
 * One of the targets, chosen by the vector, so that an interrupt stays where its handler's cache
 * is.
 */
static u64 choose_one(struct vm *vm, u64 mask, u8 vector)
{
	u64 left;
	u32 n = 0;

	for (left = mask; left; left &= left - 1) {
		struct vcpu *v = READ_ONCE(vm->vcpu[__builtin_ctzll(left)]);

		if (v && lapic_is_on(&v->lapic) && READ_ONCE(v->lapic.svr) & SVR_ENABLE)
			n++;
		else
			mask &= ~(left & -left);
	}
	for (n = n ? vector % n : 0; n; n--)
		mask &= mask - 1;
	return mask & -mask;
}

u32 lapic_send(struct vm *vm, const struct apic_msg *m, struct vcpu *from)
{
	struct vcpu *v;
	u64 mask;
	u32 n = 0;

	if (likely(!m->shorthand && !m->logical && !is_broadcast(m))) {
		v = vm_vcpu_by_apic(vm, m->dest);
		return v && deliver(v, m);
	}
	if (m->shorthand == SHORT_SELF)
		return from && deliver(from, m);
	mask = find_targets(vm, m, from);
	if (m->mode == DM_LOWEST)
		mask = choose_one(vm, mask, m->vector);
	for (; mask; mask &= mask - 1) {
		v = READ_ONCE(vm->vcpu[__builtin_ctzll(mask)]);
		n += v && deliver(v, m);
	}
	return n;
}

u32 lapic_send_msi(struct vm *vm, u64 address, u32 data)
{
	u32 high = (address >> 40) << 8; /* KVM_CAP_X2APIC_API: bits 31:8 of the destination */
	struct apic_msg m = {
	    .dest = FIELD_GET(GENMASK(19, 12), address) | high,
	    .x2apic_dest = high,
	    .logical = address & BIT(2),
	    .vector = data,
	    .mode = FIELD_GET(GENMASK(10, 8), data),
	    .assert = data & BIT(14),
	    .level = data & BIT(15),
	};

	/* The redirection hint asks for one of the logical destinations. */
	if (m.logical && address & BIT(3) && m.mode == DM_FIXED)
		m.mode = DM_LOWEST;
	return lapic_send(vm, &m, NULL);
}
