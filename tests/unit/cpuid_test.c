/*
 * links: hv/guest/cpuid.c hv/cpu/alike.c hv/guest/rights.c hv/guest/msr.c hv/guest/pv.c
 * hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c hv/guest/lapic_timer.c hv/cpu/timer.c
 * hv/cpu/tsc.c hv/lib/scale.c -no-pie hv/guest/mce.c tests/unit/rest.c
 */
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is shown of a CPU that has everything, known today or not: each bit keeps what it promises.
 */
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/hyperv.h"
#include "hv/guest/inject.h"
#include "hv/guest/msr.h"
#include "fake_machine.h"

/* The MSRs that dom0 drives the machine by: this one has them all. */
static int fake_rdmsr(u32 msr, u64 *val)
{
	*val = 0;
	return 0;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	return 0;
}

#include "hv/cpu/ucode.h"
#include "hv/lib/asm.h"
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#include "hv/dom0/machine_msr.c"

static const struct vm_ops dom0_ops = {.msr = machine_msr, .cpuid = machine_cpuid};

/* ---- what machine checks would do to a vCPU ---- */
void vcpu_shutdown(struct vcpu *v)
{
}

void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error)
{
}

/* ---- a CPU with all bits of the feature words set ---- */
static u32 signature = ~0u;
static u32 leaf_max, extended_max, vendor, hidden_8b, node_ids;
static u32 address_bits = 0x3034; /* of linear and physical addresses */

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = ~0u;
	switch (leaf) {
	case 0:
		*a = leaf_max;
		*b = vendor;
		break;
	case 1:
		*a = signature;
		break;
	case 0x80000008:
		*a = address_bits;
		*b &= ~hidden_8b;
		break;
	case 4:
		*a = subleaf ? 0 : 0x121; /* no more caches */
		break;
	case 0x8000001d:
		*a = 0;
		break;
	case 0x8000001e:
		*b = node_ids;
		break;
	case 0x80000000:
		*a = extended_max;
		break;
	case 0xd:
		if (subleaf >= 2)
			*a = 64, *b = 576 + subleaf * 64;
		break;
	default:
		break;
	}
}

static u32 revision;

u32 ucode_revision(void)
{
	return revision;
}

static u32 own_leaf; /* of performance counters */

u32 pmu_leaf(bool dom0)
{
	return own_leaf;
}

/* ---- a back end that keeps the MSRs of system calls ---- */
static int fake_msr_get(struct vcpu *v, u32 msr, u64 *val)
{
	*val = 0;
	return (msr >= 0x174 && msr <= 0x176) || (msr >= MSR_STAR && msr <= MSR_SFMASK) ||
		       (msr >= 0xc0000100 && msr <= MSR_KERNEL_GS_BASE)
		   ? 0
		   : -ENOENT;
}

static u64 fake_cr0, fake_cr4, fake_efer;
static u32 reached; /* values that the back end got */
static u64 insns;   /* the last HVM_INSNS */

static u64 fake_get(struct vcpu *v, enum hvm_reg r)
{
	if (r == HVM_EFER)
		return fake_efer;
	return r == HVM_CR4 ? fake_cr4 : r == HVM_CR0 ? fake_cr0 : 0;
}

static void fake_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	if (r == HVM_INSNS)
		insns = val;
	reached++;
}

static int fake_msr_set(struct vcpu *v, u32 msr, u64 val)
{
	u64 known;

	if (msr == MSR_SFMASK && val >> 32)
		return -EINVAL;
	reached += !fake_msr_get(v, msr, &known) || msr == MSR_PAT;
	return fake_msr_get(v, msr, &known);
}

static void fake_set_tsc(struct vcpu *v)
{
	reached++;
}

static struct hvm_ops ops = {.get = fake_get,
			     .set = fake_set,
			     .msr_get = fake_msr_get,
			     .msr_set = fake_msr_set,
			     .set_tsc = fake_set_tsc};
const struct hvm_ops *hvm = &ops;
struct hvm_caps hvm_caps;
u32 quirks;
u64 xcr0_host;
u32 phys_bits = 46;
struct spec_plan spec;

void spec_set_ssbd(bool on)
{
}

void spec_set(u64 ctrl)
{
}

u64 sched_steal(const struct sched_unit *u, u64 now)
{
	return 0;
}

int hyperv_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	return -ENOENT;
}

int hyperv_msr_write(struct vcpu *v, u32 msr, u64 val)
{
	return -ENOENT;
}

bool vm_may_log(struct vm *vm, u32 bytes)
{
	return false;
}

void sched_give_way(struct sched_unit *from, struct sched_unit *to)
{
}

/*
 * What software may do when it sees a bit, by SDM and APM: set these bits of CR4, XCR0 and EFER,
 * read these MSRs. Instructions that need no more than their bit are listed too: what is not in
 * this table must not be shown.
 */
#define XCR0_AVX_WHOLE 0x6u
#define XCR0_AVX512    0xe6u
#define XCR0_PKRU      BIT(9)

struct promise {
	u32 leaf, sub, reg;
	u32 bits;
	u64 cr4, xcr0, efer;
	u32 msr[4];
};

