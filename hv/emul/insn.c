/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instruction decoder: one attribute word per opcode (SDM "Opcode Map"); prefixes, ModRM,
 * immediates by rule.
 */
#include "hv/emul/insn.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

/* Attributes of an opcode */
#define M   BIT(0)  /* ModRM */
#define B   BIT(1)  /* byte operand */
#define P   BIT(2)  /* byte operand if the opcode is even */
#define I8  BIT(3)  /* imm8 */
#define I16 BIT(4)  /* imm16 */
#define IZ  BIT(5)  /* immediate as wide as the operand, but 4 bytes for 8 */
#define IV  BIT(6)  /* immediate as wide as the operand */
#define MO  BIT(7)  /* moffs: an address as immediate */
#define FP  BIT(8)  /* a selector after the rest: far pointer */
#define D64 BIT(9)  /* 64-bit mode: operand size 8 unless 66 */
#define F64 BIT(10) /* 64-bit mode: operand size 8 always */
#define N64 BIT(11) /* not in 64-bit mode */
#define G3  BIT(12) /* F6/F7: /0 and /1 (TEST) have an immediate as IZ */
/* MOV CR/DR: ModRM names registers whatever mod is, operand size is the mode's */
#define CR BIT(13)
#define N8 BIT(14) /* operand size at most 4: port I/O */
#define U  BIT(15) /* undefined */

/* clang-format off */
#define ALU(n) \
	[(n) ... (n) + 3] = M | P, [(n) + 4 ... (n) + 5] = IZ | P, [(n) + 6 ... (n) + 7] = N64

/*
 * Entries left out have neither operand bytes nor attributes; prefixes and escapes never get here.
 */
static const u16 one_byte[256] = {
	ALU(0x00), ALU(0x08), ALU(0x10), ALU(0x18), ALU(0x20), ALU(0x28), ALU(0x30), ALU(0x38),
	[0x50 ... 0x5f] = D64, [0x60 ... 0x61] = N64, [0x62] = M | N64, [0x63] = M,
	[0x68] = IZ | D64, [0x69] = M | IZ, [0x6a] = I8 | D64, [0x6b] = M | I8,
	[0x6c ... 0x6f] = P | N8, [0x70 ... 0x7f] = I8 | F64,
	[0x80 ... 0x81] = M | P | IZ, [0x82] = M | B | I8 | N64, [0x83] = M | I8,
	[0x84 ... 0x8b] = M | P, [0x8c ... 0x8e] = M, [0x8f] = M | D64,
	[0x9a] = IZ | FP | N64, [0x9c ... 0x9d] = D64,
	[0xa0 ... 0xa3] = MO | P, [0xa4 ... 0xa7] = P, [0xa8 ... 0xa9] = IZ | P,
	[0xaa ... 0xaf] = P, [0xb0 ... 0xb7] = I8 | B, [0xb8 ... 0xbf] = IV,
	[0xc0 ... 0xc1] = M | P | I8, [0xc2] = I16 | F64, [0xc3] = F64, [0xc4 ... 0xc5] = M | N64,
	[0xc6 ... 0xc7] = M | P | IZ, [0xc8] = I16 | I8 | D64, [0xc9] = D64, [0xca] = I16,
	[0xcd] = I8, [0xce] = N64, [0xd0 ... 0xd3] = M | P, [0xd4 ... 0xd5] = I8 | N64,
	[0xd6] = N64, [0xd8 ... 0xdf] = M, [0xe0 ... 0xe3] = I8 | F64,
	[0xe4 ... 0xe7] = I8 | P | N8,
	[0xe8 ... 0xe9] = IZ | F64, [0xea] = IZ | FP | N64, [0xeb] = I8 | F64,
	[0xec ... 0xef] = P | N8, [0xf6 ... 0xf7] = M | P | G3, [0xfe ... 0xff] = M | P,
};

static const u16 two_byte[256] = {
	[0x00 ... 0x03] = M, [0x04] = U, [0x0a] = U, [0x0c] = U, [0x0d] = M, [0x0f] = M | I8,
	[0x10 ... 0x1f] = M, [0x20 ... 0x23] = M | CR, [0x24 ... 0x27] = U, [0x28 ... 0x2f] = M,
	[0x36] = U, [0x39] = U, [0x3b ... 0x3f] = U, [0x40 ... 0x6f] = M, [0x70 ... 0x73] = M | I8,
	[0x74 ... 0x76] = M, [0x78 ... 0x79] = M, [0x7a ... 0x7b] = U, [0x7c ... 0x7f] = M,
	[0x80 ... 0x8f] = IZ | F64, [0x90 ... 0x9f] = M | B, [0xa0 ... 0xa1] = D64, [0xa3] = M,
	[0xa4] = M | I8, [0xa5 ... 0xa7] = M, [0xa8 ... 0xa9] = D64, [0xab] = M, [0xac] = M | I8,
	[0xad ... 0xaf] = M, [0xb0 ... 0xb1] = M | P, [0xb2 ... 0xb9] = M, [0xba] = M | I8,
	[0xbb ... 0xbf] = M, [0xc0 ... 0xc1] = M | P, [0xc2] = M | I8, [0xc3] = M,
	[0xc4 ... 0xc6] = M | I8, [0xc7] = M, [0xd0 ... 0xff] = M,
};
/* clang-format on */

