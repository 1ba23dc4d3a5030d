/* SPDX-License-Identifier: GPL-2.0-only */
/* Which IOMMUs there are, who drives them, and the domain of dom0's devices. */
#include "hv/iommu/iommu.h"
#include "boot/acpi.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/iommu/unit.h"
#include "hv/iommu/vtd_shown.h"
#include "hv/lib/log.h"
#include "hv/mm/frame.h"
#include "hv/mm/mm.h"

#define FAULT_POLL_NS 250000000ull
#define POLL_MAX      32u /* faults taken at once */
#define TOLD_KINDS    256u
#define DOMAIN_RIGHTS (PT_R | PT_W)

struct iommu_state iommu;

static struct iommu_table table;

/* ---- what there is ---- */

/* Is any of these pages RAM, or the hypervisor's? */
static bool is_ram(u64 at, u64 size)
{
	for (u64 pfn = at >> PAGE_SHIFT; pfn < (at + size) >> PAGE_SHIFT; pfn++) {
		const struct frame *f = frame_of(pfn);

		if (f && f->kind != FRAME_NONE)
			return true;
	}
	return false;
}

/* The table is firmware's: its registers must not lie in RAM, and somebody must answer there. */
static bool add_unit(const struct iommu_place *p)
{
	struct iommu_unit *u = &iommu.unit[iommu.count];

	*u = (struct iommu_unit){
	    .at = p->regs, .segment = p->segment, .flags = p->flags, .ops = iommu.ops};
	if (is_ram(p->regs, PAGE_SIZE))
		return false;
	u->regs = mm_map_mmio(p->regs, iommu.ops->regs_max);
	/* How many pages they are, the unit says. */
	if (!u->regs || !iommu.ops->probe(u) || is_ram(p->regs, u->size))
		return false;
	u->remap &= table.may_remap;
	u->x2apic &= table.may_remap;
	iommu.count++;
	return true;
}

/* To what this one can. */
static void limit_all(struct iommu_unit *all, const struct iommu_unit *u)
{
	all->max_order = MIN(all->max_order, u->max_order);
	all->bits = MIN(all->bits, u->bits);
	all->snoop &= u->snoop;
	all->domains = MIN(all->domains, u->domains);
	all->queued &= u->queued;
	all->remap &= u->remap;
	all->x2apic &= u->x2apic;
	all->posts &= u->posts;
	all->coherent &= u->coherent;
	all->flush_maps |= u->flush_maps;
}

/* NULL, or why none is used. No register has been written then. */
static const char *find_units(void)
{
	const struct acpi_info *a = &boot_info.acpi;
	const struct acpi_table *from = a->dmar.addr ? &a->dmar : &a->ivrs;
	const u8 *t = from->addr ? mm_map_boot(from->addr, from->len) : NULL;

	iommu.ops = from == &a->dmar ? &vtd_ops : &amdvi_ops;
	iommu.table = from->addr;
	if (!from->addr)
		return "the firmware names none";
	if (!t || !iommu.ops->parse(t, from->len, &table))
		return "the firmware's table of them is damaged";
	iommu.no_x2apic = table.no_x2apic;
	for (u32 i = 0; i < table.unit_count; i++) {
		if (add_unit(&table.unit[i]))
			continue;
		log_warn("no %s unit answers at %lx", iommu.ops->name, table.unit[i].regs);
		iommu.count = 0;
		return "one does not answer where the firmware says";
	}
	iommu.all = iommu.unit[0];
	FOR_EACH_IOMMU(u)
		limit_all(&iommu.all, u);
	return NULL;
}

static void print_units(void)
{
	static const char *const who[] = {
	    [CORBEL_IOMMU_OFF] = "switched off",
	    [CORBEL_IOMMU_DOM0] = "left to dom0",
	    [CORBEL_IOMMU_STRICT] = "driven by Corbel: devices do not reach its memory",
	};
	static const char *const sizes[] = {"4K", "2M", "1G"};
	const struct iommu_unit *all = &iommu.all;

	log_info("IOMMU: %s, %u units, the first at %lx, %u bits, pages up to %s%s%s%s; %s",
		 iommu.ops->name, iommu.count, all->at, all->bits, sizes[all->max_order / 9],
		 all->queued ? ", queued invalidation" : "",
		 all->remap ? ", interrupt remapping" : "", all->x2apic ? " with x2APIC ids" : "",
		 who[iommu.protection]);
}

/* ---- the domain ---- */

/*
 * Firmware's memory, in runs, as that of graphics has some GiB: what is dom0's is there already,
 * regions may overlap.
 */
static int map_region(const struct mem_range *r)
{
	u64 end = r->end >> PAGE_SHIFT, run = r->start >> PAGE_SHIFT;
	struct pt_leaf leaf;
	int err = 0;

	for (u64 pfn = run; !err && pfn < end; pfn++) {
		const struct frame *f = frame_of(pfn);

		if (f && f->kind != FRAME_NONE && f->kind != FRAME_DOM0)
			boot_fail("the firmware wants devices to reach %lx-%lx, where the "
				  "hypervisor lies; start with iommu=dom0",
				  r->start, r->end);
		pt_lookup(&iommu.dom0, pfn, &leaf);
		if (leaf.kind == PT_NONE)
			continue;
		err = pt_map_identity(&iommu.dom0, run, pfn, DOMAIN_RIGHTS);
		run = pfn + 1;
	}
	return err ?: pt_map_identity(&iommu.dom0, run, end, DOMAIN_RIGHTS);
}

