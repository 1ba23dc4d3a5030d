/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * CORBEL_STATE_NESTED: a guest that runs guests. As in struct kvm_nested_state: the state of a vCPU
 * in guest mode is the nested guest's, and this is what belongs to it besides. To be set behind the
 * state of registers, since it needs EFER.SVME or CR4.VMXE.
 */
#ifndef CORBEL_ABI_NESTED_H
#define CORBEL_ABI_NESTED_H

#include "abi.h"

#define CORBEL_NESTED_GUEST_MODE 1u /* KVM_STATE_NESTED_x, as are the next three */
#define CORBEL_NESTED_PENDING	 2u /* what the entry injects is still to be injected */
#define CORBEL_NESTED_EVMCS	 4u /* VT-x: an enlightened VMCS is current, none by vmcb_pa */
#define CORBEL_NESTED_GIF	 0x100u

/*
 * HC_PROMISE (vm, vCPU's number, this): the vCPU, which has stopped, gets what a nested guest's
 * memory takes, once; before STATE_NESTED in guest mode
 */
#define CORBEL_PROMISE_NESTED 3u
#define CORBEL_NESTED_TABLES  128u /* pages */

struct corbel_nested {
	uint64_t flags; /* CORBEL_NESTED_x; on AMD-V the rest is 0 without GUEST_MODE */
	uint64_t vmcb_pa;
	uint64_t vmxon_pa; /* VT-x, where this and vmcb_pa are ~0 if there is none */
	/*
	 * AMD-V: of the guest's VMCB the controls, of its own state that VMRUN has put aside the
	 * rest. VT-x: the current VMCS, in guest mode with the nested guest's state. What does not
	 * fit has no meaning.
	 */
	uint8_t vmcb[4072];
};

#endif
