/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/pmu.h"
#include "boot/options.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define LEAF_INTEL 0xau
#define LEAF_AMD   0x80000022u

#define MSR_COUNTER_LOW	  0xc1 /* a guest's write is of 32 bits, and extends their sign */
#define MSR_FIXED_COUNTER 0x309
#define MSR_PERF_CAPS	  0x345
#define MSR_FIXED_CTRL	  0x38d
#define MSR_PEBS_ENABLE	  0x3f1
#define AMD_COUNTERS	  6
#define AMD_WIDTH	  48
#define CAPS_FULL	  BIT(13) /* counters can be written in full */
#define CLEAR_CONDITIONS  GENMASK(63, 62)
#define SELECT_EVENT	  (GENMASK(35, 32) | GENMASK(15, 0)) /* with the unit mask */
#define SELECT_INT	  BIT(20)
#define SELECT_EN	  BIT(22)
#define SELECT_GUEST	  BIT(40) /* AMD: counts in guests only */
#define FIXED_EN	  3ull	  /* of four bits a counter: in ring 0, in others */
#define FIXED_INT	  8ull

/*
 * By vendor. May be set in a select register: not what counts a core's other thread, what tells
 * guest and host apart, or what needs a feature that is not shown.
 */
static const struct pmu_msrs {
	u32 select, counter, step; /* the first ones; how far apart the next are */
	u32 status, global, clear;
	u64 selects;
} intel = {0x186, 0x4c1, 1, 0x38e, 0x38f, 0x390, GENMASK(31, 22) | SELECT_INT | GENMASK(18, 0)},
  amd = {0xc0010200,
	 0xc0010201,
	 2,
	 0xc0000300,
	 0xc0000301,
	 0xc0000302,
	 GENMASK(35, 22) | SELECT_INT | GENMASK(18, 0)};

/* What each CPU has; set at boot. Without global registers, as AMD's before Zen 4, it is dom0's. */
static struct pmu_caps {
	const struct pmu_msrs *msr; /* NULL: no counters */
	u8 gp, fixed, width;
	bool global;
} pmu_caps;

/* ---- the machine ---- */

/* With the controls by which they stand still in the hypervisor. */
static struct pmu_caps find_intel(void)
{
	struct cpuid_regs l = cpuid_read(LEAF_INTEL, 0);
	struct pmu_caps c = {.msr = &intel, .width = l.a >> 16 & 0xff, .global = true};
	u64 caps = 0;

	c.gp = MIN(l.a >> 8 & 0xff, PMU_GP);
	c.fixed = MIN(l.d & 31, PMU_FIXED);
	if (!(hvm_caps.flags & HVM_CAP_PERF_CTRL) || cpuid_read(0, 0).a < LEAF_INTEL ||
	    (l.a & 0xff) < 2 || !(cpuid_read(1, 0).c & CPUID_1C_PDCM) ||
	    rdmsr_safe(MSR_PERF_CAPS, &caps) || !(caps & CAPS_FULL))
		return (struct pmu_caps){NULL};
	if (c.width < 32 || c.width > 63 || c.width != (l.d >> 5 & 0xff))
		return (struct pmu_caps){NULL};
	return c;
}

/* With the bit by which they do. */
static struct pmu_caps find_amd(void)
{
	struct pmu_caps c = {&amd, AMD_COUNTERS, 0, AMD_WIDTH, false};
	struct cpuid_regs l;
	u64 select = 0;

	if (!(cpuid_read(0x80000001, 0).c & CPUID_X1C_PERFCTR) ||
	    wrmsr_safe(amd.select, SELECT_GUEST) || rdmsr_safe(amd.select, &select) ||
	    !(select & SELECT_GUEST))
		return (struct pmu_caps){NULL};
	l = cpuid_read(LEAF_AMD, 0);
	if (cpuid_read(0x80000000, 0).a >= LEAF_AMD && l.a & 1) {
		c.global = true;
		c.gp = MIN(l.b & 15, PMU_GP);
	}
	return c;
}

