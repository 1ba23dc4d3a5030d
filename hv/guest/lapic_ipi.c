/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupt messages between the virtual APICs: destinations and delivery; SDM "Issuing
 * Interprocessor Interrupts".
 */
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/kick.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

void lapic_error(struct vcpu *v, u32 bit)
{
	u32 lvt = READ_ONCE(v->lapic.lvt[LVT_ERROR]);
	u8 vector = lvt;

	__atomic_fetch_or(&v->lapic.esr_latch, bit, __ATOMIC_RELAXED);
	/* A vector that is illegal itself would be noted for ever. */
	if (!(lvt & LVT_MASKED) && vector >= 16)
		lapic_set_irq(v, vector, false);
}

bool lapic_set_irq(struct vcpu *v, u8 vector, bool level)
{
	struct lapic *l = &v->lapic;
	u32 bit = 1u << vector % 32;

	if (!lapic_is_enabled(l))
		return false;
	if (vector < 16) {
		lapic_error(v, ESR_RECV_VECTOR);
		return false;
	}
	if (level)
		__atomic_fetch_or(&l->tmr[vector / 32], bit, __ATOMIC_RELAXED);
	else if (lapic_bit(l->tmr, vector))
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
	if (m->x2apic_dest)
		return m->dest == ~0u;
	return m->dest == 0xff;
}

static u32 physical_id(const struct lapic *l)
{
	/* above 255 an xAPIC cannot have it, but is started by it */
	if (l->id > 0xff || lapic_is_x2apic(l))
		return l->id;
	return READ_ONCE(l->xapic_id);
}

