// SPDX-License-Identifier: GPL-2.0-only
/*
 * SMM: the hypervisor says when an SMI is to be taken and when the guest is at RSM, and keeps the
 * map that is used in SMM; the vCPU's state is moved here. APM vol. 2 "System-Management Mode", SDM
 * "System Management Mode".
 */
#include "abi_nested.h"
#include "kmod.h"
#include "memory.h"
#include "trace.h"

#define HSAVE_PA 0xc0010117u

#define LM BIT(29) /* of CPUID's leaf 0x80000001, EDX */

/* The guest's CPUID decides on the layout of what is saved. < 0: error. */
static long has_long_mode(struct cb_vcpu *v)
{
	const struct kvm_cpuid_entry2 *e = (void *)v->data;
	long bytes = HC3(VCPU_GET, v->number, CORBEL_STATE_CPUID, PAGE_SIZE);
	u32 i;

	if (bytes < 0)
		return bytes;
	for (i = 0; i < min_t(size_t, bytes, PAGE_SIZE) / sizeof(*e); i++)
		if (e[i].function == 0x80000001)
			return !!(e[i].edx & LM);
	return 0;
}

static long get_state(struct cb_vcpu *v, struct smm_state *s, struct kvm_vcpu_events *events)
{
	const struct kvm_debugregs *d = (void *)v->data;
	long r = cb_state_get(v, CORBEL_STATE_SREGS, sizeof(s->sregs));

	memcpy(&s->sregs, v->data, sizeof(s->sregs));
	if (!r)
		r = cb_state_get(v, CORBEL_STATE_DEBUGREGS, sizeof(*d));
	s->dr6 = d->dr6;
	s->dr7 = d->dr7;
	if (!r)
		r = cb_state_get(v, CORBEL_STATE_MP, sizeof(u32));
	s->halted = *(u32 *)v->data == KVM_MP_STATE_HALTED;
	if (!r)
		r = cb_state_get(v, CORBEL_STATE_EVENTS, sizeof(*events));
	memcpy(events, v->data, sizeof(*events));
	s->shadow = events->interrupt.shadow;
	s->regs = *cb_regs(v);
	s->smbase = v->smbase;
	return r;
}

static long set_sregs(struct cb_vcpu *v, const struct kvm_sregs *s)
{
	memcpy(v->data, s, sizeof(*s));
	return cb_state_set(v, CORBEL_STATE_SREGS, sizeof(*s));
}

static long set_events(struct cb_vcpu *v, struct kvm_vcpu_events *e, bool smm, bool shadow)
{
	e->flags = 0; /* an SMI or INIT that has come meanwhile stays */
	e->smi.smm = smm;
	e->interrupt.shadow = shadow;
	memcpy(v->data, e, sizeof(*e));
	return cb_state_set(v, CORBEL_STATE_EVENTS, sizeof(*e));
}

/* All but the special registers and the events. */
static long set_rest(struct cb_vcpu *v, const struct smm_state *s)
{
	struct kvm_debugregs *d = (void *)v->data;
	long r = cb_state_get(v, CORBEL_STATE_DEBUGREGS, sizeof(*d));

	d->dr6 = s->dr6;
	d->dr7 = s->dr7;
	if (!r)
		r = cb_state_set(v, CORBEL_STATE_DEBUGREGS, sizeof(*d));
	*(u32 *)v->data = s->halted ? KVM_MP_STATE_HALTED : KVM_MP_STATE_RUNNABLE;
	if (!r)
		r = cb_state_set(v, CORBEL_STATE_MP, sizeof(u32));
	cb_put_regs(v, &s->regs);
	return r;
}

static u64 area_gpa(const struct cb_vcpu *v)
{
	return ((u64)v->smbase + SMM_AREA) | CORBEL_GFN_SMM << PAGE_SHIFT;
}

/* Where nothing can be written it goes nowhere, as on a bus. -EFAULT: what the VMM has there fails.
 */
static int write_area(struct cb_vcpu *v, const struct smm_state *s, bool has_lm)
{
	u64 gpa = area_gpa(v);
	unsigned long hva = cb_fault_hva(v->vm, gpa, SMM_AREA_BYTES, true);
	u8 area[SMM_AREA_BYTES];

	smm_save(area, s, has_lm);
	if (!hva)
		return 0;
	if (copy_to_user((void __user *)hva, area, sizeof(area)))
		return -EFAULT;
	cb_mem_mark_dirty(v, gpa, sizeof(area));
	return 0;
}

/* ---- a guest that runs a guest: what VMRUN has put aside is where the CPU puts it ---- */

#define NESTED_BYTES sizeof_field(struct corbel_nested, vmcb) /* of the page at VM_HSAVE_PA */

/* Where that is in the VMM; 0: nowhere. < 0: error. */
static long host_area(struct cb_vcpu *v, u64 *gpa, unsigned long *hva, bool write)
{
	struct corbel_msr *m = (void *)v->data;
	long r;

	*m = (struct corbel_msr){.index = HSAVE_PA};
	r = HC3(VCPU_GET, v->number, CORBEL_STATE_MSRS, 1);
	if (r != 1)
		return r < 0 ? r : -EINVAL;
	*gpa = m->data;
	*hva = cb_fault_hva(v->vm, *gpa, NESTED_BYTES, write);
	return 0;
}

