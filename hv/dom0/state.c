/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of a stopped vCPU as blobs in its data page (VCPU_GET, VCPU_SET). The page is dom0's to
 * write at any time, so a SET copies the blob first and checks the copy.
 */
#include "hv/dom0/state.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/linear.h"
#include "hv/guest/msr.h"
#include "hv/lib/string.h"

static const enum hvm_seg seg_order[8] = {HVM_CS, HVM_DS, HVM_ES, HVM_FS,
					  HVM_GS, HVM_SS, HVM_TR, HVM_LDTR};

static s64 get_sregs(struct vcpu *v, struct corbel_sregs *s)
{
	struct corbel_segment *seg = &s->cs;

	memset(s, 0, sizeof(*s));
	for (u32 i = 0; i < 8; i++)
		hvm->get_seg(v, seg_order[i], &seg[i]);
	hvm->get_dt(v, HVM_GDTR, &s->gdt);
	hvm->get_dt(v, HVM_IDTR, &s->idt);
	s->cr0 = hvm->get(v, HVM_CR0);
	s->cr2 = hvm->get(v, HVM_CR2);
	s->cr3 = hvm->get(v, HVM_CR3);
	s->cr4 = hvm->get(v, HVM_CR4);
	s->efer = hvm->get(v, HVM_EFER);
	s->cr8 = lapic_get_cr8(v);
	s->apic_base = v->lapic.base;
	if (v->user_irq >= 0)
		s->interrupt_bitmap[v->user_irq / 64] |= BIT(v->user_irq % 64);
	return sizeof(*s);
}

static bool sregs_valid(const struct corbel_sregs *s)
{
	u64 efer = s->efer & ~EFER_SVME;

	if ((s->cr4 & ~policy_cr4_mask()) || (s->cr0 >> 32) ||
	    (efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_FFXSR)))
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
	const struct corbel_segment *seg = &s->cs;

	if (!sregs_valid(s))
		return -EINVAL;
	if (s->apic_base != v->lapic.base && lapic_set_base(v, s->apic_base, true))
		return -EINVAL;
	for (u32 i = 0; i < 8; i++)
		hvm->set_seg(v, seg_order[i], &seg[i]);
	hvm->set_dt(v, HVM_GDTR, &s->gdt);
	hvm->set_dt(v, HVM_IDTR, &s->idt);
	hvm->set(v, HVM_CR2, s->cr2);
	hvm->set(v, HVM_EFER, s->efer & ~EFER_SVME);
	vcpu_set_cr4(v, s->cr4);
	hvm->set(v, HVM_CR3, s->cr3);
	hvm->set(v, HVM_CR0, s->cr0);
	lapic_set_cr8(v, s->cr8 & 15);
	for (u32 i = 0; i < 256; i++)
		if (s->interrupt_bitmap[i / 64] & BIT(i % 64))
			v->user_irq = i;
	return 0;
}

/* The header must be in standard format and name only components that are switched. */
static s64 set_xsave(struct vcpu *v, const u8 *x)
{
	u64 bv, comp;
	u32 mxcsr;

	memcpy(v->xsave, x, XSAVE_BYTES);
	memcpy(&bv, v->xsave + 512, 8);
	memcpy(&comp, v->xsave + 520, 8);
	memcpy(&mxcsr, v->xsave + 24, 4);
	memset(v->xsave + 520, 0, 56);
	if ((bv & ~(xcr0_host ? xcr0_host & XCR0_SWITCHED : XCR0_FXSAVE)) || comp ||
	    (mxcsr & ~0xffffu)) {
		/* What is there now must not fault in XRSTOR. */
		memset(v->xsave + 512, 0, 8);
		*(u32 *)(v->xsave + 24) = 0x1f80;
		return -EINVAL;
	}
	return 0;
}

