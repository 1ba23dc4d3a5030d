/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Log, assertions and panic. Usable from any context of the hypervisor; host tests link
 * tests/unit/host.c instead.
 */
#pragma once

#include <stdarg.h>

#include "hv/lib/types.h"

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/*
 * Format one line into the log ring and, if level <= the console level (option loglvl=), onto the
 * consoles with the prefix "(hv) ". No trailing newline in fmt. Supports %d %u %x %s %c, l and ll,
 * and width, with 0 or without; but no width of %d.
 */
void hv_log(enum log_level level, const char *fmt, ...) __printf(2, 3);

#define log_err(...)   hv_log(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  hv_log(LOG_WARN, __VA_ARGS__)
#define log_info(...)  hv_log(LOG_INFO, __VA_ARGS__)
#define log_debug(...) hv_log(LOG_DEBUG, __VA_ARGS__)

/*
 * What the consoles do for hv_log(), panic() and boot_fail(); they lie above all that logs. To be
 * set before anything else: nothing may be logged earlier.
 */
struct log_hooks {
	void (*line)(enum log_level level, const char *fmt, va_list ap);
	__noreturn void (*panic)(const char *fmt, va_list ap);
	__noreturn void (*boot_fail)(const char *fmt, va_list ap);
};
void log_set_hooks(const struct log_hooks *h);

/*
 * Our own bug: print registers, symbolised backtrace, CPU and last exits, then halt or reboot
 * (options noreboot, reboot=).
 */
void panic(const char *fmt, ...) __printf(1, 2) __noreturn;

/*
 * Missing hardware, bad boot input, or the end of dom0: one line "corbel: <cause>; <cure>" on
 * serial and screen, then halt or reboot.
 */
void boot_fail(const char *fmt, ...) __printf(1, 2) __noreturn;

#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (unlikely(cond))                                                                \
			panic("BUG at %s:%d: %s", __FILE__, __LINE__, #cond);                      \
	} while (0)
