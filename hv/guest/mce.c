/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Machine checks of guests: the banks that a VMM gives a vCPU, and the errors that it puts there.
 * SDM "Machine-Check Architecture"; what is refused is what KVM refuses. The machine's own banks
 * are the hypervisor's, dom0 has none.
 */
#include "hv/guest/mce.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/inject.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

#define MSR_P5_MC_ADDR 0x0
#define MSR_P5_MC_TYPE 0x1
#define MSR_MC0_CTL2   0x280 /* one for each bank */
#define LAST_CTL2      (MSR_MC0_CTL2 + CORBEL_MCE_BANKS - 1)
#define LAST_BANK_MSR  (MSR_MC0_CTL + CORBEL_MCE_BANKS * 4 - 1)

#define MCG_EXT	   GENMASK(23, 16) /* number of extended state MSRs: KVM does not care */
#define HWCR_WRITE BIT(18)	   /* McStatusWrEn, AMD */
#define HWCR_VALID (HWCR_TSC | HWCR_WRITE)
/* FFDIS, IGNNE_EM, TLBCACHEDIS: may be set, and change nothing */
#define HWCR_QUIRKS (BIT(8) | BIT(6) | BIT(3))

/* Guests clear single bits of MCi_CTL to work around faults of real machines' banks. */
#define MCI_CTL_QUIRKS (BIT(10) | BIT(0))

static u32 bank_count(const struct vcpu *v)
{
	u32 n = v->mce.cap & MCG_BANKS;

	BUG_ON(n > CORBEL_MCE_BANKS);
	return n;
}

/*
 * Where an MSR lies. NULL, and *err: -ENOENT, it is none of these; -EINVAL, the vCPU does not have
 * it. There is no CMCI: guests have no MCi_CTL2, and in a VMM's eyes it is 0.
 */
static u64 *find_msr(struct vcpu *v, u32 msr, bool host, int *err)
{
	static u64 zero; /* and so it stays, see may_write() */
	struct mce *m = &v->mce;
	u32 at = msr - MSR_MC0_CTL;

	*err = -ENOENT;
	if (v->vm->is_dom0)
		return NULL;
	*err = -EINVAL;
	switch (msr) {
	case MSR_P5_MC_ADDR:
	case MSR_P5_MC_TYPE:
		return &zero;
	case MSR_HWCR:
		return &m->hwcr;
	case MSR_MCG_CAP:
		return &m->cap;
	case MSR_MCG_STATUS:
		return &m->status;
	case MSR_MCG_CTL:
		return m->cap & MCG_CTL_P || host ? &m->ctl : NULL;
	case MSR_MC0_CTL2 ... LAST_CTL2:
		return host && msr - MSR_MC0_CTL2 < bank_count(v) ? &zero : NULL;
	case MSR_MC0_CTL ... LAST_BANK_MSR:
		return at < bank_count(v) * 4 ? &m->bank[at / 4][at % 4] : NULL;
	}
	*err = -ENOENT;
	return NULL;
}

int mce_msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	const u64 *reg;
	int err;

	reg = find_msr(v, msr, host, &err);
	if (!reg)
		return err;
	*val = *reg;
	return 0;
}

static bool is_amd(const struct vcpu *v)
{
	const struct corbel_cpuid *c = cpuid_leaf(v, 0);

	return c && cpuid_is_amd(c->ebx);
}

/* Errors can be cleared; a guest can make some up only where AMD's CPUs let it. */
static bool may_write_bank(const struct vcpu *v, u32 which, u64 val, bool host)
{
	if (which == MCI_CTL)
		return !val || (val | MCI_CTL_QUIRKS) == ~0ull;
	if (which == MCI_STATUS && val && !host)
		return is_amd(v) && v->mce.hwcr & HWCR_WRITE;
	return true;
}

/* May it have this value? What is not listed may have any. */
static bool may_write(const struct vcpu *v, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_P5_MC_ADDR:
	case MSR_P5_MC_TYPE:
	case MSR_MCG_CAP:
		return false;
	case MSR_HWCR:
		return !(val & ~(HWCR_VALID | HWCR_QUIRKS));
	case MSR_MCG_CTL:
		return !val || (val == ~0ull && v->mce.cap & MCG_CTL_P);
	case MSR_MC0_CTL2 ... LAST_CTL2:
		return !val;
	case MSR_MC0_CTL ... LAST_BANK_MSR:
		return may_write_bank(v, (msr - MSR_MC0_CTL) % 4, val, host);
	}
	return true;
}

int mce_msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	u64 *reg;
	int err;

	reg = find_msr(v, msr, host, &err);
	if (!reg)
		return err;
	if (!may_write(v, msr, val, host))
		return -EINVAL;
	if (msr == MSR_HWCR)
		val &= HWCR_VALID;
	*reg = val;
	return 0;
}

void mce_reset(struct vcpu *v)
{
	v->mce.status = 0; /* what the banks hold outlives a reset */
	v->mce.hwcr = HWCR_TSC;
	if (!v->mce.cap)
		v->mce.cap = CORBEL_MCE_BANKS;
}

int mce_setup(struct vcpu *v, u64 cap)
{
	u32 n = cap & MCG_BANKS;

	if (!n || n > CORBEL_MCE_BANKS || cap & ~(CORBEL_MCE_CAPS | MCG_BANKS | MCG_EXT))
		return -EINVAL;
	v->mce.cap = cap;
	if (cap & MCG_CTL_P)
		v->mce.ctl = ~0ull;
	for (u32 i = 0; i < n; i++)
		v->mce.bank[i][MCI_CTL] = ~0ull;
	return 0;
}

/* Uncorrected, but nobody is waiting for the data: not reported by an exception. */
static bool needs_no_action(const struct corbel_mce *e)
{
	return !e->mcg_status && e->status & MCI_UC && !(e->status & (MCI_PCC | MCI_S | MCI_AR));
}

static void put_error(struct vcpu *v, const struct corbel_mce *e)
{
	u64 *bank = v->mce.bank[e->bank];
	bool lost = bank[MCI_STATUS] & MCI_VAL;

	bank[MCI_STATUS] = e->status;
	if (lost)
		bank[MCI_STATUS] |= MCI_OVER;
	bank[MCI_ADDR] = e->addr;
	bank[MCI_MISC] = e->misc;
}

static void report_uncorrected(struct vcpu *v, const struct corbel_mce *e)
{
	struct mce *m = &v->mce;

	if ((m->cap & MCG_CTL_P && m->ctl != ~0ull) || m->bank[e->bank][MCI_CTL] != ~0ull)
		return; /* reporting is off */
	if (m->status & MCG_MCIP || !(hvm->get(v, HVM_CR4) & CR4_MCE)) {
		vcpu_shutdown(v);
		return;
	}
	put_error(v, e);
	m->status = e->mcg_status;
	vcpu_inject_exception(v, VEC_MC, false, 0);
}

int mce_set(struct vcpu *v, const struct corbel_mce *e)
{
	u64 *bank;

	if (e->bank >= bank_count(v) || !(e->status & MCI_VAL))
		return -EINVAL;
	bank = v->mce.bank[e->bank];
	if (needs_no_action(e)) {
		bank[MCI_STATUS] = 0; /* no overflow is noted */
		put_error(v, e);
		v->mce.status = 0;
	} else if (e->status & MCI_UC) {
		report_uncorrected(v, e);
	} else if ((bank[MCI_STATUS] & (MCI_VAL | MCI_UC)) == (MCI_VAL | MCI_UC)) {
		bank[MCI_STATUS] |= MCI_OVER; /* the graver error stays */
	} else {
		put_error(v, e);
	}
	return 0;
}
