/* SPDX-License-Identifier: GPL-2.0-only */
/* The run loop of each CPU. */
#include "hv/guest/run.h"
#include "hv/console/console.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/freq.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/guest/debug.h"
#include "hv/guest/event.h"
#include "hv/guest/exit.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/kick.h"
#include "hv/guest/lazy.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* The page has the first eight in another order than instructions; R8 to R15 follow in one piece.
 */
#define EACH_LOW_REGISTER(X)                                                                       \
	X(rax, RAX)                                                                                \
	X(rbx, RBX) X(rcx, RCX) X(rdx, RDX) X(rsi, RSI) X(rdi, RDI) X(rsp, RSP) X(rbp, RBP)

/* Has KVM_INTERRUPT's vector a place, and a way in? */
static bool takes_user_irq(const struct vcpu *v)
{
	return !(READ_ONCE(v->due) & DUE_EXTINT) && lapic_takes_extint(v);
}

static void regs_to_page(struct vcpu *v)
{
	struct corbel_vcpu_page __shared *p = v->page;
	u8 mode = v->guest_mode * CORBEL_MODE_GUEST;

	if (v->rflags & RFLAGS_IF)
		mode |= CORBEL_MODE_IF;
#define X(field, reg) WRITE_ONCE(p->field, v->gpr[reg]);
	EACH_LOW_REGISTER(X)
#undef X
	shared_write(&p->r8, &v->gpr[R8], 8 * sizeof(u64));
	WRITE_ONCE(p->rip, v->rip);
	WRITE_ONCE(p->rflags, v->rflags);
	WRITE_ONCE(p->mode, mode);
	WRITE_ONCE(p->ready_for_irq, takes_user_irq(v) && vcpu_can_take_irq(v));
	WRITE_ONCE(p->cr8, lapic_get_cr8(v));
	WRITE_ONCE(p->apic_base, v->lapic.base);
}

static void regs_from_page(struct vcpu *v)
{
	const struct corbel_vcpu_page __shared *p = v->page;
	u64 rip = READ_ONCE(p->rip);

#define X(field, reg) v->gpr[reg] = READ_ONCE(p->field);
	EACH_LOW_REGISTER(X)
#undef X
	shared_read(&v->gpr[R8], &p->r8, 8 * sizeof(u64));
	if (v->rip != rip) { /* a reset, say: what was in progress is void */
		v->complete = NULL;
		v->rip = rip;
	}
	v->rflags = (READ_ONCE(p->rflags) & RFLAGS_SETTABLE) | RFLAGS_FIXED;
}

/*
 * The vCPU of this CPU stops; from the store to page->state on it belongs to dom0. The dom0 vCPU
 * that resumed it, if it is this CPU's and has not run since, looks at the page when its hypercall
 * returns: it needs no interrupt.
 */
static void stop_for_dom0(struct vcpu *v)
{
	struct vcpu *resumer = v->resumer;
	bool quiet = resumer && resumer->sched.cpu == this_cpu()->index &&
		     resumer->exits_total == v->resumer_exits;

	BUG_ON(v->stopped);
	regs_to_page(v);
	WRITE_ONCE(v->page->exit_reason, v->stop_reason);
	v->stop_reason = CORBEL_EXIT_NONE;
	v->resumer = NULL;
	vcpu_put(v);
	__atomic_store_n(&v->stopped, VCPU_STOPPED, __ATOMIC_SEQ_CST);
	while (!sched_block(&v->sched))
		;
	__atomic_store_n(&v->page->state, CORBEL_VCPU_STOPPED, __ATOMIC_RELEASE);
	if (!quiet)
		event_vcpu_stopped(v->id);
}

