// SPDX-License-Identifier: GPL-2.0-only
/*
 * Register and state ioctls. The general registers stand in the vCPU page; all else is moved
 * through the vCPU's data page in the layout of KVM's own structures.
 */
#include "abi_nested.h"
#include "apf.h"
#include "hyperv.h"
#include "kmod.h"
#include "memory.h"

#define MAX_CPUID    (PAGE_SIZE / sizeof(struct corbel_cpuid))
#define MAX_MSRS     (PAGE_SIZE / sizeof(struct corbel_msr))
#define XSAVE_HEADER 512 /* offset of XSTATE_BV in the standard format */

static_assert(sizeof(struct kvm_sregs) == sizeof(struct corbel_sregs));
static_assert(sizeof(struct kvm_vcpu_events) == sizeof(struct corbel_vcpu_events));
static_assert(sizeof(struct kvm_debugregs) == sizeof(struct corbel_debugregs));
static_assert(sizeof(struct kvm_cpuid_entry2) == sizeof(struct corbel_cpuid));
static_assert(sizeof(struct kvm_msr_entry) == sizeof(struct corbel_msr));
static_assert(sizeof(struct kvm_guest_debug) == sizeof(struct corbel_guest_debug));
static_assert(CORBEL_NESTED_GUEST_MODE == KVM_STATE_NESTED_GUEST_MODE &&
	      CORBEL_NESTED_PENDING == KVM_STATE_NESTED_RUN_PENDING &&
	      CORBEL_NESTED_EVMCS == KVM_STATE_NESTED_EVMCS &&
	      CORBEL_NESTED_GIF == KVM_STATE_NESTED_GIF_SET);
static_assert(sizeof(struct kvm_x86_mce) == sizeof(struct corbel_mce));
static_assert(sizeof(struct kvm_regs) == offsetofend(struct corbel_vcpu_page, rflags) -
					     offsetof(struct corbel_vcpu_page, rax));

/* A blob that KVM and the hypervisor lay out alike. */
static long blob_get(struct cb_vcpu *v, u32 what, void __user *to, size_t len)
{
	long r = cb_state_get(v, what, len);

	if (r)
		return r;
	return copy_to_user(to, v->data, len) ? -EFAULT : 0;
}

static long blob_set(struct cb_vcpu *v, u32 what, const void __user *from, size_t len)
{
	if (copy_from_user(v->data, from, len))
		return -EFAULT;
	return cb_state_set(v, what, len);
}

static long get_regs(struct cb_vcpu *v, void __user *to)
{
	return copy_to_user(to, cb_regs(v), sizeof(struct kvm_regs)) ? -EFAULT : 0;
}

void cb_put_regs(struct cb_vcpu *v, const struct kvm_regs *regs)
{
	*cb_regs(v) = *regs;
	cb_regs(v)->rflags |= 2; /* always one */
	v->page->regs_dirty = 1;
}

static long set_regs(struct cb_vcpu *v, const void __user *from)
{
	struct kvm_regs regs;

	if (copy_from_user(&regs, from, sizeof(regs)))
		return -EFAULT;
	cb_put_regs(v, &regs);
	return 0;
}

/* Both structures are alike up to here. */
#define SREGS_COMMON offsetof(struct kvm_sregs, interrupt_bitmap)
static_assert(SREGS_COMMON == offsetof(struct kvm_sregs2, flags));

/* No PDPTRs: the CPU reads them from memory again where the hypervisor has let them go. */
static long get_sregs2(struct cb_vcpu *v, struct kvm_sregs2 __user *to)
{
	struct kvm_sregs2 s = {};
	long r = cb_state_get(v, CORBEL_STATE_SREGS, sizeof(struct kvm_sregs));

	if (r)
		return r;
	memcpy(&s, v->data, SREGS_COMMON);
	return copy_to_user(to, &s, sizeof(s)) ? -EFAULT : 0;
}

/* PDPTRs are those in memory, whatever user space has kept; they exist only in PAE paging. */
static long set_sregs2(struct cb_vcpu *v, const struct kvm_sregs2 __user *from)
{
	struct kvm_sregs2 s;
	bool pae;

	if (copy_from_user(&s, from, sizeof(s)))
		return -EFAULT;
	pae = (s.cr0 & X86_CR0_PG) && (s.cr4 & X86_CR4_PAE) && !(s.efer & EFER_LMA);
	if (s.flags & ~KVM_SREGS2_FLAGS_PDPTRS_VALID || (s.flags && !pae))
		return -EINVAL;
	memset(v->data, 0, sizeof(struct kvm_sregs));
	memcpy(v->data, &s, SREGS_COMMON);
	return cb_state_set(v, CORBEL_STATE_SREGS, sizeof(struct kvm_sregs));
}

