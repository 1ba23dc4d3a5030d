/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The physical APIC when its mode changes: a model of one whose registers are as at reset when it
 * has been off.
 */
#include <string.h>

#include "hv/lib/asm.h"

static u64 fake_rdmsr(u32 msr);
static void fake_wrmsr(u32 msr, u64 val);
static int fake_wrmsr_safe(u32 msr, u64 val);
#define rdmsr	   fake_rdmsr
#define wrmsr	   fake_wrmsr
#define wrmsr_safe fake_wrmsr_safe
#include "hv/cpu/apic.c"

#include "test.h"

/* ---- the machine ---- */

static u8 page[4096] __attribute__((aligned(4096)));
static u64 base = 0xfee00000 | APIC_BASE_ENABLE;
static struct cpu me;
struct cpu *cpus[MAX_CPUS] = {&me};
u32 cpu_count = 1;
u64 tsc_khz = 1000000;
static u32 signature, features = CPUID_1C_X2APIC, revision;

struct cpu *this_cpu(void)
{
	return &me;
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = leaf ? signature : 1;
	*b = 0;
	*c = features;
	*d = CPUID_1D_APIC;
}

static u32 *reg_at(u32 offset)
{
	return (u32 *)(page + offset);
}

static void reset_apic(void)
{
	memset(page, 0, sizeof(page));
	*reg_at(APIC_VERSION) = 6u << 16 | 0x15;
	for (u32 lvt = APIC_LVT_TIMER; lvt <= APIC_LVT_ERROR; lvt += 16)
		*reg_at(lvt) = LVT_MASKED;
}

static u64 fake_rdmsr(u32 msr)
{
	return msr == MSR_APIC_BASE ? base : *reg_at((msr - MSR_X2APIC) * 16);
}

static void fake_wrmsr(u32 msr, u64 val)
{
	if (msr == MSR_APIC_BASE) {
		if (!(val & APIC_BASE_ENABLE))
			reset_apic();
		base = val;
	} else if (msr - MSR_X2APIC < 0x100) {
		*reg_at((msr - MSR_X2APIC) * 16) = (u32)val;
	}
}

static int fake_wrmsr_safe(u32 msr, u64 val)
{
	fake_wrmsr(msr, val);
	return 0;
}

void irq_set(u8 vector, void (*fn)(u8 vector))
{
}

void *mm_map_mmio(u64 at, u64 size)
{
	return page;
}

void outb(u16 port, u8 val)
{
}

void udelay(u64 us)
{
}

u32 ucode_revision(void)
{
	return revision;
}

bool cap_masked(const char *name)
{
	return false;
}

static void change_mode(bool x2apic)
{
	apic_want(x2apic);
	apic_follow();
	CHECK(me.x2apic == x2apic && !(base & APIC_BASE_X2APIC) == !x2apic, "it is in %s mode",
	      x2apic ? "x2APIC" : "xAPIC");
}

/* Another one starts, by INIT. */
static bool starts_with(u32 index, u32 found, u32 then)
{
	reset_apic();
	*reg_at(APIC_LVT_THERMAL) = found;
	me.index = index;
	apic_init_cpu();
	me.index = 0;
	return *reg_at(APIC_LVT_THERMAL) == then;
}

/* By TSC-deadline mode? What the first CPU finds. */
static bool finds_deadline(u32 sig, u32 rev, u32 more)
{
	signature = sig;
	revision = rev;
	features = CPUID_1C_X2APIC | CPUID_1C_TSC_DEADLINE | more;
	find_apic();
	features = CPUID_1C_X2APIC;
	return deadline;
}

static void test_deadline(void)
{
	CHECK(finds_deadline(0xa0671, 1, 0) && finds_deadline(0x306c3, 0x22, 0) &&
		  finds_deadline(0x50654, 0x02000014, 0) && finds_deadline(0x50657, 1, 0) &&
		  finds_deadline(0x806ec, 0xf0, 0) && finds_deadline(0x706e5, 1, 0),
	      "deadlines are used");
	CHECK(!finds_deadline(0x306c3, 0x21, 0) && !finds_deadline(0x306f2, 0x39, 0) &&
		  !finds_deadline(0x306f4, 0x0e, 0) && !finds_deadline(0x406f1, 0x0b00001f, 0) &&
		  !finds_deadline(0x50654, 0x02000013, 0) &&
		  !finds_deadline(0x50663, 0x0700000d, 0) && !finds_deadline(0x506e3, 0xb1, 0) &&
		  !finds_deadline(0x906e9, 0x51, 0),
	      "but not where old microcode misses some");
	CHECK(finds_deadline(0x506e3, 0xb1, CPUID_1C_HYPERVISOR) && finds_deadline(0x506e3, 0, 0),
	      "nor is that asked of a hypervisor, or an emulator");
	features = CPUID_1C_X2APIC;
	find_apic();
	CHECK(!deadline, "a CPU without has none");
	deadline = true;
}

static void test_lint1(void)
{
	CHECK(starts_with(0, LVT_MASKED, LVT_MASKED) && *reg_at(APIC_LVT_LINT1) == LVT_MODE_NMI &&
		  starts_with(1, LVT_MASKED, LVT_MASKED) &&
		  *reg_at(APIC_LVT_LINT1) == (LVT_MODE_NMI | LVT_MASKED),
	      "of the CPUs that the machine's NMIs come to the first takes them");
}

#define FIRMWARES (LVT_MODE_SMI | 0x77)

static void test_thermal(void)
{
	CHECK(starts_with(0, FIRMWARES, FIRMWARES), "the firmware goes on to hear of heat by SMI");
	CHECK(starts_with(1, LVT_MASKED, FIRMWARES), "from CPUs that INIT has reset, too");
	change_mode(true);
	change_mode(false);
	CHECK(*reg_at(APIC_LVT_THERMAL) == FIRMWARES, "and behind x2APIC mode");
	thermal_lvt = 0;
	CHECK(starts_with(0, 0x77, LVT_MASKED) && starts_with(1, LVT_MASKED, LVT_MASKED),
	      "an interrupt that it has left there comes no more");
}

int main(void)
{
	regs = page;
	deadline = true;
	test_thermal();
	test_lint1();
	test_deadline();
	reset_apic();
	apic_init_cpu();
	CHECK(*reg_at(APIC_LVT_PERF) == LVT_MASKED && *reg_at(APIC_LVT_LINT1) == LVT_MODE_NMI,
	      "counters interrupt nobody before anybody counts");
	change_mode(true);
	change_mode(false);
	CHECK(*reg_at(APIC_LVT_PERF) == LVT_MASKED, "nor behind x2APIC mode");
	apic_open_pmi();
	change_mode(true);
	CHECK(*reg_at(APIC_LVT_PERF) == VEC_PMI, "their interrupt is open in x2APIC mode");
	change_mode(false);
	CHECK(*reg_at(APIC_LVT_PERF) == VEC_PMI && *reg_at(APIC_LVT_LINT1) == LVT_MODE_NMI &&
		  *reg_at(APIC_SVR) == (SVR_ENABLE | VEC_SPURIOUS) &&
		  *reg_at(APIC_LVT_LINT0) == LVT_MASKED,
	      "and behind it, when the APIC has been off and has forgotten all");
	return test_end();
}
