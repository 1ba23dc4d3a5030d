/* SPDX-License-Identifier: GPL-2.0-only */
/* VMX instructions of a guest: see nested.h. SDM volume 3, "VMX Instruction Reference". */
#include "hv/vmx/nested.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/lib/string.h"
#include "hv/vmx/evmcs.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/nested_run.h"
#include "hv/vmx/state.h"

/* ---- in VMX operation, or not ---- */

void vmx_nested_reset(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);

	shadow_end_guest_mode(v);
	v->fixed_cr0 = v->fixed_cr4 = 0;
	vmx_of(v)->tlb_gen = NO_GEN;
	if (!n)
		return;
	n->inject = 0;
	n->vmxon = n->current = n->evmcs = n->eptp = NOWHERE;
}

#define FIXED_CR0 (CR0_PE | CR0_NE | CR0_PG)

void vmx_nested_fix(struct vcpu *v)
{
	const struct vmx_nested *n = vmx_nested(v);

	v->fixed_cr0 = v->fixed_cr4 = 0;
	if (n->vmxon != NOWHERE && !v->in_smm) {
		v->fixed_cr0 = FIXED_CR0;
		v->fixed_cr4 = CR4_VMXE;
	}
	if (v->guest_mode)
		v->fixed_cr0 = vmcs12_fixed_cr0(&n->vmcs12);
	vmx_write_cr_masks(v);
}

void vmx_nested_off(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);

	n->vmxon = n->current = NOWHERE;
	if (v->guest_mode)
		vmx_nested_end(v);
	vmx_nested_fix(v);
	vcpu_note(v, DUE_LOOK); /* at an INIT that it has held back */
}

/* RSM goes back to what it was, unless what has been saved is no state for that any more. */
void vmx_nested_smm(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);

	if (n->vmxon == NOWHERE)
		return;
	if (!v->in_smm && (~hvm->get(v, HVM_CR0) & FIXED_CR0 || !(hvm->get(v, HVM_CR4) & CR4_VMXE)))
		n->vmxon = n->current = NOWHERE;
	hvm->set(v, HVM_CR0, hvm->get(v, HVM_CR0)); /* as VMXON */
	vmx_nested_fix(v);
}

/* ---- what instructions say ---- */

/* SDM "VM Instruction Error Numbers"; the others are in hv/vmx/vmcs.c */
enum {
	OK = 0,
	CLEAR_ADDRESS = 2,
	CLEAR_VMXON = 3,
	LAUNCH_NOT_CLEAR = 4,
	RESUME_NOT_LAUNCHED = 5,
	LOAD_ADDRESS = 9,
	LOAD_VMXON = 10,
	LOAD_REVISION = 11,
	NO_FIELD = 12,
	READ_ONLY_FIELD = 13,
	ON_IN_ROOT = 15,
	ENTRY_MOV_SS = 26,
	BAD_INVALIDATE = 28,
	NO_VMCS = 0x100, /* VMfailInvalid */
	AGAIN,		 /* an exception, or memory is to be brought */
};

/* Into the VMCS, if there is one. -> what it comes to */
static u32 put_error(struct vcpu *v, u32 error)
{
	struct vmx_nested *n = vmx_nested(v);
	u64 at;
	int err;

	if (n->current != NOWHERE) {
		vmcs12_set(&n->vmcs12, VMCS_INSN_ERROR, error);
		return error;
	}
	err = evmcs_find(v, &at);
	if (!err)
		err = evmcs_store_error(v, at, error);
	if (err == -EAGAIN)
		return AGAIN;
	return err ? NO_VMCS : error;
}

/* VMsucceed, VMfailInvalid, VMfailValid; SDM "Conventions" */
static void conclude_insn(struct vcpu *v, u32 result, const struct vm_exit *x)
{
	if (result && result < NO_VMCS)
		result = put_error(v, result);
	if (result == AGAIN)
		return;
	v->rflags &= ~RFLAGS_ARITH;
	if (result)
		v->rflags |= result == NO_VMCS ? RFLAGS_CF : RFLAGS_ZF;
	vcpu_skip(v, x->insn_len);
}

/* Of an operand in memory: 0, or AGAIN. */
static u32 move_operand(struct vcpu *v, void *buf, u32 len, bool write)
{
	struct guest_fault f = {0};
	u64 linear, access = write ? WALK_WRITE : 0;
	int err = mmio_operand(v, len, write, &linear, &f);

	if (!err)
		err = vcpu_access_linear(v, linear, buf, len, access, &f);
	if (!err)
		return OK;
	guest_access_failed(v, err, &f);
	return AGAIN;
}

/* In a page of the guest's; where there is no memory, what is written is lost and read as ones. */
static u32 move_region(struct vcpu *v, u64 at, void *buf, u32 len, bool write)
{
	int err = nested_copy(v, at, buf, len, write);

	if (err == -EAGAIN)
		return AGAIN;
	if (err && !write)
		memset(buf, 0xff, len);
	return OK;
}

/* ---- instructions ---- */

