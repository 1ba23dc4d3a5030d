/* SPDX-License-Identifier: GPL-2.0-only */
/* Nested paging of nested guests. */
#pragma once

#include "hv/svm/nested.h"

/* All of the shadow goes. */
void svm_nested_npt_drop(struct vcpu *v);
/* For this VMRUN: what of the shadow is not for it goes. */
void svm_nested_npt_load(struct vcpu *v);
/* A nested page fault in guest mode. x->reason is VMEXIT_IRQ_WINDOW if nothing is left to do. */
void svm_nested_npt_fault(struct vcpu *v, struct vm_exit *x);
int svm_nested_translate(struct vcpu *v, u64 access, u64 *at);
void svm_nested_fault(struct vcpu *v, u64 access, u64 at);
/*
 * At an entry in guest mode at which p2m.tlb_gen is gen: what is older than that goes. is_clean:
 * nothing is.
 */
void svm_nested_follow(struct vcpu *v, u64 gen);
bool svm_nested_is_clean(struct vcpu *v, u64 gen);
