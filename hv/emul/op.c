/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/op.h"
#include "hv/lib/log.h"
#include "hv/lib/x86.h"

static u64 sign_extend(u64 v, u32 size)
{
	u64 sign = BIT(8 * size - 1);

	return ((v & size_mask(size)) ^ sign) - sign;
}

/* carries: bit n = carry (borrow) out of bit n. overflow: its top bit is OF. */
static u64 arith_flags(u64 result, u64 carries, u64 overflow, u32 size)
{
	u64 top = BIT(8 * size - 1), flags = 0;

	if (carries & top)
		flags |= RFLAGS_CF;
	if (carries & BIT(3))
		flags |= RFLAGS_AF;
	if (overflow & top)
		flags |= RFLAGS_OF;
	if (result & top)
		flags |= RFLAGS_SF;
	if (!(result & size_mask(size)))
		flags |= RFLAGS_ZF;
	if (!__builtin_parityll(result & 0xff))
		flags |= RFLAGS_PF;
	return flags;
}

u64 op_alu(u32 op, u64 a, u64 b, u32 size, u64 *flags)
{
	u64 carry = 0, res, carries = 0, overflow = 0;

	if (op == ALU_ADC || op == ALU_SBB)
		carry = *flags & RFLAGS_CF;
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
	*flags = (*flags & ~RFLAGS_ARITH) | arith_flags(res, carries, overflow, size);
	return res;
}

/* ---- which instruction is what ---- */

#define GROUP(n)   (K_GROUP + (n))
#define ALU_ROW(n) [(n)...(n) + 3] = K_ALU

/* clang-format off */
static const u8 one_byte[256] = {
	ALU_ROW(0x00), ALU_ROW(0x08), ALU_ROW(0x10), ALU_ROW(0x18),
	ALU_ROW(0x20), ALU_ROW(0x28), ALU_ROW(0x30), ALU_ROW(0x38),
	[0x06] = K_PUSH_SEGMENT, [0x07] = K_POP_SEGMENT, [0x0e] = K_PUSH_SEGMENT,
	[0x16] = K_PUSH_SEGMENT, [0x17] = K_POP_SEGMENT,
	[0x1e] = K_PUSH_SEGMENT, [0x1f] = K_POP_SEGMENT,
	[0x50 ... 0x57] = K_PUSH_REG, [0x58 ... 0x5f] = K_POP_REG,
	[0x60] = K_PUSH_ALL, [0x61] = K_POP_ALL, [0x63] = K_LOAD_SIGNED,
	[0x68] = K_PUSH_IMM, [0x69] = K_IMUL, [0x6a] = K_PUSH_IMM, [0x6b] = K_IMUL,
	[0x80 ... 0x83] = K_ALU, [0x84 ... 0x85] = K_TEST, [0x86 ... 0x87] = K_XCHG,
	[0x88 ... 0x89] = K_STORE, [0x8a ... 0x8b] = K_LOAD, [0x8c] = K_STORE_SEGMENT,
	[0x8e] = K_LOAD_SEGMENT, [0x8f] = GROUP(0), [0x9a] = K_CALL_FAR,
	[0xa0 ... 0xa1] = K_LOAD, [0xa2 ... 0xa3] = K_STORE,
	[0xc0 ... 0xc1] = K_SHIFT, [0xc2 ... 0xc3] = K_RET, [0xc4 ... 0xc5] = K_LOAD_FAR,
	[0xc6 ... 0xc7] = GROUP(1), [0xc8] = K_ENTER, [0xc9] = K_LEAVE,
	[0xca ... 0xcb] = K_RET_FAR, [0xcf] = K_IRET,
	[0xd0 ... 0xd3] = K_SHIFT, [0xd7] = K_XLAT, [0xe8] = K_CALL_REL, [0xea] = K_JMP_FAR,
	[0xf6 ... 0xf7] = GROUP(2),
	[0xfe] = GROUP(3), [0xff] = GROUP(4),
};

