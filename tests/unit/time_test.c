/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/lib/scale.c */
/* Clocks that the boot waits for: each that stands still is left, in one line, for the next. */
#include <string.h>

#include "boot/boot.h"
#include "hv/lib/asm.h"

static int fake_rdmsr(u32 msr, u64 *val);
static int fake_wrmsr(u32 msr, u64 val);
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#include "hv/cpu/time.c"

#include "test.h"

#define TSC_HZ	      2000000000ull
#define READ_NS	      1000u /* what an access to a port takes */
#define PM_TIMER_PORT 0x608

struct boot_info boot_info;
static u64 now_ns, accesses;
static u64 pm_stops, pit_stops; /* after so many reads */
static u64 pm_reads, pit_reads;
static u32 hpet_regs[0x400 / 4]; /* does not count */
static u8 cmos_at;
static bool rtc_stuck, pit_high;
static u16 pit_latch;
static u64 tsc_at, tsc_adjust; /* the TSC has begun at this time, and is ahead by so much */
static bool has_adjust, tsc_fixed;
static u32 base_mhz, ratio; /* of leaves 0x16 and 0x15; 0: the CPU has them not */
static u8 rtc_second = 0x56;

static void access(void)
{
	accesses++;
	now_ns += READ_NS;
}

u64 rdtsc(void)
{
	now_ns += 10;
	return (now_ns - tsc_at) * (TSC_HZ / 1000000) / 1000 + tsc_adjust;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	*val = tsc_adjust;
	return msr == MSR_TSC_ADJUST ? 0 : -1;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	if (tsc_fixed)
		return -1;
	if (msr == MSR_TSC_ADJUST)
		tsc_adjust = val;
	else if (msr == MSR_TSC)
		tsc_adjust += val - rdtsc();
	return 0;
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
	if (!leaf)
		*a = base_mhz ? 0x16 : 7;
	else if (leaf == 7)
		*b = has_adjust ? CPUID_7B_TSC_ADJUST : 0;
	else if (leaf == 0x16)
		*a = base_mhz;
	else if (leaf == 0x15 && ratio)
		*a = 2, *b = ratio;
}

bool cap_named(const char *name)
{
	return false;
}

void *mm_map_mmio(u64 addr, u64 size)
{
	return hpet_regs;
}

u32 inl(u16 port)
{
	static u32 last;

	access();
	if (++pm_reads <= pm_stops)
		last = (u32)(now_ns * 3579545 / 1000000000);
	return last;
}

void outb(u16 port, u8 val)
{
	access();
	if (port == 0x70)
		cmos_at = val;
	if (port == 0x43 && val == 0x80) {
		if (++pit_reads <= pit_stops)
			pit_latch = (u16)(0u - (u32)(now_ns * 1193182 / 1000000000));
		pit_high = false;
	}
}

u8 inb(u16 port)
{
	const u8 date[12] = {
	    [0] = rtc_second, [2] = 0x34, [4] = 0x12, [7] = 0x27, [8] = 0x11, [9] = 0x26, [11] = 2};

	access();
	if (port == 0x71)
		return cmos_at == 10 ? (rtc_stuck ? 0x80 : 0) : date[cmos_at % 12];
	if (port != 0x42)
		return 0;
	pit_high = !pit_high;
	return (u8)(pit_high ? pit_latch : pit_latch >> 8);
}

static void reset(void)
{
	memset(hpet_regs, 0, sizeof(hpet_regs));
	memset(&boot_info, 0, sizeof(boot_info));
	boot_info.acpi.pm_timer_port = PM_TIMER_PORT;
	pm_stops = pit_stops = ~0ull;
	pm_reads = pit_reads = accesses = 0;
	rtc_stuck = false;
	tsc_khz = 0;
	test_log_lines = 0;
}

static bool is_near(u64 khz)
{
	return khz > TSC_HZ / 1000 - 2000 && khz < TSC_HZ / 1000 + 2000;
}

static bool fails(void)
{
	return PANICS(time_init());
}

/* The machine sleeps for so long; its clock of seconds tells of from to to. */
static void sleep_for(u64 ns, u8 from, u8 to, bool tsc_stops)
{
	tsc_at = tsc_adjust = 0;
	now_ns = 5000000000ull;
	rtc_second = from;
	time_sleep();
	now_ns += ns;
	rtc_second = to;
	if (tsc_stops)
		tsc_at = now_ns;
	time_wake();
}

