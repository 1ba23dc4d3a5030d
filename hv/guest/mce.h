/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine checks as KVM has them: banks that a guest and its VMM read and write. */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

struct vcpu;

struct mce {			       /* in struct vcpu */
	u64 cap, status, ctl;	       /* MCG_x */
	u64 bank[CORBEL_MCE_BANKS][4]; /* MCi_CTL, STATUS, ADDR, MISC */
	u64 hwcr;		       /* AMD's McStatusWrEn */
};

/* KVM's banks until the VMM says which there are. reset: RESET, not INIT. */
void mce_init(struct vcpu *v);
void mce_reset(struct vcpu *v);
/*
 * Is it one of a guest's? Then read and write as msr_read() and msr_write() do; host: by the VMM.
 */
bool mce_is_msr(const struct vcpu *v, u32 msr);
int mce_msr_read(const struct vcpu *v, u32 msr, u64 *val, bool host);
int mce_msr_write(struct vcpu *v, u32 msr, u64 val, bool host);
/* MCG_CAP of a stopped vCPU, and an error for it. -EINVAL: not offered, no such bank, no error. */
int mce_setup(struct vcpu *v, u64 cap);
int mce_set(struct vcpu *v, const struct corbel_mce *e);
