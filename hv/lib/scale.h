/* SPDX-License-Identifier: GPL-2.0-only */
/* Arithmetic of clocks. Pure. */
#pragma once

#include "hv/lib/types.h"

/* v * mul / 2^shift, the product with all its 128 bits */
static inline u64 mul_shift(u64 v, u64 mul, u32 shift)
{
	return (unsigned __int128)v * mul >> shift;
}

struct tsc_scale {
	u64 ns_mul, tick_mul; /* fixed point, with so many fraction bits: */
};

#define SCALE_NS_SHIFT	 43
#define SCALE_TICK_SHIFT 39

/* khz: 1 MHz to 16 GHz */
void scale_init(struct tsc_scale *s, u64 khz);
static inline u64 scale_to_ns(const struct tsc_scale *s, u64 ticks)
{
	return mul_shift(ticks, s->ns_mul, SCALE_NS_SHIFT);
}
static inline u64 scale_to_ticks(const struct tsc_scale *s, u64 ns)
{
	return mul_shift(ns, s->tick_mul, SCALE_TICK_SHIFT);
}
/*
 * A guest's TSC advances by mul / 2^48 for each tick of the machine's; 0 stands for 1. frac: of 48
 * fraction bits the hardware has so many. scale_tsc_mul() returns 0 if it cannot be had, or is not
 * plausible. scale_tsc_back(): ticks of the machine until the guest's TSC has advanced by at least
 * so many; ~0 if they do not fit.
 */
u64 scale_tsc_mul(u64 guest_khz, u64 khz, u32 frac);
static inline u64 scale_tsc(u64 ticks, u64 mul)
{
	return unlikely(mul) ? mul_shift(ticks, mul, 48) : ticks;
}
u64 scale_by_quotient(u64 guest_ticks, u64 mul); /* of scale_tsc_back(); mul is not 0 */
static inline u64 scale_tsc_back(u64 guest_ticks, u64 mul)
{
	return unlikely(mul) ? scale_by_quotient(guest_ticks, mul) : guest_ticks;
}
/*
 * Seconds since 1970 of RTC registers 0, 2, 4, 7, 8, 9 and status B; BCD or binary, 12 or 24 hours;
 * years 1970..2069.
 */
u64 rtc_seconds(const u8 reg[6], u8 status_b);
/* pvclock scaling: ns = ((ticks << shift or >> -shift) * mul) >> 32 */
void tsc_pvclock_scale(u64 khz, u32 *mul, s8 *shift);