/* The x87 and SSE part of the XSAVE area in the layout of FXSAVE. */
struct fxsave {
	u16 fcw, fsw;
	u8 ftw, pad;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16], xmm[16][16];
} __packed;

static long get_fpu(struct cb_vcpu *v, struct kvm_fpu __user *to)
{
	const struct fxsave *fx = (void *)v->data;
	struct kvm_fpu fpu = {};
	long r = cb_state_get(v, CORBEL_STATE_XSAVE, PAGE_SIZE);

	if (r)
		return r;
	memcpy(fpu.fpr, fx->st, sizeof(fpu.fpr));
	memcpy(fpu.xmm, fx->xmm, sizeof(fpu.xmm));
	fpu.fcw = fx->fcw;
	fpu.fsw = fx->fsw;
	fpu.ftwx = fx->ftw;
	fpu.last_opcode = fx->fop;
	fpu.last_ip = fx->fip;
	fpu.last_dp = fx->fdp;
	fpu.mxcsr = fx->mxcsr;
	return copy_to_user(to, &fpu, sizeof(fpu)) ? -EFAULT : 0;
}

static long set_fpu(struct cb_vcpu *v, const struct kvm_fpu __user *from)
{
	struct fxsave *fx = (void *)v->data;
	struct kvm_fpu fpu;
	long r;

	if (copy_from_user(&fpu, from, sizeof(fpu)))
		return -EFAULT;
	r = cb_state_get(v, CORBEL_STATE_XSAVE, PAGE_SIZE);
	if (r)
		return r;
	memcpy(fx->st, fpu.fpr, sizeof(fpu.fpr));
	memcpy(fx->xmm, fpu.xmm, sizeof(fpu.xmm));
	fx->fcw = fpu.fcw;
	fx->fsw = fpu.fsw;
	fx->ftw = fpu.ftwx;
	fx->fop = fpu.last_opcode;
	fx->fip = fpu.last_ip;
	fx->fdp = fpu.last_dp;
	fx->mxcsr = fpu.mxcsr;
	/* x87 and SSE are not in their initial state any more */
	*(u64 *)(v->data + XSAVE_HEADER) |= 3;
	return cb_state_set(v, CORBEL_STATE_XSAVE, PAGE_SIZE);
}

static long get_xcrs(struct cb_vcpu *v, struct kvm_xcrs __user *to)
{
	struct kvm_xcrs *x;
	long r = cb_state_get(v, CORBEL_STATE_XCR0, sizeof(u64));

	if (r)
		return r;
	x = kzalloc(sizeof(*x), GFP_KERNEL);
	if (!x)
		return -ENOMEM;
	x->nr_xcrs = 1;
	x->xcrs[0].value = *(u64 *)v->data;
	r = copy_to_user(to, x, sizeof(*x)) ? -EFAULT : 0;
	kfree(x);
	return r;
}

static long set_xcrs(struct cb_vcpu *v, const struct kvm_xcrs __user *from)
{
	struct kvm_xcrs *x = memdup_user(from, sizeof(*x));
	long r = 0;
	u32 i;

	if (IS_ERR(x))
		return PTR_ERR(x);
	if (x->nr_xcrs > KVM_MAX_XCRS || x->flags)
		r = -EINVAL;
	for (i = 0; !r && i < x->nr_xcrs; i++) {
		if (x->xcrs[i].xcr != 0)
			continue;
		*(u64 *)v->data = x->xcrs[i].value;
		r = cb_state_set(v, CORBEL_STATE_XCR0, sizeof(u64));
		break;
	}
	kfree(x);
	return r;
}

/* So many MSRs that are the hypervisor's, through the data page. Returns the number done. */
static long hypervisor_msrs(struct cb_vcpu *v, struct corbel_msr *m, u32 n, bool set)
{
	size_t len = n * sizeof(*m);
	long done;

	memcpy(v->data, m, len);
	done = set ? HC3(VCPU_SET, v->number, CORBEL_STATE_MSRS, n)
		   : HC3(VCPU_GET, v->number, CORBEL_STATE_MSRS, n);
	if (!set)
		memcpy(m, v->data, len);
	return min_t(long, done, n);
}

