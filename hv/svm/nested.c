/* SPDX-License-Identifier: GPL-2.0-only */
/* VMRUN, #VMEXIT and the instructions around them, for a guest: see nested.h. */
#include "hv/svm/nested.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/debug.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/lazy.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/lib/string.h"
#include "hv/svm/nested_exit.h"
#include "hv/svm/nested_npt.h"
#include "hv/svm/nested_rules.h"
#include "hv/svm/nested_state.h"
#include "hv/svm/tcg.h"

/* ---- guest mode ---- */

void svm_nested_close_window(struct vcpu *v)
{
	hvm->want_window(v, HVM_INJ_IRQ, false);
	v->window_on = false;
	vcpu_note(v, DUE_LOOK);
}

void svm_set_msr_map(struct vcpu *v)
{
	u8 *map = READ_ONCE(v->vm->msr_map);

	if (v->guest_mode && svm_nested(v)->vmcb12.int3 & SVM_INT3_MSRS)
		map = nested_msr_map;
	svm_vmcb(v)->msrpm = virt_to_hpa(map).v;
}

void svm_nested_end(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);

	BUG_ON(!v->guest_mode || !(s->watch & WATCH_NESTED));
	s->watch &= ~WATCH_NESTED;
	shadow_end_guest_mode(v);
	n->inject = 0;
	s->vmcb->ncr3 = v->vm->p2m.pt.root.v;
	svm_set_msr_map(v);
	s->vmcb->vintr = SVM_V_INTR_MASKING;
	s->vmcb->pause_count = n->l1.pause_count;
	s->vmcb->int_state = 0;
	hvm->set_tsc(v);
	svm_flush_asid(v);
}

void svm_nested_reset(struct vcpu *v, bool init)
{
	struct svm_nested *n = svm_nested(v);

	svm_of(v)->svme = 0;
	shadow_end_guest_mode(v);
	if (!n)
		return;
	n->inject = 0;
	n->asid = 0; /* no shadow outlives it */
	if (init)
		return;
	n->hsave_pa = n->vm_cr = 0;
	if (v->rights.svm)
		v->rights.efer |= EFER_SVME;
}

void svm_nested_set_efer(struct vcpu *v, u64 efer)
{
	struct svm_vcpu *s = svm_of(v);

	s->svme = v->shadow ? efer & EFER_SVME : 0;
	if (s->svme)
		return;
	if (v->guest_mode) {
		svm_nested_close_window(v);
		svm_nested_end(v);
	}
	s->watch &= ~WATCH_NO_GIF;
	vcpu_note(v, DUE_LOOK); /* at what it has held back */
}

static struct vmcb_seg canonical_seg(const struct vmcb_seg *s)
{
	struct vmcb_seg out = *s;

	out.base = svm_canonical(s->base);
	return out;
}

/* What VMRUN and #VMEXIT load and save. */
static void save_state(struct vcpu *v, struct vmcb *to)
{
	const struct vmcb *m = svm_vmcb(v);

	memcpy(to->seg, m->seg, offsetof(struct vmcb, fs) - offsetof(struct vmcb, es));
	to->gdtr = m->gdtr;
	to->idtr = m->idtr;
	to->cpl = m->cpl;
	to->efer = hvm->get(v, HVM_EFER);
	to->cr0 = hvm->get(v, HVM_CR0);
	to->cr2 = m->cr2;
	to->cr3 = m->cr3;
	to->cr4 = m->cr4;
	to->dr6 = debug_get_dr(v, 6);
	to->dr7 = debug_get_dr(v, 7);
	to->rflags = v->rflags;
	to->rip = v->rip;
	to->rsp = v->gpr[RSP];
	to->rax = v->gpr[RAX];
	to->g_pat = v->pat;
}

static void load_state(struct vcpu *v, const struct vmcb *from, bool pat)
{
	struct vmcb *m = svm_vmcb(v);

	memcpy(m->seg, from->seg, offsetof(struct vmcb, fs) - offsetof(struct vmcb, es));
	m->gdtr = canonical_seg(&from->gdtr);
	m->idtr = canonical_seg(&from->idtr);
	m->cpl = from->cpl & 3;
	hvm->set(v, HVM_EFER, from->efer);
	vcpu_set_cr4(v, from->cr4);
	hvm->set(v, HVM_CR3, from->cr3);
	hvm->set(v, HVM_CR0, from->cr0 & CR0_ALL);
	hvm->set(v, HVM_CR2, from->cr2);
	debug_set_dr(v, 6, from->dr6);
	debug_set_dr(v, 7, from->dr7);
	v->rflags = (from->rflags & RFLAGS_SETTABLE) | RFLAGS_FIXED;
	v->rip = from->rip;
	v->gpr[RSP] = from->rsp;
	v->gpr[RAX] = from->rax;
	if (pat)
		v->pat = m->g_pat = from->g_pat;
}

