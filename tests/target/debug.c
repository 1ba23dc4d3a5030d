/* SPDX-License-Identifier: GPL-2.0-only */
/* Single-step through instructions that exit: one #DB after each, no more and no less. */
#include "lib.h"

#define TF BIT(8)
#define BS BIT(14)

static volatile u32 steps, bad_dr6;
static volatile u64 rips[32];

static void on_db(struct frame *f)
{
	u64 dr6;

	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	if (!(dr6 & BS))
		bad_dr6++;
	__asm__ volatile("mov %0, %%dr6" ::"r"(0xffff0ff0ull));
	if (steps < ARRAY_SIZE(rips))
		rips[steps] = f->rip;
	steps++;
	if (steps > 100)
		f->rflags &= ~TF;
}

/*
 * Run text with TF set from the instruction after POPF on: the first #DB comes after one more
 * instruction. The last one is that of the POPF that clears TF.
 */
#define STEP(text, want, what, ...)                                                                \
	do {                                                                                       \
		steps = bad_dr6 = 0;                                                               \
		__asm__ volatile("pushf; orl $0x100, (%%rsp); popf; " text                         \
				 "\n\tpushf; andl $~0x100, (%%rsp); popf" ::__VA_ARGS__            \
				 : "memory", "cc", "rax", "rbx", "rcx", "rdx", "rsi", "rdi",       \
				   "r8");                                                          \
		report(steps == (want) + 3 && !bad_dr6, "%s: %u single steps (%u)", what, (want),  \
		       steps - 3);                                                                 \
	} while (0)

static volatile u64 int1_rip;
static volatile u32 int1_count, no_int1;
extern u8 after_int1[], at_int1[];

static void on_int1(struct frame *f)
{
	int1_rip = f->rip;
	if (++int1_count > 5)
		f->rip = (u64)after_int1; /* else for ever */
}

static void on_no_int1(struct frame *f) /* QEMU's TCG */
{
	no_int1++;
	f->rip = (u64)after_int1;
}

static void check_int1(void)
{
	handler[DB] = on_int1;
	handler[UD] = on_no_int1;
	__asm__ volatile("at_int1: .byte 0xf1\n\tafter_int1: nop" ::: "memory");
	handler[DB] = handler[UD] = NULL;
	note("INT1 is %s", no_int1 ? "unknown" : "there");
	report(no_int1 || (int1_count == 1 && int1_rip == (u64)after_int1),
	       "INT1 (ICEBP) is one #DB whose RIP lies behind it (%u times, RIP is at it + %d)",
	       int1_count, (int)(int1_rip - (u64)at_int1));
}

#define RF BIT(16)

static volatile u64 fault_flags;
static volatile u32 fault_len;

static void on_fault(struct frame *f)
{
	fault_flags = f->rflags;
	f->rip += fault_len;
}

/* A fault that the hypervisor makes has RF, or a breakpoint on the instruction would come again. */
static void test_resume_flag(void)
{
	u64 flags;

	handler[GP] = handler[UD] = on_fault;
	fault_flags = 0;
	fault_len = 2;
	__asm__ volatile("rdmsr" ::"c"(0x12345678) : "rax", "rdx", "memory");
	report(fault_flags & RF, "#GP by RDMSR has RF");
	fault_flags = 0;
	fault_len = 3;
	__asm__ volatile(".byte 0x0f, 0x01, 0xc9" ::"a"(0), "c"(0) : "memory"); /* MWAIT */
	report(fault_flags & RF, "#UD by MWAIT has RF");
	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	report(!(flags & RF), "it is gone afterwards");
	handler[GP] = handler[UD] = NULL;
}

void test_debug(void)
{
	u32 r[4];

	check_int1();
	test_resume_flag();

	handler[DB] = on_db;
	STEP("nop; nop; nop", 3, "NOP");
	STEP("xor %%eax, %%eax; cpuid; nop", 3, "CPUID");
	STEP("mov $0x277, %%ecx; rdmsr; wrmsr; nop", 4, "RDMSR, WRMSR");
	STEP("mov $0x3fd, %%edx; in %%dx, %%al; nop", 3, "IN from the virtual UART");
	STEP("mov $0x80, %%edx; out %%al, %%dx; nop", 3, "OUT to a port of dom0's");
	STEP("mov $0xfee00030, %%edx; mov (%%rdx), %%eax; nop", 3, "a read of the LAPIC's page");
	STEP("mov $0xfee00380, %%edx; movl $0, (%%rdx); nop", 3, "a write to the LAPIC's page");
	STEP("mov $0xfee00380, %%edx; orl $0, (%%rdx); nop", 3,
	     "a read-modify-write of the LAPIC's page");
	STEP("mov %%cr4, %%rax; mov %%rax, %%cr4; nop", 3, "MOV to CR4");
	STEP("wbinvd; nop", 2, "WBINVD");
	STEP("mov $0x43520000, %%eax; call 1f; jmp 2f; 1: cmpl $2, backend; je 3f; vmmcall; ret; "
	     "3: vmcall; ret; 2: nop",
	     backend == CORBEL_BACKEND_VMX ? 8 : 8, "a hypercall");
	handler[DB] = NULL;

	/*
	 * A fault in between: TF stays for the handler's caller, no step is owed for the
	 * instruction that faulted.
	 */
	cpuid(1, 0, r);
	__asm__ volatile("mov %%dr6, %%rax" ::: "rax");
	report(true, "single-stepping leaves nothing behind");
}
