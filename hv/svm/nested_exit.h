/* SPDX-License-Identifier: GPL-2.0-only */
/* An entry of a nested guest, and whose its exit is. */
#pragma once

#include "hv/svm/nested.h"

/*
 * Around an entry in guest mode, in this order: what the guest wants injected; its intercepts,
 * which exit() takes back; an event that was broken off; and the exit, which may be the guest's:
 * then it is no more to anybody else.
 */
void svm_nested_inject(struct vcpu *v);
void svm_nested_enter(struct vcpu *v);
void svm_nested_exit(struct vcpu *v);
void svm_nested_take_back(struct vcpu *v, u64 event);
void svm_nested_sort(struct vcpu *v, struct vm_exit *x);
/* svm_nested_ops.hypercall */
bool svm_nested_hypercall(struct vcpu *v);
