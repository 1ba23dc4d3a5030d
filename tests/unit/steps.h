/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included before all else (gcc -include) by tests that explore interleavings: each access to what
 * CPUs share is a step, at which the test may let another CPU go on. Time spent waiting for another
 * CPU is given to it.
 */
#ifndef TESTS_UNIT_STEPS_H
#define TESTS_UNIT_STEPS_H

#include "hv/lib/types.h"

void test_step(void);
void test_relax(void);

#undef READ_ONCE
#undef WRITE_ONCE
#define READ_ONCE(x)	 (test_step(), *(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (test_step(), *(volatile __typeof__(x) *)&(x) = (v))

#define __atomic_load_n(...)		 (test_step(), __atomic_load_n(__VA_ARGS__))
#define __atomic_store_n(...)		 (test_step(), __atomic_store_n(__VA_ARGS__))
#define __atomic_exchange_n(...)	 (test_step(), __atomic_exchange_n(__VA_ARGS__))
#define __atomic_fetch_or(...)		 (test_step(), __atomic_fetch_or(__VA_ARGS__))
#define __atomic_fetch_and(...)		 (test_step(), __atomic_fetch_and(__VA_ARGS__))
#define __atomic_compare_exchange_n(...) (test_step(), __atomic_compare_exchange_n(__VA_ARGS__))
#define __builtin_ia32_pause()		 test_relax()

#endif
