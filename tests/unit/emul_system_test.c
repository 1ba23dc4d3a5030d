/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c
 */
/*
 * Instructions of an operating system whose operand is MMIO: segments with the checks that
 * protection stands on, descriptor tables, the machine status word, far branches. The operand lies
 * in a page of MMIO, the tables in one of RAM, or, where the operand is a register or on the stack,
 * in one of MMIO; accesses miss the p2m now and then.
 */
#include "emul_fake.h"

#define OPERAND 0x40   /* in the first page, MMIO */
#define TABLE	0x1000 /* in the second */
#define STACK	0x3000

/* Descriptors as the manuals draw them: bytes 5 and 6, base and limit apart */
#define DESCRIPTOR(access, flags, base, limit)                                                     \
	((u64)(limit)&0xffff) | ((u64)(base)&0xffffff) << 16 | (u64)(access) << 40 |               \
	    ((u64)(limit) >> 16 & 15) << 48 | (u64)(flags) << 52 |                                 \
	    ((u64)(base) >> 24 & 0xff) << 56

enum {
	S_CODE64 = 0x08,
	S_DATA = 0x10,
	S_CODE32 = 0x18,
	S_DATA3 = 0x20,
	S_ABSENT = 0x28,
	S_CONFORMING = 0x30,
	S_GATE = 0x38,
	S_BOTH = 0x40, /* L and D */
	S_TSS = 0x48,  /* of 16 bytes */
	S_LDT = 0x58,
	S_WILD = 0x68, /* a TSS whose base is not canonical */
	S_CODE3 = 0x78,
	S_BYTES = 0x80
};
static const u64 table[S_BYTES / 8] = {
    [S_CODE64 / 8] = DESCRIPTOR(0x9b, 0xa, 0, 0xfffff),
    [S_DATA / 8] = DESCRIPTOR(0x92, 0xc, 0x123000, 0xfffff),
    [S_CODE32 / 8] = DESCRIPTOR(0x9a, 0xc, 0, 0xffff),
    [S_DATA3 / 8] = DESCRIPTOR(0xf2, 0xc, 0, 0xfffff),
    [S_ABSENT / 8] = DESCRIPTOR(0x12, 0xc, 0, 0xfffff),
    [S_CONFORMING / 8] = DESCRIPTOR(0x9e, 0xa, 0, 0xfffff),
    [S_GATE / 8] = DESCRIPTOR(0x8c, 0, 0, 0),
    [S_BOTH / 8] = DESCRIPTOR(0x9a, 0xe, 0, 0xfffff),
    [S_TSS / 8] = DESCRIPTOR(0x89, 0, 0x55667788, 0x67),
    [S_TSS / 8 + 1] = 0xffff8000,
    [S_LDT / 8] = DESCRIPTOR(0x82, 0, 0x1000, 0xfff),
    [S_WILD / 8] = DESCRIPTOR(0x89, 0, 0, 0x67),
    [S_WILD / 8 + 1] = 0x12345678,
    [S_CODE3 / 8] = DESCRIPTOR(0xfa, 0xa, 0, 0xfffff),
};

static struct emul_env e;

/* 64-bit mode at this CPL; RBX leads to the operand. */
static void begin(u8 cpl)
{
	reset_cpu();
	dev.mmio_pages = 1;
	dev.fault_page = dev.as_system = 0;
	memcpy(dev.data + TABLE, table, sizeof(table));
	cpu.gpr[RBX] = data_at + OPERAND;
	cpu.gpr[RSP] = data_at + STACK;
	e = env_for(EMUL_64);
	dev_system = (struct emul_system){.cr0 = 0x80000011, .cpl = cpl, .long_mode = true};
	dev_system.seg[SEG_GDTR] =
	    (struct corbel_segment){.base = data_at + TABLE, .limit = S_BYTES - 1};
	dev_system.seg[SEG_CS] = (struct corbel_segment){.selector = 0x99 & ~3, .l = 1};
	dev_system.seg[SEG_LDTR].unusable = 1;
	msw_refused = false;
}

