/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of a stopped vCPU as blobs in its data page (VCPU_GET, VCPU_SET). The page is dom0's to
 * write at any time, so a SET copies the blob first and checks the copy; a GET fills one.
 */
#include "hv/dom0/state.h"
#include "boot/linux.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/emul/walk.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/debug.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/linear.h"
#include "hv/guest/msr.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* in struct corbel_sregs */
static const enum hvm_seg seg_order[] = {HVM_CS, HVM_DS, HVM_ES, HVM_FS,
					 HVM_GS, HVM_SS, HVM_TR, HVM_LDTR};

/*
 * The interrupt that has been acknowledged and not delivered, or -1: to a VMM it is one, whether it
 * has been tried already or waits for its place.
 */
static s32 taken_irq(const struct vcpu *v)
{
	return v->irq_injected ? v->irq_vector : v->user_irq;
}

static void get_sregs(struct vcpu *v, struct corbel_sregs *s)
{
	*s = (struct corbel_sregs){
	    .cr0 = hvm->get(v, HVM_CR0),
	    .cr2 = hvm->get(v, HVM_CR2),
	    .cr3 = hvm->get(v, HVM_CR3),
	    .cr4 = hvm->get(v, HVM_CR4),
	    .efer = hvm->get(v, HVM_EFER),
	    .cr8 = lapic_get_cr8(v),
	    .apic_base = v->lapic.base,
	};
	for (u32 i = 0; i < ARRAY_SIZE(seg_order); i++)
		hvm->get_seg(v, seg_order[i], &s->cs + i);
	hvm_get_dt(v, HVM_GDTR, &s->gdt);
	hvm_get_dt(v, HVM_IDTR, &s->idt);
	if (taken_irq(v) >= 0)
		s->interrupt_bitmap[taken_irq(v) / 64] |= BIT(taken_irq(v) % 64);
}

static bool sregs_valid(const struct vcpu *v, const struct corbel_sregs *s)
{
	u64 efer = s->efer & ~EFER_SVME;
	bool rsm = v->in_smm && v->cpuid_count; /* the guest has chosen them, perhaps */

	if ((s->cr4 & ~v->rights.cr4) || (s->cr0 >> 32) ||
	    (efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR)) ||
	    (rsm && efer & ~v->rights.efer))
		return false;
	if ((s->cr0 & CR0_PG) && !(s->cr0 & CR0_PE))
		return false;
	if ((s->cr0 & CR0_NW) && !(s->cr0 & CR0_CD))
		return false;
	if ((efer & EFER_LME) && (s->cr0 & CR0_PG))
		return (s->cr4 & CR4_PAE) && (efer & EFER_LMA);
	return !(efer & EFER_LMA);
}

static s64 set_sregs(struct vcpu *v, const struct corbel_sregs *s)
{
	if (!sregs_valid(v, s))
		return -EINVAL;
	if (s->apic_base != v->lapic.base && lapic_set_base(v, s->apic_base, true))
		return -EINVAL;
	for (u32 i = 0; i < ARRAY_SIZE(seg_order); i++)
		hvm->set_seg(v, seg_order[i], &s->cs + i);
	hvm_set_dt(v, HVM_GDTR, &s->gdt);
	hvm_set_dt(v, HVM_IDTR, &s->idt);
	hvm->set(v, HVM_CR2, s->cr2);
	hvm->set(v, HVM_EFER, s->efer & (~EFER_SVME | v->rights.efer));
	if (v->fixed_cr4 & ~s->cr4)
		hvm->nested->off(v);
	vcpu_set_cr4(v, s->cr4);
	hvm->set(v, HVM_CR3, s->cr3);
	hvm->set(v, HVM_CR0, s->cr0);
	lapic_set_cr8(v, s->cr8 & 15);
	for (u32 i = 0; i < 256; i++)
		if (s->interrupt_bitmap[i / 64] & BIT(i % 64) && !v->irq_injected)
			v->user_irq = i;
	return 0;
}

