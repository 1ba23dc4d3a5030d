/* SPDX-License-Identifier: GPL-2.0-only */
/* What a guest has or lacks by its CPUID, and CPUID by what it has. */
#pragma once

#include "hv/guest/vcpu.h"

/*
 * INSN_x that leaves 1, 7, 0xd (1) and 0x80000001 show; one that a guest has not is all zero. What
 * it is not shown the hardware keeps from it where it can.
 */
u32 insns_shown(const struct corbel_cpuid *one, const struct corbel_cpuid *seven,
		const struct corbel_cpuid *xsaves, const struct corbel_cpuid *extended);
/* MISC_ENABLE has changed, or is to be followed: CORBEL_QUIRK_NO_MWAIT */
void cpuid_follow_mwait(struct vcpu *v);
