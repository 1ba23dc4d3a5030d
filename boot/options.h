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
 * True if option mask= hides this capability ("x2apic", "tsc-deadline", "1g", ...), which can be
 * done without on any machine: it names it, or says "all".
 */
bool cap_masked(const char *name);
/*
 * The same of what is not meant by "all": what a machine cannot run without, or has nothing else in
 * place of, and what is done about faults of emulators. hv/README.md lists these.
 */
bool cap_named(const char *name);
