// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VM's pair of 8259A is the hypervisor's (hv/guest/pic.c); here are its lines, which devices in
 * dom0 drive. A guest that uses the IOAPIC has masked all of them, and pays nothing: they sleep
 * then, and of lines that change the hypervisor hears when the guest comes to the ports again, just
 * before it does.
 *
 *   line changes ──┬── awake ──> PIC_LINE ──> all masked? asleep
 *                  └── asleep: noted          │
 *   guest's access ──> EXIT_PIC, PIC_ASLEEP <─┘ ──> what was noted, PIC_LINE ──> awake
 */
#include "irq.h"
#include "kmod.h"

#define LINES (2 * PIC_PINS)
#define WORDS (sizeof(struct kvm_pic_state) / sizeof(u32))
static_assert(sizeof(struct kvm_pic_state) == sizeof(struct corbel_pic));

void cb_pic_init(struct cb_vm *vm)
{
	vm->pic_early[0].elcr_mask = 0xf8;
	vm->pic_early[1].elcr_mask = 0xde;
}

static void tell_line(struct cb_vm *vm, u32 line, bool level, bool may_sleep)
{
	long r = HC5(PIC, vm->id, CORBEL_PIC_LINE, line, level, may_sleep);

	if (r < 0) /* the VM is at its end */
		return;
	vm->pic_said = r;
	vm->pic_awake = !(r & CORBEL_PIC_SLEEPS);
}

int cb_pic_set_line(struct cb_vm *vm, u32 line, bool was, bool level)
{
	bool rises = level && !was;

	lockdep_assert_held(&vm->irq_lock);
	if (vm->pic_awake) {
		tell_line(vm, line, level, true);
		return (int)(vm->pic_said & CORBEL_PIC_DONE) - 1;
	}
	vm->pic_changed |= BIT(line);
	if (rises)
		vm->pic_rose |= BIT(line);
	return CORBEL_PIC_IMR(vm->pic_said) & BIT(line) ? -1 : rises;
}

void cb_pic_wake(struct cb_vm *vm)
{
	u32 lines = vm->pic_changed, line;

	lockdep_assert_held(&vm->irq_lock);
	if (vm->pic_awake || !vm->pic_there)
		return;
	HC3(PIC, vm->id, CORBEL_PIC_TELL, vm->pic_wanted);
	vm->pic_awake = true;
	for (; lines; lines &= lines - 1) {
		line = __ffs(lines);
		if (vm->pic_rose & BIT(line)) {
			tell_line(vm, line, false, false);
			tell_line(vm, line, true, false);
		}
		tell_line(vm, line, vm->pic_sources[line], false);
	}
	vm->pic_changed = vm->pic_rose = 0;
}

u32 cb_pic_io(struct cb_vm *vm, u16 port, bool is_in, u8 *data)
{
	long r;

	cb_pic_wake(vm);
	r = HC5(PIC, vm->id, CORBEL_PIC_IO, port, is_in, *data);
	if (r < 0)
		return 0;
	*data = r;
	return r >> 8;
}

void cb_pic_want(struct cb_vm *vm, u32 what)
{
	if (what == vm->pic_wanted)
		return;
	vm->pic_wanted = what;
	vm->pic_awake = false;
	cb_pic_wake(vm); /* tells it, too */
}

/* Asleep it has nothing to say, all being masked. */
void cb_pic_heard(struct cb_vm *vm)
{
	lockdep_assert_held(&vm->irq_lock);
	if (vm->pic_awake)
		HC3(PIC, vm->id, CORBEL_PIC_TELL, vm->pic_wanted);
}

void cb_pic_get(struct cb_vm *vm, u32 chip, struct kvm_pic_state *s)
{
	u32 *word = (u32 *)s, i;

	cb_pic_wake(vm);
	*s = vm->pic_early[chip];
	for (i = 0; vm->pic_there && i < WORDS; i++)
		word[i] = HC3(PIC, vm->id, CORBEL_PIC_GET, chip * WORDS + i);
}

void cb_pic_set(struct cb_vm *vm, u32 chip, const struct kvm_pic_state *s)
{
	const u32 *word = (const u32 *)s;
	u32 i;

	cb_pic_wake(vm);
	vm->pic_early[chip] = *s;
	vm->pic_set |= BIT(chip);
	for (i = 0; vm->pic_there && i < WORDS; i++)
		HC4(PIC, vm->id, CORBEL_PIC_SET, chip * WORDS + i, word[i]);
}

void cb_pic_realize(struct cb_vm *vm)
{
	struct kvm_pic_state s;
	u32 chip;

	if (!vm->pic_there) {
		vm->pic_there = true;
		vm->pic_awake = true; /* the state comes first */
		for (chip = 0; chip < 2; chip++) {
			s = vm->pic_early[chip];
			if (vm->pic_set & BIT(chip))
				cb_pic_set(vm, chip, &s);
		}
	}
	vm->pic_awake = false; /* the boot CPU may be this one, and know nothing of INTR */
	cb_pic_wake(vm);
}