/* Of a VMCB what is read and written */
struct part {
	u16 at, len;
};
#define VMCB_PART(first, behind)                                                                   \
	{                                                                                          \
		offsetof(struct vmcb, first),                                                      \
		    offsetof(struct vmcb, behind) - offsetof(struct vmcb, first)                   \
	}
static const struct part vmrun_reads[] = {VMCB_PART(exits, reserved_0e0),
					  VMCB_PART(seg, reserved_698)};
/* Not TLB_CONTROL: who leaves it set wants a flush each time. */
static const struct part vmexit_writes[] = {
    VMCB_PART(vintr, reserved_0e0), VMCB_PART(seg, fs),
    VMCB_PART(gdtr, ldtr),	    VMCB_PART(idtr, tr),
    VMCB_PART(cpl, reserved_4cc),   VMCB_PART(efer, reserved_4d8),
    VMCB_PART(cr4, reserved_580),   VMCB_PART(rsp, reserved_5e0),
    VMCB_PART(rax, star),	    VMCB_PART(cr2, reserved_648),
    VMCB_PART(g_pat, dbgctl)};
static const struct part vmload_state[] = {VMCB_PART(fs, gdtr), VMCB_PART(ldtr, idtr),
					   VMCB_PART(tr, reserved_4a0), VMCB_PART(star, cr2)};

static int copy_parts(struct vcpu *v, u64 at, struct vmcb *m, const struct part *p, u32 n,
		      bool write)
{
	int err = 0;

	BUG_ON(at % PAGE_SIZE);
	for (u32 i = 0; i < n && !err; i++)
		err = nested_copy(v, at + p[i].at, (u8 *)m + p[i].at, p[i].len, write);
	return err;
}

/* The guest does not go on before its VMCB is written; dom0 may have to bring the page. */
static void write_back(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);
	int err = copy_parts(v, n->at, &n->vmcb12, vmexit_writes, ARRAY_SIZE(vmexit_writes), true);

	if (err == -EAGAIN)
		v->complete = write_back;
	else if (err)
		vcpu_shutdown(v);
}

bool svm_nested_is_leaving(const struct vcpu *v)
{
	return v->complete == write_back;
}

bool svm_nested_settle(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);

	for (u32 i = 0; svm_nested_is_leaving(v) && i < ARRAY_SIZE(vmexit_writes); i++) {
		const struct part *p = &vmexit_writes[i];

		if (p2m_write(&v->vm->p2m, gpa(n->at + p->at), (u8 *)&n->vmcb12 + p->at, p->len))
			return false;
	}
	return true;
}

u64 svm_nested_vintr(struct vcpu *v)
{
	const struct svm_nested *n = svm_nested(v);
	const struct vmcb *m = svm_vmcb(v);
	u64 irq = m->int3 & SVM_INT3_VINTR ? n->vintr : m->vintr;
	u8 tpr = n->masking ? n->tpr : v->lapic.tpr >> 4;

	return (n->vmcb12.vintr & ~(SVM_V_IRQ | SVM_V_TPR)) | (irq & SVM_V_IRQ) | tpr;
}

void svm_nested_leave(struct vcpu *v, u64 code, u64 info1, u64 info2, u64 intinfo)
{
	struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);
	struct vmcb *out = &n->vmcb12;
	bool pat = n->paging;

	BUG_ON(!v->guest_mode);
	svm_nested_close_window(v);
	if ((u32)code != SVM_EXIT_INVALID)
		save_state(v, out);
	out->exitcode = (u32)code == SVM_EXIT_INVALID ? ~0ull : code; /* some write half of it */
	out->exitinfo1 = info1;
	out->exitinfo2 = info2;
	out->exitintinfo = intinfo;
	out->vintr = svm_nested_vintr(v);
	out->int_state = s->vmcb->int_state & SVM_INT_SHADOW;
	out->next_rip = s->vmcb->next_rip;
	out->eventinj = 0;
	out->insn_len = 0;
	svm_nested_end(v);
	load_state(v, &n->l1, pat);
	debug_set_dr(v, 7, DR7_ONE);
	s->watch |= WATCH_NO_GIF;
	/* what else was on its way was on its way to the nested guest */
	v->exception.pending = v->irq_injected = v->nmi_injected = false;
	vcpu_note(v, DUE_LOOK);
	vcpu_trap_step(v); /* APM "VMRUN and TF/RF Bits in EFLAGS": behind VMRUN, so here */
	write_back(v);
}

