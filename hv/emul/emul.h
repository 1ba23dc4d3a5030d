/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instruction decoder and the small emulator for instructions that touch MMIO or do string I/O. Pure: everything outside
 * comes through struct emul_env, so the same file is tested on the host against a disassembler.
 */
#pragma once

#include "hv/lib/types.h"

enum emul_mode { EMUL_16, EMUL_32, EMUL_64 }; /* from CS.L, CS.D */

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

struct insn {
	u8 len;
	u8 map;		/* 0 = one byte, 1 = 0F, 2 = 0F38, 3 = 0F3A; others only with vex */
	u8 vex;		/* 0, or the escape byte: C4, C5 (VEX), 62 (EVEX), 8F (XOP); length only, no general-purpose move */
	u8 opcode;
	u8 modrm, sib;
	bool has_modrm, has_mem, rip_relative;
	u8 rex;
	u8 op_size;	/* 2, 4, 8: effective operand size (1 for byte opcodes) */
	u8 addr_size;	/* 2, 4, 8 */
	u8 rep;		/* 0, 0xf2, 0xf3 */
	bool lock;
	u8 seg;		/* effective segment of the memory operand */
	u8 reg, rm;	/* with REX bits */
	s8 base, index; /* -1 = none */
	u8 scale;
	s64 disp;	/* sign-extended; MOV moffs: the offset */
	u64 imm;	/* sign-extended from imm_size; far pointers and ENTER: the bytes in their order */
	u8 imm_size;
};

/* Decode one instruction from n bytes. Length and operands for all general-purpose instructions, length for the others
 * (near branches as Intel does: 66 is ignored in 64-bit mode). MOV CR/DR: reg is the control register, rm the GPR,
 * whatever ModRM.mod says. -EINVAL: not an instruction, or longer than 15 bytes; -E2BIG: needs more bytes than given. */
int insn_decode(struct insn *i, const u8 *bytes, u32 n, enum emul_mode mode);

struct emul_env;
struct emul_ops {
	/* Linear address, after segmentation, CPL checks as for data. 0, or -EFAULT with env->fault filled, or -EAGAIN: p2m
	 * miss, the vCPU must exit for it and retry the instruction. MMIO in the way: -EOPNOTSUPP and *mmio = its gpa. */
	int (*read)(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *mmio_gpa);
	int (*write)(struct emul_env *e, u64 linear, const void *buf, u32 len, u64 *mmio_gpa);
	/* Fill seg_base, seg_limit, and stack32 for SS, which are about to be used. NULL: they are filled. */
	void (*segment)(struct emul_env *e, u8 seg);
};
struct emul_env {
	const struct emul_ops *ops;
	void *ctx;
	u64 *gpr;		/* 16, order RAX RCX RDX RBX RSP RBP RSI RDI R8.. */
	u64 *rip, *rflags;
	u64 seg_base[6];
	u32 seg_limit[6];
	enum emul_mode mode;
	bool stack32;	/* SS.B, outside 64-bit mode */
	u8 linear_bits; /* width of a canonical address: 57 with CR4.LA57, else 48 (or 0) */
	/*
	 * The instruction has been stopped by an access to MMIO at gpa: where its only memory operand may be that, the address is
	 * not translated again. The rights hold for a read, or for read and write if that access was a write.
	 */
	enum { EMUL_STOPPED_NOT, EMUL_STOPPED_READ, EMUL_STOPPED_WRITE } stopped;
	u64 stopped_gpa;
	bool rmw;	/* set while ->read fetches an operand that will be written: permissions and error code of a write */
	struct {	/* vector 12 and 13 with error code 0, 14 as the callbacks said, 6 */
		u8 vector;
		u32 error;
		u64 cr2;
	} fault;
};

