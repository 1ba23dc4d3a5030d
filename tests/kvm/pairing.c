/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_HC_CLOCK_PAIRING, by which a guest's ptp_kvm learns which time dom0's clock had when the
 * guest's TSC was what. Linux' Documentation/virt/kvm/x86/hypercalls.rst.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RUN_MS	5000
#define AT	(DATA + 0x40)
#define ACROSS	(DATA + 0x2000 - 24) /* two pages have it */
#define NOWHERE 0xc0000000ul
#define SEC	1000000000ll
#define APART	(20 * 1000 * 1000) /* ns that pass between two calls */
#define SLACK	500000		   /* ns by which the emulator's TSC and clock may differ then */

struct answer {
	u64 before, result, behind; /* as the payload has them */
};

static struct answer *answer(struct vm *vm)
{
	return (void *)(vm->ram + SCRATCH);
}

static const struct kvm_clock_pairing *pair_at(struct vm *vm, u64 gpa)
{
	return (void *)(vm->ram + gpa);
}

static s64 told_ns(const struct kvm_clock_pairing *p)
{
	return p->sec * SEC + p->nsec;
}

static s64 real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * SEC + t.tv_nsec;
}

/* The call comes back with that, and memory that is all there is as it was unless that is 0. */
static bool calls(struct vm *vm, u64 gpa, u64 clock, s64 result)
{
	u64 at = gpa % (1ull << 52);
	struct kvm_clock_pairing old;
	enum end end;

	memset(vm->ram + DATA, 0x5a, 0x4000);
	memset(&old, 0x5a, sizeof(old));
	cpu_setup(vm, 0, MODE_LONG, pl_pairing, gpa, clock);
	end = vm_run(vm, 0, RUN_MS);
	if (end == END_DONE && (s64)answer(vm)->result == result &&
	    (!result || at > RAM_SIZE - sizeof(old) || !memcmp(pair_at(vm, at), &old, sizeof(old))))
		return true;
	note("%s, exit %u, %lld", end_names[end], vm->run[0]->exit_reason,
	     (long long)answer(vm)->result);
	return false;
}

static void test_pair(struct vm *vm, u64 gpa, const char *where)
{
	static const u32 zero[9];
	s64 before = real_ns(), told, behind;
	const struct kvm_clock_pairing *p = pair_at(vm, gpa);
	bool good = calls(vm, gpa, KVM_CLOCK_PAIRING_WALLCLOCK, 0);

	behind = real_ns();
	told = told_ns(p);
	ok(good && told >= before && told <= behind && p->nsec < SEC,
	   "pairing: a guest is told dom0's time %s (%lld ns behind the first look, %lld in all)",
	   where, (long long)(told - before), (long long)(behind - before));
	ok(good && p->tsc >= answer(vm)->before && p->tsc <= answer(vm)->behind && !p->flags &&
	       !memcmp(p->pad, zero, sizeof(zero)),
	   "pairing: and what its own TSC was then");
	ok(vm->ram[gpa - 1] == 0x5a && vm->ram[gpa + sizeof(*p)] == 0x5a,
	   "pairing: beside it nothing is written");
}

/* Both go on together: by that a guest's clock is steered. */
static void test_steady(struct vm *vm)
{
	s64 khz = cpu_ioctl(vm, 0, KVM_GET_TSC_KHZ, NULL), ns, by_tsc;
	struct kvm_clock_pairing first;
	bool good = calls(vm, AT, 0, 0);

	first = *pair_at(vm, AT);
	usleep(APART / 1000);
	good &= calls(vm, AT, 0, 0);
	ns = told_ns(pair_at(vm, AT)) - told_ns(&first);
	by_tsc = (s64)(pair_at(vm, AT)->tsc - first.tsc) * 1000000 / khz;
	ok(good && ns >= APART && llabs(ns - by_tsc) < SLACK + ns / 100,
	   "pairing: clock and TSC go on together (%lld ns, %lld)", (long long)ns,
	   (long long)by_tsc);
}

static void test_refused(struct vm *vm)
{
	ok(calls(vm, AT, 1, -KVM_EOPNOTSUPP) && calls(vm, AT, 1ull << 32, -KVM_EOPNOTSUPP),
	   "pairing: of another clock nothing is known");
	ok(calls(vm, NOWHERE, 0, -KVM_EFAULT) && calls(vm, ~63ull, 0, -KVM_EFAULT) &&
	       calls(vm, 1ull << 52 | AT, 0, -KVM_EFAULT),
	   "pairing: where there is no memory nothing can be told");
	ok(calls(vm, RAM_SIZE - 32, 0, -KVM_EFAULT), "pairing: nor where it ends");
}

int main(void)
{
	struct vm vm;

	open_kvm();
	vm_init(&vm, 1, VM_IRQCHIP);
	test_pair(&vm, AT, "at once");
	test_pair(&vm, ACROSS, "across two pages");
	test_steady(&vm);
	test_refused(&vm);
	vm_free(&vm);
	return failures != 0;
}
