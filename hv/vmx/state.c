/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest state in the VMCS, and around it: registers, segments, MSRs. */
#include "hv/vmx/state.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/insn.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/vm.h"
#include "hv/guest/shadow.h"
#include "hv/vmx/nested.h"
#include "hv/vmx/vmx.h"

/*
 * CR0: NE must be one while VMX is on, and caches must not be switched off for the whole CPU. CR4:
 * VMXE must be one, MCE is ours since a machine check would shut the machine down, OSXSAVE shows in
 * CPUID, and what not every guest may set exits to be looked at.
 */
#define CR0_MASK (CR0_NE | CR0_NW | CR0_CD)

static u64 cr4_mask(void)
{
	return ~CR4_ALWAYS | CR4_VMXE | CR4_MCE | CR4_OSXSAVE;
}

/* As the guest sees it: the bits of the mask are in the shadow. */
static inline u64 get_cr(u64 field, u64 shadow, u64 mask)
{
	return (vmcs_read(field) & ~mask) | (vmcs_read(shadow) & mask);
}

static u64 get_cr0(void)
{
	return get_cr(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, CR0_MASK);
}

static u64 get_cr4(void)
{
	return get_cr(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, cr4_mask());
}

static u32 vmx_cpl(void)
{
	return FIELD_GET(AR_DPL, vmcs_read32(VMCS_GUEST_SS_AR));
}

static bool is_long_mode(void)
{
	/* which the CPU writes when an unrestricted guest switches */
	return vmcs_read32(VMCS_ENTRY_CONTROLS) & ENTRY_GUEST_64;
}

void vmx_write_cr_masks(struct vcpu *v)
{
	vmcs_writen(VMCS_CR0_MASK, CR0_MASK | v->fixed_cr0);
	vmcs_writen(VMCS_CR4_MASK, cr4_mask());
}

static u64 get_efer(const struct vmx_vcpu *s)
{
	u64 efer = s->guest[AREA_EFER].value;

	return is_long_mode() ? efer | EFER_LMA : efer;
}

static enum emul_mode vmx_mode(void)
{
	u32 ar = vmcs_read32(VMCS_GUEST_CS_AR);

	if (ar & AR_L && is_long_mode())
		return EMUL_64;
	if (ar & AR_DB && vmcs_readn(VMCS_GUEST_CR0) & CR0_PE)
		return EMUL_32;
	return EMUL_16;
}

static void set_efer(struct vmx_vcpu *s, u64 efer)
{
	u32 entry = vmx_ctl.entry;

	s->guest[AREA_EFER].value = efer & ~EFER_LMA;
	if (entry & ENTRY_LOAD_EFER)
		vmcs_write64(VMCS_GUEST_EFER, efer);
	if (efer & EFER_LMA)
		entry |= ENTRY_GUEST_64;
	vmcs_write32(VMCS_ENTRY_CONTROLS, entry);
}

static void set_cr0(struct vmx_vcpu *s, u64 val)
{
	u64 efer = s->guest[AREA_EFER].value;

	vmcs_writen(VMCS_CR0_SHADOW, val);
	vmcs_writen(VMCS_GUEST_CR0, (val & ~(CR0_NW | CR0_CD)) | CR0_NE | CR0_ET);
	if (efer & EFER_LME && val & CR0_PG)
		efer |= EFER_LMA;
	set_efer(s, efer);
}

u64 vmx_get(struct vcpu *v, enum hvm_reg r)
{
	struct vmx_vcpu *s = vmx_current(v);

	switch (r) {
	case HVM_CPL:
		return vmx_cpl();
	case HVM_CR0:
		return get_cr0();
	case HVM_CR2:
		return vmx_is_loaded(v) ? read_cr2() : s->cr2;
	case HVM_CR3:
		return vmcs_readn(VMCS_GUEST_CR3);
	case HVM_CR4:
		return get_cr4();
	case HVM_EFER:
		return get_efer(s);
	case HVM_DR6:
		return vmx_is_loaded(v) ? READ_DR(6) : s->dr6;
	case HVM_DR7:
		return vmcs_readn(VMCS_GUEST_DR7);
	case HVM_MODE:
		return vmx_mode();
	case HVM_SHADOW:
		return s->shadow;
	case HVM_NMI_MASK:
		return v->nmi_masked;
	default:
		return 0;
	}
}

