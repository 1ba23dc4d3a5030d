/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c
 */
/*
 * The emulator against the processor it runs on: each instruction is generated with random
 * operands, run natively against memory, and emulated with the same memory as MMIO, as RAM or as a
 * mixture by pages. Then everything must be equal.
 */
#define _GNU_SOURCE
#include "emul_native.h"

#define ROUNDS 400 /* per opcode, operand size and lock or not */

struct template
{
	const char *name;
	u8 map;	   /* 0, 1 = 0F, 2 = 0F38 */
	u8 opcode; /* of the wide form */
	s8 ext;	   /* ModRM.reg, or -1: a register */
	u8 imm;	   /* 0 none, 1 imm8, 4 imm16/32 */
	u8 sizes;  /* bits 1, 2, 4, 8: allowed operand sizes; 1 takes opcode - 1 */
	u8 lock;
	u32 flags; /* that are defined afterwards */
	/* does it read, write the operand; memory size is the operand size unless given in mem */
	u8 read, write;
	u8 mem;
};

/* clang-format off */
#define W  14
#define BW 15
#define LOGIC (ARITH & ~AF)
#define SHIFT (CF | SF | ZF | PF)
#define ALU(n, op, fl, wr) \
	{n " m,r", 0, (op) + 1, -1, 0, BW, wr, fl, 1, wr, 0}, \
	{n " r,m", 0, (op) + 3, -1, 0, BW, 0, fl, 1, 0, 0}, \
		{n " m,imm", 0, 0x81, (op) >> 3, 4, BW, wr, fl, 1, wr, 0}, \
		{n " m,imm8", 0, 0x83, (op) >> 3, 1, W, wr, fl, 1, wr, 0}

