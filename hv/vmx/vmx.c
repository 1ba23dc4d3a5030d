/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel VT-x back end: capability check, per-CPU and per-vCPU set-up, entry. SDM volume 3, "Virtual
 * Machine Extensions".
 */
#include "hv/vmx/vmx.h"
#include "boot/options.h"
#include "hv/cpu/irq.h"
#include "hv/guest/entry.h"
#include "hv/guest/spin.h"
#include "hv/lib/string.h"
#include "hv/vmx/bochs.h"
#include "hv/vmx/decode.h"
#include "hv/vmx/direct.h"
#include "hv/vmx/event.h"
#include "hv/vmx/nested_event.h"
#include "hv/vmx/nested_run.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/state.h"

#define MSR_VMX_PIN   0x481
#define MSR_VMX_ENTRY 0x484
#define VMX_TRUE      12 /* the TRUE MSR of those for pin..entry lies this much higher */

static struct vmx_msrs msrs; /* set once, by vmx_probe() */

static void read_msrs(struct vmx_msrs *out)
{
	u64 raw[sizeof(*out) / sizeof(u64)] = {0};

	for (u32 i = 0; i < ARRAY_SIZE(raw); i++) {
		u32 msr = MSR_VMX_BASIC + i;

		if (raw[0] & BASIC_TRUE && msr >= MSR_VMX_PIN && msr <= MSR_VMX_ENTRY)
			msr += VMX_TRUE;
		rdmsr_safe(msr, &raw[i]);
	}
	memcpy(out, raw, sizeof(*out));
}

static void tell_caps(struct hvm_caps *caps)
{
	const struct vmx_controls *c = &vmx_ctl;

	caps->p2m = &pt_ept;
	if (c->ept_ad)
		caps->p2m = &pt_ept_ad;
	caps->p2m_1g = c->ept_1g;
	if (c->proc2 & PROC2_TSC_SCALE)
		caps->tsc_frac = HVM_TSC_MUL_FRAC;
	if (c->proc2 & PROC2_X2APIC)
		caps->msr_map_order = 1; /* another for vCPUs that are direct */
	if (c->proc2 & PROC2_VID)
		caps->flags |= HVM_CAP_VID;
	if (c->pin & PIN_POSTED)
		caps->flags |= HVM_CAP_POST;
	if (c->entry & ENTRY_LOAD_PERF)
		caps->flags |= HVM_CAP_PERF_CTRL;
	if (!(c->proc2 & PROC2_RDTSCP))
		caps->flags |= HVM_CAP_NO_RDTSCP;
	if (!(c->proc2 & PROC2_XSAVES))
		caps->flags |= HVM_CAP_NO_XSAVES;
	if (!(c->proc2 & PROC2_INVPCID))
		caps->flags |= HVM_CAP_NO_INVPCID;
}

static bool is_left_out(const char *name)
{
	return cap_masked(name) || vmx_is_broken(cpuid_read(1, 0).a, name);
}

const char *vmx_probe(struct hvm_caps *caps)
{
	const char *why;
	u64 feature;

	if (!hvm_has_vmx() || cap_named("vmx"))
		return "this CPU has no VT-x (VMX) or hides it; enable it in the firmware set-up, "
		       "or use -cpu host with nested KVM";
	rdmsr_safe(MSR_FEATURE_CONTROL, &feature);
	if (feature & FEATURE_LOCK && !(feature & FEATURE_VMX))
		return "VT-x is switched off and locked; enable Intel Virtualization Technology in "
		       "the firmware set-up";
	read_msrs(&msrs);
	why = vmx_choose_controls(&msrs, is_left_out, &vmx_ctl);
	if (why)
		return why;
	vmx_quirk_controls(&vmx_ctl);
	tell_caps(caps);
	irq_set(VEC_VMCS, vmcs_wanted_irq);
	if (boot_info.opt.nested) {
		caps->flags |= HVM_CAP_NESTED;
		caps->nested_order = VMX_NESTED_ORDER;
		nested_rules_setup(&msrs, &vmx_ctl);
	}
	log_info("vmx: controls pin %x proc %x %x exit %x entry %x", vmx_ctl.pin, vmx_ctl.proc,
		 vmx_ctl.proc2, vmx_ctl.exit, vmx_ctl.entry);
	return NULL;
}

