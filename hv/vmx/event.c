/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Event injection, windows and the virtualized APIC on VT-x; SDM "Event Injection", "Virtual NMIs",
 * "APIC Virtualization".
 */
#include "hv/vmx/event.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/debug.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/vm.h"
#include "hv/vmx/direct.h"
#include "hv/vmx/nested_event.h"
#include "hv/vmx/state.h"

bool vmx_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	struct vmx_vcpu *s = vmx_of(v);

	if (s->watch & WATCH_INJECT || (v->guest_mode && !vmx_nested_can_inject(v, k)))
		return false;
	if (k == HVM_INJ_NMI)
		return !v->nmi_masked && !s->shadow;
	if (k == HVM_INJ_IRQ)
		return (v->rflags & RFLAGS_IF) && !s->shadow;
	return true;
}

void vmx_inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error, u32 error)
{
	struct vmx_vcpu *s = vmx_of(v);

	BUG_ON(s->watch & WATCH_INJECT); /* one an entry */
	if (has_error) /* AMD's CPUs have more bits in theirs, which would have the entry fail */
		vmcs_write32(VMCS_ENTRY_ERROR, (u16)error);
	vmcs_write32(VMCS_ENTRY_INTR_INFO, hvm_event(k, vector, has_error));
	s->watch |= WATCH_INJECT | WATCH_BLOCK;
	s->shadow = 0; /* the handler's first instruction is under no shadow */
	if (k == HVM_INJ_NMI) {
		v->nmi_masked = true;
		s->watch |= WATCH_INJECT_NMI;
	}
}

void vmx_want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 bit = k == HVM_INJ_NMI ? PROC_NMI_WINDOW : PROC_INTR_WINDOW;

	if (v->guest_mode && vmx_nested_takes(v, k))
		on = false;
	if (!(s->proc & bit) == on)
		vmcs_write32(VMCS_PROC_CONTROLS, s->proc ^= bit);
}

void vmx_set_debug(struct vcpu *v, bool int3, bool drs)
{
	struct vmx_vcpu *s = vmx_current(v);
	u32 exceptions = HVM_OUR_EXCEPTIONS;

	if (int3)
		exceptions |= BIT(VEC_BP);
	s->proc &= ~PROC_MOV_DR;
	if (drs)
		s->proc |= PROC_MOV_DR;
	vmcs_write32(VMCS_PROC_CONTROLS, s->proc);
	vmcs_write32(VMCS_EXCEPTIONS, exceptions);
	vmcs_writen(VMCS_PENDING_DEBUG, 0);
}

void vmx_write_blocking(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	u32 state = s->shadow;

	BUG_ON(s->shadow & ~(SHADOW_STI | SHADOW_MOV_SS));
	if (state) {
		u64 pending = vmx_pending_debug(v);

		vmcs_writen(VMCS_PENDING_DEBUG, pending);
		/*
		 * Behind STI the trap would come before an instruction. The debugger has had that
		 * of STI itself: MOV SS holds the next one back, for an instruction. So it does
		 * with an NMI's window, which may be open behind STI, where none is injected.
		 */
		if (!(v->rflags & RFLAGS_IF) || (pending & DR6_BS && debug_holds_drs(v)) ||
		    (!pending && s->proc & PROC_NMI_WINDOW))
			state = SHADOW_MOV_SS;
	}
	/* an entry with an NMI blocks the next ones itself, and wants to find them open */
	if (v->nmi_masked && !(s->watch & WATCH_INJECT_NMI))
		state |= BLOCKED_NMI;
	if (state != s->intr_state_hw)
		vmcs_write32(VMCS_INTERRUPTIBILITY, s->intr_state_hw = state);
	if (s->watch & WATCH_INJECT_NMI)
		s->intr_state_hw |= BLOCKED_NMI;
	if (!state)
		s->watch &= ~WATCH_BLOCK;
}

/* ---- the local APIC ---- */

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
	bool direct = lapic_is_direct(&v->lapic) && !debug_keeps_irqs(v) && !v->guest_mode;
	u32 threshold;

	v->lapic.hw_stale = false;
	if (vmx_ctl.proc2 & PROC2_X2APIC && unlikely(direct != s->direct))
		vmx_switch_direct(v, direct);
	if (s->vid) {
		deliver_by_hw(v, s);
	} else if (s->proc & PROC_TPR_SHADOW) {
		threshold = lapic_tpr_threshold(v);
		if (threshold != s->threshold_hw)
			vmcs_write32(VMCS_TPR_THRESHOLD, s->threshold_hw = threshold);
		s->watch &= ~WATCH_APIC;
		if (threshold)
			s->watch |= WATCH_APIC;
	}
}

void vmx_apic_from_hw(struct vcpu *v, u16 status)
{
	struct vmx_vcpu *s = vmx_of(v);

	BUG_ON(!s->vid);
	lapic_from_hw(v, s->virtual_apic, status);
	if (status & 0xff)
		s->watch |= WATCH_APIC;
	s->intr_status = status;
}
