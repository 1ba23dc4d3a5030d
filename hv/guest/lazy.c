/* SPDX-License-Identifier: GPL-2.0-only */
/* State that is switched with the vCPU, not with the exit: FPU, XCR0, debug registers. */
#include "hv/guest/lazy.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/debug.h"
#include "hv/guest/posting.h"
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

/* The registers to the vCPU's XSAVE area, with all components of the hypervisor's XCR0. */
static void take_fpu(struct vcpu *v)
{
	if (xcr0_host) {
		if (quirk_has(QUIRK_XSETBV))
			v->xcr0 = xgetbv(0);
		if (v->xcr0 != xcr0_host)
			xsetbv(0, xcr0_host);
	}
	fpu_save(v);
}

static void give_fpu(struct vcpu *v)
{
	fpu_restore(v);
	if (xcr0_host && v->xcr0 != xcr0_host)
		xsetbv(0, v->xcr0);
}

/*
 * Without an exception that waits these CPUs neither save nor load the addresses of the last x87
 * instruction and its operand, nor its opcode. APM "FXRSTOR": they are the last vCPU's.
 */
static void fpu_forget(void)
{
	__asm__ volatile("fninit");
}

#define EACH_ADDRESS_DR(X) X(0) X(1) X(2) X(3)

void drs_to_hw(const struct vcpu *v)
{
	const u64 *dr = debug_hw_dr(v);

#define X(n) WRITE_DR(n, dr[n]);
	EACH_ADDRESS_DR(X)
#undef X
}

/*
 * Who trains this CPU while the vCPU is here: a guest with IBRS is not to follow its own guest, nor
 * another vCPU's, also where that has left guest mode on another CPU.
 */
static u64 trainer_of(const struct vcpu *v)
{
	if (spec.nested && v->guest_mode && v->rights.spec_ctrl & SPEC_CTRL_IBRS)
		return BIT(63) | v->trainer;
	return v->trainer;
}

/* Back on a CPU it is another: spec_switch(). dom0's vCPUs stay 0. */
static void begin_training(struct vcpu *v, const struct cpu *c)
{
	static u64 last;

	if (v->vm->is_dom0 || (v->trainer && v->trainer % MAX_CPUS == c->index))
		return;
	v->trainer = __atomic_add_fetch(&last, MAX_CPUS, __ATOMIC_RELAXED) + c->index;
}

static __noinline void put_loaded(struct vcpu *v, struct cpu *c)
{
	pmu_save(v);
	hvm->put(v);
	if (!debug_holds_drs(v)) { /* else they have not changed, or are not the guest's */
#define X(n) v->dr[n] = READ_DR(n);
		EACH_ADDRESS_DR(X)
#undef X
	}
	if (unlikely(v->guest_mode))
		c->spec_trained = trainer_of(v);
	take_fpu(v);
	c->loaded = NULL;
	if (unlikely(READ_ONCE(v->posting.on)))
		posting_put(v);
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
	if (leaks_x87)
		fpu_forget();
	give_fpu(v);
	drs_to_hw(v);
	if (v->tsc_aux != c->tsc_aux && has_rdtscp) {
		c->tsc_aux = v->tsc_aux;
		wrmsr(MSR_TSC_AUX, v->tsc_aux);
	}
	if (unlikely((v->spec_ctrl | spec.host) != c->spec_ctrl))
		spec_set(v->spec_ctrl);
	if (unlikely(v->ssbd != c->ssbd))
		spec_set_ssbd(v->ssbd);
	if (unlikely(spec.ibpb || spec.l1d)) {
		begin_training(v, c);
		spec_switch(trainer_of(v), v->vm->owner);
	}
	hvm->load(v);
	c->loaded = v;
	c->switches++;
	if (v->pmu.gp)
		pmu_load(v);
	if (unlikely(READ_ONCE(v->posting.on)))
		posting_load(v);
}

/* SDM "Legacy Region of an XSAVE Area", and in the standard format AVX' part behind the header. */
struct fpu_area {
	u16 fcw, fsw;
	u8 tags, legacy1[19];
	u32 mxcsr, mxcsr_mask;
	u8 st[8][16]; /* from the top of the stack on */
	u8 xmm[16][16];
	u8 legacy2[96];
	u64 xstate_bv, header[7];
	u8 ymm_high[16][16];
};
_Static_assert(offsetof(struct fpu_area, xmm) == 160 && offsetof(struct fpu_area, ymm_high) == 576,
	       "an XSAVE area as the manual has it");
