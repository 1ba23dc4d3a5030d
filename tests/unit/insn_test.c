/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/emul/insn.c -lZydis */
/*
 * The decoder against a disassembler library, over random and structured byte strings in all three
 * modes.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/emul/emul.h"
#include "hv/emul/walk.h"
#include "test.h"

#define ROUNDS 600000u /* per mode and kind of string */
#define SEED   0x9e3779b97f4a7c15ull

static u64 rng = SEED;
static const ZydisMachineMode machine[] = {
    ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64};
static ZydisDecoder decoder[3];
static u32 valid, compared_gp, compared_vectors, failures;

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull;
}

/* Opcodes of instructions the emulator runs or core decodes: all their details must agree. */
static bool is_general_purpose(const ZydisDecodedInstruction *z)
{
	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return false;
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I286PROTECTED:
	case ZYDIS_ISA_SET_I286REAL:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_MOVBE:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_PAUSE:
	case ZYDIS_ISA_SET_RDTSCP:
	case ZYDIS_ISA_SET_MONITOR:
	case ZYDIS_ISA_SET_XSAVE:
	case ZYDIS_ISA_SET_SVM:
		return true;
	default:
		return false;
	}
}

/* Instructions whose operand size is nothing but a convention; ours differs from the library's. */
static bool has_conventional_size(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_INVLPG:
	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_LGDT:
	case ZYDIS_MNEMONIC_LIDT:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_INSD:
	case ZYDIS_MNEMONIC_OUTSD:
		return true;
	default:
		return false;
	}
}

/*
 * The library names R13 as base where SIB.base = 101b, mod = 0 and REX.B = 1; processors have no
 * base there.
 */
static bool has_phantom_base(const struct insn *i, enum emul_mode mode)
{
	return mode == EMUL_64 && (i->modrm & 0xc7) == 4 && (i->sib & 7) == 5 && i->rex & 1;
}

/* Moves and arithmetic of vector registers: memory operand and registers must agree. */
static bool is_vector(const ZydisDecodedInstruction *z)
{
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_MMX:
	case ZYDIS_ISA_EXT_SSE:
	case ZYDIS_ISA_EXT_SSE2:
	case ZYDIS_ISA_EXT_SSE3:
	case ZYDIS_ISA_EXT_SSE4:
	case ZYDIS_ISA_EXT_AVX:
	case ZYDIS_ISA_EXT_AVX2:
		return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
		       z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	default:
		return false;
	}
}

static int reg_id(ZydisRegister r)
{
	return r == ZYDIS_REGISTER_NONE || ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_IP
		   ? -1
		   : ZydisRegisterGetId(r);
}

static bool same_memory(const struct insn *i, const ZydisDecodedInstruction *z,
			const ZydisDecodedOperand *ops)
{
	for (u32 k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &ops[k];
		int seg = -1;

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    (o->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM &&
		     o->encoding != ZYDIS_OPERAND_ENCODING_DISP16_32_64))
			continue;
		if (o->mem.segment != ZYDIS_REGISTER_NONE)
			seg = ZydisRegisterGetId(o->mem.segment);
		if (z->mnemonic == ZYDIS_MNEMONIC_LEA)
			seg = -1;
		if (!i->has_mem ||
		    i->rip_relative != (ZydisRegisterGetClass(o->mem.base) == ZYDIS_REGCLASS_IP))
			return false;
		if (seg >= 0 && seg != i->seg)
			return false;
		return i->base == reg_id(o->mem.base) && i->index == reg_id(o->mem.index) &&
		       (i->index < 0 || i->scale == MAX(o->mem.scale, 1)) &&
		       (((u64)i->disp ^ (u64)o->mem.disp.value) &
			GENMASK(8 * i->addr_size - 1, 0)) == 0;
	}
	return !i->has_mem || i->opcode == 0x0d || i->opcode == 0x1f ||
	       (i->opcode >= 0x18 && i->opcode <= 0x1e);
}

