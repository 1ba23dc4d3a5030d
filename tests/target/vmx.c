/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VMX in a guest: g_vmx is a hypervisor in 64-bit mode that does one thing at a time, as it is told
 * here. SDM volume 3, "VMX Instruction Reference".
 */
#include "guest.h"

PROGRAM(g_vmx);
extern const u8 g_vmx_fault[], g_vmx_exit[];

enum op {
	VMXON,
	VMXOFF,
	VMCLEAR,
	VMPTRLD,
	VMPTRST,
	VMREAD,
	VMWRITE,
	VMLAUNCH,
	VMRESUME,
	INVEPT,
	INVVPID,
	VMREAD_MEMORY,
	VMWRITE_MEMORY,
	SET_CR0,
	SET_CR4,
	WRMSR,
	RDMSR,
	SHADOWED_LAUNCH,
	FAR_VMPTRLD,
	FILL
};

/* Where things are in the guest's memory: code from 0x1000 on */
#define TABLES	 0x2000 /* three pages */
#define IDT	 0x5000
#define GDT	 0x5400
#define TSS	 0x5500
#define ON	 0x6000 /* regions */
#define VMCS_A	 0x7000
#define VMCS_B	 0x8000
#define L2_CODE	 0x9000
#define L2_STACK 0xa000
#define IO_A	 0xa000 /* and the next */
#define MSRS	 0xc000
#define EPT	 0xd000 /* three pages */
#define QUAD(at) (*(volatile u64 *)(g.mem + (at)))

#define UD	 6
#define GP	 13
#define NO_FAULT (~0u)
#define REVISION 0x11e57ed0u
#define CF	 BIT(0)
#define ZF	 BIT(6)
#define ALL_FL	 (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(7) | BIT(11))

/* Fields, SDM "Field Encoding in VMCS" */
#define F_VPID	       0x0000
#define F_ES_SEL       0x0800
#define F_CS_SEL       0x0802
#define F_TR_SEL       0x080e
#define F_HOST_ES      0x0c00
#define F_HOST_CS      0x0c02
#define F_HOST_TR      0x0c0c
#define F_IO_A	       0x2000
#define F_IO_B	       0x2002
#define F_MSRS	       0x2004
#define F_STORE	       0x2006
#define F_LOAD	       0x2008
#define F_ENTRY_LOAD   0x200a
#define F_TSC_OFFSET   0x2010
#define F_EPTP	       0x201a
#define F_PHYSICAL     0x2400
#define F_LINK	       0x2800
#define F_DEBUGCTL     0x2802
#define F_PAT	       0x2804
#define F_EFER	       0x2806
#define F_PIN	       0x4000
#define F_PROC	       0x4002
#define F_EXCEPTIONS   0x4004
#define F_CR3_TARGETS  0x400a
#define F_EXIT	       0x400c
#define F_STORES       0x400e
#define F_LOADS	       0x4010
#define F_ENTRY	       0x4012
#define F_ENTRY_LOADS  0x4014
#define F_INTR	       0x4016
#define F_ERROR	       0x4018
#define F_PROC2	       0x401e
#define F_INSN_ERROR   0x4400
#define F_REASON       0x4402
#define F_EXIT_INTR    0x4404
#define F_EXIT_ERROR   0x4406
#define F_IDT_INFO     0x4408
#define F_LENGTH       0x440c
#define F_ES_LIMIT     0x4800
#define F_GDTR_LIMIT   0x4810
#define F_IDTR_LIMIT   0x4812
#define F_ES_AR	       0x4814
#define F_CS_AR	       0x4816
#define F_LDTR_AR      0x4820
#define F_TR_AR	       0x4822
#define F_BLOCKING     0x4824
#define F_ACTIVITY     0x4826
#define F_CR0_MASK     0x6000
#define F_CR4_MASK     0x6002
#define F_CR0_SHADOW   0x6004
#define F_CR4_SHADOW   0x6006
#define F_QUAL	       0x6400
#define F_CR0	       0x6800
#define F_CR3	       0x6802
#define F_CR4	       0x6804
#define F_GDTR_BASE    0x6816
#define F_IDTR_BASE    0x6818
#define F_DR7	       0x681a
#define F_RSP	       0x681c
#define F_RIP	       0x681e
#define F_RFLAGS       0x6820
#define F_HOST_CR0     0x6c00
#define F_HOST_CR3     0x6c02
#define F_HOST_CR4     0x6c04
#define F_HOST_TR_BASE 0x6c0a
#define F_HOST_GDTR    0x6c0c
#define F_HOST_IDTR    0x6c0e
#define F_HOST_RSP     0x6c14
#define F_HOST_RIP     0x6c16

#define PROC_HLT	   BIT(7)
#define PROC_RDTSC	   BIT(12)
#define PROC_ALL_IO	   BIT(24)
#define PROC_IO_MAPS	   BIT(25)
#define PROC_MSR_MAP	   BIT(28)
#define PROC_SECOND	   BIT(31)
#define PROC2_EPT	   BIT(1)
#define PROC2_VPID	   BIT(5)
#define PROC2_UNRESTRICTED BIT(7)

static struct guest g;
static u64 basic;

/* What the instruction says: an exception's vector, or one of these */
enum { FINE = 0x100, INVALID, FAILED, EXITED, STUCK };

static u32 run(enum op op, u64 a, u64 b)
{
	u64 flags;

	LONG(&g, 0x500) = op;
	QUAD(0x508) = a;
	QUAD(0x510) = b;
	if (guest_run(&g, 2000) != CORBEL_EXIT_IO || g.page->io.port != 0x20)
		return STUCK;
	flags = QUAD(0x530) & ALL_FL;
	if (LONG(&g, 0x540) != NO_FAULT)
		return LONG(&g, 0x540);
	if (LONG(&g, 0x544))
		return EXITED;
	if (op >= SET_CR0 && op <= RDMSR)
		return FINE;
	if (flags == ZF)
		return FAILED;
	return flags == CF ? INVALID : flags ? STUCK : FINE;
}

static u64 result(void)
{
	return QUAD(0x538);
}

static u64 field(u32 f)
{
	return run(VMREAD, f, 0) == FINE ? result() : ~0ull;
}

static bool set(u32 f, u64 val)
{
	return run(VMWRITE, f, val) == FINE;
}

static u64 msr(u32 nr)
{
	return run(RDMSR, nr, 0) < FINE ? ~0ull : result();
}

/* The instruction fails for this reason. */
static bool fails(enum op op, u64 a, u64 b, u32 error)
{
	u32 said = run(op, a, b);

	if (said == FAILED && field(F_INSN_ERROR) == error)
		return true;
	note("op %u (%lx): %x, error %lx, not %u", op, a, said, field(F_INSN_ERROR), error);
	return false;
}

