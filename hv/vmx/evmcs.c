/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/vmx/evmcs.h"
#include "hv/guest/hyperv.h"
#include "hv/lib/string.h"
#include "hv/vmx/nested.h"

/* Of the VP assist page, from there on */
#define ASSIST_ENTRY 40u
struct assist_entry {
	u8 enlightened, reserved[7];
	u64 current;
};

#define AT_ERROR     688u
#define AT_CLEAN     824u
#define CLEAN_FIELDS 0xffffu

static const struct vmcs12_range fields[] = {
    {VMCS_HOST_ES_SEL, 7, 8},
    {VMCS_HOST_PAT, 2, 24},
    {VMCS_HOST_CR0, 3, 40},
    {VMCS_HOST_SYSENTER_ESP, 2, 64},
    {VMCS_HOST_RIP, 1, 80},
    {VMCS_HOST_SYSENTER_CS, 1, 88},
    {VMCS_PIN_CONTROLS, 1, 92},
    {VMCS_EXIT_CONTROLS, 1, 96},
    {VMCS_PROC2_CONTROLS, 1, 100},
    {VMCS_IO_BITMAP_A, 3, 104}, /* and MSR_BITMAP */
    {VMCS_GUEST_ES_SEL, 8, 128},
    {VMCS_GUEST_ES_LIMIT, 18, 144}, /* and access rights */
    {VMCS_GUEST_ES_BASE, 10, 216},
    {VMCS_EXIT_MSR_STORE, 3, 320}, /* EXIT_MSR_LOAD, ENTRY_MSR_LOAD */
    {VMCS_PF_ERROR_MASK, 2, 376},
    {VMCS_CR3_TARGETS, 1, 384},
    {VMCS_EXIT_MSR_STORES, 2, 388},
    {VMCS_ENTRY_MSR_LOADS, 1, 396},
    {VMCS_TSC_OFFSET, 1, 400},
    {VMCS_LINK_POINTER, 4, 416}, /* GUEST_DEBUGCTL, GUEST_PAT, GUEST_EFER */
    {VMCS_GUEST_PDPTE0, 4, 448},
    {VMCS_PENDING_DEBUG, 3, 480}, /* GUEST_SYSENTER_ESP, _EIP */
    {VMCS_ACTIVITY, 1, 504},
    {VMCS_GUEST_SYSENTER_CS, 1, 508},
    {VMCS_CR0_MASK, 4, 512}, /* and shadows */
    {VMCS_GUEST_CR0, 3, 544},
    {VMCS_GUEST_DR7, 1, 568},
    {VMCS_HOST_FS_BASE, 5, 576}, /* on to HOST_IDTR_BASE */
    {VMCS_HOST_RSP, 1, 616},
    {VMCS_EPTP, 1, 624},
    {VMCS_VPID, 1, 632},
    {VMCS_GUEST_PHYSICAL, 1, 680},
    {VMCS_INSN_ERROR, 8, AT_ERROR}, /* on to EXIT_INSN_INFO */
    {VMCS_QUALIFICATION, 1, 720},
    {VMCS_GUEST_LINEAR, 1, 760},
    {VMCS_GUEST_RSP, 1, 768},
    {VMCS_GUEST_RFLAGS, 1, 776},
    {VMCS_INTERRUPTIBILITY, 1, 784},
    {VMCS_PROC_CONTROLS, 2, 788}, /* EXCEPTIONS */
    {VMCS_ENTRY_CONTROLS, 1, 796},
    {VMCS_ENTRY_INTR_INFO, 3, 800}, /* ENTRY_ERROR, ENTRY_INSN_LEN */
    {VMCS_GUEST_RIP, 1, 816},
};

int evmcs_find(struct vcpu *v, u64 *at)
{
	struct assist_entry e;
	u64 page = v->lapic.pv_eoi & PAGE_MASK;
	int err;

	if (!evmcs_is_on(v) || !(v->services & CORBEL_HYPERV_MSRS) || !(v->lapic.pv_eoi & 1))
		return -ENOENT;
	err = nested_copy(v, page + ASSIST_ENTRY, &e, sizeof(e), false);
	if (err == -EAGAIN)
		return err;
	if (err || !e.enlightened || !~e.current)
		return -ENOENT;
	*at = e.current;
	return 0;
}

static void copy_range(const struct vmcs12_range *r, u8 *page, struct vmcs12 *m, bool load)
{
	u32 bytes = vmcs12_bytes(r->first);

	for (u32 i = 0; i < r->count; i++) {
		u8 *at = page + r->at + i * bytes;
		u64 val = 0;

		if (load) {
			memcpy(&val, at, bytes);
			vmcs12_set(m, r->first + 2 * i, val);
		} else {
			val = vmcs12_get(m, r->first + 2 * i);
			memcpy(at, &val, bytes);
		}
	}
}

static void copy_fields(u8 *page, struct vmcs12 *m, bool load)
{
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
		copy_range(&fields[i], page, m, load);
}

int evmcs_load(struct vcpu *v, u64 at, struct vmcs12 *m)
{
	u8 page[EVMCS_BYTES];
	u32 version;
	int err = -EINVAL;

	if (vmx_nested_region_valid(at))
		err = nested_copy(v, at, page, sizeof(page), false);
	if (err)
		return err;
	memcpy(&version, page, sizeof(version));
	/* Hyper-V writes what VMX_BASIC says */
	if (version != EVMCS_VERSION && version != VMCS12_REVISION)
		return -ENOENT;
	memset(m, 0, sizeof(*m));
	m->revision = VMCS12_REVISION;
	copy_fields(page, m, true);
	return 0;
}

int evmcs_store(struct vcpu *v, u64 at, struct vmcs12 *m)
{
	u8 page[EVMCS_BYTES];
	const u32 clean = CLEAN_FIELDS;
	int err = -EINVAL;

	if (vmx_nested_region_valid(at)) /* what is nobody's field stays as it is */
		err = nested_copy(v, at, page, sizeof(page), false);
	if (err)
		return err;
	copy_fields(page, m, false);
	memcpy(page + AT_CLEAN, &clean, sizeof(clean));
	return nested_copy(v, at, page, sizeof(page), true);
}

int evmcs_store_error(struct vcpu *v, u64 at, u32 error)
{
	if (!vmx_nested_region_valid(at))
		return -EINVAL;
	return nested_copy(v, at + AT_ERROR, &error, sizeof(error), true);
}
