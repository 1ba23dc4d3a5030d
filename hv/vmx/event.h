/* SPDX-License-Identifier: GPL-2.0-only */
/* Events and the local APIC at entries and exits, beside those of struct hvm_ops. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/*
 * Interrupt shadow and NMI blocking, in the combinations the CPU takes; SDM "Checks on Guest
 * Non-Register State".
 */
void vmx_write_blocking(struct vcpu *v);
/*
 * What the CPU keeps of the local APIC while the guest runs, but for TPR; status: GUEST_INTR_STATUS
 * after the exit.
 */
void vmx_apic_to_hw(struct vcpu *v);
void vmx_apic_from_hw(struct vcpu *v, u16 status);
