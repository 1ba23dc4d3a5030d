/* SPDX-License-Identifier: GPL-2.0-only */
/* Events in guest mode. */
#pragma once

#include "hv/vmx/nested.h"

extern const struct nested_ops vmx_nested_ops;

bool vmx_nested_can_inject(struct vcpu *v, enum hvm_event_kind k);
/* In guest mode: do such events end it? Then no window of the nested guest's is theirs. */
bool vmx_nested_takes(struct vcpu *v, enum hvm_event_kind k);

/* Does its guest's #DB exit to it? Then DR6 stays as it is. */
bool vmx_nested_wants_db(struct vcpu *v);
