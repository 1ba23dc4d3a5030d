/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/guest/i8254.c */
/* The 8254 under a clock of our own. */
#include <string.h>

#include "hv/guest/i8254.h"
#include "test.h"

static struct corbel_pit p;
static s64 now = 1000000;

/* As the module makes one. */
static void reset_chip(void)
{
	memset(&p, 0, sizeof(p));
	for (u32 i = 0; i < 3; i++)
		p.ch[i] = (struct corbel_pit_channel){.count = 0x10000,
						      .read_state = 3,
						      .write_state = 3,
						      .rw_mode = 3,
						      .mode = 0xff,
						      .gate = i != 2,
						      .count_load_time = now};
}

static u16 read16(u32 ch)
{
	u16 lo = i8254_read(&p, ch, now);

	return lo | i8254_read(&p, ch, now) << 8;
}

static bool load16(u32 ch, u8 control, u16 count)
{
	i8254_write(&p, 3, control, now);
	CHECK_QUIET(!i8254_write(&p, ch, count & 0xff, now), "half a count loads nothing");
	return i8254_write(&p, ch, count >> 8, now);
}

static void pass_ticks(u64 n)
{
	now += (n * 1000000000ull + I8254_HZ - 1) / I8254_HZ;
}

static void test_mode0(void)
{
	reset_chip();
	CHECK(!load16(2, 0xb0, 1000), "only channel 0 drives a timer");
	CHECK(read16(2) == 1000 && !i8254_out(&p, 2, now), "mode 0 starts low at the count");
	pass_ticks(400);
	CHECK(read16(2) == 600, "it counts down with 1.193182 MHz");
	i8254_write(&p, 3, 0x80, now);
	pass_ticks(100);
	CHECK(read16(2) == 600 && read16(2) == 500, "a latched count is held for one reading");
	pass_ticks(500);
	CHECK(i8254_out(&p, 2, now) && (i8254_port61_read(&p, now) & 0x20),
	      "at the end OUT goes high, also in port 0x61");
	pass_ticks(10);
	CHECK(read16(2) == (u16)-10, "and it wraps");
}

static void test_mode2(void)
{
	bool periodic;
	u64 ns;

	reset_chip();
	CHECK(load16(0, 0x34, 11932), "loading channel 0 starts the timer");
	ns = i8254_period_ns(&p, &periodic);
	CHECK(periodic && ns > 10000000 && ns < 10001000, "100 Hz in mode 2");
	pass_ticks(11932 * 3 + 32);
	CHECK(read16(0) == 11900, "the rate generator reloads");
	load16(0, 0x30, 0);
	ns = i8254_period_ns(&p, &periodic);
	CHECK(!periodic && ns / 1000000 == 54, "count 0 is 65536; mode 0 fires once");
}

static void test_mode3(void)
{
	reset_chip();
	load16(0, 0x36, 100);
	CHECK(i8254_out(&p, 0, now), "a square wave begins high");
	pass_ticks(60);
	CHECK(!i8254_out(&p, 0, now), "is low in the second half");
	CHECK(read16(0) == 80, "and counts by two");
}

static void test_status(void)
{
	reset_chip();
	load16(0, 0x34, 100);
	i8254_write(&p, 3, 0xe2, now);
	CHECK((i8254_read(&p, 0, now) & 0x7f) == 0x34, "read-back gives the programming");
	i8254_write(&p, 3, 0xc2, now);
	pass_ticks(7);
	i8254_read(&p, 0, now);
	CHECK(read16(0) == 100, "and status before the latched count");
	i8254_write(&p, 3, 0x10, now);
	i8254_write(&p, 0, 0x80, now);
	CHECK(i8254_read(&p, 0, now) == 0x80 && i8254_read(&p, 0, now) == 0x80, "LSB only");
	i8254_write(&p, 3, 0x20, now);
	i8254_write(&p, 0, 0x12, now);
	CHECK(i8254_read(&p, 0, now) == 0x12, "MSB only");
	CHECK(i8254_read(&p, 3, now) == 0, "the control word cannot be read");
}

static void test_gate(void)
{
	reset_chip();
	load16(2, 0xb2, 1000); /* mode 1 */
	i8254_port61_write(&p, 0, now);
	pass_ticks(300);
	i8254_port61_write(&p, 3, now);
	CHECK(read16(2) == 1000 && !i8254_out(&p, 2, now), "a rising gate starts the one-shot");
	CHECK((i8254_port61_read(&p, now) & 3) == 3, "gate and speaker bits read back");
}

/* KVM's state of a channel that nobody has programmed is mode 0xff, which is also what is restored.
 */
static void test_fresh(void)
{
	bool periodic;

	reset_chip();
	CHECK(p.ch[0].mode == 0xff && !i8254_period_ns(&p, &periodic) && !periodic,
	      "a chip that nobody has programmed makes no interrupt");
	load16(0, 0x34, 1000);
	CHECK(i8254_period_ns(&p, &periodic) && periodic, "one that has been programmed does");
	p.ch[0].mode = 5;
	CHECK(!i8254_period_ns(&p, &periodic), "mode 5 waits for a trigger that never comes");
}

int main(void)
{
	test_fresh();
	test_mode0();
	test_mode2();
	test_mode3();
	test_status();
	test_gate();
	return test_end();
}
