/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that the firmware uses with devices (RMRR, IVMD), as its table of IOMMUs has it. The
 * hypervisor keeps it in dom0's domain; in others somebody else's memory would be there.
 */
#ifndef KMOD_FIRMWARE_H
#define KMOD_FIRMWARE_H

#include <linux/pci.h>

/* Once, before the others. */
void firmware_find(void);
/* Whether the device must stay dom0's for that. */
bool firmware_keeps(struct pci_dev *pdev);
/* Add struct iommu_resv_region of these to the list. */
void firmware_regions(struct pci_dev *pdev, struct list_head *list);

#endif