int vmx_cpu_enable(struct cpu *c)
{
	struct vmx_cpu *p = c->vmx;
	struct vmx_msrs own;
	u64 feature;

	read_msrs(&own);
	if (!vmx_controls_fit(&own, &msrs, &vmx_ctl)) {
		log_warn("the CPU with APIC id %u has not the VT-x of the boot CPU; mask= can keep "
			 "all from what only some have",
			 c->apic_id);
		return -ENODEV;
	}
	if (!p) {
		p = c->vmx = pool_alloc(VMX_CPU_ORDER, NULL);
		if (!p)
			return -ENOMEM;
		*(u32 *)p->vmxon = msrs.basic & BASIC_REVISION;
	}
	rdmsr_safe(MSR_FEATURE_CONTROL, &feature);
	if (!(feature & FEATURE_LOCK)) {
		feature |= FEATURE_LOCK | FEATURE_VMX;
		wrmsr_safe(MSR_FEATURE_CONTROL, feature);
	}
	if (!(feature & FEATURE_VMX))
		return -ENODEV;
	write_cr4(read_cr4() | CR4_VMXE);
	if (~read_cr0() & msrs.cr0_fixed0 || ~read_cr4() & msrs.cr4_fixed0)
		return -ENODEV;
	if (vmx_on(virt_to_hpa(p)))
		return -EIO;
	p->on = true;
	for (u32 i = 0; i < SYSCALL_MSRS; i++)
		p->syscall_msr[i] = rdmsr(MSR_STAR + i);
	/* What translations the CPU may have kept from before is nobody's now. */
	if (vmx_ctl.invept_all)
		vmx_invept(INV_ALL, 0);
	return 0;
}

void vmx_cpu_disable(struct cpu *c)
{
	struct vmx_cpu *p = c->vmx;

	if (!p || !p->on)
		return;
	p->on = false;
	vmcs_clear_all(); /* what is written back later would be so into others' memory */
	__asm__ volatile("vmxoff" ::: "memory", "cc");
	write_cr4(read_cr4() & ~CR4_VMXE);
}

/* ---- VMs ---- */

static void set_exits(u8 *byte, u8 bit, bool exits)
{
	if (exits)
		WRITE_ONCE(*byte, *byte | bit);
	else
		WRITE_ONCE(*byte, *byte & ~bit);
}

/*
 * SDM "MSR-Bitmap Address": reads low, reads high, writes low, writes high, 1 KiB each; see
 * SYSCALL_MSRS.
 */
void vmx_direct_msr(struct vm *vm, u32 msr, bool reads, bool writes)
{
	u32 at = msr % HVM_MSR_RANGE / 8;
	u8 *end = vm->msr_map + (PAGE_SIZE << hvm_caps.msr_map_order);

	BUG_ON(msr % HVM_MSR_HIGH >= HVM_MSR_RANGE);
	if (msr >= HVM_MSR_HIGH)
		at += HVM_MSR_RANGE / 8;
	for (u8 *map = vm->msr_map; map < end; map += PAGE_SIZE) {
		set_exits(&map[at], BIT(msr % 8), !reads);
		set_exits(&map[at + MSR_MAP_WRITES], BIT(msr % 8),
			  !writes || vmx_is_syscall_msr(msr));
	}
}

/* ---- vCPUs ---- */

void vmx_vcpu_destroy(struct vcpu *v)
{
	vmcs_free(v);
	pool_free(vmx_of(v)->virtual_apic, 0, &v->vm->acct);
}

