/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/vmx/nested_run.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/guest/cr.h"
#include "hv/guest/debug.h"
#include "hv/guest/exit.h"
#include "hv/guest/inject.h"
#include "hv/vmx/direct.h"
#include "hv/vmx/evmcs.h"
#include "hv/vmx/nested_area.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/state.h"

static void close_windows(struct vcpu *v)
{
	hvm->want_window(v, HVM_INJ_IRQ, false);
	hvm->want_window(v, HVM_INJ_NMI, false);
	v->window_on = false;
	vcpu_note(v, DUE_LOOK);
}

void vmx_nested_end(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);

	close_windows(v);
	s->watch &= ~(WATCH_L2 | WATCH_INJECT | WATCH_INJECT_NMI);
	shadow_end_guest_mode(v);
	vmx_nested(v)->inject = 0;
	vmcs_write32(VMCS_ENTRY_INTR_INFO, 0);
	vmcs_write32(VMCS_PF_ERROR_MASK, 0);
	vmcs_write32(VMCS_PF_ERROR_MATCH, 0);
	vmcs_write64(VMCS_EPTP, vmx_eptp(v));
	vmcs_write(VMCS_PENDING_DEBUG, 0);
	/* It still is where the nested guest has never been entered; and may be so again. */
	vmx_switch_direct(v, false);
	v->lapic.hw_stale = true;
	vmx_nested_fix(v);
	hvm->set_tsc(v);
	s->tlb_gen = NO_GEN;
}

static void move_ranges(struct vcpu *v, struct vmcs12 *m, bool load)
{
	for (u32 i = 0; i < vmcs12_range_count; i++) {
		const struct vmcs12_range *r = &vmcs12_ranges[i];

		for (u32 f = r->first; r->moved && f < r->first + 2u * r->count; f += 2) {
			if (load)
				vmcs_write(f, vmcs12_get(m, f));
			else
				vmcs12_set(m, f, vmcs_read(f));
		}
	}
}

static void set_pat(struct vcpu *v, u64 pat)
{
	v->pat = pat;
	hvm->msr_set(v, MSR_PAT, pat);
}

void vmx_nested_save(struct vcpu *v, struct vmcs12 *m)
{
	u32 exit = vmcs12_get(m, VMCS_EXIT_CONTROLS), entry = vmcs12_get(m, VMCS_ENTRY_CONTROLS);
	u64 efer = hvm->get(v, HVM_EFER);

	move_ranges(v, m, false);
	vmcs12_set(m, VMCS_GUEST_CR0, hvm->get(v, HVM_CR0));
	vmcs12_set(m, VMCS_GUEST_CR3, hvm->get(v, HVM_CR3));
	vmcs12_set(m, VMCS_GUEST_CR4, hvm->get(v, HVM_CR4));
	vmcs12_set(m, VMCS_GUEST_RSP, v->gpr[RSP]);
	vmcs12_set(m, VMCS_GUEST_RIP, v->rip);
	vmcs12_set(m, VMCS_GUEST_RFLAGS, v->rflags);
	vmcs12_set(m, VMCS_INTERRUPTIBILITY, vmx_of(v)->shadow | (v->nmi_masked ? BLOCKED_NMI : 0));
	/* not one that an emulated HLT's single-step trap wakes up at once */
	vmcs12_set(m, VMCS_ACTIVITY, v->mp_state == MP_HALTED && !v->exception.pending);
	if (exit & EXIT_SAVE_DEBUG) {
		vmcs12_set(m, VMCS_GUEST_DR7, debug_get_dr(v, 7));
		if (!(entry & ENTRY_LOAD_DEBUG)) /* else it is as loaded */
			vmcs12_set(m, VMCS_GUEST_DEBUGCTL, 0);
	}
	if (exit & EXIT_SAVE_EFER)
		vmcs12_set(m, VMCS_GUEST_EFER, efer);
	if (exit & EXIT_SAVE_PAT)
		vmcs12_set(m, VMCS_GUEST_PAT, v->pat);
	entry &= ~ENTRY_GUEST_64;
	if (efer & EFER_LMA)
		entry |= ENTRY_GUEST_64;
	vmcs12_set(m, VMCS_ENTRY_CONTROLS, entry);
}

