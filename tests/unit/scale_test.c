/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/lib/scale.c */
/* Clock arithmetic over all plausible TSC rates, and calendar dates against the C library's. */
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <time.h>

#include "hv/lib/scale.h"
#include "hv/cpu/time.h"
#include "test.h"

static const u64 rates[] = {1000,    1001,    33333,   999999,	1000000,  1000001,
			    1999999, 2000000, 2000001, 2400000, 2699999,  3000000,
			    3999999, 4000001, 5123456, 7999999, 10000000, 16000000};

static u64 distance(u64 a, u64 b)
{
	return a > b ? a - b : b - a;
}

/* Exact within a millionth of a second in a day and without drift above 1e-9. */
static void test_scale(u64 khz)
{
	static const u64 seconds[] = {0, 1, 60, 86400, 86400 * 365};
	bool ns_ok = true, ticks_ok = true, monotonic = true;
	struct tsc_scale s;
	u64 last = 0;

	scale_init(&s, khz);
	for (u32 i = 0; i < 5; i++) {
		u64 ticks = seconds[i] * khz * 1000, ns = seconds[i] * 1000000000;

		ns_ok = ns_ok && distance(scale_to_ns(&s, ticks), ns) <= ns / 1000000000 + 1;
		ticks_ok =
		    ticks_ok && distance(scale_to_ticks(&s, ns), ticks) <= ticks / 1000000 + 1;
	}
	for (u64 t = 0; t < 5000; t++) {
		monotonic = monotonic && scale_to_ns(&s, t) >= last;
		last = scale_to_ns(&s, t);
	}
	CHECK(ns_ok && ticks_ok && monotonic, "%lu kHz: ticks to ns and back hold for a year",
	      (unsigned long)khz);
}

/* As a guest computes it from kvmclock's fields. */
static u64 pvclock_ns(u64 ticks, u32 mul, s8 shift)
{
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return (u64)((unsigned __int128)ticks * mul >> 32);
}

static void test_pvclock(u64 khz)
{
	u64 ticks = khz * 1000 * 3600, want = 3600ull * 1000000000;
	u32 mul = 0;
	s8 shift = 0;

	tsc_pvclock_scale(khz, &mul, &shift);
	CHECK(mul >> 31 && distance(pvclock_ns(ticks, mul, shift), want) < 10000,
	      "%lu kHz: kvmclock's scale is off by less than 10 us in an hour", (unsigned long)khz);
}

/* A guest's TSC against long arithmetic, for hardware with frac fraction bits. */
static void test_guest_rate(u64 khz, u32 frac)
{
	static const u64 ticks[] = {
	    0, 1, 2, 999, 0x12345678, 0xfffffffffull, 0x7654321012345ull, BIT(62)};
	bool rate = true, back = true, monotonic = true;

	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		u64 mul = scale_tsc_mul(rates[i], khz, frac);
		unsigned __int128 step = BIT(48 - frac),
				  exact = ((unsigned __int128)rates[i] << 48) / khz;

		if (rates[i] / khz >= 256) {
			rate = rate && !mul;
			continue;
		}
		rate = rate && mul <= exact && exact - mul < step && !(mul % (u64)step);
		for (u32 k = 0; k < ARRAY_SIZE(ticks); k++) {
			u64 t = ticks[k], host = scale_tsc_back(t, mul);

			rate = rate && scale_tsc(t, mul) == (u64)((unsigned __int128)t * mul >> 48);
			if (host == ~0ull)
				back = back && (unsigned __int128)t << 48 >
						   (unsigned __int128)mul * (~0ull - 1);
			else /* enough, and one tick less is not */
				back = back && (unsigned __int128)host * mul >> 48 >= t &&
				       (!t || (unsigned __int128)(host - 1) * mul >> 48 < t);
			monotonic = monotonic && scale_tsc(t + 1, mul) >= scale_tsc(t, mul);
		}
	}
	CHECK(rate && back && monotonic, "%lu kHz: guests' TSCs at all rates, %u fraction bits",
	      (unsigned long)khz, frac);
}

