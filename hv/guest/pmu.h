/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Performance counters. A vCPU that has some has them to itself: while it is loaded those of its
 * counters that count are in the hardware, and count in the guest only; all other time every
 * counter of the CPU stands still. All accesses exit. SDM "Performance Monitoring"; APM volume 2,
 * "Hardware Performance Monitoring and Control".
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

struct vcpu;
struct vm;

/* Counters that are switched, at most, and where the second kind has its bits in global registers
 */
#define PMU_GP	     8
#define PMU_FIXED    3
#define PMU_FIXED_AT 32

/* Option pmu=, in its order: who has counters */
enum pmu_mode { PMU_DOM0, PMU_OFF, PMU_GUESTS };

struct pmu {
	u8 gp, fixed;	 /* how many its CPUID shows; 0: no PMU */
	bool has_global; /* and the global registers */
	bool owed;	 /* an overflow whose interrupt it has not been given */
	u64 caps;	 /* IA32_PERF_CAPABILITIES */
	u64 counter[PMU_GP + PMU_FIXED], select[PMU_GP], fixed_ctrl, global, status;
	u64 hw; /* what counts in the hardware, as in IA32_PERF_GLOBAL_CTRL; 0: it is not there */
};

/*
 * On each CPU, the boot CPU first, before there are vCPUs, and after a sleep. 0; -ENODEV: it has
 * slept, and has less now than vCPUs count on.
 */
int pmu_init_cpu(void);
/* Leaf e, as the CPU has it, gets what may be shown of counters, to dom0 or guests. */
void pmu_show(struct corbel_cpuid *e, bool dom0);
/* The leaf that tells of them only; 0: there is none to be shown. */
u32 pmu_leaf(bool dom0);
/* What v's CPUID shows: leaves 1, pmu_leaf() and 0x80000001. */
void pmu_note_rights(struct vcpu *v, const struct corbel_cpuid *one, const struct corbel_cpuid *own,
		     const struct corbel_cpuid *extended);
void pmu_reset(struct vcpu *v);
/* To the hardware, which has nobody's, when v is loaded, and back before another is. */
void pmu_load(struct vcpu *v);
void pmu_save(struct vcpu *v);
/* An overflow that v, which is not loaded, has not been told of is told now: state is to have it.
 */
void pmu_settle(struct vcpu *v);
/* DUE_PMU: the VM's filter is another. */
void pmu_follow(struct vcpu *v);
/* 0; -ENOENT: not a register that it has; -EINVAL: #GP. host: by its VMM. */
int pmu_msr_read(struct vcpu *v, u32 msr, u64 *val, bool host);
int pmu_msr_write(struct vcpu *v, u32 msr, u64 val, bool host);
/* RDPMC; -EINVAL: #GP */
int pmu_rdpmc(struct vcpu *v, u64 *val);
/*
 * What the VM's counters may count, in place of the last filter; the caller is alone with the
 * objects. vCPUs that run follow soon. -EINVAL, -ENOMEM, -EDQUOT: nothing has changed
 */
int pmu_filter_set(struct vm *vm, const struct corbel_pmu_filter *new);
