/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel VT-x back end: capability check, per-CPU and per-vCPU set-up, entry. SDM volume 3, "Virtual
 * Machine Extensions".
 */
#include "hv/vmx/vmx.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/time.h"
#include "hv/guest/exit.h"
#include "hv/guest/vm.h"
#include "hv/lib/string.h"
#include "hv/vmx/decode.h"
#include "hv/vmx/event.h"
#include "hv/vmx/state.h"

#define CPUID_VMX	    BIT(5)
#define CPUID_HYPERVISOR    BIT(31)
#define MSR_FEATURE_CONTROL 0x3a
#define FEATURE_LOCK	    BIT(0)
#define FEATURE_VMX	    BIT(2)
#define MSR_VMX_BASIC	    0x480
#define MSR_VMX_PIN	    0x481
#define MSR_VMX_PROC	    0x482
#define MSR_VMX_EXIT	    0x483
#define MSR_VMX_ENTRY	    0x484
#define MSR_VMX_CR0_FIXED0  0x486
#define MSR_VMX_CR4_FIXED0  0x488
#define MSR_VMX_PROC2	    0x48b
#define MSR_VMX_EPT_VPID    0x48c
#define VMX_TRUE	    12 /* the TRUE MSR of 481..484 lies this much higher */
#define BASIC_TRUE	    BIT(55)
#define EPTP_WB_WALK_4	    (6 | 3 << 3)
#define EPTP_AD		    BIT(6)

static struct vmx_msrs msrs;

/*
 * Bochs does not notice interrupts while a guest runs that was entered with RFLAGS.IF = 0 and has
 * not changed IF since. There the preemption timer ends such a guest's turn, so that the CPU can
 * look, as it does at each of its exits, which may come before the timer for ever; saving the timer
 * at exits is no help where no instruction ends. No other machine needs it.
 */
static bool irq_watchdog;
bool vmx_on_bochs;
#define WATCHDOG_US 1000

static void read_msrs(struct vmx_msrs *m)
{
	u32 t;

	rdmsr_safe(MSR_VMX_BASIC, &m->basic);
	t = m->basic & BASIC_TRUE ? VMX_TRUE : 0;
	rdmsr_safe(MSR_VMX_PIN + t, &m->pin);
	rdmsr_safe(MSR_VMX_PROC + t, &m->proc);
	rdmsr_safe(MSR_VMX_EXIT + t, &m->exit);
	rdmsr_safe(MSR_VMX_ENTRY + t, &m->entry);
	rdmsr_safe(MSR_VMX_CR0_FIXED0, &m->cr0_fixed0);
	rdmsr_safe(MSR_VMX_CR4_FIXED0, &m->cr4_fixed0);
	rdmsr_safe(MSR_VMX_PROC2, &m->proc2);
	rdmsr_safe(MSR_VMX_EPT_VPID, &m->ept_vpid);
}

static bool is_bochs(u32 cpuid1_ecx)
{
	return !(cpuid1_ecx & CPUID_HYPERVISOR) && boot_info.rsdp_len >= 20 &&
	       !memcmp(boot_info.rsdp_copy + 9, "BOCHS ", 6);
}

