/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/vector.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define V_STORE	  BIT(0)
#define V_ALIGNED BIT(1)
#define V_MMX	  BIT(2) /* without VEX only */
#define V_PART	  BIT(3) /* the rest of the register stays, or is another's with VEX */
#define V_HIGH	  BIT(4) /* the part is the upper one of 128 bits */
#define V_W	  BIT(5) /* 4 bytes, 8 with REX.W or VEX.W */

#define WHOLE 0 /* 16 bytes, or 32 */

struct vector_move {
	u8 map, opcode, pp, size, flags;
};

/* clang-format off */
#define PS_AND_PD(op, size, flags) {1, op, PP_NONE, size, flags}, {1, op, PP_66, size, flags}

static const struct vector_move moves[] = {
	PS_AND_PD(0x10, WHOLE, 0), {1, 0x10, PP_F3, 4, 0}, {1, 0x10, PP_F2, 8, 0},
	PS_AND_PD(0x11, WHOLE, V_STORE), {1, 0x11, PP_F3, 4, V_STORE}, {1, 0x11, PP_F2, 8, V_STORE},
	PS_AND_PD(0x12, 8, V_PART), PS_AND_PD(0x13, 8, V_STORE),
	PS_AND_PD(0x16, 8, V_PART | V_HIGH), PS_AND_PD(0x17, 8, V_STORE | V_HIGH),
	PS_AND_PD(0x28, WHOLE, V_ALIGNED), PS_AND_PD(0x29, WHOLE, V_STORE | V_ALIGNED),
	PS_AND_PD(0x2b, WHOLE, V_STORE | V_ALIGNED),
	{1, 0x6e, PP_NONE, 4, V_MMX | V_W}, {1, 0x7e, PP_NONE, 4, V_MMX | V_W | V_STORE},
	{1, 0x6e, PP_66, 4, V_W}, {1, 0x7e, PP_66, 4, V_W | V_STORE},
	{1, 0x6f, PP_NONE, 8, V_MMX}, {1, 0x7f, PP_NONE, 8, V_MMX | V_STORE},
	{1, 0x6f, PP_66, WHOLE, V_ALIGNED}, {1, 0x7f, PP_66, WHOLE, V_STORE | V_ALIGNED},
	{1, 0x6f, PP_F3, WHOLE, 0}, {1, 0x7f, PP_F3, WHOLE, V_STORE},
	{1, 0x7e, PP_F3, 8, 0}, {1, 0xd6, PP_66, 8, V_STORE},
	{1, 0xe7, PP_NONE, 8, V_MMX | V_STORE}, {1, 0xe7, PP_66, WHOLE, V_STORE | V_ALIGNED},
	{1, 0xf0, PP_F2, WHOLE, 0}, {2, 0x2a, PP_66, WHOLE, V_ALIGNED},
};
/* clang-format on */

const struct vector_move *vector_move(const struct insn *i)
{
	if (!i->has_mem || (i->vex && i->vex != 0xc4 && i->vex != 0xc5))
		return NULL;
	for (const struct vector_move *m = moves; m < moves + ARRAY_SIZE(moves); m++)
		if (m->map == i->map && m->opcode == i->opcode && m->pp == i->pp &&
		    !(i->vex && m->flags & V_MMX))
			return m;
	return NULL;
}

static u32 move_size(const struct insn *i, const struct vector_move *m)
{
	if (m->flags & V_W)
		return i->rex & 8 ? 8 : 4;
	if (m->size != WHOLE)
		return m->size;
	return i->vex_256 ? 32 : 16;
}

/*
 * What a load leaves of register n: without VEX bits 128 and above, and of V_PART the other half.
 */
static int prepare_load(struct pass *r, const struct vector_move *m, enum emul_vector file, u8 n,
			u8 *val)
{
	const struct insn *i = r->i;
	u8 other = i->vex && m->flags & V_PART ? i->vvvv : n;
	int ret = r->e->ops->vector(r->e, file, other, val, false);

	if (!(m->flags & V_PART))
		memset(val, 0, 16);
	if (i->vex)
		memset(val + 16, 0, 16);
	return ret;
}

enum emul_result vector_run(struct pass *r, const struct vector_move *m)
{
	const struct insn *i = r->i;
	u32 size = move_size(i, m), at = m->flags & V_HIGH ? 8 : 0;
	u64 ea = pass_address(r), linear;
	enum emul_vector file = i->vex ? EMUL_AVX : EMUL_SSE;
	enum access how = m->flags & V_STORE ? WRITE : READ;
	u8 val[32], n = i->reg;
	enum emul_result res;
	int ret;

	BUG_ON(at + size > sizeof(val));
	r->one_operand = true;
	if (m->flags & V_MMX) {
		file = EMUL_MMX;
		n &= 7; /* REX.R means nothing */
	}
	if (m->flags & V_STORE)
		ret = r->e->ops->vector(r->e, file, n, val, false);
	else
		ret = prepare_load(r, m, file, n, val);
	if (ret)
		return EMUL_FAULT;
	res = pass_linear(r->e, how, i->seg, ea, size, &linear);
	if (res == EMUL_DONE && m->flags & V_ALIGNED && linear % size)
		return pass_fault(r->e, VEC_GP);
	if (res == EMUL_DONE)
		res = pass_memory(r, how, i->seg, ea, size, val + at);
	if (res != EMUL_DONE)
		return res;
	if (!(m->flags & V_STORE) && r->e->ops->vector(r->e, file, n, val, true))
		return EMUL_FAULT;
	return pass_finish(r);
}
