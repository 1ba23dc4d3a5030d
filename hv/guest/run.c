/* SPDX-License-Identifier: GPL-2.0-only */
/* The run loop of each CPU. */
#include "hv/guest/run.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/guest/event.h"
#include "hv/guest/exit.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/lazy.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

static void regs_to_page(struct vcpu *v)
{
	struct corbel_vcpu_page *p = v->page;

	p->rax = v->gpr[RAX], p->rbx = v->gpr[RBX], p->rcx = v->gpr[RCX], p->rdx = v->gpr[RDX];
	p->rsi = v->gpr[RSI], p->rdi = v->gpr[RDI], p->rsp = v->gpr[RSP], p->rbp = v->gpr[RBP];
	memcpy(&p->r8, &v->gpr[R8], 8 * sizeof(u64));
	p->rip = v->rip, p->rflags = v->rflags;
	p->if_flag = !!(v->rflags & BIT(9));
	p->ready_for_irq = vcpu_can_take_irq(v);
	p->cr8 = lapic_get_cr8(v);
	p->apic_base = v->lapic.base;
}

static void regs_from_page(struct vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;

	v->gpr[RAX] = p->rax, v->gpr[RBX] = p->rbx, v->gpr[RCX] = p->rcx, v->gpr[RDX] = p->rdx;
	v->gpr[RSI] = p->rsi, v->gpr[RDI] = p->rdi, v->gpr[RSP] = p->rsp, v->gpr[RBP] = p->rbp;
	memcpy(&v->gpr[R8], &p->r8, 8 * sizeof(u64));
	if (v->rip != p->rip) { /* a reset, say: what was in progress is void */
		v->completion = COMPLETE_NONE;
		v->rip = p->rip;
	}
	v->rflags = (p->rflags & RFLAGS_SETTABLE) | 2;
}

/* The vCPU of this CPU stops; from the store to page->state on it belongs to dom0. */
static void stop_for_dom0(struct vcpu *v)
{
	struct vcpu *d = dom0->vcpu[this_cpu()->index];
	struct vcpu *resumer = v->resumer;
	bool quiet = resumer && resumer == d && resumer->exits_total == v->resumer_exits;

	regs_to_page(v);
	v->page->exit_reason = v->stop_reason;
	v->page->reserved = 0;
	v->stop_reason = CORBEL_EXIT_NONE;
	v->resumer = NULL;
	vcpu_put(v);
	__atomic_store_n(&v->stopped, 1, __ATOMIC_SEQ_CST);
	while (!sched_block(&v->sched))
		;
	__atomic_store_n(&v->page->state, CORBEL_VCPU_STOPPED, __ATOMIC_RELEASE);
	if (!quiet)
		event_vcpu_stopped(v->id);
}

int vcpu_resume(struct vcpu *v, struct vcpu *by)
{
	if (!v->page || !READ_ONCE(v->stopped))
		return -EBUSY;
	if (v->page->regs_dirty) {
		regs_from_page(v);
		v->page->regs_dirty = 0;
	}
	v->want_irq_window = v->page->request_irq_window;
	if (v->page->stop_at_once)
		vcpu_note(v, DUE_PAUSE);
	if (!v->vm->has_lapic)
		lapic_set_cr8(v, v->page->cr8 & 15);
	v->resumer = by;
	v->resumer_exits = by->exits_total;
	__atomic_store_n(&v->page->state, CORBEL_VCPU_RUNNABLE, __ATOMIC_RELEASE);
	__atomic_store_n(&v->stopped, 0, __ATOMIC_SEQ_CST);
	sched_yield_to(&by->sched, &v->sched);
	return 0;
}