int vmx_vcpu_init(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);

	s->virtual_apic = pool_alloc(0, &v->vm->acct);
	if (!s->virtual_apic || vmcs_alloc(v, msrs.basic))
		return -ENOMEM;
	if (v->vm->is_dom0 && vmx_ctl.proc2 & PROC2_X2APIC)
		vmx_direct_msrs(v->vm); /* all maps are copies */
	return 0;
}

/* 0 is the hypervisor's own. */
static u16 vmx_vpid(const struct vcpu *v)
{
	return v->id + 1;
}

void vmx_set_map(struct vcpu *v)
{
	vmcs_write64(VMCS_EPTP, vmx_eptp(v)); /* the flush: by its tlb_gen */
	vmx_current(v)->watch |= WATCH_PDPTES;
	if (v->shadow)
		vmx_nested_smm(v);
}

/* EFER and PAT: by controls, or both by the areas. */
static void init_areas(struct vmx_vcpu *s)
{
	bool efer = vmx_ctl.entry & ENTRY_LOAD_EFER, pat = vmx_ctl.entry & ENTRY_LOAD_PAT;
	u32 n = efer && pat ? 0 : AREA_NR;

	s->guest[AREA_EFER].index = s->host[AREA_EFER].index = MSR_EFER;
	s->guest[AREA_PAT].index = s->host[AREA_PAT].index = MSR_PAT;
	s->host[AREA_EFER].value = rdmsr(MSR_EFER);
	s->host[AREA_PAT].value = rdmsr(MSR_PAT);
	vmcs_write64(VMCS_ENTRY_MSR_LOAD, virt_to_hpa(s->guest).v);
	vmcs_write64(VMCS_EXIT_MSR_LOAD, virt_to_hpa(s->host).v);
	vmcs_write32(VMCS_ENTRY_MSR_LOADS, n);
	vmcs_write32(VMCS_EXIT_MSR_LOADS, n);
	if (efer)
		vmcs_write64(VMCS_HOST_EFER, s->host[AREA_EFER].value);
	if (pat)
		vmcs_write64(VMCS_HOST_PAT, s->host[AREA_PAT].value);
}

/* What a reset writes to every VMCS; 0 where no value is named. */
static const struct {
	u32 field;
	u64 value;
} reset_fields[] = {
    {VMCS_EXCEPTIONS, HVM_OUR_EXCEPTIONS},
    {VMCS_PF_ERROR_MASK}, /* all error codes match: #PF follows its bit in EXCEPTIONS */
    {VMCS_PF_ERROR_MATCH},
    {VMCS_CR3_TARGETS},
    {VMCS_ENTRY_INTR_INFO},
    {VMCS_EXIT_MSR_STORES},
    {VMCS_LINK_POINTER, ~0ull},

    {VMCS_GUEST_DEBUGCTL},
    {VMCS_PENDING_DEBUG},
    {VMCS_ACTIVITY},
    {VMCS_INTERRUPTIBILITY},

    {VMCS_HOST_CS_SEL, SEL_CODE},
    {VMCS_HOST_SS_SEL, SEL_DATA},
    {VMCS_HOST_DS_SEL, SEL_DATA},
    {VMCS_HOST_ES_SEL, SEL_DATA},
    {VMCS_HOST_FS_SEL},
    {VMCS_HOST_GS_SEL},
    {VMCS_HOST_TR_SEL, SEL_TSS},
    {VMCS_HOST_FS_BASE},
    {VMCS_HOST_SYSENTER_CS},
    {VMCS_HOST_SYSENTER_ESP},
    {VMCS_HOST_SYSENTER_EIP},
    {VMCS_HOST_RIP, (u64)vmx_exit},
};

#define NOTIFY_TICKS 131072 /* more than any instruction takes */

/* What exits in other VMs */
static void allow_waiting(struct vmx_vcpu *s, u32 flags)
{
	if (flags & CORBEL_VM_HLT)
		s->proc &= ~PROC_HLT;
	if (flags & CORBEL_VM_MWAIT)
		s->proc &= ~(PROC_MWAIT | PROC_MONITOR);
	if (flags & CORBEL_VM_PAUSE)
		s->proc2 &= ~PROC2_PAUSE;
}

