/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the pool promises guests, and blocks of 2 MiB that dom0 lends it (hv/mm/pool.h). One at a
 * time is on its way: until all CPUs have passed their loops it is neither dom0's nor the pool's.
 */
#pragma once

#include "hv/lib/types.h"

struct vm;

/* HC_LEND, HC_TAKE_BACK; the caller is alone with the objects. */
s64 lend(u64 pfn);
s64 lend_take_back(void);
/* All of them at once, when guests' tables have gone: dom0's kernel ends. Likewise. */
void lend_return_all(void);
/*
 * HC_PROMISE; likewise. -ENOENT, -EBUSY: of CORBEL_PROMISE_NESTED, there is no such vCPU, or it
 * runs; -EINVAL; else as vm_promise_tables() and shadow_promise().
 */
s64 lend_promise(struct vm *vm, u64 pages, u64 how);