static void operand(u64 val, u16 behind)
{
	memcpy(dev.data + OPERAND, &val, sizeof(val));
	memcpy(dev.data + OPERAND + 8, &behind, sizeof(behind));
}

#define INSN(bytes) bytes, sizeof(bytes) - 1

/* Done, whatever is missing on the way: the instruction is as long as this. */
static bool runs(const char *bytes, u32 n)
{
	enum emul_result res;

	dev.retry = 3;
	dev.bad = false;
	res = emulate(&e, (const u8 *)bytes, n);
	dev.retry = 0;
	return res == EMUL_DONE && !dev.bad;
}

/* Nothing of the system has changed but for this fault. */
static bool raises(const char *bytes, u32 n, u8 vector, u32 error)
{
	struct emul_system before = dev_system;

	return faults(&e, bytes, n, vector) && e.fault.error == error &&
	       !memcmp(&before, &dev_system, sizeof(before)) &&
	       !memcmp(dev.data + TABLE, table, sizeof(table));
}

static bool loads(const char *bytes, u32 n, u16 sel)
{
	operand(sel, 0);
	return runs(bytes, n);
}

#define MOV_DS INSN("\x8e\x1b")
#define MOV_SS INSN("\x8e\x13")
#define MOV_CS INSN("\x8e\x0b")
#define MOV_6  INSN("\x8e\x33")

static void test_data_segments(void)
{
	const struct corbel_segment *ds = &dev_system.seg[SEG_DS], *ss = &dev_system.seg[SEG_SS];

	begin(0);
	CHECK(loads(MOV_DS, S_DATA) && ds->selector == S_DATA && ds->base == 0x123000 &&
		  ds->limit == 0xffffffff && ds->present && !e.shadow && cpu.rip == 0x1002,
	      "MOV to DS from MMIO loads the descriptor");
	CHECK(ds->type == 3 && dev.data[TABLE + S_DATA + 5] == 0x93 && dev.as_system,
	      "and marks it accessed, as the system");
	dev.fault_page = TABLE / 4096 + 1;
	CHECK(loads(MOV_DS, S_DATA), "what is marked already may be in read-only memory");
	begin(0);
	CHECK(loads(MOV_SS, S_DATA) && ss->selector == S_DATA && e.shadow,
	      "MOV to SS holds events back until the next instruction is done");
	begin(0);
	CHECK(loads(MOV_DS, 3) && ds->unusable && ds->selector == 3,
	      "a null selector is DS' to have");
	CHECK(loads(MOV_SS, 0) && ss->unusable && !ss->dpl, "in 64-bit mode at CPL 0 SS' as well");
	begin(0);
	operand(1, 0);
	CHECK(raises(MOV_SS, 13, 0), "a null selector with another RPL: #GP(0)");
	operand(S_DATA3 | 3, 0);
	CHECK(raises(MOV_SS, 13, S_DATA3), "SS with another DPL than CPL: #GP(selector)");
	operand(S_CODE64, 0);
	CHECK(raises(MOV_SS, 13, S_CODE64), "SS with code: #GP(selector)");
	operand(S_ABSENT, 0);
	CHECK(raises(MOV_SS, 12, S_ABSENT), "SS with what is not present: #SS(selector)");
	CHECK(raises(MOV_DS, 11, S_ABSENT), "DS: #NP(selector)");
	operand(S_TSS, 0);
	CHECK(raises(MOV_DS, 13, S_TSS), "a system descriptor: #GP(selector)");
	operand(S_BYTES, 0);
	CHECK(raises(MOV_DS, 13, S_BYTES), "behind the table: #GP(selector)");
	operand(S_DATA | 4, 0);
	CHECK(raises(MOV_DS, 13, S_DATA | 4), "in an LDT that there is not: #GP(selector)");
	CHECK(raises(MOV_CS, 6, 0) && raises(MOV_6, 6, 0), "MOV to CS, to no register: #UD");
	begin(3);
	operand(S_DATA, 0);
	CHECK(raises(MOV_DS, 13, S_DATA), "a program cannot load the system's data");
	operand(S_DATA3, 0);
	CHECK(loads(MOV_DS, S_DATA3) && ds->dpl == 3, "but its own");
	begin(3);
	operand(0, 0);
	CHECK(raises(MOV_SS, 13, 0), "nor a null selector into SS");
	begin(0);
	dev_system.seg[SEG_LDTR] =
	    (struct corbel_segment){.base = data_at + TABLE + S_DATA, .limit = 7, .present = 1};
	CHECK(loads(MOV_DS, 4) && ds->base == 0x123000, "from the LDT");
	begin(0);
	dev_system.cr0 = 0x10;
	e.mode = EMUL_16;
	cpu.gpr[RDI] = data_at + OPERAND;
	dev_system.seg[SEG_DS].limit = 0x12345;
	CHECK(loads(INSN("\x67\x8e\x1b"), 0xf123) && ds->base == 0xf1230 && ds->limit == 0x12345,
	      "in real mode a segment is its selector, and limits stay");
}

