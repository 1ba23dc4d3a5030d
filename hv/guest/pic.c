/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel 8259A data sheet, "Programming the 8259A". The slave's output is wired to the master's IR2
 * as a level: IR2 is pending exactly while the slave asks.
 */
#include "hv/guest/pic.h"
#include "hv/cpu/time.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/kick.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/string.h"

#define CASCADE 2
#define NONE	8 /* no line, where a priority is wanted */

#define ICW1	     0x10 /* command with this bit starts the initialisation */
#define ICW1_ICW4    0x01
#define ICW4_AEOI    0x02
#define ICW4_SFNM    0x10
#define OCW2_ROTATE  0x80
#define OCW2_LINE    0x40 /* it names one */
#define OCW2_EOI     0x20
#define OCW3	     0x08
#define OCW3_READ    0x02 /* take over the register selection in bit 0 */
#define OCW3_POLL    0x04
#define OCW3_SMM     0x20
#define OCW3_SMM_SET 0x40

void pic_init(struct pic *p)
{
	p->lock.level = LOCK_PIC;
	/* timer, keyboard, cascade; RTC and FPU are always edge-triggered */
	p->chip[0].elcr_mask = 0xf8;
	p->chip[1].elcr_mask = 0xde;
}

/* Distance of the most urgent line in mask from the line with the highest priority. */
static u32 line_urgency(const struct corbel_pic *s, u32 mask)
{
	return __builtin_ctz((mask | mask << 8) >> (s->priority_add & 7) | BIT(NONE));
}

/* The line to be serviced next, or -1. */
static s32 pending_line(const struct pic *p, u32 chip)
{
	const struct corbel_pic *s = &p->chip[chip];
	u8 irr = s->irr, isr = s->isr;
	u32 want;

	if (!chip) {
		irr &= ~BIT(CASCADE);
		if (pending_line(p, 1) >= 0)
			irr |= BIT(CASCADE);
		/* Special fully nested mode: a more urgent line of the same slave may interrupt. */
		if (s->special_fully_nested_mode)
			isr &= ~BIT(CASCADE);
	}
	if (s->special_mask)
		isr &= ~s->imr;
	want = line_urgency(s, irr & ~s->imr);
	if (want == NONE || want >= line_urgency(s, isr))
		return -1;
	return (want + s->priority_add) & 7;
}

static void drive_intr(struct vm *vm)
{
	struct pic *p = &vm->pic;
	bool level = pending_line(p, 0) >= 0;
	struct vcpu *v;

	ASSERT_HELD(&p->lock);
	if (likely(level == p->intr))
		return;
	v = vm_vcpu_by_apic(vm, vm->bsp_apic_id);
	if (!v) /* when it is there dom0 calls again */
		return;
	p->intr = level;
	if (level)
		vcpu_request(v, DUE_EXTINT);
	else
		vcpu_unnote(v, DUE_EXTINT);
}

/* Returns what has ended by that. */
static u32 service_line(struct pic *p, u32 chip, u32 irq)
{
	struct corbel_pic *s = &p->chip[chip];
	u32 bit = BIT(irq);

	if (!(s->elcr & bit))
		s->irr &= ~bit;
	if (!s->auto_eoi) {
		s->isr |= bit;
		return 0;
	}
	if (s->rotate_on_auto_eoi)
		s->priority_add = (irq + 1) & 7;
	return bit << chip * 8;
}

s32 pic_inta(struct vm *vm, u32 *told)
{
	struct pic *p = &vm->pic;
	s32 irq, chip = 0, vector = -1;
	u32 ended = 0;

	lock_acquire(&p->lock);
	irq = pending_line(p, 0);
	if (irq >= 0)
		ended = service_line(p, 0, irq);
	if (irq == CASCADE) {
		chip = 1;
		irq = pending_line(p, 1);
		ended |= service_line(p, 1, irq);
	}
	if (irq >= 0)
		vector = (u8)(p->chip[chip].irq_base + irq);
	drive_intr(vm);
	*told |= ended & p->wanted;
	lock_release(&p->lock);
	return vector;
}

/* Edges seen so far are forgotten. Returns the lines of which nobody will write an EOI. */
static u32 init_command(struct corbel_pic *s, u8 val)
{
	u32 ended = (s->irr & ~s->elcr) | s->isr;
	bool icw4 = val & ICW1_ICW4;

	*s = (struct corbel_pic){
	    .irr = s->irr & s->elcr,
	    .irq_base = s->irq_base,
	    .init_state = 1,
	    .init4 = icw4,
	    .auto_eoi = icw4 && s->auto_eoi,
	    .special_fully_nested_mode = icw4 && s->special_fully_nested_mode,
	    .elcr = s->elcr,
	    .elcr_mask = s->elcr_mask,
	};
	return ended;
}