int vcpu_resume(struct vcpu *v, struct vcpu *by)
{
	BUG_ON(!by->vm->is_dom0);
	if (v->vm->dying)
		return READ_ONCE(v->stopped) ? -ENOENT : -EBUSY;
	if (!v->page || !vcpu_claim(v))
		return -EBUSY;
	if (READ_ONCE(v->page->regs_dirty)) {
		regs_from_page(v);
		WRITE_ONCE(v->page->regs_dirty, 0);
	}
	v->want_irq_window = READ_ONCE(v->page->request_irq_window);
	v->debug.control &= ~DEBUG_TRACE;
	if (READ_ONCE(v->page->trace))
		v->debug.control |= DEBUG_TRACE;
	v->services = READ_ONCE(v->page->services);
	if (READ_ONCE(v->page->stop_at_once))
		vcpu_note(v, DUE_PAUSE);
	pv_waited(v, READ_ONCE(v->page->waited_ns));
	if (!v->vm->has_lapic)
		lapic_set_cr8(v, READ_ONCE(v->page->cr8) & 15);
	v->resumer = by;
	v->resumer_exits = by->exits_total;
	__atomic_store_n(&v->page->state, CORBEL_VCPU_RUNNABLE, __ATOMIC_RELEASE);
	__atomic_store_n(&v->stopped, 0, __ATOMIC_SEQ_CST);
	sched_yield_to(&by->sched, &v->sched);
	return 0;
}

static void take_init_sipi(struct vcpu *v, u64 req)
{
	vcpu_load(v); /* from the CPU that may still have something of it ... */
	vcpu_put(v);  /* ... and out of the hardware, which is reset as well */
	BUG_ON(this_cpu()->loaded == v || v->stopped);
	BUG_ON(!hvm->borrow(v));
	if (req & DUE_INIT) {
		vcpu_reset(v, true);
		v->mp_state = MP_INIT_RECEIVED;
		if (v->lapic.id == v->vm->bsp_apic_id)
			v->mp_state = MP_RUNNABLE;
	}
	if ((req & DUE_SIPI) && v->mp_state == MP_INIT_RECEIVED) {
		u8 page = READ_ONCE(v->sipi_vector);
		struct corbel_segment cs;

		hvm->get_seg(v, HVM_CS, &cs);
		cs.selector = page << 8;
		cs.base = page << 12;
		hvm->set_seg(v, HVM_CS, &cs);
		v->rip = 0;
		v->mp_state = MP_RUNNABLE;
	}
	hvm->give_back(v);
}

/*
 * Outside of SMM. A vCPU that waits for SIPI takes none until then. An event that is being
 * delivered comes first: the exit is to follow at once.
 */
static void take_smi(struct vcpu *v)
{
	BUG_ON(!v->page);
	if (v->mp_state != MP_RUNNABLE && v->mp_state != MP_HALTED)
		return;
	if (!v->stop_reason && !v->irq_injected && !v->nmi_injected && !v->exception.pending) {
		v->smi_pending = false;
		vcpu_exit_to_dom0(v, CORBEL_EXIT_SMM);
		return;
	}
	vcpu_note(v, DUE_LOOK);
	if (!v->stop_reason)
		apic_send_ipi(this_cpu()->apic_id, VEC_KICK);
}

static bool holds_init(struct vcpu *v)
{
	return v->in_smm || (v->shadow && hvm->nested->holds_init(v));
}

/* What any CPU has asked for by vcpu_request(). The states stay until they have ended. */
static void take_requests(struct vcpu *v)
{
	u64 req = __atomic_fetch_and(&v->due, DUE_STATES, __ATOMIC_SEQ_CST);

	if (req & DUE_EOI && !v->stop_reason)
		lapic_tell_eoi(v);
	if (req & DUE_INIT)
		v->init_latched = true;
	if (v->init_latched && !holds_init(v))
		take_init_sipi(v, req | DUE_INIT);
	else if (req & DUE_SIPI)
		take_init_sipi(v, DUE_SIPI);
	if (req & DUE_NMI)
		v->nmi_pending = true;
	if (req & DUE_CLOCK)
		v->pv.clock_dirty = true;
	if (req & DUE_PMU)
		pmu_follow(v);
	if (req & DUE_SMI)
		v->smi_pending = v->page != NULL;
	if (v->smi_pending && !v->in_smm && !(v->shadow && hvm->nested->holds_smi(v)))
		take_smi(v);
	if ((req & DUE_PAUSE) && !v->stop_reason && v->page)
		vcpu_exit_to_dom0(v, CORBEL_EXIT_PAUSED);
	if (req & DUE_TRIPLE && v->stop_reason)
		vcpu_note(v, DUE_TRIPLE);
	else if (req & DUE_TRIPLE)
		vcpu_shutdown(v);
}