static const struct promise promises[] = {
    /* only instructions, or nothing at all */
    {1, 0, ECX,
     CPUID_1C_SSE3 | CPUID_1C_PCLMUL | CPUID_1C_SSSE3 | CPUID_1C_CX16 | CPUID_1C_SSE41 |
	 CPUID_1C_SSE42 | CPUID_1C_MOVBE | CPUID_1C_POPCNT | CPUID_1C_AES | CPUID_1C_RDRAND |
	 CPUID_1C_HYPERVISOR},
    {1, 0, ECX, CPUID_1C_FMA | CPUID_1C_AVX | CPUID_1C_F16C, .cr4 = CR4_OSXSAVE,
     .xcr0 = XCR0_AVX_WHOLE},
    {1, 0, ECX, CPUID_1C_PCID, .cr4 = CR4_PCIDE},
    {1, 0, ECX, CPUID_1C_EST, .msr = {0x198, 0x199}},
    {1, 0, ECX, CPUID_1C_X2APIC, .msr = {MSR_APIC_BASE}},
    {1, 0, ECX, CPUID_1C_TSC_DEADLINE, .msr = {MSR_TSC_DEADLINE}},
    {1, 0, ECX, CPUID_1C_XSAVE, .cr4 = CR4_OSXSAVE, .xcr0 = 3},
    {1, 0, EDX,
     CPUID_1D_FPU | CPUID_1D_CX8 | CPUID_1D_CMOV | CPUID_1D_PSE36 | CPUID_1D_CLFSH | CPUID_1D_MMX |
	 CPUID_1D_HTT},
    {1, 0, EDX, CPUID_1D_VME, .cr4 = CR4_VME | CR4_PVI},
    {1, 0, EDX, CPUID_1D_DE, .cr4 = CR4_DE},
    {1, 0, EDX, CPUID_1D_PSE, .cr4 = CR4_PSE},
    {1, 0, EDX, CPUID_1D_TSC, .cr4 = CR4_TSD, .msr = {MSR_TSC}},
    {1, 0, EDX, CPUID_1D_MSR, .msr = {MSR_EFER}},
    {1, 0, EDX, CPUID_1D_PAE, .cr4 = CR4_PAE},
    {1, 0, EDX, CPUID_1D_MCE, .cr4 = CR4_MCE},
    {1, 0, EDX, CPUID_1D_APIC, .msr = {MSR_APIC_BASE}},
    {1, 0, EDX, CPUID_1D_SEP, .msr = {0x174, 0x175, 0x176}},
    {1, 0, EDX, CPUID_1D_MTRR, .msr = {MSR_MTRR_CAP, MSR_MTRR_DEF_TYPE, MSR_MTRR_PHYS_BASE0}},
    {1, 0, EDX, CPUID_1D_PGE, .cr4 = CR4_PGE},
    {1, 0, EDX, CPUID_1D_MCA, .msr = {0x179, 0x17a}},
    {1, 0, EDX, CPUID_1D_PAT, .msr = {MSR_PAT}},
    {1, 0, EDX, CPUID_1D_FXSR, .cr4 = CR4_OSFXSR},
    {1, 0, EDX, CPUID_1D_SSE | CPUID_1D_SSE2, .cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT},
    {6, 0, EAX, CPUID_6A_ARAT},
    {6, 0, EAX, CPUID_6A_DTS, .msr = {0x19c, 0x1a2}},
    {6, 0, EAX, CPUID_6A_TURBO, .msr = {0x1ad, 0x199}},
    {6, 0, EAX, CPUID_6A_PTM, .msr = {0x1b1}},
    {6, 0, EAX, CPUID_6A_HWP | CPUID_6A_HWP_MORE, .msr = {0x770, 0x771, 0x772, 0x774}},
    {6, 0, EBX, GENMASK(3, 0)},
    {6, 0, ECX, CPUID_6C_APERF, .msr = {0xe7, 0xe8}},
    {6, 0, ECX, CPUID_6C_EPB, .msr = {0x1b0}},
    {7, 0, EBX,
     CPUID_7B_BMI1 | CPUID_7B_BMI2 | CPUID_7B_ERMS | CPUID_7B_INVPCID | CPUID_7B_RDSEED |
	 CPUID_7B_ADX | CPUID_7B_CLFLUSHOPT | CPUID_7B_CLWB | CPUID_7B_SHA},
    {7, 0, EBX, CPUID_7B_TSC_ADJUST, .msr = {MSR_TSC_ADJUST}},
    {7, 0, EBX, CPUID_7B_FSGSBASE, .cr4 = CR4_FSGSBASE, .msr = {MSR_KERNEL_GS_BASE}},
    {7, 0, EBX, CPUID_7B_AVX2, .xcr0 = XCR0_AVX_WHOLE},
    {7, 0, EBX, CPUID_7B_SMEP, .cr4 = CR4_SMEP},
    {7, 0, EBX, CPUID_7B_SMAP, .cr4 = CR4_SMAP},
    {7, 0, EBX,
     CPUID_7B_AVX512F | CPUID_7B_AVX512DQ | CPUID_7B_AVX512IFMA | CPUID_7B_AVX512CD |
	 CPUID_7B_AVX512BW | CPUID_7B_AVX512VL,
     .xcr0 = XCR0_AVX512},
    {7, 0, ECX, CPUID_7C_GFNI},
    {7, 0, ECX, CPUID_7C_UMIP, .cr4 = CR4_UMIP},
    {7, 0, ECX, CPUID_7C_PKU, .cr4 = CR4_PKE, .xcr0 = XCR0_PKRU},
    {7, 0, ECX, CPUID_7C_VAES | CPUID_7C_VPCLMUL, .xcr0 = XCR0_AVX_WHOLE},
    {7, 0, ECX,
     CPUID_7C_VBMI | CPUID_7C_VBMI2 | CPUID_7C_VNNI | CPUID_7C_BITALG | CPUID_7C_VPOPCNTDQ,
     .xcr0 = XCR0_AVX512},
    {7, 0, ECX, CPUID_7C_RDPID, .msr = {MSR_TSC_AUX}},
    {7, 0, EDX, CPUID_7D_FSRM | CPUID_7D_MD_CLEAR},
    {7, 0, EDX, CPUID_7D_CTRLS, .msr = {MSR_SPEC_CTRL}},
    {7, 0, EDX, CPUID_7D_L1D_FLUSH}, /* test_speculation() */
    {7, 0, EDX, CPUID_7D_ARCH_CAP, .msr = {MSR_ARCH_CAPABILITIES}},
    {0xd, 1, EAX, CPUID_D1A_XSAVEOPT | CPUID_D1A_XSAVEC | CPUID_D1A_XGETBV1, .cr4 = CR4_OSXSAVE},
    {0xd, 1, EAX, CPUID_D1A_XSAVES, .cr4 = CR4_OSXSAVE, .msr = {MSR_XSS}},
    {0x80000001, 0, ECX,
     CPUID_X1C_LAHF | CPUID_X1C_CMPLEGACY | CPUID_X1C_CR8 | CPUID_X1C_ABM | CPUID_X1C_SSE4A |
	 CPUID_X1C_MISALIGN | CPUID_X1C_PREFETCHW | CPUID_X1C_TBM},
    {0x80000001, 0, ECX, CPUID_X1C_XOP | CPUID_X1C_FMA4, .xcr0 = XCR0_AVX_WHOLE},
    {0x80000001, 0, EDX, CPUID_X1D_COPIES | CPUID_X1D_MMXEXT | CPUID_X1D_1G},
    {0x80000001, 0, EDX, CPUID_X1D_SYSCALL, .efer = EFER_SCE,
     .msr = {MSR_STAR, 0xc0000082, 0xc0000083, MSR_SFMASK}},
    {0x80000001, 0, EDX, CPUID_X1D_NX, .efer = EFER_NXE},
    {0x80000001, 0, EDX, CPUID_X1D_FFXSR, .efer = EFER_FFXSR},
    {0x80000001, 0, EDX, CPUID_X1D_RDTSCP, .msr = {MSR_TSC_AUX}},
    {0x80000001, 0, EDX, CPUID_X1D_LM, .cr4 = CR4_PAE, .efer = EFER_LME,
     .msr = {0xc0000100, 0xc0000101}},
    {0x80000001, 0, ECX, CPUID_X1C_TOPOEXT}, /* test_topology() */
    {0x80000007, 0, EDX, CPUID_X7D_INVARIANT_TSC},
    {0x80000007, 0, EDX, CPUID_X7D_HWPSTATE,
     .msr = {0xc0010061, 0xc0010062, 0xc0010063, 0xc0010064}},
    {0x80000007, 0, EDX, CPUID_X7D_EFF_FREQ, .msr = {0xc00000e7, 0xc00000e8}},
    {0x80000007, 0, EDX, CPUID_X7D_RAPL, .msr = {0xc0010299, 0xc001029a, 0xc001029b}},
    {0x80000008, 0, EBX, CPUID_X8B_CPPC, .msr = {0xc00102b0, 0xc00102b1, 0xc00102b3, 0xc00102b4}},
    {0x80000008, 0, EBX,
     CPUID_X8B_CLZERO | CPUID_X8B_XSAVEERPTR | CPUID_X8B_WBNOINVD | CPUID_X8B_IBPB |
	 CPUID_X8B_SSB_NO | CPUID_X8B_BTC_NO},
    {0x80000008, 0, EBX, CPUID_X8B_CTRLS, .msr = {MSR_SPEC_CTRL}},
    {0x80000008, 0, EBX, CPUID_X8B_VIRT_SSBD, .msr = {MSR_VIRT_SPEC_CTRL}},
};

