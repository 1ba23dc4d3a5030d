/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: tests/unit/rest.c hv/iommu/iommu.c hv/iommu/unit.c hv/iommu/post.c hv/iommu/vtd.c
 * hv/iommu/vtd_shown.c hv/iommu/amdvi.c hv/iommu/table.c
 * hv/mm/p2m.c hv/mm/pt.c hv/mm/pool.c hv/mm/frame.c hv/lib/lock.c boot/boot.c
 */
/*
 * Devices in domains of their own: against models of units that cache all they can, what each
 * reaches at each moment, whose frames are held, and that nothing stale is ever used.
 */
#include "hv/iommu/domain.c"
#include "hv/mm/mtrr.h"
#include "iommu_machine.h"
#include "stand_in.h"

/* The hypervisor does not touch devices' memory. */
ZERO(void *, mm_map_temp, hpa_t page)
NOTHING(mm_unmap_temp, void)
ZERO(enum mtrr_type, mtrr_of, u64 pfn, u32 order)
ZERO(bool, mm_compare, const struct mm_word *w, u32 n)

#define DEVICE	  0x1ffu /* bus 1 */
#define OTHER	  0x1f0u /* on the same bus */
#define FRAME(mb) ((mb)*MB >> PAGE_SHIFT)

static u32 held(u64 pfn)
{
	return frame_of(pfn)->maps;
}

/* Destroy it in as many calls as it takes. */
static int destroyed(u64 id)
{
	int err = domain_destroy(id);

	for (u32 i = 0; err == -EAGAIN && i < 10000; i++)
		err = domain_destroy(id);
	return err;
}

/* Nothing is left of the machine before. */
static void start_afresh(bool amd, u32 mode)
{
	memset(domains, 0, sizeof(domains));
	memset(attached, 0, sizeof(attached));
	memset(named, 0, sizeof(named));
	memset(shut, 0, sizeof(shut));
	closed = false;
	start(amd, false, mode, 0);
}

/* With dom0's driver, which has found these two. */
static void start_strict(bool amd)
{
	start_afresh(amd, IOMMU_STRICT);
	iommu_init();
	BUG_ON(domain_attach(DEVICE, 0) || domain_attach(OTHER, 0));
}

static void check_caches(const char *what)
{
	CHECK(!model.stale && !model.wrong, "%s: nothing stale is used (%u), no rule broken (%s)",
	      what, model.stale, model.wrong ? model.wrong : "none");
}

/* A device leaves dom0's domain for one of its own, and comes back. */
static void test_way(bool amd)
{
	int id;

	start_strict(amd);
	CHECK(!domain_attach(DEVICE, CORBEL_DOMAIN_NONE) && !model_dma(DEVICE, MB) &&
		  !domain_attach(DEVICE, 0),
	      "%s: a device can be kept from everything before there is any domain", name(amd));
	id = domain_create();
	CHECK(id == 1 && reaches(DEVICE, MB) && reaches(OTHER, MB),
	      "%s: a domain is made, the devices are still dom0's", name(amd));
	CHECK(domain_map(id, 0, FRAME(5), 16, true) == 16 && held(FRAME(5)) == 1 &&
		  !held(FRAME(5) + 16),
	      "frames that are mapped are held");
	CHECK(!domain_attach(DEVICE, id) && !model_dma(DEVICE, MB) &&
		  model_dma(DEVICE, 0) == 5 * MB && !model_dma(DEVICE, 16 * PAGE_SIZE),
	      "its device reaches what is mapped there, and no more");
	CHECK(reaches(OTHER, MB) && reaches(0x10, MB), "other devices, on its bus, too, go on");
	CHECK(domain_map(id, 0x100000, FRAME(7), 512, true) == 512 &&
		  model_dma(DEVICE, 0x100000ull << 12) == 7 * MB,
	      "what is mapped later is reached");
	CHECK(domain_unmap(id, 3, 2) == 2 && !model_dma(DEVICE, 3 * PAGE_SIZE) &&
		  model_dma(DEVICE, 5 * PAGE_SIZE) == 5 * MB + 5 * PAGE_SIZE && !held(FRAME(5) + 3),
	      "what is unmapped is not reached any more, and not held");
	CHECK(domain_destroy(id) == -EBUSY, "a domain that has a device stays");
	CHECK(!domain_attach(DEVICE, CORBEL_DOMAIN_NONE) && !model_dma(DEVICE, 0) &&
		  !model_dma(DEVICE, MB),
	      "a device can be kept from everything");
	CHECK(!domain_attach(DEVICE, 0) && reaches(DEVICE, MB), "and goes back to dom0");
	CHECK(!destroyed(id) && !held(FRAME(5)) && !held(FRAME(7)) &&
		  domain_map(id, 0, FRAME(5), 1, true) == -ENOENT,
	      "a domain without devices goes, and holds nothing");
	check_caches(name(amd));
}