static bool is_vector_register(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		return true;
	default:
		return false;
	}
}

/* Of an instruction with memory, the other operands; MMX has 8 registers. */
static bool same_vectors(const struct insn *i, const ZydisDecodedInstruction *z,
			 const ZydisDecodedOperand *ops)
{
	bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	for (u32 k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &ops[k];
		u32 n, mask = 15;

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			return true;
		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !is_vector_register(o->reg.value))
			continue;
		if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_MMX)
			mask = 7;
		n = ZydisRegisterGetId(o->reg.value);
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && n != (i->reg & mask))
			return false;
		if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD && n != i->vvvv)
			return false;
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && vex &&
		    ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_YMM && !i->vex_256)
			return false;
	}
	return same_memory(i, z, ops);
}

static bool same_immediate(const struct insn *i, const ZydisDecodedInstruction *z)
{
	u32 size = (z->raw.imm[0].size + z->raw.imm[1].size) / 8, first = z->raw.imm[0].size;
	u64 want = z->raw.imm[0].value.u & (first ? GENMASK(first - 1, 0) : 0);

	if (z->raw.imm[1].size)
		want |= (z->raw.imm[1].value.u & GENMASK(z->raw.imm[1].size - 1, 0)) << first;
	return size == i->imm_size && (!size || ((i->imm ^ want) & GENMASK(8 * size - 1, 0)) == 0);
}

static void complain(const char *what, const u8 *bytes, u32 n, enum emul_mode mode,
		     const struct insn *i, int got, const ZydisDecodedInstruction *z)
{
	char hex[64] = "";

	static bool seen[3][ZYDIS_MNEMONIC_MAX_VALUE + 1];

	failures++;
	if (seen[mode][z->mnemonic])
		return;
	seen[mode][z->mnemonic] = true;
	for (u32 k = 0; k < n && k < 16; k++)
		sprintf(hex + 3 * k, "%02x ", bytes[k]);
	CHECK(false, "%s: mode %d, %s: %s len %u, ours %d len %u osz %u/%u", what, 16 << mode, hex,
	      ZydisMnemonicGetString(z->mnemonic), z->length, got, i->len, z->operand_width / 8,
	      i->op_size);
}

/*
 * One byte string; it lies in a heap block of just its size, so that any read behind it is caught.
 */
static void compare(const u8 *bytes, u32 n, enum emul_mode mode)
{
	u8 *heap = malloc(n);
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct insn i;
	int got;

	memcpy(heap, bytes, n);
	got = insn_decode(&i, heap, n, mode);
	if (got == 0 && (i.len == 0 || i.len > n || i.len > 15))
		complain("length in bounds", bytes, n, mode, &i, got, &z);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder[mode], heap, n, &z, ops)))
		goto out;
	if (z.meta.isa_ext == ZYDIS_ISA_EXT_KNC || z.meta.isa_ext == ZYDIS_ISA_EXT_KNCV ||
	    z.mnemonic == ZYDIS_MNEMONIC_JKZD || z.mnemonic == ZYDIS_MNEMONIC_JKNZD)
		goto out; /* a coprocessor's own code */
	valid++;
	if (got != 0 || i.len != z.length)
		complain("same length", bytes, n, mode, &i, got, &z);
	else if (is_general_purpose(&z)) {
		compared_gp++;
		if (!has_phantom_base(&i, mode) && !same_memory(&i, &z, ops))
			complain("same memory operand", bytes, n, mode, &i, got, &z);
		if (!same_immediate(&i, &z))
			complain("same immediate", bytes, n, mode, &i, got, &z);
		if ((i.op_size != z.operand_width / 8 && !has_conventional_size(&z)) ||
		    i.addr_size != z.address_width / 8)
			complain("same sizes", bytes, n, mode, &i, got, &z);
	} else if (is_vector(&z) && i.has_mem) {
		compared_vectors++;
		if (!has_phantom_base(&i, mode) && !same_vectors(&i, &z, ops))
			complain("same memory and vector registers", bytes, n, mode, &i, got, &z);
	}
