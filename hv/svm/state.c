/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest state in the VMCB: registers, segments, MSRs. */
#include "hv/emul/insn.h"
#include "hv/guest/vm.h"
#include "hv/svm/nested.h"
#include "hv/svm/svm.h"
#include "hv/svm/tcg.h"

/*
 * SS' own DPL may be another: SYSRET leaves that as SYSCALL has set it. APM "State Saved on Exit".
 */
static u32 svm_cpl(const struct vmcb *m)
{
	return m->cpl & 3;
}

static enum emul_mode svm_mode(const struct vmcb *m)
{
	if (m->efer & EFER_LMA && m->cs.attrib & VMCB_ATTR_L)
		return EMUL_64;
	if (m->cr0 & CR0_PE && m->cs.attrib & VMCB_ATTR_DB)
		return EMUL_32;
	return EMUL_16;
}

u64 svm_get(struct vcpu *v, enum hvm_reg r)
{
	struct vmcb *m = svm_vmcb(v);

	switch (r) {
	case HVM_CR0:
		return m->cr0 | svm_of(v)->cr0_cache;
	case HVM_CR2:
		return m->cr2;
	case HVM_CR3:
		return m->cr3;
	case HVM_CR4:
		return m->cr4;
	case HVM_EFER:
		return (m->efer & ~EFER_SVME) | svm_of(v)->hidden_lme | svm_of(v)->svme;
	case HVM_DR6:
		return m->dr6;
	case HVM_DR7:
		return m->dr7;
	case HVM_CPL:
		return svm_cpl(m);
	case HVM_MODE:
		return svm_mode(m);
	case HVM_SHADOW:
		return m->int_state & SVM_INT_SHADOW;
	case HVM_NMI_MASK:
		return v->nmi_masked;
	default:
		break;
	}
	return 0;
}

/* Translations depend on them. */
#define CR4_FLUSHES                                                                                \
	(CR4_PGE | CR4_PSE | CR4_PAE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PKE)

/*
 * The guest's writes come here, too, unless they change TS and MP alone: so EFER.LMA has to follow.
 * While it has CD or NW set the hardware's CR0 is another than its own: all its accesses exit.
 */
static void set_cr0(struct vcpu *v, u64 val)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *m = s->vmcb;

	s->cr0_cache = val & CR0_CACHE;
	m->cr0 = (val & ~CR0_CACHE) | CR0_ET;
	m->cr_read &= ~BIT(0);
	m->cr_write &= ~BIT(0);
	if (s->cr0_cache) {
		m->cr_read |= BIT(0);
		m->cr_write |= BIT(0);
	}
	m->efer &= ~EFER_LMA;
	if ((m->efer | s->hidden_lme) & EFER_LME && val & CR0_PG)
		m->efer |= EFER_LMA;
	svm_flush_asid(v);
}

/* What is not there exits, as undefined. */
static void set_insns(struct vmcb *m, u64 insns)
{
	m->int4 &= ~SVM_INT4_RDTSCP;
	m->int5 &= ~SVM_INT5_INVPCID;
	if (!(insns & INSN_RDTSCP))
		m->int4 |= SVM_INT4_RDTSCP;
	if (!(insns & INSN_INVPCID))
		m->int5 |= SVM_INT5_INVPCID;
}

void svm_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	struct vmcb *m = svm_vmcb(v);

	svm_current(v);
	switch (r) {
	case HVM_CR0:
		set_cr0(v, val);
		break;
	case HVM_CR2:
		m->cr2 = val;
		break;
	case HVM_CR3:
		m->cr3 = val;
		svm_flush_asid(v);
		break;
	case HVM_CR4:
		if ((m->cr4 ^ val) & CR4_FLUSHES)
			svm_flush_asid(v);
		m->cr4 = val;
		break;
	case HVM_EFER:
		m->efer = val | EFER_SVME; /* without it VMRUN fails */
		svm_of(v)->hidden_lme = 0;
		svm_nested_set_efer(v, val);
		break;
	case HVM_DR6:
		m->dr6 = val | DR6_ONES;
		break;
	case HVM_DR7:
		m->dr7 = val | DR7_ONE;
		if (quirk_has(QUIRK_DR7))
			svm_dr7_follow(svm_of(v));
		break;
	case HVM_SHADOW:
		m->int_state = val ? SVM_INT_SHADOW : 0;
		break;
	case HVM_NMI_MASK:
		svm_mask_nmi(v, val);
		break;
	case HVM_INSNS:
		set_insns(m, val);
		break;
	default:
		break;
	}
	if (quirk_has(QUIRK_LME))
		svm_lme_hide(svm_of(v));
}

void svm_set_tsc(struct vcpu *v)
{
	svm_current(v);
	svm_vmcb(v)->tsc_offset = v->tsc_offset + v->nested_tsc;
}

void svm_get_paging(struct vcpu *v, struct hvm_paging *out)
{
	const struct vmcb *m = svm_vmcb(v);

	*out = (struct hvm_paging){m->cr0, m->cr3,     m->cr4,	   m->efer & ~EFER_SVME,
				   v->rip, svm_cpl(m), svm_mode(m)};
	if (out->mode != EMUL_64)
		out->next = (u32)(v->rip + m->cs.base);
}

