/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/machine_msr.h"
#include "hv/lib/asm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/x86.h"

enum { EAX, EBX, ECX, EDX };

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
    [EST] = {1, ECX, CPUID_1C_EST, 0x199, true},
    [DTS] = {6, EAX, CPUID_6A_DTS, 0x19c},
    [TURBO] = {6, EAX, CPUID_6A_TURBO, 0x1ad},
    [PTM] = {6, EAX, CPUID_6A_PTM, 0x1b1},
    [HWP] = {6, EAX, CPUID_6A_HWP | CPUID_6A_HWP_MORE, 0x770, true},
    [APERF] = {6, ECX, CPUID_6C_APERF, 0xe8},
    [EPB] = {6, ECX, CPUID_6C_EPB, 0x1b0, true},
    [PSTATES] = {0x80000007, EDX, CPUID_X7D_HWPSTATE, 0xc0010062, true},
    [EFF_FREQ] = {0x80000007, EDX, CPUID_X7D_EFF_FREQ, 0xc00000e8},
    [RAPL] = {0x80000007, EDX, CPUID_X7D_RAPL, 0xc0010299},
    [CPPC] = {0x80000008, EBX, CPUID_X8B_CPPC, 0xc00102b1, true},
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
    {0x34},  /* SMI count */
    {0x8b},  /* microcode level */
    {0xce},  /* platform info: ratios */
    {0x198}, /* performance status */
    {MSR_MTRR_CAP},
    {MSR_MTRR_PHYS_BASE0, .more = MSR_MTRR_PHYS_LAST - MSR_MTRR_PHYS_BASE0},
    {MSR_MTRR_FIX_64K},
    {MSR_MTRR_FIX_16K, .more = 1},
    {MSR_MTRR_FIX_4K, .more = 7},
    {MSR_MTRR_DEF_TYPE},
    {0xc0010010},			       /* SYSCFG */
    {0xc001001a},			       /* TOP_MEM */
    {0xc001001d},			       /* TOP_MEM2 */
    {0xc0010058},			       /* MMIO configuration base */
    {0xc0010112, .more = 1},		       /* TSEG */
    {0xc0010140, .more = 1},		       /* OSVW */
    {0xe7, APERF, 1},			       /* MPERF, APERF */
    {0x199, EST, 0, GENMASK(15, 0) | BIT(32)}, /* performance control: ratio, turbo off */
    {0x19c, DTS},			       /* thermal status */
    {0x1a2, DTS},			       /* temperature target */
    {0x1ad, TURBO, 2},			       /* ratio limits */
    {0x1b0, EPB, 0, GENMASK(3, 0)},	       /* energy performance bias */
    {0x1b1, PTM},			       /* package thermal status */
    {0x606, EST},			       /* RAPL: units */
    {0x611, EST},			       /* energy of the package */
    {0x619, EST},			       /* of memory */
    {0x639, EST},			       /* of the cores */
    {0x641, EST},			       /* of graphics */
    {0x648, EST, 4},			       /* configurable TDP */
    {0x770, HWP, 0, BIT(0)},		       /* on */
    {0x771, HWP},			       /* capabilities */
    {0x772, HWP, 0, ~0ull},		       /* request of the package */
    {0x774, HWP, 0, ~0ull},		       /* and of this CPU */
    {0x777, HWP},			       /* status */
    {0xc00000e7, EFF_FREQ, 1},
    {0xc0010061, PSTATES},		     /* current limit */
    {0xc0010062, PSTATES, 0, GENMASK(2, 0)}, /* control */
    {0xc0010063, PSTATES, 8},		     /* status, and what they are */
    {0xc0010299, RAPL, 2},		     /* units, core, package */
    {0xc00102b0, CPPC},			     /* capabilities */
    {0xc00102b1, CPPC, 0, BIT(0)},	     /* on */
    {0xc00102b3, CPPC, 0, GENMASK(31, 0)},   /* request */
    {0xc00102b4, CPPC},			     /* status */
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
