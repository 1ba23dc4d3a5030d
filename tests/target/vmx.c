/* SPDX-License-Identifier: GPL-2.0-only */
/* VMX in a guest: its instructions, what VM entries refuse and load, whose exits are whose. */
#include "vmx.h"

static u64 basic;

/* The instruction fails for this reason. */
static bool fails(enum op op, u64 a, u64 b, u32 error)
{
	u32 said = vmx_run(op, a, b);

	if (said == FAILED && vmx_field(F_INSN_ERROR) == error)
		return true;
	note("op %u (%lx): %x, error %lx, not %u", op, a, said, vmx_field(F_INSN_ERROR), error);
	return false;
}

void test_no_vmx(void)
{
	if (!report(vmx_begin(), "a guest in 64-bit mode runs"))
		return;
	report(vmx_run(SET_CR4, 0x2020, 0) == GP, "without VMX in CPUID CR4.VMXE is #GP");
	report(vmx_run(VMXON, ON, 0) == UD, "and VMXON is undefined");
	report(vmx_run(RDMSR, 0x480, 0) == GP, "and there is no VMX_BASIC");
	report(vmx_msr(0x3a) == 1, "IA32_FEATURE_CONTROL is locked, VMX off");
	FREE(&vmx_guest);
}

static void check_on(void)
{
	u32 r[4];

	cpuid(1, 0, r);
	report(!(r[2] & BIT(5)), "dom0 is not offered VMX");
	report(vmx_run(VMXON, ON, 0) == UD, "VMXON without CR4.VMXE is undefined");
	report(vmx_run(SET_CR4, 0x2020, 0) == FINE, "CR4.VMXE can be set");
	report(vmx_run(VMXOFF, 0, 0) == UD && vmx_run(VMPTRST, 0, 0) == UD &&
		   vmx_run(VMREAD, 0, 0) == UD && vmx_run(INVEPT, 1, 0) == UD &&
		   vmx_run(VMLAUNCH, 0, 0) == UD,
	       "outside of VMX operation the other instructions are undefined");
	report(vmx_run(VMXON, ON, 0) == GP, "VMXON before the firmware has allowed it is #GP");
	report(vmx_run(WRMSR, 0x3a, 8) == GP && vmx_run(WRMSR, 0x3a, 5) == FINE &&
		   vmx_msr(0x3a) == 5,
	       "IA32_FEATURE_CONTROL is written once");
	report(vmx_run(WRMSR, 0x3a, 1) == GP, "and then it is locked");
	basic = vmx_msr(0x480);
	report((u32)basic == REVISION && basic >> 32 % 0x2000 && basic & BIT(55),
	       "VMX_BASIC tells the revision");
	report(vmx_run(WRMSR, 0x480, 0) == GP && vmx_run(RDMSR, 0x492, 0) == GP,
	       "it is read-only, and there are no more than are offered");
	report(vmx_run(VMXON, ON + 8, 0) == INVALID && vmx_run(VMXON, BIT(52) | ON, 0) == INVALID,
	       "a region that is not aligned, or beyond all addresses, is refused");
	report(vmx_run(VMXON, ON, 0) == INVALID, "so is one of another revision");
	LONG(&vmx_guest, ON) = REVISION;
	report(vmx_run(VMXON, ON, 0) == FINE, "VMXON");
	report(vmx_run(VMXON, ON, 0) == INVALID,
	       "once: without a current VMCS it is VMfailInvalid");
	report(vmx_run(SET_CR4, 0x20, 0) == GP, "CR4.VMXE stays set");
	report(vmx_run(SET_CR0, 0x80000011, 0) == GP && vmx_run(SET_CR0, 0x31, 0) == GP,
	       "so do CR0.NE and CR0.PG");
	report(vmx_run(SET_CR0, 0x80000031, 0) == FINE && vmx_run(SET_CR4, 0x2020, 0) == FINE,
	       "they may be written as they are");
}

