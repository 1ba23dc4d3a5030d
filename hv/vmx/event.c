/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Event injection, windows and the virtualized APIC on VT-x; SDM "Event Injection", "Virtual NMIs",
 * "APIC Virtualization".
 */
#include "hv/vmx/event.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/vm.h"
#include "hv/vmx/vmx.h"

bool vmx_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	struct vmx_vcpu *s = vmx_of(v);

	if (s->watch & WATCH_INJECT)
		return false;
	if (k == HVM_INJ_NMI)
		return !v->nmi_masked && !s->shadow;
	if (k == HVM_INJ_IRQ)
		return (v->rflags & RFLAGS_IF) && !s->shadow;
	return true;
}

void vmx_inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error, u32 error)
{
	static const u8 type[] = {
	    [HVM_INJ_IRQ] = INTR_TYPE_EXT,
	    [HVM_INJ_NMI] = INTR_TYPE_NMI,
	    [HVM_INJ_EXCEPTION] = INTR_TYPE_EXC,
	};
	struct vmx_vcpu *s = vmx_of(v);

	if (has_error)
		vmcs_write32(VMCS_ENTRY_ERROR, error);
	vmcs_write32(VMCS_ENTRY_INTR_INFO, vector | FIELD_PREP(INTR_TYPE, type[k]) |
					       (has_error ? INTR_HAS_ERROR : 0) | INTR_VALID);
	s->watch |= WATCH_INJECT | WATCH_BLOCK;
	s->shadow = 0; /* the handler's first instruction is under no shadow */
	if (k == HVM_INJ_NMI)
		/* the entry itself blocks NMIs, and wants to find them open */
		v->nmi_masked = false;
}

void vmx_want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 bit = k == HVM_INJ_NMI ? PROC_NMI_WINDOW : PROC_INTR_WINDOW;

	if (!(s->proc & bit) == on)
		vmcs_write32(VMCS_PROC_CONTROLS, s->proc ^= bit);
}

void vmx_write_blocking(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 state = s->shadow;

	if (state && !(v->rflags & RFLAGS_IF))
		state = SHADOW_MOV_SS;
	if (state)
		vmcs_writen(VMCS_PENDING_DEBUG, v->rflags & RFLAGS_TF ? BIT(14) : 0);
	if (v->nmi_masked)
		state |= BLOCKED_NMI;
	if (state != s->intr_state_hw)
		vmcs_write32(VMCS_INTERRUPTIBILITY, s->intr_state_hw = state);
	if (!state)
		s->watch &= ~WATCH_BLOCK;
}

void vmx_take_back_event(struct vcpu *v, u32 info)
{
	u8 vector;

	/*
	 * Bochs does not note the interrupts that it delivers by itself. Those need IF, and it is
	 * off in their handlers.
	 */
	if (vmx_on_bochs && vmx_of(v)->vid && v->rflags & RFLAGS_IF && v->lapic.isr_top)
		info = INTR_VALID | v->lapic.isr_top;
	vector = info & INTR_VECTOR;
	switch (FIELD_GET(INTR_TYPE, info)) {
	case INTR_TYPE_EXT:
		v->irq_injected = true;
		v->irq_vector = vector;
		break;
	case INTR_TYPE_NMI:
		v->nmi_injected = true;
		v->nmi_masked = false;
		break;
	case INTR_TYPE_EXC:
		v->exception.pending = true;
		v->exception.vector = vector;
		v->exception.has_error = info & INTR_HAS_ERROR;
		v->exception.error = info & INTR_HAS_ERROR ? vmcs_read32(VMCS_IDT_ERROR) : 0;
		break;
	/* software interrupts, INT3, INTO, INT1: RIP is at the instruction, it runs again */
	default:
		break;
	}
}

/* ---- the local APIC ---- */

/* xAPIC offsets; MSRs are 0x800 + offset / 16 */
enum {
	R_ID = 0x20,
	R_VERSION = 0x30,
	R_TPR = 0x80,
	R_PPR = 0xa0,
	R_EOI = 0xb0,
	R_LDR = 0xd0,
	R_ISR = 0x100,
	R_ESR = 0x280,
	R_SELF_IPI = 0x3f0
};

