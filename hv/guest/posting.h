/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vCPUs that devices' interrupts are posted to (hv/iommu/post.h), and whom the IOMMU tells of it,
 * by the vCPU's descriptor, which is lapic.irr and what follows: VT-d specification "Posted
 * Interrupt Descriptor".
 *
 *   - loaded in a CPU: VEC_POSTED to that CPU. Inside the guest the CPU takes them in by itself;
 *     outside the handler notes DUE_IRQ.
 *   - in no CPU: VEC_WAKE to the CPU that had it last, or where posting began. The handler looks
 *     through those that wait there, notes DUE_IRQ and wakes.
 *
 * The unit sets a bit of IRR, then ON, and tells only if that was clear. So who is told clears ON
 * first and notes DUE_IRQ then; and who changes whom to tell clears it and looks at IRR then.
 */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* Boot, after iommu_init() and before there are guests. */
void posting_init(void);
/*
 * The vCPU's handle (post_begin()); its descriptor is ready. -ENODEV: units, CPUs or the mode of
 * their APICs do not allow it. It may be running. Alone with the objects.
 */
s64 posting_begin(struct vcpu *v);
/* Nobody posts to it any more. It is stopped and in no CPU. Alone with the objects. */
void posting_end(struct vcpu *v);
/* This CPU has loaded it, or put it away just now. */
void posting_load(struct vcpu *v);
void posting_put(struct vcpu *v);
