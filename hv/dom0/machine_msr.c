/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/machine_msr.h"
#include "hv/cpu/alike.h"
#include "hv/lib/asm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/x86.h"

/* What a CPU must say of itself, or it has not the MSR, whatever reading it does. */
enum feature { ALWAYS, EST, DTS, TURBO, PTM, HWP, APERF, EPB, PSTATES, EFF_FREQ, RAPL, CPPC };
/*
 * dom0's drivers take MSRs for granted by these bits. Not every machine that has the bit has the
 * MSR: an emulator may lack it, or not let it be written. One is tried for each: machine_cpuid().
 */
static const struct {
	u32 leaf, reg, bits, msr;
	bool written;
} features[] = {
    [EST] = {1, ECX, CPUID_1C_EST, MSR_PERF_CTL, true},
    [DTS] = {6, EAX, CPUID_6A_DTS, MSR_THERM_STATUS},
    [TURBO] = {6, EAX, CPUID_6A_TURBO, MSR_TURBO_RATIO_LIMIT},
    [PTM] = {6, EAX, CPUID_6A_PTM, MSR_PKG_THERM_STATUS},
    [HWP] = {6, EAX, CPUID_6A_HWP | CPUID_6A_HWP_MORE, MSR_PM_ENABLE, true},
    [APERF] = {6, ECX, CPUID_6C_APERF, MSR_APERF},
    [EPB] = {6, ECX, CPUID_6C_EPB, MSR_ENERGY_PERF_BIAS, true},
    [PSTATES] = {0x80000007, EDX, CPUID_X7D_HWPSTATE, MSR_PSTATE_CTL, true},
    [EFF_FREQ] = {0x80000007, EDX, CPUID_X7D_EFF_FREQ, MSR_AMD_APERF},
    [RAPL] = {0x80000007, EDX, CPUID_X7D_RAPL, MSR_AMD_RAPL_POWER_UNIT},
    [CPPC] = {0x80000008, EBX, CPUID_X8B_CPPC, MSR_CPPC_ENABLE, true},
};

static bool has_feature(enum feature f)
{
	struct cpuid_regs l = cpuid_read(features[f].leaf, 0);
	const u32 reg[4] = {l.a, l.b, l.c, l.d};

	return f == ALWAYS || reg[features[f].reg] & features[f].bits;
}

/*
 * Not here: voltages, what switches features or C-states on and off, limits of power, by which a
 * mistake could do harm that a reboot does not mend; and what raises thermal interrupts, whose
 * vector is the hypervisor's.
 */
static const struct machine_reg {
	u32 first;
	enum feature feature;
	u32 more; /* as many follow */
	u64 writable;
} machine_regs[] = {
    {MSR_SMI_COUNT},
    {MSR_UCODE_REV},
    {MSR_PLATFORM_INFO}, /* platform info: ratios */
    {MSR_PERF_STATUS},
    {MSR_MTRR_CAP},
    {MSR_MTRR_PHYS_BASE0, .more = MSR_MTRR_PHYS_LAST - MSR_MTRR_PHYS_BASE0},
    {MSR_MTRR_FIX_64K},
    {MSR_MTRR_FIX_16K, .more = 1},
    {MSR_MTRR_FIX_4K, .more = 7},
    {MSR_MTRR_DEF_TYPE},
    {MSR_SYSCFG},
    {MSR_TOP_MEM},
    {MSR_TOP_MEM2},
    {MSR_MMIO_CFG_BASE},
    {MSR_SMM_ADDR, .more = 1},
    {MSR_OSVW_LENGTH, .more = 1},
    {MSR_MPERF, APERF, 1},
    {MSR_PERF_CTL, EST, 0, GENMASK(15, 0) | BIT(32)}, /* performance control: ratio, turbo off */
    {MSR_THERM_STATUS, DTS},
    {MSR_TEMPERATURE_TARGET, DTS},
    {MSR_TURBO_RATIO_LIMIT, TURBO, 2},
    {MSR_ENERGY_PERF_BIAS, EPB, 0, GENMASK(3, 0)},
    {MSR_PKG_THERM_STATUS, PTM},
    {MSR_RAPL_POWER_UNIT, EST},
    {MSR_PKG_ENERGY_STATUS, EST},
    {MSR_DRAM_ENERGY_STATUS, EST},
    {MSR_PP0_ENERGY_STATUS, EST},
    {MSR_PP1_ENERGY_STATUS, EST},
    {MSR_CONFIG_TDP, EST, 4},
    {MSR_PM_ENABLE, HWP, 0, BIT(0)}, /* on */
    {MSR_HWP_CAPABILITIES, HWP},
    {MSR_HWP_REQUEST_PKG, HWP, 0, ~0ull}, /* request of the package */
    {MSR_HWP_REQUEST, HWP, 0, ~0ull},	  /* and of this CPU */
    {MSR_HWP_STATUS, HWP},
    {MSR_AMD_MPERF, EFF_FREQ, 1},
    {MSR_PSTATE_LIMIT, PSTATES},
    {MSR_PSTATE_CTL, PSTATES, 0, GENMASK(2, 0)},
    {MSR_PSTATE_STATUS, PSTATES, 8},
    {MSR_AMD_RAPL_POWER_UNIT, RAPL, 2},
    {MSR_CPPC_CAPABILITIES, CPPC},
    {MSR_CPPC_ENABLE, CPPC, 0, BIT(0)}, /* on */
    {MSR_CPPC_REQUEST, CPPC, 0, GENMASK(31, 0)},
    {MSR_CPPC_STATUS, CPPC},
};

static const struct machine_reg *machine_reg_of(u32 msr)
{
	for (u32 i = 0; i < ARRAY_SIZE(machine_regs); i++)
		if (msr - machine_regs[i].first <= machine_regs[i].more)
			return &machine_regs[i];
	return NULL;
}

int machine_msr(u32 msr, bool write, u64 *val)
{
	const struct machine_reg *r = machine_reg_of(msr);
	u64 old;

	if (!r || (write && !r->writable) || !has_feature(r->feature) || rdmsr_safe(msr, &old))
		return -ENOENT;
	if (!write) {
		*val = old;
		return 0;
	}
	if (wrmsr_safe(msr, (old & ~r->writable) | (*val & r->writable)))
		return -EINVAL;
	return 0;
}

void machine_cpuid(struct corbel_cpuid *e)
{
	u32 *reg[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
	u64 val;

	for (u32 i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].leaf == e->function && *reg[features[i].reg] & features[i].bits &&
		    (machine_msr(features[i].msr, false, &val) ||
		     (features[i].written && machine_msr(features[i].msr, true, &val))))
			*reg[features[i].reg] &= ~features[i].bits;
}
