/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VT-x: the choice of controls, exits, and a debugger's steps. The VMCS is an array of ours, for
 * which the files that access it are included.
 * links: tests/unit/rest.c hv/vmx/caps.c hv/vmx/decode.c hv/guest/hvm.c hv/guest/inject.c
 */
#include <string.h>

#include "hv/vmx/caps.h"
#include "hv/vmx/decode.h"
#include "hv/vmx/vmx.h"
#include "test.h"

static u64 vmcs[0x7000];
#define vmcs_read(f)	 vmcs[f]
#define vmcs_write(f, v) ((void)(vmcs[f] = (v)))
#include "hv/guest/quirks.h"
#include "hv/guest/debug.c"
#include "hv/vmx/event.c"
#include "hv/vmx/state.c"

/* Capability MSRs; the TRUE ones for 481..484. */
struct model {
	const char *name;
	struct vmx_msrs m;
	bool has_1g, has_invpcid, has_rdtscp, has_ad, has_tsc_scale, has_posting;
};

#define SKYLAKE 2 /* Bochs' */
#define BOCHS_COMMON                                                                               \
	.pin = 0x7f00000016, .proc = 0xf7f9fffe04006172, .exit = 0x7fffff00036dfb,                 \
	.entry = 0xffff000011fb, .cr0_fixed0 = 0x80000021, .cr4_fixed0 = 0x2000

