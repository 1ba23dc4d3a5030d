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
			  ~(PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES | PROC2_DIRECT)) != 0;
		wrong += (got & ~ours &
			  ~(PROC2_TABLES | PROC2_WBINVD | PROC2_RDRAND | PROC2_RDSEED)) != 0;
		wrong += got & PROC2_DIRECT;
		wrong += got & ~its & (PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES);
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
	test_owners();
	test_ept_entries();
	return test_end();
}