static u32 select_msr(u32 at)
{
	return pmu_caps.msr->select + at * pmu_caps.msr->step;
}

static u32 counter_msr(u32 at)
{
	if (at >= PMU_GP)
		return MSR_FIXED_COUNTER + at - PMU_GP;
	return pmu_caps.msr->counter + at * pmu_caps.msr->step;
}

/* Its bit in the global registers */
static u64 counter_bit(u32 at)
{
	if (at >= PMU_GP)
		at += PMU_FIXED_AT - PMU_GP;
	return BIT(at);
}

static void pmi_irq(u8 vector)
{
	struct vcpu *v = this_cpu()->loaded;

	apic_eoi();
	apic_open_pmi(); /* some APICs have masked it */
	if (v)
		pmu_follow(v);
}

int pmu_init_cpu(void)
{
	struct pmu_caps c = {NULL};
	bool fits;

	if (boot_info.opt.pmu != PMU_OFF)
		c = hvm->backend == CORBEL_BACKEND_VMX ? find_intel() : find_amd();
	if (!this_cpu()->index && !dom0) {
		pmu_caps = c;
		irq_set(VEC_PMI, pmi_irq);
	}
	fits = c.msr == pmu_caps.msr && c.width == pmu_caps.width;
	if (dom0 && pmu_caps.msr && (!fits || c.gp < pmu_caps.gp || c.fixed < pmu_caps.fixed))
		return -ENODEV;
	if (!fits)
		pmu_caps.msr = NULL;
	if (!pmu_caps.msr)
		return 0;
	pmu_caps.gp = MIN(pmu_caps.gp, c.gp);
	pmu_caps.fixed = MIN(pmu_caps.fixed, c.fixed);
	pmu_caps.global &= c.global;
	/* what the firmware has left on */
	for (u32 i = 0; i < c.gp; i++)
		wrmsr(c.msr->select + i * c.msr->step, 0);
	if (c.global)
		wrmsr(c.msr->global, 0);
	if (c.fixed)
		wrmsr(MSR_FIXED_CTRL, 0);
	if (c.msr == &intel)
		wrmsr_safe(MSR_PEBS_ENABLE, 0); /* nothing, where the CPU has none */
	apic_open_pmi();
	return 0;
}

/* ---- what a vCPU has ---- */

static bool is_offered(bool dom0)
{
	if (!pmu_caps.msr)
		return false;
	return dom0 || (boot_info.opt.pmu == PMU_GUESTS && pmu_caps.global);
}

u32 pmu_leaf(bool dom0)
{
	if (!is_offered(dom0) || !pmu_caps.global)
		return 0;
	return pmu_caps.msr == &intel ? LEAF_INTEL : LEAF_AMD;
}

void pmu_show(struct corbel_cpuid *e, bool dom0)
{
	u32 width = pmu_caps.width;

	if (!is_offered(dom0))
		return;
	if (e->function == 1 && pmu_caps.msr == &intel)
		e->ecx |= CPUID_1C_PDCM;
	if (e->function == 0x80000001 && pmu_caps.msr == &amd)
		e->ecx |= CPUID_X1C_PERFCTR;
	if (e->function != pmu_leaf(dom0))
		return;
	if (e->function == LEAF_INTEL) { /* version 2: no counting of siblings, no freezing */
		e->eax = (e->eax & 0xff000000) | width << 16 | pmu_caps.gp << 8 | 2;
		e->edx = width << 5 | pmu_caps.fixed;
	} else {
		e->eax = 1;
		e->ebx = pmu_caps.gp;
		e->edx = 0;
	}
	e->ecx = 0;
}

