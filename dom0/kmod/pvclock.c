// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_KVMCLOCK_CTRL: a flag in a guest's kvmclock says that it stood still, so that its watchdogs
 * do not bark. The clock is the hypervisor's to write, the guest clears the flag.
 */
#include "kmod.h"

#include <asm/kvm_para.h>
#include <asm/pvclock-abi.h>

typedef struct pvclock_vcpu_time_info clock;

static unsigned long user_address(struct cb_vm *vm, u64 gpa, size_t offset)
{
	return cb_mem_user_address(vm, gpa + offset);
}

/* The clock's MSR, or 0. What is in the data page stays: it may belong to an access. */
static u64 clock_msr(struct cb_vcpu *v)
{
	struct corbel_msr *m = (void *)v->data, before = *m;
	u64 val = 0;

	*m = (struct corbel_msr){.index = MSR_KVM_SYSTEM_TIME_NEW};
	if (HC3(VCPU_GET, v->id, CORBEL_STATE_MSRS, 1) == 1)
		val = m->data;
	*m = before;
	return val & KVM_MSR_ENABLED ? val : 0;
}

static bool read_version(struct cb_vm *vm, u64 gpa, u32 *version)
{
	unsigned long at = user_address(vm, gpa, offsetof(clock, version));

	return at && !get_user(*version, (u32 __user *)at);
}

static bool set_flag(struct cb_vm *vm, u64 gpa)
{
	unsigned long at = user_address(vm, gpa, offsetof(clock, flags));
	u8 flags;

	if (!at || get_user(flags, (u8 __user *)at) ||
	    put_user(flags | PVCLOCK_GUEST_STOPPED, (u8 __user *)at))
		return false;
	cb_mem_mark_dirty(vm, gpa + offsetof(clock, flags));
	return true;
}

int cb_pvclock_stopped(struct cb_vcpu *v)
{
	u64 msr = clock_msr(v), gpa = msr & ~(u64)KVM_MSR_ENABLED;

	if (!msr || !read_version(v->vm, gpa, &v->clock_version) || !set_flag(v->vm, gpa))
		return -EINVAL;
	v->clock_told = true;
	return 0;
}

void cb_pvclock_tell_again(struct cb_vcpu *v)
{
	u64 msr = clock_msr(v), gpa = msr & ~(u64)KVM_MSR_ENABLED;
	u32 version;

	v->clock_told = false;
	if (msr && read_version(v->vm, gpa, &version) && version != v->clock_version)
		set_flag(v->vm, gpa);
}
