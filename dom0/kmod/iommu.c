// SPDX-License-Identifier: GPL-2.0-only
/*
 * corbel_iommu.ko: where the hypervisor drives the IOMMUs (iommu=strict), Linux' domains on top of
 * its hypercalls. VFIO, which gives devices to guests and programs, needs them.
 *
 * dom0's own drivers notice nothing: their devices stay in the hypervisor's domain of dom0's
 * memory, at the addresses that they had before. A device that VFIO takes reaches nothing, and then
 * what VFIO maps; when it is given back, dom0's memory.
 *
 * Where the hypervisor keeps devices to interrupts of their own (AMD-Vi), these are of an interrupt
 * domain of ours: the device sends the index of a message, and the hypervisor is told what that
 * raises. Devices of dom0's are kept so, too, if they have no messages yet when this module comes.
 * With VT-d Linux' own driver sets what each device may raise, in units that the hypervisor shows
 * it.
 *
 * A module of its own, since Linux does not let go of one that devices depend on. It keeps
 * corbel.ko with it: by the events of that the hypervisor knows when this kernel ends, and blocks
 * the devices.
 */
#define pr_fmt(fmt) "corbel_iommu: " fmt

#include <linux/iommu.h>
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/module.h>
#include <linux/msi.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/version.h>
#include <linux/xarray.h>

#include <asm/irqdomain.h>
#include <asm/msi.h>

#include "firmware.h"
#include "hypercall.h"
#include "wide.h"

#define MAP_PAGES 512u /* that HC_DOMAIN_MAP takes at once */
#define MSI_START 0xfee00000ul
#define MSI_SIZE  0x100000ul
#define HT_START  0xfd00000000ull
#define HT_SIZE	  0x300000000ull

struct domain {
	struct iommu_domain core;
	u32 id; /* the hypervisor's; 0: dom0's memory; CORBEL_DOMAIN_NONE: nothing */
	/*
	 * dfn -> pfn of what is mapped: VFIO asks for it when it takes a page back, so as to know
	 * which one it was
	 */
	struct xarray frames;
};

static struct iommu_device unit; /* all of them: the hypervisor shows no single ones */
static const struct iommu_ops ops;
/* Messages of devices that are kept to theirs, NULL: none is; those of all others. */
static struct irq_domain *messages, *standard;
static bool began;    /* a device that comes now has no driver yet */
static bool remapped; /* all devices are kept to what Linux has set for them */
static u64 reach;     /* last address that domains can have something at */

static struct domain *to_domain(struct iommu_domain *core)
{
	return container_of(core, struct domain, core);
}

/* ---- life ---- */

/* It has no devices. */
static void destroy_domain(u32 id)
{
	long r;

	while ((r = HC1(DOMAIN_DESTROY, id)) == -EAGAIN)
		cond_resched();
	if (r < 0)
		pr_err("domain %u could not be destroyed (%ld); please report it\n", id, r);
}

static struct iommu_domain *domain_alloc(unsigned int type)
{
	struct domain *d;
	long id;

	switch (type) {
	case IOMMU_DOMAIN_IDENTITY:
		id = 0;
		break;
	case IOMMU_DOMAIN_BLOCKED:
		id = CORBEL_DOMAIN_NONE;
		break;
	case IOMMU_DOMAIN_UNMANAGED:
		id = HC0(DOMAIN_CREATE);
		if (id <= 0) {
			pr_warn_ratelimited("no domain for devices (%ld): %s\n", id,
					    id == -ENOSPC ? "end a guest that has some"
							  : "the hypervisor's log may say why");
			return NULL;
		}
		break;
	default:
		return NULL;
	}
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d) {
		if (type == IOMMU_DOMAIN_UNMANAGED)
			destroy_domain(id);
		return NULL;
	}
	d->id = id;
	d->core.geometry.aperture_end = reach;
	d->core.geometry.force_aperture = true;
	xa_init(&d->frames);
	return &d->core;
}

static void domain_free(struct iommu_domain *core)
{
	struct domain *d = to_domain(core);

	if (core->type == IOMMU_DOMAIN_UNMANAGED)
		destroy_domain(d->id);
	xa_destroy(&d->frames);
	kfree(d);
}

/* ---- devices ---- */

static u64 name_of(const struct pci_dev *pdev, u8 bus, u8 devfn)
{
	return (u64)pci_domain_nr(pdev->bus) << 16 | PCI_DEVID(bus, devfn);
}

