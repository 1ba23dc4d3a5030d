/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/iommu/table.c */
/* The firmware's tables of IOMMUs: QEMU's, larger ones made here, damaged ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/iommu/table.h"
#include "iommu_tables.h"
#include "test.h"

static struct iommu_table t;
static u8 buf[8192];
static u32 len;

static void put(u64 v, u32 bytes)
{
	memcpy(buf + len, &v, MIN(bytes, 8u)); /* the rest is 0 */
	len += bytes;
}

static void begin(void)
{
	memset(buf, 0, sizeof(buf));
	len = 48;
}

static void drhd(u64 base, u32 size)
{
	u32 at = len;

	put(0, 2);
	put(size, 2);
	put(1, 2); /* all devices */
	put(3, 2); /* segment */
	put(base, 8);
	len = at + size;
}

static void rmrr(u64 start, u64 last)
{
	put(1, 2);
	put(24 + 8, 2);
	put(0, 4);
	put(start, 8);
	put(last, 8);
	put(0x0802, 8); /* one device */
}

static bool is_refused(bool (*parse)(const u8 *, u32, struct iommu_table *), u32 at)
{
	char byte[32];

	snprintf(byte, sizeof(byte), "at byte %u cannot", at);
	test_log_lines = 0;
	memset(&t, 0xff, sizeof(t));
	return !parse(buf, len, &t) && !t.unit_count && !t.region_count && test_log_lines == 1 &&
	       strstr(test_log_text, byte);
}

static void test_dmar(void)
{
	CHECK(dmar_parse(qemu_dmar, sizeof(qemu_dmar), &t) && t.unit_count == 1 &&
		  t.unit[0].regs == 0xfed90000 && !t.region_count,
	      "QEMU's DMAR has one unit");
	begin();
	drhd(0xfed90000, 24);
	rmrr(0x7b800000, 0x7fffffff);
	put(2, 2); /* an ATSR */
	put(8, 2);
	put(0, 4);
	drhd(0xfed91000, 16);
	drhd(0xfed91000, 16);
	rmrr(0x1234, 0x2345);
	CHECK(dmar_parse(buf, len, &t) && t.unit_count == 2 && t.unit[1].regs == 0xfed91000 &&
		  t.unit[1].segment == 3,
	      "a DMAR of two units, one of them twice");
	CHECK(t.region_count == 2 && t.region[0].start == 0x7b800000 &&
		  t.region[0].end == 0x80000000 && t.region[1].start == 0x1000 &&
		  t.region[1].end == 0x3000,
	      "and two regions, with all of their pages");
}

static void test_bad_dmar(void)
{
	static const u64 wild[][2] = {{0x1000, 0xfff},
				      {0x2000, 0x0fff},
				      {0, ~0ull},
				      {0x1000, 0x200000000},
				      {BIT(52), BIT(52) + 4095}};
	bool good = true;

	begin();
	CHECK(is_refused(dmar_parse, 48), "a DMAR without units is refused, in a line");
	drhd(0xfed90000, 16);
	len++;
	CHECK(is_refused(dmar_parse, 64), "so is one with a byte too much");
	begin();
	drhd(0xfed90000, 15);
	CHECK(is_refused(dmar_parse, 48), "a unit cut off");
	begin();
	drhd(0xfed90000, 16);
	drhd(0xfed91000, 16);
	buf[64 + 2] = 0;
	CHECK(is_refused(dmar_parse, 64), "an entry of no length");
	buf[64 + 2] = 17;
	CHECK(is_refused(dmar_parse, 64), "one that ends behind the table");
	begin();
	drhd(0xfed90800, 16);
	CHECK(is_refused(dmar_parse, 48), "registers that are no page");
	for (u32 i = 0; i < ARRAY_SIZE(wild); i++) {
		begin();
		drhd(0xfed90000, 16);
		rmrr(wild[i][0], wild[i][1]);
		good &= is_refused(dmar_parse, 64);
	}
	CHECK(good, "regions that end before they begin, or hold nearly all memory");
	begin();
	for (u32 i = 0; i <= IOMMU_MAX_UNITS; i++)
		drhd(0xfed90000 + i * PAGE_SIZE, 16);
	CHECK(is_refused(dmar_parse, 48 + 16 * IOMMU_MAX_UNITS),
	      "more units than there is room for");
	len = 40;
	CHECK(!dmar_parse(buf, 40, &t) && !dmar_parse(buf, 0, &t), "a table cut off in its header");
}