static void do_init_sipi(struct vcpu *v, u64 req)
{
	vcpu_put(v); /* what is in the hardware is reset as well */
	BUG_ON(!hvm->borrow(v));
	if (req & DUE_INIT) {
		vcpu_reset(v, true);
		v->mp_state = v->lapic.id == v->vm->bsp_apic_id ? MP_RUNNABLE : MP_INIT_RECEIVED;
	}
	if ((req & DUE_SIPI) && v->mp_state == MP_INIT_RECEIVED) {
		struct corbel_segment cs;

		hvm->get_seg(v, HVM_CS, &cs);
		cs.selector = v->sipi_vector << 8;
		cs.base = v->sipi_vector << 12;
		hvm->set_seg(v, HVM_CS, &cs);
		v->rip = 0;
		v->mp_state = MP_RUNNABLE;
	}
	hvm->give_back(v);
}

static void do_requests(struct vcpu *v)
{
	u64 req = __atomic_fetch_and(&v->due, DUE_STATES, __ATOMIC_SEQ_CST);

	if (req & (DUE_INIT | DUE_SIPI))
		do_init_sipi(v, req);
	if (req & DUE_NMI)
		v->nmi_pending = true;
	if (req & DUE_CLOCK)
		v->pv.clock_dirty = true;
	if ((req & DUE_PAUSE) && !v->stop_reason && v->page)
		vcpu_exit_to_dom0(v, CORBEL_EXIT_PAUSED);
}

static bool has_work(struct vcpu *v)
{
	return v->nmi_pending || v->user_irq >= 0 || v->exception.pending || lapic_has_work(v) ||
	       v->pv.unhalted;
}

enum prep {
	PREP_RUN,     /* enter the guest */
	PREP_AGAIN,   /* something changed: look again */
	PREP_BLOCKED, /* this vCPU has left this CPU's hands */
};

static enum prep block(struct vcpu *v)
{
	return sched_block(&v->sched) ? PREP_BLOCKED : PREP_AGAIN;
}

/* Interrupts that dom0 must be asked about first: the PIC's vector, and KVM_INTERRUPT's window. */
static void ask_dom0_for_irq(struct vcpu *v)
{
	if (lapic_extint_pending(v)) {
		if (v->mp_state == MP_HALTED)
			v->mp_state = MP_RUNNABLE;
		if (vcpu_can_take_irq(v)) {
			v->completion = COMPLETE_INTA;
			vcpu_exit_to_dom0(v, CORBEL_EXIT_INTA);
		} else {
			v->window = true;
		}
	}
	if (v->want_irq_window && !v->stop_reason) {
		if (vcpu_can_take_irq(v)) {
			v->want_irq_window = false;
			vcpu_exit_to_dom0(v, CORBEL_EXIT_IRQ_WINDOW);
		} else {
			v->window = true;
		}
	}
}

/* Everything due before an entry. */
static enum prep vcpu_prepare(struct vcpu *v)
{
	if (unlikely(READ_ONCE(v->stopped)))
		return block(v);
	/* First what dom0 served: a pause is to find the registers as the access leaves them. */
	if (unlikely(v->completion) && !v->stop_reason) {
		vcpu_load(v); /* it will run, and is cheaper to work on */
		exit_complete(v);
	}
	if (unlikely(READ_ONCE(v->due) & ~DUE_STATES))
		do_requests(v);
	if (unlikely(READ_ONCE(v->due) & DUE_EXTINT || v->want_irq_window) && !v->stop_reason)
		ask_dom0_for_irq(v);
	if (unlikely(v->stop_reason)) {
		stop_for_dom0(v);
		return PREP_BLOCKED;
	}
	if (unlikely(v->mp_state != MP_RUNNABLE)) {
		if (v->mp_state != MP_HALTED || !has_work(v))
			return block(v);
		v->mp_state = MP_RUNNABLE;
		v->pv.unhalted = false;
	}
	vcpu_load(v);
	if (unlikely(v->pv.clock_dirty || v->pv.steal_dirty))
		pv_update(v);
	vcpu_deliver_events(v);
	if (unlikely(v->lapic.timer_due)) {
		u64 due = lapic_timer_due(v);

		while ((s64)(due - rdtsc()) > 0)
			cpu_relax();
	}
	return PREP_RUN;
}

