/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Emulator for instructions with a memory operand in MMIO. There is no stack of half-done work:
 * each call runs the instruction from its start, and memory accesses already made are answered from
 * a log.
 *
 *	st->phase	bytes of memory accesses completed, over all accesses of the instruction
 *			(of a REP: the iteration)
 *	st->tmp[k]	what the k-th access has read so far
 */
#include "hv/emul/emul.h"
#include "hv/emul/op.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

/* iterations of one run, over all its calls, so that interrupts get their turn */
#define REP_MAX 256

enum { VEC_UD = 6, VEC_SS = 12, VEC_GP = 13 };
enum access { READ, READ_FOR_WRITE, WRITE };

/* One pass over the instruction. */
struct pass {
	struct emul_state *st;
	struct emul_env *e;
	const struct insn *i;
	u32 passed; /* bytes of memory accesses this pass has gone through; <= st->phase */
	u32 accesses;
	enum kind kind;
	bool one_operand; /* in memory */
	bool answered;	  /* the MMIO request of the last call is answered but not yet in the log */
};

static enum emul_result fault(struct emul_env *e, u8 vector)
{
	e->fault = (__typeof__(e->fault)){.vector = vector};
	return EMUL_FAULT;
}

/* ---- registers ---- */

/* AH, CH, DH, BH */
static bool is_high_byte(const struct insn *i, u8 n, u32 size)
{
	return size == 1 && !i->rex && n >= 4;
}

static u64 reg_read(const struct pass *r, u8 n, u32 size)
{
	if (is_high_byte(r->i, n, size))
		return (r->e->gpr[n - 4] >> 8) & 0xff;
	return r->e->gpr[n] & size_mask(size);
}

static void reg_write(const struct pass *r, u8 n, u64 v, u32 size)
{
	u64 mask = size_mask(size), *gpr = r->e->gpr;

	if (is_high_byte(r->i, n, size)) {
		n -= 4;
		mask <<= 8;
		v <<= 8;
	}
	gpr[n] = (gpr[n] & ~mask) | (v & mask);
	if (size == 4)
		gpr[n] = (u32)v;
}

/* RSP, RSI, RDI, RCX as an address or a counter: AH and its like are not meant. */
static void reg_add(const struct pass *r, u8 n, s64 delta, u32 size)
{
	reg_write(r, n, r->e->gpr[n] + (u64)delta, size);
}

static enum emul_result finish(struct pass *r)
{
	u64 next = *r->e->rip + r->i->len;

	BUG_ON(r->passed != r->st->phase); /* an access has been left out */
	*r->e->rip = r->e->mode == EMUL_64 ? next : (u32)next;
	*r->e->rflags &= ~RFLAGS_RF;
	return EMUL_DONE;
}

/* ---- memory ---- */

static u64 effective_address(const struct pass *r)
{
	return emul_offset(r->i, r->e->gpr, *r->e->rip) & size_mask(r->i->addr_size);
}

static bool is_canonical(const struct emul_env *e, u64 linear)
{
	u32 unused = e->linear_bits == 57 ? 7 : 16;

	return (u64)((s64)(linear << unused) >> unused) == linear;
}

static enum emul_result to_linear(struct emul_env *e, u8 seg, u64 ea, u32 size, u64 *linear)
{
	bool ok;