static void test_guest_rate_limits(void)
{
	CHECK(scale_tsc_mul(2000000, 1000000, 48) == BIT(49) &&
		  scale_tsc_mul(500000, 1000000, 32) == BIT(47) &&
		  scale_tsc_mul(1000000, 1000000, 48) == BIT(48),
	      "twice, half and the same rate");
	CHECK(!scale_tsc_mul(999, 1000000, 48) && !scale_tsc_mul(16000001, 1000000, 48) &&
		  !scale_tsc_mul(~0ull, 1000000, 48) && !scale_tsc_mul(0, 1000000, 48),
	      "rates that no machine has are refused");
	CHECK(!scale_tsc_mul(2000000, 1000000, 0), "as are all without the hardware");
	CHECK(scale_tsc(123456789, 0) == 123456789 && scale_tsc_back(123456789, 0) == 123456789,
	      "not scaled is not scaled");
	CHECK(scale_tsc_back(~0ull, BIT(40)) == ~0ull, "what does not fit takes for ever");
}

static u8 bcd(u32 v)
{
	return (u8)(v / 10 << 4 | v % 10);
}

static void test_dates(void)
{
	bool bcd24 = true, bin24 = true, bcd12 = true, bin12 = true;

	/* Step by an odd number of seconds through 1970..2069 */
	for (time_t t = 0; t < 3155760000; t += 86399 * 3 + 7) {
		struct tm tm;
		u32 y, h12;

		gmtime_r(&t, &tm);
		y = (u32)tm.tm_year % 100;
		h12 = tm.tm_hour % 12 ? (u32)tm.tm_hour % 12 : 12;
		u8 pm = tm.tm_hour >= 12 ? 0x80 : 0;
		u8 b24[6] = {bcd(tm.tm_sec),  bcd(tm.tm_min),	  bcd(tm.tm_hour),
			     bcd(tm.tm_mday), bcd(tm.tm_mon + 1), bcd(y)};
		u8 n24[6] = {tm.tm_sec, tm.tm_min, tm.tm_hour, tm.tm_mday, tm.tm_mon + 1, y};
		u8 b12[6] = {b24[0], b24[1], bcd(h12) | pm, b24[3], b24[4], b24[5]};
		u8 n12[6] = {n24[0], n24[1], h12 | pm, n24[3], n24[4], n24[5]};

		bcd24 = bcd24 && rtc_seconds(b24, 2) == (u64)t;
		bin24 = bin24 && rtc_seconds(n24, 6) == (u64)t;
		bcd12 = bcd12 && rtc_seconds(b12, 0) == (u64)t;
		bin12 = bin12 && rtc_seconds(n12, 4) == (u64)t;
	}
	CHECK(bcd24 && bin24, "RTC dates of a century, 24 hours, BCD and binary");
	CHECK(bcd12 && bin12, "RTC dates of a century, 12 hours with midnight and noon");
	CHECK(rtc_seconds((u8[6]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0xff) > 0,
	      "a dead RTC reads as some date, not as a crash");
	CHECK(rtc_seconds((u8[6]){0, 0, 0, 0, 0, 0}, 0) < 4294967296ull * 2, "an empty RTC too");
}

/* What another CPU may change is not to be compared with one value and given with another. */
static void test_min_max(void)
{
	u32 looks = 0;

	CHECK(MAX(5 - 3 * looks++, 1u) == 5 && looks == 1, "MAX looks at what it compares once");
	CHECK(MIN(2 + 9 * looks++ - 9, 7u) == 2 && looks == 2, "MIN, too");
}

int main(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		test_scale(rates[i]);
		test_pvclock(rates[i]);
		test_guest_rate(rates[i], 48);
		test_guest_rate(rates[i], 32);
	}
	test_guest_rate_limits();
	test_dates();
	test_min_max();
	CHECK(PANICS(scale_init(&(struct tsc_scale){0}, 999)),
	      "a TSC of less than a MHz is our own bug");
	CHECK(PANICS(tsc_pvclock_scale(0, &(u32){0}, &(s8){0})), "one that stands still, too");
	return test_end();
}
