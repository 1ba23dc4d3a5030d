/* SPDX-License-Identifier: GPL-2.0-only */
/* MSRs that vCPUs have: one table for both vendors. Default deny. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * 0, -ENOENT (no such MSR) or -EINVAL, which are #GP. The running vCPU's own access, or (host) the
 * VMM's to a stopped one, which may also set what the guest cannot: it writes states, not
 * transitions.
 */
int msr_read(struct vcpu *v, u32 msr, u64 *val, bool host);
int msr_write(struct vcpu *v, u32 msr, u64 val, bool host);
/*
 * Its TSC goes on at this rate, 0: the machine's. -EINVAL: that needs TSC scaling, or is out of
 * range.
 */
int msr_set_tsc_khz(struct vcpu *v, u64 khz);
/* What is added to the machine's TSC, at its rate, for this one's. */
void msr_set_tsc_offset(struct vcpu *v, u64 offset);
/* MSRs worth saving, less than a page of them; returns how many there are. */
u32 msr_list(u32 *out);
