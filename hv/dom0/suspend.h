/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Suspend to RAM (S3), in which the hypervisor stays:
 *
 *   dom0's Linux: processes frozen, so QEMUs have stopped their vCPUs; its other CPUs offline
 *     SLP_EN ──exit──> suspend_ask(): does all stand still? dom0's vCPU waits
 *   each CPU, once it idles: its vCPU's state to memory, virtualization off, parked; the boot CPU
 *     is the last one: FACS names our trampoline, SLP_EN to the machine
 *   ~~ RAM alone has power ~~
 *   firmware ──> trampoline ──> the boot CPU, IOMMUs, the other CPUs as at boot; dom0's vCPU goes
 *     on at the vector that it had put into FACS, in real mode, as if the firmware had called it
 *
 * Where the machine does not go to sleep, all of this is undone and dom0 goes on behind its OUT.
 */
#pragma once

#include "hv/lib/types.h"

/* When dom0 is made: say in a line whether the machine can do that. */
void suspend_init(void);
bool suspend_is_possible(void);
/*
 * dom0's vCPU on this CPU writes to this port of those in boot_info.acpi.sleep a byte that means
 * S3. NULL: it is done when this CPU leaves it; or why not, a part of a sentence.
 */
const char *suspend_ask(u16 port, u8 byte);
/* For vm_ops.sleep */
void suspend_now(void);
