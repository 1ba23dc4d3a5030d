/* SPDX-License-Identifier: GPL-2.0-only */
/* MSR policy: what is listed is allowed, everything else is #GP. */
#include "hv/guest/msr.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/hyperv.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/rights.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

/* SDM "MTRRs": types 0, 1, 4, 5 and 6; other bits are reserved. */
static bool mtrr_type_valid(u64 type)
{
	return type < 8 && BIT(type) & (GENMASK(1, 0) | GENMASK(6, 4));
}

#define MTRR_DEF_BITS	   (GENMASK(11, 10) | GENMASK(7, 0))
#define MTRR_BASE_RESERVED GENMASK(11, 8)
#define MTRR_MASK_RESERVED GENMASK(10, 0)

/* May this be stored there? A guest's own platform is its VMM's to tell. */
static bool stored_valid(const struct vcpu *v, u32 msr, u64 val, bool host)
{
	u64 reserved = ~GENMASK(phys_bits - 1, 0);

	switch (msr) {
	case MSR_MTRR_FIX_64K ... MSR_MTRR_FIX_4K + 7:
		for (u32 i = 0; i < 8; i++)
			if (!mtrr_type_valid(val >> 8 * i & 0xff))
				return false;
		return true;
	case MSR_MTRR_PHYS_BASE0 ... MSR_MTRR_PHYS_LAST:
		if (msr & 1)
			return !(val & (reserved | MTRR_MASK_RESERVED));
		return mtrr_type_valid(val & 0xff) && !(val & (reserved | MTRR_BASE_RESERVED));
	case MSR_MTRR_DEF_TYPE:
		return !(val & ~MTRR_DEF_BITS) && mtrr_type_valid(val & 0xff);
	case MSR_PLATFORM_INFO:
		return host && (val & CPUID_CAN_FAULT || !v->misc_features);
	case MSR_FEATURE_CONTROL:
		return !(val & ~(FEATURE_LOCK | FEATURE_VMX)) &&
		       (host || !(v->feature_control & FEATURE_LOCK));
	case MSR_MISC_FEATURES:
		return !val || (val == CPUID_FAULTS && v->platform_info & CPUID_CAN_FAULT);
	}
	return true;
}

/* Stored for the guest, without effect; NULL if it is none of these. */
static u64 *stored_msr(struct vcpu *v, u32 msr)
{
	switch (msr) {
	case MSR_MTRR_FIX_64K:
		return &v->mtrr_fixed[0];
	case MSR_MTRR_FIX_16K ... MSR_MTRR_FIX_16K + 1:
		return &v->mtrr_fixed[1 + msr - MSR_MTRR_FIX_16K];
	case MSR_MTRR_FIX_4K ... MSR_MTRR_FIX_4K + 7:
		return &v->mtrr_fixed[3 + msr - MSR_MTRR_FIX_4K];
	case MSR_MTRR_PHYS_BASE0 ... MSR_MTRR_PHYS_LAST:
		return &v->mtrr_var[msr - MSR_MTRR_PHYS_BASE0];
	case MSR_MTRR_DEF_TYPE:
		return &v->mtrr_def_type;
	case MSR_MISC_ENABLE:
		return &v->misc_enable;
	}
	if (v->vm->is_dom0) /* it would take these for the machine's */
		return NULL;
	switch (msr) {
	case MSR_POWER_CTL:
		return &v->power_ctl;
	case MSR_PLATFORM_INFO:
		return &v->platform_info;
	case MSR_MISC_FEATURES:
		return &v->misc_features;
	case MSR_FEATURE_CONTROL: /* as CR4, a VMM may set it before it sets CPUID */
		return v->rights.vmx || !v->cpuid_count ? &v->feature_control : NULL;
	}
	return NULL;
}

/*
 * Read as a constant, writes ignored or, of those to be read only, refused to guests but for the
 * constant. dom0 reads the machine's own value of some: hv/dom0/machine_msr.c.
 */
