/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest state in the VMCB: registers, segments, MSRs. */
#include "hv/emul/insn.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/svm/svm.h"

static u32 cpl(const struct vmcb *m)
{
	return FIELD_GET(VMCB_ATTR_DPL, m->ss.attrib);
}

static enum emul_mode mode(const struct vmcb *m)
{
	if ((m->efer & EFER_LMA) && (m->cs.attrib & VMCB_ATTR_L))
		return EMUL_64;
	return (m->cr0 & CR0_PE) && (m->cs.attrib & VMCB_ATTR_DB) ? EMUL_32 : EMUL_16;
}

bool svm_hides_lme;

static u64 get_efer(struct vcpu *v)
{
	const struct svm_vcpu *s = v->arch;

	return (s->vmcb->efer & ~EFER_SVME) | (s->lme_hidden ? EFER_LME : 0);
}

/* After CR0 and CR4. */
static void set_efer(struct vcpu *v, u64 efer)
{
	struct svm_vcpu *s = v->arch;
	struct vmcb *m = s->vmcb;

	s->lme_hidden =
	    svm_hides_lme && (efer & EFER_LME) && !(m->cr0 & CR0_PG) && !(m->cr4 & CR4_PAE);
	m->efer = (s->lme_hidden ? efer & ~EFER_LME : efer) | EFER_SVME;
}

u64 svm_get(struct vcpu *v, enum hvm_reg r)
{
	struct vmcb *m = svm_vmcb(v);

	switch (r) {
	case HVM_CR0:
		return m->cr0;
	case HVM_CR2:
		return m->cr2;
	case HVM_CR3:
		return m->cr3;
	case HVM_CR4:
		return m->cr4;
	case HVM_EFER:
		return get_efer(v);
	case HVM_CPL:
		return cpl(m);
	case HVM_MODE:
		return mode(m);
	case HVM_SHADOW:
		return m->int_state & SVM_INT_SHADOW;
	case HVM_TSC_OFFSET:
		break; /* to set only */
	}
	return 0;
}

void svm_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	struct vmcb *m = svm_vmcb(v);

	switch (r) {
	case HVM_CR0:
		m->cr0 = val | CR0_ET;
		set_efer(v, get_efer(v));
		svm_flush_asid(v);
		break;
	case HVM_CR2:
		m->cr2 = val;
		break;
	case HVM_CR3:
		m->cr3 = val;
		svm_flush_asid(v);
		break;
	case HVM_CR4:
		if ((m->cr4 ^ val) & (CR4_PGE | CR4_PSE | CR4_PAE | CR4_PCIDE | CR4_SMEP |
				      CR4_SMAP | CR4_LA57 | CR4_PKE))
			svm_flush_asid(v);
		m->cr4 = val;
		set_efer(v, get_efer(v));
		break;
	case HVM_EFER:
		set_efer(v, val);
		break;
	case HVM_SHADOW:
		m->int_state = val ? SVM_INT_SHADOW : 0;
		break;
	case HVM_TSC_OFFSET:
		m->tsc_offset = v->tsc_offset;
		break;
	case HVM_CPL:
	case HVM_MODE:
		break; /* follow from the segments */
	}
}

void svm_get_paging(struct vcpu *v, struct hvm_paging *out)
{
	const struct vmcb *m = svm_vmcb(v);

	*out = (struct hvm_paging){m->cr0, m->cr3, m->cr4, m->efer & ~EFER_SVME,
				   v->rip, cpl(m), mode(m)};
	if (out->mode != EMUL_64)
		out->next = (u32)(v->rip + m->cs.base);
}

bool svm_is_paging(struct vcpu *v, const struct hvm_paging *p)
{
	const struct vmcb *m = svm_vmcb(v);

	return !((m->cr3 ^ p->cr3) | (m->cr0 ^ p->cr0) | ((m->cr4 ^ p->cr4) & HVM_FETCH_CR4) |
		 ((m->efer ^ p->efer) & ~EFER_SVME) | (cpl(m) ^ p->cpl) | (mode(m) ^ p->mode));
}

static struct vmcb_seg *seg(struct vmcb *m, enum hvm_seg s)
{
	struct vmcb_seg *const at[] = {
	    [HVM_ES] = &m->es, [HVM_CS] = &m->cs, [HVM_SS] = &m->ss,	 [HVM_DS] = &m->ds,
	    [HVM_FS] = &m->fs, [HVM_GS] = &m->gs, [HVM_LDTR] = &m->ldtr, [HVM_TR] = &m->tr,
	};

	return at[s];
}

void svm_get_seg(struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)
{
	struct vmcb *m = svm_vmcb(v);
	const struct vmcb_seg *in = seg(m, s);

	*out = (struct corbel_segment){
	    .base = in->base,
	    .limit = in->limit,
	    .selector = in->selector,
	    .type = in->attrib & VMCB_ATTR_TYPE,
	    .s = !!(in->attrib & VMCB_ATTR_S),
	    .dpl = FIELD_GET(VMCB_ATTR_DPL, in->attrib),
	    .present = !!(in->attrib & VMCB_ATTR_P),
	    .avl = !!(in->attrib & VMCB_ATTR_AVL),
	    .l = !!(in->attrib & VMCB_ATTR_L),
	    .db = !!(in->attrib & VMCB_ATTR_DB),
	    .g = !!(in->attrib & VMCB_ATTR_G),
	    .unusable = !(in->attrib & VMCB_ATTR_P),
	};
	if (s == HVM_TR)
		out->type |= 2; /* some CPUs drop the busy bit, VM entry elsewhere demands it */
}

