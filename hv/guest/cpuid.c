/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID as an allow list over the machine's own leaves. */
#include "hv/guest/cpuid.h"
#include "hv/cpu/alike.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/ucode.h"
#include "hv/guest/quirks.h"
#include "hv/guest/rights.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define LEAF_KVM     0x40000000u
#define MAX_BASIC    0x16u
#define MAX_EXTENDED 0x80000008u
#define LEAF_CACHES  0x8000001du /* AMD's, and the next: dom0 sees the topology */
#define LEAF_NODES   0x8000001eu
#define CACHES	     5 /* at most, with the entry that ends the list */

/* Bits that stand for MSRs which spec_init() has not found in the machine. */
static void hide_speculation(struct corbel_cpuid *e)
{
	if (e->function == 7) {
		if (!spec.guest)
			e->edx &= ~CPUID_7D_CTRLS;
		if (!spec.pred) /* which the bit promises, too */
			e->edx &= ~CPUID_7D_SPEC_CTRL;
		if (!spec.flush)
			e->edx &= ~CPUID_7D_L1D_FLUSH;
		if (!spec.arch)
			e->edx &= ~CPUID_7D_ARCH_CAP;
	} else {
		if (!spec.guest)
			e->ebx &= ~CPUID_X8B_CTRLS;
		if (!spec.pred)
			e->ebx &= ~CPUID_X8B_IBPB;
		e->ebx &= ~CPUID_X8B_VIRT_SSBD;
		if (spec.ssbd_msr)
			e->ebx |= CPUID_X8B_VIRT_SSBD;
	}
}

/* What goes wrong on this CPU, so that nobody is to use it; set once. */
static u32 broken_1c, broken_7b, broken_d1a;

/*
 * Microcode that mends it, by leaf 1 EAX: of Zen 1 and 2 erratum 1386, of Zen 5 AMD-SB-7055. Others
 * of these have none.
 */
static bool is_mended(u32 signature)
{
	static const struct {
		u32 signature, revision;
	} good[] = {
	    {0x00800f12, 0x0800126e}, {0x00830f10, 0x08301052}, {0x00b00f21, 0x0b00215a},
	    {0x00b00f81, 0x0b008121}, {0x00b10f10, 0x0b101054}, {0x00b20f40, 0x0b204037},
	    {0x00b40f40, 0x0b404035}, {0x00b40f41, 0x0b404108}, {0x00b60f00, 0x0b600037},
	    {0x00b60f80, 0x0b608038}, {0x00b70f00, 0x0b700037},
	};

	for (u32 i = 0; i < ARRAY_SIZE(good); i++)
		if (signature == good[i].signature)
			return ucode_revision() >= good[i].revision;
	return false;
}

static bool is_zen5(u32 model)
{
	return model <= 0x2f || (model >= 0x40 && model <= 0x4f) ||
	       (model >= 0x60 && model <= 0x7f);
}

static void find_broken(void)
{
	u32 sig = cpuid_read(1, 0).a, family = 0xf + FIELD_GET(GENMASK(27, 20), sig);
	u32 model = FIELD_GET(GENMASK(7, 4), sig) | FIELD_GET(GENMASK(19, 16), sig) << 4;

	broken_1c = broken_7b = broken_d1a = 0;
	if (!cpuid_is_amd(cpuid_read(0, 0).b) || is_mended(sig))
		return;
	if (family == 0x15 || family == 0x16) /* always the same after a sleep */
		broken_1c = CPUID_1C_RDRAND;
	if (family == 0x17) /* does not save all of XMM; XSAVEC is as good */
		broken_d1a = CPUID_D1A_XSAVES;
	/* Cyan Skillfish's, and Zen 5's: too often 0, and says that it is random */
	if (sig == 0x00840f70 || (family == 0x1a && is_zen5(model)))
		broken_7b = CPUID_7B_RDSEED;
}

