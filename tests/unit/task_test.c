/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/emul/task.c hv/emul/descriptor.c */
/*
 * Task switches in a small memory: what is saved, loaded and marked, which fault is whose, and that
 * an access which cannot be done yet, whichever, can be made up for. The groups of tests/target
 * make real ones.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/emul/insn.h"
#include "hv/emul/task.h"
#include "hv/lib/x86.h"
#include "test.h"
#include "tests/target/tss.h"

#define GDT 0x1000u
#define A   0x2000u /* TSS of the task that runs */
#define B   0x2100u
#define C   0x2200u /* of 16 bits */
#define NT  BIT(14)
#define VM  BIT(17)
enum {
	CODE = 0x08,
	DATA = 0x10,
	SEL_A = 0x18,
	SEL_B = 0x20,
	SEL_C = 0x28,
	USER_CODE = 0x30,
	USER_DATA = 0x38,
	CONFORMING = 0x40,
	DOWN = 0x48,
	NULLS = 0x50
};

static u8 memory[0x4000];
static struct task t;
static u32 accesses, refuse; /* the access that is refused, counted from 1 */
static int refusal;
static bool stack_used;

static int access(struct task *task, enum task_space space, u64 linear, void *buf, u32 len,
		  bool write)
{
	if (++accesses == refuse) {
		task->fault.vector = 14;
		task->fault.error = write ? 2 : 0;
		task->fault.cr2 = linear;
		return refusal;
	}
	if (linear > sizeof(memory) - len)
		abort();
	stack_used |= space == TASK_NEW_STACK;
	if (write)
		memcpy(memory + linear, buf, len);
	else
		memcpy(buf, memory + linear, len);
	return 0;
}

static void put(u32 at, u32 val, u32 len)
{
	memcpy(memory + at, &val, len);
}

static u32 get(u32 at, u32 len)
{
	u32 val = 0;

	memcpy(&val, memory + at, len);
	return val;
}

static void describe(u16 sel, u32 base, u32 limit, u8 rights, u8 flags)
{
	put(GDT + sel, base << 16 | (limit & 0xffff), 4);
	put(GDT + sel + 4,
	    (base & 0xff000000) | flags << 20 | (limit & 0xf0000) | rights << 8 |
		(base >> 16 & 0xff),
	    4);
}

static u8 rights(u16 sel)
{
	return memory[GDT + sel + 5];
}

static void prepare(enum task_source source, u16 sel)
{
	memset(memory, 0, sizeof(memory));
	describe(CODE, 0, 0xfffff, 0x9a, 0xc);
	describe(DATA, 0, 0xfffff, 0x92, 0xc);
	describe(SEL_A, A, 0x67, 0x8b, 0);
	describe(SEL_B, B, 0x67, source == TASK_IRET ? 0x8b : 0x89, 0);
	describe(SEL_C, C, 0x2b, source == TASK_IRET ? 0x83 : 0x81, 0);
	describe(USER_CODE, 0, 0xfffff, 0xfa, 0xc);
	describe(USER_DATA, 0, 0xfffff, 0xf2, 0xc);
	describe(CONFORMING, 0, 0xfffff, 0x9e, 0xc);
	describe(DOWN, 0, 0x2fff, 0x96, 0x4);
	put(B + T_CR3, 0x5000, 4);
	put(B + T_EIP, 0xbbb0, 4);
	put(B + T_FLAGS, 0x202, 4);
	for (u32 i = 0; i < 8; i++) {
		put(B + T_EAX + 4 * i, 0xb0000000 + i, 4);
		put(C + 0x12 + 2 * i, 0xc000 + i, 2);
	}
	put(B + T_ESP, 0x3800, 4);
	put(B + T_CS, CODE, 4);
	for (u32 at = T_ES; at <= T_DS; at += 8)
		put(B + at, DATA, 4);
	put(C + 0x0e, 0xccc0, 2);
	put(C + 0x10, 2, 2);
	put(C + 0x1a, 0x3800, 2);
	for (u32 i = 0; i < 4; i++)
		put(C + 0x22 + 2 * i, i == 1 ? CODE : DATA, 2);
	t = (struct task){
	    .access = access,
	    .source = source,
	    .selector = sel,
	    .rip = 0xaaa0,
	    .rflags = 0x46 | (source == TASK_IRET ? NT : 0),
	    .cr3 = 0x4000,
	    .paging = true,
	    .gdt = {.base = GDT, .limit = 0x57},
	};
	for (u32 i = 0; i < 8; i++)
		t.gpr[i] = 0xa0000000 + i;
	for (u32 i = 0; i <= SEG_GS; i++)
		t.seg[i] = (struct corbel_segment){
		    .selector = i == SEG_CS ? CODE : DATA, .limit = ~0u, .present = 1, .s = 1};
	t.seg[SEG_LDTR] = (struct corbel_segment){.unusable = 1};
	t.seg[SEG_TR] = (struct corbel_segment){
	    .selector = SEL_A, .base = A, .limit = 0x67, .type = 0xb, .present = 1};
	accesses = refuse = 0;
	stack_used = false;
}

