/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is done against speculation, chosen by what CPUs tell with their latest microcode: CPUID,
 * and ARCH_CAPABILITIES as Intel's list of affected processors has it.
 * links: -no-pie
 */
#include <string.h>

#include "boot/boot.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/asm.h"

static int fake_rdmsr(u32 msr, u64 *val);
static int fake_wrmsr(u32 msr, u64 val);
static void must_write(u32 msr, u64 val);
static u64 must_read(u32 msr);
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#define rdmsr	   must_read
#define wrmsr	   must_write
#include "hv/cpu/spec.c"

#include "test.h"

struct boot_info boot_info;
static struct cpu here;
static struct cpu other_thread; /* of its core, if near is set */
struct cpu *cpus[MAX_CPUS] = {&here, &other_thread};
u32 cpu_count = 2;
static bool near;

enum cpu_distance topology_distance(const struct cpu_place *a, const struct cpu_place *b)
{
	return a == b || near ? NEAR_CORE : NEAR_CACHE;
}

struct cpu *this_cpu(void)
{
	return &here;
}

/* ---- the CPU this runs on ---- */

static struct spec_facts hw;
static u64 ssbd;   /* VIRT_SPEC_CTRL or LS_CFG, whichever it has */
static u32 faults; /* accesses to what it does not have, where no #GP is expected */

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
	if (!(leaf & 0x7fffffff))
		*a = leaf | 0x21;
	if (!leaf)
		*b = hw.amd ? CPUID_0B_AUTH : CPUID_0B_GENU;
	if (leaf == 1) {
		*a = hw.family > 0xf ? 0xf00 | (hw.family - 0xf) << 20 : hw.family << 8;
		*a |= (hw.model & 15) << 4 | hw.model >> 4 << 16;
		*c = hw.nested ? CPUID_1C_HYPERVISOR : 0;
	}
	if (leaf == 7 && !subleaf) {
		*a = 2;
		*b = hw.l7b;
		*d = hw.l7d;
	}
	if (leaf == 7 && subleaf == 2)
		*d = hw.l72d;
	if (leaf == 0x80000008)
		*b = hw.x8b;
	if (leaf == 0x80000021) {
		*a = hw.x21a;
		*c = hw.x21c;
	}
}

static bool has_no_ls_cfg;
static u64 amd_cfg[0x100]; /* MSRs 0xc0011000 and behind */
static u64 int_pending;
static u32 commands[2]; /* to PRED_CMD and FLUSH_CMD */

static u64 *kept_msr(u32 msr)
{
	if (msr == MSR_LS_CFG || msr == MSR_VIRT_SPEC_CTRL)
		return &ssbd;
	if (msr == MSR_INT_PENDING)
		return &int_pending;
	return msr - 0xc0011000 < ARRAY_SIZE(amd_cfg) ? &amd_cfg[msr - 0xc0011000] : NULL;
}

static bool has_msr(u32 msr)
{
	if (msr == MSR_SPEC_CTRL)
		return spec_ctrl_bits(hw.l7d, hw.x8b);
	if (msr == MSR_PRED_CMD)
		return hw.l7d & CPUID_7D_SPEC_CTRL || hw.x8b & CPUID_X8B_IBPB;
	if (msr == MSR_FLUSH_CMD)
		return hw.l7d & CPUID_7D_L1D_FLUSH;
	if (msr == MSR_ARCH_CAPABILITIES)
		return hw.l7d & CPUID_7D_ARCH_CAP;
	if (msr == MSR_VIRT_SPEC_CTRL)
		return hw.x8b & CPUID_X8B_VIRT_SSBD;
	if (msr == MSR_LS_CFG)
		return hw.amd && !hw.nested && !has_no_ls_cfg;
	return msr == MSR_EFER || hw.amd;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	const u64 *kept = kept_msr(msr);

	*val = msr == MSR_ARCH_CAPABILITIES ? hw.arch : 0;
	if (kept)
		*val = *kept;
	return has_msr(msr) ? 0 : -EIO;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	if (msr == MSR_SPEC_CTRL && val & SPEC_CTRL_BHI_DIS_S && !(hw.l72d & CPUID_72D_BHI_CTRL))
		return -EIO;
	commands[0] += msr == MSR_PRED_CMD && val == PRED_CMD_IBPB;
	commands[1] += msr == MSR_FLUSH_CMD && val == FLUSH_CMD_L1D;
	if (has_msr(msr) && kept_msr(msr))
		*kept_msr(msr) = val;
	if (msr == MSR_EFER && val & EFER_AIBRSE && !(hw.x21a & X21A_AUTO_IBRS))
		return -EIO;
	return has_msr(msr) ? 0 : -EIO;
}