void vmx_set_tsc(struct vcpu *v)
{
	vmx_current(v);
	vmcs_write64(VMCS_TSC_OFFSET, v->tsc_offset + v->nested_tsc);
	if (vmx_ctl.proc2 & PROC2_TSC_SCALE)
		vmcs_write64(VMCS_TSC_MULTIPLIER, v->tsc_mul ?: BIT(HVM_TSC_MUL_FRAC));
}

static void set_insns(struct vmx_vcpu *s, u64 insns)
{
	u32 now;

	s->proc2 = now = vmx_proc2_for(s->proc2, insns);
	if (!s->direct)
		now &= ~PROC2_DIRECT;
	vmcs_write32(VMCS_PROC2_CONTROLS, now);
}

void vmx_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	struct vmx_vcpu *s = vmx_current(v);

	switch (r) {
	case HVM_CR0:
		set_cr0(s, val);
		break;
	case HVM_CR2:
		s->cr2 = val;
		if (vmx_is_loaded(v))
			write_cr2(val);
		return;
	case HVM_CR3:
		vmcs_writen(VMCS_GUEST_CR3, val);
		break;
	case HVM_CR4:
		vmcs_writen(VMCS_CR4_SHADOW, val);
		vmcs_writen(VMCS_GUEST_CR4, val | CR4_VMXE | CR4_MCE);
		break;
	case HVM_EFER:
		set_efer(s, val);
		return;
	case HVM_DR6:
		s->dr6 = (u32)val | DR6_ONES;
		if (vmx_is_loaded(v))
			WRITE_DR(6, s->dr6);
		return;
	case HVM_DR7:
		vmcs_writen(VMCS_GUEST_DR7, (u32)val | DR7_ONE);
		return;
	case HVM_SHADOW:
		/* the trap that waited for its end is raised by who ended it */
		if (s->shadow && !val)
			vmcs_writen(VMCS_PENDING_DEBUG, vmcs_readn(VMCS_PENDING_DEBUG) & ~DR6_BS);
		s->shadow = val ? SHADOW_STI : 0;
		s->watch |= WATCH_BLOCK;
		return;
	case HVM_PERF_GLOBAL:
		vmcs_write64(VMCS_GUEST_PERF_GLOBAL, val);
		return;
	case HVM_INSNS:
		set_insns(s, val);
		return;
	case HVM_NMI_MASK:
		v->nmi_masked = val;
		s->watch |= WATCH_BLOCK;
		return;
	default:
		return;
	}
	s->watch |= WATCH_VPID | WATCH_PDPTES; /* translations are others */
}

void vmx_get_paging(struct vcpu *v, struct hvm_paging *out)
{
	const struct vmx_vcpu *s = vmx_current(v);

	*out = (struct hvm_paging){
	    get_cr0(), vmcs_readn(VMCS_GUEST_CR3), get_cr4(), get_efer(s), v->rip, vmx_cpl(),
	    vmx_mode()};
	if (out->mode != EMUL_64)
		out->next = (u32)(v->rip + vmcs_read(VMCS_SEG_BASE(HVM_CS)));
}

/*
 * The bits of CR0 and CR4 that differ in the shadows do not matter to a fetch. The mode last: with
 * the same EFER, L tells 64-bit mode.
 */
