/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of nested guests on VT-x, which ask no CPU: where the fields of a VMCS lie, what a
 * guest is offered, which controls an entry has, whose exits are whose, what an EPT entry allows.
 * links: hv/vmx/nested_rules.c hv/vmx/vmcs12.c
 */
#include <stdlib.h>
#include <string.h>
#include "hv/vmx/nested_rules.h"
#include "test.h"
#include "vmx_all_caps.h"

static u64 dice(void)
{
	return (u64)random() << 62 ^ (u64)random() << 31 ^ (u64)random();
}

static void test_layout(void)
{
	static struct vmcs12 m;
	u32 wrong = 0, fields = 0;

	CHECK(vmcs12_has(VMCS_PIN_CONTROLS) && vmcs12_has(VMCS_EPTP + 1) &&
		  !vmcs12_has(VMCS_PIN_CONTROLS + 1) && !vmcs12_has(VMCS_VIRTUAL_APIC) &&
		  !vmcs12_has(BIT(32) | VMCS_EPTP) && !vmcs12_has(BIT(12) | VMCS_EPTP),
	      "a field is there by all bits of its encoding");
	for (u32 f = 0; f < 0x8000; f++) {
		if (!vmcs12_has(f))
			continue;
		fields++;
		memset(&m, 0, sizeof(m));
		vmcs12_set(&m, f, ~0ull);
		wrong += m.revision || m.reserved || m.launched || !vmcs12_get(&m, f);
		for (u32 g = 0; g < 0x8000; g++)
			wrong += vmcs12_has(g) && (g | 1) != (f | 1) && vmcs12_get(&m, g);
	}
	CHECK(!wrong && fields > 130, "no two of the %u fields lie over each other", fields);
	memset(&m, 0, sizeof(m));
	*(u64 *)((u8 *)&m + 120) = 0x1122334455667788;
	*(u16 *)((u8 *)&m + 994) = 0x18;
	*(u32 *)((u8 *)&m + 812) = 48;
	CHECK(vmcs12_get(&m, VMCS_EPTP) == 0x1122334455667788 &&
		  vmcs12_get(&m, VMCS_HOST_TR_SEL) == 0x18 &&
		  vmcs12_get(&m, VMCS_EXIT_REASON) == 48,
	      "they lie where KVM has them");
}

static void test_controls(void)
{
	u32 wrong = 0;
	struct vmcs12 m = {0};

	for (u32 i = 0; i < 100000; i++) {
		u32 ours = dice(), its = dice(), got;

		vmcs12_set(&m, VMCS_PROC_CONTROLS, its);
		vmcs12_set(&m, VMCS_PROC2_CONTROLS, dice());
		got = vmcs12_proc(&m, ours);
		wrong += (got & ours) != ours || got & ~(ours | its);
		/* nothing that lets the nested guest do more than its host asks for */
		wrong += (got ^ ours) & (PROC_TPR_SHADOW | PROC_MSR_BITMAP | PROC_IO_BITMAPS |
					 PROC_SECONDARY | PROC_TSC_OFFSET);
		its = vmcs12_its_proc2(&m);
		got = vmcs12_proc2(&m, ours);
		wrong += (ours & ~got &
			  ~(PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES | PROC2_UNRESTRICTED |
			    PROC2_DIRECT)) != 0;
		wrong += (got & ~ours &
			  ~(PROC2_TABLES | PROC2_WBINVD | PROC2_RDRAND | PROC2_RDSEED)) != 0;
		wrong += got & PROC2_DIRECT;
		wrong +=
		    got & ~its & (PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES | PROC2_UNRESTRICTED);
	}
	CHECK(!wrong,
	      "an entry has all controls of the hypervisor's, and of the guest's only exits");
}