void svm_nested_begin(struct vcpu *v, bool load)
{
	struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);
	const struct vmcb *in = &n->vmcb12;
	struct vmcb *m = s->vmcb;

	BUG_ON(v->guest_mode || v->in_smm);
	s->watch |= WATCH_NESTED;
	v->guest_mode = true;
	v->nested_tsc = in->tsc_offset;
	n->paging = v->nested_paging = in->np_control & SVM_NP_ENABLE;
	n->masking = in->vintr & SVM_V_INTR_MASKING;
	n->hif = n->l1.rflags & RFLAGS_IF;
	n->tpr = in->vintr & SVM_V_TPR & 15;
	n->inject = in->eventinj & EVT_VALID ? in->eventinj : 0;
	n->l1.pause_count = m->pause_count;
	if (in->int3 & SVM_INT3_PAUSE) /* we may count some; it counts none */
		m->pause_count = 0;
	svm_set_msr_map(v);
	m->vintr = SVM_V_INTR_MASKING |
		   (in->vintr & (SVM_V_IRQ | SVM_V_INTR_PRIO | SVM_V_IGN_TPR | SVM_V_VECTOR));
	if (load) {
		m->int_state = in->int_state & SVM_INT_SHADOW;
		load_state(v, in, n->paging);
	}
	if (n->paging)
		svm_nested_npt_load(v);
	hvm->set_tsc(v);
	svm_flush_asid(v);
	nested_forget_fetched(v);
}

/* ---- instructions ---- */

static void run_vmcb(struct vcpu *v, u64 at, const struct vm_exit *x)
{
	struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);
	struct nested_limits limits = nested_limits(v, s->vmcb->cr0 & CR0_PG);
	int err = copy_parts(v, at, &n->vmcb12, vmrun_reads, ARRAY_SIZE(vmrun_reads), false);
	u64 pdptes[4] = {0};

	if (err == -EINVAL)
		vcpu_inject_gp(v);
	if (!err && svm_vmcb_loads_pdptes(&n->vmcb12) &&
	    nested_copy(v, n->vmcb12.cr3 & GENMASK(31, 5), pdptes, sizeof(pdptes), false) ==
		-EAGAIN)
		return;
	if (err)
		return;
	vcpu_move_rip(v, x->insn_len);
	v->rflags &= ~RFLAGS_RF;
	s->vmcb->int_state = 0;
	svm_nested_close_window(v);
	save_state(v, &n->l1);
	n->at = at;
	s->watch &= ~WATCH_NO_GIF;
	if (svm_vmcb_valid(&n->vmcb12, &limits) && svm_pdptes_valid(pdptes, limits.addr_bits)) {
		svm_nested_begin(v, true);
		return;
	}
	n->vmcb12.exitcode = ~0ull;
	n->vmcb12.exitinfo1 = n->vmcb12.exitinfo2 = n->vmcb12.exitintinfo = 0;
	s->watch |= WATCH_NO_GIF;
	vcpu_trap_step(v);
	write_back(v);
}

/* FS, GS, LDTR, TR, and MSRs of system calls */
static void load_rest(struct vmcb *m, const struct vmcb *from)
{
	m->fs = canonical_seg(&from->fs);
	m->gs = canonical_seg(&from->gs);
	m->ldtr = canonical_seg(&from->ldtr);
	m->tr = canonical_seg(&from->tr);
	m->star = from->star;
	m->lstar = svm_canonical(from->lstar);
	m->cstar = svm_canonical(from->cstar);
	m->sfmask = from->sfmask;
	m->kernel_gs_base = svm_canonical(from->kernel_gs_base);
	m->sysenter_cs = from->sysenter_cs;
	m->sysenter_esp = svm_canonical(from->sysenter_esp);
	m->sysenter_eip = svm_canonical(from->sysenter_eip);
}

static void vmload_vmsave(struct vcpu *v, u64 at, const struct vm_exit *x, bool save)
{
	struct svm_nested *n = svm_nested(v);
	struct vmcb *from = save ? svm_vmcb(v) : &n->vmcb12;
	int err = copy_parts(v, at, from, vmload_state, ARRAY_SIZE(vmload_state), save);

	if (err == -EINVAL)
		vcpu_inject_gp(v);
	if (err)
		return;
	if (!save)
		load_rest(svm_vmcb(v), from);
	if (quirk_has(QUIRK_TSS))
		svm_tss_free(svm_vmcb(v));
	vcpu_skip(v, x->insn_len);
}

