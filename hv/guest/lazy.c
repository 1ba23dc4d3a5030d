/* SPDX-License-Identifier: GPL-2.0-only */
/* State that is switched with the vCPU, not with the exit: FPU, XCR0, debug registers. */
#include "hv/guest/lazy.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/string.h"

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
		if (quirk_has(QUIRK_XSETBV))
			v->xcr0 = xgetbv(0);
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

void vcpu_load(struct vcpu *v)
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

/* XSAVE area in the state after reset: x87 and SSE defaults, all other components initial. */
void fpu_reset(struct vcpu *v)
{
	memset(v->xsave, 0, XSAVE_BYTES);
	*(u16 *)v->xsave = 0x37f;
	*(u32 *)(v->xsave + 24) = 0x1f80;
	*(u64 *)(v->xsave + 512) = XCR0_FXSAVE; /* XSTATE_BV */
	v->xcr0 = XCR0_RESET;
}
