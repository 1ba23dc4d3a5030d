/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The processor has checked most of this before it came to the access, but for an instruction that
 * may have changed since.
 */
#include "hv/emul/system.h"
#include "hv/emul/descriptor.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

/* Selectors are shifted segments here, and no table is asked. */
static bool is_real(const struct emul_system *s)
{
	return !(s->cr0 & CR0_PE) || s->vm86;
}

/* False: a table is asked instead. */
static bool set_real(const struct emul_system *s, struct corbel_segment *seg, u16 sel)
{
	if (!is_real(s))
		return false;
	seg->selector = sel;
	seg->base = sel << 4;
	return true;
}

/* d: two words of one of 16 bytes, which outside its table is #GP. */
static enum emul_result read_descriptor(struct pass *r, const struct emul_system *s, u16 sel,
					u32 size, u64 *d)
{
	u64 at;

	if (!descriptor_at(&s->seg[SEG_GDTR], &s->seg[SEG_LDTR], sel, size, &at))
		return pass_fault_at(r->e, VEC_GP, sel);
	return pass_memory(r, READ, SEG_SYSTEM, at, size, d);
}

static enum emul_result mark_descriptor(struct pass *r, const struct emul_system *s,
					const struct corbel_segment *seg)
{
	enum emul_result res;
	u8 old, rights;
	u64 at;

	if (is_real(s) || selector_is_null(seg->selector) ||
	    !descriptor_at(&s->seg[SEG_GDTR], &s->seg[SEG_LDTR], seg->selector, sizeof(u64), &at))
		return EMUL_DONE;
	res = pass_memory(r, READ, SEG_SYSTEM, at + 5, sizeof(old), &old);
	rights = old | seg->type; /* by which it can differ: accessed, busy */
	if (res == EMUL_DONE && rights != old)
		res = pass_memory(r, WRITE, SEG_SYSTEM, at + 5, sizeof(rights), &rights);
	return res;
}

enum emul_result system_set_segments(struct pass *r, const struct emul_system *s, u32 mask)
{
	enum emul_result res = EMUL_DONE;

	BUG_ON(mask >> SEGS);
	for (u32 n = 0; n < SEGS && res == EMUL_DONE; n++)
		if (mask & BIT(n))
			res = mark_descriptor(r, s, &s->seg[n]);
	for (u32 n = 0; n < SEGS && res == EMUL_DONE; n++)
		if (mask & BIT(n))
			r->e->ops->set_segment(r->e, n, &s->seg[n]);
	return res;
}

/* SDM "MOV - Move", protected-mode exceptions; DS, ES, FS, GS, SS */
enum emul_result system_data_segment(struct pass *r, struct emul_system *s, u8 n, u16 sel)
{
	struct corbel_segment *seg = &s->seg[n];
	enum emul_result res;
	u64 d;

	if (set_real(s, seg, sel))
		return EMUL_DONE;
	if (selector_is_null(sel)) {
		bool wide = s->long_mode && s->seg[SEG_CS].l;

		if (n == SEG_SS && (!wide || s->cpl == 3 || RPL(sel) != s->cpl))
			return pass_fault(r->e, VEC_GP);
		*seg = (struct corbel_segment){.selector = sel, .unusable = 1, .dpl = s->cpl};
		return EMUL_DONE;
	}
	res = read_descriptor(r, s, sel, sizeof(d), &d);
	if (res != EMUL_DONE)
		return res;
	descriptor_unpack(seg, sel, d);
	if (!descriptor_fits(n, seg, s->cpl))
		return pass_fault_at(r->e, VEC_GP, sel);
	if (!seg->present && n == SEG_SS)
		return pass_fault_at(r->e, VEC_SS, sel);
	if (!seg->present)
		return pass_fault_at(r->e, VEC_NP, sel);
	seg->type |= TYPE_ACCESSED;
	return EMUL_DONE;
}

/* Is it code that a branch may go to, or that a return, which has the CPL in its selector, may? */
static bool is_code_for(const struct corbel_segment *seg, u8 cpl, bool returns)
{
	u8 rpl = RPL(seg->selector), runs_at = returns ? rpl : cpl;

	if (!seg->s || !(seg->type & TYPE_CODE) || (seg->l && seg->db) || (returns && rpl < cpl))
		return false;
	if (seg->type & TYPE_CONFORMING)
		return seg->dpl <= runs_at;
	return seg->dpl == runs_at && rpl <= runs_at;
}

/* SDM "JMP - Jump" and "CALL - Call Procedure", as far as the CPL stays; "RET", "IRET" */
static enum emul_result code_segment(struct pass *r, struct emul_system *s, u16 sel)
{
	bool returns = r->kind == K_RET_FAR || r->kind == K_IRET;
	struct corbel_segment *seg = &s->seg[SEG_CS];
	enum emul_result res;
	u64 d;

