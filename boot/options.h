/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypervisor's command line. Pure. */
#pragma once

#include "boot/boot.h"

/*
 * Set *out to the defaults (consoles: COM1 at 115200 and the screen), then apply the
 * space-separated options of cmdline. What is unknown or malformed is named in a warning and
 * changes nothing. Returns the number of such warnings.
 */
u32 options_parse(const char *cmdline, struct boot_options *out);
/*
 * True if option mask= names this capability ("npt", "vgif", "x2apic", "tsc-deadline", "1g", ...).
 */
bool cap_masked(const char *name);
