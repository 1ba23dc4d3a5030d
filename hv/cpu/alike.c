/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/alike.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/log.h"

/*
 * A bit must not be shown unless what it promises is there: tests/unit/cpuid_test.c has what that
 * is for each.
 */
const struct cpuid_word cpuid_words[CPUID_WORDS] = {
    {1, 0, ECX,
     CPUID_1C_SSE3 | CPUID_1C_PCLMUL | CPUID_1C_SSSE3 | CPUID_1C_FMA | CPUID_1C_CX16 |
	 CPUID_1C_PCID | CPUID_1C_SSE41 | CPUID_1C_SSE42 | CPUID_1C_MOVBE | CPUID_1C_POPCNT |
	 CPUID_1C_AES | CPUID_1C_XSAVE | CPUID_1C_AVX | CPUID_1C_F16C | CPUID_1C_RDRAND,
     CPUID_1C_X2APIC | CPUID_1C_TSC_DEADLINE | CPUID_1C_HYPERVISOR, CPUID_1C_EST,
     CPUID_1C_MONITOR | CPUID_1C_VMX | CPUID_1C_X2APIC | CPUID_1C_TSC_DEADLINE},
    {1, 0, EDX,
     CPUID_1D_FPU | CPUID_1D_VME | CPUID_1D_DE | CPUID_1D_PSE | CPUID_1D_TSC | CPUID_1D_MSR |
	 CPUID_1D_PAE | CPUID_1D_MCE | CPUID_1D_CX8 | CPUID_1D_APIC | CPUID_1D_SEP | CPUID_1D_MTRR |
	 CPUID_1D_PGE | CPUID_1D_MCA | CPUID_1D_CMOV | CPUID_1D_PAT | CPUID_1D_PSE36 |
	 CPUID_1D_CLFSH | CPUID_1D_MMX | CPUID_1D_FXSR | CPUID_1D_SSE | CPUID_1D_SSE2,
     .dom0 = CPUID_1D_HTT},
    {6, 0, EAX, 0, CPUID_6A_ARAT /* the virtual LAPIC timer never stops */,
     CPUID_6A_DTS | CPUID_6A_TURBO | CPUID_6A_PTM | CPUID_6A_HWP | CPUID_6A_HWP_MORE},
    {6, 0, EBX, .dom0 = GENMASK(3, 0)}, /* thresholds of temperature */
    {6, 0, ECX, .dom0 = CPUID_6C_APERF | CPUID_6C_EPB},
    {6, 0, EDX},
    {7, 0, EBX,
     CPUID_7B_FSGSBASE | CPUID_7B_BMI1 | CPUID_7B_AVX2 | CPUID_7B_SMEP | CPUID_7B_BMI2 |
	 CPUID_7B_ERMS | CPUID_7B_INVPCID | CPUID_7B_AVX512F | CPUID_7B_AVX512DQ | CPUID_7B_RDSEED |
	 CPUID_7B_ADX | CPUID_7B_SMAP | CPUID_7B_AVX512IFMA | CPUID_7B_CLFLUSHOPT | CPUID_7B_CLWB |
	 CPUID_7B_AVX512CD | CPUID_7B_SHA | CPUID_7B_AVX512BW | CPUID_7B_AVX512VL},
    /*
     * Not LA57, PKS, shadow stacks, LAM and the like: their CR4 bits and MSRs are not offered.
     * OSPKE: see apply_state().
     */
    {7, 0, ECX,
     CPUID_7C_VBMI | CPUID_7C_UMIP | CPUID_7C_PKU | CPUID_7C_VBMI2 | CPUID_7C_GFNI | CPUID_7C_VAES |
	 CPUID_7C_VPCLMUL | CPUID_7C_VNNI | CPUID_7C_BITALG | CPUID_7C_VPOPCNTDQ | CPUID_7C_RDPID},
    {7, 0, EDX,
     CPUID_7D_FSRM | CPUID_7D_MD_CLEAR | CPUID_7D_CTRLS | CPUID_7D_L1D_FLUSH | CPUID_7D_ARCH_CAP},
    {0xd, 0, EAX, XCR0_SWITCHED},
    {0xd, 1, EAX, CPUID_D1A_XSAVEOPT | CPUID_D1A_XSAVEC | CPUID_D1A_XGETBV1 | CPUID_D1A_XSAVES},
    {0x80000001, 0, ECX, /* not SVM, OSVW, PERFCTR */
     CPUID_X1C_LAHF | CPUID_X1C_CMPLEGACY | CPUID_X1C_CR8 | CPUID_X1C_ABM | CPUID_X1C_SSE4A |
	 CPUID_X1C_MISALIGN | CPUID_X1C_PREFETCHW | CPUID_X1C_XOP | CPUID_X1C_FMA4 | CPUID_X1C_TBM,
     .dom0 = CPUID_X1C_TOPOEXT, .own = CPUID_X1C_SVM},
    {0x80000001, 0, EDX,
     CPUID_X1D_COPIES | CPUID_X1D_SYSCALL | CPUID_X1D_NX | CPUID_X1D_MMXEXT | CPUID_X1D_FFXSR |
	 CPUID_X1D_1G | CPUID_X1D_RDTSCP | CPUID_X1D_LM},
    {0x80000007, 0, EDX, CPUID_X7D_INVARIANT_TSC,
     .dom0 = CPUID_X7D_HWPSTATE | CPUID_X7D_EFF_FREQ | CPUID_X7D_RAPL},
    {0x80000008, 0, EBX,
     CPUID_X8B_CLZERO | CPUID_X8B_XSAVEERPTR | CPUID_X8B_WBNOINVD | CPUID_X8B_IBPB |
	 CPUID_X8B_CTRLS | CPUID_X8B_VIRT_SSBD | CPUID_X8B_SSB_NO | CPUID_X8B_BTC_NO,
     .dom0 = CPUID_X8B_CPPC},
    {CPUID_SVM, 0, EDX,
     .own = CPUID_SVM_NP | CPUID_SVM_NRIPS | CPUID_SVM_TSC_RATE | CPUID_SVM_FLUSHASID |
	    CPUID_SVM_PAUSE | CPUID_SVM_PAUSE_GAP},
};

static u32 of_boot_cpu[CPUID_WORDS];

static u32 read_word(const struct cpuid_word *w)
{
	struct cpuid_regs l = cpuid_read(w->leaf, w->sub);
	const u32 reg[] = {l.a, l.b, l.c, l.d};

	return reg[w->reg] & (w->allow | w->own);
}

int alike_check(void)
{
	static const char *const names[] = {"EAX", "EBX", "ECX", "EDX"};

	for (u32 i = 0; i < CPUID_WORDS; i++) {
		const struct cpuid_word *w = &cpuid_words[i];
		u32 has = read_word(w);

		if (!this_cpu()->index)
			of_boot_cpu[i] = has;
		if (!(of_boot_cpu[i] & ~has))
			continue;
		log_warn("CPU with APIC id %u lacks bits %x of CPUID leaf %x, %s, which the boot "
			 "CPU has; update the firmware, or reset its settings",
			 this_cpu()->apic_id, of_boot_cpu[i] & ~has, w->leaf, names[w->reg]);
		return -ENODEV;
	}
	return 0;
}