static s64 do_msrs(struct vcpu *v, u32 n, bool set)
{
	struct corbel_msr *m = (struct corbel_msr *)v->data;
	u32 i;

	if (n > PAGE_SIZE / sizeof(*m))
		return -E2BIG;
	for (i = 0; i < n; i++) {
		u32 index = READ_ONCE(m[i].index);
		u64 val = READ_ONCE(m[i].data);

		if (set ? msr_write_host(v, index, val) : msr_read_host(v, index, &val))
			break;
		if (!set)
			m[i].data = val;
	}
	return i;
}

static s64 get_events(struct vcpu *v, struct corbel_vcpu_events *e)
{
	memset(e, 0, sizeof(*e));
	e->exception.injected = v->exception.pending;
	e->exception.nr = v->exception.vector;
	e->exception.has_error_code = v->exception.has_error;
	e->exception.error_code = v->exception.error;
	e->interrupt.injected = v->irq_injected;
	e->interrupt.nr = v->irq_vector;
	e->interrupt.shadow = hvm->get(v, HVM_SHADOW) ? 1 : 0;
	e->nmi.injected = v->nmi_injected;
	e->nmi.pending = v->nmi_pending;
	e->nmi.masked = v->nmi_masked;
	e->sipi_vector = v->sipi_vector;
	return sizeof(*e);
}

static s64 set_events(struct vcpu *v, const struct corbel_vcpu_events *e)
{
	if (e->exception.injected && (e->exception.nr > 31 || e->exception.nr == 2))
		return -EINVAL;
	v->exception.pending = e->exception.injected || e->exception.pending;
	v->exception.vector = e->exception.nr & 31;
	v->exception.has_error = e->exception.has_error_code;
	v->exception.error = e->exception.error_code;
	v->irq_injected = e->interrupt.injected;
	v->irq_vector = e->interrupt.nr;
	hvm->set(v, HVM_SHADOW, e->interrupt.shadow);
	v->nmi_injected = e->nmi.injected;
	v->nmi_pending = e->nmi.pending;
	v->nmi_masked = e->nmi.masked;
	v->sipi_vector = e->sipi_vector;
	return 0;
}

static s64 get_debugregs(struct vcpu *v, struct corbel_debugregs *d)
{
	memset(d, 0, sizeof(*d));
	memcpy(d->db, v->dr, sizeof(d->db));
	d->dr6 = hvm->get(v, HVM_DR6);
	d->dr7 = hvm->get(v, HVM_DR7);
	return sizeof(*d);
}

static s64 set_debugregs(struct vcpu *v, const struct corbel_debugregs *d)
{
	if (d->flags || d->dr6 >> 32 || d->dr7 >> 32)
		return -EINVAL;
	memcpy(v->dr, d->db, sizeof(d->db));
	hvm->set(v, HVM_DR6, d->dr6);
	hvm->set(v, HVM_DR7, d->dr7);
	return 0;
}

static s64 get_translation(struct vcpu *v)
{
	struct corbel_translation t = {0};
	struct guest_fault f;
	u64 linear, at = 0;

	memcpy(&linear, v->data, sizeof(linear));
	if (!vcpu_translate(v, linear, WALK_SYSTEM, &at, &f)) {
		t.gpa = at;
		t.valid = 1;
		t.writeable = 1;
	}
	memcpy(v->data, &t, sizeof(t));
	return sizeof(t);
}

s64 state_get(struct vcpu *v, u32 what, u32 n)
{
	switch (what) {
	case CORBEL_STATE_SREGS:
		return get_sregs(v, (struct corbel_sregs *)v->data);
	case CORBEL_STATE_XSAVE:
		memcpy(v->data, v->xsave, XSAVE_BYTES);
		return XSAVE_BYTES;
	case CORBEL_STATE_XCR0:
		*(u64 *)v->data = v->xcr0;
		return 8;
	case CORBEL_STATE_MSRS:
		return do_msrs(v, n, false);
	case CORBEL_STATE_CPUID:
		return cpuid_get(v, (struct corbel_cpuid *)v->data) * sizeof(struct corbel_cpuid);
	case CORBEL_STATE_LAPIC:
		if (!v->lapic.present)
			return -EINVAL;
		lapic_get_state(v, v->data);
		return 1024;
	case CORBEL_STATE_EVENTS:
		return get_events(v, (struct corbel_vcpu_events *)v->data);
	case CORBEL_STATE_DEBUGREGS:
		return get_debugregs(v, (struct corbel_debugregs *)v->data);
	case CORBEL_STATE_MP:
		*(u32 *)v->data = v->mp_state;
		return 4;
	case CORBEL_STATE_TSC_KHZ:
		*(u64 *)v->data = v->tsc_khz;
		return 8;
	case CORBEL_STATE_TRANSLATE:
		return get_translation(v);
	}
	return -EINVAL;
}

