/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU in VMX operation, saved and restored: CORBEL_STATE_NESTED. In guest mode its VMCS has the
 * nested guest's state as it is then.
 */
#include "hv/vmx/nested_state.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/string.h"
#include "hv/vmx/evmcs.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/nested_run.h"
#include "hv/vmx/state.h"

#define STATE_FLAGS (CORBEL_NESTED_GUEST_MODE | CORBEL_NESTED_PENDING | CORBEL_NESTED_EVMCS)

int vmx_nested_get_state(struct vcpu *v, struct corbel_nested *out)
{
	struct vmx_nested *n = vmx_nested(v);
	struct vmcs12 m;

	if (!n)
		return -EINVAL;
	if (vmx_nested_is_leaving(v))
		return -EAGAIN;
	memset(out, 0, sizeof(*out));
	out->vmxon_pa = n->vmxon;
	out->vmcb_pa = n->current;
	if (n->current == NOWHERE && !v->guest_mode) /* an eVMCS is in the guest's memory */
		return 0;
	memcpy(&m, &n->vmcs12, sizeof(m));
	if (v->guest_mode) {
		out->flags = CORBEL_NESTED_GUEST_MODE;
		if (n->current == NOWHERE)
			out->flags |= CORBEL_NESTED_EVMCS;
		vmx_nested_save(v, &m);
		if (vmx_of(v)->shadow) /* as the next entry has it */
			vmcs12_set(&m, VMCS_PENDING_DEBUG, vmx_pending_debug(v));
		vmcs12_set(&m, VMCS_ENTRY_INTR_INFO, n->inject);
		vmcs12_set(&m, VMCS_ENTRY_ERROR, n->inject_error);
		vmcs12_set(&m, VMCS_ENTRY_INSN_LEN, n->inject_len);
		if (n->inject || n->entering)
			out->flags |= CORBEL_NESTED_PENDING;
	}
	memcpy(out->vmcb, &m, sizeof(out->vmcb));
	return 0;
}

/* In guest mode there is a VMCS, which is current or an eVMCS. */
static bool flags_valid(struct vcpu *v, const struct corbel_nested *in)
{
	bool is_guest = in->flags & CORBEL_NESTED_GUEST_MODE;

	if (in->flags & ~(u64)STATE_FLAGS || (in->flags & CORBEL_NESTED_PENDING && !is_guest))
		return false;
	if (in->flags & CORBEL_NESTED_EVMCS)
		return evmcs_is_on(v) && in->vmcb_pa == NOWHERE;
	return !is_guest || in->vmcb_pa != NOWHERE;
}

/* What is in VMX operation, and what is current */
static bool places_valid(struct vcpu *v, const struct corbel_nested *in)
{
	if (in->vmxon_pa == NOWHERE)
		return in->vmcb_pa == NOWHERE && !(in->flags & CORBEL_NESTED_GUEST_MODE);
	return v->rights.vmx && vmx_nested_region_valid(in->vmxon_pa) &&
	       in->vmcb_pa != in->vmxon_pa &&
	       (in->vmcb_pa == NOWHERE || vmx_nested_region_valid(in->vmcb_pa));
}

int vmx_nested_set_state(struct vcpu *v, const struct corbel_nested *in)
{
	struct vmx_nested *n = vmx_nested(v);
	struct nested_limits limits;
	struct vmcs12 m = {0};
	bool is_guest = in->flags & CORBEL_NESTED_GUEST_MODE;

	if (!n || !flags_valid(v, in) || !places_valid(v, in))
		return -EINVAL;
	memcpy(&m, in->vmcb, sizeof(in->vmcb));
	limits = vmx_nested_limits(v, vmcs12_get(&m, VMCS_EXIT_CONTROLS) & EXIT_HOST_64);
	if ((is_guest || in->vmcb_pa != NOWHERE) && m.revision != VMCS12_REVISION)
		return -EINVAL;
	if (is_guest && (!n->shadow.pt.root.v || v->in_smm || vmcs12_refused(&m, &limits) ||
			 vmcs12_guest_refused(&m, &limits) >= 0))
		return -EINVAL;
	if (vmx_nested_is_leaving(v)) /* by what another VMCS says, which nobody has checked */
		v->complete = NULL;
	if (v->guest_mode)
		vmx_nested_end(v);
	n->vmxon = in->vmxon_pa;
	n->current = in->vmcb_pa;
	n->evmcs = NOWHERE;
	n->eptp = NOWHERE; /* the shadow is of other tables: memory has been restored, too */
	memcpy(&n->vmcs12, &m, sizeof(m));
	hvm->set(v, HVM_CR0, hvm->get(v, HVM_CR0)); /* as VMXON */
	vmx_nested_fix(v);
	if (!is_guest)
		return 0;
	vmx_nested_begin(v, false);
	n->entering = in->flags & CORBEL_NESTED_PENDING;
	return 0;
}
