// SPDX-License-Identifier: GPL-2.0-only
/*
 * What tracepoints tell of exits. Most of these the hypervisor serves alone; it has the vCPU stop
 * behind each while corbel_vcpu_page.trace is set, and nothing is paid for that otherwise.
 */
#include "kmod.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static atomic_t users; /* of the tracepoints of exits */

int cb_trace_begin(void)
{
	/*
	 * Whoever has looked at users before stops once more, at the next resume if he is stopped:
	 * a pause is not lost.
	 */
	if (atomic_inc_return(&users) == 1)
		cb_event_pause_vcpus();
	return 0;
}

void cb_trace_end(void)
{
	atomic_dec(&users);
}

void cb_trace_resume(struct cb_vcpu *v)
{
	v->page->trace = atomic_read(&users) > 0;
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

void cb_trace_stop(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;

	if (p->exit.reason == CORBEL_NOT_TRACED)
		return;
	trace_kvm_exit(v->apic_id, p->exit.code, p->exit.rip,
		       cb_backend_vmx ? CB_ISA_VMX : CB_ISA_SVM);
	if (p->exit.reason == CB_EXIT_MSR_READ || p->exit.reason == CB_EXIT_MSR_WRITE)
		trace_msr(p, p->exit.reason == CB_EXIT_MSR_WRITE);
	else if (p->exit.reason == CB_EXIT_HYPERCALL)
		trace_kvm_hypercall(p->exit.rax, p->rbx, p->rcx, p->rdx, p->rsi);
}