static const struct model models[] = {
    {"Bochs sandy bridge",
     {BOCHS_COMMON, .basic = 0x00d810000000002b, .proc2 = 0xff00000000, .ept_vpid = 0xf0106114141},
     .has_rdtscp = true},
    {"Bochs haswell",
     {BOCHS_COMMON, .basic = 0x00d810000000002b, .proc2 = 0x57fff00000000,
      .ept_vpid = 0xf0106334141},
     true,
     true,
     true,
     true},
    {"Bochs skylake-x",
     {BOCHS_COMMON, .basic = 0x00d810000000002b, .proc2 = 0x2177fff00000000,
      .ept_vpid = 0xf0106334141},
     true,
     true,
     true,
     true,
     true},
    {"Bochs tigerlake",
     {.basic = 0x01d8100000000004,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x2977fff00000000,
      .exit = 0x107fffff00036dfb,
      .entry = 0x10ffff000011fb,
      .ept_vpid = 0xf0106b34141,
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
     true,
     true,
     true,
     true,
     true},
    {"Sandy Bridge",
     {.basic = 0x00da04000000000f,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0xff00000000,
      .exit = 0x7fffff00036dfb,
      .entry = 0xffff000011fb,
      .ept_vpid = 0xf0106114141,
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
     .has_rdtscp = true},
    {"Xeon E5 of 2012",
     {.basic = 0x00da040000000010,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x4ff00000000,
      .exit = 0x7fffff00036dfb,
      .entry = 0xffff000011fb,
      .ept_vpid = 0xf0106134141,
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
     true,
     false,
     true},
    {"Silvermont",
     {.basic = 0x00da040000000002,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x28ef00000000,
      .exit = 0x7fffff00036dfb,
      .entry = 0xffff000011fb,
      .ept_vpid = 0xf0106114141,
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
     .has_rdtscp = true},
    {"Broadwell",
     {.basic = 0x00da040000000012,
      .pin = 0x7f00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x57cff00000000,
      .exit = 0x7fffff00036dfb,
      .entry = 0xffff000011fb,
      .ept_vpid = 0xf0106334141,
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
     true,
     true,
     true,
     true},
    /* Servers' CPUs of 2013 on have it all */
    {"Xeon E5 v2",
     {.basic = 0x00da040000000010,
      .pin = 0xff00000016,
      .proc = 0xfff9fffe04006172,
      .proc2 = 0x7ff00000000,
      .exit = 0x7fffff00036dfb,
      .entry = 0xffff000011fb,
      .ept_vpid = 0xf0106134141,
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
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
      .cr0_fixed0 = 0x80000021,
      .cr4_fixed0 = 0x2000},
     true,
     true,
     true,
     true,
     true},
};

static const char *hidden;

static bool masked(const char *name)
{
	return hidden && !strcmp(name, hidden);
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
	CHECK(c.proc2 == (BIT(1) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) |
			  BIT(10) | BIT(12) | BIT(15) | BIT(20) | BIT(25)),
	      "secondary: EPT, RDTSCP, x2APIC, VPID, WBINVD, unrestricted, APIC registers, "
	      "interrupt delivery, PAUSE loops, INVPCID, ENCLS, XSAVES, TSC scaling (%x)",
	      c.proc2);
	CHECK(c.exit == (0x36dfb | BIT(2) | BIT(9) | BIT(15) | BIT(19) | BIT(20) | BIT(21)),
	      "exits: debug, 64 bits, interrupts acknowledged, PAT, EFER (%x)", c.exit);
	CHECK(c.entry == (0x11fb | BIT(2) | BIT(14) | BIT(15)), "entries: debug, PAT, EFER (%x)",
	      c.entry);
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
	static const u32 exits[] = {EXIT_SAVE_EFER | EXIT_LOAD_EFER, EXIT_LOAD_PAT},
			 entries[] = {ENTRY_LOAD_EFER, ENTRY_LOAD_PAT};
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
	c = choose_without("preemption-timer");
	CHECK(!(c.pin & PIN_TIMER), "without the preemption timer");
	c = choose_without("pause-loop");
	CHECK(!(c.proc2 & PROC2_PAUSE), "without exits of PAUSE loops");
	c = choose_without("tsc-scale");
	CHECK(!(c.proc2 & PROC2_TSC_SCALE), "without TSC scaling");
	c = choose_without("xsaves");
	CHECK(!(c.proc2 & PROC2_XSAVES), "without XSAVES");
	for (u32 i = 0; i < 2; i++) {
		c = choose_without(i ? "pat" : "efer");
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

static struct vm_exit decode(struct vmx_raw r)
{
	struct vm_exit x;

	memset(&x, 0xaa, sizeof(x));
	vmx_decode_exit(&r, &x);
	return x;
}

static void test_decode_memory(void)
{
	struct vm_exit x =
	    decode((struct vmx_raw){.reason = 48, .qual = 0x181, .gpa = 0xfee00020, .insn_len = 7});

	CHECK(x.reason == VMEXIT_P2M_FAULT && x.p2m.gpa == 0xfee00020 && !x.p2m.write &&
		  !x.p2m.exec && !x.p2m.during_walk && !x.insn_len,
	      "EPT violation: a read of nothing");
	x = decode((struct vmx_raw){.reason = 48, .qual = 0x18a});
	CHECK(x.p2m.write && !x.p2m.exec, "EPT violation: a write to what may be read");
	x = decode((struct vmx_raw){.reason = 48, .qual = 0x84});
	CHECK(x.p2m.exec && x.p2m.during_walk, "EPT violation: of the guest's page walk");
	x = decode((struct vmx_raw){.reason = 49});
	CHECK(x.reason == VMEXIT_OTHER && x.raw == 49, "EPT misconfiguration is nobody's");
}

static void test_decode_io(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 30, .qual = 0x3f80008, .insn_len = 1});

	CHECK(x.reason == VMEXIT_IO && x.io.port == 0x3f8 && x.io.size == 1 && x.io.in &&
		  !x.io.string && !x.io.rep && x.insn_len == 1,
	      "IN AL, DX");
	x = decode((struct vmx_raw){.reason = 30, .qual = 0xcf80033, .insn_len = 2});
	CHECK(x.io.port == 0xcf8 && x.io.size == 4 && !x.io.in && x.io.string && x.io.rep,
	      "REP OUTSD");
}

static void test_decode_cr(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 28, .qual = 0xf00, .insn_len = 4});

	CHECK(x.reason == VMEXIT_CR_ACCESS && x.cr.cr == 0 && x.cr.write && x.cr.gpr == 15 &&
		  x.insn_len == 4,
	      "MOV CR0, R15");
	x = decode((struct vmx_raw){.reason = 28, .qual = 0x318});
	CHECK(x.cr.cr == 8 && !x.cr.write && x.cr.gpr == 3, "MOV RBX, CR8");
	x = decode((struct vmx_raw){.reason = 28, .qual = 0x30});
	CHECK(x.reason == VMEXIT_OTHER, "LMSW never exits");
}

static void test_decode_dr(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 29, .qual = 0xf06, .insn_len = 4});

	CHECK(x.reason == VMEXIT_DR_ACCESS && x.cr.cr == 6 && x.cr.write && x.cr.gpr == 15 &&
		  x.insn_len == 4,
	      "MOV to DR6 from R15");
	x = decode((struct vmx_raw){.reason = 29, .qual = 0x311});
	CHECK(x.cr.cr == 1 && !x.cr.write && x.cr.gpr == 3, "MOV from DR1 to RBX");
}