/* Returns the line whose service has ended, as a bit. */
static u32 end_of_interrupt(struct corbel_pic *s, u8 val)
{
	u32 irq = val & 7, ended;

	if (!(val & (OCW2_LINE | OCW2_EOI))) {
		s->rotate_on_auto_eoi = !!(val & OCW2_ROTATE);
		return 0;
	}
	if (!(val & OCW2_LINE)) {
		irq = line_urgency(s, s->isr);
		if (irq == NONE)
			return 0;
		irq = (irq + s->priority_add) & 7;
	}
	if (val & OCW2_ROTATE)
		s->priority_add = (irq + 1) & 7;
	if (!(val & OCW2_EOI)) /* set priority, or no operation */
		return 0;
	ended = s->isr & BIT(irq);
	s->isr &= ~ended;
	return ended;
}

static u32 write_command(struct corbel_pic *s, u8 val)
{
	if (val & ICW1) {
		return init_command(s, val);
	} else if (val & OCW3) {
		if (val & OCW3_POLL)
			s->poll = 1;
		if (val & OCW3_READ)
			s->read_reg_select = val & 1;
		if (val & OCW3_SMM_SET)
			s->special_mask = !!(val & OCW3_SMM);
	} else {
		return end_of_interrupt(s, val);
	}
	return 0;
}

static void write_data(struct corbel_pic *s, u8 val)
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

/* The poll command makes the next read an INTA cycle of this chip. */
static u32 poll_chip(struct pic *p, u32 chip, u8 *val)
{
	s32 irq = pending_line(p, chip);

	p->chip[chip].poll = 0;
	*val = 7;
	if (irq < 0)
		return 0;
	*val = 0x80 | irq;
	return service_line(p, chip, irq);
}

static u32 access_port(struct pic *p, u16 port, bool in, u8 *val)
{
	u32 chip = port >= 0x4d0 ? port & 1 : port >> 7;
	struct corbel_pic *s = &p->chip[chip];

	if (port >= 0x4d0 && !in)
		s->elcr = *val & s->elcr_mask;
	else if (port >= 0x4d0)
		*val = s->elcr;
	else if (in && s->poll)
		return poll_chip(p, chip, val);
	else if (in && port & 1)
		*val = s->imr;
	else if (in)
		*val = s->read_reg_select ? s->isr : s->irr;
	else if (port & 1)
		write_data(s, *val);
	else
		return write_command(s, *val) << chip * 8;
	return 0;
}

static s64 now_ns(void)
{
	return tsc_to_ns(rdtsc());
}

static u32 access_pit(struct corbel_pit *p, u16 port, bool in, u8 *val)
{
	s64 now = now_ns();

	if (port == 0x61 && in)
		*val = i8254_port61_read(p, now);
	else if (port == 0x61)
		i8254_port61_write(p, *val, now);
	else if (in)
		*val = i8254_read(p, port & 3, now);
	else if (i8254_write(p, port & 3, *val, now))
		return CORBEL_PIC_PIT;
	return 0;
}

u32 pic_access(struct vm *vm, u16 port, bool in, u8 *val)
{
	struct pic *p = &vm->pic;
	u32 told = CORBEL_PIC_ASLEEP;
	u8 imr;

	lock_acquire(&p->lock);
	imr = p->chip[0].imr;
	if (pit_has_port(p, port)) {
		told = access_pit(&p->pit, port, in, val);
		goto out;
	}
	p->comes = p->asleep;
	if (likely(!p->asleep)) {
		told = access_port(p, port, in, val);
		if (imr & ~p->chip[0].imr & 1)
			told |= CORBEL_PIC_UNMASKED;
		told &= p->wanted;
		/* Of a line whose listener has to be told first the level is an old one. */
		if (!(u16)told)
			drive_intr(vm);
	}
out:
	lock_release(&p->lock);
	return told;
}

void pic_tell(struct vcpu *v, u32 told)
{
	if (likely(!told))
		return;
	WRITE_ONCE(v->page->pic.what, told);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_PIC);
}

/* ---- dom0 ---- */

static u16 both_chips(u8 master, u8 slave)
{
	return master | slave << 8;
}

