// SPDX-License-Identifier: GPL-2.0-only
#include "firmware.h"

#include <linux/acpi.h>
#include <linux/iommu.h>

#include "pure.h"

static struct cb_fw_table firmware; /* no table: there are no such regions */

/* One that the hypervisor hides from Linux' own drivers has another first letter. */
void firmware_find(void)
{
	static char names[][ACPI_NAMESEG_SIZE + 1] = {"DMAR", "xMAR", "xVRS"};
	struct acpi_table_header *t;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(names) && !firmware.table; i++) {
		if (ACPI_FAILURE(acpi_get_table(names[i], 1, &t)))
			continue;
		firmware = (struct cb_fw_table){(const u8 *)t, t->length, names[i][1] == 'V'};
	}
}

/* With no depth, as of none, if it is too deep. */
static struct cb_place place_of(struct pci_dev *pdev)
{
	struct cb_place p = {.segment = pci_domain_nr(pdev->bus)};
	struct pci_dev *above = pdev;
	u32 i;

	for (; above && p.depth < CB_PLACE_MAX; above = pci_upstream_bridge(above))
		p.id[p.depth++] = pci_dev_id(above);
	if (above)
		p.depth = 0;
	for (i = 0; i < p.depth / 2; i++)
		swap(p.id[i], p.id[p.depth - 1 - i]);
	return p;
}

/* The firmware needs it no more when Linux has the device; so do Linux' drivers for IOMMUs think.
 */
static bool is_relaxed(const struct pci_dev *pdev)
{
	return pdev->class >> 16 == PCI_BASE_CLASS_DISPLAY ||
	       pdev->class >> 8 == PCI_CLASS_SERIAL_USB;
}

bool firmware_keeps(struct pci_dev *pdev)
{
	struct cb_place p = place_of(pdev);
	u64 start, size;
	u32 at = 0;

	return !is_relaxed(pdev) && region_next(&firmware, &at, &p, &start, &size);
}

void firmware_regions(struct pci_dev *pdev, struct list_head *list)
{
	struct cb_place p = place_of(pdev);
	u64 start, size;
	u32 at = 0;

	while (region_next(&firmware, &at, &p, &start, &size)) {
		struct iommu_resv_region *r = iommu_alloc_resv_region(
		    start, size, IOMMU_READ | IOMMU_WRITE,
		    is_relaxed(pdev) ? IOMMU_RESV_DIRECT_RELAXABLE : IOMMU_RESV_DIRECT, GFP_KERNEL);

		if (r)
			list_add_tail(&r->list, list);
	}
}
