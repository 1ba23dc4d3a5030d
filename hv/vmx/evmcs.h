/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Enlightened VMCSs, of a guest that takes its host for Hyper-V: pages that it writes as they are,
 * without VMPTRLD and VMWRITE. Its VP assist page, which is where MSR_KVM_PV_EOI_EN says, names the
 * one for the next entry. All fields are read by each entry and written by each exit; so what the
 * guest calls clean can be stale no more than the rest. TLFS "Nested Virtualization", version 1.
 */
#pragma once

#include "hv/guest/vcpu.h"
#include "hv/vmx/vmcs12.h"

#define EVMCS_VERSION 1u
/* Of its page what has a meaning here */
#define EVMCS_BYTES 828u

/* Has the VMM switched them on? */
static inline bool evmcs_is_on(const struct vcpu *v)
{
	return v->page && READ_ONCE(v->page->evmcs);
}

/* The one that is named: 0; -ENOENT: none; -EAGAIN: memory is to be brought. */
int evmcs_find(struct vcpu *v, u64 *at);
/* 0; -EINVAL: no page of memory; -ENOENT: of another version; -EAGAIN */
int evmcs_load(struct vcpu *v, u64 at, struct vmcs12 *m);
/* All of it is clean then. 0; -EINVAL: no memory; -EAGAIN */
int evmcs_store(struct vcpu *v, u64 at, struct vmcs12 *m);
/* INSN_ERROR alone, as evmcs_store(): the guest may have written the others meanwhile. */
int evmcs_store_error(struct vcpu *v, u64 at, u32 error);