static void set_gif(struct vcpu *v, bool on, const struct vm_exit *x)
{
	svm_nested_close_window(v);
	svm_of(v)->watch &= ~WATCH_NO_GIF;
	if (!on)
		svm_of(v)->watch |= WATCH_NO_GIF;
	vcpu_skip(v, x->insn_len);
}

static void handle_insn(struct vcpu *v, const struct vm_exit *x)
{
	u64 at = v->gpr[RAX], code = (u32)x->raw;
	bool has_vmcb =
	    code == SVM_EXIT_VMRUN || code == SVM_EXIT_VMLOAD || code == SVM_EXIT_VMSAVE;

	if (!nested_insn_allowed(v, svm_of(v)->svme && code != SVM_EXIT_SKINIT))
		return;
	if (hvm->get(v, HVM_MODE) != EMUL_64)
		at = (u32)at;
	if ((has_vmcb && (at % PAGE_SIZE || at >> phys_bits)) ||
	    (code == SVM_EXIT_VMRUN && !svm_nested(v)->hsave_pa)) {
		vcpu_inject_gp(v);
		return;
	}
	switch (code) {
	case SVM_EXIT_VMRUN:
		if (shadow_is_promised(v))
			run_vmcb(v, at, x);
		break;
	case SVM_EXIT_VMLOAD:
	case SVM_EXIT_VMSAVE:
		vmload_vmsave(v, at, x, code == SVM_EXIT_VMSAVE);
		break;
	case SVM_EXIT_STGI:
	case SVM_EXIT_CLGI:
		set_gif(v, code == SVM_EXIT_STGI, x);
		break;
	default: /* INVLPGA: all of whatever ASID */
		shadow_drop(v);
		vcpu_skip(v, x->insn_len);
	}
}

/* ---- MSRs ---- */

#define VM_CR_BITS GENMASK(4, 0)
#define VM_CR_OFF  (VM_CR_SVMDIS | VM_CR_LOCK)

int svm_nested_msr_get(struct vcpu *v, u32 msr, u64 *val)
{
	const struct svm_nested *n = svm_nested(v);

	if (!n || !v->rights.svm || (msr != MSR_VM_CR && msr != MSR_VM_HSAVE_PA))
		return -ENOENT;
	*val = msr == MSR_VM_CR ? n->vm_cr : n->hsave_pa;
	return 0;
}

int svm_nested_msr_set(struct vcpu *v, u32 msr, u64 val)
{
	struct svm_nested *n = svm_nested(v);
	u64 fixed = 0;

	if (!n || !v->rights.svm || (msr != MSR_VM_CR && msr != MSR_VM_HSAVE_PA))
		return -ENOENT;
	if (msr == MSR_VM_HSAVE_PA) {
		if (val % PAGE_SIZE || val >> phys_bits)
			return -EINVAL;
		n->hsave_pa = val;
		return 0;
	}
	if (n->vm_cr & VM_CR_SVMDIS) /* once switched off it stays so, as in KVM */
		fixed = VM_CR_OFF;
	val = (n->vm_cr & fixed) | (val & ~fixed);
	if (val & ~VM_CR_BITS || (val & VM_CR_SVMDIS && svm_of(v)->svme))
		return -EINVAL;
	n->vm_cr = val;
	v->rights.efer &= ~EFER_SVME;
	if (!(val & VM_CR_SVMDIS))
		v->rights.efer |= EFER_SVME;
	return 0;
}

/* ---- events ---- */

/* An interrupt for the guest, wherever it comes from */
static bool irq_waits(struct vcpu *v)
{
	return lapic_pending(v) >= 0 || v->user_irq >= 0 || lapic_extint_pending(v) ||
	       v->want_irq_window;
}

/* Physical interrupts' IF, of the guest or, as it likes, of its guest. */
bool svm_nested_hif(struct vcpu *v)
{
	return svm_nested(v)->masking && svm_nested(v)->hif;
}

static bool irq_open(struct vcpu *v)
{
	if (svm_nested(v)->masking)
		return svm_nested(v)->hif;
	return v->rflags & RFLAGS_IF && !(svm_vmcb(v)->int_state & SVM_INT_SHADOW);
}