static int attach_id(const struct pci_dev *pdev, u8 bus, u8 devfn, u32 domain)
{
	long r = HC2(DOMAIN_ATTACH, name_of(pdev, bus, devfn), domain);

	if (r < 0)
		pci_err(pdev, "the hypervisor does not let it use domain %d (%ld)\n", (int)domain,
			r);
	return r < 0 ? r : 0;
}

/* A bridge that is not PCI Express on both sides may put its own name on what comes from behind. */
static bool bridge_renames(struct pci_dev *bridge)
{
	if (!pci_is_pcie(bridge))
		return true;
	switch (pci_pcie_type(bridge)) {
	case PCI_EXP_TYPE_ROOT_PORT:
	case PCI_EXP_TYPE_UPSTREAM:
	case PCI_EXP_TYPE_DOWNSTREAM:
		return false;
	}
	return true;
}

/* Then interrupts do not tell them apart. */
static bool shares_name(struct pci_dev *pdev)
{
	struct pci_bus *bus;

	for (bus = pdev->bus; bus->parent; bus = bus->parent)
		if (bus->self && bridge_renames(bus->self))
			return true;
	return false;
}

/*
 * By all names that the device's accesses may bear. Those of a bridge are of devices in the same
 * group, which are never in two domains. "PCI Express to PCI/PCI-X Bridge Specification",
 * "Requester ID".
 */
static int attach_device(struct pci_dev *pdev, u32 domain)
{
	struct pci_bus *bus;
	unsigned int devfn;
	int r = attach_id(pdev, pdev->bus->number, pdev->devfn, domain);

	if (pdev->dma_alias_mask)
		for_each_set_bit(devfn, pdev->dma_alias_mask, 256) r =
		    r ? r : attach_id(pdev, pdev->bus->number, devfn, domain);
	for (bus = pdev->bus; !r && bus->parent; bus = bus->parent) {
		struct pci_dev *bridge = bus->self; /* none: the bus of virtual functions */

		if (!bridge || !bridge_renames(bridge))
			continue;
		r = attach_id(pdev, bridge->bus->number, bridge->devfn, domain);
		r = r ? r : attach_id(pdev, bus->number, 0, domain);
	}
	return r;
}

/* Do the hypervisor and we know of each interrupt that the device raises? */
static bool is_remappable(struct device *dev)
{
	struct irq_domain *now = dev_get_msi_domain(dev);

	return messages && now && (now == x86_vector_domain || now->parent == x86_vector_domain);
}

static long keep_name(const struct pci_dev *pdev, u8 devfn, bool keep)
{
	return HC3(DOMAIN_IRQ, name_of(pdev, pdev->bus->number, devfn), CORBEL_DOMAIN_IRQS, keep);
}

/* dom0's device raises only what it is given from now on, by any of its names, or all again. */
static long keep_names(const struct pci_dev *pdev, bool keep)
{
	long r = keep_name(pdev, pdev->devfn, keep);
	unsigned int devfn;

	if (pdev->dma_alias_mask)
		for_each_set_bit(devfn, pdev->dma_alias_mask, 256) r =
		    r < 0 && keep ? r : keep_name(pdev, devfn, keep);
	return r;
}

static bool keep_to_messages(struct pci_dev *pdev)
{
	if (!shares_name(pdev) && keep_names(pdev, true) >= 0)
		return true;
	keep_names(pdev, false);
	return false;
}

/*
 * Whose messages they are: ours, or Linux' own for dom0's devices that cannot be kept to them.
 * Nobody has any of the device's now, as those who take it or give it back have switched them off.
 * A bridge of its group may have a driver at work, whose interrupts are blocked meanwhile.
 */
static void choose_messages(struct device *dev, u32 domain)
{
	struct irq_domain *now = dev_get_msi_domain(dev);

	if (to_pci_dev(dev)->hdr_type != PCI_HEADER_TYPE_NORMAL || !is_remappable(dev))
		return;
	if (now != messages)
		standard = now;
	if (domain || keep_to_messages(to_pci_dev(dev)))
		dev_set_msi_domain(dev, messages);
	else if (now == messages)
		dev_set_msi_domain(dev, standard);
}

/*
 * A device of dom0's that its driver has not begun to use by messages, nor begins now: it has none
 * yet, or is locked. Linux moves all to their domain when we begin, drivers at work.
 */
static void keep_unused(struct device *dev)
{
	const struct pci_dev *pdev = to_pci_dev(dev);

	if (READ_ONCE(began) && !pdev->msi_enabled && !pdev->msix_enabled)
		choose_messages(dev, 0);
}