static const u8 two_byte[256] = {
	[0x00] = GROUP(8), [0x01] = GROUP(9),
	[0x40 ... 0x4f] = K_CMOV, [0x90 ... 0x9f] = K_SETCC, [0xa0] = K_PUSH_SEGMENT,
	[0xa1] = K_POP_SEGMENT, [0xa3] = K_BT,
	[0xa4 ... 0xa5] = K_DOUBLE_SHIFT, [0xa8] = K_PUSH_SEGMENT,
	[0xa9] = K_POP_SEGMENT, [0xab] = K_BT,
	[0xac ... 0xad] = K_DOUBLE_SHIFT,
	[0xae] = GROUP(5), [0xaf] = K_IMUL, [0xb0 ... 0xb1] = K_CMPXCHG,
	[0xb2] = K_LOAD_FAR, [0xb3] = K_BT, [0xb4 ... 0xb5] = K_LOAD_FAR,
	[0xb6 ... 0xb7] = K_LOAD, [0xba] = GROUP(6), [0xbb] = K_BT, [0xbc ... 0xbd] = K_SCAN,
	[0xbe ... 0xbf] = K_LOAD_SIGNED, [0xc0 ... 0xc1] = K_XADD, [0xc3] = K_STORE,
	[0xc7] = GROUP(7),
};

static const u8 groups[][8] = {
	{K_POP}, {K_STORE}, {K_TEST, K_TEST, K_NOT, K_NEG, K_MUL, K_MUL, K_DIV, K_DIV},
	{K_INC, K_DEC}, {K_INC, K_DEC, K_CALL, K_CALL_FAR, K_JMP, K_JMP_FAR, K_PUSH},
	{[6] = K_FLUSH, [7] = K_FLUSH}, {[4 ... 7] = K_BT}, {[1] = K_CMPXCHG_PAIR},
	{K_STORE_SYSTEM, K_STORE_SYSTEM, K_LOAD_SYSTEM, K_LOAD_SYSTEM},
	{[0 ... 1] = K_STORE_SYSTEM, [2 ... 3] = K_LOAD_SYSTEM, [4] = K_STORE_SYSTEM,
	 [6] = K_LOAD_SYSTEM},
};
/* clang-format on */

/* Prefixes make other instructions of some opcodes of the second map. */
static bool has_other_meaning(const struct insn *i, enum kind kind)
{
	switch (kind) {
	case K_SCAN: /* TZCNT, LZCNT */
		return i->rep == 0xf3;
	case K_CMPXCHG_PAIR: /* RDRAND's group */
		return i->rep;
	case K_STORE: /* MOVNTI */
		return i->map == 1 && (i->op_size == 2 || i->rep);
	case K_FLUSH: /* CLFLUSH, CLFLUSHOPT, CLWB; but XSAVEOPT, and with F3 CLRSSBSY */
		return i->rep || (modrm_ext(i) == 6 && i->pp != PP_66);
	default:
		return false;
	}
}

/* Those that load descriptors may have a register or a constant: tables are memory as well. */
static bool fits_operand(const struct insn *i, enum kind kind)
{
	switch (kind) {
	case K_LOAD_SEGMENT:
		return true;
	case K_LOAD_SYSTEM: /* in a register: LLDT, LTR */
		return i->has_mem || !i->opcode;
	case K_CALL_FAR:
	case K_JMP_FAR:
		return i->has_mem == (i->opcode == 0xff);
	default:
		return i->has_mem != ((kind >= K_PUSH_REG && kind <= K_CALL_REL) || kind == K_XLAT);
	}
}

enum kind op_classify(const struct insn *i, enum emul_mode mode)
{
	u32 kind = K_NONE;

	if (i->vex)
		return K_NONE;
	if (i->map == 0)
		kind = one_byte[i->opcode];
	else if (i->map == 1)
		kind = two_byte[i->opcode];
	else if (i->map == 2 && (i->opcode & ~1) == 0xf0 && !i->rep) /* MOVBE */
		kind = i->opcode & 1 ? K_STORE : K_LOAD;
	if (kind >= K_GROUP) {
		BUG_ON(kind - K_GROUP >= ARRAY_SIZE(groups));
		kind = groups[kind - K_GROUP][modrm_ext(i)];
	}
	if (!fits_operand(i, kind) || has_other_meaning(i, kind))
		return K_NONE;
	if (i->map == 0 && kind == K_LOAD_SIGNED && mode != EMUL_64) /* ARPL */
		return K_NONE;
	return kind;
}

