/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Enlightened VMCSs: of a guest that takes its host for Hyper-V and writes the VMCSs of its guests
 * as memory. As in vmx_nested_test.c.
 * links: tests/unit/rest.c hv/vmx/caps.c hv/vmx/decode.c hv/vmx/nested_rules.c hv/vmx/vmcs12.c
 * hv/guest/shadow.c hv/guest/hvm.c hv/guest/inject.c hv/emul/walk.c hv/mm/p2m.c hv/mm/pt.c
 * hv/mm/pool.c hv/mm/frame.c
 */
#include "vmx_guest.h"
#include "hv/vmx/direct.c"
#include "hv/vmx/event.c"
#include "hv/vmx/evmcs.c"
#include "hv/vmx/state.c"
#include "hv/vmx/vmx.c"
#include "hv/vmx/nested.c"
#include "hv/vmx/nested_area.c"
#include "hv/vmx/nested_ept.c"
#include "hv/vmx/nested_event.c"
#include "hv/vmx/nested_run.c"
#include "hv/vmx/nested_state.c"

#define ASSIST_GFN 4ull
#define EVMCS_GFN  5ull
#define EVMCS_AT   (EVMCS_GFN << PAGE_SHIFT)
/* Places in the page, as TLFS has them */
#define E_HOST_RIP	80
#define E_PIN		92
#define E_GUEST_CR0	544
#define E_INSN_ERROR	688
#define E_EXIT_REASON	692
#define E_QUALIFICATION 720
#define E_EXCEPTIONS	792
#define E_GUEST_RIP	816
#define E_CLEAN		824

static struct corbel_vcpu_page page;

static void put32(u64 gfn, u32 at, u32 val)
{
	memcpy((u8 *)mem(gfn) + at, &val, sizeof(val));
}

static void put64(u64 gfn, u32 at, u64 val)
{
	memcpy((u8 *)mem(gfn) + at, &val, sizeof(val));
}

static u32 get32(u32 at)
{
	u32 val;

	memcpy(&val, (u8 *)mem(EVMCS_GFN) + at, sizeof(val));
	return val;
}

static u64 get64(u32 at)
{
	return get32(at) | (u64)get32(at + 4) << 32;
}

static void name_evmcs(u8 enlightened, u64 at)
{
	put32(ASSIST_GFN, 40, enlightened);
	put64(ASSIST_GFN, 48, at);
}

/* In VMX operation, with an eVMCS that can be launched, and no other. */
static void begin_enlightened(void)
{
	static const struct {
		u16 at, bytes;
		u64 val;
	} fields[] = {
	    {0, 4, 1},
	    {10, 2, 8},	 /* host CS */
	    {20, 2, 24}, /* host TR */
	    {40, 8, CR0_PE | CR0_PG | CR0_NE},
	    {56, 8, CR4_PAE | CR4_VMXE},
	    {E_HOST_RIP, 8, 0x2222},
	    {E_PIN, 4, 0x16},
	    {96, 4, 0x36dfb | EXIT_HOST_64},
	    {416, 8, ~0ull}, /* link pointer */
	    {E_GUEST_CR0, 8, CR0_PE | CR0_PG | CR0_NE},
	    {560, 8, CR4_PAE | CR4_VMXE},
	    {776, 8, 2}, /* RFLAGS */
	    {788, 4, PROC_MIN},
	    {796, 4, 0x11fb | ENTRY_GUEST_64},
	    {E_GUEST_RIP, 8, 0x1111},
	};

	begin();
	page = (struct corbel_vcpu_page){.evmcs = 1};
	vcpu.page = &page;
	vcpu.services = CORBEL_HYPERV_MSRS;
	vcpu.lapic.pv_eoi = ASSIST_GFN << PAGE_SHIFT | 1;
	name_evmcs(1, EVMCS_AT);
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
		memcpy((u8 *)mem(EVMCS_GFN) + fields[i].at, &fields[i].val, fields[i].bytes);
	insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT);
}

