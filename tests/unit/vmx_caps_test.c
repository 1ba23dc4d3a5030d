/* SPDX-License-Identifier: GPL-2.0-only */
/* The controls that are chosen from a CPU's capability MSRs. links: hv/vmx/caps.c */
#include <string.h>

#include "hv/vmx/caps.h"
#include "hv/guest/hvm.h"
#include "hv/vmx/vmcs.h"
#include "test.h"

/* Capability MSRs; the TRUE ones for 481..484. */
struct model {
	const char *name;
	struct vmx_msrs m;
	bool has_1g, has_invpcid, has_rdtscp, has_ad, has_tsc_scale, has_posting;
};

/* What all have, what most of Intel's have, and what most of Bochs' have */
#define ALL   .cr0_fixed0 = 0x80000021, .cr4_fixed0 = 0x2000
#define PLAIN .pin = 0x7f00000016, .exit = 0x7fffff00036dfb, .entry = 0xffff000011fb, ALL
#define INTEL .proc = 0xfff9fffe04006172, PLAIN
#define BOCHS .basic = 0x00d810000000002b, .proc = 0xf7f9fffe04006172, PLAIN

#define SKYLAKE 2 /* Bochs' */
static const struct model models[] = {
    {"Bochs sandy bridge",
     {BOCHS, .proc2 = 0xff00000000, .ept_vpid = 0xf0106114141},
     .has_rdtscp = true},
    {"Bochs haswell",
     {BOCHS, .proc2 = 0x57fff00000000, .ept_vpid = 0xf0106334141},
     .has_1g = true,
     .has_invpcid = true,
     .has_rdtscp = true,
     .has_ad = true},
    {"Bochs skylake-x",
     {BOCHS, .proc2 = 0x2177fff00000000, .ept_vpid = 0xf0106334141},
     .has_1g = true,
     .has_invpcid = true,
     .has_rdtscp = true,
     .has_ad = true,
     .has_tsc_scale = true},
    {"Bochs tigerlake",
     {.basic = 0x01d8100000000004,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x2977fff00000000,
      .exit = 0x107fffff00036dfb,
      .entry = 0x10ffff000011fb,
      .ept_vpid = 0xf0106b34141,
      ALL},
     .has_1g = true,
     .has_invpcid = true,
     .has_rdtscp = true,
     .has_ad = true,
     .has_tsc_scale = true},
    {"Sandy Bridge",
     {INTEL, .basic = 0x00da04000000000f, .proc2 = 0xff00000000, .ept_vpid = 0xf0106114141},
     .has_rdtscp = true},
    {"Xeon E5 of 2012",
     {INTEL, .basic = 0x00da040000000010, .proc2 = 0x4ff00000000, .ept_vpid = 0xf0106134141},
     .has_1g = true,
     .has_rdtscp = true},
    {"Silvermont",
     {INTEL, .basic = 0x00da040000000002, .proc2 = 0x28ef00000000, .ept_vpid = 0xf0106114141},
     .has_rdtscp = true},
    {"Broadwell",
     {INTEL, .basic = 0x00da040000000012, .proc2 = 0x57cff00000000, .ept_vpid = 0xf0106334141},
     .has_1g = true,
     .has_invpcid = true,
     .has_rdtscp = true,
     .has_ad = true},
    /* Servers' CPUs of 2013 on have it all */
    {"Xeon E5 v2",
     {.basic = 0x00da040000000010,
      .pin = 0xff00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x7ff00000000,
      .exit = 0x7fffff00036dfb,
      .entry = 0xffff000011fb,
      .ept_vpid = 0xf0106134141,
      ALL},
     .has_1g = true,
     .has_rdtscp = true,
     .has_posting = true},
    /*
     * What KVM of Linux 6.1 offers its guests on a CPU that has all of it, but no posted
     * interrupts
     */
    {"nested KVM",
     {.basic = 0x00d8100011e57ed0,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x2137bff00000000,
      .exit = 0xffffff00036dfb,
      .entry = 0x1f3ff000011fb,
      .ept_vpid = 0xf01063341c1,
      ALL},
     .has_1g = true,
     .has_invpcid = true,
     .has_rdtscp = true,
     .has_ad = true,
     .has_tsc_scale = true},
};

static const char *hidden;

static bool masked(const char *name)
{
	return hidden && (!strcmp(name, hidden) || !strcmp(hidden, "all"));
}

/*
 * SDM: a control may be one if its bit in the upper half is set, and must be if the one in the
 * lower half is.
 */
static bool allowed(u64 cap, u32 word)
{
	return !(~word & (u32)cap) && !(word & ~(u32)(cap >> 32));
}