/* ---- what it does ---- */

static u64 byte_swap(u64 v, u32 size)
{
	return __builtin_bswap64(v) >> (64 - 8 * size);
}

u64 op_bit_displacement(u32 size, u64 src)
{
	s64 bits = (s64)sign_extend(src, size);

	return (u64)(bits >> __builtin_ctz(8 * size)) * size;
}

static void bit_test(const struct insn *i, struct op *o)
{
	u64 bit = BIT(o->src & (8 * i->op_size - 1));

	o->flags &= ~RFLAGS_CF;
	if (o->mem & bit)
		o->flags |= RFLAGS_CF;
	switch (op_of(i) & 3) {
	case 1:
		o->mem |= bit;
		break;
	case 2:
		o->mem &= ~bit;
		break;
	case 3:
		o->mem ^= bit;
		break;
	}
}

/* The condition of SETcc, CMOVcc and Jcc. */
static bool condition_holds(u8 cc, u64 flags)
{
	bool less = !(flags & RFLAGS_SF) != !(flags & RFLAGS_OF), holds = false;

	switch (cc >> 1 & 7) {
	case 0:
		holds = flags & RFLAGS_OF;
		break;
	case 1:
		holds = flags & RFLAGS_CF;
		break;
	case 2:
		holds = flags & RFLAGS_ZF;
		break;
	case 3:
		holds = flags & (RFLAGS_CF | RFLAGS_ZF);
		break;
	case 4:
		holds = flags & RFLAGS_SF;
		break;
	case 5:
		holds = flags & RFLAGS_PF;
		break;
	case 6:
		holds = less;
		break;
	case 7:
		holds = less || flags & RFLAGS_ZF;
		break;
	}
	return holds != (cc & 1);
}

/* ---- shifts ---- */

enum { SH_ROL, SH_ROR, SH_RCL, SH_RCR, SH_SHL, SH_SHR, SH_SAL, SH_SAR };

static void set_flag(u64 *flags, u64 flag, bool on)
{
	*flags &= ~flag;
	if (on)
		*flags |= flag;
}

/*
 * One step of a rotation or shift of v, whose highest bit is top: CF is what falls out. What comes
 * in is said by the operation.
 */
static u64 shift_once(u32 op, u64 v, u64 top, u64 *flags)
{
	bool left = !(op & 1), out = v & (left ? top : 1), in = false;

	if (op == SH_ROL || op == SH_ROR)
		in = out;
	else if (op == SH_RCL || op == SH_RCR)
		in = *flags & RFLAGS_CF;
	else if (op == SH_SAR)
		in = v & top;
	set_flag(flags, RFLAGS_CF, out);
	if (left)
		return v << 1 | in;
	return v >> 1 | (in ? top : 0);
}

/* OF is defined for a count of 1 only, but processors set it by the same rule always. */
static void op_shift(const struct insn *i, struct op *o)
{
	u32 op = modrm_ext(i), size = i->op_size, count = o->src & (size == 8 ? 63 : 31);
	u64 mask = size_mask(size), top = BIT(8 * size - 1), v = o->mem & mask, before = v;

	if (!count)
		return;
	for (u32 k = 0; k < count; k++) {
		before = v;
		v = shift_once(op, v, top, &o->flags) & mask;
	}
	if (op & 1)
		set_flag(&o->flags, RFLAGS_OF, (v ^ v << 1) & top);
	else
		set_flag(&o->flags, RFLAGS_OF, !(v & top) != !(o->flags & RFLAGS_CF));
	if (op == SH_SHR)
		set_flag(&o->flags, RFLAGS_OF, before & top);
	if (op == SH_SAR)
		set_flag(&o->flags, RFLAGS_OF, false);
	if (op >= SH_SHL) {
		o->flags &= ~(RFLAGS_SF | RFLAGS_ZF | RFLAGS_PF | RFLAGS_AF);
		o->flags |= arith_flags(v, 0, 0, size);
	}
	o->mem = v;
}

