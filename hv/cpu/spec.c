/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/spec.h"
#include "boot/boot.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/topology.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"

#define CPUID_7B_RTM BIT(11)

/* Leaf 0x80000021: EAX, ECX */
#define X21A_LFENCE	BIT(2) /* waits always */
#define X21A_VERW_CLEAR BIT(5)
#define X21A_AUTO_IBRS	BIT(8)
#define X21A_SRSO_NO	BIT(29)
#define X21A_BP_REDUCE	BIT(31)
#define X21C_TSA_NO	GENMASK(2, 1)

#define CPUID_72D_BHI_CTRL BIT(4)

/* SDM "IA32_ARCH_CAPABILITIES" */
#define ARCH_RDCL_NO	    BIT(0)
#define ARCH_IBRS_ALL	    BIT(1)
#define ARCH_SKIP_L1D	    BIT(3)
#define ARCH_MDS_NO	    BIT(5)
#define ARCH_PSCHANGE_MC_NO BIT(6)
#define ARCH_TAA_NO	    BIT(8)
#define ARCH_STALE_NO	    GENMASK(15, 13) /* SBDR_SSDP_NO, FBSDP_NO, PSDP_NO */
#define ARCH_FB_CLEAR	    BIT(17)
#define ARCH_BHI_NO	    BIT(20)
#define ARCH_PBRSB_NO	    BIT(24)
#define ARCH_RFDS_CLEAR	    BIT(28)
/* What needs no MSR that guests do not have: no TSX_CTRL, MISC_PACKAGE_CTLS, FB_CLEAR_CTRL ... */
#define ARCH_SHOWN                                                                                 \
	(GENMASK(6, 0) | ARCH_TAA_NO | ARCH_STALE_NO | ARCH_FB_CLEAR | BIT(19) | ARCH_BHI_NO |     \
	 ARCH_PBRSB_NO | GENMASK(28, 26) | BIT(62))

#define MSR_FP_CFG	 0xc0011028
#define MSR_DE_CFG	 0xc0011029
#define MSR_BP_CFG	 0xc001102e
#define BP_CFG_REDUCE	 BIT(4)
#define MSR_DE_CFG2	 0xc00110e3
#define EFER_AIBRSE	 BIT(21)
#define FAMILY_LAST_SRSO 0x19 /* Zen 4's; all from 17h on have it, or the like, but for a bit */

#define L7D_MEANS (CPUID_7D_CTRLS | CPUID_7D_MD_CLEAR | CPUID_7D_L1D_FLUSH | CPUID_7D_ARCH_CAP)

struct spec_plan spec;
static struct spec_facts boot_facts; /* the boot CPU's: the plan is made by them */
u8 spec_each;			     /* for hv/cpu/spec.asm */

/* Old data in buffers: MDS, TAA, MMIO stale data, RFDS; AMD's TSA */
static bool wants_verw(const struct spec_facts *f)
{
	u64 a = f->arch;

	if (f->amd)
		return f->x21a & X21A_VERW_CLEAR && (f->x21c & X21C_TSA_NO) != X21C_TSA_NO;
	if (f->l7d & CPUID_7D_MD_CLEAR &&
	    (!(a & ARCH_MDS_NO) || (f->l7b & CPUID_7B_RTM && !(a & ARCH_TAA_NO))))
		return true;
	return (a & ARCH_FB_CLEAR && ~a & ARCH_STALE_NO) || a & ARCH_RFDS_CLEAR;
}

/* Branches that a guest has trained: Spectre v2, BHI, stale return stacks */
static void choose_intel(const struct spec_facts *f, struct spec_plan *p)
{
	if (!(f->l7d & CPUID_7D_SPEC_CTRL))
		return;
	if (!(f->arch & ARCH_IBRS_ALL)) {
		p->each |= SPEC_IBRS | SPEC_RSB;
		return;
	}
	p->host = SPEC_CTRL_IBRS;
	if (!(f->arch & ARCH_PBRSB_NO))
		p->each |= SPEC_RSB;
	if (f->arch & ARCH_BHI_NO)
		return;
	if (f->l72d & CPUID_72D_BHI_CTRL)
		p->host |= SPEC_CTRL_BHI_DIS_S;
	else
		p->each |= SPEC_BHB;
}