static void check_pointers(void)
{
	report(vmx_run(VMPTRST, 0, 0) == FINE && vmx_result() == ~0ull, "no VMCS is current");
	report(vmx_run(VMREAD, F_PIN, 0) == INVALID && vmx_run(VMWRITE, F_PIN, 0) == INVALID &&
		   vmx_run(VMLAUNCH, 0, 0) == INVALID && vmx_run(VMCLEAR, ON, 0) == INVALID,
	       "without one all fails");
	report(vmx_run(VMPTRLD, VMCS_A, 0) == INVALID, "VMPTRLD wants the revision");
	LONG(&vmx_guest, VMCS_A) = LONG(&vmx_guest, VMCS_B) = REVISION;
	LONG(&vmx_guest, VMCS_A + 8) = 1;
	report(vmx_run(VMCLEAR, VMCS_A, 0) == FINE && !LONG(&vmx_guest, VMCS_A + 8), "VMCLEAR");
	report(vmx_run(VMPTRLD, VMCS_A, 0) == FINE && vmx_run(VMPTRST, 0, 0) == FINE &&
		   vmx_result() == VMCS_A,
	       "VMPTRLD");
	report(fails(VMCLEAR, VMCS_A + 1, 0, 2) && fails(VMCLEAR, BIT(52), 0, 2) &&
		   fails(VMCLEAR, ON, 0, 3),
	       "VMCLEAR of what is no VMCS");
	report(fails(VMPTRLD, VMCS_A + 1, 0, 9) && fails(VMPTRLD, BIT(52), 0, 9) &&
		   fails(VMPTRLD, ON, 0, 10),
	       "VMPTRLD of what is no VMCS");
	LONG(&vmx_guest, VMCS_B) = REVISION | BIT(31);
	report(fails(VMPTRLD, VMCS_B, 0, 11), "or a shadow VMCS, which there is none of");
	LONG(&vmx_guest, VMCS_B) = REVISION;
	report(fails(VMXON, ON, 0, 15), "VMXON a second time");
	report(vmx_run(FAR_VMPTRLD, 0, 0) == GP, "an operand that is not canonical is #GP");
	report(vmx_run(VMPTRST, 0, 0) == FINE && vmx_result() == VMCS_A, "and all is as before");
}

static void check_fields(void)
{
	report(vmx_set(F_RIP, 0x123456789abcdef0) && vmx_field(F_RIP) == 0x123456789abcdef0,
	       "a field is written and read");
	report(vmx_set(F_VPID, 0x12345) && vmx_field(F_VPID) == 0x2345 &&
		   vmx_set(F_PIN, BIT(40) | 22) && vmx_field(F_PIN) == 22,
	       "by its width");
	report(vmx_set(F_TSC_OFFSET, 0x1111222233334444) &&
		   vmx_field(F_TSC_OFFSET + 1) == 0x11112222 && vmx_set(F_TSC_OFFSET + 1, 5) &&
		   vmx_field(F_TSC_OFFSET) == 0x533334444,
	       "or half of it");
	report(vmx_run(VMWRITE_MEMORY, F_RSP, 0x77) == FINE &&
		   vmx_run(VMREAD_MEMORY, F_RSP, 0) == FINE && vmx_result() == 0x77,
	       "from and to memory");
	report(fails(VMREAD, 0x6c18, 0, 12) && fails(VMREAD, F_PIN + 1, 0, 12) &&
		   fails(VMREAD, BIT(32) | F_PIN, 0, 12) && fails(VMWRITE, 0x2012, 0, 12),
	       "a field that there is not");
	report(fails(VMWRITE, F_REASON, 0, 13), "one to be read only");
	report(vmx_run(VMPTRLD, VMCS_B, 0) == FINE && vmx_field(F_RSP) == 0 && vmx_set(F_RSP, 1) &&
		   vmx_run(VMPTRLD, VMCS_A, 0) == FINE && vmx_field(F_RSP) == 0x77,
	       "each VMCS has its own");
	report(vmx_run(VMCLEAR, VMCS_A, 0) == FINE && vmx_run(VMPTRST, 0, 0) == FINE &&
		   vmx_result() == ~0ull && vmx_run(VMPTRLD, VMCS_A, 0) == FINE &&
		   vmx_field(F_RSP) == 0x77,
	       "VMCLEAR leaves none current, and the fields in memory");
	QUAD(0x520) = VMCS_A;
	QUAD(0x528) = 0;
	report(fails(INVEPT, 0, 0, 28) && fails(INVEPT, 1, 0, 28) && vmx_run(INVEPT, 2, 0) == FINE,
	       "INVEPT by its type and an EPTP");
	report(fails(INVVPID, 4, 0, 28) && vmx_run(INVVPID, 2, 0) == FINE &&
		   vmx_run(INVVPID, 1, 0) == FINE,
	       "INVVPID by its type");
	QUAD(0x520) = 0;
	report(fails(INVVPID, 1, 0, 28) && fails(INVVPID, 3, 0, 28), "and never of VPID 0");
	QUAD(0x520) = 1;
	QUAD(0x528) = BIT(62);
	report(fails(INVVPID, 0, 0, 28), "nor of an address that is not canonical");
}

