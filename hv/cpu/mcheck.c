/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/mcheck.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/log.h"

#define MCI_MISCV BIT(59)
#define MCI_ADDRV BIT(58)

static u32 bank_msr(u32 bank, u32 reg)
{
	return MSR_MC0_CTL + 4 * bank + reg;
}

/* MCG_CAP, 0 where there is none; firmware may have switched leaves off, so what fails is left. */
static u64 read_mcg_cap(void)
{
	u32 wanted = CPUID_1D_MCE | CPUID_1D_MCA;
	u64 cap;

	if ((cpuid_read(1, 0).d & wanted) != wanted || rdmsr_safe(MSR_MCG_CAP, &cap))
		return 0;
	return cap;
}

static u64 read_if(bool there, u32 msr)
{
	u64 val;

	return there && !rdmsr_safe(msr, &val) ? val : 0;
}

u32 mcheck_log(void)
{
	u32 banks = read_mcg_cap() & MCG_BANKS, found = 0;

	for (u32 i = 0; i < banks; i++) {
		u64 status = read_if(true, bank_msr(i, MCI_STATUS));

		if (!(status & MCI_VAL))
			continue;
		found++;
		log_err("CPU %u: machine check, bank %u: status %lx, address %lx, misc %lx",
			this_cpu()->index, i, status,
			read_if(status & MCI_ADDRV, bank_msr(i, MCI_ADDR)),
			read_if(status & MCI_MISCV, bank_msr(i, MCI_MISC)));
	}
	return found;
}

void mcheck_init_cpu(void)
{
	u64 cap = read_mcg_cap();

	if (mcheck_log())
		log_warn("CPU %u: these are left over from before the boot; if they come again the "
			 "hardware is at fault",
			 this_cpu()->index);
	if (cap & MCG_CTL_P)
		wrmsr_safe(MSR_MCG_CTL, ~0ull);
	for (u32 i = 0; i < (cap & MCG_BANKS); i++) {
		wrmsr_safe(bank_msr(i, MCI_CTL), ~0ull);
		wrmsr_safe(bank_msr(i, MCI_STATUS), 0);
	}
	wrmsr_safe(MSR_MCG_STATUS, 0);
}
