/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DMA by QEMU's device "edu" (docs/specs/edu): it copies between memory and a buffer of its own.
 * With iommu=strict it reaches dom0's memory, at its own addresses, and nothing of the
 * hypervisor's; else it does, which shows that this test can fail.
 */
#include "edu.h"
#include "lib.h"

#define EDU_ID	    0x11e81234
#define IMAGE	    0x200000ull /* of the hypervisor */
#define SIZE	    64u
#define LARGE_PAGE  0x200000ull
#define PCI_COMMAND 4
#define PCI_BAR0    0x10

static u32 pci_address(u32 devfn, u32 reg)
{
	return 0x80000000 | devfn << 8 | reg;
}

static u32 pci_read(u32 devfn, u32 reg)
{
	outl(0xcf8, pci_address(devfn, reg));
	return inl(0xcfc);
}

static void pci_write(u32 devfn, u32 reg, u32 val)
{
	outl(0xcf8, pci_address(devfn, reg));
	outl(0xcfc, val);
}

static volatile u8 *edu;
static u32 edu_id; /* bus << 8 | device << 3 | function */

static bool find_edu(void)
{
	for (u32 devfn = 0; devfn < 256; devfn++) {
		if (pci_read(devfn, 0) != EDU_ID)
			continue;
		pci_write(devfn, PCI_COMMAND, pci_read(devfn, PCI_COMMAND) | 6);
		edu = (u8 *)(u64)(pci_read(devfn, PCI_BAR0) & ~0xfu);
		edu_id = devfn;
		return edu;
	}
	return false;
}

/* Copy SIZE bytes between the buffer and memory; false: it takes for ever. */
static bool dma(u64 at, bool to_ram)
{
	volatile u64 *cmd = (volatile u64 *)(edu + EDU_CMD);

	*(volatile u64 *)(edu + EDU_SRC) = to_ram ? EDU_BUFFER : at;
	*(volatile u64 *)(edu + EDU_DST) = to_ram ? at : EDU_BUFFER;
	*(volatile u64 *)(edu + EDU_COUNT) = SIZE;
	*cmd = EDU_START | (to_ram ? EDU_TO_RAM : 0);
	return WAIT(!(*cmd & EDU_START), 2000);
}

static u8 mine[2 * SIZE] __attribute__((aligned(64)));

/* The device reads at from; what it has then is put where we can see it. */
static const u8 *seen_at(u64 from)
{
	u8 *to = mine + SIZE;

	memset(to, 0xee, SIZE);
	dma(from, false);
	dma((u64)to, true);
	return to;
}

static bool is_all(const volatile u8 *p, u8 val)
{
	for (u32 i = 0; i < SIZE; i++)
		if (p[i] != val)
			return false;
	return true;
}

/* The same for a device that sees `mine` nowhere, but another page of ours. */
static u64 own;
static u8 *own_page;

static const u8 *seen_by_own(u64 from)
{
	memset(own_page, 0xee, SIZE);
	dma(from, false);
	dma(own, true);
	return own_page;
}

static void check_own(void)
{
	u64 far = (u64)mine + 2 * LARGE_PAGE;

	for (u32 i = 0; i < SIZE; i++)
		mine[i] = i * 3 + 1;
	report(!memcmp(seen_at((u64)mine), mine, SIZE),
	       "a device reads and writes dom0's memory at its own addresses");
	while (e820_kind(far) != 1)
		far += LARGE_PAGE;
	memset((u8 *)far, 0x5a, SIZE);
	report(is_all(seen_at(far), 0x5a), "in another large page, too");
}

#define REGION 0x1ffff000ull /* the last page of 512 MiB, which the firmware reserves */

/* Is it in a table of the firmware's (RMRR, IVMD), devices reach what is not dom0's RAM. */
static void check_region(bool named)
{
	volatile u8 *there = (volatile u8 *)REGION;

	report(e820_kind(REGION) == 2, "a page is reserved");
	memset((u8 *)there, 0, SIZE);
	memset(mine, 0x3c, SIZE);
	seen_at((u64)mine);
	dma(REGION, true);
	report(is_all(there, named ? 0x3c : 0), "a device %s it, since the firmware %s that it may",
	       named ? "writes" : "does not write", named ? "says" : "does not say");
}