/* ---- entries ---- */

static void check_entry(void)
{
	report(SETUP(MOV_EAX(0x4711), CPUID_INSN, MOV_EAX(0x815), VMCALL_INSN), "a VMCS is filled");
	report(fails(VMRESUME, 0, 0, 5), "VMRESUME wants one that was launched");
	report(fails(SHADOWED_LAUNCH, 0, 0, 26), "VMLAUNCH is refused behind MOV SS");
	report(vmx_exits(VMLAUNCH, 10) && QUAD(0x548) == 0x4711 &&
		   vmx_field(F_RIP) == L2_CODE + 5 && vmx_field(F_LENGTH) == 2,
	       "VMLAUNCH runs the nested guest, whose CPUID exits");
	report(fails(VMLAUNCH, 0, 0, 4), "a second VMLAUNCH is refused");
	report(vmx_set(F_RIP, L2_CODE + 7) && vmx_exits(VMRESUME, 18) && QUAD(0x548) == 0x815 &&
		   vmx_field(F_LENGTH) == 3,
	       "VMRESUME goes on, to VMCALL");
	report(vmx_run(VMPTRST, 0, 0) == FINE && vmx_result() == VMCS_A &&
		   vmx_run(SET_CR4, 0x20, 0) == GP,
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
static void check_refused(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(wrong_controls); i++)
		report(SETUP(VMCALL_INSN) &&
			   vmx_set(wrong_controls[i].field, wrong_controls[i].val) &&
			   fails(VMLAUNCH, 0, 0, 7),
		       "controls: %s", wrong_controls[i].what);
	for (u32 i = 0; i < ARRAY_SIZE(wrong_host); i++)
		report(SETUP(VMCALL_INSN) && vmx_set(wrong_host[i].field, wrong_host[i].val) &&
			   fails(VMLAUNCH, 0, 0, 8),
		       "host state: %s", wrong_host[i].what);
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
		report(SETUP(VMCALL_INSN) && vmx_set(F_IO_A, IO_A) &&
			   vmx_set(F_IO_B, IO_A + PAGE) &&
			   vmx_with_proc2(wrong[i].proc, wrong[i].proc2) &&
			   vmx_set(wrong[i].field, wrong[i].val) && fails(VMLAUNCH, 0, 0, 7),
		       "controls: %s", wrong[i].what);
	for (u32 i = 0; i < 3; i++) {
		static const u32 count[] = {F_STORES, F_LOADS, F_ENTRY_LOADS},
				 at[] = {F_STORE, F_LOAD, F_ENTRY_LOAD};

		report(SETUP(VMCALL_INSN) && vmx_set(count[i], 1) && vmx_set(at[i], IO_A + 8) &&
			   fails(VMLAUNCH, 0, 0, 7) && vmx_set(at[i], BIT(52)) &&
			   fails(VMLAUNCH, 0, 0, 7),
		       "controls: an area of MSRs that is not aligned, or beyond all addresses");
	}
}

/* ---- exits ---- */

static void check_ports(void)
{
	/* out 0x77, al; out 0x80, al */
	report(SETUP(0xe6, 0x77, 0xe6, 0x80, VMCALL_INSN) &&
		   vmx_set(F_PROC, 0x4006172 | PROC_ALL_IO) && vmx_exits(VMLAUNCH, 30) &&
		   vmx_field(F_QUAL) >> 16 == 0x77,
	       "ports exit if all do");
	memset(vmx_guest.mem + IO_A, 0, 2 * PAGE);
	vmx_guest.mem[IO_A + 0x80 / 8] = 1;
	report(vmx_set(F_IO_A, IO_A) && vmx_set(F_IO_B, IO_A + PAGE) &&
		   vmx_set(F_PROC, 0x4006172 | PROC_IO_MAPS) && vmx_run(VMRESUME, 0, 0) == STUCK &&
		   EXIT_IO(&vmx_guest, 0x77, false),
	       "one that the bitmap has not goes on to the VMM");
	report(guest_run(&vmx_guest, 2000) == CORBEL_EXIT_IO && vmx_guest.page->io.port == 0x20 &&
		   vmx_field(F_REASON) == 30 && vmx_field(F_QUAL) >> 16 == 0x80,
	       "one that it has exits");
}

static void check_msrs(void)
{
	/* mov ecx, 0x174; rdmsr; wrmsr; vmcall */
	report(SETUP(0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, 0x0f, 0x30, VMCALL_INSN) &&
		   vmx_exits(VMLAUNCH, 31),
	       "without a bitmap all MSRs exit");
	memset(vmx_guest.mem + MSRS, 0, PAGE);
	vmx_guest.mem[MSRS + 0x800 + 0x174 / 8] = BIT(0x174 % 8);
	report(vmx_set(F_MSRS, MSRS) && vmx_set(F_PROC, 0x4006172 | PROC_MSR_MAP) &&
		   vmx_set(F_RIP, L2_CODE) && vmx_exits(VMRESUME, 32) &&
		   vmx_field(F_RIP) == L2_CODE + 7,
	       "with one those that it has, reads and writes apart");
	vmx_guest.mem[MSRS + 0x800 + 0x174 / 8] = 0;
	report(vmx_set(F_RIP, L2_CODE) && vmx_exits(VMRESUME, 18), "or none");
	/* mov ecx, 0x2000; rdmsr: in no bitmap */
	report(SETUP(0xb9, 0, 0x20, 0, 0, 0x0f, 0x32, VMCALL_INSN) && vmx_set(F_MSRS, MSRS) &&
		   vmx_set(F_PROC, 0x4006172 | PROC_MSR_MAP) && vmx_exits(VMLAUNCH, 31),
	       "one that no bitmap can have exits");
	/* mov ecx, 0x79; wrmsr of EFER without LME */
	report(SETUP(0xb9, 0x80, 0, 0, 0xc0, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30, VMCALL_INSN) &&
		   vmx_set(F_MSRS, MSRS) && vmx_set(F_PROC, 0x4006172 | PROC_MSR_MAP) &&
		   vmx_set(F_EXCEPTIONS, BIT(13)) && vmx_exits(VMLAUNCH, 0) &&
		   (vmx_field(F_EXIT_INTR) & 0x80000fff) == (BIT(31) | BIT(11) | 3 << 8 | 13) &&
		   vmx_field(F_EXIT_ERROR) == 0,
	       "one that is served here faults, and the fault is the guest's to intercept");
}

static void check_controls(void)
{
	report(SETUP(0xf4, VMCALL_INSN) && vmx_set(F_PROC, 0x4006172 | PROC_HLT) &&
		   vmx_exits(VMLAUNCH, 12),
	       "HLT exits by its control");
	report(SETUP(0x0f, 0x31, VMCALL_INSN) && vmx_exits(VMLAUNCH, 18), "RDTSC not without");
	report(SETUP(0x0f, 0x31, VMCALL_INSN) && vmx_set(F_PROC, 0x4006172 | PROC_RDTSC) &&
		   vmx_exits(VMLAUNCH, 16),
	       "but with it");
	/* rdtsc; shl rdx, 32; or rax, rdx */
	report(SETUP(0x0f, 0x31, 0x48, 0xc1, 0xe2, 32, 0x48, 9, 0xd0, VMCALL_INSN) &&
		   vmx_set(F_PROC, 0x4006172 | BIT(3)) && vmx_set(F_TSC_OFFSET, BIT(60)) &&
		   vmx_exits(VMLAUNCH, 18) && QUAD(0x548) >> 60 == 1,
	       "its TSC is off by what its VMCS says");
	report(SETUP(0x0f, 0x0b, VMCALL_INSN) && vmx_set(F_EXCEPTIONS, BIT(UD)) &&
		   vmx_exits(VMLAUNCH, 0) &&
		   (vmx_field(F_EXIT_INTR) & 0x80000fff) == (BIT(31) | 3 << 8 | UD),
	       "#UD exits by its bit");
	report(SETUP(0x0f, 0x0b, VMCALL_INSN) && vmx_run(VMLAUNCH, 0, 0) == UD,
	       "or is the nested guest's own to handle");
	report(vmx_exits(VMPTRST, 22), "as instructions of VMX are not");
}

/* ---- control registers ---- */

static void check_crs(void)
{
	/* mov rax, cr0; vmcall; mov cr0, rax; vmcall */
	report(SETUP(0x0f, 0x20, 0xc0, VMCALL_INSN, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   vmx_set(F_CR0_MASK, 8 | BIT(5)) && vmx_set(F_CR0_SHADOW, 8) &&
		   vmx_exits(VMLAUNCH, 18) && QUAD(0x548) == 0x80000019,
	       "CR0 is read as its VMCS says (%lx)", QUAD(0x548));
	/* mov eax, 0x80010039; mov cr0, rax: TS as it is shown, WP set, NE which is not shown */
	report(SETUP(0xb8, 0x19, 0, 1, 0x80, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   vmx_set(F_CR0_MASK, 8 | BIT(5)) && vmx_set(F_CR0_SHADOW, 8) &&
		   vmx_exits(VMLAUNCH, 18) && vmx_field(F_CR0) == 0x80010031,
	       "what is written of its own bits is, and the others stay");
	report(SETUP(0xb8, 0x11, 0, 1, 0x80, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   vmx_set(F_CR0_MASK, 8 | BIT(5)) && vmx_set(F_CR0_SHADOW, 8) &&
		   vmx_exits(VMLAUNCH, 28) && vmx_field(F_QUAL) == 0 && QUAD(0x548) == 0x80010011,
	       "a write that would change the guest's exits");
	/* without NE and with no mask: refused here */
	report(SETUP(0xb8, 0x11, 0, 0, 0x80, 0x0f, 0x22, 0xc0, VMCALL_INSN) &&
		   vmx_set(F_EXCEPTIONS, BIT(GP)) && vmx_exits(VMLAUNCH, 0) &&
		   vmx_field(F_RIP) == L2_CODE + 5,
	       "a write that no nested guest may make is #GP");
	/* CR4: mov eax, 0x20a0; mov cr4, rax; VMXE is fixed */
	report(SETUP(0xb8, 0xa0, 0, 0, 0, 0x0f, 0x22, 0xe0, VMCALL_INSN) &&
		   vmx_set(F_CR4_MASK, BIT(13)) && vmx_exits(VMLAUNCH, 18) &&
		   vmx_field(F_CR4) == 0x20a0,
	       "CR4.VMXE that is the guest's stays while others are written");
	report(SETUP(0xb8, 0xa0, 0, 0, 0, 0x0f, 0x22, 0xe0, VMCALL_INSN) &&
		   vmx_set(F_EXCEPTIONS, BIT(GP)) && vmx_exits(VMLAUNCH, 0),
	       "and cannot be cleared where it is not");
	report(SETUP(0x0f, 6, VMCALL_INSN) && vmx_set(F_CR0, 0x80000039) &&
		   vmx_set(F_CR0_MASK, 8) && vmx_set(F_CR0_SHADOW, 8) && vmx_exits(VMLAUNCH, 28) &&
		   vmx_field(F_QUAL) >> 4 == 2,
	       "CLTS exits where TS is shown");
	report(vmx_set(F_CR0_SHADOW, 0) && vmx_exits(VMRESUME, 18) &&
		   vmx_field(F_CR0) == 0x80000039,
	       "and does nothing where it is not");
	/* mov cr3, rax; mov rax, cr3 */
	report(SETUP(0x0f, 0x22, 0xd8, VMCALL_INSN) && vmx_set(F_PROC, 0x4006172 | BIT(15)) &&
		   vmx_exits(VMLAUNCH, 28) && vmx_field(F_QUAL) == 3,
	       "MOV to CR3 exits by its control");
	report(SETUP(0x0f, 0x20, 0xd8, VMCALL_INSN) && vmx_exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == TABLES,
	       "MOV from CR3 not without");
}

/* ---- events ---- */

static void check_injection(void)
{
	/* at the handler of vector 31 of the guest's IDT, which is the nested guest's, too */
	report(SETUP(VMCALL_INSN) && vmx_set(F_INTR, EVENT(0, 31)) && vmx_set(F_RFLAGS, 0x202) &&
		   vmx_run(VMLAUNCH, 0, 0) == 31,
	       "an interrupt is injected");
	report(vmx_exits(VMPTRST, 22), "and what the nested guest does then it does as such");
	report(!(vmx_field(F_INTR) & BIT(31)) && vmx_field(F_IDT_INFO) == 0,
	       "the event is used up");
	report(SETUP(VMCALL_INSN) && vmx_set(F_INTR, EVENT(0, 31)) &&
		   vmx_exits(VMLAUNCH, BIT(31) | 33),
	       "with IF clear it is refused");
	report(SETUP(VMCALL_INSN) && vmx_set(F_INTR, EVENT(3, 13) | BIT(11)) &&
		   vmx_set(F_ERROR, 0x18) && vmx_run(VMLAUNCH, 0, 0) == GP &&
		   vmx_exits(VMPTRST, 22),
	       "an exception is, with its error code");
	/* no IDT: the delivery faults, #GP in it is #DF, and that a triple fault */
	report(SETUP(VMCALL_INSN) && vmx_set(F_INTR, EVENT(0, 31)) && vmx_set(F_RFLAGS, 0x202) &&
		   vmx_set(F_IDTR_LIMIT, 0) && vmx_set(F_EXCEPTIONS, BIT(GP)) &&
		   vmx_exits(VMLAUNCH, 0) && vmx_field(F_IDT_INFO) == EVENT(0, 31),
	       "one whose delivery faults is told of");
	report(SETUP(VMCALL_INSN) && vmx_set(F_INTR, EVENT(0, 31)) && vmx_set(F_RFLAGS, 0x202) &&
		   vmx_set(F_IDTR_LIMIT, 0) && vmx_exits(VMLAUNCH, 2),
	       "a triple fault exits");
}

static void msi(u32 vector)
{
	hc(CORBEL_HC_MSI, vmx_guest.vm, 0xfee00000, vector);
}

#define SPIN 0xeb, 0xfe

/* VMLAUNCH, or VMRESUME, of a nested guest that spins until something ends it. */
static bool spins(enum op op)
{
	LONG(&vmx_guest, 0x500) = op;
	if (guest_resume(&vmx_guest))
		return false;
	sleep_ms(5);
	return !guest_wait(&vmx_guest, 0); /* which gives it what its first guest takes */
}

static bool ends(u32 reason, u64 info)
{
	bool came = guest_wait(&vmx_guest, 2000) && EXIT_IO(&vmx_guest, 0x20, false) &&
		    LONG(&vmx_guest, 0x544);

	if (came && vmx_field(F_REASON) == reason && (vmx_field(F_EXIT_INTR) & 0x80000fff) == info)
		return true;
	note("exit %u, reason %lx info %lx", vmx_guest.page->exit_reason, vmx_field(F_REASON),
	     vmx_field(F_EXIT_INTR));
	return false;
}

/* Nothing waits in it, nor is in service. */
static bool enable_lapic(void)
{
	u32 *regs = (u32 *)vmx_guest.data;

	hc(CORBEL_HC_VCPU_GET, vmx_guest.vcpu, CORBEL_STATE_LAPIC, 0);
	regs[APIC_SVR / 4] = 0x1ff;
	for (u32 i = 0; i < 8; i++)
		regs[(APIC_ISR + i * 16) / 4] = regs[(APIC_IRR + i * 16) / 4] = 0;
	return !hc(CORBEL_HC_VCPU_SET, vmx_guest.vcpu, CORBEL_STATE_LAPIC, 1024);
}

/* What a VMM asks for while the nested guest has stopped at a port. */
static struct corbel_vcpu_events *stopped_events(void)
{
	if (!SETUP(0xe6, 0x77, SPIN) || !vmx_set(F_EXCEPTIONS, BIT(12)) ||
	    vmx_run(VMLAUNCH, 0, 0) != STUCK || !EXIT_IO(&vmx_guest, 0x77, false))
		return NULL;
	hc(CORBEL_HC_VCPU_GET, vmx_guest.vcpu, CORBEL_STATE_EVENTS, 0);
	return (void *)vmx_guest.data;
}

static void check_vmm(void)
{
	struct corbel_vcpu_events *e = stopped_events();

	if (report(e, "a nested guest stops at a port")) {
		e->exception.pending = e->exception.has_error_code = 1;
		e->exception.nr = 12;
		e->exception.error_code = 0xdeadbeef;
		hc(CORBEL_HC_VCPU_SET, vmx_guest.vcpu, CORBEL_STATE_EVENTS, sizeof(*e));
		guest_resume(&vmx_guest);
		report(ends(0, EVENT(3, 12) | BIT(11)) && vmx_field(F_EXIT_ERROR) == 0xdeadbeef,
		       "an exception that the VMM gives it exits");
	}
	e = stopped_events();
	if (report(e, "anew")) {
		e->triple_fault = 1;
		hc(CORBEL_HC_VCPU_SET, vmx_guest.vcpu, CORBEL_STATE_EVENTS, sizeof(*e));
		guest_resume(&vmx_guest);
		report(ends(2, 0), "so does a triple fault");
	}
}

#define EXIT_BITS (0x36dfb | BIT(9))

static void check_interrupts(void)
{
	bool good;

	report(enable_lapic() && SETUP(SPIN) && vmx_set(F_PIN, 0x17) &&
		   vmx_set(F_EXIT, EXIT_BITS | BIT(15)) && spins(VMLAUNCH),
	       "a nested guest runs");
	msi(0x51);
	report(ends(1, EVENT(0, 0x51)), "an interrupt of the guest's exits, and is acknowledged");
	report(vmx_set(F_RFLAGS, 0x202) && spins(VMRESUME), "it runs on, with IF set");
	msi(0x52);
	report(!guest_wait(&vmx_guest, 20),
	       "one of no more priority waits for the EOI of the last");
	msi(0x62);
	report(ends(1, EVENT(0, 0x62)) && vmx_field(F_RIP) == L2_CODE, "one of more exits");
	report(enable_lapic() && SETUP(SPIN) && vmx_set(F_PIN, 0x17) && spins(VMLAUNCH), "anew");
	msi(0x71);
	good = ends(1, 0);
	report(good && vmx_exits(VMRESUME, 1), "without acknowledging it waits, and exits again");
	report(SETUP(SPIN) && spins(VMLAUNCH), "without exits for interrupts");
	report(!guest_wait(&vmx_guest, 20), "it waits for IF of the nested guest");
	hc(CORBEL_HC_VCPU_PAUSE, vmx_guest.vcpu);
	report(guest_wait(&vmx_guest, 1000) && vmx_guest.page->exit_reason == CORBEL_EXIT_PAUSED &&
		   vmx_guest.page->mode & CORBEL_MODE_GUEST,
	       "the VMM is told that the guest runs a guest");
	vmx_guest.page->rflags |= BIT(9);
	vmx_guest.page->regs_dirty = 1;
	guest_resume(&vmx_guest);
	report(guest_wait(&vmx_guest, 1000) && EXIT_IO(&vmx_guest, 0x20, false) &&
		   !LONG(&vmx_guest, 0x544),
	       "and is the nested guest's to handle");
	report(vmx_exits(VMPTRST, 22), "which it does");
}

/* A nested guest in HLT: one that was entered so, or that executes it. */
static void check_halt(void)
{
	report(enable_lapic() && SETUP(VMCALL_INSN) && vmx_set(F_PIN, 0x17) &&
		   vmx_set(F_EXIT, EXIT_BITS | BIT(15)) && vmx_set(F_ACTIVITY, 1) &&
		   spins(VMLAUNCH),
	       "a nested guest that is entered in HLT does nothing");
	msi(0x51);
	report(ends(1, EVENT(0, 0x51)) && vmx_field(F_ACTIVITY) == 1 && vmx_field(F_RIP) == L2_CODE,
	       "an interrupt exits, and it is still in HLT");
	report(vmx_set(F_ACTIVITY, 0) && vmx_exits(VMRESUME, 18) && !vmx_field(F_ACTIVITY),
	       "until its host ends that");
	report(enable_lapic() && SETUP(0xf4, VMCALL_INSN) && vmx_set(F_PIN, 0x17) &&
		   spins(VMLAUNCH),
	       "its own HLT halts it");
	msi(0x51);
	report(ends(1, 0) && vmx_field(F_ACTIVITY) == 1 && vmx_field(F_RIP) == L2_CODE + 1,
	       "and is told by the exit");
	report(enable_lapic() && SETUP(VMCALL_INSN) && vmx_set(F_ACTIVITY, 1) &&
		   vmx_set(F_RFLAGS, 0x202) && spins(VMLAUNCH),
	       "without exits for interrupts");
	msi(0x1f);
	report(guest_wait(&vmx_guest, 1000) && LONG(&vmx_guest, 0x540) == 0x1f &&
		   vmx_exits(VMPTRST, 22),
	       "one wakes it up, and is its own");
	report(SETUP(VMCALL_INSN) && vmx_set(F_ACTIVITY, 1) && vmx_set(F_RFLAGS, 0x202) &&
		   vmx_set(F_PROC, 0x4006172 | BIT(2)) && vmx_exits(VMLAUNCH, 7) &&
		   vmx_field(F_RIP) == L2_CODE,
	       "so does a window for them that is open");
	/* sti; hlt */
	report(SETUP(0xfb, 0xf4, VMCALL_INSN) && vmx_set(F_PROC, 0x4006172 | BIT(2)) &&
		   vmx_exits(VMLAUNCH, 7) && vmx_field(F_RIP) == L2_CODE + 2,
	       "or one that opens behind HLT");
	report(SETUP(VMCALL_INSN) && vmx_set(F_ACTIVITY, 1) && vmx_set(F_INTR, EVENT(3, 1)) &&
		   vmx_run(VMLAUNCH, 0, 0) == 1 && vmx_exits(VMPTRST, 22),
	       "or an exception that is injected");
}

static void check_nmis(void)
{
	report(SETUP(SPIN) && vmx_set(F_PIN, 0x16 | BIT(3) | BIT(5)) && spins(VMLAUNCH),
	       "a nested guest runs");
	hc(CORBEL_HC_NMI, vmx_guest.vcpu);
	report(ends(0, EVENT(2, 2)), "an NMI of the guest's exits");
	report(spins(VMRESUME), "it runs on, in the guest's handler of the NMI");
	hc(CORBEL_HC_NMI, vmx_guest.vcpu);
	report(!guest_wait(&vmx_guest, 20), "where another waits");
	hc(CORBEL_HC_VCPU_PAUSE, vmx_guest.vcpu);
	report(guest_wait(&vmx_guest, 1000) && vmx_guest.page->exit_reason == CORBEL_EXIT_PAUSED,
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
	report(SETUP(0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, VMCALL_INSN) && vmx_set(F_MSRS, MSRS) &&
		   vmx_set(F_PROC, 0x4006172 | PROC_MSR_MAP) && vmx_set(F_ENTRY_LOADS, 1) &&
		   vmx_set(F_ENTRY_LOAD, IO_A) && vmx_set(F_STORES, 1) &&
		   vmx_set(F_STORE, IO_A + 0x20) && vmx_set(F_LOADS, 1) &&
		   vmx_set(F_LOAD, IO_A + 0x30) && vmx_exits(VMLAUNCH, 18) && QUAD(0x548) == 0x1234,
	       "MSRs of the area are loaded at an entry");
	report(QUAD(IO_A + 0x28) == 0x1234 && vmx_msr(0x175) == 0x777 && vmx_msr(0x174) == 0,
	       "and stored, and the guest's loaded, at the exit");
	area(IO_A + 0x10, 0x9999, 0);
	report(vmx_set(F_ENTRY_LOADS, 2) && vmx_exits(VMRESUME, BIT(31) | 34) &&
		   vmx_field(F_QUAL) == 2,
	       "one that there is not fails the entry, by its number");
	area(IO_A, 0xc0000100, 0);
	report(vmx_exits(VMRESUME, BIT(31) | 34) && vmx_field(F_QUAL) == 1, "so does FS' base");
	area(IO_A, 0x808, 0);
	report(vmx_exits(VMRESUME, BIT(31) | 34) && vmx_field(F_QUAL) == 1, "or the local APIC's");
}

void test_vmx(void)
{
	if (!report(vmx_begin(), "a guest in 64-bit mode runs"))
		return;
	check_on();
	check_pointers();
	check_fields();
	check_entry();
	check_refused();
	check_refused_more();
	vmx_check_guest_state();
	check_ports();
	check_msrs();
	check_controls();
	check_crs();
	check_injection();
	check_areas();
	vmx_check_ept();
	vmx_check_p2m();
	check_vmm();
	check_interrupts();
	check_halt();
	check_nmis();
	FREE(&vmx_guest);
}