/* Decoding under way. */
struct cursor {
	const u8 *bytes;
	u32 pos, end;
	bool over; /* something wanted a byte behind end */
	enum emul_mode mode;
	bool opsize, addrsize; /* prefixes 66 and 67 */
	s8 seg;		       /* that of a prefix, or -1 */
};

/* The next n (0..8) bytes, little endian. */
static u64 take_bytes(struct cursor *c, u32 n)
{
	u64 v = 0;

	BUG_ON(n > sizeof(v) || c->pos > c->end);
	if (c->over || n > c->end - c->pos) {
		c->over = true;
		return 0;
	}
	for (u32 i = 0; i < n; i++)
		v |= (u64)c->bytes[c->pos++] << 8 * i;
	return v;
}

static s64 take_signed(struct cursor *c, u32 n)
{
	u64 v = take_bytes(c, n), sign = n ? 1ull << (8 * n - 1) : 0;

	return (s64)((v ^ sign) - sign);
}

/* Eats the legacy prefixes and REX, returns the first opcode byte. */
static u8 take_prefixes(struct cursor *c, struct insn *i)
{
	for (;;) {
		u8 b = take_bytes(c, 1);

		if (c->mode == EMUL_64 && (b & 0xf0) == 0x40) {
			i->rex = b;
			continue;
		}
		switch (b) {
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			if (c->mode != EMUL_64)
				c->seg = (b >> 3) & 3;
			break;
		case 0x64:
		case 0x65:
			c->seg = b - 0x64 + SEG_FS;
			break;
		case 0x66:
			c->opsize = true;
			break;
		case 0x67:
			c->addrsize = true;
			break;
		case 0xf0:
			i->lock = true;
			break;
		case 0xf2:
		case 0xf3:
			i->rep = b;
			break;
		default:
			return b;
		}
		i->rex = 0; /* REX counts only right before the opcode */
	}
}

static u8 legacy_pp(const struct cursor *c, const struct insn *i)
{
	if (i->rep)
		return i->rep == 0xf3 ? PP_F3 : PP_F2;
	return c->opsize ? PP_66 : PP_NONE;
}

/*
 * VEX, EVEX and XOP carry REX bits inverted, an opcode map, and W. Outside 64-bit mode their escape
 * bytes are LDS, LES, BOUND when the next byte is a memory ModRM; 8F is POP when the map field is
 * below 8. Returns the attributes.
 */
static u16 take_vex(struct cursor *c, struct insn *i)
{
	u8 rxb = take_bytes(c, 1), last = rxb, w = 0, map = 1, op;

	if (i->rex || c->opsize || i->lock || i->rep)
		return U;
	if (i->vex == 0xc5) {
		rxb |= 0x60;
	} else {
		map = rxb & (i->vex == 0x62 ? 7 : 0x1f);
		last = take_bytes(c, 1);
		w = last >> 7;
		if (i->vex == 0x62)
			take_bytes(c, 1);
	}
	if (c->mode == EMUL_64)
		i->rex = 0x40 | w << 3 | ((~rxb >> 5) & 7);
	i->pp = last & 3;
	i->vex_256 = last & 4;
	i->vvvv = (~last >> 3) & (c->mode == EMUL_64 ? 15 : 7);
	i->map = map;
	i->opcode = op = take_bytes(c, 1);
	if (i->vex != 0x8f && map > 6)
		return U;
	switch (map) {
	case 1:
		if (op == 0x77) /* VZEROUPPER, VZEROALL */
			return 0;
		if (op == 0x0f || op == 0xa4 || op == 0xac) /* an immediate without VEX only */
			return M;
		return M | (two_byte[op] & I8);
	case 2:
	case 5:
	case 6:
	case 9:
		return M;
	case 3:
	case 8:
		return M | I8;
	case 10:
		return M | IZ;
	}
	return U;
}

static bool is_vex(const struct cursor *c, u8 op)
{
	u8 next = c->pos < c->end ? c->bytes[c->pos] : 0;

	if (op == 0x8f)
		return (next & 0x1f) >= 8;
	return (op == 0xc4 || op == 0xc5 || op == 0x62) && (c->mode == EMUL_64 || next >= 0xc0);
}

static u16 take_opcode(struct cursor *c, struct insn *i, u8 op)
{
	if (is_vex(c, op)) {
		i->vex = op;
		return take_vex(c, i);
	}
	i->pp = legacy_pp(c, i);
	i->opcode = op;
	if (op != 0x0f)
		return one_byte[op];
	i->map = 1;
	i->opcode = op = take_bytes(c, 1);
	if (op == 0x38 || op == 0x3a) {
		i->map = op == 0x38 ? 2 : 3;
		i->opcode = take_bytes(c, 1);
		return i->map == 2 ? M : M | I8;
	}
	if (op == 0x78 && (c->opsize || i->rep == 0xf2)) /* EXTRQ, INSERTQ */
		return M | I16;
	return two_byte[op];
}

