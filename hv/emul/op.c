/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/op.h"
#include "hv/lib/log.h"

#define FL_CF	 BIT(0)
#define FL_PF	 BIT(2)
#define FL_AF	 BIT(4)
#define FL_SF	 BIT(7)
#define FL_OF	 BIT(11)
#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

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
		flags |= FL_CF;
	if (carries & BIT(3))
		flags |= FL_AF;
	if (overflow & top)
		flags |= FL_OF;
	if (result & top)
		flags |= FL_SF;
	if (!(result & size_mask(size)))
		flags |= FL_ZF;
	if (!__builtin_parityll(result & 0xff))
		flags |= FL_PF;
	return flags;
}

u64 op_alu(u32 op, u64 a, u64 b, u32 size, u64 *flags)
{
	u64 carry = 0, res, carries = 0, overflow = 0;

	if (op == ALU_ADC || op == ALU_SBB)
		carry = *flags & FL_CF;
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

/* A byte opcode and its neighbour for wider operands are handled as one: by the even opcode. */
static enum kind classify_one_byte(const struct insn *i, enum emul_mode mode)
{
	static const u8 unary[8] = {K_TEST, K_TEST, K_NOT, K_NEG};
	static const u8 count[8] = {K_INC, K_DEC, [6] = K_PUSH};
	u8 ext = modrm_ext(i);

	switch (i->opcode & ~1) {
	case 0x00 ... 0x3f:
	case 0x80:
	case 0x82:
		return K_ALU;
	case 0x62:
		return mode == EMUL_64 ? K_LOAD_SIGNED : K_NONE;
	case 0x84:
		return K_TEST;
	case 0x86:
		return K_XCHG;
	case 0x8a:
	case 0xa0:
		return K_LOAD;
	case 0x88:
	case 0xa2:
		return K_STORE;
	case 0x8e:
		return i->opcode == 0x8f && !ext ? K_POP : K_NONE;
	case 0xc6:
		return ext ? K_NONE : K_STORE;
	case 0xf6:
		return unary[ext];
	case 0xfe:
		return i->opcode == 0xfe && ext == 6 ? K_NONE : count[ext];
	}
	return K_NONE;
}

static enum kind classify_two_byte(const struct insn *i)
{
	switch (i->opcode) {
	case 0xba:
		return modrm_ext(i) & 4 ? K_BT : K_NONE;
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		return K_BT;
	case 0xb0 ... 0xb1:
		return K_CMPXCHG;
	case 0xb6 ... 0xb7:
		return K_LOAD;
	case 0xbe ... 0xbf:
		return K_LOAD_SIGNED;
	case 0xc0 ... 0xc1:
		return K_XADD;
	case 0xc3: /* MOVNTI */
		return i->op_size >= 4 && !i->rep ? K_STORE : K_NONE;
	}
	return K_NONE;
}

enum kind op_classify(const struct insn *i, enum emul_mode mode)
{
	if (!i->has_mem || i->vex)
		return K_NONE;
	if (i->map == 0)
		return classify_one_byte(i, mode);
	if (i->map == 1)
		return classify_two_byte(i);
	if (i->map == 2 && (i->opcode & ~1) == 0xf0 && !i->rep) /* MOVBE */
		return i->opcode & 1 ? K_STORE : K_LOAD;
	return K_NONE;
}

static u64 byte_swap(u64 v, u32 size)
{
	return __builtin_bswap64(v) >> (64 - 8 * size);
}

u64 op_bit_displacement(u32 size, u64 src)
{
	s64 bits = (s64)sign_extend(src, size);

	return (u64)(bits >> __builtin_ctz(8 * size)) * size;
}

static void bit_test(const struct insn *i, u64 src, u64 *mem, u64 *flags)
{
	u64 bit = BIT(src & (8 * i->op_size - 1));

	*flags &= ~FL_CF;
	if (*mem & bit)
		*flags |= FL_CF;
	switch (op_of(i) & 3) {
	case 1:
		*mem |= bit;
		break;
	case 2:
		*mem &= ~bit;
		break;
	case 3:
		*mem ^= bit;
		break;
	}
}

bool op_compute(const struct insn *i, enum kind kind, u64 src, u64 *mem, u64 *reg, u64 *flags)
{
	u64 old = *mem, cf = *flags & FL_CF;
	u32 size = i->op_size;

	switch (kind) {
	case K_LOAD:
		*reg = op_is_movbe(i) ? byte_swap(old, size) : old;
		return true;
	case K_LOAD_SIGNED:
		*reg = sign_extend(old, op_mem_size(i, kind));
		return true;
	case K_STORE:
		*mem = op_is_movbe(i) ? byte_swap(src, size) : src;
		return false;
	case K_ALU:
		if (op_is_to_reg(i)) {
			*reg = op_alu(op_of(i), src, old, size, flags);
			return op_of(i) != ALU_CMP;
		}
		*mem = op_alu(op_of(i), old, src, size, flags);
		return false;
	case K_TEST:
		op_alu(ALU_AND, old, src, size, flags);
		return false;
	case K_XADD:
		*mem = op_alu(ALU_ADD, old, src, size, flags);
		*reg = old;
		return true;
	case K_XCHG:
		*mem = src;
		*reg = old;
		return true;
	case K_CMPXCHG: /* memory is written in either case */
		op_alu(ALU_CMP, *reg, old, size, flags);
		if (*flags & FL_ZF)
			*mem = src;
		*reg = old;
		return !(*flags & FL_ZF);
	case K_INC:
	case K_DEC:
		*mem = op_alu(kind == K_INC ? ALU_ADD : ALU_SUB, old, 1, size, flags);
		*flags = (*flags & ~FL_CF) | cf;
		return false;
	case K_NOT:
		*mem = ~old;
		return false;
	case K_NEG:
		*mem = op_alu(ALU_SUB, 0, old, size, flags);
		return false;
	default:
		BUG_ON(kind != K_BT);
		bit_test(i, src, mem, flags);
		return false;
	}
}