/* Long mode or not, where EFER is not loaded. */
static u64 efer_for(struct vcpu *v, bool is_long)
{
	u64 efer = hvm->get(v, HVM_EFER) & ~(EFER_LMA | EFER_LME);

	return is_long ? efer | EFER_LMA | EFER_LME : efer;
}

static void set_crs(struct vcpu *v, u64 efer, u64 cr4, u64 cr3, u64 cr0)
{
	hvm->set(v, HVM_EFER, efer);
	vcpu_set_cr4(v, cr4);
	hvm->set(v, HVM_CR3, cr3);
	hvm->set(v, HVM_CR0, cr0 & CR0_ALL);
}

static void load_guest(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 entry = vmx_get12(v, VMCS_ENTRY_CONTROLS), state = vmx_get12(v, VMCS_INTERRUPTIBILITY);
	u64 efer = efer_for(v, entry & ENTRY_GUEST_64);

	if (entry & ENTRY_LOAD_EFER)
		efer = vmx_get12(v, VMCS_GUEST_EFER);
	set_crs(v, efer, vmx_get12(v, VMCS_GUEST_CR4), vmx_get12(v, VMCS_GUEST_CR3),
		vmx_get12(v, VMCS_GUEST_CR0));
	if (entry & ENTRY_LOAD_DEBUG)
		debug_set_dr(v, 7, vmx_get12(v, VMCS_GUEST_DR7));
	if (entry & ENTRY_LOAD_PAT)
		set_pat(v, vmx_get12(v, VMCS_GUEST_PAT));
	v->gpr[RSP] = vmx_get12(v, VMCS_GUEST_RSP);
	v->rip = vmx_get12(v, VMCS_GUEST_RIP);
	v->rflags = vmx_get12(v, VMCS_GUEST_RFLAGS);
	s->shadow = state & (SHADOW_STI | SHADOW_MOV_SS);
	v->nmi_masked = state & BLOCKED_NMI;
	s->watch |= WATCH_BLOCK;
}

#define AR_DATA	    0xc093u /* to 4 GiB, writable, accessed */
#define AR_CODE	    0x809bu
#define AR_TSS	    0x8bu
#define TSS_LIMIT   0x67
#define TABLE_LIMIT 0xffff

static void load_segment(struct vcpu *v, enum hvm_seg s, u16 sel, u64 base, u32 ar)
{
	vmcs_write(VMCS_SEG_SEL(s), sel);
	vmcs_write(VMCS_SEG_BASE(s), base);
	vmcs_write(VMCS_SEG_LIMIT(s), ~0u);
	if (!sel && s != HVM_CS)
		ar |= AR_UNUSABLE;
	vmcs_write(VMCS_SEG_AR(s), ar);
}

/* SDM "Loading Host Segment and Descriptor-Table Registers" */
static void load_host_segments(struct vcpu *v, bool is_long)
{
	static const u16 sel[] = {
	    [HVM_ES] = VMCS_HOST_ES_SEL, [HVM_CS] = VMCS_HOST_CS_SEL, [HVM_SS] = VMCS_HOST_SS_SEL,
	    [HVM_DS] = VMCS_HOST_DS_SEL, [HVM_FS] = VMCS_HOST_FS_SEL, [HVM_GS] = VMCS_HOST_GS_SEL};

	for (u32 s = HVM_ES; s <= HVM_GS; s++)
		load_segment(v, s, vmx_get12(v, sel[s]), 0, AR_DATA);
	load_segment(v, HVM_CS, vmx_get12(v, VMCS_HOST_CS_SEL), 0,
		     AR_CODE | (is_long ? AR_L : AR_DB));
	vmcs_write(VMCS_GUEST_FS_BASE, vmx_get12(v, VMCS_HOST_FS_BASE));
	vmcs_write(VMCS_GUEST_GS_BASE, vmx_get12(v, VMCS_HOST_GS_BASE));
	load_segment(v, HVM_TR, vmx_get12(v, VMCS_HOST_TR_SEL), vmx_get12(v, VMCS_HOST_TR_BASE),
		     AR_TSS);
	vmcs_write(VMCS_GUEST_TR_LIMIT, TSS_LIMIT);
	load_segment(v, HVM_LDTR, 0, 0, 0);
	vmcs_write(VMCS_GUEST_GDTR_BASE, vmx_get12(v, VMCS_HOST_GDTR_BASE));
	vmcs_write(VMCS_GUEST_IDTR_BASE, vmx_get12(v, VMCS_HOST_IDTR_BASE));
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, TABLE_LIMIT);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, TABLE_LIMIT);
}

