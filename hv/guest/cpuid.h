/* SPDX-License-Identifier: GPL-2.0-only */
/* What vCPUs see of the CPU by CPUID: one table for both vendors. Default deny. */
#pragma once

#include "hv/lib/types.h"

struct corbel_cpuid;
struct vcpu;

/* Boot CPU, before the first vCPU. */
void policy_init(void);
extern bool has_rdtscp; /* the CPU has MSR TSC_AUX */
extern bool has_xsaves; /* and IA32_XSS, of which nothing may be set */
/* Execute CPUID for the running vCPU: RAX, RBX, RCX, RDX. */
void cpuid_emulate(struct vcpu *v);
/* A VMM's table. -E2BIG, -EINVAL. */
int cpuid_set(struct vcpu *v, const struct corbel_cpuid *e, u32 n);
/* The table as it was set; out has room for VCPU_MAX_CPUID. Returns the number of entries. */
u32 cpuid_get(const struct vcpu *v, struct corbel_cpuid *out);
/* dom0's table: this machine's CPU by the allow list. */
void cpuid_set_default(struct vcpu *v);
/* All that may be offered to a guest; returns entries written. */
u32 cpuid_supported(struct corbel_cpuid *out, u32 max);
/* CR4 bits and XCR0 values that a guest may have. */
u64 policy_cr4_mask(void);
bool policy_xcr0_valid(u64 xcr0);
u64 policy_xcr0_all(void);