/* Where not all names can be moved, none remains in the domain: Linux thinks it left. */
static int attach_dev(struct iommu_domain *core, struct device *dev)
{
	u32 domain = to_domain(core)->id;
	int r;

	if (core->type == IOMMU_DOMAIN_UNMANAGED && firmware_keeps(to_pci_dev(dev))) {
		dev_err(dev, "it cannot be given away: the firmware uses memory with it\n");
		return -EPERM;
	}
	r = attach_device(to_pci_dev(dev), domain);
	if (r)
		attach_device(to_pci_dev(dev),
			      domain == CORBEL_DOMAIN_NONE ? 0 : CORBEL_DOMAIN_NONE);
	else if (domain)
		choose_messages(dev, domain);
	else
		keep_unused(dev);
	return r;
}

/* What other than 65536 segments there is (VMD) has no name of its own for the IOMMU. */
static struct iommu_device *probe_device(struct device *dev)
{
	if (!dev_is_pci(dev) || pci_domain_nr(to_pci_dev(dev)->bus) >> 16)
		return ERR_PTR(-ENODEV);
	dev_iommu_priv_set(dev, dev->driver);
	keep_unused(dev);
	return &unit;
}

/*
 * A driver that had its device before there was a group is not counted as the group's user, but
 * when it leaves, it is: so it is told of the group as one that comes now.
 */
static int count_user(struct device *dev, void *unused)
{
	device_lock(dev);
	if (dev->iommu_group)
		keep_unused(dev);
	if (dev->iommu_group && dev->driver && dev->driver == dev_iommu_priv_get(dev) &&
	    dev->bus->dma_configure(dev))
		dev_err(dev, "its driver is not counted as its group's user\n");
	device_unlock(dev);
	return 0;
}

/*
 * What comes in its place is dom0's. Names that it shares with others of its group stay: the group
 * may be somebody's.
 */
static void release_device(struct device *dev)
{
	struct pci_dev *pdev = to_pci_dev(dev);

	attach_id(pdev, pdev->bus->number, pdev->devfn, 0);
	keep_name(pdev, pdev->devfn, false);
}

static bool iommu_can(struct device *dev, enum iommu_cap cap)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
	if (cap == IOMMU_CAP_INTR_REMAP)
		return remapped || is_remappable(dev);
#endif
	return cap == IOMMU_CAP_CACHE_COHERENCY;
}

static int def_domain_type(struct device *dev)
{
	return IOMMU_DOMAIN_IDENTITY;
}

static void add_region(struct list_head *list, u64 start, u64 size, enum iommu_resv_type type)
{
	struct iommu_resv_region *r = iommu_alloc_resv_region(start, size, 0, type, GFP_KERNEL);

	if (r)
		list_add_tail(&r->list, list);
}

/*
 * Writes to that of messages are interrupts and never reach memory. On AMD's machines what lies at
 * the end of the first TiB is HyperTransport's, and is not translated (AMD I/O Virtualization
 * Technology, "Special Address Ranges").
 */
static void get_resv_regions(struct device *dev, struct list_head *list)
{
	add_region(list, MSI_START, MSI_SIZE, IOMMU_RESV_MSI);
	if (boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	    boot_cpu_data.x86_vendor == X86_VENDOR_HYGON)
		add_region(list, HT_START, HT_SIZE, IOMMU_RESV_RESERVED);
	firmware_regions(to_pci_dev(dev), list);
}

/* ---- interrupts ---- */

/* CORBEL_DOMAIN_IRQS itself is none of a device's, and says something else. */
static void set_irq(const struct pci_dev *pdev, u8 devfn, u32 index, const struct msi_msg *msg)
{
	long r = index < CORBEL_DOMAIN_IRQS
		     ? HC4(DOMAIN_IRQ, name_of(pdev, pdev->bus->number, devfn), index,
			   msg->address_lo, msg->data)
		     : -EINVAL;

	if (r < 0)
		dev_warn_ratelimited(&pdev->dev,
				     "the hypervisor does not let it raise interrupt %u (%ld)\n",
				     index, r);
}

/* The device's own message stays what it is, whatever it raises. Address 0: it has none. */
static void write_message(struct irq_data *data, struct msi_msg *msg)
{
	const struct msi_desc *desc = irq_data_get_msi_desc(data);
	struct pci_dev *pdev = to_pci_dev(desc->dev);
	struct msi_msg own = {};
	unsigned int devfn;

	set_irq(pdev, pdev->devfn, desc->msi_index, msg);
	if (pdev->dma_alias_mask)
		for_each_set_bit(devfn, pdev->dma_alias_mask, 256)
		    set_irq(pdev, devfn, desc->msi_index, msg);
	if (msg->address_lo) {
		own.address_lo = MSI_START;
		own.data = desc->msi_index;
	}
	pci_write_msi_msg(data->irq, &own);
}

