/* SPDX-License-Identifier: GPL-2.0-only */
/* Port I/O of guests, strings of it included. */
#include "hv/guest/pio.h"
#include "hv/emul/walk.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/guest/vm.h"
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
	WRITE_ONCE(v->page->io.port, x->io.port);
	WRITE_ONCE(v->page->io.size, x->io.size);
	WRITE_ONCE(v->page->io.is_in, x->io.in);
	WRITE_ONCE(v->page->io.count, count);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
}

/* ---- strings ---- */

static u64 string_left(const struct vcpu *v)
{
	return v->gpr[RCX] & GENMASK(v->io.addr_size * 8 - 1, 0);
}

/*
 * Fill v->io: where the string is, and how many elements of it can be moved at once. -EBUSY: it is
 * no such instruction any more, another vCPU has changed it.
 */
static int string_setup(struct vcpu *v, const struct vm_exit *x, struct guest_fault *f)
{
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->emul->insn->insn;

	if (ret)
		return ret;
	if (!emul_is_string_io(i) || emul_is_ins(i) != x->io.in || i->op_size != x->io.size)
		return -EBUSY;
	v->io = (struct vcpu_io){.reg = x->io.in ? RDI : RSI,
				 .size = x->io.size,
				 .addr_size = i->addr_size,
				 .insn_len = x->insn_len,
				 .rep = i->rep,
				 .down = v->rflags & RFLAGS_DF};
	ret = mmio_string_span(v, &v->io.linear, f);
	if (ret < 0)
		return ret;
	v->io.count = ret;
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
		if (string_left(v)) { /* the instruction runs again for the rest */
			if (unlikely(v->rflags & RFLAGS_TF))
				vcpu_retire(v);
			return;
		}
	}
	vcpu_skip(v, io->insn_len);
}

/* dom0 has delivered the elements. */
static void pio_complete_ins(struct vcpu *v)
{
	struct vcpu_io *io = &v->io;
	struct guest_fault f = {0};
	struct pt_leaf leaf;
	int ret;

	if (io->rep) /* the VMM may have set RCX meanwhile */
		io->count = MIN(io->count, string_left(v));
	ret = vcpu_access_linear(v, io->linear, shared_plain(v->data), io->count * io->size,
				 WALK_WRITE, &f);
	if (ret == -EAGAIN) {
		p2m_lookup(v->p2m, f.gpa >> PAGE_SHIFT, &leaf);
		/* Taken away while dom0 was asked: the data are lost, as if it had been later. */
		if (mmio_is_device(v, f.gpa, &leaf, true))
			ret = 0;
		else /* the data stay in the data page until there is memory */
			v->complete = pio_complete_ins;
	}
	if (ret)
		guest_access_failed(v, ret, &f);
	else
		string_advance(v);
}

/*
 * Are the elements in one page of memory? True and that page's leaf has been looked at, and for
 * OUTS they are in the data page. False: they have to be moved one by one. Negative: *f.
 */
static int string_in_memory(struct vcpu *v, struct guest_fault *f)
{
	const struct vcpu_io *io = &v->io;
	bool write = io->reg == RDI;
	u32 bytes = io->count * io->size;
	struct pt_leaf leaf;
	u64 at, right = write ? WALK_WRITE : 0;
	int ret = vcpu_translate(v, io->linear, right, &at, f);

	if (ret)
		return ret;
	p2m_lookup(v->p2m, at >> PAGE_SHIFT, &leaf);
	if (mmio_is_device(v, at, &leaf, write) || at % PAGE_SIZE + bytes > PAGE_SIZE)
		return false;
	if (leaf.kind == PT_NONE) {
		f->gpa = at;
		f->write = write;
		return -EAGAIN;
	}
	ret = write ? 0 : guest_copy(v, at, shared_plain(v->data), bytes, false, f);
	return ret ? ret : true;
}

static __noinline void handle_string_io(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	int ret = string_setup(v, x, &f);

	if (ret == -EBUSY)
		return;
	if (ret == -EINVAL) {
		guest_cannot_emulate(v, NULL);
		return;
	}
	if (!ret && !v->io.count) {
		vcpu_skip(v, x->insn_len);
		return;
	}
	BUG_ON(!ret && v->io.count * v->io.size > PAGE_SIZE);
	if (!ret)
		ret = string_in_memory(v, &f);
	if (ret < 0) {
		guest_access_failed(v, ret, &f);
		return;
	}
	if (!ret) {
		mmio_string_io(v, x);
		return;
	}
	if (x->io.in)
		v->complete = pio_complete_ins;
	else
		string_advance(v);
	pio_exit_to_dom0(v, x, v->io.count);
}

/* ---- single accesses ---- */

static void pio_complete_in(struct vcpu *v)
{
	u32 val;

	shared_read(&val, v->data, sizeof(val));
	pio_write_reg(v, RAX, val, v->io.size);
}

/* Of the size of a byte alone its ports know anything. */
static __noinline enum after_exit handle_pic(struct vcpu *v, const struct vm_exit *x)
{
	u64 val = x->io.in ? ~0ull : v->gpr[RAX];
	u8 byte = val;
	u32 told = 0;

	if (x->io.size == 1) {
		told = pic_access(v->vm, x->io.port, x->io.in, &byte);
		val = byte;
	}
	if (likely(!(told & CORBEL_PIC_ASLEEP))) {
		if (x->io.in)
			pio_write_reg(v, RAX, val, x->io.size);
		vcpu_step(v, x, x->insn_len);
	}
	pic_tell(v, told);
	return EXIT_AGAIN; /* unless there is something due */
}

static bool has_chip_port(const struct vm *vm, u16 port)
{
	return (pic_has_port(port) && vm->flags & CORBEL_VM_PIC) || pit_has_port(&vm->pic, port);
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
	/* While exits are traced dom0 makes the access, which is one of its tracepoints. */
	if (unlikely(has_chip_port(v->vm, x->io.port)) && !READ_ONCE(v->page->trace))
		return handle_pic(v, x);
	vcpu_step(v, x, x->insn_len);
	if (x->io.in) {
		v->complete = pio_complete_in;
		v->io.size = x->io.size;
	} else {
		u32 val = v->gpr[RAX] & GENMASK(x->io.size * 8 - 1, 0);

		if (v->vm->doorbell_count &&
		    doorbell_ring(v->vm, true, x->io.port, x->io.size, val))
			return EXIT_AGAIN;
		shared_write(v->data, &val, sizeof(val));
	}
	pio_exit_to_dom0(v, x, 1);
	return EXIT_PREPARE;
}