bool svm_is_paging(struct vcpu *v, const struct hvm_paging *p)
{
	const struct vmcb *m = svm_vmcb(v);

	return !((m->cr3 ^ p->cr3) | (m->cr0 ^ p->cr0) | ((m->cr4 ^ p->cr4) & HVM_FETCH_CR4) |
		 ((m->efer ^ p->efer) & ~EFER_SVME) | (svm_cpl(m) ^ p->cpl) |
		 (svm_mode(m) ^ p->mode));
}

static struct vmcb_seg *vmcb_seg(struct vcpu *v, enum hvm_seg s)
{
	struct vmcb *m = svm_vmcb(v);

	switch (s) {
	case HVM_LDTR:
		return &m->ldtr;
	case HVM_TR:
		return &m->tr;
	case HVM_GDTR:
		return &m->gdtr;
	case HVM_IDTR:
		return &m->idtr;
	default:
		BUG_ON(s > HVM_GS);
		return &m->seg[s]; /* in the same order */
	}
}

void svm_get_seg(struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)
{
	const struct vmcb_seg *in = vmcb_seg(v, s);
	u32 rights = vmcb_rights(in->attrib);

	if (s == HVM_TR)
		rights |= AR_BUSY; /* some CPUs drop it, VM entry elsewhere demands it */
	hvm_seg_from_rights(out, rights);
	out->base = in->base;
	out->limit = in->limit;
	out->selector = in->selector;
	if (s == HVM_SS) /* as svm_set_seg() takes it */
		out->dpl = svm_cpl(svm_vmcb(v));
}

void svm_set_seg(struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
{
	svm_current(v);
	*vmcb_seg(v, s) = (struct vmcb_seg){
	    .base = in->base,
	    .limit = in->limit,
	    .selector = in->selector,
	    .attrib = vmcb_attrib(hvm_seg_rights(in)),
	};
	if (s == HVM_TR && quirk_has(QUIRK_TSS))
		svm_tss_free(svm_vmcb(v));
	if (s == HVM_SS)
		svm_vmcb(v)->cpl = in->dpl & 3; /* CPUs take the CPL from here */
}

static u64 *msr_slot(struct vmcb *m, u32 msr)
{
	switch (msr) {
	case MSR_STAR:
		return &m->star;
	case MSR_LSTAR:
		return &m->lstar;
	case MSR_CSTAR:
		return &m->cstar;
	case MSR_SFMASK:
		return &m->sfmask;
	case MSR_FS_BASE:
		return &m->fs.base;
	case MSR_GS_BASE:
		return &m->gs.base;
	case MSR_KERNEL_GS_BASE:
		return &m->kernel_gs_base;
	case MSR_SYSENTER_CS:
		return &m->sysenter_cs;
	case MSR_SYSENTER_ESP:
		return &m->sysenter_esp;
	case MSR_SYSENTER_EIP:
		return &m->sysenter_eip;
	case MSR_DEBUGCTL:
		return &m->dbgctl;
	case MSR_PAT:
		return &m->g_pat;
	}
	return NULL;
}

int svm_msr_get(struct vcpu *v, u32 msr, u64 *val)
{
	u64 *slot = msr_slot(svm_vmcb(v), msr);

	if (!slot)
		return svm_nested_msr_get(v, msr, val);
	*val = *slot;
	return 0;
}

int svm_msr_set(struct vcpu *v, u32 msr, u64 val)
{
	u64 *slot = msr_slot(svm_vmcb(v), msr);

	svm_current(v);
	if (!slot)
		return svm_nested_msr_set(v, msr, val);
	*slot = val;
	return 0;
}

static const char *const seg_names[VMCB_SEGS] = {"es", "cs",  "ss",  "ds",  "fs",
						 "gs", "gdt", "ldt", "idt", "tr"};

void svm_dump(struct vcpu *v)
{
	const struct vmcb *m = svm_vmcb(v);

	log_err("VMCB of vm %u vcpu %u: exit %lx info1 %lx info2 %lx intinfo %lx", v->vm->id,
		v->index, m->exitcode, m->exitinfo1, m->exitinfo2, m->exitintinfo);
	log_err("  intercepts cr %04x/%04x dr %04x/%04x exc %08x %08x %08x", m->cr_read,
		m->cr_write, m->dr_read, m->dr_write, m->exceptions, m->int3, m->int4);
	log_err("  asid %u tlb %u vintr %lx int_state %lx eventinj %lx ncr3 %lx", m->asid,
		m->tlb_control, m->vintr, m->int_state, m->eventinj, m->ncr3);
	for (u32 i = 0; i < VMCB_SEGS; i++)
		log_err("  %s sel %04x attr %03x limit %08x base %016lx", seg_names[i],
			m->seg[i].selector, m->seg[i].attrib, m->seg[i].limit, m->seg[i].base);
	log_err("  cr0 %lx cr2 %lx cr3 %lx cr4 %lx efer %lx cpl %u", m->cr0, m->cr2, m->cr3, m->cr4,
		m->efer, m->cpl);
	log_err("  rip %lx rsp %lx rax %lx rflags %lx dr6 %lx dr7 %lx", m->rip, m->rsp, m->rax,
		m->rflags, m->dr6, m->dr7);
}