/* What of an XSAVE area is looked at; SDM "XSAVE Area". */
struct xsave_area {
	u8 fpu[24];
	u32 mxcsr;
	u8 legacy[484];
	u64 xstate_bv, xcomp_bv, reserved[6];
};
_Static_assert(offsetof(struct xsave_area, xstate_bv) == 512, "the header follows FXSAVE's area");

#define MXCSR_RESET 0x1f80

/* The header must be in standard format and name only components that are switched. */
static s64 set_xsave(struct vcpu *v, const void *area)
{
	struct xsave_area *x = (void *)v->xsave;
	u64 known = xcr0_host ? xcr0_host & XCR0_SWITCHED : XCR0_FXSAVE;
	bool valid;

	memcpy(x, area, XSAVE_BYTES);
	valid = !(x->xstate_bv & ~known) && !x->xcomp_bv && !(x->mxcsr & ~mxcsr_mask);
	x->xcomp_bv = 0;
	memset(x->reserved, 0, sizeof(x->reserved));
	if (valid)
		return 0;
	/* What is there now must not fault in XRSTOR. */
	x->xstate_bv = 0;
	x->mxcsr = MXCSR_RESET;
	return -EINVAL;
}

/* Data in v's page, which dom0 may change meanwhile: each word is read once. */
static s64 move_msrs(struct vcpu *v, u32 n, bool set)
{
	struct corbel_msr __shared *m = (void __shared *)v->data;
	u32 i;

	if (n > PAGE_SIZE / sizeof(*m))
		return -E2BIG;
	for (i = 0; i < n; i++) {
		u32 index = READ_ONCE(m[i].index);
		u64 val = READ_ONCE(m[i].data);

		if (set ? msr_write(v, index, val, true) : msr_read(v, index, &val, true))
			break;
		if (!set)
			WRITE_ONCE(m[i].data, val);
	}
	return i;
}

static void get_events(struct vcpu *v, struct corbel_vcpu_events *e)
{
	if (READ_ONCE(v->due) & DUE_NMI) { /* it has come since the vCPU has stopped */
		vcpu_unnote(v, DUE_NMI);
		v->nmi_pending = true;
		vcpu_note(v, DUE_LOOK);
	}
	*e = (struct corbel_vcpu_events){
	    .exception.injected = v->exception.pending && v->exception.injected,
	    .exception.pending = v->exception.pending && !v->exception.injected,
	    .exception.nr = v->exception.vector,
	    .exception.has_error_code = v->exception.has_error,
	    .exception.error_code = v->exception.error,
	    .interrupt.injected = taken_irq(v) >= 0,
	    .interrupt.nr = taken_irq(v),
	    .interrupt.shadow = hvm->get(v, HVM_SHADOW) != 0,
	    .nmi.injected = v->nmi_injected,
	    .nmi.pending = v->nmi_pending,
	    .nmi.masked = v->nmi_masked,
	    .sipi_vector = v->sipi_vector,
	    .smi.smm = v->in_smm,
	    .smi.pending = v->smi_pending || READ_ONCE(v->due) & DUE_SMI,
	    .smi.smm_inside_nmi = v->smm_in_nmi,
	    .smi.latched_init = v->init_latched || READ_ONCE(v->due) & DUE_INIT,
	    .triple_fault = !!(READ_ONCE(v->due) & DUE_TRIPLE),
	    .exception_has_payload = v->exception.pending && v->exception.has_payload,
	};
	if (e->exception_has_payload)
		e->exception_payload = v->exception.payload;
}

/* An SMI or INIT that comes meanwhile is not to be lost where the VMM has said nothing of them. */
static void set_smm(struct vcpu *v, const struct corbel_vcpu_events *e)
{
	if (v->in_smm != e->smi.smm)
		vcpu_set_smm(v, e->smi.smm);
	v->smm_in_nmi = e->smi.smm && e->smi.smm_inside_nmi;
	if (e->flags & CORBEL_EVENTS_SMI) {
		vcpu_unnote(v, DUE_SMI | DUE_INIT);
		v->smi_pending = e->smi.pending;
		v->init_latched = e->smi.latched_init;
	}
	vcpu_note(v, DUE_LOOK); /* at what SMM has kept out */
}