static void test_offer(void)
{
	u64 val, must, may;
	u32 wrong = 0;

	for (u32 i = 0; i < 17; i++)
		wrong += nested_cap(MSR_VMX_BASIC + i, CR4_VMXE, &val) != 0;
	CHECK(!wrong && nested_cap(MSR_VMX_BASIC + 17, 0, &val) < 0, "MSRs up to TRUE_ENTRY");
	for (u32 i = 0; i < 4; i++) {
		nested_cap(MSR_VMX_BASIC + 13 + i, 0, &val);
		must = (u32)val;
		may = val >> 32;
		nested_cap(MSR_VMX_BASIC + 1 + i, 0, &val);
		wrong += must & ~may || (u32)val & ~may || must & ~val || val >> 32 != may;
	}
	CHECK(!wrong, "what must be one may be");
	nested_cap(MSR_VMX_BASIC + 14, 0, &val);
	CHECK(!(val >> 32 & (PROC_TPR_SHADOW | BIT(27) | BIT(17))), "no TPR shadow, no trap flag");
	nested_cap(MSR_VMX_BASIC + 13, 0, &val);
	CHECK(!(val >> 32 & (PIN_TIMER | PIN_POSTED)), "no timer, nothing posted");
	nested_cap(MSR_VMX_BASIC + 11, 0, &val);
	CHECK(!(val >> 32 & ~(PROC2_EPT | PROC2_TABLES | PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD |
			      PROC2_UNRESTRICTED | PROC2_INVPCID | PROC2_RDRAND | PROC2_RDSEED)),
	      "and no other secondary control");
}

/* ---- guest state ---- */

static u64 hidden[NESTED_CAPS];
static const struct nested_limits limits = {.cr4 = CR4_PAE | CR4_VMXE,
					    .efer = EFER_LME | EFER_LMA | EFER_SCE,
					    .addr_bits = GENMASK(39, 0),
					    .mode = true,
					    .hidden = hidden};
#define INJECTS(type, vector) (EVT_VALID | (type) << 8 | (vector))
#define NO_QUAL		      -1
#define F(field)	      VMCS_##field

/* One that may be entered but for these fields, as far as they go */
static struct vmcs12 guest_with(const u64 (*fields)[2])
{
	static const u64 good[][2] = {{VMCS_PIN_CONTROLS, 0x16 | PIN_NMI | PIN_VNMI},
				      {VMCS_PROC_CONTROLS, 0x4006172},
				      {VMCS_ENTRY_CONTROLS, 0x11ff | ENTRY_GUEST_64},
				      {VMCS_GUEST_CR0, CR0_PE | CR0_NE | CR0_PG},
				      {VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE},
				      {VMCS_GUEST_RFLAGS, 2 | RFLAGS_IF},
				      {VMCS_GUEST_DR7, 0x400},
				      {VMCS_LINK_POINTER, ~0ull}};
	struct vmcs12 m = {0};

	for (u32 i = 0; i < ARRAY_SIZE(good); i++)
		vmcs12_set(&m, good[i][0], good[i][1]);
	for (; (*fields)[0]; fields++)
		vmcs12_set(&m, (*fields)[0], (*fields)[1]);
	return m;
}

