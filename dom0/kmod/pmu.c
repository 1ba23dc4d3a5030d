// SPDX-License-Identifier: GPL-2.0-only
/*
 * Performance counters of guests: KVM_SET_PMU_EVENT_FILTER and KVM_CAP_PMU_CAPABILITY. The
 * hypervisor decides by them; here they are checked, and kept until there is a VM to hand them to.
 */
#include "kmod.h"

#include <linux/sort.h>

static_assert(sizeof(struct corbel_pmu_filter) <= PAGE_SIZE);
static_assert(KVM_PMU_EVENT_ALLOW + 1 == CORBEL_PMU_ALLOW &&
	      KVM_PMU_EVENT_DENY + 1 == CORBEL_PMU_DENY);

static int tell_filter(const struct cb_vm *vm, u32 id, const struct corbel_pmu_filter *f)
{
	long r = HC2(PMU_FILTER, id, cb_phys((void *)f));

	return r < 0 ? cb_account_refused(vm->account, r, 0) : 0;
}

static int tell_none(const struct cb_vm *vm, u32 id)
{
	struct corbel_pmu_filter *f = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	int r;

	if (!f)
		return -ENOMEM;
	f->action = CORBEL_PMU_NONE;
	r = tell_filter(vm, id, f);
	free_page((unsigned long)f);
	return r;
}

int cb_pmu_realize(const struct cb_vm *vm, u32 id)
{
	if (vm->no_pmu)
		return tell_none(vm, id);
	return vm->pmu_filter ? tell_filter(vm, id, vm->pmu_filter) : 0;
}

void cb_pmu_exit(struct cb_vm *vm)
{
	free_page((unsigned long)vm->pmu_filter);
}

static int replace_locked(struct cb_vm *vm, struct corbel_pmu_filter *f)
{
	int r;

	lockdep_assert_held(&vm->lock);
	/* without a PMU there is nothing that could count */
	r = vm->id && !vm->no_pmu ? tell_filter(vm, vm->id, f) : 0;
	if (r) {
		free_page((unsigned long)f);
		return r;
	}
	cb_pmu_exit(vm);
	vm->pmu_filter = f;
	return 0;
}

static int compare_events(const void *a, const void *b)
{
	u64 left = *(const u64 *)a, right = *(const u64 *)b;

	return (left > right) - (left < right);
}

int cb_pmu_set_filter(struct cb_vm *vm, const struct kvm_pmu_event_filter __user *arg)
{
	struct kvm_pmu_event_filter head;
	struct corbel_pmu_filter *f;
	int r;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.action > KVM_PMU_EVENT_DENY || head.flags)
		return -EINVAL;
	if (head.nevents > CORBEL_PMU_EVENTS)
		return -E2BIG;
	f = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->action = head.action + 1;
	f->count = head.nevents;
	f->fixed = head.fixed_counter_bitmap;
	if (copy_from_user(f->event, arg->events, head.nevents * sizeof(u64))) {
		free_page((unsigned long)f);
		return -EFAULT;
	}
	sort(f->event, f->count, sizeof(u64), compare_events, NULL);
	mutex_lock(&vm->lock);
	r = replace_locked(vm, f);
	mutex_unlock(&vm->lock);
	return r;
}

/* Before there are vCPUs. A filter that has been set stays, for whoever may count after all. */
int cb_pmu_set_capability(struct cb_vm *vm, u64 how)
{
	int r = -EINVAL;

	if (!cb_has_pmu() || how & ~(u64)KVM_PMU_CAP_DISABLE)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (!vm->id) {
		vm->no_pmu = how;
		r = 0;
	}
	mutex_unlock(&vm->lock);
	return r;
}
