// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hyper-V's synthetic interrupt controller (SynIC) of a vCPU, and its synthetic timers: TLFS
 * "Virtual Interrupt Controller" and "Timers". What is only logic is in tlfs.c.
 *
 * A timer belongs to its hrtimer while that runs; who wants to change it cancels that first.
 * Messages are for the vCPU's thread, which the hrtimer has look (CB_HYPERV_TIMERS). A timer that
 * raises its interrupt itself, once, as Linux' and Windows' do, needs no thread, and its vCPU is
 * not stopped.
 */
#include "hyperv.h"
#include "irq.h"
#include "kmod.h"

#define MIN_PERIOD_NS 200000ull	   /* what a guest asks for must not keep dom0 busy */
#define MAX_WAIT      (1ull << 36) /* then it is looked at again; in units of 100 ns */
#define ZEROES	      2048u

struct synic_timer {
	struct hrtimer clock;
	struct cb_vcpu *v;
	struct tlfs_timer t;
};

struct cb_synic {
	bool clears; /* the guest's pages, when they are switched on */
	u64 control, version, event_page, message_page;
	u64 sint[TLFS_SINTS]; /* also read without a lock */
	u64 auto_eoi[4];      /* as the hypervisor has it */
	unsigned long due;    /* a bit a timer, that is to be looked at; atomic */
	struct synic_timer timer[TLFS_TIMERS];
};

/* ---- interrupts ---- */

int cb_synic_set_irq(struct cb_vm *vm, u32 index, u32 sint)
{
	u32 n = smp_load_acquire(&vm->vcpus), i;
	const struct cb_synic *s;
	u8 vector;

	for (i = 0; i < n && READ_ONCE(vm->vcpu[i]->hyperv.index) != index; i++)
		;
	s = i < n ? smp_load_acquire(&vm->vcpu[i]->hyperv.synic) : NULL;
	if (!s || sint >= TLFS_SINTS)
		return -EINVAL;
	vector = tlfs_sint_vector(READ_ONCE(s->sint[sint]));
	return vector ? cb_hyperv_interrupt(vm->vcpu[i], vector) : -ENOENT;
}

void cb_synic_eoi_vectors(struct cb_vm *vm, u64 mask[4])
{
	u32 n = smp_load_acquire(&vm->vcpus), i, sint;

	for (i = 0; i < n; i++) {
		const struct cb_synic *s = smp_load_acquire(&vm->vcpu[i]->hyperv.synic);

		for (sint = 0; s && sint < TLFS_SINTS; sint++) {
			u8 vector = tlfs_sint_vector(READ_ONCE(s->sint[sint]));

			if (vector)
				mask[vector / 64] |= BIT_ULL(vector % 64);
		}
	}
}

static int set_sint(struct cb_vcpu *v, struct cb_synic *s, u32 sint, u64 val, bool host)
{
	u64 auto_eoi[4];
	long r;

	if (!tlfs_sint_valid(val, host))
		return -EINVAL;
	WRITE_ONCE(s->sint[sint], val);
	cb_irq_update_eoi(v->vm);
	tlfs_auto_eoi(s->sint, auto_eoi);
	if (!memcmp(auto_eoi, s->auto_eoi, sizeof(auto_eoi)))
		return 0;
	memcpy(v->data, auto_eoi, sizeof(auto_eoi));
	r = HC3(VCPU_SET, v->number, CORBEL_STATE_AUTO_EOI, sizeof(auto_eoi));
	if (r < 0)
		return r;
	memcpy(s->auto_eoi, auto_eoi, sizeof(auto_eoi));
	return 0;
}

/* ---- messages ---- */

/*
 * 0: it is in its place, and the guest knows. -EAGAIN: the one before is still there; if this one
 * waits the guest is to say when it has read that.
 */