/* Does a vCPU in HLT have to go on? Not for what cannot come in; a nested guest's host says so. */
static bool halt_ends(struct vcpu *v)
{
	if (v->nmi_pending && (!v->nmi_masked || v->guest_mode))
		return true;
	if (v->user_irq >= 0 && (v->rflags & RFLAGS_IF || v->guest_mode))
		return true;
	return v->exception.pending || lapic_has_work(v) || v->pv.unhalted ||
	       (v->guest_mode && (v->smi_pending || v->init_latched));
}

enum prep {
	PREP_RUN,     /* enter the guest */
	PREP_AGAIN,   /* something changed: look again */
	PREP_BLOCKED, /* this vCPU has left this CPU's hands */
};

static enum prep block_vcpu(struct vcpu *v)
{
	return sched_block(&v->sched) ? PREP_BLOCKED : PREP_AGAIN;
}

/* dom0 has acknowledged the interrupt of a PIC that is the VMM's. */
static void take_pic_vector(struct vcpu *v)
{
	u32 vector = READ_ONCE(v->page->inta.vector);

	if (vector && vector < 256)
		v->user_irq = vector;
}

static bool can_take_irq_or_waits(struct vcpu *v)
{
	if (vcpu_can_take_irq(v))
		return true;
	v->window = true;
	return false;
}

void vcpu_acknowledge_pic(struct vcpu *v)
{
	u32 told = 0;

	if (v->vm->flags & CORBEL_VM_PIC) {
		v->user_irq = pic_inta(v->vm, &told);
		pic_tell(v, told);
		return;
	}
	v->complete = take_pic_vector;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_INTA);
}

/* The PIC's interrupt, whose vector dom0 may have to be asked for, and KVM_INTERRUPT's window. */
static void look_for_extint(struct vcpu *v)
{
	if (lapic_extint_pending(v) && v->mp_state == MP_HALTED && !lapic_has_work(v)) {
		v->window = true; /* for when something else has ended its HLT */
	} else if (lapic_extint_pending(v) && can_take_irq_or_waits(v)) {
		vcpu_acknowledge_pic(v);
	}
	if (v->want_irq_window && !v->stop_reason && takes_user_irq(v) &&
	    can_take_irq_or_waits(v)) {
		v->want_irq_window = false;
		vcpu_exit_to_dom0(v, CORBEL_EXIT_IRQ_WINDOW);
	}
}

/* Everything due before an entry. */
static enum prep vcpu_prepare(struct vcpu *v)
{
	bool left;
	u64 page;

