/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/machine_msr.h"
#include "hv/lib/asm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/x86.h"

/* What a CPU must say of itself, or it has not the MSR, whatever reading it does. */
enum feature { ALWAYS, EST, DTS, TURBO, PTM, HWP, APERF, EPB, PSTATES, EFF_FREQ, RAPL, CPPC };

static bool has_feature(enum feature f)
{
	struct cpuid_regs six = cpuid_read(6, 0), amd = cpuid_read(0x80000007, 0);

	switch (f) {
	case EST:
		return cpuid_read(1, 0).c & CPUID_1C_EST;
	case DTS:
		return six.a & CPUID_6A_DTS;
	case TURBO:
		return six.a & CPUID_6A_TURBO;
	case PTM:
		return six.a & CPUID_6A_PTM;
	case HWP:
		return six.a & CPUID_6A_HWP;
	case APERF:
		return six.c & CPUID_6C_APERF;
	case EPB:
		return six.c & CPUID_6C_EPB;
	case PSTATES:
		return amd.d & CPUID_X7D_HWPSTATE;
	case EFF_FREQ:
		return amd.d & CPUID_X7D_EFF_FREQ;
	case RAPL:
		return amd.d & CPUID_X7D_RAPL;
	case CPPC:
		return cpuid_read(0x80000008, 0).b & CPUID_X8B_CPPC;
	default:
		return true;
	}
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

enum { EAX, EBX, ECX, EDX };

/*
 * By these bits dom0's drivers take MSRs for granted: not every machine that has the bit has the
 * MSR, an emulator may lack it, or not let it be written.
 */
static const struct {
	u32 leaf, reg, bits, msr;
	bool written;
} driven[] = {
    {1, ECX, CPUID_1C_EST, 0x199, true},
    {6, EAX, CPUID_6A_DTS, 0x19c},
    {6, EAX, CPUID_6A_TURBO, 0x1ad},
    {6, EAX, CPUID_6A_PTM, 0x1b1},
    {6, EAX, CPUID_6A_HWP | CPUID_6A_HWP_MORE, 0x770, true},
    {6, ECX, CPUID_6C_APERF, 0xe8},
    {6, ECX, CPUID_6C_EPB, 0x1b0, true},
    {0x80000007, EDX, CPUID_X7D_HWPSTATE, 0xc0010062, true},
    {0x80000007, EDX, CPUID_X7D_EFF_FREQ, 0xc00000e8},
    {0x80000007, EDX, CPUID_X7D_RAPL, 0xc0010299},
    {0x80000008, EBX, CPUID_X8B_CPPC, 0xc00102b1, true},
};

void machine_cpuid(struct corbel_cpuid *e)
{
	u32 *reg[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
	u64 val;

	for (u32 i = 0; i < ARRAY_SIZE(driven); i++)
		if (driven[i].leaf == e->function && *reg[driven[i].reg] & driven[i].bits &&
		    (machine_msr(driven[i].msr, false, &val) ||
		     (driven[i].written && machine_msr(driven[i].msr, true, &val))))
			*reg[driven[i].reg] &= ~driven[i].bits;
}
