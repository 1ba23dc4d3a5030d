/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest state in the VMCS, and around it: registers, segments, MSRs. */
#include "hv/vmx/state.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/insn.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/vm.h"
#include "hv/vmx/vmx.h"

/*
 * CR0: NE must be one while VMX is on, and caches must not be switched off for the whole CPU. CR4:
 * VMXE must be one, MCE is ours since a machine check would shut the machine down, OSXSAVE shows in
 * CPUID, and what no guest may set exits to be refused.
 */
u64 vmx_cr0_mask(void)
{
	return CR0_NE | CR0_NW | CR0_CD;
}

u64 vmx_cr4_mask(void)
{
	return ~policy_cr4_mask() | CR4_VMXE | CR4_MCE | CR4_OSXSAVE;
}

static u64 get_cr0(void)
{
	u64 mask = vmx_cr0_mask();

	return (vmcs_readn(VMCS_GUEST_CR0) & ~mask) | (vmcs_readn(VMCS_CR0_SHADOW) & mask);
}

static u64 get_cr4(void)
{
	u64 mask = vmx_cr4_mask();

	return (vmcs_readn(VMCS_GUEST_CR4) & ~mask) | (vmcs_readn(VMCS_CR4_SHADOW) & mask);
}

static u32 cpl(void)
{
	return FIELD_GET(AR_DPL, vmcs_read32(VMCS_GUEST_SS_AR));
}

static bool is_long_mode(void)
{
	/* which the CPU writes when an unrestricted guest switches */
	return vmcs_read32(VMCS_ENTRY_CONTROLS) & ENTRY_GUEST_64;
}

static u64 get_efer(const struct vmx_vcpu *s)
{
	return s->guest[AREA_EFER].value |
	       (vmcs_read32(VMCS_ENTRY_CONTROLS) & ENTRY_GUEST_64) * (EFER_LMA / ENTRY_GUEST_64);
}

static enum emul_mode mode(void)
{
	u32 ar = vmcs_read32(VMCS_GUEST_CS_AR);

	if (ar & AR_L && is_long_mode())
		return EMUL_64;
	return (ar & AR_DB) && (vmcs_readn(VMCS_GUEST_CR0) & CR0_PE) ? EMUL_32 : EMUL_16;
}

static void set_efer(struct vmx_vcpu *s, u64 efer)
{
	s->guest[AREA_EFER].value = efer & ~EFER_LMA;
	if (vmx_ctl.entry & ENTRY_LOAD_EFER)
		vmcs_write64(VMCS_GUEST_EFER, efer);
	vmcs_write32(VMCS_ENTRY_CONTROLS, vmx_ctl.entry | (efer & EFER_LMA ? ENTRY_GUEST_64 : 0));
}

static void set_cr0(struct vmx_vcpu *s, u64 val)
{
	u64 efer = s->guest[AREA_EFER].value;

	vmcs_writen(VMCS_CR0_SHADOW, val);
	vmcs_writen(VMCS_GUEST_CR0, (val & ~(CR0_NW | CR0_CD)) | CR0_NE | CR0_ET);
	set_efer(s, efer | ((efer & EFER_LME) && (val & CR0_PG) ? EFER_LMA : 0));
}

u64 vmx_get(struct vcpu *v, enum hvm_reg r)
{
	struct vmx_vcpu *s = vmx_current(v);

	if (r == HVM_CPL) /* every hypercall asks */
		return cpl();
	switch (r) {
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
	case HVM_MODE:
		return mode();
	case HVM_SHADOW:
		return s->shadow;
	default:
		return 0;
	}
}

void vmx_write_tsc(struct vcpu *v)
{
	vmcs_write64(VMCS_TSC_OFFSET, v->tsc_offset);
	if (vmx_ctl.proc2 & PROC2_TSC_SCALE)
		vmcs_write64(VMCS_TSC_MULTIPLIER, v->tsc_mul ? v->tsc_mul : BIT(48));
}