static int deliver_message(struct cb_vcpu *v, u32 sint, const struct tlfs_message *m, bool waits)
{
	u64 page = v->hyperv.synic->message_page, at;
	u8 vector = tlfs_sint_vector(v->hyperv.synic->sint[sint]);
	struct tlfs_message old;
	int r;

	if (!(page & TLFS_PAGE_ENABLED))
		return -ENOENT;
	at = (page & TLFS_PAGE_MASK) + sint * TLFS_MESSAGE_BYTES;
	if (cb_guest_read(v, at, &old, TLFS_MESSAGE_HEADER))
		return -EFAULT;
	if (old.type && !waits)
		return -EAGAIN;
	if (old.type) {
		old.flags |= TLFS_MESSAGE_PENDING;
		r = cb_guest_write(v, at + offsetof(struct tlfs_message, flags), &old.flags,
				   sizeof(old.flags));
		return r ? r : -EAGAIN;
	}
	r = cb_guest_write(v, at, m, sizeof(*m));
	if (r)
		return r;
	return vector && cb_hyperv_interrupt(v, vector) > 0 ? 0 : -ENOENT;
}

/* ---- timers ---- */

static void look_later(struct cb_vcpu *v, u32 i)
{
	set_bit(i, &v->hyperv.synic->due);
	set_bit(CB_HYPERV_TIMERS, &v->hyperv.event);
}

/* A timer that is to raise an interrupt once, now. False: it is not such a one. */
static bool raise_directly(struct synic_timer *t)
{
	const struct cb_vm *vm = t->v->vm;
	u64 config = t->t.config;
	s64 ns;

	if ((config & (TLFS_TIMER_DIRECT | TLFS_TIMER_PERIODIC)) != TLFS_TIMER_DIRECT ||
	    READ_ONCE(vm->hyperv.tsc_stays))
		return false;
	ns = HC3(CLOCK, vm->id, 0, 0);
	if (ns < 0 || (u64)ns / 100 < t->t.expires)
		return false;
	tlfs_timer_expired(&t->t, cb_hyperv_interrupt(t->v, tlfs_timer_vector(config)) > 0);
	return true;
}

static enum hrtimer_restart clock_fires(struct hrtimer *clock)
{
	struct synic_timer *t = container_of(clock, struct synic_timer, clock);

	if (raise_directly(t))
		return HRTIMER_NORESTART;
	look_later(t->v, t - t->v->hyperv.synic->timer);
	HC1(VCPU_PAUSE, t->v->number);
	return HRTIMER_NORESTART;
}

/* Periodic ticks for which there is no place are left out: another comes. */
static void expire_timer(struct synic_timer *t, u32 i, u64 now)
{
	u64 config = t->t.config;
	bool waits = !(config & TLFS_TIMER_PERIODIC);
	struct tlfs_message m;
	int r;

	if (config & TLFS_TIMER_DIRECT) {
		r = cb_hyperv_interrupt(t->v, tlfs_timer_vector(config)) > 0 ? 0 : -ENOENT;
	} else {
		m = tlfs_timer_message(&t->t, i, now);
		r = deliver_message(t->v, tlfs_timer_sint(config), &m, waits);
		if (r == -EAGAIN && !waits)
			r = 0;
	}
	tlfs_timer_expired(&t->t, !r);
}

static void start_clock(struct synic_timer *t, u64 now)
{
	u64 ns = min(t->t.expires - now, MAX_WAIT) * 100;

	if (t->t.config & TLFS_TIMER_PERIODIC)
		ns = max(ns, MIN_PERIOD_NS);
	hrtimer_start(&t->clock, ns_to_ktime(ns), HRTIMER_MODE_REL);
}

/* The vCPU is stopped, and so is the timer's clock. */
static void look_at_timer(struct cb_vcpu *v, u32 i)
{
	struct synic_timer *t = &v->hyperv.synic->timer[i];
	u64 now;

	if (cb_hyperv_time(v, &now))
		return;
	if (t->t.config & TLFS_TIMER_ON && t->t.expires && now >= t->t.expires)
		expire_timer(t, i, now);
	while (tlfs_timer_counts(&t->t)) {
		tlfs_timer_start(&t->t, now);
		if (t->t.expires > now) {
			start_clock(t, now);
			return;
		}
		expire_timer(t, i, now); /* of such as are not periodic: that is its end */
	}
}

