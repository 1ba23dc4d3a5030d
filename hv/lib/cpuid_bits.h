/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Feature bits of CPUID, by leaf and register (1C: leaf 1, ECX; X1: leaf 0x80000001), in the
 * manuals' order: SDM "CPUID - CPU Identification", APM volume 3 "Obtaining Processor Information
 * Via the CPUID Instruction". Only what may be offered, and what is close to it and must not be.
 */
#pragma once

#include "hv/lib/types.h"

/* Leaf 0, EBX: the vendor's first four letters */
#define CPUID_0B_GENU 0x756e6547 /* "Genu"ineIntel */
#define CPUID_0B_AUTH 0x68747541 /* "Auth"enticAMD */
#define CPUID_0B_HYGO 0x6f677948 /* "Hygo"nGenuine, whose family is 18h */

/* AMD's, and Hygon's, which are of the same make */
static inline bool cpuid_is_amd(u32 leaf0_ebx)
{
	return leaf0_ebx == CPUID_0B_AUTH || leaf0_ebx == CPUID_0B_HYGO;
}

#define CPUID_1C_SSE3	      BIT(0)
#define CPUID_1C_PCLMUL	      BIT(1)
#define CPUID_1C_MONITOR      BIT(3)
#define CPUID_1C_VMX	      BIT(5)
#define CPUID_1C_EST	      BIT(7)
#define CPUID_1C_SSSE3	      BIT(9)
#define CPUID_1C_FMA	      BIT(12)
#define CPUID_1C_CX16	      BIT(13)
#define CPUID_1C_PDCM	      BIT(15) /* IA32_PERF_CAPABILITIES */
#define CPUID_1C_PCID	      BIT(17)
#define CPUID_1C_SSE41	      BIT(19)
#define CPUID_1C_SSE42	      BIT(20)
#define CPUID_1C_X2APIC	      BIT(21)
#define CPUID_1C_MOVBE	      BIT(22)
#define CPUID_1C_POPCNT	      BIT(23)
#define CPUID_1C_TSC_DEADLINE BIT(24)
#define CPUID_1C_AES	      BIT(25)
#define CPUID_1C_XSAVE	      BIT(26)
#define CPUID_1C_OSXSAVE      BIT(27) /* follows CR4 */
#define CPUID_1C_AVX	      BIT(28)
#define CPUID_1C_F16C	      BIT(29)
#define CPUID_1C_RDRAND	      BIT(30)
#define CPUID_1C_HYPERVISOR   BIT(31)

#define CPUID_1D_FPU   BIT(0)
#define CPUID_1D_VME   BIT(1)
#define CPUID_1D_DE    BIT(2)
#define CPUID_1D_PSE   BIT(3)
#define CPUID_1D_TSC   BIT(4)
#define CPUID_1D_MSR   BIT(5)
#define CPUID_1D_PAE   BIT(6)
#define CPUID_1D_MCE   BIT(7)
#define CPUID_1D_CX8   BIT(8)
#define CPUID_1D_APIC  BIT(9)
#define CPUID_1D_SEP   BIT(11)
#define CPUID_1D_MTRR  BIT(12)
#define CPUID_1D_PGE   BIT(13)
#define CPUID_1D_MCA   BIT(14)
#define CPUID_1D_CMOV  BIT(15)
#define CPUID_1D_PAT   BIT(16)
#define CPUID_1D_PSE36 BIT(17)
#define CPUID_1D_CLFSH BIT(19)
#define CPUID_1D_MMX   BIT(23)
#define CPUID_1D_FXSR  BIT(24)
#define CPUID_1D_SSE   BIT(25)
#define CPUID_1D_SSE2  BIT(26)
#define CPUID_1D_HTT   BIT(28)

#define CPUID_6A_DTS   BIT(0) /* temperatures */
#define CPUID_6A_TURBO BIT(1)
#define CPUID_6A_ARAT  BIT(2)
#define CPUID_6A_PTM   BIT(6) /* of the package */
#define CPUID_6A_HWP   BIT(7)
/* activity window, energy preference, package's request */
#define CPUID_6A_HWP_MORE GENMASK(11, 9)
#define CPUID_6C_APERF	  BIT(0)
#define CPUID_6C_EPB	  BIT(3)

#define CPUID_7B_FSGSBASE   BIT(0)
#define CPUID_7B_TSC_ADJUST BIT(1)
#define CPUID_7B_BMI1	    BIT(3)
#define CPUID_7B_AVX2	    BIT(5)
#define CPUID_7B_SMEP	    BIT(7)
#define CPUID_7B_BMI2	    BIT(8)
#define CPUID_7B_ERMS	    BIT(9)
#define CPUID_7B_INVPCID    BIT(10)
#define CPUID_7B_AVX512F    BIT(16)
#define CPUID_7B_AVX512DQ   BIT(17)
#define CPUID_7B_RDSEED	    BIT(18)
#define CPUID_7B_ADX	    BIT(19)
#define CPUID_7B_SMAP	    BIT(20)
#define CPUID_7B_AVX512IFMA BIT(21)
#define CPUID_7B_CLFLUSHOPT BIT(23)
#define CPUID_7B_CLWB	    BIT(24)
#define CPUID_7B_AVX512CD   BIT(28)
#define CPUID_7B_SHA	    BIT(29)
#define CPUID_7B_AVX512BW   BIT(30)
#define CPUID_7B_AVX512VL   BIT(31)

