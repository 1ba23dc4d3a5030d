/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The FPU's state changes hands by the CPU's own instructions, which this test executes. lazy.c is
 * included, for its debug registers are the kernel's here.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "hv/lib/asm.h"
#undef READ_DR
#undef WRITE_DR
#define READ_DR(n)	 ((u64)(n))
#define WRITE_DR(n, val) ((void)(val))
#include "hv/guest/lazy.c"
#include "test.h"

u64 xcr0_host; /* no XSAVE: nothing here needs ring 0 */
bool has_rdtscp, leaks_x87;
u32 quirks;
static struct vm vm;
static struct vcpu first, second;
static u8 areas[2][XSAVE_BYTES] __aligned(64);
static u32 loads, puts;

struct spec_plan spec; /* nothing is done */

static u32 ssbd_writes;

void spec_set_ssbd(bool on)
{
	ssbd_writes++;
	this_cpu()->ssbd = on;
}

void spec_set(u64 ctrl)
{
}

static u64 trainer, whose;

void spec_switch(u64 by, u64 owner)
{
	trainer = by;
	whose = owner;
}

/* Where the upper halves of ZMM are. */
void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = leaf ? 0 : 0xd;
	*b = leaf == 0xd && subleaf == 6 ? 1152 : 0;
	*c = *d = 0;
}

static bool is_zero(const u8 *p, u32 n)
{
	for (; n && !*p; n--)
		p++;
	return !n;
}

static void fake_load(struct vcpu *v)
{
	loads++;
}

static void fake_put(struct vcpu *v)
{
	puts++;
}

static u32 told_here, told_gone; /* who posts: of `first` */

void posting_load(struct vcpu *v)
{
	told_here += v == &first && this_cpu()->loaded == v;
}

void posting_put(struct vcpu *v)
{
	told_gone += v == &first && this_cpu()->loaded != v;
}

/* Counters are saved while the vCPU is loaded in all respects, and loaded when it is. */
static u32 counters_saved, counters_loaded;

void pmu_save(struct vcpu *v)
{
	counters_saved += this_cpu()->loaded == v && puts + 1 == loads;
}

void pmu_load(struct vcpu *v)
{
	counters_loaded += this_cpu()->loaded == v && v->pmu.gp;
}

static const struct hvm_ops ops = {.load = fake_load, .put = fake_put};
const struct hvm_ops *hvm = &ops;

static void reset(void)
{
	*this_cpu() = (struct cpu){0};
	first = (struct vcpu){.vm = &vm, .xsave = areas[0]};
	second = (struct vcpu){.vm = &vm, .xsave = areas[1]};
	fpu_reset(&first);
	fpu_reset(&second);
	loads = puts = 0;
}

static void test_switch(void)
{
	static const u16 other_fcw = 0x27f;
	u16 fcw;

	reset();
	vcpu_load(&first);
	__asm__ volatile("fldcw %0; fld1" ::"m"(other_fcw));
	vcpu_load(&second);
	__asm__ volatile("fnstcw %0" : "=m"(fcw));
	CHECK(fcw == FCW_RESET && loads == 2 && puts == 1, "a vCPU finds its own FPU state");
	vcpu_load(&second);
	CHECK(loads == 2, "which is not loaded twice");
	vcpu_load(&first);
	__asm__ volatile("fnstcw %0; fninit" : "=m"(fcw));
	CHECK(fcw == other_fcw, "and again when it comes back");
	CHECK(!told_here && !told_gone, "nobody is told where nobody posts to it");
	first.posting.on = true;
	vcpu_put(&first);
	CHECK(told_gone == 1 && !told_here, "who posts to it is told when it has gone");
	vcpu_put(&first);
	vcpu_load(&first);
	vcpu_load(&first);
	CHECK(told_gone == 1 && told_here == 1, "and when it has come, once each");
	vcpu_load(&second);
	CHECK(told_gone == 2, "also when another takes its place");
	first.posting.on = false;
	counters_saved = 0;
	first.pmu.gp = 1;
	vcpu_load(&first);
	CHECK(counters_saved == 1 && counters_loaded == 1,
	      "counters of the one are saved before those of the next are loaded");
	vcpu_put(&first);
	CHECK(counters_saved == 2, "or nobody's are");
}

/* ---- what is in the FPU the moment before a vCPU's state is loaded, which ends in a fault ---- */

static sigjmp_buf back;
static struct {
	u16 fcw, opcode;
	u64 rip, rdp;
} seen;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	const struct _libc_fpstate *s = ((ucontext_t *)context)->uc_mcontext.fpregs;

	seen.fcw = s->cwd, seen.opcode = s->fop, seen.rip = s->rip, seen.rdp = s->rdp;
	siglongjmp(back, 1);
}