/* One that comes back as it was read still waits for its place. */
static void set_taken_irq(struct vcpu *v, const struct corbel_vcpu_events *e)
{
	v->irq_injected = e->interrupt.injected && e->interrupt.nr != v->user_irq;
	if (v->irq_injected || !e->interrupt.injected)
		v->user_irq = -1;
	v->irq_vector = e->interrupt.nr;
}

static s64 set_events(struct vcpu *v, const struct corbel_vcpu_events *e)
{
	bool exception = e->exception.injected || e->exception.pending;

	if (exception && (e->exception.nr > 31 || e->exception.nr == VEC_NMI))
		return -EINVAL;
	if (e->smi.smm > 1 || (e->smi.smm && (!v->vm->smm.vm || v->guest_mode)))
		return -EINVAL;
	v->exception.pending = exception;
	v->exception.injected = e->exception.injected;
	v->exception.has_payload = e->exception.pending && e->exception_has_payload;
	v->exception.payload = e->exception_payload;
	v->exception.vector = e->exception.nr & 31;
	v->exception.has_error = e->exception.has_error_code;
	v->exception.error = e->exception.error_code;
	set_taken_irq(v, e);
	hvm->set(v, HVM_SHADOW, e->interrupt.shadow);
	v->nmi_injected = e->nmi.injected;
	v->nmi_pending = e->nmi.pending;
	hvm->set(v, HVM_NMI_MASK, e->nmi.masked);
	v->sipi_vector = e->sipi_vector;
	set_smm(v, e);
	if (e->triple_fault)
		vcpu_note(v, DUE_TRIPLE);
	else
		vcpu_unnote(v, DUE_TRIPLE);
	return 0;
}

static void get_debugregs(struct vcpu *v, struct corbel_debugregs *d)
{
	*d = (struct corbel_debugregs){.dr6 = debug_get_dr(v, 6), .dr7 = debug_get_dr(v, 7)};
	memcpy(d->db, v->dr, sizeof(v->dr));
}

static s64 set_debugregs(struct vcpu *v, const struct corbel_debugregs *d)
{
	if (d->flags || d->dr6 >> 32 || d->dr7 >> 32)
		return -EINVAL;
	memcpy(v->dr, d->db, sizeof(d->db));
	debug_set_dr(v, 6, d->dr6);
	debug_set_dr(v, 7, d->dr7);
	return 0;
}

static u32 get_mp_state(const struct vcpu *v)
{
	if (v->mp_state == MP_INIT_RECEIVED && READ_ONCE(v->due) & DUE_SIPI)
		return MP_SIPI_RECEIVED;
	return v->mp_state;
}

static s64 set_mp_state(struct vcpu *v, u32 state)
{
	if (state > MP_SIPI_RECEIVED)
		return -EINVAL;
	if (state == MP_SIPI_RECEIVED) {
		state = MP_INIT_RECEIVED;
		vcpu_note(v, DUE_SIPI);
	}
	v->mp_state = state;
	vcpu_note(v, DUE_LOOK); /* at an SMI that has waited for it */
	return 0;
}

static s64 set_user_irq(struct vcpu *v, u32 vector)
{
	if (vector > 255 || v->lapic.present)
		return -EINVAL;
	if (v->user_irq >= 0)
		return -EEXIST;
	v->user_irq = vector;
	return 0;
}

static s64 set_xcr0(struct vcpu *v, u64 val)
{
	if (xcr0_host ? !policy_xcr0_valid(v, val) : val != XCR0_RESET)
		return -EINVAL;
	v->xcr0 = val;
	return 0;
}

static s64 set_vapic(struct vcpu *v, u64 at)
{
	v->lapic.vapic = at;
	v->lapic.vapic_tpr = VAPIC_NEW;
	v->pv.vapic_lost = false;
	return 0;
}