/* Of the VMM only: no guest reads or writes it. */
static long smbase_msr(struct cb_vcpu *v, u64 *val, bool set)
{
	if (!set)
		*val = v->smbase;
	else if (*val > U32_MAX)
		return 0;
	else
		v->smbase = *val;
	return 1;
}

static bool is_our_msr(u32 index)
{
	return index == MSR_IA32_SMBASE || tlfs_has_msr(index) || cb_apf_has_msr(index);
}

static long some_msrs(struct cb_vcpu *v, struct corbel_msr *m, u32 n, bool set)
{
	bool tsc = false;
	long done;
	u32 i;

	if (m->index == MSR_IA32_SMBASE)
		return smbase_msr(v, &m->data, set);
	if (tlfs_has_msr(m->index))
		return !cb_hyperv_msr(v, m->index, &m->data, set, true);
	if (cb_apf_has_msr(m->index))
		return !cb_apf_msr(v, m->index, &m->data, set, true);
	for (i = 0; i < n && !is_our_msr(m[i].index); i++)
		tsc |= set && m[i].index == MSR_IA32_TSC;
	done = hypervisor_msrs(v, m, i, set);
	if (tsc)
		cb_hyperv_clock_changed(v->vm);
	return done;
}

/* Returns the number of MSRs done, as KVM does. */
static long move_msrs(struct cb_vcpu *v, struct kvm_msrs __user *arg, bool set)
{
	struct corbel_msr *m;
	u32 n, done = 0;
	long r;

	if (get_user(n, &arg->nmsrs))
		return -EFAULT;
	if (n > MAX_MSRS)
		return -E2BIG;
	m = memdup_user(arg->entries, n * sizeof(*m));
	if (IS_ERR(m))
		return PTR_ERR(m);
	do {
		r = done < n ? some_msrs(v, m + done, n - done, set) : 0;
		done += max(r, 0l);
		cond_resched(); /* the end of a message goes to as many eventfds as there are */
	} while (r > 0 && !fatal_signal_pending(current));
	if (r >= 0 && !set && copy_to_user(arg->entries, m, done * sizeof(*m)))
		r = -EFAULT;
	kfree(m);
	return r < 0 ? r : done;
}

static long get_cpuid(struct cb_vcpu *v, struct kvm_cpuid2 __user *arg)
{
	long bytes;
	u32 room, n;

	if (get_user(room, &arg->nent))
		return -EFAULT;
	bytes = HC3(VCPU_GET, v->number, CORBEL_STATE_CPUID, PAGE_SIZE);
	if (bytes < 0)
		return bytes;
	n = min_t(size_t, bytes / sizeof(struct corbel_cpuid), MAX_CPUID);
	if (room < n)
		return -E2BIG;
	if (copy_to_user(arg->entries, v->data, n * sizeof(struct corbel_cpuid)) ||
	    put_user(n, &arg->nent))
		return -EFAULT;
	return 0;
}

/*
 * What KVM offers, as the guest is shown it. As in KVM, a vCPU that is at HLT without the
 * hypervisor's knowing it is not shown that another can end it by a hypercall.
 */
static u32 take_features(struct kvm_cpuid_entry2 *e, u32 n, bool no_unhalt)
{
	u32 i, features = 0, shown = 0;

	for (i = 0; i < n; i++) {
		if (!features && e[i].function >> 16 == 0x4000 && !(e[i].function & 0xff) &&
		    e[i].ebx == 0x4b4d564b && e[i].ecx == 0x564b4d56 && e[i].edx == 0x4d)
			features = e[i].function + 1;
	}
	for (i = 0; i < n; i++) {
		if (!features || e[i].function != features)
			continue;
		if (no_unhalt)
			e[i].eax &= ~BIT(KVM_FEATURE_PV_UNHALT);
		shown = e[i].eax;
	}
	return shown;
}