#define CPUID_7C_VBMI	   BIT(1)
#define CPUID_7C_UMIP	   BIT(2)
#define CPUID_7C_PKU	   BIT(3)
#define CPUID_7C_OSPKE	   BIT(4) /* follows CR4 */
#define CPUID_7C_VBMI2	   BIT(6)
#define CPUID_7C_GFNI	   BIT(8)
#define CPUID_7C_VAES	   BIT(9)
#define CPUID_7C_VPCLMUL   BIT(10)
#define CPUID_7C_VNNI	   BIT(11)
#define CPUID_7C_BITALG	   BIT(12)
#define CPUID_7C_VPOPCNTDQ BIT(14)
#define CPUID_7C_RDPID	   BIT(22)

#define CPUID_7D_FSRM	   BIT(4)
#define CPUID_7D_MD_CLEAR  BIT(10)
#define CPUID_7D_SPEC_CTRL BIT(26) /* IBRS, and IBPB by PRED_CMD */
#define CPUID_7D_STIBP	   BIT(27)
#define CPUID_7D_L1D_FLUSH BIT(28)
#define CPUID_7D_ARCH_CAP  BIT(29)
#define CPUID_7D_SSBD	   BIT(31)
#define CPUID_7D_CTRLS	   (CPUID_7D_SPEC_CTRL | CPUID_7D_STIBP | CPUID_7D_SSBD) /* in SPEC_CTRL */

/* Leaf 0xd.1 */
#define CPUID_D1A_XSAVEOPT BIT(0)
#define CPUID_D1A_XSAVEC   BIT(1)
#define CPUID_D1A_XGETBV1  BIT(2)
#define CPUID_D1A_XSAVES   BIT(3)

#define CPUID_SVM	    0x8000000a /* EDX: */
#define CPUID_SVM_NP	    BIT(0)
#define CPUID_SVM_NRIPS	    BIT(3)
#define CPUID_SVM_TSC_RATE  BIT(4)
#define CPUID_SVM_FLUSHASID BIT(6)
#define CPUID_SVM_PAUSE	    BIT(10) /* PAUSE filter */
#define CPUID_SVM_PAUSE_GAP BIT(12) /* its threshold */

#define CPUID_X1C_LAHF	    BIT(0)
#define CPUID_X1C_CMPLEGACY BIT(1)
#define CPUID_X1C_SVM	    BIT(2) /* and there is leaf CPUID_SVM */
#define CPUID_X1C_CR8	    BIT(4)
#define CPUID_X1C_ABM	    BIT(5)
#define CPUID_X1C_SSE4A	    BIT(6)
#define CPUID_X1C_MISALIGN  BIT(7)
#define CPUID_X1C_PREFETCHW BIT(8)
#define CPUID_X1C_XOP	    BIT(11)
#define CPUID_X1C_FMA4	    BIT(16)
#define CPUID_X1C_TBM	    BIT(21)
#define CPUID_X1C_TOPOEXT   BIT(22)
#define CPUID_X1C_PERFCTR   BIT(23) /* six performance counters */

/* Bits of leaf 1 EDX that leaf 0x80000001 EDX has once more on AMD */
#define CPUID_X1D_COPIES                                                                           \
	(GENMASK(9, 0) | GENMASK(17, 12) | CPUID_1D_MMX | CPUID_1D_FXSR) /* FPU.., MTRR..PSE36 */
#define CPUID_X1D_SYSCALL BIT(11)
#define CPUID_X1D_NX	  BIT(20)
#define CPUID_X1D_MMXEXT  BIT(22)
#define CPUID_X1D_FFXSR	  BIT(25)
#define CPUID_X1D_1G	  BIT(26)
#define CPUID_X1D_RDTSCP  BIT(27)
#define CPUID_X1D_LM	  BIT(29)

#define CPUID_X7D_HWPSTATE	BIT(7)
#define CPUID_X7D_INVARIANT_TSC BIT(8)
#define CPUID_X7D_EFF_FREQ	BIT(10) /* APERF and MPERF to be read only */
#define CPUID_X7D_RAPL		BIT(14)

#define CPUID_X8B_CLZERO     BIT(0)
#define CPUID_X8B_XSAVEERPTR BIT(2) /* XRSTOR loads the x87 pointers always */
#define CPUID_X8B_WBNOINVD   BIT(9)
#define CPUID_X8B_IBPB	     BIT(12)
#define CPUID_X8B_IBRS	     BIT(14)
#define CPUID_X8B_STIBP	     BIT(15)
#define CPUID_X8B_HINTS	     GENMASK(19, 16) /* how IBRS and STIBP are best used */
#define CPUID_X8B_SAME_MODE  BIT(19)	     /* of them: IBRS also keeps equals apart */
#define CPUID_X8B_SSBD	     BIT(24)
#define CPUID_X8B_VIRT_SSBD  BIT(25)
#define CPUID_X8B_SSB_NO     BIT(26)
#define CPUID_X8B_CPPC	     BIT(27)
#define CPUID_X8B_PSFD	     BIT(28)
#define CPUID_X8B_BTC_NO     BIT(29)
#define CPUID_X8B_CTRLS                                                                            \
	(CPUID_X8B_IBRS | CPUID_X8B_STIBP | CPUID_X8B_HINTS | CPUID_X8B_SSBD | CPUID_X8B_PSFD)
