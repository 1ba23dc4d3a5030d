// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tracepoints tell of exits. Most of these the hypervisor serves alone; it has the vCPU stop
 * behind each while corbel_vcpu_page.trace is set, and nothing is paid for that otherwise.
 */
#include "dom0.h"
#include "irq.h"
#include "kmod.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

DEFINE_STATIC_KEY_FALSE(cb_trace_is_on);

int cb_trace_begin(void)
{
	static_branch_inc(&cb_trace_is_on);
	/*
	 * Whoever has looked at that before stops once more, at the next resume if he is stopped:
	 * a pause is not lost.
	 */
	cb_event_pause_vcpus();
	return 0;
}

void cb_trace_end(void)
{
	static_branch_dec(&cb_trace_is_on);
}

bool cb_trace_acks;

static void update_eoi(struct cb_vcpu *v)
{
	cb_irq_update_eoi(v->vm);
}

int cb_trace_acks_begin(void)
{
	WRITE_ONCE(cb_trace_acks, true);
	cb_event_each_vcpu(update_eoi);
	return 0;
}

void cb_trace_acks_end(void)
{
	WRITE_ONCE(cb_trace_acks, false);
	cb_event_each_vcpu(update_eoi);
}

/* Once more after the last tracepoint is off: the page says so then. */
void cb_trace_resume_slow(struct cb_vcpu *v)
{
	v->page->trace = static_key_enabled(&cb_trace_is_on);
	v->page->exit.reason = CORBEL_NOT_TRACED;
	trace_kvm_entry(v->apic_id, v->page->rip, v->page->stop_at_once);
}

/* An access that the VMM is asked about is its to make: it is not known yet. */
static void trace_msr(const struct corbel_vcpu_page *p, bool write)
{
	bool refused = p->rip == p->exit.rip;
	u64 data = p->rdx << 32 | (u32)p->rax;

	if (p->exit_reason != CORBEL_EXIT_MSR)
		trace_kvm_msr(write, p->exit.rcx, refused && !write ? 0 : data, refused);
}

void cb_trace_stop_slow(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;

	trace_kvm_exit(v->apic_id, p->exit.code, p->exit.rip,
		       cb_backend_vmx ? CB_ISA_VMX : CB_ISA_SVM);
	if (p->exit.reason == CB_EXIT_MSR_READ || p->exit.reason == CB_EXIT_MSR_WRITE)
		trace_msr(p, p->exit.reason == CB_EXIT_MSR_WRITE);
	else if (p->exit.reason == CB_EXIT_HYPERCALL)
		trace_kvm_hypercall(p->exit.rax, p->rbx, p->rcx, p->rdx, p->rsi);
}
