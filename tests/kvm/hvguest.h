/* SPDX-License-Identifier: GPL-2.0-only */
/* A VM whose guest takes its host for Hyper-V, for hyperv.c and synic.c. */
#ifndef HVGUEST_H
#define HVGUEST_H

#include "vmm.h"
#include "dom0/kmod/tlfs.h"

#define RUN_MS	  10000
#define LINUX_ID  (0x8100ull << 48)
#define CALL_PAGE DATA
#define NOWHERE	  0x40000000ull
#define ON	  1ull
#define LEAVES	  100

struct hv_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 e[LEAVES];
};

/* KVM_GET_SUPPORTED_HV_CPUID of /dev/kvm or a vCPU */
struct hv_table hv_offered(int fd);
struct kvm_cpuid_entry2 *hv_leaf(struct hv_table *t, u32 function);
/* All that is offered, Hyper-V's leaves in the place of KVM's; of features only these. */
void hv_show(struct vm *vm, u32 cpu, u32 eax, u32 ebx, u32 edx, u32 hints, u32 spins);
/* A VM with irqchip that is shown all. */
void hv_init(struct vm *vm, u32 vcpus);
int hv_enforce(struct vm *vm, u32 cpu);
/* The VMM's read. */
u64 hv_get_msr(struct vm *vm, u32 cpu, u32 index);

/* The guest is to run at entry; it does, and says at last that it has met so many faults. */
void hv_begin(struct vm *vm, u32 cpu, const void *entry, u64 arg0, u64 arg1);
bool hv_ends(struct vm *vm, u32 cpu, u32 faults);
/* The first two of what it has said */
u64 hv_said(const struct vm *vm);

/* The guest's accesses to MSRs, vCPU 0's where none is named */
bool hv_reads_on(struct vm *vm, u32 cpu, u32 msr, u64 *val);
u64 hv_reads(struct vm *vm, u32 msr);
bool hv_writes(struct vm *vm, u32 msr, u64 val);
bool hv_read_faults(struct vm *vm, u32 msr);
bool hv_write_faults(struct vm *vm, u32 msr, u64 val);

/* Hypercalls by the page of a guest that has said who it is: RAX, or ~0 */
void hv_introduce(struct vm *vm);
void hv_set_call(struct vm *vm, u64 word, u64 input, u64 output);
u64 hv_calls(struct vm *vm, u64 word, u64 input, u64 output);

#endif
/* The VM's clock as reference time: units of 100 ns. */
u64 hv_clock_now(struct vm *vm);
