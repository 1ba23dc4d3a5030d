/* SPDX-License-Identifier: GPL-2.0-only */
/* Which controls are used: a pure function of the capability MSRs. */
#pragma once

#include "hv/lib/types.h"

/* SDM "VMX Capability Reporting Facility". pin..entry are the TRUE ones where the CPU has them. */
struct vmx_msrs {
	u64 basic, pin, proc, proc2, exit, entry, ept_vpid;
	u64 cr0_fixed0, cr4_fixed0;
};

struct vmx_controls {
	u32 pin, proc, proc2, exit, entry;
	bool invept_single, invept_all; /* at least one */
	u8 invvpid;			/* INVVPID type for one VPID, or for all; 0: no VPIDs */
	bool ept_1g, ept_ad;		/* large pages of 1 GiB, accessed and dirty flags */
};

/* NULL, or the line for boot_fail(). masked(name): the option mask= hides this control. */
const char *vmx_choose_controls(const struct vmx_msrs *m, bool (*masked)(const char *name),
				struct vmx_controls *out);

extern struct vmx_controls vmx_ctl; /* chosen at boot */
