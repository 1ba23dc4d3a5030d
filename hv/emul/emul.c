/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Emulator for instructions with a memory operand in MMIO. There is no stack of half-done work:
 *each call runs the instruction from its start, and memory accesses already made are answered from
 *a log.
 *
 *	st->phase   bytes of memory accesses completed, over all accesses of the instruction (of a
 *REP: the iteration) st->tmp[k]  what the k-th access has read so far
 */
#include "hv/emul/emul.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

#define FL_CF	 BIT(0)
#define FL_PF	 BIT(2)
#define FL_AF	 BIT(4)
#define FL_ZF	 BIT(6)
#define FL_SF	 BIT(7)
#define FL_DF	 BIT(10)
#define FL_OF	 BIT(11)
#define FL_RF	 BIT(16)
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

/* iterations of one run, over all its calls, so that interrupts get their turn */
#define REP_MAX 256

enum { VEC_UD = 6, VEC_SS = 12, VEC_GP = 13 };
enum access { READ, READ_FOR_WRITE, WRITE };

/* One pass over the instruction. */
struct run {
	struct emul_state *st;
	struct emul_env *e;
	const struct insn *i;
	u32 passed; /* bytes of memory accesses this pass has gone through; <= st->phase */
	u32 accesses;
	bool one_operand; /* in memory */
	bool answered;	  /* the MMIO request of the last call is answered but not yet in the log */
};

static u64 size_mask(u32 size)
{
	return size >= 8 ? ~0ull : (1ull << (8 * size)) - 1;
}

static u64 sign_extend(u64 v, u32 size)
{
	u64 sign = 1ull << (8 * size - 1);

	return ((v & size_mask(size)) ^ sign) - sign;
}

static enum emul_result fault(struct emul_env *e, u8 vector)
{
	e->fault.vector = vector;
	e->fault.error = 0;
	e->fault.cr2 = 0;
	return EMUL_FAULT;
}

/* ---- registers ---- */

static u64 reg_read(const struct run *r, u8 n, u32 size)
{
	if (size == 1 && !r->i->rex && n >= 4)
		return (r->e->gpr[n - 4] >> 8) & 0xff; /* AH, CH, DH, BH */
	return r->e->gpr[n] & size_mask(size);
}

static void reg_write(const struct run *r, u8 n, u64 v, u32 size)
{
	u64 mask = size_mask(size), *gpr = r->e->gpr;

	if (size == 1 && !r->i->rex && n >= 4)
		gpr[n - 4] = (gpr[n - 4] & ~0xff00ull) | (v & 0xff) << 8;
	else if (size == 4)
		gpr[n] = (u32)v;
	else
		gpr[n] = (gpr[n] & ~mask) | (v & mask);
}

/* RSP, RSI, RDI, RCX as an address or a counter: AH and its like are not meant. */
static void reg_add(const struct run *r, u8 n, s64 delta, u32 size)
{
	reg_write(r, n, r->e->gpr[n] + (u64)delta, size);
}

static enum emul_result finish(struct run *r)
{
	u64 next = *r->e->rip + r->i->len;

	*r->e->rip = r->e->mode == EMUL_64 ? next : (u32)next;
	*r->e->rflags &= ~FL_RF;
	return EMUL_DONE;
}

/* ---- memory ---- */

static u64 effective_address(const struct run *r)
{
	const struct insn *i = r->i;
	u64 ea = (u64)i->disp;

	if (i->base >= 0)
		ea += r->e->gpr[i->base];
	if (i->index >= 0)
		ea += r->e->gpr[i->index] * i->scale;
	if (i->rip_relative)
		ea += *r->e->rip + i->len;
	return ea & size_mask(i->addr_size);
}

static bool is_canonical(const struct emul_env *e, u64 linear)
{
	u32 unused = 64 - (e->linear_bits == 57 ? 57 : 48);

	return (u64)((s64)(linear << unused) >> unused) == linear;
}