static const struct constant {
	u32 first;
	u64 value;
	u32 more; /* as many follow that are the same */
	bool read_only;
} constants[] = {
    {MSR_PLATFORM_ID},
    {MSR_SMI_COUNT, .read_only = true},
    {MSR_FEATURE_CONTROL, FEATURE_LOCK, .read_only = true}, /* VMX off */
    {MSR_UCODE_REV},
    {MSR_PLATFORM_INFO, .read_only = true},		     /* dom0's */
    {MSR_MTRR_CAP, 0x508, .read_only = true},		     /* 8 variable, fixed, WC */
    {MSR_MISC_FEATURES, .read_only = true},		     /* dom0's CPUID does not fault */
    {MSR_PERF_STATUS, 4ull << 40 | 1000, .read_only = true}, /* performance status, as in KVM */
    {MSR_PERF_CTL},
    {MSR_MCG_CAP, .more = 2}, /* machine check: no banks, for dom0 */
    {MSR_MC0_CTL, .more = 0x7f},
    {MSR_DEBUGCTL}, /* LBR, BTF not offered */
    {MSR_LAST_BRANCH, .more = 3},
    {MSR_AMD_EVENT_SELECT, .more = 7},
    {MSR_SYSCFG},
    {MSR_HWCR, HWCR_TSC},
    {MSR_TOP_MEM},
    {MSR_TOP_MEM2},
    {MSR_NB_CFG},
    {MSR_INT_PENDING},
    {MSR_MMIO_CFG_BASE},
    {MSR_SMM_ADDR, .more = 1},
    {MSR_VM_CR, VM_CR_SVMDIS | VM_CR_LOCK}, /* SVM disabled and locked */
    {MSR_OSVW_LENGTH, .more = 1},
    {MSR_LS_CFG, BIT(1), .more = 9}, /* LS_CFG .. DE_CFG: LFENCE is serializing */
};

static const struct constant *constant_of(u32 msr)
{
	for (u32 i = 0; i < ARRAY_SIZE(constants); i++)
		if (msr - constants[i].first <= constants[i].more)
			return &constants[i];
	return NULL;
}

/* It is no vCPU's. */
static int refuse_msr(struct vcpu *v, u32 msr, const char *what)
{
	if (!module_has_msr(v, msr) && vm_may_log(v->vm, VM_LOG_LINE))
		log_debug("vm %u: %s of MSR %x refused", v->vm->id, what, msr);
	return -ENOENT;
}

/* ---- speculation; -ENOENT: not one of these ---- */

static int spec_read(const struct vcpu *v, u32 msr, u64 *val, bool host)
{
	switch (msr) {
	case MSR_SPEC_CTRL:
		*val = v->spec_ctrl;
		return v->rights.spec_ctrl || (host && spec.guest) ? 0 : -EINVAL;
	case MSR_VIRT_SPEC_CTRL:
		*val = v->ssbd ? SPEC_CTRL_SSBD : 0;
		return v->rights.virt_ssbd || (host && spec.ssbd_msr) ? 0 : -EINVAL;
	case MSR_ARCH_CAPABILITIES:
		*val = spec.arch & ~v->arch_hidden;
		return v->rights.arch_cap || host ? 0 : -EINVAL;
	case MSR_PRED_CMD:
	case MSR_FLUSH_CMD:
		return -EINVAL; /* to be written only */
	}
	return -ENOENT;
}

/* A VMM restores a state; what it can do to the CPU is not part of that. */
static int spec_command(u32 msr, u64 val, bool right, bool host)
{
	if (!right || val & ~BIT(0))
		return -EINVAL;
	if (val && !host)
		wrmsr(msr, val);
	return 0;
}

static int spec_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_SPEC_CTRL:
		if (!spec.guest || val & ~(host ? spec.guest : v->rights.spec_ctrl) ||
		    !(host || v->rights.spec_ctrl))
			return -EINVAL;
		v->spec_ctrl = val;
		if (this_cpu()->loaded == v)
			spec_set(val);
		return 0;
	case MSR_VIRT_SPEC_CTRL:
		if (val & ~SPEC_CTRL_SSBD || !(v->rights.virt_ssbd || (host && spec.ssbd_msr)))
			return -EINVAL;
		v->ssbd = val;
		if (this_cpu()->loaded == v)
			spec_set_ssbd(val);
		return 0;
	case MSR_PRED_CMD:
		return spec_command(msr, val, v->rights.pred_cmd, host);
	case MSR_FLUSH_CMD:
		return spec_command(msr, val, v->rights.flush_cmd, host);
	case MSR_ARCH_CAPABILITIES:
		if (!host || val & ~spec.arch)
			return -EINVAL;
		v->arch_hidden = spec.arch & ~val;
		return 0;
	}
	return -ENOENT;
}

