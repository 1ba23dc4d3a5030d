/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSRs: what is on the list works, every other is refused with #GP; instructions of the
 * virtualization extensions.
 */
#include "lib.h"

#define MSR_EFER 0xc0000080

/* MSRs that dom0 may read; hv/guest/msr.c. */
static const struct {
	u32 first, last;
} readable[] = {
    {0x10, 0x12},
    {0x17, 0x17},
    {0x1b, 0x1b},
    {0x34, 0x34},
    {0x48, 0x49}, /* check_speculation() */
    {0x3a, 0x3a},
    {0x8b, 0x8b},
    {0xce, 0xce},
    {0xfe, 0xfe},
    {0x10a, 0x10b},
    {0x140, 0x140},
    {0x174, 0x176},
    {0x179, 0x17b},
    {0x198, 0x199},
    {0x1a0, 0x1a0},
    {0x1d9, 0x1d9},
    {0x1db, 0x1de},
    {0x200, 0x20f},
    {0x250, 0x250},
    {0x258, 0x259},
    {0x268, 0x26f},
    {0x277, 0x277},
    {0x2ff, 0x2ff},
    {0x400, 0x47f},
    {0x6e0, 0x6e0},
    {0xda0, 0xda0},
    {0xc0000080, 0xc0000084},
    {0xc0000100, 0xc0000103},
    {0xc0010000, 0xc0010007},
    {0xc0010010, 0xc0010010},
    {0xc0010015, 0xc0010015},
    {0xc001001a, 0xc001001a},
    {0xc001001d, 0xc001001d},
    {0xc001001f, 0xc001001f},
    {0xc0010055, 0xc0010055},
    {0xc0010058, 0xc0010058},
    {0xc0010112, 0xc0010114},
    {0xc0010140, 0xc0010141},
    {0xc0011020, 0xc0011029},
    {0x4b564d00, 0x4b564d05},
};

static bool is_readable(u32 msr)
{
	for (u32 i = 0; i < ARRAY_SIZE(readable); i++)
		if (msr >= readable[i].first && msr <= readable[i].last)
			return true;
	return false;
}

/*
 * Refused ones are refused for reading and for writing; whether the CPU has the listed ones is
 * another matter.
 */
static void scan(u32 first, u32 last, const char *what)
{
	u32 bad = 0;
	u64 val;

	for (u32 msr = first; msr <= last; msr++) {
		if (is_readable(msr))
			continue;
		if (msr != 0x79 && wrmsr_try(msr, 0) != GP && bad++ < 5)
			note("write of MSR %x is not refused", msr);
		if (rdmsr_try(msr, &val) != GP && bad++ < 5)
			note("read of MSR %x is not refused (%lx)", msr, val);
	}
	report(!bad, "%s: MSRs not on the list are refused (%u are not)", what, bad);
}

#define IS_THERE(vector) ((vector) == -1)

/* An MSR works where CPUID says so, and is refused elsewhere. */
static void check_speculation(void)
{
	u32 l7[4], l8[4], ctrls;
	u64 val = 0;
	bool ctrl, pred, flush, arch;

	cpuid(7, 0, l7);
	cpuid(0x80000008, 0, l8);
	ctrl =
	    l7[3] & (BIT(26) | BIT(27) | BIT(31)) || l8[1] & (GENMASK(15, 14) | BIT(24) | BIT(28));
	pred = l7[3] & BIT(26) || l8[1] & BIT(12);
	flush = l7[3] & BIT(28);
	arch = l7[3] & BIT(29);
	note("speculation: SPEC_CTRL %d PRED_CMD %d FLUSH_CMD %d ARCH_CAPABILITIES %d", ctrl, pred,
	     flush, arch);
	report(IS_THERE(rdmsr_try(0x48, &val)) == ctrl && IS_THERE(wrmsr_try(0x48, val)) == ctrl &&
		   !IS_THERE(wrmsr_try(0x48, BIT(20))),
	       "SPEC_CTRL is there if CPUID has it, and takes no unknown bit");
	ctrls = l7[3] & BIT(26) || l8[1] & BIT(14); /* IBRS */
	if (ctrls) {
		wrmsr(0x48, 1);
		cpuid(0, 0, l7); /* an exit */
	}
	report(!ctrls || rdmsr(0x48) == 1, "it keeps what is written over an exit");
	if (ctrls)
		wrmsr(0x48, val);
	report(IS_THERE(wrmsr_try(0x49, 1)) == pred && !IS_THERE(wrmsr_try(0x49, BIT(5))) &&
		   !IS_THERE(rdmsr_try(0x49, &val)),
	       "PRED_CMD is there if CPUID has IBPB, and is no memory");
	report(IS_THERE(wrmsr_try(0x10b, 1)) == flush && !IS_THERE(wrmsr_try(0x10b, 2)) &&
		   !IS_THERE(rdmsr_try(0x10b, &val)),
	       "so is FLUSH_CMD");
	report(IS_THERE(rdmsr_try(0x10a, &val)) == arch && !IS_THERE(wrmsr_try(0x10a, 0)),
	       "ARCH_CAPABILITIES can be read if CPUID has it, and not be written");
}

