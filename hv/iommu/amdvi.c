/* SPDX-License-Identifier: GPL-2.0-only */
/* AMD's IOMMU: device table, four levels of tables, a command buffer, an event log. */
#include "hv/iommu/unit.h"
#include "hv/mm/mm.h"

/* AMD IOMMU specification "MMIO Registers" */
#define VI_DEVICES    0x0000
#define VI_COMMANDS   0x0008
#define VI_EVENTS     0x0010
#define VI_CONTROL    0x0018
#define VI_EXCLUSION  0x0020
#define VI_EFR	      0x0030
#define VI_CMD_HEAD   0x2000
#define VI_CMD_TAIL   0x2008
#define VI_EVENT_HEAD 0x2010
#define VI_EVENT_TAIL 0x2018
#define VI_STATUS     0x2020
#define VI_REGS	      0x4000

#define BASE_256 FIELD_PREP(GENMASK(59, 56), 8) /* of commands, events: entries in a page */

/* "IOMMU Control Register" */
#define CTL_ON	     BIT(0)
#define CTL_HT_TUN   BIT(1)
#define CTL_EVENTS   BIT(2)
#define CTL_PASS_PW  BIT(8)
#define CTL_RES_PASS BIT(9)
#define CTL_COHERENT BIT(10)
#define CTL_ISOC     BIT(11)
#define CTL_COMMANDS BIT(12)
#define CTL_GA	     BIT(17) /* entries of interrupts have 128 bits */
#define CTL_XT	     BIT(50) /* and ids of 32 */

/* "Extended Feature Register", "IOMMU Status Register" */
#define EFR_XT	      BIT(2)
#define EFR_IA	      BIT(6) /* has CMD_ALL */
#define EFR_GA	      BIT(7)
#define STS_OVERFLOW  BIT(0)
#define STS_EVENT_RUN BIT(3)
#define STS_CMD_RUN   BIT(4)

/* "Device Table Entry Format": four words */
#define DTE_V	     BIT(0)
#define DTE_TV	     BIT(1)
#define DTE_4_LEVELS FIELD_PREP(GENMASK(11, 9), 4)
#define DTE_RIGHTS   (BIT(61) | BIT(62))
#define DTE_FIXED    (DTE_V | DTE_TV | DTE_4_LEVELS | DTE_RIGHTS)
#define DTE_SYS_MGT  GENMASK(41, 40) /* word 1, beside the domain's number */
#define DTE_PASS     GENMASK(58, 56) /* word 2: INIT, ExtInt, NMI */
#define DTE_LINTS    GENMASK(63, 62)
#define DTE_IV	     BIT(0) /* word 2: what of interrupts stands there holds */
#define DTE_IRQS     FIELD_PREP(GENMASK(4, 1), 9)   /* 512 entries: more, and data is an NMI */
#define DTE_FORWARD  FIELD_PREP(GENMASK(61, 60), 1) /* common interrupts pass as sent */
#define DTE_REMAP    FIELD_PREP(GENMASK(61, 60), 2)
#define DTE_WORDS    4u
#define DTE_BYTES    32u

/* "Interrupt Remapping Table Fields" */
#define IRTE_REMAP   BIT(0)
#define IRTE_LOWEST  BIT(2)
#define IRTE_LOGICAL BIT(6)
#define IRTE_DEST    GENMASK(15, 8)
#define IRTE_VECTOR  GENMASK(23, 16)
#define IRTE_DEST_XT GENMASK(31, 8) /* of 128 bits; the vector begins the upper half */

/* Flags of devices in the IVHD: what goes into those */
#define FLAG_PASS    GENMASK(2, 0)
#define FLAG_SYS_MGT GENMASK(5, 4)
#define FLAG_LINTS   GENMASK(7, 6)

/* "Commands" */
#define CMD_WAIT    (FIELD_PREP(GENMASK(63, 60), 1) | BIT(0)) /* write the second word */
#define CMD_DEVICE  FIELD_PREP(GENMASK(63, 60), 2)
#define CMD_PAGES   FIELD_PREP(GENMASK(63, 60), 3)
#define CMD_IRQS    FIELD_PREP(GENMASK(63, 60), 5)
#define CMD_ALL	    FIELD_PREP(GENMASK(63, 60), 8)
#define PAGES_OF(d) ((d) << 32)
#define PAGES_ALL   (GENMASK(62, 12) | BIT(0) | BIT(1)) /* of any size, and their tables */

/* "Event Log" */
#define EVENT_SIZE  16u
#define EVENT_AT    GENMASK(11, 4) /* head and tail, in a page */
#define EVENT_CODE  GENMASK(63, 60)
#define EVENT_IRQ   BIT(51)
#define EVENT_WRITE BIT(53)

static bool amdvi_probe(struct iommu_unit *u)
{
	u->caps = unit_read64(u, VI_EFR);
	if (u->caps == ~0ull)
		return false;
	u->size = VI_REGS;
	u->bits = 48;
	u->max_order = 18;
	u->queued = true;
	u->remap = true;
	u->x2apic = u->caps & EFR_XT && u->caps & EFR_GA;
	u->coherent = true;
	u->domains = BIT(16);
	return true;
}