static void must_write(u32 msr, u64 val)
{
	faults += !!fake_wrmsr(msr, val);
}

static u64 must_read(u32 msr)
{
	u64 val;

	faults += !!fake_rdmsr(msr, &val);
	return val;
}

#define INTEL_OLD                                                                                  \
	(CPUID_7D_MD_CLEAR | CPUID_7D_SPEC_CTRL | CPUID_7D_STIBP | CPUID_7D_L1D_FLUSH |            \
	 CPUID_7D_SSBD)
#define INTEL_NEW (INTEL_OLD | CPUID_7D_ARCH_CAP)
#define RTM	  BIT(11)
#define AMD_OLD	  (CPUID_X8B_IBPB | CPUID_X8B_STIBP)
#define AMD_NEW	  (AMD_OLD | CPUID_X8B_IBRS | CPUID_X8B_SSBD | CPUID_X8B_PSFD)
#define IBRS	  SPEC_CTRL_IBRS
#define BHI	  SPEC_CTRL_BHI_DIS_S

static const struct {
	const char *name;
	struct spec_facts f;
	u64 host;
	u8 each;
	bool ibpb, l1d, auto_ibrs, bp_reduce;
} models[] = {
    {"Sandy Bridge",
     {.family = 6, .l7d = INTEL_OLD},
     0,
     SPEC_VERW | SPEC_IBRS | SPEC_RSB,
     true,
     true},
    {"Haswell",
     {.family = 6, .l7b = RTM, .l7d = INTEL_OLD},
     0,
     SPEC_VERW | SPEC_IBRS | SPEC_RSB,
     true,
     true},
    {"Skylake server",
     {.family = 6, .l7b = RTM, .l7d = INTEL_NEW, .arch = BIT(2)},
     0,
     SPEC_VERW | SPEC_IBRS | SPEC_RSB,
     true,
     true},
    {"Cascade Lake",
     {.family = 6, .l7b = RTM, .l7d = INTEL_NEW, .arch = 0x200ab},
     IBRS,
     SPEC_VERW | SPEC_RSB | SPEC_BHB,
     true},
    {"Ice Lake",
     {.family = 6, .l7d = INTEL_NEW, .arch = 0x20deb},
     IBRS,
     SPEC_VERW | SPEC_RSB | SPEC_BHB,
     true},
    {"Alder Lake",
     {.family = 6, .l7d = INTEL_NEW, .l72d = 0x1f, .arch = 0x1008e16b},
     IBRS | BHI,
     SPEC_VERW | SPEC_RSB,
     true},
    {"Sapphire Rapids",
     {.family = 6, .l7b = RTM, .l7d = INTEL_NEW, .l72d = 0x1f, .arch = 0xc08e1eb},
     IBRS | BHI,
     SPEC_RSB,
     true},
    {"Zen 1",
     {.amd = true, .family = 0x17, .model = 1, .x8b = AMD_OLD},
     0,
     SPEC_IBPB | SPEC_RSB | SPEC_DIV},
    {"Zen 1, Dali",
     {.amd = true, .family = 0x17, .model = 0x20, .x8b = AMD_OLD},
     0,
     SPEC_IBPB | SPEC_RSB | SPEC_DIV},
    {"Zen 2",
     {.amd = true, .family = 0x17, .model = 0x31, .x8b = AMD_NEW},
     0,
     SPEC_IBPB | SPEC_RSB},
    {"Zen 3",
     {.amd = true, .family = 0x19, .x8b = AMD_NEW | CPUID_X8B_BTC_NO, .x21a = BIT(5) | BIT(28)},
     0,
     SPEC_VERW | SPEC_IBPB | SPEC_RSB},
    {"Zen 4",
     {.amd = true,
      .family = 0x19,
      .x8b = AMD_NEW | CPUID_X8B_BTC_NO,
      .x21a = BIT(5) | BIT(8) | BIT(28),
      .x21c = BIT(1)},
     0,
     SPEC_VERW | SPEC_IBPB | SPEC_RSB,
     .auto_ibrs = true},
    {"Zen 5",
     {.amd = true,
      .family = 0x1a,
      .x8b = AMD_NEW | CPUID_X8B_BTC_NO,
      .x21a = BIT(8) | BIT(28) | BIT(30) | BIT(31),
      .x21c = BIT(2) | BIT(1)},
     0,
     SPEC_RSB,
     true,
     .auto_ibrs = true,
     .bp_reduce = true},
    {"a CPU that will have none of it",
     {.family = 6, .l7d = INTEL_NEW, .l72d = 0x1f, .arch = 0x0d11e16b},
     IBRS,
     0,
     true},
    {"Intel without microcode", {.family = 6}},
    {"AMD without microcode", {.amd = true, .family = 0x17, .model = 0x31}},
};