static void test_far_pointers(void)
{
	begin(0);
	operand(0x1122334455667788, S_DATA);
	CHECK(runs(INSN("\x48\x0f\xb4\x03")) && cpu.gpr[RAX] == 0x1122334455667788 &&
		  dev_system.seg[SEG_FS].selector == S_DATA,
	      "LFS loads 64 bits and a selector");
	begin(0);
	operand((u64)S_ABSENT << 32 | 0x55667788, 0);
	CHECK(raises(INSN("\x0f\xb5\x03"), 11, S_ABSENT), "LGS that fails leaves the register");
	begin(0);
	e.mode = EMUL_32;
	operand((u64)S_DATA << 32 | 0x55667788, 0);
	CHECK(runs(INSN("\xc4\x03")) && (u32)cpu.gpr[RAX] == 0x55667788 &&
		  dev_system.seg[SEG_ES].selector == S_DATA,
	      "LES in 32-bit mode");
}

#define JMP64 INSN("\x48\xff\x2b")
#define JMP32 INSN("\xff\x2b")
#define CALL  INSN("\x48\xff\x1b")

static void test_far_branches(void)
{
	const struct corbel_segment *cs = &dev_system.seg[SEG_CS];

	begin(0);
	operand(0xffff800000001234, S_CODE64);
	CHECK(runs(JMP64) && cpu.rip == 0xffff800000001234 && cs->selector == S_CODE64 && cs->l,
	      "far JMP through MMIO");
	begin(0);
	operand((u64)S_CODE32 << 32 | 0x5678, 0);
	CHECK(runs(JMP32) && cpu.rip == 0x5678 && !cs->l && cs->db, "into compatibility mode");
	begin(0);
	operand(0x1234, S_CODE64);
	CHECK(runs(CALL) && cpu.rip == 0x1234 && cpu.gpr[RSP] == data_at + STACK - 16 &&
		  !memcmp(dev.data + STACK - 16, &(u64[]){0x1003, 0x98}, 16),
	      "far CALL pushes CS and what follows");
	begin(3);
	operand(0x1234, S_CONFORMING | 3);
	CHECK(runs(JMP64) && cs->selector == (S_CONFORMING | 3) && !cs->dpl,
	      "conforming code runs at the CPL that there is");
	operand(0x1234, S_CODE64);
	begin(3);
	CHECK(raises(JMP64, 13, S_CODE64), "other code of the system does not: #GP(selector)");
	begin(0);
	operand(0x1234, S_CODE64 | 1);
	CHECK(raises(JMP64, 13, S_CODE64), "an RPL above the CPL: #GP(selector)");
	operand(0x1234, 0);
	CHECK(raises(JMP64, 13, 0), "a null selector: #GP(0)");
	operand(0x1234, S_DATA);
	CHECK(raises(JMP64, 13, S_DATA), "data: #GP(selector)");
	operand(0x1234, S_BOTH);
	CHECK(raises(JMP64, 13, S_BOTH), "64 bits and 32 in one: #GP(selector)");
	operand(0x800000000000, S_CODE64);
	CHECK(raises(JMP64, 13, 0), "to an address that is not canonical: #GP(0)");
	operand((u64)S_CODE32 << 32 | 0x10000000, 0);
	CHECK(raises(JMP32, 13, 0), "behind the limit: #GP(0)");
	operand(0x1234, S_GATE);
	CHECK(once(&e, JMP64) == EMUL_UNSUPPORTED && cpu.rip == 0x1000, "gates are not for us");
	operand(0x1234, S_CODE64);
	cpu.gpr[RSP] = data_at;
	dev.fault_page = 0;
	CHECK(once(&e, CALL) == EMUL_FAULT && cpu.gpr[RSP] == data_at && cs->selector == 0x98,
	      "a far CALL that has no stack has not gone");
}

