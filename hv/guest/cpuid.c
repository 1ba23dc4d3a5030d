/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID as an allow list over the machine's own leaves. */
#include "hv/guest/cpuid.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/string.h"

#define LEAF_KVM 0x40000000u

/* Words of features that may be shown when the CPU has them. */
#define ALLOW_1C                                                                                   \
	(CPUID_1C_SSE3 | CPUID_1C_PCLMUL | CPUID_1C_SSSE3 | CPUID_1C_FMA | CPUID_1C_CX16 |         \
	 CPUID_1C_PCID | CPUID_1C_SSE41 | CPUID_1C_SSE42 | CPUID_1C_MOVBE | CPUID_1C_POPCNT |      \
	 CPUID_1C_AES | CPUID_1C_XSAVE | CPUID_1C_AVX | CPUID_1C_F16C | CPUID_1C_RDRAND)
/* ours, whatever the CPU has */
#define FORCE_1C (CPUID_1C_X2APIC | CPUID_1C_TSC_DEADLINE | CPUID_1C_HYPERVISOR)
#define ALLOW_1D                                                                                   \
	(CPUID_1D_FPU | CPUID_1D_VME | CPUID_1D_DE | CPUID_1D_PSE | CPUID_1D_TSC | CPUID_1D_MSR |  \
	 CPUID_1D_PAE | CPUID_1D_MCE | CPUID_1D_CX8 | CPUID_1D_APIC | CPUID_1D_SEP |               \
	 CPUID_1D_MTRR | CPUID_1D_PGE | CPUID_1D_MCA | CPUID_1D_CMOV | CPUID_1D_PAT |              \
	 CPUID_1D_PSE36 | CPUID_1D_CLFSH | CPUID_1D_MMX | CPUID_1D_FXSR | CPUID_1D_SSE |           \
	 CPUID_1D_SSE2 | CPUID_1D_HTT)
#define ALLOW_7B                                                                                   \
	(CPUID_7B_FSGSBASE | CPUID_7B_BMI1 | CPUID_7B_AVX2 | CPUID_7B_SMEP | CPUID_7B_BMI2 |       \
	 CPUID_7B_ERMS | CPUID_7B_INVPCID | CPUID_7B_AVX512F | CPUID_7B_AVX512DQ |                 \
	 CPUID_7B_RDSEED | CPUID_7B_ADX | CPUID_7B_SMAP | CPUID_7B_AVX512IFMA |                    \
	 CPUID_7B_CLFLUSHOPT | CPUID_7B_CLWB | CPUID_7B_AVX512CD | CPUID_7B_SHA |                  \
	 CPUID_7B_AVX512BW | CPUID_7B_AVX512VL)
/*
 * Not LA57, PKS, shadow stacks, LAM and the like: their CR4 bits and MSRs are not offered. OSPKE:
 * see emulate_other().
 */
#define ALLOW_7C                                                                                   \
	(CPUID_7C_VBMI | CPUID_7C_UMIP | CPUID_7C_PKU | CPUID_7C_VBMI2 | CPUID_7C_GFNI |           \
	 CPUID_7C_VAES | CPUID_7C_VPCLMUL | CPUID_7C_VNNI | CPUID_7C_BITALG | CPUID_7C_VPOPCNTDQ | \
	 CPUID_7C_RDPID)
#define ALLOW_7D  (CPUID_7D_FSRM | CPUID_7D_MD_CLEAR)
#define ALLOW_D1A (CPUID_D1A_XSAVEOPT | CPUID_D1A_XSAVEC | CPUID_D1A_XGETBV1 | CPUID_D1A_XSAVES)
/* Not SVM, OSVW, TOPOEXT, PERFCTR. */
#define ALLOW_X1C                                                                                  \
	(CPUID_X1C_LAHF | CPUID_X1C_CMPLEGACY | CPUID_X1C_CR8 | CPUID_X1C_ABM | CPUID_X1C_SSE4A |  \
	 CPUID_X1C_MISALIGN | CPUID_X1C_PREFETCHW | CPUID_X1C_XOP | CPUID_X1C_FMA4 |               \
	 CPUID_X1C_TBM)