static const char *vmx_probe(void)
{
	const char *why;
	u32 a, b, c, d;
	u64 feature;

	cpuid(1, 0, &a, &b, &c, &d);
	if (!(c & CPUID_VMX) || cap_masked("vmx"))
		return "this CPU has no VT-x (VMX) or hides it; enable it in the firmware set-up, "
		       "or use -cpu host with nested KVM";
	if (rdmsr_safe(MSR_FEATURE_CONTROL, &feature) == 0 && (feature & FEATURE_LOCK) &&
	    !(feature & FEATURE_VMX))
		return "VT-x is switched off and locked; enable Intel Virtualization Technology in "
		       "the firmware set-up";
	read_msrs(&msrs);
	why = vmx_choose_controls(&msrs, cap_masked, &vmx_ctl);
	if (why)
		return why;
	pt_guest = vmx_ctl.ept_ad ? pt_ept_ad : pt_ept;
	if (vmx_ctl.ept_1g)
		pt_guest.max_order = 18;
	vmx_on_bochs = is_bochs(c);
	irq_watchdog = vmx_on_bochs && (vmx_ctl.pin & PIN_TIMER) && !cap_masked("irq-watchdog");
	if (!irq_watchdog)
		vmx_ctl.pin &= ~PIN_TIMER;
	/* a physical interrupt may have it deliver a virtual one whatever IF says */
	if (vmx_on_bochs && !cap_masked("bochs-vid")) {
		vmx_ctl.proc2 &= ~(u32)(PROC2_VID | PROC2_APIC_REGS);
		vmx_ctl.pin &= ~(u32)PIN_POSTED;
	}
	vmx_ops.tsc_frac = vmx_ctl.proc2 & PROC2_TSC_SCALE ? 48 : 0;
	if (vmx_ctl.proc2 & PROC2_X2APIC)
		vmx_ops.msr_map_order = 1; /* another for vCPUs that are direct */
	if (vmx_ctl.proc2 & PROC2_VID)
		vmx_ops.caps |= HVM_CAP_VID;
	if (vmx_ctl.pin & PIN_POSTED)
		vmx_ops.caps |= HVM_CAP_POST;
	if (!(vmx_ctl.proc2 & PROC2_RDTSCP))
		vmx_ops.caps |= HVM_CAP_NO_RDTSCP;
	/* its XSAVEC puts AVX state where its XRSTOR does not look for it */
	if (vmx_on_bochs && !cap_masked("bochs-xsaves"))
		vmx_ctl.proc2 &= ~PROC2_XSAVES;
	if (!(vmx_ctl.proc2 & PROC2_XSAVES))
		vmx_ops.caps |= HVM_CAP_NO_XSAVES;
	if (!(vmx_ctl.proc2 & PROC2_INVPCID))
		vmx_ops.caps |= HVM_CAP_NO_INVPCID;
	log_info("vmx: controls pin %x proc %x %x exit %x entry %x%s", vmx_ctl.pin, vmx_ctl.proc,
		 vmx_ctl.proc2, vmx_ctl.exit, vmx_ctl.entry,
		 irq_watchdog ? ", interrupt watchdog for Bochs" : "");
	return NULL;
}

static int vmx_cpu_enable(struct cpu *c)
{
	struct vmx_cpu *p = c->vmx;
	u64 feature;

	if (!p) {
		p = pool_alloc(0, NULL);
		if (!p)
			return -ENOMEM;
		c->vmx = p;
		p->vmxon = pool_alloc(0, NULL);
		if (!p->vmxon)
			return -ENOMEM;
		*(u32 *)p->vmxon = msrs.basic & GENMASK(30, 0);
	}
	if (rdmsr_safe(MSR_FEATURE_CONTROL, &feature) == 0 && !(feature & FEATURE_LOCK))
		wrmsr_safe(MSR_FEATURE_CONTROL, feature | FEATURE_LOCK | FEATURE_VMX);
	if (rdmsr_safe(MSR_FEATURE_CONTROL, &feature) == 0 &&
	    (feature & (FEATURE_LOCK | FEATURE_VMX)) != (FEATURE_LOCK | FEATURE_VMX))
		return -ENODEV;
	write_cr4(read_cr4() | CR4_VMXE);
	if ((read_cr0() & msrs.cr0_fixed0) != msrs.cr0_fixed0 ||
	    (read_cr4() & msrs.cr4_fixed0) != msrs.cr4_fixed0)
		return -ENODEV;
	if (vmx_on(virt_to_hpa(p->vmxon)))
		return -EIO;
	p->on = true;
	for (u32 i = 0; i < SYSCALL_MSRS; i++)
		p->syscall_msr[i] = rdmsr(MSR_STAR + i);
	/* What translations the CPU may have kept from before is nobody's now. */
	if (vmx_ctl.invept_all)
		vmx_invept(2, 0);
	return 0;
}

static void vmx_cpu_disable(struct cpu *c)
{
	struct vmx_cpu *p = c->vmx;

	if (!p || !p->on)
		return;
	p->on = false;
	__asm__ volatile("vmxoff" ::: "memory", "cc");
	write_cr4(read_cr4() & ~CR4_VMXE);
}

/* ---- VMs ---- */

/*
 * SDM "MSR-Bitmap Address": reads low, reads high, writes low, writes high, 1 KiB each; see
 * SYSCALL_MSRS.
 */
static void vmx_allow_msr(struct vm *vm, u32 msr)
{
	u32 at = (msr & 0x1fff) / 8 + (msr >= 0xc0000000 ? 0x400 : 0);

	for (u8 *map = vm->msr_map; map < vm->msr_map + (PAGE_SIZE << vmx_ops.msr_map_order);
	     map += PAGE_SIZE) {
		map[at] &= ~(1 << msr % 8);
		if (!vmx_is_syscall_msr(msr))
			map[at + 0x800] &= ~(1 << msr % 8);
	}
}