static bool all_allowed(const struct vmx_msrs *m, const struct vmx_controls *c)
{
	return allowed(m->pin, c->pin) && allowed(m->proc, c->proc) &&
	       allowed(m->proc2, c->proc2) && allowed(m->exit, c->exit) &&
	       allowed(m->entry, c->entry);
}

static void test_models(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
		const struct model *m = &models[i];
		struct vmx_controls c;
		const char *why = vmx_choose_controls(&m->m, masked, &c);

		CHECK(!why && all_allowed(&m->m, &c), "%s: controls are found, all allowed",
		      m->name);
		CHECK((c.proc2 & (PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED)) ==
			      (PROC2_EPT | PROC2_VPID | PROC2_UNRESTRICTED) &&
			  (c.proc & PROC_TPR_SHADOW) && (c.pin & PIN_VNMI) &&
			  (c.entry & ENTRY_LOAD_EFER) && (c.entry & ENTRY_LOAD_PAT),
		      "%s: and what is offered is used", m->name);
		CHECK(c.ept_1g == m->has_1g && !(c.proc2 & PROC2_INVPCID) == !m->has_invpcid &&
			  !(c.proc2 & PROC2_RDTSCP) == !m->has_rdtscp,
		      "%s: what is not is left out", m->name);
		CHECK(c.ept_ad == m->has_ad && !(c.proc2 & PROC2_TSC_SCALE) == !m->has_tsc_scale,
		      "%s: dirty flags and TSC scaling", m->name);
		CHECK(!(c.proc2 & PROC2_X2APIC) == !(m->m.proc2 >> 32 & PROC2_X2APIC) &&
			  !(c.proc2 & PROC2_VID) == !(m->m.proc2 >> 32 & PROC2_VID) &&
			  !(c.proc2 & PROC2_APIC_REGS) == !(m->m.proc2 >> 32 & PROC2_APIC_REGS) &&
			  !(c.pin & PIN_POSTED) == !m->has_posting,
		      "%s: so much of the APIC is virtualized as can be", m->name);
		CHECK(!(c.proc & (PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD |
				  PROC_INTR_WINDOW | PROC_NMI_WINDOW)) &&
			  !(c.entry & ENTRY_GUEST_64),
		      "%s: nothing exits for no reason", m->name);
	}
}

/*
 * The words of a fresh VMCS on a CPU that has all of it, bit by bit. SDM "VM-Execution Control
 * Fields": what exits, and what the hardware does by itself, is no more and no less than this.
 */
static void test_words(void)
{
	struct vmx_msrs all = {.basic = 0x00da040000000010,
			       .pin = 0xffffffff00000016,
			       .proc = 0xffffffff04006172,
			       .proc2 = 0xffffffff00000000,
			       .exit = 0xffffffff00036dfb,
			       .entry = 0xffffffff000011fb,
			       .ept_vpid = ~0ull,
			       .cr0_fixed0 = 0x80000021,
			       .cr4_fixed0 = 0x2000};
	struct vmx_controls c;

	CHECK(!vmx_choose_controls(&all, masked, &c), "a CPU with all bits will do");
	CHECK(c.pin == (0x16 | BIT(0) | BIT(3) | BIT(5) | BIT(6) | BIT(7)),
	      "pins: interrupts, NMIs, virtual NMIs, timer, posting (%x)", c.pin);
	CHECK(c.proc == (0x04006172 | BIT(3) | BIT(7) | BIT(10) | BIT(11) | BIT(21) | BIT(25) |
			 BIT(28) | BIT(29) | BIT(31)),
	      "processor: TSC offset, HLT, MWAIT, RDPMC, TPR shadow, ports, MSRs, MONITOR (%x)",
	      c.proc);
	CHECK(
	    c.proc2 == (BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) |
			BIT(10) | BIT(11) | BIT(12) | BIT(15) | BIT(16) | BIT(20) | BIT(25) |
			BIT(28) | BIT(30) | BIT(31)),
	    "secondary: EPT, RDTSCP, x2APIC, VPID, WBINVD, unrestricted, APIC registers, "
	    "interrupt delivery, PAUSE loops, RDRAND, INVPCID, ENCLS, RDSEED, XSAVES, TSC scaling, "
	    "ENCLV, bus locks, "
	    "notification (%x)",
	    c.proc2);
	CHECK(c.exit ==
		  (0x36dfb | BIT(2) | BIT(9) | BIT(12) | BIT(15) | BIT(19) | BIT(20) | BIT(21)),
	      "exits: debug, 64 bits, counters, interrupts acknowledged, PAT, EFER (%x)", c.exit);
	CHECK(c.entry == (0x11fb | BIT(2) | BIT(13) | BIT(14) | BIT(15)),
	      "entries: debug, counters, PAT, EFER (%x)", c.entry);
}