static struct corbel_segment segment(u16 sel, u8 type, bool code)
{
	return (struct corbel_segment){.limit = ~0u,
				       .selector = sel,
				       .type = type,
				       .present = 1,
				       .s = 1,
				       .l = code,
				       .db = !code,
				       .g = 1};
}

static bool long_mode(void)
{
	struct corbel_sregs *s = (void *)g.data;

	QUAD(TABLES) = TABLES + 0x1003;
	QUAD(TABLES + 0x1000) = TABLES + 0x2003;
	QUAD(TABLES + 0x2000) = 0x83;
	QUAD(GDT + 8) = 0x00af9b000000ffff;
	QUAD(GDT + 16) = 0x00cf93000000ffff;
	for (u64 i = 0; i < 32; i++) {
		u64 at = 0x1000 + (u64)(g_vmx_fault - g_vmx) + i * 8;

		QUAD(IDT + i * 16) = (at & 0xffff) | 8 << 16 | 0x8e00ull << 32 | (at >> 16) << 48;
		QUAD(IDT + i * 16 + 8) = 0;
	}
	if (hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0) != sizeof(*s))
		return false;
	s->cs = segment(8, 0xb, true);
	s->ds = s->es = s->ss = s->fs = s->gs = segment(16, 3, false);
	s->gdt = (struct corbel_dtable){.base = GDT, .limit = 0x3f};
	s->idt = (struct corbel_dtable){.base = IDT, .limit = 0x1ff};
	s->cr0 = 0x80000031;
	s->cr3 = TABLES;
	s->cr4 = 0x20;
	s->efer = 0x500;
	return !hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s));
}

/* The guest waits for its first command. */
static bool begin(void)
{
	if (!guest_make(&g, 0, CORBEL_VM_LAPIC, g_vmx, g_vmx_end) || !long_mode())
		return false;
	for (u64 gfn = 8; gfn < 16; gfn++)
		if (guest_map(&g, gfn, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) != 1)
			return false;
	return guest_run(&g, 2000) == CORBEL_EXIT_IO && g.page->io.port == 0x20;
}

void test_no_vmx(void)
{
	if (!report(begin(), "a guest in 64-bit mode runs"))
		return;
	report(run(SET_CR4, 0x2020, 0) == GP, "without VMX in CPUID CR4.VMXE is #GP");
	report(run(VMXON, ON, 0) == UD, "and VMXON is undefined");
	report(run(RDMSR, 0x480, 0) == GP, "and there is no VMX_BASIC");
	report(msr(0x3a) == 1, "IA32_FEATURE_CONTROL is locked, VMX off");
	FREE(&g);
}

static void check_on(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	report(!(r[2] & BIT(5)), "dom0 is not offered VMX");
	report(run(VMXON, ON, 0) == UD, "VMXON without CR4.VMXE is undefined");
	report(run(SET_CR4, 0x2020, 0) == FINE, "CR4.VMXE can be set");
	report(run(VMXOFF, 0, 0) == UD && run(VMPTRST, 0, 0) == UD && run(VMREAD, 0, 0) == UD &&
		   run(INVEPT, 1, 0) == UD && run(VMLAUNCH, 0, 0) == UD,
	       "outside of VMX operation the other instructions are undefined");
	report(run(VMXON, ON, 0) == GP, "VMXON before the firmware has allowed it is #GP");
	report(run(WRMSR, 0x3a, 8) == GP && run(WRMSR, 0x3a, 5) == FINE && msr(0x3a) == 5,
	       "IA32_FEATURE_CONTROL is written once");
	report(run(WRMSR, 0x3a, 1) == GP, "and then it is locked");
	basic = msr(0x480);
	report((u32)basic == REVISION && basic >> 32 % 0x2000 && basic & BIT(55),
	       "VMX_BASIC tells the revision");
	report(run(WRMSR, 0x480, 0) == GP && run(RDMSR, 0x492, 0) == GP,
	       "it is read-only, and there are no more than are offered");
	report(run(VMXON, ON + 8, 0) == INVALID && run(VMXON, BIT(52) | ON, 0) == INVALID,
	       "a region that is not aligned, or beyond all addresses, is refused");
	report(run(VMXON, ON, 0) == INVALID, "so is one of another revision");
	LONG(&g, ON) = REVISION;
	report(run(VMXON, ON, 0) == FINE, "VMXON");
	report(run(VMXON, ON, 0) == INVALID, "once: without a current VMCS it is VMfailInvalid");
	report(run(SET_CR4, 0x20, 0) == GP, "CR4.VMXE stays set");
	report(run(SET_CR0, 0x80000011, 0) == GP && run(SET_CR0, 0x31, 0) == GP,
	       "so do CR0.NE and CR0.PG");
	report(run(SET_CR0, 0x80000031, 0) == FINE && run(SET_CR4, 0x2020, 0) == FINE,
	       "they may be written as they are");
}

static void check_pointers(void)
{
	report(run(VMPTRST, 0, 0) == FINE && result() == ~0ull, "no VMCS is current");
	report(run(VMREAD, F_PIN, 0) == INVALID && run(VMWRITE, F_PIN, 0) == INVALID &&
		   run(VMLAUNCH, 0, 0) == INVALID && run(VMCLEAR, ON, 0) == INVALID,
	       "without one all fails");
	report(run(VMPTRLD, VMCS_A, 0) == INVALID, "VMPTRLD wants the revision");
	LONG(&g, VMCS_A) = LONG(&g, VMCS_B) = REVISION;
	LONG(&g, VMCS_A + 8) = 1;
	report(run(VMCLEAR, VMCS_A, 0) == FINE && !LONG(&g, VMCS_A + 8), "VMCLEAR");
	report(run(VMPTRLD, VMCS_A, 0) == FINE && run(VMPTRST, 0, 0) == FINE && result() == VMCS_A,
	       "VMPTRLD");
	report(fails(VMCLEAR, VMCS_A + 1, 0, 2) && fails(VMCLEAR, BIT(52), 0, 2) &&
		   fails(VMCLEAR, ON, 0, 3),
	       "VMCLEAR of what is no VMCS");
	report(fails(VMPTRLD, VMCS_A + 1, 0, 9) && fails(VMPTRLD, BIT(52), 0, 9) &&
		   fails(VMPTRLD, ON, 0, 10),
	       "VMPTRLD of what is no VMCS");
	LONG(&g, VMCS_B) = REVISION | BIT(31);
	report(fails(VMPTRLD, VMCS_B, 0, 11), "or a shadow VMCS, which there is none of");
	LONG(&g, VMCS_B) = REVISION;
	report(fails(VMXON, ON, 0, 15), "VMXON a second time");
	report(run(FAR_VMPTRLD, 0, 0) == GP, "an operand that is not canonical is #GP");
	report(run(VMPTRST, 0, 0) == FINE && result() == VMCS_A, "and all is as before");
}