void svm_set_seg(struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
{
	struct vmcb *m = svm_vmcb(v);
	struct vmcb_seg *out = seg(m, s);

	out->base = in->base;
	out->limit = in->limit;
	out->selector = in->selector;
	out->attrib =
	    (in->type & 15) | (in->s ? VMCB_ATTR_S : 0) | FIELD_PREP(VMCB_ATTR_DPL, in->dpl & 3) |
	    (in->present && !in->unusable ? VMCB_ATTR_P : 0) | (in->avl ? VMCB_ATTR_AVL : 0) |
	    (in->l ? VMCB_ATTR_L : 0) | (in->db ? VMCB_ATTR_DB : 0) | (in->g ? VMCB_ATTR_G : 0);
	if (s == HVM_SS)
		m->cpl = in->dpl & 3; /* CPUs take the CPL from here, some emulators from SS */
}

void svm_get_dt(struct vcpu *v, bool idt, struct corbel_dtable *out)
{
	const struct vmcb_seg *t = idt ? &svm_vmcb(v)->idtr : &svm_vmcb(v)->gdtr;

	*out = (struct corbel_dtable){.base = t->base, .limit = t->limit};
}

void svm_set_dt(struct vcpu *v, bool idt, const struct corbel_dtable *in)
{
	struct vmcb_seg *t = idt ? &svm_vmcb(v)->idtr : &svm_vmcb(v)->gdtr;

	t->base = in->base;
	t->limit = in->limit;
}

void svm_get_dr67(struct vcpu *v, u64 *dr6, u64 *dr7)
{
	*dr6 = svm_vmcb(v)->dr6;
	*dr7 = svm_vmcb(v)->dr7;
}

void svm_set_dr67(struct vcpu *v, u64 dr6, u64 dr7)
{
	svm_vmcb(v)->dr6 = dr6 | 0xffff0ff0;
	svm_vmcb(v)->dr7 = dr7 | 0x400;
}

static u64 *msr_slot(struct vmcb *m, u32 msr)
{
	switch (msr) {
	case 0xc0000081:
		return &m->star;
	case 0xc0000082:
		return &m->lstar;
	case 0xc0000083:
		return &m->cstar;
	case 0xc0000084:
		return &m->sfmask;
	case 0xc0000100:
		return &m->fs.base;
	case 0xc0000101:
		return &m->gs.base;
	case 0xc0000102:
		return &m->kernel_gs_base;
	case 0x174:
		return &m->sysenter_cs;
	case 0x175:
		return &m->sysenter_esp;
	case 0x176:
		return &m->sysenter_eip;
	case 0x1d9:
		return &m->dbgctl;
	case 0x277:
		return &m->g_pat;
	}
	return NULL;
}

int svm_msr_get(struct vcpu *v, u32 msr, u64 *val)
{
	u64 *slot = msr_slot(svm_vmcb(v), msr);

	if (!slot)
		return -ENOENT;
	*val = *slot;
	return 0;
}

int svm_msr_set(struct vcpu *v, u32 msr, u64 val)
{
	u64 *slot = msr_slot(svm_vmcb(v), msr);

	if (!slot)
		return -ENOENT;
	*slot = val;
	return 0;
}

static void dump_seg(const char *name, const struct vmcb_seg *s)
{
	log_err("  %s sel %04x attr %03x limit %08x base %016llx", name, s->selector, s->attrib,
		s->limit, (unsigned long long)s->base);
}

void svm_dump(struct vcpu *v)
{
	struct vmcb *m = svm_vmcb(v);

#define U(x) ((unsigned long long)(x))
	log_err("VMCB of vm %u vcpu %u: exit %llx info1 %llx info2 %llx intinfo %llx", v->vm->id,
		v->index, U(m->exitcode), U(m->exitinfo1), U(m->exitinfo2), U(m->exitintinfo));
	log_err("  intercepts cr %04x/%04x dr %04x/%04x exc %08x %08x %08x", m->cr_read,
		m->cr_write, m->dr_read, m->dr_write, m->exceptions, m->int3, m->int4);
	log_err("  asid %u tlb %u vintr %llx int_state %llx eventinj %llx ncr3 %llx", m->asid,
		m->tlb_control, U(m->vintr), U(m->int_state), U(m->eventinj), U(m->ncr3));
	dump_seg("cs", &m->cs);
	dump_seg("ss", &m->ss);
	dump_seg("ds", &m->ds);
	dump_seg("es", &m->es);
	dump_seg("fs", &m->fs);
	dump_seg("gs", &m->gs);
	dump_seg("tr", &m->tr);
	dump_seg("gdt", &m->gdtr);
	dump_seg("idt", &m->idtr);
	log_err("  cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx cpl %u", U(m->cr0), U(m->cr2),
		U(m->cr3), U(m->cr4), U(m->efer), m->cpl);
	log_err("  rip %llx rsp %llx rax %llx rflags %llx dr6 %llx dr7 %llx", U(m->rip), U(m->rsp),
		U(m->rax), U(m->rflags), U(m->dr6), U(m->dr7));
#undef U
}