static long set_cpuid(struct cb_vcpu *v, const struct kvm_cpuid2 __user *arg)
{
	struct kvm_cpuid_entry2 *e = (void *)v->data;
	long r;
	u32 n, features;

	if (get_user(n, &arg->nent))
		return -EFAULT;
	if (n > MAX_CPUID)
		return -E2BIG;
	if (copy_from_user(e, arg->entries, n * sizeof(*e)))
		return -EFAULT;
	features = take_features(e, n, v->vm->no_exits & KVM_X86_DISABLE_EXITS_HLT);
	r = cb_state_set(v, CORBEL_STATE_CPUID, n * sizeof(*e));
	if (r)
		return r;
	v->pv_features = features;
	cb_hyperv_set_cpuid(v, e, n);
	return r;
}

static long get_tsc_khz(struct cb_vcpu *v)
{
	long r = cb_state_get(v, CORBEL_STATE_TSC_KHZ, sizeof(u64));

	return r ? r : *(u64 *)v->data;
}

static long set_tsc_khz(struct cb_vcpu *v, u64 khz)
{
	long r;

	*(u64 *)v->data = khz;
	r = cb_state_set(v, CORBEL_STATE_TSC_KHZ, sizeof(u64));
	cb_hyperv_clock_changed(v->vm);
	return r;
}

long cb_state_tsc_offset(struct cb_vcpu *v, u64 __user *arg, bool set)
{
	long r = set ? blob_set(v, CORBEL_STATE_TSC_OFFSET, arg, sizeof(u64))
		     : blob_get(v, CORBEL_STATE_TSC_OFFSET, arg, sizeof(u64));

	if (set)
		cb_hyperv_clock_changed(v->vm);
	return r;
}

static long set_mp_state(struct cb_vcpu *v, const void __user *arg)
{
	u32 state;

	if (copy_from_user(&state, arg, sizeof(state)))
		return -EFAULT;
	if (v->vm->irqchip == CB_IRQCHIP_NONE && state != KVM_MP_STATE_RUNNABLE)
		return -EINVAL;
	*(u32 *)v->data = state;
	return cb_state_set(v, CORBEL_STATE_MP, sizeof(u32));
}

/* Some of the events are taken over only where a flag says so. */
static u32 event_flags(const struct cb_vm *vm)
{
	u32 flags =
	    KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM;

	if (READ_ONCE(vm->exception_payload))
		flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (READ_ONCE(vm->triple_fault_event))
		flags |= KVM_VCPUEVENT_VALID_TRIPLE_FAULT;
	return flags;
}

static long get_events(struct cb_vcpu *v, struct kvm_vcpu_events *e)
{
	long r = cb_state_get(v, CORBEL_STATE_EVENTS, sizeof(*e));

	if (r)
		return r;
	memcpy(e, v->data, sizeof(*e));
	e->flags = event_flags(v->vm);
	if (!(e->flags & KVM_VCPUEVENT_VALID_PAYLOAD))
		e->exception.injected |= e->exception.pending;
	if (!(e->flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT))
		e->triple_fault.pending = 0;
	return 0;
}

static long copy_events(struct cb_vcpu *v, void __user *arg)
{
	struct kvm_vcpu_events e;
	long r = get_events(v, &e);

	if (r)
		return r;
	return copy_to_user(arg, &e, sizeof(e)) ? -EFAULT : 0;
}

static long put_events(struct cb_vcpu *v, struct kvm_vcpu_events e)
{
	const struct kvm_vcpu_events *now = (void *)v->data;
	long r;

	if (e.flags & ~(event_flags(v->vm) | KVM_VCPUEVENT_VALID_SIPI_VECTOR))
		return -EINVAL;
	if (!(e.flags & KVM_VCPUEVENT_VALID_PAYLOAD))
		e.exception.pending = 0;
	if (e.exception.pending)
		e.exception.injected = 0;
	else
		e.exception_has_payload = 0;
	r = cb_state_get(v, CORBEL_STATE_EVENTS, sizeof(e));
	if (!r && e.flags & KVM_VCPUEVENT_VALID_SMM && e.smi.smm)
		r = cb_mem_add_smm(v->vm);
	if (r)
		return r;
	if (!(e.flags & KVM_VCPUEVENT_VALID_NMI_PENDING))
		e.nmi.pending = now->nmi.pending;
	if (!(e.flags & KVM_VCPUEVENT_VALID_SIPI_VECTOR))
		e.sipi_vector = now->sipi_vector;
	if (!(e.flags & KVM_VCPUEVENT_VALID_SHADOW))
		e.interrupt.shadow = now->interrupt.shadow;
	if (!(e.flags & KVM_VCPUEVENT_VALID_TRIPLE_FAULT))
		e.triple_fault = now->triple_fault;
	if (!(e.flags & KVM_VCPUEVENT_VALID_SMM))
		e.smi = now->smi;
	memcpy(v->data, &e, sizeof(e));
	return cb_state_set(v, CORBEL_STATE_EVENTS, sizeof(e));
}