void pmu_note_rights(struct vcpu *v, const struct corbel_cpuid *one, const struct corbel_cpuid *own,
		     const struct corbel_cpuid *extended)
{
	const struct corbel_pmu_filter *f = v->vm->pmu_filter;
	struct pmu *p = &v->pmu;

	p->gp = p->fixed = p->caps = p->has_global = 0;
	if (!is_offered(v->vm->is_dom0) || (f && f->action == CORBEL_PMU_NONE))
		return;
	if (pmu_caps.msr == &intel && (own->eax & 0xff) > 1) {
		p->has_global = true;
		p->gp = MIN(own->eax >> 8 & 0xff, pmu_caps.gp);
		p->fixed = MIN(own->edx & 31, pmu_caps.fixed);
		p->caps = one->ecx & CPUID_1C_PDCM ? CAPS_FULL : 0;
	} else if (pmu_caps.msr == &amd && extended->ecx & CPUID_X1C_PERFCTR) {
		p->has_global = pmu_caps.global && own->eax & 1;
		p->gp = MIN(AMD_COUNTERS, pmu_caps.gp);
		if (p->has_global)
			p->gp = MIN(own->ebx & 15, pmu_caps.gp);
	}
	pmu_reset(v);
}

void pmu_reset(struct vcpu *v)
{
	struct pmu *p = &v->pmu;

	BUG_ON(p->hw);
	memset(p->counter, 0, sizeof(p->counter));
	memset(p->select, 0, sizeof(p->select));
	p->fixed_ctrl = p->status = p->owed = 0;
	p->global = BIT(p->gp) - 1;
}

/* ---- what counts ---- */

/* By its event and unit mask. */
static bool is_allowed(const struct corbel_pmu_filter *f, u64 event)
{
	u32 low = 0, end = f->count;

	while (low < end) {
		u32 at = (low + end) / 2;

		if (f->event[at] == event)
			return f->action == CORBEL_PMU_ALLOW;
		if (f->event[at] < event)
			low = at + 1;
		else
			end = at;
	}
	return f->action != CORBEL_PMU_ALLOW;
}

/* Those of the counters that the filter lets count. */
static u64 filter_locked(const struct vm *vm, const struct pmu *p, u64 on)
{
	const struct corbel_pmu_filter *f = vm->pmu_filter;
	u32 fixed = f->action == CORBEL_PMU_ALLOW ? f->fixed : ~f->fixed;

	ASSERT_HELD(&vm->lock);
	if (f->action == CORBEL_PMU_NONE)
		return 0;
	if (f->action == CORBEL_PMU_ALL)
		return on;
	on &= (u64)fixed << PMU_FIXED_AT | (BIT(PMU_GP) - 1);
	for (u32 i = 0; i < p->gp; i++)
		if (!is_allowed(f, p->select[i] & SELECT_EVENT))
			on &= ~BIT(i);
	return on;
}

/* Of whose registers some of these bits are set. */
static u64 with_bits(const struct pmu *p, u64 select, u64 fixed)
{
	u64 found = 0;

	for (u32 i = 0; i < p->gp; i++)
		if (p->select[i] & select)
			found |= BIT(i);
	for (u32 i = 0; i < p->fixed; i++)
		if (p->fixed_ctrl & fixed << 4 * i)
			found |= BIT(PMU_FIXED_AT + i);
	return found;
}

static u64 find_counting(struct vcpu *v)
{
	const struct pmu *p = &v->pmu;
	u64 on = with_bits(p, SELECT_EN, FIXED_EN);

	if (p->has_global)
		on &= p->global;
	if (on && v->vm->pmu_filter) {
		lock_acquire(&v->vm->lock);
		on = filter_locked(v->vm, p, on);
		lock_release(&v->vm->lock);
	}
	return on;
}

/* ---- to and from the hardware ---- */

/* Intel's counts in guests only, and is 0 in the hypervisor: by the VMCS. */
static void set_global(struct vcpu *v, u64 on)
{
	if (pmu_caps.msr == &intel)
		hvm->set(v, HVM_PERF_GLOBAL, on);
	else if (pmu_caps.global)
		wrmsr(amd.global, on);
}

/*
 * A counter has run over if it was in the upper half of its range, and no longer is: it goes
 * through half of it in hours.
 */