static void test_decode_events(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 0, .intr_info = 0x80000202});

	CHECK(x.reason == VMEXIT_NMI, "NMI");
	x = decode((struct vmx_raw){.reason = 0, .intr_info = 0x80000b11, .intr_error = 0});
	CHECK(x.reason == VMEXIT_EXCEPTION && x.exc.vector == 17 && x.exc.has_error && !x.exc.error,
	      "#AC with its error code");
	x = decode((struct vmx_raw){
	    .reason = 0, .intr_info = 0x80000301, .qual = 0x4000, .intr_error = 5});
	CHECK(x.exc.vector == 1 && !x.exc.has_error && !x.exc.error, "#DB without");
	x = decode((struct vmx_raw){.reason = 1});
	CHECK(x.reason == VMEXIT_INTR, "interrupts stay in the APIC");
	x = decode((struct vmx_raw){.reason = 0x80000021});
	CHECK(x.reason == VMEXIT_ENTRY_FAIL && x.raw == 0x80000021, "entry with a bad guest state");
	x = decode((struct vmx_raw){.reason = 0x80000029});
	CHECK(x.reason == VMEXIT_EXCEPTION && x.exc.vector == 18,
	      "a machine check during entry is one");
}

static void test_decode_plain(void)
{
	static const struct {
		u32 raw, reason;
	} t[] = {
	    {2, VMEXIT_SHUTDOWN},      {7, VMEXIT_IRQ_WINDOW},	  {8, VMEXIT_NMI_WINDOW},
	    {10, VMEXIT_CPUID},	       {12, VMEXIT_HLT},	  {18, VMEXIT_HYPERCALL},
	    {19, VMEXIT_VMX_SVM_INSN}, {23, VMEXIT_VMX_SVM_INSN}, {27, VMEXIT_VMX_SVM_INSN},
	    {31, VMEXIT_MSR_READ},     {32, VMEXIT_MSR_WRITE},	  {43, VMEXIT_IRQ_WINDOW},
	    {45, VMEXIT_EOI},	       {50, VMEXIT_VMX_SVM_INSN}, {52, VMEXIT_INTR},
	    {54, VMEXIT_WBINVD},       {55, VMEXIT_XSETBV},	  {56, VMEXIT_APIC_WRITE},
	    {60, VMEXIT_VMX_SVM_INSN},
	};

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		struct vm_exit x = decode((struct vmx_raw){.reason = t[i].raw, .insn_len = 3});

		CHECK_QUIET(x.reason == t[i].reason && x.insn_len == 3, "exit %u", t[i].raw);
	}
	for (u32 raw = 61; raw < 0x10000; raw++) {
		struct vm_exit x = decode((struct vmx_raw){.reason = raw});

		CHECK_QUIET(x.reason == VMEXIT_OTHER, "exit %u", raw);
	}
	CHECK(decode((struct vmx_raw){.reason = 45, .qual = 0x61}).apic == 0x61 &&
		  decode((struct vmx_raw){.reason = 56, .qual = 0x3f0}).apic == 0x3f0,
	      "the vector of an EOI, the register of an APIC write");
	CHECK(decode((struct vmx_raw){.reason = 5}).reason == VMEXIT_OTHER,
	      "reasons this back end does not ask for are unknown");
}