/* Two devices, domains in which the same addresses are others. */
static void test_apart(bool amd)
{
	int a, b;

	start_strict(amd);
	a = domain_create();
	b = domain_create();
	CHECK(domain_map(a, 0, FRAME(5), 8, true) == 8 &&
		  domain_map(b, 0, FRAME(7), 8, true) == 8 && !domain_attach(DEVICE, a) &&
		  !domain_attach(OTHER, b),
	      "%s: two domains", name(amd));
	for (u32 i = 0; i < 3; i++) {
		CHECK(model_dma(DEVICE, 0) == 5 * MB && model_dma(OTHER, 0) == 7 * MB,
		      "each device reaches its own");
		domain_attach(DEVICE, CORBEL_DOMAIN_NONE);
		domain_attach(DEVICE, a);
	}
	model.busy = true;
	domain_attach(DEVICE, b);
	model.busy = false;
	CHECK(model_dma(DEVICE, 0) == 7 * MB,
	      "and another's when it is moved there, whatever it does meanwhile");
	domain_attach(DEVICE, 0);
	domain_attach(OTHER, 0);
	check_caches(name(amd));
}

static bool is_barred(u16 id)
{
	return !model_dma(id, 0) && !model_dma(id, MB) &&
	       (!model.amd || (!model_message(id, 0x51) && !model_message(id, 0x400)));
}

/* A guest's device sends ids that no device has. */
static void test_other_ids(bool amd)
{
	u32 barred = 0, all = amd ? 253 : 254;
	int id;

	start_strict(amd);
	FOR_EACH_IOMMU(u)
		if (amd)
			((u16 *)u->rights)[0x1f7] = IOMMU_ACPI;
	id = domain_create();
	domain_map(id, 0, FRAME(5), 16, true);
	CHECK(reaches(0x1f8, MB) && reaches(0x100, MB) && !domain_attach(DEVICE, id),
	      "%s: a device is given away", name(amd));
	for (u32 i = 0x100; i < 0x200; i++)
		barred += is_barred(i);
	CHECK(barred == all && (!amd || reaches(0x1f7, MB)) && model_dma(DEVICE, 0) == 5 * MB &&
		  reaches(OTHER, MB) && reaches(0x10, MB) && reaches(0xf8, MB),
	      "by no id of its bus that none has it reaches or raises anything (%u of 254), but "
	      "one that ACPI has named",
	      barred);
	CHECK(!domain_attach(0x1f8, 0) && reaches(0x1f8, MB) && is_barred(0x1f9),
	      "but a device that comes later does");
	domain_attach(DEVICE, 0);
	CHECK(reaches(DEVICE, MB) && is_barred(0x1f9), "they stay so when it is given back");
	domain_attach(DEVICE, CORBEL_DOMAIN_NONE);
	domain_kernel_ends();
	destroyed(0);
	CHECK(is_barred(0x1f9) && is_barred(DEVICE) && reaches(0x1f8, MB) &&
		  !domain_attach(0x1f9, 0) && reaches(0x1f9, MB),
	      "and when dom0's kernel is another, which finds what there is");
	CHECK(!domain_attach(0xa1, CORBEL_DOMAIN_NONE) && is_barred(0xa7) && reaches(0x98, MB) &&
		  reaches(0xa8, MB),
	      "on bus 0 these are its functions' ids");
	CHECK(!model_dma(0xa0, MB) && (!amd || model_message(0xa0, 0x51) == 0x51),
	      "one by which an IOAPIC interrupts goes on doing that");
	CHECK(domain_attach(0x1fa | 1u << 16, CORBEL_DOMAIN_NONE) == -ENODEV && is_barred(0x1fa) &&
		  !domain_attach(0xff00, 0),
	      "a device of another segment, or that no unit has, opens none");
	check_caches(name(amd));
}

static void test_found_late(void)
{
	start_strict(true);
	domain_attach(DEVICE, CORBEL_DOMAIN_NONE);
	CHECK(!domain_set_irq(0x1f8, CORBEL_DOMAIN_IRQS, 1, 0) && reaches(0x1f8, MB) &&
		  !domain_set_irq(0x1f8, 7, 0xfee00000, 0x61) && !domain_attach(0x1f8, 0) &&
		  model_message(0x1f8, 7) == 0x61 && !model_message(0x1f8, 0x51),
	      "AMD-Vi: one that comes later and is kept to its interrupts keeps them");
	check_caches("AMD-Vi: a late device");
}