static void apply_masks(struct corbel_cpuid *e, bool dom0)
{
	u32 *reg[4] = {&e->eax, &e->ebx, &e->ecx, &e->edx};
	bool leaf7 = e->function == 7 && !e->index;

	for (u32 i = 0; i < CPUID_WORDS; i++) {
		const struct cpuid_word *w = &cpuid_words[i];
		u32 allow = dom0 ? w->allow | w->dom0 : w->allow;

		if (w->leaf == e->function && w->sub == e->index)
			*reg[w->reg] = (*reg[w->reg] & allow) | w->force;
	}
	if (leaf7 || e->function == 0x80000008)
		hide_speculation(e);
	if (e->function == 1)
		e->ecx &= ~(broken_1c | (xcr0_host ? 0 : CPUID_1C_XSAVE));
	if (leaf7)
		e->ebx &= ~broken_7b;
	if (leaf7 && (hvm_caps.flags & HVM_CAP_NO_INVPCID))
		e->ebx &= ~CPUID_7B_INVPCID;
	if (leaf7 && !has_rdtscp) /* TSC_AUX, which RDPID reads, is not switched then */
		e->ecx &= ~CPUID_7C_RDPID;
	if (e->function == 0x80000001 && !has_rdtscp)
		e->edx &= ~CPUID_X1D_RDTSCP;
	if (e->function == 0xd && e->index == 1)
		e->eax &= ~broken_d1a;
	if (e->function == 0xd && e->index == 1 && (hvm_caps.flags & HVM_CAP_NO_XSAVES))
		e->eax &= ~(CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES);
}

/* CR4 bits that come with a feature; the others are there for every guest. */
static const struct {
	u32 leaf, reg, feature;
	u64 bit;
} cr4_features[] = {
    {1, ECX, CPUID_1C_PCID, CR4_PCIDE},	       {1, ECX, CPUID_1C_XSAVE, CR4_OSXSAVE},
    {7, EBX, CPUID_7B_FSGSBASE, CR4_FSGSBASE}, {7, EBX, CPUID_7B_SMEP, CR4_SMEP},
    {7, EBX, CPUID_7B_SMAP, CR4_SMAP},	       {7, ECX, CPUID_7C_UMIP, CR4_UMIP},
    {7, ECX, CPUID_7C_PKU, CR4_PKE},
};

/* Of leaves 1 and 7; one that is not there is all zero. */
static u64 cr4_features_of(const struct corbel_cpuid *one, const struct corbel_cpuid *seven)
{
	u64 mask = 0;

	for (u32 i = 0; i < ARRAY_SIZE(cr4_features); i++) {
		const struct corbel_cpuid *e = cr4_features[i].leaf == 1 ? one : seven;
		u32 word = cr4_features[i].reg == EBX ? e->ebx : e->ecx;

		if (word & cr4_features[i].feature)
			mask |= cr4_features[i].bit;
	}
	return mask;
}

u64 policy_cr4_mask(void)
{
	struct cpuid_regs l1 = cpuid_read(1, 0), l7 = cpuid_read(7, 0);
	struct corbel_cpuid one = {.ecx = l1.c}, seven = {.ebx = l7.b, .ecx = l7.c};
	static u64 mask;

	if (mask)
		return mask;
	if (!xcr0_host)
		one.ecx &= ~CPUID_1C_XSAVE;
	mask = CR4_ALWAYS | cr4_features_of(&one, &seven);
	return mask;
}

bool has_rdtscp, has_xsaves, leaks_x87;

void policy_init(void)
{
	find_broken();
	has_rdtscp =
	    cpuid_read(0x80000001, 0).d & CPUID_X1D_RDTSCP && !(hvm_caps.flags & HVM_CAP_NO_RDTSCP);
	has_xsaves = xcr0_host && cpuid_read(0xd, 1).a & ~broken_d1a & CPUID_D1A_XSAVES &&
		     !(hvm_caps.flags & HVM_CAP_NO_XSAVES);
	leaks_x87 = cpuid_is_amd(cpuid_read(0, 0).b) &&
		    !(cpuid_read(0x80000008, 0).b & CPUID_X8B_XSAVEERPTR);
}

#define XCR0_AVX512 GENMASK(7, 5)

u64 policy_xcr0_all(void)
{
	return xcr0_host & XCR0_SWITCHED;
}

bool policy_xcr0_valid(const struct vcpu *v, u64 x)
{
	if (!(x & XCR0_X87) || x & ~(v->rights.xcr0 | XCR0_X87))
		return false;
	if (x & XCR0_AVX && !(x & XCR0_SSE))
		return false;
	/* AVX-512's three components go together, with AVX's below them */
	return !(x & XCR0_AVX512) || !(~x & (XCR0_AVX512 | XCR0_AVX));
}

/* A table that grows; it has room for VCPU_MAX_CPUID entries, more than all that is ever shown. */
struct builder {
	struct corbel_cpuid *out;
	u32 n;
	const struct vcpu *dom0; /* which sees the machine's topology; NULL: for guests */
};