/*
 * A laptop's: a unit of the graphics alone, one of all others, regions of the USB controller and of
 * the memory that the graphics has from the firmware, names of devices that ACPI has.
 */
static void test_laptop(void)
{
	begin();
	buf[37] = 5; /* interrupts may be remapped, DMA is kept off before boot */
	drhd(0xfed90000, 24);
	memcpy(buf + 52, &(u32){0}, 4); /* of segment 0, not all devices */
	memcpy(buf + 64, "\x01\x08\0\0\0\0\x02", 8);
	drhd(0xfed91000, 40);
	buf[72 + 6] = 0;
	memcpy(buf + 88, "\x03\x08\0\0\x02\xf0\x1f", 8); /* IOAPIC */
	memcpy(buf + 96, "\x04\x08\0\0\0\0\x1e\x06", 8); /* HPET */
	rmrr(0x8a9e2000, 0x8aa01fff);
	rmrr(0x8d000000, 0x8f7fffff);
	put(4, 2); /* ANDD */
	put(24, 2);
	put(0, 3);
	put(1, 1);
	put(0, 16);
	CHECK(dmar_parse(buf, len, &t) && t.unit_count == 2 && t.may_remap &&
		  t.unit[0].regs == 0xfed90000 && t.unit[1].regs == 0xfed91000 &&
		  !t.unit[0].segment && !t.unit[1].segment,
	      "a laptop's DMAR: the unit of its graphics and that of all others");
	CHECK(t.region_count == 2 && t.region[1].start == 0x8d000000 &&
		  t.region[1].end == 0x8f800000,
	      "and what the firmware has left to the graphics");
	buf[37] |= 2;
	CHECK(!t.no_x2apic && dmar_parse(buf, len, &t) && t.no_x2apic && t.may_remap,
	      "that it wants no ids of APICs with 32 bits, only where it says so");
}

static u32 ivhd(u8 type, u64 base)
{
	u32 at = len;

	put(type, 1);
	put(0x21, 1);
	put(0, 2); /* length: end_block() */
	put(0x10, 2);
	put(0x40, 2);
	put(base, 8);
	put(5, 2);
	put(0, type == 0x10 ? 6 : 6 + 8);
	if (type != 0x10)
		put(0, 8);
	return at;
}

static void end_block(u32 at)
{
	memcpy(buf + at + 2, &(u16){(u16)(len - at)}, 2);
}

static void entry(u8 type, u16 id, u8 flags)
{
	put(type, 1);
	put(id, 2);
	put(flags, 1);
}

static u32 ivmd(u64 start, u64 size)
{
	u32 at = len;

	put(0x21, 1);
	put(7, 1);
	put(32, 2);
	put(0, 12);
	put(start, 8);
	put(size, 8);
	return at;
}

/* All devices from first to last have these rights. */
static bool have_rights(u32 first, u32 last, u16 flags)
{
	bool good = true;

	for (u32 id = first; id <= last; id++)
		good &= t.rights[id] == flags;
	return good;
}