/* After the base is known: there is one, or else a displacement. */
static void take_disp(struct cursor *c, struct insn *i, u32 wide)
{
	u8 mod = i->modrm >> 6;

	if (mod == 1)
		i->disp = take_signed(c, 1);
	else if (mod == 2 || i->base < 0)
		i->disp = take_signed(c, wide);
}

static void take_mem16(struct cursor *c, struct insn *i)
{
	static const s8 base[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
	static const s8 index[8] = {RSI, RDI, RSI, RDI, -1, -1, -1, -1};
	u8 mod = i->modrm >> 6, rm = i->modrm & 7;

	i->base = base[rm];
	i->index = index[rm];
	i->scale = 1;
	if (mod == 0 && rm == 6)
		i->base = -1;
	take_disp(c, i, 2);
}

static void take_mem(struct cursor *c, struct insn *i)
{
	u8 mod = i->modrm >> 6, base = i->modrm & 7;

	if (base == 4) {
		u8 index;

		i->sib = take_bytes(c, 1);
		base = i->sib & 7;
		index = ((i->sib >> 3) & 7) | (i->rex & 2) << 2;
		i->index = index == 4 ? -1 : index;
		i->scale = 1 << (i->sib >> 6);
	} else if (c->mode == EMUL_64 && mod == 0 && base == 5) {
		i->rip_relative = true;
	}
	i->base = mod == 0 && base == 5 ? -1 : base | (i->rex & 1) << 3;
	take_disp(c, i, 4);
}

static void take_modrm(struct cursor *c, struct insn *i, u16 attr)
{
	i->modrm = take_bytes(c, 1);
	i->reg = modrm_ext(i) | (i->rex & 4) << 1;
	i->rm = (i->modrm & 7) | (i->rex & 1) << 3;
	if (i->modrm >= 0xc0 || attr & CR)
		return;
	i->has_mem = true;
	if (i->addr_size == 2)
		take_mem16(c, i);
	else
		take_mem(c, i);
}

static void set_op_size(const struct cursor *c, struct insn *i, u16 attr)
{
	bool wide = i->rex & 8, grp5 = i->map == 0 && i->opcode == 0xff && !i->vex;
	u8 ext = modrm_ext(i);

	if (grp5 && (ext == 2 || ext == 4))
		attr |= F64;
	if (grp5 && ext == 6)
		attr |= D64;
	if (attr & B || (attr & P && !(i->opcode & 1)))
		i->op_size = 1;
	else if (c->mode == EMUL_64 && (wide || attr & (F64 | CR) || (attr & D64 && !c->opsize)))
		i->op_size = attr & N8 ? 4 : 8;
	else
		i->op_size = i->vex || attr & CR || c->opsize != (c->mode != EMUL_16) ? 4 : 2;
}

static void take_imm(struct cursor *c, struct insn *i, u16 attr)
{
	u8 size = 0;

	if (attr & MO) {
		i->has_mem = true;
		i->disp = (s64)take_bytes(c, i->addr_size);
		return;
	}
	if (attr & G3 && !(modrm_ext(i) & 6))
		attr |= IZ;
	if (attr & I8)
		size += 1;
	if (attr & I16)
		size += 2;
	if (attr & IZ)
		size += MIN(i->op_size, 4);
	if (attr & IV)
		size += i->op_size;
	if (attr & FP)
		size += 2;
	i->imm = (u64)take_signed(c, size);
	i->imm_size = size;
}

static u8 address_size(const struct cursor *c)
{
	if (c->mode == EMUL_64)
		return c->addrsize ? 4 : 8;
	return c->addrsize != (c->mode == EMUL_32) ? 4 : 2;
}

int insn_decode(struct insn *i, const u8 *bytes, u32 n, enum emul_mode mode)
{
	u32 end = MIN(n, INSN_MAX);
	struct cursor c = {.bytes = bytes, .end = end, .mode = mode, .seg = -1};
	u16 attr;
	u8 op;

	memset(i, 0, sizeof(*i));
	i->base = i->index = -1;
	op = take_prefixes(&c, i);
	i->addr_size = address_size(&c);
	attr = take_opcode(&c, i, op);
	if (!c.over && (attr & U || (attr & N64 && mode == EMUL_64)))
		return -EINVAL;
	if (attr & M)
		take_modrm(&c, i, attr);
	set_op_size(&c, i, attr);
	take_imm(&c, i, attr);
	if (c.over)
		return n < INSN_MAX ? -E2BIG : -EINVAL;

	if (c.seg >= 0)
		i->seg = c.seg;
	else
		i->seg = i->base == RSP || i->base == RBP ? SEG_SS : SEG_DS;
	i->len = c.pos;
	BUG_ON(!i->len || i->len > INSN_MAX || i->base > R15 || i->index > R15 || i->reg > R15);
	return 0;
}