static void test_refusals(bool amd)
{
	u64 free;
	int id;

	start_strict(amd);
	id = domain_create();
	CHECK(domain_map(id, 0, IMAGE >> PAGE_SHIFT, 1, true) == -EPERM &&
		  domain_map(id, 0, POOL_START >> PAGE_SHIFT, 1, false) == -EPERM &&
		  domain_map(id, 0, RAM_END >> PAGE_SHIFT, 1, true) == -EPERM &&
		  domain_map(id, 0, BIT(60), 1, true) == -EPERM,
	      "%s: neither the hypervisor's frames nor what is no RAM can be mapped", name(amd));
	CHECK(domain_map(id, 0, (POOL_START >> PAGE_SHIFT) - 4, 8, true) == 4,
	      "of a run that reaches the hypervisor only what is dom0's is");
	CHECK(domain_map(id, 0xfee00, FRAME(5), 1, true) == -EINVAL &&
		  domain_map(id, 0xfedff, FRAME(5), 2, true) == -EINVAL &&
		  domain_map(id, 0xfeeff, FRAME(5), 1, true) == -EINVAL &&
		  domain_map(id, 0xfef00, FRAME(5), 1, true) == 1 &&
		  domain_unmap(id, 0, BIT(30)) == -EINVAL,
	      "where interrupts are sent there is no memory");
	CHECK(domain_map(id, BIT(36), FRAME(5), 1, true) == -EINVAL &&
		  domain_map(id, BIT(36) - 1, FRAME(5), 2, true) == -EINVAL &&
		  domain_map(id, ~0ull, FRAME(5), 2, true) == -EINVAL,
	      "nor beyond what the units reach");
	CHECK(domain_map(id, 0x400, FRAME(5), 0, true) == -EINVAL &&
		  domain_map(id, 0x400, FRAME(5), 513, true) == -EINVAL,
	      "a call does something, and not too much");
	CHECK(domain_map(id, 0, FRAME(7), 1, true) == -EEXIST, "what is mapped is not replaced");
	CHECK(domain_map(id + 1, 0, FRAME(5), 1, true) == -ENOENT &&
		  domain_unmap(id + 1, 0, 1) == -ENOENT && domain_destroy(id + 1) == -ENOENT &&
		  domain_attach(DEVICE, id + 1) == -ENOENT &&
		  domain_attach(DEVICE, 64) == -ENOENT &&
		  domain_map(DOMAINS, 0, FRAME(5), 1, true) == -ENOENT &&
		  domain_map(0, 0, FRAME(5), 1, true) == -ENOENT,
	      "there is no other domain; dom0's is not changed");
	CHECK(domain_attach(DEVICE | 1u << 16, id) == -ENODEV &&
		  domain_attach(BIT(40) | DEVICE, id) == -ENODEV && reaches(DEVICE, MB),
	      "a device of another segment is not this one");
	if (amd)
		CHECK(domain_attach(0xff00, id) == -EINVAL, "nor one that the unit does not have");
	CHECK(domain_map(id, 0x800, FRAME(5), 1, false) == 1, "memory may be for reading only");
	free = pool_free_bytes();
	for (u64 at = 1; at < 30; at++)
		domain_map(id, at << 30, FRAME(5), 1, true);
	CHECK(!destroyed(id) && pool_free_bytes() >= free && !pool_promised_bytes(),
	      "what the tables took comes back, and nothing stays promised");
	check_caches(name(amd));
}

/* Far apart, each page has tables of its own: they do not take the pool from everybody else. */
static void test_sparse(bool amd)
{
	u64 all = pool_total_bytes(), mapped = 0;
	int id[2];

	start_strict(amd);
	all = pool_free_bytes();
	id[0] = domain_create();
	id[1] = domain_create();
	for (u64 at = 1; at < 4000; at++)
		mapped += domain_map(id[at & 1], at << 9, FRAME(5), 1, true) == 1;
	CHECK(mapped > 500 && all - pool_free_bytes() <= pool_total_bytes() / 4 &&
		  domain_map(id[0], 4000 << 9, FRAME(5), 1, true) == -ENOMEM,
	      "%s: two domains that map pages far apart get %lu tables, a quarter of the pool",
	      name(amd), mapped);
	CHECK(domain_unmap(id[0], 1 << 9, 100 << 9) && domain_map(id[0], 1 << 9, FRAME(5), 1, true),
	      "and what they give back they may have again");
}

/* Large pages, and a hole in one where the pool has nothing left to split it with. */
static void test_large(bool amd)
{
	struct pt_leaf leaf;
	int id;

	start_strict(amd);
	id = domain_create();
	CHECK(domain_map(id, 512, FRAME(8), 512, true) == 512 && !domain_attach(DEVICE, id),
	      "%s: 2 MiB", name(amd));
	CHECK(model_dma(DEVICE, 3 * MB) == 9 * MB && domain_unmap(id, 512 + 7, 1) == 1 &&
		  !model_dma(DEVICE, 2 * MB + 7 * PAGE_SIZE) &&
		  model_dma(DEVICE, 2 * MB + 8 * PAGE_SIZE) == 8 * MB + 8 * PAGE_SIZE,
	      "are split for a hole");
	while (domain_unmap(id, 512, 512) != 512)
		;
	CHECK(domain_map(id, 512, FRAME(8), 512, true) == 512 &&
		  model_dma(DEVICE, 2 * MB) == 8 * MB,
	      "and large again where all small ones have gone");
	pt_lookup(&iommu.dom0, FRAME(8), &leaf);
	CHECK(leaf.kind == PT_LEAF, "dom0's domain has them all the while");
	while (pool_alloc(0, NULL))
		;
	CHECK(domain_unmap(id, 512 + 7, 1) == -ENOMEM && domain_unmap(id, 512, 511) == -ENOMEM &&
		  model_dma(DEVICE, 2 * MB + 7 * PAGE_SIZE) == 8 * MB + 7 * PAGE_SIZE &&
		  model_dma(DEVICE, 4 * MB - PAGE_SIZE) == 10 * MB - PAGE_SIZE &&
		  held(FRAME(8) + 7),
	      "without memory to split it no part of the page is taken away");
	CHECK(domain_unmap(id, 512, 512) == 512 && !model_dma(DEVICE, 2 * MB) && !held(FRAME(8)),
	      "but the whole is");
	CHECK(domain_map(id, BIT(27), FRAME(8), 1, true) == -ENOMEM, "and nothing new is mapped");
	domain_attach(DEVICE, 0);
	check_caches(name(amd));
}

