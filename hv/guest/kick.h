/* SPDX-License-Identifier: GPL-2.0-only */
/* Finding a vCPU of a VM and making it notice something. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;

/* vCPU of a VM by APIC id, NULL if none. */
struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 apic_id);
/*
 * Set bits of v->due and make the vCPU notice: wake it if it blocks, kick its CPU if it runs. Any
 * CPU.
 */
void vcpu_request(struct vcpu *v, u64 req);
/*
 * An interrupt became pending: wake, kick, or post where that is enough. exit: it is not. Any CPU.
 */
void vcpu_notify(struct vcpu *v, bool exit);
