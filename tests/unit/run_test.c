/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the run loop does with requests before an entry. run.c is included, since that is its own.
 * links: tests/unit/rest.c hv/guest/lapic.c hv/guest/inject.c
 */
#include <stdlib.h>

#include "hv/cpu/smp.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/run.c"
#include "test.h"

static struct vm vm;
static struct vcpu vcpu;
static struct shadow *nested = (void *)&vm; /* it can have guests; not looked into */
static bool held, leaves, acknowledges;
static u32 resets, seen_state, injected;
const struct hvm_ops *hvm;
struct vm *dom0;
bool smp_parking;
u64 tsc_khz = 1000000;

static void nothing(struct vcpu *v)
{
}

static bool can_borrow(struct vcpu *v)
{
	return true;
}

static u64 get(struct vcpu *v, enum hvm_reg r)
{
	return 0;
}

static void set_seg(struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
{
}

static void get_seg(struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)
{
	*out = (struct corbel_segment){.s = 1};
}

static bool can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	return !v->guest_mode && v->rflags & RFLAGS_IF;
}

static void inject(struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error, u32 error)
{
	injected = vector;
}

static void want_window(struct vcpu *v, enum hvm_event_kind k, bool on)
{
}

static bool holds(struct vcpu *v)
{
	return held;
}

/* The guest wants interrupts for itself, acknowledged; what it is told of its guest is seen. */
static bool event(struct vcpu *v)
{
	if (acknowledges) {
		acknowledges = false;
		v->due &= ~DUE_EXTINT;
		v->user_irq = 0x24;
		return true;
	}
	if (!leaves)
		return false;
	seen_state = v->mp_state;
	v->guest_mode = false;
	v->user_irq = -1;
	return true;
}

void vcpu_reset(struct vcpu *v, bool init)
{
	resets += init;
	v->init_latched = false;
}

bool sched_block(struct sched_unit *u)
{
	return true;
}

static const struct nested_ops nested_ops = {
    .holds_init = holds, .holds_smi = holds, .event = event};
static const struct hvm_ops ops = {.nested = &nested_ops,
				   .borrow = can_borrow,
				   .give_back = nothing,
				   .get = get,
				   .get_seg = get_seg,
				   .set_seg = set_seg,
				   .can_inject = can_inject,
				   .inject = inject,
				   .want_window = want_window};

static void begin(void)
{
	hvm = &ops;
	vm = (struct vm){.has_lapic = true};
	vcpu = (struct vcpu){.vm = &vm, .shadow = nested, .user_irq = -1, .lapic.id = 1};
	vcpu.lapic.present = true;
	vcpu.lapic.base = APIC_BASE_ENABLE;
	vcpu.lapic.lvt[LVT_LINT0] = LVT_MODE_EXTINT;
	held = leaves = acknowledges = false;
	resets = injected = 0;
	seen_state = ~0u;
}

static void request(u64 req)
{
	vcpu_note(&vcpu, req);
	vcpu_prepare(&vcpu);
}

static void test_init(void)
{
	begin();
	request(DUE_INIT);
	CHECK(resets == 1 && vcpu.mp_state == MP_INIT_RECEIVED, "INIT resets a vCPU");
	vcpu.sipi_vector = 8;
	request(DUE_SIPI);
	CHECK(vcpu.mp_state == MP_RUNNABLE, "and SIPI starts it");
	begin();
	held = true;
	request(DUE_INIT | DUE_SIPI);
	CHECK(!resets && vcpu.init_latched && vcpu.mp_state == MP_RUNNABLE,
	      "as a hypervisor it can have INIT held back, and SIPI counts for nothing");
	request(DUE_LOOK);
	CHECK(!resets && vcpu.init_latched, "for as long as it likes");
	held = false;
	request(DUE_LOOK);
	CHECK(resets == 1 && vcpu.mp_state == MP_INIT_RECEIVED, "then INIT comes");
	begin();
	vcpu.in_smm = true;
	vcpu.shadow = NULL;
	request(DUE_INIT);
	CHECK(!resets && vcpu.init_latched, "in SMM it waits");
	vcpu.in_smm = false;
	request(DUE_LOOK);
	CHECK(resets == 1, "for RSM");
	begin();
	held = leaves = vcpu.guest_mode = true;
	vcpu.mp_state = MP_HALTED;
	request(DUE_INIT);
	CHECK(!resets && !vcpu.guest_mode && seen_state == MP_HALTED,
	      "a nested guest's HLT is ended by it");
}

/* The guest is told that its guest has halted, however the interrupt comes that ends that. */
static void test_halted(void)
{
	begin();
	leaves = acknowledges = vcpu.guest_mode = true;
	vcpu.mp_state = MP_HALTED;
	request(DUE_EXTINT);
	CHECK(vcpu.guest_mode && vcpu.user_irq == 0x24 && vcpu.mp_state == MP_HALTED,
	      "the PIC's interrupt is acknowledged");
	CHECK(vcpu_prepare(&vcpu) == PREP_AGAIN && !vcpu.guest_mode && seen_state == MP_HALTED &&
		  vcpu.mp_state == MP_RUNNABLE,
	      "and ends guest mode, in HLT");
	begin();
	vcpu.mp_state = MP_HALTED;
	vm.flags = CORBEL_VM_PIC;
	request(DUE_EXTINT);
	CHECK(vcpu.mp_state == MP_HALTED, "with IF clear it ends no HLT");
	vcpu.rflags = RFLAGS_IF;
	request(DUE_EXTINT);
	CHECK(vcpu.mp_state == MP_RUNNABLE && injected == 0x20, "with IF it does");
}

/* What these tests do not come to */
#define NOT_CALLED(name, ...)                                                                      \
	void name(__VA_ARGS__)                                                                     \
	{                                                                                          \
		abort();                                                                           \
	}
NOT_CALLED(sched_yield_to, struct sched_unit *from, struct sched_unit *to)
NOT_CALLED(event_vcpu_stopped, u32 id)
NOT_CALLED(idle_sleep, struct cpu *c)
NOT_CALLED(exit_loop, struct vcpu *v, struct cpu *c)
NOT_CALLED(console_work, void)
NOT_CALLED(irq_window, void)
NOT_CALLED(sched_seen, struct sched_unit *u)
NOT_CALLED(sched_wake, struct sched_unit *u)
NOT_CALLED(lapic_timer_stop, struct vcpu *v)
NOT_CALLED(lapic_timer_taken, struct vcpu *v)
NOT_CALLED(lapic_timer_fn, struct timer *t)

struct sched_unit *sched_next(struct sched_unit *ran, u64 now, u64 *slice_end)
{
	abort();
}

void vcpu_put(struct vcpu *v)
{
}

s32 pic_inta(struct vm *vm, u32 *told)
{
	return 0x20;
}

int main(void)
{
	test_init();
	test_halted();
	return test_end();
}
