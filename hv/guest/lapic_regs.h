/* SPDX-License-Identifier: GPL-2.0-only */
/* The registers of a virtual APIC, as its guest and its VMM see them. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * A register of an APIC that is on, in the mode it is in; offset as in xAPIC (0x20 id, 0x80 TPR
 * ...), a multiple of 16. -EINVAL, in x2APIC mode only: #GP.
 */
int lapic_read(struct vcpu *v, u32 offset, u64 *val);
int lapic_write(struct vcpu *v, u32 offset, u64 val);
/*
 * MSRs 0x1b, 0x6e0, 0x800..0x8ff. -EINVAL: #GP. host: by the VMM, see lapic_set_base().
 */
int lapic_msr_read(struct vcpu *v, u32 msr, u64 *val);
int lapic_msr_write(struct vcpu *v, u32 msr, u64 val, bool host);

/*
 * KVM's kvm_lapic_state, 1024 bytes. The ID register holds id << 24 in xAPIC mode, all 32 bits of
 * the id in x2APIC mode (set also takes id << 24 there). set: after APIC_BASE; -EINVAL for
 * another vCPU's x2APIC id.
 */
void lapic_get_state(struct vcpu *v, void *state);
int lapic_set_state(struct vcpu *v, const void *state);