/* Words that are features from the first bit to the last, in the leaves that are shown */
static const struct {
	u32 leaf, sub, reg;
} words[] = {
    {1, 0, ECX},	  {1, 0, EDX},		{6, 0, EAX},	      {6, 0, EBX},
    {6, 0, ECX},	  {6, 0, EDX},		{7, 0, EAX},	      {7, 0, EBX},
    {7, 0, ECX},	  {7, 0, EDX},		{0xd, 1, EAX},	      {0xd, 1, ECX},
    {0xd, 1, EDX},	  {0x80000001, 0, ECX}, {0x80000001, 0, EDX}, {0x80000007, 0, EAX},
    {0x80000007, 0, EBX}, {0x80000007, 0, ECX}, {0x80000007, 0, EDX}, {0x80000008, 0, EBX},
    {0x80000008, 0, EDX},
};

/* Leaves in which numbers stand, or which are the hypervisor's own */
static bool is_plain(u32 leaf)
{
	return leaf == 0 || leaf == 2 || leaf == 4 || leaf == 0xb || leaf >> 28 == 4 ||
	       leaf == 0x80000000 || (leaf >= 0x80000002 && leaf <= 0x80000006) ||
	       leaf == 0x8000001d || leaf == 0x8000001e;
}

static struct vcpu *const v = &fake_vcpu[0];
static struct corbel_cpuid table[VCPU_MAX_CPUID];
static u32 count;

static u32 reg_of(const struct corbel_cpuid *e, u32 reg)
{
	const u32 r[] = {e->eax, e->ebx, e->ecx, e->edx};

	return r[reg];
}

static const struct promise *promise_of(u32 leaf, u32 sub, u32 reg, u32 bit)
{
	for (u32 i = 0; i < ARRAY_SIZE(promises); i++) {
		const struct promise *p = &promises[i];

		if (p->leaf == leaf && p->sub == sub && p->reg == reg && p->bits & bit)
			return p;
	}
	return NULL;
}

static bool kept(const struct promise *p)
{
	u64 val;

	if (p->cr4 & ~v->rights.cr4 || p->xcr0 & ~v->rights.xcr0)
		return false;
	if (p->efer && msr_write(v, MSR_EFER, p->efer, false))
		return false;
	for (u32 i = 0; i < ARRAY_SIZE(p->msr) && p->msr[i]; i++)
		if (msr_read(v, p->msr[i], &val, false))
			return false;
	return true;
}

