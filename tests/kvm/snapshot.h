/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything KVM knows of a VM of one vCPU, as VMMs take it out, and put it into a fresh VM. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "vmm.h"

struct cap {
	const char *name;
	int number;
};
#define CAP(x)                                                                                     \
	{                                                                                          \
#x, KVM_CAP_##x                                                                    \
	}
/* One report of a list that ends with {0}. */
void check_caps(int fd, const char *who, const struct cap *list);

struct snapshot {
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} cpuid;
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[128];
	} msrs;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_xsave xsave;
	struct kvm_xcrs xcrs;
	struct kvm_mp_state mp;
	struct kvm_clock_data clock;
	struct kvm_irqchip chip[KVM_NR_IRQCHIPS]; /* of VMs with VM_IRQCHIP, */
	struct kvm_pit_state2 pit;		  /* and VM_PIT */
	u8 ram[RAM_SIZE];
};

/* vCPU 0 and what the flags of vm_init() gave. NULL, or the call that failed. */
const char *snapshot_take(struct vm *vm, u32 flags, struct snapshot *s);
const char *snapshot_put(struct vm *vm, u32 flags, struct snapshot *s);
/* What the first structure is that differs, though no guest has run between; NULL: none. */
const char *snapshot_differs(const struct snapshot *a, const struct snapshot *b);

/*
 * pl_snapshot runs up to PORT_PAUSE, is paused as VMMs do, and goes on in another VM, which gets an
 * interrupt by wake().
 */
void check_snapshot(const char *who, u32 flags, bool (*wake)(struct vm *vm));

#endif