static void check_fields(void)
{
	report(set(F_RIP, 0x123456789abcdef0) && field(F_RIP) == 0x123456789abcdef0,
	       "a field is written and read");
	report(set(F_VPID, 0x12345) && field(F_VPID) == 0x2345 && set(F_PIN, BIT(40) | 22) &&
		   field(F_PIN) == 22,
	       "by its width");
	report(set(F_TSC_OFFSET, 0x1111222233334444) && field(F_TSC_OFFSET + 1) == 0x11112222 &&
		   set(F_TSC_OFFSET + 1, 5) && field(F_TSC_OFFSET) == 0x533334444,
	       "or half of it");
	report(run(VMWRITE_MEMORY, F_RSP, 0x77) == FINE && run(VMREAD_MEMORY, F_RSP, 0) == FINE &&
		   result() == 0x77,
	       "from and to memory");
	report(fails(VMREAD, 0x6c18, 0, 12) && fails(VMREAD, F_PIN + 1, 0, 12) &&
		   fails(VMREAD, BIT(32) | F_PIN, 0, 12) && fails(VMWRITE, 0x2012, 0, 12),
	       "a field that there is not");
	report(fails(VMWRITE, F_REASON, 0, 13), "one to be read only");
	report(run(VMPTRLD, VMCS_B, 0) == FINE && field(F_RSP) == 0 && set(F_RSP, 1) &&
		   run(VMPTRLD, VMCS_A, 0) == FINE && field(F_RSP) == 0x77,
	       "each VMCS has its own");
	report(run(VMCLEAR, VMCS_A, 0) == FINE && run(VMPTRST, 0, 0) == FINE && result() == ~0ull &&
		   run(VMPTRLD, VMCS_A, 0) == FINE && field(F_RSP) == 0x77,
	       "VMCLEAR leaves none current, and the fields in memory");
	QUAD(0x520) = VMCS_A;
	QUAD(0x528) = 0;
	report(fails(INVEPT, 0, 0, 28) && fails(INVEPT, 1, 0, 28) && run(INVEPT, 2, 0) == FINE,
	       "INVEPT by its type and an EPTP");
	report(fails(INVVPID, 4, 0, 28) && run(INVVPID, 2, 0) == FINE && run(INVVPID, 1, 0) == FINE,
	       "INVVPID by its type");
	QUAD(0x520) = 0;
	report(fails(INVVPID, 1, 0, 28) && fails(INVVPID, 3, 0, 28), "and never of VPID 0");
	QUAD(0x520) = 1;
	QUAD(0x528) = BIT(62);
	report(fails(INVVPID, 0, 0, 28), "nor of an address that is not canonical");
}

/* ---- entries ---- */

#define LIST 0x4800 /* of fields and values, behind the guest's tables */

static bool set_all(const u64 (*f)[2], u32 n)
{
	memcpy(g.mem + LIST, f, n * sizeof(*f));
	return run(FILL, LIST, n) == FINE;
}

/* A nested guest in 64-bit mode, on the guest's tables, that runs this code. */
static bool setup(const u8 *code, u32 len)
{
	u64 host_exit = 0x1000 + (u64)(g_vmx_exit - g_vmx);
	static u64 f[][2] = {{F_PIN, 0x16},
			     {F_PROC, 0x4006172},
			     {F_PROC2, 0},
			     {F_EXIT, 0x36dfb | BIT(9)},
			     {F_ENTRY, 0x11fb | BIT(9)},
			     {F_EXCEPTIONS, 0},
			     {F_CR3_TARGETS, 0},
			     {F_STORES, 0},
			     {F_LOADS, 0},
			     {F_ENTRY_LOADS, 0},
			     {F_INTR, 0},
			     {F_LINK, ~0ull},
			     {F_DEBUGCTL, 0},
			     {F_CR0, 0x80000031},
			     {F_CR3, TABLES},
			     {F_CR4, 0x2020},
			     {F_CR0_MASK, 0},
			     {F_CR4_MASK, 0},
			     {F_GDTR_BASE, GDT},
			     {F_GDTR_LIMIT, 0x3f},
			     {F_IDTR_BASE, IDT},
			     {F_IDTR_LIMIT, 0x1ff},
			     {F_LDTR_AR, BIT(16)},
			     {F_TR_SEL, 24},
			     {F_TR_AR, 0x8b},
			     {F_TR_SEL + 0x4000, 0x67},
			     {F_BLOCKING, 0},
			     {F_ACTIVITY, 0},
			     {F_DR7, 0x400},
			     {F_RSP, L2_STACK},
			     {F_RIP, L2_CODE},
			     {F_RFLAGS, 2},
			     {F_HOST_CR0, 0x80000031},
			     {F_HOST_CR3, TABLES},
			     {F_HOST_CR4, 0x2020},
			     {F_HOST_TR, 24},
			     {F_HOST_TR_BASE, TSS},
			     {F_HOST_GDTR, GDT},
			     {F_HOST_IDTR, IDT},
			     {F_HOST_RSP, 0x6000},
			     {F_HOST_RIP, 0}};
	bool good;

	f[ARRAY_SIZE(f) - 1][1] = host_exit;
	memset(g.mem + L2_CODE, 0xcc, PAGE);
	memcpy(g.mem + L2_CODE, code, len);
	good = run(VMCLEAR, VMCS_A, 0) == FINE && run(VMPTRLD, VMCS_A, 0) == FINE &&
	       set_all(f, ARRAY_SIZE(f));
	for (u32 i = 0; i < 6; i++) { /* ES to GS */
		bool cs = i == 1;
		const u64 seg[][2] = {{F_ES_SEL + i * 2, cs ? 8 : 16},
				      {F_ES_LIMIT + i * 2, ~0u},
				      {F_ES_AR + i * 2, cs ? 0xa09b : 0xc093},
				      {F_HOST_ES + i * 2, cs ? 8 : 16}};

		good &= set_all(seg, ARRAY_SIZE(seg));
	}
	return good;
}

#define SETUP(...)                                                                                 \
	({                                                                                         \
		static const u8 code_[] = {__VA_ARGS__};                                           \
		setup(code_, sizeof(code_));                                                       \
	})
#define CPUID_INSN  0x0f, 0xa2
#define VMCALL_INSN 0x0f, 0x01, 0xc1
#define MOV_EAX(n)  0xb8, (n)&0xff, (n) >> 8 & 0xff, (n) >> 16 & 0xff, (u8)((n) >> 24)

