/* SPDX-License-Identifier: GPL-2.0-only */
/* Which controls are used: a pure function of the capability MSRs. */
#pragma once

#include "hv/lib/types.h"

/*
 * SDM "VMX Capability Reporting Facility": the MSRs from MSR_VMX_BASIC on, in order. pin..entry are
 * the TRUE ones where the CPU has them.
 */
struct vmx_msrs {
	u64 basic, pin, proc, exit, entry, misc;
	u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	u64 vmcs_enum, proc2, ept_vpid;
};

/* EPT_VPID_CAP */
#define EPT_WALK_4	  BIT(6)
#define EPT_WB		  BIT(14)
#define EPT_2M		  BIT(16)
#define EPT_1G		  BIT(17)
#define EPT_INVEPT	  BIT(20)
#define EPT_AD		  BIT(21)
#define EPT_INVEPT_ONE	  BIT(25)
#define EPT_INVEPT_ALL	  BIT(26)
#define EPT_INVVPID	  BIT(32)
#define EPT_INVVPID_ONE	  BIT(41)
#define EPT_INVVPID_ALL	  BIT(42)
#define EPT_INVVPID_TYPES GENMASK(43, 40) /* all */

/* EPTP: write-back, four levels */
#define EPTP_WB_WALK_4 (6 | 3 << 3)

/* Types of INVEPT and INVVPID */
enum { INV_ONE = 1, INV_ALL = 2, INV_VPID_LAST = 3 };

struct vmx_controls {
	u32 pin, proc, proc2, exit, entry;
	bool invept_single, invept_all; /* at least one */
	u8 invvpid;			/* INV_x; 0: no VPIDs */
	bool ept_1g, ept_ad;		/* large pages of 1 GiB, accessed and dirty flags */
};

/* NULL, or the line for boot_fail(). masked(name): the option mask= hides this control. */
const char *vmx_choose_controls(const struct vmx_msrs *m, bool (*masked)(const char *name),
				struct vmx_controls *out);

/* Is that not to be used on a CPU of Intel's with this signature (leaf 1 EAX)? By its erratum. */
bool vmx_is_broken(u32 signature, const char *name);

/*
 * Secondary controls, those of vmx_ctl for instructions as a guest with these, INSN_x, is to have
 * them.
 */
u32 vmx_proc2_for(u32 proc2, u64 insns);

/* Can a CPU with these MSRs run what the boot CPU, whose they are, has chosen for all? */
bool vmx_controls_fit(const struct vmx_msrs *m, const struct vmx_msrs *boot,
		      const struct vmx_controls *c);

extern struct vmx_controls vmx_ctl; /* set once, by vmx_probe() */