/* A guest's guest is of the same mode as the guest itself. */
static void test_same_mode(void)
{
	struct spec_facts f = {.family = 6, .l7d = INTEL_NEW, .arch = 0x20deb};
	struct spec_plan p;

	spec_choose(&f, SPEC_MODE_AUTO, &p);
	CHECK(p.ibpb && p.nested, "a guest that has IBRS is kept apart from its own guest");
	spec_choose(&f, SPEC_MODE_OFF, &p);
	CHECK(!p.nested, "not where nothing is to be done");
	f.x8b = BIT(19);
	spec_choose(&f, SPEC_MODE_AUTO, &p);
	CHECK(p.ibpb && !p.nested, "nor where the CPU's IBRS does it");
}

static void test_models(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
		struct spec_plan p;

		spec_choose(&models[i].f, SPEC_MODE_AUTO, &p);
		CHECK(p.host == models[i].host, "%s: always in SPEC_CTRL: %lx", models[i].name,
		      models[i].host);
		CHECK(p.each == models[i].each, "%s: at each entry and exit: %x (it is %x)",
		      models[i].name, models[i].each, p.each);
		CHECK(p.nested == p.ibpb, "%s: between a guest and its own", models[i].name);
		CHECK(p.ibpb == models[i].ibpb && p.l1d == models[i].l1d, "%s: between VMs",
		      models[i].name);
		CHECK(p.auto_ibrs == models[i].auto_ibrs && p.bp_reduce == models[i].bp_reduce,
		      "%s: AMD's own", models[i].name);
	}
}

/* Nothing is ever done that the CPU does not have: it would fault. */
static void test_what_is_there(void)
{
	bool host = true, pred = true, flush = true, same = true, off = true, full = true;

	for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
		const struct spec_facts *f = &models[i].f;

		for (enum spec_mode m = SPEC_MODE_AUTO; m <= SPEC_MODE_FULL; m++) {
			struct spec_plan p, other;

			spec_choose(f, m, &p);
			spec_choose(f, SPEC_MODE_AUTO, &other);
			host = host && (!p.host || p.guest & IBRS) &&
			       (!(p.each & SPEC_IBRS) || f->l7d & CPUID_7D_SPEC_CTRL) &&
			       (!(p.host & BHI) || f->l72d & BIT(4));
			pred = pred && (p.pred || !(p.ibpb || p.each & SPEC_IBPB)) &&
			       (f->l7d & CPUID_7D_SPEC_CTRL || f->x8b & CPUID_X8B_IBPB || !p.pred);
			flush = flush && (!p.l1d || f->l7d & CPUID_7D_L1D_FLUSH);
			same = same && p.guest == other.guest && p.arch == other.arch &&
			       p.pred == other.pred && p.flush == other.flush;
			if (m == SPEC_MODE_OFF)
				off = off && !p.each && !p.host && !p.ibpb && !p.l1d &&
				      !p.auto_ibrs && !p.bp_reduce;
			if (m == SPEC_MODE_FULL)
				full = full && !(other.each & ~p.each) && p.each & SPEC_VERW &&
				       p.each & SPEC_RSB && p.each & SPEC_BHB;
		}
	}
	CHECK(host, "bits of SPEC_CTRL are used only where the CPU has them");
	CHECK(pred, "PRED_CMD is written only where it is");
	CHECK(flush, "FLUSH_CMD is written only where it is");
	CHECK(same, "guests have the same, whatever spec= says");
	CHECK(off, "spec=off: nothing is done");
	CHECK(full, "spec=full: no less than by itself, and what any CPU can do");
}