static void check_word(const struct corbel_cpuid *e, u32 reg, const char *whose)
{
	u32 bits = reg_of(e, reg);

	for (u32 i = 0; i < 32; i++) {
		const struct promise *p =
		    bits >> i & 1 ? promise_of(e->function, e->index, reg, BIT(i)) : NULL;

		if (!(bits >> i & 1))
			continue;
		CHECK_QUIET(
		    p,
		    "%s: leaf %x.%u, register %u, bit %u is shown, and nothing says what it needs",
		    whose, e->function, e->index, reg, i);
		CHECK_QUIET(!p || kept(p),
			    "%s: leaf %x.%u, register %u, bit %u is shown without its CR4, XCR0, "
			    "EFER or MSR",
			    whose, e->function, e->index, reg, i);
	}
}

static void check_table(const char *whose)
{
	u32 seen = 0;

	for (u32 i = 0; i < count; i++) {
		bool known = is_plain(table[i].function);

		for (u32 k = 0; k < ARRAY_SIZE(words); k++) {
			if (words[k].leaf != table[i].function || words[k].sub != table[i].index)
				continue;
			check_word(&table[i], words[k].reg, whose);
			known = true;
			seen++;
		}
		if (table[i].function == 0xd && table[i].index != 1) {
			known = true;
			CHECK_QUIET(table[i].index || !(((u64)table[i].edx << 32 | table[i].eax) &
							~XCR0_SWITCHED),
				    "%s: components of XCR0 that are not switched are shown",
				    whose);
		}
		CHECK_QUIET(known, "%s: leaf %x.%u is shown, and this test does not know it", whose,
			    table[i].function, table[i].index);
	}
	CHECK(seen == ARRAY_SIZE(words),
	      "%s: all words of features are looked at, each bit keeps what it promises", whose);
}

static void make_cpu(u64 caps)
{
	static struct corbel_cpuid own[VCPU_MAX_CPUID];

	fake_reset(NULL);
	v->cpuid = own;
	hvm_caps.flags = caps;
	leaf_max = 0x24;
	extended_max = 0x80000028;
	xcr0_host = XCR0_SWITCHED;
	spec = (struct spec_plan){.guest = 0x87,
				  .pred = true,
				  .flush = true,
				  .arch = 0x200ab,
				  .ssbd_msr = MSR_VIRT_SPEC_CTRL};
	policy_init();
}

static void to_dom0(void)
{
	v->vm->is_dom0 = true;
	v->vm->ops = &dom0_ops;
	cpuid_set_default(v);
	count = v->cpuid_count;
	memcpy(table, v->cpuid, sizeof(table));
}

static void to_guest(void)
{
	v->vm->is_dom0 = false;
	count = cpuid_offered(table, NULL);
	cpuid_set(v, table, count);
}

static void test_promises(void)
{
	make_cpu(0);
	to_dom0();
	check_table("dom0");
	to_guest();
	check_table("a guest");
	make_cpu(HVM_CAP_NO_RDTSCP | HVM_CAP_NO_XSAVES | HVM_CAP_NO_INVPCID);
	to_guest();
	check_table("a guest without RDTSCP, XSAVES and INVPCID");
}

/* Whose x87 pointers does XRSTOR leave? */
static void test_x87_leak(void)
{
	static const struct {
		u32 vendor, hidden;
		bool leaks;
	} cpu[] = {{0x756e6547 /* Genu */, CPUID_X8B_XSAVEERPTR, false},
		   {0x68747541 /* Auth */, CPUID_X8B_XSAVEERPTR, true},
		   {0x6f677948 /* Hygo */, CPUID_X8B_XSAVEERPTR, true},
		   {0x68747541, 0, false}};
	bool good = true;

	for (u32 i = 0; i < ARRAY_SIZE(cpu); i++) {
		vendor = cpu[i].vendor;
		hidden_8b = cpu[i].hidden;
		make_cpu(0);
		good &= leaks_x87 == cpu[i].leaks;
	}
	CHECK(good, "AMD's CPUs without RstrFpErrPtrs leak x87 pointers, others do not");
	vendor = hidden_8b = 0;
}

/* Of whose caches does leaf 4 tell? Programs of Zhaoxin's CPUs go round in circles without. */
static void test_caches(void)
{
	static const struct {
		u32 vendor, entries;
	} cpu[] = {{0x756e6547 /* Genu */, 2},
		   {0x746e6543 /* Cent */, 2},
		   {0x68532020 /*   Sh */, 2},
		   {0x68747541 /* Auth */, 0},
		   {0x6f677948 /* Hygo */, 0}};

	for (u32 i = 0; i < ARRAY_SIZE(cpu); i++) {
		u32 entries = 0, n;

		vendor = cpu[i].vendor;
		make_cpu(0);
		n = cpuid_offered(table, NULL);
		for (u32 at = 0; at < n; at++)
			entries += table[at].function == 4;
		CHECK(entries == cpu[i].entries, "leaf 4 ends as the CPU's does, AMD's have none");
	}
	vendor = 0;
}

static bool shows(u32 leaf, u32 sub, u32 reg, u32 bits)
{
	for (u32 i = 0; i < count; i++)
		if (table[i].function == leaf && table[i].index == sub)
			return reg_of(&table[i], reg) & bits;
	return false;
}