#define FSW_TOP	  GENMASK(13, 11)
#define FCW_RESET 0x37f

void fpu_reset(struct vcpu *v)
{
	struct fpu_area *a = (void *)v->xsave;

	memset(v->xsave, 0, XSAVE_BYTES);
	a->fcw = FCW_RESET;
	a->mxcsr = 0x1f80;
	a->xstate_bv = XCR0_FXSAVE;
	v->xcr0 = XCR0_RESET;
}

/* ---- single registers ---- */

u32 fpu_pkru(const struct vcpu *v)
{
	u32 pkru, unused;

	if (this_cpu()->loaded != v)
		return 0;
	__asm__ volatile("rdpkru" : "=a"(pkru), "=d"(unused) : "c"(0));
	return pkru;
}

/* What instructions of this kind raise at their start; 0: nothing. SDM "Exceptions" of AVX, SSE. */
static u8 vector_exception(struct vcpu *v, enum emul_vector file)
{
	u64 cr0 = hvm->get(v, HVM_CR0), cr4 = hvm->get(v, HVM_CR4);
	bool defined = !(cr0 & CR0_EM);

	if (file == EMUL_SSE)
		defined = defined && cr4 & CR4_OSFXSR;
	if (file == EMUL_AVX)
		defined = cr4 & CR4_OSXSAVE && !(~v->xcr0 & (XCR0_SSE | XCR0_AVX));
	if (!defined)
		return VEC_UD;
	return cr0 & CR0_TS ? VEC_NM : 0;
}

/* A component in its initial state may have anything in the area. */
static void make_present(struct fpu_area *a, u64 component, void *part, u32 bytes)
{
	if (xcr0_host && !(a->xstate_bv & component))
		memset(part, 0, bytes);
	a->xstate_bv |= component;
}

/*
 * MMX names registers as they are, the area from the top of the stack on. After any instruction of
 * MMX that is register 0, and all are in use.
 */
static void enter_mmx(struct fpu_area *a)
{
	u32 top = FIELD_GET(FSW_TOP, a->fsw);
	u8 old[8][16];

	if (xcr0_host && !(a->xstate_bv & XCR0_X87))
		a->fcw = FCW_RESET, a->fsw = 0, top = 0;
	make_present(a, XCR0_X87, a->st, sizeof(a->st));
	memcpy(old, a->st, sizeof(old));
	for (u32 n = 0; n < 8; n++)
		memcpy(a->st[n], old[(n - top) & 7], 16);
	a->fsw &= ~FSW_TOP;
	a->tags = 0xff;
}

/* What VEX-encoded loads leave of a register ends at bit 255: the rest of ZMM is 0. */
static void clear_zmm_high(struct fpu_area *a, u8 n)
{
	u32 at = cpuid_read(0xd, 6).b;

	if (!(xcr0_host & a->xstate_bv & XCR0_ZMM_HIGH))
		return;
	BUG_ON(at < sizeof(*a) || at + 16 * 32 > XSAVE_BYTES);
	memset((u8 *)a + at + n * 32, 0, 32);
}

/* Half a register: to it or from it. */
static void move_half(u8 *half, u8 *val, bool write)
{
	if (write)
		memcpy(half, val, 16);
	else
		memcpy(val, half, 16);
}

static void move_register(struct fpu_area *a, enum emul_vector file, u8 n, u8 *val, bool write)
{
	if (file == EMUL_MMX) {
		enter_mmx(a);
		if (write) {
			memcpy(a->st[n], val, 8);
			memset(a->st[n] + 8, 0xff, 2);
		} else {
			memcpy(val, a->st[n], 8);
		}
		return;
	}
	make_present(a, XCR0_SSE, a->xmm, sizeof(a->xmm));
	move_half(a->xmm[n], val, write);
	if (xcr0_host & XCR0_AVX) {
		make_present(a, XCR0_AVX, a->ymm_high, sizeof(a->ymm_high));
		move_half(a->ymm_high[n], val + 16, write);
	} else if (!write) {
		memset(val + 16, 0, 16);
	}
	if (write && file == EMUL_AVX)
		clear_zmm_high(a, n);
}

int fpu_vector(struct vcpu *v, enum emul_vector file, u8 n, u8 *val, bool write, u8 *exception)
{
	BUG_ON(this_cpu()->loaded != v || n > (file == EMUL_MMX ? 7 : 15));
	take_fpu(v);
	*exception = vector_exception(v, file);
	if (!*exception)
		move_register((void *)v->xsave, file, n, val, write);
	give_fpu(v);
	return *exception ? -EFAULT : 0;
}
