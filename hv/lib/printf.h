/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <stdarg.h>

#include "hv/lib/types.h"

/* vsnprintf subset, returns the length that would have been written. Pure. */
int hv_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
int hv_snprintf(char *buf, size_t size, const char *fmt, ...) __printf(3, 4);