#define ALLOW_X1D                                                                                  \
	(CPUID_X1D_COPIES | CPUID_X1D_SYSCALL | CPUID_X1D_NX | CPUID_X1D_MMXEXT |                  \
	 CPUID_X1D_FFXSR | CPUID_X1D_1G | CPUID_X1D_RDTSCP | CPUID_X1D_LM)

/*
 * A bit must not stand here unless what it promises is there: tests/unit/cpuid_test.c has what that
 * is for each.
 */
static const struct {
	u32 leaf, sub, reg; /* reg: 0 EAX .. 3 EDX */
	u32 allow, force;
} masks[] = {
    {1, 0, 2, ALLOW_1C, FORCE_1C},
    {1, 0, 3, ALLOW_1D, 0},
    {6, 0, 0, 0, CPUID_6A_ARAT}, /* the virtual LAPIC timer never stops */
    {7, 0, 1, ALLOW_7B, 0},
    {7, 0, 2, ALLOW_7C, 0},
    {7, 0, 3, ALLOW_7D, 0},
    {0xd, 1, 0, ALLOW_D1A, 0},
    {0x80000001, 0, 2, ALLOW_X1C, 0},
    {0x80000001, 0, 3, ALLOW_X1D, 0},
    {0x80000007, 0, 3, CPUID_X7D_INVARIANT_TSC, 0},
    {0x80000008, 0, 1, CPUID_X8B_CLZERO | CPUID_X8B_WBNOINVD, 0},
};