/* ---- vCPUs ---- */

static void vmx_vcpu_destroy(struct vcpu *v)
{
	struct vmx_vcpu *s = v->arch;

	if (!s)
		return;
	vmcs_free(v);
	pool_free(s->virtual_apic, 0, &v->vm->acct);
	pool_free(s, 0, &v->vm->acct);
	v->arch = NULL;
}

static int vmx_vcpu_init(struct vcpu *v)
{
	struct vmx_vcpu *s = pool_alloc(0, &v->vm->acct);

	_Static_assert(sizeof(*s) <= PAGE_SIZE, "one page");
	if (!s)
		return -ENOMEM;
	v->arch = s;
	s->virtual_apic = pool_alloc(0, &v->vm->acct);
	if (vmcs_alloc(v, msrs.basic) || !s->virtual_apic) {
		vmx_vcpu_destroy(v);
		return -ENOMEM;
	}
	if (vmx_ctl.proc2 & PROC2_X2APIC)
		vmx_direct_msrs(v->vm);
	return 0;
}

static u64 eptp(const struct vm *vm)
{
	return vm->p2m.pt.root.v | EPTP_WB_WALK_4 | (vmx_ctl.ept_ad ? EPTP_AD : 0);
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

static void init_controls(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);

	s->proc = vmx_ctl.proc;
	s->proc2 = vmx_ctl.proc2 & (v->vm->is_dom0 ? ~(u32)PROC2_WBINVD : ~0u);
	s->direct = s->vid = false;
	vmcs_write32(VMCS_PIN_CONTROLS, vmx_ctl.pin & ~(u32)PIN_POSTED);
	vmcs_write32(VMCS_PROC_CONTROLS, s->proc);
	vmcs_write32(VMCS_PROC2_CONTROLS, s->proc2 & ~(u32)PROC2_DIRECT);
	vmcs_write32(VMCS_EXIT_CONTROLS, vmx_ctl.exit);
	vmcs_write32(VMCS_ENTRY_CONTROLS, vmx_ctl.entry);
	/* #DB and #AC could loop for ever inside the CPU while being delivered; #MC is ours. */
	vmcs_write32(VMCS_EXCEPTIONS, BIT(1) | BIT(17) | BIT(18));
	/* all error codes match: #PF follows its bit, which is 0 */
	vmcs_write32(VMCS_PF_ERROR_MASK, 0);
	vmcs_write32(VMCS_PF_ERROR_MATCH, 0);
	vmcs_write32(VMCS_CR3_TARGETS, 0);
	vmcs_writen(VMCS_CR0_MASK, vmx_cr0_mask());
	vmcs_writen(VMCS_CR4_MASK, vmx_cr4_mask());
	vmcs_write64(VMCS_MSR_BITMAP, virt_to_hpa(v->vm->msr_map).v);
	vmcs_write64(VMCS_IO_BITMAP_A, virt_to_hpa(v->vm->io_map).v);
	vmcs_write64(VMCS_IO_BITMAP_B, virt_to_hpa(v->vm->io_map + PAGE_SIZE).v);
	vmcs_write64(VMCS_EPTP, eptp(v->vm));
	if (s->proc & PROC_TPR_SHADOW) {
		vmcs_write64(VMCS_VIRTUAL_APIC, virt_to_hpa(s->virtual_apic).v);
		vmcs_write32(VMCS_TPR_THRESHOLD, s->threshold_hw = 0);
	}
	for (u32 i = 0; i < 4 && vmx_ctl.proc2 & PROC2_VID; i++)
		vmcs_write(VMCS_EOI_EXIT0 + 2 * i, s->eoi_exits[i] = 0);
	if (vmx_ctl.pin & PIN_POSTED) {
		vmcs_write16(VMCS_POSTED_VECTOR, VEC_POSTED);
		vmcs_write64(VMCS_POSTED_DESCRIPTOR, virt_to_hpa(v->lapic.irr).v);
	}
	if (s->proc2 & PROC2_VPID)
		vmcs_write16(VMCS_VPID, v->id + 1);
	if (s->proc2 & PROC2_ENCLS)
		vmcs_write64(VMCS_ENCLS_BITMAP, ~0ull);
	if (s->proc2 & PROC2_XSAVES)
		vmcs_write64(VMCS_XSS_BITMAP, 0);
	vmcs_write64(VMCS_LINK_POINTER, ~0ull);
	vmx_write_tsc(v);
	vmcs_writen(VMCS_GUEST_RSP, s->rsp = 0);
	vmcs_writen(VMCS_GUEST_RFLAGS, s->rflags = 2);
	if (irq_watchdog)
		vmcs_write32(VMCS_PREEMPTION_TIMER, tsc_khz * WATCHDOG_US / 1000);
	vmcs_write32(VMCS_ENTRY_INTR_INFO, 0);
	vmcs_write32(VMCS_EXIT_MSR_STORES, 0);
	init_areas(s);
}