void pmu_save(struct vcpu *v)
{
	struct pmu *p = &v->pmu;
	u64 on = p->hw, over = 0;

	if (!on)
		return;
	BUG_ON(this_cpu()->loaded != v);
	set_global(v, 0);
	if (on >> PMU_FIXED_AT)
		wrmsr(MSR_FIXED_CTRL, 0);
	for (u32 at = 0; at < PMU_GP + PMU_FIXED; at++) {
		u64 old = p->counter[at], bit = counter_bit(at);

		if (!(on & bit))
			continue;
		if (at < PMU_GP)
			wrmsr(select_msr(at), 0);
		p->counter[at] = rdmsr(counter_msr(at)) & (BIT(pmu_caps.width) - 1);
		if (old & ~p->counter[at] & BIT(pmu_caps.width - 1))
			over |= bit;
	}
	if (pmu_caps.global)
		wrmsr(pmu_caps.msr->clear, on);
	p->hw = 0;
	p->status |= over;
	if (over & with_bits(p, SELECT_INT, FIXED_INT))
		p->owed = true;
}

/* What its performance LVT says is to be done; SDM "Local Vector Table". */
static void tell_overflow(struct vcpu *v)
{
	u32 *lvt = &v->lapic.lvt[LVT_PERF], mode = FIELD_GET(ICR_MODE, *lvt);

	v->pmu.owed = false;
	if (!lapic_is_on(&v->lapic) || *lvt & LVT_MASKED)
		return;
	if (mode == DM_NMI) {
		v->nmi_pending = true;
		vcpu_request(v, DUE_LOOK);
	} else if (mode == DM_FIXED) {
		lapic_set_irq(v, *lvt, false);
	}
	if (pmu_caps.msr == &intel)
		*lvt |= LVT_MASKED;
}

void pmu_settle(struct vcpu *v)
{
	if (unlikely(v->pmu.owed))
		tell_overflow(v);
}

void pmu_load(struct vcpu *v)
{
	struct pmu *p = &v->pmu;
	u64 on = find_counting(v), guest = pmu_caps.msr == &amd ? SELECT_GUEST : 0;

	BUG_ON(this_cpu()->loaded != v || p->hw);
	pmu_settle(v);
	if (!on)
		return;
	for (u32 at = 0; at < PMU_GP + PMU_FIXED; at++) {
		if (!(on & counter_bit(at)))
			continue;
		wrmsr(counter_msr(at), p->counter[at]);
		if (at < PMU_GP)
			wrmsr(select_msr(at), p->select[at] | guest);
	}
	if (on >> PMU_FIXED_AT)
		wrmsr(MSR_FIXED_CTRL, p->fixed_ctrl);
	p->hw = on;
	set_global(v, on);
}

void pmu_follow(struct vcpu *v)
{
	if (this_cpu()->loaded != v || !v->pmu.gp)
		return;
	pmu_save(v);
	pmu_load(v);
}

/* ---- registers ---- */

struct pmu_reg {
	u64 *at;     /* NULL: it has none such */
	u64 allowed; /* other bits are #GP with Intel, and dropped with AMD, as in KVM */
};

/* One of a row of registers. */
static bool is_of(u32 msr, u32 first, u32 count, u32 *n)
{
	*n = (msr - first) / pmu_caps.msr->step;
	return *n < count && msr == first + *n * pmu_caps.msr->step;
}

static struct pmu_reg find_reg(struct pmu *p, u32 msr)
{
	const struct pmu_msrs *m = pmu_caps.msr;
	u64 all = (BIT(p->gp) - 1) | (BIT(p->fixed) - 1) << PMU_FIXED_AT;
	u64 width = BIT(pmu_caps.width) - 1, fixed = BIT(4 * p->fixed) - 1;
	u32 n;

