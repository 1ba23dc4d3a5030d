/* SPDX-License-Identifier: GPL-2.0-only */
/* Nested paging of nested guests; hv/guest/shadow.h has what both vendors share. */
#pragma once

#include "hv/svm/nested.h"

/* For this VMRUN: what of the shadow is not for it goes. */
void svm_nested_npt_load(struct vcpu *v);
/* May it be entered when p2m.tlb_gen is gen? */
bool svm_nested_is_clean(struct vcpu *v, u64 gen);
/* struct nested_ops, walk, refuse and flush */
int svm_nested_walk(struct vcpu *v, u64 at, u64 access, bool look, u64 *to, u32 *error);
void svm_nested_refuse(struct vcpu *v, u64 at, u64 access, u32 error, const struct vm_exit *x);
void svm_nested_flush(struct vcpu *v);
