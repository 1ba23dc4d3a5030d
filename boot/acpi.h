/* SPDX-License-Identifier: GPL-2.0-only */
/* The few facts needed from ACPI's static tables. Pure: memory is reached through a callback. */
#pragma once

#include "boot.h"

/* Map size bytes of physical memory; valid until the next call. NULL if impossible. mm_map_boot() is one. */
typedef void *(*acpi_map_fn)(u64 addr, u64 size);

/*
 * Walk the tables from an RSDP copy: MADT (enabled CPUs, the one with boot_apic_id first; local APIC), FADT (PM timer,
 * reset register), HPET. Tables with a bad size or checksum are named in a warning and skipped. Fills *out from zero;
 * The boot CPU is always there.
 * -EINVAL: no usable RSDP or root table.
 */
int acpi_parse(const u8 *rsdp, u32 rsdp_len, u32 boot_apic_id, acpi_map_fn map, struct acpi_info *out);
/*
 * Edit the MADT at this physical address in place so that only CPUs whose APIC id is among keep[] are enabled or can
 * ever be; the checksum stays right. 0, or -EINVAL and nothing is changed.
 */
int acpi_limit_madt(u64 madt, acpi_map_fn map, const u32 *keep, u32 keep_count);