static long set_events(struct cb_vcpu *v, const void __user *arg)
{
	struct kvm_vcpu_events e;

	return copy_from_user(&e, arg, sizeof(e)) ? -EFAULT : put_events(v, e);
}

static long translate_address(struct cb_vcpu *v, struct kvm_translation __user *arg)
{
	struct corbel_translation found;
	struct kvm_translation t;
	long r;

	if (copy_from_user(&t, arg, sizeof(t)))
		return -EFAULT;
	*(u64 *)v->data = t.linear_address;
	r = cb_state_get(v, CORBEL_STATE_TRANSLATE, sizeof(u64));
	if (r)
		return r;
	memcpy(&found, v->data, sizeof(found));
	t.physical_address = found.valid ? found.gpa : ~0ull;
	t.valid = found.valid;
	t.writeable = found.writeable;
	t.usermode = found.usermode;
	return copy_to_user(arg, &t, sizeof(t)) ? -EFAULT : 0;
}

static u16 nested_format(void)
{
	return cb_backend_vmx ? KVM_STATE_NESTED_FORMAT_VMX : KVM_STATE_NESTED_FORMAT_SVM;
}

/* Behind the header: a VMCB in guest mode, or a VMCS that is current. */
static u32 nested_bytes(const struct kvm_nested_state *head)
{
	bool more = head->flags & KVM_STATE_NESTED_GUEST_MODE;

	if (cb_backend_vmx)
		more = head->hdr.vmx.vmcs12_pa != ~0ull || head->flags & KVM_STATE_NESTED_EVMCS;
	return more ? KVM_STATE_NESTED_SVM_VMCB_SIZE : 0;
}
static_assert(KVM_STATE_NESTED_SVM_VMCB_SIZE == KVM_STATE_NESTED_VMX_VMCS_SIZE);

/* KVM's header, and a page of which the hypervisor has no more than struct corbel_nested has. */
static long get_nested(struct cb_vcpu *v, struct kvm_nested_state __user *arg)
{
	const struct corbel_nested *n = (void *)v->data;
	struct kvm_nested_state head = {.format = nested_format()};
	u32 room;
	long r;

	if (get_user(room, &arg->size))
		return -EFAULT;
	r = cb_state_get(v, CORBEL_STATE_NESTED, sizeof(*n));
	if (r)
		return r;
	head.flags = n->flags;
	if (cb_backend_vmx) {
		head.hdr.vmx.vmxon_pa = n->vmxon_pa;
		head.hdr.vmx.vmcs12_pa = n->vmcb_pa;
	} else if (n->flags & CORBEL_NESTED_GUEST_MODE) {
		head.hdr.svm.vmcb_pa = n->vmcb_pa;
	}
	head.size = sizeof(head) + nested_bytes(&head);
	if (room < head.size)
		return put_user(head.size, &arg->size) ? -EFAULT : -E2BIG;
	if (copy_to_user(arg, &head, sizeof(head)))
		return -EFAULT;
	if (head.size == sizeof(head))
		return 0;
	if (clear_user(arg->data.svm, KVM_STATE_NESTED_SVM_VMCB_SIZE) ||
	    copy_to_user(arg->data.svm, n->vmcb, sizeof(n->vmcb)))
		return -EFAULT;
	return 0;
}

/* What of a header a VMM may give; the rest is the hypervisor's to look at. */
static bool nested_head_valid(const struct kvm_nested_state *head)
{
	u32 flags = KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING;

	flags |= cb_backend_vmx ? KVM_STATE_NESTED_EVMCS : KVM_STATE_NESTED_GIF_SET;
	if (cb_backend_vmx && (head->hdr.vmx.smm.flags || head->hdr.vmx.flags))
		return false;
	return head->size >= sizeof(*head) && head->format == nested_format() &&
	       !(head->flags & ~flags) && head->flags != KVM_STATE_NESTED_RUN_PENDING;
}

