/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hardware task switches of a guest in protected mode. VT-x exits at each, so does AMD-V since we
 * ask for it, and QEMU's TCG makes them itself: there this looks at the test.
 */
#include "guest.h"
#include "tests/target/tss.h"

enum { GDT = 0x2000, IDT = 0x2400, TSS_A = 0x2800, TSS_C = 0x2a00, TSS_D = 0x2b00 };
enum { CODE_A = 0x1000, CODE_B = 0x1800, CODE_D = 0x1900, HANDLERS = 0x3000 };
enum { PD_A = 0x4000, PD_B = 0x5000, STACK_A = 0x7000, STACK_B = 0x6f00, STACK_D = 0x6d00 };
/* Selectors: A runs; B is its like, C of 16 bits, D for events. The rest is bad. */
enum {
	S_CODE = 0x08,
	S_DATA = 0x10,
	S_A = 0x18,
	S_B = 0x20,
	S_C = 0x28,
	S_GATE = 0x30,
	S_LDT = 0x38,
	S_NOT_THERE = 0x40,
	S_SHORT = 0x48,
	S_D = 0x50,
	S_DATA_NOT_THERE = 0x58,
	S_CODE_SHORT = 0x60,
	GDT_LIMIT = 0x67
};
#define NT	BIT(14)
#define RF	BIT(16)
#define VECTOR	0x30 /* of a task gate to D */
#define PORT	0x30 /* A says so */
#define PORT_B	0x31 /* B, C and D */
#define PORT_GP 0x4d /* and the other handlers of faults: 0x40 and the vector */
#define VALUE_A 0x11111111

static struct guest g;
static u32 tss_b; /* where B's TSS is */

static void describe(u16 sel, u32 base, u32 limit, u8 access, u8 flags)
{
	LONG(&g, GDT + sel) = base << 16 | (limit & 0xffff);
	LONG(&g, GDT + sel + 4) = (base & 0xff000000) | flags << 20 | (limit & 0xf0000) |
				  access << 8 | (base >> 16 & 0xff);
}

static u8 access_of(u16 sel)
{
	return g.mem[GDT + sel + 5];
}

static void set_tss(u32 at, u32 eip, u32 esp, u32 eax)
{
	LONG(&g, at + T_CR3) = PD_B;
	LONG(&g, at + T_EIP) = eip;
	LONG(&g, at + T_FLAGS) = 2;
	LONG(&g, at + T_EAX) = eax;
	LONG(&g, at + T_ESP) = esp;
	LONG(&g, at + T_CS) = S_CODE;
	for (u32 seg = T_ES; seg <= T_DS; seg += 8)
		LONG(&g, at + seg) = S_DATA;
}

static void set_tables(void)
{
	static const u8 faults[] = {8, 10, 11, 12, 13, 14};

	describe(S_CODE, 0, 0xfffff, 0x9b, 0xc);
	describe(S_DATA, 0, 0xfffff, 0x93, 0xc);
	describe(S_A, TSS_A, 0x67, 0x8b, 0);
	describe(S_B, tss_b, 0x67, 0x89, 0);
	describe(S_C, TSS_C, 0x2b, 0x81, 0);
	describe(S_D, TSS_D, 0x67, 0x89, 0);
	describe(S_GATE, S_B, 0, 0x85, 0);
	describe(S_LDT, GDT, 0x1f, 0x82, 0);
	describe(S_NOT_THERE, tss_b, 0x67, 0x09, 0);
	describe(S_SHORT, tss_b, 0x66, 0x89, 0);
	describe(S_DATA_NOT_THERE, 0, 0xfffff, 0x13, 0xc);
	describe(S_CODE_SHORT, 0, 0xfff, 0x9b, 0x4);
	for (u32 v = 0; v < 0x40; v++) { /* task gates to D */
		LONG(&g, IDT + v * 8) = S_D << 16;
		LONG(&g, IDT + v * 8 + 4) = 0x8500;
	}
	for (u32 i = 0; i < sizeof(faults); i++) { /* POP EAX; OUT 0x40 + vector, AL; HLT */
		u32 v = faults[i];

		LONG(&g, IDT + v * 8) = S_CODE << 16 | (HANDLERS + v * 8);
		LONG(&g, IDT + v * 8 + 4) = 0x8e00;
		LONG(&g, HANDLERS + v * 8) = 0xf400e658 | (0x40 + v) << 16;
	}
	LONG(&g, PD_A) = LONG(&g, PD_B) = 0x87; /* 4 MiB each to itself */
}