/* Instructions that go wrong, to dom0 and to guests */
static void test_broken(void)
{
	static const struct {
		const char *name;
		u32 vendor, signature, revision;
		bool rdrand, xsaves, rdseed;
	} cpu[] = {
	    {"Skylake", 0x756e6547, 0x506e3, 0, true, true, true},
	    {"Piledriver", 0x68747541, 0x600f20, 0x6000852, false, true, true},
	    {"Jaguar", 0x68747541, 0x700f01, 0, false, true, true},
	    {"Zen 1", 0x68747541, 0x800f11, 0x8001138, true, false, true},
	    {"Zen 1, stepping 2, old", 0x68747541, 0x800f12, 0x800126d, true, false, true},
	    {"Zen 1, stepping 2", 0x68747541, 0x800f12, 0x800126e, true, true, true},
	    {"Zen 2, old", 0x68747541, 0x830f10, 0x8301051, true, false, true},
	    {"Zen 2", 0x68747541, 0x830f10, 0x8301055, true, true, true},
	    {"Zen 2, notebook", 0x68747541, 0x860f01, 0xffffffff, true, false, true},
	    {"Dhyana", 0x6f677948, 0x900f02, 0, true, true, true},
	    {"Zen 4", 0x68747541, 0xa10f11, 0, true, true, true},
	    {"Cyan Skillfish", 0x68747541, 0x840f70, 0, true, false, false},
	    {"Zen 5, old", 0x68747541, 0xb00f21, 0xb002159, true, true, false},
	    {"Zen 5", 0x68747541, 0xb00f21, 0xb00215a, true, true, true},
	    {"Zen 5, desktop", 0x68747541, 0xb40f40, 0, true, true, false},
	    {"Zen 6", 0x68747541, 0xb50f00, 0, true, true, true},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cpu); i++) {
		bool good = true;

		vendor = cpu[i].vendor;
		signature = cpu[i].signature;
		revision = cpu[i].revision;
		make_cpu(0);
		for (u32 guest = 0; guest < 2; guest++) {
			if (guest)
				to_guest();
			else
				to_dom0();
			good &= shows(1, 0, ECX, CPUID_1C_RDRAND) == cpu[i].rdrand &&
				shows(0xd, 1, EAX, CPUID_D1A_XSAVES) == cpu[i].xsaves &&
				shows(0xd, 1, EAX, CPUID_D1A_XSAVEC) &&
				shows(7, 0, EBX, CPUID_7B_RDSEED) == cpu[i].rdseed &&
				has_xsaves == cpu[i].xsaves;
		}
		CHECK(good, "%s: RDRAND, XSAVES and RDSEED are shown where they are right",
		      cpu[i].name);
	}
	vendor = 0;
	signature = ~0u;
}

static u32 width(void)
{
	for (u32 i = 0; i < count; i++)
		if (table[i].function == 0x80000008)
			return table[i].eax;
	return 0;
}

/* Instructions that the back end is to keep from a guest which is not shown them. */
static void test_insns(void)
{
	static const struct {
		const char *name;
		u32 leaf, sub, reg, bits;
		u64 insn;
	} all[] = {
	    {"RDTSCP", 0x80000001, 0, EDX, CPUID_X1D_RDTSCP, INSN_RDTSCP},
	    {"RDPID", 7, 0, ECX, CPUID_7C_RDPID, INSN_RDPID},
	    {"INVPCID", 7, 0, EBX, CPUID_7B_INVPCID, INSN_INVPCID},
	    {"XSAVES", 0xd, 1, EAX, CPUID_D1A_XSAVES, INSN_XSAVES},
	    {"XSAVE, and so XSAVES", 1, 0, ECX, CPUID_1C_XSAVE, INSN_XSAVES},
	    {"RDRAND", 1, 0, ECX, CPUID_1C_RDRAND, INSN_RDRAND},
	    {"RDSEED", 7, 0, EBX, CPUID_7B_RDSEED, INSN_RDSEED},
	};

	make_cpu(0);
	to_dom0();
	CHECK(insns == GENMASK(5, 0), "dom0 has the instructions that it is shown");
	cpuid_set(v, NULL, 0);
	CHECK(!insns, "without CPUID a vCPU has none");
	to_guest();
	CHECK(insns == GENMASK(5, 0), "a guest has those that it is shown");
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		for (u32 at = 0; at < count; at++)
			if (table[at].function == all[i].leaf && table[at].index == all[i].sub)
				*(&table[at].eax + all[i].reg) &= ~all[i].bits;
		cpuid_set(v, table, count);
		CHECK(insns == (GENMASK(5, 0) & ~all[i].insn), "and not %s without its bit",
		      all[i].name);
		count = cpuid_offered(table, NULL);
	}
}

/* CPUID's MWAIT, by MISC_ENABLE if the VMM has switched that quirk off. */
static void test_mwait(void)
{
	static struct corbel_vcpu_page page;
	u64 on = BIT(18) | 1;

	make_cpu(0);
	to_guest();
	v->page = &page;
	msr_write(v, 0x1a0, on, false);
	CHECK(!cpuid_shows(v, CPUID_1C_MONITOR), "MISC_ENABLE shows nobody MWAIT");
	page.quirks = ~(u32)CORBEL_QUIRK_NO_MWAIT;
	msr_write(v, 0x1a0, on, false);
	CHECK(!cpuid_shows(v, CPUID_1C_MONITOR), "whatever else is off");
	page.quirks = CORBEL_QUIRK_NO_MWAIT;
	msr_write(v, 0x1a0, on, false);
	CHECK(cpuid_shows(v, CPUID_1C_MONITOR), "unless that quirk is off");
	v->exits_total = 1;
	CHECK(!cpuid_set(v, table, count), "the same table is that without it");
	v->exits_total = 0;
	CHECK(!cpuid_set(v, table, count) && cpuid_shows(v, CPUID_1C_MONITOR),
	      "and is shown with it");
	msr_write(v, 0x1a0, 1, true);
	CHECK(!cpuid_shows(v, CPUID_1C_MONITOR), "or not");
	v->page = NULL;
}