/* SDM "Loading Host State" */
static void load_host(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 exit = vmx_get12(v, VMCS_EXIT_CONTROLS);
	bool is_long = exit & EXIT_HOST_64;
	u64 efer = efer_for(v, is_long);

	if (exit & EXIT_LOAD_EFER)
		efer = vmx_get12(v, VMCS_HOST_EFER);
	set_crs(v, efer, vmx_get12(v, VMCS_HOST_CR4), vmx_get12(v, VMCS_HOST_CR3),
		vmx_get12(v, VMCS_HOST_CR0));
	load_host_segments(v, is_long);
	vmcs_write(VMCS_GUEST_SYSENTER_CS, vmx_get12(v, VMCS_HOST_SYSENTER_CS));
	vmcs_write(VMCS_GUEST_SYSENTER_ESP, vmx_get12(v, VMCS_HOST_SYSENTER_ESP));
	vmcs_write(VMCS_GUEST_SYSENTER_EIP, vmx_get12(v, VMCS_HOST_SYSENTER_EIP));
	if (exit & EXIT_LOAD_PAT)
		set_pat(v, vmx_get12(v, VMCS_HOST_PAT));
	debug_set_dr(v, 7, DR7_ONE);
	v->gpr[RSP] = vmx_get12(v, VMCS_HOST_RSP);
	v->rip = vmx_get12(v, VMCS_HOST_RIP);
	v->rflags = RFLAGS_FIXED;
	s->shadow = 0;
	s->watch |= WATCH_BLOCK;
	/* what else was on its way was on its way to the nested guest */
	v->exception.pending = v->irq_injected = v->nmi_injected = false;
}

/* ---- entry ---- */

void vmx_nested_begin(struct vcpu *v, bool load)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct vmx_nested *n = vmx_nested(v);
	u32 info = vmx_get12(v, VMCS_ENTRY_INTR_INFO);

	close_windows(v);
	n->nmis_masked = v->nmi_masked;
	n->inject = info & EVT_VALID ? info : 0;
	n->inject_error = vmx_get12(v, VMCS_ENTRY_ERROR);
	n->inject_len = vmx_get12(v, VMCS_ENTRY_INSN_LEN);
	s->watch |= WATCH_L2;
	v->guest_mode = n->entering = true;
	v->nested_paging = vmcs12_its_proc2(&n->vmcs12) & PROC2_EPT;
	if (v->nested_paging && n->eptp != vmx_get12(v, VMCS_EPTP)) {
		n->eptp = vmx_get12(v, VMCS_EPTP);
		shadow_drop(v);
	}
	v->nested_tsc = 0;
	if (vmx_get12(v, VMCS_PROC_CONTROLS) & PROC_TSC_OFFSET)
		v->nested_tsc = vmx_get12(v, VMCS_TSC_OFFSET);
	vmx_nested_fix(v);
	move_ranges(v, &n->vmcs12, true);
	if (load)
		load_guest(v);
	if (v->nested_paging) /* they are in the VMCS */
		s->watch &= ~WATCH_PDPTES;
	hvm->set_tsc(v);
	v->lapic.hw_stale = true;
	s->tlb_gen = NO_GEN;
	nested_forget_fetched(v);
}

/* Is a window that the guest has asked for open to a nested guest that halts? */
static bool window_opens(struct vcpu *v)
{
	u32 proc = vmx_get12(v, VMCS_PROC_CONTROLS);

	return (proc & PROC_INTR_WINDOW && v->rflags & RFLAGS_IF) ||
	       (proc & PROC_NMI_WINDOW && !v->nmi_masked);
}

