/* SPDX-License-Identifier: GPL-2.0-only */
/* Making a vCPU notice something. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * Set bits of v->due and make the vCPU notice: wake it if it blocks, kick its CPU if it runs. Any
 * CPU.
 */
void vcpu_request(struct vcpu *v, u64 req);
/*
 * An interrupt became pending: wake, kick, or post where that is enough. exit: it is not. Any CPU.
 */
void vcpu_notify(struct vcpu *v, bool exit);