/* It runs to such an exit. */
static bool exits(enum op op, u32 reason)
{
	u32 said = run(op, 0, 0);

	if (said == EXITED && field(F_REASON) == reason)
		return true;
	note("said %x, exit %u, reason %lx qual %lx error %lu rip %lx, not %x", said,
	     g.page->exit_reason, field(F_REASON), field(F_QUAL), field(F_INSN_ERROR), field(F_RIP),
	     reason);
	return false;
}

static void check_entry(void)
{
	report(SETUP(MOV_EAX(0x4711), CPUID_INSN, MOV_EAX(0x815), VMCALL_INSN), "a VMCS is filled");
	report(fails(VMRESUME, 0, 0, 5), "VMRESUME wants one that was launched");
	report(fails(SHADOWED_LAUNCH, 0, 0, 26), "VMLAUNCH is refused behind MOV SS");
	report(exits(VMLAUNCH, 10) && QUAD(0x548) == 0x4711 && field(F_RIP) == L2_CODE + 5 &&
		   field(F_LENGTH) == 2,
	       "VMLAUNCH runs the nested guest, whose CPUID exits");
	report(fails(VMLAUNCH, 0, 0, 4), "a second VMLAUNCH is refused");
	report(set(F_RIP, L2_CODE + 7) && exits(VMRESUME, 18) && QUAD(0x548) == 0x815 &&
		   field(F_LENGTH) == 3,
	       "VMRESUME goes on, to VMCALL");
	report(run(VMPTRST, 0, 0) == FINE && result() == VMCS_A && run(SET_CR4, 0x20, 0) == GP,
	       "the guest itself is as its VMCS says, and in VMX operation");
}

struct wrong {
	u32 field;
	u64 val;
	const char *what;
};

static const struct wrong wrong_controls[] = {
    {F_PIN, 0, "pin-based controls without what must be one"},
    {F_PIN, 0x16 | BIT(6), "the preemption timer"},
    {F_PIN, 0x16 | BIT(7), "posted interrupts"},
    {F_PIN, 0x16 | BIT(5), "virtual NMIs without NMI exits"},
    {F_PROC, 0, "primary controls without what must be one"},
    {F_PROC, 0x4006172 | BIT(21), "a TPR shadow"},
    {F_PROC, 0x4006172 | BIT(27), "the monitor trap flag"},
    {F_PROC, 0x4006172 | BIT(22), "NMI windows without virtual NMIs"},
    {F_CR3_TARGETS, 1, "CR3 targets"},
    {F_EXIT, 0, "exit controls without what must be one"},
    {F_EXIT, 0x36dfb | BIT(9) | BIT(12), "performance counters loaded"},
    {F_ENTRY, 0, "entry controls without what must be one"},
    {F_ENTRY, 0x11fb | BIT(10), "entry to SMM"},
    {F_STORES, 513, "more MSRs to store than there may be"},
    {F_INTR, BIT(31) | 1 << 8 | 3, "an event of no type"},
    {F_INTR, BIT(31) | 7 << 8, "an event of no type"},
    {F_INTR, BIT(31) | 2 << 8 | 3, "an NMI of another vector"},
    {F_INTR, BIT(31) | 3 << 8 | 32, "an exception above 31"},
    {F_INTR, BIT(31) | 3 << 8 | 13, "an exception without the error code that it has"},
    {F_INTR, BIT(31) | BIT(11) | 3 << 8 | 6, "one with an error code that it has not"},
    {F_INTR, BIT(31) | BIT(12) | 3 << 8 | 6, "a reserved bit in an event"},
};
static const struct wrong wrong_host[] = {
    {F_HOST_CR0, 0x80000011, "CR0 without NE"},
    {F_HOST_CR0, 0x31, "CR0 without paging"},
    {F_HOST_CR4, 0x20, "CR4 without VMXE"},
    {F_HOST_CR4, 0x2000, "CR4 without PAE"},
    {F_HOST_CR4, 0x2020 | BIT(63), "CR4 with a bit that there is not"},
    {F_HOST_CR3, BIT(52), "CR3 beyond all addresses"},
    {F_HOST_CS, 0, "no CS"},
    {F_HOST_CS, 11, "CS with RPL 3"},
    {F_HOST_TR, 0, "no TR"},
    {F_HOST_ES, 20, "ES in the LDT"},
    {F_HOST_TR_BASE, BIT(62), "TR's base"},
    {F_HOST_GDTR, BIT(62), "GDTR's base"},
    {F_HOST_RIP, BIT(62), "RIP"},
    {F_EXIT, 0x36dfb, "another address-space size than now"},
};
static const struct wrong wrong_guest[] = {
    {F_CR0, 0x80000011, "CR0 without NE"},
    {F_CR0, 0x31, "CR0 without paging"},
    {F_CR0, 0x80000031 | BIT(40), "CR0's upper half"},
    {F_CR4, 0x20, "CR4 without VMXE"},
    {F_CR4, 0x2020 | BIT(63), "CR4 with a bit that there is not"},
    {F_CR4, 0x2020 | BIT(12), "CR4 with a bit that the guest has not"},
    {F_BLOCKING, 3, "blocking by STI and by MOV SS"},
    {F_BLOCKING, 1, "by STI with IF clear"},
    {F_BLOCKING, 4, "by SMI"},
    {F_ACTIVITY, 1, "an activity state that is not offered"},
    {F_RFLAGS, 0, "RFLAGS, which the CPU sees"},
    {F_CS_AR, 0x93, "CS of data"},
    {F_TR_AR, 0x82, "TR of no TSS"},
};

static void check_refused(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(wrong_controls); i++)
		report(SETUP(VMCALL_INSN) && set(wrong_controls[i].field, wrong_controls[i].val) &&
			   fails(VMLAUNCH, 0, 0, 7),
		       "controls: %s", wrong_controls[i].what);
	for (u32 i = 0; i < ARRAY_SIZE(wrong_host); i++)
		report(SETUP(VMCALL_INSN) && set(wrong_host[i].field, wrong_host[i].val) &&
			   fails(VMLAUNCH, 0, 0, 8),
		       "host state: %s", wrong_host[i].what);
	for (u32 i = 0; i < ARRAY_SIZE(wrong_guest); i++)
		report(SETUP(VMCALL_INSN) && set(wrong_guest[i].field, wrong_guest[i].val) &&
			   exits(VMLAUNCH, BIT(31) | 33) && !field(F_QUAL) &&
			   fails(VMRESUME, 0, 0, 5),
		       "guest state: %s", wrong_guest[i].what);
	report(SETUP(VMCALL_INSN) && set(F_LINK, 0) && exits(VMLAUNCH, BIT(31) | 33) &&
		   field(F_QUAL) == 4,
	       "guest state: a link pointer");
	report(set(F_LINK, ~0ull) && exits(VMLAUNCH, 18),
	       "and it can be launched when it is right");
}

