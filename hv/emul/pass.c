/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/pass.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

enum emul_result pass_fault_at(struct emul_env *e, u8 vector, u16 sel)
{
	e->fault = (struct emul_fault){.vector = vector, .error = sel & ~3u};
	return EMUL_FAULT;
}

enum emul_result pass_fault(struct emul_env *e, u8 vector)
{
	return pass_fault_at(e, vector, 0);
}

/* ---- registers ---- */

/* AH, CH, DH, BH */
static bool is_high_byte(const struct insn *i, u8 n, u32 size)
{
	return size == 1 && !i->rex && n >= 4;
}

u64 pass_reg(const struct pass *r, u8 n, u32 size)
{
	BUG_ON(n > R15);
	if (is_high_byte(r->i, n, size))
		return (r->e->gpr[n - 4] >> 8) & 0xff;
	return r->e->gpr[n] & size_mask(size);
}

void pass_set_reg(const struct pass *r, u8 n, u64 v, u32 size)
{
	u64 mask = size_mask(size), *gpr = r->e->gpr;

	BUG_ON(n > R15);
	if (is_high_byte(r->i, n, size)) {
		n -= 4;
		mask <<= 8;
		v <<= 8;
	}
	gpr[n] = (gpr[n] & ~mask) | (v & mask);
	if (size == 4)
		gpr[n] = (u32)v;
}

void pass_add_reg(const struct pass *r, u8 n, s64 delta, u32 size)
{
	pass_set_reg(r, n, r->e->gpr[n] + (u64)delta, size);
}

enum emul_result pass_finish_at(struct pass *r, u64 rip)
{
	if (r->passed != r->st->phase) /* the VMM has set another mode since the last access */
		return EMUL_UNSUPPORTED;
	*r->e->rip = r->e->mode == EMUL_64 ? rip : (u32)rip;
	*r->e->rflags &= ~RFLAGS_RF;
	return EMUL_DONE;
}

enum emul_result pass_finish(struct pass *r)
{
	return pass_finish_at(r, *r->e->rip + r->i->len);
}

/* ---- memory ---- */

u64 pass_address(const struct pass *r)
{
	return emul_offset(r->i, r->e->gpr, *r->e->rip) & size_mask(r->i->addr_size);
}

bool pass_is_canonical(const struct emul_env *e, u64 linear)
{
	u32 unused = e->linear_bits == 57 ? 7 : 16;

	return (u64)((s64)(linear << unused) >> unused) == linear;
}

enum emul_result pass_linear(struct emul_env *e, enum access type, u8 seg, u64 ea, u32 size,
			     u64 *linear)
{
	bool ok;

	BUG_ON(seg > SEG_GS && seg != SEG_SYSTEM);
	*linear = ea;
	if (seg == SEG_SYSTEM)
		return EMUL_DONE;
	if (e->mode != EMUL_64 || seg >= SEG_FS) {
		e->ops->segment(e, seg);
		*linear = e->seg_base[seg] + ea;
	}
	if (e->mode == EMUL_64) {
		ok = pass_is_canonical(e, *linear) && pass_is_canonical(e, *linear + size - 1);
	} else {
		*linear = (u32)*linear;
		ok = !(e->seg_denies[seg] & BIT(type)) && ea >= e->seg_first[seg] &&
		     ea + size - 1 <= e->seg_limit[seg];
	}
	if (ok)
		return EMUL_DONE;
	if (seg == SEG_SS)
		return pass_fault(e, VEC_SS);
	return pass_fault(e, VEC_GP);
}

/* The processor has translated this very address, for an access that needed as much. */
static bool is_stopped_access(const struct pass *r, enum access type, u64 linear)
{
	const struct emul_env *e = r->e;

	return e->stopped != EMUL_STOPPED_NOT && r->one_operand &&
	       !((linear ^ e->stopped_gpa) & ~PAGE_MASK) &&
	       (type == READ || e->stopped == EMUL_STOPPED_WRITE);
}

/* What the callbacks say of a piece of memory; MMIO has yet to be asked. */
static enum emul_result memory_result(int ret)
{
	switch (ret) {
	case 0:
	case -EOPNOTSUPP:
		return EMUL_DONE;
	case -EFAULT:
		return EMUL_FAULT;
	case -EAGAIN:
		return EMUL_RETRY;
	default:
		return EMUL_UNSUPPORTED;
	}
}

