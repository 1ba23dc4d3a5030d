/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM's asynchronous page faults: a guest does something else while a page of its is read.
 */
#ifndef KMOD_APF_H
#define KMOD_APF_H

#include "kmod.h"
#include "memory.h"

#include <asm/kvm_para.h>

/* apf.c; of a vCPU under its mutex */
/* The guest wants to hear of pages that are not there. */
bool cb_apf_is_on(const struct cb_vcpu *v);
/*
 * A vCPU that could take an interrupt has come to a frame that has to be read; the VMM has it
 * there. True: it has been told, and runs on; false: it has to wait.
 */
bool cb_apf_begin(struct cb_vcpu *v, u64 gfn, unsigned long hva, bool write);
/* Pages have come; the guest is told of one, unless it has not taken the last yet. */
bool cb_apf_has_some(const struct cb_vcpu *v);
void cb_apf_tell_one(struct cb_vcpu *v);
/* One of KVM's three MSRs. -EINVAL: not so; host: for the VMM. */
static inline bool cb_apf_has_msr(u32 msr)
{
	return msr == MSR_KVM_ASYNC_PF_EN || msr == MSR_KVM_ASYNC_PF_INT ||
	       msr == MSR_KVM_ASYNC_PF_ACK;
}
int cb_apf_msr(struct cb_vcpu *v, u32 msr, u64 *val, bool write, bool host);
/* Those that a VMM is to save; returns their number, which is that. */
#define CB_APF_MSRS 3u
u32 cb_apf_msrs(u32 *out);
/* A new vCPU's, -ENOMEM; before the hypervisor's half is gone nobody waits any more, then free. */
int cb_apf_alloc(struct cb_vcpu *v);
void cb_apf_cancel(struct cb_vcpu *v);
void cb_apf_free(struct cb_vcpu *v);
int cb_apf_init(void);
/* No vCPU is left. */
void cb_apf_exit(void);

#endif