static bool with_proc2(u64 proc, u64 proc2)
{
	return set(F_PROC, 0x4006172 | proc | PROC_SECOND) && set(F_PROC2, proc2);
}

static void check_refused_more(void)
{
	static const struct {
		u64 proc, proc2;
		u32 field;
		u64 val;
		const char *what;
	} wrong[] = {
	    {0, PROC2_VPID, F_VPID, 0, "VPID 0"},
	    {0, BIT(0), F_PIN, 0x16, "APIC accesses"},
	    {0, BIT(14), F_PIN, 0x16, "VMCS shadowing"},
	    {0, PROC2_UNRESTRICTED, F_PIN, 0x16, "unrestricted guests without EPT"},
	    {0, PROC2_EPT, F_EPTP, EPT, "EPTP: uncached, one level"},
	    {0, PROC2_EPT, F_EPTP, EPT | 0x5e, "EPTP: accessed flags"},
	    {0, PROC2_EPT, F_EPTP, BIT(52) | EPT | 0x1e, "EPTP beyond all addresses"},
	    {PROC_IO_MAPS, 0, F_IO_B, IO_A + 1, "a bitmap of ports that is not aligned"},
	    {PROC_IO_MAPS, 0, F_IO_A, BIT(52), "or beyond all addresses"},
	    {PROC_MSR_MAP, 0, F_MSRS, BIT(52), "the same of MSRs"},
	    {PROC_MSR_MAP, 0, F_MSRS, MSRS + 8, "or not aligned"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++)
		report(SETUP(VMCALL_INSN) && set(F_IO_A, IO_A) && set(F_IO_B, IO_A + PAGE) &&
			   with_proc2(wrong[i].proc, wrong[i].proc2) &&
			   set(wrong[i].field, wrong[i].val) && fails(VMLAUNCH, 0, 0, 7),
		       "controls: %s", wrong[i].what);
	for (u32 i = 0; i < 3; i++) {
		static const u32 count[] = {F_STORES, F_LOADS, F_ENTRY_LOADS},
				 at[] = {F_STORE, F_LOAD, F_ENTRY_LOAD};

		report(SETUP(VMCALL_INSN) && set(count[i], 1) && set(at[i], IO_A + 8) &&
			   fails(VMLAUNCH, 0, 0, 7) && set(at[i], BIT(52)) &&
			   fails(VMLAUNCH, 0, 0, 7),
		       "controls: an area of MSRs that is not aligned, or beyond all addresses");
	}
}

/* ---- exits ---- */

static void check_ports(void)
{
	/* out 0x77, al; out 0x80, al */
	report(SETUP(0xe6, 0x77, 0xe6, 0x80, VMCALL_INSN) && set(F_PROC, 0x4006172 | PROC_ALL_IO) &&
		   exits(VMLAUNCH, 30) && field(F_QUAL) >> 16 == 0x77,
	       "ports exit if all do");
	memset(g.mem + IO_A, 0, 2 * PAGE);
	g.mem[IO_A + 0x80 / 8] = 1;
	report(set(F_IO_A, IO_A) && set(F_IO_B, IO_A + PAGE) &&
		   set(F_PROC, 0x4006172 | PROC_IO_MAPS) && run(VMRESUME, 0, 0) == STUCK &&
		   EXIT_IO(&g, 0x77, false),
	       "one that the bitmap has not goes on to the VMM");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && g.page->io.port == 0x20 &&
		   field(F_REASON) == 30 && field(F_QUAL) >> 16 == 0x80,
	       "one that it has exits");
}

static void check_msrs(void)
{
	/* mov ecx, 0x174; rdmsr; wrmsr; vmcall */
	report(SETUP(0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, 0x0f, 0x30, VMCALL_INSN) &&
		   exits(VMLAUNCH, 31),
	       "without a bitmap all MSRs exit");
	memset(g.mem + MSRS, 0, PAGE);
	g.mem[MSRS + 0x800 + 0x174 / 8] = BIT(0x174 % 8);
	report(set(F_MSRS, MSRS) && set(F_PROC, 0x4006172 | PROC_MSR_MAP) && set(F_RIP, L2_CODE) &&
		   exits(VMRESUME, 32) && field(F_RIP) == L2_CODE + 7,
	       "with one those that it has, reads and writes apart");
	g.mem[MSRS + 0x800 + 0x174 / 8] = 0;
	report(set(F_RIP, L2_CODE) && exits(VMRESUME, 18), "or none");
	/* mov ecx, 0x2000; rdmsr: in no bitmap */
	report(SETUP(0xb9, 0, 0x20, 0, 0, 0x0f, 0x32, VMCALL_INSN) && set(F_MSRS, MSRS) &&
		   set(F_PROC, 0x4006172 | PROC_MSR_MAP) && exits(VMLAUNCH, 31),
	       "one that no bitmap can have exits");
	/* mov ecx, 0x79; wrmsr of EFER without LME */
	report(SETUP(0xb9, 0x80, 0, 0, 0xc0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, VMCALL_INSN) &&
		   set(F_MSRS, MSRS) && set(F_PROC, 0x4006172 | PROC_MSR_MAP) &&
		   set(F_EXCEPTIONS, BIT(13)) && exits(VMLAUNCH, 0) &&
		   (field(F_EXIT_INTR) & 0x80000fff) == (BIT(31) | BIT(11) | 3 << 8 | 13) &&
		   field(F_EXIT_ERROR) == 0,
	       "one that is served here faults, and the fault is the guest's to intercept");
}

static void check_controls(void)
{
	report(SETUP(0xf4, VMCALL_INSN) && set(F_PROC, 0x4006172 | PROC_HLT) && exits(VMLAUNCH, 12),
	       "HLT exits by its control");
	report(SETUP(0x0f, 0x31, VMCALL_INSN) && exits(VMLAUNCH, 18), "RDTSC not without");
	report(SETUP(0x0f, 0x31, VMCALL_INSN) && set(F_PROC, 0x4006172 | PROC_RDTSC) &&
		   exits(VMLAUNCH, 16),
	       "but with it");
	/* rdtsc; shl rdx, 32; or rax, rdx */
	report(SETUP(0x0f, 0x31, 0x48, 0xc1, 0xe2, 32, 0x48, 9, 0xd0, VMCALL_INSN) &&
		   set(F_PROC, 0x4006172 | BIT(3)) && set(F_TSC_OFFSET, BIT(60)) &&
		   exits(VMLAUNCH, 18) && QUAD(0x548) >> 60 == 1,
	       "its TSC is off by what its VMCS says");
	report(SETUP(0x0f, 0x0b, VMCALL_INSN) && set(F_EXCEPTIONS, BIT(UD)) && exits(VMLAUNCH, 0) &&
		   (field(F_EXIT_INTR) & 0x80000fff) == (BIT(31) | 3 << 8 | UD),
	       "#UD exits by its bit");
	report(SETUP(0x0f, 0x0b, VMCALL_INSN) && run(VMLAUNCH, 0, 0) == UD,
	       "or is the nested guest's own to handle");
	report(exits(VMPTRST, 22), "as instructions of VMX are not");
}