static s64 set_small(struct vcpu *v, u32 what, u32 n, u64 val)
{
	switch (what) {
	case CORBEL_STATE_XCR0:
		if (n != 8 || !(xcr0_host ? policy_xcr0_valid(val) : val == XCR0_RESET))
			return -EINVAL;
		v->xcr0 = val;
		return 0;
	case CORBEL_STATE_MP:
		if (n != 4 || (u32)val > MP_SIPI_RECEIVED)
			return -EINVAL;
		v->mp_state = (u32)val == MP_SIPI_RECEIVED ? MP_INIT_RECEIVED : (u32)val;
		if ((u32)val == MP_SIPI_RECEIVED)
			vcpu_note(v, DUE_SIPI);
		return 0;
	case CORBEL_STATE_TSC_KHZ:
		return n == 8 ? msr_set_tsc_khz(v, val) : -EINVAL;
	case CORBEL_STATE_MCE_CAP:
		return n == 8 ? mce_setup(v, val) : -EINVAL;
	case CORBEL_STATE_INTERRUPT:
		if (n != 4 || (u32)val > 255 || v->lapic.present)
			return -EINVAL;
		if (v->user_irq >= 0)
			return -EEXIST;
		v->user_irq = (u32)val;
		return 0;
	case CORBEL_STATE_RESET:
		vcpu_reset(v, false);
		return 0;
	}
	return -EINVAL;
}

/* A copy of the data page that dom0 cannot change under our hands; one a CPU. */
static u8 copies[MAX_CPUS][PAGE_SIZE] __aligned(64);

s64 state_set(struct vcpu *v, u32 what, u32 n)
{
	u8 *copy = copies[this_cpu()->index];
	u64 small;

	if (what == CORBEL_STATE_MSRS)
		return do_msrs(v, n, true);
	if (n > PAGE_SIZE)
		return -E2BIG;
	memcpy(copy, v->data, n);
	switch (what) {
	case CORBEL_STATE_SREGS:
		return n == sizeof(struct corbel_sregs) ? set_sregs(v, (struct corbel_sregs *)copy)
							: -EINVAL;
	case CORBEL_STATE_XSAVE:
		return n == XSAVE_BYTES ? set_xsave(v, copy) : -EINVAL;
	case CORBEL_STATE_CPUID:
		return n % sizeof(struct corbel_cpuid) ? -EINVAL
						       : cpuid_set(v, (struct corbel_cpuid *)copy,
								   n / sizeof(struct corbel_cpuid));
	case CORBEL_STATE_LAPIC:
		return n == 1024 && v->lapic.present ? lapic_set_state(v, copy) : -EINVAL;
	case CORBEL_STATE_EVENTS:
		return n == sizeof(struct corbel_vcpu_events)
			   ? set_events(v, (struct corbel_vcpu_events *)copy)
			   : -EINVAL;
	case CORBEL_STATE_MCE:
		if (n != sizeof(struct corbel_mce))
			return -EINVAL;
		return mce_set(v, (struct corbel_mce *)copy);
	case CORBEL_STATE_DEBUGREGS:
		return n == sizeof(struct corbel_debugregs)
			   ? set_debugregs(v, (struct corbel_debugregs *)copy)
			   : -EINVAL;
	}
	memset(copy + n, 0, n < 8 ? 8 - n : 0);
	memcpy(&small, copy, 8);
	return set_small(v, what, n, small);
}
