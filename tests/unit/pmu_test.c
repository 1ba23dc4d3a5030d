/* links: tests/unit/rest.c */
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Performance counters on a CPU that counts by the book: what is offered, which bits a guest may
 * set, and that counts are those of the guest alone, whoever else has the CPU meanwhile.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/asm.h"
#include "hv/guest/hvm.h"
#include "test.h"

/* ---- a CPU ---- */

static u32 leaf_max, extended_max, perfmon[4], amd2[4], ecx_1, ecx_x1;
static bool keeps_guest_only;
static u64 perf_caps;
static bool intel_cpu, no_global; /* no_global: an AMD CPU before Zen 4 */
#define MODEL_GP 8
static struct {
	u64 select[MODEL_GP], counter[MODEL_GP], fixed[3], fixed_ctrl, global, status, pebs;
	u64 vmcs_global; /* Intel's while a guest runs */
} hw;
static u32 missing; /* accesses to MSRs that the CPU has not */

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	const u32 *four = leaf == 0xa ? perfmon : amd2;

	*a = *b = *c = *d = 0;
	if (leaf == 0)
		*a = leaf_max;
	if (leaf == 0x80000000)
		*a = extended_max;
	if (leaf == 1)
		*c = ecx_1;
	if (leaf == 0x80000001)
		*c = ecx_x1;
	if (leaf == 0xa || leaf == 0x80000022)
		*a = four[0], *b = four[1], *c = four[2], *d = four[3];
}

static u64 *model_msr(u32 msr)
{
	if (intel_cpu && msr - 0x186 < MODEL_GP)
		return &hw.select[msr - 0x186];
	if (intel_cpu && msr - 0x4c1 < MODEL_GP)
		return &hw.counter[msr - 0x4c1];
	if (intel_cpu && msr - 0x309 < 3)
		return &hw.fixed[msr - 0x309];
	if (!intel_cpu && msr - 0xc0010200 < 2 * 6)
		return msr & 1 ? &hw.counter[(msr - 0xc0010200) / 2]
			       : &hw.select[(msr - 0xc0010200) / 2];
	if (intel_cpu && msr == 0x3f1)
		return &hw.pebs;
	if (intel_cpu && msr == 0x38d)
		return &hw.fixed_ctrl;
	if (msr == (intel_cpu ? 0x38e : 0xc0000300) && (intel_cpu || amd2[0]))
		return &hw.status;
	if (msr == (intel_cpu ? 0x38f : 0xc0000301) && (intel_cpu || amd2[0]))
		return &hw.global;
	return NULL;
}

static int fake_rdmsr_safe(u32 msr, u64 *val)
{
	const u64 *at = model_msr(msr);

	*val = msr == 0x345 ? perf_caps : 0;
	if (!at)
		return intel_cpu && msr == 0x345 ? 0 : -EIO;
	*val = *at;
	return 0;
}

static int fake_wrmsr_safe(u32 msr, u64 val)
{
	u64 *at = model_msr(msr);

	if (msr == (intel_cpu ? 0x390 : 0xc0000302)) {
		hw.status &= ~val;
		return 0;
	}
	if (!at)
		return -EIO;
	if (!intel_cpu && !keeps_guest_only && !(msr & 1))
		val &= ~BIT(40);
	*at = val;
	return 0;
}

static u64 fake_rdmsr(u32 msr)
{
	u64 val;

	missing += fake_rdmsr_safe(msr, &val) != 0;
	return val;
}

static void fake_wrmsr(u32 msr, u64 val)
{
	missing += fake_wrmsr_safe(msr, val) != 0;
}

#define rdmsr_safe fake_rdmsr_safe
#define wrmsr_safe fake_wrmsr_safe
#define rdmsr	   fake_rdmsr
#define wrmsr	   fake_wrmsr
#include "hv/guest/pmu.c"

struct boot_info boot_info;
static struct cpu the_cpu;
struct vm *dom0;
static u32 opened, notified;
static u64 cpl, cr4;

struct cpu *this_cpu(void)
{
	return &the_cpu;
}

void apic_open_pmi(void)
{
	opened++;
}

void irq_set(u8 vector, void (*fn)(u8 vector))
{
}

void vcpu_request(struct vcpu *v, u64 req)
{
	v->due |= req;
	notified++;
}

static u32 irqs;
bool lapic_set_irq(struct vcpu *v, u8 vector, bool level)
{
	irqs += vector == 0x44 && !level;
	return true;
}