bool vmx_is_paging(struct vcpu *v, const struct hvm_paging *p)
{
	if ((vmcs_readn(VMCS_GUEST_CR3) ^ p->cr3) |
	    ((vmcs_readn(VMCS_GUEST_CR0) ^ p->cr0) & ~CR0_MASK) |
	    ((vmcs_readn(VMCS_GUEST_CR4) ^ p->cr4) & HVM_FETCH_CR4) |
	    (get_efer(vmx_of(v)) ^ p->efer) | (vmx_cpl() ^ p->cpl))
		return false;
	if (p->mode == EMUL_64)
		return vmcs_read32(VMCS_GUEST_CS_AR) & AR_L;
	return vmx_mode() == p->mode;
}

static bool is_pae(void)
{
	return !is_long_mode() && vmcs_readn(VMCS_GUEST_CR0) & CR0_PG &&
	       vmcs_readn(VMCS_GUEST_CR4) & CR4_PAE;
}

/* A wrong table is the guest's fault: it finds nothing mapped. The CPU would refuse the entry. */
bool vmx_load_pdptes(struct vcpu *v)
{
	u64 e[4] = {0}, at = vmcs_readn(VMCS_GUEST_CR3) & GENMASK(31, 5);
	bool pae = is_pae();

	if (pae && ((v->nested_paging && shadow_translate(v, 0, &at)) ||
		    nested_copy(v, at, e, sizeof(e), false) == -EAGAIN))
		return false;
	vmx_of(v)->watch &= ~WATCH_PDPTES;
	for (u32 i = 0; pae && i < 4; i++) {
		if (!(e[i] & PDPTE_P) || e[i] & PDPTE_RESERVED ||
		    e[i] >> PAGE_SHIFT >= pt_frames_end)
			e[i] = 0;
		vmcs_write(VMCS_GUEST_PDPTE0 + 2 * i, e[i]);
	}
	return true;
}

#define EPTP_AD BIT(6)

u64 vmx_eptp(const struct vcpu *v)
{
	u64 flags = EPTP_WB_WALK_4;

	BUG_ON(!v->p2m->pt.root.v);
	/* with flags the CPU wants to write to page tables that the guest may only let be read */
	if (v->nested_paging)
		return v->shadow->pt.root.v | flags;
	if (vmx_ctl.ept_ad)
		flags |= EPTP_AD;
	return v->p2m->pt.root.v | flags;
}

u64 vmx_pending_debug(struct vcpu *v)
{
	u64 pending = vmcs_readn(VMCS_PENDING_DEBUG) & ~DR6_BS;

	return v->rflags & RFLAGS_TF ? pending | DR6_BS : pending;
}

/* ---- segments ---- */

void vmx_get_seg(struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)
{
	vmx_current(v);
	if (s <= HVM_TR) {
		hvm_seg_from_rights(out, vmcs_read(VMCS_SEG_AR(s)));
		out->selector = vmcs_read(VMCS_SEG_SEL(s));
	}
	out->base = vmcs_read(VMCS_SEG_BASE(s));
	out->limit = vmcs_read(VMCS_SEG_LIMIT(s));
}

/*
 * SDM "Checks on Guest Segment Registers": what other CPUs' states and VMMs' habits leave open is
 * settled here.
 */
static u32 access_rights(enum hvm_seg s, const struct corbel_segment *in)
{
	u32 ar = hvm_seg_rights(in);

	if (s == HVM_TR)
		ar |= AR_BUSY;
	else if (s != HVM_LDTR)
		ar |= AR_ACCESSED;
	if ((in->limit & 0xfff) != 0xfff)
		ar &= ~AR_G;
	else if (in->limit >> 20)
		ar |= AR_G;
	if (s == HVM_TR || s == HVM_CS)
		ar |= AR_P;
	if (!(ar & AR_P))
		ar |= AR_UNUSABLE;
	return ar;
}