static struct corbel_segment segment(u16 sel, u32 limit, u8 type, u8 s)
{
	return (struct corbel_segment){
	    .selector = sel, .limit = limit, .type = type, .s = s, .present = 1, .db = s, .g = s};
}

/* The guest, about to run code_a in A; all the others are at rest. */
static bool make(const u8 *code_a, u32 len)
{
	/* OUT PORT_B, AL; IRET; JMP here */
	static const u8 code_b[] = {0xe6, PORT_B, 0xcf, 0xeb, 0xfe};
	struct corbel_sregs *s;

	if (!guest_make(&g, 0, 0, code_a, code_a + len))
		return false;
	memcpy(g.mem + CODE_B, code_b, sizeof(code_b));
	memcpy(g.mem + CODE_D, code_b, sizeof(code_b));
	set_tables();
	set_tss(tss_b, CODE_B, STACK_B, 0xbbbbbbbb);
	set_tss(TSS_D, CODE_D, STACK_D, 0xdddddddd);
	WORD(&g, TSS_C + 0x0e) = CODE_B;
	WORD(&g, TSS_C + 0x10) = 2;
	WORD(&g, TSS_C + 0x12) = 0xcccc; /* AX */
	WORD(&g, TSS_C + 0x1a) = STACK_B;
	for (u32 i = 0; i < 4; i++)
		WORD(&g, TSS_C + 0x22 + i * 2) = i == 1 ? S_CODE : S_DATA;
	s = (void *)g.data;
	if (hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0) != sizeof(*s))
		return false;
	s->cs = segment(S_CODE, ~0u, 0xb, 1);
	s->ss = s->ds = s->es = s->fs = s->gs = segment(S_DATA, ~0u, 3, 1);
	s->tr = segment(S_A, 0x67, 0xb, 0);
	s->tr.base = TSS_A;
	s->gdt = (struct corbel_dtable){.base = GDT, .limit = GDT_LIMIT};
	s->idt = (struct corbel_dtable){.base = IDT, .limit = 0x1ff};
	s->cr0 = 0x80000011;
	s->cr3 = PD_A;
	s->cr4 = 0x10; /* PSE */
	if (hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)))
		return false;
	g.page->rax = VALUE_A;
	g.page->rip = CODE_A;
	g.page->rsp = STACK_A;
	g.page->regs_dirty = 1;
	return true;
}

static bool stops_at(u16 port)
{
	u32 reason = guest_run(&g, 2000);
	bool good = reason == CORBEL_EXIT_IO && EXIT_IO(&g, port, 0);

	if (!good)
		note("exit %u, port %x, rip %lx", g.page->exit_reason, g.page->io.port,
		     g.page->rip);
	return good;
}

static const struct corbel_sregs *sregs(void)
{
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	return (void *)g.data;
}

/* CALL or JMP to a selector, or an instruction of two bytes; then OUT PORT, AL; HLT */
#define FAR(op, sel)	     (const u8[]){op, 0, 0, 0, 0, sel, 0, 0xe6, PORT, 0xf4}, 10
#define SHORT(first, second) (const u8[]){first, second, 0xe6, PORT, 0xf4}, 5
#define CALL		     0x9a
#define JMP		     0xea

#define MAKE_TASKS(...)                                                                            \
	if (!report(make(__VA_ARGS__), "a guest with tasks is made"))                              \
	return