/*
 * The same, with SRSO and Retbleed: what returns are predicted by has to be forgotten as well, and
 * then so has been all else.
 */
static void choose_amd(const struct spec_facts *f, struct spec_plan *p)
{
	bool srso = f->family >= 0x17 && !(f->x21a & X21A_SRSO_NO);

	p->auto_ibrs = f->x21a & X21A_AUTO_IBRS;
	p->bp_reduce = srso && f->family > FAMILY_LAST_SRSO && f->x21a & X21A_BP_REDUCE;
	if (f->x8b & CPUID_X8B_IBPB && ((srso && !p->bp_reduce) || !p->auto_ibrs))
		p->each |= SPEC_IBPB;
	if (p->auto_ibrs || p->each)
		p->each |= SPEC_RSB;
}

/* Its cores have the erratum "iTLB multihit": all but Atoms and Xeon Phi, which are these. */
static bool has_multihit(const struct spec_facts *f)
{
	static const u8 small[] = {0x37, 0x4a, 0x4c, 0x4d, 0x57, 0x5a, 0x5c, 0x5d,
				   0x5f, 0x75, 0x7a, 0x85, 0x86, 0x96, 0x9c};

	if (f->amd || f->family != 6 || f->arch & ARCH_PSCHANGE_MC_NO)
		return false;
	for (u32 i = 0; i < ARRAY_SIZE(small); i++)
		if (f->model == small[i])
			return false;
	return true;
}

/*
 * AMD security bulletin "Speculative Leaks" (CVE-2023-20588): behind a division by zero the last
 * quotient can be seen.
 */
static bool is_zen1(const struct spec_facts *f)
{
	return f->family == 0x17 && (f->model <= 0x2f || (f->model >= 0x50 && f->model <= 0x5f));
}

static bool is_zen2(const struct spec_facts *f)
{
	u32 m = f->model;

	return f->family == 0x17 && ((m >= 0x30 && m <= 0x4f) || (m >= 0x60 && m <= 0x7f) ||
				     m == 0x90 || m == 0x91 || (m >= 0xa0 && m <= 0xaf));
}

static bool lfence_passes(const struct spec_facts *f)
{
	return f->family >= 0x10 && f->family != 0x11 && !(f->x21a & X21A_LFENCE);
}

static bool is_zen4(const struct spec_facts *f)
{
	return f->x21a & X21A_AUTO_IBRS;
}

static bool is_early(const struct spec_facts *f)
{
	return f->model <= 0xf;
}

/*
 * What AMD's revision guides and security bulletins want set, or cleared, where newer microcode has
 * not done it. Linux does not where it sees a hypervisor, as in dom0.
 */
static const struct {
	u32 msr;
	u64 set, clear;
	u8 family;				    /* 0: any */
	bool (*is_one)(const struct spec_facts *f); /* NULL: all of the family are */
} fixes[] = {
    {MSR_DE_CFG, BIT(1), 0, 0, lfence_passes}, /* LFENCE waits, as guests are told */
    {MSR_DE_CFG, BIT(9), 0, 0x17, is_zen2},    /* Zenbleed: upper halves of others' vectors */
    {MSR_DE_CFG, BIT(31), 0, 0x12},	       /* 665: divisions go wrong */
    {MSR_DE_CFG, BIT(0), 0, 0x10},	       /* 721: the stack pointer goes wrong */
    {MSR_DE_CFG, BIT(0), 0, 0x12},
    {MSR_DE_CFG2, BIT(1), 0, 0x17, is_zen2},	 /* branches predicted where there are none */
    {MSR_FP_CFG, BIT(9), 0, 0x17, is_zen1},	 /* SB-7053: the divider keeps others' data */
    {MSR_BP_CFG, BIT(33), 0, 0x17, is_zen2},	 /* SB-7052: code is run with rights of others */
    {MSR_BP_CFG, BIT(5), 0, 0x19, is_zen4},	 /* 1485: wrong bytes are fetched: #UD */
    {MSR_LS_CFG, BIT(15), 0, 0x16, is_early},	 /* 793: a guest can hang the CPU */
    {MSR_INT_PENDING, 0, GENMASK(28, 27), 0x10}, /* 400: C1E stops the APIC's timer */
};
_Static_assert(ARRAY_SIZE(fixes) <= 16, "they have bits in spec_plan");

