/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/stack.h"
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
static u16 segment_of(const struct pass *r)
{
	u8 seg = (r->i->opcode >> 3) & 7;

	if (r->i->map)
		seg = r->i->opcode == 0xa0 ? SEG_FS : SEG_GS;
	BUG_ON(seg > SEG_GS);
	r->e->ops->segment(r->e, seg);
	return r->e->seg_selector[seg];
}

static enum emul_result run_push(struct pass *r)
{
	struct stack s = stack_of(r);
	enum emul_result res = EMUL_DONE;
	u64 val = r->i->imm;

	if (r->kind == K_PUSH)
		res = pass_memory(r, READ, r->i->seg, pass_address(r), s.size, &val);
	else if (r->kind == K_PUSH_REG)
		val = pass_reg(r, opcode_reg(r->i), s.size);
	else if (r->kind == K_PUSH_SEGMENT)
		val = segment_of(r);
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
	if (res == EMUL_DONE && pass_linear(r->e, SEG_CS, target, 1, &unused) != EMUL_DONE)
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
		res = system_set_segment(r, &sys, SEG_CS);
	if (res != EMUL_DONE)
		return res;
	pass_set_reg(r, RSP, s.sp, s.width);
	return pass_finish_at(r, target);
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