static void test_jmp(void)
{
	prepare(TASK_JMP, SEL_B);
	CHECK(!task_switch(&t) && !t.faulted && t.rip == 0xbbb0 && t.rflags == 0x202 &&
		  t.gpr[RAX] == 0xb0000000 && t.gpr[RSP] == 0x3800 && t.cr3 == 0x5000,
	      "JMP: registers, flags and CR3 are the new task's");
	CHECK(get(A + T_EIP, 4) == 0xaaa0 && get(A + T_FLAGS, 4) == 0x46 &&
		  get(A + T_EAX + 28, 4) == 0xa0000007 && get(A + T_CS, 4) == CODE && !get(A, 2),
	      "the old task's are in its TSS");
	CHECK(rights(SEL_A) == 0x89 && rights(SEL_B) == 0x8b && !get(B, 2),
	      "busy is the new one alone, and nothing is linked");
	CHECK(t.seg[SEG_TR].selector == SEL_B && t.seg[SEG_TR].base == B &&
		  t.seg[SEG_TR].type == 0xb && t.seg[SEG_SS].limit == ~0u,
	      "TR, and segments by their descriptors");
	CHECK(rights(CODE) == 0x9b && rights(DATA) == 0x93, "descriptors are marked accessed");
	prepare(TASK_JMP, SEL_B);
	t.paging = false;
	CHECK(!task_switch(&t) && t.cr3 == 0x4000, "without paging CR3 stays");
	prepare(TASK_JMP, SEL_B);
	put(B + T_TRAP, 1, 2);
	CHECK(!task_switch(&t) && t.trap, "T bit: a trap is due");
}

static void test_nested(void)
{
	prepare(TASK_CALL, SEL_B);
	CHECK(!task_switch(&t) && t.rflags == (0x202 | NT) && get(B, 2) == SEL_A &&
		  rights(SEL_A) == 0x8b && rights(SEL_B) == 0x8b && !t.trap,
	      "CALL: nested, linked, both busy");
	prepare(TASK_IRET, SEL_B);
	CHECK(!task_switch(&t) && t.rflags == 0x202 && get(A + T_FLAGS, 4) == 0x46 &&
		  rights(SEL_A) == 0x89 && rights(SEL_B) == 0x8b,
	      "IRET: the task that is left is neither nested nor busy");
	prepare(TASK_CALL, SEL_C);
	CHECK(!task_switch(&t) && t.rip == 0xccc0 && (u16)t.gpr[RDI] == 0xc007 && t.cr3 == 0x4000 &&
		  rights(SEL_C) == 0x83 && t.seg[SEG_FS].unusable && !t.seg[SEG_DS].unusable,
	      "to a 16-bit task: no CR3, no FS and GS");
	prepare(TASK_JMP, SEL_B);
	t.seg[SEG_TR] = (struct corbel_segment){
	    .selector = SEL_C, .base = C, .limit = 0x2b, .type = 3, .present = 1};
	describe(SEL_C, C, 0x2b, 0x83, 0);
	CHECK(!task_switch(&t) && get(C + 0x0e, 2) == 0xaaa0 && get(C + 0x20, 2) == 7 &&
		  get(C + 0x24, 2) == CODE && !get(C + 0x2a, 4) && rights(SEL_C) == 0x81,
	      "from a 16-bit task: what fits its TSS");
}

