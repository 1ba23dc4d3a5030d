/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/domain.h"
#include "hv/cpu/irq.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/log.h"
#include "hv/mm/p2m.h"

/*
 * Writes to there are interrupts, and never translated. That the frame has a mark keeps tables of
 * three levels in all domains, so that units which walk only these find where to begin.
 */
#define MSI_START 0xfee00ull
#define MSI_END	  0xfef00ull

/* Tables that DOMAIN_MAP_FRAMES frames need at most: two of the lowest level, and those above. */
#define MAP_TABLES 6u
/* Of an empty domain: the root, three tables below, and the list of its map. */
#define EMPTY_PAGES 5u

static struct domain {
	bool used, dying;
	u32 devices;
	struct account acct; /* bounded: has no more than is needed at the time */
	struct p2m map;
} domains[DOMAINS]; /* 0: the one without memory, made with the first other */

/* dom0's kernel has ended: nothing is given away until a driver of the next one has begun. */
static bool closed;

static struct {
	u32 device;
	struct domain *in; /* NULL: dom0's */
	void *irqs;	   /* entries of its messages, if units have them */
} attached[DOMAIN_DEVICES];

/*
 * A device may send ids that none has, as its functions' or its bus's: where one is given away,
 * those reach nothing. Linux attaches all its devices, so that we know the others. Bus 0, where
 * firmware hides devices of its own, has it only for the device's functions.
 */
#define BUS_IDS	 256u
#define SLOT_IDS 8u
static bool named[IOMMU_DEVICES];	   /* the others, in whichever segment */
static bool shut[IOMMU_DEVICES / BUS_IDS]; /* buses with some that reach nothing */

/* Units know it by that; NULL: dom0's. */
static u16 number_of(const struct domain *d)
{
	return IOMMU_DOM0_NUMBER + (d ? 1 + (d - domains) : 0);
}

static void flush_map(struct p2m *p)
{
	FOR_EACH_IOMMU(u)
		iommu.ops->flush(u, number_of(container_of(p, struct domain, map)));
}

/* What of its promise a domain has not used, others may have again. */
static void settle_promise(struct domain *d)
{
	if (d->acct.bounded)
		pool_retract(&d->acct, d->acct.promised);
}

/* The first frame number that the tables of some unit do not reach. */
static u64 reach_end(void)
{
	return MIN(p2m_gfn_end(), BIT(iommu.all.bits - PAGE_SHIFT));
}

/* ---- domains ---- */

static int make_one(struct domain *d)
{
	int err;

	*d = (struct domain){0};
	err = pool_promise(&d->acct, EMPTY_PAGES);
	if (!err)
		err = p2m_init_devices(&d->map, &iommu.format, flush_map, &d->acct);
	if (!err) {
		err = p2m_set_mmio(&d->map, MSI_START, 0);
		BUG_ON(err); /* the promise was enough */
		d->used = true;
	}
	settle_promise(d);
	return err;
}

static int make_first_unused(void)
{
	for (u32 i = 1; i < MIN(DOMAINS, iommu.all.domains - number_of(&domains[0])); i++)
		if (!domains[i].used)
			return make_one(&domains[i]) ?: (int)i;
	return -ENOSPC;
}

/* Can there be any? Then the one without memory is there. */
static int make_nowhere(void)
{
	if (iommu.protection != CORBEL_IOMMU_STRICT)
		return -ENODEV;
	if (closed)
		return -EBUSY;
	return domains[0].used ? 0 : make_one(&domains[0]);
}

int domain_create(void)
{
	return make_nowhere() ?: make_first_unused();
}

static struct domain *domain_by_id(u64 id)
{
	struct domain *d = id && id < DOMAINS ? &domains[id] : NULL;

	return d && d->used && !d->dying ? d : NULL;
}

static int destroy_one(struct domain *d)
{
	int err;

	BUG_ON(!d->used || d->devices);
	d->dying = true;
	err = p2m_destroy(&d->map);
	settle_promise(d);
	d->used = err;
	return err;
}

u64 domain_pages(void)
{
	u64 pages = 0;

	for (const struct domain *d = domains; d < domains + DOMAINS; d++)
		pages += d->acct.pages;
	return pages;
}

/* All domains together have no more of the pool than a quarter, as a VM. */
static bool tables_end(void)
{
	return domain_pages() + MAP_TABLES > pool_total_bytes() / 4 / PAGE_SIZE;
}

/* Of the page that can be mapped there. */
static u32 order_at(u64 dfn, u64 pfn, u64 left)
{
	if (iommu.format.max_order >= 9 && left >= BIT(9) && IS_ALIGNED(dfn | pfn, BIT(9)))
		return 9;
	return 0;
}