/* Features whose state nobody switches or whose register is refused, by name. */
static void test_absent(void)
{
	static const struct {
		const char *name;
		u32 leaf, sub, reg, bits;
	} no[] = {
	    {"VMX, SMX, MONITOR, PDCM", 1, 0, ECX, BIT(5) | BIT(6) | BIT(3) | BIT(15)},
	    {"shadow stacks", 7, 0, ECX, BIT(7)},
	    {"indirect branch tracking", 7, 0, EDX, BIT(20)},
	    {"supervisor states of XSS", 0xd, 1, ECX, ~0u},
	    {"XFD", 0xd, 1, EAX, BIT(4)},
	    {"LA57, WAITPKG, TME, bus locks, key locker, ENQCMD, PKS", 7, 0, ECX,
	     BIT(16) | BIT(5) | BIT(13) | BIT(24) | BIT(23) | BIT(29) | BIT(31)},
	    {"user interrupts, AMX, hybrid, PCONFIG", 7, 0, EDX,
	     BIT(5) | BIT(22) | BIT(24) | BIT(25) | BIT(15) | BIT(18)},
	    {"core capabilities", 7, 0, EDX, BIT(30)},
	    {"SGX, RTM, HLE, MPX, PT", 7, 0, EBX, BIT(2) | BIT(4) | BIT(11) | BIT(14) | BIT(25)},
	    {"more subleaves of leaf 7 (LAM, FRED, LKGS, HRESET)", 7, 0, EAX, ~0u},
	    {"SVM, OSVW, IBS, SKINIT, performance counters", 0x80000001, 0, ECX,
	     BIT(2) | BIT(9) | BIT(10) | BIT(12) | BIT(23) | BIT(24) | BIT(28)},
	    {"IA32_PERF_CAPABILITIES", 1, 0, ECX, BIT(15)},
	};

	make_cpu(0);
	for (u32 who = 0; who < 2; who++) {
		if (who)
			to_dom0();
		else
			to_guest();
		for (u32 i = 0; i < ARRAY_SIZE(no); i++)
			CHECK(!shows(no[i].leaf, no[i].sub, no[i].reg, no[i].bits),
			      "%s is not shown: %s", who ? "dom0" : "a guest", no[i].name);
	}
	for (u32 i = 0; i < 2; i++) {
		own_leaf = i ? 0x80000022 : 0xa;
		to_guest();
		CHECK(shows(own_leaf, 0, EAX, ~0u) && shows(0x80000000, 0, EAX, BIT(5)) == i,
		      "the leaf of performance counters is there if pmu.c says so");
	}
	own_leaf = 0;
	to_guest();
	CHECK(!shows(0xa, 0, EAX, ~0u) && !shows(0x80000022, 0, EAX, ~0u), "and else it is not");
	CHECK(shows(7, 0, ECX, CPUID_7C_UMIP) && shows(7, 0, EBX, CPUID_7B_AVX512VL),
	      "what is allowed is");
}

/* What dom0's drivers see of the machine, and guests do not. */
static void test_topology(void)
{
	static const struct promise drives[] = {
	    {1, 0, ECX, CPUID_1C_EST},
	    {6, 0, EAX, (u32)~CPUID_6A_ARAT},
	    {6, 0, EBX, ~0u},
	    {6, 0, ECX, ~0u},
	    {0x80000001, 0, ECX, CPUID_X1C_TOPOEXT},
	    {0x80000007, 0, EDX, (u32)~CPUID_X7D_INVARIANT_TSC},
	    {0x80000008, 0, EBX, CPUID_X8B_CPPC},
	};
	bool good = true;
	u64 val = 1;

	make_cpu(0);
	to_guest();
	for (u32 i = 0; i < ARRAY_SIZE(drives); i++)
		good &= !shows(drives[i].leaf, 0, drives[i].reg, drives[i].bits);
	good &= !shows(0x80000000, 0, EAX, 0x10) && !shows(0x8000001e, 0, EAX, ~0u);
	CHECK(good && msr_read(v, 0x770, &val, false) && msr_write(v, 0x774, 0, false) &&
		  msr_read(v, 0xc0010063, &val, true),
	      "frequencies, temperatures and the topology are not for guests");
	to_dom0();
	for (u32 i = 0; i < ARRAY_SIZE(drives); i++)
		good &= shows(drives[i].leaf, 0, drives[i].reg, drives[i].bits);
	CHECK(good, "but for dom0");
	v->gpr[RAX] = 0x8000001e;
	node_ids = 0x105;
	cpuid_emulate(v);
	CHECK(v->gpr[RBX] == 0x105, "whose core is that of the CPU it is asked on");
	extended_max = 0x80000008;
	to_dom0();
	CHECK(!shows(0x80000001, 0, ECX, CPUID_X1C_TOPOEXT) && !shows(0x8000001e, 0, EAX, ~0u),
	      "a CPU that has no such leaves shows none");
}

static void test_addresses(void)
{
	static void (*const to[])(void) = {to_guest, to_dom0};

	for (u32 i = 0; i < 2; i++) {
		address_bits = 0x3934;
		make_cpu(0);
		to[i]();
		CHECK(shows(0x80000008, 0, EAX, ~0u) && width() == 0x3930,
		      "physical addresses end where tables of four levels do");
		address_bits = 0x3027;
		to[i]();
		CHECK(width() == 0x3027, "or before that, where the machine's do");
	}
	address_bits = 0x3034;
}

static void test_errors(void)
{
	make_cpu(0);
	to_guest();
	CHECK(msr_write(v, MSR_SFMASK, 1ull << 32, false) == -EINVAL &&
		  msr_write(v, MSR_LSTAR, 1ull << 63, false) == -EINVAL,
	      "a value that the MSR does not take is EINVAL, whoever finds out");
	CHECK(msr_write(v, 0x474f4f00, 0, false) == -ENOENT, "an MSR that is not there ENOENT");
}

