/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID as an allow list over the machine's own leaves. */
#include "policy.h"
#include "cpu.h"
#include "pv.h"
#include "string.h"

#define LEAF_KVM 0x40000000u

/* Leaf 0xd.1 EAX */
#define XSAVEC BIT(1)
#define XSAVES BIT(3)

/* Bits of feature words that may be shown when the CPU has them. Names: SDM/APM "CPUID". */
static const struct {
	u32 leaf, sub, reg; /* reg: 0 EAX .. 3 EDX */
	u32 allow, force;
} masks[] = {
	/* SSE3 PCLMUL SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND; ours: x2APIC, TSC deadline */
	{1, 0, 2, 0x76fa3203 & ~BIT(24), BIT(31) | BIT(24) | BIT(21)},
	/* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2 HTT */
	{1, 0, 3, 0x178bfbff, 0},
	{6, 0, 0, 0, BIT(2)}, /* ARAT: the virtual LAPIC timer never stops */
	/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID AVX512* RDSEED ADX SMAP CLFLUSHOPT CLWB SHA */
	{7, 0, 1, 0xf1bf07a9, 0},
	/* VBMI UMIP PKU VBMI2 GFNI VAES VPCLMUL VNNI BITALG VPOPCNTDQ RDPID; not LA57 */
	{7, 0, 2, 0x00405fce & ~BIT(5), 0},
	{7, 0, 3, BIT(4) | BIT(10), 0}, /* FSRM, MD_CLEAR */
	{0xd, 1, 0, BIT(0) | XSAVEC | BIT(2) | XSAVES, 0}, /* XSAVEOPT, XGETBV with ECX=1 */
	/* LAHF CMPLEGACY CR8 ABM SSE4A MISALIGN PREFETCH XOP FMA4 TBM; not SVM, TOPOEXT, PERFCTR */
	{0x80000001, 0, 2, 0x002109f3 & ~BIT(9), 0},
	/* SYSCALL NX MMXEXT MMX FXSR FFXSR 1G RDTSCP LM and the copies of leaf 1 */
	{0x80000001, 0, 3, 0x2fd3fbff, 0},
	{0x80000007, 0, 3, BIT(8), 0}, /* invariant TSC */
	{0x80000008, 0, 1, BIT(0) | BIT(9), 0}, /* CLZERO, WBNOINVD */
};

static void apply_masks(struct corbel_cpuid *e)
{
	u32 *reg[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
	bool leaf7 = e->function == 7 && !e->index;

	for (u32 i = 0; i < ARRAY_SIZE(masks); i++)
		if (masks[i].leaf == e->function && masks[i].sub == e->index)
			*reg[masks[i].reg] = (*reg[masks[i].reg] & masks[i].allow) | masks[i].force;
	if (leaf7 && (hvm->caps & HVM_CAP_NO_INVPCID))
		e->ebx &= ~(u32)BIT(10);
	if (leaf7 && (hvm->caps & HVM_CAP_NO_RDTSCP))
		e->ecx &= ~(u32)BIT(22);
	if (e->function == 0x80000001 && (hvm->caps & HVM_CAP_NO_RDTSCP))
		e->edx &= ~(u32)BIT(27);
	if (e->function == 0xd && e->index == 1 && (hvm->caps & HVM_CAP_NO_XSAVES))
		e->eax &= ~(u32)(XSAVEC | XSAVES);
}

u64 policy_cr4_mask(void)
{
	static u64 mask;
	u32 a, b, c, d, c1, d1;

	if (mask)
		return mask;
	cpuid(1, 0, &a, &b, &c1, &d1);
	cpuid(7, 0, &a, &b, &c, &d);
	mask = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
	       CR4_OSXMMEXCPT;
	mask |= (c1 & BIT(17) ? CR4_PCIDE : 0) | (c1 & BIT(26) ? CR4_OSXSAVE : 0) | (b & BIT(0) ? CR4_FSGSBASE : 0) |
		(b & BIT(7) ? CR4_SMEP : 0) | (b & BIT(20) ? CR4_SMAP : 0) | (c & BIT(2) ? CR4_UMIP : 0) |
		(c & BIT(3) ? CR4_PKE : 0);
	return mask;
}

bool has_rdtscp, has_xsaves;

void policy_init(void)
{
	u32 a, b, c, d;

	cpuid(0x80000001, 0, &a, &b, &c, &d);
	has_rdtscp = (d & BIT(27)) && !(hvm->caps & HVM_CAP_NO_RDTSCP);
	if (xcr0_host) {
		cpuid(0xd, 1, &a, &b, &c, &d);
		has_xsaves = (a & XSAVES) && !(hvm->caps & HVM_CAP_NO_XSAVES);
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

#define XSAVE_LEGACY  576u   /* x87, SSE and the header */
#define XSAVE_ALIGNED BIT(1) /* ECX of a component's leaf: in the compacted format it begins at 64 bytes */

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
		e->ebx = e->eax & (XSAVEC | XSAVES) ? compact : 0;
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
		e->edx &= ~BIT(28);
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
		e->eax = CORBEL_CPUID_ABI, e->ebx = CORBEL_CPUID_SIG_EBX, e->ecx = CORBEL_CPUID_SIG_ECX,
		e->edx = CORBEL_CPUID_SIG_EDX;
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

/* The lookup table has the first 32 leaves of each quarter: basic, hypervisor, extended. Others are searched. */
static bool in_table(u32 leaf)
{
	return !(leaf & 0x3fffffe0);
}

#define CPUID_INDEXED BIT(0) /* the entry is for one subleaf, KVM_CPUID_FLAG_SIGNIFCANT_INDEX */
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
			v->cpuid[i].ecx &= ~(u32)BIT(27);
			v->cpuid_sig = v->cpuid[i].eax;
		}
		if (v->cpuid[i].function == 0x80000001)
			v->ffxsr = v->cpuid[i].edx & BIT(25);
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
	for (u32 i = in_table(leaf) ? v->cpuid_first[leaf >> 30][leaf & 31] : 0; i < v->cpuid_count; i++) {
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
	v->gpr[RCX] |= v->osxsave ? BIT(27) : 0;
	if (unlikely(!(v->lapic.base & APIC_BASE_ENABLE)) && v->lapic.present)
		v->gpr[RDX] &= ~BIT(9);
}

/* Leaves with subleaves, with parts that depend on the vCPU's state, or not in the table. */
static __noinline void emulate_other(struct vcpu *v, u32 leaf, u32 sub)
{
	const struct corbel_cpuid *e = find(v, leaf, sub);
	struct corbel_cpuid r = e ? *e : (struct corbel_cpuid){0};

	if (leaf == 7 && sub == 0) {
		r.ecx = hvm->get(v, HVM_CR4) & CR4_PKE ? r.ecx | BIT(4) : r.ecx & ~(u32)BIT(4);
	} else if (leaf == 0xd && e && (!sub || (sub == 1 && (r.eax & (XSAVEC | XSAVES))))) {
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