static void load_segment(struct emul_env *e, u8 seg)
{
	if (e->ops->segment)
		e->ops->segment(e, seg);
}

static enum emul_result to_linear(struct emul_env *e, u8 seg, u64 ea, u32 size, u64 *linear)
{
	u8 vector = seg == SEG_SS ? VEC_SS : VEC_GP;

	if (e->mode != EMUL_64 || seg >= SEG_FS)
		load_segment(e, seg);
	if (e->mode == EMUL_64) {
		*linear = ea + (seg >= SEG_FS ? e->seg_base[seg] : 0);
		return is_canonical(e, *linear) && is_canonical(e, *linear + size - 1)
			   ? EMUL_DONE
			   : fault(e, vector);
	}
	*linear = (u32)(e->seg_base[seg] + ea);
	return ea + size - 1 <= e->seg_limit[seg] ? EMUL_DONE : fault(e, vector);
}

/* The processor has translated this very address, for an access that needed as much. */
static bool is_stopped_access(const struct run *r, enum access type, u64 linear)
{
	const struct emul_env *e = r->e;

	return e->stopped != EMUL_STOPPED_NOT && r->one_operand &&
	       !((linear ^ e->stopped_gpa) & ~PAGE_MASK) &&
	       (type == READ || e->stopped == EMUL_STOPPED_WRITE);
}

/* One piece of an access, within a page. For MMIO the request is left in the state. */
static enum emul_result piece_access(struct run *r, enum access type, u64 linear, u8 *bytes,
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
		ret = type == WRITE ? e->ops->write(e, linear, bytes, len, &st->mmio_gpa)
				    : e->ops->read(e, linear, bytes, len, &st->mmio_gpa);
		e->rmw = false;
	}
	switch (ret) {
	case 0:
		return EMUL_DONE;
	case -EFAULT:
		return EMUL_FAULT;
	case -EAGAIN:
		return EMUL_RETRY;
	case -EOPNOTSUPP:
		st->mmio_len = len;
		st->mmio_data = 0;
		if (type != WRITE)
			return EMUL_MMIO_READ;
		memcpy(&st->mmio_data, bytes, len);
		return EMUL_MMIO_WRITE;
	default:
		return EMUL_UNSUPPORTED;
	}
}