out:
	free(heap);
}

/* Prefixes, escape, opcode, ModRM, the rest random. */
static u32 structured(u8 *b)
{
	static const u8 prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e,
				    0x26, 0x64, 0x65, 0x48, 0x41, 0x4f, 0x42};
	u32 n = 0, k = rnd() % 4;

	while (k--)
		b[n++] = prefix[rnd() % sizeof(prefix)];
	switch (rnd() % 12) {
	case 0:
	case 1:
	case 2:
		b[n++] = 0x0f;
		break;
	case 3:
		b[n++] = 0x0f;
		b[n++] = 0x38;
		break;
	case 4:
		b[n++] = 0x0f;
		b[n++] = 0x3a;
		break;
	case 5:
		b[n++] = 0xc5;
		b[n++] = rnd();
		break;
	case 6:
		b[n++] = 0xc4;
		b[n++] = (rnd() & 0xe0) | (rnd() % 4);
		b[n++] = rnd();
		break;
	case 7:
		b[n++] = 0x62;
		b[n++] = (rnd() & 0xf0) | (rnd() % 8);
		b[n++] = rnd() | 4;
		b[n++] = rnd();
		break;
	case 8:
		b[n++] = 0x8f;
		b[n++] = (rnd() & 0xe0) | (8 + rnd() % 3);
		b[n++] = rnd();
		break;
	}
	while (n < 18)
		b[n++] = rnd();
	return rnd() % 4 ? n : 1 + rnd() % n;
}

/* Every opcode of every map with every ModRM at least once. */
static void sweep(enum emul_mode mode)
{
	for (u32 map = 0; map < 4; map++) {
		for (u32 v = 0; v < 65536 * 4; v++) {
			u8 b[24];
			u32 n = 0;

			if (v >> 16 & 1)
				b[n++] = 0x66;
			if (v >> 16 & 2)
				b[n++] = mode == EMUL_64 ? 0x48 | (rnd() & 7) : 0xf3;
			if (map)
				b[n++] = 0x0f;
			if (map > 1)
				b[n++] = map == 2 ? 0x38 : 0x3a;
			b[n++] = v >> 8;
			b[n++] = v;
			while (n < 20)
				b[n++] = rnd();
			compare(b, n, mode);
		}
	}
}

static int expect_len(const char *bytes, u32 n, enum emul_mode mode)
{
	struct insn i;

	return insn_decode(&i, (const u8 *)bytes, n, mode) ?: i.len;
}