static void check_listed(void)
{
	static const u32 must[] = {0x10,       0x1b,	   0x3a,       0x174,	   0x175,
				   0x176,      0x17a,	   0x1a0,      0x1d9,	   0x277,
				   0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100,
				   0xc0000101, 0xc0000102, 0x4b564d00, 0x4b564d01, 0x4b564d03};
	static const u32 store[] = {0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000102};
	const u64 pattern = 0xffff8123456789a0ull;
	u32 bad = 0;
	u64 val, old;

	for (u32 i = 0; i < ARRAY_SIZE(must); i++)
		if (rdmsr_try(must[i], &val) != -1 && ++bad)
			note("MSR %x cannot be read", must[i]);
	report(!bad, "MSRs every kernel needs can be read");
	bad = 0;
	for (u32 i = 0; i < ARRAY_SIZE(store); i++) {
		old = rdmsr(store[i]);
		wrmsr(store[i], pattern);
		if (rdmsr(store[i]) != pattern && ++bad)
			note("MSR %x does not keep its value", store[i]);
		wrmsr(store[i], old);
	}
	report(!bad, "system-call MSRs keep what is written");
	report(rdmsr(0x3a) == 1, "VMX is off and locked for dom0");
	val = 0;
	report(rdmsr_try(0xc0010114, &val) == -1 && (val & 0x18) == 0x18,
	       "SVM is off and locked for dom0");
	old = rdtsc();
	val = rdmsr(0x10);
	report(val >= old && val <= rdtsc(), "MSR TSC is the time-stamp counter");
}

/*
 * EFER has to be in the CPU, not only in the answer to RDMSR. SYSCALL goes to LSTAR, which goes
 * back.
 */
__asm__("syscall_target:\tpushq %r11\n\tpopfq\n\tjmp *%rcx");
extern const u8 syscall_target[];

static int syscall_try(u64 efer)
{
	int vector;

	wrmsr(MSR_EFER, efer);
	__asm__ volatile(CATCH("syscall") : CAUGHT(vector) : : "rcx", "r11", "memory", "cc");
	return vector;
}

static void check_syscall(u64 efer)
{
	u64 star = rdmsr(0xc0000081), lstar = rdmsr(0xc0000082), mask = rdmsr(0xc0000084);
	int off, on;

	wrmsr(0xc0000081, 0x10ull << 32); /* code; data comes next */
	wrmsr(0xc0000082, (u64)syscall_target);
	wrmsr(0xc0000084, 0);
	off = syscall_try(efer & ~1ull);
	on = syscall_try(efer | 1);
	report(off == 6 && on == -1, "EFER: SYSCALL follows SCE (%d, %d)", off, on);
	wrmsr(MSR_EFER, efer);
	wrmsr(0xc0000081, star);
	wrmsr(0xc0000082, lstar);
	wrmsr(0xc0000084, mask);
}

