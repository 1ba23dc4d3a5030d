/* SPDX-License-Identifier: GPL-2.0-only */
/* The screen the loader left: EGA text, or a linear framebuffer with a small font. For the boot CPU, or in panic. */
#ifndef HV_SCREEN_H
#define HV_SCREEN_H

#include "types.h"

/* By boot_info.fb: map it, clear it. early: before mm_init(), for last words only. False if there is none to write on.
 */
bool screen_init(bool early);
void screen_write(const char *s, u32 len);

#endif
