/* SPDX-License-Identifier: GPL-2.0-only */
/* MSR policy: what is listed is allowed, everything else is #GP. */
#include "hv/guest/msr.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

/* 0x250, 0x258, 0x259, 0x268..0x26f */
static int fixed_mtrr(u32 msr)
{
	if (msr == 0x250)
		return 0;
	if (msr == 0x258 || msr == 0x259)
		return msr - 0x258 + 1;
	if (msr >= 0x268 && msr <= 0x26f)
		return msr - 0x268 + 3;
	return -1;
}

static bool pat_valid(u64 pat)
{
	/* Eight bytes of 0, 1, 4, 5, 6 or 7: bit 1 only with bit 2. */
	return !(pat & 0xf8f8f8f8f8f8f8f8ull) && !((pat & 0x0202020202020202ull) << 1 & ~pat);
}

/* Stored for the guest, without effect; NULL if it is none of these. */
static u64 *stored(struct vcpu *v, u32 msr)
{
	int i = fixed_mtrr(msr);

	if (i >= 0)
		return &v->mtrr_fixed[i];
	if (msr >= MSR_MTRR_PHYS_BASE0 && msr <= MSR_MTRR_PHYS_LAST)
		return &v->mtrr_var[msr - MSR_MTRR_PHYS_BASE0];
	if (msr == MSR_MTRR_DEF_TYPE)
		return &v->mtrr_def_type;
	if (msr == MSR_MISC_ENABLE)
		return &v->misc_enable;
	return NULL;
}

/* Read as a constant, writes ignored; dom0 reads the machine's own value where there is one. */
static const struct {
	u32 first, last;
	bool dom0_reads;
	u64 value;
} constants[] = {
    {0x17, 0x17, false, 0},		       /* platform id */
    {0x3a, 0x3a, false, 1},		       /* feature control: locked, VMX off */
    {0x8b, 0x8b, true, 0},		       /* microcode level */
    {MSR_MTRR_CAP, MSR_MTRR_CAP, true, 0x508}, /* 8 variable, fixed, WC */
    {0x179, 0x17b, false, 0},		       /* machine check: no banks, for dom0 */
    {0x400, 0x47f, false, 0},
    {0x1d9, 0x1d9, false, 0},			      /* debug control: LBR, BTF not offered */
    {0x1db, 0x1de, false, 0},			      /* last branch, last exception */
    {0xc0010000, 0xc0010007, false, 0},		      /* AMD performance counters: none */
    {0xc0010010, 0xc0010010, true, 0},		      /* SYSCFG */
    {0xc0010015, 0xc0010015, false, BIT(24)},	      /* HWCR: TSC runs at P0 frequency */
    {0xc001001a, 0xc001001a, true, 0},		      /* TOP_MEM */
    {0xc001001d, 0xc001001d, true, 0},		      /* TOP_MEM2 */
    {0xc001001f, 0xc001001f, false, 0},		      /* NB_CFG */
    {0xc0010055, 0xc0010055, false, 0},		      /* interrupt pending message */
    {0xc0010058, 0xc0010058, true, 0},		      /* MMIO configuration base */
    {0xc0010112, 0xc0010113, true, 0},		      /* TSEG */
    {0xc0010114, 0xc0010114, false, BIT(4) | BIT(3)}, /* VM_CR: SVM disabled and locked */
    {0xc0010140, 0xc0010141, true, 0},		      /* OSVW */
    {0xc0011020, 0xc0011029, false, BIT(1)},	      /* LS_CFG .. DE_CFG: LFENCE is serializing */
};

static int constant(struct vcpu *v, u32 msr, u64 *val)
{
	for (u32 i = 0; i < ARRAY_SIZE(constants); i++) {
		if (msr < constants[i].first || msr > constants[i].last)
			continue;
		if (!v->vm->is_dom0 || !constants[i].dom0_reads || rdmsr_safe(msr, val))
			*val = constants[i].value;
		return 0;
	}
	return -EINVAL;
}

int msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	u64 *slot;

	if ((msr >= 0x800 && msr < 0x900) || msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE)
		return lapic_msr_read(v, msr, val);
	if (pv_is_msr(msr))
		return pv_msr_read(v, msr, val);
	switch (msr) {
	case MSR_TSC:
		*val = vcpu_tsc(v, rdtsc());
		return 0;
	case MSR_EFER:
		*val = hvm->get(v, HVM_EFER);
		return 0;
	case MSR_PAT:
		*val = v->pat;
		return 0;
	case MSR_TSC_AUX:
		*val = v->tsc_aux;
		return has_rdtscp ? 0 : -EINVAL;
	case MSR_XSS:
		*val = 0;
		return has_xsaves ? 0 : -EINVAL;
	}
	if (mce_is_msr(v, msr))
		return mce_msr_read(v, msr, val, false);
	slot = stored(v, msr);
	if (slot) {
		if (v->vm->is_dom0 && msr != MSR_MISC_ENABLE)
			return rdmsr_safe(msr, val) ? -EINVAL : 0;
		*val = *slot;
		return 0;
	}
	if (!hvm->msr_get(v, msr, val))
		return 0;
	if (!constant(v, msr, val))
		return 0;
	if (vm_may_log(v->vm))
		log_debug("vm %u: read of MSR %x refused", v->vm->id, msr);
	return -EINVAL;
}

static void set_tsc_offset(struct vcpu *v, u64 offset)
{
	v->tsc_offset = offset;
	hvm->set_tsc(v);
	v->pv.clock_dirty = true;
	vcpu_note(v, DUE_LOOK);
	lapic_tsc_changed(v);
}

/*
 * A VMM writes a state, not a transition: what LME and paging make together is looked at when the
 * guest is entered.
 */
static int write_efer(struct vcpu *v, u64 val, bool host)
{
	u64 old = hvm->get(v, HVM_EFER);
	u64 allowed = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | (v->ffxsr ? EFER_FFXSR : 0);

	if (val & ~allowed)
		return -EINVAL;
	if (!host && (hvm->get(v, HVM_CR0) & CR0_PG) && ((old ^ val) & EFER_LME))
		return -EINVAL;
	hvm->set(v, HVM_EFER, (val & ~EFER_LMA) | (old & EFER_LMA));
	return 0;
}

static bool canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16) == a;
}

/* MSRs that hold a linear address: a non-canonical one would fail at VM entry or in the CPU. */
static bool holds_address(u32 msr)
{
	return msr == 0xc0000082 || msr == 0xc0000083 || (msr >= 0xc0000100 && msr <= 0xc0000102) ||
	       msr == 0x175 || msr == 0x176;
}

int msr_write(struct vcpu *v, u32 msr, u64 val)
{
	u64 *slot, dummy;

	if (msr >= 0x800 && msr < 0x900)
		return lapic_msr_write(v, msr, val);
	switch (msr) {
	case MSR_APIC_BASE:
	case MSR_TSC_DEADLINE:
		return lapic_msr_write(v, msr, val);
	case MSR_TSC:
		if (!v->vm->is_dom0) /* dom0's TSC is the machine's */
			set_tsc_offset(v, val - scale_tsc(rdtsc(), v->tsc_mul));
		return 0;
	case MSR_EFER:
		return write_efer(v, val, false);
	case MSR_PAT:
		if (!pat_valid(val))
			return -EINVAL;
		v->pat = val;
		hvm->msr_set(v, msr, val);
		return 0;
	case MSR_TSC_AUX:
		if (!has_rdtscp || val >> 32)
			return -EINVAL;
		v->tsc_aux = val;
		if (this_cpu()->loaded == v)
			wrmsr(MSR_TSC_AUX, this_cpu()->tsc_aux = val);
		return 0;
	case MSR_XSS:
		return has_xsaves && !val ? 0 : -EINVAL;
	case 0x79: /* microcode update: not through us */
		return 0;
	}
	if (pv_is_msr(msr))
		return pv_msr_write(v, msr, val);
	if (mce_is_msr(v, msr))
		return mce_msr_write(v, msr, val, false);
	slot = stored(v, msr);
	if (slot) {
		*slot = val;
		return 0;
	}
	if (holds_address(msr) && !canonical(val))
		return -EINVAL;
	if (msr != 0x1d9 && !hvm->msr_set(v, msr, val))
		return 0;
	if (!constant(v, msr, &dummy))
		return 0;
	if (vm_may_log(v->vm))
		log_debug("vm %u: write of MSR %x refused", v->vm->id, msr);
	return -EINVAL;
}