/* ---- control registers ---- */

static void check_crs(void)
{
	/* mov rax, cr0; vmcall; mov cr0, rax; vmcall */
	report(SETUP(0x0f, 0x20, 0xc0, VMCALL_INSN, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   set(F_CR0_MASK, 8 | BIT(5)) && set(F_CR0_SHADOW, 8) && exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == 0x80000019,
	       "CR0 is read as its VMCS says (%lx)", QUAD(0x548));
	/* mov eax, 0x80010039; mov cr0, rax: TS as it is shown, WP set, NE which is not shown */
	report(SETUP(0xb8, 0x19, 0, 1, 0x80, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   set(F_CR0_MASK, 8 | BIT(5)) && set(F_CR0_SHADOW, 8) && exits(VMLAUNCH, 18) &&
		   field(F_CR0) == 0x80010031,
	       "what is written of its own bits is, and the others stay");
	report(SETUP(0xb8, 0x11, 0, 1, 0x80, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   set(F_CR0_MASK, 8 | BIT(5)) && set(F_CR0_SHADOW, 8) && exits(VMLAUNCH, 28) &&
		   field(F_QUAL) == 0 && QUAD(0x548) == 0x80010011,
	       "a write that would change the guest's exits");
	/* without NE and with no mask: refused here */
	report(SETUP(0xb8, 0x11, 0, 0, 0x80, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   set(F_EXCEPTIONS, BIT(GP)) && exits(VMLAUNCH, 0) && field(F_RIP) == L2_CODE + 5,
	       "a write that no nested guest may make is #GP");
	/* CR4: mov eax, 0x20a0; mov cr4, rax; VMXE is fixed */
	report(SETUP(0xb8, 0xa0, 0, 0, 0, 0x0f, 0x22, 0xe0, VMCALL_INSN) &&
		   set(F_CR4_MASK, BIT(13)) && exits(VMLAUNCH, 18) && field(F_CR4) == 0x20a0,
	       "CR4.VMXE that is the guest's stays while others are written");
	report(SETUP(0xb8, 0xa0, 0, 0, 0, 0x0f, 0x22, 0xe0, VMCALL_INSN) &&
		   set(F_EXCEPTIONS, BIT(GP)) && exits(VMLAUNCH, 0),
	       "and cannot be cleared where it is not");
	report(SETUP(0x0f, 6, VMCALL_INSN) && set(F_CR0, 0x80000039) && set(F_CR0_MASK, 8) &&
		   set(F_CR0_SHADOW, 8) && exits(VMLAUNCH, 28) && field(F_QUAL) >> 4 == 2,
	       "CLTS exits where TS is shown");
	report(set(F_CR0_SHADOW, 0) && exits(VMRESUME, 18) && field(F_CR0) == 0x80000039,
	       "and does nothing where it is not");
	/* mov cr3, rax; mov rax, cr3 */
	report(SETUP(0x0f, 0x22, 0xd8, VMCALL_INSN) && set(F_PROC, 0x4006172 | BIT(15)) &&
		   exits(VMLAUNCH, 28) && field(F_QUAL) == 3,
	       "MOV to CR3 exits by its control");
	report(SETUP(0x0f, 0x20, 0xd8, VMCALL_INSN) && exits(VMLAUNCH, 18) && QUAD(0x548) == TABLES,
	       "MOV from CR3 not without");
}

/* ---- events ---- */

#define EVENT(type, vector) (BIT(31) | (type) << 8 | (vector))

static void check_injection(void)
{
	/* at the handler of vector 31 of the guest's IDT, which is the nested guest's, too */
	report(SETUP(VMCALL_INSN) && set(F_INTR, EVENT(0, 31)) && set(F_RFLAGS, 0x202) &&
		   run(VMLAUNCH, 0, 0) == 31,
	       "an interrupt is injected");
	report(exits(VMPTRST, 22), "and what the nested guest does then it does as such");
	report(!(field(F_INTR) & BIT(31)) && field(F_IDT_INFO) == 0, "the event is used up");
	report(SETUP(VMCALL_INSN) && set(F_INTR, EVENT(0, 31)) && exits(VMLAUNCH, BIT(31) | 33),
	       "with IF clear it is refused");
	report(SETUP(VMCALL_INSN) && set(F_INTR, EVENT(3, 13) | BIT(11)) && set(F_ERROR, 0x18) &&
		   run(VMLAUNCH, 0, 0) == GP && exits(VMPTRST, 22),
	       "an exception is, with its error code");
	/* no IDT: the delivery faults, #GP in it is #DF, and that a triple fault */
	report(SETUP(VMCALL_INSN) && set(F_INTR, EVENT(0, 31)) && set(F_RFLAGS, 0x202) &&
		   set(F_IDTR_LIMIT, 0) && set(F_EXCEPTIONS, BIT(GP)) && exits(VMLAUNCH, 0) &&
		   field(F_IDT_INFO) == EVENT(0, 31),
	       "one whose delivery faults is told of");
	report(SETUP(VMCALL_INSN) && set(F_INTR, EVENT(0, 31)) && set(F_RFLAGS, 0x202) &&
		   set(F_IDTR_LIMIT, 0) && exits(VMLAUNCH, 2),
	       "a triple fault exits");
}

static void msi(u32 vector)
{
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, vector);
}

#define SPIN 0xeb, 0xfe

/* VMLAUNCH, or VMRESUME, of a nested guest that spins until something ends it. */
static bool spins(enum op op)
{
	LONG(&g, 0x500) = op;
	if (guest_resume(&g))
		return false;
	sleep_ms(5);
	return g.page->state != CORBEL_VCPU_STOPPED;
}

static bool ends(u32 reason, u64 info)
{
	bool came = guest_wait(&g, 2000) && EXIT_IO(&g, 0x20, false) && LONG(&g, 0x544);

	if (came && field(F_REASON) == reason && (field(F_EXIT_INTR) & 0x80000fff) == info)
		return true;
	note("exit %u, reason %lx info %lx", g.page->exit_reason, field(F_REASON),
	     field(F_EXIT_INTR));
	return false;
}

static bool enable_lapic(void)
{
	u32 *regs = (u32 *)g.data;

	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_LAPIC, 0);
	regs[APIC_SVR / 4] = 0x1ff;
	return !hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_LAPIC, 1024);
}

/* What a VMM asks for while the nested guest has stopped at a port. */
static struct corbel_vcpu_events *stopped_events(void)
{
	if (!SETUP(0xe6, 0x77, SPIN) || !set(F_EXCEPTIONS, BIT(12)) ||
	    run(VMLAUNCH, 0, 0) != STUCK || !EXIT_IO(&g, 0x77, false))
		return NULL;
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_EVENTS, 0);
	return (void *)g.data;
}