/* dom0's kernel is another. */
static void test_takeover(bool amd)
{
	int id;

	start_strict(amd);
	id = domain_create();
	domain_map(id, 0, FRAME(5), 16, true);
	domain_attach(DEVICE, id);
	domain_kernel_ends();
	CHECK(!model_dma(DEVICE, 0) && !model_dma(DEVICE, MB) &&
		  strstr(test_log_text, "1 devices of guests are blocked"),
	      "%s: a guest's device is blocked where dom0's kernel ends, in a line", name(amd));
	CHECK(domain_create() == -EBUSY && domain_attach(DEVICE, id) == -EBUSY &&
		  domain_attach(DEVICE, 0) == -EBUSY && !model_dma(DEVICE, 0),
	      "and nobody of the old one can undo it");
	CHECK(!destroyed(0) && !held(FRAME(5)) && !model_dma(DEVICE, 0) &&
		  domain_map(id, 0, FRAME(5), 1, true) == -ENOENT,
	      "the next one has no domain, and the device is blocked still");
	CHECK(!domain_attach(DEVICE, 0) && reaches(DEVICE, MB), "until it is dom0's again");
	check_caches(name(amd));
}

/* The firmware lets the device raise INIT, NMI, LINT, and send messages of management. */
static void start_with_rights(void)
{
	u8 *entry = hpa_to_virt(hpa(TABLE_AT + 48 + 24));

	start_afresh(true, IOMMU_STRICT);
	entry[1] = DEVICE & 0xff;
	entry[2] = DEVICE >> 8;
	entry[3] = 0xd7;
	iommu_init();
	domain_attach(OTHER, 0);
}

static bool has_rights(void)
{
	const u64 *e = model_memory((model.root & GENMASK(51, 12)) + DEVICE * 32ull);

	return (e[1] >> 40 & 3) == 1 && e[2] == (7ull << 56 | 3ull << 62 | 1ull << 60 | 1);
}

/* What a device in a domain raises. */
static void test_interrupts(void)
{
	const u64 at = 0xfee00000;
	u64 *e;
	int id;

	start_with_rights();
	CHECK(has_rights(), "AMD-Vi: a device of dom0's has the rights that the firmware gives it");
	id = domain_create();
	CHECK(domain_has_irqs() && model_message(DEVICE, 0x51) == 0x51 &&
		  domain_set_irq(DEVICE, 0, at, 0x51) == -ENOENT,
	      "AMD-Vi: a device of dom0's raises what it likes");
	domain_attach(DEVICE, id);
	e = model_memory((model.root & GENMASK(51, 12)) + DEVICE * 32ull);
	CHECK(!model_message(DEVICE, 0x51) && !model_message(DEVICE, 0) &&
		  !model_message(DEVICE, 0x400) && !(e[1] >> 40 & 3) && !(e[2] >> 62) &&
		  !(e[2] >> 56 & 7),
	      "one in a domain raises nothing, be it NMI, INIT, LINT or a message of management");
	CHECK(model_message(OTHER, 0x51) == 0x51, "its neighbour does");
	CHECK(!domain_set_irq(DEVICE, 7, at | 3 << 12 | 4, 0x151) &&
		  model_message(DEVICE, 7) == 0x151 && !model_message(DEVICE, 6) &&
		  !model_message(DEVICE, 0x51) && model.irte[DEVICE] == 0,
	      "but what it is given, by its index");
	CHECK(model_message(DEVICE, 7) == 0x151 && model.irte[DEVICE] == 0x510345,
	      "vector, mode and destination are those of the message");
	CHECK(!domain_set_irq(DEVICE, 7, at, 0x61) && model_message(DEVICE, 7) == 0x61 &&
		  !domain_set_irq(DEVICE, 7, 0, 0) && !model_message(DEVICE, 7),
	      "it is another, or none, as soon as the call returns");
	domain_set_irq(DEVICE, CORBEL_DOMAIN_IRQS - 1, at, 0xef);
	CHECK(model_message(DEVICE, CORBEL_DOMAIN_IRQS - 1) == 0xef &&
		  domain_set_irq(DEVICE, CORBEL_DOMAIN_IRQS + 1, at, 0x51) == -EINVAL &&
		  !model_message(DEVICE, CORBEL_DOMAIN_IRQS - 2),
	      "as many as there are");
	CHECK(domain_set_irq(DEVICE, 0, at, 0xf0) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, at, 0xff) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, at, 0x1f) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, at, 0x400) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, at, 0x8051) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, at, BIT(32) | 0x51) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, 0xfed00000, 0x51) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, BIT(32) | at, 0x51) == -EINVAL &&
		  domain_set_irq(DEVICE, 0, at | 0x10, 0x51) == -EINVAL &&
		  domain_set_irq(OTHER, 0, at, 0x51) == -ENOENT && !model_message(DEVICE, 0),
	      "no vector of the hypervisor's nor an exception, and nothing but common interrupts");
	CHECK(!domain_set_irq(DEVICE, 0, at | 0xff << 12 | 8, 0x20) &&
		  model_message(DEVICE, 0) == 0x20 && model.irte[DEVICE] == 0x20ff01,
	      "the lowest of dom0's, to all CPUs");
	domain_attach(DEVICE, CORBEL_DOMAIN_NONE);
	CHECK(!model_message(DEVICE, CORBEL_DOMAIN_IRQS - 1),
	      "what one domain's owner has set is not the next one's");
	domain_set_irq(DEVICE, 1, at, 0x51);
	CHECK(model_message(DEVICE, 1) == 0x51, "it has what is set then");
	domain_kernel_ends();
	CHECK(!model_message(DEVICE, 1) && domain_set_irq(DEVICE, 1, at, 0x51) == -EBUSY,
	      "until dom0's kernel ends, nor is it set between two");
	destroyed(0);
	domain_attach(DEVICE, 0);
	CHECK(model_message(DEVICE, 0x51) == 0x51 && has_rights() && !attached[0].irqs,
	      "dom0 has it as before");
	check_caches("AMD-Vi: interrupts");
	start_strict(false);
	domain_create();
	CHECK(!domain_has_irqs() && domain_set_irq(DEVICE, 0, at, 0x51) == -ENODEV,
	      "VT-d's are not kept apart, and nobody is told that they are");
}