int msr_read_host(struct vcpu *v, u32 msr, u64 *val)
{
	return mce_is_msr(v, msr) ? mce_msr_read(v, msr, val, true) : msr_read(v, msr, val);
}

/*
 * vCPUs of one VM whose TSCs are set within a second of guest time of each other mean the same
 * moment: they get one offset, or the guest would see its clocks apart by the time between two
 * ioctls. 0, which a new vCPU begins with, means the VM's clock whenever it is written, as in KVM.
 */
static void write_tsc_host(struct vcpu *v, u64 val)
{
	u64 offset = val - scale_tsc(rdtsc(), v->tsc_mul);
	s64 apart = offset - v->vm->tsc_offset_base, second = v->tsc_khz * 1000ll;
	bool same_moment = !val || (apart <= second && apart >= -second);

	if (!v->vm->tsc_offset_set || v->vm->tsc_mul_base != v->tsc_mul || !same_moment) {
		v->vm->tsc_offset_base = offset;
		v->vm->tsc_mul_base = v->tsc_mul;
		v->vm->tsc_offset_set = true;
	}
	set_tsc_offset(v, v->vm->tsc_offset_base);
}

int msr_set_tsc_khz(struct vcpu *v, u64 khz)
{
	u64 now = vcpu_tsc(v, rdtsc()), mul = 0, slack = tsc_khz / 4000;

	if (!khz)
		khz = tsc_khz;
	if (khz != tsc_khz)
		mul = scale_tsc_mul(khz, tsc_khz, hvm_caps.tsc_frac);
	if (!mul && (khz <= tsc_khz - slack || khz >= tsc_khz + slack))
		return -EINVAL;
	if (mul == v->tsc_mul)
		return 0;
	v->tsc_mul = mul;
	v->tsc_khz = mul ? khz : tsc_khz;
	write_tsc_host(v, now);
	return 0;
}

int msr_write_host(struct vcpu *v, u32 msr, u64 val)
{
	switch (msr) {
	case MSR_TSC:
		write_tsc_host(v, val);
		return 0;
	case MSR_APIC_BASE:
		return lapic_set_base(v, val, true);
	case MSR_EFER:
		return write_efer(v, val, true);
	}
	return mce_is_msr(v, msr) ? mce_msr_write(v, msr, val, true) : msr_write(v, msr, val);
}

static const u32 saved_msrs[] = {
    MSR_TSC, 0x174,	 0x175,	     0x176,	 MSR_PAT,    MSR_MISC_ENABLE, MSR_TSC_AUX,
    MSR_XSS, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102,      MSR_TSC_DEADLINE,
    0x11,    0x12,	 0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d04,      0x4b564d05,
    0x17a,   0x17b,	 0xc0010015, /* machine checks; the banks are for the VMM to know */
};

u32 msr_list(u32 *out, u32 first, u32 max)
{
	u32 n = 0;

	for (u32 i = first; i < ARRAY_SIZE(saved_msrs) && n < max; i++)
		if ((saved_msrs[i] != MSR_TSC_AUX || has_rdtscp) &&
		    (saved_msrs[i] != MSR_XSS || has_xsaves))
			out[n++] = saved_msrs[i];
	return n;
}