static void test_enter(void)
{
	begin(0);
	dev.mmio_pages = 15;
	cpu.gpr[RBP] = 0x1122334455667788;
	CHECK(runs(INSN("\xc8\x20\x00\x00")) && cpu.gpr[RBP] == data_at + STACK - 8 &&
		  cpu.gpr[RSP] == data_at + STACK - 0x28 &&
		  !memcmp(dev.data + STACK - 8, &(u64){0x1122334455667788}, 8),
	      "ENTER on a stack in MMIO");
	begin(0);
	dev.written = 0;
	CHECK(once(&e, INSN("\xc8\x20\x00\x01")) == EMUL_UNSUPPORTED && !dev.written &&
		  cpu.gpr[RSP] == data_at + STACK,
	      "but no nested procedures");
}

#define SLDT INSN("\x0f\x00\x03")
#define LLDT INSN("\x0f\x00\x13")
#define LTR  INSN("\x0f\x00\x1b")
#define SGDT INSN("\x0f\x01\x03")
#define LGDT INSN("\x0f\x01\x13")
#define LIDT INSN("\x0f\x01\x1b")
#define SMSW INSN("\x0f\x01\x23")
#define LMSW INSN("\x0f\x01\x33")

static void test_tables(void)
{
	const struct corbel_segment *tr = &dev_system.seg[SEG_TR], *ldt = &dev_system.seg[SEG_LDTR];

	begin(0);
	CHECK(loads(LTR, S_TSS) && tr->selector == S_TSS && tr->base == 0xffff800055667788 &&
		  tr->limit == 0x67 && tr->type == 11 && dev.data[TABLE + S_TSS + 5] == 0x8b,
	      "LTR loads 64 bits of base and marks the TSS busy");
	CHECK(once(&e, LTR) == EMUL_FAULT && e.fault.vector == 13 && e.fault.error == S_TSS,
	      "which cannot be loaded again: #GP(selector)");
	begin(0);
	operand(S_WILD, 0);
	CHECK(raises(LTR, 13, S_WILD), "a base that is not canonical: #GP(selector)");
	operand(0, 0);
	CHECK(raises(LTR, 13, 0), "LTR of a null selector: #GP(0)");
	operand(S_LDT, 0);
	CHECK(raises(LTR, 13, S_LDT), "LTR of an LDT: #GP(selector)");
	operand(S_LDT | 4, 0);
	CHECK(raises(LLDT, 13, S_LDT | 4), "LLDT from the LDT: #GP(selector)");
	operand(S_BYTES - 8, 0);
	CHECK(raises(LLDT, 13, S_BYTES - 8),
	      "a descriptor of which half is outside: #GP(selector)");
	CHECK(loads(LLDT, S_LDT) && ldt->base == 0x1000 && ldt->limit == 0xfff, "LLDT");
	CHECK(loads(LLDT, 0) && ldt->unusable, "and of none");
	operand(0x8877665544332211, 0x1234);
	CHECK(raises(LGDT, 13, 0), "LGDT that is not canonical: #GP(0)");
	operand(0x92345678abcd0fff, 0xffff);
	CHECK(runs(LIDT) && dev_system.seg[SEG_IDTR].limit == 0xfff &&
		  dev_system.seg[SEG_IDTR].base == 0xffff92345678abcd,
	      "LIDT loads limit and base");
	begin(0);
	e.mode = EMUL_16;
	operand(0xff112233fffe, 0);
	CHECK(runs(INSN("\x67\x0f\x01\x13")) && dev_system.seg[SEG_GDTR].base == 0x112233 &&
		  dev_system.seg[SEG_GDTR].limit == 0xfffe,
	      "LGDT with operands of 16 bits has 24 bits of base");
}