static const struct template templates[] = {
	ALU("add", 0x00, ARITH, 1), ALU("or", 0x08, LOGIC, 1), ALU("adc", 0x10, ARITH, 1),
	ALU("sbb", 0x18, ARITH, 1),
	ALU("and", 0x20, LOGIC, 1), ALU("sub", 0x28, ARITH, 1), ALU("xor", 0x30, LOGIC, 1),
	ALU("cmp", 0x38, ARITH, 0),
	{"test m,r", 0, 0x85, -1, 0, BW, 0, LOGIC, 1, 0, 0},
	{"test m,imm", 0, 0xf7, 0, 4, BW, 0, LOGIC, 1, 0, 0},
	{"test m,imm (/1)", 0, 0xf7, 1, 4, BW, 0, LOGIC, 1, 0, 0},
	{"mov m,r", 0, 0x89, -1, 0, BW, 0, ARITH, 0, 1, 0},
	{"mov r,m", 0, 0x8b, -1, 0, BW, 0, ARITH, 1, 0, 0},
	{"mov m,imm", 0, 0xc7, 0, 4, BW, 0, ARITH, 0, 1, 0},
	{"movzx r,m8", 1, 0xb6, -1, 0, W, 0, ARITH, 1, 0, 1},
	{"movzx r,m16", 1, 0xb7, -1, 0, W, 0, ARITH, 1, 0, 2},
	{"movsx r,m8", 1, 0xbe, -1, 0, W, 0, ARITH, 1, 0, 1},
	{"movsx r,m16", 1, 0xbf, -1, 0, W, 0, ARITH, 1, 0, 2},
	{"movsxd r,m32", 0, 0x63, -1, 0, 12, 0, ARITH, 1, 0, 4},
	{"movbe r,m", 2, 0xf0, -1, 0, W, 0, ARITH, 1, 0, 0},
	{"movbe m,r", 2, 0xf1, -1, 0, W, 0, ARITH, 0, 1, 0},
	{"movnti m,r", 1, 0xc3, -1, 0, 12, 0, ARITH, 0, 1, 0},
	{"xchg m,r", 0, 0x87, -1, 0, BW, 1, ARITH, 1, 1, 0},
	{"xadd m,r", 1, 0xc1, -1, 0, BW, 1, ARITH, 1, 1, 0},
	{"cmpxchg m,r", 1, 0xb1, -1, 0, BW, 1, ARITH, 1, 1, 0},
	{"inc m", 0, 0xff, 0, 0, BW, 1, ARITH, 1, 1, 0},
	{"dec m", 0, 0xff, 1, 0, BW, 1, ARITH, 1, 1, 0},
	{"not m", 0, 0xf7, 2, 0, BW, 1, ARITH, 1, 1, 0},
	{"neg m", 0, 0xf7, 3, 0, BW, 1, ARITH, 1, 1, 0},
	{"bt m,r", 1, 0xa3, -1, 0, W, 0, CF | ZF, 1, 0, 0},
	{"bts m,r", 1, 0xab, -1, 0, W, 1, CF | ZF, 1, 1, 0},
	{"btr m,r", 1, 0xb3, -1, 0, W, 1, CF | ZF, 1, 1, 0},
	{"btc m,r", 1, 0xbb, -1, 0, W, 1, CF | ZF, 1, 1, 0},
	{"bt m,imm8", 1, 0xba, 4, 1, W, 0, CF | ZF, 1, 0, 0},
	{"bts m,imm8", 1, 0xba, 5, 1, W, 1, CF | ZF, 1, 1, 0},
	{"btr m,imm8", 1, 0xba, 6, 1, W, 1, CF | ZF, 1, 1, 0},
	{"btc m,imm8", 1, 0xba, 7, 1, W, 1, CF | ZF, 1, 1, 0},
	{"rol m,imm8", 0, 0xc1, 0, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"ror m,imm8", 0, 0xc1, 1, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcl m,imm8", 0, 0xc1, 2, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcr m,imm8", 0, 0xc1, 3, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"shl m,imm8", 0, 0xc1, 4, 1, BW, 0, SHIFT, 1, 1, 0},
	{"shr m,imm8", 0, 0xc1, 5, 1, BW, 0, SHIFT, 1, 1, 0},
	{"sal m,imm8", 0, 0xc1, 6, 1, BW, 0, SHIFT, 1, 1, 0},
	{"sar m,imm8", 0, 0xc1, 7, 1, BW, 0, SHIFT, 1, 1, 0},
	{"rol m,1", 0, 0xd1, 0, 0, BW, 0, ARITH, 1, 1, 0},
	{"ror m,1", 0, 0xd1, 1, 0, BW, 0, ARITH, 1, 1, 0},
	{"rcl m,1", 0, 0xd1, 2, 0, BW, 0, ARITH, 1, 1, 0},
	{"rcr m,1", 0, 0xd1, 3, 0, BW, 0, ARITH, 1, 1, 0},
	{"shl m,1", 0, 0xd1, 4, 0, BW, 0, LOGIC, 1, 1, 0},
	{"shr m,1", 0, 0xd1, 5, 0, BW, 0, LOGIC, 1, 1, 0},
	{"sar m,1", 0, 0xd1, 7, 0, BW, 0, LOGIC, 1, 1, 0},
	{"rol m,cl", 0, 0xd3, 0, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"ror m,cl", 0, 0xd3, 1, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcl m,cl", 0, 0xd3, 2, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcr m,cl", 0, 0xd3, 3, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"shl m,cl", 0, 0xd3, 4, 0, BW, 0, SHIFT & ~CF, 1, 1, 0},
	{"shr m,cl", 0, 0xd3, 5, 0, BW, 0, SHIFT & ~CF, 1, 1, 0},
	{"sar m,cl", 0, 0xd3, 7, 0, BW, 0, SHIFT & ~CF, 1, 1, 0},
	{"shld m,r,imm8", 1, 0xa4, -1, 1, W, 0, SHIFT, 1, 1, 0},
	{"shrd m,r,imm8", 1, 0xac, -1, 1, W, 0, SHIFT, 1, 1, 0},
	{"shld m,r,cl", 1, 0xa5, -1, 0, 12, 0, SHIFT, 1, 1, 0},
	{"shrd m,r,cl", 1, 0xad, -1, 0, 12, 0, SHIFT, 1, 1, 0},
	{"setcc m", 1, 0x91, 0, 0, 1, 0, ARITH, 0, 1, 0},
	{"movcc r,m", 1, 0x40, -1, 0, W, 0, ARITH, 1, 0, 0},
	{"imul r,m", 1, 0xaf, -1, 0, W, 0, CF | OF, 1, 0, 0},
	{"imul r,m,imm8", 0, 0x6b, -1, 1, W, 0, CF | OF, 1, 0, 0},
	{"imul r,m,imm", 0, 0x69, -1, 4, W, 0, CF | OF, 1, 0, 0},
	{"mul m", 0, 0xf7, 4, 0, BW, 0, CF | OF, 1, 0, 0},
	{"imul m", 0, 0xf7, 5, 0, BW, 0, CF | OF, 1, 0, 0},
	{"div m", 0, 0xf7, 6, 0, BW, 0, 0, 1, 0, 0},
	{"idiv m", 0, 0xf7, 7, 0, BW, 0, 0, 1, 0, 0},
	{"scan forward", 1, 0xbc, -1, 0, W, 0, ZF, 1, 0, 0},
	{"scan reverse", 1, 0xbd, -1, 0, W, 0, ZF, 1, 0, 0},
	{"mov m,cs", 0, 0x8c, 1, 0, W, 0, ARITH, 0, 1, 2},
	{"mov m,ss", 0, 0x8c, 2, 0, W, 0, ARITH, 0, 1, 2},
	{"mov m,gs", 0, 0x8c, 5, 0, W, 0, ARITH, 0, 1, 2},
	{"cmpxchg8b m", 1, 0xc7, 1, 0, 4, 1, ARITH, 1, 1, 8},
	{"cmpxchg16b m", 1, 0xc7, 1, 0, 8, 1, ARITH, 1, 1, 16},
	{"jmp m", 0, 0xff, 4, 0, 8, 0, ARITH, 1, 0, 0},
	{"pcall m", 0, 0xff, 2, 0, 8, 0, ARITH, 1, 1, 0},
	{"push m", 0, 0xff, 6, 0, 10, 0, ARITH, 1, 1, 0},
	{"pop m", 0, 0x8f, 0, 0, 10, 0, ARITH, 1, 1, 0},
};
/* clang-format on */