static struct corbel_cpuid *add_leaf(struct builder *b, u32 leaf, u32 sub, bool indexed)
{
	struct corbel_cpuid *e = &b->out[b->n++];

	BUG_ON(b->n > VCPU_MAX_CPUID);
	*e = (struct corbel_cpuid){.function = leaf, .index = sub, .flags = indexed};
	if ((leaf & 0xf0000000) != LEAF_KVM)
		cpuid(leaf, sub, &e->eax, &e->ebx, &e->ecx, &e->edx);
	apply_masks(e, b->dom0);
	pmu_show(e, b->dom0);
	if (b->dom0)
		b->dom0->vm->ops->cpuid(e);
	return e;
}

#define XSAVE_LEGACY 576u /* x87, SSE and the header */
/* ECX of a component's leaf: in the compacted format it begins at 64 bytes */
#define XSAVE_ALIGNED BIT(1)
#define XSAVE_LAST    9 /* the last component that is switched: PKRU */
_Static_assert(!(XCR0_SWITCHED >> (XSAVE_LAST + 1)), "all components have their leaves");

/* Where the compacted area ends once component e has been put behind what ends at size. */
static u32 compacted_end(u32 size, const struct corbel_cpuid *e)
{
	if (e->ecx & XSAVE_ALIGNED)
		size = ALIGN_UP(size, 64u);
	return size + e->eax;
}

static void add_xsave(struct builder *b)
{
	struct corbel_cpuid *whole = add_leaf(b, 0xd, 0, true), *more = add_leaf(b, 0xd, 1, true);
	u32 compact = XSAVE_LEGACY;

	whole->eax = policy_xcr0_all();
	whole->edx = 0;
	whole->ecx = XSAVE_LEGACY;
	for (u32 i = 2; i <= XSAVE_LAST; i++) {
		struct corbel_cpuid *e;

		if (!(policy_xcr0_all() & BIT(i)))
			continue;
		e = add_leaf(b, 0xd, i, true);
		whole->ecx = MAX(whole->ecx, e->ebx + e->eax);
		compact = compacted_end(compact, e);
	}
	whole->ebx = whole->ecx;
	more->ebx = more->ecx = more->edx = 0; /* no supervisor states */
	if (more->eax & (CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES))
		more->ebx = compact;
}

static void add_caches(struct builder *b)
{
	struct corbel_cpuid *e;

	add_leaf(b, 2, 0, false);
	for (u32 i = 0; i < CACHES; i++) {
		e = add_leaf(b, 4, i, true);
		if (!b->dom0)
			e->eax &= 0x3fff; /* no numbers of CPUs */
		if (!(e->eax & 31))
			break;
	}
}

static void add_basic(struct builder *b)
{
	struct corbel_cpuid *e = add_leaf(b, 0, 0, false);
	u32 max = e->eax;
	bool amd = cpuid_is_amd(e->ebx); /* it has LEAF_CACHES instead */

	e->eax = MIN(max, MAX_BASIC);
	e = add_leaf(b, 1, 0, false);
	if (b->dom0) {
		e->ebx = (e->ebx & 0xffffff) | b->dom0->lapic.id << 24;
	} else {
		e->ebx &= 0xff00;
		e->ecx |= hvm_has_nested_vmx() ? CPUID_1C_VMX : 0;
	}
	if (!amd)
		add_caches(b);
	add_leaf(b, 6, 0, false);
	if (max >= 7) {
		e = add_leaf(b, 7, 0, true);
		e->eax = 0;
		if (!b->dom0)
			e->ebx |= CPUID_7B_TSC_ADJUST; /* dom0's TSC is the machine's */
	}
	for (u32 i = 0; b->dom0 && max >= 0xb && i < 2; i++)
		add_leaf(b, 0xb, i, true)->edx = b->dom0->lapic.id;
	if (xcr0_host)
		add_xsave(b);
}

static void add_own(struct builder *b, u32 leaf, u32 eax, u32 ebx, u32 ecx, u32 edx)
{
	struct corbel_cpuid *e = add_leaf(b, leaf, 0, false);

	e->eax = eax;
	e->ebx = ebx;
	e->ecx = ecx;
	e->edx = edx;
}

