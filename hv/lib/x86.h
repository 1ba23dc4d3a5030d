/* SPDX-License-Identifier: GPL-2.0-only */
/* Architectural bits and MSR numbers that guests' state is made of. */
#pragma once

#include "hv/lib/types.h"

/* General registers in the order of ModRM, SDM "Register Fields in Instruction Opcodes" */
enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

#define CR0_PE	BIT(0)
#define CR0_MP	BIT(1)
#define CR0_EM	BIT(2)
#define CR0_TS	BIT(3)
#define CR0_ET	BIT(4)
#define CR0_NE	BIT(5)
#define CR0_WP	BIT(16)
#define CR0_AM	BIT(18)
#define CR0_NW	BIT(29)
#define CR0_CD	BIT(30)
#define CR0_PG	BIT(31)
#define CR0_ALL (GENMASK(5, 0) | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

/* CR0 after LMSW of msw: its four lowest bits, of which PE cannot be cleared. */
static inline u64 cr0_with_msw(u64 cr0, u16 msw)
{
	u64 loaded = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

	return (cr0 & (~loaded | CR0_PE)) | (msw & loaded);
}

#define CR4_VME	       BIT(0)
#define CR4_PVI	       BIT(1)
#define CR4_TSD	       BIT(2)
#define CR4_DE	       BIT(3)
#define CR4_PSE	       BIT(4)
#define CR4_PAE	       BIT(5)
#define CR4_MCE	       BIT(6)
#define CR4_PGE	       BIT(7)
#define CR4_PCE	       BIT(8)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_LA57       BIT(12)
#define CR4_VMXE       BIT(13)
#define CR4_FSGSBASE   BIT(16)
#define CR4_PCIDE      BIT(17)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)
#define CR4_PKE	       BIT(22)

#define EFER_SCE   BIT(0)
#define EFER_LME   BIT(8)
#define EFER_LMA   BIT(10)
#define EFER_NXE   BIT(11)
#define EFER_SVME  BIT(12)
#define EFER_FFXSR BIT(14)

/* A linear address of 48 bits, as all here are */
static inline bool is_canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16) == a;
}

static inline bool pat_valid(u64 pat)
{
	/* Eight bytes of 0, 1, 4, 5, 6 or 7: bit 1 only with bit 2. */
	return !(pat & 0xf8f8f8f8f8f8f8f8ull) && !((pat & 0x0202020202020202ull) << 1 & ~pat);
}

/* Exceptions */
#define VEC_DE	0
#define VEC_DB	1
#define VEC_NMI 2
#define VEC_BP	3
#define VEC_OF	4
#define VEC_UD	6
#define VEC_NM	7
#define VEC_DF	8
#define VEC_TS	10
#define VEC_NP	11
#define VEC_SS	12
#define VEC_GP	13
#define VEC_PF	14
#define VEC_AC	17
#define VEC_MC	18

/* Error code of #PF */
#define PF_P	BIT(0)
#define PF_W	BIT(1)
#define PF_U	BIT(2)
#define PF_RSVD BIT(3)
#define PF_I	BIT(4)
#define PF_PK	BIT(5)

#define RFLAGS_CF	BIT(0)
#define RFLAGS_FIXED	BIT(1) /* always set */
#define RFLAGS_PF	BIT(2)
#define RFLAGS_AF	BIT(4)
#define RFLAGS_ZF	BIT(6)
#define RFLAGS_SF	BIT(7)
#define RFLAGS_TF	BIT(8)
#define RFLAGS_IF	BIT(9)
#define RFLAGS_DF	BIT(10)
#define RFLAGS_OF	BIT(11)
#define RFLAGS_IOPL	GENMASK(13, 12)
#define RFLAGS_NT	BIT(14)
#define RFLAGS_RF	BIT(16)
#define RFLAGS_VM	BIT(17)
#define RFLAGS_AC	BIT(18)
#define RFLAGS_VIF	BIT(19)
#define RFLAGS_VIP	BIT(20)
#define RFLAGS_ARITH	(RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF)
#define RFLAGS_SETTABLE 0x3f7fd5ull

#define DR6_TRAPS GENMASK(3, 0) /* which of DR0..3 matched */
#define DR6_BD	  BIT(13)	/* an access that DR7_GD forbids */
#define DR6_BS	  BIT(14)
#define DR6_BT	  BIT(15)	/* a TSS with its T bit */
#define DR6_ONES  0xffff0ff0ull /* always set */
#define DR7_LOCAL 0x155		/* L0..3 and LE */
#define DR7_ANY	  0xff		/* L0..3, G0..3 */
#define DR7_ONE	  BIT(10)
#define DR7_GD	  BIT(13)