static void stop_timer(struct cb_synic *s, u32 i)
{
	hrtimer_cancel(&s->timer[i].clock);
	clear_bit(i, &s->due);
}

void cb_synic_work(struct cb_vcpu *v)
{
	struct cb_synic *s = v->hyperv.synic;
	u32 i;

	lockdep_assert_held(&v->vm->hyperv.lock);
	for (i = 0; i < TLFS_TIMERS; i++) {
		if (!test_bit(i, &s->due))
			continue;
		stop_timer(s, i);
		look_at_timer(v, i);
	}
}

void cb_synic_freeze(struct cb_vcpu *v)
{
	struct cb_synic *s = v->hyperv.synic;
	u32 i;

	for (i = 0; s && i < TLFS_TIMERS; i++)
		if (hrtimer_cancel(&s->timer[i].clock))
			look_later(v, i);
}

bool cb_synic_clock_changed(struct cb_vm *vm)
{
	u32 n = smp_load_acquire(&vm->vcpus), i, k;
	bool used = false;

	for (i = 0; i < n; i++) {
		const struct cb_synic *s = smp_load_acquire(&vm->vcpu[i]->hyperv.synic);

		for (k = 0; s && k < TLFS_TIMERS; k++) {
			if (!(READ_ONCE(s->timer[k].t.config) & TLFS_TIMER_ON))
				continue;
			look_later(vm->vcpu[i], k);
			used = true;
		}
	}
	return used;
}

static int write_timer(struct cb_vcpu *v, struct cb_synic *s, u32 n, u64 val, bool host)
{
	const struct tlfs_rights *r = &v->hyperv.rights;
	u32 i = n / 2;

	if (!(n & 1) && r->is_enforced && val & TLFS_TIMER_DIRECT &&
	    !(r->edx & TLFS_HAS_DIRECT_TIMERS))
		return -EINVAL;
	stop_timer(s, i);
	if (n & 1)
		tlfs_timer_set_count(&s->timer[i].t, val, host);
	else
		tlfs_timer_set_config(&s->timer[i].t, val);
	if (host) /* the clock may be on its way */
		look_later(v, i);
	else
		look_at_timer(v, i);
	return 0;
}

/* ---- MSRs: 0, or -EINVAL: #GP, and the VMM's list ends ---- */

/* The guest has made room for messages that waited. */
static void end_of_message(struct cb_vcpu *v, struct cb_synic *s, bool host)
{
	u32 i;

	for (i = 0; i < TLFS_TIMERS; i++) {
		if (!READ_ONCE(s->timer[i].t.undelivered))
			continue;
		stop_timer(s, i);
		if (host)
			look_later(v, i);
		else
			look_at_timer(v, i);
	}
	cb_irq_sint_acked(v->vm, v->hyperv.index);
}

void cb_synic_eoi(struct cb_vcpu *v, u8 vector)
{
	struct cb_synic *s = v->hyperv.synic;
	bool is_sint = false;
	u32 i;

	for (i = 0; s && i < TLFS_SINTS; i++)
		is_sint |= tlfs_sint_vector(s->sint[i]) == vector;
	if (!is_sint)
		return;
	mutex_lock(&v->vm->hyperv.lock);
	end_of_message(v, s, false);
	mutex_unlock(&v->vm->hyperv.lock);
}

static void tell_user(struct cb_vcpu *v, u32 msr, bool host)
{
	if (host)
		return;
	v->hyperv.synic_msr = msr;
	set_bit(CB_HYPERV_SYNIC, &v->hyperv.event);
}

