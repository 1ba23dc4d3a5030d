/* SPDX-License-Identifier: GPL-2.0-only */
/* MSRs that vCPUs have: one table for both vendors. Default deny. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* 0 or -EINVAL (#GP). The running vCPU's own access. */
int msr_read(struct vcpu *v, u32 msr, u64 *val);
int msr_write(struct vcpu *v, u32 msr, u64 val);
/* The VMM's access to a stopped vCPU: may also set what the guest cannot. */
int msr_read_host(struct vcpu *v, u32 msr, u64 *val);
int msr_write_host(struct vcpu *v, u32 msr, u64 val);
/*
 * Its TSC goes on at this rate, 0: the machine's. -EINVAL: that needs TSC scaling, or is out of
 * range.
 */
int msr_set_tsc_khz(struct vcpu *v, u64 khz);
/* MSRs worth saving; returns how many there are, copies at most max from the first-th on. */
u32 msr_list(u32 *out, u32 first, u32 max);