static void each_field(void (*what)(u32 field, u64 nr))
{
	u64 nr = 0;

	for (u32 i = 0; i < vmcs12_range_count; i++)
		for (u32 k = 0; k < vmcs12_ranges[i].count; k++)
			what(vmcs12_ranges[i].first + 2 * k, ++nr);
}

static struct vmcs12 out, in;
static u32 wrong;

static void set_field(u32 field, u64 nr)
{
	vmcs12_set(&out, field, nr * 0x0101010101010101ull);
}

static void compare_field(u32 field, u64 nr)
{
	wrong += vmcs12_get(&in, field) != vmcs12_get(&out, field) || !vmcs12_get(&in, field);
}

/* Whatever VMX MSRs offer has its fields in an eVMCS; so no control has to be kept from it. */
static void test_layout(void)
{
	static const struct {
		u16 at, bytes;
	} free[] = {{4, 4},   {22, 2},	 {296, 24}, {344, 32}, {408, 8},
		    {634, 6}, {640, 40}, {728, 32}, {812, 4},  {828, 4}};
	u8 *p;
	u32 touched = 0;

	begin_enlightened();
	p = mem(EVMCS_GFN);
	each_field(set_field);
	memset(p + 4, 0xa5, PAGE_SIZE - 4);
	CHECK(!evmcs_store(&vcpu, EVMCS_AT, &out) && !evmcs_load(&vcpu, EVMCS_AT, &in),
	      "all fields of a VMCS go into an eVMCS, and come back");
	each_field(compare_field);
	CHECK(!wrong, "each has a place of its own there (%u have not)", wrong);
	for (u32 i = 0; i < ARRAY_SIZE(free); i++)
		for (u32 k = 0; k < free[i].bytes; k++)
			touched += p[free[i].at + k] != 0xa5;
	CHECK(!touched && get32(0) == 1, "what lies between is left alone (%u bytes)", touched);
	CHECK(get64(E_GUEST_RIP) == vmcs12_get(&out, VMCS_GUEST_RIP) &&
		  get64(E_HOST_RIP) == vmcs12_get(&out, VMCS_HOST_RIP) &&
		  get64(E_GUEST_CR0) == vmcs12_get(&out, VMCS_GUEST_CR0) &&
		  get32(E_PIN) == vmcs12_get(&out, VMCS_PIN_CONTROLS) &&
		  get32(E_EXCEPTIONS) == vmcs12_get(&out, VMCS_EXCEPTIONS) &&
		  get64(E_QUALIFICATION) == vmcs12_get(&out, VMCS_QUALIFICATION),
	      "they are where TLFS has them");
	CHECK(get32(E_CLEAN) == 0xffff, "all are clean then");
	end();
}

static void test_entry(void)
{
	begin_enlightened();
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && vcpu.rip == 0x1111 && vmx_nested(&vcpu)->current == NOWHERE,
	      "VMLAUNCH enters what the assist page names, without VMPTRLD");
	put32(EVMCS_GFN, E_EXCEPTIONS, BIT(VEC_GP));
	put64(EVMCS_GFN, E_HOST_RIP, 0x6666);
	run_to(NULL);
	CHECK(seen[VMCS_EXCEPTIONS] == HVM_OUR_EXCEPTIONS, "as it was then: it is read once");
	run_to(does_cpuid);
	CHECK(!vcpu.guest_mode && vcpu.rip == 0x2222 && get32(E_EXIT_REASON) == EXIT_CPUID &&
		  get64(E_GUEST_RIP) == 0x3333 && get32(E_CLEAN) == 0xffff,
	      "an exit is told in its memory, and the guest goes on where it said");
	put64(EVMCS_GFN, E_GUEST_RIP, 0x4444);
	put32(EVMCS_GFN, E_EXCEPTIONS, BIT(VEC_GP));
	insn(EXIT_VMRESUME, 0);
	run_to(NULL);
	CHECK(vcpu.guest_mode && vcpu.rip == 0x4444 && seen[VMCS_EXCEPTIONS] & BIT(VEC_GP),
	      "VMRESUME takes what is new, although it is called clean");
	run_to(does_cpuid);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode, "VMLAUNCH does as well: it has no launch state");
	run_to(does_cpuid);
	put32(EVMCS_GFN, 0, VMCS12_REVISION);
	insn(EXIT_VMRESUME, 0);
	CHECK(vcpu.guest_mode, "its revision may be that of VMX_BASIC");
	end();
}

