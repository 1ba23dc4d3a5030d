/* SPDX-License-Identifier: GPL-2.0-only */
/* What a guest's VMCB must be, and what it asks for. Pure. */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/svm/vmcb.h"

/* APM "VMRUN Instruction", "Canonicalization and Consistency Checks". */
bool svm_vmcb_valid(const struct vmcb *m, const struct nested_limits *l);
/*
 * Without nested paging VMRUN loads PAE's four entries of the top level, and looks at them: at
 * addresses here, low bits are the walk's.
 */
bool svm_vmcb_loads_pdptes(const struct vmcb *m);
bool svm_pdptes_valid(const u64 *pdptes, u64 addr_bits);
/* Does a VMCB intercept such an exit? Not asked about ports, MSRs and nested page faults. */
bool svm_vmcb_wants(const struct vmcb *m, u32 code);
/*
 * Which byte of an MSR permission map has the MSR, and which bit for reads; the next is for writes.
 * -EINVAL: none, it exits.
 */
int svm_msr_bit(u32 msr, u32 *shift);
/* What is to be injected again of an event that was broken off; injected: at that entry, or 0. */
u64 svm_event_again(u64 event, u64 injected);
/* A linear address as a CPU makes it canonical. */
static inline u64 svm_canonical(u64 a)
{
	return (u64)((s64)(a << 16) >> 16);
}
