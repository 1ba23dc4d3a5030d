/* SPDX-License-Identifier: GPL-2.0-only */
/* What an instruction with an operand in memory does with it. Pure: no memory, no registers. */
#pragma once

#include "hv/emul/insn.h"

enum kind {
	K_NONE,
	/* one operand in memory; LOCK allows these if they write it */
	K_ALU,
	K_XCHG,
	K_XADD,
	K_CMPXCHG,
	K_INC,
	K_DEC,
	K_NOT,
	K_NEG,
	K_BT,
	K_CMPXCHG_PAIR, /* CMPXCHG8B, CMPXCHG16B */
	K_LOCKABLE = K_CMPXCHG_PAIR,
	/* the others */
	K_LOAD,
	K_LOAD_SIGNED,
	K_STORE,
	K_STORE_SEGMENT,
	K_TEST,
	K_SHIFT,	/* and rotate */
	K_DOUBLE_SHIFT, /* SHLD, SHRD */
	K_SETCC,
	K_CMOV,
	K_IMUL,	 /* with two or three operands */
	K_MUL,	 /* MUL and IMUL with one */
	K_DIV,	 /* DIV, IDIV */
	K_SCAN,	 /* BSF, BSR */
	K_FLUSH, /* CLFLUSH and its like: no access */
	K_OPERAND_LAST = K_FLUSH,
	/* several accesses, most of them to the stack */
	K_PUSH,
	K_POP,
	K_PUSH_REG,
	K_PUSH_SEGMENT,
	K_POP_REG,
	K_POP_SEGMENT,
	K_PUSH_IMM,
	K_PUSH_ALL,
	K_POP_ALL,
	K_ENTER,
	K_LEAVE,
	K_RET_FAR,
	K_IRET,
	K_RET,
	K_CALL_REL,
	K_CALL,
	K_JMP,
	K_CALL_FAR,
	K_JMP_FAR,
	K_STACK_LAST = K_JMP_FAR,
	/* registers that an operating system sets */
	K_LOAD_SEGMENT,
	K_LOAD_FAR,	/* LDS and its like */
	K_STORE_SYSTEM, /* SLDT, STR, SGDT, SIDT, SMSW */
	K_LOAD_SYSTEM,	/* LLDT, LTR, LGDT, LIDT, LMSW */
	K_SYSTEM_LAST = K_LOAD_SYSTEM,
	K_XLAT,
	K_GROUP, /* in tables: the rest is the number of one in which ModRM.reg chooses */
};

/* Which of the kinds this is; K_NONE: not supported. */
enum kind op_classify(const struct insn *i, enum emul_mode mode);
/* BT and its family with a register: the bit string reaches in both directions from the operand. */
u64 op_bit_displacement(u32 size, u64 src);

/* Operands: before, and afterwards those that the instruction changes. */
struct op {
	u64 mem;
	u64 src;       /* a register or a constant; of shifts the count */
	u64 reg;       /* the one that ModRM names */
	u64 acc, high; /* RAX, RDX; with 16 bits where they are AX to MUL and DIV of bytes */
	u64 flags;
	bool sets_reg, sets_acc, sets_high;
};
/* For the kinds up to K_OPERAND_LAST, pairs excepted. False: #DE. */
bool op_compute(const struct insn *i, enum kind kind, struct op *o);

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

/* Of the operand in memory, which is not always as wide as the register. */
static inline u32 op_mem_size(const struct insn *i, enum kind kind)
{
	switch (kind) {
	case K_LOAD_SIGNED:
	case K_LOAD:
		if (kind == K_LOAD_SIGNED && i->map == 0) /* MOVSXD */
			return MIN(i->op_size, 4);
		return i->map == 1 ? 1 + (i->opcode & 1) : i->op_size;
	case K_STORE_SEGMENT:
		return 2;
	default:
		return i->op_size;
	}
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

static inline bool op_reads(enum kind kind)
{
	return kind != K_STORE && kind != K_STORE_SEGMENT && kind != K_SETCC;
}

static inline bool op_writes(const struct insn *i, enum kind kind)
{
	switch (kind) {
	case K_ALU:
		return !op_is_to_reg(i) && op_of(i) != ALU_CMP;
	case K_BT:
		return op_of(i) & 3;
	case K_STORE:
	case K_STORE_SEGMENT:
	case K_SHIFT:
	case K_DOUBLE_SHIFT:
	case K_SETCC:
		return true;
	default:
		return kind <= K_LOCKABLE;
	}
}
