/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Log and panic as all rooms see them; what they do is told by log_set_hooks(), since the consoles
 * lie above.
 */
#include "hv/lib/log.h"

static const struct log_hooks *hooks;

void log_set_hooks(const struct log_hooks *h)
{
	hooks = h;
}

void hv_log(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	hooks->line(level, fmt, ap);
	va_end(ap);
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	hooks->panic(fmt, ap);
	/* cppcheck-suppress va_end_missing ; not reached */
}

void boot_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	hooks->boot_fail(fmt, ap);
	/* cppcheck-suppress va_end_missing ; not reached */
}
