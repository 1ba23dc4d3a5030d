/* SPDX-License-Identifier: GPL-2.0-only */
/* vCPUs: life, events, and the per-CPU run loop. States are pictured in hv/README.md. */
#include "hv/guest/vcpu.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/dom0/hypercall.h"
#include "hv/lib/log.h"
#include "hv/guest/policy.h"
#include "hv/cpu/smp.h"
#include "hv/lib/string.h"
#include "hv/cpu/time.h"

static struct vcpu *vcpus[MAX_VCPUS];
static struct lock vcpus_lock = LOCK_INIT(LOCK_VMS);
static u32 vcpus_used;

struct vcpu *vcpu_by_id(u64 id)
{
	return id < MAX_VCPUS ? __atomic_load_n(&vcpus[id], __ATOMIC_ACQUIRE) : NULL;
}

u32 vcpu_total(void)
{
	return vcpus_used;
}

/* ---- creation and destruction ---- */

#define VCPU_ORDER 1
_Static_assert(sizeof(struct vcpu) <= PAGE_SIZE << VCPU_ORDER, "a vCPU fits its pages");

static int take_id(struct vcpu *v)
{
	int ret = -ENOSPC;

	lock_acquire(&vcpus_lock);
	for (u32 id = 0; id < MAX_VCPUS; id++) {
		if (vcpus[id])
			continue;
		v->id = id;
		__atomic_store_n(&vcpus[id], v, __ATOMIC_RELEASE);
		vcpus_used++;
		ret = 0;
		break;
	}
	lock_release(&vcpus_lock);
	return ret;
}

static void give_id(struct vcpu *v)
{
	lock_acquire(&vcpus_lock);
	__atomic_store_n(&vcpus[v->id], NULL, __ATOMIC_RELEASE);
	vcpus_used--;
	lock_release(&vcpus_lock);
}

#define SHARED_ORDER 1 /* vCPU page and data page */

static int share_pages(struct vcpu *v)
{
	int ret;

	v->page = pool_alloc(SHARED_ORDER, &v->vm->acct);
	if (!v->page)
		return -ENOMEM;
	v->data = (u8 *)v->page + PAGE_SIZE;
	ret = p2m_dom0_share(&dom0->p2m, virt_to_hpa(v->page));
	if (ret)
		return ret;
	ret = p2m_dom0_share(&dom0->p2m, virt_to_hpa(v->data));
	if (ret)
		p2m_dom0_unshare(&dom0->p2m, virt_to_hpa(v->page));
	return ret;
}

static void unshare_pages(struct vcpu *v)
{
	p2m_dom0_unshare(&dom0->p2m, virt_to_hpa(v->page));
	p2m_dom0_unshare(&dom0->p2m, virt_to_hpa(v->data));
}

static void vcpu_free(struct vcpu *v)
{
	struct account *acct = &v->vm->acct;

	if (v->arch)
		hvm->vcpu_destroy(v);
	if (v->page)
		pool_free(v->page, SHARED_ORDER, acct);
	if (v->xsave)
		pool_free(v->xsave, 0, acct);
	if (v->cpuid)
		pool_free(v->cpuid, 0, acct);
	pool_free(v, VCPU_ORDER, acct);
}

static int vcpu_alloc(struct vm *vm, struct vcpu **out)
{
	struct vcpu *v = pool_alloc(VCPU_ORDER, &vm->acct);

	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->xsave = pool_alloc(0, &vm->acct);
	v->cpuid = pool_alloc(0, &vm->acct);
	if (!v->xsave || !v->cpuid || hvm->vcpu_init(v)) {
		vcpu_free(v);
		return -ENOMEM;
	}
	*out = v;
	return 0;
}

/* Put the vCPU into its VM's tables; the caller holds vm->lock. */
static int attach_locked(struct vm *vm, struct vcpu *v, u32 apic_id)
{
	if (vm->vcpu_count == MAX_CPUS)
		return -ENOSPC;
	if (vm_vcpu_by_apic(vm, apic_id))
		return -EEXIST;
	for (u32 i = 0; i < MAX_CPUS; i++) {
		if (vm->vcpu[i])
			continue;
		v->index = i;
		__atomic_store_n(&vm->vcpu[i], v, __ATOMIC_RELEASE);
		if (apic_id < ARRAY_SIZE(vm->apic_to_index))
			vm->apic_to_index[apic_id] = i;
		vm->vcpu_count++;
		return 0;
	}
	return -ENOSPC;
}

