/* SPDX-License-Identifier: GPL-2.0-only */
/* The IVRS table: where AMD's IOMMUs are. Pure. */
#pragma once

#include "hv/iommu/table.h"

/*
 * Read an IVRS of len bytes, signature and checksum known to be right, into *out. Nothing beyond is
 * read. False, with a line, if it is damaged: *out is empty then. AMD IOMMU specification "I/O
 * Virtualization ACPI Table".
 */
bool ivrs_parse(const u8 *t, u32 len, struct iommu_table *out);