static void load_without_area(void)
{
	static const u16 other_fcw = 0x27f;
	static double val = 3;

	reset();
	first.xsave = (u8 *)64;
	if (!sigsetjmp(back, 1)) {
		__asm__ volatile("fninit; fldcw %0; fldl %1" ::"m"(other_fcw), "m"(val));
		vcpu_load(&first);
	}
}

static void test_pointers(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &sa, NULL);
	leaks_x87 = false;
	load_without_area();
	CHECK(seen.fcw == 0x27f, "a CPU that loads x87's pointers needs nothing before");
	leaks_x87 = true;
	load_without_area();
	CHECK(seen.fcw == FCW_RESET && !seen.rip && !seen.rdp && !seen.opcode,
	      "on one that may not, the last vCPU's are cleared first");
	signal(SIGSEGV, SIG_DFL);
	leaks_x87 = false;
}

/* The area of a CPU with AVX-512; only what lies in memory is looked at. */
static void test_zmm(void)
{
	static const u8 old[32] = {[0 ... 31] = 0xaa};
	struct fpu_area *a = (void *)areas[0];
	u8 val[32] = {1}, *high = areas[0] + 1152;

	reset();
	xcr0_host = XCR0_X87 | XCR0_SSE | XCR0_AVX | 7 << 5;
	a->xstate_bv = xcr0_host;
	memset(high, 0xaa, 16 * 32);
	move_register(a, EMUL_AVX, 3, val, false);
	move_register(a, EMUL_SSE, 3, val, true);
	CHECK(!memcmp(high + 3 * 32, old, 32), "a read, and a load by SSE, leave ZMM's upper half");
	move_register(a, EMUL_AVX, 3, val, true);
	CHECK(is_zero(high + 3 * 32, 32), "a load by AVX clears it");
	CHECK(!memcmp(high + 2 * 32, old, 32) && !memcmp(high + 4 * 32, old, 32),
	      "not that of the registers beside");
	memset(high, 0xaa, 16 * 32);
	a->xstate_bv &= ~XCR0_ZMM_HIGH;
	move_register(a, EMUL_AVX, 3, val, true);
	CHECK(!memcmp(high + 3 * 32, old, 32) && !(a->xstate_bv & XCR0_ZMM_HIGH),
	      "nor is an initial one looked at");
	xcr0_host = 0;
}

/* A vCPU brings its own along, and the next one its own. */
static void test_ssbd(void)
{
	reset();
	first.ssbd = true;
	vcpu_load(&first);
	CHECK(this_cpu()->ssbd && ssbd_writes == 1, "SSBD comes with the vCPU that wants it");
	vcpu_load(&second);
	CHECK(!this_cpu()->ssbd && ssbd_writes == 2, "and goes with it");
	first.ssbd = false;
	vcpu_load(&first);
	CHECK(ssbd_writes == 2, "where nobody wants it nothing is written");
	vcpu_put(&first);
}

static u64 load_trainer(struct vcpu *v)
{
	vcpu_load(v);
	CHECK(whose == vm.owner, "what may be cached is the VM's");
	return trainer;
}

static void test_training(void)
{
	u64 one, other, back;

	reset();
	spec.ibpb = true;
	vm.owner = 7;
	one = load_trainer(&first);
	other = load_trainer(&second);
	CHECK(one && other && one != other, "each vCPU trains a CPU for itself");
	CHECK(load_trainer(&first) == one, "which goes on while it stays there");
	load_trainer(&second);
	vcpu_put(&second);
	this_cpu()->index = 1;
	load_trainer(&first);
	vcpu_put(&first);
	this_cpu()->index = 0;
	back = load_trainer(&first);
	CHECK(back && back != one && back != other, "not when it has been on another meanwhile");
	vm.is_dom0 = true;
	reset();
	CHECK(!load_trainer(&first), "dom0 trains nothing");
	vm.is_dom0 = false;
	spec = (struct spec_plan){0};
}

static void test_nested_training(void)
{
	u64 own, nested;

	reset();
	spec.ibpb = spec.nested = true;
	first.rights.spec_ctrl = SPEC_CTRL_IBRS;
	own = load_trainer(&first);
	first.guest_mode = true;
	vcpu_put(&first);
	nested = this_cpu()->spec_trained;
	CHECK(nested == (BIT(63) | own), "who leaves as a nested guest is another,");
	CHECK(load_trainer(&second) != nested, "whom the next of its VM does not follow");
	CHECK(load_trainer(&first) == nested, "nor does it follow that");
	first.rights.spec_ctrl = 0;
	vcpu_put(&first);
	CHECK(this_cpu()->spec_trained == own, "where its host has IBRS");
	spec = (struct spec_plan){0};
}

int main(void)
{
	test_training();
	test_nested_training();
	test_switch();
	test_ssbd();
	test_zmm();
	test_pointers();
	return test_end();
}