/* For writing: 0, which does nothing to the machine that runs this */
static void test_speculation(void)
{
	u64 val;

	make_cpu(0);
	to_guest();
	CHECK(!msr_write(v, MSR_SPEC_CTRL, 7, false) && !msr_read(v, MSR_SPEC_CTRL, &val, false) &&
		  val == 7 && msr_write(v, MSR_SPEC_CTRL, BIT(10), false),
	      "SPEC_CTRL keeps the bits that CPUID names, and takes no other");
	CHECK(!msr_write(v, MSR_PRED_CMD, 0, false) && msr_write(v, MSR_PRED_CMD, 2, false) &&
		  msr_read(v, MSR_PRED_CMD, &val, false),
	      "PRED_CMD is a command, and takes one bit");
	CHECK(!msr_write(v, MSR_FLUSH_CMD, 0, false) && msr_write(v, MSR_FLUSH_CMD, 2, false) &&
		  msr_read(v, MSR_FLUSH_CMD, &val, false),
	      "so is FLUSH_CMD");
	CHECK(msr_write(v, MSR_ARCH_CAPABILITIES, 0xab, false) &&
		  !msr_write(v, MSR_ARCH_CAPABILITIES, 0x2b, true) &&
		  !msr_read(v, MSR_ARCH_CAPABILITIES, &val, false) && val == 0x2b &&
		  msr_write(v, MSR_ARCH_CAPABILITIES, 0x100, true),
	      "a VMM may hide bits of ARCH_CAPABILITIES, nobody can add one");
	CHECK(shows(0x80000008, 0, EBX, CPUID_X8B_VIRT_SSBD) &&
		  !msr_write(v, MSR_VIRT_SPEC_CTRL, 4, false) &&
		  !msr_read(v, MSR_VIRT_SPEC_CTRL, &val, false) && val == 4 &&
		  msr_write(v, MSR_VIRT_SPEC_CTRL, 1, false),
	      "VIRT_SPEC_CTRL keeps SSBD, and takes nothing else");
	make_cpu(0);
	spec.pred = false;
	to_guest();
	CHECK(!shows(7, 0, EDX, CPUID_7D_SPEC_CTRL) && !shows(0x80000008, 0, EBX, CPUID_X8B_IBPB),
	      "without PRED_CMD neither vendor's bit promises it");
	make_cpu(0);
	spec = (struct spec_plan){0};
	to_guest();
	CHECK(
	    !shows(7, 0, EDX, CPUID_7D_CTRLS | CPUID_7D_L1D_FLUSH | CPUID_7D_ARCH_CAP) &&
		!shows(0x80000008, 0, EBX, CPUID_X8B_CTRLS | CPUID_X8B_IBPB | CPUID_X8B_VIRT_SSBD),
	    "no bit is shown whose MSR the machine has not, whatever its CPUID says");
	for (u32 msr = MSR_SPEC_CTRL; msr <= MSR_FLUSH_CMD; msr += msr == MSR_PRED_CMD ? 0xc1 : 1)
		CHECK(msr_read(v, msr, &val, false) && msr_write(v, msr, 0, false) &&
			  (msr == MSR_ARCH_CAPABILITIES ||
			   (msr_read(v, msr, &val, true) && msr_write(v, msr, 0, true))),
		      "MSR %x is refused there", msr);
	CHECK(msr_read(v, MSR_VIRT_SPEC_CTRL, &val, true) &&
		  msr_write(v, MSR_VIRT_SPEC_CTRL, 0, true),
	      "so is VIRT_SPEC_CTRL");
	CHECK(!msr_read(v, MSR_ARCH_CAPABILITIES, &val, true) && !val &&
		  !msr_write(v, MSR_ARCH_CAPABILITIES, 0, true) &&
		  msr_write(v, MSR_ARCH_CAPABILITIES, 1, true),
	      "but to a VMM ARCH_CAPABILITIES says that there is none of it");
}

static void test_ospke(void)
{
	make_cpu(0);
	to_dom0();
	for (u32 on = 0; on < 2; on++) {
		fake_cr4 = on ? CR4_PKE : 0;
		v->gpr[RAX] = 7;
		v->gpr[RCX] = 0;
		cpuid_emulate(v);
		CHECK(!(v->gpr[RCX] & CPUID_7C_OSPKE) == !on, "OSPKE is %s while CR4.PKE is",
		      on ? "set" : "clear");
	}
}

/* Does a guest get #GP for it, and does nobody get the value? */
static bool refuses(u32 msr, u64 val)
{
	u32 before = reached;

	return msr_write(v, msr, val, false) < 0 && reached == before;
}

static void test_msrs(void)
{
	static const u32 addresses[] = {0x175,	    0x176,	MSR_LSTAR,	   MSR_CSTAR,
					0xc0000100, 0xc0000101, MSR_KERNEL_GS_BASE};
	bool good = true;

	make_cpu(0);
	to_guest();
	v->vm->is_dom0 = false;
	for (u32 i = 0; i < ARRAY_SIZE(addresses); i++)
		good &= refuses(addresses[i], 0x0000800000000000) &&
			refuses(addresses[i], 0xffff7fffffffffff) &&
			refuses(addresses[i], BIT(63)) &&
			!msr_write(v, addresses[i], 0xffff800000000000, false) &&
			!msr_write(v, addresses[i], 0x00007fffffffffff, false);
	CHECK(good, "MSRs of addresses take canonical ones only");
	CHECK(refuses(MSR_PAT, 0x0007040600070402) && refuses(MSR_PAT, 0x0807040600070406) &&
		  refuses(MSR_PAT, 3) && !msr_write(v, MSR_PAT, 0x0007040600070406, false),
	      "PAT takes memory types that there are");
	CHECK(refuses(MSR_EFER, EFER_SVME) && refuses(MSR_EFER, BIT(63)) &&
		  refuses(MSR_EFER, BIT(1)) && !msr_write(v, MSR_EFER, EFER_SCE | EFER_NXE, false),
	      "EFER takes what the guest is shown, and not SVME");
	fake_cr0 = CR0_PG | CR0_PE;
	fake_efer = EFER_LME | EFER_LMA;
	CHECK(refuses(MSR_EFER, 0), "EFER.LME does not go while there is paging");
	fake_cr0 = fake_efer = 0;
	CHECK(refuses(MSR_TSC_AUX, BIT(32)) && refuses(MSR_XSS, 1) && refuses(MSR_XSS, BIT(8)),
	      "TSC_AUX has 32 bits, and XSS none");
	CHECK(refuses(0x2ff, 0xc02) && refuses(0x2ff, BIT(63)) && refuses(0x250, 2) &&
		  refuses(0x200, 7) && refuses(0x200, BIT(46)) && refuses(0x201, BIT(10)) &&
		  !msr_write(v, 0x2ff, 0xc06, false) && !msr_write(v, 0x201, 0xff000800, false),
	      "MTRRs take types that there are, and addresses that the CPU has");
	CHECK(refuses(0x12345678, 0) && refuses(0xc0010117, 0x1000),
	      "MSRs that nobody has heard of, and SVM's own, are refused");
	v->vm->is_dom0 = true;
	reached = 0;
	CHECK(!msr_write(v, 0x10, 5, false) && !reached,
	      "dom0 cannot move its TSC, which is the machine's");
	v->vm->is_dom0 = false;
	CHECK(!msr_write(v, 0x10, 5, false) && reached, "a guest can, by its offset");
}