/* What a guest's CPUID does not show: INSN_x, by bits of the secondary controls. */
static void test_insns(void)
{
	static const struct {
		u64 insns;
		u32 on;
	} want[] = {
	    {0, BIT(11) | BIT(16)},
	    {INSN_RDTSCP, BIT(3) | BIT(11) | BIT(16)},
	    {INSN_RDPID, BIT(3) | BIT(11) | BIT(16)},
	    {INSN_INVPCID, BIT(12) | BIT(11) | BIT(16)},
	    {INSN_XSAVES, BIT(20) | BIT(11) | BIT(16)},
	    {INSN_RDRAND, BIT(16)},
	    {INSN_RDSEED, BIT(11)},
	    {GENMASK(5, 0), BIT(3) | BIT(12) | BIT(20)},
	};
	u32 all = BIT(3) | BIT(11) | BIT(12) | BIT(16) | BIT(20), others = ~all & 0xdeadbeef;

	for (u32 i = 0; i < ARRAY_SIZE(want); i++) {
		vmx_ctl.proc2 = ~0u;
		CHECK(vmx_proc2_for(others, want[i].insns) == (others | want[i].on) &&
			  vmx_proc2_for(others | all, want[i].insns) == (others | want[i].on),
		      "instructions %lx: %x", want[i].insns, want[i].on);
		vmx_ctl.proc2 = ~all;
		CHECK(vmx_proc2_for(others, want[i].insns) == others,
		      "where the CPU has no such controls none is set");
	}
}

/* Of two kinds of CPU in one machine those are left out that cannot do what was chosen. */
static void test_fit(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
		const struct vmx_msrs *boot = &models[i].m;
		struct vmx_msrs other = *boot;
		struct vmx_controls c;

		vmx_choose_controls(boot, masked, &c);
		CHECK(vmx_controls_fit(boot, boot, &c), "%s: fits itself", models[i].name);
		other.basic ^= 1;
		CHECK(!vmx_controls_fit(&other, boot, &c), "%s: not another VMCS revision",
		      models[i].name);
		for (u32 bit = 0; bit < 32; bit++) {
			other = *boot;
			other.proc2 &= ~(BIT(32) << bit);
			CHECK_QUIET(vmx_controls_fit(&other, boot, &c) == !(c.proc2 & BIT(bit)),
				    "%s: a CPU without control %u fits if that is not used",
				    models[i].name, bit);
		}
		other = *boot;
		other.proc |= PROC_CR3_LOAD; /* must be one there */
		CHECK(!vmx_controls_fit(&other, boot, &c), "%s: nor one that must exit more",
		      models[i].name);
		for (u32 bit = 25; bit <= 26; bit++) {
			other = *boot;
			other.ept_vpid &= ~BIT(bit);
			CHECK(vmx_controls_fit(&other, boot, &c) == !(boot->ept_vpid & BIT(bit)),
			      "%s: nor one without a kind of INVEPT, bit %u", models[i].name, bit);
		}
	}
}

static struct vmx_controls choose_without(const char *name)
{
	struct vmx_controls c;

	hidden = name;
	CHECK(!vmx_choose_controls(&models[SKYLAKE].m, masked, &c) &&
		  all_allowed(&models[SKYLAKE].m, &c),
	      "mask=%s falls back", name);
	hidden = NULL;
	return c;
}

static void test_posting(void)
{
	static const char *const needed[] = {"posted-intr", "ack-intr", "vid", "x2apic",
					     "tpr-shadow"};
	struct vmx_controls c;

	for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
		for (u32 n = 0; models[i].has_posting && n < ARRAY_SIZE(needed); n++) {
			hidden = needed[n];
			CHECK(!vmx_choose_controls(&models[i].m, masked, &c) &&
				  !(c.pin & PIN_POSTED),
			      "%s: nothing is posted without %s", models[i].name, hidden);
		}
	}
	hidden = NULL;
}