int vm_promise_taken(struct vm *vm, void **pages, u32 count)
{
	*pages = calloc(1, PAGE_SIZE);
	return 0;
}

static u64 fake_get(struct vcpu *v, enum hvm_reg r)
{
	return r == HVM_CPL ? cpl : r == HVM_CR4 ? cr4 : 0;
}

static void fake_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	if (r == HVM_PERF_GLOBAL)
		hw.vmcs_global = val;
}

static struct hvm_ops ops = {.get = fake_get, .set = fake_set};
const struct hvm_ops *hvm = &ops;
struct hvm_caps hvm_caps;

/* Events happen, n of each: in a guest, or in the hypervisor. */
static bool counts(u32 i, bool in_guest)
{
	u64 global = hw.global;

	if (intel_cpu && in_guest)
		global = hw.vmcs_global;
	if (!intel_cpu && !amd2[0])
		global = ~0ull;
	if (!(hw.select[i] & BIT(22)) || !(global & BIT(i)))
		return false;
	return intel_cpu || in_guest || !(hw.select[i] & BIT(40));
}

static void happen(u64 n, bool in_guest)
{
	u64 global = in_guest ? hw.vmcs_global : hw.global, mask = BIT(48) - 1;

	for (u32 i = 0; i < MODEL_GP; i++) {
		if (!counts(i, in_guest))
			continue;
		if (((hw.counter[i] + n) & mask) < n)
			hw.status |= BIT(i);
		hw.counter[i] = (hw.counter[i] + n) & mask;
	}
	for (u32 i = 0; intel_cpu && i < 3; i++)
		if (global & BIT(32 + i) && hw.fixed_ctrl >> 4 * i & 3)
			hw.fixed[i] = (hw.fixed[i] + n) & mask;
}

static bool stands_still(void)
{
	u64 any = hw.vmcs_global | hw.fixed_ctrl;

	if (intel_cpu)
		any |= hw.pebs;

	for (u32 i = 0; i < (intel_cpu ? MODEL_GP : 6); i++)
		any |= hw.select[i];
	if (!no_global)
		any |= hw.global | hw.status;
	return !any;
}

/* ---- vCPUs ---- */

static struct vm vms[2], dom0_vm = {.is_dom0 = true};
static struct vcpu vcpus[2], dom0_vcpu;

static void machine(bool is_intel, u32 mode)
{
	memset(&hw, 0xff, sizeof(hw)); /* the firmware has left all on */
	hw.status = hw.vmcs_global = 0;
	if (!is_intel)
		hw.fixed_ctrl = 0;
	intel_cpu = is_intel;
	leaf_max = 0x1f;
	extended_max = 0x80000022;
	perfmon[0] = 5 | 10 << 8 | 48 << 16 | 8u << 24;
	perfmon[1] = 0, perfmon[2] = ~0u;
	perfmon[3] = 4 | 48 << 5 | BIT(15);
	amd2[0] = no_global ? 0 : 7, amd2[1] = 6 | 0xffff0, amd2[2] = amd2[3] = ~0u;
	ecx_1 = CPUID_1C_PDCM;
	ecx_x1 = CPUID_X1C_PERFCTR;
	keeps_guest_only = true;
	perf_caps = BIT(13);
	ops.backend = is_intel ? CORBEL_BACKEND_VMX : CORBEL_BACKEND_SVM;
	hvm_caps.flags = is_intel ? HVM_CAP_PERF_CTRL : 0;
	boot_info.opt.pmu = mode;
	dom0 = NULL;
	opened = 0;
}

static void show_to(struct vcpu *v, struct vm *vm)
{
	struct corbel_cpuid e[3] = {{.function = 1}, {0}, {.function = 0x80000001}};
	bool is_dom0 = vm->is_dom0;

	memset(v, 0, sizeof(*v));
	v->vm = vm;
	e[1].function = pmu_leaf(is_dom0);
	cpuid(e[1].function, 0, &e[1].eax, &e[1].ebx, &e[1].ecx, &e[1].edx);
	for (u32 i = 0; i < 3; i++)
		pmu_show(&e[i], is_dom0);
	pmu_note_rights(v, &e[0], &e[1], &e[2]);
	v->lapic.present = true;
	v->lapic.base = APIC_BASE_ENABLE;
	v->lapic.lvt[LVT_PERF] = DM_NMI << 8;
}