static bool is_stack(const struct template *t)
{
	return t->name[0] == 'p';
}

static bool is_pair(const struct template *t)
{
	return t->map == 1 && t->opcode == 0xc7;
}

/* MUL, DIV and their like, with an operand in RDX and RAX */
static bool is_wide(const struct template *t)
{
	return t->opcode == 0xf7 && t->ext >= 4;
}

static bool is_branch(const struct template *t)
{
	return t->opcode == 0xff && (t->ext == 2 || t->ext == 4);
}

static bool is_conditional(const struct template *t)
{
	return t->map == 1 && (t->opcode == 0x91 || t->opcode == 0x40);
}

static bool is_bit_string(const struct template *t)
{
	return t->name[0] == 'b' && t->ext < 0;
}

/* How the operand in memory is addressed. */
enum form { BASE_DISP8, BASE_DISP32, BASE_INDEX_DISP32, RIP_DISP32, DISP32, FORMS };

/* One instruction of a template, in 64-bit mode. */
struct choice {
	enum form form;
	u32 size, off; /* of the operand; where in the data it lies */
	u8 base, index, scale, reg;
	s32 disp;
	bool lock, addr32, use_rex;
};

static bool has_base(const struct choice *c)
{
	return c->form <= BASE_INDEX_DISP32;
}

/* Registers that cannot do two things at once */
static bool do_registers_collide(const struct template *t, const struct choice *c)
{
	bool is_wide_base = c->base == RAX || c->base == RDX || c->base == RSP || c->base == RSI;

	return c->index == RSP || c->index == c->base || (is_branch(t) && c->base == RSP) ||
	       (is_wide(t) && (is_wide_base || c->index == RAX || c->index == RDX)) ||
	       (is_bit_string(t) && (c->reg == c->base || c->reg == c->index));
}

static struct choice choose(const struct template *t, u32 size, bool lock)
{
	u32 margin = is_stack(t) ? 512 : 256;
	struct choice c = {.size = size, .lock = lock};

	c.form = rnd() % FORMS;
	if (rnd() % 3)
		c.off = margin + rnd() % (DATA_SIZE - 2 * margin);
	else /* across two pages */
		c.off = 4096 * (1 + rnd() % 3) - rnd() % 8;
	c.scale = rnd() % 4;
	c.addr32 = rnd() % 4 == 0;
	c.use_rex = rnd() % 2;
	c.disp = c.form == BASE_DISP8 ? (s8)rnd() : (s32)rnd() >> 1;
	do {
		c.base = rnd() % 16;
		c.index = rnd() % 16;
		c.reg = t->ext < 0 ? rnd() % 16 : (u8)t->ext;
	} while (do_registers_collide(t, &c));
	if (lock || t->opcode == 0x87)
		c.off &= ~7u; /* no split locks */
	if (is_pair(t))
		c.off &= ~15u;
	return c;
}

/* The operand's address in registers: nat->in, and what of the choice must fit that. */
static void set_address(const struct template *t, struct choice *c)
{
	u64 *in = nat->in, base = data_at + c->off - (u64)(s64)c->disp;

	if (c->form == BASE_INDEX_DISP32)
		in[c->base] = base - (in[c->index] << c->scale);
	else if (has_base(c))
		in[c->base] = base;
	if (c->base == RSP && is_stack(t) && has_base(c)) { /* it is both stack and base */
		in[RSP] = data_at + 2048;
		c->disp = c->form == BASE_DISP8 ? 0x40 : 0x400;
		if (c->form == BASE_INDEX_DISP32)
			in[c->index] = rnd() % 64;
		c->addr32 = false;
	}
	if (c->addr32 && has_base(c) && c->base != RSP) /* the upper half must not matter */
		in[c->base] = (in[c->base] & 0xffffffff) | rnd() << 32;
}