static u32 insn_vmxon(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	u64 cr0 = hvm->get(v, HVM_CR0), at, both = FEATURE_LOCK | FEATURE_VMX;
	u32 revision, ret;

	if (n->vmxon != NOWHERE)
		return ON_IN_ROOT;
	if (~cr0 & (CR0_PE | CR0_NE | CR0_PG) || (v->feature_control & both) != both) {
		vcpu_inject_gp(v);
		return AGAIN;
	}
	ret = move_operand(v, &at, sizeof(at), false);
	if (ret)
		return ret;
	if (!vmx_nested_region_valid(at))
		return NO_VMCS;
	ret = move_region(v, at, &revision, sizeof(revision), false);
	if (ret || revision != VMCS12_REVISION)
		return ret ?: NO_VMCS;
	n->vmxon = at;
	n->current = NOWHERE;
	hvm->set(v, HVM_CR0, cr0); /* its shadow is up to date when bits are masked */
	vmx_nested_fix(v);
	return OK;
}

/* The current VMCS into the guest's memory. */
static u32 put_current(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	u32 ret = OK;

	if (n->current != NOWHERE)
		ret = move_region(v, n->current, &n->vmcs12, sizeof(n->vmcs12), true);
	if (!ret)
		n->current = NOWHERE;
	return ret;
}

/* The eVMCS that is named takes the place of the current VMCS. As evmcs_load() */
static int take_evmcs(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	u64 at;
	int err = evmcs_find(v, &at);

	n->evmcs = NOWHERE;
	if (err)
		return err;
	if (put_current(v))
		return -EAGAIN;
	err = evmcs_load(v, at, &n->vmcs12);
	if (!err)
		n->evmcs = at;
	return err;
}

static u32 insn_vmclear(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	u32 clear = 0, ret;
	u64 at, named;
	int err;

	ret = move_operand(v, &at, sizeof(at), false);
	if (ret)
		return ret;
	if (!vmx_nested_region_valid(at))
		return CLEAR_ADDRESS;
	if (at == n->vmxon)
		return CLEAR_VMXON;
	if (at == n->current) {
		n->vmcs12.launched = 0;
		return put_current(v);
	}
	err = evmcs_find(v, &named);
	if (err != -ENOENT) /* then it may be an eVMCS, which has no such field */
		return err ? AGAIN : OK;
	return move_region(v, at + offsetof(struct vmcs12, launched), &clear, sizeof(clear), true);
}

static u32 insn_vmptrld(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	u32 revision, ret;
	u64 at;

	ret = move_operand(v, &at, sizeof(at), false);
	if (ret)
		return ret;
	if (!vmx_nested_region_valid(at))
		return LOAD_ADDRESS;
	if (at == n->vmxon)
		return LOAD_VMXON;
	ret = move_region(v, at, &revision, sizeof(revision), false);
	if (ret || revision != VMCS12_REVISION)
		return ret ?: LOAD_REVISION;
	if (at == n->current)
		return OK;
	ret = put_current(v);
	if (!ret)
		ret = move_region(v, at, &n->vmcs12, sizeof(n->vmcs12), false);
	if (!ret)
		n->current = at;
	return ret;
}

static u32 insn_vmread(struct vcpu *v)
{
	const struct vmx_nested *n = vmx_nested(v);
	const struct insn *i = &v->emul->insn->insn;
	u32 size = hvm->get(v, HVM_MODE) == EMUL_64 ? 8 : 4;
	u64 field = v->gpr[i->reg], val;
	int err = 0;

	if (size == 4)
		field = (u32)field;
	if (n->current == NOWHERE) /* Windows reads its eVMCS so, too */
		err = take_evmcs(v);
	if (err)
		return err == -EAGAIN ? AGAIN : NO_VMCS;
	if (!vmcs12_has(field))
		return NO_FIELD;
	val = vmcs12_get(&n->vmcs12, field);
	if (i->has_mem)
		return move_operand(v, &val, size, true);
	v->gpr[i->rm] = size == 4 ? (u32)val : val;
	return OK;
}

static u32 insn_vmwrite(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	const struct insn *i = &v->emul->insn->insn;
	u32 size = hvm->get(v, HVM_MODE) == EMUL_64 ? 8 : 4, ret;
	u64 field = v->gpr[i->reg], val = 0;

	if (size == 4)
		field = (u32)field;
	if (n->current == NOWHERE)
		return NO_VMCS;
	if (!i->has_mem) {
		val = size == 4 ? (u32)v->gpr[i->rm] : v->gpr[i->rm];
	} else {
		ret = move_operand(v, &val, size, false);
		if (ret)
			return ret;
	}
	if (!vmcs12_has(field))
		return NO_FIELD;
	if (VMCS_TYPE(field) == VMCS_READ_ONLY)
		return READ_ONLY_FIELD;
	vmcs12_set(&n->vmcs12, field, val);
	return OK;
}

struct inv_descriptor {
	u64 what, linear;
};