/* ---- a debugger's steps ---- */

#define RIP   0x1000
#define STACK 0x2000
#define VEC   0x40

static struct vmx_cpu vmx_cpu0;
static struct vmx_vcpu arch;
static struct fetched fetched;
static struct vcpu_emul emul = {.insn = &fetched};
static struct vcpu vcpu;
static u16 stack; /* its top */
static int irq;	  /* of the local APIC, -1: none */
static u32 runs, ipis;
u64 pt_frames_end, test_direct_base;

void apic_send_ipi(u32 apic_id, u8 vector)
{
	ipis++;
}

int vcpu_fetch(struct vcpu *v, struct guest_fault *f)
{
	return 0;
}

int vcpu_access_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access,
		       struct guest_fault *f)
{
	BUG_ON(linear != STACK || len != sizeof(stack));
	if (access & WALK_WRITE)
		memcpy(&stack, buf, len);
	else
		memcpy(buf, &stack, len);
	return 0;
}

int lapic_pending(struct vcpu *v)
{
	return irq;
}

void lapic_accept(struct vcpu *v, u8 vector)
{
	irq = -1;
}

int lapic_read(struct vcpu *v, u32 offset, u64 *val)
{
	*val = 0;
	return 0;
}

u16 lapic_to_hw(struct vcpu *v, u32 *page, u64 eoi_exits[4])
{
	memset(eoi_exits, 0, 4 * sizeof(*eoi_exits));
	return 0;
}

int p2m_copy(struct p2m *p, gpa_t gpa, void *buf, size_t len, bool write)
{
	return -EFAULT;
}

/*
 * An entry with TF: SDM "Checks on Guest Non-Register State", "Delivery of Pending Debug Exceptions
 * after VM Entry". The instruction is one byte, and does with the flags what its opcode says.
 */
static void run(struct vcpu *v, struct vm_exit *x)
{
	u32 state;
	u64 pending;

	vmx_write_blocking(v);
	state = vmcs[VMCS_INTERRUPTIBILITY];
	pending = vmcs[VMCS_PENDING_DEBUG];
	CHECK_QUIET(!(state & SHADOW_STI) || (!(state & SHADOW_MOV_SS) && v->rflags & RFLAGS_IF),
		    "the CPU takes the interruptibility");
	CHECK_QUIET(!(state & (SHADOW_STI | SHADOW_MOV_SS)) || pending & DR6_BS,
		    "with TF a trap waits for the shadow's end");
	runs++;
	if (!(pending & DR6_BS) || state & SHADOW_MOV_SS) {
		v->rip++;
		if (fetched.insn.opcode == OP_PUSHF)
			stack = v->rflags;
		else if (fetched.insn.opcode == OP_POPF)
			v->rflags = stack;
		arch.shadow = arch.intr_state_hw = vmcs[VMCS_INTERRUPTIBILITY] = 0;
	}
	vmcs[VMCS_PENDING_DEBUG] = 0;
	arch.dr6 = DR6_ONES | DR6_BS;
	*x = (struct vm_exit){.reason = VMEXIT_EXCEPTION, .exc.vector = VEC_DB};
}

static const struct hvm_ops fake_ops = {.run = run,
					.get = vmx_get,
					.set = vmx_set,
					.get_seg = vmx_get_seg,
					.can_inject = vmx_can_inject,
					.inject = vmx_inject,
					.want_window = vmx_want_window,
					.set_debug = vmx_set_debug};