static u64 read_field(u32 field)
{
	fetched.insn = (struct insn){.reg = RCX, .rm = RBX};
	vcpu.gpr[RCX] = field;
	vcpu.gpr[RBX] = 0;
	insn(EXIT_VMREAD, 0);
	fetched.insn = (struct insn){.has_mem = true};
	return vcpu.gpr[RBX];
}

static void test_insns(void)
{
	u8 before[PAGE_SIZE];

	begin_enlightened();
	CHECK(read_field(VMCS_GUEST_RIP) == 0x1111 && !failed(), "VMREAD reads its memory");
	put64(EVMCS_GFN, E_GUEST_RIP, 0x7777);
	CHECK(read_field(VMCS_GUEST_RIP) == 0x7777, "as it is now");
	CHECK(!read_field(VMCS_POSTED_DESCRIPTOR) && vcpu.rflags & RFLAGS_ZF &&
		  get32(E_INSN_ERROR) == NO_FIELD,
	      "a field that there is not is told there");
	memcpy(before, mem(EVMCS_GFN), sizeof(before));
	insn(EXIT_VMWRITE, 5);
	CHECK(vcpu.rflags & RFLAGS_CF, "VMWRITE finds no VMCS");
	insn(EXIT_VMCLEAR, EVMCS_AT);
	CHECK(!failed() && !memcmp(before, mem(EVMCS_GFN), sizeof(before)),
	      "VMCLEAR leaves it as it is");
	insn(EXIT_VMPTRST, 0);
	CHECK(operand == NOWHERE, "VMPTRST knows of none");
	put32(EVMCS_GFN, E_PIN, 0);
	memcpy(before, mem(EVMCS_GFN), sizeof(before));
	insn(EXIT_VMLAUNCH, 0);
	CHECK(!vcpu.guest_mode && vcpu.rflags & RFLAGS_ZF &&
		  get32(E_INSN_ERROR) == 7 /* controls */,
	      "controls that are refused are told there");
	memcpy(before + E_INSN_ERROR, (u8 *)mem(EVMCS_GFN) + E_INSN_ERROR, sizeof(u32));
	CHECK(!memcmp(before, mem(EVMCS_GFN), sizeof(before)), "and nothing else is");
	put32(EVMCS_GFN, E_PIN, 0x16);
	put64(EVMCS_GFN, E_GUEST_CR0, CR0_PG);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(!vcpu.guest_mode && vcpu.rip == 0x2222 &&
		  get32(E_EXIT_REASON) == (EXIT_ENTRY_FAILED | EXIT_BAD_GUEST),
	      "guest state that is refused is an exit");
	end();
}

/* An ordinary VMCS beside it */
static void test_other(void)
{
	begin_enlightened();
	name_evmcs(0, EVMCS_AT);
	insn(EXIT_VMPTRLD, VMCS_GFN << PAGE_SHIFT);
	put12(VMCS_GUEST_RIP, 0x8888);
	name_evmcs(1, EVMCS_AT);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && vcpu.rip == 0x1111 &&
		  vmcs12_get(mem(VMCS_GFN), VMCS_GUEST_RIP) == 0x8888,
	      "the VMCS that was current is put away");
	run_to(does_cpuid);
	name_evmcs(0, EVMCS_AT);
	insn(EXIT_VMPTRLD, VMCS_GFN << PAGE_SHIFT);
	CHECK(!failed() && vmcs12_get(m12(), VMCS_GUEST_RIP) == 0x8888, "and can come back");
	insn(EXIT_VMCLEAR, VMCS_GFN << PAGE_SHIFT);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.rflags & RFLAGS_CF && read_field(VMCS_GUEST_RIP) == 0,
	      "when it has gone there is none, for nothing is named");
	end();
}

