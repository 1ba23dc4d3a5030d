/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Paravirtual services in KVM's dress: kvmclock, wall clock, steal time, PV EOI, PV unhalt, PV IPI.
 */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;

/* msr.rst; the old numbers are those of before KVM had any of its own */
#define MSR_KVM_WALL_CLOCK_OLD	0x11
#define MSR_KVM_SYSTEM_TIME_OLD 0x12
#define MSR_KVM_WALL_CLOCK	0x4b564d00
#define MSR_KVM_SYSTEM_TIME	0x4b564d01
#define MSR_KVM_ASYNC_PF_EN	0x4b564d02
#define MSR_KVM_STEAL_TIME	0x4b564d03
#define MSR_KVM_PV_EOI		0x4b564d04
#define MSR_KVM_POLL_CONTROL	0x4b564d05
#define MSR_KVM_ASYNC_PF_INT	0x4b564d06
#define MSR_KVM_ASYNC_PF_ACK	0x4b564d07

struct pv_state {	 /* in struct vcpu, for its own CPU only but for unhalted */
	u64 system_time; /* MSR_KVM_SYSTEM_TIME */
	u64 wall_clock;
	u64 steal; /* MSR_KVM_STEAL_TIME */
	u64 poll_control;
	bool clock_dirty, steal_dirty; /* write before the next entry */
	bool wall_dirty;	       /* with clock_dirty */
	bool vapic_lost;	       /* likewise: its word is to be mapped */
	bool clock_stopped;	       /* with clock_dirty: say that it stood still */
	u64 asked_at;		       /* exits_total when dom0 was last asked for a page */
	u64 steal_last;		       /* ticks accounted so far */
	u64 waited_ns, waited_last;    /* pv_waited(), and what of it is accounted */
	bool unhalted;		       /* a PV kick came; any CPU sets it */
};

#define CPUID_KVM 0x4b4d564b /* leaf 0x40000000 EBX: "KVMK", of what is named so */

#define CPUID_KVM_FEATURES 0x40000001u
/* Its EAX: the features offered to guests, and to dom0; some are of use to a vCPU with a LAPIC
 * only. */
u32 pv_features(bool to_dom0);
/* Messages of dom0's devices may be for APIC ids above 255. Set before dom0 has vCPUs. */
extern bool pv_dom0_wide_ids;
/* Not of the devices of a kernel that comes in place of dom0's: it would not know how far. */
void pv_end_wide_ids(struct vcpu *v);
/* 0; -EINVAL: #GP; -ENOENT: none of MSR_KVM_x. */
int pv_msr_read(struct vcpu *v, u32 msr, u64 *val);
int pv_msr_write(struct vcpu *v, u32 msr, u64 val);
/* Is it none of these, or one that the guest may use? */
bool pv_allows_msr(const struct vcpu *v, u32 msr);
#define KVM_ENOSYS 1000 /* no such hypercall, or not from user mode */
/*
 * KVM hypercalls from a guest's ring 0 (RAX RBX RCX RDX RSI), from 64-bit mode or another; result
 * for RAX.
 */
u64 pv_hypercall(struct vcpu *v);
/*
 * Before an entry, when *_dirty: update the guest's structures. What is not mapped now is written
 * before a later entry: the guest cannot read it without an exit that maps it. What is mapped for
 * reading only is asked for: true, dom0 is to map *page, an address, for writing.
 */
bool pv_update(struct vcpu *v, u64 *page);
/* A runnable vCPU has lost its CPU: tell the other vCPUs of its VM (kvm_steal_time.preempted). */
void pv_preempted(struct vcpu *v);
/* Stolen was also what its VMM's threads have waited for a CPU of dom0's, by now, in all. */
void pv_waited(struct vcpu *v, u64 ns);
/*
 * KVM_SET_VAPIC_ADDR: the VMM keeps the vCPU's TPR in a word of guest memory, where the guest may
 * change it without an exit, if no pending interrupt is above it. Bits 0 to 7 are the TPR, 8 to 15
 * the class in service, 24 to 31 the highest vector pending. After an exit what the guest has made
 * of it is taken over, before an entry it is written. A word that is not mapped pv_update() asks
 * for.
 */
void pv_vapic(struct vcpu *v);
#define VAPIC_NEW                                                                                  \
	256u /* lapic.vapic_tpr: nothing has been written yet that could be taken over             \
	      */
void pv_reset(struct vcpu *v);
/*
 * kvmclock of a VM in ns (struct vm: clock_offset_ns). set: all its vCPUs' clocks are written anew.
 */
u64 pv_clock_get(struct vm *vm);
u64 pv_clock_at(struct vm *vm, u64 tsc); /* when the machine's TSC is that */
void pv_clock_set(struct vm *vm, u64 ns);
void pv_clock_renew(struct vm *vm); /* as they are: what holds for the machine has changed */
/*
 * A stopped vCPU's guest is told that its clock stood still, so that its watchdogs do not bark:
 * now, or as soon as the clock can be written. The guest takes the flag away. -EINVAL: no kvmclock.
 */
int pv_clock_stopped(struct vcpu *v);