static void test_event(void)
{
	prepare(TASK_GATE, SEL_B);
	t.has_error = true;
	t.error = 0x12345;
	CHECK(!task_switch(&t) && t.gpr[RSP] == 0x37fc && get(0x37fc, 4) == 0x12345 && stack_used,
	      "an error code is pushed at the new task's CPL");
	prepare(TASK_GATE, SEL_C);
	t.has_error = true;
	t.error = 0x1234;
	put(0x37fc, 0x11111111, 4);
	CHECK(!task_switch(&t) && t.gpr[RSP] == 0x37fe && get(0x37fc, 4) == 0x12341111,
	      "16 bits of it in a 16-bit task");
	prepare(TASK_GATE, SEL_B);
	t.has_error = t.external = true;
	put(B + T_SS, DOWN, 4);
	put(B + T_ESP, 0x3002, 4);
	CHECK(!task_switch(&t) && t.faulted && t.fault.vector == 12 && t.fault.error == 1 &&
		  t.gpr[RSP] == 0x3002,
	      "no room in a segment that expands downwards: #SS, and the event is told");
	prepare(TASK_GATE, SEL_B);
	t.has_error = true;
	put(B + T_SS, DOWN, 4);
	put(B + T_ESP, 0x3004, 4);
	CHECK(!task_switch(&t) && !t.faulted && t.gpr[RSP] == 0x3000, "room enough there");
}

/* Before the switch: the old task's, whose segments and registers stay. */
static void old_fault(const char *what, u8 vector, u32 error)
{
	CHECK(task_switch(&t) == -EFAULT && t.fault.vector == vector && t.fault.error == error &&
		  rights(SEL_A) == 0x8b,
	      "%s: exception %u with %x, the old task's", what, vector, error);
}

static void test_refused(void)
{
	prepare(TASK_JMP, 0);
	old_fault("JMP to no TSS", 13, 0);
	prepare(TASK_JMP, SEL_B | 4);
	old_fault("JMP to a TSS of an LDT", 13, SEL_B | 4);
	prepare(TASK_JMP, 0x58);
	old_fault("JMP beyond the GDT", 13, 0x58);
	prepare(TASK_IRET, 0x58);
	old_fault("IRET beyond the GDT", 10, 0x58);
	prepare(TASK_CALL, SEL_A);
	old_fault("CALL of a busy TSS", 13, SEL_A);
	prepare(TASK_IRET, SEL_B);
	describe(SEL_B, B, 0x67, 0x89, 0);
	old_fault("IRET to one that is not busy", 10, SEL_B);
	prepare(TASK_GATE, DATA);
	t.external = true;
	old_fault("an interrupt to data", 13, DATA | 1);
	prepare(TASK_CALL, SEL_B);
	describe(SEL_B, B, 0x67, 0x09, 0);
	old_fault("a TSS that is not present", 11, SEL_B);
	prepare(TASK_CALL, SEL_B);
	describe(SEL_B, B, 0x66, 0x89, 0);
	old_fault("a TSS that is too short", 10, SEL_B);
	prepare(TASK_CALL, SEL_C);
	describe(SEL_C, C, 0x2a, 0x81, 0);
	old_fault("a 16-bit TSS that is too short", 10, SEL_C);
	prepare(TASK_CALL, SEL_B);
	t.seg[SEG_TR].limit = 0x5e;
	old_fault("an old TSS that is too short", 10, SEL_A);
}

static void new_fault(const char *what, u32 field, u32 val, u8 vector, u32 error)
{
	prepare(TASK_JMP, SEL_B);
	put(B + field, val, 4);
	CHECK(!task_switch(&t) && t.faulted && t.fault.vector == vector && t.fault.error == error &&
		  t.seg[SEG_TR].selector == SEL_B && t.rip == get(B + T_EIP, 4) &&
		  rights(SEL_A) == 0x89 && rights(SEL_B) == 0x8b,
	      "%s: exception %u with %x, the new task's", what, vector, error);
}

