/* SPDX-License-Identifier: GPL-2.0-only */
/* Events and the local APIC at entries and exits, beside those of struct hvm_ops. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;

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
/* Which MSRs exit, as the VM's map says; not in guest mode. */
void vmx_set_msr_map(struct vcpu *v);
/* Let vCPUs of this VM that are direct use x2APIC registers without exits, as the CPU allows. */
void vmx_direct_msrs(struct vm *vm);
/*
 * x2APIC registers are the CPU's to serve, or not: at a reset, and when the guest has switched
 * x2APIC mode on or off, or the APIC. Without it everything exits, or is injected from here.
 */
void vmx_switch_direct(struct vcpu *v, bool on);