static void detach(struct vm *vm, struct vcpu *v)
{
	lock_acquire(&vm->lock);
	if (v->lapic.id < ARRAY_SIZE(vm->apic_to_index))
		vm->apic_to_index[v->lapic.id] = 0xff;
	__atomic_store_n(&vm->vcpu[v->index], NULL, __ATOMIC_RELEASE);
	vm->vcpu_count--;
	lock_release(&vm->lock);
}

int vcpu_create(struct vm *vm, u32 apic_id)
{
	bool is_dom0 = vm->is_dom0;
	struct vcpu *v;
	int ret = vcpu_alloc(vm, &v);

	if (ret)
		return ret;
	v->user_irq = -1;
	mce_init(v);
	v->pat = 0x0007040600070406ull;
	v->tsc_khz = tsc_khz;
	v->stopped = !is_dom0;
	if (!is_dom0 && (ret = share_pages(v)))
		goto fail_free;
	ret = take_id(v);
	if (ret)
		goto fail_share;
	lapic_init(v, apic_id, vm->has_lapic);
	lock_acquire(&vm->lock);
	ret = attach_locked(vm, v, apic_id);
	lock_release(&vm->lock);
	if (ret)
		goto fail_id;
	sched_unit_init(&v->sched, is_dom0 ? 2 * SCHED_WEIGHT_DEFAULT : SCHED_WEIGHT_DEFAULT,
			is_dom0 ? BIT(v->index) : (cpu_count < 64 ? BIT(cpu_count) - 1 : ~0ull),
			is_dom0 ? v->index : this_cpu()->index, is_dom0);
	BUG_ON(!hvm->borrow(v));
	vcpu_reset(v, false);
	if (!is_dom0) /* whose TSC is the machine's */
		msr_write_host(v, MSR_TSC, 0);
	hvm->give_back(v);
	/* Without LAPICs the VMM starts the others itself. */
	v->mp_state = apic_id == vm->bsp_apic_id || !vm->has_lapic ? MP_RUNNABLE : MP_UNINITIALIZED;
	return v->id;

fail_id:
	lapic_destroy(v);
	give_id(v);
fail_share:
	if (!is_dom0)
		unshare_pages(v);
fail_free:
	vcpu_free(v);
	return ret;
}

/*
 * Stopped, and let go by the CPU it ran on, which happens in that CPU's next pass through the scheduler: 0. That CPU may be
 * waiting for the hypercall that asks, so this must not wait for it: -EAGAIN. -EBUSY: not stopped.
 */
static int check_off(struct vcpu *v)
{
	if (!__atomic_load_n(&v->stopped, __ATOMIC_ACQUIRE))
		return -EBUSY;
	return sched_is_off(&v->sched) ? 0 : -EAGAIN;
}

int vcpu_destroy(struct vcpu *v)
{
	if (v->vm->is_dom0)
		return -EPERM;
	/* Running siblings may be sending it an interrupt. */
	for (u32 i = 0; i < MAX_CPUS; i++) {
		int ret = v->vm->vcpu[i] ? check_off(v->vm->vcpu[i]) : 0;

		if (ret)
			return ret;
	}
	detach(v->vm, v);
	give_id(v);
	lapic_destroy(v);
	unshare_pages(v);
	vcpu_free(v);
	return 0;
}

/* XSAVE area in the state after reset: x87 and SSE defaults, all other components initial. */
static void fpu_reset(struct vcpu *v)
{
	memset(v->xsave, 0, XSAVE_BYTES);
	*(u16 *)v->xsave = 0x37f;
	*(u32 *)(v->xsave + 24) = 0x1f80;
	*(u64 *)(v->xsave + 512) = XCR0_FXSAVE; /* XSTATE_BV */
	v->xcr0 = XCR0_RESET;
}

