/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Borders of the image's parts, set by linker.ld; all page-aligned, but for the end of what each
 * CPU has its own of. Text RX, read-only data R, data and bss RW.
 */
#pragma once

extern char __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[],
    __percpu_start[], __percpu_end[], __bss_end[];