/* The vCPU leaves guest mode, in which its state stays the nested guest's. */
static long put_nested(struct cb_vcpu *v, struct smm_state *s)
{
	struct corbel_nested *n = (void *)v->data;
	unsigned long hva;
	u64 gpa;
	long r = host_area(v, &gpa, &hva, true);

	if (!r)
		r = cb_state_get(v, CORBEL_STATE_NESTED, sizeof(*n));
	if (r)
		return r;
	s->nested = true;
	s->vmcb = n->vmcb_pa;
	if (hva && copy_to_user((void __user *)hva, n->vmcb, NESTED_BYTES))
		return -EFAULT;
	if (hva)
		cb_mem_mark_dirty(v, gpa, NESTED_BYTES);
	return 0;
}

static long leave_nested(struct cb_vcpu *v)
{
	struct corbel_nested *n = (void *)v->data;

	memset(n, 0, sizeof(*n));
	n->flags = CORBEL_NESTED_GIF;
	return cb_state_set(v, CORBEL_STATE_NESTED, sizeof(*n));
}

/* The guest may have written there, too: the hypervisor looks at it. -EINVAL */
static long enter_nested(struct cb_vcpu *v, const struct smm_state *s)
{
	struct corbel_nested *n = (void *)v->data;
	unsigned long hva;
	u64 gpa;

	if (host_area(v, &gpa, &hva, false) || !hva ||
	    copy_from_user(n->vmcb, (void __user *)hva, NESTED_BYTES))
		return -EINVAL;
	n->flags = CORBEL_NESTED_GIF | CORBEL_NESTED_GUEST_MODE;
	n->vmcb_pa = s->vmcb;
	if (cb_promise_nested(v)) /* it has had one before, perhaps in another VM */
		return -ENOMEM;
	return cb_state_set(v, CORBEL_STATE_NESTED, sizeof(*n));
}

static long take_smi(struct cb_vcpu *v)
{
	struct kvm_vcpu_events events;
	struct smm_state s = {};
	long has_lm = has_long_mode(v), r;

	r = has_lm < 0 ? has_lm : get_state(v, &s, &events);
	if (!r && !cb_ring_has_room(&v->dirty, 3)) /* what is written below */
		r = -ENOBUFS;
	if (!r && v->page->mode & CORBEL_MODE_GUEST)
		r = put_nested(v, &s);
	if (!r)
		r = write_area(v, &s, has_lm);
	if (!r && s.nested)
		r = leave_nested(v);
	if (r) {
		HC2(NMI, v->number, 1); /* it is still to be taken */
		return r;
	}
	trace_kvm_enter_smm(v->apic_id, v->smbase, true);
	smm_begin(&s, has_lm);
	events.smi.smm_inside_nmi = events.nmi.masked;
	events.nmi.masked = 1;
	r = set_events(v, &events, true, false);
	if (!r)
		r = set_sregs(v, &s.sregs);
	return r ? r : set_rest(v, &s);
}

/*
 * The four top entries of PAE's tables are read from memory at the next entry: they are to be
 * there.
 */
static void bring_pdptes(struct cb_vcpu *v, const struct kvm_sregs *s)
{
	if (s->cr0 & X86_CR0_PG && s->cr4 & X86_CR4_PAE && !(s->efer & EFER_LMA))
		cb_fault(v, s->cr3 & 0xffffffe0, 0);
}

/* The guest may have written there whatever it likes, and its other vCPUs do so now: -EINVAL */
static long end_smm(struct cb_vcpu *v)
{
	unsigned long hva = cb_fault_hva(v->vm, area_gpa(v), SMM_AREA_BYTES, false);
	struct kvm_vcpu_events events;
	u8 area[SMM_AREA_BYTES];
	struct smm_state s = {};
	long has_lm = has_long_mode(v), r;

	r = has_lm < 0 ? has_lm : get_state(v, &s, &events);
	if (r)
		return r;
	if (!hva || copy_from_user(area, (void __user *)hva, sizeof(area)) ||
	    !smm_load(&s, area, has_lm, cb_backend_vmx, boot_cpu_data.x86_phys_bits))
		return -EINVAL;
	r = set_sregs(v, &s.sregs);
	if (r)
		return r;
	events.nmi.masked = events.smi.smm_inside_nmi;
	r = set_events(v, &events, false, s.shadow);
	if (!r)
		r = set_rest(v, &s);
	v->smbase = s.smbase;
	trace_kvm_enter_smm(v->apic_id, v->smbase, false);
	if (!r && s.nested && cb_features & CORBEL_FEATURE_NESTED)
		return enter_nested(v, &s);
	bring_pdptes(v, &s.sregs);
	return r;
}

int cb_smm(struct cb_vcpu *v)
{
	long r = 0;

	if (READ_ONCE(v->page->in_smm)) {
		r = end_smm(v);
		if (r == -EINVAL) {
			WRITE_ONCE(v->run->exit_reason, KVM_EXIT_SHUTDOWN);
			return 0;
		}
	} else if (READ_ONCE(v->vm->has_smm)) { /* else there is nowhere for it to go */
		r = take_smi(v);
	}
	return r ? r : 1;
}
