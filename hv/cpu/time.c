/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/time.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/io.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/scale.h"
#include "hv/mm/mm.h"

#define CALIBRATE_US 20000ul	    /* less than a turn of the PIT */
#define STOPPED_TSC  10000000000ull /* seconds of any TSC: what is waited for is long over */
#define RTC_SPINS    100000u	    /* an update takes 2 ms at most */
#define RTC_TRIES    1000u

/* Intel 8254 datasheet; channel 2 is gated and read through port 0x61 */
#define PIT_HZ	      1193182ul
#define PIT_CH2	      0x42
#define PIT_MODE      0x43
#define PIT_GATE      0x61
#define PIT_GATE_ON   BIT(0)
#define PIT_SPEAKER   BIT(1)
#define PIT_CH2_MODE2 0xb4 /* channel 2, both bytes, rate generator */
#define PIT_CH2_LATCH 0x80

/* ACPI "Power Management Timer": at least 24 bits */
#define PM_TIMER_HZ   3579545ul
#define PM_TIMER_MASK 0xffffffu

/* IA-PC HPET specification "Register Overview" */
#define HPET_PERIOD	0x04 /* femtoseconds, upper half of the capabilities */
#define HPET_CONFIG	0x10
#define HPET_COUNTER	0xf0
#define HPET_ENABLE	BIT(0)
#define HPET_PERIOD_MAX 100000000u

#define POST_PORT 0x80 /* of the firmware's progress; writing there does nothing */

u64 tsc_khz;
u64 boot_tsc;
u64 wallclock_boot_ns;

static struct tsc_scale scale;

u64 tsc_to_ns(u64 ticks)
{
	return scale_to_ns(&scale, ticks);
}

u64 ns_to_tsc(u64 ns)
{
	return scale_to_ticks(&scale, ns);
}

void udelay(u64 us)
{
	u64 start = rdtsc();

	/* Before the clock is known: a write to the POST port takes about a microsecond. */
	while (!tsc_khz && us--)
		outb(POST_PORT, 0);
	while (tsc_khz && rdtsc() - start < us * tsc_khz / 1000)
		cpu_relax();
}

/* ---- reference clocks: each gives a free-running counter ---- */

struct reference {
	const char *name;
	u64 hz;
	u32 mask; /* bits of the counter */
	u32 (*read)(void);
};

static volatile u8 *hpet;

static u32 read_hpet(void)
{
	return mmio_read32(hpet + HPET_COUNTER);
}

static u32 read_pm_timer(void)
{
	return inl(boot_info.acpi.pm_timer_port);
}

static u32 read_pit(void)
{
	u8 low;

	outb(PIT_MODE, PIT_CH2_LATCH);
	low = inb(PIT_CH2);
	return -(low | inb(PIT_CH2) << 8); /* it counts down */
}

static bool is_running(const struct reference *r)
{
	u32 first = r->read() & r->mask;

	for (u32 i = 0; i < 100000; i++)
		if ((r->read() & r->mask) != first)
			return true;
	log_warn("the %s does not count and is not used", r->name);
	return false;
}

static bool use_hpet(struct reference *r)
{
	u32 period;

	if (!boot_info.acpi.hpet_addr || cap_named("hpet"))
		return false;
	hpet = mm_map_mmio(boot_info.acpi.hpet_addr, 0x400);
	if (!hpet)
		return false;
	period = mmio_read32(hpet + HPET_PERIOD);
	if (!period || period > HPET_PERIOD_MAX)
		return false;
	mmio_write32(hpet + HPET_CONFIG, mmio_read32(hpet + HPET_CONFIG) | HPET_ENABLE);
	*r = (struct reference){"HPET", 1000000000000000ull / period, ~0u, read_hpet};
	return is_running(r);
}

static bool use_pm_timer(struct reference *r)
{
	*r = (struct reference){"PM timer", PM_TIMER_HZ, PM_TIMER_MASK, read_pm_timer};
	return boot_info.acpi.pm_timer_port && !cap_named("pm-timer") && is_running(r);
}

static bool use_pit(struct reference *r)
{
	outb(PIT_GATE, (inb(PIT_GATE) & ~PIT_SPEAKER) | PIT_GATE_ON);
	outb(PIT_MODE, PIT_CH2_MODE2);
	outb(PIT_CH2, 0); /* 65536 */
	outb(PIT_CH2, 0);
	*r = (struct reference){"PIT", PIT_HZ, 0xffff, read_pit};
	return is_running(r);
}

/* Read the reference and the TSC together: of a few tries the one least disturbed. */
static u32 read_pair(const struct reference *r, u64 *tsc)
{
	u64 best = ~0ull;
	u32 count = 0;

	*tsc = 0;
	for (u32 i = 0; i < 8; i++) {
		u64 before = rdtsc();
		u32 v = r->read();
		u64 took = rdtsc() - before;

		if (took < best) {
			best = took;
			*tsc = before + took / 2;
			count = v;
		}
	}
	return count;
}

/* 0, with a line: the clock has stopped. */
static u64 measure_tsc(const struct reference *r)
{
	u64 wait = r->hz * CALIBRATE_US / 1000000, start, end;
	u32 first = read_pair(r, &start), last;

	while (((r->read() - first) & r->mask) < wait) {
		if (rdtsc() - start > STOPPED_TSC) {
			log_warn("the %s has stopped and is not used", r->name);
			return 0;
		}
		cpu_relax();
	}
	last = read_pair(r, &end);
	return (end - start) * r->hz / ((last - first) & r->mask) / 1000;
}

/*
 * SDM "CPUID: Time Stamp Counter and Nominal Core Crystal Clock"; only where the crystal is stated.
 */
