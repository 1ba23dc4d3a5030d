/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of the hypervisor's functions, for backtraces. */
#pragma once

#include "hv/lib/types.h"

/* As tools/symtab.py writes it; the names follow the last entry. */
struct symtab {
	u32 count, pad;
	struct {
		u32 addr; /* without HV_IMAGE; ascending */
		u32 name; /* offset into the names */
	} sym[];
};

/*
 * Name of the last symbol at or below addr and the distance from it; NULL if there is none. Pure.
 */
const char *symtab_find(const struct symtab *t, u32 addr, u32 *distance);
