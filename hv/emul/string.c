/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/string.h"
#include "hv/lib/log.h"
#include "hv/lib/x86.h"

/* iterations of one run, over all its calls, so that interrupts get their turn */
#define REP_MAX 256

/*
 * 6C to 6F and A4 to AF, a byte opcode and its neighbour as one; TEST, at A8, is no string
 * instruction.
 */
u32 string_kind(const struct insn *i)
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
	    a = pass_reg(r, RAX, size), b = 0;
	s64 step = *r->e->rflags & RFLAGS_DF ? -(s64)size : size;
	enum emul_result res = EMUL_DONE;

	/* a port is not read for what could not be stored */
	if (kind & STR_IN && !r->st->phase && !r->answered)
		res = pass_check(r, WRITE, SEG_ES, to, size);
	if (res == EMUL_DONE && kind & STR_IN)
		res = pass_port(r, true, size, &a);
	if (kind & STR_SRC)
		res = pass_memory(r, READ, i->seg, from, size, &a);
	if (res == EMUL_DONE && kind & STR_DST)
		res = pass_memory(r, READ, SEG_ES, to, size, &b);
	if (res == EMUL_DONE && kind & STR_STORE)
		res = pass_memory(r, WRITE, SEG_ES, to, size, &a);
	if (res == EMUL_DONE && kind & STR_OUT)
		res = pass_port(r, false, size, &a);
	if (res != EMUL_DONE)
		return res;

	if (kind == STR_SRC)
		pass_set_reg(r, RAX, a, size);
	if (kind & STR_CMP)
		op_alu(ALU_CMP, a, b, size, r->e->rflags);
	if (kind & STR_SRC)
		pass_add_reg(r, RSI, step, width);
	if (kind & (STR_DST | STR_STORE))
		pass_add_reg(r, RDI, step, width);
	r->st->phase = r->passed = 0;
	return EMUL_DONE;
}

/* REPE goes on while ZF is set, REPNE while it is clear. */
static bool string_ends(const struct pass *r, u32 kind)
{
	bool equal = *r->e->rflags & RFLAGS_ZF;

	return !r->i->rep || (kind & STR_CMP && equal != (r->i->rep == 0xf3));
}

enum emul_result string_run(struct pass *r, u32 kind)
{
	const struct insn *i = r->i;
	enum emul_result res;

	for (; r->st->iterations < REP_MAX; r->st->iterations++) {
		/* An iteration that has begun is done, though the VMM may meanwhile have set 0. */
		bool begun = r->st->phase || r->answered;
		u64 left = r->e->gpr[RCX] & size_mask(i->addr_size);

		if (i->rep && !left && !begun)
			return pass_finish(r);
		res = string_step(r, kind);
		if (res != EMUL_DONE)
			return res;
		if (i->rep && left)
			pass_add_reg(r, RCX, -1, i->addr_size);
		if (string_ends(r, kind))
			return pass_finish(r);
		if (*r->e->rflags & RFLAGS_TF && left > 1) /* each iteration has its trap */
			return EMUL_DONE;
	}
	return EMUL_DONE;
}

int emul_string_span(struct emul_env *e, const struct insn *i, u64 *linear)
{
	u64 mask = size_mask(i->addr_size), left = 1, fit = 1, ea, unused;
	enum access type = WRITE;
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
		type = READ;
	}
	if (pass_linear(e, type, seg, ea, i->op_size, linear) != EMUL_DONE)
		return -EFAULT;
	if (i->rep && !(*e->rflags & (RFLAGS_DF | RFLAGS_TF)))
		fit = MIN(left, (PAGE_SIZE - *linear % PAGE_SIZE) / i->op_size);
	if (!fit || ea + fit * i->op_size - 1 > mask ||
	    pass_linear(e, type, seg, ea, fit * i->op_size, &unused) != EMUL_DONE)
		return 1;
	return fit;
}
