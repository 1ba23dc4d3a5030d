/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c
 */
/* Moves between memory and vector registers, against the processor this runs on. */
#define _GNU_SOURCE
#include "emul_native.h"

#define PP_66 1
#define PP_F3 2
#define PP_F2 3

static const struct vector_template {
	const char *name;
	u8 pp, map, opcode;
	u8 size; /* 0: all of the register */
	u8 aligned, mmx, w, merge, no_vex;
} vector_templates[] = {
    {"movups r,m", 0, 1, 0x10},
    {"movups m,r", 0, 1, 0x11},
    {"movupd r,m", PP_66, 1, 0x10},
    {"movupd m,r", PP_66, 1, 0x11},
    {"movss r,m", PP_F3, 1, 0x10, 4},
    {"movss m,r", PP_F3, 1, 0x11, 4},
    {"movsd r,m", PP_F2, 1, 0x10, 8},
    {"movsd m,r", PP_F2, 1, 0x11, 8},
    {"movlps r,m", 0, 1, 0x12, 8, .merge = 1},
    {"movlps m,r", 0, 1, 0x13, 8},
    {"movlpd r,m", PP_66, 1, 0x12, 8, .merge = 1},
    {"movlpd m,r", PP_66, 1, 0x13, 8},
    {"movhps r,m", 0, 1, 0x16, 8, .merge = 1},
    {"movhps m,r", 0, 1, 0x17, 8},
    {"movhpd r,m", PP_66, 1, 0x16, 8, .merge = 1},
    {"movhpd m,r", PP_66, 1, 0x17, 8},
    {"movaps r,m", 0, 1, 0x28, .aligned = 1},
    {"movaps m,r", 0, 1, 0x29, .aligned = 1},
    {"movapd r,m", PP_66, 1, 0x28, .aligned = 1},
    {"movapd m,r", PP_66, 1, 0x29, .aligned = 1},
    {"movntps m,r", 0, 1, 0x2b, .aligned = 1},
    {"movntpd m,r", PP_66, 1, 0x2b, .aligned = 1},
    {"movd r,m (MMX)", 0, 1, 0x6e, 4, .mmx = 1, .w = 1},
    {"movd m,r (MMX)", 0, 1, 0x7e, 4, .mmx = 1, .w = 1},
    {"movd r,m", PP_66, 1, 0x6e, 4, .w = 1},
    {"movd m,r", PP_66, 1, 0x7e, 4, .w = 1},
    {"movq r,m (MMX)", 0, 1, 0x6f, 8, .mmx = 1},
    {"movq m,r (MMX)", 0, 1, 0x7f, 8, .mmx = 1},
    {"movdqa r,m", PP_66, 1, 0x6f, .aligned = 1},
    {"movdqa m,r", PP_66, 1, 0x7f, .aligned = 1},
    {"movdqu r,m", PP_F3, 1, 0x6f},
    {"movdqu m,r", PP_F3, 1, 0x7f},
    {"movq r,m", PP_F3, 1, 0x7e, 8},
    {"movq m,r", PP_66, 1, 0xd6, 8},
    {"movntq m,r", 0, 1, 0xe7, 8, .mmx = 1},
    {"movntdq m,r", PP_66, 1, 0xe7, .aligned = 1},
    {"lddqu r,m", PP_F2, 1, 0xf0},
    {"movntdqa r,m", PP_66, 2, 0x2a, .aligned = 1},
};

/* With or without VEX, [base + disp32]. */
static u32 generate_vector(const struct vector_template *t, bool vex, u8 *b)
{
	static const u8 prefix[] = {0, 0x66, 0xf3, 0xf2};
	u32 n = 0, off = 256 + rnd() % (DATA_SIZE - 512), reg = rnd() % 16;
	u8 base, w = t->w && rnd() % 2, l = vex && !t->size && rnd() % 2, vvvv = 0;
	s32 disp = (s32)rnd() >> 1;

	if (rnd() % 3 == 0)
		off = 4096 * (1 + rnd() % 3) - rnd() % 32;
	if (t->aligned)
		off &= ~31u;
	if (t->merge && vex)
		vvvv = rnd() % 16;
	base = rnd() % 16;
	for (u32 k = 0; k < 16; k++) {
		nat->in[k] = rnd_value();
		nat->mmx_in[k & 7] = rnd();
		for (u32 i = 0; i < 32; i++)
			nat->vec_in[k][i] = rnd();
	}
	nat->flags_in = 0x202;
	nat->in[base] = data_at + off - (u64)(s64)disp;
	if (vex) {
		b[n++] = 0xc4;
		b[n++] = (reg & 8 ? 0 : 0x80) | 0x40 | (base & 8 ? 0 : 0x20) | t->map;
		b[n++] = w << 7 | (~vvvv & 15) << 3 | l << 2 | t->pp;
		if (b[n - 3] == 0xc4 && !w && t->map == 1 && base < 8 && rnd() % 2) {
			b[1] = (b[1] & 0x80) | (b[2] & 0x7f);
			b[0] = 0xc5;
			n = 2;
		}
	} else {
		if (t->pp)
			b[n++] = prefix[t->pp];
		if (w || reg & 8 || base & 8 || rnd() % 2)
			b[n++] = 0x40 | w << 3 | (reg & 8) >> 1 | base >> 3;
		b[n++] = 0x0f;
		if (t->map == 2)
			b[n++] = 0x38;
	}
	b[n++] = t->opcode;
	b[n++] = 0x80 | (reg & 7) << 3 | (base & 7);
	if ((base & 7) == 4)
		b[n++] = 0x24;
	memcpy(b + n, &disp, 4);
	return n + 4;
}

static void test_vectors(void)
{
	struct emul_env e = env_for(EMUL_64);

	if (!__builtin_cpu_supports("avx2")) {
		printf("# no AVX2 here: moves of vector registers are not compared\n");
		return;
	}
	vectors = true;
	for (u32 k = 0; k < ARRAY_SIZE(vector_templates); k++) {
		const struct vector_template *t = &vector_templates[k];
		u32 before = failed;
		u8 b[16];

		for (u32 r = 0; r < 600 && failed < before + 4; r++) {
			u32 n;

			if (r % 16 == 0)
				random_memory();
			n = generate_vector(t, !t->mmx && r % 2, b);
			compare(t->name, b, n, ARITH, false);
		}
		CHECK(failed == before, "%s, with VEX and without, as the processor does", t->name);
	}
	vectors = false;
	reset_cpu();
	cpu.gpr[0] = data_at + 8;
	CHECK(faults(&e, "\x0f\x28\x00", 3, 13), "MOVAPS that is not aligned: #GP");
	cpu.gpr[0] += 8;
	CHECK(faults(&e, "\xc5\xfc\x29\x00", 4, 13), "VMOVAPS of 256 bits wants 32 bytes: #GP");
	CHECK(faults(&e, "\xf0\x0f\x11\x00", 4, 6), "LOCK MOVUPS: #UD");
	vector_fault = 7;
	CHECK(faults(&e, "\x0f\x10\x00", 3, 7) && faults(&e, "\x0f\x11\x00", 3, 7),
	      "registers that may not be used now: what they raise");
	vector_fault = 0;
}
int main(void)
{
	if (!native_start())
		return test_end();
	test_vectors();
	return test_end();
}
