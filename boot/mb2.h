/* SPDX-License-Identifier: GPL-2.0-only */
/* Parser of the Multiboot2 boot information. Pure: touches nothing but its arguments. */
#pragma once

#include "boot/boot.h"

/*
 * Check and copy the boot information at info, of which at most size_limit bytes may be read, into
 * *out: command line, loader, modules, memory map, framebuffer, EFI, RSDP.
 * Everything else in *out is left alone (zero it first). -EINVAL on a malformed list, -ENOSPC when
 * the memory map does not fit, -ENOENT without a memory map; each logged. After 0 nothing of info
 * is needed any more.
 */
int mb2_parse(const void *info, u32 size_limit, struct boot_info *out);