static void check_vmm(void)
{
	struct corbel_vcpu_events *e = stopped_events();

	if (report(e, "a nested guest stops at a port")) {
		e->exception.pending = e->exception.has_error_code = 1;
		e->exception.nr = 12;
		e->exception.error_code = 0xdeadbeef;
		hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_EVENTS, sizeof(*e));
		guest_resume(&g);
		report(ends(0, EVENT(3, 12) | BIT(11)) && field(F_EXIT_ERROR) == 0xdeadbeef,
		       "an exception that the VMM gives it exits");
	}
	e = stopped_events();
	if (report(e, "anew")) {
		e->triple_fault = 1;
		hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_EVENTS, sizeof(*e));
		guest_resume(&g);
		report(ends(2, 0), "so does a triple fault");
	}
}

#define EXIT_BITS (0x36dfb | BIT(9))

static void check_interrupts(void)
{
	bool good;

	report(enable_lapic() && SETUP(SPIN) && set(F_PIN, 0x17) &&
		   set(F_EXIT, EXIT_BITS | BIT(15)) && spins(VMLAUNCH),
	       "a nested guest runs");
	msi(0x51);
	report(ends(1, EVENT(0, 0x51)), "an interrupt of the guest's exits, and is acknowledged");
	report(set(F_RFLAGS, 0x202) && spins(VMRESUME), "it runs on, with IF set");
	msi(0x52);
	report(!guest_wait(&g, 20), "one of no more priority waits for the EOI of the last");
	msi(0x62);
	report(ends(1, EVENT(0, 0x62)) && field(F_RIP) == L2_CODE, "one of more exits");
	report(enable_lapic() && SETUP(SPIN) && set(F_PIN, 0x17) && spins(VMLAUNCH), "anew");
	msi(0x71);
	good = ends(1, 0);
	report(good && exits(VMRESUME, 1), "without acknowledging it waits, and exits again");
	report(SETUP(SPIN) && spins(VMLAUNCH), "without exits for interrupts");
	report(!guest_wait(&g, 20), "it waits for IF of the nested guest");
	hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
	report(guest_wait(&g, 1000) && g.page->exit_reason == CORBEL_EXIT_PAUSED &&
		   g.page->mode & CORBEL_MODE_GUEST,
	       "the VMM is told that the guest runs a guest");
	g.page->rflags |= BIT(9);
	g.page->regs_dirty = 1;
	guest_resume(&g);
	report(guest_wait(&g, 1000) && EXIT_IO(&g, 0x20, false) && !LONG(&g, 0x544),
	       "and is the nested guest's to handle");
	report(exits(VMPTRST, 22), "which it does");
}

static void check_nmis(void)
{
	report(SETUP(SPIN) && set(F_PIN, 0x16 | BIT(3) | BIT(5)) && spins(VMLAUNCH),
	       "a nested guest runs");
	hc(CORBEL_HC_NMI, g.vcpu);
	report(ends(0, EVENT(2, 2)), "an NMI of the guest's exits");
	report(spins(VMRESUME), "it runs on, in the guest's handler of the NMI");
	hc(CORBEL_HC_NMI, g.vcpu);
	report(!guest_wait(&g, 20), "where another waits");
	hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
	report(guest_wait(&g, 1000) && g.page->exit_reason == CORBEL_EXIT_PAUSED,
	       "and nothing hangs");
}

/* ---- areas of MSRs ---- */

static void area(u32 at, u32 msr, u64 val)
{
	QUAD(at) = msr;
	QUAD(at + 8) = val;
}

static void check_areas(void)
{
	/* mov ecx, 0x174; rdmsr; vmcall */
	area(IO_A, 0x174, 0x1234);
	area(IO_A + 0x20, 0x174, 0);
	area(IO_A + 0x30, 0x175, 0x777);
	report(SETUP(0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, VMCALL_INSN) && set(F_MSRS, MSRS) &&
		   set(F_PROC, 0x4006172 | PROC_MSR_MAP) && set(F_ENTRY_LOADS, 1) &&
		   set(F_ENTRY_LOAD, IO_A) && set(F_STORES, 1) && set(F_STORE, IO_A + 0x20) &&
		   set(F_LOADS, 1) && set(F_LOAD, IO_A + 0x30) && exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == 0x1234,
	       "MSRs of the area are loaded at an entry");
	report(QUAD(IO_A + 0x28) == 0x1234 && msr(0x175) == 0x777 && msr(0x174) == 0,
	       "and stored, and the guest's loaded, at the exit");
	area(IO_A + 0x10, 0x9999, 0);
	report(set(F_ENTRY_LOADS, 2) && exits(VMRESUME, BIT(31) | 34) && field(F_QUAL) == 2,
	       "one that there is not fails the entry, by its number");
	area(IO_A, 0xc0000100, 0);
	report(exits(VMRESUME, BIT(31) | 34) && field(F_QUAL) == 1, "so does FS' base");
	area(IO_A, 0x808, 0);
	report(exits(VMRESUME, BIT(31) | 34) && field(F_QUAL) == 1, "or the local APIC's");
}

/* ---- EPT ---- */

#define EPT_RWX	     7
#define EPT_WB	     (6 << 3)
#define EPT_2M	     BIT(7)
#define READ_AT(at)  0xa1, (at)&0xff, (at) >> 8 & 0xff, 0, 0, 0, 0, 0, 0 /* mov eax, [at] */
#define WRITE_AT(at) 0xa3, (at)&0xff, (at) >> 8 & 0xff, 0, 0, 0, 0, 0, 0
#define DATA	     0xb000

/* Tables of three levels and one of 4 KiB pages, all identical; the table is at IO_A. */
static volatile u64 *ept_entry(u64 at)
{
	return &QUAD(IO_A + at / PAGE * 8);
}

static void fill_ept(void)
{
	memset(g.mem + IO_A, 0, PAGE);
	memset(g.mem + EPT, 0, 3 * PAGE);
	QUAD(EPT) = (EPT + 0x1000) | EPT_RWX;
	QUAD(EPT + 0x1000) = (EPT + 0x2000) | EPT_RWX;
	QUAD(EPT + 0x2000) = IO_A | EPT_RWX;
	for (u64 i = 0; i < 16; i++)
		*ept_entry(i * PAGE) = i * PAGE | EPT_WB | EPT_RWX;
}