	if (set_real(s, seg, sel))
		return EMUL_DONE;
	if (selector_is_null(sel))
		return pass_fault(r->e, VEC_GP);
	res = read_descriptor(r, s, sel, sizeof(d), &d);
	if (res != EMUL_DONE)
		return res;
	descriptor_unpack(seg, sel, d);
	if (!seg->s && !returns)
		return EMUL_UNSUPPORTED;
	seg->l = seg->l && s->long_mode;
	if (!is_code_for(seg, s->cpl, returns))
		return pass_fault_at(r->e, VEC_GP, sel);
	if (!seg->present)
		return pass_fault_at(r->e, VEC_NP, sel);
	seg->type |= TYPE_ACCESSED;
	if (returns)
		s->cpl = RPL(sel);
	seg->selector = (sel & ~3) | s->cpl;
	return EMUL_DONE;
}

/* The operand that has a selector behind an offset of the operand's size. */
static enum emul_result read_pointer(struct pass *r, u64 *offset, u16 *sel)
{
	u32 size = r->i->op_size;
	u8 bytes[sizeof(*offset) + sizeof(*sel)];
	enum emul_result res = EMUL_DONE;

	if (r->i->has_mem)
		res = pass_memory(r, READ, r->i->seg, pass_address(r), size + sizeof(*sel), bytes);
	else
		memcpy(bytes, &r->i->imm, sizeof(r->i->imm));
	if (res != EMUL_DONE)
		return res;
	*offset = 0;
	memcpy(offset, bytes, size);
	memcpy(sel, bytes + size, sizeof(*sel));
	return EMUL_DONE;
}

enum emul_result system_code_segment(struct pass *r, struct emul_system *s, u16 sel, u64 offset)
{
	const struct corbel_segment *cs = &s->seg[SEG_CS];
	enum emul_result res = code_segment(r, s, sel);

	if (res != EMUL_DONE)
		return res;
	if (cs->l ? !pass_is_canonical(r->e, offset) : offset > cs->limit)
		return pass_fault(r->e, VEC_GP);
	return EMUL_DONE;
}

enum emul_result system_far_target(struct pass *r, struct emul_system *s, u64 *offset)
{
	u16 sel;
	enum emul_result res = read_pointer(r, offset, &sel);

	return res == EMUL_DONE ? system_code_segment(r, s, sel, *offset) : res;
}

enum emul_result system_load_segment(struct pass *r, u8 n, u16 sel)
{
	struct emul_system s;
	enum emul_result res;

	r->e->ops->get_system(r->e, &s);
	res = system_data_segment(r, &s, n, sel);
	if (res == EMUL_DONE)
		res = system_set_segments(r, &s, BIT(n));
	r->e->shadow = n == SEG_SS && r->kind != K_LOAD_FAR;
	return res;
}

/* The operand that is a selector, or LMSW's */
static enum emul_result read_word(struct pass *r, u16 *word)
{
	if (r->i->has_mem)
		return pass_memory(r, READ, r->i->seg, pass_address(r), sizeof(*word), word);
	*word = pass_reg(r, r->i->rm, sizeof(*word));
	return EMUL_DONE;
}

/* MOV to a segment register, LDS and its like */
static enum emul_result run_segment(struct pass *r)
{
	const struct insn *i = r->i;
	u8 n = r->kind == K_LOAD_SEGMENT ? i->reg & 7 : i->opcode & 7;
	enum emul_result res;
	u64 offset = 0;
	u16 sel;

	if (r->kind == K_LOAD_FAR && !i->map) /* LES, LDS */
		n = i->opcode == 0xc4 ? SEG_ES : SEG_DS;
	if (n == SEG_CS || n > SEG_GS)
		return pass_fault(r->e, VEC_UD);
	if (r->kind == K_LOAD_FAR)
		res = read_pointer(r, &offset, &sel);
	else
		res = read_word(r, &sel);
	if (res == EMUL_DONE)
		res = system_load_segment(r, n, sel);
	if (res != EMUL_DONE)
		return res;
	if (r->kind == K_LOAD_FAR)
		pass_set_reg(r, i->reg, offset, i->op_size);
	return pass_finish(r);
}

/* LLDT and LTR, whose descriptors are of 16 bytes in long mode */
static enum emul_result table_segment(struct pass *r, struct emul_system *s, u8 n, u16 sel)
{
	struct corbel_segment *seg = &s->seg[n];
	u8 want = n == SEG_LDTR ? TYPE_LDT : TYPE_TSS | TYPE_32;
	u32 size = s->long_mode ? 16 : 8;
	enum emul_result res;
	u64 d[2] = {0};