static void test_shown(void)
{
	struct spec_facts f = {.l7d = INTEL_NEW, .arch = ~0ull};
	struct spec_plan p;

	spec_choose(&f, SPEC_MODE_AUTO, &p);
	CHECK(!(p.arch & (BIT(7) | BIT(9) | BIT(10) | BIT(11) | BIT(12) | BIT(18) | BIT(21) |
			  BIT(23) | BIT(25) | BIT(63))),
	      "no bit of ARCH_CAPABILITIES is shown that promises another MSR");
	CHECK(p.guest == (IBRS | SPEC_CTRL_STIBP | SPEC_CTRL_SSBD),
	      "guests may set what CPUID names, not what is ours");
}

/* Machine checks that a guest's kernel causes by executing from pages of two sizes */
static void test_nx_large(void)
{
	static const struct {
		const char *name;
		struct spec_facts f;
		bool want;
	} cases[] = {
	    {"Sandy Bridge", {.family = 6, .model = 0x2a}, true},
	    {"Haswell", {.family = 6, .model = 0x3c}, true},
	    {"Skylake server", {.family = 6, .model = 0x55, .arch = BIT(2)}, true},
	    {"Cascade Lake", {.family = 6, .model = 0x55, .arch = 0x200ab}, true},
	    {"Ice Lake", {.family = 6, .model = 0x6a, .arch = 0x20deb}, false},
	    {"Alder Lake", {.family = 6, .model = 0x97, .arch = 0x1008e16b}, false},
	    {"Sapphire Rapids", {.family = 6, .model = 0x8f, .arch = 0xc08e1eb}, false},
	    {"Silvermont", {.family = 6, .model = 0x37}, false},
	    {"Goldmont Plus", {.family = 6, .model = 0x7a, .arch = 0x9}, false},
	    {"Xeon Phi", {.family = 6, .model = 0x57}, false},
	    {"Zen 1", {.amd = true, .family = 0x17, .model = 1}, false},
	    {"Zen 5", {.amd = true, .family = 0x1a, .model = 2}, false},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct spec_plan p, off, full;

		spec_choose(&cases[i].f, SPEC_MODE_AUTO, &p);
		spec_choose(&cases[i].f, SPEC_MODE_OFF, &off);
		spec_choose(&cases[i].f, SPEC_MODE_FULL, &full);
		CHECK(p.nx_large == cases[i].want && !off.nx_large && full.nx_large,
		      "%s: large pages %s", cases[i].name,
		      cases[i].want ? "are not executed" : "are as others");
	}
}

/*
 * Bits that AMD's revision guides and bulletins want set in MSRs 0xc0011020 (LS), ..28 (FP), ..29
 * (DE), ..2e (BP) and ..e3 (DE2), and cleared in INT_PENDING, where all are set before. Nothing
 * else is touched there.
 */