void cb_synic_exit(struct cb_vcpu *v)
{
	struct kvm_hyperv_exit __shared *x = &v->run->hyperv;
	const struct cb_synic *s = v->hyperv.synic;

	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_HYPERV);
	WRITE_ONCE(x->type, KVM_EXIT_HYPERV_SYNIC);
	WRITE_ONCE(x->u.synic.msr, v->hyperv.synic_msr);
	WRITE_ONCE(x->u.synic.control, s->control);
	WRITE_ONCE(x->u.synic.evt_page, s->event_page);
	WRITE_ONCE(x->u.synic.msg_page, s->message_page);
}

static int set_page(struct cb_vcpu *v, u64 *page, u32 msr, u64 val, bool host)
{
	static const u8 zeroes[ZEROES];
	u64 at = val & TLFS_PAGE_MASK, i;

	if (val & TLFS_PAGE_ENABLED && !host && v->hyperv.synic->clears)
		for (i = 0; i < PAGE_SIZE; i += ZEROES)
			if (cb_guest_write(v, at + i, zeroes, ZEROES))
				return -EINVAL;
	*page = val;
	tell_user(v, msr, host);
	return 0;
}

static int write_synic(struct cb_vcpu *v, struct cb_synic *s, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_SCONTROL:
		s->control = val;
		tell_user(v, msr, host);
		return 0;
	case MSR_SVERSION:
		if (!host)
			return -EINVAL;
		s->version = val;
		return 0;
	case MSR_SIEFP:
		return set_page(v, &s->event_page, msr, val, host);
	case MSR_SIMP:
		return set_page(v, &s->message_page, msr, val, host);
	case MSR_EOM:
		end_of_message(v, s, host);
		return 0;
	}
	return tlfs_is_sint(msr) ? set_sint(v, s, msr - MSR_SINT0, val, host)
				 : write_timer(v, s, msr - MSR_STIMER0_CONFIG, val, host);
}

/* s NULL: as it is when it is enabled. */
static u64 read_synic(const struct cb_synic *s, u32 msr)
{
	const struct tlfs_timer *t;

	switch (msr) {
	case MSR_SCONTROL:
		return s ? s->control : 0;
	case MSR_SVERSION:
		return s ? s->version : TLFS_SYNIC_VERSION;
	case MSR_SIEFP:
		return s ? s->event_page : 0;
	case MSR_SIMP:
		return s ? s->message_page : 0;
	case MSR_EOM:
		return 0;
	}
	if (tlfs_is_sint(msr))
		return s ? s->sint[msr - MSR_SINT0] : TLFS_SINT_MASKED;
	if (!s)
		return 0;
	t = &s->timer[(msr - MSR_STIMER0_CONFIG) / 2].t;
	return msr & 1 ? t->count : READ_ONCE(t->config);
}

int cb_synic_msr(struct cb_vcpu *v, u32 msr, u64 *val, bool write, bool host)
{
	struct cb_synic *s = v->hyperv.synic;

	lockdep_assert_held(&v->vm->hyperv.lock);
	if (!s && !host)
		return -EINVAL;
	if (!s && write) /* a VMM that puts back what it has read, or resets */
		return *val && *val != read_synic(NULL, msr) ? -EINVAL : 0;
	if (write)
		return write_synic(v, s, msr, *val, host);
	if (host && tlfs_is_timer(msr))
		cb_synic_freeze(v);
	*val = read_synic(s, msr);
	return 0;
}

/* ---- connections ---- */