/* Returns whether the unit is still runnable (not blocked). */
static bool vcpu_run(struct vcpu *v)
{
	struct cpu *c = this_cpu();

	while (!READ_ONCE(c->resched)) {
		enum prep p = vcpu_prepare(v);

		if (p == PREP_BLOCKED)
			return false;
		if (p == PREP_AGAIN)
			continue;
		exit_loop(v, c);
	}
	return true;
}

/*
 * It gets the CPU: what it has waited for is written into its memory, but not for a hundredth of a
 * millisecond.
 */
static inline void note_steal(struct vcpu *v)
{
	if (v->pv.steal && v->sched.steal - v->pv.steal_last >= tsc_khz / 100)
		v->pv.steal_dirty = true;
}

static struct timer slice_timers[MAX_CPUS];

static u64 slice_armed[MAX_CPUS]; /* 0: not armed */

static void slice_end_fn(struct timer *t)
{
	slice_armed[this_cpu()->index] = 0;
	this_cpu()->resched = true;
}

/*
 * A timer that comes too early is cheaper than arming it again whenever slices follow each other.
 */
static void arm_slice(struct cpu *c, u64 slice_end)
{
	u64 *armed = &slice_armed[c->index];

	if (slice_end == ~0ull || (*armed && *armed <= slice_end))
		return;
	*armed = slice_end;
	timer_arm(&slice_timers[c->index], slice_end);
}

static void idle(struct cpu *c, u64 slice_end)
{
	u64 before = rdtsc();

	c->current = NULL;
	arm_slice(c, slice_end);
	if (!READ_ONCE(c->resched))
		cpu_idle();
	c->idle_tsc += rdtsc() - before;
}

void vcpu_leave(struct sched_unit *u, bool preempted)
{
	struct vcpu *v = container_of(u, struct vcpu, sched);

	vcpu_put(v);
	if (preempted)
		pv_preempted(v);
}

void cpu_main(void)
{
	struct cpu *c = this_cpu();
	struct sched_unit *ran = NULL;
	u64 slice_end;

	timer_setup(&slice_timers[c->index], slice_end_fn);
	c->start_tsc = rdtsc();
	for (;;) {
		struct sched_unit *u;
		u64 now;

		irq_window();
		if (unlikely(c->event_owed))
			event_tell();
		now = rdtsc();
		slice_end = ~0ull;
		u = sched_next(ran, now, &slice_end);
		if (!u) {
			ran = NULL;
			idle(c, slice_end);
			continue;
		}
		arm_slice(c, slice_end);
		/*
		 * Seen by vcpu_notify() before we look for events: it kicks only the CPU whose
		 * current vCPU this is.
		 */
		__atomic_store_n(&c->current, container_of(u, struct vcpu, sched),
				 __ATOMIC_SEQ_CST);
		note_steal(c->current);
		ran = vcpu_run(c->current) ? u : NULL;
	}
}

/* For the panic screen: what this CPU ran last. */
void vcpu_dump_last(void)
{
	static const char *const names[] = {
#define X(id, name) name,
	    CORBEL_EXIT_NAMES
#undef X
	};
	const struct cpu *c = this_cpu();
	const struct vcpu *v = c->current;

	if (v)
		log_err("runs: vm %u (%s) vcpu %u rip %lx, %lu exits", v->vm->id, v->vm->name,
			v->index, v->rip, v->exits_total);
	log_err("Last exits:");
	for (u64 n = c->exit_seq, i = 0; i < EXIT_TRACE && i < n; i++) {
		u32 at = (n - i) % EXIT_TRACE;

		log_err("  vCPU %u rip %lx %s", c->trace.vcpu[at], c->trace.rip[at],
			names[c->trace.reason[at]]);
	}
}
