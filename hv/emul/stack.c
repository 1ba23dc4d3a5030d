/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/stack.h"
#include "hv/emul/descriptor.h"
#include "hv/emul/system.h"
#include "hv/lib/log.h"
#include "hv/lib/x86.h"

/* The stack during an instruction: the pointer is the register's only when that is done. */
struct stack {
	struct pass *r;
	u64 sp;
	u32 width; /* of the pointer */
	u32 size;  /* of an element */
};

static struct stack stack_of(struct pass *r)
{
	struct stack s = {.r = r, .sp = r->e->gpr[RSP], .width = 8, .size = r->i->op_size};

	if (r->e->mode != EMUL_64) {
		r->e->ops->segment(r->e, SEG_SS);
		s.width = r->e->stack32 ? 4 : 2;
	}
	s.sp &= size_mask(s.width);
	return s;
}

static enum emul_result stack_push(struct stack *s, u64 val)
{
	s->sp = (s->sp - s->size) & size_mask(s->width);
	return pass_memory(s->r, WRITE, SEG_SS, s->sp, s->size, &val);
}

static enum emul_result stack_pop(struct stack *s, u64 *val)
{
	enum emul_result res;

	*val = 0;
	res = pass_memory(s->r, READ, SEG_SS, s->sp, s->size, val);
	s->sp = (s->sp + s->size) & size_mask(s->width);
	return res;
}

static enum emul_result stack_finish(struct stack *s)
{
	pass_set_reg(s->r, RSP, s->sp, s->width);
	return pass_finish(s->r);
}

/* The register in the opcode's low bits */
static u8 opcode_reg(const struct insn *i)
{
	return (i->opcode & 7) | (i->rex & 1) << 3;
}

/* ES, CS, SS, DS in the first map, FS, GS in the second */
static u8 opcode_segment(const struct insn *i)
{
	u8 seg = (i->opcode >> 3) & 7;

	if (i->map)
		seg = i->opcode & 8 ? SEG_GS : SEG_FS;
	BUG_ON(seg > SEG_GS);
	return seg;
}

static enum emul_result run_push(struct pass *r)
{
	struct stack s = stack_of(r);
	enum emul_result res = EMUL_DONE;
	u64 val = r->i->imm;
	u8 seg;

	if (r->kind == K_PUSH)
		res = pass_memory(r, READ, r->i->seg, pass_address(r), s.size, &val);
	else if (r->kind == K_PUSH_REG)
		val = pass_reg(r, opcode_reg(r->i), s.size);
	if (r->kind == K_PUSH_SEGMENT) {
		seg = opcode_segment(r->i);
		r->e->ops->segment(r->e, seg);
		val = r->e->seg_selector[seg];
	}
	if (res == EMUL_DONE)
		res = stack_push(&s, val);
	return res == EMUL_DONE ? stack_finish(&s) : res;
}

static enum emul_result run_pop(struct pass *r)
{
	const struct insn *i = r->i;
	struct stack s = stack_of(r);
	u64 val, ea = pass_address(r);
	enum emul_result res = stack_pop(&s, &val);

	if (r->kind == K_POP_REG) {
		if (res != EMUL_DONE)
			return res;
		pass_set_reg(r, RSP, s.sp, s.width); /* POP RSP writes it again */
		pass_set_reg(r, opcode_reg(i), val, s.size);
		return pass_finish(r);
	}
	if (i->base == RSP) /* addresses are with RSP as it is afterwards */
		ea = (ea + s.size) & size_mask(i->addr_size);
	if (res == EMUL_DONE)
		res = pass_memory(r, WRITE, i->seg, ea, s.size, &val);
	return res == EMUL_DONE ? stack_finish(&s) : res;
}

static enum emul_result run_pop_segment(struct pass *r)
{
	struct stack s = stack_of(r);
	u64 val;
	enum emul_result res = stack_pop(&s, &val);

	if (res == EMUL_DONE)
		res = system_load_segment(r, opcode_segment(r->i), val);
	return res == EMUL_DONE ? stack_finish(&s) : res;
}

static enum emul_result run_push_all(struct pass *r)
{
	struct stack s = stack_of(r);
	enum emul_result res = EMUL_DONE;

	for (u8 n = RAX; n <= RDI && res == EMUL_DONE; n++)
		res = stack_push(&s, pass_reg(r, n, s.size));
	return res == EMUL_DONE ? stack_finish(&s) : res;
}