static long set_nested(struct cb_vcpu *v, const struct kvm_nested_state __user *arg)
{
	struct corbel_nested *n = (void *)v->data;
	struct kvm_nested_state head;
	long r;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (!nested_head_valid(&head))
		return -EINVAL;
	memset(n, 0, sizeof(*n));
	n->flags = head.flags;
	if (cb_backend_vmx) {
		n->vmxon_pa = head.hdr.vmx.vmxon_pa;
		n->vmcb_pa = head.hdr.vmx.vmcs12_pa;
	} else if (head.flags & KVM_STATE_NESTED_GUEST_MODE) {
		n->vmcb_pa = head.hdr.svm.vmcb_pa;
	}
	if (nested_bytes(&head)) {
		if (head.size < sizeof(head) + nested_bytes(&head))
			return -EINVAL;
		if (copy_from_user(n->vmcb, arg->data.svm, sizeof(n->vmcb)))
			return -EFAULT;
	}
	r = head.flags & KVM_STATE_NESTED_GUEST_MODE ? cb_promise_nested(v) : 0;
	return r ? r : cb_state_set(v, CORBEL_STATE_NESTED, sizeof(*n));
}

enum lapic_id { ID_OF_XAPIC, ID_SHIFTED, ID_OF_32_BITS };

/* That of x2APIC mode is in xAPIC's form unless KVM_CAP_X2APIC_API has been enabled. < 0: failed */
static long lapic_id_form(struct cb_vcpu *v)
{
	long r = cb_state_get(v, CORBEL_STATE_SREGS, sizeof(struct kvm_sregs));

	if (r)
		return r;
	if (!(((struct kvm_sregs *)v->data)->apic_base & X2APIC_ENABLE))
		return ID_OF_XAPIC;
	return READ_ONCE(v->vm->x2apic_api) & KVM_X2APIC_API_USE_32BIT_IDS ? ID_OF_32_BITS
									   : ID_SHIFTED;
}

static long get_lapic(struct cb_vcpu *v, void __user *arg)
{
	long form = lapic_id_form(v), r;

	cb_synic_freeze(v);
	r = form < 0 ? form : cb_state_get(v, CORBEL_STATE_LAPIC, KVM_APIC_REG_SIZE);
	if (r)
		return r;
	if (form == ID_OF_32_BITS)
		*(u32 *)(v->data + APIC_ID) = v->apic_id;
	return copy_to_user(arg, v->data, KVM_APIC_REG_SIZE) ? -EFAULT : 0;
}

static long set_lapic(struct cb_vcpu *v, const void __user *arg)
{
	long form = lapic_id_form(v);

	if (form < 0)
		return form;
	if (copy_from_user(v->data, arg, KVM_APIC_REG_SIZE))
		return -EFAULT;
	if (form == ID_OF_32_BITS && *(u32 *)(v->data + APIC_ID) != v->apic_id)
		return -EINVAL;
	if (form == ID_SHIFTED) /* it cannot be another */
		*(u32 *)(v->data + APIC_ID) = v->apic_id << 24;
	return cb_state_set(v, CORBEL_STATE_LAPIC, KVM_APIC_REG_SIZE);
}

static long move_lapic(struct cb_vcpu *v, void __user *arg, bool set)
{
	if (v->vm->irqchip == CB_IRQCHIP_NONE)
		return -EINVAL;
	return set ? set_lapic(v, arg) : get_lapic(v, arg);
}