/*
 * One piece of an access, offset bytes behind its start, at most *size, which becomes what lies
 * within a page. For MMIO the request is left in the state.
 */
static enum emul_result piece_access(struct pass *r, enum access type, u64 start, u32 offset,
				     u8 *bytes, u32 *size)
{
	struct emul_state *st = r->st;
	struct emul_env *e = r->e;
	u64 linear = start + offset;
	u32 len = MIN(*size, PAGE_SIZE - linear % PAGE_SIZE);
	int ret;

	if (e->mode != EMUL_64 && !r->system)
		linear = (u32)linear;
	len = MIN(len, sizeof(st->mmio_data));
	*size = len;
	st->mmio_len = 0;
	if (is_stopped_access(r, type, linear)) {
		st->mmio_gpa = e->stopped_gpa;
		ret = -EOPNOTSUPP;
	} else {
		e->rmw = type == READ_FOR_WRITE;
		e->as_system = r->system;
		if (type == WRITE)
			ret = e->ops->write(e, linear, bytes, len, &st->mmio_gpa);
		else
			ret = e->ops->read(e, linear, bytes, len, &st->mmio_gpa);
		e->rmw = e->as_system = false;
	}
	if (ret != -EOPNOTSUPP)
		return memory_result(ret);
	st->mmio_len = len;
	st->mmio_data = 0;
	if (type != WRITE)
		return EMUL_MMIO_READ;
	memcpy(&st->mmio_data, bytes, len);
	return EMUL_MMIO_WRITE;
}

enum emul_result pass_memory(struct pass *r, enum access type, u8 seg, u64 ea, u32 size, void *val)
{
	struct emul_state *st = r->st;
	u8 *log = st->log + r->passed, *bytes = type == WRITE ? val : log;
	u32 done = MIN(st->phase - r->passed, size);

	BUG_ON(r->passed + size > sizeof(st->log));
	r->system = seg == SEG_SYSTEM;
	while (done < size) {
		u32 len = size - done;

		if (r->answered) {
			len = MIN(st->mmio_len, len);
			if (type != WRITE)
				memcpy(bytes + done, &st->mmio_data, len);
			r->answered = false;
		} else {
			u64 linear;
			enum emul_result res = pass_linear(r->e, type, seg, ea, size, &linear);
			u32 rest = PAGE_SIZE - linear % PAGE_SIZE; /* of the page */

			/* no half of it is done if the other faults */
			if (res == EMUL_DONE && !done && unlikely(rest < size) && !r->system)
				res = pass_check(r, type, seg, ea + rest, 1);
			if (res == EMUL_DONE)
				res = piece_access(r, type, linear, done, bytes + done, &len);
			if (res != EMUL_DONE)
				return res;
		}
		done += len;
		st->phase += len;
	}
	r->passed += size;
	if (type != WRITE)
		memcpy(val, log, size);
	return EMUL_DONE;
}

enum emul_result pass_check(struct pass *r, enum access type, u8 seg, u64 ea, u32 size)
{
	u64 linear, ignored;
	enum emul_result res = pass_linear(r->e, type, seg, ea, size, &linear);

	BUG_ON(size > sizeof(ignored));
	r->st->mmio_len = 0; /* nothing is asked for yet */
	r->e->rmw = type != READ;
	for (u32 done = 0, len; res == EMUL_DONE && done < size; done += len) {
		u64 at = r->e->mode == EMUL_64 ? linear + done : (u32)(linear + done), gpa;

		len = MIN(size - done, PAGE_SIZE - at % PAGE_SIZE);
		res = memory_result(r->e->ops->read(r->e, at, &ignored, len, &gpa));
	}
	r->e->rmw = false;
	return res;
}

enum emul_result pass_port(struct pass *r, bool in, u32 size, u64 *val)
{
	struct emul_state *st = r->st;
	u8 *log = st->log + r->passed;

	BUG_ON(r->passed + size > sizeof(st->log) || size > sizeof(*val));
	if (st->phase == r->passed) {
		if (!r->answered) {
			st->mmio_len = size;
			st->mmio_data = in ? 0 : *val & size_mask(size);
			return in ? EMUL_IN : EMUL_OUT;
		}
		r->answered = false;
		memcpy(log, &st->mmio_data, size);
		st->phase += size;
	}
	r->passed += size;
	if (in)
		memcpy(val, log, size);
	return EMUL_DONE;
}