int cb_synic_eventfd(struct cb_vm *vm, const struct kvm_hyperv_eventfd __user *arg)
{
	struct cb_hyperv *h = &vm->hyperv;
	struct kvm_hyperv_eventfd e;
	struct eventfd_ctx *ctx;
	int r;

	if (copy_from_user(&e, arg, sizeof(e)))
		return -EFAULT;
	if (e.flags & ~KVM_HYPERV_EVENTFD_DEASSIGN || e.conn_id >= TLFS_CONNECTIONS)
		return -EINVAL;
	if (e.flags & KVM_HYPERV_EVENTFD_DEASSIGN) {
		mutex_lock(&h->lock);
		ctx = xa_erase(&h->signals, e.conn_id);
		mutex_unlock(&h->lock);
		if (!ctx)
			return -ENOENT;
		eventfd_ctx_put(ctx);
		return 0;
	}
	ctx = eventfd_ctx_fdget(e.fd);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	mutex_lock(&h->lock);
	r = xa_insert(&h->signals, e.conn_id, ctx, GFP_KERNEL_ACCOUNT);
	mutex_unlock(&h->lock);
	if (r)
		eventfd_ctx_put(ctx);
	return r == -EBUSY ? -EEXIST : r;
}

u64 cb_synic_signal(struct cb_vcpu *v, const struct tlfs_hypercall *c)
{
	struct cb_hyperv *h = &v->vm->hyperv;
	u64 input = c->input, r;
	struct eventfd_ctx *ctx;

	if (!c->fast && (input & 7 || cb_guest_read(v, input, &input, sizeof(input))))
		return TLFS_INVALID_ALIGNMENT;
	r = tlfs_check_signal(input);
	if (r != TLFS_SUCCESS)
		return r;
	mutex_lock(&h->lock);
	ctx = xa_load(&h->signals, input);
	if (ctx)
		cb_eventfd_signal(ctx);
	mutex_unlock(&h->lock);
	return ctx ? TLFS_SUCCESS : TLFS_INVALID_PORT;
}

void cb_synic_ask_user(struct cb_vcpu *v, u64 word, const struct tlfs_hypercall *c)
{
	struct kvm_hyperv_exit __shared *x = &v->run->hyperv;

	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_HYPERV);
	WRITE_ONCE(x->type, KVM_EXIT_HYPERV_HCALL);
	WRITE_ONCE(x->u.hcall.input, word);
	WRITE_ONCE(x->u.hcall.result, TLFS_INVALID_CODE);
	WRITE_ONCE(x->u.hcall.params[0], c->input);
	WRITE_ONCE(x->u.hcall.params[1], c->output);
	v->user_exit = KVM_EXIT_HYPERV;
}

/* ---- life ---- */

int cb_synic_enable(struct cb_vcpu *v, bool clear)
{
	struct cb_synic *s = v->hyperv.synic;
	u32 i;

	if (v->vm->irqchip == CB_IRQCHIP_NONE)
		return -EINVAL;
	if (!s) {
		s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
		if (!s)
			return -ENOMEM;
		s->version = TLFS_SYNIC_VERSION;
		for (i = 0; i < TLFS_SINTS; i++)
			s->sint[i] = TLFS_SINT_MASKED;
		for (i = 0; i < TLFS_TIMERS; i++) {
			s->timer[i].v = v;
			hrtimer_init(&s->timer[i].clock, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
			s->timer[i].clock.function = clock_fires;
		}
		smp_store_release(&v->hyperv.synic, s);
	}
	s->clears = clear;
	s->control = TLFS_SYNIC_ENABLED;
	return 0;
}

void cb_synic_free(struct cb_vcpu *v)
{
	kfree(v->hyperv.synic);
}

void cb_synic_vm_exit(struct cb_vm *vm)
{
	struct eventfd_ctx *ctx;
	unsigned long connection;
	u32 i, k;

	for (i = 0; i < vm->vcpus; i++)
		for (k = 0; vm->vcpu[i]->hyperv.synic && k < TLFS_TIMERS; k++)
			stop_timer(vm->vcpu[i]->hyperv.synic, k);
	xa_for_each(&vm->hyperv.signals, connection, ctx) {
		xa_erase(&vm->hyperv.signals, connection); /* xa_destroy() would have no break */
		eventfd_ctx_put(ctx);
		cond_resched();
	}
	xa_destroy(&vm->hyperv.signals);
}