/* Whoever answers the accesses may set registers before the next one. */
static void test_changed_meanwhile(void)
{
	struct emul_state st;

	begin(0);
	operand(0x1234567890000fff, 0);
	CHECK(start(&st, &e, (const u8 *)LGDT) == EMUL_MMIO_READ && st.mmio_len == 8 &&
		  emul_continue(&st, &e) == EMUL_MMIO_READ && st.mmio_len == 2,
	      "LGDT reads ten bytes by two accesses");
	e.mode = EMUL_32;
	CHECK(emul_continue(&st, &e) == EMUL_UNSUPPORTED && cpu.rip == 0x1000 && !st.active,
	      "in the mode that it is now in there would have been six: it is not done");
	begin(0);
	operand(S_DATA, 0);
	dev.mmio_pages |= 2;
	CHECK(start(&st, &e, (const u8 *)MOV_DS) == EMUL_MMIO_READ, "MOV to DS reads the selector");
	st.mmio_data = S_DATA;
	CHECK(emul_continue(&st, &e) == EMUL_MMIO_READ && st.mmio_len == 8, "and the descriptor");
	st.mmio_data = table[S_DATA / 8];
	CHECK(emul_continue(&st, &e) == EMUL_MMIO_READ && st.mmio_len == 1, "to mark it accessed");
	dev_system.cr0 = 0x10;
	CHECK(emul_continue(&st, &e) == EMUL_UNSUPPORTED && cpu.rip == 0x1000,
	      "in real mode there is no descriptor: it is not done");
}

/* As begin(); the table is MMIO, and neither operand nor stack are. */
static void begin_rom(u8 cpl)
{
	begin(cpl);
	dev.mmio_pages = 2;
	dev.written = 0;
}

/* Of a descriptor, where it lies */
static u8 access_of(u16 sel)
{
	return dev.data[TABLE + sel + 5];
}

static void push(u32 n, const u64 *val)
{
	cpu.gpr[RSP] = data_at + STACK - 8 * n;
	memcpy(dev.data + STACK - 8 * n, val, 8 * n);
}
#define PUSH(...) push(sizeof((u64[]){__VA_ARGS__}) / 8, (u64[]){__VA_ARGS__})

#define LTR_AX	INSN("\x0f\x00\xd8")
#define LLDT_AX INSN("\x0f\x00\xd0")
#define DS_AX	INSN("\x8e\xd8")
#define SS_AX	INSN("\x8e\xd0")
#define POP_FS	INSN("\x0f\xa1")