static void add_extended(struct builder *b)
{
	struct corbel_cpuid *e = add_leaf(b, 0x80000000, 0, false);
	u32 max = MIN(e->eax, MAX_EXTENDED);
	bool topology =
	    b->dom0 && e->eax >= LEAF_NODES && cpuid_read(0x80000001, 0).c & CPUID_X1C_TOPOEXT;
	bool nested = hvm_caps.nested_edx && !b->dom0;

	e->eax = topology ? LEAF_NODES : max;
	if (nested) { /* 8 ASIDs, as in KVM */
		e->eax = CPUID_SVM;
		add_own(b, CPUID_SVM, 1, 8, 0, hvm_caps.nested_edx);
	}
	e->eax = MAX(e->eax, pmu_leaf(b->dom0));
	for (u32 leaf = 0x80000001; leaf <= max; leaf++) {
		e = add_leaf(b, leaf, 0, false);
		if (leaf == 0x80000007)
			e->eax = e->ebx = e->ecx = 0;
		if (leaf == 0x80000008) {
			e->eax = (e->eax & ~0xffu) | MIN(e->eax & 0xff, 48u); /* PT_FN_END */
			e->edx = 0;
			e->ecx &= b->dom0 ? 0xf0ff : 0;
		}
		if (leaf == 0x80000001 && !topology)
			e->ecx &= ~CPUID_X1C_TOPOEXT;
		if (leaf == 0x80000001 && nested)
			e->ecx |= CPUID_X1C_SVM;
	}
	if (!topology)
		return;
	for (u32 i = 0; i < CACHES && add_leaf(b, LEAF_CACHES, i, true)->eax & 31; i++)
		;
	add_leaf(b, LEAF_NODES, 0, false);
}

u32 cpuid_offered(struct corbel_cpuid *out, const struct vcpu *dom0_vcpu)
{
	struct builder b = {out, 0, dom0_vcpu};

	add_basic(&b);
	if (pmu_leaf(dom0_vcpu))
		add_leaf(&b, pmu_leaf(dom0_vcpu), 0, false);
	add_extended(&b);
	add_own(&b, LEAF_KVM, LEAF_KVM + 1, CPUID_KVM, 0x564b4d56, 0x4d); /* "KVMKVMKVM" */
	add_own(&b, LEAF_KVM + 1, pv_features(dom0_vcpu), 0, 0, 0);
	if (dom0_vcpu) {
		add_own(&b, CORBEL_CPUID_BASE, CORBEL_CPUID_ABI, CORBEL_CPUID_SIG_EBX,
			CORBEL_CPUID_SIG_ECX, CORBEL_CPUID_SIG_EDX);
		add_own(&b, CORBEL_CPUID_ABI, CORBEL_ABI_VERSION, hvm->backend, 1, 0);
	}
	return b.n;
}

/* The lookup table has the first 32 leaves of each quarter; others are searched. */
static bool in_table(u32 leaf)
{
	return !(leaf & 0x3fffffe0);
}

#define CPUID_INDEXED BIT(0)  /* the entry is for one subleaf, KVM_CPUID_FLAG_SIGNIFCANT_INDEX */
#define CPUID_DYNAMIC BIT(31) /* ours: part of it depends on the vCPU's state */
#define CPUID_LEAF_1  BIT(30) /* ours: see give_state() */