#define MAY_STEP (2 | RFLAGS_IF | RFLAGS_TF)
static const struct guest_case {
	const char *what;
	int qual;
	u64 fields[5][2];
} guest_cases[] = {
    {"what may be entered", NO_QUAL, {{0}}},
    /* DEBUGCTL */
    {"DEBUGCTL with LBR and BTF", NO_QUAL, {{F(GUEST_DEBUGCTL), 3}}},
    {"DEBUGCTL with a bit that there is not", 0, {{F(GUEST_DEBUGCTL), BIT(2)}}},
    {"one in its upper half", 0, {{F(GUEST_DEBUGCTL), BIT(63)}}},
    {"which is not loaded", NO_QUAL, {{F(GUEST_DEBUGCTL), BIT(2)}, {F(ENTRY_CONTROLS), 0x13fb}}},
    {"DR7's upper half", 0, {{F(GUEST_DR7), BIT(32)}}},
    /* activity */
    {"HLT", NO_QUAL, {{F(ACTIVITY), 1}}},
    {"shutdown", 0, {{F(ACTIVITY), 2}}},
    {"a wait for SIPI", 0, {{F(ACTIVITY), 3}}},
    {"no activity at all", 0, {{F(ACTIVITY), 4}}},
    {"HLT of a program", 0, {{F(ACTIVITY), 1}, {F(GUEST_SS_AR), FIELD_PREP(AR_DPL, 3)}}},
    {"HLT behind STI", 0, {{F(ACTIVITY), 1}, {F(INTERRUPTIBILITY), SHADOW_STI}}},
    {"HLT behind MOV SS", 0, {{F(ACTIVITY), 1}, {F(INTERRUPTIBILITY), SHADOW_MOV_SS}}},
    {"HLT, NMIs blocked", NO_QUAL, {{F(ACTIVITY), 1}, {F(INTERRUPTIBILITY), BLOCKED_NMI}}},
    {"HLT and an interrupt", NO_QUAL, {{F(ACTIVITY), 1}, {F(ENTRY_INTR_INFO), INJECTS(0, 64)}}},
    {"HLT and an NMI", NO_QUAL, {{F(ACTIVITY), 1}, {F(ENTRY_INTR_INFO), INJECTS(2, 2)}}},
    {"HLT and #DB", NO_QUAL, {{F(ACTIVITY), 1}, {F(ENTRY_INTR_INFO), INJECTS(3, 1)}}},
    {"HLT and #MC", NO_QUAL, {{F(ACTIVITY), 1}, {F(ENTRY_INTR_INFO), INJECTS(3, 18)}}},
    {"HLT and #UD", 0, {{F(ACTIVITY), 1}, {F(ENTRY_INTR_INFO), INJECTS(3, 6)}}},
    {"HLT and INT n", 0, {{F(ACTIVITY), 1}, {F(ENTRY_INTR_INFO), INJECTS(4, 64)}}},
    /* what blocks */
    {"STI and MOV SS", 0, {{F(INTERRUPTIBILITY), SHADOW_STI | SHADOW_MOV_SS}}},
    {"STI, IF clear", 0, {{F(INTERRUPTIBILITY), SHADOW_STI}, {F(GUEST_RFLAGS), 2}}},
    {"SMIs blocked", 0, {{F(INTERRUPTIBILITY), BIT(2)}}},
    {"an enclave", 0, {{F(INTERRUPTIBILITY), BIT(4)}}},
    {"an interrupt behind STI",
     0,
     {{F(INTERRUPTIBILITY), SHADOW_STI}, {F(ENTRY_INTR_INFO), INJECTS(0, 64)}}},
    {"an NMI behind MOV SS",
     0,
     {{F(INTERRUPTIBILITY), SHADOW_MOV_SS}, {F(ENTRY_INTR_INFO), INJECTS(2, 2)}}},
    {"an NMI behind STI",
     3,
     {{F(INTERRUPTIBILITY), SHADOW_STI}, {F(ENTRY_INTR_INFO), INJECTS(2, 2)}}},
    {"an NMI while they are blocked",
     0,
     {{F(INTERRUPTIBILITY), BLOCKED_NMI}, {F(ENTRY_INTR_INFO), INJECTS(2, 2)}}},
    /* single steps */
    {"a step that waits for the end of a shadow",
     NO_QUAL,
     {{F(INTERRUPTIBILITY), SHADOW_MOV_SS},
      {F(GUEST_RFLAGS), MAY_STEP},
      {F(PENDING_DEBUG), DR6_BS}}},
    {"one that does not", 0, {{F(INTERRUPTIBILITY), SHADOW_MOV_SS}, {F(GUEST_RFLAGS), MAY_STEP}}},
    {"one without TF", 0, {{F(INTERRUPTIBILITY), SHADOW_STI}, {F(PENDING_DEBUG), DR6_BS}}},
    {"one of HLT", 0, {{F(ACTIVITY), 1}, {F(GUEST_RFLAGS), MAY_STEP}}},
    {"with BTF there is none",
     NO_QUAL,
     {{F(INTERRUPTIBILITY), SHADOW_MOV_SS}, {F(GUEST_RFLAGS), MAY_STEP}, {F(GUEST_DEBUGCTL), 2}}},
    {"and must not be",
     0,
     {{F(INTERRUPTIBILITY), SHADOW_MOV_SS},
      {F(GUEST_RFLAGS), MAY_STEP},
      {F(GUEST_DEBUGCTL), 2},
      {F(PENDING_DEBUG), DR6_BS}}},
    {"without a shadow it is free", NO_QUAL, {{F(PENDING_DEBUG), DR6_BS}}},
    {"a link pointer", 4, {{F(LINK_POINTER), 0x1000}}},
};

