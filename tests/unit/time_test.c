/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/cpu/time.c hv/lib/scale.c */
/* Clocks that the boot waits for: each that stands still is left, in one line, for the next. */
#include <string.h>

#include "boot/boot.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/io.h"
#include "hv/mm/mm.h"
#include "hv/cpu/time.h"
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

static void access(void)
{
	accesses++;
	now_ns += READ_NS;
}

u64 rdtsc(void)
{
	now_ns += 10;
	return now_ns * (TSC_HZ / 1000000) / 1000;
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
}

bool cap_masked(const char *name)
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
	static const u8 date[12] = {
	    [0] = 0x56, [2] = 0x34, [4] = 0x12, [7] = 0x27, [8] = 0x11, [9] = 0x26, [11] = 2};

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

int main(void)
{
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
	rtc_stuck = true;
	time_init();
	CHECK(is_near(tsc_khz) && accesses < 400000 && test_log_lines == 2,
	      "a real-time clock that is always in an update is not waited for again and again");
	return test_end();
}