/* What a data page can hold. */
union state {
	struct corbel_sregs sregs;
	struct corbel_vcpu_events events;
	struct corbel_debugregs debugregs;
	struct corbel_guest_debug debug;
	struct corbel_translation translation;
	struct corbel_mce mce;
	struct corbel_clock clock;
	struct corbel_memory memory;
	struct corbel_nested nested;
	struct corbel_cpuid cpuid[PAGE_SIZE / sizeof(struct corbel_cpuid)];
	u32 word;
	u64 number, vectors[4];
	u8 bytes[PAGE_SIZE];
};
_Static_assert(sizeof(union state) == PAGE_SIZE, "a state fits the data page");

/* 0: none, or as many as the caller says */
static const u16 state_bytes[CORBEL_STATE_NR] = {
    [CORBEL_STATE_SREGS] = sizeof(struct corbel_sregs),
    [CORBEL_STATE_XSAVE] = XSAVE_BYTES,
    [CORBEL_STATE_XCR0] = sizeof(u64),
    [CORBEL_STATE_LAPIC] = 1024,
    [CORBEL_STATE_EVENTS] = sizeof(struct corbel_vcpu_events),
    [CORBEL_STATE_DEBUGREGS] = sizeof(struct corbel_debugregs),
    [CORBEL_STATE_GUEST_DEBUG] = sizeof(struct corbel_guest_debug),
    [CORBEL_STATE_MP] = sizeof(u32),
    [CORBEL_STATE_TSC_KHZ] = sizeof(u64),
    [CORBEL_STATE_INTERRUPT] = sizeof(u32),
    [CORBEL_STATE_TRANSLATE] = sizeof(struct corbel_translation),
    [CORBEL_STATE_MCE_CAP] = sizeof(u64),
    [CORBEL_STATE_MCE] = sizeof(struct corbel_mce),
    [CORBEL_STATE_TSC_OFFSET] = sizeof(u64),
    [CORBEL_STATE_CLOCK] = sizeof(struct corbel_clock),
    [CORBEL_STATE_AUTO_EOI] = 4 * sizeof(u64),
    [CORBEL_STATE_VAPIC] = sizeof(u64),
    [CORBEL_STATE_NESTED] = sizeof(struct corbel_nested),
};

static void get_clock(struct vcpu *v, struct corbel_clock *c)
{
	u64 now = rdtsc();
	s8 shift;

	c->tsc = vcpu_tsc(v, now);
	c->ns = pv_clock_at(v->vm, now);
	tsc_pvclock_scale(v->tsc_khz, &c->mul, &shift);
	c->shift = shift;
	c->runtime_ns = tsc_to_ns(sched_runtime(&v->sched, now));
}

static void get_translation(struct vcpu *v, struct corbel_translation *t)
{
	u64 linear = READ_ONCE(*(const u64 __shared *)v->data), at = 0;
	struct guest_fault f;
	bool fits = !(linear >> 32) || hvm->get(v, HVM_EFER) & EFER_LMA;
	bool valid = fits && !vcpu_translate(v, linear, WALK_SYSTEM, &at, &f);

	*t = (struct corbel_translation){.gpa = valid ? at : 0, .valid = valid, .writeable = valid};
}

static s64 set_memory(struct vcpu *v, const struct corbel_memory *m, u32 n)
{
	u32 head = offsetof(struct corbel_memory, bytes);

	if (n < head || m->gpa >> 52)
		return -EINVAL;
	return p2m_write(&v->vm->p2m, gpa(m->gpa), m->bytes, n - head);
}

/* A copy of the data page that dom0 cannot change under our hands; one a CPU. */
static PER_CPU(union state, copies);

static union state *state_copy(void)
{
	return &own_cpu(copies);
}

