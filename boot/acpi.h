/* SPDX-License-Identifier: GPL-2.0-only */
/* The few facts needed from ACPI's static tables. Pure: memory is reached through a callback. */
#pragma once

#include "boot/boot.h"

/*
 * The byte with SLP_TYP and SLP_EN is the upper one of PM1_CNT, and all there is of the sleep
 * control register; WAK_STS is likewise in PM1_STS and the sleep status register. ACPI
 * specification "PM1 Control Registers", "Sleep Control Register".
 */
#define ACPI_SLP_TYP_SHIFT 2
#define ACPI_SLP_TYP_MASK  7u
#define ACPI_SLP_EN	   BIT(5)
#define ACPI_WAK_STS	   BIT(7)

/* "Firmware ACPI Control Structure (FACS)": where words of 4 and of 8 bytes are, and its size */
#define ACPI_FACS_VECTOR   12u
#define ACPI_FACS_X_VECTOR 24u
#define ACPI_FACS_SIZE	   64u

/*
 * Map size bytes of physical memory; valid until the next call. NULL if impossible. mm_map_boot()
 * is one.
 */
typedef void *(*acpi_map_fn)(u64 addr, u64 size);

/*
 * Walk the tables from an RSDP copy: MADT (enabled CPUs, the one with boot_apic_id first; local
 * APIC), SRAT (CPUs' nodes), FADT (PM timer, reset register, sleep registers), DSDT and SSDTs
 * (types of S3 and S5), HPET; where FACS, DMAR and IVRS are, 0 bytes long if there are two. Tables
 * with a bad size are named in a warning and skipped, with a bad checksum named alone. Fills *out
 * from zero; The boot CPU is always there. -EINVAL: no usable RSDP or root table.
 */
int acpi_parse(const u8 *rsdp, u32 rsdp_len, u32 boot_apic_id, acpi_map_fn map,
	       struct acpi_info *out);
/* The CPU's node; 0 if no SRAT tells. */
u32 acpi_node_of(const struct acpi_info *info, u32 apic_id);
/*
 * Edit the MADT at this physical address in place so that only CPUs whose APIC id is among keep[]
 * are enabled or can ever be: the others lose their ids, too. The checksum stays right. 0, or
 * -EINVAL and nothing is changed.
 */
int acpi_limit_madt(u64 madt, acpi_map_fn map, const u32 *keep, u32 keep_count);

/*
 * Make the table at this physical address, one of those found, one that nobody looks for; its
 * checksum stays right. False: its memory takes no writes, the table is still there.
 */
bool acpi_hide(u64 table, acpi_map_fn map);

/*
 * Look through the code of a DSDT or SSDT for the packages \_S3 or \_S5, as the digit says: the
 * types to be written to PM1a (0) and PM1b (1) for that state, as sets; those found are added.
 * Reads nothing beyond len.
 */
void acpi_scan_types(const u8 *aml, u32 len, char digit, u8 types[2]);