/* What is invalidated is all that the shadow has; of VPIDs nothing outlives guest mode. */
static u32 insn_invalidate(struct vcpu *v, bool ept)
{
	const struct insn *i = &v->emul->insn->insn;
	struct inv_descriptor d;
	u64 type = v->gpr[i->reg];
	u32 ret = move_operand(v, &d, sizeof(d), false);

	if (ret)
		return ret;
	if (ept) {
		if ((type != INV_ONE && type != INV_ALL) ||
		    (type == INV_ONE && !vmcs12_eptp_valid(d.what, GENMASK(phys_bits - 1, 0))))
			return BAD_INVALIDATE;
		shadow_drop(v);
		return OK;
	}
	if (type > INV_VPID_LAST || d.what >> 16 || (type != INV_ALL && !d.what) ||
	    (!type && !is_canonical(d.linear)))
		return BAD_INVALIDATE;
	return OK;
}

/* qual: of the exit if they are wrong */
static u32 check_pdptes(struct vcpu *v, u64 addr_bits, int *qual)
{
	const struct vmcs12 *m = &vmx_nested(v)->vmcs12;
	u64 at = vmcs12_get(m, VMCS_GUEST_CR3) & GENMASK(31, 5), pdptes[4];
	u32 ret;

	if (*qual >= 0 || !vmcs12_loads_pdptes(m))
		return OK;
	ret = move_region(v, at, pdptes, sizeof(pdptes), false);
	if (!ret && !vmcs12_pdptes_valid(pdptes, addr_bits))
		*qual = QUAL_PDPTES;
	return ret;
}

static u32 launch_or_resume(struct vcpu *v, bool launch)
{
	struct vmx_nested *n = vmx_nested(v);
	struct nested_limits limits = vmx_nested_limits(v, hvm->get(v, HVM_EFER) & EFER_LMA);
	u32 refused;
	int qual, err = shadow_is_promised(v) ? take_evmcs(v) : -EAGAIN;

	if (err == -EINVAL)
		vcpu_inject_exception(v, VEC_UD, false, 0);
	if (err == -EINVAL || err == -EAGAIN)
		return AGAIN;
	if (!err) /* it does not know which it has been */
		n->vmcs12.launched = !launch;
	else if (n->current == NOWHERE)
		return NO_VMCS;
	if (vmx_of(v)->shadow & SHADOW_MOV_SS)
		return ENTRY_MOV_SS;
	if (launch && n->vmcs12.launched)
		return LAUNCH_NOT_CLEAR;
	if (!launch && !n->vmcs12.launched)
		return RESUME_NOT_LAUNCHED;
	refused = vmcs12_refused(&n->vmcs12, &limits);
	if (refused)
		return refused;
	qual = vmcs12_guest_refused(&n->vmcs12, &limits);
	if (!check_pdptes(v, limits.addr_bits, &qual))
		vmx_nested_launch(v, qual);
	return AGAIN; /* or rather with the nested guest */
}

/* SDM, of each: #UD outside of VMX operation and in modes that have none. */
static bool insn_allowed(struct vcpu *v, u32 reason)
{
	u64 efer = hvm->get(v, HVM_EFER);
	bool is_vmx = (reason >= EXIT_VMCLEAR && reason <= EXIT_VMXON) || reason == EXIT_INVEPT ||
		      reason == EXIT_INVVPID;

	return nested_insn_allowed(
	    v, v->rights.vmx && is_vmx && !(efer & EFER_LMA && hvm->get(v, HVM_MODE) != EMUL_64) &&
		   hvm->get(v, HVM_CR4) & CR4_VMXE &&
		   (reason == EXIT_VMXON || vmx_nested(v)->vmxon != NOWHERE));
}

static u32 carry_out(struct vcpu *v, u32 reason)
{
	switch (reason) {
	case EXIT_VMXON:
		return insn_vmxon(v);
	case EXIT_VMXOFF:
		vmx_nested_off(v);
		return OK;
	case EXIT_VMCLEAR:
		return insn_vmclear(v);
	case EXIT_VMPTRLD:
		return insn_vmptrld(v);
	case EXIT_VMPTRST:
		return move_operand(v, &vmx_nested(v)->current, sizeof(u64), true);
	case EXIT_VMREAD:
		return insn_vmread(v);
	case EXIT_VMWRITE:
		return insn_vmwrite(v);
	case EXIT_INVEPT:
	case EXIT_INVVPID:
		return insn_invalidate(v, reason == EXIT_INVEPT);
	default:
		return launch_or_resume(v, reason == EXIT_VMLAUNCH);
	}
}

void vmx_nested_insn(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	u32 reason = (u16)x->raw;
	int err;

	if (!insn_allowed(v, reason))
		return;
	err = vcpu_fetch(v, &f);
	if (err == -EINVAL) /* the code has changed meanwhile: once more */
		return;
	if (err)
		guest_access_failed(v, err, &f);
	else
		conclude_insn(v, carry_out(v, reason), x);
}

u32 vmx_nested_features(u64 *out)
{
	u32 n = 0;

	while (hvm_has_nested_vmx() &&
	       !nested_cap(MSR_VMX_BASIC + n, policy_cr4_mask() | CR4_VMXE, &out[n]))
		n++;
	return n;
}