static void set_registers(const struct template *t, struct choice *c)
{
	u64 mask = c->size == 8 ? ~0ull : (1ull << 8 * c->size) - 1;

	for (u32 k = 0; k < 16; k++)
		nat->in[k] = rnd_value();
	if (is_wide(t) && rnd() % 4) /* a quotient that fits */
		nat->in[RDX] = rnd() % 2 ? 0 : ~0ull;
	nat->flags_in = 0x202 | (rnd() & (ARITH | DF));
	/* stack operations write there */
	nat->in[RSP] = data_at + (rnd() % 2 ? 4096 - rnd() % 8 : 1024u);
	if (is_bit_string(t)) { /* bits outside the operand */
		s64 bit = (s64)(rnd() % 1600) - 800;

		nat->in[c->reg] = (nat->in[c->reg] & ~mask) | ((u64)bit & mask);
	}
	set_address(t, c);
}

/* Prefixes and opcode; the number of bytes. */
static u32 put_opcode(const struct template *t, const struct choice *c, u8 *b)
{
	bool wide = c->size == 8 && !is_stack(t) && !is_branch(t);
	u8 rex = 0x40 | wide << 3 | (c->reg & 8) >> 1;
	u32 n = 0;

	if (c->form == BASE_INDEX_DISP32)
		rex |= (c->index & 8) >> 2;
	if (has_base(c))
		rex |= c->base >> 3;
	if (c->size == 2)
		b[n++] = 0x66;
	if (c->addr32)
		b[n++] = 0x67;
	if (c->lock)
		b[n++] = 0xf0;
	if (rex != 0x40 || c->use_rex)
		b[n++] = rex;
	if (t->map)
		b[n++] = 0x0f;
	if (t->map == 2)
		b[n++] = 0x38;
	b[n++] = t->opcode - (c->size == 1) + (is_conditional(t) ? rnd() % 16 : 0);
	return n;
}

/* ModRM, SIB and displacement behind n bytes, with so many of an immediate operand to follow. */
static u32 put_operand(const struct choice *c, u8 *b, u32 n, u32 imm)
{
	u64 target = data_at + c->off;
	u32 len = c->form == BASE_DISP8 ? 1 : 4;
	u8 reg = (c->reg & 7) << 3, base = c->base & 7;
	s32 disp = c->disp;

	switch (c->form) {
	case BASE_INDEX_DISP32:
		b[n++] = 0x84 | reg;
		b[n++] = c->scale << 6 | (c->index & 7) << 3 | base;
		break;
	case RIP_DISP32:
		b[n++] = 0x05 | reg;
		disp = (s32)(target - (low(native_prologue()) + n + len + imm));
		break;
	case DISP32:
		b[n++] = 0x04 | reg;
		b[n++] = 0x25;
		disp = (s32)target;
		break;
	default:
		b[n++] = (c->form == BASE_DISP8 ? 0x40 : 0x80) | reg | base;
		if (base == RSP)
			b[n++] = 0x24;
	}
	memcpy(b + n, &disp, len);
	return n + len;
}

/* Where it matters what lies in memory: for an instruction of n bytes. */
static void set_operand(const struct template *t, const struct choice *c, u32 n)
{
	u8 *at = nat->data + c->off;

	if (is_branch(t))
		memcpy(at, &(u64){low(native_prologue()) + n}, 8);
	if (is_pair(t) && rnd() % 2) {
		memcpy(at, &nat->in[RAX], c->size);
		memcpy(at + c->size, &nat->in[RDX], c->size);
	}
	/* CMPXCHG that succeeds */
	if (t->name[0] == 'c' && t->opcode == 0xb1 && rnd() % 2 && c->off + 8 <= DATA_SIZE)
		memcpy(at, &nat->in[RAX], 8);
}

/*
 * One random encoding of a template, with nat->in set so that the operand lies in the data. The
 * number of bytes.
 */