static bool svm_nested_holds_smi(struct vcpu *v)
{
	bool late = v->guest_mode && svm_nested(v)->inject;

	return late || svm_of(v)->watch & WATCH_NO_GIF ||
	       (v->guest_mode && svm_nested(v)->vmcb12.int3 & SVM_INT3_SMI);
}

/* APM "INIT Support" */
static bool svm_nested_holds_init(struct vcpu *v)
{
	return svm_of(v)->watch & WATCH_NO_GIF ||
	       (v->guest_mode && svm_nested(v)->vmcb12.int3 & SVM_INT3_INIT);
}

bool svm_nested_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	const struct svm_nested *n = svm_nested(v);

	if (svm_of(v)->watch & WATCH_NO_GIF || n->inject)
		return false;
	if (k == HVM_INJ_NMI)
		return !(n->vmcb12.int3 & SVM_INT3_NMI);
	return !(n->vmcb12.int3 & SVM_INT3_INTR) && irq_open(v);
}

/*
 * With masking and without the guest's IF interrupts wait for #VMEXIT; with GIF clear, for STGI.
 * With its IF they wait for the end of a shadow, most of which are behind STI.
 */
void svm_nested_window(struct vcpu *v, bool on)
{
	struct svm_nested *n = svm_nested(v);
	struct vmcb *m = svm_vmcb(v);

	if (on && v->guest_mode && (n->hif || !n->masking) && !(svm_of(v)->watch & WATCH_NO_GIF)) {
		n->vintr = m->vintr;
		m->vintr |= SVM_V_IRQ | SVM_V_IGN_TPR | SVM_V_INTR_PRIO;
		m->int3 |= SVM_INT3_VINTR;
	} else if (!on && m->int3 & SVM_INT3_VINTR) {
		m->vintr = v->guest_mode ? n->vintr : SVM_V_INTR_MASKING;
		m->int3 &= ~SVM_INT3_VINTR;
	}
}

static bool handle_event(struct vcpu *v)
{
	struct svm_nested *n = svm_nested(v);
	const struct vmcb *m = &n->vmcb12;
	u8 vector = v->exception.vector;

	if (v->exception.pending) {
		u64 info2 = vector == VEC_PF ? svm_vmcb(v)->cr2 : 0;

		if (v->exception.injected || !(m->exceptions & BIT(vector)))
			return false;
		svm_vmcb(v)->cr2 = n->cr2; /* it has not come so far */
		svm_nested_leave(v, SVM_EXIT_EXCEPTION + vector, v->exception.error, info2,
				 n->inject);
		return true;
	}
	/* an injection goes in first: svm_nested_inject() */
	if (n->inject || svm_of(v)->watch & WATCH_NO_GIF)
		return false;
	if (v->smi_pending && m->int3 & SVM_INT3_SMI) { /* held until here, and then until STGI */
		svm_nested_leave(v, SVM_EXIT_SMI, 0, 0, 0);
		return true;
	}
	if (v->init_latched && m->int3 & SVM_INT3_INIT) { /* likewise */
		svm_nested_leave(v, SVM_EXIT_INIT, 0, 0, 0);
		return true;
	}
	if (v->nmi_pending && m->int3 & SVM_INT3_NMI && !v->nmi_masked) {
		svm_nested_leave(v, SVM_EXIT_NMI, 0, 0, 0);
		return true;
	}
	if (m->int3 & SVM_INT3_INTR && irq_open(v) && irq_waits(v)) {
		svm_nested_leave(v, SVM_EXIT_INTR, 0, 0, 0);
		return true;
	}
	return false;
}

static bool triple_fault(struct vcpu *v)
{
	bool wanted = svm_vmcb_wants(&svm_nested(v)->vmcb12, SVM_EXIT_SHUTDOWN);

	vcpu_load(v); /* it may be one that the VMM asks for */
	if (wanted)
		svm_nested_leave(v, SVM_EXIT_SHUTDOWN, 0, 0, 0);
	return wanted;
}

const struct nested_ops svm_nested_ops = {
    .insn = handle_insn,
    .event = handle_event,
    .hypercall = svm_nested_hypercall,
    .holds_smi = svm_nested_holds_smi,
    .holds_init = svm_nested_holds_init,
    .translate = shadow_translate,
    .fault = shadow_fault,
    .walk = svm_nested_walk,
    .refuse = svm_nested_refuse,
    .flush = svm_nested_flush,
    .shutdown = triple_fault,
    .get_state = svm_nested_get_state,
    .set_state = svm_nested_set_state,
};
