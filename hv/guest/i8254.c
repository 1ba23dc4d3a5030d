/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel 8254 programmable interval timer: the value of a counter is computed from the time that
 * passed since it was loaded. Data sheet, "Programming the 8254", "Mode definitions". BCD counting
 * is taken as binary.
 */
#include "hv/guest/i8254.h"

#define NSEC 1000000000ll

/* read_state, write_state, rw_mode; the values are part of KVM's state format */
enum { RW_LSB = 1, RW_MSB = 2, RW_WORD0 = 3, RW_WORD1 = 4 };

#define READBACK	   3 /* "channel" of the read-back command */
#define READBACK_NO_COUNT  0x20
#define READBACK_NO_STATUS 0x10
#define STATUS_OUT	   0x80

#define PORT61_GATE    0x01
#define PORT61_SPEAKER 0x02
#define PORT61_REFRESH 0x10 /* toggles every 15 us */
#define PORT61_OUT     0x20
#define REFRESH_NS     15085

static u64 ticks_since_load(const struct corbel_pit_channel *c, s64 now)
{
	u64 ns = now > c->count_load_time ? now - c->count_load_time : 0;

	return ns / NSEC * I8254_HZ + ns % NSEC * I8254_HZ / NSEC;
}

static u32 count_of(const struct corbel_pit_channel *c)
{
	return c->count ? c->count : 0x10000;
}

static u16 read_counter(const struct corbel_pit_channel *c, s64 now)
{
	u64 d = ticks_since_load(c, now);
	u32 count = count_of(c);

	switch (c->mode) {
	case 2:
		return count - d % count;
	case 3: /* counts down by two */
		return (count - 2 * d % count) & ~1u;
	default:
		return count - d;
	}
}

bool i8254_out(const struct corbel_pit *p, u32 channel, s64 now)
{
	const struct corbel_pit_channel *c = &p->ch[channel];
	u64 d = ticks_since_load(c, now);
	u32 count = count_of(c);

	switch (c->mode) {
	case 0:
	case 1:
		return d >= count;
	case 2:
		return d % count != count - 1;
	case 3:
		return d % count < (count + 1) / 2;
	default:
		return d != count;
	}
}

static void load_count(struct corbel_pit_channel *c, u16 val, s64 now)
{
	c->count = val ? val : 0x10000;
	c->count_load_time = now;
}

static void latch_count(struct corbel_pit_channel *c, s64 now)
{
	if (c->count_latched)
		return; /* held until it is read */
	c->latched_count = read_counter(c, now);
	c->count_latched = c->rw_mode;
}

static void latch_status(struct corbel_pit *p, u32 channel, s64 now)
{
	struct corbel_pit_channel *c = &p->ch[channel];

	if (c->status_latched)
		return;
	c->status =
	    (i8254_out(p, channel, now) ? STATUS_OUT : 0) | c->rw_mode << 4 | c->mode << 1 | c->bcd;
	c->status_latched = 1;
}

static void write_control(struct corbel_pit *p, u8 val, s64 now)
{
	u32 channel = val >> 6, access = (val >> 4) & 3, i;
	struct corbel_pit_channel *c;

	if (channel == READBACK) {
		for (i = 0; i < 3; i++) {
			if (!(val & (2u << i)))
				continue;
			if (!(val & READBACK_NO_COUNT))
				latch_count(&p->ch[i], now);
			if (!(val & READBACK_NO_STATUS))
				latch_status(p, i, now);
		}
		return;
	}
	c = &p->ch[channel];
	if (!access) {
		latch_count(c, now);
		return;
	}
	c->rw_mode = c->read_state = c->write_state = access;
	c->mode = (val >> 1) & 7;
	if (c->mode > 5)
		c->mode -= 4; /* the top bit is not decoded for modes 2 and 3 */
	c->bcd = val & 1;
	c->count_latched = c->status_latched = 0;
}

bool i8254_write(struct corbel_pit *p, u32 reg, u8 val, s64 now)
{
	struct corbel_pit_channel *c;

	if (reg == 3) {
		write_control(p, val, now);
		return false;
	}
	c = &p->ch[reg];
	switch (c->write_state) {
	case RW_LSB:
		load_count(c, val, now);
		break;
	case RW_MSB:
		load_count(c, val << 8, now);
		break;
	case RW_WORD0:
		c->write_latch = val;
		c->write_state = RW_WORD1;
		return false;
	default:
		load_count(c, c->write_latch | val << 8, now);
		c->write_state = RW_WORD0;
	}
	return reg == 0;
}

static u8 read_latched(struct corbel_pit_channel *c)
{
	switch (c->count_latched) {
	case RW_LSB:
		c->count_latched = 0;
		return c->latched_count;
	case RW_MSB:
		c->count_latched = 0;
		return c->latched_count >> 8;
	case RW_WORD0:
		c->count_latched = RW_MSB;
		return c->latched_count;
	default:
		c->count_latched = 0;
		return 0;
	}
}

u8 i8254_read(struct corbel_pit *p, u32 reg, s64 now)
{
	struct corbel_pit_channel *c;
	u16 count;

	if (reg == 3)
		return 0; /* the control word cannot be read */
	c = &p->ch[reg];
	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->count_latched)
		return read_latched(c);
	count = read_counter(c, now);
	switch (c->read_state) {
	case RW_LSB:
		return count;
	case RW_MSB:
		return count >> 8;
	case RW_WORD0:
		c->read_state = RW_WORD1;
		return count;
	default:
		c->read_state = RW_WORD0;
		return count >> 8;
	}
}

u8 i8254_port61_read(struct corbel_pit *p, s64 now)
{
	u8 val = p->ch[2].gate ? PORT61_GATE : 0;

	if (p->flags & CORBEL_PIT_SPEAKER)
		val |= PORT61_SPEAKER;
	if ((u64)now / REFRESH_NS & 1)
		val |= PORT61_REFRESH;
	if (i8254_out(p, 2, now))
		val |= PORT61_OUT;
	return val;
}

void i8254_port61_write(struct corbel_pit *p, u8 val, s64 now)
{
	struct corbel_pit_channel *c = &p->ch[2];
	bool gate = val & PORT61_GATE;

	if (val & PORT61_SPEAKER)
		p->flags |= CORBEL_PIT_SPEAKER;
	else
		p->flags &= ~CORBEL_PIT_SPEAKER;
	/* A rising gate starts the count anew in the modes that wait for a trigger. */
	if (gate && !c->gate && (c->mode == 1 || c->mode == 2 || c->mode == 3 || c->mode == 5))
		c->count_load_time = now;
	c->gate = gate;
}

u64 i8254_period_ns(const struct corbel_pit *p, bool *periodic)
{
	const struct corbel_pit_channel *c = &p->ch[0];

	*periodic = c->mode == 2 || c->mode == 3;
	/* mode 5 waits for a trigger that channel 0 never gets */
	if (c->mode > 4 || p->flags & CORBEL_PIT_HPET)
		return 0;
	return (u64)count_of(c) * NSEC / I8254_HZ;
}
