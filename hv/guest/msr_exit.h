/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSR accesses that are the VMM's to decide: those that its filter denies, and those that would be
 * #GP. Linux' Documentation/virt/kvm/api.rst, KVM_CAP_X86_USER_SPACE_MSR.
 */
#pragma once

struct vcpu;
struct vm_exit;

/*
 * The guest's access failed: -EPERM: by the filter, -ENOENT: no such MSR, else its value. It goes
 * to the VMM if that wants it, or is #GP.
 */
void msr_refused(struct vcpu *v, const struct vm_exit *x, int err);