static int keep(u32 device, bool on)
{
	return domain_set_irq(device, CORBEL_DOMAIN_IRQS, on, 0);
}

/* What a device of dom0's raises when it is kept to what it is given. */
static void test_kept(void)
{
	const u64 at = 0xfee00000;
	u64 free;
	int id;

	start_strict(true);
	id = domain_create();
	free = pool_free_bytes();
	CHECK(model_message(DEVICE, 0x51) == 0x51 && !keep(DEVICE, true) &&
		  !model_message(DEVICE, 0x51) && !model_message(DEVICE, 0x400) &&
		  model_message(OTHER, 0x51) == 0x51 && reaches(DEVICE, MB),
	      "AMD-Vi: a device of dom0's that is kept to its interrupts has none, and its memory");
	model.busy = true;
	CHECK(!domain_set_irq(DEVICE, 7, at, 0x61) && model_message(DEVICE, 7) == 0x61 &&
		  !model_message(DEVICE, 0x51) && reaches(DEVICE, MB),
	      "but those that it is given");
	model.busy = false;
	CHECK(domain_set_irq(DEVICE, 8, at, 0xf1) == -EINVAL &&
		  domain_set_irq(DEVICE, CORBEL_DOMAIN_IRQS + 1, at, 0x61) == -EINVAL &&
		  domain_set_irq(OTHER, 7, at, 0x61) == -ENOENT && !keep(OTHER, false),
	      "of the right kind, and no other device is");
	CHECK(!keep(DEVICE, true) && model_message(DEVICE, 7) == 0x61 &&
		  !domain_attach(DEVICE, 0) && model_message(DEVICE, 7) == 0x61,
	      "what it has stays when it is as it shall be already");
	CHECK(!keep(DEVICE, false) && model_message(DEVICE, 0x51) == 0x51 &&
		  pool_free_bytes() == free && domain_set_irq(DEVICE, 7, at, 0x61) == -ENOENT &&
		  !keep(DEVICE, true) && !model_message(DEVICE, 7),
	      "it can be let go, and has nothing left of that later");
	domain_set_irq(DEVICE, 7, at, 0x61);
	CHECK(!domain_attach(DEVICE, id) && !model_message(DEVICE, 7) && !model_dma(DEVICE, MB) &&
		  keep(DEVICE, true) == -EBUSY && keep(DEVICE, false) == -EBUSY &&
		  !model_message(DEVICE, 0x51),
	      "it can be given to a guest, which does not get what dom0 had, nor is it let go");
	domain_attach(DEVICE, 0);
	CHECK(model_message(DEVICE, 0x51) == 0x51 && pool_free_bytes() == free,
	      "and is dom0's then, as others are");
	keep(DEVICE, true);
	domain_kernel_ends();
	CHECK(!domain_set_irq(DEVICE, 7, at, 0x61) && model_message(DEVICE, 7) == 0x61,
	      "while dom0's kernel shuts its devices down they go on");
	domain_let_go();
	CHECK(model_message(DEVICE, 0x51) == 0x51 && keep(DEVICE, true) == -EBUSY &&
		  domain_set_irq(DEVICE, 7, at, 0x61) == -ENOENT,
	      "the next one finds them as any");
	destroyed(0);
	CHECK(keep(DEVICE | 1u << 16, true) == -ENODEV && keep(0xff00, true) == -EINVAL &&
		  pool_free_bytes() >= free && !keep(0xff00, false),
	      "one that there is not cannot be kept");
	for (u32 d = 0; d < DOMAIN_DEVICES; d++)
		CHECK_QUIET(!keep(d, true), "so many devices are");
	CHECK(keep(DEVICE, true) == -ENOSPC && model_message(DEVICE, 0x51) == 0x51 &&
		  !keep(DEVICE, false) && !model_message(0, 0x51),
	      "as many as there is room for");
	destroyed(0);
	while (pool_alloc(0, NULL))
		;
	CHECK(keep(DEVICE, true) == -ENOMEM && model_message(DEVICE, 0x51) == 0x51,
	      "without memory none");
	check_caches("AMD-Vi: dom0's interrupts");
	start_strict(false);
	CHECK(keep(DEVICE, true) == -ENODEV, "VT-d's are kept otherwise");
}

