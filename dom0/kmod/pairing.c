// SPDX-License-Identifier: GPL-2.0-only
/*
 * What dom0's clock said when the guest's TSC was what: for the guest's driver ptp_kvm, by which
 * its chrony has the time that dom0's keeps. Linux' Documentation/virt/kvm/x86/hypercalls.rst.
 */
#include "hyperv.h"
#include "kmod.h"

#include <linux/kvm_para.h>

#define TRIES	 4
#define CLOSE_NS 10000

/*
 * The TSC is read between two looks at the clock. It is tried again when they are far apart, since
 * the CPU had something else to do, and the closest ones count.
 */
static long read_both(struct cb_vcpu *v, struct kvm_clock_pairing *pair)
{
	const struct corbel_clock *c = (void *)v->data;
	u64 best = U64_MAX, ns = 0, before, took;
	struct timespec64 ts;
	u32 i;
	long r;

	for (i = 0; i < TRIES && best > CLOSE_NS; i++) {
		local_irq_disable();
		before = ktime_get_real_ns();
		r = HC3(VCPU_GET, v->number, CORBEL_STATE_CLOCK, sizeof(*c));
		took = ktime_get_real_ns() - before;
		local_irq_enable();
		if (r < 0)
			return r;
		if ((s64)took < 0 || took >= best) /* the clock was set back meanwhile */
			continue;
		best = took;
		ns = before + took / 2;
		pair->tsc = c->tsc;
	}
	if (best == U64_MAX)
		return -EAGAIN;
	ts = ns_to_timespec64(ns);
	pair->sec = ts.tv_sec;
	pair->nsec = ts.tv_nsec;
	return 0;
}

s64 cb_pair_clocks(struct cb_vcpu *v, u64 gpa, u64 clock)
{
	u32 first = min_t(u32, sizeof(struct kvm_clock_pairing), PAGE_SIZE - offset_in_page(gpa));
	struct kvm_clock_pairing pair = {};
	u32 rest = sizeof(pair) - first;

	if (clock != KVM_CLOCK_PAIRING_WALLCLOCK || read_both(v, &pair))
		return -KVM_EOPNOTSUPP;
	if (cb_guest_write(v, gpa, &pair, first) ||
	    (rest && cb_guest_write(v, gpa + first, (u8 *)&pair + first, rest)))
		return -KVM_EFAULT;
	return 0;
}
