/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/pic.c */
/* The pair of 8259A as a PC's firmware and kernels use it. */
#include "dom0/kmod/pure.h"
#include "test.h"

static struct pic_pair p;
static u16 ended;

static void out(u16 port, u8 val)
{
	pic_write(&p, port, val, &ended);
}

static u8 in(u16 port)
{
	return pic_read(&p, port, &ended);
}

static void init(u8 icw4)
{
	pic_reset(&p);
	ended = 0;
	out(0x20, 0x11), out(0x21, 0x20), out(0x21, 0x04), out(0x21, icw4);
	out(0xa0, 0x11), out(0xa1, 0x28), out(0xa1, 0x02), out(0xa1, icw4);
}

static void test_basic(void)
{
	init(1);
	CHECK(!pic_output(&p), "no request, no INTR");
	CHECK(pic_set_irq(&p, 4, true) == 1 && pic_output(&p), "an edge raises INTR");
	CHECK(pic_set_irq(&p, 4, true) == 0, "an edge that is pending already is coalesced");
	pic_set_irq(&p, 4, false);
	CHECK(pic_output(&p), "an edge stays latched");
	CHECK(pic_ack(&p, &ended) == 0x24, "INTA gives base + line");
	CHECK(!pic_output(&p) && p.chip[0].isr == 0x10, "it is in service, not pending");
	pic_set_irq(&p, 5, true);
	CHECK(!pic_output(&p), "a less urgent line waits");
	pic_set_irq(&p, 1, true);
	CHECK(pic_output(&p) && pic_ack(&p, &ended) == 0x21, "a more urgent line nests");
	out(0x20, 0x20);
	CHECK(ended == 0x02 && p.chip[0].isr == 0x10, "a non-specific EOI ends the most urgent");
	out(0x20, 0x64);
	CHECK(ended == 0x12 && pic_output(&p),
	      "a specific EOI ends that line, and the next comes through");
	CHECK(pic_ack(&p, &ended) == 0x25, "which is the one that waited");
}

static void test_slave(void)
{
	init(1);
	pic_set_irq(&p, 12, true);
	CHECK(pic_output(&p) && pic_ack(&p, &ended) == 0x2c,
	      "a slave's line gives the slave's vector");
	CHECK(p.chip[0].isr == 0x04 && p.chip[1].isr == 0x10, "both chips have it in service");
	pic_set_irq(&p, 3, true);
	CHECK(!pic_output(&p), "the cascade blocks what is less urgent than line 2");
	out(0xa0, 0x20);
	out(0x20, 0x20);
	CHECK(ended == ((1u << 12) | (1u << 2)) && pic_ack(&p, &ended) == 0x23,
	      "EOIs to both let it through");
}

static void test_mask(void)
{
	init(1);
	out(0x21, 0xff);
	CHECK(pic_set_irq(&p, 3, true) < 0 && !pic_output(&p), "a masked line does not raise INTR");
	CHECK(in(0x21) == 0xff, "the mask reads back");
	out(0x21, 0xf7);
	CHECK(pic_output(&p), "unmasking delivers the latched edge");
	out(0x20, 0x0a);
	CHECK(in(0x20) == 0x08, "IRR can be read");
	pic_ack(&p, &ended);
	out(0x20, 0x0b);
	CHECK(in(0x20) == 0x08, "ISR can be read");
}

static void test_level(void)
{
	init(1);
	out(0x4d1, 0xff);
	CHECK(in(0x4d1) == 0xde, "RTC and FPU lines stay edge-triggered");
	pic_set_irq(&p, 10, true);
	CHECK(pic_ack(&p, &ended) == 0x2a, "a level is taken");
	out(0xa0, 0x20), out(0x20, 0x20);
	CHECK(pic_output(&p), "a level still high asks again after EOI");
	pic_set_irq(&p, 10, false);
	CHECK(!pic_output(&p), "a level gone low asks no more");
	CHECK(pic_ack(&p, &ended) == 0x27, "an INTA without request is a spurious IRQ 7");
}

static void test_modes(void)
{
	init(3);
	pic_set_irq(&p, 0, true);
	pic_ack(&p, &ended);
	CHECK(p.chip[0].isr == 0 && ended == 1, "automatic EOI ends at INTA");
	init(1);
	out(0x20, 0xc4); /* lowest priority: line 4 */
	pic_set_irq(&p, 4, true), pic_set_irq(&p, 5, true);
	CHECK(pic_ack(&p, &ended) == 0x25, "rotation makes line 5 the most urgent");
	init(1);
	pic_set_irq(&p, 1, true);
	pic_ack(&p, &ended);
	out(0x21, 0x02), out(0x20, 0x68);
	pic_set_irq(&p, 6, true);
	CHECK(pic_output(&p), "special mask mode lets the less urgent pass");
	init(1);
	pic_set_irq(&p, 6, true);
	out(0x20, 0x0c);
	CHECK(in(0x20) == 0x86 && p.chip[0].isr == 0x40, "a poll is an INTA cycle");
}

int main(void)
{
	test_basic();
	test_slave();
	test_mask();
	test_level();
	test_modes();
	return test_end();
}