/* But for what the measurement of the TSC is off. */
static bool is_seconds(u64 tsc, u64 seconds)
{
	return tsc > seconds * TSC_HZ / 100 * 99 && tsc < seconds * TSC_HZ / 100 * 101;
}

static void test_sleep(void)
{
	u64 ms = TSC_HZ / 1000, before;

	reset();
	time_init();
	CHECK(!time_owed(1000, 1000, 0) && !time_owed(1000, 1000 + 9000 * ms, 10000000000ull),
	      "a TSC that has run on is left alone");
	CHECK(time_owed(1000 * ms, 5, 0) == 1000 * ms - 5, "one that began again goes on");
	CHECK(is_seconds(time_owed(1000 * ms, 2000 * ms, 60000000000ull), 59),
	      "one that stood still is moved by what has passed");
	CHECK(!time_owed(0, 3599 * 1000 * ms, 3600000000000ull) &&
		  !time_owed(0, 3590 * 1000 * ms, 3595000000000ull),
	      "two clocks that differ a little are no reason");
	for (u32 i = 0; i < 2; i++) {
		has_adjust = i;
		sleep_for(20000000000ull, 0x10, 0x30, true);
		time_wake_cpu();
		CHECK(is_seconds(rdtsc(), 25), "the time asleep is made up for, %s",
		      i ? "by TSC_ADJUST" : "by the TSC");
	}
	sleep_for(20000000000ull, 0x10, 0x30, false);
	before = tsc_adjust;
	time_wake_cpu();
	CHECK(tsc_adjust == before, "where that is not owed nothing is written");
	sleep_for(20000000000ull, 0x30, 0x10, true);
	time_wake_cpu();
	CHECK(is_seconds(rdtsc(), 5), "of a clock that went back only that time goes on");
	tsc_fixed = true;
	sleep_for(20000000000ull, 0x10, 0x30, true);
	CHECK(PANICS(time_wake_cpu()), "a TSC that cannot be set ends the machine");
	tsc_fixed = false;
}

int main(void)
{
	test_sleep();
	tsc_at = tsc_adjust = 0;
	rtc_second = 0x56;
	reset();
	time_init();
	CHECK(is_near(tsc_khz) && strstr(test_log_text, "PM timer") && test_log_lines == 1,
	      "the PM timer measures the TSC");
	/* 2026-11-27 */
	CHECK(wallclock_boot_ns / 1000000000 / 86400 == 20784, "the real-time clock has the day");
	reset();
	boot_info.acpi.hpet_addr = 0xfed00000;
	hpet_regs[1] = 69841279;
	time_init();
	CHECK(is_near(tsc_khz) && strstr(test_log_text, "PM timer") && test_log_lines == 2,
	      "an HPET that does not count is left, with a line");
	reset();
	pm_stops = 3000;
	time_init();
	CHECK(is_near(tsc_khz) && strstr(test_log_text, "PIT") && test_log_lines == 2,
	      "a PM timer that stops is left, with a line");
	reset();
	pm_stops = pit_stops = 3000;
	CHECK(fails() && strstr(test_panic_text, "no working clock") && test_log_lines == 2,
	      "when all stop the boot ends: %s", test_panic_text);
	reset();
	pm_stops = pit_stops = 3000;
	base_mhz = 2000;
	time_init();
	CHECK(tsc_khz == 2000000 && strstr(test_log_text, "CPUID, rounded"),
	      "but where the CPU tells its frequency");
	reset();
	pm_stops = pit_stops = 3000;
	base_mhz = 4000;
	ratio = 334;
	time_init();
	CHECK(tsc_khz == 4008000, "which is more exact by the ratio to a crystal of 24 MHz");
	ratio = 100;
	reset();
	pm_stops = pit_stops = 3000;
	time_init();
	CHECK(tsc_khz == 4000000, "if there is such a crystal");
	reset();
	time_init();
	CHECK(is_near(tsc_khz) && strstr(test_log_text, "PM timer"), "and not where a clock goes");
	base_mhz = ratio = 0;
	reset();
	rtc_stuck = true;
	time_init();
	CHECK(is_near(tsc_khz) && accesses < 400000 && test_log_lines == 2,
	      "a real-time clock that is always in an update is not waited for again and again");
	return test_end();
}
