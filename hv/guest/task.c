/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hardware task switches; SDM "Treatment of Task Switches", APM "Task Switch Intercept". Until
 * everything that may be missing is there, nothing of the vCPU is changed.
 */
#include "hv/guest/task.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/task.h"
#include "hv/emul/walk.h"
#include "hv/guest/debug.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/lib/string.h"

/* A task switch under way */
struct task_run {
	struct task task;
	struct vcpu *v;
	struct guest_fault missing;
};

static int access_memory(struct task *t, enum task_space space, u64 linear, void *buf, u32 len,
			 bool write)
{
	struct task_run *r = t->ctx;
	u64 how = write ? WALK_WRITE : 0;
	struct guest_fault f = {0};
	struct hvm_paging p;
	int ret;

	hvm->get_paging(r->v, &p);
	if (space != TASK_OLD)
		p.cr3 = t->cr3;
	if (space == TASK_NEW_STACK)
		p.cpl = t->seg[SEG_SS].dpl;
	else
		how |= WALK_SYSTEM;
	ret = vcpu_access_paged(r->v, &p, linear, buf, len, how, &f);
	if (ret == -EFAULT)
		t->fault = f.raised;
	else if (ret)
		r->missing = f;
	return ret;
}

/* INT n, INT3 and INTO: the instruction is to be stepped over, and has not been. */
static bool is_software(const struct vcpu *v, u32 event)
{
	u8 vector = event & EVT_VECTOR;

	if (FIELD_GET(EVT_TYPE, event) != HVM_INJ_EXCEPTION)
		return FIELD_GET(EVT_TYPE, event) > HVM_INJ_EXCEPTION;
	return (vector == VEC_BP || vector == VEC_OF) && !v->trap_injected;
}

/* How far behind RIP the old task is to go on. */
static int length_of(struct vcpu *v, const struct vm_exit *x, u32 *len, struct guest_fault *f)
{
	u8 vector = x->task.event & EVT_VECTOR;
	int ret;

	if (x->task.source == TASK_GATE && !is_software(v, x->task.event)) {
		*len = v->exception.pending && (vector == VEC_BP || vector == VEC_OF);
		return 0;
	}
	*len = x->insn_len;
	if (*len)
		return 0;
	ret = vcpu_fetch(v, f);
	*len = v->emul->insn->insn.len;
	return ret;
}

static void read_state(struct task_run *r, const struct vm_exit *x, u32 len)
{
	struct task *t = &r->task;
	struct vcpu *v = r->v;
	u32 event = x->task.event;

	memset(r, 0, sizeof(*r));
	r->v = v;
	t->ctx = r;
	t->access = access_memory;
	t->source = x->task.source;
	t->selector = x->task.selector;
	if (t->source == TASK_GATE && !is_software(v, event)) {
		t->external = true;
		if (FIELD_GET(EVT_TYPE, event) == HVM_INJ_EXCEPTION) {
			t->has_error = v->exception.has_error;
			t->error = v->exception.error;
		}
	}
	memcpy(t->gpr, v->gpr, sizeof(t->gpr));
	t->rip = (u32)(v->rip + len);
	t->rflags = v->rflags;
	if (t->external && FIELD_GET(EVT_TYPE, event) == HVM_INJ_EXCEPTION &&
	    EXC_IS_FAULT & BIT(event & EVT_VECTOR))
		t->rflags |= RFLAGS_RF;
	t->cr3 = hvm->get(v, HVM_CR3);
	t->paging = hvm->get(v, HVM_CR0) & CR0_PG;
	for (u32 i = 0; i < SEGS; i++)
		hvm->get_seg(v, i, &t->seg[i]);
	hvm->get_seg(v, HVM_GDTR, &t->gdt);
}

static void write_state(struct vcpu *v, const struct task *t)
{
	memcpy(v->gpr, t->gpr, sizeof(t->gpr));
	v->rip = t->rip;
	v->rflags = t->rflags;
	for (u32 i = 0; i < SEGS; i++)
		hvm->set_seg(v, i, &t->seg[i]);
	if (t->paging)
		hvm->set(v, HVM_CR3, t->cr3);
	hvm->set(v, HVM_CR0, hvm->get(v, HVM_CR0) | CR0_TS);
	hvm->set(v, HVM_SHADOW, 0);
	debug_set_dr(v, 7, debug_get_dr(v, 7) & ~DR7_LOCAL);
}

/* The event that led here is delivered by this. A fault on the way to an exception counts as one
 * within another. */
static void drop_event(struct vcpu *v, const struct vm_exit *x, bool delivered)
{
	u32 event = x->task.event;

	if (x->task.source == TASK_IRET && delivered)
		hvm->set(v, HVM_NMI_MASK, 0);
	if (x->task.source != TASK_GATE)
		return;
	if (FIELD_GET(EVT_TYPE, event) == HVM_INJ_IRQ) {
		v->irq_injected = false;
	} else if (FIELD_GET(EVT_TYPE, event) == HVM_INJ_NMI) {
		v->nmi_injected = false;
		hvm->set(v, HVM_NMI_MASK, 1);
	} else if (delivered && !is_software(v, event)) {
		v->exception.pending = false;
	}
}

void task_handle_switch(struct vcpu *v, const struct vm_exit *x)
{
	struct task_run r = {.v = v};
	u32 len;
	int ret = length_of(v, x, &len, &r.missing);

	if (ret == -EINVAL)
		return; /* it has been changed meanwhile: once more */
	if (ret) {
		guest_access_failed(v, ret, &r.missing);
		return;
	}
	read_state(&r, x, len);
	ret = task_switch(&r.task);
	if (ret && ret != -EFAULT) { /* the event comes again, too */
		guest_access_missed(v, &r.missing);
		return;
	}
	drop_event(v, x, !ret);
	if (ret) {
		guest_inject_fault(v, &r.task.fault);
		return;
	}
	write_state(v, &r.task);
	if (unlikely(v->debug.control))
		debug_retired(v);
	if (r.task.faulted) {
		guest_inject_fault(v, &r.task.fault);
	} else if (r.task.trap) {
		debug_set_dr(v, 6, debug_get_dr(v, 6) | DR6_BT);
		vcpu_inject_exception(v, VEC_DB, false, 0);
	}
}
