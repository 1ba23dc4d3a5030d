/* SPDX-License-Identifier: GPL-2.0-only */
/* Hypercalls, as abi.h describes them, for each module that makes some. */
#ifndef KMOD_HYPERCALL_H
#define KMOD_HYPERCALL_H

#include <linux/io.h>
#include <linux/mm.h>

#include "abi.h"

extern bool cb_backend_vmx; /* corbel.ko's, which has found the hypervisor */

static inline long cb_hypercall(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	register u64 r8 asm("r8") = e;
	long ret;

	if (cb_backend_vmx)
		asm volatile("vmcall"
			     : "=a"(ret)
			     : "a"(nr), "D"(a), "S"(b), "d"(c), "c"(d), "r"(r8)
			     : "memory");
	else
		asm volatile("vmmcall"
			     : "=a"(ret)
			     : "a"(nr), "D"(a), "S"(b), "d"(c), "c"(d), "r"(r8)
			     : "memory");
	return ret;
}

#define HC5(nr, a, b, c, d, e) cb_hypercall(CORBEL_HC_##nr, a, b, c, d, e)
#define HC4(nr, a, b, c, d)    HC5(nr, a, b, c, d, 0)
#define HC3(nr, a, b, c)       HC5(nr, a, b, c, 0, 0)
#define HC2(nr, a, b)	       HC5(nr, a, b, 0, 0, 0)
#define HC1(nr, a)	       HC5(nr, a, 0, 0, 0, 0)
#define HC0(nr)		       HC5(nr, 0, 0, 0, 0, 0)

/* dom0 is identity-mapped: what Linux takes for physical addresses is what the hypervisor wants. */
static inline u64 cb_phys(const void *lowmem)
{
	return virt_to_phys((void *)lowmem);
}

#endif