s64 domain_map(u64 id, u64 dfn, u64 pfn, u64 count, bool write)
{
	struct domain *d = domain_by_id(id);
	u64 attr = PT_R | (write ? PT_W : 0), done = 0;
	int err;

	if (!d)
		return -ENOENT;
	if (!count || count > DOMAIN_MAP_FRAMES || dfn >= reach_end() ||
	    count > reach_end() - dfn || (dfn < MSI_END && dfn + count > MSI_START))
		return -EINVAL;
	err = tables_end() ? -ENOMEM : pool_promise(&d->acct, MAP_TABLES);
	while (!err && done < count) {
		u32 order = order_at(dfn + done, pfn + done, count - done);

		err = p2m_map(&d->map, dfn + done, pfn + done, order, attr);
		if (!err)
			done += BIT(order);
	}
	settle_promise(d);
	if (iommu.all.flush_maps)
		flush_map(&d->map);
	return done ? (s64)done : err;
}

s64 domain_unmap(u64 id, u64 dfn, u64 count)
{
	struct domain *d = domain_by_id(id);
	s64 done;

	if (!d)
		return -ENOENT;
	if (dfn < MSI_END && (count > MSI_END || dfn + count > MSI_START))
		return -EINVAL;
	/* To split a large page. */
	(void)pool_promise(&d->acct, MAP_TABLES);
	done = p2m_unmap(&d->map, dfn, count);
	settle_promise(d);
	return done;
}

/* ---- devices ---- */

/* A slot without either is free; dom0's devices have one if they are kept to interrupts. */
static bool is_noted(u32 slot)
{
	return attached[slot].in || attached[slot].irqs;
}

/* Where the device is noted, or where it can be; DOMAIN_DEVICES: neither. */
static u32 slot_of(u32 device)
{
	u32 free = DOMAIN_DEVICES;

	for (u32 i = 0; i < DOMAIN_DEVICES; i++) {
		if (is_noted(i) && attached[i].device == device)
			return i;
		if (!is_noted(i))
			free = MIN(free, i);
	}
	return free;
}

/* Of all units of its segment: which of them it is behind does not matter to the others. */
static int prepare_units(u32 device)
{
	int err = -ENODEV;

	FOR_EACH_IOMMU(u)
		if (u->segment == device >> 16 && (!err || err == -ENODEV))
			err = iommu.ops->prepare(u, device);
	return err;
}

/* Translations may be found by the device, too: none of either domain stays. */
static void tell_units(u32 slot, const struct domain *from)
{
	const struct domain *to = attached[slot].in;
	const struct pt *tables = to ? &to->map.pt : &iommu.dom0;
	u32 device = attached[slot].device;

	FOR_EACH_IOMMU(u) {
		if (u->segment != device >> 16)
			continue;
		iommu.ops->attach(u, device, tables, number_of(to), attached[slot].irqs);
		if (from == to)
			continue;
		iommu.ops->flush(u, number_of(to));
		iommu.ops->flush(u, number_of(from));
	}
}

/* Of the pages of a device's entries, which have 16 bytes or 4. */
static u32 irqs_order(void)
{
	_Static_assert(CORBEL_DOMAIN_IRQS * 16 == PAGE_SIZE << 1, "they fit");
	return iommu.wide;
}

/* None to begin with. Units may be reading them, each as a whole. */
static int make_irqs(u32 slot)
{
	void **irqs = &attached[slot].irqs;

	for (u32 i = 0; *irqs && i < CORBEL_DOMAIN_IRQS; i++)
		iommu.ops->set_irq(*irqs, i, NULL);
	if (!*irqs && domain_has_irqs())
		*irqs = pool_alloc(irqs_order(), NULL);
	return domain_has_irqs() && !*irqs ? -ENOMEM : 0;
}

static void bar_others(u32 device)
{
	u32 ids = (u16)device < BUS_IDS ? SLOT_IDS : BUS_IDS, first = ALIGN_DOWN((u16)device, ids);

	shut[first / BUS_IDS] = true;
	FOR_EACH_IOMMU(u)
		for (u32 id = first; u->segment == device >> 16 && id < first + ids; id++)
			if (!named[id])
				iommu.ops->bar(u, id);
}

/* dom0 has found a device, where none had this id before. -ENOMEM: it reaches nothing still. */
static int open_device(u32 device)
{
	u16 id = device;
	int err = named[id] || !shut[id / BUS_IDS] ? -ENODEV : prepare_units(device);

	if (err == -ENOMEM)
		return err;
	named[id] = true;
	FOR_EACH_IOMMU(u)
		if (!err && u->segment == device >> 16)
			iommu.ops->attach(u, id, &iommu.dom0, number_of(NULL), NULL);
	return 0;
}

/* To a domain, NULL: dom0's, where it is kept to its interrupts, or raises what it likes. */
static int move_device(u32 slot, u32 device, struct domain *to, bool keep)
{
	struct domain *from = attached[slot].in;
	void *irqs;
	int err = prepare_units(device);

	if (!err && keep)
		err = make_irqs(slot);
	if (err)
		return err;
	irqs = attached[slot].irqs;
	attached[slot].device = device;
	attached[slot].in = to;
	attached[slot].irqs = keep ? irqs : NULL;
	named[(u16)device] = true;
	if (to && !from)
		bar_others(device);
	tell_units(slot, from);
	if (!keep)
		pool_free(irqs, irqs_order(), NULL); /* no unit has it any more */
	if (from)
		from->devices--;
	if (to)
		to->devices++;
	return 0;
}