static void test_segments(void)
{
	new_fault("no CS", T_CS, 0, 10, 0);
	new_fault("CS of data", T_CS, DATA, 10, DATA);
	new_fault("CS of another RPL", T_CS, CODE | 3, 10, CODE);
	new_fault("SS of code", T_SS, CODE, 10, CODE);
	new_fault("SS of another RPL", T_SS, DATA | 1, 10, DATA);
	new_fault("SS of another DPL", T_SS, USER_DATA, 10, USER_DATA);
	new_fault("SS beyond the GDT", T_SS, 0x58, 10, 0x58);
	new_fault("DS that is a TSS", T_DS, SEL_C, 10, SEL_C);
	new_fault("DS without a right to it", T_DS, DATA | 3, 10, DATA);
	new_fault("ES of an LDT that is not there", T_ES, DATA | 4, 10, DATA | 4);
	new_fault("an LDT of data", T_LDT, DATA, 10, DATA);
	new_fault("an EIP beyond CS", T_CS, NULLS, 10, NULLS);
	prepare(TASK_JMP, SEL_B);
	describe(CODE, 0, 0xbbaf, 0x9a, 0x4);
	CHECK(!task_switch(&t) && t.faulted && t.fault.vector == 13 && !t.fault.error,
	      "EIP beyond CS: #GP");
	prepare(TASK_JMP, SEL_B);
	describe(DATA, 0, 0xfffff, 0x12, 0xc);
	CHECK(!task_switch(&t) && t.faulted && t.fault.vector == 12 && t.fault.error == DATA,
	      "SS not present: #SS");
	for (u32 conforming = 0; conforming < 2; conforming++) {
		prepare(TASK_JMP, SEL_B);
		put(B + T_CS, (conforming ? CONFORMING : USER_CODE) | 3, 4);
		for (u32 at = T_ES; at <= T_DS; at += 8)
			if (at != T_CS)
				put(B + at, USER_DATA | 3, 4);
		CHECK(!task_switch(&t) && !t.faulted && t.seg[SEG_SS].dpl == 3 &&
			  t.seg[SEG_CS].dpl == (conforming ? 0 : 3),
		      "a task of user mode, conforming code: %u", conforming);
	}
	prepare(TASK_JMP, SEL_B);
	put(B + T_FLAGS, VM | 2, 4);
	put(B + T_CS, 0x1234, 4);
	put(B + T_DS, 0, 4);
	for (u32 i = SEG_ES; i <= SEG_GS; i++)
		t.seg[i].avl = t.seg[i].db = t.seg[i].g = t.seg[i].l = 1;
	CHECK(!task_switch(&t) && !t.faulted && t.seg[SEG_CS].base == 0x12340 &&
		  t.seg[SEG_CS].limit == 0xffff && t.seg[SEG_SS].dpl == 3 &&
		  t.seg[SEG_CS].type == 3 && !t.seg[SEG_DS].unusable,
	      "virtual-8086 mode: segments are what they are called");
	for (u32 i = SEG_ES; i <= SEG_GS; i++) /* VT-x does not enter it else */
		CHECK(!(t.seg[i].avl | t.seg[i].db | t.seg[i].g | t.seg[i].l),
		      "and %u keeps nothing of the old task's", i);
}

/* Each access in turn is refused once; what comes of it must be what comes without. */
static void test_again(enum task_source source, u16 sel)
{
	static u8 want[sizeof(memory)];
	struct task wanted, begun;
	u32 n, bad = 0, old = 0;

	prepare(source, sel);
	begun = t;
	if (!CHECK(!task_switch(&t), "source %u, TSS %x", source, sel))
		return;
	n = accesses;
	wanted = t;
	memcpy(want, memory, sizeof(want));
	for (u32 i = 1; i <= n; i++) {
		prepare(source, sel);
		refuse = i;
		refusal = -EAGAIN;
		if (task_switch(&t) != -EAGAIN)
			bad++;
		t = begun;
		if (task_switch(&t) || memcmp(&t, &wanted, sizeof(t)) ||
		    memcmp(memory, want, sizeof(want)))
			bad++;
		prepare(source, sel);
		refuse = i;
		refusal = -EFAULT;
		if (task_switch(&t) == -EFAULT) {
			old++;
			bad += t.fault.vector != 14 || (source != TASK_IRET && rights(sel) & 2);
		} else {
			bad += !t.faulted || t.fault.vector != 14;
		}
	}
	CHECK(!bad && n > 10 && old && old < n,
	      "source %u, TSS %x: each of %u accesses can be made later, %u faults are the old "
	      "task's",
	      source, sel, n, old);
}

int main(void)
{
	test_jmp();
	test_nested();
	test_event();
	test_refused();
	test_segments();
	for (u32 source = TASK_CALL; source <= TASK_GATE; source++) {
		test_again(source, SEL_B);
		test_again(source, SEL_C);
	}
	return test_end();
}