/* Apart, so that the frequent ones need to save no registers; as is write_other(). */
static __noinline int read_other(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	const u64 *slot = stored_msr(v, msr);
	const struct constant *c;
	bool hidden;
	int ret = host || pv_allows_msr(v, msr) ? pv_msr_read(v, msr, val) : -EINVAL;

	if (ret == -ENOENT)
		ret = mce_msr_read(v, msr, val, host);
	if (ret == -ENOENT)
		ret = spec_read(v, msr, val, host);
	if (ret == -ENOENT)
		ret = hyperv_msr_read(v, msr, val);
	if (ret == -ENOENT)
		ret = pmu_msr_read(v, msr, val, host);
	if (ret == -ENOENT && v->vm->is_dom0)
		ret = v->vm->ops->msr(msr, false, val);
	if (ret != -ENOENT)
		return ret;
	if (slot) {
		*val = *slot;
		hidden = msr == MSR_PLATFORM_INFO && v->services & CORBEL_KVM_NO_PLATFORM_INFO;
		return hidden && !host ? -EINVAL : 0;
	}
	if (!hvm->msr_get(v, msr, val))
		return 0;
	c = constant_of(msr);
	if (!c)
		return refuse_msr(v, msr, "read");
	*val = c->value;
	return 0;
}

int msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	switch (msr) {
	case MSR_APIC_BASE:
	case MSR_TSC_DEADLINE:
	case MSR_X2APIC ... MSR_X2APIC_LAST:
		return lapic_msr_read(v, msr, val);
	case MSR_TSC:
		*val = vcpu_tsc(v, rdtsc());
		if (!host)
			*val += v->nested_tsc;
		return 0;
	case MSR_TSC_ADJUST:
		if (v->vm->is_dom0)
			break;
		*val = v->tsc_adjust;
		return 0;
	case MSR_EFER:
		*val = hvm->get(v, HVM_EFER);
		return 0;
	case MSR_PAT:
		*val = v->pat;
		return 0;
	case MSR_TSC_AUX:
		*val = v->tsc_aux;
		return v->rights.tsc_aux || (host && has_rdtscp) ? 0 : -EINVAL;
	case MSR_XSS:
		*val = 0;
		return v->rights.xss || (host && has_xsaves) ? 0 : -EINVAL;
	case MSR_CORE_C3 ... MSR_CORE_C7:
	case MSR_CORE_C1:
		if (v->vm->flags & CORBEL_VM_CSTATE && !host)
			return rdmsr_safe(msr, val);
	}
	return read_other(v, msr, val, host);
}

static void set_tsc_offset(struct vcpu *v, u64 offset)
{
	bool moves = v->tsc_offset != offset;

	WRITE_ONCE(v->tsc_offset, offset);
	hvm->set_tsc(v);
	if (moves)
		pv_clock_renew(v->vm); /* of all: whether they agree is told there */
	lapic_tsc_changed(v);
}

/* SDM "IA32_TSC_ADJUST Register Support": a guest's own write to either is seen in both. */
static void move_tsc(struct vcpu *v, u64 by)
{
	v->tsc_adjust += by;
	set_tsc_offset(v, v->tsc_offset + by);
}

/*
 * A VMM writes a state, not a transition: what LME and paging make together is looked at when the
 * guest is entered.
 */