/* Of a device table of 2^order pages. */
static u32 entries_of(u32 order)
{
	return (PAGE_SIZE << order) / DTE_BYTES;
}

/* Words 1 and 2 of a device in that domain: dom0's may do what the firmware says, besides. */
static u64 domain_word(const struct iommu_unit *u, u16 device, u16 number)
{
	u8 rights = number == IOMMU_DOM0_NUMBER ? u->rights[device] : 0;

	return number | FIELD_PREP(DTE_SYS_MGT, FIELD_GET(FLAG_SYS_MGT, rights));
}

static u64 irq_word(const struct iommu_unit *u, u16 device, u16 number, const void *irqs)
{
	u8 rights = number == IOMMU_DOM0_NUMBER ? u->rights[device] : 0;
	u64 word = FIELD_PREP(DTE_PASS, FIELD_GET(FLAG_PASS, rights)) |
		   FIELD_PREP(DTE_LINTS, FIELD_GET(FLAG_LINTS, rights));

	BUG_ON(!irqs && number != IOMMU_DOM0_NUMBER);
	if (irqs)
		return word | virt_to_hpa(irqs).v | DTE_IV | DTE_IRQS | DTE_REMAP;
	return iommu.no_forward ? word : word | DTE_IV | DTE_FORWARD;
}

/*
 * All devices that the firmware names, and those before: in the domain, common interrupts as they
 * come, and what else the firmware says that they may do.
 */
static void make_devices(struct iommu_unit *u, const struct iommu_table *t, const struct pt *domain)
{
	u32 order = 0;

	while (entries_of(order) <= t->last_id)
		order++;
	u->root = unit_alloc(u, order);
	u->devices_nr = entries_of(order);
	u->rights = t->rights;
	for (u32 id = 0; id < u->devices_nr; id++) {
		u64 *e = u->root + id * DTE_WORDS;

		e[0] = pt_root(domain, 4).v | DTE_FIXED;
		e[1] = domain_word(u, id, IOMMU_DOM0_NUMBER);
		e[2] = irq_word(u, id, IOMMU_DOM0_NUMBER, NULL);
	}
}

static bool wait_status(const struct iommu_unit *u, u64 mask, u64 val)
{
	return UNIT_WAIT((unit_read64(u, VI_STATUS) & mask) == val);
}

static void amdvi_stop(struct iommu_unit *u)
{
	unit_write64(u, VI_CONTROL, 0);
	unit_must(u, wait_status(u, STS_CMD_RUN | STS_EVENT_RUN, 0),
		  "does not cease to work as the firmware has it");
}

static void amdvi_flush(struct iommu_unit *u, u16 number)
{
	unit_do(u, CMD_PAGES | PAGES_OF((u64)number), PAGES_ALL);
}

static void amdvi_flush_irqs(struct iommu_unit *u, u16 device)
{
	unit_do(u, CMD_IRQS | device, 0);
}

static int amdvi_prepare(struct iommu_unit *u, u16 device)
{
	return device < u->devices_nr ? 0 : -EINVAL;
}

/*
 * The unit may read the entry at any time. While its halves do not belong together it lets nothing
 * pass, or translations would be cached by the other domain's number. At no time is it not valid,
 * which would let everything pass. The half of interrupts is of those alone.
 */
static void amdvi_attach(struct iommu_unit *u, u16 device, const struct pt *domain, u16 number,
			 const void *irqs)
{
	u64 *e = u->root + device * DTE_WORDS, tables = pt_root(domain, 4).v | DTE_FIXED;

	BUG_ON(device >= u->devices_nr);
	if (e[0] != tables) {
		WRITE_ONCE(e[0], DTE_V | DTE_TV);
		unit_do(u, CMD_DEVICE | device, 0);
	}
	WRITE_ONCE(e[2], irq_word(u, device, number, irqs));
	WRITE_ONCE(e[1], domain_word(u, device, number));
	WRITE_ONCE(e[0], tables);
	unit_submit(u, CMD_DEVICE | device, 0);
	amdvi_flush_irqs(u, device); /* which the entry led to */
}

/* An IOAPIC has no other way to interrupt; dom0 attaches no device that is not PCI's. */
static void amdvi_bar(struct iommu_unit *u, u16 device)
{
	u64 *e = u->root + device * DTE_WORDS;

	if (device >= u->devices_nr || u->rights[device] & IOMMU_ACPI)
		return;
	WRITE_ONCE(e[0], DTE_V | DTE_TV);
	if (!(u->rights[device] & IOMMU_SPECIAL))
		WRITE_ONCE(e[2], DTE_IV);
	unit_submit(u, CMD_DEVICE | device, 0);
}