/* Devices without messages of their own interrupt by a line. */
static int prepare_irqs(struct irq_domain *domain, struct device *dev, int count,
			msi_alloc_info_t *arg)
{
	if (count > CORBEL_DOMAIN_IRQS || shares_name(to_pci_dev(dev)))
		return -EOPNOTSUPP;
	return pci_msi_prepare(domain, dev, count, arg);
}

static struct irq_chip chip = {
    .name = "Corbel-MSI",
    .irq_ack = irq_chip_ack_parent,
    .irq_retrigger = irq_chip_retrigger_hierarchy,
    .irq_write_msi_msg = write_message,
    .flags = IRQCHIP_SKIP_SET_WAKE | IRQCHIP_AFFINITY_PRE_STARTUP,
};

static struct msi_domain_ops message_ops = {.msi_prepare = prepare_irqs};

static struct msi_domain_info message_info = {
    .flags = MSI_FLAG_USE_DEF_DOM_OPS | MSI_FLAG_USE_DEF_CHIP_OPS | MSI_FLAG_PCI_MSIX,
    .ops = &message_ops,
    .chip = &chip,
    .handler = handle_edge_irq,
    .handler_name = "edge",
};

/* Without memory for them devices in domains have no messages, and VFIO is told of none. */
static void make_messages(void)
{
	struct fwnode_handle *fwnode = irq_domain_alloc_named_fwnode("Corbel-MSI");

	if (!fwnode)
		return;
	messages = pci_msi_create_irq_domain(fwnode, &message_info, x86_vector_domain);
	if (!messages)
		irq_domain_free_fwnode(fwnode);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	else
		messages->flags |= IRQ_DOMAIN_FLAG_ISOLATED_MSI;
#endif
}

static void remove_messages(void)
{
	struct fwnode_handle *fwnode = messages ? messages->fwnode : NULL;

	if (!messages)
		return;
	irq_domain_remove(messages);
	irq_domain_free_fwnode(fwnode);
}

/* ---- memory ---- */

static void forget_pages(struct domain *d, u64 dfn, u64 pages)
{
	while (pages--)
		xa_erase(&d->frames, dfn++);
}

static int remember_pages(struct domain *d, u64 dfn, u64 pfn, u64 pages, gfp_t gfp)
{
	u64 i;

	for (i = 0; i < pages; i++) {
		int r = xa_insert(&d->frames, dfn + i, xa_mk_value(pfn + i), gfp);

		if (r) {
			forget_pages(d, dfn, i);
			return r == -EBUSY ? -EEXIST : r;
		}
	}
	return 0;
}

/* MAP_PAGES at most -> how many; what is mapped is remembered, at any time. */
static long map_some(struct domain *d, u64 dfn, u64 pfn, u64 pages, int prot, gfp_t gfp)
{
	long r = remember_pages(d, dfn, pfn, pages, gfp);
	u64 done;

	if (r)
		return r;
	r = HC5(DOMAIN_MAP, d->id, dfn, pfn, pages, prot & IOMMU_WRITE ? CORBEL_MAP_WRITE : 0);
	done = r > 0 ? min_t(u64, r, pages) : 0;
	forget_pages(d, dfn + done, pages - done);
	return done ? done : r ? r : -EIO;
}

/* What could be mapped before it failed is in *mapped: the caller unmaps it. */
static int map_pages(struct iommu_domain *core, unsigned long iova, phys_addr_t paddr,
		     size_t pgsize, size_t pgcount, int prot, gfp_t gfp, size_t *mapped)
{
	u64 dfn = iova >> PAGE_SHIFT, pfn = paddr >> PAGE_SHIFT, done = 0;
	u64 pages = (pgsize >> PAGE_SHIFT) * pgcount;
	long r = 0;

	while (r >= 0 && done < pages) {
		r = map_some(to_domain(core), dfn + done, pfn + done,
			     min_t(u64, pages - done, MAP_PAGES), prot, gfp);
		done += r > 0 ? r : 0;
	}
	*mapped = done << PAGE_SHIFT;
	return r < 0 ? r : 0;
}