int domain_attach(u64 device, u64 id)
{
	struct domain *to = id == CORBEL_DOMAIN_NONE ? &domains[0] : domain_by_id(id);
	int err = device >> 32 ? -ENODEV : make_nowhere();
	u32 slot;

	if (err)
		return err;
	if (id && !to)
		return -ENOENT;
	slot = slot_of(device);
	if (slot == DOMAIN_DEVICES)
		return id ? -ENOSPC : open_device(device);
	if (attached[slot].in == to)
		return to ? 0 : open_device(device); /* as it is */
	return move_device(slot, device, to, to);
}

/* ---- their interrupts ---- */

/* "Intel SDM", "Message Address Register Format", "Message Data Register Format" */
#define MSI_DEST    GENMASK(19, 12)
#define MSI_DEST_HI GENMASK(11, 5) /* 15 bits in all: KVM_FEATURE_MSI_EXT_DEST_ID of Linux */
#define MSI_LOGICAL BIT(2)
#define MSI_ADDRESS (MSI_DEST | BIT(3) | MSI_LOGICAL) /* what may be in it beside 0xfee00000, */
#define MSI_WIDE    (MSI_ADDRESS | MSI_DEST_HI)	      /* and with ids above 255 */
#define MSI_VECTOR  GENMASK(7, 0)
#define MSI_LOWEST  BIT(8)

bool domain_has_irqs(void)
{
	return iommu.protection == CORBEL_IOMMU_STRICT && iommu.ops->set_irq;
}

/*
 * Common interrupts with dom0's vectors only: one below would be taken for an exception of the
 * hypervisor's. Any CPU may take one: dom0's vCPU there has it, or nobody.
 */
static bool read_message(u64 address, u64 data, struct iommu_irq *out)
{
	*out = (struct iommu_irq){
	    .vector = FIELD_GET(MSI_VECTOR, data),
	    .dest = FIELD_GET(MSI_DEST, address) | FIELD_GET(MSI_DEST_HI, address) << 8,
	    .logical = address & MSI_LOGICAL,
	    .lowest = data & MSI_LOWEST,
	};
	return (address & ~(iommu.wide ? MSI_WIDE : MSI_ADDRESS)) == MSI_START << PAGE_SHIFT &&
	       !(data & ~(MSI_VECTOR | MSI_LOWEST)) && out->vector >= VEC_DOM0_FIRST &&
	       out->vector < VEC_HV_FIRST;
}

/* A device of dom0's raises from now on what it is given, nothing to begin with, or all again. */
static int keep_device(u32 device, bool keep)
{
	u32 slot = slot_of(device);

	if (slot == DOMAIN_DEVICES)
		return keep ? -ENOSPC : 0;
	if (attached[slot].in)
		return -EBUSY;
	return keep == is_noted(slot) ? 0 : move_device(slot, device, NULL, keep);
}

int domain_set_irq(u64 device, u64 index, u64 address, u64 data)
{
	struct iommu_irq irq = {0};
	const struct iommu_irq *to = address ? &irq : NULL;
	u32 slot;

	if (!domain_has_irqs() || device >> 32)
		return -ENODEV;
	if (index == CORBEL_DOMAIN_IRQS)
		return make_nowhere() ?: keep_device(device, address);
	if (index > CORBEL_DOMAIN_IRQS || (to && !read_message(address, data, &irq)))
		return -EINVAL;
	slot = slot_of(device);
	if (slot == DOMAIN_DEVICES || !is_noted(slot))
		return -ENOENT;
	if (closed && attached[slot].in)
		return -EBUSY;
	iommu.ops->set_irq(attached[slot].irqs, index, to);
	FOR_EACH_IOMMU(u)
		if (u->segment == device >> 16)
			iommu.ops->flush_irqs(u, device);
	return 0;
}

/* ---- another kernel ---- */

/* It was in a domain before, or is kept to interrupts: all that is needed is there. */
static void must_move(u32 slot, struct domain *to)
{
	int err = move_device(slot, attached[slot].device, to, to);

	BUG_ON(err);
}

void domain_let_go(void)
{
	for (u32 i = 0; i < DOMAIN_DEVICES; i++)
		if (attached[i].irqs && !attached[i].in)
			must_move(i, NULL);
}

static void block_all(void)
{
	u32 n = 0;

	for (u32 i = 0; i < DOMAIN_DEVICES; i++) {
		if (!attached[i].in)
			continue;
		n += attached[i].in != &domains[0];
		must_move(i, &domains[0]);
	}
	if (n)
		log_warn("%u devices of guests are blocked until dom0 takes them back", n);
}

void domain_kernel_ends(void)
{
	closed = true;
	block_all();
}

static int destroy_all(void)
{
	block_all();
	domain_let_go();
	for (struct domain *d = domains + 1; d < domains + DOMAINS; d++)
		if (d->used && destroy_one(d))
			return -EAGAIN;
	closed = false;
	return 0;
}

int domain_destroy(u64 id)
{
	struct domain *d = id < DOMAINS ? &domains[id] : NULL;

	if (!id)
		return destroy_all();
	if (!d || !d->used)
		return -ENOENT;
	return d->devices ? -EBUSY : destroy_one(d);
}