static const u16 read_only[] = {R_ID, R_VERSION, R_PPR, R_LDR}; /* beside ISR, TMR and IRR */

void vmx_direct_msrs(struct vm *vm)
{
	u8 *reads = vm->msr_map + PAGE_SIZE + 0x800 / 8, *writes = reads + 0x800;

	reads[R_TPR / 128] &= ~BIT(R_TPR / 16 % 8);
	writes[R_TPR / 128] &= ~BIT(R_TPR / 16 % 8);
	if (vmx_ctl.proc2 & PROC2_VID) {
		writes[R_EOI / 128] &= ~BIT(R_EOI / 16 % 8);
		writes[R_SELF_IPI / 128] &= ~BIT(R_SELF_IPI / 16 % 8);
	}
	if (!(vmx_ctl.proc2 & PROC2_APIC_REGS))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(read_only); i++)
		reads[read_only[i] / 128] &= ~BIT(read_only[i] / 16 % 8);
	for (u32 r = R_ISR; r < R_ESR; r += 128)
		reads[r / 128] = 0;
}

/*
 * The guest has switched x2APIC mode on or off, or the APIC. Without it everything exits, or is
 * injected from here.
 */
static void switch_direct(struct vcpu *v, bool on)
{
	struct vmx_vcpu *s = vmx_of(v);
	u64 val;

	s->direct = on;
	s->vid = on && s->proc2 & PROC2_VID;
	vmcs_write32(VMCS_PIN_CONTROLS, on ? vmx_ctl.pin : vmx_ctl.pin & ~(u32)PIN_POSTED);
	vmcs_write32(VMCS_PROC2_CONTROLS, on ? s->proc2 : s->proc2 & ~(u32)PROC2_DIRECT);
	vmcs_write64(VMCS_MSR_BITMAP, virt_to_hpa(v->vm->msr_map).v + (on ? PAGE_SIZE : 0));
	for (u32 i = 0; i < ARRAY_SIZE(read_only) && on; i++) {
		lapic_read(v, read_only[i], &val);
		s->virtual_apic[read_only[i] / 4] = val;
	}
	s->intr_status = ~0; /* not in step */
}

static void deliver_by_hw(struct vcpu *v, struct vmx_vcpu *s)
{
	u16 status = v->lapic.isr_top << 8;
	u64 exits[4];

	s->watch &= ~WATCH_APIC;
	if (!(READ_ONCE(v->due) & DUE_IRQ) && status == s->intr_status)
		return;
	status = lapic_to_hw(v, s->virtual_apic, exits);
	for (u32 i = 0; i < 4; i++)
		if (exits[i] != s->eoi_exits[i])
			vmcs_write(VMCS_EOI_EXIT0 + 2 * i, s->eoi_exits[i] = exits[i]);
	if (status != s->intr_status)
		vmcs_write16(VMCS_GUEST_INTR_STATUS, s->intr_status = status);
}

void vmx_apic_to_hw(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 threshold;

	v->lapic.hw_stale = false;
	if (vmx_ctl.proc2 & PROC2_X2APIC && unlikely(lapic_is_direct(&v->lapic) != s->direct))
		switch_direct(v, !s->direct);
	if (s->vid) {
		deliver_by_hw(v, s);
	} else if (s->proc & PROC_TPR_SHADOW) {
		threshold = lapic_tpr_threshold(v);
		if (threshold != s->threshold_hw)
			vmcs_write32(VMCS_TPR_THRESHOLD, s->threshold_hw = threshold);
		s->watch = threshold ? s->watch | WATCH_APIC : s->watch & ~WATCH_APIC;
	}
}

void vmx_apic_from_hw(struct vcpu *v, u16 status)
{
	struct vmx_vcpu *s = vmx_of(v);

	lapic_from_hw(v, s->virtual_apic, status);
	if (status & 0xff)
		s->watch |= WATCH_APIC;
	s->intr_status = status;
}
