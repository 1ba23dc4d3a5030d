/* SPDX-License-Identifier: GPL-2.0-only */
/* VM entries and exits of nested guests. */
#pragma once

#include "hv/vmx/nested.h"

/*
 * VMLAUNCH or VMRESUME of the current VMCS, whose controls and host state have been checked. qual:
 * of the VM exit that follows at once since the guest state is refused, or -1.
 */
void vmx_nested_launch(struct vcpu *v, int qual);
/* Guest mode by the current VMCS. load: its registers, too; else they are in place already. */
void vmx_nested_begin(struct vcpu *v, bool load);
/* What the hardware has of it beside the registers ends. */
void vmx_nested_end(struct vcpu *v);
/* A VM exit for such a reason; intr: as EXIT_INTR_INFO. */
void vmx_nested_leave(struct vcpu *v, u32 reason, u64 qual, u32 intr, u32 error);
/* The guest state as it is now, into a VMCS. */
void vmx_nested_save(struct vcpu *v, struct vmcs12 *m);
/* Is a VM exit under way, for which memory is missing? */
bool vmx_nested_is_leaving(const struct vcpu *v);
/*
 * Around an entry in guest mode, in this order: its controls, which exit() takes back; an event
 * that was broken off; and the exit, which may be the guest's: then it is no more to anybody else.
 */
void vmx_nested_enter(struct vcpu *v);
void vmx_nested_exit(struct vcpu *v);
/* len: of the instruction that has raised it, if one has */
void vmx_nested_take_back(struct vcpu *v, u32 event, u32 error, u32 len);
void vmx_nested_sort(struct vcpu *v, struct vm_exit *x);