/* CPUs' ids above 255 are reached where all units have entries for that, and some CPU has one. */
static void test_wide(void)
{
	static const struct {
		u64 caps; /* XT, GA */
		u32 mode;
		bool ids, wide;
	} machines[] = {
	    {BIT(2) | BIT(7), IOMMU_STRICT, true, true},
	    {BIT(2), IOMMU_STRICT, true},
	    {BIT(7), IOMMU_STRICT, true},
	    {BIT(2) | BIT(7), IOMMU_STRICT, false},
	    {BIT(2) | BIT(7), IOMMU_DOM0, true},
	};
	const u64 at = 0xfee00000, high = at | 3 << 12 | 0x41 << 5;
	u64 free;

	for (u32 i = 0; i < ARRAY_SIZE(machines); i++) {
		u64 control = machines[i].wide ? BIT(17) | BIT(50) : 0;

		start_afresh(true, machines[i].mode);
		*model_reg(0x30) |= machines[i].caps;
		iommu.wide_ids = machines[i].ids;
		iommu_init();
		CHECK(iommu.wide == machines[i].wide &&
			  (*model_reg(0x18) & (BIT(17) | BIT(50))) == control && !model.wrong,
		      "AMD-Vi: ids of 32 bits on machine %u: %u (%s)", i, iommu.wide, model.wrong);
		if (iommu.wide || machines[i].mode != IOMMU_STRICT)
			continue;
		domain_create();
		keep(DEVICE, true);
		CHECK(domain_set_irq(DEVICE, 7, high, 0x61) == -EINVAL &&
			  !model_message(DEVICE, 7) && !domain_set_irq(DEVICE, 7, at, 0x61),
		      "where there are none, nobody is given such a message");
	}
	start_afresh(true, IOMMU_STRICT);
	*model_reg(0x30) |= BIT(2) | BIT(7);
	iommu.wide_ids = true;
	iommu_init();
	domain_create();
	free = pool_free_bytes();
	CHECK(!keep(DEVICE, true) && pool_free_bytes() == free - 2 * PAGE_SIZE &&
		  !domain_set_irq(DEVICE, 7, high, 0x61) && model_message(DEVICE, 7) == 0x61 &&
		  model.irte[DEVICE] == (0x4103 << 8 | 1) && model.irte_high[DEVICE] == 0x61,
	      "with them the device's entries are wide, and have all 15 bits");
	CHECK(!domain_set_irq(DEVICE, 7, at | 9 << 12 | 4, 0x151) &&
		  model_message(DEVICE, 7) == 0x151 && model.irte[DEVICE] == 0x945 &&
		  !model_message(DEVICE, 6) && !model_message(DEVICE, 8) &&
		  !domain_set_irq(DEVICE, CORBEL_DOMAIN_IRQS - 1, high, 0xef) &&
		  model_message(DEVICE, CORBEL_DOMAIN_IRQS - 1) == 0xef &&
		  !domain_set_irq(DEVICE, 7, 0, 0) && !model_message(DEVICE, 7),
	      "each is changed and taken away, to the last");
	CHECK(domain_set_irq(DEVICE, 7, high, 0xf1) == -EINVAL &&
		  domain_set_irq(DEVICE, 7, high | BIT(20), 0x61) == -EINVAL &&
		  domain_set_irq(DEVICE, 7, high | BIT(4), 0x61) == -EINVAL &&
		  domain_set_irq(DEVICE, 7, high | BIT(32), 0x61) == -EINVAL &&
		  !model_message(DEVICE, 7),
	      "what is no message is none still");
	CHECK(!keep(DEVICE, false) && pool_free_bytes() == free && !keep(DEVICE, true) &&
		  !model_message(DEVICE, CORBEL_DOMAIN_IRQS - 1),
	      "its pages come back, and nothing that was in them");
	iommu_wake();
	CHECK((*model_reg(0x18) & (BIT(17) | BIT(50))) == (BIT(17) | BIT(50)),
	      "after a sleep the unit has the same format");
	check_caches("AMD-Vi: ids of 32 bits");
}

/* The page of a device's entries is there as long as the device is in a domain. */
static void test_interrupt_pages(void)
{
	u64 free;
	int id;

	start_strict(true);
	id = domain_create();
	free = pool_free_bytes();
	domain_attach(DEVICE, id);
	domain_attach(OTHER, id);
	CHECK(pool_free_bytes() == free - 2 * PAGE_SIZE && attached[0].irqs != attached[1].irqs,
	      "AMD-Vi: each device has a page");
	domain_set_irq(DEVICE, 0, 0xfee00000, 0x51);
	CHECK(!domain_attach(DEVICE, id) && model_message(DEVICE, 0) == 0x51,
	      "it is the same one when the device is where it shall be already");
	domain_attach(DEVICE, CORBEL_DOMAIN_NONE);
	domain_attach(DEVICE, 0);
	domain_attach(OTHER, 0);
	CHECK(domain_attach(0xff00, id) == -EINVAL && pool_free_bytes() == free,
	      "each comes back, that of a device that there is not, too");
	while (pool_alloc(0, NULL))
		;
	CHECK(domain_attach(DEVICE, id) == -ENOMEM && reaches(DEVICE, MB) &&
		  model_message(DEVICE, 0x51) == 0x51,
	      "without memory for it the device stays dom0's");
	check_caches("AMD-Vi: interrupts' pages");
}

/* No unit is asked for more than it has, no device forgotten. */
static void test_limits(bool amd)
{
	u32 n = 0, d = 0;
	int id;

	start_strict(amd);
	while ((id = domain_create()) > 0)
		n++;
	CHECK(id == -ENOSPC && n == (amd ? DOMAINS - 1 : 13),
	      "%s: %u domains can be made, then there is no number left", name(amd), n);
	start_strict(amd);
	id = domain_create();
	while (!domain_attach(d, id))
		d++;
	CHECK(d == DOMAIN_DEVICES && domain_attach(d, id) == -ENOSPC && reaches(d, MB) &&
		  !domain_attach(d, 0) && !model_dma(d - 1, MB),
	      "%u devices can be given away, the next stays dom0's", d);
	check_caches(name(amd));
}

