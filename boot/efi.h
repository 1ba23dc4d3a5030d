/* SPDX-License-Identifier: GPL-2.0-only */
/* What the firmware leaves to an operating system. Pure. */
#pragma once

#include "boot/memmap.h"

/* size bytes of physical memory, which stay mapped. */
typedef void *(*efi_map_fn)(u64 addr, u64 size);

/*
 * May dom0 have the firmware's runtime services, by the system table at this address ("EFI System
 * Table")? Not if that lies in RAM, which the hypervisor and dom0 fill. Entries of its
 * configuration table that point to RAM are taken out: what they named is gone.
 */
bool efi_keep(const struct mem_map *m, u64 system_table, efi_map_fn map);