/* Patterns that the hypervisor's memory surely does not have. */
static void check_hypervisor(bool strict)
{
	struct corbel_info i;
	volatile u8 *shared;
	bool leaked;

	memset(mine, 0x77, SIZE);
	seen_at((u64)mine);
	leaked =
	    !is_all(seen_at(IMAGE), 0x77) && !is_all(mine + SIZE, 0) && !is_all(mine + SIZE, 0xff);
	report(leaked != strict, "a device %s the hypervisor's image",
	       strict ? "does not read" : "reads, where nothing keeps it off,");
	info(&i);
	shared = (volatile u8 *)(i.events_hpa + PAGE - SIZE); /* behind what it is used for */
	report(is_all(shared, 0), "a page of the hypervisor's that we see has nothing at its end");
	seen_at((u64)mine);
	dma((u64)shared, true);
	report(is_all(shared, strict ? 0 : 0x77), "a device %s it",
	       strict ? "does not write" : "writes, where nothing keeps it off,");
	report(!memcmp(seen_at((u64)mine), mine, SIZE), "and dom0's memory as before");
}

#define OTHERS 0x52u /* a vector that is somebody else's */

/* "82093AA IOAPIC", "I/O Redirection Table Registers": a masked one of a pin that nobody uses */
#define IOAPIC	   0xfec00000ull
#define IOAPIC_PIN (0x10 + 2 * 23)
#define MASKED	   0x10000u

/*
 * A device that writes to an IOAPIC raises by it what it likes: index and value are 16 bytes apart.
 */
static void check_ioapic(bool strict)
{
	volatile u32 *regs = (volatile u32 *)IOAPIC;
	u32 *write = (u32 *)mine, was;

	regs[0] = IOAPIC_PIN;
	was = regs[4];
	memset(mine, 0, SIZE);
	write[0] = IOAPIC_PIN;
	write[4] = MASKED | OTHERS;
	dma((u64)mine, false);
	dma(IOAPIC, true);
	regs[0] = IOAPIC_PIN;
	report(was & MASKED && was != write[4] && regs[4] == (strict ? was : write[4]),
	       "a device %s an IOAPIC", strict ? "does not write to" : "writes to");
	regs[4] = was;
}

/* What a device finds at an address of its own: the pattern put into one of our pages. */
static bool finds(u64 at, const u8 *page, u8 pattern)
{
	memset((u8 *)page, pattern, SIZE);
	return is_all(seen_by_own(at), pattern);
}

#define MESSAGES 0xfee00000u /* what is written there is an interrupt */
#define REMAPPED (MESSAGES | BIT(4))
#define VECTOR	 0x51u
#define NMI	 0x400u
#define INDEX	 5u

/* "PCI Local Bus Specification", "MSI Capability Structure" */
#define PCI_CAPS   0x34
#define PCI_MSI	   5
#define MSI_ENABLE BIT(16)

static u32 find_msi(void)
{
	u32 at = pci_read(edu_id, PCI_CAPS) & 0xfc;

	while (at && (pci_read(edu_id, at) & 0xff) != PCI_MSI)
		at = pci_read(edu_id, at) >> 8 & 0xfc;
	return at;
}

/*
 * How many interrupts of this vector come, in the time that one may take, when the device sends
 * that. It does so by its capability: what it writes by DMA is a message, too, but QEMU gives that
 * the id of device 0.
 */
static u32 raised_by(u32 address, u32 data, u32 vector, u32 ms)
{
	u32 was = me()->count[vector], at = find_msi();

	if (!at)
		return ~0u;
	pci_write(edu_id, at + 4, address);
	pci_write(edu_id, at + 8, 0);
	pci_write(edu_id, at + 12, data);
	pci_write(edu_id, at, pci_read(edu_id, at) | MSI_ENABLE);
	*(volatile u32 *)(edu + EDU_RAISE) = 1;
	(void)WAIT(me()->count[vector] != was, ms);
	*(volatile u32 *)(edu + EDU_ACK) = 1;
	pci_write(edu_id, at, pci_read(edu_id, at) & ~(u32)MSI_ENABLE);
	return me()->count[vector] - was;
}

static bool raises(u32 data, u32 vector)
{
	return raised_by(MESSAGES, data, vector, 2000) == 1;
}

static bool is_blocked(u32 data, u32 vector)
{
	return !raised_by(MESSAGES, data, vector, 100);
}

static bool is_amd(void)
{
	const char *regs = option("regs");

	return regs && *regs == 'a';
}

static s64 set_irq(u64 index, u64 address, u64 data)
{
	return hc(CORBEL_HC_DOMAIN_IRQ, edu_id, index, address, data);
}

/*
 * The VT-d unit that the hypervisor shows us. VT-d specification "Register Descriptions",
 * "Interrupt Remapping Table Entry", "Invalidation Descriptors".
 */
