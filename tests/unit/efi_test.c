/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/efi.c boot/memmap.c */
#include "boot/efi.h"
#include "test.h"

#include <assert.h>
#include <string.h>

#define BASE  0x7f000000ull /* of the firmware's memory */
#define TABLE (BASE + 0x100)
#define LIST  (BASE + 0x800)

static u64 memory[512];
static struct mem_map map;

static void *at(u64 addr, u64 size)
{
	assert(addr >= BASE && addr + size <= BASE + sizeof(memory));
	return (u8 *)memory + (addr - BASE);
}

/* A system table with three entries: kept memory, RAM, nothing at all. */
static void firmware(void)
{
	static const u64 tables[] = {BASE + 0x40, 0x100000, 0x900000000};
	u64 *t = at(TABLE, 120), *e = at(LIST, sizeof(tables) / 8 * 24);

	memset(memory, 0, sizeof(memory));
	map.count = 0;
	memmap_add(&map, 0, 0x40000000, MEM_RAM);
	memmap_add(&map, BASE, BASE + 0x1000, MEM_RESERVED);
	t[0] = 0x5453595320494249;
	t[13] = 3;
	t[14] = LIST;
	for (u32 i = 0; i < 3; i++, e += 3) {
		e[0] = e[1] = 0x1111111111111111 * (i + 1);
		e[2] = tables[i];
	}
}

static bool keep(u64 table)
{
	return efi_keep(&map, table, at);
}

int main(void)
{
	u64 *t = at(TABLE, 120), *e = at(LIST, 72);

	firmware();
	CHECK(keep(TABLE), "a system table in the firmware's memory is kept");
	CHECK(e[0] && e[1] && e[6] && e[7], "and so are entries that do not point to RAM");
	CHECK(!e[3] && !e[4], "what an entry in RAM named is gone");
	CHECK(!keep(0x100000), "one in RAM is not");
	CHECK(!keep(BASE + 0x1000 - 119) && !keep(BASE - 1) && !keep(~0ull - 10),
	      "nor one that is partly elsewhere");
	t[0]++;
	CHECK(!keep(TABLE), "nor one without the signature");
	firmware();
	t[14] = 0x100000;
	CHECK(!keep(TABLE), "nor one whose entries are in RAM");
	t[14] = BASE + 0x1000 - 71;
	CHECK(!keep(TABLE), "or end there");
	t[14] = LIST;
	t[13] = 257;
	CHECK(!keep(TABLE), "nor one of many entries");
	t[13] = ~0ull / 24 + 2;
	CHECK(!keep(TABLE), "however many");
	return test_end();
}