static void test_table_in_rom(void)
{
	const struct corbel_segment *seg = dev_system.seg;

	begin_rom(0);
	cpu.gpr[RAX] = S_TSS;
	CHECK(runs(LTR_AX) && seg[SEG_TR].selector == S_TSS && seg[SEG_TR].type == 11 &&
		  dev.written == 1 && access_of(S_TSS) == 0x8b && cpu.rip == 0x1003,
	      "LTR of a register writes one byte to a table in MMIO");
	begin_rom(0);
	cpu.gpr[RAX] = S_LDT;
	CHECK(runs(LLDT_AX) && seg[SEG_LDTR].base == 0x1000 && !dev.written, "LLDT writes nothing");
	cpu.gpr[RAX] = S_TSS;
	CHECK(raises(LLDT_AX, 13, S_TSS), "LLDT of a TSS: #GP(selector)");
	begin_rom(0);
	cpu.gpr[RAX] = 0xffff0000 | S_DATA;
	CHECK(runs(DS_AX) && seg[SEG_DS].base == 0x123000 && dev.written == 1 &&
		  access_of(S_DATA) == 0x93 && !e.shadow,
	      "MOV to DS of a register's low word");
	CHECK(runs(SS_AX) && seg[SEG_SS].selector == S_DATA && dev.written == 1 && e.shadow,
	      "and to SS, whose descriptor is marked by now");
	begin_rom(0);
	PUSH(0x1111222233330000 | S_DATA);
	CHECK(runs(POP_FS) && seg[SEG_FS].selector == S_DATA && cpu.gpr[RSP] == data_at + STACK &&
		  dev.written == 1 && cpu.rip == 0x1002,
	      "POP to FS");
	begin_rom(0);
	PUSH(S_ABSENT);
	CHECK(raises(POP_FS, 11, S_ABSENT) && cpu.gpr[RSP] == data_at + STACK - 8,
	      "of what is not present leaves the stack: #NP(selector)");
	begin_rom(0);
	e.mode = EMUL_32;
	PUSH(S_DATA);
	CHECK(runs(INSN("\x17")) && seg[SEG_SS].selector == S_DATA && e.shadow &&
		  (u32)cpu.gpr[RSP] == data_at + STACK - 4,
	      "POP to SS in 32-bit mode");
	begin_rom(0);
	e.mode = EMUL_32;
	CHECK(runs(INSN("\xea\x78\x56\x00\x00\x18\x00")) && cpu.rip == 0x5678 &&
		  seg[SEG_CS].selector == S_CODE32 && access_of(S_CODE32) == 0x9b,
	      "far JMP to a constant");
	begin_rom(0);
	e.mode = EMUL_32;
	CHECK(runs(INSN("\x66\x9a\x78\x56\x18\x00")) && cpu.rip == 0x5678 &&
		  (u32)cpu.gpr[RSP] == data_at + STACK - 4 &&
		  !memcmp(dev.data + STACK - 4, &(u16[]){0x1006, 0x98}, 4),
	      "far CALL to one, with 16 bits");
	CHECK(once(&e, INSN("\x0f\x01\xf0")) == EMUL_UNSUPPORTED, "LMSW of a register is not ours");
}

#define RETF  INSN("\x48\xcb")
#define IRETQ INSN("\x48\xcf")
#define USER  data_at + 0x500, S_CODE3 | 3

/* As begin_rom(), with DS and ES of the system's and FS of the program's. */
static void begin_return(u8 cpl)
{
	begin_rom(cpl);
	dev_system.seg[SEG_DS] = dev_system.seg[SEG_ES] =
	    (struct corbel_segment){.selector = S_DATA, .present = 1, .s = 1, .type = 3};
	dev_system.seg[SEG_GS] = (struct corbel_segment){
	    .selector = S_CONFORMING, .present = 1, .s = 1, .type = 15, .base = 0x777};
	dev_system.seg[SEG_FS] = (struct corbel_segment){
	    .selector = S_DATA3 | 3, .present = 1, .s = 1, .type = 3, .dpl = 3};
	cpu.rflags = 0x10202;
}

