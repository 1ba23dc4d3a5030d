// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two 8259A in cascade, as in a PC, with the edge/level registers of the chipset. Intel 8259A data
 * sheet, "Programming the 8259A". The slave's output is wired to the master's IR2 as a level: IR2
 * is pending exactly while the slave asks.
 */
#include "pure.h"

#define CASCADE 2
#define NONE	8 /* no line, where a priority is wanted */

#define ICW1	     0x10 /* command with this bit starts the initialisation */
#define ICW1_ICW4    0x01
#define ICW4_AEOI    0x02
#define ICW4_SFNM    0x10
#define OCW3	     0x08
#define OCW3_READ    0x02 /* take over the register selection in bit 0 */
#define OCW3_POLL    0x04
#define OCW3_SMM     0x20
#define OCW3_SMM_SET 0x40

/* timer, keyboard, cascade; RTC and FPU are always edge-triggered */
static const u8 elcr_allowed[2] = {0xf8, 0xde};

void pic_reset(struct pic_pair *p)
{
	memset(p, 0, sizeof(*p));
	p->chip[0].elcr_mask = elcr_allowed[0];
	p->chip[1].elcr_mask = elcr_allowed[1];
}

/* Distance of the most urgent line in mask from the line with the highest priority. */
static u32 line_urgency(const struct kvm_pic_state *s, u8 mask)
{
	u32 i;

	for (i = 0; i < 8; i++)
		if (mask & (1u << ((i + s->priority_add) & 7)))
			return i;
	return NONE;
}

/* The line to be serviced next, or -1. */
static int pending_line(struct pic_pair *p, u32 chip)
{
	struct kvm_pic_state *s = &p->chip[chip];
	u8 irr = s->irr, isr = s->isr;
	u32 want;

	if (chip == 0) {
		irr &= ~(1u << CASCADE);
		if (pending_line(p, 1) >= 0)
			irr |= 1u << CASCADE;
		/* Special fully nested mode: a more urgent line of the same slave may interrupt. */
		if (s->special_fully_nested_mode)
			isr &= ~(1u << CASCADE);
	}
	if (s->special_mask)
		isr &= ~s->imr;
	want = line_urgency(s, irr & ~s->imr);
	if (want == NONE || want >= line_urgency(s, isr))
		return -1;
	return (want + s->priority_add) & 7;
}

int pic_set_irq(struct pic_pair *p, u32 line, bool level)
{
	struct kvm_pic_state *s = &p->chip[line >> 3];
	u8 bit = 1u << (line & 7), before = s->irr;

	if (s->elcr & bit)
		s->irr = level ? s->irr | bit : s->irr & ~bit;
	else if (level && !(s->last_irr & bit))
		s->irr |= bit;
	s->last_irr = level ? s->last_irr | bit : s->last_irr & ~bit;
	if (s->imr & bit)
		return -1;
	return !(before & bit);
}

bool pic_output(struct pic_pair *p)
{
	return pending_line(p, 0) >= 0;
}

static void service_line(struct kvm_pic_state *s, u32 irq, u32 first_line, u16 *ended)
{
	u8 bit = 1u << irq;

	if (!(s->elcr & bit))
		s->irr &= ~bit;
	if (!s->auto_eoi) {
		s->isr |= bit;
		return;
	}
	if (s->rotate_on_auto_eoi)
		s->priority_add = (irq + 1) & 7;
	*ended |= 1u << (first_line + irq);
}

u8 pic_ack(struct pic_pair *p, u16 *ended)
{
	int irq = pending_line(p, 0), sub;

	if (irq < 0) /* the request went away before the INTA cycle */
		return p->chip[0].irq_base + 7;
	if (irq != CASCADE) {
		service_line(&p->chip[0], irq, 0, ended);
		return p->chip[0].irq_base + irq;
	}
	sub = pending_line(p, 1);
	service_line(&p->chip[0], CASCADE, 0, ended);
	if (sub < 0)
		return p->chip[1].irq_base + 7;
	service_line(&p->chip[1], sub, 8, ended);
	return p->chip[1].irq_base + sub;
}

