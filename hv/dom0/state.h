/* SPDX-License-Identifier: GPL-2.0-only */
/* VCPU_GET and VCPU_SET through the data page of a stopped vCPU. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* Bytes or entries done, or an error. */
s64 state_get(struct vcpu *v, u32 what, u32 bytes);
s64 state_set(struct vcpu *v, u32 what, u32 bytes);