static void boot(bool is_intel, u32 mode)
{
	machine(is_intel, mode);
	pmu_init_cpu();
	memset(vms, 0, sizeof(vms));
	dom0 = &dom0_vm;
	the_cpu.loaded = NULL;
	vms[0].is_dom0 = vms[1].is_dom0 = no_global; /* guests would have none */
	for (u32 i = 0; i < 2; i++)
		show_to(&vcpus[i], &vms[i]);
	show_to(&dom0_vcpu, &dom0_vm);
}

static void load(struct vcpu *v)
{
	if (the_cpu.loaded)
		pmu_save(the_cpu.loaded);
	the_cpu.loaded = v;
	if (v && v->pmu.gp)
		pmu_load(v);
}

static u32 sel(u32 i)
{
	return intel_cpu ? 0x186 + i : 0xc0010200 + 2 * i;
}

static u32 ctr(u32 i)
{
	return intel_cpu ? 0x4c1 + i : 0xc0010201 + 2 * i;
}

static u64 get(struct vcpu *v, u32 msr)
{
	u64 val = 0;

	return pmu_msr_read(v, msr, &val, false) ? ~0ull : val;
}

static int put(struct vcpu *v, u32 msr, u64 val)
{
	return pmu_msr_write(v, msr, val, false);
}

/* ---- what is offered ---- */

static bool has_none(u32 mode)
{
	u64 before[MODEL_GP];

	memcpy(before, hw.counter, sizeof(before));
	boot_info.opt.pmu = mode;
	pmu_init_cpu();
	show_to(&dom0_vcpu, &dom0_vm);
	return !pmu_leaf(true) && !dom0_vcpu.pmu.gp && !opened &&
	       get(&dom0_vcpu, sel(0)) == ~0ull && put(&dom0_vcpu, sel(0), 0) == -ENOENT &&
	       !memcmp(before, hw.counter, sizeof(before));
}

static void test_machines(void)
{
	struct corbel_cpuid e = {.function = 0xa}, was;

	machine(true, PMU_DOM0), hvm_caps.flags = 0;
	CHECK(has_none(PMU_GUESTS), "none without the VM-entry and VM-exit controls");
	machine(true, PMU_DOM0), perfmon[0] = 1 | 2 << 8 | 48 << 16;
	CHECK(has_none(PMU_GUESTS), "nor without global registers");
	machine(true, PMU_DOM0), leaf_max = 9;
	CHECK(has_none(PMU_GUESTS), "nor without the leaf");
	machine(true, PMU_DOM0), ecx_1 = 0;
	CHECK(has_none(PMU_GUESTS), "nor if counters cannot be written in full");
	machine(true, PMU_DOM0), perf_caps = 0;
	CHECK(has_none(PMU_GUESTS), "nor if the CPU says so");
	machine(true, PMU_DOM0), perfmon[3] = 3 | 40 << 5;
	CHECK(has_none(PMU_GUESTS), "nor where the two kinds have other widths");
	machine(true, PMU_DOM0), perfmon[0] = 2 | 4 << 8, perfmon[3] = 3;
	CHECK(has_none(PMU_GUESTS), "nor where they have none");
	machine(true, PMU_DOM0);
	CHECK(has_none(PMU_OFF), "nor with pmu=off");
	machine(false, PMU_DOM0), ecx_x1 = 0;
	CHECK(has_none(PMU_GUESTS), "AMD: none without the six");
	machine(false, PMU_DOM0), keeps_guest_only = false;
	CHECK(has_none(PMU_GUESTS), "nor if they would count in the hypervisor");

	boot(true, PMU_DOM0);
	was = e;
	pmu_show(&e, false);
	CHECK(stands_still() && opened == 1, "what the firmware has left on is off");
	CHECK(!vcpus[0].pmu.gp && !pmu_leaf(false) && !memcmp(&e, &was, sizeof(e)) &&
		  put(&vcpus[0], sel(0), 0) == -ENOENT && get(&vcpus[0], 0x345) == ~0ull,
	      "guests have none unless the option says so");
	CHECK(dom0_vcpu.pmu.gp == 8 && dom0_vcpu.pmu.fixed == 3, "dom0 has 8 and 3 at most");
	e.eax = 5 | 10 << 8 | 48 << 16 | 8u << 24;
	e.ecx = ~0u;
	pmu_show(&e, true);
	CHECK(e.eax == (2 | 8 << 8 | 48 << 16 | 8u << 24) && !e.ecx && e.edx == (3 | 48 << 5),
	      "and is told of version 2, without other bits");
	no_global = true;
	boot(false, PMU_GUESTS);
	vms[0].is_dom0 = false;
	show_to(&vcpus[0], &vms[0]);
	CHECK(dom0_vcpu.pmu.gp == 6 && !dom0_vcpu.pmu.has_global && !vcpus[0].pmu.gp &&
		  get(&dom0_vcpu, 0xc0000301) == ~0ull,
	      "AMD's before Zen 4 are dom0's only, without global registers");
	no_global = false;
}