static void check_values(void)
{
	u64 efer = rdmsr(MSR_EFER), pat = rdmsr(0x277);
	u32 bad = 0;

	for (u32 i = 0; i < 64; i++) {
		if (i == 0 || i == 8 || i == 10 || i == 11 || i == 14)
			continue;
		if (wrmsr_try(MSR_EFER, efer ^ BIT(i)) != GP && ++bad)
			note("EFER bit %u", i);
	}
	report(!bad && rdmsr(MSR_EFER) == efer, "EFER: reserved bits and SVME are refused");
	report(wrmsr_try(MSR_EFER, efer ^ BIT(8)) == GP,
	       "EFER: LME cannot change while paging is on");
	report(wrmsr_try(MSR_EFER, efer ^ BIT(0)) == -1 && rdmsr(MSR_EFER) == (efer ^ BIT(0)),
	       "EFER: SCE can be switched");
	wrmsr(MSR_EFER, efer);
	check_syscall(efer);
	report(wrmsr_try(0x277, 0x0007040600070402ull) == GP && wrmsr_try(0x277, BIT(3)) == GP,
	       "PAT: reserved types are refused");
	report(wrmsr_try(0x277, 0x0007010600070106ull) == -1 &&
		   rdmsr(0x277) == 0x0007010600070106ull,
	       "PAT can be written");
	wrmsr(0x277, pat);
	report(wrmsr_try(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 1) == GP &&
		   wrmsr_try(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | BIT(52)) == GP,
	       "APIC base: reserved bits are refused");
	report(wrmsr_try(MSR_APIC_BASE, (rdmsr(MSR_APIC_BASE) & ~BIT(11)) | BIT(10)) == GP,
	       "APIC base: x2APIC needs the APIC on");
	report(wrmsr_try(0x4b564d03, 2) == GP && wrmsr_try(0x4b564d05, 2) == GP &&
		   wrmsr_try(0x4b564d04, 2) == GP,
	       "KVM MSRs: reserved bits are refused");
}

#define INSN(text)                                                                                 \
	({                                                                                         \
		int v_;                                                                            \
		__asm__ volatile(CATCH(text)                                                       \
				 : CAUGHT(v_)                                                      \
				 : "a"(0), "c"(0), "d"(0)                                          \
				 : "memory", "cc");                                                \
		v_;                                                                                \
	})

static void check_instructions(void)
{
	u64 mem = 0;
	int v;

	report(INSN("vmrun") == UD && INSN("vmload") == UD && INSN("vmsave") == UD,
	       "VMRUN, VMLOAD, VMSAVE are undefined");
	report(INSN("stgi") == UD && INSN("clgi") == UD && INSN("invlpga") == UD &&
		   INSN("skinit") == UD,
	       "STGI, CLGI, INVLPGA, SKINIT are undefined");
	__asm__ volatile(CATCH("vmxon %1") : CAUGHT(v) : "m"(mem) : "cc");
	report(v == UD && INSN("vmxoff") == UD && INSN("vmlaunch") == UD &&
		   INSN("vmread %%rax, %%rcx") == UD,
	       "VMXON, VMXOFF, VMLAUNCH, VMREAD are undefined");
	report(INSN("monitor") == UD && INSN("mwait") == UD,
	       "MONITOR and MWAIT are undefined, as CPUID says");
	report(INSN("rdpmc") == GP, "RDPMC is refused: there are no counters");
	report(INSN("rsm") == UD, "RSM outside SMM is undefined");
	if (backend == CORBEL_BACKEND_SVM)
		report(INSN("vmcall") == UD,
		       "the other vendor's hypercall instruction is undefined");
	else
		report(INSN("vmmcall") == UD,
		       "the other vendor's hypercall instruction is undefined");
	report(INSN("wbinvd") == -1 && INSN("invd") == -1, "WBINVD and INVD do no harm");
}

void test_msr(void)
{
	check_listed();
	check_speculation();
	check_values();
	check_instructions();
	scan(0, 0x7ff, "0..7ff");
	scan(0x800, 0x8ff, "x2APIC's, in xAPIC mode");
	scan(0xc00, 0xdff, "c00..dff");
	scan(0x40000000, 0x4000011f, "Hyper-V's");
	scan(0x4b564cf0, 0x4b564d1f, "KVM's");
	scan(0xc0000000, 0xc00002ff, "c0000000..c00002ff");
	scan(0xc0010000, 0xc00102ff, "c0010000..c00102ff");
	scan(0xc0011000, 0xc00110ff, "c0011000..c00110ff");
	scan(0xfffffff0, 0xfffffffe, "the last ones");
}