	if (sel & SEL_TI || (n == SEG_TR && selector_is_null(sel)))
		return pass_fault_at(r->e, VEC_GP, sel);
	if (selector_is_null(sel)) {
		*seg = (struct corbel_segment){.selector = sel, .unusable = 1};
		return EMUL_DONE;
	}
	res = read_descriptor(r, s, sel, size, d);
	if (res != EMUL_DONE)
		return res;
	descriptor_unpack(seg, sel, d[0]);
	seg->l = 0;
	seg->base |= d[1] << 32;
	if (seg->s || (seg->type != want && (s->long_mode || seg->type != (want & ~TYPE_32))) ||
	    d[1] >> 40 & 31 || !pass_is_canonical(r->e, seg->base))
		return pass_fault_at(r->e, VEC_GP, sel);
	if (!seg->present)
		return pass_fault_at(r->e, VEC_NP, sel);
	if (n == SEG_TR)
		seg->type |= TYPE_BUSY;
	return EMUL_DONE;
}

/* LGDT, LIDT; the base has 24 bits with operands of 16. */
static enum emul_result load_table(struct pass *r, u8 n)
{
	struct corbel_segment table = {0};
	u32 size = r->e->mode == EMUL_64 ? 8 : 4;
	u8 bytes[sizeof(u16) + sizeof(u64)];
	enum emul_result res =
	    pass_memory(r, READ, r->i->seg, pass_address(r), sizeof(u16) + size, bytes);

	if (res != EMUL_DONE)
		return res;
	memcpy(&table.limit, bytes, sizeof(u16));
	memcpy(&table.base, bytes + sizeof(u16), size);
	if (size == 4 && r->i->op_size == 2)
		table.base &= GENMASK(23, 0);
	if (!pass_is_canonical(r->e, table.base))
		return pass_fault(r->e, VEC_GP);
	r->e->ops->set_segment(r->e, n, &table);
	return EMUL_DONE;
}

/* The last part of what is loaded: LLDT, LTR, LMSW have a word. */
static enum emul_result load_word(struct pass *r, struct emul_system *s, u8 ext)
{
	u8 n = ext == 2 ? SEG_LDTR : SEG_TR;
	u16 word;
	enum emul_result res = read_word(r, &word);

	if (res != EMUL_DONE)
		return res;
	if (r->i->opcode) {
		if (!r->e->ops->set_cr0(r->e, cr0_with_msw(s->cr0, word)))
			return pass_fault(r->e, VEC_GP);
		return EMUL_DONE;
	}
	res = table_segment(r, s, n, word);
	return res == EMUL_DONE ? system_set_segments(r, s, BIT(n)) : res;
}

static enum emul_result store_register(struct pass *r, const struct emul_system *s, u8 ext)
{
	const struct corbel_segment *table = &s->seg[ext ? SEG_IDTR : SEG_GDTR];
	u8 bytes[sizeof(u16) + sizeof(u64)];
	u32 size = sizeof(u16);
	u16 word = s->cr0;

	if (!r->i->opcode)
		word = s->seg[ext ? SEG_TR : SEG_LDTR].selector;
	else if (ext != 4)
		word = table->limit;
	memcpy(bytes, &word, sizeof(word));
	if (r->i->opcode && ext != 4) {
		memcpy(bytes + sizeof(word), &table->base, sizeof(table->base));
		size += r->e->mode == EMUL_64 ? 8 : 4;
	}
	return pass_memory(r, WRITE, r->i->seg, pass_address(r), size, bytes);
}

/* The groups 0F 00 and 0F 01 */
static enum emul_result run_group(struct pass *r)
{
	u8 ext = modrm_ext(r->i);
	bool loads = r->kind == K_LOAD_SYSTEM;
	struct emul_system s;
	enum emul_result res;

	r->e->ops->get_system(r->e, &s);
	if (!r->i->opcode && is_real(&s))
		return pass_fault(r->e, VEC_UD);
	if (s.cpl && (loads || s.umip))
		return pass_fault(r->e, VEC_GP);
	if (!loads)
		res = store_register(r, &s, ext);
	else if (r->i->opcode && ext != 6)
		res = load_table(r, SEG_GDTR + (ext & 1));
	else
		res = load_word(r, &s, ext);
	return res == EMUL_DONE ? pass_finish(r) : res;
}

enum emul_result system_run(struct pass *r)
{
	BUG_ON(r->kind < K_LOAD_SEGMENT || r->kind > K_SYSTEM_LAST);
	if (r->kind == K_LOAD_SEGMENT || r->kind == K_LOAD_FAR)
		return run_segment(r);
	return run_group(r);
}