	if (!p->gp)
		return (struct pmu_reg){NULL};
	if (is_of(msr, m->select, p->gp, &n))
		return (struct pmu_reg){&p->select[n], m->selects};
	if (is_of(msr, m->counter, p->gp, &n) && (m == &amd || p->caps))
		return (struct pmu_reg){&p->counter[n], width};
	if (p->has_global && msr == m->status)
		return (struct pmu_reg){&p->status, all};
	if (p->has_global && msr == m->global)
		return (struct pmu_reg){&p->global, all};
	if (p->has_global && msr == m->clear)
		return (struct pmu_reg){&p->status, all | CLEAR_CONDITIONS};
	if (m == &amd)
		return (struct pmu_reg){NULL};
	if (is_of(msr, MSR_COUNTER_LOW, p->gp, &n))
		return (struct pmu_reg){&p->counter[n], width};
	if (is_of(msr, MSR_FIXED_COUNTER, p->fixed, &n))
		return (struct pmu_reg){&p->counter[PMU_GP + n], width};
	if (msr == MSR_FIXED_CTRL) /* not bit 2 of each, the core's other thread */
		return (struct pmu_reg){&p->fixed_ctrl, fixed & ~0x4444ull};
	if (msr == MSR_PERF_CAPS)
		return (struct pmu_reg){&p->caps, CAPS_FULL};
	return (struct pmu_reg){NULL};
}

/* Of other guests: a VMM, which finds it in the list of MSRs, reads and writes 0, as in KVM. */
static bool is_listed(u32 msr)
{
	struct pmu all = {.gp = pmu_caps.gp, .fixed = pmu_caps.fixed, .has_global = true};

	return msr == MSR_PERF_CAPS || (is_offered(false) && find_reg(&all, msr).at);
}

int pmu_msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	struct pmu_reg r = find_reg(&v->pmu, msr);

	*val = 0;
	if (!r.at)
		return host && is_listed(msr) ? 0 : -ENOENT;
	pmu_follow(v);
	*val = msr == pmu_caps.msr->clear ? 0 : *r.at;
	return 0;
}

int pmu_msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	struct pmu_reg r = find_reg(&v->pmu, msr);
	bool is_intel = pmu_caps.msr == &intel;
	u32 n;

	if (!r.at)
		return host && !val && is_listed(msr) ? 0 : -ENOENT;
	if (!host && (msr == pmu_caps.msr->status || msr == MSR_PERF_CAPS)) /* to be read */
		return is_intel ? -EINVAL : 0;
	if (is_of(msr, MSR_COUNTER_LOW, PMU_GP, &n))
		val = (host ? val : (u64)(s32)val) & r.allowed;
	if (is_intel && val & ~r.allowed)
		return -EINVAL;
	pmu_save(v);
	if (msr == pmu_caps.msr->clear)
		v->pmu.status &= ~val;
	else
		*r.at = val & r.allowed;
	if (this_cpu()->loaded == v)
		pmu_load(v);
	return 0;
}

#define RDPMC_FIXED BIT(30)

int pmu_rdpmc(struct vcpu *v, u64 *val)
{
	bool fixed = pmu_caps.msr == &intel && v->gpr[RCX] & RDPMC_FIXED;
	u32 n = v->gpr[RCX], count = v->pmu.gp, at = 0;

	if (fixed) {
		n &= ~RDPMC_FIXED;
		count = v->pmu.fixed;
		at = PMU_GP;
	}
	if (n >= count || (hvm->get(v, HVM_CPL) && !(hvm->get(v, HVM_CR4) & CR4_PCE)))
		return -EINVAL;
	pmu_follow(v);
	*val = v->pmu.counter[at + n];
	return 0;
}

/* ---- the filter ---- */

int pmu_filter_set(struct vm *vm, const struct corbel_pmu_filter *new)
{
	void *page = vm->pmu_filter;
	int err = 0;

	BUG_ON(vm->is_dom0);
	_Static_assert(sizeof(*new) <= PAGE_SIZE, "it fits its page");
	if (new->action > CORBEL_PMU_NONE || new->count > CORBEL_PMU_EVENTS)
		return -EINVAL;
	if (!page)
		err = vm_promise_taken(vm, &page, 1);
	if (err)
		return err;
	lock_acquire(&vm->lock);
	memcpy(page, new, sizeof(*new));
	vm->pmu_filter = page;
	lock_release(&vm->lock);
	for (u32 i = 0; i < vm->vcpu_end; i++)
		if (vm->vcpu[i])
			vcpu_request(vm->vcpu[i], DUE_PMU);
	return 0;
}
