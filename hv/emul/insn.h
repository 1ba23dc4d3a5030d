/* SPDX-License-Identifier: GPL-2.0-only */
/* Instruction decoder. Pure: the same file is tested on the host against a disassembler. */
#pragma once

#include "hv/lib/types.h"

enum emul_mode { EMUL_16, EMUL_32, EMUL_64 }; /* from CS.L, CS.D */

/* As instructions number them, and behind those what is loaded like them. */
enum {
	SEG_ES,
	SEG_CS,
	SEG_SS,
	SEG_DS,
	SEG_FS,
	SEG_GS,
	SEG_LDTR,
	SEG_TR,
	SEGS,
	SEG_GDTR = SEGS,
	SEG_IDTR
};

enum insn_pp { PP_NONE, PP_66, PP_F3, PP_F2 };

#define INSN_MAX 15u /* bytes that an instruction can have */

struct insn {
	u8 len;
	u8 map;	 /* 0 = one byte, 1 = 0F, 2 = 0F38, 3 = 0F3A; others only with vex */
	u8 vex;	 /* 0, or the escape byte: C4, C5 (VEX), 62 (EVEX), 8F (XOP) */
	u8 vvvv; /* of VEX: another register; without: 0 */
	bool vex_256;
	u8 pp; /* enum insn_pp: the prefix that selects an instruction, or that VEX stands for */
	u8 opcode;
	u8 modrm, sib;
	bool has_mem, rip_relative;
	u8 rex;
	u8 op_size;   /* 2, 4, 8: effective operand size (1 for byte opcodes) */
	u8 addr_size; /* 2, 4, 8 */
	u8 rep;	      /* 0, 0xf2, 0xf3 */
	bool lock;
	u8 seg;		/* effective segment of the memory operand */
	u8 reg, rm;	/* with REX bits */
	s8 base, index; /* -1 = none */
	u8 scale;
	s64 disp; /* sign-extended; MOV moffs: the offset */
	/* sign-extended from imm_size; far pointers and ENTER: the bytes in their order */
	u64 imm;
	u8 imm_size;
};

/* ModRM.reg where it extends the opcode */
static inline u8 modrm_ext(const struct insn *i)
{
	return (i->modrm >> 3) & 7;
}

/*
 * Decode one instruction from n bytes. Length and operands for all general-purpose instructions,
 * length, memory operand and registers for those of SSE and AVX, length for the others (near
 * branches as Intel does: 66 is ignored in 64-bit mode). MOV CR/DR: reg is the control register, rm
 * the GPR, whatever ModRM.mod says. -EINVAL: not an instruction, or longer than 15 bytes; -E2BIG:
 * needs more bytes than given.
 */
int insn_decode(struct insn *i, const u8 *bytes, u32 n, enum emul_mode mode);