long cb_state_ioctl(struct cb_vcpu *v, unsigned int cmd, void __user *arg)
{
	switch (cmd) {
	case KVM_GET_REGS:
		return get_regs(v, arg);
	case KVM_SET_REGS:
		return set_regs(v, arg);
	case KVM_GET_SREGS:
		return blob_get(v, CORBEL_STATE_SREGS, arg, sizeof(struct kvm_sregs));
	case KVM_SET_SREGS:
		return blob_set(v, CORBEL_STATE_SREGS, arg, sizeof(struct kvm_sregs));
	case KVM_GET_SREGS2:
		return get_sregs2(v, arg);
	case KVM_SET_SREGS2:
		return set_sregs2(v, arg);
	case KVM_GET_FPU:
		return get_fpu(v, arg);
	case KVM_SET_FPU:
		return set_fpu(v, arg);
	case KVM_GET_XSAVE:
	case KVM_GET_XSAVE2:
		return blob_get(v, CORBEL_STATE_XSAVE, arg, sizeof(struct kvm_xsave));
	case KVM_SET_XSAVE:
		return blob_set(v, CORBEL_STATE_XSAVE, arg, sizeof(struct kvm_xsave));
	case KVM_GET_XCRS:
		return get_xcrs(v, arg);
	case KVM_SET_XCRS:
		return set_xcrs(v, arg);
	case KVM_GET_MSRS:
		return move_msrs(v, arg, false);
	case KVM_SET_MSRS:
		return move_msrs(v, arg, true);
	case KVM_GET_CPUID2:
		return get_cpuid(v, arg);
	case KVM_SET_CPUID2:
		return set_cpuid(v, arg);
	case KVM_GET_LAPIC:
		return move_lapic(v, arg, false);
	case KVM_SET_LAPIC:
		return move_lapic(v, arg, true);
	case KVM_GET_VCPU_EVENTS:
		return copy_events(v, arg);
	case KVM_SET_VCPU_EVENTS:
		return set_events(v, arg);
	case KVM_GET_DEBUGREGS:
		return blob_get(v, CORBEL_STATE_DEBUGREGS, arg, sizeof(struct kvm_debugregs));
	case KVM_SET_DEBUGREGS:
		return blob_set(v, CORBEL_STATE_DEBUGREGS, arg, sizeof(struct kvm_debugregs));
	case KVM_GET_NESTED_STATE:
		return get_nested(v, arg);
	case KVM_SET_NESTED_STATE:
		return set_nested(v, arg);
	case KVM_SET_GUEST_DEBUG:
		return blob_set(v, CORBEL_STATE_GUEST_DEBUG, arg, sizeof(struct kvm_guest_debug));
	case KVM_GET_MP_STATE:
		return blob_get(v, CORBEL_STATE_MP, arg, sizeof(u32));
	case KVM_SET_MP_STATE:
		return set_mp_state(v, arg);
	case KVM_GET_TSC_KHZ:
		return get_tsc_khz(v);
	case KVM_SET_TSC_KHZ:
		return set_tsc_khz(v, (unsigned long)arg);
	case KVM_TRANSLATE:
		return translate_address(v, arg);
	case KVM_X86_SETUP_MCE:
		return blob_set(v, CORBEL_STATE_MCE_CAP, arg, sizeof(u64));
	case KVM_X86_SET_MCE:
		return blob_set(v, CORBEL_STATE_MCE, arg, sizeof(struct kvm_x86_mce));
	}
	return -ENOTTY;
}

/* ---- registers in the page that user space maps; it may change there at any time ---- */

int cb_sync_regs_take(struct cb_vcpu *v)
{
	const struct kvm_sync_regs __shared *s = &v->run->s.regs;
	u64 dirty = READ_ONCE(v->run->kvm_dirty_regs);

	if (dirty & KVM_SYNC_X86_REGS) {
		struct kvm_regs regs;

		shared_read(&regs, &s->regs, sizeof(regs));
		cb_put_regs(v, &regs);
	}
	if (dirty & KVM_SYNC_X86_SREGS) {
		shared_read(v->data, &s->sregs, sizeof(s->sregs));
		if (cb_state_set(v, CORBEL_STATE_SREGS, sizeof(s->sregs)))
			return -EINVAL;
	}
	if (dirty & KVM_SYNC_X86_EVENTS) {
		struct kvm_vcpu_events events;

		shared_read(&events, &s->events, sizeof(events));
		if (put_events(v, events))
			return -EINVAL;
	}
	WRITE_ONCE(v->run->kvm_dirty_regs, 0);
	return 0;
}

void cb_sync_regs_put(struct cb_vcpu *v)
{
	struct kvm_sync_regs __shared *s = &v->run->s.regs;
	u64 wanted = READ_ONCE(v->run->kvm_valid_regs);

	if (wanted & KVM_SYNC_X86_REGS)
		shared_write(&s->regs, cb_regs(v), sizeof(s->regs));
	if ((wanted & KVM_SYNC_X86_SREGS) && !cb_state_get(v, CORBEL_STATE_SREGS, sizeof(s->sregs)))
		shared_write(&s->sregs, v->data, sizeof(s->sregs));
	if (wanted & KVM_SYNC_X86_EVENTS) {
		struct kvm_vcpu_events events;

		if (!get_events(v, &events))
			shared_write(&s->events, &events, sizeof(events));
	}
}