/* A CPU that comes later has less, or none. */
static void test_hybrid(void)
{
	boot(true, PMU_GUESTS);
	dom0 = NULL;
	the_cpu.index = 1;
	perfmon[0] = 5 | 6 << 8 | 48 << 16;
	pmu_init_cpu();
	show_to(&vcpus[0], &vms[0]);
	CHECK(vcpus[0].pmu.gp == 6, "all have what each CPU has");
	ecx_1 = 0;
	dom0 = &dom0_vm;
	CHECK(pmu_init_cpu() == -ENODEV && pmu_leaf(true),
	      "one that has lost them asleep is refused");
	dom0 = NULL;
	CHECK(!pmu_init_cpu() && !pmu_leaf(true), "or none, if one has none at boot");
	the_cpu.index = 0;
}

static void test_rights(void)
{
	struct corbel_cpuid one = {0}, own = {.eax = 2 | 3 << 8, .edx = 1}, x = {0};
	u64 val = 1;
	struct vcpu *v = &vcpus[0];

	boot(true, PMU_GUESTS);
	pmu_note_rights(v, &one, &own, &x);
	CHECK(!put(v, sel(2), 0) && put(v, sel(3), 0) == -ENOENT && !put(v, 0x309, 0) &&
		  put(v, 0x30a, 0) == -ENOENT && put(v, ctr(0), 0) == -ENOENT && !put(v, 0xc1, 0),
	      "a guest has as many as its CPUID shows, and full writes if it shows those");
	own.eax = 2 | 200 << 8, own.edx = 31;
	pmu_note_rights(v, &one, &own, &x);
	CHECK(v->pmu.gp == 8 && v->pmu.fixed == 3, "and no more than there are");
	own.eax = 0;
	pmu_note_rights(v, &one, &own, &x);
	CHECK(put(v, sel(0), 0) == -ENOENT && get(v, 0x38f) == ~0ull, "none if it shows none");
	CHECK(!pmu_msr_read(v, 0x38f, &val, true) && !val && !pmu_msr_write(v, sel(7), 0, true) &&
		  pmu_msr_write(v, sel(7), 1, true) == -ENOENT &&
		  pmu_msr_write(v, sel(8), 0, true) == -ENOENT,
	      "but a VMM reads and writes as 0 what is listed");
	boot(true, PMU_DOM0);
	CHECK(pmu_msr_read(v, 0x38f, &val, true) == -ENOENT, "unless no guest has any");
	boot(false, PMU_GUESTS);
	own = (struct corbel_cpuid){.eax = 1, .ebx = 15};
	pmu_note_rights(v, &one, &own, &x);
	CHECK(put(v, sel(0), 0) == -ENOENT, "AMD: none without the six");
	x.ecx = CPUID_X1C_PERFCTR;
	pmu_note_rights(v, &one, &own, &x);
	CHECK(v->pmu.gp == 6 && v->pmu.has_global, "no more than there are");
	own.eax = 0;
	pmu_note_rights(v, &one, &own, &x);
	CHECK(v->pmu.gp == 6 && get(v, 0xc0000301) == ~0ull,
	      "and no global registers unless it shows them");
}

/* ---- bits ---- */

