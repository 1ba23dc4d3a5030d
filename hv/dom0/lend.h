/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blocks of 2 MiB that dom0 lends the pool (hv/mm/pool.h). One at a time is on its way: until all
 * CPUs have passed their loops it is neither dom0's nor the pool's.
 */
#pragma once

#include "hv/lib/types.h"

/* HC_LEND, HC_TAKE_BACK; the caller is alone with the objects. */
s64 lend(u64 pfn);
s64 lend_take_back(void);
/* All of them at once, when guests' tables have gone: dom0's kernel ends. Likewise. */
void lend_return_all(void);
