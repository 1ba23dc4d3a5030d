/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/vmx/vmcs12.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

const struct vmcs12_range vmcs12_ranges[] = {
    {VMCS_VPID, 1, 960},
    {VMCS_GUEST_ES_SEL, 8, 964, true},
    {VMCS_HOST_ES_SEL, 7, 982},
    {VMCS_IO_BITMAP_A, 6, 40}, /* on to ENTRY_MSR_LOAD */
    {VMCS_TSC_OFFSET, 1, 88},
    {VMCS_EPTP, 1, 120},
    {VMCS_GUEST_PHYSICAL, 1, 168},
    {VMCS_LINK_POINTER, 4, 176}, /* GUEST_DEBUGCTL, GUEST_PAT, GUEST_EFER */
    {VMCS_GUEST_PDPTE0, 4, 216, true},
    {VMCS_HOST_PAT, 2, 256},
    {VMCS_PIN_CONTROLS, 14, 744}, /* on to ENTRY_INSN_LEN */
    {VMCS_PROC2_CONTROLS, 1, 804},
    {VMCS_INSN_ERROR, 8, 808},
    {VMCS_GUEST_ES_LIMIT, 18, 840, true}, /* and access rights */
    {VMCS_INTERRUPTIBILITY, 2, 912},
    {VMCS_GUEST_SYSENTER_CS, 1, 920, true},
    {VMCS_HOST_SYSENTER_CS, 1, 924},
    {VMCS_CR0_MASK, 4, 344},
    {VMCS_QUALIFICATION, 1, 408},
    {VMCS_GUEST_LINEAR, 1, 416},
    {VMCS_GUEST_CR0, 3, 424},
    {VMCS_GUEST_ES_BASE, 10, 448, true},
    {VMCS_GUEST_DR7, 4, 528},
    {VMCS_PENDING_DEBUG, 3, 560, true}, /* and GUEST_SYSENTER_ESP, _EIP */
    {VMCS_HOST_CR0, 12, 584},
};
const u32 vmcs12_range_count = ARRAY_SIZE(vmcs12_ranges);

u32 vmcs12_bytes(u32 field)
{
	static const u8 bytes[] = {2, 8, 4, 8}; /* enum vmcs_width */

	return bytes[VMCS_WIDTH(field)];
}

/* Width, type and index of an encoding; SDM "Field Encoding in VMCS" */
#define KEY(f) (((f) >> 13 & 3) << 7 | ((f) >> 10 & 3) << 5 | ((f) >> 1 & 31))
static u16 offsets[512]; /* by KEY(); 0: no such field */

void vmcs12_setup(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(vmcs12_ranges); i++) {
		const struct vmcs12_range *r = &vmcs12_ranges[i];

		for (u32 n = 0; n < r->count; n++)
			offsets[KEY(r->first + 2 * n)] = r->at + n * vmcs12_bytes(r->first);
	}
}

bool vmcs12_has(u64 field)
{
	/* bits 15 and 12 are always 0, the index has 5 bits here; halves are of 64-bit fields */
	if (field & ~0x6c3full || (field & 1 && VMCS_WIDTH(field) != VMCS_W64))
		return false;
	return offsets[KEY(field)];
}

static u8 *place_of(const struct vmcs12 *m, u32 field, u32 *bytes)
{
	u32 at = offsets[KEY(field)], half = field & 1;

	BUG_ON(!at || at + 8 > sizeof(*m));
	*bytes = half ? 4 : vmcs12_bytes(field);
	return (u8 *)m + at + 4 * half;
}

u64 vmcs12_get(const struct vmcs12 *m, u32 field)
{
	u64 val = 0;
	u32 bytes;
	const u8 *at = place_of(m, field, &bytes);

	memcpy(&val, at, bytes);
	return val;
}

void vmcs12_set(struct vmcs12 *m, u32 field, u64 val)
{
	u32 bytes;
	u8 *at = place_of(m, field, &bytes);

	memcpy(at, &val, bytes);
}
