/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers in the VMCS, beside those of struct hvm_ops. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * Before an entry: PAE paging takes its four top entries from the VMCS. False: their memory is not
 * there, which dom0 has been told (v->stop_reason), or a nested guest's is not mapped.
 */
bool vmx_load_pdptes(struct vcpu *v);
/* EPTP of the next entry */
u64 vmx_eptp(const struct vcpu *v);
/* Tell the CPU which bits of CR0 and CR4 are not the guest's. */
void vmx_write_cr_masks(struct vcpu *v);
/* PENDING_DEBUG in a shadow, for the CPU wants to be told of a single-step trap that waits. */
u64 vmx_pending_debug(struct vcpu *v);
