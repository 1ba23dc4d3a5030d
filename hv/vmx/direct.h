/* SPDX-License-Identifier: GPL-2.0-only */
/* Which registers of its x2APIC a guest reaches without exits. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm;

/* Which MSRs exit, as the VM's map says; not in guest mode. */
void vmx_set_msr_map(struct vcpu *v);
/* Let vCPUs of this VM that are direct use x2APIC registers without exits, as the CPU allows. */
void vmx_direct_msrs(struct vm *vm);
/*
 * x2APIC registers are the CPU's to serve, or not: at a reset, and when the guest has switched
 * x2APIC mode on or off, or the APIC. Without it everything exits, or is injected from here.
 */
void vmx_switch_direct(struct vcpu *v, bool on);