static void launch_fails(const char *what)
{
	vcpu.rflags = 0;
	CHECK(insn(EXIT_VMLAUNCH, 0) == 0xff && vcpu.rflags & RFLAGS_CF && !vcpu.guest_mode,
	      "%s is VMfailInvalid", what);
}

static void make_device(u64 gfn)
{
	p2m_unmap(&guest.p2m, gfn, 1);
	BUG_ON(p2m_set_mmio(&guest.p2m, gfn, 0));
}

static void test_refused(void)
{
	begin_enlightened();
	page.evmcs = 0;
	launch_fails("without the VMM's leave VMLAUNCH");
	page.evmcs = 1;
	vcpu.services = 0;
	launch_fails("without Hyper-V in CPUID it");
	vcpu.services = CORBEL_HYPERV_MSRS;
	vcpu.lapic.pv_eoi &= ~1ull;
	launch_fails("without an assist page it");
	vcpu.lapic.pv_eoi = 15ull << PAGE_SHIFT | 1;
	make_device(15);
	launch_fails("with one that is not memory it");
	vcpu.lapic.pv_eoi = ASSIST_GFN << PAGE_SHIFT | 1;
	name_evmcs(0, EVMCS_AT);
	launch_fails("where that names none it");
	name_evmcs(1, ~0ull);
	launch_fails("or nowhere it");
	name_evmcs(1, EVMCS_AT);
	put32(EVMCS_GFN, 0, 2);
	launch_fails("another version");
	put32(EVMCS_GFN, 0, 1);
	name_evmcs(1, EVMCS_AT + 8);
	CHECK(insn(EXIT_VMLAUNCH, 0) == VEC_UD, "one that is not aligned is #UD");
	name_evmcs(1, BIT(40));
	CHECK(insn(EXIT_VMLAUNCH, 0) == VEC_UD, "so is one beyond all");
	CHECK(!read_field(VMCS_GUEST_RIP) && vcpu.rflags & RFLAGS_CF, "which VMREAD finds not");
	name_evmcs(1, 15ull << PAGE_SHIFT);
	CHECK(insn(EXIT_VMLAUNCH, 0) == VEC_UD, "or one that is not memory");
	end();
}

/* Memory that dom0 has to bring, or has taken */
static void test_missing(void)
{
	begin_enlightened();
	p2m_unmap(&guest.p2m, EVMCS_GFN, 1);
	vcpu.rip = 0x5000;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.stop_reason == CORBEL_EXIT_MEM_FAULT && vcpu.rip == 0x5000 && !vcpu.guest_mode,
	      "an eVMCS that is to be brought is waited for");
	vcpu.stop_reason = 0;
	BUG_ON(p2m_map(&guest.p2m, EVMCS_GFN, FIRST + EVMCS_GFN, 0, RIGHTS));
	insn(EXIT_VMLAUNCH, 0);
	p2m_unmap(&guest.p2m, EVMCS_GFN, 1);
	run_to(does_cpuid);
	CHECK(vcpu.stop_reason == CORBEL_EXIT_MEM_FAULT && vmx_nested_is_leaving(&vcpu),
	      "so it is by an exit");
	vcpu.stop_reason = 0;
	BUG_ON(p2m_map(&guest.p2m, EVMCS_GFN, FIRST + EVMCS_GFN, 0, RIGHTS));
	vcpu.complete(&vcpu);
	CHECK(!vcpu.guest_mode && get32(E_EXIT_REASON) == EXIT_CPUID, "which ends then");
	vcpu.complete = NULL;
	insn(EXIT_VMRESUME, 0);
	make_device(EVMCS_GFN);
	run_to(does_cpuid);
	CHECK(!vcpu.guest_mode && vcpu.stop_reason == CORBEL_EXIT_SHUTDOWN,
	      "one that is no memory any more is a VMX abort");
	end();
}

