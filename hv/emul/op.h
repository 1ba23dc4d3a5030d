/* SPDX-License-Identifier: GPL-2.0-only */
/* What an instruction with an operand in memory does with it. Pure: no memory, no registers. */
#pragma once

#include "hv/emul/insn.h"

enum kind {
	K_NONE,
	K_LOAD,
	K_LOAD_SIGNED,
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

/* Which of the kinds this is; K_NONE: not supported. */
enum kind op_classify(const struct insn *i, enum emul_mode mode);
/* BT and its family with a register: the bit string reaches in both directions from the operand. */
u64 op_bit_displacement(u32 size, u64 src);
/*
 * What it makes of its operands: *mem, the value of memory before, becomes that after, and *reg
 * that of the register (CMPXCHG: the accumulator). Returns whether the register changes.
 */
bool op_compute(const struct insn *i, enum kind kind, u64 src, u64 *mem, u64 *reg, u64 *flags);

#define FL_ZF BIT(6)

/* as in opcodes and ModRM.reg */
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

/*
 * a op b; *flags gives CF in and takes the arithmetic flags. AF, undefined after AND, OR, XOR,
 * becomes 0.
 */
u64 op_alu(u32 op, u64 a, u64 b, u32 size, u64 *flags);

static inline bool op_is_movbe(const struct insn *i)
{
	return i->map == 2;
}

static inline u64 size_mask(u32 size)
{
	return GENMASK(8 * size - 1, 0);
}

/* Of the operand in memory: MOVSX and MOVZX have a smaller one than the register. */
static inline u32 op_mem_size(const struct insn *i, enum kind kind)
{
	if (kind == K_LOAD_SIGNED && i->map == 0) /* MOVSXD */
		return MIN(i->op_size, 4);
	if (i->map == 1 && (kind == K_LOAD || kind == K_LOAD_SIGNED))
		return 1 + (i->opcode & 1);
	return i->op_size;
}

/* K_ALU: enum alu_op; K_BT, its low bits: 0 test, 1 set, 2 reset, 3 complement */
static inline u32 op_of(const struct insn *i)
{
	return i->imm_size ? modrm_ext(i) : (i->opcode >> 3) & 7;
}

/* K_ALU: the register is the destination. */
static inline bool op_is_to_reg(const struct insn *i)
{
	return !i->imm_size && i->opcode & 2;
}

static inline bool op_writes(const struct insn *i, enum kind kind)
{
	switch (kind) {
	case K_LOAD:
	case K_LOAD_SIGNED:
	case K_TEST:
		return false;
	case K_ALU:
		return !op_is_to_reg(i) && op_of(i) != ALU_CMP;
	case K_BT:
		return op_of(i) & 3;
	default:
		return true;
	}
}
