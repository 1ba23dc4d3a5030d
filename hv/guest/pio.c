/* SPDX-License-Identifier: GPL-2.0-only */
/* Port I/O of guests, strings of it included. */
#include "hv/guest/pio.h"
#include "hv/emul/walk.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

void pio_write_reg(struct vcpu *v, u32 reg, u64 val, u32 size)
{
	u64 mask;

	if (size == 4) { /* clears the upper half, alone of all sizes */
		v->gpr[reg] = (u32)val;
		return;
	}
	mask = GENMASK(size * 8 - 1, 0);
	v->gpr[reg] = (v->gpr[reg] & ~mask) | (val & mask);
}

static inline void pio_exit_to_dom0(struct vcpu *v, const struct vm_exit *x, u32 count)
{
	v->page->io.port = x->io.port;
	v->page->io.size = x->io.size;
	v->page->io.is_in = x->io.in;
	v->page->io.count = count;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
}

/* ---- strings ---- */

static u64 string_left(const struct vcpu *v)
{
	return v->gpr[RCX] & GENMASK(v->io.addr_size * 8 - 1, 0);
}

/* Fill v->io: where the string is, and how many elements of it can be moved at once. */
static int string_setup(struct vcpu *v, const struct vm_exit *x, struct guest_fault *f)
{
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->emul->insn->insn;
	enum hvm_seg which = HVM_ES;
	struct corbel_segment seg;
	u64 linear;

	if (ret)
		return ret;
	if (i->vex)
		return -EINVAL;
	v->io = (struct vcpu_io){.reg = RDI,
				 .count = 1,
				 .size = x->io.size,
				 .addr_size = i->addr_size,
				 .insn_len = x->insn_len,
				 .rep = x->io.rep,
				 .down = v->rflags & RFLAGS_DF};
	if (!x->io.in) {
		v->io.reg = RSI;
		which = i->seg < 6 ? i->seg : HVM_DS;
	}
	hvm->get_seg(v, which, &seg);
	linear = v->gpr[v->io.reg] & GENMASK(i->addr_size * 8 - 1, 0);
	if (v->emul->insn->paging.mode != EMUL_64)
		linear = (u32)(linear + seg.base);
	else if (which >= HVM_FS)
		linear += seg.base;
	v->io.linear = linear;
	if (v->io.rep) {
		u64 fit = (PAGE_SIZE - linear % PAGE_SIZE) / x->io.size;

		/* one at a time downwards, and where an element lies across two pages */
		if (v->io.down || !fit)
			fit = 1;
		v->io.count = MIN(string_left(v), fit);
	}
	return 0;
}

/* Elements have been moved: registers, and RIP once all are. */
static void string_advance(struct vcpu *v)
{
	const struct vcpu_io *io = &v->io;
	u64 step = (u64)io->count * io->size;

	if (io->down)
		step = -step;
	pio_write_reg(v, io->reg, v->gpr[io->reg] + step, io->addr_size);
	if (io->rep) {
		pio_write_reg(v, RCX, v->gpr[RCX] - io->count, io->addr_size);
		if (string_left(v))
			return; /* the instruction runs again for the rest */
	}
	vcpu_skip(v, io->insn_len);
}

/* dom0 has delivered the elements. */
static void pio_complete_ins(struct vcpu *v)
{
	const struct vcpu_io *io = &v->io;
	struct guest_fault f = {0};
	int ret = vcpu_access_linear(v, io->linear, v->data, io->count * io->size, WALK_WRITE, &f);

	if (ret == -EAGAIN)
		/* the data stay in the data page until there is memory */
		v->complete = pio_complete_ins;
	if (ret)
		guest_access_failed(v, ret, &f);
	else
		string_advance(v);
}

static void handle_string_io(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	struct vcpu_io *io = &v->io;
	u64 at;
	int ret = string_setup(v, x, &f);

	if (ret == -EINVAL) {
		guest_stuck(v, GUEST_ERROR_EMULATION, NULL);
		return;
	}
	if (!ret && !io->count) {
		vcpu_skip(v, x->insn_len);
		return;
	}
	BUG_ON(!ret && io->count * io->size > PAGE_SIZE);
	if (!ret && x->io.in)
		ret = vcpu_translate(v, io->linear, WALK_WRITE, &at, &f);
	else if (!ret)
		ret = vcpu_access_linear(v, io->linear, v->data, io->count * io->size, 0, &f);
	if (ret) {
		guest_access_failed(v, ret, &f);
		return;
	}
	if (x->io.in)
		v->complete = pio_complete_ins;
	else
		string_advance(v);
	pio_exit_to_dom0(v, x, io->count);
}

/* ---- single accesses ---- */

static void pio_complete_in(struct vcpu *v)
{
	u32 val;

	memcpy(&val, v->data, sizeof(val));
	pio_write_reg(v, RAX, val, v->io.size);
}

enum after_exit pio_handle(struct vcpu *v, const struct vm_exit *x)
{
	BUG_ON(!x->io.size || x->io.size > 4);
	if (v->vm->ops) {
		v->vm->ops->port_io(v, x);
		return EXIT_PREPARE;
	}
	if (x->io.string) {
		handle_string_io(v, x);
		return EXIT_PREPARE;
	}
	vcpu_step(v, x, x->insn_len);
	if (x->io.in) {
		v->complete = pio_complete_in;
		v->io.size = x->io.size;
	} else {
		u32 val = v->gpr[RAX] & GENMASK(x->io.size * 8 - 1, 0);

		if (v->vm->doorbell_count &&
		    doorbell_ring(v->vm, true, x->io.port, x->io.size, val))
			return EXIT_AGAIN;
		memcpy(v->data, &val, sizeof(val));
	}
	pio_exit_to_dom0(v, x, 1);
	return EXIT_PREPARE;
}