static void init_controls(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_current(v);
	struct vm *vm = v->vm;

	s->proc = vmx_ctl.proc;
	s->proc2 = vmx_ctl.proc2;
	if (vm->is_dom0)
		s->proc2 &= ~(PROC2_WBINVD | PROC2_BUS_LOCK | PROC2_NOTIFY);
	if (!vm->has_lapic)
		s->proc |= PROC_CR8_LOAD;
	allow_waiting(s, vm->flags);
	for (u32 i = 0; i < ARRAY_SIZE(reset_fields); i++)
		vmcs_write(reset_fields[i].field, reset_fields[i].value);
	vmcs_write32(VMCS_PROC_CONTROLS, s->proc);
	vmx_switch_direct(v, false); /* the other controls that have to do with it */
	vmcs_write32(VMCS_EXIT_CONTROLS, vmx_ctl.exit);
	vmcs_write32(VMCS_ENTRY_CONTROLS, vmx_ctl.entry);
	vmx_write_cr_masks(v);
	vmcs_write64(VMCS_IO_BITMAP_A, virt_to_hpa(vm->io_map).v);
	vmcs_write64(VMCS_IO_BITMAP_B, virt_to_hpa(vm->io_map + PAGE_SIZE).v);
	vmcs_write64(VMCS_EPTP, vmx_eptp(v));
	if (s->proc & PROC_TPR_SHADOW) {
		vmcs_write64(VMCS_VIRTUAL_APIC, virt_to_hpa(s->virtual_apic).v);
		vmcs_write32(VMCS_TPR_THRESHOLD, s->threshold_hw = 0);
	}
	for (u32 i = 0; i < 4 && s->proc2 & PROC2_VID; i++)
		vmcs_write(VMCS_EOI_EXIT0 + 2 * i, s->eoi_exits[i] = 0);
	if (vmx_ctl.pin & PIN_POSTED) {
		vmcs_write16(VMCS_POSTED_VECTOR, VEC_POSTED);
		vmcs_write64(VMCS_POSTED_DESCRIPTOR, virt_to_hpa(v->lapic.irr).v);
	}
	if (s->proc2 & PROC2_VPID)
		vmcs_write16(VMCS_VPID, vmx_vpid(v));
	if (s->proc2 & PROC2_ENCLS)
		vmcs_write64(VMCS_ENCLS_BITMAP, ~0ull);
	if (s->proc2 & PROC2_ENCLV)
		vmcs_write64(VMCS_ENCLV_BITMAP, ~0ull);
	if (s->proc2 & PROC2_XSAVES)
		vmcs_write64(VMCS_XSS_BITMAP, 0);
	if (s->proc2 & PROC2_PAUSE) {
		vmcs_write32(VMCS_PLE_GAP, SPIN_GAP);
		vmcs_write32(VMCS_PLE_WINDOW, SPIN_WINDOW);
	}
	if (s->proc2 & PROC2_NOTIFY)
		vmcs_write32(VMCS_NOTIFY_WINDOW, NOTIFY_TICKS);
	if (vmx_ctl.entry & ENTRY_LOAD_PERF) {
		vmcs_write64(VMCS_GUEST_PERF_GLOBAL, 0);
		vmcs_write64(VMCS_HOST_PERF_GLOBAL, 0);
	}
	vmx_set_tsc(v);
	vmcs_writen(VMCS_GUEST_RSP, s->rsp = 0);
	vmcs_writen(VMCS_GUEST_RFLAGS, s->rflags = RFLAGS_FIXED);
	vmx_quirk_reset();
	init_areas(s);
}