/* A count above the size, which only 16 bits allow, has no defined result. */
static void double_shift(const struct insn *i, struct op *o)
{
	bool right = i->opcode & 8;
	u32 bits = 8 * i->op_size, count = o->src & (bits == 64 ? 63 : 31);
	u64 mask = size_mask(i->op_size), top = BIT(bits - 1), v = o->mem & mask, before = v,
	    more = o->reg & mask;

	if (!count)
		return;
	for (u32 k = 0; k < count; k++) {
		before = v;
		set_flag(&o->flags, RFLAGS_CF, v & (right ? 1 : top));
		if (right) {
			v = v >> 1 | (more & 1 ? top : 0);
			more >>= 1;
		} else {
			v = (v << 1 | !!(more & top)) & mask;
			more <<= 1;
		}
	}
	o->flags &= ~(RFLAGS_SF | RFLAGS_ZF | RFLAGS_PF | RFLAGS_AF | RFLAGS_OF);
	o->flags |= arith_flags(v, 0, before ^ v, i->op_size);
	o->mem = v;
}

/* ---- multiplication and division ---- */

typedef unsigned __int128 wide;

/* CF and OF: the upper half is more than the sign. Others are undefined and stay. */
static wide op_multiply(struct op *o, u64 a, u64 b, u32 size, bool is_signed)
{
	wide product = (wide)(a & size_mask(size)) * (b & size_mask(size));
	bool more = (u64)(product >> (8 * size)) & size_mask(size);

	if (is_signed) {
		product = (wide)(__int128)(s64)sign_extend(a, size) * (s64)sign_extend(b, size);
		more = (__int128)product != (s64)sign_extend((u64)product, size);
	}
	set_flag(&o->flags, RFLAGS_CF | RFLAGS_OF, more);
	return product;
}

static void multiply_acc(const struct insn *i, struct op *o)
{
	wide product = op_multiply(o, o->acc, o->mem, i->op_size, modrm_ext(i) == 5);

	o->sets_acc = true;
	o->acc = (u64)product;
	o->sets_high = i->op_size > 1;
	o->high = (u64)(product >> (8 * i->op_size));
}

/* n / d, both unsigned, of 128 by 64 bits; the quotient fits. */
static u64 divide_wide(wide n, u64 d, u64 *rest)
{
	u64 quotient;

	BUG_ON((u64)(n >> 64) >= d);
	__asm__("divq %4"
		: "=a"(quotient), "=d"(*rest)
		: "0"((u64)n), "1"((u64)(n >> 64)), "r"(d)
		: "cc");
	return quotient;
}

static bool op_divide(const struct insn *i, struct op *o)
{
	u32 size = i->op_size, bits = 8 * size;
	bool is_signed = modrm_ext(i) == 7, minus_n = false, minus_d = false;
	u64 d = o->mem & size_mask(size), q, rest, limit = size_mask(size);
	wide n = (wide)(o->high & size_mask(size)) << bits | (o->acc & size_mask(size));

	if (size == 1)
		n = o->acc & 0xffff;
	if (is_signed) {
		minus_n = n >> (2 * bits - 1) & 1;
		minus_d = d >> (bits - 1) & 1;
		if (minus_n)
			n = -n;
		if (size < 8)
			n &= size_mask(2 * size);
		if (minus_d)
			d = -d & size_mask(size);
		limit = size_mask(size) >> 1;
		if (minus_n != minus_d)
			limit++;
	}
	if (!d || (u64)(n >> 64) >= d)
		return false;
	q = divide_wide(n, d, &rest);
	if (q > limit)
		return false;
	if (minus_n != minus_d)
		q = -q;
	if (minus_n)
		rest = -rest;
	o->sets_acc = true;
	o->sets_high = size > 1;
	o->acc = q;
	o->high = rest;
	if (size == 1)
		o->acc = (q & 0xff) | (rest & 0xff) << 8;
	return true;
}

/* ---- all others ---- */