static void check_jmp(void)
{
	const struct corbel_sregs *s;

	MAKE_TASKS(FAR(JMP, S_B));
	/* back by JMP, too */
	memcpy(g.mem + CODE_B + 2, (const u8[]){JMP, 0, 0, 0, 0, S_A, 0}, 7);
	report(stops_at(PORT_B) && (u32)g.page->rax == 0xbbbbbbbb && g.page->rsp == STACK_B &&
		   g.page->rip == CODE_B + 2 && !(g.page->rflags & NT),
	       "JMP to a TSS goes to the task in it");
	s = sregs();
	report(s->tr.selector == S_B && s->tr.base == tss_b && s->cr0 & BIT(3) && s->cr3 == PD_B,
	       "TR, CR3 and CR0.TS follow");
	report(access_of(S_A) == 0x89 && access_of(S_B) == 0x8b, "the busy bit moves along");
	report(LONG(&g, TSS_A + T_EIP) == CODE_A + 7 && LONG(&g, TSS_A + T_EAX) == VALUE_A &&
		   LONG(&g, TSS_A + T_ESP) == STACK_A && LONG(&g, TSS_A + T_CS) == S_CODE,
	       "the old task is in its TSS");
	LONG(&g, TSS_A + T_CR3) = PD_A;
	report(stops_at(PORT) && (u32)g.page->rax == VALUE_A && g.page->rip == CODE_A + 9 &&
		   LONG(&g, tss_b + T_EIP) == CODE_B + 9 && access_of(S_B) == 0x89 &&
		   access_of(S_A) == 0x8b && sregs()->cr3 == PD_A,
	       "and goes on when the other one jumps back");
	FREE(&g);
}

/* It is called, and returns by IRET. */
static void check_nested(const char *how, const u8 *code, u32 len, u16 sel, u32 tss, u32 eip)
{
	bool small = tss == TSS_C;
	u32 ax = small ? 0xcccc : tss == TSS_D ? 0xdddd : 0xbbbb;

	MAKE_TASKS(code, len);
	LONG(&g, TSS_A + T_CR3) = PD_A;
	report(stops_at(PORT_B) && (u16)g.page->rax == ax && g.page->rflags & NT &&
		   WORD(&g, tss + T_LINK) == S_A && sregs()->tr.selector == sel,
	       "%s goes to the task, nested, and linked to the old one", how);
	report(access_of(S_A) == 0x8b && access_of(sel) == (small ? 0x83 : 0x8b) &&
		   LONG(&g, TSS_A + T_EIP) == eip && !(LONG(&g, TSS_A + T_FLAGS) & NT),
	       "%s: both are busy, the old one is to go on at %x (%x)", how, eip,
	       LONG(&g, TSS_A + T_EIP));
	LONG(&g, TSS_A + T_EIP) = CODE_A + len - 3;
	report(stops_at(PORT) && (u32)g.page->rax == VALUE_A && g.page->rsp == STACK_A &&
		   !(g.page->rflags & NT) && sregs()->tr.selector == S_A &&
		   access_of(sel) == (small ? 0x81 : 0x89) && access_of(S_A) == 0x8b,
	       "%s: IRET goes back", how);
	report(small ? WORD(&g, tss + 0x0e) == CODE_B + 3 && !(WORD(&g, tss + 0x10) & NT)
		     : !(LONG(&g, tss + T_FLAGS) & NT) &&
			   (LONG(&g, tss + T_EIP) & 0xff) == ((CODE_B + 3) & 0xff),
	       "%s: the task it leaves is to go on behind IRET, not nested", how);
	FREE(&g);
}

/* A fault with an error code that goes to a task */
static void check_error_code(void)
{
	/* MOV GS, AX */
	MAKE_TASKS(SHORT(0x8e, 0xe8));
	g.page->rax = S_DATA_NOT_THERE;
	LONG(&g, IDT + 11 * 8) = S_D << 16;
	LONG(&g, IDT + 11 * 8 + 4) = 0x8500;
	report(stops_at(PORT_B) && g.page->rsp == STACK_D - 4 &&
		   LONG(&g, STACK_D - 4) == S_DATA_NOT_THERE && LONG(&g, TSS_A + T_EIP) == CODE_A,
	       "a fault through a task gate pushes its error code on the new stack");
	if (backend == CORBEL_BACKEND_VMX) /* TCG leaves RF out */
		report(LONG(&g, TSS_A + T_FLAGS) & RF, "the task that faulted has RF set");
	FREE(&g);
}

