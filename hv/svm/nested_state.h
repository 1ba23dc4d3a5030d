/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "hv/svm/nested.h"

/* struct nested_ops, get_state and set_state */
int svm_nested_get_state(struct vcpu *v, struct corbel_nested *out);
int svm_nested_set_state(struct vcpu *v, const struct corbel_nested *in);
