/* SPDX-License-Identifier: GPL-2.0-only */
/* dom0's hypercalls, hv/abi.h. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* From dom0's ring 0, RIP already behind the instruction. Returns the value for RAX. */
s64 hypercall(struct vcpu *caller, u64 nr);