/* The number of the lowest or highest bit; where there is none the register stays. */
static void op_scan_bits(const struct insn *i, struct op *o)
{
	u64 v = o->mem & size_mask(i->op_size);

	set_flag(&o->flags, RFLAGS_ZF, !v);
	if (!v)
		return;
	o->sets_reg = true;
	o->reg = i->opcode & 1 ? 63 - __builtin_clzll(v) : __builtin_ctzll(v);
}

static void op_alu_operands(const struct insn *i, struct op *o)
{
	if (op_is_to_reg(i)) {
		o->reg = op_alu(op_of(i), o->src, o->mem, i->op_size, &o->flags);
		o->sets_reg = op_of(i) != ALU_CMP;
	} else {
		o->mem = op_alu(op_of(i), o->mem, o->src, i->op_size, &o->flags);
	}
}

/* The simple ones: they load or store. */
static bool compute_move(const struct insn *i, enum kind kind, struct op *o)
{
	u64 old = o->mem;

	switch (kind) {
	case K_LOAD:
		o->reg = op_is_movbe(i) ? byte_swap(old, i->op_size) : old;
		o->sets_reg = true;
		return true;
	case K_LOAD_SIGNED:
		o->reg = sign_extend(old, op_mem_size(i, kind));
		o->sets_reg = true;
		return true;
	case K_CMOV: /* 32 bits clear the upper half in either case */
		if (condition_holds(i->opcode, o->flags))
			o->reg = old;
		o->sets_reg = true;
		return true;
	case K_STORE:
		o->mem = op_is_movbe(i) ? byte_swap(o->src, i->op_size) : o->src;
		return true;
	case K_STORE_SEGMENT:
		o->mem = o->src;
		return true;
	case K_SETCC:
		o->mem = condition_holds(i->opcode, o->flags);
		return true;
	case K_XCHG:
		o->mem = o->src;
		o->reg = old;
		o->sets_reg = true;
		return true;
	default:
		return false;
	}
}

static bool compute_long(const struct insn *i, enum kind kind, struct op *o)
{
	switch (kind) {
	case K_SHIFT:
		op_shift(i, o);
		return true;
	case K_DOUBLE_SHIFT:
		double_shift(i, o);
		return true;
	case K_IMUL:
		o->reg = (u64)op_multiply(o, o->src, o->mem, i->op_size, true);
		o->sets_reg = true;
		return true;
	case K_MUL:
		multiply_acc(i, o);
		return true;
	case K_DIV:
		return op_divide(i, o);
	default:
		BUG_ON(kind != K_SCAN);
		op_scan_bits(i, o);
		return true;
	}
}

bool op_compute(const struct insn *i, enum kind kind, struct op *o)
{
	u64 old = o->mem, cf = o->flags & RFLAGS_CF;
	u32 size = i->op_size;

	if (compute_move(i, kind, o))
		return true;
	switch (kind) {
	case K_ALU:
		op_alu_operands(i, o);
		return true;
	case K_TEST:
		op_alu(ALU_AND, old, o->src, size, &o->flags);
		return true;
	case K_XADD:
		o->mem = op_alu(ALU_ADD, old, o->src, size, &o->flags);
		o->reg = old;
		o->sets_reg = true;
		return true;
	case K_CMPXCHG: /* memory is written in either case */
		op_alu(ALU_CMP, o->acc & size_mask(size), old, size, &o->flags);
		o->sets_acc = !(o->flags & RFLAGS_ZF);
		if (!o->sets_acc)
			o->mem = o->src;
		o->acc = old;
		return true;
	case K_INC:
		o->mem = op_alu(ALU_ADD, old, 1, size, &o->flags);
		o->flags = (o->flags & ~RFLAGS_CF) | cf;
		return true;
	case K_DEC:
		o->mem = op_alu(ALU_SUB, old, 1, size, &o->flags);
		o->flags = (o->flags & ~RFLAGS_CF) | cf;
		return true;
	case K_NOT:
		o->mem = ~old;
		return true;
	case K_NEG:
		o->mem = op_alu(ALU_SUB, 0, old, size, &o->flags);
		return true;
	case K_BT:
		bit_test(i, o);
		return true;
	default:
		return compute_long(i, kind, o);
	}
}