void vmx_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	struct vmx_vcpu *s = vmx_current(v);

	if (r == HVM_SHADOW) {
		s->shadow = val ? SHADOW_STI : 0;
		s->watch |= WATCH_BLOCK;
	} else if (r == HVM_CR2 && vmx_is_loaded(v)) {
		write_cr2(val);
	} else if (r == HVM_CR2) {
		s->cr2 = val;
	} else if (r == HVM_CR0) {
		set_cr0(s, val);
	} else if (r == HVM_CR3) {
		vmcs_writen(VMCS_GUEST_CR3, val);
	} else if (r == HVM_CR4) {
		vmcs_writen(VMCS_CR4_SHADOW, val);
		vmcs_writen(VMCS_GUEST_CR4, val | CR4_VMXE | CR4_MCE);
	} else if (r == HVM_EFER) {
		set_efer(s, val);
	} else if (r == HVM_TSC_OFFSET) {
		vmx_write_tsc(v);
	}
	if (r == HVM_CR0 || r == HVM_CR3 || r == HVM_CR4)
		s->watch |= WATCH_VPID | WATCH_PDPTES;
}

void vmx_get_paging(struct vcpu *v, struct hvm_paging *out)
{
	*out = (struct hvm_paging){get_cr0(), vmcs_readn(VMCS_GUEST_CR3),
				   get_cr4(), get_efer(vmx_current(v)),
				   v->rip,    cpl(),
				   mode()};
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
	    ((vmcs_readn(VMCS_GUEST_CR0) ^ p->cr0) & ~vmx_cr0_mask()) |
	    ((vmcs_readn(VMCS_GUEST_CR4) ^ p->cr4) & HVM_FETCH_CR4) |
	    (get_efer(vmx_of(v)) ^ p->efer) | (cpl() ^ p->cpl))
		return false;
	return p->mode == EMUL_64 ? vmcs_read32(VMCS_GUEST_CS_AR) & AR_L : mode() == p->mode;
}

/* A wrong table is the guest's fault: it finds nothing mapped. The CPU would refuse the entry. */
void vmx_load_pdptes(struct vcpu *v)
{
	u64 e[4] = {0}, cr3 = vmcs_readn(VMCS_GUEST_CR3) & GENMASK(31, 5);

	vmx_of(v)->watch &= ~WATCH_PDPTES;
	if (is_long_mode() || !(vmcs_readn(VMCS_GUEST_CR0) & CR0_PG) ||
	    !(vmcs_readn(VMCS_GUEST_CR4) & CR4_PAE))
		return;
	p2m_read(&v->vm->p2m, gpa(cr3), e, sizeof(e), NULL);
	for (u32 i = 0; i < 4; i++) {
		if (!(e[i] & 1) || (e[i] & (GENMASK(2, 1) | GENMASK(8, 5))) ||
		    e[i] >> PAGE_SHIFT >= pt_frames_end)
			e[i] = 0;
		vmcs_write(VMCS_GUEST_PDPTE0 + 2 * i, e[i]);
	}
}

/* ---- segments ---- */

void vmx_get_seg(struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)
{
	u32 ar = vmcs_read(VMCS_SEG_AR(s));

	vmx_current(v);
	*out = (struct corbel_segment){
	    .base = vmcs_read(VMCS_SEG_BASE(s)),
	    .limit = vmcs_read(VMCS_SEG_LIMIT(s)),
	    .selector = vmcs_read(VMCS_SEG_SEL(s)),
	    .type = ar & AR_TYPE,
	    .s = !!(ar & AR_S),
	    .dpl = FIELD_GET(AR_DPL, ar),
	    .present = (ar & AR_P) && !(ar & AR_UNUSABLE),
	    .avl = !!(ar & AR_AVL),
	    .l = !!(ar & AR_L),
	    .db = !!(ar & AR_DB),
	    .g = !!(ar & AR_G),
	    .unusable = !!(ar & AR_UNUSABLE),
	};
}

/*
 * SDM "Checks on Guest Segment Registers": what other CPUs' states and VMMs' habits leave open is
 * settled here.
 */