	BUG_ON(seg > SEG_GS);
	if (e->mode != EMUL_64 || seg >= SEG_FS) {
		e->ops->segment(e, seg);
		*linear = e->seg_base[seg] + ea;
	} else {
		*linear = ea;
	}
	if (e->mode == EMUL_64) {
		ok = is_canonical(e, *linear) && is_canonical(e, *linear + size - 1);
	} else {
		*linear = (u32)*linear;
		ok = ea + size - 1 <= e->seg_limit[seg];
	}
	if (ok)
		return EMUL_DONE;
	return fault(e, seg == SEG_SS ? VEC_SS : VEC_GP);
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

/* One piece of an access, within a page. For MMIO the request is left in the state. */
static enum emul_result piece_access(struct pass *r, enum access type, u64 linear, u8 *bytes,
				     u32 len)
{
	struct emul_state *st = r->st;
	struct emul_env *e = r->e;
	int ret;

	st->mmio_len = 0;
	if (is_stopped_access(r, type, linear)) {
		st->mmio_gpa = e->stopped_gpa;
		ret = -EOPNOTSUPP;
	} else {
		e->rmw = type == READ_FOR_WRITE;
		if (type == WRITE)
			ret = e->ops->write(e, linear, bytes, len, &st->mmio_gpa);
		else
			ret = e->ops->read(e, linear, bytes, len, &st->mmio_gpa);
		e->rmw = false;
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

static enum emul_result mem_access(struct pass *r, enum access type, u8 seg, u64 ea, u32 size,
				   u64 *val)
{
	struct emul_state *st = r->st;
	u64 linear, *log = &st->tmp[r->accesses++];
	u8 *bytes = type == WRITE ? (u8 *)val : (u8 *)log;
	u32 done = MIN(st->phase - r->passed, size);
	enum emul_result res = to_linear(r->e, seg, ea, size, &linear);

	BUG_ON(r->accesses > ARRAY_SIZE(st->tmp));
	if (res != EMUL_DONE)
		return res;
	if (done == 0 && type != WRITE)
		*log = 0;
	while (done < size) {
		u64 at = r->e->mode == EMUL_64 ? linear + done : (u32)(linear + done);
		u32 len = MIN(size - done, PAGE_SIZE - at % PAGE_SIZE);

		if (r->answered) {
			len = MIN(st->mmio_len, len);
			if (type != WRITE)
				memcpy(bytes + done, &st->mmio_data, len);
			r->answered = false;
		} else {
			res = piece_access(r, type, at, bytes + done, len);
			if (res != EMUL_DONE)
				return res;
		}
		done += len;
		st->phase += len;
	}
	r->passed += size;
	if (type != WRITE)
		*val = *log;
	return EMUL_DONE;
}

/* May a string's element be written there? A port is not read for what could not be stored. */
static enum emul_result check_store(struct pass *r, u8 seg, u64 ea, u32 size)
{
	u64 linear, ignored;
	enum emul_result res = to_linear(r->e, seg, ea, size, &linear);

	BUG_ON(size > sizeof(ignored));
	r->st->mmio_len = 0; /* nothing is asked for yet */
	r->e->rmw = true;
	for (u32 done = 0, len; res == EMUL_DONE && done < size; done += len) {
		u64 at = r->e->mode == EMUL_64 ? linear + done : (u32)(linear + done), gpa;

		len = MIN(size - done, PAGE_SIZE - at % PAGE_SIZE);
		res = memory_result(r->e->ops->read(r->e, at, &ignored, len, &gpa));
	}
	r->e->rmw = false;
	return res;
}

static enum emul_result port_access(struct pass *r, bool in, u32 size, u64 *val)
{
	struct emul_state *st = r->st;
	u64 *log = &st->tmp[r->accesses++];

	BUG_ON(r->accesses > ARRAY_SIZE(st->tmp) || size > sizeof(st->mmio_data));
	if (st->phase == r->passed) {
		if (!r->answered) {
			st->mmio_len = size;
			st->mmio_data = in ? 0 : *val & size_mask(size);
			return in ? EMUL_IN : EMUL_OUT;
		}
		r->answered = false;
		*log = st->mmio_data & size_mask(size);
		st->phase += size;
	}
	r->passed += size;
	if (in)
		*val = *log;
	return EMUL_DONE;
}

/* ---- instructions with one memory operand ---- */

static enum emul_result run_operand(struct pass *r)
{
	const struct insn *i = r->i;
	u64 ea = effective_address(r), mem = 0, flags = *r->e->rflags,
	    reg = reg_read(r, i->reg, i->op_size), src = reg;
	bool reg_changes, writes = op_writes(i, r->kind);
	u8 target = i->reg;
	u32 size = op_mem_size(i, r->kind);
	enum emul_result res;

	r->one_operand = true;
	if (r->kind == K_CMPXCHG) {
		target = RAX;
		reg = reg_read(r, RAX, i->op_size);
	}
	if (i->imm_size)
		src = i->imm & size_mask(i->op_size);
	else if (r->kind == K_BT)
		ea = (ea + op_bit_displacement(i->op_size, src)) & size_mask(i->addr_size);
	if (r->kind != K_STORE) {
		res = mem_access(r, writes ? READ_FOR_WRITE : READ, i->seg, ea, size, &mem);
		if (res != EMUL_DONE)
			return res;
	}
	reg_changes = op_compute(i, r->kind, src, &mem, &reg, &flags);
	if (writes) {
		res = mem_access(r, WRITE, i->seg, ea, size, &mem);
		if (res != EMUL_DONE)
			return res;
	}
	if (reg_changes)
		reg_write(r, target, reg, i->op_size);
	*r->e->rflags = flags;
	return finish(r);
}

static enum emul_result run_stack(struct pass *r)
{
	const struct insn *i = r->i;
	u32 size = i->op_size, width = 8;
	u64 ea = effective_address(r), sp = r->e->gpr[RSP], val;
	bool push = r->kind == K_PUSH;
	s64 delta = push ? -(s64)size : size;
	enum emul_result res;

	if (r->e->mode != EMUL_64) {
		r->e->ops->segment(r->e, SEG_SS);
		width = r->e->stack32 ? 4 : 2;
	}
	if (push) {
		sp += delta;
	} else if (i->base == RSP) { /* POP addresses with RSP as it is afterwards */
		ea = (ea + size) & size_mask(i->addr_size);
	}
	sp &= size_mask(width);
	res = mem_access(r, READ, push ? i->seg : SEG_SS, push ? ea : sp, size, &val);
	if (res == EMUL_DONE)
		res = mem_access(r, WRITE, push ? SEG_SS : i->seg, push ? sp : ea, size, &val);
	if (res != EMUL_DONE)
		return res;
	reg_add(r, RSP, delta, width);
	return finish(r);
}

/* ---- string instructions ---- */

#define STR_SRC	  BIT(0) /* reads DS:RSI */
#define STR_DST	  BIT(1) /* reads ES:RDI */
#define STR_STORE BIT(2) /* writes ES:RDI */
#define STR_CMP	  BIT(3)
#define STR_IN	  BIT(4) /* reads a port */
#define STR_OUT	  BIT(5) /* writes a port */

/*
 * 6C to 6F and A4 to AF, a byte opcode and its neighbour as one; TEST, at A8, is no string
 * instruction.
 */
static u32 string_kind(const struct insn *i)
{
	static const u8 kinds[8] = {
	    [2] = STR_SRC | STR_STORE,	       /* MOVS */
	    [3] = STR_SRC | STR_DST | STR_CMP, /* CMPS */
	    [5] = STR_STORE,		       /* STOS */
	    [6] = STR_SRC,		       /* LODS */
	    [7] = STR_DST | STR_CMP,	       /* SCAS */
	};

	if (emul_is_string_io(i))
		return emul_is_ins(i) ? STR_IN | STR_STORE : STR_SRC | STR_OUT;
	if (i->map || i->vex || i->opcode >> 4 != 0xa)
		return 0;
	return kinds[i->opcode >> 1 & 7];
}

static enum emul_result string_step(struct pass *r, u32 kind)
{
	const struct insn *i = r->i;
	u32 size = i->op_size, width = i->addr_size;
	u64 from = r->e->gpr[RSI] & size_mask(width), to = r->e->gpr[RDI] & size_mask(width),
	    a = reg_read(r, RAX, size), b = 0;
	s64 step = *r->e->rflags & RFLAGS_DF ? -(s64)size : size;
	enum emul_result res = EMUL_DONE;

	if (kind & STR_IN && !r->st->phase && !r->answered)
		res = check_store(r, SEG_ES, to, size);
	if (res == EMUL_DONE && kind & STR_IN)
		res = port_access(r, true, size, &a);
	if (kind & STR_SRC)
		res = mem_access(r, READ, i->seg, from, size, &a);
	if (res == EMUL_DONE && kind & STR_DST)
		res = mem_access(r, READ, SEG_ES, to, size, &b);
	if (res == EMUL_DONE && kind & STR_STORE)
		res = mem_access(r, WRITE, SEG_ES, to, size, &a);
	if (res == EMUL_DONE && kind & STR_OUT)
		res = port_access(r, false, size, &a);
	if (res != EMUL_DONE)
		return res;

	if (kind == STR_SRC)
		reg_write(r, RAX, a, size);
	if (kind & STR_CMP)
		op_alu(ALU_CMP, a, b, size, r->e->rflags);
	if (kind & STR_SRC)
		reg_add(r, RSI, step, width);
	if (kind & (STR_DST | STR_STORE))
		reg_add(r, RDI, step, width);
	r->st->phase = r->passed = r->accesses = 0;
	return EMUL_DONE;
}

/* REPE goes on while ZF is set, REPNE while it is clear. */
static bool string_ends(const struct pass *r, u32 kind)
{
	bool equal = *r->e->rflags & FL_ZF;

	return !r->i->rep || (kind & STR_CMP && equal != (r->i->rep == 0xf3));
}

static enum emul_result run_string(struct pass *r, u32 kind)
{
	const struct insn *i = r->i;
	enum emul_result res;

	for (; r->st->iterations < REP_MAX; r->st->iterations++) {
		/* An iteration that has begun is done, though the VMM may meanwhile have set 0. */
		bool begun = r->st->phase || r->answered;
		u64 left = r->e->gpr[RCX] & size_mask(i->addr_size);

		if (i->rep && !left && !begun)
			return finish(r);
		res = string_step(r, kind);
		if (res != EMUL_DONE)
			return res;
		if (i->rep && left)
			reg_add(r, RCX, -1, i->addr_size);
		if (string_ends(r, kind))
			return finish(r);
	}
	return EMUL_DONE;
}

int emul_string_span(struct emul_env *e, const struct insn *i, u64 *linear)
{
	u64 mask = size_mask(i->addr_size), left = 1, fit = 1, ea, unused;
	u8 seg = SEG_ES;

	BUG_ON(!emul_is_string_io(i));
	if (i->rep)
		left = e->gpr[RCX] & mask;
	if (!left)
		return 0;
	ea = e->gpr[RDI] & mask;
	if (!emul_is_ins(i)) {
		ea = e->gpr[RSI] & mask;
		seg = i->seg;
	}
	if (to_linear(e, seg, ea, i->op_size, linear) != EMUL_DONE)
		return -EFAULT;
	if (i->rep && !(*e->rflags & RFLAGS_DF))
		fit = MIN(left, (PAGE_SIZE - *linear % PAGE_SIZE) / i->op_size);
	if (!fit || ea + fit * i->op_size - 1 > mask ||
	    to_linear(e, seg, ea, fit * i->op_size, &unused) != EMUL_DONE)
		return 1;
	return fit;
}

/* ---- entry ---- */

static enum emul_result run_pass(struct emul_state *st, struct emul_env *e, bool answered)
{
	const struct insn *i = &st->insn;
	enum kind kind = op_classify(i, e->mode);
	struct pass r = {.st = st, .e = e, .i = i, .answered = answered, .kind = kind};
	u32 string = string_kind(i);
	enum emul_result res;

	if ((kind == K_NONE && !string) || (string & (STR_IN | STR_OUT) && !e->port))
		res = EMUL_UNSUPPORTED;
	else if (i->lock && (string || kind >= K_PUSH || kind == K_STORE || !op_writes(i, kind)))
		res = fault(e, VEC_UD);
	else if (string)
		res = run_string(&r, string);
	else if (kind >= K_PUSH)
		res = run_stack(&r);
	else
		res = run_operand(&r);
	e->stopped = EMUL_STOPPED_NOT; /* what comes later is another access */
	st->active = res != EMUL_DONE && res != EMUL_FAULT && res != EMUL_UNSUPPORTED;
	return res;
}

enum emul_result emul_start(struct emul_state *st, struct emul_env *e, const struct insn *i)
{
	BUG_ON(!i->len);
	st->phase = st->iterations = st->mmio_len = 0;
	st->active = false;
	st->insn = *i;
	return run_pass(st, e, false);
}

enum emul_result emul_continue(struct emul_state *st, struct emul_env *e)
{
	return st->active ? run_pass(st, e, st->mmio_len != 0) : EMUL_UNSUPPORTED;
}

bool emul_is_plain_store(const struct insn *i, enum emul_mode mode)
{
	return mode == EMUL_64 && op_classify(i, mode) == K_STORE && !op_is_movbe(i) &&
	       i->seg < SEG_FS && !i->lock && !is_high_byte(i, i->reg, i->op_size);
}
