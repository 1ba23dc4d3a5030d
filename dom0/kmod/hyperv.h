/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V for guests that want it.
 */
#ifndef KMOD_HYPERV_H
#define KMOD_HYPERV_H

#include "kmod.h"

/* hyperv.c; of a vCPU under its mutex */
void cb_hyperv_init(struct cb_vm *vm);
/* Of a VM without users: nothing of it runs by itself any more. */
void cb_hyperv_exit(struct cb_vm *vm);
/* Guest memory. -EFAULT: there is none, or it may not be written. */
int cb_guest_write(struct cb_vcpu *v, u64 gpa, const void *from, u32 len);
int cb_guest_read(struct cb_vcpu *v, u64 gpa, void *to, u32 len);
/*
 * KVM_GET_SUPPORTED_HV_CPUID; lapic: not of a vCPU whose VMM has the LAPIC; evmcs: of one with
 * enlightened VMCSs
 */
long cb_hyperv_cpuid(struct kvm_cpuid2 __user *arg, bool lapic, bool evmcs);
/* KVM_CAP_HYPERV_ENLIGHTENED_VMCS. -> their versions, 16 bits; -ENOTTY: there are none */
long cb_hyperv_enable_evmcs(struct cb_vcpu *v, void __user *versions);
/* The MSRs that a VMM is to save; returns their number, which is that. */
#define CB_HYPERV_MSRS 47u
u32 cb_hyperv_msrs(u32 *out);
/* What the guest is shown, and whether it may use nothing else. */
void cb_hyperv_set_cpuid(struct cb_vcpu *v, const struct kvm_cpuid_entry2 *e, u32 n);
void cb_hyperv_enforce(struct cb_vcpu *v, bool on);
/* An MSR of which tlfs_has_msr() is true. -EINVAL: not so; host: for the VMM. */
int cb_hyperv_msr(struct cb_vcpu *v, u32 msr, u64 *val, bool write, bool host);
/*
 * KVM_HC_CLOCK_PAIRING: struct kvm_clock_pairing of that clock goes to gpa. What the guest is told:
 * 0, -KVM_EOPNOTSUPP, -KVM_EFAULT.
 */
s64 cb_pair_clocks(struct cb_vcpu *v, u64 gpa, u64 clock);
/* CORBEL_EXIT_HYPERCALL; as the others in run.c */
int cb_hyperv_call(struct cb_vcpu *v);
/* Somebody has set the VM's clock or a TSC: its guest's page is written anew, by who runs next. */
void cb_hyperv_clock_changed(struct cb_vm *vm);
/*
 * There is something to do for it before it runs on, once the instruction it is at has been
 * finished. False: its exit is user space's.
 */
static inline bool cb_hyperv_has_work(const struct cb_vcpu *v)
{
	return unlikely(v->hyperv.flags) && (v->hyperv.event || READ_ONCE(v->vm->hyperv.tsc_stale));
}
bool cb_hyperv_work(struct cb_vcpu *v);
/* The guest's reference time. Under vcpu->mutex and hyperv.lock. */
int cb_hyperv_time(struct cb_vcpu *v, u64 *time);
/* An interrupt for this vCPU; 1: its LAPIC has taken it. Any context. */
long cb_hyperv_interrupt(const struct cb_vcpu *v, u8 vector);
/* CORBEL_HYPERV_x, as things stand; 0 stays 0 until the guest is shown something else. */
static inline u8 cb_hyperv_flags(const struct cb_vcpu *v)
{
	u8 flags = v->hyperv.flags;

	if (!flags)
		return 0;
	if (READ_ONCE(v->vm->hyperv.guest_os_id))
		flags |= CORBEL_HYPERV_CALLS;
	if (READ_ONCE(v->vm->hyperv.tsc_stays))
		flags &= ~CORBEL_HYPERV_TIME;
	return flags;
}

/* synic.c; of a vCPU under its mutex */
/* KVM_CAP_HYPERV_SYNIC; clear: the guest's pages are, when it says where they are */
int cb_synic_enable(struct cb_vcpu *v, bool clear);
void cb_synic_free(struct cb_vcpu *v);
/* An MSR of which tlfs_is_synic() is true. Under hyperv.lock. */
int cb_synic_msr(struct cb_vcpu *v, u32 msr, u64 *val, bool write, bool host);
/* CB_HYPERV_SYNIC: KVM_EXIT_HYPERV tells what the guest has changed. */
void cb_synic_exit(struct cb_vcpu *v);
/* CB_HYPERV_TIMERS. Under hyperv.lock. */
void cb_synic_work(struct cb_vcpu *v);
/* Its timers stand still until it runs again: who saves a vCPU is not to miss an interrupt. */
void cb_synic_freeze(struct cb_vcpu *v);
/* All timers are looked at anew, the clock is another. False: there are none. Any thread. */
bool cb_synic_clock_changed(struct cb_vm *vm);
/* KVM_IRQ_ROUTING_HV_SINT: as cb_irq_set(). Any context. */
int cb_synic_set_irq(struct cb_vm *vm, u32 index, u32 sint);
/* Adds the vectors of its SINTs. Any context. */
void cb_synic_eoi_vectors(struct cb_vm *vm, u64 mask[4]);
/* The vCPU, which is stopped, has done an EOI of that vector. */
void cb_synic_eoi(struct cb_vcpu *v, u8 vector);
/* KVM_HYPERV_EVENTFD */
int cb_synic_eventfd(struct cb_vm *vm, const struct kvm_hyperv_eventfd __user *arg);
/*
 * CALL_SIGNAL_EVENT: TLFS_x. Of TLFS_INVALID_PORT user space may know, to which the next hands the
 * hypercall over, as it does CALL_POST_MESSAGE.
 */
u64 cb_synic_signal(struct cb_vcpu *v, const struct tlfs_hypercall *c);
void cb_synic_ask_user(struct cb_vcpu *v, u64 word, const struct tlfs_hypercall *c);
/* A VM's timers are still from now on; its connections end. */
void cb_synic_vm_exit(struct cb_vm *vm);

#endif