/* SP's place is skipped. */
static enum emul_result run_pop_all(struct pass *r)
{
	struct stack s = stack_of(r);
	enum emul_result res = EMUL_DONE;
	u64 val[8];

	for (u32 n = 8; n-- > 0 && res == EMUL_DONE;)
		res = stack_pop(&s, &val[n]);
	if (res != EMUL_DONE)
		return res;
	for (u8 n = RAX; n <= RDI; n++)
		if (n != RSP)
			pass_set_reg(r, n, val[n], s.size);
	return stack_finish(&s);
}

static enum emul_result run_leave(struct pass *r)
{
	struct stack s = stack_of(r);
	enum emul_result res;
	u64 val;

	s.sp = r->e->gpr[RBP] & size_mask(s.width);
	res = stack_pop(&s, &val);
	if (res != EMUL_DONE)
		return res;
	pass_set_reg(r, RBP, val, s.size);
	return stack_finish(&s);
}

/* Within others it would copy their frame pointers, which no compiler asks for. */
static enum emul_result run_enter(struct pass *r)
{
	struct stack s = stack_of(r);
	enum emul_result res;
	u64 frame;

	if (r->i->imm >> 16 & 31)
		return EMUL_UNSUPPORTED;
	res = stack_push(&s, pass_reg(r, RBP, s.size));
	frame = s.sp;
	if (res != EMUL_DONE)
		return res;
	s.sp = (s.sp - (u16)r->i->imm) & size_mask(s.width);
	pass_set_reg(r, RBP, frame, s.size);
	return stack_finish(&s);
}

/* Near ones: the code segment stays. */
static enum emul_result run_branch(struct pass *r)
{
	const struct insn *i = r->i;
	struct stack s = stack_of(r);
	u64 next = *r->e->rip + i->len, target = next + i->imm, unused;
	enum emul_result res = EMUL_DONE;

	if (r->e->mode != EMUL_64)
		next = (u32)next;
	if (r->kind == K_RET) {
		res = stack_pop(&s, &target);
		s.sp = (s.sp + (i->imm_size ? (u16)i->imm : 0)) & size_mask(s.width);
	} else if (r->kind != K_CALL_REL) {
		target = 0;
		res = pass_memory(r, READ, i->seg, pass_address(r), s.size, &target);
	}
	target &= size_mask(s.size);
	if (res == EMUL_DONE && pass_linear(r->e, FETCH, SEG_CS, target, 1, &unused) != EMUL_DONE)
		return pass_fault(r->e, VEC_GP);
	if (res == EMUL_DONE && (r->kind == K_CALL || r->kind == K_CALL_REL))
		res = stack_push(&s, next);
	if (res != EMUL_DONE)
		return res;
	pass_set_reg(r, RSP, s.sp, s.width);
	return pass_finish_at(r, target);
}

static enum emul_result run_far_branch(struct pass *r)
{
	const struct insn *i = r->i;
	struct emul_system sys;
	struct stack s = stack_of(r);
	u64 next = *r->e->rip + i->len, old, target;
	enum emul_result res;

	r->e->ops->get_system(r->e, &sys);
	old = sys.seg[SEG_CS].selector;
	res = system_far_target(r, &sys, &target);
	if (res == EMUL_DONE && r->kind == K_CALL_FAR)
		res = stack_push(&s, old);
	if (res == EMUL_DONE && r->kind == K_CALL_FAR)
		res = stack_push(&s, next);
	if (res == EMUL_DONE)
		res = system_set_segments(r, &sys, BIT(SEG_CS));
	if (res != EMUL_DONE)
		return res;
	pass_set_reg(r, RSP, s.sp, s.width);
	return pass_finish_at(r, target);
}

/* The stack of those who are returned to. extra: bytes that RET takes off it. */
static enum emul_result pop_stack(struct stack *s, struct emul_system *sys, u64 extra)
{
	u64 sp, ss;
	enum emul_result res = stack_pop(s, &sp);

	if (res == EMUL_DONE)
		res = stack_pop(s, &ss);
	if (res == EMUL_DONE)
		res = system_data_segment(s->r, sys, SEG_SS, ss);
	s->width = sys->seg[SEG_SS].db ? 4 : 2;
	if (sys->seg[SEG_CS].l)
		s->width = 8;
	s->sp = (sp + extra) & size_mask(s->width);
	return res;
}