/* Such code on EPT, of which nothing is known from before. */
#define WITH_EPT(...)                                                                              \
	(SETUP(__VA_ARGS__) && with_proc2(0, PROC2_EPT) && set(F_EPTP, EPT | 0x1e) &&              \
	 run(INVEPT, 2, 0) == FINE)

static bool violates(enum op op, u64 at, u64 qual)
{
	return exits(op, 48) && field(F_PHYSICAL) == at && (field(F_QUAL) & 0x1ff) == qual;
}

#define LINEAR_FINAL 0x180

static void check_ept(void)
{
	fill_ept();
	QUAD(DATA) = 0x1111;
	QUAD(MSRS + 0x800) = 0x2222;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && exits(VMLAUNCH, 18) && QUAD(0x548) == 0x1111,
	       "a nested guest runs by EPT");
	*ept_entry(DATA) = MSRS | EPT_WB | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA + 0x800), VMCALL_INSN) && exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == 0x2222,
	       "and sees what that maps");
	*ept_entry(DATA) = 0;
	report(run(INVEPT, 2, 0) == FINE && set(F_RIP, L2_CODE) &&
		   violates(VMRESUME, DATA + 0x800, LINEAR_FINAL | 1),
	       "after INVEPT no more: a violation, by a read");
	*ept_entry(DATA) = DATA | EPT_WB | 1;
	report(WITH_EPT(READ_AT(DATA), WRITE_AT(DATA + 8), VMCALL_INSN) &&
		   violates(VMLAUNCH, DATA + 8, LINEAR_FINAL | 1 << 3 | 2),
	       "or a write to what may only be read");
	*ept_entry(DATA) = DATA | EPT_WB | 3;
	QUAD(DATA + 8) = ~0ull;
	report(set(F_RIP, L2_CODE + 9) && exits(VMRESUME, 18) && !LONG(&g, DATA + 8),
	       "more rights need no INVEPT");
	*ept_entry(L2_CODE) = L2_CODE | EPT_WB | 3;
	report(WITH_EPT(VMCALL_INSN) && violates(VMLAUNCH, L2_CODE, LINEAR_FINAL | 3 << 3 | 4),
	       "a fetch of what is not to be executed");
	*ept_entry(L2_CODE) = L2_CODE | EPT_WB | EPT_RWX;
	*ept_entry(TABLES) = 0;
	report(WITH_EPT(VMCALL_INSN) && exits(VMLAUNCH, 48) && field(F_PHYSICAL) == TABLES &&
		   !(field(F_QUAL) & BIT(8)),
	       "its page tables are not there");
	*ept_entry(TABLES) = TABLES | EPT_WB | EPT_RWX;
	*ept_entry(DATA) = DATA | EPT_WB | 2;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && exits(VMLAUNCH, 49) &&
		   field(F_PHYSICAL) == DATA,
	       "what may be written, but not read, is a misconfiguration");
	*ept_entry(DATA) = DATA | 2 << 3 | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && exits(VMLAUNCH, 49),
	       "so is a memory type that is none");
	*ept_entry(DATA) = BIT(51) | EPT_WB | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && exits(VMLAUNCH, 49),
	       "or an address beyond all");
	*ept_entry(DATA) = DATA | EPT_WB | EPT_RWX;
	QUAD(EPT + 0x2000) = EPT_2M | EPT_WB | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && exits(VMLAUNCH, 18) && QUAD(0x548) == 0x1111,
	       "a large page");
	QUAD(EPT + 0x2000) = EPT_2M | EPT_WB | EPT_RWX | BIT(13);
	report(WITH_EPT(VMCALL_INSN) && exits(VMLAUNCH, 49), "or one that is not aligned");
	QUAD(EPT + 0x2000) = IO_A | EPT_RWX;
}

/* What the VMM takes away from the guest its guest loses, too, and what is not there is brought. */
static void check_p2m(void)
{
	fill_ept();
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && exits(VMLAUNCH, 18), "a page is used");
	report(hc(CORBEL_HC_UNMAP, g.vm, DATA / PAGE, 1) == 1 && set(F_RIP, L2_CODE) &&
		   run(VMRESUME, 0, 0) == STUCK && g.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   g.page->fault.gpa == DATA,
	       "and taken from the VM: the nested guest misses it");
	report(guest_map(&g, DATA / PAGE, CORBEL_MAP_EXEC) == 1 &&
		   guest_run(&g, 2000) == CORBEL_EXIT_IO && field(F_REASON) == 18,
	       "and goes on when it is there");
	report(WITH_EPT(WRITE_AT(DATA), VMCALL_INSN) && run(VMLAUNCH, 0, 0) == STUCK &&
		   g.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   g.page->fault.flags & CORBEL_FAULT_WRITE,
	       "a page that is the VM's to read only it does not write");
	hc(CORBEL_HC_UNMAP, g.vm, DATA / PAGE, 1);
	report(guest_map(&g, DATA / PAGE, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) == 1 &&
		   guest_run(&g, 2000) == CORBEL_EXIT_IO && field(F_REASON) == 18,
	       "before it may");
	/* an injection whose delivery misses the page of the stack */
	*ept_entry(L2_STACK - 8) = 0;
	report(WITH_EPT(VMCALL_INSN) && set(F_INTR, EVENT(0, 31)) && set(F_RFLAGS, 0x202) &&
		   exits(VMLAUNCH, 48) && field(F_IDT_INFO) == EVENT(0, 31),
	       "an event whose delivery is broken off by EPT is told of");
	/* one that the hypervisor has broken off itself goes in again: another stack, not mapped */
	fill_ept();
	report(WITH_EPT(VMCALL_INSN) && set(F_INTR, EVENT(0, 31)) && set(F_RFLAGS, 0x202) &&
		   set(F_RSP, DATA + 0x800) && hc(CORBEL_HC_UNMAP, g.vm, DATA / PAGE, 1) == 1 &&
		   run(VMLAUNCH, 0, 0) == STUCK && g.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   g.page->fault.gpa / PAGE == DATA / PAGE,
	       "an event whose delivery is broken off by the VM's memory waits for that");
	report(guest_map(&g, DATA / PAGE, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) == 1 &&
		   guest_run(&g, 2000) == CORBEL_EXIT_IO && LONG(&g, 0x540) == 31 &&
		   !LONG(&g, 0x544) && exits(VMPTRST, 22),
	       "and is delivered then");
}

void test_vmx(void)
{
	if (!report(begin(), "a guest in 64-bit mode runs"))
		return;
	check_on();
	check_pointers();
	check_fields();
	check_entry();
	check_refused();
	check_refused_more();
	check_ports();
	check_msrs();
	check_controls();
	check_crs();
	check_injection();
	check_areas();
	check_ept();
	check_p2m();
	check_vmm();
	check_interrupts();
	check_nmis();
	FREE(&g);
}