static u32 generate(const struct template *t, u32 size, bool lock, u8 *b)
{
	u32 imm = t->imm == 4 ? MIN(size, 4) : t->imm, n;
	struct choice c = choose(t, size, lock);

	set_registers(t, &c);
	n = put_operand(&c, b, put_opcode(t, &c, b), imm);
	for (u32 k = 0; k < imm; k++)
		b[n++] = rnd();
	if (t->imm && (t->opcode == 0xc1 || (t->map == 1 && (t->opcode | 8) == 0xac)))
		b[n - 1] &= 0xe7; /* counts above the size have undefined flags */
	set_operand(t, &c, n);
	return n;
}

static u32 divisions;

static void test_template(const struct template *t)
{
	u32 before = failed;

	for (u32 size = 1; size <= 8; size <<= 1) {
		u32 mem = t->mem ?: size;

		for (u32 r = 0;
		     r < ROUNDS * (1u + t->lock) && failed < before + 4 && t->sizes & size; r++) {
			u8 b[16];
			u32 n;

			if (r % 16 == 0)
				random_memory();
			n = generate(t, size, t->lock && r % 2, b);
			compare(t->name, b, n, t->flags, false);
			divisions += is_wide(t) && t->ext >= 6 && !native_faulted;
			if (dev.mmio_pages == 15 && !native_faulted)
				EXPECT(dev.read == (t->read ? mem : 0) &&
					   dev.written == (t->write ? mem : 0),
				       "%s: MMIO read %u and written %u bytes", t->name, dev.read,
				       dev.written);
		}
	}
	CHECK(failed == before, "%s as the processor does", t->name);
}

/* The stack in MMIO, by instructions whose only operand in memory it is; and XLAT. */
static void test_implicit(void)
{
	static const struct {
		const char *bytes;
		u32 len;
		bool target; /* where to return to lies on the stack */
	} forms[] = {
	    {"\x50", 1},
	    {"\x54", 1},
	    {"\x41\x57", 2},
	    {"\x66\x53", 2},
	    {"\x5b", 1},
	    {"\x5c", 1},
	    {"\x41\x5e", 2},
	    {"\x66\x5f", 2},
	    {"\x68\x01\x02\x03\x84", 5},
	    {"\x6a\x85", 2},
	    {"\x66\x68\x01\x82", 4},
	    {"\x66\x6a\x85", 3},
	    {"\xe8\x00\x00\x00\x00", 5},
	    {"\xc3", 1, true},
	    {"\xc2\x10\x00", 3, true},
	    {"\xc9", 1},
	    {"\x66\xc9", 2},
	    {"\xd7", 1},
	    {"\x67\xd7", 2},
	    {"\x0f\xa8", 2},
	};

	for (u32 k = 0; k < ARRAY_SIZE(forms); k++) {
		u32 before = failed, len = forms[k].len;
		u64 target;

		for (u32 r = 0; r < 300 && failed < before + 4; r++) {
			random_memory();
			for (u32 n = 0; n < 16; n++)
				nat->in[n] = rnd_value();
			nat->flags_in = 0x202 | (rnd() & (ARITH | DF));
			nat->in[4] = data_at + 4096 + rnd() % 16 - 8;
			nat->in[5] = data_at + 8192 + rnd() % 16 - 8;
			nat->in[3] = data_at + rnd() % 4096;
			target = low(native_prologue()) + len;
			if (forms[k].target)
				memcpy(nat->data + (nat->in[4] - data_at), &target, 8);
			compare("implicit", (const u8 *)forms[k].bytes, len, ARITH, false);
		}
		CHECK(failed == before, "opcode %02x: stack or table as the processor does",
		      (u8)forms[k].bytes[len > 3 || forms[k].bytes[0] == 0x68 ? 0 : len - 1]);
	}
}
static void test_moffs(void)
{
	u32 before = failed;

	for (u32 r = 0; r < 2000; r++) {
		u8 b[16], n = 0, op = 0xa0 + rnd() % 4, kind = rnd() % 3, width = rnd() % 2 ? 4 : 8;
		u64 at = data_at + 4096 - rnd() % 8;

		random_memory();
		for (u32 k = 0; k < 16; k++)
			nat->in[k] = rnd_value();
		if (kind == 1)
			b[n++] = 0x66;
		if (width == 4)
			b[n++] = 0x67;
		if (kind == 2)
			b[n++] = 0x48;
		b[n++] = op;
		memcpy(b + n, &at, width);
		compare("mov moffs", b, n + width, ARITH, false);
	}
	CHECK(failed == before, "MOV moffs as the processor does");
}
int main(void)
{
	if (!native_start())
		return test_end();
	for (u32 k = 0; k < ARRAY_SIZE(templates); k++)
		test_template(&templates[k]);
	CHECK(divisions > 1000, "%u divisions did not fault", divisions);
	test_implicit();
	test_moffs();
	return test_end();
}
