/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The part of hv/abi.h that is about making VMs. */
#ifndef CORBEL_ABI_VM_H
#define CORBEL_ABI_VM_H

#include "abi.h"

struct corbel_vm_create {
	char name[32];
	uint32_t pid;	     /* of the VMM, for listings */
	uint32_t flags;	     /* CORBEL_VM_x */
	uint32_t user;	     /* whose VM it is */
	uint32_t bus_ns;     /* a cycle of its LAPICs' timers; 0: 1 ns */
	uint64_t user_pages; /* of the pool that this user's VMs may have; 0: no limit */
};
/* LAPICs in the hypervisor; without it HLT exits and interrupts come by STATE_INTERRUPT */
#define CORBEL_VM_LAPIC 1u
/*
 * Its vCPUs do these without an exit, and keep their CPU while they wait: HLT; MONITOR and MWAIT,
 * with CORBEL_FEATURE_MWAIT, else -EINVAL; loops of PAUSE. Intel: it reads for how long the core
 * was in which idle state
 */
#define CORBEL_VM_HLT	 2u
#define CORBEL_VM_MWAIT	 4u
#define CORBEL_VM_PAUSE	 8u
#define CORBEL_VM_CSTATE 16u

#endif
