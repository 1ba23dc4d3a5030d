/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/lib/symtab.h"

const char *symtab_find(const struct symtab *t, u32 addr, u32 *distance)
{
	const char *names = (const char *)&t->sym[t->count], *name = NULL;

	/* One after the other: only a panic asks. */
	for (u32 i = 0; i < t->count && t->sym[i].addr <= addr; i++) {
		name = names + t->sym[i].name;
		*distance = addr - t->sym[i].addr;
	}
	return name;
}