enum emul_result {
	EMUL_DONE,	  /* instruction finished, RIP advanced, flags set (a REP may leave RIP there to be run again) */
	EMUL_MMIO_READ,	  /* st->mmio_gpa/len: get data into st->mmio_data, call emul_continue */
	EMUL_MMIO_WRITE,  /* write st->mmio_data there, call emul_continue */
	EMUL_FAULT,	  /* env->fault is to be injected, RIP unchanged */
	EMUL_RETRY,	  /* p2m miss in RAM operand: handle, then emul_continue, which repeats no MMIO already done;
			   * where that cannot matter the guest may as well run again */
	EMUL_UNSUPPORTED, /* the VM is to be told (CORBEL_EXIT_INTERNAL), RIP unchanged */
};
struct emul_state { /* lives across exits to the VMM */
	bool active;
	u32 phase;
	u32 iterations; /* of a REP */
	struct insn insn;
	u64 mmio_gpa;
	u32 mmio_len;
	u64 mmio_data;
	u64 tmp[4];
};
/*
 * Registers, flags and RIP change only when the instruction (of a REP: the iteration) is complete; in between the state holds
 * what was read. An access that crosses a page is split there, so mmio_len may then be any number from 1 to 7. RF is
 * cleared at the end; a trap for TF is the caller's.
 *
 * Run the instruction at RIP, which faulted on MMIO. MOV (all forms incl. MOVZX, MOVSX, MOVBE, MOV moffs, imm),
 * STOS, LODS, MOVS, CMPS, SCAS with REP (bounded iterations a start), AND OR XOR ADD SUB ADC SBB CMP TEST BT BTS BTR BTC
 * XCHG XADD CMPXCHG INC DEC NOT NEG PUSH POP with a memory operand; all others, among them SSE/AVX moves, are EMUL_UNSUPPORTED.
 */
enum emul_result emul_start(struct emul_state *st, struct emul_env *e, const struct insn *i);
enum emul_result emul_continue(struct emul_state *st, struct emul_env *e);

/*
 * What most MMIO is, without all that: an instruction of 64-bit mode that only stores a general register or a constant, no segment
 * base added. emul_stored(): the write at gpa was its; true and what was to be written, in the low op_size bytes, within a page.
 */
bool emul_is_plain_store(const struct insn *i, enum emul_mode mode);
static inline bool emul_stored(const struct insn *i, const u64 *gpr, u64 rip, u64 gpa, u64 *val)
{
	u64 ea = (u64)i->disp + (i->rip_relative ? rip + i->len : 0);

	if (i->base >= 0)
		ea += gpr[i->base];
	if (i->index >= 0)
		ea += gpr[i->index] * i->scale;
	*val = i->imm_size ? i->imm : gpr[i->reg];
	return !((ea ^ gpa) % PAGE_SIZE) && gpa % PAGE_SIZE + i->op_size <= PAGE_SIZE;
}

/* ---- guest page walk: linear -> guest-physical, all paging modes; pure ---- */
struct walk_env {
	u64 cr0, cr3, cr4, efer, rflags;
	u32 cpl;
	u32 maxphyaddr;
	u32 pkru;
	void *ctx;
	int (*read)(void *ctx, u64 gpa, void *buf, u32 len); /* 0, or negative: p2m miss */
	/* Sets A/D bits. 0; -EAGAIN: the entry has changed; other negative: p2m miss. NULL: leave them as they are. */
	int (*cmpxchg)(void *ctx, u64 gpa, u64 old, u64 new, u32 size);
};
#define WALK_WRITE BIT(0)
#define WALK_FETCH BIT(1)
#define WALK_SYSTEM BIT(2) /* implicit supervisor access */
/*
 * 0 and *gpa (it holds for the 4 KiB page of linear, the mapping may be larger); -EFAULT and the error code of the #PF; -EAGAIN
 * and *gpa where the p2m missed, *error = WALK_WRITE if A/D bits could not be written there, else 0. 1 GiB pages are taken as
 * supported, so is PSE-36. Bits of linear that the paging mode does not use are ignored.
 */
int walk_linear(const struct walk_env *w, u64 linear, u64 access, u64 *gpa, u32 *error);