static __noinline const struct corbel_cpuid *find_leaf(const struct vcpu *v, u32 leaf, u32 sub)
{
	u32 i = 0;

	if (in_table(leaf))
		i = v->cpuid_first[leaf >> 30][leaf & 31];
	for (; i < v->cpuid_count; i++) {
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

	for (u32 i = 2; i <= XSAVE_LAST; i++) {
		const struct corbel_cpuid *e = v->xcr0 & BIT(i) ? find_leaf(v, 0xd, i) : NULL;

		if (e && compacted)
			size = compacted_end(size, e);
		else if (e)
			size = MAX(size, e->ebx + e->eax);
	}
	return size;
}

/* The parts of a leaf that depend on the vCPU's state. */
static void apply_state(struct vcpu *v, struct corbel_cpuid *r)
{
	if (r->function == 1) {
		if (v->osxsave)
			r->ecx |= CPUID_1C_OSXSAVE;
		if (!(v->lapic.base & APIC_BASE_ENABLE) && v->lapic.present)
			r->edx &= ~CPUID_1D_APIC;
	} else if (r->function == 7 && !r->index) {
		r->ecx &= ~CPUID_7C_OSPKE;
		if (hvm->get(v, HVM_CR4) & CR4_PKE)
			r->ecx |= CPUID_7C_OSPKE;
	} else if (r->function == LEAF_NODES && v->vm->is_dom0) { /* of its CPU */
		cpuid(LEAF_NODES, 0, &r->eax, &r->ebx, &r->ecx, &r->edx);
	} else if (r->function == 0xd && xcr0_host &&
		   (!r->index ||
		    (r->index == 1 && r->eax & (CPUID_D1A_XSAVEC | CPUID_D1A_XSAVES)))) {
		r->ebx = xsave_size(v, r->index);
	}
}

/* Of Intel's leaf 7 and AMD's 0x80000008 */
static void note_spec_rights(struct vcpu *v, u32 l7d, u32 x8b)
{
	v->rights.spec_ctrl = spec_ctrl_bits(l7d, x8b) & spec.guest;
	v->rights.pred_cmd = spec.pred && (l7d & CPUID_7D_SPEC_CTRL || x8b & CPUID_X8B_IBPB);
	v->rights.virt_ssbd = spec.ssbd_msr && x8b & CPUID_X8B_VIRT_SSBD;
	v->rights.flush_cmd = spec.flush && l7d & CPUID_7D_L1D_FLUSH;
	v->rights.arch_cap = spec.arch && l7d & CPUID_7D_ARCH_CAP;
}

/* What the guest may set, by what it is shown; a leaf that it has not shows nothing. */
static void note_rights(struct vcpu *v)
{
	static const struct corbel_cpuid none;
	const struct corbel_cpuid *one = find_leaf(v, 1, 0) ?: &none,
				  *seven = find_leaf(v, 7, 0) ?: &none,
				  *xstate = find_leaf(v, 0xd, 0) ?: &none,
				  *xsaves = find_leaf(v, 0xd, 1) ?: &none,
				  *extended = find_leaf(v, 0x80000001, 0) ?: &none,
				  *sizes = find_leaf(v, 0x80000008, 0) ?: &none;
	u32 edx = extended->edx;

	v->rights.cr4 = policy_cr4_mask();
	if (v->cpuid_count) /* as in KVM, a VMM may set CR4 before it sets CPUID */
		v->rights.cr4 &= CR4_ALWAYS | cr4_features_of(one, seven);
	v->rights.xcr0 = (xstate->eax | (u64)xstate->edx << 32) & policy_xcr0_all();
	note_spec_rights(v, seven->edx, sizes->ebx);
	v->rights.efer = EFER_SCE;
	if (edx & CPUID_X1D_LM)
		v->rights.efer |= EFER_LME | EFER_LMA;
	v->rights.efer |= edx & CPUID_X1D_NX ? EFER_NXE : 0;
	v->rights.efer |= edx & CPUID_X1D_FFXSR ? EFER_FFXSR : 0;
	v->rights.vmx = hvm_has_nested_vmx() && one->ecx & CPUID_1C_VMX && !v->vm->is_dom0;
	v->rights.cr4 |= v->rights.vmx ? CR4_VMXE : 0;
	v->rights.svm = hvm_caps.nested_edx && extended->ecx & CPUID_X1C_SVM;
	v->rights.efer |= v->rights.svm ? EFER_SVME : 0;
	v->rights.tsc_aux = has_rdtscp && (edx & CPUID_X1D_RDTSCP || seven->ecx & CPUID_7C_RDPID);
	v->rights.xss = has_xsaves && xsaves->eax & CPUID_D1A_XSAVES;
	v->rights.insns = insns_shown(one, seven, xsaves, extended);
	pmu_note_rights(v, one, find_leaf(v, pmu_leaf(v->vm->is_dom0), 0) ?: &none, extended);
}

static void index_table(struct vcpu *v)
{
	BUG_ON(v->cpuid_count > VCPU_MAX_CPUID);
	memset(v->cpuid_first, 0xff, sizeof(v->cpuid_first));
	for (u32 i = v->cpuid_count; i--;) {
		struct corbel_cpuid *e = &v->cpuid[i];

		if (in_table(e->function))
			v->cpuid_first[e->function >> 30][e->function & 31] = i;
		e->flags &= CPUID_INDEXED;
		switch (e->function) {
		case 1:
			e->flags |= CPUID_LEAF_1;
			e->ecx &= ~CPUID_1C_OSXSAVE;
			v->cpuid_sig = e->eax;
			break;
		case 7:
		case 0xd:
		case LEAF_NODES:
			e->flags |= CPUID_DYNAMIC;
		}
	}
	note_rights(v);
}

/* Without what apply_state() sets. */
static struct corbel_cpuid without_state(const struct vcpu *v, const struct corbel_cpuid *e)
{
	struct corbel_cpuid r = *e;

	r.flags &= CPUID_INDEXED;
	if (r.function == 1) {
		r.ecx &= ~CPUID_1C_OSXSAVE;
		if (vcpu_lacks_quirk(v, CORBEL_QUIRK_NO_MWAIT))
			r.ecx &= ~CPUID_1C_MONITOR;
		r.edx &= ~CPUID_1D_APIC;
	} else if (r.function == 7) {
		r.ecx &= ~CPUID_7C_OSPKE;
	} else if (r.function == 0xd && r.index < 2) {
		r.ebx = 0;
	}
	return r;
}

static bool is_same_table(const struct vcpu *v, const struct corbel_cpuid *e, u32 n)
{
	for (u32 i = 0; i < n && n == v->cpuid_count; i++) {
		struct corbel_cpuid is = without_state(v, &v->cpuid[i]);
		struct corbel_cpuid wanted = without_state(v, &e[i]);

		if (memcmp(&is, &wanted, sizeof(is)))
			return false;
	}
	return n == v->cpuid_count;
}

int cpuid_set(struct vcpu *v, const struct corbel_cpuid *e, u32 n)
{
	if (n > VCPU_MAX_CPUID)
		return -E2BIG;
	/* A guest that has run has looked. */
	if (v->exits_total)
		return is_same_table(v, e, n) ? 0 : -EINVAL;
	if (n)
		memcpy(v->cpuid, e, n * sizeof(*e));
	v->cpuid_count = n;
	cpuid_follow_mwait(v);
	index_table(v);
	hvm->set(v, HVM_INSNS, v->rights.insns);
	return 0;
}

u32 cpuid_get(struct vcpu *v, struct corbel_cpuid *out)
{
	for (u32 i = 0; i < v->cpuid_count; i++) {
		out[i] = v->cpuid[i];
		out[i].flags &= CPUID_INDEXED;
		apply_state(v, &out[i]);
	}
	return v->cpuid_count;
}

void cpuid_set_default(struct vcpu *v)
{
	v->cpuid_count = cpuid_offered(v->cpuid, v);
	index_table(v);
	hvm->set(v, HVM_INSNS, v->rights.insns);
}

static inline void give_leaf(struct vcpu *v, const struct corbel_cpuid *e)
{
	v->gpr[RAX] = e->eax;
	v->gpr[RBX] = e->ebx;
	v->gpr[RCX] = e->ecx;
	v->gpr[RDX] = e->edx;
}

/* What depends on the vCPU's state in the leaf that is asked for most; the table has no OSXSAVE. */
static inline void give_state(struct vcpu *v)
{
	if (v->osxsave)
		v->gpr[RCX] |= CPUID_1C_OSXSAVE;
	if (unlikely(!(v->lapic.base & APIC_BASE_ENABLE)) && v->lapic.present)
		v->gpr[RDX] &= ~CPUID_1D_APIC;
}

/* Leaves with subleaves, with parts that depend on the vCPU's state, or not in the table. */
static __noinline void emulate_other(struct vcpu *v, u32 leaf, u32 sub)
{
	const struct corbel_cpuid *e = find_leaf(v, leaf, sub);
	struct corbel_cpuid r = {0};

	if (e)
		r = *e;
	if (leaf == 0xd && xcr0_host && quirk_has(QUIRK_XSETBV))
		v->xcr0 = xgetbv(0);
	if (e) {
		r.index = sub;
		apply_state(v, &r);
	} else if (leaf == 0xb) {
		r.ecx = sub & 0xff;
		e = find_leaf(v, 0xb, 0);
		if (e)
			r.edx = e->edx;
	}
	give_leaf(v, &r);
}

void cpuid_emulate(struct vcpu *v)
{
	u32 leaf = v->gpr[RAX], i = v->cpuid_first[leaf >> 30][leaf & 31];
	const struct corbel_cpuid *e = &v->cpuid[i];

	if (unlikely(i >= v->cpuid_count || e->function != leaf || e->flags & ~CPUID_LEAF_1)) {
		emulate_other(v, leaf, v->gpr[RCX]);
		return;
	}
	give_leaf(v, e);
	if (e->flags)
		give_state(v);
}