static void test_state(void)
{
	static struct corbel_nested s, bad;

	begin_enlightened();
	insn(EXIT_VMLAUNCH, 0);
	run_to(NULL);
	vcpu.rip = 0x4444;
	CHECK(!vmx_nested_get_state(&vcpu, &s) && s.vmcb_pa == NOWHERE &&
		  s.flags == (CORBEL_NESTED_GUEST_MODE | CORBEL_NESTED_EVMCS) &&
		  vmcs12_get((void *)s.vmcb, VMCS_GUEST_RIP) == 0x4444,
	      "the state of a nested guest by an eVMCS");
	vmx_nested_off(&vcpu);
	CHECK(!vmx_nested_set_state(&vcpu, &s) && vcpu.guest_mode, "is restored");
	CHECK(!vmx_nested_get_state(&vcpu, &bad) && bad.flags == s.flags, "and told again");
	name_evmcs(1, 6ull << PAGE_SHIFT);
	run_to(does_cpuid);
	CHECK(!vcpu.guest_mode && ((u32 *)mem(6))[E_EXIT_REASON / 4] == EXIT_CPUID,
	      "the exit is told where the assist page says");
	CHECK(!vmx_nested_get_state(&vcpu, &bad) && !bad.flags && bad.vmcb_pa == NOWHERE,
	      "outside guest mode the guest's memory has all of it");
	bad = s;
	bad.flags = CORBEL_NESTED_EVMCS;
	CHECK(!vmx_nested_set_state(&vcpu, &bad) && !vcpu.guest_mode, "which KVM tells besides");
	bad.flags = CORBEL_NESTED_GUEST_MODE;
	CHECK(vmx_nested_set_state(&vcpu, &bad) == -EINVAL, "guest mode is by some VMCS");
	bad = s;
	bad.vmcb_pa = VMCS_GFN << PAGE_SHIFT;
	CHECK(vmx_nested_set_state(&vcpu, &bad) == -EINVAL, "and not by two");
	bad = s;
	bad.vmxon_pa = NOWHERE;
	CHECK(vmx_nested_set_state(&vcpu, &bad) == -EINVAL, "in VMX operation");
	bad = s;
	bad.vmcb[0] ^= 1;
	CHECK(vmx_nested_set_state(&vcpu, &bad) == -EINVAL, "of the revision that there is");
	bad.vmcb[0] ^= 1;
	bad.flags = CORBEL_NESTED_PENDING | CORBEL_NESTED_EVMCS;
	CHECK(vmx_nested_set_state(&vcpu, &bad) == -EINVAL, "an injection is a nested guest's");
	page.evmcs = 0;
	CHECK(vmx_nested_set_state(&vcpu, &s) == -EINVAL, "all of it by the VMM's leave");
	page.evmcs = 1;
	CHECK(!vmx_nested_set_state(&vcpu, &s), "with which it is restored");
	name_evmcs(0, EVMCS_AT);
	run_to(does_cpuid);
	CHECK(!vcpu.guest_mode && vcpu.stop_reason == CORBEL_EXIT_SHUTDOWN,
	      "an exit to nowhere is a VMX abort");
	end();
}

int main(void)
{
	arena_init(256 * MB);
	nested_rules_setup(&all_caps, &(struct vmx_controls){.proc2 = ~0u});
	test_layout();
	test_entry();
	test_insns();
	test_other();
	test_refused();
	test_missing();
	test_state();
	return test_end();
}
