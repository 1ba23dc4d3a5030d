/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine checks as KVM has them: banks that a guest and its VMM read and write. */
#pragma once

#include "hv/abi.h"
#include "hv/cpu/mcheck.h"
#include "hv/lib/types.h"

struct vcpu;

#define MSR_HWCR 0xc0010015 /* AMD */
#define HWCR_TSC BIT(24)    /* the TSC runs at P0 frequency */

struct mce {			       /* in struct vcpu, for its own CPU only */
	u64 cap, status, ctl;	       /* MCG_x */
	u64 bank[CORBEL_MCE_BANKS][4]; /* MCi_CTL, STATUS, ADDR, MISC */
	u64 hwcr;		       /* AMD's McStatusWrEn and TscFreqSel */
};

/* RESET, not INIT. The first time the vCPU gets KVM's banks, until the VMM says which there are. */
void mce_reset(struct vcpu *v);
/* As msr_read() and msr_write(); -ENOENT: none of a guest's machine-check MSRs. */
int mce_msr_read(struct vcpu *v, u32 msr, u64 *val, bool host);
int mce_msr_write(struct vcpu *v, u32 msr, u64 val, bool host);
/* MCG_CAP of a stopped vCPU, and an error for it. -EINVAL: not offered, no such bank, no error. */
int mce_setup(struct vcpu *v, u64 cap);
int mce_set(struct vcpu *v, const struct corbel_mce *e);
