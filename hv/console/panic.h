/* SPDX-License-Identifier: GPL-2.0-only */
/* The end: panic(), boot_fail(), and power. */
#pragma once

struct cpu;

/*
 * Before anything else: panic(), boot_fail() and the log work from here on, though nobody sees it
 * before console_early_init().
 */
void panic_init(void);
/*
 * More lines for the panic screen; what to do on a CPU before a restart, since INIT is held back
 * while virtualization is on.
 */
void panic_set_hooks(void (*dump)(void), void (*leave)(struct cpu *c));

/* By options reboot=, noreboot. */
void machine_restart(void) __attribute__((noreturn));