static u64 set_line(struct pic *p, u32 line, bool level, bool may_sleep)
{
	struct corbel_pic *s = &p->chip[line / 8], *other = &p->chip[1];
	u8 bit = BIT(line % 8), before = s->irr;
	u64 imr = both_chips(p->chip[0].imr, other->imr);
	u64 ret = (u64)both_chips(p->chip[0].elcr, other->elcr) << 16 | imr << 32;

	if (s->elcr & bit)
		s->irr = level ? before | bit : before & ~bit;
	else if (level && !(s->last_irr & bit))
		s->irr |= bit;
	s->last_irr = level ? s->last_irr | bit : s->last_irr & ~bit;
	p->asleep = may_sleep && imr == 0xffff && !p->comes;
	if (p->asleep)
		ret |= CORBEL_PIC_SLEEPS;
	if (s->imr & bit)
		return ret | CORBEL_PIC_MASKED;
	return ret | (before & bit ? CORBEL_PIC_HAD : CORBEL_PIC_RAISED);
}

#define CHIP_WORDS  (sizeof(struct corbel_pic) / sizeof(u32))
#define STATE_WORDS (2 * CHIP_WORDS)

static s64 call_locked(struct pic *p, const u64 *arg)
{
	u32 word = arg[3], chip = arg[2] / CHIP_WORDS, n = arg[2] % CHIP_WORDS;
	u8 *at;

	ASSERT_HELD(&p->lock);
	if (arg[1] == CORBEL_PIC_LINE) /* line, level, may it sleep? */
		return arg[2] < 16 ? (s64)set_line(p, arg[2], arg[3], arg[4]) : -EINVAL;
	if (arg[1] == CORBEL_PIC_TELL) { /* what */
		p->wanted = arg[2];
		return 0;
	}
	if (arg[2] >= STATE_WORDS)
		return -EINVAL;
	at = (u8 *)p->moved_chip + arg[2] * sizeof(word);
	if (arg[1] == CORBEL_PIC_GET) { /* word */
		if (!n)
			p->moved_chip[chip] = p->chip[chip];
		memcpy(&word, at, sizeof(word));
		return word;
	}
	memcpy(at, &word, sizeof(word)); /* word, value */
	if (n == CHIP_WORDS - 1)
		p->chip[chip] = p->moved_chip[chip];
	return word;
}

#define PIT_WORDS (sizeof(struct corbel_pit) / sizeof(u32))

static s64 call_pit(struct pic *p, const u64 *arg)
{
	u32 word = arg[3];
	bool periodic;
	u64 ns;
	u8 *at;

	if (arg[1] == CORBEL_PIT_ON) { /* at port 0x61, too? */
		p->has_pit = true;
		p->has_port61 = arg[2];
		return 0;
	}
	if (arg[1] == CORBEL_PIT_PERIOD) {
		ns = i8254_period_ns(&p->pit, &periodic);
		return ns ? ns << 1 | periodic : 0;
	}
	if (arg[1] == CORBEL_PIT_AGE && arg[2] < 3)
		return MAX(now_ns() - p->moved.ch[arg[2]].count_load_time, 0ll);
	if (arg[1] == CORBEL_PIT_AGE)
		return -EINVAL;
	if (arg[2] >= PIT_WORDS)
		return -EINVAL;
	at = (u8 *)&p->moved + arg[2] * sizeof(word);
	if (arg[1] == CORBEL_PIT_GET) {
		if (!arg[2]) /* the guest may write to it before the others are asked for */
			p->moved = p->pit;
		memcpy(&word, at, sizeof(word));
		return word;
	}
	memcpy(at, &word, sizeof(word));
	if (arg[2] < PIT_WORDS - 1)
		return word;
	for (u32 i = 0; i < 3; i++)
		p->moved.ch[i].count_load_time = now_ns();
	p->pit = p->moved;
	return word;
}

static s64 call_port(struct vm *vm, u64 port, bool in, u8 val)
{
	u64 told;

	if (port > 0xffff || !(pic_has_port(port) || pit_has_port(&vm->pic, port)))
		return -EINVAL;
	told = pic_access(vm, port, in, &val);
	return val | told << 8;
}

s64 pic_call(struct vm *vm, const u64 *arg)
{
	s64 ret;

	if (!(vm->flags & CORBEL_VM_PIC))
		return -ENOENT;
	if (arg[1] > CORBEL_PIT_SET)
		return -EINVAL;
	if (arg[1] == CORBEL_PIC_IO) /* port, in?, byte */
		return call_port(vm, arg[2], arg[3], arg[4]);
	lock_acquire(&vm->pic.lock);
	if (arg[1] > CORBEL_PIC_TELL) {
		ret = call_pit(&vm->pic, arg);
	} else {
		vm->pic.asleep = false;
		ret = call_locked(&vm->pic, arg);
		drive_intr(vm);
	}
	lock_release(&vm->pic.lock);
	return ret;
}
