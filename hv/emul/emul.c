/* SPDX-License-Identifier: GPL-2.0-only */
/* Emulator for instructions with a memory operand in MMIO: entry, and those with one operand. */
#include "hv/emul/emul.h"
#include "hv/emul/op.h"
#include "hv/emul/pass.h"
#include "hv/emul/stack.h"
#include "hv/emul/string.h"
#include "hv/emul/system.h"
#include "hv/emul/vector.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

/* What is not the operand in memory, and not what ModRM.reg names if that is the destination. */
static u64 source_operand(const struct pass *r)
{
	const struct insn *i = r->i;

	if (r->kind == K_STORE_SEGMENT) {
		r->e->ops->segment(r->e, i->reg & 7);
		return r->e->seg_selector[i->reg & 7];
	}
	if (i->imm_size)
		return i->imm & size_mask(i->op_size);
	if (r->kind == K_DOUBLE_SHIFT || (r->kind == K_SHIFT && i->opcode & 2))
		return (u8)r->e->gpr[RCX];
	if (r->kind == K_SHIFT)
		return 1;
	return pass_reg(r, i->reg, i->op_size);
}

static void store_results(struct pass *r, const struct op *o)
{
	u32 size = r->i->op_size, acc_size = size;

	if (size == 1 && r->kind != K_CMPXCHG) /* MUL and DIV use AX for both halves */
		acc_size = 2;
	if (o->sets_reg)
		pass_set_reg(r, r->i->reg, o->reg, size);
	if (o->sets_acc)
		pass_set_reg(r, RAX, o->acc, acc_size);
	if (o->sets_high)
		pass_set_reg(r, RDX, o->high, size);
	*r->e->rflags = o->flags;
}

static enum emul_result run_operand(struct pass *r)
{
	const struct insn *i = r->i;
	u32 size = op_mem_size(i, r->kind);
	bool writes = op_writes(i, r->kind);
	u64 ea = pass_address(r), *gpr = r->e->gpr;
	struct op o = {
	    .src = source_operand(r), .acc = gpr[RAX], .high = gpr[RDX], .flags = *r->e->rflags};
	enum emul_result res = EMUL_DONE;
	enum access how = writes ? READ_FOR_WRITE : READ;

	o.reg = pass_reg(r, i->reg, i->op_size);
	r->one_operand = true;
	if (r->kind == K_BT && !i->imm_size)
		ea = (ea + op_bit_displacement(i->op_size, o.src)) & size_mask(i->addr_size);
	if (op_reads(r->kind))
		res = pass_memory(r, how, i->seg, ea, size, &o.mem);
	if (res != EMUL_DONE)
		return res;
	if (!op_compute(i, r->kind, &o))
		return pass_fault(r->e, VEC_DE);
	if (writes)
		res = pass_memory(r, WRITE, i->seg, ea, size, &o.mem);
	if (res != EMUL_DONE)
		return res;
	store_results(r, &o);
	return pass_finish(r);
}

/* CMPXCHG8B and CMPXCHG16B: RDX:RAX with memory, which gets RCX:RBX if they are the same. */
static enum emul_result run_pair(struct pass *r)
{
	u32 size = r->i->rex & 8 ? 8 : 4;
	u64 *gpr = r->e->gpr, ea = pass_address(r), linear, mask = size_mask(size),
	    want[2] = {gpr[RAX] & mask, gpr[RDX] & mask}, new[2] = {gpr[RBX], gpr[RCX]},
	    old[2] = {0};
	u8 bytes[16];
	bool same;
	enum emul_result res = pass_linear(r->e, READ, r->i->seg, ea, 2 * size, &linear);

	if (res == EMUL_DONE && size == 8 && linear % 16)
		return pass_fault(r->e, VEC_GP);
	r->one_operand = true;
	if (res == EMUL_DONE)
		res = pass_memory(r, READ_FOR_WRITE, r->i->seg, ea, 2 * size, bytes);
	if (res != EMUL_DONE)
		return res;
	memcpy(&old[0], bytes, size);
	memcpy(&old[1], bytes + size, size);
	same = old[0] == want[0] && old[1] == want[1];
	if (same) {
		memcpy(bytes, &new[0], size);
		memcpy(bytes + size, &new[1], size);
	}
	res = pass_memory(r, WRITE, r->i->seg, ea, 2 * size, bytes);
	if (res != EMUL_DONE)
		return res;
	*r->e->rflags &= ~RFLAGS_ZF;
	if (same) {
		*r->e->rflags |= RFLAGS_ZF;
	} else {
		pass_set_reg(r, RAX, old[0], size);
		pass_set_reg(r, RDX, old[1], size);
	}
	return pass_finish(r);
}

/* AL = [RBX + AL] */
static enum emul_result run_xlat(struct pass *r)
{
	u64 *gpr = r->e->gpr, ea = (gpr[RBX] + (u8)gpr[RAX]) & size_mask(r->i->addr_size);
	u8 byte;
	enum emul_result res = pass_memory(r, READ, r->i->seg, ea, 1, &byte);

	if (res != EMUL_DONE)
		return res;
	pass_set_reg(r, RAX, byte, 1);
	return pass_finish(r);
}

static bool is_undefined(const struct insn *i, enum kind kind, u32 string)
{
	if (kind == K_STORE_SEGMENT && (i->reg & 7) > SEG_GS)
		return true;
	return i->lock && (string || kind > K_LOCKABLE || !op_writes(i, kind));
}

static enum emul_result run_kind(struct pass *r, const struct vector_move *move)
{
	u32 string = r->kind == K_NONE ? string_kind(r->i) : 0;

	if (move)
		return r->i->lock ? pass_fault(r->e, VEC_UD) : vector_run(r, move);
	if ((r->kind == K_NONE && !string) || (string & (STR_IN | STR_OUT) && !r->e->port))
		return EMUL_UNSUPPORTED;
	if (is_undefined(r->i, r->kind, string))
		return pass_fault(r->e, VEC_UD);
	if (string)
		return string_run(r, string);
	switch (r->kind) {
	case K_FLUSH:
		return pass_finish(r);
	case K_CMPXCHG_PAIR:
		return run_pair(r);
	case K_XLAT:
		return run_xlat(r);
	default:
		if (r->kind <= K_OPERAND_LAST)
			return run_operand(r);
		return r->kind <= K_STACK_LAST ? stack_run(r) : system_run(r);
	}
}

static enum emul_result run_pass(struct emul_state *st, struct emul_env *e, bool answered)
{
	struct pass r = {.st = st, .e = e, .i = &st->insn, .answered = answered, .kind = st->kind};
	const struct vector_move *move = r.kind == K_NONE ? vector_move(r.i) : NULL;
	enum emul_result res = run_kind(&r, move);

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
	st->kind = op_classify(i, e->mode);
	return run_pass(st, e, false);
}

enum emul_result emul_continue(struct emul_state *st, struct emul_env *e)
{
	return st->active ? run_pass(st, e, st->mmio_len != 0) : EMUL_UNSUPPORTED;
}

bool emul_is_plain_store(const struct insn *i, enum emul_mode mode)
{
	bool high_byte = i->op_size == 1 && !i->rex && i->reg >= 4; /* AH and its like */

	return mode == EMUL_64 && op_classify(i, mode) == K_STORE && !op_is_movbe(i) &&
	       i->seg < SEG_FS && !i->lock && !high_byte;
}
