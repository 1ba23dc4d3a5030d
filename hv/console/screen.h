/* SPDX-License-Identifier: GPL-2.0-only */
/* The EGA text screen or framebuffer that the loader left. */
#pragma once

#include "hv/lib/types.h"

/*
 * By boot_info.fb, map and clear it. early: before mm_init(), for last words only. False: none to
 * write on.
 */
bool screen_init(bool early);
void screen_write(const char *s, u32 len);