bool pic_has_port(u16 port)
{
	return port == 0x20 || port == 0x21 || port == 0xa0 || port == 0xa1 || port == 0x4d0 ||
	       port == 0x4d1;
}

static void init_command(struct kvm_pic_state *s, u8 val)
{
	s->last_irr = 0;
	s->irr &= s->elcr; /* edges seen so far are forgotten */
	s->imr = 0;
	s->isr = 0;
	s->priority_add = 0;
	s->special_mask = 0;
	s->read_reg_select = 0;
	s->poll = 0;
	s->rotate_on_auto_eoi = 0;
	if (!(val & ICW1_ICW4)) {
		s->special_fully_nested_mode = 0;
		s->auto_eoi = 0;
	}
	s->init4 = val & ICW1_ICW4;
	s->init_state = 1;
}

static void end_of_interrupt(struct kvm_pic_state *s, u8 val, u32 first_line, u16 *ended)
{
	bool rotate = val & 0x80, specific = val & 0x40, eoi = val & 0x20;
	u32 irq = val & 7;

	if (!specific && !eoi) {
		s->rotate_on_auto_eoi = rotate;
		return;
	}
	if (specific && !eoi) { /* set priority, or no operation */
		if (rotate)
			s->priority_add = (irq + 1) & 7;
		return;
	}
	if (!specific) {
		u32 top = line_urgency(s, s->isr);

		if (top == NONE)
			return;
		irq = (top + s->priority_add) & 7;
	}
	if (s->isr & (1u << irq))
		*ended |= 1u << (first_line + irq);
	s->isr &= ~(1u << irq);
	if (rotate)
		s->priority_add = (irq + 1) & 7;
}

static void write_command(struct kvm_pic_state *s, u8 val, u32 first_line, u16 *ended)
{
	if (val & ICW1) {
		init_command(s, val);
	} else if (val & OCW3) {
		if (val & OCW3_POLL)
			s->poll = 1;
		if (val & OCW3_READ)
			s->read_reg_select = val & 1;
		if (val & OCW3_SMM_SET)
			s->special_mask = !!(val & OCW3_SMM);
	} else {
		end_of_interrupt(s, val, first_line, ended);
	}
}

static void write_data(struct kvm_pic_state *s, u8 val)
{
	switch (s->init_state) {
	case 0:
		s->imr = val;
		break;
	case 1: /* ICW2 */
		s->irq_base = val & 0xf8;
		s->init_state = 2;
		break;
	case 2: /* ICW3: the wiring is fixed */
		s->init_state = s->init4 ? 3 : 0;
		break;
	default: /* ICW4 */
		s->special_fully_nested_mode = !!(val & ICW4_SFNM);
		s->auto_eoi = !!(val & ICW4_AEOI);
		s->init_state = 0;
	}
}

void pic_write(struct pic_pair *p, u16 port, u8 val, u16 *ended)
{
	u32 chip = (port >= 0x4d0) ? port & 1 : port >> 7;
	struct kvm_pic_state *s = &p->chip[chip];

	if (port >= 0x4d0)
		s->elcr = val & elcr_allowed[chip];
	else if (port & 1)
		write_data(s, val);
	else
		write_command(s, val, chip * 8, ended);
}

u8 pic_read(struct pic_pair *p, u16 port, u16 *ended)
{
	u32 chip = (port >= 0x4d0) ? port & 1 : port >> 7;
	struct kvm_pic_state *s = &p->chip[chip];

	if (port >= 0x4d0)
		return s->elcr;
	if (s->poll) { /* the poll command makes the next read an INTA cycle of this chip */
		int irq = pending_line(p, chip);

		s->poll = 0;
		if (irq < 0)
			return 7;
		service_line(s, irq, chip * 8, ended);
		return 0x80 | irq;
	}
	if (port & 1)
		return s->imr;
	return s->read_reg_select ? s->isr : s->irr;
}
