/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Microcode for the machine's CPUs, out of dom0's initrd, where distributions put it for Linux,
 * which loads none under a hypervisor. SDM "Microcode Update Loader".
 */
#pragma once

#include "hv/lib/types.h"

/*
 * On the boot CPU, before anybody asks CPUID what there is: find what is newer, or what other CPUs
 * may lack, keep a copy of it for them and for the time after a sleep, and load it. In any case a
 * line says what came of it.
 */
void ucode_init(void);
/* Of what this CPU has. */
u32 ucode_revision(void);
/* On any CPU, first thing when it has started: make it what the boot CPU is. */
void ucode_load_cpu(void);