	if (unlikely(READ_ONCE(v->stopped)))
		return block_vcpu(v);
	/* First what dom0 served: a pause is to find the registers as the access leaves them. */
	if (unlikely(v->complete) && !v->stop_reason) {
		complete_fn *complete = v->complete;

		v->complete = NULL;
		vcpu_load(v); /* it will run, and is cheaper to work on */
		complete(v);
	}
	if (unlikely(v->debug.owed) && !v->stop_reason)
		debug_stop_owed(v);
	if (unlikely(READ_ONCE(v->due) & (~DUE_STATES | DUE_EOI)))
		take_requests(v);
	if (unlikely(READ_ONCE(v->due) & DUE_EXTINT || v->want_irq_window) && !v->stop_reason &&
	    !debug_blocks_irqs(v))
		look_for_extint(v);
	if (unlikely(v->stop_reason)) {
		stop_for_dom0(v);
		return PREP_BLOCKED;
	}
	if (unlikely(v->mp_state != MP_RUNNABLE)) {
		if (v->mp_state != MP_HALTED || !halt_ends(v))
			return block_vcpu(v);
		v->pv.unhalted = false;
	}
	vcpu_load(v);
	/* a nested guest whose HLT does not end by itself is left as one that is halted */
	left = unlikely(v->guest_mode) && hvm->nested->event(v);
	if (!left || !v->guest_mode) /* or the PIC has been asked first, for the vector */
		v->mp_state = MP_RUNNABLE;
	if (left)
		return PREP_AGAIN;
	if (unlikely(v->pv.clock_dirty || v->pv.steal_dirty) && pv_update(v, &page)) {
		guest_memory_missing(v, page, true, false);
		return PREP_AGAIN;
	}
	vcpu_deliver_events(v);
	if (unlikely(v->lapic.vapic))
		pv_vapic(v);
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
 * millisecond, nor for a few of these while its timer is due.
 */
static inline void note_steal(struct vcpu *v)
{
	u64 worth = tsc_khz / 100;

	if (v->lapic.timer_due)
		worth *= 16;
	if (v->pv.steal && v->sched.steal - v->pv.steal_last >= worth)
		v->pv.steal_dirty = true;
}

static PER_CPU(struct timer, slice_timers);

static void slice_end_fn(struct timer *t)
{
	this_cpu()->resched = true;
}

/*
 * A timer that comes too early is cheaper than arming it again whenever slices follow each other,
 * but not when it ends the sleep of a CPU that idles: idle_cpu().
 */
static void arm_slice(u64 slice_end)
{
	struct timer *t = &own_cpu(slice_timers);
	bool early_enough = t->cpu >= 0 && t->deadline <= slice_end;

	if (slice_end != SCHED_NEVER && !early_enough)
		timer_arm(t, slice_end);
}

/* It comes back, if at all, by cpu_main(), and all that time counts as idle. */
static void __noreturn park_cpu(struct cpu *c)
{
	if (c->loaded)
		vcpu_put(c->loaded);
	hvm->cpu_disable(c);
	c->idle_tsc -= rdtsc();
	if (!c->index)
		dom0->ops->sleep();
	smp_park();
}

static void idle_cpu(struct cpu *c, u64 slice_end)
{
	c->current = NULL;
	if (unlikely(READ_ONCE(smp_parking)))
		park_cpu(c);
	WRITE_ONCE(c->idle_tsc, c->idle_tsc - rdtsc());
	if (slice_end == SCHED_NEVER)
		timer_idle(&own_cpu(slice_timers));
	hvm->idle();
	idle_sleep(c);
	WRITE_ONCE(c->idle_tsc, c->idle_tsc + rdtsc());
}

void vcpu_leave(struct sched_unit *u, bool preempted)
{
	struct vcpu *v = container_of(u, struct vcpu, sched);

	vcpu_put(v);
	if (preempted)
		pv_preempted(v);
}

/* The machine's NMIs are for dom0: broken memory or bus, a button, a watchdog. */
static void nmi_tell(struct cpu *c)
{
	static u32 times;
	u32 n = __atomic_add_fetch(&times, 1, __ATOMIC_RELAXED);

	WRITE_ONCE(c->nmi_owed, false); /* first: one that comes now is told, too */
	if (!(n & (n - 1)))
		log_warn("CPU %u: NMI, %u by now, passed on to dom0", c->index, n);
	if (dom0 && dom0->vcpu[0])
		vcpu_request(dom0->vcpu[0], DUE_NMI);
}

void cpu_main(void)
{
	struct cpu *c = this_cpu();
	struct sched_unit *ran = NULL;

	if (!c->start_tsc) {
		timer_setup(&own_cpu(slice_timers), slice_end_fn);
		c->start_tsc = rdtsc();
	} else {
		c->idle_tsc += rdtsc();
	}
	for (;;) {
		struct sched_unit *u;
		u64 slice_end = SCHED_NEVER;

		irq_window();
		smp_follow(c);
		if (unlikely(c->event_owed))
			event_tell();
		if (unlikely(READ_ONCE(c->nmi_owed)))
			nmi_tell(c);
		while (unlikely(READ_ONCE(c->mcheck_owed)))
			event_memory_broken(mcheck_tell());
		event_tell_kept();
		if (unlikely(READ_ONCE(c->freq.wanted)))
			freq_look(c);
		console_work();
		u = sched_next(ran, rdtsc(), &slice_end);
		arm_slice(slice_end);
		if (!u) {
			ran = NULL;
			idle_cpu(c, slice_end);
			continue;
		}
		/*
		 * Seen by vcpu_notify() before we look for events: it kicks only the CPU whose
		 * current vCPU this is.
		 */
		__atomic_store_n(&c->current, container_of(u, struct vcpu, sched),
				 __ATOMIC_SEQ_CST);
		note_steal(c->current);
		ran = vcpu_run(c->current) ? u : NULL;
		if (ran) {
			sched_seen(ran);
			if (READ_ONCE(c->current->due))
				sched_wake(ran);
		}
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
