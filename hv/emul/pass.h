/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One pass over an instruction: its registers and its accesses. There is no stack of half-done
 * work: each call of the emulator runs the instruction from its start, and accesses already made
 * are answered from a log.
 *
 *	st->phase	bytes of accesses completed, over all accesses of the instruction (of a REP:
 *			the iteration)
 *	st->log		what they have read, in the same order
 */
#pragma once

#include "hv/emul/emul.h"
#include "hv/emul/op.h"
#include "hv/lib/x86.h"

/* In place of a segment: a linear address that the processor uses for itself, as the system. */
#define SEG_SYSTEM 0xff

struct pass {
	struct emul_state *st;
	struct emul_env *e;
	const struct insn *i;
	u32 passed; /* bytes of accesses this pass has gone through; <= st->phase */
	enum kind kind;
	bool one_operand; /* in memory */
	bool answered;	  /* the request of the last call is answered but not yet in the log */
	bool system;	  /* the access under way is to SEG_SYSTEM */
};

/* EMUL_FAULT with this exception */
enum emul_result pass_fault(struct emul_env *e, u8 vector);
/* The same because of what this selector leads to */
enum emul_result pass_fault_at(struct emul_env *e, u8 vector, u16 sel);
bool pass_is_canonical(const struct emul_env *e, u64 linear);
/* A register of the instruction, of size bytes; AH and its like where they are meant. */
u64 pass_reg(const struct pass *r, u8 n, u32 size);
void pass_set_reg(const struct pass *r, u8 n, u64 v, u32 size);
/* RSP, RSI, RDI, RCX as an address or a counter. */
void pass_add_reg(const struct pass *r, u8 n, s64 delta, u32 size);
/* The instruction is done, and the next one is at rip, or follows. */
enum emul_result pass_finish_at(struct pass *r, u64 rip);
enum emul_result pass_finish(struct pass *r);

/* Before segment base */
u64 pass_address(const struct pass *r);
/* EMUL_FAULT: beyond the segment, not what it is for, or not canonical */
enum emul_result pass_linear(struct emul_env *e, enum access type, u8 seg, u64 ea, u32 size,
			     u64 *linear);
/* Read or write size bytes (32 at most) at val. All but EMUL_DONE end the pass. */
enum emul_result pass_memory(struct pass *r, enum access type, u8 seg, u64 ea, u32 size, void *val);
/* May this be done, of 8 bytes at most? Nothing is. */
enum emul_result pass_check(struct pass *r, enum access type, u8 seg, u64 ea, u32 size);
/* At *e->port */
enum emul_result pass_port(struct pass *r, bool in, u32 size, u64 *val);
