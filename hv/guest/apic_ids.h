/* SPDX-License-Identifier: GPL-2.0-only */
/* The vCPUs of a VM by their APIC ids: those that end with the same byte are a chain. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;

/* vCPU of a VM by APIC id, NULL if none. Any CPU, while no vCPU of the VM can go. */
struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 apic_id);
/* It has its index, and is in vm->vcpu; the caller holds vm->lock, as for the next. */
void apic_ids_add(struct vm *vm, struct vcpu *v);
void apic_ids_drop(struct vm *vm, struct vcpu *v);