s64 state_get(struct vcpu *v, u32 what, u32 n)
{
	union state *s = state_copy();
	s64 bytes, ret = 0;

	BUG_ON(what >= CORBEL_STATE_NR);
	pmu_settle(v);
	bytes = state_bytes[what];
	switch (what) {
	case CORBEL_STATE_SREGS:
		get_sregs(v, &s->sregs);
		break;
	case CORBEL_STATE_XSAVE:
		shared_write(v->data, v->xsave, XSAVE_BYTES);
		return XSAVE_BYTES;
	case CORBEL_STATE_XCR0:
		s->number = v->xcr0;
		break;
	case CORBEL_STATE_MSRS:
		return move_msrs(v, n, false);
	case CORBEL_STATE_CPUID:
		bytes = cpuid_get(v, s->cpuid) * sizeof(struct corbel_cpuid);
		break;
	case CORBEL_STATE_LAPIC:
		if (!v->lapic.present)
			return -EINVAL;
		lapic_get_state(v, s->bytes);
		break;
	case CORBEL_STATE_EVENTS:
		get_events(v, &s->events);
		break;
	case CORBEL_STATE_DEBUGREGS:
		get_debugregs(v, &s->debugregs);
		break;
	case CORBEL_STATE_MP:
		s->word = get_mp_state(v);
		break;
	case CORBEL_STATE_TSC_KHZ:
		s->number = v->tsc_khz;
		break;
	case CORBEL_STATE_TSC_OFFSET:
		s->number = v->tsc_offset;
		break;
	case CORBEL_STATE_CLOCK:
		get_clock(v, &s->clock);
		break;
	case CORBEL_STATE_TRANSLATE:
		get_translation(v, &s->translation);
		break;
	case CORBEL_STATE_NESTED:
		ret = hvm->nested->get_state(v, &s->nested);
		break;
	default:
		return -EINVAL;
	}
	if (ret)
		return ret;
	shared_write(v->data, s, bytes);
	return bytes;
}

s64 state_set(struct vcpu *v, u32 what, u32 n)
{
	union state *s = state_copy();

	BUG_ON(what >= CORBEL_STATE_NR || n > PAGE_SIZE);
	pmu_settle(v);
	if (what == CORBEL_STATE_MSRS)
		return move_msrs(v, n, true);
	if (state_bytes[what] && n != state_bytes[what])
		return -EINVAL;
	shared_read(s, v->data, n);
	switch (what) {
	case CORBEL_STATE_SREGS:
		return set_sregs(v, &s->sregs);
	case CORBEL_STATE_XSAVE:
		return set_xsave(v, s);
	case CORBEL_STATE_XCR0:
		return set_xcr0(v, s->number);
	case CORBEL_STATE_CPUID:
		if (n % sizeof(struct corbel_cpuid))
			return -EINVAL;
		return cpuid_set(v, s->cpuid, n / sizeof(struct corbel_cpuid));
	case CORBEL_STATE_LAPIC:
		return v->lapic.present ? lapic_set_state(v, s->bytes) : -EINVAL;
	case CORBEL_STATE_EVENTS:
		return set_events(v, &s->events);
	case CORBEL_STATE_DEBUGREGS:
		return set_debugregs(v, &s->debugregs);
	case CORBEL_STATE_GUEST_DEBUG:
		return debug_set(v, &s->debug);
	case CORBEL_STATE_MP:
		return set_mp_state(v, s->word);
	case CORBEL_STATE_TSC_KHZ:
		return msr_set_tsc_khz(v, s->number);
	case CORBEL_STATE_TSC_OFFSET:
		msr_set_tsc_offset(v, s->number);
		return 0;
	case CORBEL_STATE_MCE_CAP:
		return mce_setup(v, s->number);
	case CORBEL_STATE_MCE:
		return mce_set(v, &s->mce);
	case CORBEL_STATE_MEMORY:
		return set_memory(v, &s->memory, n);
	case CORBEL_STATE_AUTO_EOI:
		return lapic_set_auto_eoi(v, s->vectors);
	case CORBEL_STATE_VAPIC:
		return set_vapic(v, s->number);
	case CORBEL_STATE_NESTED:
		return hvm->nested->set_state(v, &s->nested);
	case CORBEL_STATE_INTERRUPT:
		return set_user_irq(v, s->word);
	case CORBEL_STATE_CLOCK_STOPPED:
		return pv_clock_stopped(v);
	case CORBEL_STATE_RESET:
		vcpu_reset(v, false);
		return 0;
	}
	return -EINVAL;
}