static u16 choose_fixes(const struct spec_facts *f)
{
	u16 bits = 0;

	for (u32 i = 0; i < ARRAY_SIZE(fixes) && f->amd && !f->nested; i++)
		if ((!fixes[i].family || fixes[i].family == f->family) &&
		    (!fixes[i].is_one || fixes[i].is_one(f)))
			bits |= BIT(i);
	return bits;
}

/*
 * AMD64 "Speculative Store Bypass Disable": CPUs without that bit of SPEC_CTRL have one in LS_CFG,
 * other hypervisors VIRT_SPEC_CTRL.
 */
static void choose_ssbd(const struct spec_facts *f, struct spec_plan *p)
{
	static const u8 bits[] = {54, 33, 10}; /* families 15h, 16h, 17h */

	if (!f->amd || f->x8b & (CPUID_X8B_SSBD | CPUID_X8B_SSB_NO))
		return;
	if (f->x8b & CPUID_X8B_VIRT_SSBD) {
		p->ssbd_msr = MSR_VIRT_SPEC_CTRL;
		p->ssbd_bit = SPEC_CTRL_SSBD;
	} else if (!f->nested && f->family >= 0x15 && f->family <= 0x17) {
		p->ssbd_msr = MSR_LS_CFG;
		p->ssbd_bit = BIT(bits[f->family - 0x15]);
	}
}

/* What guests may use themselves, whatever we do. */
static void pass_on(const struct spec_facts *f, struct spec_plan *p)
{
	p->pred = f->l7d & CPUID_7D_SPEC_CTRL || f->x8b & CPUID_X8B_IBPB;
	p->flush = f->l7d & CPUID_7D_L1D_FLUSH;
	p->guest = spec_ctrl_bits(f->l7d, f->x8b);
	p->arch = f->arch & ARCH_SHOWN;
	choose_ssbd(f, p);
	p->fixes = choose_fixes(f);
}

void spec_choose(const struct spec_facts *f, enum spec_mode mode, struct spec_plan *p)
{
	*p = (struct spec_plan){0};
	pass_on(f, p);
	if (mode == SPEC_MODE_OFF)
		return;
	if (f->amd)
		choose_amd(f, p);
	else
		choose_intel(f, p);
	if (wants_verw(f))
		p->each |= SPEC_VERW;
	if (f->amd && is_zen1(f))
		p->each |= SPEC_DIV;
	p->l1d = !f->amd && p->flush && !(f->arch & (ARCH_RDCL_NO | ARCH_SKIP_L1D));
	p->nx_large = has_multihit(f) || mode == SPEC_MODE_FULL;
	if (mode == SPEC_MODE_FULL) {
		p->each |= SPEC_VERW | SPEC_RSB | SPEC_BHB | SPEC_DIV;
		if (p->pred)
			p->each |= SPEC_IBPB;
		p->l1d = p->flush;
	}
	p->ibpb = p->pred && !(p->each & SPEC_IBPB);
	p->nested = p->ibpb && !(f->x8b & CPUID_X8B_SAME_MODE);
}

/* Is it there to be written? What firmware or an outer hypervisor announces without it is not. */
static bool has_command(u32 msr)
{
	return !wrmsr_safe(msr, 0);
}

