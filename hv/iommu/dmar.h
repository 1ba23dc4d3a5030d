/* SPDX-License-Identifier: GPL-2.0-only */
/* The DMAR table: where VT-d's units are. Pure. */
#pragma once

#include "hv/iommu/table.h"

/*
 * Read a DMAR of len bytes, signature and checksum known to be right, into *out. Nothing beyond is
 * read. False, with a line, if it is damaged: *out is empty then. VT-d specification "BIOS
 * Considerations".
 */
bool dmar_parse(const u8 *t, u32 len, struct iommu_table *out);
