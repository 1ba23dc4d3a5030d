/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's VMCS, as it lies in the guest's memory and is migrated: KVM's layout, so that a state
 * goes from and to KVM. A field is found by its encoding, in less than 1 KiB. Pure.
 */
#pragma once

#include "hv/vmx/vmcs.h"

/* The revision that VMX_BASIC tells, and what a region begins with */
#define VMCS12_REVISION 0x11e57ed0u
/* The highest index of a field's encoding, as VMX_VMCS_ENUM has it */
#define VMCS12_MAX_INDEX 0x15u

struct vmcs12 {
	u32 revision, reserved, launched;
	u8 fields[PAGE_SIZE - 12];
};
_Static_assert(sizeof(struct vmcs12) == PAGE_SIZE, "a page");

/* Fields that lie behind each other */
struct vmcs12_range {
	u16 first, count, at; /* encoding; offset in the page */
	bool moved;	      /* the hardware has the nested guest's just so, while that runs */
};
extern const struct vmcs12_range vmcs12_ranges[];
extern const u32 vmcs12_range_count;

/* Once, at boot */
void vmcs12_setup(void);
/* Is there such a field? Also the upper half of one, by the encoding that is higher by 1. */
bool vmcs12_has(u64 field);
/* How many bytes such a field has, here and in an eVMCS */
u32 vmcs12_bytes(u32 field);
/* A field that there is, by a number or VMCS_x. */
u64 vmcs12_get(const struct vmcs12 *m, u32 field);
void vmcs12_set(struct vmcs12 *m, u32 field, u64 val);

/* Bits 11:10 of an encoding */
enum vmcs_type { VMCS_CONTROL, VMCS_READ_ONLY, VMCS_GUEST, VMCS_HOST };
#define VMCS_TYPE(f) ((f) >> 10 & 3)