void vmx_vcpu_reset(struct vcpu *v, bool init)
{
	struct vmx_vcpu *s = vmx_of(v);

	vmx_nested_reset(v);
	init_controls(v);
	if (!init) {
		memset(s->syscall_msr, 0, sizeof(s->syscall_msr));
		s->kernel_gs_base = 0;
		vmcs_write32(VMCS_GUEST_SYSENTER_CS, 0);
		vmcs_writen(VMCS_GUEST_SYSENTER_ESP, 0);
		vmcs_writen(VMCS_GUEST_SYSENTER_EIP, 0);
	}
	s->watch = s->shadow = s->intr_state_hw = s->intr_status = 0;
}

/* ---- running ---- */

static __noinline void flush_p2m(struct vcpu *v, u64 gen)
{
	u64 type = vmx_ctl.invept_single ? INV_ONE : INV_ALL;

	if (v->nested_paging) {
		shadow_follow(v, gen);
		vmcs_write64(VMCS_EPTP, vmx_eptp(v));
		BUG_ON(v->shadow->gen != gen);
	}
	if (!v->guest_mode)
		vmx_set_msr_map(v);
	vmx_invept(type, vmx_eptp(v));
	vmx_of(v)->tlb_gen = gen;
}

/* Is there more to an entry than RIP, RSP, RFLAGS and TPR? */
static inline bool is_watched(const struct vcpu *v, const struct vmx_vcpu *s)
{
	return s->watch | v->nmi_masked | READ_ONCE(v->due) | v->lapic.hw_stale;
}

static __noinline void prepare_watched(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);

	vmx_apic_to_hw(v);
	if (s->watch & WATCH_L2)
		vmx_nested_enter(v);
	vmx_write_blocking(v);
	if (s->watch & WATCH_VPID && vmx_ctl.invvpid)
		vmx_invvpid(vmx_ctl.invvpid, vmx_vpid(v));
	s->watch &= ~(WATCH_INJECT | WATCH_INJECT_NMI | WATCH_VPID);
}

static __noinline void note_blocking(struct vcpu *v, u32 state)
{
	struct vmx_vcpu *s = vmx_of(v);

	s->intr_state_hw = state;
	s->shadow = state & (SHADOW_STI | SHADOW_MOV_SS);
	v->nmi_masked = state & BLOCKED_NMI;
	s->watch |= WATCH_BLOCK;
}

static void take_back_event(struct vcpu *v, u32 event, u32 error, u32 len)
{
	if (v->guest_mode)
		vmx_nested_take_back(v, event, error, len);
	else
		hvm_take_back_event(v, event, error);
}

/* The event of this entry has not come, and stays in the VMCS if it is not taken away. */
static __noinline void withdraw_event(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 event = vmcs_read32(VMCS_ENTRY_INTR_INFO);

	vmcs_write32(VMCS_ENTRY_INTR_INFO, 0);
	if (s->watch & WATCH_INJECT_NMI)
		v->nmi_masked = false;
	s->watch &= ~(WATCH_INJECT | WATCH_INJECT_NMI);
	if (event & EVT_VALID)
		take_back_event(v, event, vmcs_read32(VMCS_ENTRY_ERROR),
				vmcs_read32(VMCS_ENTRY_INSN_LEN));
}

/* What an exit wants done before anything else. */
static void after_exit(struct vcpu *v, const struct vmx_raw *r, const struct vm_exit *x)
{
	if ((u16)r->reason == EXIT_EXT_INTR && vmx_ctl.exit & EXIT_ACK_INTR) {
		/* the exit has acknowledged it */
		irq_handle(vmcs_read32(VMCS_EXIT_INTR_INFO) & EVT_VECTOR);
	} else if (x->reason == VMEXIT_NMI) {
		/* the exit has taken it; the handler's IRET opens NMIs again */
		__asm__ volatile("int $2" ::: "memory");
	} else if (x->reason == VMEXIT_NMI_WINDOW) {
		vmx_want_window(v, HVM_INJ_NMI, false);
	} else if (x->reason == VMEXIT_EXCEPTION && x->exc.vector == VEC_DB &&
		   !(v->guest_mode && vmx_nested_wants_db(v))) {
		u64 dr6 = vmx_get(v, HVM_DR6) & ~DR6_TRAPS;

		vmx_set(v, HVM_DR6, dr6 | (r->qual & QUAL_DB_DR6));
	}
}