/* A vCPU in 64-bit mode, interrupts allowed, before this instruction. */
static void before(u8 opcode, u32 control)
{
	memset(vmcs, 0, sizeof(vmcs));
	vmcs[VMCS_ENTRY_CONTROLS] = ENTRY_GUEST_64;
	vmcs[VMCS_GUEST_CS_AR] = AR_L;
	arch = (struct vmx_vcpu){};
	vcpu = (struct vcpu){
	    .arch = &arch, .emul = &emul, .rip = RIP, .rflags = RFLAGS_FIXED | RFLAGS_IF};
	vcpu.gpr[RSP] = STACK;
	vcpu.user_irq = irq = -1;
	vcpu.debug.control = control;
	fetched.insn = (struct insn){.opcode = opcode};
	vmx_cpu0.current = &vcpu;
	this_cpu()->vmx = &vmx_cpu0;
	hvm = &fake_ops;
	stack = 0;
	runs = ipis = 0;
}

#define STEPS (CORBEL_DEBUG_ENABLE | CORBEL_DEBUG_STEP)
#define NOP   0x90

static void test_step_shadow(void)
{
	static const u32 shadows[] = {0, SHADOW_STI, SHADOW_MOV_SS};
	struct vm_exit x;

	for (u32 i = 0; i < ARRAY_SIZE(shadows); i++) {
		before(NOP, STEPS);
		arch.shadow = shadows[i];
		debug_run(&vcpu, &x);
		CHECK(runs == 1 && !ipis && vcpu.rip == RIP + 1 && !(vcpu.rflags & RFLAGS_TF),
		      "a step does one instruction, shadow %u", shadows[i]);
	}
	before(NOP, 0);
	arch.shadow = SHADOW_STI;
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_STI && !vmcs[VMCS_PENDING_DEBUG],
	      "without a debugger the shadow of STI is one of STI");
	vcpu.rflags |= RFLAGS_TF;
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_STI && vmcs[VMCS_PENDING_DEBUG] == DR6_BS,
	      "and the guest's own trap is due");
	vcpu.rflags &= ~(RFLAGS_TF | RFLAGS_IF);
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_MOV_SS, "STI's needs IF");
}

static void test_step_flags(void)
{
	struct vm_exit x;

	before(OP_PUSHF, STEPS);
	debug_run(&vcpu, &x);
	CHECK(stack == (RFLAGS_FIXED | RFLAGS_IF), "PUSHF pushes no TF of ours");
	before(OP_POPF, STEPS);
	stack = RFLAGS_FIXED | RFLAGS_TF;
	debug_run(&vcpu, &x);
	CHECK(vcpu.rflags == (RFLAGS_FIXED | RFLAGS_TF), "POPF's TF is the guest's");
	before(OP_PUSHF, STEPS);
	stack = 0xffff;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	debug_run(&vcpu, &x);
	CHECK(vcpu.rip == RIP && stack == 0xffff, "a trap before PUSHF: the stack is the guest's");
	before(OP_POPF, STEPS);
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	debug_run(&vcpu, &x);
	CHECK(vcpu.rip == RIP && !(vcpu.rflags & RFLAGS_TF), "before POPF: our TF does not stay");
}

static void test_shadow_ends(void)
{
	before(NOP, 0);
	arch.shadow = SHADOW_MOV_SS;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS | BIT(12) | BIT(0);
	vmx_set(&vcpu, HVM_SHADOW, 0);
	CHECK(!arch.shadow && vmcs[VMCS_PENDING_DEBUG] == (BIT(12) | BIT(0)),
	      "with an emulated instruction in its shadow the CPU's trap ends, no breakpoint");
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	vmx_set(&vcpu, HVM_SHADOW, 0);
	CHECK(vmcs[VMCS_PENDING_DEBUG] == DR6_BS, "no shadow, nothing ends");
	before(NOP, STEPS);
	arch.shadow = SHADOW_MOV_SS;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	vcpu_retire(&vcpu);
	CHECK(!vmcs[VMCS_PENDING_DEBUG] && vcpu.debug.owed, "the debugger is told once");
}