void vmx_nested_launch(struct vcpu *v, int qual)
{
	u32 failed = 0;

	if (!vmx_area_is_there(v))
		return;
	vmx_nested_begin(v, qual < 0);
	if (qual >= 0)
		vmx_nested_leave(v, EXIT_ENTRY_FAILED | EXIT_BAD_GUEST, qual, 0, 0);
	else if (vmx_load_area(v, VMCS_ENTRY_MSR_LOADS, VMCS_ENTRY_MSR_LOAD, &failed))
		vmx_nested_leave(v, EXIT_ENTRY_FAILED | EXIT_BAD_MSR, failed, 0, 0);
	else if (vmx_get12(v, VMCS_ACTIVITY) && !vmx_nested(v)->inject && !window_opens(v) &&
		 !(vmx_get12(v, VMCS_PENDING_DEBUG) & (DR6_BS | PENDING_BREAKPOINT)))
		vcpu_halt(v);
}

/* An event that was broken off, or the guest wants injected, comes before all others. */
static void inject_event(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct vmx_nested *n = vmx_nested(v);
	u32 event = n->inject;

	if (event && !(s->watch & WATCH_INJECT)) {
		n->inject = 0;
		vmcs_write32(VMCS_ENTRY_INSN_LEN, n->inject_len);
		hvm->inject(v, FIELD_GET(EVT_TYPE, event), event & EVT_VECTOR,
			    event & EVT_HAS_ERROR, n->inject_error);
	}
	/* What waits behind one, ours too, may end guest mode: it does right behind that. */
	if (s->watch & WATCH_INJECT &&
	    (n->inject || v->init_latched || v->window_on || v->nmi_pending ||
	     lapic_pending(v) >= 0 || v->user_irq >= 0))
		apic_send_ipi(this_cpu()->apic_id, VEC_NOP);
}

static void add_cr(struct vcpu *v, u32 mask_field, u32 shadow_field, u64 its_mask, u64 val)
{
	u64 mask = vmcs_read(mask_field) | its_mask;

	vmcs_write(mask_field, mask);
	vmcs_write(shadow_field, (val & ~its_mask) | (vmx_get12(v, shadow_field) & its_mask));
}

void vmx_nested_enter(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct vmx_nested *n = vmx_nested(v);
	const struct vmcs12 *m = &n->vmcs12;

	inject_event(v);
	n->exceptions = vmcs_read32(VMCS_EXCEPTIONS);
	n->cr0_shadow = vmcs_readn(VMCS_CR0_SHADOW);
	n->cr4_shadow = vmcs_readn(VMCS_CR4_SHADOW);
	BUG_ON(n->exceptions & BIT(VEC_PF)); /* of page faults all that is known is the guest's */
	vmcs_write32(VMCS_EXCEPTIONS, n->exceptions | vmx_get12(v, VMCS_EXCEPTIONS));
	vmcs_write32(VMCS_PF_ERROR_MASK, vmx_get12(v, VMCS_PF_ERROR_MASK));
	vmcs_write32(VMCS_PF_ERROR_MATCH, vmx_get12(v, VMCS_PF_ERROR_MATCH));
	vmcs_write32(VMCS_PROC_CONTROLS, vmcs12_proc(m, s->proc));
	vmcs_write32(VMCS_PROC2_CONTROLS, vmcs12_proc2(m, s->proc2));
	vmcs_write64(VMCS_MSR_BITMAP, virt_to_hpa(nested_msr_map).v);
	vmcs_write64(VMCS_EPTP, vmx_eptp(v));
	add_cr(v, VMCS_CR0_MASK, VMCS_CR0_SHADOW, vmx_get12(v, VMCS_CR0_MASK),
	       hvm->get(v, HVM_CR0));
	add_cr(v, VMCS_CR4_MASK, VMCS_CR4_SHADOW, vmx_get12(v, VMCS_CR4_MASK),
	       hvm->get(v, HVM_CR4));
}

void vmx_nested_exit(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct vmx_nested *n = vmx_nested(v);

	vmcs_write32(VMCS_EXCEPTIONS, n->exceptions);
	vmcs_write32(VMCS_PROC_CONTROLS, s->proc);
	vmcs_writen(VMCS_CR0_SHADOW, n->cr0_shadow);
	vmcs_writen(VMCS_CR4_SHADOW, n->cr4_shadow);
	vmx_write_cr_masks(v);
	n->cr2 = hvm->get(v, HVM_CR2);
}