static void apply_masks(struct corbel_cpuid *e)
{
	u32 *reg[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
	bool leaf7 = e->function == 7 && !e->index;

	for (u32 i = 0; i < ARRAY_SIZE(masks); i++)
		if (masks[i].leaf == e->function && masks[i].sub == e->index)
			*reg[masks[i].reg] = (*reg[masks[i].reg] & masks[i].allow) | masks[i].force;
	if (e->function == 1 && !xcr0_host)
		e->ecx &= ~(u32)CPUID_1C_XSAVE;
	if (leaf7 && (hvm_caps.flags & HVM_CAP_NO_INVPCID))
		e->ebx &= ~(u32)CPUID_7B_INVPCID;
	if (leaf7 && !has_rdtscp) /* TSC_AUX, which RDPID reads, is not switched then */
		e->ecx &= ~(u32)CPUID_7C_RDPID;
	if (e->function == 0x80000001 && !has_rdtscp)
		e->edx &= ~(u32)CPUID_X1D_RDTSCP;
	if (e->function == 0xd && e->index == 1 && (hvm_caps.flags & HVM_CAP_NO_XSAVES))
		e->eax &= ~(u32)(CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES);
}

u64 policy_cr4_mask(void)
{
	static u64 mask;
	u32 a, b = 0, c = 0, d, c1, d1;
	const struct {
		const u32 *word;
		u32 feature;
		u64 cr4;
	} needs[] = {
	    {&c1, CPUID_1C_PCID, CR4_PCIDE}, {&b, CPUID_7B_FSGSBASE, CR4_FSGSBASE},
	    {&b, CPUID_7B_SMEP, CR4_SMEP},   {&b, CPUID_7B_SMAP, CR4_SMAP},
	    {&c, CPUID_7C_UMIP, CR4_UMIP},   {&c, CPUID_7C_PKU, CR4_PKE},
	};

	if (mask)
		return mask;
	cpuid(1, 0, &a, &d, &c1, &d1);
	if (cpuid_max(0) >= 7) /* beyond the last leaf CPUID gives that one's values */
		cpuid(7, 0, &a, &b, &c, &d);
	mask = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
	       CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (xcr0_host)
		mask |= CR4_OSXSAVE;
	for (u32 i = 0; i < ARRAY_SIZE(needs); i++)
		if (*needs[i].word & needs[i].feature)
			mask |= needs[i].cr4;
	return mask;
}

bool has_rdtscp, has_xsaves;

void policy_init(void)
{
	u32 a, b, c, d;

	cpuid(0x80000001, 0, &a, &b, &c, &d);
	has_rdtscp = (d & CPUID_X1D_RDTSCP) && !(hvm_caps.flags & HVM_CAP_NO_RDTSCP);
	if (xcr0_host) {
		cpuid(0xd, 1, &a, &b, &c, &d);
		has_xsaves = (a & CPUID_D1A_XSAVES) && !(hvm_caps.flags & HVM_CAP_NO_XSAVES);
	}
}

u64 policy_xcr0_all(void)
{
	return xcr0_host & XCR0_SWITCHED;
}

bool policy_xcr0_valid(u64 x)
{
	if (!(x & 1) || (x & ~policy_xcr0_all()))
		return false;
	if ((x & BIT(2)) && !(x & BIT(1)))
		return false;
	return !(x & 0xe0) || ((x & 0xe6) == 0xe6);
}

struct builder {
	struct corbel_cpuid *out;
	u32 n, max;
};

static struct corbel_cpuid *add(struct builder *b, u32 leaf, u32 sub, bool indexed)
{
	struct corbel_cpuid *e;

	if (b->n == b->max)
		return NULL;
	e = &b->out[b->n++];
	memset(e, 0, sizeof(*e));
	e->function = leaf;
	e->index = sub;
	e->flags = indexed;
	if ((leaf & 0xf0000000) != LEAF_KVM)
		cpuid(leaf, sub, &e->eax, &e->ebx, &e->ecx, &e->edx);
	apply_masks(e);
	return e;
}

#define XSAVE_LEGACY 576u /* x87, SSE and the header */
/* ECX of a component's leaf: in the compacted format it begins at 64 bytes */
#define XSAVE_ALIGNED BIT(1)

static void add_xsave(struct builder *b)
{
	struct corbel_cpuid *e = add(b, 0xd, 0, true);
	u64 all = policy_xcr0_all();
	u32 compact = XSAVE_LEGACY;

	if (!e)
		return;
	e->eax = (u32)all;
	e->edx = all >> 32;
	e->ecx = XSAVE_LEGACY;
	for (u32 i = 2; i < 64; i++) {
		u32 a, base, c, d;

		if (!(all & BIT(i)))
			continue;
		cpuid(0xd, i, &a, &base, &c, &d);
		e->ecx = MAX(e->ecx, base + a);
		compact = (c & XSAVE_ALIGNED ? ALIGN_UP(compact, 64u) : compact) + a;
	}
	e->ebx = e->ecx;
	e = add(b, 0xd, 1, true);
	if (e) {
		e->ebx = e->eax & (CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES) ? compact : 0;
		e->ecx = e->edx = 0; /* no supervisor states */
	}
	for (u32 i = 2; i < 10; i++)
		if (all & BIT(i))
			add(b, 0xd, i, true);
}

/* Basic leaves. for_dom0: the machine's topology is shown as it is. */
static void add_basic(struct builder *b, bool for_dom0, u32 apic_id)
{
	struct corbel_cpuid *e = add(b, 0, 0, false);
	u32 max = e->eax;
	bool intel = e->ebx == 0x756e6547;

	e->eax = MIN(max, 0x16u);
	e = add(b, 1, 0, false);
	if (for_dom0)
		e->ebx = (e->ebx & 0xffffff) | apic_id << 24;
	else
		e->ebx &= 0xff00;
	if (!for_dom0)
		e->edx &= ~(u32)CPUID_1D_HTT;
	if (intel)
		add(b, 2, 0, false);
	for (u32 i = 0; intel && i < 5; i++) {
		e = add(b, 4, i, true);
		if (e && !for_dom0)
			e->eax &= 0x3fff;
		if (!e || !(e->eax & 31))
			break;
	}
	e = add(b, 6, 0, false);
	if (e)
		e->ebx = e->ecx = e->edx = 0;
	if (max >= 7) {
		e = add(b, 7, 0, true);
		if (e)
			e->eax = 0;
	}
	for (u32 i = 0; for_dom0 && max >= 0xb && i < 2; i++) {
		e = add(b, 0xb, i, true);
		if (e)
			e->edx = apic_id;
	}
	if (xcr0_host)
		add_xsave(b);
}

static void add_extended(struct builder *b, bool for_dom0)
{
	struct corbel_cpuid *e = add(b, 0x80000000, 0, false);
	u32 max = e ? MIN(e->eax, 0x80000008u) : 0;

	if (!e)
		return;
	e->eax = max;
	for (u32 leaf = 0x80000001; leaf <= max; leaf++) {
		e = add(b, leaf, 0, false);
		if (!e)
			return;
		if (leaf == 0x80000007)
			e->eax = e->ebx = e->ecx = 0;
		if (leaf == 0x80000008) {
			e->edx = 0;
			e->ecx = for_dom0 ? e->ecx & 0xf0ff : 0;
		}
	}
}

static void add_hypervisor(struct builder *b, bool for_dom0)
{
	struct corbel_cpuid *e = add(b, LEAF_KVM, 0, false);

	if (!e)
		return;
	e->eax = LEAF_KVM + 1;
	e->ebx = 0x4b4d564b; /* "KVMKVMKVM" */
	e->ecx = 0x564b4d56;
	e->edx = 0x4d;
	e = add(b, LEAF_KVM + 1, 0, false);
	if (e)
		e->eax = pv_features(NULL);
	if (!for_dom0)
		return;
	e = add(b, CORBEL_CPUID_BASE, 0, false);
	if (e)
		e->eax = CORBEL_CPUID_ABI, e->ebx = CORBEL_CPUID_SIG_EBX,
		e->ecx = CORBEL_CPUID_SIG_ECX, e->edx = CORBEL_CPUID_SIG_EDX;
	e = add(b, CORBEL_CPUID_ABI, 0, false);
	if (e)
		e->eax = CORBEL_ABI_VERSION, e->ebx = hvm->backend, e->ecx = 1;
}

u32 cpuid_supported(struct corbel_cpuid *out, u32 max)
{
	struct builder b = {out, 0, max};

	add_basic(&b, false, 0);
	add_extended(&b, false);
	add_hypervisor(&b, false);
	return b.n;
}

/*
 * The lookup table has the first 32 leaves of each quarter: basic, hypervisor, extended. Others are
 * searched.
 */
static bool in_table(u32 leaf)
{
	return !(leaf & 0x3fffffe0);
}

#define CPUID_INDEXED BIT(0)  /* the entry is for one subleaf, KVM_CPUID_FLAG_SIGNIFCANT_INDEX */
#define CPUID_DYNAMIC BIT(31) /* ours: part of it depends on the vCPU's state */
#define CPUID_LEAF_1  BIT(30) /* ours: see leaf_1() */

static void index_table(struct vcpu *v)
{
	memset(v->cpuid_first, 0xff, sizeof(v->cpuid_first));
	for (u32 i = v->cpuid_count; i--;) {
		u32 leaf = v->cpuid[i].function;

		if (in_table(leaf))
			v->cpuid_first[leaf >> 30][leaf & 31] = i;
		v->cpuid[i].flags &= CPUID_INDEXED;
		if (v->cpuid[i].function == 7 || v->cpuid[i].function == 0xd)
			v->cpuid[i].flags |= CPUID_DYNAMIC;
		if (v->cpuid[i].function == 1) {
			v->cpuid[i].flags |= CPUID_LEAF_1;
			v->cpuid[i].ecx &= ~(u32)CPUID_1C_OSXSAVE;
			v->cpuid_sig = v->cpuid[i].eax;
		}
		if (v->cpuid[i].function == 0x80000001)
			v->ffxsr = v->cpuid[i].edx & CPUID_X1D_FFXSR;
	}
}

int cpuid_set(struct vcpu *v, const struct corbel_cpuid *e, u32 n)
{
	if (n > VCPU_MAX_CPUID)
		return -E2BIG;
	memcpy(v->cpuid, e, n * sizeof(*e));
	v->cpuid_count = n;
	index_table(v);
	return 0;
}

u32 cpuid_get(const struct vcpu *v, struct corbel_cpuid *out)
{
	for (u32 i = 0; i < v->cpuid_count; i++) {
		out[i] = v->cpuid[i];
		out[i].flags &= CPUID_INDEXED;
	}
	return v->cpuid_count;
}

void cpuid_set_default(struct vcpu *v)
{
	struct builder b = {v->cpuid, 0, VCPU_MAX_CPUID};

	add_basic(&b, true, v->lapic.id);
	add_extended(&b, true);
	add_hypervisor(&b, true);
	v->cpuid_count = b.n;
	index_table(v);
}

static __noinline const struct corbel_cpuid *find(const struct vcpu *v, u32 leaf, u32 sub)
{
	for (u32 i = in_table(leaf) ? v->cpuid_first[leaf >> 30][leaf & 31] : 0; i < v->cpuid_count;
	     i++) {
		const struct corbel_cpuid *e = &v->cpuid[i];

		if (e->function == leaf && (!(e->flags & CPUID_INDEXED) || e->index == sub))
			return e;
	}
	return NULL;
}

/* XSAVE area size for the components enabled in XCR0. */
static u32 xsave_size(const struct vcpu *v, bool compacted)
{
	u32 size = XSAVE_LEGACY;

	for (u32 i = 2; i < 10; i++) {
		const struct corbel_cpuid *e = v->xcr0 & BIT(i) ? find(v, 0xd, i) : NULL;

		if (e && compacted)
			size = (e->ecx & XSAVE_ALIGNED ? ALIGN_UP(size, 64u) : size) + e->eax;
		else if (e)
			size = MAX(size, e->ebx + e->eax);
	}
	return size;
}

/* What depends on the vCPU's state in the leaf that is asked for most; the table has no OSXSAVE. */
static inline void leaf_1(struct vcpu *v)
{
	v->gpr[RCX] |= v->osxsave ? CPUID_1C_OSXSAVE : 0;
	if (unlikely(!(v->lapic.base & APIC_BASE_ENABLE)) && v->lapic.present)
		v->gpr[RDX] &= ~CPUID_1D_APIC;
}

/* Leaves with subleaves, with parts that depend on the vCPU's state, or not in the table. */
static __noinline void emulate_other(struct vcpu *v, u32 leaf, u32 sub)
{
	const struct corbel_cpuid *e = find(v, leaf, sub);
	struct corbel_cpuid r = e ? *e : (struct corbel_cpuid){0};

	if (leaf == 7 && sub == 0) {
		r.ecx &= ~(u32)CPUID_7C_OSPKE;
		if (hvm->get(v, HVM_CR4) & CR4_PKE)
			r.ecx |= CPUID_7C_OSPKE;
	} else if (leaf == 0xd && e && xcr0_host &&
		   (!sub || (sub == 1 && (r.eax & (CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES))))) {
		if (quirk_has(QUIRK_XSETBV))
			v->xcr0 = xgetbv(0);
		r.ebx = xsave_size(v, sub);
	} else if (leaf == 0xb && !e) {
		r.ecx = sub & 0xff;
		e = find(v, 0xb, 0);
		r.edx = e ? e->edx : 0;
	}
	v->gpr[RAX] = r.eax;
	v->gpr[RBX] = r.ebx;
	v->gpr[RCX] = r.ecx;
	v->gpr[RDX] = r.edx;
	if (leaf == 1)
		leaf_1(v);
}

void cpuid_emulate(struct vcpu *v)
{
	u32 leaf = v->gpr[RAX], i = v->cpuid_first[leaf >> 30][leaf & 31];
	const struct corbel_cpuid *e = &v->cpuid[i];

	if (unlikely(i >= v->cpuid_count || e->function != leaf || e->flags & ~CPUID_LEAF_1)) {
		emulate_other(v, leaf, v->gpr[RCX]);
		return;
	}
	v->gpr[RAX] = e->eax;
	v->gpr[RBX] = e->ebx;
	v->gpr[RCX] = e->ecx;
	v->gpr[RDX] = e->edx;
	if (e->flags)
		leaf_1(v);
}