/* SDM "Processor State After Reset"; the same on AMD. */
static void reset_registers(struct vcpu *v, u64 cr0)
{
	static const struct corbel_dtable none = {.limit = 0xffff};
	struct corbel_segment seg = {.limit = 0xffff, .type = 0x3, .s = 1, .present = 1};

	for (enum hvm_seg s = HVM_ES; s <= HVM_GS; s++)
		hvm->set_seg(v, s, &seg);
	seg.type = 0xb;
	seg.selector = 0xf000;
	seg.base = 0xffff0000;
	hvm->set_seg(v, HVM_CS, &seg);
	seg = (struct corbel_segment){.limit = 0xffff, .type = 0xb, .present = 1};
	hvm->set_seg(v, HVM_TR, &seg);
	seg.type = 0x2;
	hvm->set_seg(v, HVM_LDTR, &seg);
	hvm->set_dt(v, false, &none);
	hvm->set_dt(v, true, &none);
	hvm->set(v, HVM_EFER, 0);
	hvm->set(v, HVM_CR0, cr0);
	hvm->set(v, HVM_CR2, 0);
	hvm->set(v, HVM_CR3, 0);
	vcpu_set_cr4(v, 0);
	hvm->set_dr67(v, 0, 0);
	hvm->msr_set(v, MSR_PAT, v->pat);
}

void vcpu_reset(struct vcpu *v, bool init)
{
	u64 cr0 = CR0_ET | (init ? hvm->get(v, HVM_CR0) & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW);

	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[RDX] = v->cpuid_count ? v->cpuid_sig : 0x600;
	v->rip = 0xfff0;
	v->rflags = 2;
	v->dr[0] = v->dr[1] = v->dr[2] = v->dr[3] = 0;
	v->exception.pending = v->nmi_pending = v->nmi_masked = v->nmi_injected = v->irq_injected = false;
	v->emul.active = false;
	v->completion = COMPLETE_NONE;
	v->window_on = false; /* the back end forgets it */
	if (!init) {
		fpu_reset(v);
		pv_reset(v);
		mce_reset(v);
		v->mtrr_def_type = 0;
		v->misc_enable = 1;
	}
	hvm->vcpu_reset(v, init);
	reset_registers(v, cr0);
	lapic_reset(v, init);
}

/* ---- requests from other CPUs ---- */

void vcpu_notify(struct vcpu *v, bool exit)
{
	/* A stopped vCPU looks at everything pending when it is resumed. */
	if (!READ_ONCE(v->stopped))
		sched_wake(&v->sched);
	if (READ_ONCE(v->sched.state) == SCHED_RUNNING) {
		struct cpu *c = cpus[READ_ONCE(v->sched.cpu)];

		if (c == this_cpu() || READ_ONCE(c->current) != v)
			return;
		if (!exit && hvm->caps & HVM_CAP_POST && READ_ONCE(c->in_guest) == v->vm && lapic_is_direct(&v->lapic))
			apic_send_ipi(c->apic_id, VEC_POSTED);
		else
			smp_kick(c);
	}
}

void vcpu_request(struct vcpu *v, u64 req)
{
	__atomic_fetch_or(&v->requests, req, __ATOMIC_SEQ_CST);
	vcpu_notify(v, true);
}

/* ---- events ---- */

static bool contributory(u8 vector)
{
	return vector == 0 || (vector >= 10 && vector <= 13);
}

void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error)
{
	if (v->exception.pending) {
		u8 first = v->exception.vector;

		if (first == 8) {
			vcpu_shutdown(v);
			return;
		}
		if ((contributory(first) && contributory(vector)) || (first == 14 && (contributory(vector) || vector == 14))) {
			vector = 8;
			has_error = true;
			error = 0;
		}
	}
	v->exception.pending = true;
	v->exception.vector = vector;
	v->exception.has_error = has_error && (hvm->get(v, HVM_CR0) & CR0_PE);
	v->exception.error = error;
}

void vcpu_inject_pf(struct vcpu *v, u64 cr2, u32 error)
{
	hvm->set(v, HVM_CR2, cr2);
	vcpu_inject_exception(v, 14, true, error);
	v->exception.cr2 = cr2;
}

void vcpu_inject_gp(struct vcpu *v)
{
	vcpu_inject_exception(v, 13, true, 0);
}

/*
 * Deliver at most one event for this entry, in architectural order: what was broken off, exceptions, NMI, interrupts; and
 * ask for a window for what cannot be delivered yet.
 */