static void check_interrupt(void)
{
	/* STI; then there */
	static const u8 code[] = {0xfb, 0xeb, 0xfe};

	MAKE_TASKS(code, sizeof(code));
	*(volatile u32 *)g.data = VECTOR;
	report(!hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_INTERRUPT, 4), "an interrupt waits");
	report(stops_at(PORT_B) && g.page->rflags & NT && !(g.page->rflags & BIT(9)) &&
		   LONG(&g, TSS_A + T_EIP) == CODE_A + 1 && LONG(&g, TSS_A + T_FLAGS) & BIT(9),
	       "an interrupt through a task gate goes to the task");
	FREE(&g);
}

/* A task switch that is refused: the fault is of the task that runs then. */
static void check_fault(const char *what, u8 op, u16 target, u32 field, u32 val, u8 vector,
			u32 error)
{
	const u8 far[] = {op, 0, 0, 0, 0, (u8)target, (u8)(target >> 8), 0xe6, PORT, 0xf4};
	bool in_new = field != 0;

	MAKE_TASKS(far, sizeof(far));
	if (field)
		LONG(&g, tss_b + field) = val;
	report(stops_at(0x40 + vector) && (u32)g.page->rax == error &&
		   sregs()->tr.selector == (in_new ? S_B : S_A) &&
		   (in_new || (g.page->rsp == STACK_A - 12 && LONG(&g, STACK_A - 12) == CODE_A)),
	       "%s: exception %u, error code %x, in the %s task", what, vector, error,
	       in_new ? "new" : "old");
	report(access_of(S_A) == (in_new && op == JMP ? 0x89 : 0x8b), "%s: the old task's busy bit",
	       what);
	FREE(&g);
}

static void check_faults(void)
{
	check_fault("a TSS that is not present", JMP, S_NOT_THERE, 0, 0, 11, S_NOT_THERE);
	check_fault("a TSS that is too short", JMP, S_SHORT, 0, 0, 10, S_SHORT);
	check_fault("a busy TSS", JMP, S_A, 0, 0, 13, S_A);
	check_fault("an LDT", CALL, S_LDT, 0, 0, 13, S_LDT);
	check_fault("beyond the GDT", CALL, GDT_LIMIT + 1, 0, 0, 13, GDT_LIMIT + 1);
	check_fault("data for CS", JMP, S_B, T_CS, S_DATA, 10, S_DATA);
	check_fault("no SS", JMP, S_B, T_SS, 0, 10, 0);
	check_fault("no DS there", CALL, S_B, T_DS, S_DATA_NOT_THERE, 11, S_DATA_NOT_THERE);
	check_fault("an ES beyond the GDT", CALL, S_B, T_ES, 0x1000, 10, 0x1000);
	check_fault("data for the LDT", JMP, S_B, T_LDT, S_DATA, 10, S_DATA);
	check_fault("an LDT in an LDT", JMP, S_B, T_LDT, S_LDT | 4, 10, S_LDT | 4);
}

/* The instruction that begins a task lies outside its segment. */
static void check_eip(void)
{
	MAKE_TASKS(FAR(JMP, S_B));
	LONG(&g, tss_b + T_CS) = S_CODE_SHORT;
	report(stops_at(PORT_GP) && !g.page->rax && sregs()->tr.selector == S_B,
	       "a task whose EIP is beyond its CS begins with #GP");
	FREE(&g);
}

static void check_ldt(void)
{
	MAKE_TASKS(FAR(CALL, S_B));
	LONG(&g, tss_b + T_LDT) = S_LDT;
	LONG(&g, tss_b + T_DS) = S_DATA | 4; /* the LDT is the GDT's beginning */
	report(stops_at(PORT_B), "a task with an LDT");
	report(sregs()->ldt.selector == S_LDT && sregs()->ldt.base == GDT &&
		   sregs()->ds.selector == (S_DATA | 4) && sregs()->ds.limit == ~0u,
	       "it has it, and a segment out of it");
	FREE(&g);
}

