/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The part of hv/abi.h that is about machine checks; it needs nothing of the rest. */
#ifndef CORBEL_ABI_ERROR_H
#define CORBEL_ABI_ERROR_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* A machine check that the machine survives, by its bank: for dom0's log of such. */
struct corbel_error {
	uint64_t status, addr, misc, synd, ipid; /* the last two where AMD's CPUs have them, or 0 */
	uint64_t mcg_status, mcg_cap;
	uint64_t tsc; /* when it was found */
	uint32_t bank, apic_id;
};
_Static_assert(sizeof(struct corbel_error) == 72, "the same for all");
#define CORBEL_ERRORS 32u

#endif