static void test_modes(bool amd)
{
	start_afresh(amd, IOMMU_DOM0);
	iommu_init();
	CHECK(domain_create() == -ENODEV && domain_attach(DEVICE, 0) == -ENODEV && !model.writes,
	      "%s: with iommu=dom0 there are no domains", name(amd));
}

/*
 * Units that do not look into the CPUs' caches, and whose chipset buffers what is written. What
 * they read comes out of all caches line by line: all at once stops the machine too long.
 */
static void test_few(void)
{
	u32 written;
	int id;

	start_afresh(false, IOMMU_STRICT);
	model_few();
	iommu_init();
	domain_attach(OTHER, 0);
	written = model.written;
	id = domain_create();
	model.is_flushed = false;
	CHECK(!domain_attach(DEVICE, id) && model.is_flushed && !model_dma(DEVICE, 0) &&
		  is_barred(0x1f1) && reaches(OTHER, MB),
	      "VT-d with few features: the entry of a device is written out of all caches");
	model.is_flushed = false;
	CHECK(domain_map(id, 0, FRAME(5), 2, true) == 2 && model.is_flushed &&
		  model_dma(DEVICE, 0) == 5 * MB,
	      "so is what is mapped");
	CHECK(domain_map(id, 1 << 9, FRAME(8), 1, false) == 1 && !model_dma(DEVICE, 2 * MB) &&
		  domain_map(id, 1 << 9, FRAME(8), 1, true) == 1 &&
		  model_dma(DEVICE, 2 * MB) == 8 * MB,
	      "a new table, and rights that it gets later");
	domain_map(id, 2 << 9, FRAME(8), 512, true);
	CHECK(model_dma(DEVICE, 5 * MB) == 9 * MB && domain_unmap(id, (2 << 9) + 1, 1) == 1 &&
		  !model_dma(DEVICE, 4 * MB + PAGE_SIZE) && model_dma(DEVICE, 5 * MB) == 9 * MB,
	      "what is beside a hole");
	model.is_flushed = false;
	CHECK(domain_unmap(id, 0, 1) == 1 && model.is_flushed && !model_dma(DEVICE, 0) &&
		  domain_unmap(id, 1 << 9, 1) == 1 && !model_dma(DEVICE, 2 * MB) &&
		  domain_map(id, 1 << 9, FRAME(5), 1, true) == 1 &&
		  model_dma(DEVICE, 2 * MB) == 5 * MB,
	      "and what is unmapped, with its tables");
	CHECK(!domain_attach(0x1f1, 0) && reaches(0x1f1, MB) && !domain_attach(DEVICE, 0) &&
		  reaches(DEVICE, MB) && model.written == written,
	      "by none of it all caches are written");
	check_caches("VT-d with few features");
}

/* Leaves of a guest's domain make its device look into caches, where all units know of that. */
static void test_snoop(void)
{
	for (u32 i = 0; i < 2; i++) {
		struct pt_leaf leaf;
		u64 *dom0s, *guests;
		int id;

		start_afresh(false, IOMMU_STRICT);
		if (i)
			*model_reg(0x10) |= BIT(7);
		pt_guest.wb = 1;
		pt_ram.wb = 2;
		iommu_init();
		CHECK(pt_ram.wb == 1 + i, "and for others the guest's PAT has its say");
		id = domain_create();
		domain_map(id, FRAME(5), FRAME(5), 1, true);
		pt_lookup(&domains[id].map.pt, FRAME(5), &leaf);
		guests = pt_entry(&domains[id].map.pt, FRAME(5));
		dom0s = hpa_to_virt(iommu.dom0.root);
		for (u32 k = 0; k < 2; k++)
			dom0s = hpa_to_virt(hpa(*dom0s & GENMASK(51, 12)));
		CHECK(leaf.pfn == FRAME(5) && leaf.attr & PT_W && !!(*guests & BIT(11)) == i &&
			  !(dom0s[2] & BIT(11)),
		      "VT-d with%s snoop control: %lx", i ? "" : "out", *guests);
		CHECK(!domain_attach(DEVICE, id) && model_dma(DEVICE, 5 * MB) == 5 * MB,
		      "is as the unit wants it");
	}
}

/* Four levels, but the unit does not take all that they reach. */
static void test_narrow(void)
{
	int id;

	start_afresh(false, IOMMU_STRICT);
	*model_reg(8) = (*model_reg(8) & ~GENMASK(21, 16)) | 38 << 16;
	iommu_init();
	id = domain_create();
	CHECK(iommu.all.bits == 39 && !domain_attach(DEVICE, id) &&
		  domain_map(id, BIT(27) - 1, FRAME(5), 1, true) == 1 &&
		  model_dma(DEVICE, BIT(39) - PAGE_SIZE) == 5 * MB &&
		  domain_map(id, BIT(27), FRAME(5), 1, true) == -EINVAL,
	      "VT-d with four levels, but 39 bits: what it blocks is not mapped");
}

/* A unit that has cached that there was nothing, where something is now. */
static void test_caches_none(void)
{
	int id;

	start_afresh(false, IOMMU_STRICT);
	*model_reg(8) |= BIT(7);
	model.caches_none = true;
	iommu_init();
	id = domain_create();
	domain_attach(DEVICE, id);
	CHECK(!model_dma(DEVICE, 0) && domain_map(id, 0, FRAME(5), 1, true) == 1 &&
		  model_dma(DEVICE, 0) == 5 * MB,
	      "VT-d in caching mode: what is mapped is reached");
	domain_attach(DEVICE, 0);
	check_caches("VT-d in caching mode");
}

