/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/regions.c */
/* Which devices the firmware uses memory with, by tables made here. */
#include <stdlib.h>
#include <string.h>

#include "dom0/kmod/pure.h"
#include "test.h"

#define MB 0x100000ull

static u8 buf[512];
static u32 len;

static void put(u64 v, u32 bytes)
{
	memcpy(buf + len, &v, bytes);
	len += bytes;
}

static void begin(void)
{
	memset(buf, 0, sizeof(buf));
	len = 48;
}

/* Scopes are added behind it, and then it has its length. */
static u32 rmrr(u16 segment, u64 start, u64 last)
{
	u32 at = len;

	put(1, 2);
	put(24, 2);
	put(0, 2);
	put(segment, 2);
	put(start, 8);
	put(last, 8);
	return at;
}

static void scope(u32 at, u8 type, u8 bus, u32 depth, const u8 *path)
{
	put(type, 1);
	put(6 + 2 * depth, 1);
	put(0, 3);
	put(bus, 1);
	memcpy(buf + len, path, 2 * depth);
	len += 2 * depth;
	buf[at + 2] = len - at;
}

static void ivmd(u8 type, u16 first, u16 last, u16 segment, u64 start, u64 size)
{
	put(type, 1);
	put(1, 1); /* to be reached at its own addresses */
	put(32, 2);
	put(first, 2);
	put(last, 2);
	put(segment, 8);
	put(start, 8);
	put(size, 8);
}

/* The n-th region of that device; 0: it has no more. The table ends where memory that is ours does.
 */
static u64 region(bool amd, const struct cb_place *p, u32 n, u64 *size)
{
	u8 *copy = malloc(len);
	struct cb_fw_table t = {copy, len, amd};
	u64 start = 0;
	u32 at = 0;

	memcpy(copy, buf, len);
	for (u32 i = 0; i <= n; i++)
		if (!region_next(&t, &at, p, &start, size))
			start = 0;
	free(copy);
	return start;
}

static bool has(bool amd, const struct cb_place *p, u64 start, u64 size)
{
	u64 is = 0;

	return region(amd, p, 0, &is) == start && (!start || is == size);
}

/* 00:1a.0; 02:00.1 behind 00:1c.2 and 01:00.0 */
static const struct cb_place usb = {.depth = 1, .id = {0xd0}}, other = {.depth = 1, .id = {0xd8}},
			     far = {.segment = 7, .depth = 1, .id = {0xd0}},
			     deep = {.depth = 3, .id = {0xe2, 0x100, 0x201}},
			     sibling = {.depth = 3, .id = {0xe2, 0x100, 0x200}},
			     bridge = {.depth = 2, .id = {0xe2, 0x100}}, nowhere = {.depth = 0};

static void test_rmrr(void)
{
	static const u8 p_usb[] = {0x1a, 0}, p_other[] = {0x1d, 0},
			p_deep[] = {0x1c, 2, 0, 0, 0, 1}, p_bridge[] = {0x1c, 2, 0, 0};
	u64 size;
	u32 at;

	begin();
	put(0, 2); /* a unit */
	put(16, 2);
	len += 12;
	at = rmrr(0, 16 * MB, 17 * MB - 1);
	scope(at, 1, 0, 1, p_other);
	scope(at, 1, 0, 1, p_usb);
	at = rmrr(0, 32 * MB, 32 * MB + 4095);
	scope(at, 1, 0, 1, p_usb);
	at = rmrr(0, 48 * MB, 49 * MB - 1);
	scope(at, 1, 0, 3, p_deep);
	CHECK(region(false, &usb, 0, &size) == 16 * MB && size == MB &&
		  region(false, &usb, 1, &size) == 32 * MB && size == 4096 &&
		  !region(false, &usb, 2, &size),
	      "RMRR: a device has the two that name it");
	CHECK(has(false, &other, 0, 0) && has(false, &far, 0, 0) && has(false, &nowhere, 0, 0),
	      "others, of another segment, too, have none");
	CHECK(has(false, &deep, 48 * MB, MB) && has(false, &sibling, 0, 0) &&
		  has(false, &bridge, 0, 0),
	      "one is named by its path from the root bus, as neither sibling nor bridge is");
	begin();
	at = rmrr(0, 64 * MB, 65 * MB - 1);
	scope(at, 1, 2, 1, (const u8[]){0, 1});
	CHECK(has(false, &deep, 64 * MB, MB) && has(false, &sibling, 0, 0), "or from its own bus");
	begin();
	at = rmrr(0, 64 * MB, 65 * MB - 1);
	scope(at, 2, 0, 2, p_bridge);
	CHECK(has(false, &deep, 64 * MB, MB) && has(false, &sibling, 64 * MB, MB) &&
		  has(false, &usb, 0, 0),
	      "all that is below a bridge, if the scope says so");
	begin();
	at = rmrr(0, 64 * MB, 65 * MB - 1);
	scope(at, 3, 0, 1, p_usb); /* an IOAPIC */
	scope(at, 1, 0, 0, p_usb);
	CHECK(has(false, &usb, 0, 0), "and nobody, if it is of another kind, or leads nowhere");
}

static void test_ivmd(void)
{
	begin();
	put(0x10, 1); /* a unit */
	put(0, 1);
	put(24, 2);
	len += 20;
	ivmd(0x21, 0xd0, 0, 0, 16 * MB, MB);
	ivmd(0x22, 0x200, 0x201, 0, 32 * MB, 2 * MB);
	CHECK(has(true, &usb, 16 * MB, MB) && has(true, &deep, 32 * MB, 2 * MB) &&
		  has(true, &sibling, 32 * MB, 2 * MB),
	      "IVMD: one device, and a range of them, to its last");
	CHECK(has(true, &other, 0, 0) && has(true, &bridge, 0, 0) && has(true, &far, 0, 0) &&
		  has(true, &nowhere, 0, 0),
	      "others have none");
	begin();
	ivmd(0x20, 0, 0, 0, 64 * MB, MB);
	CHECK(has(true, &usb, 64 * MB, MB) && has(true, &deep, 64 * MB, MB) &&
		  has(true, &far, 0, 0),
	      "all of a segment have what is for all");
}

static void one_region(bool amd)
{
	begin();
	if (amd)
		ivmd(0x21, 0xd0, 0, 0, 16 * MB, MB);
	else
		scope(rmrr(0, 16 * MB, 17 * MB - 1), 1, 0, 1, (const u8[]){0x1a, 0});
}

/* What is cut off or spoilt anywhere leads nowhere: nothing is read that is not the table's. */
static void test_damage(void)
{
	u32 found = 0, wrong = 0;
	u64 size;

	for (u32 amd = 0; amd < 2; amd++) {
		one_region(amd);
		for (u32 whole = len; len; len--)
			found += region(amd, &usb, 0, &size) && (len == whole || ++wrong);
		one_region(amd);
		for (u32 at = 48; at < len; at++)
			for (u32 v = 0; v < 256; v++) {
				u8 was = buf[at];

				buf[at] = v;
				(void)region(amd, &usb, 3, &size);
				(void)region(amd, &deep, 0, &size);
				buf[at] = was;
			}
	}
	CHECK(found == 2 && !wrong, "of a table that is cut off nothing is taken for a region");
}

int main(void)
{
	test_rmrr();
	test_ivmd();
	test_damage();
	return test_end();
}