#define MSR_TSC		    0x10
#define MSR_FEATURE_CONTROL 0x3a
#define FEATURE_LOCK	    BIT(0)
#define FEATURE_VMX	    BIT(2) /* outside of SMX */
#define FEATURE_LMCE	    BIT(20)
#define MSR_TSC_ADJUST	    0x3b
#define MSR_APIC_BASE	    0x1b
#define MSR_PLATFORM_ID	    0x17
#define MSR_UCODE_UPDATE    0x79
#define MSR_PLATFORM_INFO   0xce
#define CPUID_CAN_FAULT	    BIT(31) /* of it: what CPUID_FAULTS says */
#define MSR_MTRR_CAP	    0xfe
#define MSR_MISC_FEATURES   0x140
#define CPUID_FAULTS	    BIT(0) /* of it: to programs */
#define MSR_SYSENTER_CS	    0x174
#define MSR_SYSENTER_ESP    0x175
#define MSR_SYSENTER_EIP    0x176
#define MSR_MISC_ENABLE	    0x1a0
#define MSR_POWER_CTL	    0x1fc
#define MSR_DEBUGCTL	    0x1d9
#define MSR_MTRR_PHYS_BASE0 0x200
#define MSR_MTRR_PHYS_LAST  0x20f
#define MSR_MTRR_FIX_64K    0x250
#define MSR_MTRR_FIX_16K    0x258 /* 2 */
#define MSR_MTRR_FIX_4K	    0x268 /* 8 */
#define MSR_PAT		    0x277
#define PAT_RESET	    0x0007040600070406ull
#define PAT_HOST	    0x0007040600070106ull /* the same but for entry 1, write-combining */
#define MSR_MTRR_DEF_TYPE   0x2ff
#define MSR_VMX_BASIC	    0x480 /* and on: hv/vmx/caps.h */
#define MSR_VMX_VMCS_ENUM   0x48a
#define MSR_VMX_PROC2	    0x48b
#define MSR_VMX_LAST	    0x491
#define MSR_TSC_DEADLINE    0x6e0
#define MSR_EFER	    0xc0000080
#define MSR_STAR	    0xc0000081
#define MSR_LSTAR	    0xc0000082
#define MSR_CSTAR	    0xc0000083
#define MSR_SFMASK	    0xc0000084
#define MSR_FS_BASE	    0xc0000100
#define MSR_GS_BASE	    0xc0000101u
#define MSR_KERNEL_GS_BASE  0xc0000102
#define MSR_TSC_AUX	    0xc0000103
#define MSR_XSS		    0xda0
#define MSR_VM_CR	    0xc0010114 /* AMD */
#define VM_CR_LOCK	    BIT(3)
#define VM_CR_SVMDIS	    BIT(4)
#define MSR_VM_HSAVE_PA	    0xc0010117

/* Of the machine: what dom0's drivers read; guests see a constant or none. */
#define MSR_PLATFORM_ID		0x17
#define MSR_SMI_COUNT		0x34
#define MSR_UCODE_REV		0x8b
#define MSR_MPERF		0xe7
#define MSR_APERF		0xe8
#define MSR_PERF_STATUS		0x198
#define MSR_PERF_CTL		0x199
#define MSR_THERM_STATUS	0x19c
#define MSR_TEMPERATURE_TARGET	0x1a2
#define MSR_TURBO_RATIO_LIMIT	0x1ad
#define MSR_ENERGY_PERF_BIAS	0x1b0
#define MSR_PKG_THERM_STATUS	0x1b1
#define MSR_LAST_BRANCH		0x1db /* from, to; last exception: from, to */
#define MSR_RAPL_POWER_UNIT	0x606
#define MSR_CORE_C3		0x3fc /* for how long it was there; C6, C7, and the next */
#define MSR_CORE_C7		0x3fe
#define MSR_PKG_ENERGY_STATUS	0x611
#define MSR_DRAM_ENERGY_STATUS	0x619
#define MSR_PP0_ENERGY_STATUS	0x639 /* cores */
#define MSR_PP1_ENERGY_STATUS	0x641 /* graphics */
#define MSR_CONFIG_TDP		0x648 /* 5: the nominal level, two others, which one, the ratio */
#define MSR_CORE_C1		0x660
#define MSR_PM_ENABLE		0x770
#define MSR_HWP_CAPABILITIES	0x771
#define MSR_HWP_REQUEST_PKG	0x772
#define MSR_HWP_REQUEST		0x774
#define MSR_HWP_STATUS		0x777
#define MSR_AMD_MPERF		0xc00000e7
#define MSR_AMD_APERF		0xc00000e8
#define MSR_AMD_EVENT_SELECT	0xc0010000 /* 4, and their counters */
#define MSR_SYSCFG		0xc0010010
#define MSR_PATCH_LOADER	0xc0010020 /* AMD */
#define MSR_TOP_MEM		0xc001001a
#define MSR_TOP_MEM2		0xc001001d
#define MSR_NB_CFG		0xc001001f
#define MSR_INT_PENDING		0xc0010055 /* BKDG of family 10h, Interrupt Pending and CMP-Halt */
#define MSR_MMIO_CFG_BASE	0xc0010058
#define MSR_PSTATE_LIMIT	0xc0010061
#define MSR_PSTATE_CTL		0xc0010062
#define MSR_PSTATE_STATUS	0xc0010063 /* and what each of eight is */
#define MSR_SMM_ADDR		0xc0010112 /* and its mask: TSEG */
#define MSR_OSVW_LENGTH		0xc0010140 /* and status */
#define MSR_AMD_RAPL_POWER_UNIT 0xc0010299
#define MSR_CPPC_CAPABILITIES	0xc00102b0
#define MSR_CPPC_ENABLE		0xc00102b1
#define MSR_CPPC_REQUEST	0xc00102b3
#define MSR_CPPC_STATUS		0xc00102b4
#define MSR_LS_CFG		0xc0011020

/*
 * x87 (0), SSE (1), AVX (2), AVX-512 (5..7), PKRU (9): what fits a 4 KiB XSAVE area and is switched
 * with the vCPU
 */
#define XCR0_X87      BIT(0)
#define XCR0_SSE      BIT(1)
#define XCR0_AVX      BIT(2)
#define XCR0_ZMM_HIGH BIT(6) /* of ZMM0 to 15 the bits from 256 on */
#define XCR0_SWITCHED 0x2e7ull
#define XCR0_RESET    1ull
#define XCR0_FXSAVE   3ull /* what FXSAVE holds of it */