static void deliver_events(struct vcpu *v)
{
	int vector;

	if (v->irq_injected) {
		v->irq_injected = false;
		hvm->inject(v, HVM_INJ_IRQ, v->irq_vector, false, 0);
	} else if (v->nmi_injected) {
		v->nmi_injected = false;
		hvm->inject(v, HVM_INJ_NMI, 2, false, 0);
	} else if (v->exception.pending) {
		v->exception.pending = false;
		hvm->inject(v, HVM_INJ_EXCEPTION, v->exception.vector, v->exception.has_error, v->exception.error);
	}
	if (v->nmi_pending && hvm->can_inject(v, HVM_INJ_NMI)) {
		v->nmi_pending = false;
		hvm->inject(v, HVM_INJ_NMI, 2, false, 0);
	} else if (v->nmi_pending) {
		hvm->want_window(v, HVM_INJ_NMI, true);
	}
	if (v->user_irq >= 0) {
		if (hvm->can_inject(v, HVM_INJ_IRQ)) {
			hvm->inject(v, HVM_INJ_IRQ, v->user_irq, false, 0);
			v->user_irq = -1;
		} else {
			v->window = true;
		}
	}
	vector = lapic_pending(v);
	if (vector >= 0 && !(hvm->caps & HVM_CAP_VID && lapic_is_direct(&v->lapic))) {
		if (v->user_irq < 0 && hvm->can_inject(v, HVM_INJ_IRQ)) {
			lapic_accept(v, vector);
			hvm->inject(v, HVM_INJ_IRQ, vector, false, 0);
			v->window = lapic_pending(v) >= 0;
		} else {
			v->window = true;
		}
	}
	if (v->window != v->window_on) {
		hvm->want_window(v, HVM_INJ_IRQ, v->window);
		v->window_on = v->window;
	}
	v->window = false;
}

/* ---- leaving for dom0 ---- */

static bool can_take_irq(struct vcpu *v)
{
	return v->user_irq < 0 && !v->irq_injected && !v->exception.pending && hvm->can_inject(v, HVM_INJ_IRQ);
}