static const struct {
	const char *name;
	struct spec_facts f;
	u64 ls, fp, de, bp, de2, c1e;
} fix_cases[] = {
    {"Phenom", {.amd = true, .family = 0x10, .model = 4}, 0, 0, 3, 0, 0, BIT(28) | BIT(27)},
    {"family 11h, whose LFENCE waits", {.amd = true, .family = 0x11}},
    {"Llano", {.amd = true, .family = 0x12, .model = 1}, 0, 0, BIT(31) | 3},
    {"Piledriver", {.amd = true, .family = 0x15, .model = 2}, 0, 0, BIT(1)},
    {"Jaguar", {.amd = true, .family = 0x16}, BIT(15), 0, BIT(1)},
    {"a later one", {.amd = true, .family = 0x16, .model = 0x30}, 0, 0, BIT(1)},
    {"Jaguar under KVM", {.amd = true, .nested = true, .family = 0x16}},
    {"Zen 1", {.amd = true, .family = 0x17, .model = 1}, 0, BIT(9), BIT(1)},
    {"Zen+", {.amd = true, .family = 0x17, .model = 8}, 0, BIT(9), BIT(1)},
    {"Dali", {.amd = true, .family = 0x17, .model = 0x20}, 0, BIT(9), BIT(1)},
    {"Zen 2, server", {.amd = true, .family = 0x17, .model = 0x31}, 0, 0, 0x202, BIT(33), 2},
    {"Zen 2, notebook", {.amd = true, .family = 0x17, .model = 0x60}, 0, 0, 0x202, BIT(33), 2},
    {"Zen 2, Mendocino", {.amd = true, .family = 0x17, .model = 0xa0}, 0, 0, 0x202, BIT(33), 2},
    {"Zen 2 under KVM", {.amd = true, .nested = true, .family = 0x17, .model = 0x31}},
    {"Zen 3", {.amd = true, .family = 0x19, .model = 1, .x21a = BIT(2)}},
    {"Zen 4", {.amd = true, .family = 0x19, .model = 0x11, .x21a = BIT(8) | BIT(2)}, .bp = BIT(5)},
    {"Zen 4 under KVM",
     {.amd = true, .nested = true, .family = 0x19, .model = 0x11, .x21a = BIT(8) | BIT(2)}},
    {"Zen 5", {.amd = true, .family = 0x1a, .model = 2, .x21a = BIT(8) | BIT(2)}},
    {"Intel", {.family = 0x17, .model = 0x31}},
};

static void test_fixes(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(fix_cases); i++) {
		const char *name = fix_cases[i].name;
		struct spec_plan p, off;

		hw = fix_cases[i].f;
		here = (struct cpu){0};
		memset(amd_cfg, 0, sizeof(amd_cfg));
		ssbd = 0;
		int_pending = ~0ull;
		spec_choose(&hw, SPEC_MODE_AUTO, &p);
		spec_choose(&hw, SPEC_MODE_OFF, &off);
		spec_init();
		CHECK(!spec_init_cpu() && p.fixes == off.fixes, "%s: whatever spec= says", name);
		CHECK(amd_cfg[0x29] == fix_cases[i].de && amd_cfg[0xe3] == fix_cases[i].de2,
		      "%s: DE_CFG is %lx, its second %lx", name, amd_cfg[0x29], amd_cfg[0xe3]);
		CHECK(amd_cfg[0x28] == fix_cases[i].fp && amd_cfg[0x2e] == fix_cases[i].bp,
		      "%s: FP_CFG is %lx, BP_CFG %lx", name, amd_cfg[0x28], amd_cfg[0x2e]);
		CHECK((ssbd & BIT(15)) == fix_cases[i].ls && int_pending == ~fix_cases[i].c1e,
		      "%s: LS_CFG is %lx, C1E is cleared of %lx", name, ssbd, ~int_pending);
	}
}

/* How guests have store bypass switched off where SPEC_CTRL has no bit for it */
static const struct {
	const char *name;
	struct spec_facts f;
	u32 msr;
	u64 bit;
} ssbd_cases[] = {
    {"Phenom", {.amd = true, .family = 0x10}, 0, 0},
    {"Piledriver", {.amd = true, .family = 0x15, .x8b = CPUID_X8B_IBPB}, MSR_LS_CFG, BIT(54)},
    {"Jaguar", {.amd = true, .family = 0x16}, MSR_LS_CFG, BIT(33)},
    {"Zen 1", {.amd = true, .family = 0x17, .x8b = AMD_OLD}, MSR_LS_CFG, BIT(10)},
    {"Zen 1 under KVM",
     {.amd = true, .nested = true, .family = 0x17, .x8b = AMD_OLD | CPUID_X8B_VIRT_SSBD},
     MSR_VIRT_SPEC_CTRL,
     BIT(2)},
    {"Zen 1 under another", {.amd = true, .nested = true, .family = 0x17, .x8b = AMD_OLD}, 0, 0},
    {"Zen 2", {.amd = true, .family = 0x17, .x8b = AMD_NEW}, 0, 0},
    {"Zen 2 that shows both", {.amd = true, .family = 0x17, .x8b = AMD_NEW | BIT(25)}, 0, 0},
    {"Zen 3", {.amd = true, .family = 0x19, .x8b = AMD_NEW}, 0, 0},
    {"one that is not affected",
     {.amd = true, .family = 0x17, .x8b = AMD_OLD | CPUID_X8B_SSB_NO},
     0,
     0},
    {"Skylake server", {.family = 6, .l7d = INTEL_NEW}, 0, 0},
};

