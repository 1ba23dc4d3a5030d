/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/lib/scale.h"
#include "hv/lib/log.h"

#define RTC_BINARY BIT(2)
#define RTC_24H	   BIT(1)
#define RTC_PM	   0x80

void scale_init(struct tsc_scale *s, u64 khz)
{
	BUG_ON(khz < 1000);
	s->ns_mul = (1000000ull << SCALE_NS_SHIFT) / khz;
	s->tick_mul = (khz << SCALE_TICK_SHIFT) / 1000000;
}

/* (v << 48) / by and the remainder; v >> 16 < by */
static u64 div_shifted(u64 v, u64 by, u64 *rest)
{
	u64 lo = v << 48;

	*rest = v >> 16;
	BUG_ON(*rest >= by); /* the quotient has to fit */
	__asm__("divq %2" : "+a"(lo), "+d"(*rest) : "r"(by) : "cc");
	return lo;
}

#define GUEST_KHZ_MIN 1000ull
#define GUEST_KHZ_MAX 16000000ull
#define GUEST_RATIO   8 /* integer bits that all hardware has */

u64 scale_tsc_mul(u64 guest_khz, u64 khz, u32 frac)
{
	u64 mul, rest;

	if (guest_khz < GUEST_KHZ_MIN || guest_khz > GUEST_KHZ_MAX || !frac)
		return 0;
	BUG_ON(frac > 48);
	mul = div_shifted(guest_khz, khz, &rest) & ~(BIT(48 - frac) - 1);
	if (mul >> (48 + GUEST_RATIO))
		return 0;
	return mul;
}

u64 scale_by_quotient(u64 guest_ticks, u64 mul)
{
	u64 rest, ticks;

	if (guest_ticks >> 16 >= mul)
		return ~0ull;
	ticks = div_shifted(guest_ticks, mul, &rest);
	if (rest && ticks != ~0ull)
		ticks++;
	return ticks;
}

/* Bring the frequency into (1, 2] GHz by shifting, so that mul has all its 32 bits. */
void tsc_pvclock_scale(u64 khz, u32 *mul, s8 *shift)
{
	u64 hz = khz * 1000;

	BUG_ON(!hz); /* which no shifting brings up */
	*shift = 0;
	while (hz > 2000000000) {
		hz >>= 1;
		--*shift;
	}
	while (hz <= 1000000000) {
		hz <<= 1;
		++*shift;
	}
	*mul = (1000000000ull << 32) / hz;
}

static u32 from_bcd(u8 v)
{
	return (v >> 4) * 10u + (v & 15);
}

u64 rtc_seconds(const u8 reg[6], u8 status_b)
{
	static const u16 before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	u32 v[6], hour, month, year, days;

	for (u32 i = 0; i < 6; i++) {
		v[i] = reg[i];
		if (i == 2 && !(status_b & RTC_24H))
			v[i] &= ~RTC_PM;
		if (!(status_b & RTC_BINARY))
			v[i] = from_bcd(v[i]);
	}
	hour = v[2];
	if (!(status_b & RTC_24H)) {
		hour %= 12;
		if (reg[2] & RTC_PM)
			hour += 12;
	}
	month = MIN(MAX(v[4], 1u), 12u);
	year = 1900 + v[5] % 100;
	if (year < 1970)
		year += 100;
	days = (year - 1970) * 365 + (year - 1969) / 4 + before[month - 1] + v[3] - 1;
	if (month > 2 && year % 4 == 0)
		days++;
	return days * 86400ull + hour * 3600 + v[1] * 60 + v[0];
}
