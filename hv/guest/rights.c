/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/rights.h"
#include "hv/lib/cpuid_bits.h"

u32 insns_shown(const struct corbel_cpuid *one, const struct corbel_cpuid *seven,
		const struct corbel_cpuid *xsaves, const struct corbel_cpuid *extended)
{
	const struct {
		u32 shown, insn;
	} all[] = {
	    {extended->edx & CPUID_X1D_RDTSCP, INSN_RDTSCP},
	    {seven->ecx & CPUID_7C_RDPID, INSN_RDPID},
	    {seven->ebx & CPUID_7B_INVPCID, INSN_INVPCID},
	    {one->ecx & CPUID_1C_XSAVE && xsaves->eax & CPUID_D1A_XSAVES, INSN_XSAVES},
	    {one->ecx & CPUID_1C_RDRAND, INSN_RDRAND},
	    {seven->ebx & CPUID_7B_RDSEED, INSN_RDSEED},
	};
	u32 insns = 0;

	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].shown)
			insns |= all[i].insn;
	return insns;
}

#define MISC_MWAIT BIT(18)

void cpuid_follow_mwait(struct vcpu *v)
{
	if (!vcpu_lacks_quirk(v, CORBEL_QUIRK_NO_MWAIT))
		return;
	for (u32 i = 0; i < v->cpuid_count; i++)
		if (v->cpuid[i].function == 1) {
			v->cpuid[i].ecx &= ~CPUID_1C_MONITOR;
			if (v->misc_enable & MISC_MWAIT)
				v->cpuid[i].ecx |= CPUID_1C_MONITOR;
		}
}