#define UNIT	  0xfed90000ull
#define UNIT_CAP  0x08
#define UNIT_ECAP 0x10
#define UNIT_GCMD 0x18
#define UNIT_GSTS 0x1c
#define UNIT_IQT  0x88
#define UNIT_IQA  0x90
#define UNIT_IRTA 0xb8
#define QIE	  BIT(26)
#define IRE	  BIT(25)
#define SIRTP	  BIT(24)

static u64 irqs[PAGE / 16][2] __attribute__((aligned(PAGE)));
static u64 commands[PAGE / 16][2] __attribute__((aligned(PAGE)));

static void unit_set(u32 reg, u64 val)
{
	*(volatile u64 *)(UNIT + reg) = val;
}

static u64 unit_get(u32 reg)
{
	return *(volatile u64 *)(UNIT + reg);
}

static bool unit_command(u32 val, u32 want)
{
	*(volatile u32 *)(UNIT + UNIT_GCMD) = val;
	return WAIT(*(volatile u32 *)(UNIT + UNIT_GSTS) == want, 2000);
}

/* All entries, by two commands: the second tells that the first is done. */
static bool invalidate(void)
{
	static volatile u32 done;
	static u32 tail;

	done = 0;
	commands[tail][0] = 4;
	commands[tail][1] = 0;
	commands[tail + 1][0] = 0x25 | 7ull << 32;
	commands[tail + 1][1] = (u64)&done;
	tail = (tail + 2) % (PAGE / 16);
	unit_set(UNIT_IQT, tail * 16);
	return WAIT(done == 7, 2000);
}

static bool set_entry(u32 index, u64 low, u32 device)
{
	irqs[index][0] = low;
	irqs[index][1] = BIT(18) | device;
	return invalidate();
}

static bool raises_remapped(u32 index, u32 vector)
{
	return raised_by(REMAPPED | index << 5, 0, vector, 2000) == 1;
}

static bool is_remapped_blocked(u32 index, u32 vector)
{
	return !raised_by(REMAPPED | index << 5, 0, vector, 100);
}

/*
 * A device's messages by entries of ours. What comes in the other format is then blocked, too,
 * which QEMU 7.2 does not do.
 */
static void check_remapping(void)
{
	struct corbel_info i;

	report(raises(VECTOR, VECTOR) && raises(OTHERS, OTHERS),
	       "a device raises any interrupt as long as we do not have them remapped");
	report(!(unit_get(UNIT_CAP) & 0x1f00) && (unit_get(UNIT_ECAP) & 0xa) == 0xa,
	       "the unit that is shown remaps interrupts, and nothing else");
	unit_set(UNIT_IQA, (u64)commands);
	unit_set(UNIT_IRTA, (u64)irqs | 7);
	report(unit_command(QIE, QIE) && unit_command(QIE | SIRTP, QIE | SIRTP) && invalidate() &&
		   unit_command(QIE | IRE, QIE | IRE | SIRTP),
	       "we give it a queue and a table, and switch it on");
	info(&i);
	report(i.features & CORBEL_FEATURE_IRQ_REMAP, "which the hypervisor says");
	report(is_remapped_blocked(INDEX, VECTOR), "the device raises nothing without an entry");
	report(set_entry(INDEX, 1 | VECTOR << 16, edu_id) && raises_remapped(INDEX, VECTOR) &&
		   raises_remapped(INDEX, VECTOR),
	       "but what we have set for it");
	report(set_entry(INDEX + 1, 1 | OTHERS << 16, edu_id ^ 8) &&
		   is_remapped_blocked(INDEX + 1, OTHERS) && is_remapped_blocked(INDEX + 2, OTHERS),
	       "and nothing that is another device's");
	report(set_entry(INDEX, 1 | OTHERS << 16, edu_id) && raises_remapped(INDEX, OTHERS) &&
		   is_remapped_blocked(INDEX, VECTOR),
	       "by the same message another, when that is changed");
	report(set_entry(INDEX, 1 | 0xf1 << 16, edu_id) && is_remapped_blocked(INDEX, 0xf1) &&
		   set_entry(INDEX, 1 | VECTOR << 16 | 4 << 5, edu_id) &&
		   is_remapped_blocked(INDEX, 2),
	       "no vector of the hypervisor's, and no NMI");
	report(set_entry(INDEX, 1 | 1 << 15 | VECTOR << 16, edu_id) &&
		   is_remapped_blocked(INDEX, VECTOR),
	       "nor is anything posted, to an address least of all");
	report(set_entry(INDEX, 0, 0) && is_remapped_blocked(INDEX, OTHERS),
	       "nor what is taken away");
	report(unit_command(QIE, QIE | SIRTP) && unit_command(0, SIRTP) && raises(VECTOR, VECTOR),
	       "it is switched off again");
}

