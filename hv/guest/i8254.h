/* SPDX-License-Identifier: GPL-2.0-only */
/* Channels 0 to 2 of an 8254, and port 0x61; now_ns is any monotonic clock. */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

#define I8254_HZ 1193182u

u8 i8254_read(struct corbel_pit *p, u32 reg, s64 now_ns);
/* True if channel 0 was loaded with a new count: its timer is to be started anew. */
bool i8254_write(struct corbel_pit *p, u32 reg, u8 val, s64 now_ns);
u8 i8254_port61_read(struct corbel_pit *p, s64 now_ns);
void i8254_port61_write(struct corbel_pit *p, u8 val, s64 now_ns);
bool i8254_out(const struct corbel_pit *p, u32 channel, s64 now_ns);
/*
 * Channel 0: ns from loading to its interrupt, 0 = it makes none; *periodic tells whether it
 * repeats.
 */
u64 i8254_period_ns(const struct corbel_pit *p, bool *periodic);