static int write_efer(struct vcpu *v, u64 val, bool host)
{
	u64 old = hvm->get(v, HVM_EFER);
	u64 allowed = v->rights.efer;

	if (host)
		allowed |= EFER_LME | EFER_LMA | EFER_NXE;
	if (val & ~allowed)
		return -EINVAL;
	if (!host && (hvm->get(v, HVM_CR0) & CR0_PG) && ((old ^ val) & EFER_LME))
		return -EINVAL;
	if (!host && v->guest_mode && v->rights.svm && !(val & EFER_SVME)) /* its host's */
		return -EINVAL;
	hvm->set(v, HVM_EFER, (val & ~EFER_LMA) | (old & EFER_LMA));
	return 0;
}

/* What siblings set to nearly the same are to mean. */
static void note_vm_tsc(struct vcpu *v, u64 offset)
{
	struct vm *vm = v->vm;

	ASSERT_HELD(&vm->tsc_lock);
	vm->tsc_offset_base = vm->tsc_offset_last = offset;
	vm->tsc_mul_base = v->tsc_mul;
	vm->tsc_offset_set = true;
}

/*
 * vCPUs of one VM whose TSCs are set within a second of guest time of the last one mean the same
 * moment: they get one offset, or the guest would see its clocks apart by the time between two
 * ioctls. 0, which a new vCPU begins with, means the VM's clock whenever it is written, as in KVM.
 * restored: by a VMM, of a VM that may have stopped when it was as young as this one is now: what
 * the new vCPUs began with is no such moment.
 */
static void set_vm_tsc(struct vcpu *v, u64 val, bool restored)
{
	struct vm *vm = v->vm;
	u64 offset = val - scale_tsc(rdtsc(), v->tsc_mul);
	s64 apart, second = v->tsc_khz * 1000ll;
	bool near;

	lock_acquire(&vm->tsc_lock); /* threads of a VMM set their vCPUs' at once */
	apart = offset - vm->tsc_offset_last;
	near = apart <= second && apart >= -second && (vm->tsc_restored || !restored);
	if (vm->tsc_offset_set && vm->tsc_mul_base == v->tsc_mul && (!val || near)) {
		vm->tsc_offset_last = val ? offset : vm->tsc_offset_base;
		offset = vm->tsc_offset_base;
	} else {
		note_vm_tsc(v, offset);
	}
	vm->tsc_restored |= restored && val;
	lock_release(&vm->tsc_lock);
	set_tsc_offset(v, offset);
}

void msr_set_tsc_offset(struct vcpu *v, u64 offset)
{
	lock_acquire(&v->vm->tsc_lock);
	note_vm_tsc(v, offset);
	v->vm->tsc_restored = true;
	lock_release(&v->vm->tsc_lock);
	set_tsc_offset(v, offset);
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
	set_vm_tsc(v, now, false);
	pv_clock_renew(v->vm);
	return 0;
}

static __noinline int write_other(struct vcpu *v, u32 msr, u64 val, bool host)
{
	u64 *slot = stored_msr(v, msr);
	const struct constant *c;
	int ret = host || pv_allows_msr(v, msr) ? pv_msr_write(v, msr, val) : -EINVAL;

	if (ret == -ENOENT)
		ret = mce_msr_write(v, msr, val, host);
	if (ret == -ENOENT)
		ret = spec_write(v, msr, val, host);
	if (ret == -ENOENT)
		ret = hyperv_msr_write(v, msr, val);
	if (ret == -ENOENT)
		ret = pmu_msr_write(v, msr, val, host);
	if (ret == -ENOENT && v->vm->is_dom0)
		ret = v->vm->ops->msr(msr, true, &val);
	if (ret != -ENOENT)
		return ret;
	if (slot) {
		if (!stored_valid(v, msr, val, host))
			return -EINVAL;
		*slot = val;
		if (msr == MSR_MISC_ENABLE)
			cpuid_follow_mwait(v);
		return 0;
	}
	if (msr != MSR_DEBUGCTL)
		ret = hvm->msr_set(v, msr, val);
	if (ret != -ENOENT)
		return ret;
	c = constant_of(msr);
	if (!c)
		return refuse_msr(v, msr, "write");
	return c->read_only && !host && !v->vm->is_dom0 && val != c->value ? -EINVAL : 0;
}

int msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_APIC_BASE:
	case MSR_TSC_DEADLINE:
	case MSR_X2APIC ... MSR_X2APIC_LAST:
		return lapic_msr_write(v, msr, val, host);
	case MSR_TSC:
		if (host)
			set_vm_tsc(v, val, true);
		else if (!v->vm->is_dom0) /* dom0's TSC is the machine's */
			move_tsc(v, val - vcpu_tsc(v, rdtsc()));
		return 0;
	case MSR_TSC_ADJUST:
		if (v->vm->is_dom0)
			break;
		if (host) /* what it has been moved by, by no more */
			v->tsc_adjust = val;
		else
			move_tsc(v, val - v->tsc_adjust);
		return 0;
	case MSR_EFER:
		return write_efer(v, val, host);
	case MSR_PAT:
		if (!pat_valid(val))
			return -EINVAL;
		v->pat = val;
		hvm->msr_set(v, msr, val);
		return 0;
	case MSR_TSC_AUX:
		if (!(v->rights.tsc_aux || (host && has_rdtscp)) || val >> 32)
			return -EINVAL;
		v->tsc_aux = val;
		if (this_cpu()->loaded == v)
			wrmsr(MSR_TSC_AUX, this_cpu()->tsc_aux = val);
		return 0;
	case MSR_XSS:
		return (v->rights.xss || (host && has_xsaves)) && !val ? 0 : -EINVAL;
	case MSR_UCODE_UPDATE: /* not through us */
		return 0;
	case MSR_VMX_BASIC ... MSR_VMX_LAST:
		if (!host)
			return -EINVAL;
		break;
	/* These hold linear addresses: others would fail at VM entry or in the CPU. */
	case MSR_SYSENTER_ESP ... MSR_SYSENTER_EIP:
	case MSR_LSTAR ... MSR_CSTAR:
	case MSR_FS_BASE ... MSR_KERNEL_GS_BASE:
		if (!is_canonical(val))
			return -EINVAL;
	}
	return write_other(v, msr, val, host);
}

static const u32 saved_msrs[] = {
    MSR_TSC,
    MSR_TSC_ADJUST,
    MSR_SYSENTER_CS,
    MSR_SYSENTER_ESP,
    MSR_SYSENTER_EIP,
    MSR_PAT,
    MSR_MISC_ENABLE,
    MSR_MISC_FEATURES,
    MSR_PLATFORM_INFO,
    MSR_POWER_CTL,
    MSR_TSC_AUX,
    MSR_XSS,
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_SFMASK,
    MSR_KERNEL_GS_BASE,
    MSR_TSC_DEADLINE,
    MSR_KVM_WALL_CLOCK_OLD,
    MSR_KVM_SYSTEM_TIME_OLD,
    MSR_KVM_WALL_CLOCK,
    MSR_KVM_SYSTEM_TIME,
    MSR_KVM_STEAL_TIME,
    MSR_KVM_PV_EOI,
    MSR_KVM_POLL_CONTROL,
    /* machine checks; the banks are for the VMM to know */
    MSR_MCG_STATUS,
    MSR_MCG_CTL,
    MSR_HWCR,
    MSR_SPEC_CTRL,
    MSR_VIRT_SPEC_CTRL,
    MSR_ARCH_CAPABILITIES,
    MSR_VM_HSAVE_PA,
    MSR_FEATURE_CONTROL,
};

u32 msr_list(u32 *out)
{
	u32 n = 0;

	for (u32 i = 0; i < ARRAY_SIZE(saved_msrs); i++)
		if ((saved_msrs[i] != MSR_TSC_AUX || has_rdtscp) &&
		    (saved_msrs[i] != MSR_XSS || has_xsaves) &&
		    (saved_msrs[i] != MSR_VM_HSAVE_PA || hvm_caps.nested_edx) &&
		    (saved_msrs[i] != MSR_FEATURE_CONTROL || hvm_has_nested_vmx()) &&
		    (saved_msrs[i] != MSR_SPEC_CTRL || spec.guest) &&
		    (saved_msrs[i] != MSR_VIRT_SPEC_CTRL || spec.ssbd_msr) &&
		    (saved_msrs[i] != MSR_ARCH_CAPABILITIES || spec.arch))
			out[n++] = saved_msrs[i];
	return n;
}