static u64 khz_from_cpuid(void)
{
	struct cpuid_regs l = cpuid_read(0x15, 0);

	if (!l.a)
		return 0;
	return (u64)l.c * l.b / l.a / 1000;
}

/*
 * Where nothing else tells. The nominal frequency is rounded to MHz, so the crystal, where the CPU
 * has the TSC's ratio to it, is taken for the usual one that is next. SDM "Processor Frequency
 * Information"
 */
static u64 khz_from_base(void)
{
	static const u32 crystals[] = {19200, 24000, 25000, 38400}; /* kHz */
	struct cpuid_regs l = cpuid_read(0x15, 0);
	u64 khz = (cpuid_read(0x16, 0).a & 0xffff) * 1000ull;

	for (u32 i = 0; i < ARRAY_SIZE(crystals) && l.a; i++) {
		u64 exact = (u64)crystals[i] * l.b / l.a;

		if (exact > khz - khz / 100 && exact < khz + khz / 100)
			return exact;
	}
	return khz;
}

/* When we are a guest ourselves: the timing leaf that KVM and VMware share. */
static u64 khz_from_host(void)
{
	if (!(cpuid_read(1, 0).c & CPUID_1C_HYPERVISOR) || cpuid_max(0x40000000) > 0x400000ff)
		return 0;
	return cpuid_read(0x40000010, 0).a;
}

static u64 calibrate_tsc(const char **source)
{
	static bool (*const use[])(struct reference *) = {use_hpet, use_pm_timer, use_pit};
	struct reference r = {0};
	u64 khz = 0;

	*source = "CPUID";
	if (!cap_named("cpuid-tsc")) {
		khz = khz_from_cpuid();
		if (!khz)
			khz = khz_from_host();
	}
	for (u32 i = 0; i < ARRAY_SIZE(use) && !khz; i++) {
		if (!use[i](&r))
			continue;
		*source = r.name;
		khz = measure_tsc(&r);
	}
	if (!khz) {
		*source = "CPUID, rounded";
		khz = khz_from_base();
	}
	return khz;
}

/* ---- wall clock: MC146818 ---- */

#define CMOS_INDEX   0x70
#define CMOS_DATA    0x71
#define RTC_STATUS_A 10
#define RTC_STATUS_B 11
#define RTC_UPDATING BIT(7)

static u8 read_cmos(u8 reg)
{
	outb(CMOS_INDEX, reg);
	return inb(CMOS_DATA);
}

/* Wait for the end of an update; false, with a line: it does not end, or there is no such clock. */
static bool rtc_ready(void)
{
	for (u32 spins = 0; spins < RTC_SPINS; spins++)
		if (!(read_cmos(RTC_STATUS_A) & RTC_UPDATING))
			return true;
	log_warn(
	    "the real-time clock is always in an update: dom0's first time of day may be wrong");
	return false;
}

static u64 read_rtc(void)
{
	static const u8 regs[6] = {0, 2, 4, 7, 8, 9}; /* second, minute, hour, day, month, year */
	bool wait = true, same = false;
	u8 now[6] = {0}, val;

	/* Two equal readings outside of an update */
	for (u32 tries = 0; tries < RTC_TRIES && !same; tries++) {
		same = true;
		wait = wait && rtc_ready();
		for (u32 i = 0; i < 6; i++) {
			val = read_cmos(regs[i]);
			same = same && val == now[i];
			now[i] = val;
		}
	}
	return rtc_seconds(now, read_cmos(RTC_STATUS_B));
}

void time_init(void)
{
	const char *source;

	tsc_khz = calibrate_tsc(&source);
	if (tsc_khz < 1000)
		boot_fail("no working clock to measure the CPU's TSC by (HPET, PM timer, PIT); "
			  "enable one in the "
			  "firmware set-up");
	scale_init(&scale, tsc_khz);
	wallclock_boot_ns = read_rtc() * 1000000000ull - tsc_to_ns(rdtsc() - boot_tsc);
	log_info("TSC %lu.%03lu MHz by %s", tsc_khz / 1000, tsc_khz % 1000, source);
}

/* ---- sleep ---- */

#define RTC_SLACK_NS 2000000000ull /* it tells seconds only, and each reading may be off by one */
#define SLEEP_MAX_S  (10ull * 365 * 24 * 3600)
#define RTC_DRIFT    1000u /* of it and the TSC: one in so many */

static u64 rtc_before, tsc_before, owed;

u64 time_owed(u64 before, u64 now, u64 slept_ns)
{
	u64 due = before + ns_to_tsc(slept_ns);
	u64 slack = ns_to_tsc(RTC_SLACK_NS + slept_ns / RTC_DRIFT);

	if (now >= before && now + slack >= due)
		return 0;
	return due - now;
}

void time_sleep(void)
{
	rtc_before = read_rtc();
	tsc_before = rdtsc();
}

void time_wake(void)
{
	u64 now = read_rtc(), slept = now > rtc_before ? now - rtc_before : 0;

	/* Of a clock that somebody has set, or that has no battery, nothing is believed. */
	if (slept > SLEEP_MAX_S)
		slept = 0;
	owed = time_owed(tsc_before, rdtsc(), slept * 1000000000ull);
}

/* By TSC_ADJUST all CPUs' TSCs stay as far apart as they are. SDM "IA32_TSC_ADJUST MSR" */
void time_wake_cpu(void)
{
	u64 adjust;

	if (!owed)
		return;
	if (cpuid_read(7, 0).b & CPUID_7B_TSC_ADJUST && !rdmsr_safe(MSR_TSC_ADJUST, &adjust))
		wrmsr_safe(MSR_TSC_ADJUST, adjust + owed);
	else
		wrmsr_safe(MSR_TSC, rdtsc() + owed);
	if (rdtsc() < tsc_before)
		panic("the TSC has started again in the sleep and cannot be set: time is lost");
}
