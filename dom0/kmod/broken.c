// SPDX-License-Identifier: GPL-2.0-only
/*
 * Broken memory, which the hypervisor has learnt of by a machine check, or root by madvise(). Linux
 * takes the page away from all that have it, which the notifier passes on to guests, and sends
 * SIGBUS to their processes, by which a VMM knows what to tell its guest (KVM_X86_SET_MCE).
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/sched/signal.h>

/* As KVM says it, whatever the size of the page is. */
int cb_poisoned(unsigned long hva)
{
	if (get_user_pages_unlocked(hva, 1, NULL, FOLL_HWPOISON) != -EHWPOISON)
		return -EFAULT;
	send_sig_mceerr(BUS_MCEERR_AR, (void __user *)(hva & PAGE_MASK), PAGE_SHIFT, current);
	return -EAGAIN;
}

#ifdef CONFIG_MEMORY_FAILURE

/* The thread is the one that has used it, and so gets BUS_MCEERR_AR. */
int cb_broken_used(u64 hpa)
{
	int r = memory_failure(hpa >> PAGE_SHIFT, MF_ACTION_REQUIRED);

	return r && !signal_pending(current) ? -EIO : 0;
}

static void retire_page(u64 pfn)
{
	memory_failure_queue(pfn, 0);
}

#else

int cb_broken_used(u64 hpa)
{
	return -EIO;
}

static void retire_page(u64 pfn)
{
	pr_err("the memory at %llx is broken, and this kernel cannot retire it "
	       "(CONFIG_MEMORY_FAILURE); take another, or the memory out\n",
	       pfn << PAGE_SHIFT);
}

#endif

void cb_broken_found(struct corbel_events *events)
{
	u32 i;

	for (i = 0; i < CORBEL_BROKEN; i++) {
		u64 pfn = READ_ONCE(events->broken[i]) ? xchg(&events->broken[i], 0) : 0;

		if (pfn)
			retire_page(pfn);
	}
}
