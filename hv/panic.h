/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypervisor's own end; panic() and boot_fail() are declared in hv/log.h. */
#ifndef HV_PANIC_H
#define HV_PANIC_H

#include "cpu.h"

/* An exception in the hypervisor that no fix-up covers. */
void panic_regs(const struct regs *r) __noreturn;
/* Is another CPU in panic()? Then this one has to stop. */
bool panic_elsewhere(void);

#endif
