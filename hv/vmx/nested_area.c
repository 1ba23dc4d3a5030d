/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/vmx/nested_area.h"
#include "hv/cpu/spec.h"
#include "hv/guest/msr.h"
#include "hv/lib/apicdef.h"

/* FS and GS have fields, those of the local APIC's registers are not to be moved so. */
static bool area_msr_valid(const struct vmx_area *e, bool load)
{
	bool base = e->index == MSR_FS_BASE || e->index == MSR_GS_BASE;

	return !e->reserved && e->index >> 8 != MSR_X2APIC >> 8 && !(load && base);
}

static int area_entry(struct vcpu *v, u32 field, u32 i, struct vmx_area *e, bool write)
{
	u64 at = vmx_get12(v, field) + i * sizeof(*e);

	return nested_copy(v, at, e, sizeof(*e), write);
}

bool vmx_area_is_there(struct vcpu *v)
{
	u32 count = vmx_get12(v, VMCS_ENTRY_MSR_LOADS);
	struct vmx_area e;

	for (u32 i = 0; i < count; i++)
		if (area_entry(v, VMCS_ENTRY_MSR_LOAD, i, &e, false) == -EAGAIN)
			return false;
	return true;
}

int vmx_load_area(struct vcpu *v, u32 count_field, u32 field, u32 *failed)
{
	u32 count = vmx_get12(v, count_field), commands, done = 0;
	struct vmx_area e;

	for (u32 i = 0; i < count; i++) {
		int err = area_entry(v, field, i, &e, false);

		*failed = i + 1;
		if (err == -EAGAIN)
			return err;
		if (err || !area_msr_valid(&e, true) ||
		    vm_filters_msr(v->vm, e.index, CORBEL_MSR_WRITE))
			return -EINVAL;
		/* They take long and do the same again: the second is only looked at. */
		commands = (e.index == MSR_PRED_CMD) | (e.index == MSR_FLUSH_CMD) << 1;
		if (msr_write(v, e.index, e.value, done & commands))
			return -EINVAL;
		if (e.value)
			done |= commands;
	}
	return 0;
}

/* Its TSC is the guest's own, without what the nested guest's is off by. */
int vmx_store_area(struct vcpu *v)
{
	u32 count = vmx_get12(v, VMCS_EXIT_MSR_STORES);
	struct vmx_area e;

	for (u32 i = 0; i < count; i++) {
		int err = area_entry(v, VMCS_EXIT_MSR_STORE, i, &e, false);

		if (!err && (!area_msr_valid(&e, false) ||
			     vm_filters_msr(v->vm, e.index, CORBEL_MSR_READ) ||
			     msr_read(v, e.index, &e.value, e.index == MSR_TSC)))
			err = -EINVAL;
		if (!err)
			err = area_entry(v, VMCS_EXIT_MSR_STORE, i, &e, true);
		if (err)
			return err;
	}
	return 0;
}
