/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Another kernel in dom0's place: by kexec, or one that saves what a crash has left. It owns the
 * memory that guests of the one before have, and knows none of them.
 */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * The kernel that has v is about to go. Its guests run no more, nor is anything written to their
 * memory; their vCPUs' pages stay dom0's to read; what was lent is dom0's again. No VM can be made
 * until another has begun.
 */
void takeover_kernel_ends(struct vcpu *v);
/*
 * v is used no more, for the time being: if its events are bound, its kernel ends; if the kernel
 * has said before that it does, its devices are shut down by now, and are the next one's.
 */
void takeover_cpu_ends(struct vcpu *v);
/*
 * A kernel has begun that has no guests yet: what there is of another's is freed. The caller is
 * alone with the objects. 0, or -EAGAIN: not all has stopped, call again.
 */
s64 takeover_kernel_begins(void);
/* The same for a caller that is alone with the objects. */
void takeover_end_guests(void);
/* Has a kernel ended, and none begun since? */
bool takeover_is_between(void);