/* A device in a domain raises by 0xfee00000 what it has been given, where units can see to that. */
static bool keep(u64 on)
{
	return !hc(CORBEL_HC_DOMAIN_IRQ, edu_id, CORBEL_DOMAIN_IRQS, on, 0);
}

/*
 * Vectors of exceptions, of the hypervisor's own, and that nobody has, as fixed interrupts and as
 * of lowest priority: where they come as sent they do no harm, least of all as the spurious one,
 * which has no EOI of its own. Those below 16 an APIC refuses, and emulators' do not.
 */
static void check_strays(void)
{
	for (u32 v = 0x10; v < 0x100; v++)
		if (v < 0x20 || v >= 0xf0)
			raised_by(MESSAGES, v | (v & 1) << 8, VECTOR, 2);
	report(raises(VECTOR, VECTOR),
	       "messages with vectors that devices do not have are ignored, and others come still");
}

/* What one of dom0's raises, before it is given to anybody. */
static void check_dom0s(void)
{
	check_strays();
	if (!is_amd())
		return;
	report(raises(VECTOR, VECTOR) && set_irq(INDEX, MESSAGES, VECTOR) == -ENOENT,
	       "a device of dom0's raises any interrupt, and none can be set for it");
	report(keep(1) && is_blocked(VECTOR, VECTOR) && is_blocked(INDEX, VECTOR),
	       "until it is to raise only what it is given");
	memset(mine, 0x3d, SIZE);
	report(!set_irq(INDEX, MESSAGES, VECTOR) && raises(INDEX, VECTOR) &&
		   is_blocked(OTHERS, OTHERS) && !memcmp(seen_at((u64)mine), mine, SIZE),
	       "then it does that, and reaches dom0's memory as before");
	report(keep(1) && raises(INDEX, VECTOR) && keep(0) && raises(OTHERS, OTHERS) &&
		   set_irq(INDEX, MESSAGES, VECTOR) == -ENOENT && keep(1) &&
		   is_blocked(INDEX, VECTOR),
	       "it can be let go, and has nothing left of that afterwards");
}

static void check_interrupts(void)
{
	struct corbel_info i;

	info(&i);
	report(!(i.features & CORBEL_FEATURE_DEVICE_IRQ) == !is_amd(),
	       "the hypervisor says whether devices can be kept to interrupts of their own");
	if (!is_amd()) {
		report(set_irq(INDEX, MESSAGES, VECTOR) == -ENODEV, "which it does not do here");
		check_remapping();
		return;
	}
	report(is_blocked(VECTOR, VECTOR) && is_blocked(OTHERS, OTHERS), "it raises no interrupt");
	report(is_blocked(NMI, 2), "nor an NMI");
	report(!set_irq(INDEX, MESSAGES, VECTOR) && raises(INDEX, VECTOR) && raises(INDEX, VECTOR),
	       "but the one that it is given");
	report(is_blocked(VECTOR, VECTOR) && is_blocked(OTHERS, OTHERS) &&
		   is_blocked(INDEX + 1, VECTOR),
	       "and no other still");
	report(!set_irq(INDEX, MESSAGES, OTHERS) && raises(INDEX, OTHERS) &&
		   is_blocked(INDEX, VECTOR),
	       "by the same message another, when that is changed");
	report(set_irq(INDEX, MESSAGES, 0xf1) == -EINVAL &&
		   set_irq(INDEX, MESSAGES, 0x1f) == -EINVAL &&
		   set_irq(INDEX, MESSAGES, NMI | VECTOR) == -EINVAL &&
		   set_irq(INDEX, 0xfed00000, VECTOR) == -EINVAL &&
		   set_irq(CORBEL_DOMAIN_IRQS + 1, MESSAGES, VECTOR) == -EINVAL && !keep(0),
	       "the hypervisor's vectors it is not given, nor anything that is no interrupt");
	report(!set_irq(INDEX, 0, 0) && is_blocked(INDEX, OTHERS), "what is taken away is blocked");
	report(!set_irq(INDEX, MESSAGES, VECTOR) && raises(INDEX, VECTOR), "it is given one again");
}

#define DFN   0x123456ull /* an address of the device's, above all memory */
#define PAGES 4u