static u32 access_rights(enum hvm_seg s, const struct corbel_segment *in)
{
	u32 type = in->type & 15, ar;

	if (s == HVM_TR)
		type |= 2; /* busy */
	else if (s != HVM_LDTR)
		type |= 1; /* accessed */
	ar = type | (in->s ? AR_S : 0) | (u32)FIELD_PREP(AR_DPL, in->dpl & 3) |
	     (in->avl ? AR_AVL : 0) | (in->l ? AR_L : 0) | (in->db ? AR_DB : 0) |
	     (in->g ? AR_G : 0);
	if ((in->limit & 0xfff) != 0xfff)
		ar &= ~(u32)AR_G;
	else if (in->limit >> 20)
		ar |= AR_G;
	if (s == HVM_TR || s == HVM_CS)
		return ar | AR_P;
	return ar | (in->present && !in->unusable ? AR_P : AR_UNUSABLE);
}

void vmx_set_seg(struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
{
	vmx_current(v);
	vmcs_write(VMCS_SEG_BASE(s), in->base);
	vmcs_write(VMCS_SEG_LIMIT(s), in->limit);
	vmcs_write(VMCS_SEG_SEL(s), in->selector);
	vmcs_write(VMCS_SEG_AR(s), access_rights(s, in));
}

void vmx_get_dt(struct vcpu *v, bool idt, struct corbel_dtable *out)
{
	vmx_current(v);
	out->base = vmcs_read(idt ? VMCS_GUEST_IDTR_BASE : VMCS_GUEST_GDTR_BASE);
	out->limit = vmcs_read(idt ? VMCS_GUEST_IDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT);
}

void vmx_set_dt(struct vcpu *v, bool idt, const struct corbel_dtable *in)
{
	vmx_current(v);
	vmcs_write(idt ? VMCS_GUEST_IDTR_BASE : VMCS_GUEST_GDTR_BASE, in->base);
	vmcs_write(idt ? VMCS_GUEST_IDTR_LIMIT : VMCS_GUEST_GDTR_LIMIT, in->limit);
}

/* ---- debug registers and MSRs ---- */

void vmx_get_dr67(struct vcpu *v, u64 *dr6, u64 *dr7)
{
	*dr6 = vmx_is_loaded(v) ? READ_DR(6) : vmx_of(v)->dr6;
	vmx_current(v);
	*dr7 = vmcs_readn(VMCS_GUEST_DR7);
}

void vmx_set_dr67(struct vcpu *v, u64 dr6, u64 dr7)
{
	dr6 = (dr6 & GENMASK(31, 0)) | 0xffff0ff0;
	if (vmx_is_loaded(v))
		WRITE_DR(6, dr6);
	else
		vmx_of(v)->dr6 = dr6;
	vmx_current(v);
	vmcs_writen(VMCS_GUEST_DR7, (dr7 & GENMASK(31, 0)) | 0x400);
}

static u32 msr_field(u32 msr)
{
	switch (msr) {
	case 0x174:
		return VMCS_GUEST_SYSENTER_CS;
	case 0x175:
		return VMCS_GUEST_SYSENTER_ESP;
	case 0x176:
		return VMCS_GUEST_SYSENTER_EIP;
	case 0x1d9:
		return VMCS_GUEST_DEBUGCTL;
	case 0xc0000100:
		return VMCS_GUEST_FS_BASE;
	case 0xc0000101:
		return VMCS_GUEST_GS_BASE;
	}
	return 0;
}

static u64 *hw_slot(struct vmx_vcpu *s, u32 msr)
{
	return vmx_is_syscall_msr(msr)	   ? &s->syscall_msr[msr - MSR_STAR]
	       : msr == MSR_KERNEL_GS_BASE ? &s->kernel_gs_base
					   : NULL;
}

int vmx_msr_get(struct vcpu *v, u32 msr, u64 *val)
{
	struct vmx_vcpu *s = vmx_current(v);
	u32 field = msr_field(msr);
	const u64 *slot = field ? NULL : hw_slot(s, msr);

	if (!field && !slot)
		return -ENOENT;
	*val = field ? vmcs_read(field) : vmx_is_loaded(v) ? rdmsr(msr) : *slot;
	return 0;
}

int vmx_msr_set(struct vcpu *v, u32 msr, u64 val)
{
	struct vmx_vcpu *s = vmx_current(v);
	u32 field;
	u64 *slot;

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
	slot = hw_slot(s, msr);
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
