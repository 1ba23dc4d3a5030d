/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers in the VMCS, beside those of struct hvm_ops. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* TSC offset and multiplier into the VMCS. */
void vmx_write_tsc(struct vcpu *v);
/* Before an entry: PAE paging takes its four top entries from the VMCS. */
void vmx_load_pdptes(struct vcpu *v);
/* Bits of CR0 and CR4 that are not the guest's. */
u64 vmx_cr0_mask(void);
u64 vmx_cr4_mask(void);
