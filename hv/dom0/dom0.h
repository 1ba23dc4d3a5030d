/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/*
 * Create dom0 and make it runnable on this CPU (the boot CPU). Ends in boot_fail() with cause and
 * cure.
 */
void dom0_create(void);