static void test_ivrs(void)
{
	u32 at;

	CHECK(ivrs_parse(qemu_ivrs, sizeof(qemu_ivrs), &t) && t.unit_count == 1 &&
		  t.unit[0].regs == 0xfed80000 && t.last_id == 0x1ff && have_rights(0, 0x9f, 0) &&
		  t.rights[0xa0] == IOMMU_SPECIAL && have_rights(0xa1, 0xffff, 0),
	      "QEMU's IVRS has one unit, and devices up to bus 1, one of them an IOAPIC");
	begin();
	at = ivhd(0x10, 0xfed80000);
	entry(3, 0x8, 0x50); /* a range */
	entry(4, 0xfffe, 0);
	entry(0, 0, 0);
	entry(0x48, 0, 0xd7); /* an IOAPIC, with all rights */
	put(0x0100a000, 4);
	end_block(at);
	at = ivhd(0x11, 0xfed80000);
	entry(0xf0, 0x98, 0x08); /* by name */
	put(0, 16);
	put(2, 1);
	put(3, 1);
	put(0x414141, 3);
	end_block(at);
	ivmd(0x7b800000, 0x1000);
	at = ivhd(0x40, 0x1fed80000);
	entry(0x42, 0x300, 0); /* comes as 0x400 */
	put(0x00040000, 4);
	entry(1, 0, 0);
	end_block(at);
	CHECK(ivrs_parse(buf, len, &t) && t.unit_count == 2 && t.unit[0].flags == 0x21 &&
		  t.unit[1].regs == 0x1fed80000 && t.unit[1].segment == 5,
	      "a unit that blocks of two kinds describe is one");
	CHECK(t.last_id == 0xffff && have_rights(0, 7, 0) && have_rights(8, 0x97, 0x50) &&
		  t.rights[0x98] == (0x50 | IOMMU_ACPI) && have_rights(0x99, 0x9f, 0x50) &&
		  t.rights[0xa0] == 0xdf && have_rights(0xa1, 0xfffe, 0x50) && !t.rights[0xffff],
	      "devices by range, by handle, by name, and all");
	CHECK(t.region_count == 1 && t.region[0].start == 0x7b800000 &&
		  t.region[0].end == 0x7b801000,
	      "and a region");
}

/* Eight units, each told of three times, with the devices that raise more than their own
 * interrupts. */
static void test_epyc(void)
{
	static const u8 kinds[] = {0x10, 0x11, 0x40};
	bool good = true;

	begin();
	for (u32 i = 0; i < 24; i++) {
		u32 at = ivhd(kinds[i / 8], 0x10000000 + (i % 8) * 0x20000000ull);

		entry(3, (u16)((i % 8) << 13 | 8), 0);
		entry(4, (u16)((i % 8) << 13 | 0x1fff), 0);
		for (u16 k = 0; k < 16; k++) {
			entry(0x48, 0, 0xd7);
			put(0x01000000 | ((i % 8) << 13 | (k + 1) << 4) << 8, 4);
		}
		end_block(at);
	}
	CHECK(ivrs_parse(buf, len, &t) && t.unit_count == 8 && t.last_id == 0xffff,
	      "an IVRS of two sockets: 8 units, and 384 devices that may raise more");
	for (u32 id = 0; id < IOMMU_DEVICES; id++) {
		bool special = !(id & 0xf) && (id & 0x1fff) && (id & 0x1fff) <= 0x100;

		good &= t.rights[id] == (special ? 0xdf : 0);
	}
	CHECK(good, "each of these may, and no other");
}

static void test_bad_ivrs(void)
{
	u32 at;

	begin();
	CHECK(is_refused(ivrs_parse, 48), "an IVRS without units is refused, in a line");
	at = ivhd(0x10, 0xfed80000);
	put(0x48, 1);
	put(0, 3); /* 8 bytes, it should have */
	end_block(at);
	CHECK(is_refused(ivrs_parse, 48), "an entry that ends behind its block");
	begin();
	at = ivhd(0x11, 0xfed80000);
	entry(0xf0, 0x98, 0);
	put(0, 17);
	put(200, 1); /* of a name */
	end_block(at);
	CHECK(is_refused(ivrs_parse, 48), "a name that does");
	begin();
	at = ivhd(0x10, 0xfed80000);
	entry(3, 0x10, 0);
	entry(4, 0x8, 0);
	end_block(at);
	CHECK(is_refused(ivrs_parse, 48), "a range that ends before it begins");
	begin();
	end_block(ivhd(0x10, 0xfed80000));
	len += 24;
	buf[len - 24] = 0x10;
	buf[len - 22] = 16;
	CHECK(is_refused(ivrs_parse, 72), "a block too short for what it is");
	begin();
	end_block(ivhd(0x10, 0xfed80000));
	at = ivmd(~0xfffull, 0x2000);
	CHECK(is_refused(ivrs_parse, at), "a region around the end of all addresses");
}

int main(void)
{
	test_dmar();
	test_laptop();
	test_bad_dmar();
	test_ivrs();
	test_epyc();
	test_bad_ivrs();
	return test_end();
}
