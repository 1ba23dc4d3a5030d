/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading dom0: placing kernel and initrd, boot_params, e820, entry state. */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

/* 64-bit boot protocol, Linux Documentation/x86/boot.rst "64-bit Boot Protocol" */
struct dom0_entry {
	u64 rip, rsi;		  /* entry point, boot_params */
	u64 cr3;		  /* identity page tables built in dom0's memory */
	struct corbel_dtable gdt; /* __BOOT_CS 0x10 (64-bit) and __BOOT_DS 0x18 */
};
/* CPUs that dom0 has a vCPU on: the first ones, by dom0_max_vcpus=. */
u32 dom0_cpus(void);
/*
 * Load module 1 (bzImage or ELF) and 2 (initrd) of boot_info into dom0's memory. Ends in
 * boot_fail() with cause and cure. After smp_init(), since the MADT is cut down to CPUs online and
 * dom0_max_vcpus=; before mm_boot_done().
 */
void dom0_load(struct dom0_entry *out);