static void test_bits(void)
{
	struct vcpu *v = &vcpus[0];
	bool good = true;

	boot(true, PMU_GUESTS);
	load(v);
	for (u32 bit = 0; bit < 64; bit++) {
		bool may = bit < 32 && bit != 21 && bit != 19;

		good &= put(v, sel(0), BIT(bit)) == (may ? 0 : -EINVAL);
		good &= !(hw.select[0] & (BIT(21) | BIT(19) | ~0xffffffffull));
	}
	CHECK(good, "a selection has no bit for the other thread, TSX or what is not known");
	for (u32 bit = 0; bit < 64; bit++) {
		bool in_fixed = bit < 12 && bit % 4 != 2;
		bool in_global = bit < 8 || (bit >= 32 && bit < 35);

		good &= put(v, 0x38d, BIT(bit)) == (in_fixed ? 0 : -EINVAL);
		good &= put(v, 0x38f, BIT(bit)) == (in_global ? 0 : -EINVAL);
		good &= put(v, 0x390, BIT(bit)) == (in_global || bit >= 62 ? 0 : -EINVAL);
		good &= put(v, ctr(0), BIT(bit)) == (bit < 48 ? 0 : -EINVAL);
	}
	CHECK(good, "the other registers have only bits of counters that are there");
	CHECK(put(v, 0x38e, 0) == -EINVAL && put(v, 0x345, 0) == -EINVAL && !get(v, 0x390),
	      "status and capabilities are to be read, what clears reads as 0");
	CHECK(!pmu_msr_write(v, 0x345, 0, true) && put(v, ctr(0), 0) == -ENOENT &&
		  pmu_msr_write(v, 0x345, BIT(14), true) == -EINVAL &&
		  !pmu_msr_write(v, 0x38e, BIT(1), true) && get(v, 0x38e) == BIT(1),
	      "the VMM writes them, and no more capabilities than there are");
	put(v, 0xc1, 0x80000000);
	CHECK(get(v, 0xc1) == 0xffff80000000, "a short write extends the sign");
	pmu_msr_write(v, 0xc1, 0x123456789, true);
	CHECK(get(v, 0xc1) == 0x123456789, "a VMM's is not short");
	load(NULL);

	boot(false, PMU_GUESTS);
	load(v);
	good = !put(v, sel(0), ~0ull) && get(v, sel(0)) == 0xfffd7ffff;
	CHECK(good && hw.select[0] == (0xfffd7ffff | BIT(40)),
	      "AMD: other bits are dropped; it counts in guests only, whatever the guest says");
	CHECK(!put(v, 0xc0000301, ~0ull) && get(v, 0xc0000301) == 0x3f && !put(v, 0xc0000300, 7) &&
		  !get(v, 0xc0000300) && put(v, 0xc0000303, 1) == -ENOENT,
	      "and of the global registers");
	load(NULL);
	CHECK(stands_still(), "off again");
}

/* ---- switching ---- */

static void start(struct vcpu *v, u32 i, u64 from, u64 flags)
{
	put(v, ctr(i), from);
	put(v, sel(i), 0x300c0 | BIT(22) | flags);
}

static void test_switch(void)
{
	struct vcpu *a = &vcpus[0], *b = &vcpus[1];
	u32 stop = intel_cpu ? 0x38f : 0xc0000301;

	if (no_global)
		stop = sel(0);
	load(a);
	start(a, 0, 1000, 0);
	happen(7, true);
	happen(100, false);
	CHECK(get(a, ctr(0)) == 1007, "counts in the guest, not in the hypervisor");
	load(b);
	CHECK(stands_still(), "nothing is left on for the next one");
	happen(50, true);
	CHECK(!get(b, ctr(0)) && !get(b, sel(0)), "which finds none of it");
	start(b, 0, 5, 0);
	start(b, 2, 9, 0);
	happen(1, true);
	load(&dom0_vcpu);
	CHECK(stands_still(), "nor has dom0");
	happen(90, true);
	load(a);
	CHECK(hw.select[2] == 0, "what the other had is gone");
	happen(3, true);
	CHECK(get(a, ctr(0)) == 1010, "it goes on where it was");
	put(a, stop, 0);
	happen(3, true);
	CHECK(get(a, ctr(0)) == 1010 && stands_still(), "until it is stopped");
	load(b);
	CHECK(get(b, ctr(0)) == 6 && get(b, ctr(2)) == 10, "the other, too");
	load(NULL);
	CHECK(stands_still() && !missing, "nobody's counters stand still");
}

