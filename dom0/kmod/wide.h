/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CPUs whose APIC ids are above 255, where the hypervisor remaps interrupts to such ids, and no
 * unit that Linux sees (AMD-Vi).
 */
#ifndef KMOD_WIDE_H
#define KMOD_WIDE_H

#include <linux/irqdomain.h>

/* Once devices are kept to messages of this domain: start the CPUs, if there are some. */
void wide_start(const struct irq_domain *messages);

#endif
