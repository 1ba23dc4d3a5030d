/* SPDX-License-Identifier: GPL-2.0-only */
/* State that is switched with the vCPU, not with the exit: FPU, XCR0, debug registers. */
#include "hv/guest/lazy.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* All components that the vCPU's XCR0, or the CPU without XSAVE, has. */
#define FPU_INSN(insn) __asm__ volatile(insn " (%0)" ::"r"(v->xsave), "a"(~0u), "d"(~0u) : "memory")

static void fpu_save(struct vcpu *v)
{
	if (xcr0_host)
		FPU_INSN("xsave64");
	else
		FPU_INSN("fxsave64");
}

static void fpu_restore(struct vcpu *v)
{
	if (xcr0_host)
		FPU_INSN("xrstor64");
	else
		FPU_INSN("fxrstor64");
}

#define EACH_ADDRESS_DR(X) X(0) X(1) X(2) X(3)

static __noinline void put_loaded(struct vcpu *v, struct cpu *c)
{
	hvm->put(v);
#define X(n) v->dr[n] = READ_DR(n);
	EACH_ADDRESS_DR(X)
#undef X
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
	BUG_ON(v->stopped);
	if (c->loaded)
		put_loaded(c->loaded, c);
	fpu_restore(v);
	if (xcr0_host && v->xcr0 != xcr0_host)
		xsetbv(0, v->xcr0);
#define X(n) WRITE_DR(n, v->dr[n]);
	EACH_ADDRESS_DR(X)
#undef X
	if (v->tsc_aux != c->tsc_aux && has_rdtscp) {
		c->tsc_aux = v->tsc_aux;
		wrmsr(MSR_TSC_AUX, v->tsc_aux);
	}
	hvm->load(v);
	c->loaded = v;
	c->switches++;
}

void fpu_reset(struct vcpu *v)
{
	memset(v->xsave, 0, XSAVE_BYTES);
	*(u16 *)v->xsave = 0x37f;
	*(u32 *)(v->xsave + 24) = 0x1f80;
	*(u64 *)(v->xsave + 512) = XCR0_FXSAVE; /* XSTATE_BV */
	v->xcr0 = XCR0_RESET;
}