static void test_step_irqs(void)
{
	static const struct {
		u32 control;
		bool direct, injected;
	} t[] = {{0, true, false},
		 {CORBEL_DEBUG_ENABLE | CORBEL_DEBUG_SW, true, false},
		 {STEPS, false, true},
		 {STEPS | CORBEL_DEBUG_BLOCKIRQ, false, false},
		 {CORBEL_DEBUG_ENABLE | CORBEL_DEBUG_BLOCKIRQ, false, false}};
	struct vmx_controls was = vmx_ctl;
	static u8 msr_map[2 * PAGE_SIZE];
	static struct vm vm = {.msr_map = msr_map};

	vmx_ctl.proc2 = PROC2_X2APIC | PROC2_VID;
	hvm_caps.flags |= HVM_CAP_VID;
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		before(NOP, t[i].control);
		vcpu.vm = &vm;
		vcpu.lapic.base = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
		vcpu.lapic.svr = SVR_ENABLE;
		arch.direct = arch.vid = !t[i].direct; /* as before the debugger came, or went */
		arch.proc2 = vmx_ctl.proc2;
		irq = VEC;
		vcpu_deliver_events(&vcpu);
		vmx_apic_to_hw(&vcpu);
		CHECK(arch.direct == t[i].direct && arch.vid == t[i].direct,
		      "control %x: does hardware deliver interrupts?", t[i].control);
		CHECK((arch.watch & WATCH_INJECT) == t[i].injected && (irq < 0) == t[i].injected,
		      "control %x: is one injected?", t[i].control);
	}
	hvm_caps.flags &= ~HVM_CAP_VID;
	vmx_ctl = was;
}

/* What the guest may not have in the hardware is in the shadow. */
static void test_crs(void)
{
	vcpu = (struct vcpu){.arch = &arch};
	vmx_write_cr_masks();
	CHECK(vmcs[VMCS_CR0_MASK] == (CR0_NE | CR0_NW | CR0_CD), "CR0: NE, NW and CD are ours");
	CHECK(vmcs[VMCS_CR4_MASK] == (~CR4_ALWAYS | CR4_VMXE | CR4_MCE | CR4_OSXSAVE),
	      "CR4: all that not every guest may set, VMXE, MCE and OSXSAVE");
	vmx_set(&vcpu, HVM_CR0, CR0_PE | CR0_CD | CR0_NW | CR0_ET);
	CHECK(vmcs[VMCS_GUEST_CR0] == (CR0_PE | CR0_ET | CR0_NE) &&
		  vmx_get(&vcpu, HVM_CR0) == (CR0_PE | CR0_CD | CR0_NW | CR0_ET),
	      "CD and NW read back, and the hardware has NE instead");
	vmx_set(&vcpu, HVM_CR4, CR4_PAE);
	CHECK(vmcs[VMCS_GUEST_CR4] == (CR4_PAE | CR4_VMXE | CR4_MCE) &&
		  vmx_get(&vcpu, HVM_CR4) == CR4_PAE,
	      "a guest's CR4 has VMXE and MCE in the hardware, which it does not see");
}

int main(void)
{
	test_models();
	test_words();
	test_fit();
	test_fallbacks();
	test_posting();
	test_flushes();
	test_least();
	test_refusals();
	test_decode_memory();
	test_decode_io();
	test_decode_cr();
	test_decode_dr();
	test_decode_events();
	test_decode_plain();
	test_step_shadow();
	test_step_flags();
	test_shadow_ends();
	test_step_irqs();
	test_crs();
	return test_end();
}
