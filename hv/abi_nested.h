/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * CORBEL_STATE_NESTED: a guest that runs guests, on AMD-V. As in struct kvm_nested_state of format
 * KVM_STATE_NESTED_FORMAT_SVM: the state of a vCPU in guest mode is the nested guest's, and this
 * is what was put aside. To be set behind the state of registers, since it needs EFER.SVME.
 */
#ifndef CORBEL_ABI_NESTED_H
#define CORBEL_ABI_NESTED_H

#include "abi.h"

#define CORBEL_NESTED_GUEST_MODE 1u /* KVM_STATE_NESTED_x, as are the next two */
#define CORBEL_NESTED_PENDING	 2u /* VMRUN's EVENTINJ is still to be injected */
#define CORBEL_NESTED_GIF	 0x100u

struct corbel_nested {
	uint64_t flags; /* CORBEL_NESTED_x; without GUEST_MODE the rest is 0 */
	uint64_t vmcb_pa;
	/*
	 * of the guest's VMCB the controls, of its own state that VMRUN has put aside the rest;
	 * what does not fit has no meaning
	 */
	uint8_t vmcb[4080];
};

#endif