void vmx_nested_take_back(struct vcpu *v, u32 event, u32 error, u32 len)
{
	struct vmx_nested *n = vmx_nested(v);

	if (n->inject) { /* another was first, and is so again */
		hvm_take_back_event(v, event, error);
		return;
	}
	n->inject = event & (EVT_VALID | EVT_HAS_ERROR | EVT_TYPE | EVT_VECTOR);
	n->inject_error = error;
	n->inject_len = len;
	if (FIELD_GET(EVT_TYPE, event) == HVM_INJ_NMI)
		v->nmi_masked = false; /* the injection masks them again */
}

/* ---- exit ---- */

static void load_exit_area(struct vcpu *v)
{
	u32 failed;
	int err = vmx_load_area(v, VMCS_EXIT_MSR_LOADS, VMCS_EXIT_MSR_LOAD, &failed);

	if (err == -EAGAIN)
		v->complete = load_exit_area;
	else if (err) /* SDM "VMX Aborts" */
		vcpu_shutdown(v);
}

/* To the guest, where that reads it by itself. After a restore the assist page says where. */
static int put_evmcs(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	int err = n->evmcs == NOWHERE ? evmcs_find(v, &n->evmcs) : 0;

	return err ?: evmcs_store(v, n->evmcs, &n->vmcs12);
}

static void finish_exit(struct vcpu *v)
{
	struct vmx_nested *n = vmx_nested(v);
	u32 reason = vmx_get12(v, VMCS_EXIT_REASON);
	int err = reason & EXIT_ENTRY_FAILED ? 0 : vmx_store_area(v);
	bool nmi = reason == EXIT_EXCEPTION_NMI &&
		   FIELD_GET(EVT_TYPE, vmx_get12(v, VMCS_EXIT_INTR_INFO)) == HVM_INJ_NMI;

	if (!err && n->current == NOWHERE)
		err = put_evmcs(v);
	if (err == -EAGAIN) {
		v->complete = finish_exit;
		return;
	}
	if (vmx_get12(v, VMCS_PIN_CONTROLS) & PIN_VNMI || reason & EXIT_ENTRY_FAILED)
		v->nmi_masked = n->nmis_masked;
	v->nmi_masked |= nmi;
	vmx_nested_end(v);
	load_host(v);
	v->mp_state = MP_RUNNABLE;
	if (err)
		vcpu_shutdown(v);
	else
		load_exit_area(v);
}

bool vmx_nested_is_leaving(const struct vcpu *v)
{
	return v->complete == finish_exit || v->complete == load_exit_area;
}

void vmx_nested_leave(struct vcpu *v, u32 reason, u64 qual, u32 intr, u32 error)
{
	struct vmx_nested *n = vmx_nested(v);

	BUG_ON(!v->guest_mode || !(vmx_of(v)->watch & WATCH_L2));
	vmx_set12(v, VMCS_EXIT_REASON, reason);
	vmx_set12(v, VMCS_QUALIFICATION, qual);
	if (!(reason & EXIT_ENTRY_FAILED)) {
		n->vmcs12.launched = 1;
		vmx_set12(v, VMCS_EXIT_INTR_INFO, intr);
		vmx_set12(v, VMCS_EXIT_INTR_ERROR, error);
		vmx_set12(v, VMCS_IDT_INFO, n->inject);
		vmx_set12(v, VMCS_IDT_ERROR, n->inject_error);
		vmx_set12(v, VMCS_EXIT_INSN_LEN, vmcs_read32(VMCS_EXIT_INSN_LEN));
		if (n->inject)
			vmx_set12(v, VMCS_EXIT_INSN_LEN, n->inject_len);
		vmx_set12(v, VMCS_EXIT_INSN_INFO, vmcs_read32(VMCS_EXIT_INSN_INFO));
		vmx_set12(v, VMCS_GUEST_LINEAR, vmcs_readn(VMCS_GUEST_LINEAR));
		vmx_set12(v, VMCS_ENTRY_INTR_INFO, vmx_get12(v, VMCS_ENTRY_INTR_INFO) & ~EVT_VALID);
		vmx_nested_save(v, &n->vmcs12);
	}
	finish_exit(v);
}

