/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's EPT, for the shadow of hv/guest/shadow.h. */
#pragma once

#include "hv/vmx/nested.h"

/* struct nested_ops, walk, refuse and flush */
int vmx_nested_walk(struct vcpu *v, u64 at, u64 access, bool look, u64 *to, u32 *error);
void vmx_nested_refuse(struct vcpu *v, u64 at, u64 access, u32 error, const struct vm_exit *x);
void vmx_nested_flush(struct vcpu *v);