static void vmx_vcpu_reset(struct vcpu *v, bool init)
{
	struct vmx_vcpu *s = vmx_of(v);

	init_controls(v);
	vmcs_write64(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write32(VMCS_GUEST_SYSENTER_CS, 0);
	vmcs_writen(VMCS_GUEST_SYSENTER_ESP, 0);
	vmcs_writen(VMCS_GUEST_SYSENTER_EIP, 0);
	vmcs_writen(VMCS_PENDING_DEBUG, 0);
	vmcs_write32(VMCS_ACTIVITY, 0);
	vmcs_write32(VMCS_INTERRUPTIBILITY, 0);
	if (!init)
		memset(s->syscall_msr, 0, sizeof(s->syscall_msr));
	s->kernel_gs_base = init ? s->kernel_gs_base : 0;
	s->watch = s->shadow = s->intr_state_hw = s->intr_status = 0;
}

/* ---- running ---- */

static __noinline void flush(struct vcpu *v, u64 gen)
{
	vmx_invept(vmx_ctl.invept_single ? 1 : 2, eptp(v->vm));
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
	if (s->watch & WATCH_PDPTES)
		vmx_load_pdptes(v);
	vmx_write_blocking(v);
	if (s->watch & WATCH_VPID && vmx_ctl.invvpid)
		vmx_invvpid(vmx_ctl.invvpid, v->id + 1);
	s->watch &= ~(WATCH_INJECT | WATCH_VPID);
}

static __noinline void note_blocking(struct vcpu *v, u32 state)
{
	struct vmx_vcpu *s = vmx_of(v);

	s->intr_state_hw = state;
	s->shadow = state & (SHADOW_STI | SHADOW_MOV_SS);
	v->nmi_masked = state & BLOCKED_NMI;
	s->watch |= WATCH_BLOCK;
}

/* What an exit wants done before anything else. */
static void after_exit(struct vcpu *v, const struct vmx_raw *r, const struct vm_exit *x)
{
	if (x->reason == VMEXIT_INTR && vmx_ctl.exit & EXIT_ACK_INTR) {
		/* the exit has acknowledged it */
		irq_handle(vmcs_read32(VMCS_EXIT_INTR_INFO) & INTR_VECTOR);
	} else if (x->reason == VMEXIT_NMI) {
		/* the exit has taken it; the handler's IRET opens NMIs again */
		__asm__ volatile("int $2" ::: "memory");
	} else if (x->reason == VMEXIT_NMI_WINDOW) {
		vmx_want_window(v, HVM_INJ_NMI, false);
	} else if (x->reason == VMEXIT_EXCEPTION && x->exc.vector == 1) {
		u64 dr6, dr7;

		vmx_get_dr67(v, &dr6, &dr7);
		vmx_set_dr67(v, (dr6 & ~GENMASK(3, 0)) | (r->qual & QUAL_DB_DR6), dr7);
	}
}

/* Exits other than by the commonest instructions. */
static __noinline void other_exit(struct vcpu *v, u32 reason, struct vm_exit *x)
{
	struct vmx_raw r = {.reason = reason,
			    .insn_len = vmcs_read32(VMCS_EXIT_INSN_LEN),
			    .qual = vmcs_readn(VMCS_QUALIFICATION)};
	u32 idt = vmcs_read32(VMCS_IDT_INFO);

	if (reason & EXIT_ENTRY_FAILED)
		vmcs_write32(VMCS_ENTRY_INTR_INFO, 0);
	else
		vmx_of(v)->vmcs.launched = true;
	if ((u16)reason == EXIT_EXCEPTION_NMI) {
		r.intr_info = vmcs_read32(VMCS_EXIT_INTR_INFO);
		r.intr_error = vmcs_read32(VMCS_EXIT_INTR_ERROR);
	} else if ((u16)reason == EXIT_EPT_VIOLATION) {
		r.gpa = vmcs_read64(VMCS_GUEST_PHYSICAL);
	}
	if (unlikely(idt & INTR_VALID))
		vmx_take_back_event(v, idt);
	else if ((((u16)reason == EXIT_EPT_VIOLATION ? r.qual : r.intr_info) & INTR_NMI_UNBLOCK) &&
		 (r.intr_info & INTR_VECTOR) != 8)
		v->nmi_masked = true; /* the IRET that faulted had opened NMIs already */
	vmx_decode_exit(&r, x);
	after_exit(v, &r, x);
}

/*
 * The shorter way where nothing is left over from the guest. False: other_exit() is to see to it.
 */
static inline bool ept_violation(struct vmx_vcpu *s, struct vm_exit *x)
{
	u64 qual = vmcs_readn(VMCS_QUALIFICATION);

	if (unlikely((vmcs_read32(VMCS_IDT_INFO) & INTR_VALID) || (qual & INTR_NMI_UNBLOCK)))
		return false;
	s->vmcs.launched = true;
	vmx_decode_ept(qual, vmcs_read64(VMCS_GUEST_PHYSICAL), x);
	return true;
}

static inline void left_guest(struct cpu *c)
{
	__atomic_store_n(&c->in_guest, NULL, __ATOMIC_RELEASE);
	c->exit_seq++; /* in one instruction: nobody else writes it, and reads do not tear */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static __noinline void entry_refused(struct vcpu *v, bool valid, struct vm_exit *x)
{
	left_guest(this_cpu());
	vmcs_log_refusal(vmx_of(v)->vmcs.launched ? "VMRESUME" : "VMLAUNCH", valid);
	*x = (struct vm_exit){.reason = VMEXIT_ENTRY_FAIL, .raw = EXIT_ENTRY_FAILED};
}

static void vmx_run(struct vcpu *v, struct vm_exit *x)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct cpu *c = this_cpu();
	u64 gen, reason;
	u32 refused, state;

	BUG_ON(!vmx_is_loaded(v)); /* so its VMCS is current, with this CPU's host state */
	vmcs_writen(VMCS_GUEST_RIP, v->rip);
	if (v->gpr[RSP] != s->rsp)
		vmcs_writen(VMCS_GUEST_RSP, s->rsp = v->gpr[RSP]);
	if (v->rflags != s->rflags)
		vmcs_writen(VMCS_GUEST_RFLAGS, s->rflags = v->rflags);
	s->virtual_apic[VAPIC_TPR] = v->lapic.tpr;
	if (unlikely(is_watched(v, s)))
		prepare_watched(v);
	__atomic_store_n(&c->in_guest, v->vm, __ATOMIC_SEQ_CST);
	gen = __atomic_load_n(&v->vm->p2m.tlb_gen, __ATOMIC_SEQ_CST);
	if (unlikely(s->tlb_gen != gen))
		flush(v, gen);
	refused = vmx_enter(v, &s->host_rsp, s->vmcs.launched);
	if (unlikely(refused != VMX_ENTERED)) {
		entry_refused(v, refused == VMX_FAIL_VALID, x);
		return;
	}
	left_guest(c);
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
	if (likely(reason < 64 && INSN_EXITS & BIT(reason))) {
		s->vmcs.launched = true;
		x->reason = vmx_plain_exits[reason];
		x->insn_len = vmcs_read32(VMCS_EXIT_INSN_LEN);
	} else if (reason != EXIT_EPT_VIOLATION || !ept_violation(s, x)) {
		other_exit(v, reason, x);
	}
	if (unlikely(irq_watchdog))
		irq_window();
}

struct hvm_ops vmx_ops = {.name = "vmx",
			  .backend = CORBEL_BACKEND_VMX,
			  .probe = vmx_probe,
			  .cpu_enable = vmx_cpu_enable,
			  .cpu_disable = vmx_cpu_disable,
			  .io_map_order = 1, /* bitmaps A and B */
			  .allow_msr = vmx_allow_msr,
			  .vcpu_init = vmx_vcpu_init,
			  .vcpu_destroy = vmx_vcpu_destroy,
			  .vcpu_reset = vmx_vcpu_reset,
			  .load = vmx_load,
			  .put = vmx_put,
			  .borrow = vmcs_borrow,
			  .give_back = vmcs_give_back,
			  .run = vmx_run,
#define X(type, name, ...) .name = vmx_##name,
			  HVM_STATE_OPS(X)
#undef X
};