static void regs_to_page(struct vcpu *v)
{
	struct corbel_vcpu_page *p = v->page;

	p->rax = v->gpr[RAX], p->rbx = v->gpr[RBX], p->rcx = v->gpr[RCX], p->rdx = v->gpr[RDX];
	p->rsi = v->gpr[RSI], p->rdi = v->gpr[RDI], p->rsp = v->gpr[RSP], p->rbp = v->gpr[RBP];
	memcpy(&p->r8, &v->gpr[R8], 8 * sizeof(u64));
	p->rip = v->rip, p->rflags = v->rflags;
	p->if_flag = !!(v->rflags & BIT(9));
	p->ready_for_irq = can_take_irq(v);
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

void vcpu_exit_to_dom0(struct vcpu *v, u32 reason)
{
	v->stop_reason = reason;
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
		__atomic_fetch_or(&v->requests, REQ_PAUSE, __ATOMIC_SEQ_CST);
	if (!v->vm->has_lapic)
		lapic_set_cr8(v, v->page->cr8 & 15);
	v->resumer = by;
	v->resumer_exits = by->exits_total;
	__atomic_store_n(&v->page->state, CORBEL_VCPU_RUNNABLE, __ATOMIC_RELEASE);
	__atomic_store_n(&v->stopped, 0, __ATOMIC_SEQ_CST);
	sched_yield_to(&by->sched, &v->sched);
	return 0;
}

/* ---- lazily switched state: FPU, XCR0, debug registers ---- */

static void fpu_save(struct vcpu *v)
{
	if (xcr0_host)
		__asm__ volatile("xsave64 (%0)" ::"r"(v->xsave), "a"(~0u), "d"(~0u) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" ::"r"(v->xsave) : "memory");
}

static void fpu_restore(struct vcpu *v)
{
	if (xcr0_host)
		__asm__ volatile("xrstor64 (%0)" ::"r"(v->xsave), "a"(~0u), "d"(~0u) : "memory");
	else
		__asm__ volatile("fxrstor64 (%0)" ::"r"(v->xsave) : "memory");
}

static void switch_debug_registers(struct vcpu *v, bool save)
{
	if (save) {
		v->dr[0] = READ_DR(0);
		v->dr[1] = READ_DR(1);
		v->dr[2] = READ_DR(2);
		v->dr[3] = READ_DR(3);
	} else {
		WRITE_DR(0, v->dr[0]);
		WRITE_DR(1, v->dr[1]);
		WRITE_DR(2, v->dr[2]);
		WRITE_DR(3, v->dr[3]);
	}
}

static __noinline void put_loaded(struct vcpu *v, struct cpu *c)
{
	hvm->put(v);
	switch_debug_registers(v, true);
	if (xcr0_host) {
		v->xcr0 = xgetbv(0); /* the guest may have changed it without an exit where XSETBV is not intercepted */
		if (v->xcr0 != xcr0_host)
			xsetbv(0, xcr0_host);
	}
	fpu_save(v);
	c->loaded = NULL;
}

void vcpu_put(struct vcpu *v)
{
	struct cpu *c = this_cpu();

	if (c->loaded == v)
		put_loaded(v, c);
}

static void vcpu_load(struct vcpu *v)
{
	struct cpu *c = this_cpu();

	if (c->loaded == v)
		return;
	if (c->loaded)
		put_loaded(c->loaded, c);
	fpu_restore(v);
	if (xcr0_host && v->xcr0 != xcr0_host)
		xsetbv(0, v->xcr0);
	switch_debug_registers(v, false);
	if (v->tsc_aux != c->tsc_aux && has_rdtscp)
		wrmsr(MSR_TSC_AUX, c->tsc_aux = v->tsc_aux);
	hvm->load(v);
	c->loaded = v;
	v->last_cpu = c;
	c->switches++;
}

void sched_leave(struct sched_unit *u, bool preempted)
{
	struct vcpu *v = container_of(u, struct vcpu, sched);

	vcpu_put(v);
	if (preempted)
		pv_preempted(v);
}

/* ---- the run loop ---- */

static void do_init_sipi(struct vcpu *v, u64 req)
{
	vcpu_put(v); /* what is in the hardware is reset as well */
	BUG_ON(!hvm->borrow(v));
	if (req & REQ_INIT) {
		vcpu_reset(v, true);
		v->mp_state = v->lapic.id == v->vm->bsp_apic_id ? MP_RUNNABLE : MP_INIT_RECEIVED;
	}
	if ((req & REQ_SIPI) && v->mp_state == MP_INIT_RECEIVED) {
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
	u64 req = __atomic_exchange_n(&v->requests, 0, __ATOMIC_SEQ_CST);

	if (req & (REQ_INIT | REQ_SIPI))
		do_init_sipi(v, req);
	if (req & REQ_NMI)
		v->nmi_pending = true;
	if (req & REQ_CLOCK)
		v->pv.clock_dirty = true;
	if ((req & REQ_PAUSE) && !v->stop_reason && v->page)
		vcpu_exit_to_dom0(v, CORBEL_EXIT_PAUSED);
}

static bool has_work(struct vcpu *v)
{
	return v->nmi_pending || v->user_irq >= 0 || v->exception.pending || lapic_has_work(v) || v->pv.unhalted;
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
	if (v->lapic.extint && lapic_extint_pending(v)) {
		if (v->mp_state == MP_HALTED)
			v->mp_state = MP_RUNNABLE;
		if (can_take_irq(v)) {
			v->completion = COMPLETE_INTA;
			vcpu_exit_to_dom0(v, CORBEL_EXIT_INTA);
		} else {
			v->window = true;
		}
	}
	if (v->want_irq_window && !v->stop_reason) {
		if (can_take_irq(v)) {
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
	if (unlikely(READ_ONCE(v->requests)))
		do_requests(v);
	if (unlikely(v->lapic.extint || v->want_irq_window) && !v->stop_reason)
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
	deliver_events(v);
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

/* It gets the CPU: what it has waited for is written into its memory, but not for a hundredth of a millisecond. */
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

/* A timer that comes too early is cheaper than arming it again whenever slices follow each other. */
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
		/* Seen by vcpu_notify() before we look for events: it kicks only the CPU whose current vCPU this is. */
		__atomic_store_n(&c->current, container_of(u, struct vcpu, sched), __ATOMIC_SEQ_CST);
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
		log_err("runs: vm %u (%s) vcpu %u rip %lx, %lu exits", v->vm->id, v->vm->name, v->index, v->rip, v->exits_total);
	log_err("Last exits:");
	for (u64 n = c->exit_seq, i = 0; i < EXIT_TRACE && i < n; i++) {
		u32 at = (n - i) % EXIT_TRACE;

		log_err("  vCPU %u rip %lx %s", c->trace.vcpu[at], c->trace.rip[at], names[c->trace.reason[at]]);
	}
}
