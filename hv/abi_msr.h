/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The part of hv/abi.h that is about MSRs that a VMM wants to see. */
#ifndef CORBEL_ABI_MSR_H
#define CORBEL_ABI_MSR_H

#include "abi_error.h"
#include "abi.h"

/* HC_MSR_FILTER: which accesses stop the vCPU, with KVM's values */
#define CORBEL_MSR_EXIT_INVALID BIT_U32(0) /* of what would be #GP: for its value, say */
#define CORBEL_MSR_EXIT_UNKNOWN BIT_U32(1) /* because there is no such MSR */
#define CORBEL_MSR_EXIT_FILTER	BIT_U32(2) /* of what the filter denies */
/* not asked for: see CORBEL_HYPERV_MSRS; or one of KVM's for asynchronous page faults */
#define CORBEL_MSR_EXIT_MODULE BIT_U32(3)
/* The first range that has the MSR, for this kind of access, decides; x2APIC MSRs are allowed. */
#define CORBEL_MSR_RANGES    16u
#define CORBEL_MSR_RANGE_MAX 0x3000u /* MSRs of one */
#define CORBEL_MSR_READ	     BIT_U32(0)
#define CORBEL_MSR_WRITE     BIT_U32(1)
struct corbel_msr_range {
	uint32_t base, count;
	uint32_t how, pad; /* CORBEL_MSR_READ, WRITE */
	uint64_t bits;	   /* address of the bitmap, in one page: allowed */
};
struct corbel_msr_filter {
	uint32_t count, deny; /* ranges; what is in none of them is denied */
	struct corbel_msr_range range[CORBEL_MSR_RANGES];
};

/*
 * HC_PMU_FILTER: what a VM's performance counters may count, by event and unit mask as in the
 * registers that select them, in ascending order; and those of the second kind, by their bits
 */
#define CORBEL_PMU_EVENTS 300u
enum { CORBEL_PMU_ALL, CORBEL_PMU_ALLOW, CORBEL_PMU_DENY, CORBEL_PMU_NONE /* there is no PMU */ };
struct corbel_pmu_filter {
	uint32_t action, count; /* CORBEL_PMU_x */
	uint32_t fixed, pad;
	uint64_t event[CORBEL_PMU_EVENTS];
};

#endif