/* What core relies on where the processor reports no instruction length. */
static void test_intercepted(void)
{
	static const struct {
		const char *name, *bytes;
		u32 len;
	} list[] = {
	    {"CPUID", "\x0f\xa2", 2},
	    {"HLT", "\xf4", 1},
	    {"RDMSR", "\x0f\x32", 2},
	    {"WRMSR", "\x0f\x30", 2},
	    {"VMMCALL", "\x0f\x01\xd9", 3},
	    {"VMCALL", "\x0f\x01\xc1", 3},
	    {"MOV CR3, RAX", "\x0f\x22\xd8", 3},
	    {"MOV DR7, RAX", "\x0f\x23\xf8", 3},
	    {"CLTS", "\x0f\x06", 2},
	    {"LMSW AX", "\x0f\x01\xf0", 3},
	    {"SMSW [RAX]", "\x0f\x01\x20", 3},
	    {"INVLPG [RDI]", "\x0f\x01\x3f", 3},
	    {"IN AL, DX", "\xec", 1},
	    {"OUT 80, AL", "\xe6\x80", 2},
	    {"REP OUTSB", "\xf3\x6e", 2},
	    {"WBINVD", "\x0f\x09", 2},
	    {"WBNOINVD", "\xf3\x0f\x09", 3},
	    {"RDTSC", "\x0f\x31", 2},
	    {"RDTSCP", "\x0f\x01\xf9", 3},
	    {"XSETBV", "\x0f\x01\xd1", 3},
	    {"PAUSE", "\xf3\x90", 2},
	    {"MONITOR", "\x0f\x01\xc8", 3},
	    {"MWAIT", "\x0f\x01\xc9", 3},
	    {"INVD", "\x0f\x08", 2},
	    {"RDPMC", "\x0f\x33", 2},
	    {"IRET", "\xcf", 1},
	    {"INT3", "\xcc", 1},
	    {"INT n", "\xcd\x80", 2},
	    {"66 CPUID", "\x66\x0f\xa2", 3},
	    {"2E 67 HLT", "\x2e\x67\xf4", 3},
	};
	struct insn i;

	for (u32 k = 0; k < ARRAY_SIZE(list); k++) {
		u32 n = list[k].len;
		bool ok = expect_len(list[k].bytes, n, EMUL_64) == (int)n &&
			  expect_len(list[k].bytes, n, EMUL_16) == (int)n;

		if (n > 1)
			ok = ok && expect_len(list[k].bytes, n - 1, EMUL_32) == -E2BIG;
		CHECK(ok, "length of %s", list[k].name);
	}
	CHECK(insn_decode(&i, (const u8 *)"\x45\x0f\x20\x04", 4, EMUL_64) == 0 && i.len == 4 &&
		  i.reg == 8 && i.rm == 12 && !i.has_mem && i.op_size == 8,
	      "MOV from CR ignores ModRM.mod: CR8 to R12");
}

static void test_bounds(void)
{
	u8 prefixes[20];
	struct insn i;

	memset(prefixes, 0x66, sizeof(prefixes));
	CHECK(insn_decode(&i, prefixes, 20, EMUL_64) == -EINVAL,
	      "more than 15 bytes are no instruction");
	CHECK(insn_decode(&i, prefixes, 14, EMUL_64) == -E2BIG, "14 prefixes want more bytes");
	CHECK(insn_decode(&i, prefixes, 0, EMUL_64) == -E2BIG, "no bytes at all want more");
	prefixes[14] = 0x90;
	CHECK(insn_decode(&i, prefixes, 20, EMUL_32) == 0 && i.len == 15,
	      "an instruction may have 15 bytes");
	CHECK(insn_decode(&i, (const u8 *)"\x27", 1, EMUL_64) == -EINVAL &&
		  insn_decode(&i, (const u8 *)"\x27", 1, EMUL_32) == 0,
	      "DAA is none in 64-bit mode");
}

int main(void)
{
	printf("# seed %#llx\n", (unsigned long long)SEED);
	for (u32 m = 0; m < 3; m++) {
		u32 before = failures;

		ZydisDecoderInit(&decoder[m], machine[m],
				 m == 0	  ? ZYDIS_STACK_WIDTH_16
				 : m == 1 ? ZYDIS_STACK_WIDTH_32
					  : ZYDIS_STACK_WIDTH_64);
		ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
		for (u32 r = 0; r < ROUNDS; r++) {
			u8 b[18];
			u32 n;

			for (u32 k = 0; k < sizeof(b); k++)
				b[k] = rnd();
			compare(b, 1 + rnd() % 18, m);
			n = structured(b);
			compare(b, n, m);
		}
		sweep(m);
		CHECK(failures == before,
		      "%d-bit mode: lengths and operands agree with the disassembler", 16 << m);
	}
	printf("# %u valid instructions, %u compared in detail, %u of vector registers\n", valid,
	       compared_gp, compared_vectors);
	CHECK(valid > 1000000 && compared_gp > 500000 && compared_vectors > 100000,
	      "enough instructions were compared");
	test_intercepted();
	test_bounds();
	return test_end();
}
