/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/efi.h"
#include "hv/lib/string.h"

/* UEFI specification "EFI System Table" */
struct system_table {
	u64 signature;
	u8 gap8[96];
	u64 count, entries; /* of the configuration table */
} __packed;
_Static_assert(sizeof(struct system_table) == 120, "EFI system table");
#define SIGNATURE 0x5453595320494249ull /* "IBI SYST" */

/* "EFI Configuration Table & Properties Table" */
struct entry {
	u8 guid[16];
	u64 table;
} __packed;
#define ENTRIES_MAX 256u

static bool is_firmwares(const struct mem_map *m, u64 at, u64 size)
{
	return at <= ~size && memmap_is(m, at, at + size, MEM_RESERVED);
}

bool efi_keep(const struct mem_map *m, u64 system_table, efi_map_fn map)
{
	const struct system_table *t;
	struct entry *e;
	u64 count;

	if (!is_firmwares(m, system_table, sizeof(*t)))
		return false;
	t = map(system_table, sizeof(*t));
	count = t->count;
	if (t->signature != SIGNATURE || count > ENTRIES_MAX ||
	    !is_firmwares(m, t->entries, count * sizeof(*e)))
		return false;
	e = map(t->entries, count * sizeof(*e));
	for (u64 i = 0; i < count; i++)
		if (memmap_is(m, e[i].table, e[i].table + 1, MEM_RAM))
			memset(e[i].guid, 0, sizeof(e[i].guid));
	return true;
}