/* Two vCPUs and the hypervisor do what they like; each has its own counts. */
static void test_random(void)
{
	u64 count[2][6] = {{0}}, mask = BIT(48) - 1;
	bool on[2][6] = {{0}}, good = true;

	srandom(7);
	for (u32 n = 0; n < 200000; n++) {
		u32 who = random() % 2, i = random() % 6;
		struct vcpu *v = &vcpus[who];

		load(v);
		switch (random() % 5) {
		case 0:
			on[who][i] = random() & 1;
			put(v, sel(i), on[who][i] ? 0x43003c : 0x3003c);
			break;
		case 1:
			count[who][i] = random();
			put(v, ctr(i), count[who][i]);
			break;
		case 2:
			good &= get(v, ctr(i)) == count[who][i];
			break;
		case 3:
			happen(random() % 100, false);
			load(NULL);
			good &= stands_still();
			break;
		default:
			happen(3, true);
			for (u32 k = 0; k < 6; k++)
				count[who][k] = (count[who][k] + (on[who][k] ? 3 : 0)) & mask;
		}
	}
	load(NULL);
	CHECK(good && !missing, "and so whatever they do");
}

/* ---- overflows ---- */

#define ALMOST (BIT(48) - 2)

static bool status_is(struct vcpu *v, u64 bits)
{
	return no_global || get(v, intel_cpu ? 0x38e : 0xc0000300) == bits;
}

static bool told(struct vcpu *v)
{
	bool nmi = v->nmi_pending;

	v->nmi_pending = false;
	return nmi;
}

static void test_overflow(void)
{
	struct vcpu *a = &vcpus[0], *b = &vcpus[1];
	u32 *lvt = &a->lapic.lvt[LVT_PERF];

	load(a);
	start(a, 1, ALMOST, SELECT_INT);
	happen(1, true);
	pmi_irq(VEC_PMI);
	CHECK(!told(a) && status_is(a, 0), "no interrupt before");
	happen(4, true);
	pmi_irq(VEC_PMI);
	CHECK(told(a) && status_is(a, BIT(1)) && get(a, ctr(1)) == 3, "one when it runs over");
	CHECK(!(*lvt & LVT_MASKED) == !intel_cpu, "which masks itself on Intel's");
	*lvt = DM_NMI << 8;
	pmi_irq(VEC_PMI);
	CHECK(!told(a), "and is told once");
	put(a, intel_cpu ? 0x390 : 0xc0000302, BIT(1));
	CHECK(status_is(a, 0), "the guest clears it");
	start(a, 1, ALMOST, SELECT_INT);
	happen(4, true);
	load(b);
	pmi_irq(VEC_PMI);
	CHECK(!told(b) && status_is(b, 0), "one that comes late is not another's");
	load(a);
	CHECK(told(a) && status_is(a, BIT(1)), "it has it when it runs again");
	*lvt = DM_NMI << 8;
	start(a, 1, ALMOST, SELECT_INT);
	happen(4, true);
	load(b);
	pmu_settle(a);
	CHECK(told(a), "or when a VMM looks at its state");
	load(a);
	CHECK(!told(a), "once");
	*lvt = LVT_MASKED | DM_NMI << 8;
	start(a, 1, ALMOST, SELECT_INT);
	happen(4, true);
	pmi_irq(VEC_PMI);
	*lvt = DM_NMI << 8;
	pmi_irq(VEC_PMI);
	CHECK(!told(a), "masked, it is lost");
	start(a, 1, ALMOST, 0);
	happen(4, true);
	pmi_irq(VEC_PMI);
	CHECK(!told(a), "and there is none unless asked for");
	*lvt = 0x44;
	irqs = 0;
	start(a, 1, ALMOST, SELECT_INT);
	happen(4, true);
	CHECK(get(a, ctr(1)) == 2 && irqs == 1 && !told(a),
	      "seen by a read first, and as a common interrupt");
	*lvt = DM_INIT << 8;
	start(a, 1, ALMOST, SELECT_INT);
	happen(4, true);
	pmi_irq(VEC_PMI);
	CHECK(!(a->due & ~DUE_LOOK) && !told(a), "it is nothing else");
	load(NULL);
}

static bool rdpmc_refused(struct vcpu *v, u32 which)
{
	u64 val = 1;

	v->gpr[RCX] = which;
	return pmu_rdpmc(v, &val) == -EINVAL && val == 1;
}