static void test_guest_state(void)
{
	struct vmcs12 m;

	for (u32 i = 0; i < ARRAY_SIZE(guest_cases); i++) {
		const struct guest_case *c = &guest_cases[i];
		int qual;

		m = guest_with(c->fields);
		qual = vmcs12_guest_refused(&m, &limits);
		CHECK(qual == c->qual, "guest state: %s (%d)", c->what, qual);
	}
	m = guest_with((const u64[][2]){{VMCS_ACTIVITY, 1}, {0}});
	nested_hide(MSR_VMX_BASIC + 5, 0, 0, &hidden[5]);
	CHECK(hidden[5] & BIT(6) && vmcs12_guest_refused(&m, &limits) < 0,
	      "HLT is taken where its VMM hides that: an exit may have saved it");
	hidden[5] = 0;
}

/* The four entries of PAE paging */
static void test_pdptes(void)
{
	static const u64 none[][2] = {{0}};
	u64 e[4] = {0x1000 | BIT(0), BIT(39) | BIT(0) | GENMASK(4, 3) | GENMASK(11, 9), ~1ull, 0};
	struct vmcs12 m = guest_with(none);
	u32 wrong = 0;

	CHECK(!vmcs12_loads_pdptes(&m), "in long mode there are no PDPTEs");
	vmcs12_set(&m, VMCS_ENTRY_CONTROLS, 0x11ff);
	CHECK(vmcs12_loads_pdptes(&m), "with PAE there are");
	vmcs12_set(&m, VMCS_PROC2_CONTROLS, PROC2_EPT);
	CHECK(vmcs12_loads_pdptes(&m), "whatever controls that are off say");
	vmcs12_set(&m, VMCS_PROC_CONTROLS, 0x4006172 | PROC_SECONDARY);
	CHECK(!vmcs12_loads_pdptes(&m), "with EPT they are the VMCS's");
	vmcs12_set(&m, VMCS_PROC2_CONTROLS, 0);
	vmcs12_set(&m, VMCS_GUEST_CR0, CR0_PE | CR0_NE);
	CHECK(!vmcs12_loads_pdptes(&m), "without paging there are none");
	vmcs12_set(&m, VMCS_GUEST_CR0, CR0_PE | CR0_NE | CR0_PG);
	vmcs12_set(&m, VMCS_GUEST_CR4, CR4_VMXE);
	CHECK(!vmcs12_loads_pdptes(&m), "nor without PAE");
	CHECK(vmcs12_pdptes_valid(e, GENMASK(39, 0)),
	      "bits that are ignored, and all of one that is not present, may be set");
	for (u32 i = 0; i < 4; i++)
		for (u32 bit = 0; bit < 64; bit++) {
			bool is_reserved =
			    bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 40;
			u64 was = e[i];

			e[i] = BIT(0) | BIT(bit);
			wrong += vmcs12_pdptes_valid(e, GENMASK(39, 0)) == is_reserved;
			e[i] = was;
		}
	CHECK(!wrong, "reserved ones may not, in any of the four");
}

