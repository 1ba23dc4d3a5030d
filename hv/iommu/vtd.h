/* SPDX-License-Identifier: GPL-2.0-only */
/* Back end for Intel's VT-d. */
#pragma once

#include "hv/iommu/iommu.h"

extern const struct iommu_ops vtd_ops;

#define VTD_IRQS_ORDER 8u /* of the pages of iommu_unit.irqs: as many entries as there can be */

/*
 * Remapping of all devices' interrupts by the entries in u->irqs, once take() has been called.
 * -EIO: the unit does not answer. These are the table, with ids of 32 bits if x2apic;
 */
int vtd_take_irqs(struct iommu_unit *u, bool x2apic);
/* no entry is cached any more; */
int vtd_flush_irqs(struct iommu_unit *u);
/* on, when what comes in another format is blocked, or off. */
int vtd_remap(struct iommu_unit *u, bool on);