static void check_vm86(void)
{
	MAKE_TASKS(FAR(CALL, S_B));
	LONG(&g, tss_b + T_FLAGS) = BIT(17) | 0x3002; /* IOPL 3 */
	LONG(&g, tss_b + T_CS) = CODE_B >> 4;
	LONG(&g, tss_b + T_EIP) = 0;
	LONG(&g, tss_b + T_SS) = LONG(&g, tss_b + T_DS) = 0x123;
	WORD(&g, tss_b + 0x66) = 0x68; /* no permission bitmap: OUT is refused, #GP to D */
	LONG(&g, IDT + 13 * 8) = S_D << 16;
	LONG(&g, IDT + 13 * 8 + 4) = 0x8500;
	report(stops_at(PORT_B) && sregs()->tr.selector == S_D &&
		   LONG(&g, tss_b + T_FLAGS) & BIT(17) && !LONG(&g, tss_b + T_EIP) &&
		   (u16)LONG(&g, tss_b + T_DS) == 0x123 && WORD(&g, TSS_D) == S_B,
	       "a task in virtual-8086 mode, and a fault in it that goes to another task");
	FREE(&g);
}

/* What is not there at first is brought, and the task switch is made then. */
static void check_missing(void)
{
	u32 at = tss_b;

	tss_b = 0x9000;
	MAKE_TASKS(FAR(JMP, S_B));
	tss_b = at;
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT && g.page->fault.gpa / PAGE == 9 &&
		   access_of(S_A) == 0x8b,
	       "a TSS in memory that is missing stops the guest");
	report(guest_map(&g, 9, CORBEL_MAP_WRITE) == 1 && stops_at(PORT_B) &&
		   access_of(S_B) == 0x8b && access_of(S_A) == 0x89,
	       "the switch is made when it is there");
	FREE(&g);
}

static void check_trap(void)
{
	static const u8 handler[] = {0x0f, 0x21, 0xf0, 0xe6, 0x41, 0xf4}; /* DR6 to EAX */

	MAKE_TASKS(FAR(JMP, S_B));
	memcpy(g.mem + HANDLERS, handler, sizeof(handler));
	LONG(&g, IDT + 8) = S_CODE << 16 | HANDLERS;
	LONG(&g, IDT + 12) = 0x8e00;
	LONG(&g, tss_b + T_TRAP) = 1;
	report(stops_at(0x41) && g.page->rax & BIT(15) && LONG(&g, STACK_B - 12) == CODE_B,
	       "the T bit of a TSS: #DB before the task's first instruction, with DR6.BT");
	FREE(&g);
}

void test_task(void)
{
	tss_b = 0x2900;
	check_jmp();
	check_nested("CALL", FAR(CALL, S_B), S_B, tss_b, CODE_A + 7);
	check_nested("CALL of a task gate", FAR(CALL, S_GATE), S_B, tss_b, CODE_A + 7);
	check_nested("CALL of a 16-bit task", FAR(CALL, S_C), S_C, TSS_C, CODE_A + 7);
	check_faults();
	check_eip();
	check_ldt();
	check_missing();
}

void test_task_gates(void)
{
	static const u8 int_n[] = {0xcd, VECTOR, 0xe6, PORT, 0xf4},
			ud2[] = {0x0f, 0x0b, 0xe6, PORT, 0xf4}, int3[] = {0xcc, 0xe6, PORT, 0xf4};

	tss_b = 0x2900;
	check_nested("INT n", int_n, sizeof(int_n), S_D, TSS_D, CODE_A + 2);
	check_nested("INT3", int3, sizeof(int3), S_D, TSS_D, CODE_A + 1);
	check_nested("UD2", ud2, sizeof(ud2), S_D, TSS_D, CODE_A);
	check_error_code();
	check_interrupt();
	check_vm86();
	if (backend == CORBEL_BACKEND_VMX) /* TCG has no T bit */
		check_trap();
}