static void test_owners(void)
{
	static const u8 always[] = {2,	9,  10, 11, 13, 18, 19, 20, 21,
				    22, 23, 24, 25, 26, 27, 50, 53, 55},
			never[] = {1, 3, 5, 6, 41, 43, 45, 48, 49, 52, 56, 60, 70, 74, 75, 76, 77},
			asked[] = {7,  8,  12, 14, 15, 16, 29, 36, 39,
				   40, 46, 47, 51, 54, 57, 58, 61};
	struct vmcs12 none = {0}, all = {0};
	u32 wrong = 0;

	vmcs12_set(&all, VMCS_PROC_CONTROLS, ~0u & ~(PROC_IO_BITMAPS | PROC_MSR_BITMAP));
	vmcs12_set(&all, VMCS_PROC2_CONTROLS, ~0u);
	for (u32 i = 0; i < ARRAY_SIZE(always); i++)
		wrong += vmcs12_owner(&none, always[i], 0, 0, 0) != NESTED_GUESTS;
	for (u32 i = 0; i < ARRAY_SIZE(never); i++)
		wrong += vmcs12_owner(&all, never[i], 0, 0, 0) != NESTED_OURS;
	for (u32 i = 0; i < ARRAY_SIZE(asked); i++)
		wrong += vmcs12_owner(&none, asked[i], 0, 0, 0) != NESTED_OURS ||
			 vmcs12_owner(&all, asked[i], 0, 0, 0) != NESTED_GUESTS;
	CHECK(!wrong, "an exit is the guest's always, never, or by its control");
	vmcs12_set(&all, VMCS_EXCEPTIONS, ~0u);
	CHECK(vmcs12_owner(&all, 0, 0, 0, EVT_VALID | 2 << 8 | 2) == NESTED_OURS &&
		  vmcs12_owner(&all, 0, 0, 0, EVT_VALID | 3 << 8 | VEC_MC) == NESTED_OURS &&
		  vmcs12_owner(&all, 0, 0, 0, EVT_VALID | 3 << 8 | VEC_GP) == NESTED_GUESTS &&
		  vmcs12_owner(&none, 0, 0, 0, EVT_VALID | 3 << 8 | VEC_GP) == NESTED_OURS,
	      "the machine's NMIs and machine checks are never the guest's");
	CHECK(vmcs12_owner(&none, EXIT_RDMSR, 0, 0, 0) == NESTED_GUESTS &&
		  vmcs12_owner(&none, EXIT_IO, 0, 0, 0) == NESTED_OURS,
	      "without bitmaps all MSRs are its, and ports by the control");
	vmcs12_set(&all, VMCS_PROC_CONTROLS, ~0u);
	CHECK(vmcs12_owner(&all, EXIT_WRMSR, 0, 0, 0) == NESTED_BY_MAP &&
		  vmcs12_owner(&all, EXIT_IO, 0, 0, 0) == NESTED_BY_MAP,
	      "with them, by these");
}

/* An EPT entry gives no right that it has not. */
static void test_ept_entries(void)
{
	u32 wrong = 0, good = 0;

	for (u32 i = 0; i < 200000; i++) {
		u64 e = dice();
		u32 level = 1 + i % 4;
		bool bad, large = level > 1 && e & BIT(7);
		u64 pte;

		if (i & 4) /* likely ones */
			e = (e & ~GENMASK(6, 3)) | (level == 1 || large ? 6 << 3 : 0);
		pte = vmcs12_ept_as_pte(e, level, &bad);
		if (!(e & 7)) {
			wrong += pte || bad;
			continue;
		}
		wrong += !(e & 1) && !bad;
		wrong += level == 4 && large && !bad;
		if (bad)
			continue;
		good++;
		wrong += !(pte & 1) || !(pte & 2) == !!(e & 2) || !(pte >> 63) != !!(e & 4);
		wrong += (pte ^ e) & GENMASK(51, 12) || (level > 1 && (pte ^ e) & BIT(7));
	}
	CHECK(!wrong && good > 10000, "EPT entries are read as what they allow");
}

int main(void)
{
	srandom(7);
	nested_rules_setup(&all_caps, &(struct vmx_controls){.proc2 = ~0u});
	test_layout();
	test_controls();
	test_offer();
	test_guest_state();
	test_pdptes();
	test_owners();
	test_ept_entries();
	return test_end();
}
