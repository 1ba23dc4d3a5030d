/* SPDX-License-Identifier: GPL-2.0-only */
/* What vCPUs see of the CPU by CPUID: one table for both vendors. Default deny. */
#pragma once

#include "hv/abi.h"
#include "hv/guest/vcpu.h"

/* Boot CPU, before the first vCPU. */
void policy_init(void);
extern bool has_rdtscp; /* the CPU has MSR TSC_AUX */
extern bool leaks_x87;	/* XRSTOR may leave FIP, FDP and FOP of who was there before */
extern bool has_xsaves; /* and IA32_XSS, of which nothing may be set */
/* Execute CPUID for the running vCPU: RAX, RBX, RCX, RDX. */
void cpuid_emulate(struct vcpu *v);
/* A VMM's table, for a vCPU that is borrowed. -E2BIG; -EINVAL: another one than that with which the
 * guest has run. */
int cpuid_set(struct vcpu *v, const struct corbel_cpuid *e, u32 n);
/*
 * The table as the vCPU, which is loaded or borrowed, is shown it now; out has room for
 * VCPU_MAX_CPUID. Returns the number of entries.
 */
u32 cpuid_get(struct vcpu *v, struct corbel_cpuid *out);
/* dom0's table, likewise: this machine's CPU by the allow list. */
void cpuid_set_default(struct vcpu *v);
/*
 * All that may be offered to guests, or is shown to a vCPU of dom0; VCPU_MAX_CPUID entries at most.
 * Returns their number.
 */
u32 cpuid_offered(struct corbel_cpuid *out, const struct vcpu *dom0_vcpu);
/* Bits of CR4 that every guest may set, and all that some may; components of XCR0. */
#define CR4_ALWAYS                                                                                 \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |  \
	 CR4_OSFXSR | CR4_OSXMMEXCPT)
u64 policy_cr4_mask(void);
u64 policy_xcr0_all(void);
/* May this guest have that? */
bool policy_xcr0_valid(const struct vcpu *v, u64 xcr0);

/* The first entry of a leaf that the vCPU is shown, or NULL. */
static inline const struct corbel_cpuid *cpuid_leaf(const struct vcpu *v, u32 leaf)
{
	for (u32 i = 0; i < v->cpuid_count; i++)
		if (v->cpuid[i].function == leaf)
			return &v->cpuid[i];
	return NULL;
}

/* Is it shown this feature, of leaf 1's ECX? */
static inline bool cpuid_shows(const struct vcpu *v, u64 feature)
{
	const struct corbel_cpuid *c = cpuid_leaf(v, 1);

	return c && c->ecx & feature;
}