/* Exits other than by the commonest instructions. */
static __noinline void other_exit(struct vcpu *v, u32 reason, struct vm_exit *x)
{
	struct vmx_raw r = {.reason = reason,
			    .insn_len = vmcs_read32(VMCS_EXIT_INSN_LEN),
			    .qual = vmcs_readn(VMCS_QUALIFICATION)};
	u32 idt = vmx_quirk_event(v, vmcs_read32(VMCS_IDT_INFO)), basic = (u16)reason, error = 0;
	u64 unblocked = 0; /* holds INTR_NMI_UNBLOCK if the IRET that faulted had opened NMIs */

	if (reason & EXIT_ENTRY_FAILED) { /* IDT_INFO is that of an exit long ago */
		idt = 0;
		withdraw_event(v);
	} else {
		vmx_of(v)->vmcs.launched = true;
	}
	if (v->vm->flags & CORBEL_VM_HLT) /* it is behind one then, as on AMD-V */
		vmcs_write32(VMCS_ACTIVITY, 0);
	if (basic == EXIT_EXCEPTION_NMI) {
		r.intr_info = vmcs_read32(VMCS_EXIT_INTR_INFO);
		r.intr_error = vmcs_read32(VMCS_EXIT_INTR_ERROR);
		if ((r.intr_info & EVT_VECTOR) != VEC_DF) /* where the bit means nothing */
			unblocked = r.intr_info;
	} else if (basic == EXIT_EPT_VIOLATION) {
		r.gpa = vmcs_read64(VMCS_GUEST_PHYSICAL);
		unblocked = r.qual;
	} else if (basic == EXIT_NOTIFY) {
		unblocked = r.qual;
	}
	if (unlikely(idt & EVT_VALID)) {
		if (idt & EVT_HAS_ERROR)
			error = vmcs_read32(VMCS_IDT_ERROR);
		take_back_event(v, idt, error, vmcs_read32(VMCS_EXIT_INSN_LEN));
		r.idt_info = idt;
	} else if (unblocked & INTR_NMI_UNBLOCK) {
		v->nmi_masked = true;
	}
	vmx_decode_exit(&r, x);
	after_exit(v, &r, x);
}

/*
 * The shorter way where nothing is left over from the guest. False: other_exit() is to see to it.
 */
static inline bool ept_violation(struct vmx_vcpu *s, struct vm_exit *x)
{
	u64 qual = vmcs_readn(VMCS_QUALIFICATION);

	if (unlikely((vmcs_read32(VMCS_IDT_INFO) & EVT_VALID) || (qual & INTR_NMI_UNBLOCK)))
		return false;
	s->vmcs.launched = true;
	vmx_decode_ept(qual, vmcs_read64(VMCS_GUEST_PHYSICAL), x);
	return true;
}

static __noinline void entry_refused(struct vcpu *v, struct vm_exit *x)
{
	entry_end(this_cpu());
	if (vmx_of(v)->watch & WATCH_L2)
		vmx_nested_exit(v);
	withdraw_event(v);
	note_blocking(v, vmcs_read32(VMCS_INTERRUPTIBILITY));
	if (vm_may_log(v->vm, VM_LOG_LINE))
		vmcs_log_refusal(vmx_of(v)->vmcs.launched ? "VMRESUME" : "VMLAUNCH");
	*x = (struct vm_exit){.reason = VMEXIT_ENTRY_FAIL, .raw = EXIT_ENTRY_FAILED};
}