static enum emul_result mem_access(struct run *r, enum access type, u8 seg, u64 ea, u32 size,
				   u64 *val)
{
	struct emul_state *st = r->st;
	u64 linear, *log = &st->tmp[r->accesses++];
	u8 *bytes = type == WRITE ? (u8 *)val : (u8 *)log;
	u32 done = MIN(st->phase - r->passed, size);
	enum emul_result res = to_linear(r->e, seg, ea, size, &linear);

	if (res != EMUL_DONE)
		return res;
	if (done == 0 && type != WRITE)
		*log = 0;
	while (done < size) {
		u64 at = r->e->mode == EMUL_64 ? linear + done : (u32)(linear + done);
		u32 len = MIN(size - done, PAGE_SIZE - (at & ~PAGE_MASK));

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

/* ---- arithmetic ---- */

/* as in opcodes and ModRM.reg */
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/* carries: bit n = carry (borrow) out of bit n. overflow: its top bit is OF. */
static u64 arith_flags(u64 result, u64 carries, u64 overflow, u32 size)
{
	u64 top = 1ull << (8 * size - 1);
	u32 nibble = (result ^ result >> 4) & 15;

	return (carries & top ? FL_CF : 0) | (carries & 8 ? FL_AF : 0) |
	       (overflow & top ? FL_OF : 0) | (result & top ? FL_SF : 0) |
	       (result & size_mask(size) ? 0 : FL_ZF) | (0x6996 >> nibble & 1 ? 0 : FL_PF);
}

/*
 * a op b; *flags gives CF in and takes the arithmetic flags. AF, undefined after AND, OR, XOR,
 * becomes 0.
 */
static u64 alu(u32 op, u64 a, u64 b, u32 size, u64 *flags)
{
	u64 carry = (op == ALU_ADC || op == ALU_SBB) && *flags & FL_CF, res, carries = 0,
	    overflow = 0;

	switch (op) {
	case ALU_ADD:
	case ALU_ADC:
		res = a + b + carry;
		carries = (a & b) | ((a | b) & ~res);
		overflow = (a ^ res) & (b ^ res);
		break;
	case ALU_SUB:
	case ALU_SBB:
	case ALU_CMP:
		res = a - b - carry;
		carries = (~a & b) | ((~a | b) & res);
		overflow = (a ^ b) & (a ^ res);
		break;
	case ALU_OR:
		res = a | b;
		break;
	case ALU_AND:
		res = a & b;
		break;
	default:
		res = a ^ b;
		break;
	}
	*flags = (*flags & ~FL_ARITH) | arith_flags(res, carries, overflow, size);
	return res;
}

/* ---- instructions with one memory operand ---- */

enum kind {
	K_NONE,
	K_LOAD,
	K_STORE,
	K_ALU,
	K_TEST,
	K_XCHG,
	K_XADD,
	K_CMPXCHG,
	K_INC,
	K_DEC,
	K_NOT,
	K_NEG,
	K_BT,
	K_PUSH,
	K_POP,
};

struct op {
	enum kind kind;
	u8 mem_size;
	u8 sub;	     /* K_ALU: the operation; K_BT: 0 test, 1 set, 2 reset, 3 complement */
	u8 reg;	     /* the register operand */
	bool imm;    /* the source is the immediate */
	bool to_reg; /* K_ALU: the register is the destination */
	bool sign;   /* K_LOAD */
	bool swap;   /* K_LOAD, K_STORE: MOVBE */
};

static void classify_group(const struct insn *i, struct op *o)
{
	static const u8 unary[8] = {K_TEST, K_TEST, K_NOT, K_NEG};
	u8 ext = (i->modrm >> 3) & 7;

	switch (i->opcode) {
	case 0x80:
	case 0x81:
	case 0x82:
	case 0x83:
		o->kind = K_ALU;
		o->sub = ext;
		o->imm = true;
		break;
	case 0x8f:
		o->kind = ext == 0 ? K_POP : K_NONE;
		break;
	case 0xc6:
	case 0xc7:
		o->kind = ext == 0 ? K_STORE : K_NONE;
		o->imm = true;
		break;
	case 0xf6:
	case 0xf7:
		o->kind = unary[ext];
		o->imm = true;
		break;
	case 0xfe:
	case 0xff:
		o->kind = ext == 0			  ? K_INC
			  : ext == 1			  ? K_DEC
			  : ext == 6 && i->opcode == 0xff ? K_PUSH
							  : K_NONE;
		break;
	}
}

static void classify_one_byte(const struct insn *i, enum emul_mode mode, struct op *o)
{
	switch (i->opcode) {
	case 0x00 ... 0x3f:
		o->kind = K_ALU;
		o->sub = i->opcode >> 3;
		o->to_reg = i->opcode & 2;
		break;
	case 0x63:
		o->kind = mode == EMUL_64 ? K_LOAD : K_NONE;
		o->mem_size = MIN(i->op_size, 4);
		o->sign = true;
		break;
	case 0x84:
	case 0x85:
		o->kind = K_TEST;
		break;
	case 0x86:
	case 0x87:
		o->kind = K_XCHG;
		break;
	case 0x88:
	case 0x89:
		o->kind = K_STORE;
		break;
	case 0x8a:
	case 0x8b:
		o->kind = K_LOAD;
		break;
	case 0xa0:
	case 0xa1:
		o->kind = K_LOAD;
		o->reg = RAX;
		break;
	case 0xa2:
	case 0xa3:
		o->kind = K_STORE;
		o->reg = RAX;
		break;
	default:
		classify_group(i, o);
	}
}

static void classify_two_byte(const struct insn *i, struct op *o)
{
	switch (i->opcode) {
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		o->kind = K_BT;
		o->sub = (i->opcode >> 3) & 3;
		break;
	case 0xba:
		o->kind = i->modrm & 0x20 ? K_BT : K_NONE;
		o->sub = (i->modrm >> 3) & 3;
		o->imm = true;
		break;
	case 0xb0:
	case 0xb1:
		o->kind = K_CMPXCHG;
		break;
	case 0xb6:
	case 0xb7:
	case 0xbe:
	case 0xbf:
		o->kind = K_LOAD;
		o->mem_size = 1 + (i->opcode & 1);
		o->sign = i->opcode & 8;
		break;
	case 0xc0:
	case 0xc1:
		o->kind = K_XADD;
		break;
	case 0xc3: /* MOVNTI */
		o->kind = i->op_size >= 4 && !i->rep ? K_STORE : K_NONE;
		break;
	}
}

/* Which of the kinds this is; K_NONE: not supported. */
static void classify(const struct insn *i, enum emul_mode mode, struct op *o)
{
	*o = (struct op){.mem_size = i->op_size, .reg = i->reg};
	if (!i->has_mem || i->vex)
		return;
	if (i->map == 0)
		classify_one_byte(i, mode, o);
	else if (i->map == 1)
		classify_two_byte(i, o);
	else if (i->map == 2 && (i->opcode & 0xfe) == 0xf0 && !i->rep) {
		o->kind = i->opcode & 1 ? K_STORE : K_LOAD;
		o->swap = true;
	}
}

static bool op_reads(const struct op *o)
{
	return o->kind != K_STORE;
}

static bool op_writes(const struct op *o)
{
	switch (o->kind) {
	case K_LOAD:
	case K_TEST:
		return false;
	case K_ALU:
		return !o->to_reg && o->sub != ALU_CMP;
	case K_BT:
		return o->sub != 0;
	default:
		return true;
	}
}

static u64 byte_swap(u64 v, u32 size)
{
	return __builtin_bswap64(v) >> (64 - 8 * size);
}

/* BT and its family with a register: the bit string reaches in both directions from the operand. */
static u64 bit_displacement(const struct op *o, u64 src)
{
	s64 bits = (s64)sign_extend(src, o->mem_size);

	return (u64)((bits >> (o->mem_size == 8 ? 6 : o->mem_size == 4 ? 5 : 4)) * o->mem_size);
}

/*
 * What the instruction makes of its operands: *mem and *reg, the values of memory and register
 * before, become those after. Returns whether the register changes.
 */
static bool compute(const struct op *o, u32 size, u64 src, u64 acc, u64 *mem, u64 *reg, u64 *flags)
{
	u64 old = *mem, cf = *flags & FL_CF, bit;

	switch (o->kind) {
	case K_LOAD:
		*reg = o->sign	 ? sign_extend(old, o->mem_size)
		       : o->swap ? byte_swap(old, size)
				 : old;
		return true;
	case K_STORE:
		*mem = o->swap ? byte_swap(src, size) : src;
		return false;
	case K_ALU:
		if (o->to_reg) {
			*reg = alu(o->sub, src, old, size, flags);
			return o->sub != ALU_CMP;
		}
		*mem = alu(o->sub, old, src, size, flags);
		return false;
	case K_TEST:
		alu(ALU_AND, old, src, size, flags);
		return false;
	case K_XCHG:
		*mem = src;
		*reg = old;
		return true;
	case K_XADD:
		*mem = alu(ALU_ADD, old, src, size, flags);
		*reg = old;
		return true;
	case K_CMPXCHG: /* memory is written in either case */
		alu(ALU_CMP, acc, old, size, flags);
		if (*flags & FL_ZF)
			*mem = src;
		*reg = old;
		return !(*flags & FL_ZF);
	case K_INC:
	case K_DEC:
		*mem = alu(o->kind == K_INC ? ALU_ADD : ALU_SUB, old, 1, size, flags);
		*flags = (*flags & ~FL_CF) | cf;
		return false;
	case K_NOT:
		*mem = ~old;
		return false;
	case K_NEG:
		*mem = alu(ALU_SUB, 0, old, size, flags);
		return false;
	case K_BT:
		bit = 1ull << (src & (8 * size - 1));
		*flags = (*flags & ~FL_CF) | (old & bit ? FL_CF : 0);
		*mem = o->sub == 0   ? old
		       : o->sub == 1 ? old | bit
		       : o->sub == 2 ? old & ~bit
				     : old ^ bit;
		return false;
	default:
		return false;
	}
}

static enum emul_result run_operand(struct run *r, const struct op *o)
{
	const struct insn *i = r->i;
	u64 ea = effective_address(r), mem = 0, flags = *r->e->rflags,
	    acc = reg_read(r, RAX, i->op_size), reg, src;
	bool reg_changes, writes = op_writes(o);
	enum emul_result res;

	r->one_operand = true;
	reg = reg_read(r, o->reg, i->op_size);
	src = o->imm ? i->imm & size_mask(i->op_size) : reg;
	if (o->kind == K_BT && !o->imm)
		ea = (ea + bit_displacement(o, src)) & size_mask(i->addr_size);
	if (op_reads(o)) {
		res = mem_access(r, writes ? READ_FOR_WRITE : READ, i->seg, ea, o->mem_size, &mem);
		if (res != EMUL_DONE)
			return res;
	}
	reg_changes = compute(o, i->op_size, src, acc, &mem, &reg, &flags);
	if (writes) {
		res = mem_access(r, WRITE, i->seg, ea, o->mem_size, &mem);
		if (res != EMUL_DONE)
			return res;
	}
	if (reg_changes)
		reg_write(r, o->kind == K_CMPXCHG ? RAX : o->reg, reg, i->op_size);
	*r->e->rflags = flags;
	return finish(r);
}

static enum emul_result run_stack(struct run *r, bool push)
{
	const struct insn *i = r->i;
	u32 size = i->op_size, width = 8;
	u64 ea = effective_address(r), sp = r->e->gpr[RSP], val;
	enum emul_result res;

	if (r->e->mode != EMUL_64) {
		load_segment(r->e, SEG_SS);
		width = r->e->stack32 ? 4 : 2;
	}
	if (push) {
		res = mem_access(r, READ, i->seg, ea, size, &val);
		if (res == EMUL_DONE)
			res = mem_access(r, WRITE, SEG_SS, (sp - size) & size_mask(width), size,
					 &val);
	} else {
		if (i->base == RSP) /* POP addresses with RSP as it is afterwards */
			ea = (ea + size) & size_mask(i->addr_size);
		res = mem_access(r, READ, SEG_SS, sp & size_mask(width), size, &val);
		if (res == EMUL_DONE)
			res = mem_access(r, WRITE, i->seg, ea, size, &val);
	}
	if (res != EMUL_DONE)
		return res;
	reg_add(r, RSP, push ? -(s64)size : (s64)size, width);
	return finish(r);
}

/* ---- string instructions ---- */

#define STR_SRC	  BIT(0) /* reads DS:RSI */
#define STR_DST	  BIT(1) /* reads ES:RDI */
#define STR_STORE BIT(2) /* writes ES:RDI */
#define STR_CMP	  BIT(3)

static u32 string_kind(const struct insn *i)
{
	if (i->map || i->vex)
		return 0;
	switch (i->opcode & 0xfe) {
	case 0xa4:
		return STR_SRC | STR_STORE;
	case 0xa6:
		return STR_SRC | STR_DST | STR_CMP;
	case 0xaa:
		return STR_STORE;
	case 0xac:
		return STR_SRC;
	case 0xae:
		return STR_DST | STR_CMP;
	default:
		return 0;
	}
}

static enum emul_result string_step(struct run *r, u32 kind)
{
	const struct insn *i = r->i;
	u32 size = i->op_size, width = i->addr_size;
	u64 *gpr = r->e->gpr, a = reg_read(r, RAX, size), b = 0;
	s64 step = *r->e->rflags & FL_DF ? -(s64)size : (s64)size;
	enum emul_result res = EMUL_DONE;

	if (kind & STR_SRC)
		res = mem_access(r, READ, i->seg, gpr[RSI] & size_mask(width), size, &a);
	if (res == EMUL_DONE && kind & STR_DST)
		res = mem_access(r, READ, SEG_ES, gpr[RDI] & size_mask(width), size, &b);
	if (res == EMUL_DONE && kind & STR_STORE)
		res = mem_access(r, WRITE, SEG_ES, gpr[RDI] & size_mask(width), size, &a);
	if (res != EMUL_DONE)
		return res;

	if (kind == STR_SRC)
		reg_write(r, RAX, a, size);
	if (kind & STR_CMP)
		alu(ALU_CMP, a, b, size, r->e->rflags);
	if (kind & STR_SRC)
		reg_add(r, RSI, step, width);
	if (kind & (STR_DST | STR_STORE))
		reg_add(r, RDI, step, width);
	r->st->phase = r->passed = r->accesses = 0;
	return EMUL_DONE;
}

static enum emul_result run_string(struct run *r, u32 kind)
{
	const struct insn *i = r->i;
	u64 count_mask = size_mask(i->addr_size);
	enum emul_result res;

	for (; r->st->iterations < REP_MAX; r->st->iterations++) {
		if (i->rep && !(r->e->gpr[RCX] & count_mask))
			return finish(r);
		res = string_step(r, kind);
		if (res != EMUL_DONE)
			return res;
		if (!i->rep)
			return finish(r);
		reg_add(r, RCX, -1, i->addr_size);
		if (kind & STR_CMP && !(*r->e->rflags & FL_ZF) == (i->rep == 0xf3))
			return finish(r);
	}
	return EMUL_DONE;
}

/* ---- entry ---- */

static enum emul_result run(struct emul_state *st, struct emul_env *e, bool answered)
{
	struct run r = {.st = st, .e = e, .i = &st->insn, .answered = answered};
	u32 string = string_kind(r.i);
	enum emul_result res;
	struct op o;

	classify(r.i, e->mode, &o);
	if (o.kind == K_NONE && !string)
		res = EMUL_UNSUPPORTED;
	else if (r.i->lock && (string || o.kind >= K_PUSH || !op_reads(&o) || !op_writes(&o)))
		res = fault(e, VEC_UD);
	else if (string)
		res = run_string(&r, string);
	else if (o.kind == K_PUSH || o.kind == K_POP)
		res = run_stack(&r, o.kind == K_PUSH);
	else
		res = run_operand(&r, &o);
	e->stopped = EMUL_STOPPED_NOT; /* what comes later is another access */
	st->active = res == EMUL_MMIO_READ || res == EMUL_MMIO_WRITE || res == EMUL_RETRY;
	return res;
}

enum emul_result emul_start(struct emul_state *st, struct emul_env *e, const struct insn *i)
{
	st->phase = st->iterations = st->mmio_len = 0;
	st->active = false;
	st->insn = *i;
	return run(st, e, false);
}

enum emul_result emul_continue(struct emul_state *st, struct emul_env *e)
{
	return st->active ? run(st, e, st->mmio_len != 0) : EMUL_UNSUPPORTED;
}

bool emul_is_plain_store(const struct insn *i, enum emul_mode mode)
{
	struct op o;

	classify(i, mode, &o);
	return o.kind == K_STORE && !o.swap && mode == EMUL_64 && i->seg < SEG_FS && !i->lock &&
	       (i->op_size > 1 || i->rex || o.reg < 4);
}