static void test_fallbacks(void)
{
	static const u32 exits[] = {EXIT_SAVE_EFER | EXIT_LOAD_EFER, EXIT_LOAD_PAT, EXIT_LOAD_PERF},
			 entries[] = {ENTRY_LOAD_EFER, ENTRY_LOAD_PAT, ENTRY_LOAD_PERF};
	struct vmx_controls c = choose_without("tpr-shadow");
	struct vmx_msrs m;

	CHECK((c.proc & PROC_CR8_LOAD) && (c.proc & PROC_CR8_STORE) && !(c.proc & PROC_TPR_SHADOW),
	      "without TPR shadow CR8 exits");
	CHECK(!(c.proc2 & (PROC2_X2APIC | PROC2_VID | PROC2_APIC_REGS)),
	      "and nothing of the APIC is virtualized");
	c = choose_without("x2apic");
	CHECK(!(c.proc2 & (PROC2_X2APIC | PROC2_VID | PROC2_APIC_REGS)),
	      "interrupts are not left to the CPU without x2APIC mode");
	c = choose_without("vid");
	CHECK((c.proc2 & PROC2_X2APIC) && !(c.proc2 & (PROC2_VID | PROC2_APIC_REGS)),
	      "IRR and ISR are not in the page where they are not the CPU's");
	c = choose_without("apic-regs");
	CHECK((c.proc2 & PROC2_VID) && !(c.proc2 & PROC2_APIC_REGS),
	      "without reads of APIC registers");
	c = choose_without("ack-intr");
	CHECK(!(c.exit & EXIT_ACK_INTR), "without interrupts being acknowledged by exits");
	c = choose_without("vpid");
	CHECK(!(c.proc2 & PROC2_VPID) && !c.invvpid, "without VPIDs none is flushed");
	c = choose_without("rdtscp");
	CHECK(!(c.proc2 & PROC2_RDTSCP), "without RDTSCP");
	c = choose_without("1g");
	CHECK(!c.ept_1g, "without 1 GiB pages");
	c = choose_without("pause-loop");
	CHECK(!(c.proc2 & PROC2_PAUSE), "without exits of PAUSE loops");
	m = models[SKYLAKE].m;
	m.proc2 |= (u64)(PROC2_BUS_LOCK | PROC2_NOTIFY) << 32;
	hidden = NULL;
	CHECK(!vmx_choose_controls(&m, masked, &c) && c.proc2 & PROC2_BUS_LOCK &&
		  c.proc2 & PROC2_NOTIFY,
	      "newer CPUs have exits for bus locks, and for events that cannot be delivered");
	hidden = "notify";
	CHECK(!vmx_choose_controls(&m, masked, &c) && !(c.proc2 & PROC2_NOTIFY) &&
		  c.proc2 & PROC2_BUS_LOCK,
	      "without the latter");
	hidden = NULL;
	c = choose_without("tsc-scale");
	CHECK(!(c.proc2 & PROC2_TSC_SCALE), "without TSC scaling");
	c = choose_without("xsaves");
	CHECK(!(c.proc2 & PROC2_XSAVES), "without XSAVES");
	for (u32 i = 0; i < 3; i++) {
		static const char *const names[] = {"efer", "pat", "perf-ctrl"};

		c = choose_without(names[i]);
		CHECK(!(c.exit & exits[i]) && !(c.entry & entries[i]) && (c.entry & entries[!i]),
		      "neither exit nor entry switches what is masked");
		m = models[SKYLAKE].m;
		m.entry &= ~((u64)entries[i] << 32);
		CHECK(!vmx_choose_controls(&m, masked, &c) && !(c.exit & exits[i]),
		      "an exit does not switch what no entry does");
	}
	c = choose_without("ept-ad");
	CHECK(!c.ept_ad, "without dirty flags");
}

/* mask=all leaves what all of them have, and the timer that Bochs' watchdog is. */
static void test_masked(void)
{
	struct vmx_controls c;

	hidden = "all";
	for (u32 i = 0; i < ARRAY_SIZE(models); i++) {
		const struct vmx_msrs *m = &models[i].m;

		CHECK(!vmx_choose_controls(m, masked, &c) && all_allowed(m, &c) &&
			  c.proc2 == ((PROC2_EPT | PROC2_UNRESTRICTED) | (u32)m->proc2) &&
			  !(c.pin & PIN_POSTED) && !(c.proc & PROC_TPR_SHADOW) && !c.ept_1g &&
			  !c.ept_ad && !c.invvpid,
		      "%s: runs with nothing optional", models[i].name);
		CHECK(!(c.pin & PIN_TIMER) == !(m->pin & PIN_TIMER << 32),
		      "%s: but with the preemption timer, if it has one", models[i].name);
	}
	hidden = NULL;
}