/* What the exit has left in the VMCS. Inline: nearly all come by one of its two calls. */
static inline __attribute__((always_inline)) void take_exit(struct vcpu *v, struct vm_exit *x)
{
	struct vmx_vcpu *s = vmx_of(v);
	u64 reason;
	u32 state;

	v->rip = vmcs_readn(VMCS_GUEST_RIP);
	v->gpr[RSP] = s->rsp = vmcs_readn(VMCS_GUEST_RSP);
	v->rflags = s->rflags = vmcs_readn(VMCS_GUEST_RFLAGS);
	v->lapic.tpr = s->virtual_apic[VAPIC_TPR];
	if (s->vid) {
		u16 status = vmcs_read16(VMCS_GUEST_INTR_STATUS);

		if (unlikely(status | s->intr_status))
			vmx_apic_from_hw(v, status);
	}
	state = vmcs_read32(VMCS_INTERRUPTIBILITY);
	x->plain = !((state & (SHADOW_STI | SHADOW_MOV_SS)) | (v->rflags & RFLAGS_TF));
	if (unlikely(state != s->intr_state_hw))
		note_blocking(v, state);
	reason = vmcs_read(VMCS_EXIT_REASON);
	x->raw = reason;
	if (likely(reason < 64 && INSN_EXITS & BIT(reason))) {
		s->vmcs.launched = true;
		x->reason = vmx_plain_exits[reason];
		x->insn_len = vmcs_read32(VMCS_EXIT_INSN_LEN);
	} else if (reason != EXIT_EPT_VIOLATION || !ept_violation(s, x)) {
		other_exit(v, reason, x);
	}
}

static __noinline void take_nested_exit(struct vcpu *v, struct vm_exit *x)
{
	vmx_nested_exit(v);
	take_exit(v, x);
	vmx_nested_sort(v, x);
}

/* If not, the event of this entry has to wait for them. */
static __noinline bool has_pdptes(struct vcpu *v)
{
	if (vmx_load_pdptes(v))
		return true;
	withdraw_event(v);
	if (!v->stop_reason)
		shadow_fault(v, 0, vmcs_readn(VMCS_GUEST_CR3) & GENMASK(31, 5));
	return false;
}

void vmx_run(struct vcpu *v, struct vm_exit *x)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct cpu *c = this_cpu();
	u64 gen;

	BUG_ON(!vmx_is_loaded(v)); /* so its VMCS is current, with this CPU's host state */
	if (unlikely(s->watch & WATCH_PDPTES) && !has_pdptes(v)) {
		*x = (struct vm_exit){.reason = VMEXIT_IRQ_WINDOW}; /* it has not been entered */
		return;
	}
	vmcs_writen(VMCS_GUEST_RIP, v->rip);
	if (v->gpr[RSP] != s->rsp)
		vmcs_writen(VMCS_GUEST_RSP, s->rsp = v->gpr[RSP]);
	if (v->rflags != s->rflags)
		vmcs_writen(VMCS_GUEST_RFLAGS, s->rflags = v->rflags);
	s->virtual_apic[VAPIC_TPR] = v->lapic.tpr;
	if (unlikely(is_watched(v, s)))
		prepare_watched(v);
	gen = entry_begin(c, v);
	if (unlikely(s->tlb_gen != gen))
		flush_p2m(v, gen);
	if (unlikely(!vmx_enter(v, &s->host_rsp, s->vmcs.launched))) {
		entry_refused(v, x);
		return;
	}
	entry_end(c);
	if (unlikely(s->watch & WATCH_L2))
		take_nested_exit(v, x);
	else
		take_exit(v, x);
	vmx_quirk_exit();
}

const struct hvm_ops vmx_ops = {.name = "vmx",
				.nested = &vmx_nested_ops,
				.backend = CORBEL_BACKEND_VMX,
				.io_map_order = 1, /* bitmaps A and B */
				.vcpu_pages = 2,   /* virtual APIC, VMCS */
#define X(type, name, ...) .name = vmx_##name,
				HVM_OPS(X)
#undef X
};
