/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For builds with ThreadSanitizer: READ_ONCE and WRITE_ONCE are relaxed atomic accesses, which they
 * are for the CPU anyway, so that what is left are accesses of which nothing says that others may
 * be at them.
 */
#include "hv/lib/types.h"

#undef READ_ONCE
#undef WRITE_ONCE
#define READ_ONCE(x)	 __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