static void test_rdpmc(void)
{
	static const u32 bad[] = {8, BIT(30) | 3, BIT(31), BIT(30) | 8, ~0u};
	struct vcpu *v = &vcpus[0];
	bool good = true;
	u64 val;

	boot(true, PMU_GUESTS);
	load(v);
	put(v, ctr(3), 0x123456789abc);
	put(v, 0x30a, 77);
	v->gpr[RCX] = 3;
	CHECK(!pmu_rdpmc(v, &val) && val == 0x123456789abc, "RDPMC reads one");
	v->gpr[RCX] = BIT(30) | 1;
	CHECK(!pmu_rdpmc(v, &val) && val == 77, "and one of the other kind");
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		good &= rdpmc_refused(v, bad[i]);
	CHECK(good, "there are no others");
	cpl = 3;
	CHECK(rdpmc_refused(v, 0), "user mode may not,");
	cr4 = CR4_PCE;
	v->gpr[RCX] = 0;
	CHECK(!pmu_rdpmc(v, &val), "unless CR4.PCE is set");
	cpl = cr4 = 0;
	load(NULL);
	boot(true, PMU_DOM0);
	CHECK(rdpmc_refused(v, 0), "without counters nobody does");
}

static void test_filter(void)
{
	struct corbel_pmu_filter f = {CORBEL_PMU_DENY, 3, 2, 0, {0x2e, 0x3c, 0x4f2e}};
	struct vcpu *v = &vcpus[0];

	boot(true, PMU_GUESTS);
	load(v);
	put(v, 0x38f, 0xff | 7ull << 32);
	put(v, 0x38d, 0x333);
	put(v, sel(0), 0x43003c);
	put(v, sel(1), 0x4300c0);
	put(v, sel(2), 0x434f2e);
	put(v, sel(3), 0x43412e);
	v->vm->vcpu = v->vm->few;
	v->vm->few[0] = v;
	v->vm->vcpu_end = 1;
	notified = 0;
	CHECK(hw.vmcs_global == (0xf | 7ull << 32) && !pmu_filter_set(v->vm, &f) && notified == 1,
	      "a filter is told to all that run");
	pmu_follow(v);
	CHECK(hw.vmcs_global == (0xa | 5ull << 32) && get(v, sel(0)) == 0x43003c,
	      "what it denies does not count, and looks as written");
	f.action = CORBEL_PMU_ALLOW;
	pmu_filter_set(v->vm, &f);
	pmu_follow(v);
	CHECK(hw.vmcs_global == (5 | 2ull << 32), "what it does not allow neither");
	f.count = 0, f.fixed = 0;
	pmu_filter_set(v->vm, &f);
	pmu_follow(v);
	CHECK(stands_still(), "an empty list allows nothing");
	f.count = CORBEL_PMU_EVENTS + 1;
	CHECK(pmu_filter_set(v->vm, &f) == -EINVAL, "a list has an end");
	f.count = 0, f.action = CORBEL_PMU_NONE + 1;
	CHECK(pmu_filter_set(v->vm, &f) == -EINVAL, "and a meaning");
	f.action = CORBEL_PMU_ALL;
	pmu_filter_set(v->vm, &f);
	pmu_follow(v);
	CHECK(hw.vmcs_global == (0xf | 7ull << 32), "all count again");
	f.action = CORBEL_PMU_NONE;
	pmu_filter_set(v->vm, &f);
	pmu_follow(v);
	CHECK(stands_still(), "or none");
	load(NULL);
	show_to(v, v->vm);
	CHECK(!v->pmu.gp && put(v, sel(0), 0) == -ENOENT, "and a new vCPU has none, whatever CPUID "
							  "says");
	free(v->vm->pmu_filter);
}

static void test_asserts(void)
{
	struct vcpu *a = &vcpus[0];

	boot(true, PMU_GUESTS);
	load(a);
	start(a, 0, 0, 0);
	CHECK(PANICS(pmu_load(a)), "loaded twice");
	CHECK(PANICS(pmu_reset(a)), "reset while they count");
	the_cpu.loaded = &vcpus[1];
	CHECK(PANICS(pmu_save(a)), "saved where they are not");
	the_cpu.loaded = NULL;
}

int main(void)
{
	test_machines();
	test_hybrid();
	test_rights();
	test_bits();
	for (u32 kind = 0; kind < 3; kind++) {
		bool is_intel = kind == 1;

		no_global = kind == 2;
		boot(is_intel, PMU_GUESTS);
		test_switch();
		boot(is_intel, PMU_GUESTS);
		test_random();
		boot(is_intel, PMU_GUESTS);
		test_overflow();
	}
	no_global = false;
	test_rdpmc();
	test_filter();
	test_asserts();
	return test_end();
}