static __noinline bool is_ssbd_refused(void)
{
	return PANICS(spec_set_ssbd(true));
}

static void test_ssbd(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(ssbd_cases); i++) {
		const u64 bit = ssbd_cases[i].bit;
		struct spec_plan p, off;

		spec_choose(&ssbd_cases[i].f, SPEC_MODE_AUTO, &p);
		spec_choose(&ssbd_cases[i].f, SPEC_MODE_OFF, &off);
		CHECK(p.ssbd_msr == ssbd_cases[i].msr && p.ssbd_bit == bit &&
			  off.ssbd_msr == p.ssbd_msr && off.ssbd_bit == bit,
		      "%s: VIRT_SPEC_CTRL by bit %lx of MSR %x", ssbd_cases[i].name, bit,
		      ssbd_cases[i].msr);
		hw = ssbd_cases[i].f;
		here = other_thread = (struct cpu){0};
		faults = 0;
		ssbd = ~0ull; /* as the firmware has left it */
		spec_init();
		CHECK(!spec_init_cpu() && ssbd == ~bit && !faults, "%s: it is off at first",
		      ssbd_cases[i].name);
		if (!p.ssbd_msr) {
			CHECK(is_ssbd_refused(), "and is never written");
			continue;
		}
		spec_set_ssbd(true);
		CHECK(ssbd == ~0ull && here.ssbd, "%s: it is switched on", ssbd_cases[i].name);
		spec_set_ssbd(false);
		CHECK(ssbd == ~bit && !here.ssbd, "%s: and off", ssbd_cases[i].name);
	}
	hw = (struct spec_facts){.amd = true, .family = 0x17};
	has_no_ls_cfg = true;
	spec_init();
	CHECK(!spec.ssbd_msr && !spec_init_cpu() && !faults, "without LS_CFG guests have it not");
	has_no_ls_cfg = false;
}

static void test_ssbd_threads(void)
{
	hw = (struct spec_facts){.amd = true, .family = 0x17};
	here = (struct cpu){0};
	spec_init();
	other_thread.ssbd = true;
	ssbd = BIT(10);
	spec_set_ssbd(false);
	CHECK(!ssbd, "another core's wish is its own");
	near = true;
	ssbd = BIT(10);
	spec_set_ssbd(true);
	spec_set_ssbd(false);
	CHECK(ssbd == BIT(10) && !here.ssbd, "two threads of a core: it stays while one wants it");
	other_thread.ssbd = false;
	spec_set_ssbd(true);
	spec_set_ssbd(false);
	CHECK(!ssbd, "and goes with the last one");
	near = false;
	spec = (struct spec_plan){0};
}

static void test_switch(void)
{
	here = (struct cpu){0};
	spec = (struct spec_plan){0};
	spec_switch(1, 1);
	spec_set(0);
	spec_switch(0, 0);
	spec_switch(2, 2);
	spec_leave_nested(2);
	CHECK(!faults, "a CPU that has none of the MSRs: none is written");
	here.spec_ctrl = 5;
	spec_set(5);
	CHECK(PANICS(spec_set(4)), "SPEC_CTRL is not written where it is not");
}

static bool forgets(u64 trainer, u64 owner, u32 branches, u32 data)
{
	commands[0] = commands[1] = 0;
	spec_switch(trainer, owner);
	return commands[0] == branches && commands[1] == data;
}

