/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Speculative execution: what is done so that guests learn nothing by it of the hypervisor, of dom0
 * and of each other, and what of the CPU's means is passed on to them. And what else such guests
 * can do by what a CPU does wrong.
 */
#pragma once

#include "hv/lib/cpuid_bits.h"
#include "hv/lib/types.h"

/* At each entry (VERW, IBRS, DIV) or exit; hv/cpu/spec.asm */
#define SPEC_VERW     BIT(0) /* empty the buffers that loads may be served from */
#define SPEC_IBRS     BIT(1) /* SPEC_CTRL is the guest's own, and IBRS while it does not run */
#define SPEC_RSB      BIT(2) /* fill the return stack */
#define SPEC_IBPB     BIT(3) /* forget all branches */
#define SPEC_BHB      BIT(4) /* overwrite the branch history */
#define SPEC_DIV      BIT(5) /* divide, lest a quotient of others' is left in the divider */
#define SPEC_AT_ENTRY (SPEC_VERW | SPEC_IBRS | SPEC_DIV)
#define SPEC_AT_EXIT  (SPEC_IBRS | SPEC_RSB | SPEC_IBPB | SPEC_BHB)

/* SDM "IA32_SPEC_CTRL", APM "Speculation Control MSRs" */
#define MSR_SPEC_CTRL	      0x48
#define SPEC_CTRL_IBRS	      BIT(0)
#define SPEC_CTRL_STIBP	      BIT(1)
#define SPEC_CTRL_SSBD	      BIT(2)
#define SPEC_CTRL_PSFD	      BIT(7)
#define SPEC_CTRL_BHI_DIS_S   BIT(10)
#define MSR_PRED_CMD	      0x49
#define PRED_CMD_IBPB	      BIT(0)
#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_FLUSH_CMD	      0x10b
#define FLUSH_CMD_L1D	      BIT(0)
#define MSR_VIRT_SPEC_CTRL    0xc001011f /* AMD: SPEC_CTRL_SSBD, by a hypervisor's means */

enum spec_mode { SPEC_MODE_AUTO, SPEC_MODE_OFF, SPEC_MODE_FULL }; /* option spec= */

/* What the choice is made by: CPUID, ARCH_CAPABILITIES */
struct spec_facts {
	bool amd;
	bool nested; /* the CPU's own registers are another hypervisor's */
	u32 family, model;
	u32 l7b, l7d;	/* leaf 7: EBX, EDX */
	u32 l72d;	/* leaf 7.2, EDX */
	u32 x8b;	/* leaf 0x80000008, EBX */
	u32 x21a, x21c; /* leaf 0x80000021 */
	u64 arch;
};

struct spec_plan {
	u8 each;     /* SPEC_x */
	u64 host;    /* bits of SPEC_CTRL that are always set */
	bool ibpb;   /* before another vCPU, or dom0's, runs where a guest has run */
	bool nested; /* likewise before a guest that trusts in IBRS runs where its guest has run */
	bool l1d;    /* empty the L1 data cache where a guest comes after others */
	bool auto_ibrs;	  /* EFER.AIBRSE */
	bool bp_reduce;	  /* BP_CFG: no speculation from guests' branches in the host */
	bool nx_large;	  /* see p2m_nx_large */
	u16 fixes;	  /* a bit for each of AMD's errata that it has: in any mode */
	u64 guest;	  /* bits of SPEC_CTRL that guests may have */
	bool pred, flush; /* the machine has PRED_CMD, FLUSH_CMD, for guests, too */
	u64 arch;	  /* ARCH_CAPABILITIES as guests are shown it; 0: there is none */
	/* By which bit of which MSR guests have VIRT_SPEC_CTRL; 0: they have not */
	u32 ssbd_msr;
	u64 ssbd_bit;
};

/* A pure function. */
void spec_choose(const struct spec_facts *f, enum spec_mode mode, struct spec_plan *p);
/* Bits of SPEC_CTRL that come with Intel's leaf 7 EDX and AMD's 0x80000008 EBX. Pure. */
static inline u64 spec_ctrl_bits(u32 l7d, u32 x8b)
{
	u64 bits = 0;

	if (l7d & CPUID_7D_SPEC_CTRL || x8b & CPUID_X8B_IBRS)
		bits |= SPEC_CTRL_IBRS;
	if (l7d & CPUID_7D_STIBP || x8b & CPUID_X8B_STIBP)
		bits |= SPEC_CTRL_STIBP;
	if (l7d & CPUID_7D_SSBD || x8b & CPUID_X8B_SSBD)
		bits |= SPEC_CTRL_SSBD;
	if (x8b & CPUID_X8B_PSFD)
		bits |= SPEC_CTRL_PSFD;
	return bits;
}

extern struct spec_plan spec; /* set once, by spec_init() */
/* Boot CPU: find out, choose, and say it in one line. */
void spec_init(void);
/*
 * On each CPU. -ENODEV: it has not all of the boot CPU's means, since it has refused the microcode,
 * say; a line has said so.
 */
int spec_init_cpu(void);
/* SPEC_CTRL as a vCPU that comes to this CPU, or the one that is here, wants it. */
void spec_set(u64 ctrl);
/* The same of VIRT_SPEC_CTRL's SSBD. */
void spec_set_ssbd(bool on);
/*
 * A guest that has IBRS follows its own guest, which came here by spec_switch() or not: to the CPU
 * the two are one.
 */
void spec_leave_nested(u64 trainer);
/*
 * A vCPU of this VM comes to this CPU; owner: a number of its own for each VM, 0 is dom0. Of whom
 * the branches are that the CPU remembers from now on `trainer` says; dom0's are nobody's, 0. It is
 * the vCPU's as long as it stays here: while it was elsewhere its kernel has had other CPUs forget
 * the last program's, but not this one.
 */
void spec_switch(u64 trainer, u64 owner);
