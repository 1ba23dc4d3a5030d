/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The little that the hypervisor itself does for guests that take their host for Hyper-V; the rest
 * is corbel.ko's, which says by CORBEL_HYPERV_x what a vCPU may do. Microsoft's Hypervisor
 * Top-Level Functional Specification (TLFS).
 */
#pragma once

#include "hv/abi.h"
#include "hv/guest/vcpu.h"

#define MSR_HYPERV	  0x40000000 /* 0x200 of them */
#define MSR_HYPERV_TIME	  0x40000020
#define MSR_HYPERV_EOI	  0x40000070
#define MSR_HYPERV_ICR	  0x40000071
#define MSR_HYPERV_TPR	  0x40000072
#define MSR_HYPERV_NUMBER 0x200

/* KVM's hypercalls that dom0 answers: hypercalls.rst */
#define HC_CLOCK_PAIRING 9
#define HC_MAP_GPA_RANGE 12

/* An MSR that is corbel.ko's: of Hyper-V's, if the guest may hope to have it, or of KVM's. */
static inline bool module_has_msr(const struct vcpu *v, u32 msr)
{
	if (msr == MSR_KVM_ASYNC_PF_EN || msr == MSR_KVM_ASYNC_PF_INT ||
	    msr == MSR_KVM_ASYNC_PF_ACK)
		return v->page;
	return v->services & CORBEL_HYPERV_MSRS && msr - MSR_HYPERV < MSR_HYPERV_NUMBER;
}

/*
 * The reference time in units of 100 ns, to be read; TLFS "EOI, ICR and TPR": registers of the
 * LAPIC in either mode. 0; -EINVAL: #GP; -ENOENT: none of these.
 */
int hyperv_msr_read(struct vcpu *v, u32 msr, u64 *val);
int hyperv_msr_write(struct vcpu *v, u32 msr, u64 val);
/* The instruction of CORBEL_HYPERV_CALLS: the module is to answer, in user mode it is #UD. */
void hyperv_hypercall(struct vcpu *v, const struct vm_exit *x);
/*
 * A guest asks for dom0's clock, or there is CORBEL_KVM_MAP_GPA_RANGE: these two hypercalls of
 * KVM's stop the vCPU as well, and the module or its VMM answers; false: it is another one.
 */
bool hypercall_is_dom0s(struct vcpu *v, const struct vm_exit *x);