/* Of three levels: the tables begin where the unit looks, whatever is unmapped. */
static void test_three_levels(void)
{
	int id;

	start_afresh(false, IOMMU_STRICT);
	*model_reg(8) &= ~(BIT(10));
	iommu_init();
	id = domain_create();
	CHECK(!domain_attach(DEVICE, id) && !model_dma(DEVICE, 0) &&
		  domain_map(id, 0, FRAME(5), 1, true) == 1 && model_dma(DEVICE, 0) == 5 * MB &&
		  domain_unmap(id, 0, 1) == 1 && !model_dma(DEVICE, 0) &&
		  domain_map(id, 9, FRAME(5), 1, true) == 1 &&
		  model_dma(DEVICE, 9 * PAGE_SIZE) == 5 * MB,
	      "VT-d with three levels: a domain is filled, emptied and filled");
	CHECK(domain_map(id, BIT(27), FRAME(5), 1, true) == -EINVAL, "and ends where they end");
	domain_attach(DEVICE, 0);
	check_caches("VT-d with three levels");
}

/* Whatever is not confirmed may still be reached: nobody gets those frames. */
static void test_hangs(bool amd)
{
	int id;

	start_strict(amd);
	id = domain_create();
	domain_map(id, 0, FRAME(5), 16, true);
	domain_attach(DEVICE, id);
	model.hangs = true;
	CHECK(DIES(domain_attach(DEVICE, 0)) && DIES(domain_unmap(id, 0, 1)) && held(FRAME(5)),
	      "%s: a unit that does not let a device go, or does not flush, ends the machine",
	      name(amd));
	CHECK(!amd || DIES(domain_set_irq(DEVICE, 0, 0, 0)),
	      "and one that may go on with an interrupt");
	model.hangs = false;
	domain_attach(DEVICE, 0);
}

/* What dom0 asks of a domain with a device in it, by the step. */
static void do_step(u32 step, int id)
{
	switch (step) {
	case 0:
		domain_attach(DEVICE, id);
		break;
	case 1:
		domain_unmap(id, 0, 1);
		break;
	case 2:
		domain_attach(DEVICE, 0);
		break;
	case 3:
		keep(DEVICE, true);
		break;
	case 4:
		domain_set_irq(DEVICE, 1, 0xfee00000, 0x51);
		break;
	case 5:
		keep(DEVICE, false);
		break;
	default:
		BUG_ON(destroyed(id));
	}
}

enum outcome { DONE, ENDED, WRONG };

/* Of a step in which the unit refuses its n-th command. Ended: in a line, after a second. */
static enum outcome outcome_of(u32 step, int id, u32 n)
{
	int status = 0;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		u64 began = now;

		model.refuses = n;
		if (!PANICS(do_step(step, id)))
			_exit(DONE);
		_exit(now - began < 3000000000ull &&
			      strstr(test_panic_text, "does not end what it has been told")
			  ? ENDED
			  : WRONG);
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? (enum outcome)WEXITSTATUS(status) : WRONG;
}

/*
 * The unit refuses a command, as when a device does not answer what it waits for: whichever it is,
 * nobody waits for ever, and nobody goes on as if it were done.
 */
static void test_refused(bool amd)
{
	static const u32 least[2][7] = {{1, 2, 1, 0, 0, 0, 2}, {5, 2, 5, 3, 2, 3, 2}};
	u32 wrong = 0, few = 0;
	int id;

	start_strict(amd);
	id = domain_create();
	domain_map(id, 0, FRAME(5), 16, true);
	for (u32 step = 0; step < ARRAY_SIZE(least[0]); step++) {
		enum outcome o = ENDED;
		u32 n = 0;

		while (o == ENDED && n < 400)
			o = outcome_of(step, id, ++n);
		wrong += o != DONE;
		few += n - 1 < least[amd][step];
		do_step(step, id);
	}
	CHECK(!wrong && !few,
	      "%s: a unit that refuses any command of a domain's ends the machine in a line, after "
	      "a second (%u, %u)",
	      name(amd), wrong, few);
	check_caches(name(amd));
}

/* The last of all, since a lock remains held. */
static void test_last_words(void)
{
	u64 began;
	int id;

	start_strict(false);
	id = domain_create();
	domain_map(id, 0, FRAME(5), 16, true);
	model.hangs = true;
	began = now;
	CHECK(PANICS(domain_unmap(id, 0, 1)) && now - began < 3000000000ull &&
		  strstr(test_panic_text, "the VT-d unit at fed90000 does not end what it has been "
					  "told"),
	      "in a line, after a second");
}

int main(void)
{
	arena_init(128 * MB);
	for (u32 amd = 0; amd < 2; amd++) {
		test_modes(amd);
		test_way(amd);
		test_apart(amd);
		test_other_ids(amd);
		test_refusals(amd);
		test_sparse(amd);
		test_large(amd);
		test_takeover(amd);
		test_limits(amd);
		test_hangs(amd);
		test_refused(amd);
	}
	test_interrupts();
	test_found_late();
	test_kept();
	test_wide();
	test_interrupt_pages();
	test_few();
	test_snoop();
	test_narrow();
	test_caches_none();
	test_three_levels();
	test_last_words();
	return test_end();
}
