// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSRs that user space wants to see: KVM_X86_SET_MSR_FILTER and KVM_CAP_X86_USER_SPACE_MSR. The
 * hypervisor decides by them; here they are checked, and kept until there is a VM to hand them to.
 */
#include "kmod.h"

#define REASONS                                                                                    \
	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER)
#define BITMAP_MAX 0x600 /* bytes of a range's bitmap, as in KVM */

static_assert(KVM_MSR_FILTER_MAX_RANGES == CORBEL_MSR_RANGES);
static_assert(BITMAP_MAX * 8 == CORBEL_MSR_RANGE_MAX && BITMAP_MAX <= PAGE_SIZE);
static_assert(KVM_MSR_FILTER_READ == CORBEL_MSR_READ && KVM_MSR_FILTER_WRITE == CORBEL_MSR_WRITE);
static_assert(KVM_MSR_EXIT_REASON_INVAL == CORBEL_MSR_EXIT_INVALID &&
	      KVM_MSR_EXIT_REASON_UNKNOWN == CORBEL_MSR_EXIT_UNKNOWN &&
	      KVM_MSR_EXIT_REASON_FILTER == CORBEL_MSR_EXIT_FILTER);

static void free_filter(struct corbel_msr_filter *f)
{
	u32 i;

	if (!f)
		return;
	for (i = 0; i < f->count; i++)
		free_page((unsigned long)__va(f->range[i].bits));
	free_page((unsigned long)f);
}

static int take_range(struct corbel_msr_filter *f, const struct kvm_msr_filter_range *r)
{
	size_t bytes = BITS_TO_LONGS((u64)r->nmsrs) * sizeof(long);
	void *page;

	if (!r->nmsrs)
		return 0;
	if (!r->flags || (r->flags & ~(KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE)) ||
	    bytes > BITMAP_MAX)
		return -EINVAL;
	page = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!page)
		return -ENOMEM;
	f->range[f->count++] = (struct corbel_msr_range){
	    .base = r->base, .count = r->nmsrs, .how = r->flags, .bits = cb_phys(page)};
	return copy_from_user(page, r->bitmap, bytes) ? -EFAULT : 0;
}

/* ranges[i], of a 64-bit program or of a 32-bit one */
static int copy_range(struct kvm_msr_filter_range *r, const void __user *ranges, u32 i, bool compat)
{
	struct cb_msr_range_compat c;

	if (!compat)
		return copy_from_user(r, ranges + i * sizeof(*r), sizeof(*r)) ? -EFAULT : 0;
	if (copy_from_user(&c, ranges + i * sizeof(c), sizeof(c)))
		return -EFAULT;
	*r = (struct kvm_msr_filter_range){.flags = c.flags,
					   .nmsrs = c.nmsrs,
					   .base = c.base,
					   .bitmap = (__u8 __force *)compat_ptr(c.bitmap)};
	return 0;
}

static int tell_exits(const struct cb_vm *vm, u32 id)
{
	long r = HC3(MSR_FILTER, id, vm->msr_exits, vm->msr_filter ? cb_phys(vm->msr_filter) : 0);

	return r < 0 ? cb_account_refused(vm->account, r, 0) : 0;
}

int cb_msr_realize(const struct cb_vm *vm, u32 id)
{
	return vm->msr_exits || vm->msr_filter ? tell_exits(vm, id) : 0;
}

static int replace_filter(struct cb_vm *vm, struct corbel_msr_filter *new)
{
	struct corbel_msr_filter *old;
	int r;

	mutex_lock(&vm->lock);
	old = vm->msr_filter;
	vm->msr_filter = new;
	r = vm->id ? tell_exits(vm, vm->id) : 0;
	if (r)
		vm->msr_filter = old;
	mutex_unlock(&vm->lock);
	free_filter(r ? new : old);
	return r;
}

int cb_msr_set_filter(struct cb_vm *vm, const void __user *arg, bool compat)
{
	struct corbel_msr_filter *f = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	struct kvm_msr_filter_range range;
	int r = 0;
	const void __user *ranges = arg + (compat ? offsetof(struct cb_msr_filter_compat, ranges)
						  : offsetof(struct kvm_msr_filter, ranges));
	u32 i, flags;

	if (!f)
		return -ENOMEM;
	if (get_user(flags, (const u32 __user *)arg)) /* what both begin with */
		r = -EFAULT;
	else if (flags & ~KVM_MSR_FILTER_DEFAULT_DENY)
		r = -EINVAL;
	for (i = 0; !r && i < KVM_MSR_FILTER_MAX_RANGES; i++) {
		r = copy_range(&range, ranges, i, compat);
		if (!r)
			r = take_range(f, &range);
	}
	f->deny = flags & KVM_MSR_FILTER_DEFAULT_DENY;
	if (!r && f->deny && !f->count) /* all denied is no filter that anybody means */
		r = -EINVAL;
	if (!r)
		return replace_filter(vm, f);
	free_filter(f);
	return r;
}

int cb_msr_set_exits(struct cb_vm *vm, u64 reasons)
{
	u32 old;
	int r;

	if (reasons & ~(u64)REASONS)
		return -EINVAL;
	mutex_lock(&vm->lock);
	old = vm->msr_exits;
	vm->msr_exits = reasons;
	r = vm->id ? tell_exits(vm, vm->id) : 0;
	if (r)
		vm->msr_exits = old;
	mutex_unlock(&vm->lock);
	return r;
}

void cb_msr_exit(struct cb_vm *vm)
{
	free_filter(vm->msr_filter);
}