/* SDM "Determining IPI Destination". */
static bool is_dest(const struct vcpu *v, const struct apic_msg *m)
{
	const struct lapic *l = &v->lapic;
	u32 ldr;

	if (is_broadcast(m) && !(m->strict && lapic_is_x2apic(l)))
		return true;
	if (!m->logical)
		return m->dest == physical_id(l);
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

static bool is_target(const struct vcpu *v, const struct apic_msg *m, const struct vcpu *from)
{
	if (!m->shorthand)
		return is_dest(v, m);
	return m->shorthand == SHORT_ALL || v != from;
}

/* Of a logical x2APIC id, which names up to 16 of them: the next one from the bit *at on. */
static struct vcpu *next_named(struct vm *vm, const struct apic_msg *m, u32 *at)
{
	while (*at < 16) {
		u32 i = (*at)++;
		struct vcpu *v;

		if (!(m->dest & BIT(i)))
			continue;
		v = vm_vcpu_by_apic(vm, m->dest >> 16 << 4 | i);
		if (v && lapic_is_x2apic(&v->lapic))
			return v;
	}
	return NULL;
}

/* The next target; *at begins with 0. All but logical x2APIC ids ask each vCPU. */
static struct vcpu *next_target(struct vm *vm, const struct apic_msg *m, const struct vcpu *from,
				u32 *at)
{
	if (m->logical && m->x2apic_dest && !m->shorthand && !is_broadcast(m))
		return next_named(vm, m, at);
	while (*at < READ_ONCE(vm->vcpu_end)) {
		struct vcpu *v = READ_ONCE(vm->vcpu[(*at)++]);

		if (v && is_target(v, m, from))
			return v;
	}
	return NULL;
}

static bool deliver_msg(struct vcpu *v, const struct apic_msg *m, const struct vcpu *from)
{
	if (from)
		WRITE_ONCE(v->sched.asked, true);
	if (!lapic_is_on(&v->lapic))
		return false;
	switch (m->mode) {
	case DM_FIXED:
	case DM_LOWEST:
		return lapic_set_irq(v, m->vector, m->level);
	case DM_SMI:
		vcpu_request(v, DUE_SMI);
		break;
	case DM_NMI:
		vcpu_request(v, DUE_NMI);
		break;
	case DM_INIT:
		if (m->level &&
		    !m->assert) /* only synchronised arbitration ids on CPUs long gone */
			break;
		/* one that came before counted for nothing */
		vcpu_unnote(v, DUE_SIPI);
		vcpu_request(v, DUE_INIT);
		break;
	case DM_STARTUP:
		WRITE_ONCE(v->sipi_vector, m->vector);
		vcpu_request(v, DUE_SIPI);
		break;
	default: /* ExtINT comes by CORBEL_HC_EXTINT */
		return false;
	}
	return true;
}

/*
 * One of the targets, chosen by the vector, so that an interrupt stays where its handler's cache
 * is. Whoever is on then, it is among those of the second round: the first may have counted others.
 */
static struct vcpu *choose_target(struct vm *vm, const struct apic_msg *m, const struct vcpu *from)
{
	struct vcpu *v, *chosen = NULL;
	u32 n = 0, at = 0;

	while ((v = next_target(vm, m, from, &at)))
		n += lapic_is_enabled(&v->lapic);
	if (!n)
		return NULL;
	n = m->vector % n;
	for (at = 0; (v = next_target(vm, m, from, &at));) {
		if (!lapic_is_enabled(&v->lapic))
			continue;
		chosen = v;
		if (!n--)
			break;
	}
	return chosen;
}

u32 lapic_send(struct vm *vm, const struct apic_msg *m, struct vcpu *from)
{
	struct vcpu *v;
	u32 n = 0, at = 0;

	if (likely(!m->shorthand && !m->logical && !is_broadcast(m) &&
		   !READ_ONCE(vm->apic_ids_moved))) {
		v = vm_vcpu_by_apic(vm, m->dest);
		return v && deliver_msg(v, m, from);
	}
	if (m->shorthand == SHORT_SELF)
		return from && deliver_msg(from, m, NULL);
	if (m->mode == DM_LOWEST) {
		v = choose_target(vm, m, from);
		return v && deliver_msg(v, m, from);
	}
	while ((v = next_target(vm, m, from, &at)))
		n += deliver_msg(v, m, from);
	return n;
}

u32 lapic_send_words(struct vcpu *from, const struct apic_msg *m, u64 low, u64 high, u32 bits)
{
	u32 n = 0;

	for (u32 i = 0; i < READ_ONCE(from->vm->vcpu_end); i++) {
		struct vcpu *v = READ_ONCE(from->vm->vcpu[i]);
		u32 bit = v ? physical_id(&v->lapic) - m->dest : ~0u;
		u64 word = bit < bits ? low : high;

		if (bit < 2 * bits && word & BIT(bit % bits))
			n += deliver_msg(v, m, from);
	}
	return n;
}

static struct apic_msg read_msi(u64 address, u32 data, bool strict)
{
	u32 high = (address >> 40) << 8; /* KVM_CAP_X2APIC_API: bits 31:8 of the destination */
	struct apic_msg m = {
	    .dest = FIELD_GET(GENMASK(19, 12), address) | high,
	    .x2apic_dest = high,
	    .strict = strict && !high,
	    .logical = address & BIT(2),
	    .vector = data,
	    .mode = FIELD_GET(ICR_MODE, data),
	    .assert = data & ICR_ASSERT,
	    .level = data & ICR_LEVEL,
	};

	/* The redirection hint asks for one of the logical destinations. */
	if (m.logical && address & BIT(3) && m.mode == DM_FIXED)
		m.mode = DM_LOWEST;
	return m;
}

u32 lapic_send_msi(struct vm *vm, u64 address, u32 data, bool strict)
{
	struct apic_msg m = read_msi(address, data, strict);

	/* of an edge its EOI may be wanted, too, which by TMR all that do EOIs know */
	if (m.mode <= DM_LOWEST && READ_ONCE(vm->eoi_mask[m.vector / 64]) & BIT(m.vector % 64))
		m.level = true;
	return lapic_send(vm, &m, NULL);
}

struct vcpu *lapic_msi_target(struct vm *vm, u64 address, u32 data, bool strict)
{
	struct apic_msg m = read_msi(address, data, strict);
	u32 at = 0;
	struct vcpu *v = next_target(vm, &m, NULL, &at);
	bool alone = v && !next_target(vm, &m, NULL, &at);

	if (m.mode > DM_LOWEST || m.level || m.vector < 16)
		return NULL;
	return alone && lapic_is_x2apic(&v->lapic) ? v : NULL;
}
