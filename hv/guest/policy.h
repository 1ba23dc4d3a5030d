/* SPDX-License-Identifier: GPL-2.0-only */
/* What vCPUs see of the CPU: CPUID and MSRs, one table for both vendors. Default deny. */
#pragma once

#include "hv/guest/vcpu.h"

/* ---- cpuid.c ---- */
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

/* ---- msr.c ---- */
/* 0 or -EINVAL (#GP). The running vCPU's own access. */
int msr_read(struct vcpu *v, u32 msr, u64 *val);
int msr_write(struct vcpu *v, u32 msr, u64 val);
/* The VMM's access to a stopped vCPU: may also set what the guest cannot. */
int msr_read_host(struct vcpu *v, u32 msr, u64 *val);
int msr_write_host(struct vcpu *v, u32 msr, u64 val);
/* Its TSC goes on at this rate, 0: the machine's. -EINVAL: that needs TSC scaling, or is out of range. */
int msr_set_tsc_khz(struct vcpu *v, u64 khz);
/* MSRs worth saving; returns how many there are, copies at most max from the first-th on. */
u32 msr_list(u32 *out, u32 first, u32 max);

/* ---- mce.c ---- */
/* KVM's banks until the VMM says which there are. reset: RESET, not INIT. */
void mce_init(struct vcpu *v);
void mce_reset(struct vcpu *v);
/* Is it one of a guest's? Then read and write as above; host: by the VMM. */
bool mce_is_msr(const struct vcpu *v, u32 msr);
int mce_msr_read(const struct vcpu *v, u32 msr, u64 *val, bool host);
int mce_msr_write(struct vcpu *v, u32 msr, u64 val, bool host);
/* MCG_CAP of a stopped vCPU, and an error for it. -EINVAL: not offered, no such bank, no error. */
int mce_setup(struct vcpu *v, u64 cap);
int mce_set(struct vcpu *v, const struct corbel_mce *e);
