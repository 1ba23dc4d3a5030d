/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/ioapic.c */
/* The module's IOAPIC: register file, edge and level delivery, EOI. */
#include "dom0/kmod/pure.h"
#include "test.h"

static u64 last_address;
static u32 last_data, sent;
static bool nobody_home;

static int deliver(struct ioapic *io, u64 address, u32 data)
{
	last_address = address;
	last_data = data;
	sent++;
	return !nobody_home;
}

static struct ioapic io = {.deliver = deliver};

static u32 set_entry(u32 pin, u64 rte)
{
	u32 unmasked;

	ioapic_write(&io, 0x00, 0x11 + 2 * pin);
	unmasked = ioapic_write(&io, 0x10, rte >> 32);
	ioapic_write(&io, 0x00, 0x10 + 2 * pin);
	return unmasked | ioapic_write(&io, 0x10, (u32)rte);
}

static u64 get_entry(u32 pin)
{
	u64 rte;

	ioapic_write(&io, 0x00, 0x11 + 2 * pin);
	rte = (u64)ioapic_read(&io, 0x10) << 32;
	ioapic_write(&io, 0x00, 0x10 + 2 * pin);
	return rte | ioapic_read(&io, 0x10);
}

static void reset(void)
{
	ioapic_reset(&io);
	sent = 0;
	nobody_home = false;
}

static void test_registers(void)
{
	reset();
	ioapic_write(&io, 0, 1);
	CHECK(ioapic_read(&io, 0x10) == 0x170011, "version 0x11 with 24 pins");
	ioapic_write(&io, 0, 0);
	ioapic_write(&io, 0x10, 0xffffffff);
	CHECK(ioapic_read(&io, 0x10) == 0x0f000000, "the id has four bits");
	CHECK(get_entry(5) == 0x10000, "pins are masked after reset");
	set_entry(5, ~0ull);
	CHECK(get_entry(5) == 0xff0000000001afffull,
	      "status bits and reserved bits cannot be written");
	ioapic_write(&io, 0, 0xff);
	CHECK(ioapic_read(&io, 0x10) == 0, "a register that does not exist reads 0");
	ioapic_write(&io, 0x10, 0x1234);
}

static void test_edge(void)
{
	reset();
	CHECK(ioapic_set_irq(&io, 4, true) < 0 && !sent, "a masked pin sends nothing");
	ioapic_set_irq(&io, 4, false);
	CHECK(set_entry(4, 3ull << 56 | 0x31) == 1u << 4, "unmasking is told");
	CHECK(ioapic_set_irq(&io, 4, true) == 1 && sent == 1, "an edge is sent");
	CHECK(last_address == 0xfee03000 && last_data == 0x4031,
	      "to CPU 3, vector 0x31, physical, fixed");
	CHECK(ioapic_set_irq(&io, 4, true) == 0 && sent == 1, "a level without edge is not");
	ioapic_set_irq(&io, 4, false);
	ioapic_set_irq(&io, 4, true);
	CHECK(sent == 2, "the next edge is");
	set_entry(4, 1ull << 56 | 0x931);
	ioapic_set_irq(&io, 4, false), ioapic_set_irq(&io, 4, true);
	CHECK(last_address == 0xfee0100c && last_data == 0x4131,
	      "logical destination, lowest priority");
}

static void test_level(void)
{
	u64 mask[4];

	reset();
	set_entry(10, 0x8050);
	ioapic_set_irq(&io, 10, true);
	CHECK(sent == 1 && last_data == 0xc050 && (get_entry(10) & 0x4000),
	      "a level is sent once and sets remote IRR");
	CHECK(ioapic_set_irq(&io, 10, true) == 0 && sent == 1, "not again before EOI");
	ioapic_eoi_vectors(&io, 0, mask);
	CHECK(mask[1] == 1ull << 0x10 && !mask[0] && !mask[2] && !mask[3], "its EOI is asked for");
	CHECK(ioapic_pins_of_vector(&io, 0x50) == 1u << 10 && !ioapic_pins_of_vector(&io, 0x51),
	      "the vector leads to the pin");
	ioapic_eoi(&io, 1u << 10);
	CHECK(sent == 2 && (get_entry(10) & 0x4000), "EOI with the line still high sends again");
	ioapic_set_irq(&io, 10, false);
	ioapic_eoi(&io, 1u << 10);
	CHECK(sent == 2 && !(get_entry(10) & 0x4000), "EOI with the line low ends it");
	set_entry(10, 0x18050);
	ioapic_set_irq(&io, 10, true);
	CHECK(sent == 2, "masked: kept back");
	CHECK(ioapic_old_level(&io, 0x10, 0x8050) == 10 && ioapic_old_level(&io, 0, 0x8050) < 0 &&
		  ioapic_old_level(&io, 0x10, 0x18050) < 0 && ioapic_old_level(&io, 0x10, 0x50) < 0,
	      "who unmasks it has an old level, who does not has none");
	set_entry(10, 0x8050);
	CHECK(sent == 3, "and sent when unmasked");
	CHECK(ioapic_old_level(&io, 0x10, 0x8050) < 0, "one that is not masked is no old one");
	set_entry(10, 0x18050);
	CHECK(ioapic_old_level(&io, 0x10, 0x8050) < 0, "nor one whose EOI is to come");
	for (u32 reg = 0; reg < 0x100; reg++)
		if (reg != 0x10 + 2 * 10) {
			ioapic_write(&io, 0, reg);
			CHECK_QUIET(ioapic_old_level(&io, 0x10, 0x8050) < 0, "register %x", reg);
		}
	set_entry(10, 0x10050);
	CHECK(!(get_entry(10) & 0x4000), "switching to edge clears remote IRR");
	nobody_home = true;
	set_entry(10, 0x8050);
	CHECK(!(get_entry(10) & 0x4000), "a level nobody takes sets no remote IRR");
	nobody_home = false;
	ioapic_resend(&io);
	CHECK(get_entry(10) & 0x4000, "and can be sent again");
}

static void test_edge_eoi(void)
{
	u64 mask[4];

	reset();
	set_entry(2, 0x30);
	ioapic_eoi_vectors(&io, 0, mask);
	CHECK(!mask[0], "nobody wants the EOI of an edge");
	ioapic_eoi_vectors(&io, 1u << 2, mask);
	CHECK(mask[0] == 1ull << 0x30 && ioapic_pins_of_vector(&io, 0x30) == 1u << 2,
	      "unless asked for");
	ioapic_eoi(&io, 1u << 2);
	CHECK(!sent, "which sends nothing");
}

int main(void)
{
	test_registers();
	test_edge();
	test_level();
	test_edge_eoi();
	return test_end();
}
