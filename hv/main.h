/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef HV_MAIN_H
#define HV_MAIN_H

#include "types.h"

/* From boot/entry.asm: EAX and EBX as the loader set them. On the early stack and tables. */
void hv_main(u32 magic, u64 info) __noreturn;

#endif