/* Data that the CPL is not for any more. What registers have changed. */
static u32 drop_segments(struct emul_system *sys)
{
	const u8 shared = TYPE_CODE | TYPE_CONFORMING;
	u32 mask = 0;

	for (u32 n = SEG_ES; n <= SEG_GS; n++) {
		struct corbel_segment *seg = &sys->seg[n];

		if (n == SEG_CS || n == SEG_SS || seg->unusable || seg->dpl >= sys->cpl ||
		    (seg->type & shared) == shared)
			continue;
		*seg = (struct corbel_segment){.base = seg->base, .unusable = 1};
		mask |= BIT(n);
	}
	return mask;
}

/* What IRET of this CPL leaves of the flags */
static u64 kept_flags(const struct pass *r, const struct emul_system *sys)
{
	u64 old = *r->e->rflags, keep = ~RFLAGS_SETTABLE;

	if (sys->cpl || !(sys->cr0 & CR0_PE))
		keep |= RFLAGS_VIF | RFLAGS_VIP;
	if (sys->cpl)
		keep |= RFLAGS_IOPL;
	if (sys->cpl > FIELD_GET(RFLAGS_IOPL, old))
		keep |= RFLAGS_IF;
	if (r->i->op_size == 2)
		keep |= ~0xffffull;
	return keep;
}

/*
 * To the same CPL, or outwards. Of tasks, virtual-8086 mode and TF by IRET, whose trap comes an
 * instruction later, nothing is known here.
 */
static enum emul_result run_return(struct pass *r)
{
	const u64 rare = RFLAGS_VM | RFLAGS_NT | RFLAGS_TF;
	bool iret = r->kind == K_IRET;
	u64 *rflags = r->e->rflags, rip, cs, flags = 0, keep, extra = (u16)r->i->imm;
	struct stack s = stack_of(r);
	struct emul_system sys;
	enum emul_result res = stack_pop(&s, &rip);
	u32 set = BIT(SEG_CS);
	u8 cpl;

	r->e->ops->get_system(r->e, &sys);
	cpl = sys.cpl;
	keep = kept_flags(r, &sys);
	if (res == EMUL_DONE)
		res = stack_pop(&s, &cs);
	if (res == EMUL_DONE && iret)
		res = stack_pop(&s, &flags);
	if (res == EMUL_DONE && iret && (flags | *rflags) & rare)
		return EMUL_UNSUPPORTED;
	if (res == EMUL_DONE)
		res = system_code_segment(r, &sys, cs, rip);
	s.sp = (s.sp + extra) & size_mask(s.width);
	if (sys.cpl != cpl)
		set |= drop_segments(&sys);
	if (res == EMUL_DONE && (sys.cpl != cpl || (iret && r->e->mode == EMUL_64))) {
		res = pop_stack(&s, &sys, extra);
		set |= BIT(SEG_SS);
	}
	if (res == EMUL_DONE)
		res = system_set_segments(r, &sys, set);
	if (res != EMUL_DONE)
		return res;
	pass_set_reg(r, RSP, s.sp, s.width);
	if (iret)
		*rflags = (*rflags & keep) | (flags & ~keep);
	r->e->iret = iret;
	r->e->rf = flags & ~keep & RFLAGS_RF;
	return pass_finish_at(r, rip);
}

enum emul_result stack_run(struct pass *r)
{
	switch (r->kind) {
	case K_PUSH:
	case K_PUSH_REG:
	case K_PUSH_SEGMENT:
	case K_PUSH_IMM:
		return run_push(r);
	case K_POP:
	case K_POP_REG:
		return run_pop(r);
	case K_POP_SEGMENT:
		return run_pop_segment(r);
	case K_RET_FAR:
	case K_IRET:
		return run_return(r);
	case K_PUSH_ALL:
		return run_push_all(r);
	case K_POP_ALL:
		return run_pop_all(r);
	case K_ENTER:
		return run_enter(r);
	case K_LEAVE:
		return run_leave(r);
	case K_CALL_FAR:
	case K_JMP_FAR:
		return run_far_branch(r);
	default:
		BUG_ON(r->kind < K_RET || r->kind > K_JMP);
		return run_branch(r);
	}
}