void vmx_set_seg(struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
{
	vmx_current(v);
	vmcs_write(VMCS_SEG_BASE(s), in->base);
	vmcs_write(VMCS_SEG_LIMIT(s), in->limit);
	if (s > HVM_TR)
		return;
	vmcs_write(VMCS_SEG_SEL(s), in->selector);
	vmcs_write(VMCS_SEG_AR(s), access_rights(s, in));
}

/* ---- MSRs ---- */

/* Where the VMCS has it; 0: nowhere. */
static u32 msr_field(u32 msr)
{
	switch (msr) {
	case MSR_SYSENTER_CS:
		return VMCS_GUEST_SYSENTER_CS;
	case MSR_SYSENTER_ESP:
		return VMCS_GUEST_SYSENTER_ESP;
	case MSR_SYSENTER_EIP:
		return VMCS_GUEST_SYSENTER_EIP;
	case MSR_DEBUGCTL:
		return VMCS_GUEST_DEBUGCTL;
	case MSR_FS_BASE:
		return VMCS_GUEST_FS_BASE;
	case MSR_GS_BASE:
		return VMCS_GUEST_GS_BASE;
	}
	return 0;
}

/* Where it is kept while the hardware does not hold it; NULL: it is no such MSR. */
static u64 *saved_msr(struct vmx_vcpu *s, u32 msr)
{
	if (vmx_is_syscall_msr(msr))
		return &s->syscall_msr[msr - MSR_STAR];
	return msr == MSR_KERNEL_GS_BASE ? &s->kernel_gs_base : NULL;
}

/* Those without the TRUE MSRs say the same of what may be one. */
static int get_vmx_cap(struct vcpu *v, u32 msr, u64 *val)
{
	u32 n = msr - MSR_VMX_BASIC;

	if (nested_cap(msr, v->rights.cr4, val))
		return -ENOENT;
	if (n == MSR_VMX_PROC2 - MSR_VMX_BASIC)
		*val &= ~((u64)vmx_denied(v) << 32);
	*val &= ~vmx_nested(v)->hidden[n - 1 < 4 ? n + NESTED_CAPS - 5 : n];
	return 0;
}

/* By its VMM, before the guest knows it. */
static int set_vmx_cap(struct vcpu *v, u32 msr, u64 val)
{
	struct vmx_nested *n = vmx_nested(v);
	u64 hidden, is;
	int err = nested_hide(msr, v->rights.cr4, val, &hidden);

	if (!get_vmx_cap(v, msr, &is) && is == val) /* as it is */
		return 0;
	if (err)
		return err;
	if (n->vmxon != NOWHERE && hidden != n->hidden[msr - MSR_VMX_BASIC])
		return -EINVAL;
	n->hidden[msr - MSR_VMX_BASIC] = hidden;
	return 0;
}

int vmx_msr_get(struct vcpu *v, u32 msr, u64 *val)
{
	const u64 *slot = saved_msr(vmx_current(v), msr);
	u32 field = msr_field(msr);

	if (field)
		*val = vmcs_read(field);
	else if (!slot && v->rights.vmx)
		return get_vmx_cap(v, msr, val);
	else if (!slot)
		return -ENOENT;
	else
		*val = vmx_is_loaded(v) ? rdmsr(msr) : *slot;
	return 0;
}

int vmx_msr_set(struct vcpu *v, u32 msr, u64 val)
{
	struct vmx_vcpu *s = vmx_current(v);
	u64 *slot;
	u32 field;

	if (msr == MSR_PAT) {
		s->guest[AREA_PAT].value = val;
		if (vmx_ctl.entry & ENTRY_LOAD_PAT)
			vmcs_write64(VMCS_GUEST_PAT, val);
		return 0;
	}
	field = msr_field(msr);
	if (field) {
		vmcs_write(field, val);
		return 0;
	}
	slot = saved_msr(s, msr);
	if (!slot && v->rights.vmx)
		return set_vmx_cap(v, msr, val);
	if (!slot)
		return -ENOENT;
	if (msr == MSR_SFMASK && val >> 32)
		return -EINVAL;
	*slot = val; /* addresses have been found canonical */
	if (vmx_is_loaded(v)) {
		if (msr != MSR_KERNEL_GS_BASE)
			vmx_here()->syscall_msr[msr - MSR_STAR] = val;
		wrmsr(msr, val);
	}
	return 0;
}