/* On return no device reaches them: there is nothing left to flush. */
static size_t unmap_pages(struct iommu_domain *core, unsigned long iova, size_t pgsize,
			  size_t pgcount, struct iommu_iotlb_gather *gather)
{
	struct domain *d = to_domain(core);
	u64 dfn = iova >> PAGE_SHIFT, done = 0, pages = (pgsize >> PAGE_SHIFT) * pgcount;

	while (done < pages) {
		long r = HC3(DOMAIN_UNMAP, d->id, dfn + done, pages - done);

		if (r == -EAGAIN)
			continue;
		if (r <= 0) { /* Linux then keeps the pages for ever, which is the best there is */
			pr_err("pages from %llx of domain %u cannot be unmapped (%ld): %s\n",
			       dfn + done, d->id, r,
			       r == -ENOMEM ? "give the hypervisor more memory with hvmem="
					    : "please report it");
			break;
		}
		r = min_t(u64, r, pages - done);
		forget_pages(d, dfn + done, r);
		done += r;
	}
	return done << PAGE_SHIFT;
}

static phys_addr_t iova_to_phys(struct iommu_domain *core, dma_addr_t iova)
{
	const void *at = xa_load(&to_domain(core)->frames, iova >> PAGE_SHIFT);

	return at ? (phys_addr_t)xa_to_value(at) << PAGE_SHIFT | (iova & ~PAGE_MASK) : 0;
}

static const struct iommu_domain_ops domain_ops = {
    .attach_dev = attach_dev,
    .map_pages = map_pages,
    .unmap_pages = unmap_pages,
    .iova_to_phys = iova_to_phys,
    .free = domain_free,
};

static const struct iommu_ops ops = {
    .capable = iommu_can,
    .domain_alloc = domain_alloc,
    .probe_device = probe_device,
    .release_device = release_device,
    .device_group = pci_device_group,
    .get_resv_regions = get_resv_regions,
    .def_domain_type = def_domain_type,
    .default_domain_ops = &domain_ops,
    .pgsize_bitmap = PAGE_SIZE, /* the hypervisor makes large ones of them */
    .owner = THIS_MODULE,
};

/* Is there something to drive? *irqs: do its devices have interrupts of their own? */
static int ask_hypervisor(bool *irqs)
{
	struct corbel_info *info = (void *)get_zeroed_page(GFP_KERNEL);
	bool strict;
	long r;

	if (!info)
		return -ENOMEM;
	r = HC4(STAT, CORBEL_STAT_INFO, 0, cb_phys(info), sizeof(*info));
	strict = r >= 0 && info->iommu == CORBEL_IOMMU_STRICT;
	*irqs = info->features & CORBEL_FEATURE_DEVICE_IRQ;
	remapped = info->features & CORBEL_FEATURE_IRQ_REMAP;
	reach = min(info->gfn_end << PAGE_SHIFT, BIT_ULL(info->iommu_bits)) - 1;
	free_page((unsigned long)info);
	if (strict)
		return 0;
	pr_err("the hypervisor does not drive the IOMMUs, so that no device can be given away: "
	       "start it with iommu=strict\n");
	return -ENODEV;
}

/*
 * Another kernel's domains go, in whose place this one has come by kexec. Then one is made and
 * ended: not all IOMMUs are fit for it, and Linux would not ask before VFIO does.
 */
static int try_domain(void)
{
	long id;

	while (HC1(DOMAIN_DESTROY, 0) == -EAGAIN)
		cond_resched();
	id = HC0(DOMAIN_CREATE);
	if (id <= 0) {
		pr_err("the hypervisor has no domains for devices (%ld); its log says why\n", id);
		return -ENODEV;
	}
	destroy_domain(id);
	return 0;
}

static int __init corbel_iommu_init(void)
{
	bool irqs = false;
	int r = ask_hypervisor(&irqs);

	r = r ? r : try_domain();
	r = r ? r : iommu_device_sysfs_add(&unit, NULL, NULL, "corbel");
	if (r)
		return r;
	firmware_find();
	if (irqs)
		make_messages();
	r = iommu_device_register(&unit, &ops, NULL);
	if (r) {
		pr_err("Linux takes no IOMMU driver (%d)%s\n", r,
		       r == -EBUSY ? ": it has another one" : "");
		iommu_device_sysfs_remove(&unit);
		remove_messages();
		return r;
	}
	WRITE_ONCE(began, true);
	bus_for_each_dev(&pci_bus_type, NULL, NULL, count_user);
	if (messages)
		wide_start(messages);
	pr_info("devices can be given to guests and programs by VFIO; this module and corbel.ko "
		"stay until the machine, or dom0's kernel, is started again\n");
	return 0;
}

module_init(corbel_iommu_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Linux' IOMMU driver on the Corbel hypervisor");
