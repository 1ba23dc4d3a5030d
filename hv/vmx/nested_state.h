/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "hv/vmx/nested.h"

/* struct nested_ops, get_state and set_state */
int vmx_nested_get_state(struct vcpu *v, struct corbel_nested *out);
int vmx_nested_set_state(struct vcpu *v, const struct corbel_nested *in);
