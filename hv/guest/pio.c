/* SPDX-License-Identifier: GPL-2.0-only */
/* Port I/O of guests, strings of it included. */
#include "hv/guest/pio.h"
#include "hv/emul/walk.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/lib/string.h"

void pio_write_reg(struct vcpu *v, u32 reg, u64 val, u32 size)
{
	if (size == 4)
		v->gpr[reg] = (u32)val;
	else
		v->gpr[reg] =
		    (v->gpr[reg] & ~GENMASK(size * 8 - 1, 0)) | (val & GENMASK(size * 8 - 1, 0));
}

/* The addresses of a string I/O instruction, and how many elements can be moved at once. */
struct string_io {
	u64 linear, mask;
	u32 count;
	bool rep, down;
	u32 reg;
};

static int string_setup(struct vcpu *v, const struct vm_exit *x, struct string_io *s,
			struct guest_fault *f)
{
	struct corbel_segment seg;
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->emul->insn->insn;
	enum emul_mode mode = v->emul->insn->paging.mode;
	u32 which = SEG_ES;

	if (ret)
		return ret;
	if (i->vex)
		return -EINVAL;
	s->mask = i->addr_size == 8 ? ~0ull : GENMASK(i->addr_size * 8 - 1, 0);
	s->reg = x->io.in ? RDI : RSI;
	if (!x->io.in)
		which = i->seg < 6 ? i->seg : SEG_DS;
	hvm->get_seg(v, which, &seg);
	s->linear = v->gpr[s->reg] & s->mask;
	if (mode != EMUL_64)
		s->linear = (u32)(s->linear + seg.base);
	else if (which >= SEG_FS)
		s->linear += seg.base;
	s->rep = x->io.rep;
	s->down = v->rflags & RFLAGS_DF;
	s->count = 1;
	if (s->rep) {
		u64 left = v->gpr[RCX] & s->mask;
		u64 fit = s->down ? 1 : (PAGE_SIZE - (s->linear & ~PAGE_MASK)) / x->io.size;

		s->count = MIN(left, MAX(fit, 1ul));
	}
	return 0;
}

/* Elements have been moved: registers, and RIP once all are. */
static void string_advance(struct vcpu *v, u64 mask, u32 reg, bool rep, bool down, u32 count,
			   u32 size, u32 len)
{
	u64 step = (u64)count * size;
	u64 to = down ? v->gpr[reg] - step : v->gpr[reg] + step;

	v->gpr[reg] = mask == ~0ull
			  ? to
			  : (mask == 0xffffffff ? (u32)to : (v->gpr[reg] & ~mask) | (to & mask));
	if (rep) {
		to = v->gpr[RCX] - count;
		v->gpr[RCX] =
		    mask == ~0ull
			? to
			: (mask == 0xffffffff ? (u32)to : (v->gpr[RCX] & ~mask) | (to & mask));
		if (v->gpr[RCX] & mask)
			return; /* the instruction runs again for the rest */
	}
	vcpu_skip(v, len);
}

static void handle_string_io(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	struct string_io s;
	u64 at;
	int ret = string_setup(v, x, &s, &f);

	if (ret == -EINVAL) {
		guest_stuck(v, GUEST_ERROR_EMULATION, NULL, 0);
		return;
	}
	if (!ret && !s.count) {
		vcpu_skip(v, x->insn_len);
		return;
	}
	if (!ret && x->io.in)
		ret = vcpu_translate(v, s.linear, WALK_WRITE, &at, &f);
	else if (!ret)
		ret = vcpu_read_linear(v, s.linear, v->data, s.count * x->io.size, 0, &f);
	if (ret) {
		guest_access_failed(v, ret, &f);
		return;
	}
	v->page->io.port = x->io.port;
	v->page->io.size = x->io.size;
	v->page->io.is_in = x->io.in;
	v->page->io.count = s.count;
	v->io = (struct vcpu_io){.linear = s.linear,
				 .mask = s.mask,
				 .count = s.count,
				 .size = x->io.size,
				 .rep = s.rep,
				 .down = s.down,
				 .insn_len = x->insn_len};
	if (x->io.in)
		v->completion = COMPLETE_INS;
	else
		string_advance(v, s.mask, RSI, s.rep, s.down, s.count, x->io.size, x->insn_len);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
}

enum after_exit pio_handle(struct vcpu *v, const struct vm_exit *x)
{
	if (v->vm->ops) {
		v->vm->ops->port_io(v, x);
		return EXIT_PREPARE;
	}
	if (x->io.string) {
		handle_string_io(v, x);
		return EXIT_PREPARE;
	}
	vcpu_step(v, x, x->insn_len);
	if (!x->io.in) {
		u32 val = v->gpr[RAX] & GENMASK(x->io.size * 8 - 1, 0);

		if (v->vm->doorbell_count &&
		    doorbell_ring(v->vm, true, x->io.port, x->io.size, val))
			return EXIT_AGAIN;
		memcpy(v->data, &val, 4);
	} else {
		v->completion = COMPLETE_IN;
		v->io.size = x->io.size;
	}
	v->page->io.port = x->io.port;
	v->page->io.size = x->io.size;
	v->page->io.is_in = x->io.in;
	v->page->io.count = 1;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
	return EXIT_PREPARE;
}

void pio_complete_ins(struct vcpu *v)
{
	struct vcpu_io *io = &v->io;
	struct guest_fault f = {0};
	int ret = vcpu_write_linear(v, io->linear, v->data, io->count * io->size, 0, &f);

	if (ret == -EAGAIN)
		/* the data stay in the data page until there is memory */
		v->completion = COMPLETE_INS;
	if (ret)
		guest_access_failed(v, ret, &f);
	else
		string_advance(v, io->mask, RDI, io->rep, io->down, io->count, io->size,
			       io->insn_len);
}

void pio_complete_in(struct vcpu *v)
{
	u32 val;

	memcpy(&val, v->data, sizeof(val));
	pio_write_reg(v, RAX, val, v->io.size);
}