static int make_domain(void)
{
	static struct pt_format dom0s; /* take() writes it to memory as a whole */
	u64 pfn = 0, end;
	int err;

	iommu.format = *iommu.ops->format;
	iommu.format.max_order = iommu.all.max_order;
	dom0s = iommu.format;
	iommu.format.write_back = !iommu.all.coherent;
	iommu.format.leaf |= iommu.all.snoop;
	if (!iommu.all.snoop) /* a guest's device may pass its caches by, and its driver cares */
		pt_ram.wb = pt_guest.wb;
	err = pt_init(&iommu.dom0, &dom0s, NULL);
	for (; !err && frame_next_dom0(&pfn, &end); pfn = end)
		err = pt_map_identity(&iommu.dom0, pfn, end, DOMAIN_RIGHTS);
	for (u32 i = 0; !err && i < table.region_count; i++)
		err = map_region(&table.region[i]);
	return err;
}

/* ---- taking over ---- */

/* As the option wants them, again after a sleep. */
static void set_units(void)
{
	bool shown = iommu.protection == CORBEL_IOMMU_STRICT;

	FOR_EACH_IOMMU(u) {
		if (iommu.protection == CORBEL_IOMMU_STRICT)
			iommu.ops->take(u, &table, &iommu.dom0);
		else if (iommu.protection == CORBEL_IOMMU_OFF)
			iommu.ops->stop(u);
		shown &= u->irqs != NULL;
		u->is_set_up = true;
	}
	iommu.is_shown = shown;
}

static void set_up(enum corbel_iommu protection)
{
	iommu.protection = protection;
	iommu.wide = protection == CORBEL_IOMMU_STRICT && iommu.wide_ids && iommu.ops->set_irq &&
		     iommu.all.x2apic;
	iommu.pages = pool_free_bytes() / PAGE_SIZE;
	for (u32 i = 0; protection == CORBEL_IOMMU_STRICT && i < iommu.count; i++) {
		unit_must(&iommu.unit[i], iommu.unit[i].queued, "has no queued invalidation");
		unit_must(&iommu.unit[i], frame_count() <= BIT(iommu.unit[i].bits - PAGE_SHIFT),
			  "does not reach all memory");
	}
	if (protection == CORBEL_IOMMU_STRICT && make_domain())
		boot_fail("not enough hypervisor memory for the IOMMU's tables; give more with "
			  "hvmem=");
	set_units();
	iommu.pages -= pool_free_bytes() / PAGE_SIZE;
}

/* ---- faults ---- */

/* More and more seldom for devices with the same number: they may go on for ever. */
static void log_fault(const struct iommu_unit *u, const struct iommu_fault *f)
{
	static u32 times[TOLD_KINDS];
	u32 n = ++times[(f->device ^ f->device >> 8) % TOLD_KINDS];

	if (n & (n - 1))
		return;
	log_warn("%s: device %04x:%02x:%02x.%x may not %s %lx (reason %u), %u times by now",
		 iommu.ops->name, u->segment, f->device >> 8, f->device >> 3 & 0x1f, f->device & 7,
		 f->interrupt ? "raise an interrupt by"
		 : f->write   ? "write"
			      : "read",
		 f->addr, f->reason, n);
}

/* All ones is what the bus answers: of neither kind can the first register be that. Told once. */
static bool is_there(struct iommu_unit *u)
{
	bool gone = unit_read32(u, 0) == ~0u;

	if (gone && !u->is_gone)
		log_warn("the %s unit at %lx does not answer any more: it is not known what "
			 "devices reach; restart the machine",
			 iommu.ops->name, u->at);
	u->is_gone |= gone;
	return !gone;
}

static void poll_faults(struct timer *t)
{
	struct iommu_fault faults[POLL_MAX];

	FOR_EACH_IOMMU(u) {
		u32 n = is_there(u) ? iommu.ops->poll(u, faults, POLL_MAX) : 0;

		BUG_ON(n > POLL_MAX);
		for (u32 i = 0; i < n; i++)
			log_fault(u, &faults[i]);
	}
	timer_arm(t, rdtsc() + ns_to_tsc(FAULT_POLL_NS));
}

void iommu_init(void)
{
	static const enum corbel_iommu wanted[] = {
	    [IOMMU_DOM0] = CORBEL_IOMMU_DOM0,
	    [IOMMU_OFF] = CORBEL_IOMMU_OFF,
	    [IOMMU_STRICT] = CORBEL_IOMMU_STRICT,
	};
	static struct timer timer;
	u32 mode = boot_info.opt.iommu;
	const char *why;
	u64 begin;

	BUG_ON(mode >= ARRAY_SIZE(wanted) || iommu.count);
	why = find_units();
	if (why) {
		/* What cannot be had is not promised, and what is named not left as it is. */
		if (mode == IOMMU_STRICT || (mode == IOMMU_OFF && iommu.table))
			boot_fail("no IOMMU can be %s: %s; see to it in the firmware's setup, or "
				  "start with iommu=dom0",
				  mode == IOMMU_OFF ? "switched off" : "used", why);
		log_info("IOMMU: none, %s: devices reach all memory", why);
		return;
	}
	begin = rdtsc();
	set_up(wanted[mode]);
	print_units();
	if (mode != IOMMU_STRICT)
		return;
	log_info("IOMMU: taken over in %lu us, with %lu pages of tables",
		 tsc_to_ns(rdtsc() - begin) / 1000, iommu.pages);
	timer_setup(&timer, poll_faults);
	poll_faults(&timer);
}

void iommu_wake(void)
{
	set_units();
	shown_wake();
}
