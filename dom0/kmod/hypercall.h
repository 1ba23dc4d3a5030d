/* SPDX-License-Identifier: GPL-2.0-only */
/* Hypercalls, as abi.h describes them, for each module that makes some. */
#ifndef KMOD_HYPERCALL_H
#define KMOD_HYPERCALL_H

#include <linux/errno.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/printk.h>
#include <asm/processor.h>

#include "abi.h"

extern bool cb_backend_vmx; /* each module's own */

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

/*
 * Once, first of all. Says in a line why not: -ENODEV. CPUID leaves from 0x40000000 on mean
 * something only under a hypervisor.
 */
static inline int cb_find_hypervisor(void)
{
	u32 eax, ebx, ecx, edx;
	long version;

	cpuid(1, &eax, &ebx, &ecx, &edx);
	if (!(ecx & BIT(31)))
		goto none;
	cpuid(CORBEL_CPUID_BASE, &eax, &ebx, &ecx, &edx);
	if (ebx != CORBEL_CPUID_SIG_EBX || ecx != CORBEL_CPUID_SIG_ECX ||
	    edx != CORBEL_CPUID_SIG_EDX || eax < CORBEL_CPUID_ABI)
		goto none;
	cpuid(CORBEL_CPUID_ABI, &eax, &ebx, &ecx, &edx);
	if (!(ecx & 1)) {
		pr_err("this is a guest of Corbel, not its dom0, where this module belongs\n");
		return -ENODEV;
	}
	if (eax != CORBEL_ABI_VERSION || (ebx != CORBEL_BACKEND_SVM && ebx != CORBEL_BACKEND_VMX)) {
		pr_err("the hypervisor speaks ABI version %u, this module %u: boot the Corbel this "
		       "module came with\n",
		       eax, CORBEL_ABI_VERSION);
		return -ENODEV;
	}
	cb_backend_vmx = ebx == CORBEL_BACKEND_VMX;
	version = HC0(VERSION);
	if (version != CORBEL_ABI_VERSION) {
		pr_err("the hypervisor does not answer hypercalls (%ld)\n", version);
		return -ENODEV;
	}
	return 0;
none:
	pr_err("no Corbel hypervisor under this kernel: boot Corbel from GRUB, then load this "
	       "module\n");
	return -ENODEV;
}

#endif