/* Ports and MSRs: 1, its bitmap has it; 0; -EAGAIN: memory is missing to tell. */
static int wants_by_map(struct vcpu *v, const struct vm_exit *x)
{
	u8 mask;
	int at = vmcs12_msr_byte(v->gpr[RCX], x->reason == VMEXIT_MSR_WRITE, &mask), ret = 0;

	if (x->reason != VMEXIT_IO)
		return at < 0 ? 1 : nested_map_bits(v, vmx_get12(v, VMCS_MSR_BITMAP) + at, mask);
	if (x->io.port + x->io.size > 0x10000)
		return 1;
	for (u32 port = x->io.port; !ret && port < x->io.port + x->io.size; port++) {
		u32 map = port >> 15 ? VMCS_IO_BITMAP_B : VMCS_IO_BITMAP_A;

		ret = nested_map_bits(v, vmx_get12(v, map) + port % BIT(15) / 8, BIT(port % 8));
	}
	return ret;
}

static int wants_exit(struct vcpu *v, const struct vm_exit *x)
{
	u64 operand = 0;
	u32 intr = 0;
	enum nested_owner owner;

	if (x->reason == VMEXIT_CR_ACCESS)
		operand = v->gpr[x->cr.gpr];
	if (hvm->get(v, HVM_MODE) != EMUL_64)
		operand = (u32)operand;
	if (x->reason == VMEXIT_EXCEPTION) {
		if (v->debug.control && (x->exc.vector == VEC_DB || x->exc.vector == VEC_BP))
			return 0;
		intr = x->exc.vector | FIELD_PREP(EVT_TYPE, HVM_INJ_EXCEPTION);
	} else if (x->reason == VMEXIT_NMI) {
		intr = FIELD_PREP(EVT_TYPE, HVM_INJ_NMI);
	}
	owner = vmcs12_owner(&vmx_nested(v)->vmcs12, (u16)x->raw, vmcs_readn(VMCS_QUALIFICATION),
			     operand, intr);
	return owner == NESTED_BY_MAP ? wants_by_map(v, x) : owner == NESTED_GUESTS;
}

/* MOV to CR0 or CR4 for the bits that are the nested guest's: the others stay. */
static void write_cr(struct vcpu *v, struct vm_exit *x)
{
	u32 reg = HVM_CR0, field = VMCS_CR0_MASK;
	u64 mask, val;

	if (x->cr.cr) {
		reg = HVM_CR4;
		field = VMCS_CR4_MASK;
	}
	mask = vmx_get12(v, field);
	val = (v->gpr[x->cr.gpr] & ~mask) | (hvm->get(v, reg) & mask);
	if (cr_write(v, x->cr.cr, val))
		vcpu_skip(v, x->insn_len);
	else
		vcpu_inject_gp(v);
	x->reason = VMEXIT_IRQ_WINDOW;
}

void vmx_nested_sort(struct vcpu *v, struct vm_exit *x)
{
	struct vmx_nested *n = vmx_nested(v);
	u32 intr = 0;
	int wants;

	if (x->reason == VMEXIT_ENTRY_FAIL) {
		if (!n->entering)
			return;
		vmx_nested_leave(v, x->raw, vmcs_readn(VMCS_QUALIFICATION), 0, 0);
		x->reason = VMEXIT_IRQ_WINDOW;
		return;
	}
	n->entering = false;
	if (x->reason == VMEXIT_P2M_FAULT && v->nested_paging) {
		shadow_handle_fault(v, x);
		return;
	}
	wants = wants_exit(v, x);
	if (wants > 0) {
		if (x->reason == VMEXIT_EXCEPTION)
			intr = vmcs_read32(VMCS_EXIT_INTR_INFO);
		/* without the bit of a bus lock, which is for who has the control */
		vmx_nested_leave(v, (u16)x->raw, vmcs_readn(VMCS_QUALIFICATION), intr,
				 vmcs_read32(VMCS_EXIT_INTR_ERROR));
	}
	if (wants)
		x->reason = VMEXIT_IRQ_WINDOW;
	else if (x->reason == VMEXIT_CR_ACCESS && x->cr.write && (!x->cr.cr || x->cr.cr == 4))
		write_cr(v, x);
	else if (x->reason == VMEXIT_HLT && window_opens(v)) {
		vcpu_skip(v, x->insn_len); /* it ends at once */
		x->reason = VMEXIT_IRQ_WINDOW;
	}
}