/* As in KVM, a VMM may set it before it sets CPUID, as OpenVMM does. */
static void test_feature_control(void)
{
	struct corbel_cpuid *one = table;
	u64 val = 0;

	make_cpu(HVM_CAP_NESTED);
	v->vm->is_dom0 = false;
	cpuid_set(v, NULL, 0);
	CHECK(msr_write(v, 0x3a, BIT(3), true) == -EINVAL && !msr_write(v, 0x3a, 5, true),
	      "before there is a CPUID a VMM locks VMX, switched on");
	count = cpuid_offered(table, NULL);
	while (one->function != 1)
		one++;
	one->ecx |= CPUID_1C_VMX;
	cpuid_set(v, table, count);
	CHECK(!msr_read(v, 0x3a, &val, false) && val == 5 && refuses(0x3a, 1),
	      "and so it is for a guest with VMX");
	one->ecx &= ~CPUID_1C_VMX;
	cpuid_set(v, table, count);
	CHECK(!msr_read(v, 0x3a, &val, false) && val == 1, "not for one without");
}

static u64 guest_tsc_after(struct vcpu *of, u64 ticks, u64 val)
{
	fake_tsc += ticks;
	msr_write(of, MSR_TSC, val, true);
	return vcpu_tsc(of, fake_tsc);
}

/* Which of a VMM's writes to its vCPUs' TSCs mean one moment. */
static void test_vm_tsc(void)
{
	struct vcpu *other = &fake_vcpu[1];
	u64 second = FAKE_KHZ * 1000ull;

	make_cpu(0);
	to_guest();
	v->vm->is_dom0 = false;
	tsc_khz = v->tsc_khz = other->tsc_khz = FAKE_KHZ;
	guest_tsc_after(v, 0, 0);
	CHECK(guest_tsc_after(other, second, 0) == second, "0 is the VM's clock");
	fake_requests[0] = fake_requests[1] = 0;
	CHECK(guest_tsc_after(v, second / 100, second / 2) == second / 2,
	      "what is restored is taken as it is, near to what a new vCPU has as it may be");
	CHECK(guest_tsc_after(other, second / 100, second / 2) == second / 2 + second / 100,
	      "its sibling's, a moment later, is the same moment");
	CHECK(fake_requests[0] & fake_requests[1] & DUE_CLOCK, "and all clocks are told anew");
	CHECK(guest_tsc_after(other, second / 100, 0) == second / 2 + second / 50,
	      "as is that of one which comes later");
	fake_requests[0] = fake_requests[1] = 0;
	guest_tsc_after(v, 0, second / 2 + second / 50);
	CHECK(!(fake_requests[1] & DUE_CLOCK), "one that stays what it was concerns no other");
	guest_tsc_after(v, second * 6 / 10, second / 2);
	CHECK(guest_tsc_after(other, second * 6 / 10, second / 2) ==
		  second / 50 + second / 2 + second * 12 / 10,
	      "nor is the last of many late because it is long behind the first");
	CHECK(guest_tsc_after(other, 0, 5 * second) == 5 * second, "seconds apart are meant so");
	msr_set_tsc_offset(v, -fake_tsc);
	CHECK(guest_tsc_after(other, second / 100, second / 1000) == second / 100,
	      "an offset that is set is such a moment, too");
}

static void test_xcr0(void)
{
	static const u64 bad[] = {0,	2,    4,    5,	  6,	       0x27, 0x47,
				  0x87, 0x67, 0xe3, 0xe1, BIT(63) | 3, 0xb,  BIT(62) | 1},
			 fine[] = {1, 3, 7, 0xe7, 0x201, 0x203};
	bool good = true;

	make_cpu(0);
	to_guest();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		good &= !policy_xcr0_valid(v, bad[i]);
	CHECK(good, "XCR0: x87 always, AVX with SSE, AVX-512 whole and with AVX, nothing unknown");
	for (u32 i = 0; i < ARRAY_SIZE(fine); i++)
		good &= policy_xcr0_valid(v, fine[i]);
	CHECK(good, "XCR0: what is offered can be had");
	v->rights.xcr0 = 3;
	CHECK(!policy_xcr0_valid(v, 7) && policy_xcr0_valid(v, 3), "XCR0: and nothing else");
}

int main(void)
{
	test_promises();
	test_x87_leak();
	test_broken();
	test_caches();
	test_absent();
	test_insns();
	test_mwait();
	test_topology();
	test_ospke();
	test_msrs();
	test_feature_control();
	test_vm_tsc();
	test_xcr0();
	test_addresses();
	test_errors();
	test_speculation();
	return test_end();
}