/* Another hypervisor may show a bit and refuse it. It is left as it was. */
static bool takes_bit(u32 msr, u64 bit)
{
	u64 old;

	return !rdmsr_safe(msr, &old) && !wrmsr_safe(msr, old | bit) && !wrmsr_safe(msr, old);
}

static void read_facts(struct spec_facts *f)
{
	u32 vendor = cpuid_read(0, 0).b, sig = cpuid_read(1, 0).a;
	struct cpuid_regs l7 = cpuid_read(7, 0);
	u64 val;

	f->amd = cpuid_is_amd(vendor);
	f->family = FIELD_GET(GENMASK(11, 8), sig);
	if (f->family == 0xf)
		f->family += FIELD_GET(GENMASK(27, 20), sig);
	f->model = FIELD_GET(GENMASK(7, 4), sig) | FIELD_GET(GENMASK(19, 16), sig) << 4;
	f->nested = cpuid_read(1, 0).c & CPUID_1C_HYPERVISOR;
	f->l7b = l7.b;
	f->l7d = l7.d;
	if (l7.a >= 2)
		f->l72d = cpuid_read(7, 2).d;
	f->x8b = cpuid_read(0x80000008, 0).b;
	f->x21a = cpuid_read(0x80000021, 0).a;
	f->x21c = cpuid_read(0x80000021, 0).c;
	if (f->l7d & CPUID_7D_ARCH_CAP)
		rdmsr_safe(MSR_ARCH_CAPABILITIES, &f->arch);
	if ((f->l7d & CPUID_7D_CTRLS || f->x8b & CPUID_X8B_CTRLS) &&
	    rdmsr_safe(MSR_SPEC_CTRL, &val)) {
		f->l7d &= ~CPUID_7D_CTRLS;
		f->x8b &= ~CPUID_X8B_CTRLS;
	}
	if ((f->l7d & CPUID_7D_SPEC_CTRL || f->x8b & CPUID_X8B_IBPB) &&
	    !has_command(MSR_PRED_CMD)) {
		f->l7d &= ~CPUID_7D_CTRLS;
		f->x8b &= ~CPUID_X8B_IBPB;
	}
	if (f->l7d & CPUID_7D_L1D_FLUSH && !has_command(MSR_FLUSH_CMD))
		f->l7d &= ~CPUID_7D_L1D_FLUSH;
	if (f->x21a & X21A_AUTO_IBRS && !takes_bit(MSR_EFER, EFER_AIBRSE))
		f->x21a &= ~X21A_AUTO_IBRS;
	if (f->x21a & X21A_BP_REDUCE && !takes_bit(MSR_BP_CFG, BP_CFG_REDUCE))
		f->x21a &= ~X21A_BP_REDUCE;
}

static void log_plan(const struct spec_plan *p)
{
	static const char *const names[] = {" VERW", " IBRS", " RSB", " IBPB", " BHB", " DIV"};
	const char *n[ARRAY_SIZE(names)];

	if (p->nx_large)
		log_info("iTLB multihit: guests' large pages are split where they are executed");
	if (!p->each && !p->host && !p->auto_ibrs && !p->ibpb && !p->l1d) {
		log_info("speculation: nothing is done against it, guests must trust each other");
		return;
	}
	for (u32 i = 0; i < ARRAY_SIZE(names); i++)
		n[i] = p->each & BIT(i) ? names[i] : "";
	log_info(
	    "speculation: always%s%s%s%s; between VMs%s%s%s; each entry and exit%s%s%s%s%s%s%s",
	    p->host & SPEC_CTRL_IBRS ? " IBRS" : "",
	    p->host & SPEC_CTRL_BHI_DIS_S ? " BHI_DIS_S" : "", p->auto_ibrs ? " AutoIBRS" : "",
	    p->host || p->auto_ibrs ? "" : " -", p->ibpb ? " IBPB" : "", p->l1d ? " L1D" : "",
	    p->ibpb || p->l1d ? "" : " -", n[0], n[1], n[2], n[3], n[4], n[5], p->each ? "" : " -");
}

