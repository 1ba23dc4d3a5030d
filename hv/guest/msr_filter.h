/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which MSRs a guest may use by itself: KVM_X86_SET_MSR_FILTER of Linux'
 * Documentation/virt/kvm/api.rst.
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

struct p2m;
struct vm;

struct msr_filter { /* in struct vm: changed under its lock, read by all its vCPUs */
	u32 seq;    /* odd while what follows changes */
	bool on;    /* something may be denied */
	bool deny;  /* what is in no range */
	u32 count;  /* of ranges */
	struct corbel_msr_range range[CORBEL_MSR_RANGES];
	/* A set bit: allowed. Pages of the pool that stay until the VM goes; the first are there */
	u8 *bits[CORBEL_MSR_RANGES];
};

/*
 * A filter in place of the last one, its bitmaps in that memory; vm->lock is held, the caller is
 * alone with the objects. vCPUs that run see it soon; which MSRs exit is vm_filter_msrs()'s affair.
 * -EINVAL, -ENOMEM, -EDQUOT: nothing has changed; -EFAULT: a bitmap is not there, and nothing is
 * allowed.
 */
int msr_filter_set(struct vm *vm, const struct corbel_msr_filter *new, struct p2m *from);
void msr_filter_free(struct vm *vm);
/* May the guest use it so (CORBEL_MSR_READ or WRITE)? */
bool msr_filter_allows(const struct msr_filter *f, u32 msr, u32 how);
