/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/lib/symtab.h"

const char *symtab_find(const struct symtab *t, u32 addr, u32 *distance)
{
	/* the answer lies before hi, and at lo or behind it if there is one */
	u32 lo = 0, hi = t->count;

	if (!t->count || addr < t->sym[0].addr)
		return NULL;
	while (hi - lo > 1) {
		u32 mid = lo + (hi - lo) / 2;

		if (t->sym[mid].addr <= addr)
			lo = mid;
		else
			hi = mid;
	}
	*distance = addr - t->sym[lo].addr;
	return (const char *)&t->sym[t->count] + t->sym[lo].name;
}
