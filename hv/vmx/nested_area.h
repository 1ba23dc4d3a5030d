/* SPDX-License-Identifier: GPL-2.0-only */
/* Areas of MSRs that a guest's VMCS names; SDM "VM-Entry Controls for MSRs" and the like for exits.
 */
#pragma once

#include "hv/vmx/nested.h"

/* Are all entries of the area of an entry there? Else the instruction runs again. */
bool vmx_area_is_there(struct vcpu *v);
/* -> 0; -EAGAIN; -EINVAL and *failed, the number of the first that fails, from 1 on. */
int vmx_load_area(struct vcpu *v, u32 count_field, u32 field, u32 *failed);
/* That of an exit, as MSRs are now. -EAGAIN, -EINVAL */
int vmx_store_area(struct vcpu *v);
