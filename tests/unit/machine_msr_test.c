/* SPDX-License-Identifier: GPL-2.0-only */
/* What dom0 may do to frequency and power, on a CPU that has some of the MSRs. */
#include "hv/lib/asm.h"
#include "test.h"

static struct {
	u32 msr;
	u64 val;
} have[] = {{0x199, 0x700}, {0x774, 0}, {0x1b0, 6}, {0xce, 0x1800}, {0xc0010062, 0}};
static u32 writes;
static u32 said; /* in all registers of all leaves but AMD's */

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = leaf >> 31 ? 0 : said;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	for (u32 i = 0; i < ARRAY_SIZE(have); i++)
		if (have[i].msr == msr) {
			*val = have[i].val;
			return 0;
		}
	return -EIO;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	writes++;
	for (u32 i = 0; i < ARRAY_SIZE(have); i++)
		if (have[i].msr == msr) {
			have[i].val = val;
			return val == 0xbad ? -EIO : 0;
		}
	return -EIO;
}

#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#include "hv/dom0/machine_msr.c"

static int power_write(u32 msr, u64 val)
{
	return machine_msr(msr, true, &val);
}

/* Bits of CPUID without their MSRs, or with one that cannot be written. */
static void test_cpuid(void)
{
	struct corbel_cpuid six = {.function = 6, .eax = ~0u, .ecx = ~0u},
			    one = {.function = 1, .ecx = ~0u};

	machine_cpuid(&six);
	machine_cpuid(&one);
	CHECK(!(six.eax & (CPUID_6A_DTS | CPUID_6A_HWP | CPUID_6A_HWP_MORE)) &&
		  six.eax & CPUID_6A_ARAT && !(six.ecx & CPUID_6C_APERF) &&
		  six.ecx & CPUID_6C_EPB && one.ecx & CPUID_1C_EST,
	      "bits stay whose MSR is there");
	have[2].val = 0xbad;
	machine_cpuid(&six);
	CHECK(!(six.ecx & CPUID_6C_EPB), "and can be written, if they promise that");
	have[2].val = 6;
}

int main(void)
{
	/* each of these would do more than choose a frequency */
	static const u32 never[] = {
	    0x10,	/* TSC */
	    0x1b,	/* APIC base */
	    0x34,	/* SMI count */
	    0x3a,	/* feature control */
	    0x79,	/* microcode */
	    0xe2,	/* C-states */
	    0xe7,	/* MPERF */
	    0x150,	/* voltages */
	    0x19a,	/* clock modulation */
	    0x19b,	/* thermal interrupts */
	    0x1a0,	/* features */
	    0x1a2,	/* thermal throttling */
	    0x1aa,	/* power management */
	    0x1b2,	/* thermal interrupts of the package */
	    0x1fc,	/* POWER_CTL */
	    0x601,	/* currents */
	    0x610,	/* limit of power */
	    0x64b,	/* configurable TDP */
	    0x773,	/* interrupts of HWP */
	    0xc0000080, /* EFER */
	    0xc0010015, /* HWCR */
	    0xc0010064, /* what a P-state is */
	    0xc0010114, /* VM_CR */
	    0xc0010117, /* VM_HSAVE_PA */
	    0xc0010293, /* P-state status */
	};
	bool good = true;
	u64 val = 0;

	CHECK(machine_msr(0x199, false, &val) == -ENOENT && power_write(0x774, 1) == -ENOENT &&
		  power_write(0x1b0, 1) == -ENOENT && !writes,
	      "what CPUID does not name is not there, whatever the CPU says to it");
	said = ~0u;
	test_cpuid();
	CHECK(!machine_msr(0xce, false, &val) && val == 0x1800, "what the CPU has can be read");
	CHECK(machine_msr(0x771, false, &val) == -ENOENT, "what it has not cannot");
	CHECK(!power_write(0x199, 0xffff00000900) && have[0].val == 0x100000900,
	      "a ratio is set, and turbo switched off, nothing else");
	CHECK(!power_write(0x1b0, ~0ull) && have[2].val == 15, "the energy bias has four bits");
	CHECK(power_write(0x774, 0xbad) == -EINVAL, "what the CPU refuses is #GP");
	CHECK(power_write(0xc0010062, 1) == -ENOENT, "another vendor's is not there");
	writes = 0;
	for (u32 i = 0; i < ARRAY_SIZE(never); i++)
		good &= power_write(never[i], 0) == -ENOENT;
	CHECK(good && !writes, "voltages, limits and interrupts are not dom0's to write");
	return test_end();
}