/* Two vCPUs of VM 1, one of VM 2, and dom0, on a CPU that forgets branches, and data */
static void test_forgetting(void)
{
	here = (struct cpu){0};
	hw = (struct spec_facts){.family = 6, .l7d = INTEL_NEW};
	spec = (struct spec_plan){.ibpb = true, .l1d = true};
	CHECK(forgets(5, 1, 0, 1), "the first guest follows no other's branches");
	CHECK(forgets(5, 1, 0, 0), "nor itself");
	CHECK(forgets(6, 1, 1, 0), "but another of its VM does, whose data it may see");
	CHECK(forgets(0, 0, 1, 0), "as does dom0,");
	CHECK(forgets(6, 1, 0, 1), "whose data, not branches, may be there");
	CHECK(forgets(7, 2, 1, 1), "and another VM's vCPU");
	CHECK(forgets(8, 2, 1, 0), "one that comes back is another: its programs have changed");
	CHECK(!faults, "by what the CPU has");
	spec = (struct spec_plan){0};
}

/* ---- another CPU, which has refused its microcode ---- */

static bool comes_beside(const struct spec_facts *boot, const struct spec_facts *other)
{
	int ret;

	faults = 0;
	*test_log_text = 0;
	here = (struct cpu){0};
	boot_facts = (struct spec_facts){0};
	hw = *boot;
	spec_init();
	ret = spec_init_cpu();
	CHECK_QUIET(!ret && !faults, "the boot CPU has what it has");
	hw = *other;
	here = (struct cpu){.index = 1, .apic_id = 5};
	*test_log_text = 0;
	ret = spec_init_cpu();
	if (!ret)
		spec_set(0);
	return !ret;
}

static void try_without(const struct spec_facts *f, u32 *bits, u32 mask, const char *name)
{
	const struct spec_facts whole = *f;

	for (u32 i = 0; i < 32; i++) {
		struct spec_facts other;
		bool comes;

		*bits &= ~(mask & BIT(i));
		other = *f;
		if (!memcmp(&other, &whole, sizeof(other)))
			continue;
		comes = comes_beside(&whole, &other);
		CHECK(!comes && !faults && !here.spec_ctrl &&
			  strstr(test_log_text, "APIC id 5 has not what the boot CPU has"),
		      "%s: a CPU without bit %u is left out (%s)", name, i, test_log_text);
		*bits = *bits | (mask & BIT(i));
		comes = comes_beside(&other, &whole);
		CHECK(comes && !faults && !*test_log_text,
		      "one that has more than the boot CPU comes");
	}
}

static void test_refused_microcode(void)
{
	struct spec_facts intel = {.family = 6,
				   .l7d = INTEL_NEW,
				   .l72d = CPUID_72D_BHI_CTRL,
				   .arch = ARCH_RDCL_NO | ARCH_IBRS_ALL};
	struct spec_facts amd_cpu = {.amd = true,
				     .family = 0x1a,
				     .x8b = AMD_NEW,
				     .x21a = X21A_VERW_CLEAR | X21A_AUTO_IBRS | X21A_BP_REDUCE};
	const struct spec_facts old = {.family = 6};

	boot_info.opt.spec = SPEC_MODE_AUTO;
	CHECK(comes_beside(&intel, &intel) && !faults && here.spec_ctrl == (IBRS | BHI),
	      "Intel: a CPU like the boot CPU has its bits of SPEC_CTRL set");
	CHECK(comes_beside(&amd_cpu, &amd_cpu) && !faults, "AMD: it comes");
	CHECK(!comes_beside(&intel, &old), "a CPU without any of it is left out");
	CHECK(comes_beside(&old, &intel) && !faults, "and one that alone has it comes");
	try_without(&intel, &intel.l7d, ~0u, "leaf 7");
	try_without(&intel, &intel.l72d, ~0u, "leaf 7.2");
	try_without(&amd_cpu, &amd_cpu.x8b, ~0u, "leaf 80000008");
	try_without(&amd_cpu, &amd_cpu.x21a, ~0u, "leaf 80000021");
	boot_info.opt.spec = SPEC_MODE_OFF;
	CHECK(!comes_beside(&intel, &old), "spec=off: guests have been told what there is");
}

int main(void)
{
	test_models();
	test_same_mode();
	test_what_is_there();
	test_shown();
	test_nx_large();
	test_fixes();
	test_ssbd();
	test_ssbd_threads();
	test_switch();
	test_forgetting();
	test_refused_microcode();
	return test_end();
}
