/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What lies in an initrd before anything that is compressed: cpio archives, one behind another.
 * Linux, "initramfs buffer format".
 */
#pragma once

#include "hv/lib/types.h"

/* Copy bytes of physical memory. */
typedef void (*initrd_read_fn)(u64 addr, void *buf, u32 len);
/*
 * Look for damage in an initrd of `size` bytes at `start`: unknown format, an archive cut off.
 * Compressed parts are not looked into. NULL, or what is wrong.
 */
const char *initrd_check(u64 start, u64 size, initrd_read_fn read);
/* Where in it the first file of that name lies, physical; {0, 0}: there is none. */
struct initrd_file {
	u64 at, size;
};
struct initrd_file initrd_find(u64 start, u64 size, const char *name, initrd_read_fn read);