void spec_init(void)
{
	read_facts(&boot_facts);
	spec_choose(&boot_facts, boot_info.opt.spec, &spec);
	if (spec.ssbd_msr && !takes_bit(spec.ssbd_msr, spec.ssbd_bit))
		spec.ssbd_msr = 0;
	spec_each = spec.each;
	log_plan(&spec);
}

/* What the plan writes, or guests are told that they may. */
static bool lacks_means(const struct spec_facts *f)
{
	const struct spec_facts *b = &boot_facts;

	return b->l7d & ~f->l7d & L7D_MEANS || b->l72d & ~f->l72d & CPUID_72D_BHI_CTRL ||
	       b->x8b & ~f->x8b & (CPUID_X8B_CTRLS | CPUID_X8B_IBPB | CPUID_X8B_VIRT_SSBD) ||
	       b->x21a & ~f->x21a & (X21A_VERW_CLEAR | X21A_AUTO_IBRS | X21A_BP_REDUCE);
}

int spec_init_cpu(void)
{
	struct spec_facts f = {0};
	struct cpu *c = this_cpu();
	u64 val;

	read_facts(&f);
	if (lacks_means(&f)) {
		log_warn("CPU with APIC id %u has not what the boot CPU has against speculation, "
			 "which newer microcode brings: update the firmware",
			 c->apic_id);
		return -ENODEV;
	}
	if (spec.auto_ibrs)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_AIBRSE);
	for (u32 i = 0; i < ARRAY_SIZE(fixes); i++)
		if (spec.fixes & BIT(i) && !rdmsr_safe(fixes[i].msr, &val))
			wrmsr_safe(fixes[i].msr, (val & ~fixes[i].clear) | fixes[i].set);
	if (spec.bp_reduce && !rdmsr_safe(MSR_BP_CFG, &val))
		wrmsr_safe(MSR_BP_CFG, val | BP_CFG_REDUCE);
	if (spec.guest) /* whatever the firmware has left */
		wrmsr(MSR_SPEC_CTRL, c->spec_ctrl = spec.host);
	if (spec.ssbd_msr)
		spec_set_ssbd(false);
	return 0;
}

/* The threads of a core of family 17h have one LS_CFG: while one wants it, all have it. */
void spec_set_ssbd(bool on)
{
	static struct lock lock = LOCK_INIT(LOCK_LAST);
	struct cpu *c = this_cpu();
	u64 val;

	BUG_ON(!spec.ssbd_msr);
	lock_acquire(&lock);
	c->ssbd = on;
	for (u32 i = 0; i < cpu_count && spec.ssbd_msr == MSR_LS_CFG; i++)
		on |= cpus[i]->ssbd && topology_distance(&cpus[i]->place, &c->place) == NEAR_CORE;
	val = rdmsr(spec.ssbd_msr) & ~spec.ssbd_bit;
	if (on)
		val |= spec.ssbd_bit;
	wrmsr(spec.ssbd_msr, val);
	lock_release(&lock);
}

void spec_set(u64 ctrl)
{
	struct cpu *c = this_cpu();

	ctrl |= spec.host;
	if (spec.each & SPEC_IBRS || ctrl == c->spec_ctrl)
		return;
	BUG_ON(!spec.guest);
	wrmsr(MSR_SPEC_CTRL, c->spec_ctrl = ctrl);
}

void spec_leave_nested(u64 trainer)
{
	if (!spec.nested)
		return;
	wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
	this_cpu()->spec_trained = trainer;
}

void spec_switch(u64 trainer, u64 owner)
{
	struct cpu *c = this_cpu();

	if (spec.ibpb && c->spec_trained && c->spec_trained != trainer) {
		wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
		c->spec_trained = 0;
	}
	if (spec.l1d && owner && c->spec_data != owner)
		wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
	if (trainer) /* dom0 trains nothing to anybody's harm */
		c->spec_trained = trainer;
	c->spec_data = owner;
}