static bool is_user(void)
{
	const struct corbel_segment *seg = dev_system.seg;

	return cpu.rip == data_at + 0x500 && seg[SEG_CS].selector == (S_CODE3 | 3) &&
	       seg[SEG_SS].selector == (S_DATA3 | 3) && seg[SEG_SS].dpl == 3 &&
	       access_of(S_CODE3) == 0xfb && access_of(S_DATA3) == 0xf3 && dev.written == 2 &&
	       seg[SEG_DS].unusable && !seg[SEG_ES].selector && seg[SEG_GS].base == 0x777 &&
	       !seg[SEG_GS].unusable && seg[SEG_FS].selector == (S_DATA3 | 3);
}

static void test_returns(void)
{
	const struct corbel_segment *seg = dev_system.seg;

	begin_return(0);
	PUSH(data_at + 0x500, S_CONFORMING, 0);
	CHECK(runs(RETF) && cpu.rip == data_at + 0x500 && seg[SEG_CS].selector == S_CONFORMING &&
		  cpu.gpr[RSP] == data_at + STACK - 8 && !seg[SEG_DS].unusable && !e.iret &&
		  access_of(S_CONFORMING) == 0x9f,
	      "far RET at the same CPL marks the code segment");
	begin_return(0);
	PUSH(USER, 0, 0, 0x7fff12345678, S_DATA3 | 3);
	CHECK(runs(INSN("\x48\xca\x10\x00")) && is_user() && cpu.gpr[RSP] == 0x7fff12345688,
	      "outwards it takes both stacks, and bytes from either");
	begin_return(0);
	PUSH(USER, 0x3246, 0x7fff12345678, S_DATA3 | 3);
	CHECK(runs(IRETQ) && is_user() && cpu.gpr[RSP] == 0x7fff12345678 && cpu.rflags == 0x3246 &&
		  e.iret,
	      "IRET as well, and loads flags with IOPL, and lets NMIs in");
	begin_return(0);
	PUSH(data_at + 0x500, S_CODE64, 0x46, data_at + 0x900, 0);
	CHECK(runs(IRETQ) && seg[SEG_SS].unusable && cpu.gpr[RSP] == data_at + 0x900 &&
		  cpu.rflags == 0x46 && !dev.written,
	      "IRET of 64 bits has a stack at the same CPL, too, and a null SS");
	begin_return(0);
	PUSH(USER, 0x13246, 0x7fff12345678, S_DATA3 | 3);
	CHECK(runs(IRETQ) && is_user() && cpu.rflags == 0x3246 && e.rf,
	      "RF, as it is behind a fault, is for whoever ends the instruction");
	begin_return(3);
	PUSH(USER, 0x3046, 0x7fff12345678, S_DATA3 | 3);
	CHECK(runs(IRETQ) && cpu.rflags == 0x246, "a program's leaves IOPL and IF");
	begin_return(3);
	PUSH(data_at + 0x500, S_CODE64, 0x46, data_at + 0x900, S_DATA);
	CHECK(raises(IRETQ, 13, S_CODE64) && raises(RETF, 13, S_CODE64),
	      "and comes to no CPL below: #GP(selector)");
	begin_return(0);
	PUSH(data_at + 0x500, S_CODE64 | 3, 0x46, data_at + 0x900, S_DATA3 | 3);
	CHECK(raises(IRETQ, 13, S_CODE64), "the system's code is not for a program: #GP(selector)");
	PUSH(data_at + 0x500, S_GATE, 0x46, data_at + 0x900, 0);
	CHECK(raises(RETF, 13, S_GATE), "to a gate: #GP(selector)");
	PUSH(USER, 0x46, data_at + 0x900, S_DATA);
	CHECK(raises(IRETQ, 13, S_DATA), "a stack of another CPL: #GP(selector)");
	PUSH(USER, 0x46, data_at + 0x900, 3);
	CHECK(raises(IRETQ, 13, 0), "or none: #GP(0)");
	PUSH(0x800000000000, S_CODE3 | 3, 0x46, data_at + 0x900, S_DATA3 | 3);
	CHECK(raises(IRETQ, 13, 0), "an address that is not canonical: #GP(0)");
	PUSH(USER, 0x146, data_at + 0x900, S_DATA3 | 3);
	CHECK(once(&e, IRETQ) == EMUL_UNSUPPORTED && cpu.rip == 0x1000,
	      "that a trap comes an instruction later is not known");
	dev.mmio_pages = 0;
	dev.fault_page = TABLE / 4096 + 1;
	PUSH(data_at + 0x500, S_CODE64, 0x46, data_at + 0x900, S_DATA);
	CHECK(once(&e, IRETQ) == EMUL_FAULT && e.fault.vector == 14 && !seg[SEG_CS].limit &&
		  cpu.gpr[RSP] == data_at + STACK - 40 && cpu.rflags == 0x10202,
	      "nothing is loaded before all is marked");
	begin_return(0);
	e.mode = EMUL_16;
	dev_system.cr0 = 0x10;
	dev_system.seg[SEG_CS].limit = 0xffff;
	dev_system.seg[SEG_CS].l = 0;
	cpu.rflags = 0x180002;
	PUSH(0);
	memcpy(dev.data + STACK - 8, &(u16[]){0x5678, 0x1234, 0x3046}, 6);
	CHECK(runs(INSN("\xcf")) && cpu.rip == 0x5678 && seg[SEG_CS].base == 0x12340 &&
		  cpu.rflags == 0x183046 && (u32)cpu.gpr[RSP] == data_at + STACK - 2,
	      "IRET in real mode");
}