/* The unit may read the entry at any time. */
static void amdvi_set_irq(void *irqs, u32 index, const struct iommu_irq *irq)
{
	static const struct iommu_irq none;
	u32 how = irq ? IRTE_REMAP : 0;

	irq = irq ?: &none;
	BUG_ON(index >= CORBEL_DOMAIN_IRQS || (irq->dest > 0xff && !iommu.wide));
	how |= FIELD_PREP(IRTE_LOWEST, irq->lowest) | FIELD_PREP(IRTE_LOGICAL, irq->logical);
	if (iommu.wide)
		unit_exchange((u64 *)irqs + 2 * index, how | FIELD_PREP(IRTE_DEST_XT, irq->dest),
			      irq->vector);
	else
		WRITE_ONCE(((u32 *)irqs)[index], how | FIELD_PREP(IRTE_DEST, irq->dest) |
						     FIELD_PREP(IRTE_VECTOR, irq->vector));
}

/* Nothing of other tables is left: first the entries of devices, then translations. */
static void flush_all(struct iommu_unit *u)
{
	if (u->caps & EFR_IA) {
		unit_do(u, CMD_ALL, 0);
		return;
	}
	for (u32 id = 0; id < u->devices_nr; id++)
		unit_submit(u, CMD_DEVICE | id, 0);
	amdvi_flush(u, IOMMU_DOM0_NUMBER);
}

/* How the unit is to treat HyperTransport, as the firmware says, and its entries. */
static u64 control_of(const struct iommu_unit *u)
{
	static const u64 flags[] = {CTL_HT_TUN, CTL_PASS_PW, CTL_RES_PASS, CTL_ISOC};
	u64 control = CTL_ON | CTL_EVENTS | CTL_COMMANDS | CTL_COHERENT;

	if (iommu.wide)
		control |= CTL_GA | CTL_XT;
	for (u32 i = 0; i < ARRAY_SIZE(flags); i++)
		if (u->flags & BIT(i))
			control |= flags[i];
	return control;
}

static void amdvi_take(struct iommu_unit *u, const struct iommu_table *t, const struct pt *domain)
{
	unit_make_queue(u);
	if (!u->log) {
		u->log = unit_alloc(u, 0);
		make_devices(u, t, domain);
	}
	amdvi_stop(u);
	unit_write64(u, VI_DEVICES, virt_to_hpa(u->root).v | (u->devices_nr / entries_of(0) - 1));
	unit_write64(u, VI_COMMANDS, virt_to_hpa(u->queue).v | BASE_256);
	unit_write64(u, VI_EVENTS, virt_to_hpa(u->log).v | BASE_256);
	unit_write64(u, VI_EXCLUSION, 0);
	for (u32 reg = VI_CMD_HEAD; reg <= VI_EVENT_TAIL; reg += sizeof(u64))
		unit_write64(u, reg, 0);
	unit_write64(u, VI_STATUS, STS_OVERFLOW);
	unit_write64(u, VI_CONTROL, control_of(u));
	unit_must(u, wait_status(u, STS_CMD_RUN, STS_CMD_RUN), "does not begin to work");
	flush_all(u);
}

/* It has no room to record events, and stops: it begins again when it has, at the next look. */
static void restart_log(struct iommu_unit *u, bool runs)
{
	unit_write64(u, VI_CONTROL, control_of(u) & ~CTL_EVENTS);
	if (runs)
		return;
	unit_write64(u, VI_STATUS, STS_OVERFLOW);
	unit_write64(u, VI_CONTROL, control_of(u));
}

static u32 amdvi_poll(struct iommu_unit *u, struct iommu_fault *out, u32 max)
{
	u32 head = unit_read64(u, VI_EVENT_HEAD) & EVENT_AT, n = 0;
	u32 tail = unit_read64(u, VI_EVENT_TAIL) & EVENT_AT;
	u64 status = unit_read64(u, VI_STATUS);

	for (; head != tail && n < max; head = (head + EVENT_SIZE) % PAGE_SIZE) {
		const u64 *e = u->log + head / sizeof(u64);
		u64 what = READ_ONCE(e[0]);

		out[n++] = (struct iommu_fault){
		    .device = what,
		    .reason = FIELD_GET(EVENT_CODE, what),
		    .write = what & EVENT_WRITE,
		    .interrupt = what & EVENT_IRQ,
		    .addr = READ_ONCE(e[1]),
		};
	}
	if (n)
		unit_write64(u, VI_EVENT_HEAD, head);
	if (status & STS_OVERFLOW)
		restart_log(u, status & STS_EVENT_RUN);
	return n;
}

const struct iommu_ops amdvi_ops = {
    .name = "AMD-Vi",
    .regs_max = VI_REGS,
    .head = VI_CMD_HEAD,
    .tail = VI_CMD_TAIL,
    .wait = {CMD_WAIT, 1},
    .format = &pt_amdvi,
    .parse = ivrs_parse,
    .probe = amdvi_probe,
    .take = amdvi_take,
    .stop = amdvi_stop,
    .prepare = amdvi_prepare,
    .attach = amdvi_attach,
    .bar = amdvi_bar,
    .set_irq = amdvi_set_irq,
    .flush_irqs = amdvi_flush_irqs,
    .flush = amdvi_flush,
    .poll = amdvi_poll,
};
