/* SPDX-License-Identifier: GPL-2.0-only */
/* QEMU's device "edu" (docs/specs/edu): registers by which it copies to and from a buffer of its
 * own. */
#pragma once

#define EDU_RAISE  0x60
#define EDU_ACK	   0x64
#define EDU_SRC	   0x80
#define EDU_DST	   0x88
#define EDU_COUNT  0x90
#define EDU_CMD	   0x98
#define EDU_START  1
#define EDU_TO_RAM 2
#define EDU_BUFFER 0x40000
