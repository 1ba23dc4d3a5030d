/* SPDX-License-Identifier: GPL-2.0-only */
/* Intel's VT-d, for who drives units (vtd.c) and for who shows dom0 some (vtd_shown.c). */
#pragma once

#include "hv/iommu/iommu.h"

#define VTD_IRQS_ORDER 8u /* of the pages of iommu_unit.irqs: as many entries as there can be */

/*
 * Remapping of all devices' interrupts by the entries in u->irqs, once take() has been called.
 * These are the table, with ids of 32 bits if x2apic;
 */
void vtd_take_irqs(struct iommu_unit *u, bool x2apic);
/* no entry is cached any more; */
void vtd_flush_irqs(struct iommu_unit *u);
/* on, when what comes in another format is blocked, or off. */
void vtd_remap(struct iommu_unit *u, bool on);

/* VT-d specification "Remapping Hardware Software Interface" */
#define VTD_VER	   0x00
#define VTD_CAP	   0x08
#define VTD_ECAP   0x10
#define VTD_GCMD   0x18
#define VTD_GSTS   0x1c
#define VTD_RTADDR 0x20
#define VTD_FSTS   0x34
#define VTD_FECTL  0x38
#define VTD_PMEN   0x64
#define VTD_IQH	   0x80
#define VTD_IQT	   0x88
#define VTD_IQA	   0x90
#define VTD_IRTA   0xb8

/* "Capability Register", "Extended Capability Register": some of their bits */
#define CAP_FRO	  GENMASK(33, 24) /* where faults are recorded */
#define CAP_PI	  BIT(59)	  /* interrupts can be posted */
#define ECAP_C	  BIT(0)	  /* the unit's accesses to its tables look into caches */
#define ECAP_QI	  BIT(1)
#define ECAP_IR	  BIT(3)
#define ECAP_EIM  BIT(4)
#define ECAP_SC	  BIT(7)	  /* leaves can say that devices look into caches */
#define ECAP_IRO  GENMASK(17, 8)  /* where translations are invalidated without a queue */
#define ECAP_MHMV GENMASK(23, 20) /* entries that an invalidation takes at most: a power of two */

/* "Global Command Register": those that dom0 is shown, too */
#define CMD_QIE	  BIT(26)
#define CMD_IRE	  BIT(25)
#define CMD_SIRTP BIT(24)

#define FSTS_IQE BIT(4) /* "Fault Status Register": the queue has an error, and stands still */

/* "Interrupt Remapping Table Address Register": it has 2^(size + 1) entries */
#define IRTA_SIZE     GENMASK(3, 0)
#define IRTA_SIZE_MAX 15u
#define IRTA_EIME     BIT(11) /* ids of APICs have 32 bits */