/* Translations must be flushed by what there is. */
static void test_flushes(void)
{
	struct vmx_msrs m = models[SKYLAKE].m;
	struct vmx_controls c;

	m.ept_vpid &= ~(BIT(41) | BIT(42));
	CHECK(!vmx_choose_controls(&m, masked, &c) && !(c.proc2 & PROC2_VPID),
	      "no VPIDs that cannot be flushed");
	m = models[SKYLAKE].m;
	m.ept_vpid &= ~BIT(41);
	CHECK(!vmx_choose_controls(&m, masked, &c) && c.invvpid == 2,
	      "INVVPID of all where single is missing");
	m = models[SKYLAKE].m;
	m.ept_vpid &= ~BIT(25);
	CHECK(!vmx_choose_controls(&m, masked, &c) && !c.invept_single && c.invept_all,
	      "INVEPT of all where single is missing");
}

/* An outer hypervisor that offers only what cannot be done without. */
static void test_least(void)
{
	struct vmx_msrs m = models[ARRAY_SIZE(models) - 1].m;
	struct vmx_controls c;

	m.pin &= ~(PIN_TIMER << 32);
	m.proc &= ~(PROC_TPR_SHADOW << 32);
	m.proc2 = (PROC2_EPT | PROC2_UNRESTRICTED) << 32;
	m.ept_vpid = 0x6114040; /* four levels, WB, 2 MiB, INVEPT */
	CHECK(!vmx_choose_controls(&m, masked, &c) && all_allowed(&m, &c),
	      "the least that is enough is enough");
	CHECK((c.proc & PROC_CR8_LOAD) && !c.invvpid && !c.ept_1g && c.invept_single,
	      "and nothing is used that is not there");
}

static void refused(struct vmx_msrs m, const char *word, const char *what)
{
	struct vmx_controls c;
	const char *why = vmx_choose_controls(&m, masked, &c);

	CHECK(why && strstr(why, word) && strstr(why, ";"), "%s: refused, with cause and cure",
	      what);
}

static void test_refusals(void)
{
	struct vmx_msrs m = models[SKYLAKE].m;

	m.proc &= ~(PROC_SECONDARY << 32);
	refused(m, "EPT", "no secondary controls");
	m = models[SKYLAKE].m;
	m.proc2 &= ~(PROC2_EPT << 32);
	refused(m, "EPT", "no EPT");
	m = models[SKYLAKE].m;
	m.proc2 &= ~(PROC2_UNRESTRICTED << 32);
	refused(m, "unrestricted", "no unrestricted guest");
	m = models[SKYLAKE].m;
	m.ept_vpid &= ~BIT(14);
	refused(m, "EPT", "no write-back EPT");
	m = models[SKYLAKE].m;
	m.ept_vpid &= ~(BIT(25) | BIT(26));
	refused(m, "EPT", "no INVEPT");
	m = models[SKYLAKE].m;
	m.proc |= PROC_CR3_LOAD;
	refused(m, "lacks", "CR3 exits that cannot be switched off");
	m = models[SKYLAKE].m;
	m.proc &= ~(PROC_MSR_BITMAP << 32);
	refused(m, "lacks", "no MSR bitmaps");
	m = models[SKYLAKE].m;
	m.pin &= ~(PIN_VNMI << 32);
	refused(m, "lacks", "no virtual NMIs");
	memset(&m, 0, sizeof(m));
	refused(m, "EPT", "all capability MSRs zero");
}

/* ---- errata ---- */

static u32 signature;

static bool masked_or_broken(const char *name)
{
	return vmx_is_broken(signature, name);
}

static void test_errata(void)
{
	static const struct {
		const char *name;
		u32 signature;
		bool ad, perf;
	} cases[] = {
	    {"Haswell", 0x306c3, true, true},
	    {"Avoton", 0x406d8, false, true},
	    {"Bay Trail", 0x30678, true, true},
	    {"Westmere", 0x20655, true, false},
	    {"Westmere, two sockets", 0x206c2, true, false},
	    {"Westmere-EX", 0x206f2, true, true},
	};
	struct vmx_controls c;

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vmx_msrs m = models[SKYLAKE].m;

		m.exit |= (u64)EXIT_LOAD_PERF << 32;
		m.entry |= (u64)ENTRY_LOAD_PERF << 32;
		signature = cases[i].signature;
		CHECK(!vmx_choose_controls(&m, masked_or_broken, &c) && c.ept_ad == cases[i].ad,
		      "%s: EPT's accessed and dirty flags", cases[i].name);
		CHECK(!(c.exit & EXIT_LOAD_PERF) == !cases[i].perf &&
			  !(c.entry & ENTRY_LOAD_PERF) == !cases[i].perf,
		      "%s: exits and entries that switch counters", cases[i].name);
	}
}

int main(void)
{
	test_errata();
	test_models();
	test_words();
	test_insns();
	test_fit();
	test_fallbacks();
	test_masked();
	test_posting();
	test_flushes();
	test_least();
	test_refusals();
	return test_end();
}