static void test_stores(void)
{
	u8 *at = dev.data + OPERAND;

	begin(0);
	memset(at, 0x77, 16);
	CHECK(runs(SGDT) && !memcmp(at, &dev_system.seg[SEG_GDTR].limit, 2) &&
		  !memcmp(at + 2, &dev_system.seg[SEG_GDTR].base, 8) && at[10] == 0x77,
	      "SGDT stores limit and base");
	dev_system.seg[SEG_LDTR].selector = S_LDT;
	CHECK(runs(SLDT) && at[0] == S_LDT && !at[1] &&
		  at[2] == dev_system.seg[SEG_GDTR].base % 256,
	      "SLDT stores 16 bits");
	CHECK(runs(SMSW) && at[0] == 0x11 && !at[1] && at[2] == dev_system.seg[SEG_GDTR].base % 256,
	      "SMSW as well");
	begin(3);
	CHECK(runs(SMSW), "programs may look");
	dev_system.umip = true;
	CHECK(raises(SMSW, 13, 0) && raises(SGDT, 13, 0), "but for UMIP: #GP(0)");
	CHECK(raises(LGDT, 13, 0) && raises(LTR, 13, 0) && raises(LMSW, 13, 0),
	      "and never load: #GP(0)");
	begin(0);
	operand(0xfffe, 0);
	CHECK(runs(LMSW) && dev_system.cr0 == 0x8000001f,
	      "LMSW cannot clear PE, and sets three bits");
	begin(0);
	msw_refused = true;
	CHECK(raises(LMSW, 13, 0), "what CR0 may not be: #GP(0)");
	begin(0);
	dev_system.cr0 = 0;
	CHECK(raises(SLDT, 6, 0) && raises(LTR, 6, 0), "real mode has neither LDT nor task: #UD");
	dev_system.cr0 = 1;
	dev_system.vm86 = true;
	CHECK(raises(SLDT, 6, 0), "nor has virtual-8086 mode: #UD");
	CHECK(raises(INSN("\xf0\x0f\x01\x23"), 6, 0), "LOCK SMSW: #UD");
}

int main(void)
{
	test_data_segments();
	test_far_pointers();
	test_far_branches();
	test_enter();
	test_tables();
	test_changed_meanwhile();
	test_table_in_rom();
	test_returns();
	test_stores();
	return test_end();
}