/* The device is given to a guest, whose memory are four of our pages. */
static void check_domain(void)
{
	static u8 page[PAGES][PAGE] __attribute__((aligned(PAGE)));
	u64 pfn = (u64)page[0] / PAGE;
	s64 id;

	check_dom0s();
	id = hc(CORBEL_HC_DOMAIN_CREATE);
	report(id > 0, "a domain for devices is made");
	report(hc(CORBEL_HC_DOMAIN_MAP, id, DFN, pfn, PAGES, CORBEL_MAP_WRITE) == PAGES,
	       "our pages are mapped there");
	report(hc(CORBEL_HC_DOMAIN_MAP, id, DFN + PAGES, IMAGE / PAGE, 1, 0) == -EPERM,
	       "the hypervisor's are not");
	report(!hc(CORBEL_HC_DOMAIN_ATTACH, edu_id, id), "the device is attached to it");
	own = (DFN + 3) * PAGE;
	own_page = page[3];
	report(finds(DFN * PAGE, page[0], 0x21) && finds((DFN + 2) * PAGE, page[2], 0x43),
	       "and reaches them at the addresses given");
	memset(mine, 0x77, SIZE);
	report(!is_all(seen_by_own((u64)mine), 0x77), "but dom0's memory not at dom0's addresses");
	report(hc(CORBEL_HC_DOMAIN_UNMAP, id, DFN + 2, 1) == 1 &&
		   !finds((DFN + 2) * PAGE, page[2], 0x65) && finds(DFN * PAGE, page[0], 0x66),
	       "what is unmapped is not reached, though it was just before");
	report(hc(CORBEL_HC_DOMAIN_MAP, id, DFN + 2, pfn + 1, 1, 0) == 1 &&
		   finds((DFN + 2) * PAGE, page[1], 0x17),
	       "where another page is mapped it reaches that");
	memset(page[1], 0x18, SIZE);
	dma((DFN + 2) * PAGE, true);
	report(is_all(page[1], 0x18), "and does not write it where that is for reading only");
	check_interrupts();
	report(hc(CORBEL_HC_DOMAIN_DESTROY, id) == -EBUSY,
	       "the domain stays as long as it is there");
	report(!hc(CORBEL_HC_DOMAIN_ATTACH, edu_id, CORBEL_DOMAIN_NONE) &&
		   !finds(DFN * PAGE, page[0], 0x19) && (!is_amd() || is_blocked(INDEX, VECTOR)),
	       "attached to none, it reaches and raises nothing");
	report(!hc(CORBEL_HC_DOMAIN_ATTACH, edu_id, 0), "it is dom0's again");
	memset(mine, 0x5e, SIZE);
	report(!memcmp(seen_at((u64)mine), mine, SIZE), "and reaches what dom0 has");
	report(raises(VECTOR, VECTOR) && raises(OTHERS, OTHERS) &&
		   set_irq(INDEX, MESSAGES, VECTOR) < 0,
	       "and raises what dom0's devices may");
	report(WAIT(!hc(CORBEL_HC_DOMAIN_DESTROY, id), 5000) &&
		   hc(CORBEL_HC_DOMAIN_MAP, id, DFN, pfn, 1, 0) == -ENOENT,
	       "the domain is destroyed");
}

/* The registers of the unit, at where QEMU has it: nothing answers there, or what is shown. */
static void check_registers(bool strict, u64 at)
{
	volatile u64 *control = (volatile u64 *)(at + 0x18); /* VT-d: command and status */
	u64 was = *control;

	*control = was ^ BIT(31) ^ 1;
	report((was == (is_amd() ? ~0ull : SIRTP << 32)) == strict && (*control == was || !strict),
	       "dom0 %s the IOMMU's registers", strict ? "does not reach" : "reaches");
	if (!strict)
		*control = was;
}

void test_dma(void)
{
	const char *said = option("iommu");
	struct corbel_info i;
	bool strict = said && *said == 's';

	info(&i);
	report(i.iommu == (strict ? CORBEL_IOMMU_STRICT : CORBEL_IOMMU_OFF) && i.iommu_units == 1,
	       "the hypervisor says what protects memory");
	if (!report(find_edu(), "there is a device for it"))
		return;
	check_own();
	check_region(!strict || option("region"));
	if (option("region"))
		return;
	check_hypervisor(strict);
	if (strict)
		check_domain();
	else
		report(hc(CORBEL_HC_DOMAIN_CREATE) == -ENODEV, "there are no domains of devices");
	check_ioapic(strict);
	check_registers(strict, is_amd() ? 0xfed80000 : 0xfed90000);
	(void)WAIT(false, 1000); /* faults are told of four times a second */
}
