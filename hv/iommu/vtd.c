/* SPDX-License-Identifier: GPL-2.0-only */
/* Intel VT-d, in legacy mode: root table, context table, second-level tables. */
#include "hv/iommu/vtd.h"
#include "hv/iommu/unit.h"
#include "hv/lib/asm.h"
#include "hv/lib/string.h"
#include "hv/mm/mm.h"

#define VTD_REGS_MAX 0x5000
#define BITS_LEAST   32u
#define LEAF_SNP     BIT(11)

/* "Capability Register", "Extended Capability Register" */
#define CAP_ND	     GENMASK(2, 0) /* numbers of domains: 4 bits, and two more for each */
#define CAP_RWBF     BIT(4)	   /* writes to tables are to be flushed out of the chipset */
#define CAP_PLMR     BIT(5)	   /* protected memory, low and high */
#define CAP_PHMR     BIT(6)
#define CAP_CM	     BIT(7)	     /* entries that are not there are cached, too */
#define CAP_MGAW     GENMASK(21, 16) /* of addresses, bits less one */
#define CAP_SAGAW(n) BIT(8 + (n))    /* tables of n + 2 levels */
#define CAP_2M	     BIT(34)
#define CAP_1G	     BIT(35)
#define CAP_NFR	     GENMASK(47, 40) /* how many of them, less one */

/* "Global Command Register"; the status register has the same bits. One is changed at a time. */
#define CMD_TE	     BIT(31)
#define CMD_SRTP     BIT(30)
#define CMD_WBF	     BIT(27)
#define CMD_ONE_SHOT (BIT(30) | BIT(29) | BIT(27) | BIT(24)) /* done once, not a state */
#define CMD_CFI	     BIT(23) /* interrupts of compatibility format pass */

#define RTADDR_MODE GENMASK(11, 10)
#define PMEN_PRS    BIT(0)

/* "Fault Status Register", "Fault Recording Registers" */
#define FSTS_CLEAR     (BIT(0) | FSTS_IQE | BIT(5) | BIT(6)) /* overflow, the queue's errors */
#define FSTS_PENDING   BIT(1)
#define FECTL_IM       BIT(31)
#define FAULT_SIZE     16u	      /* and the unit of CAP_FRO, ECAP_IRO */
#define FAULT_SID      GENMASK(15, 0) /* of the upper half */
#define FAULT_REASON   GENMASK(39, 32)
#define FAULT_READ     BIT(62)
#define FAULT_INDEX    GENMASK(63, 48) /* of the lower half: the interrupt's */
#define REASON_IRQ     0x20	       /* "Interrupt Remapping Fault Conditions" */
#define REASON_IRQ_END 0x30
#define FAULT_F	       BIT(63)

/* "Root Entry", "Context Entry" */
#define ENTRY_P	       BIT(0)
#define CONTEXT_AW(lv) ((lv)-2u) /* levels of the tables */
#define CONTEXT_DOMAIN GENMASK(23, 8)
#define CONTEXT_WORDS  (u32)(PAGE_SIZE / sizeof(u64)) /* two words each */

/* "Invalidation Descriptors" */
#define INV_CONTEXT_ALL 0x11ull
#define INV_IRQS_ALL	0x4ull
#define INV_IOTLB_ALL	0xd2ull /* with reads and writes on their way drained */
#define INV_IOTLB_OF(d) (0xe2ull | (u64)(d) << 16)
#define INV_WAIT	(0x5ull | BIT(5) | FIELD_PREP(GENMASK(63, 32), 1)) /* then writes 1 */

static u32 levels_of(const struct iommu_unit *u)
{
	return u->caps & CAP_SAGAW(2) ? 4 : 3;
}

static u32 faults_at(const struct iommu_unit *u)
{
	return FIELD_GET(CAP_FRO, u->caps) * FAULT_SIZE;
}

static u32 faults_end(const struct iommu_unit *u)
{
	return faults_at(u) + (FIELD_GET(CAP_NFR, u->caps) + 1) * FAULT_SIZE;
}

static bool vtd_probe(struct iommu_unit *u)
{
	u32 last; /* of the registers beside those of faults */

	u->caps = unit_read64(u, VTD_CAP);
	u->more = unit_read64(u, VTD_ECAP);
	if (u->caps == ~0ull || !(unit_read32(u, VTD_VER) & 0xf0) ||
	    !(u->caps & (CAP_SAGAW(1) | CAP_SAGAW(2))))
		return false;
	_Static_assert((FIELD_GET(CAP_FRO, ~0ull) + 256) * FAULT_SIZE <= VTD_REGS_MAX,
		       "all places where faults may be recorded are mapped");
	last = (FIELD_GET(ECAP_IRO, u->more) + 1) * FAULT_SIZE;
	u->size = ALIGN_UP(MAX(faults_end(u), last), (u32)PAGE_SIZE);
	u->bits = MIN(PAGE_SHIFT + 9 * levels_of(u), (u32)FIELD_GET(CAP_MGAW, u->caps) + 1);
	u->snoop = u->more & ECAP_SC ? LEAF_SNP : 0;
	if (u->caps & CAP_2M)
		u->max_order = u->caps & CAP_1G ? 18 : 9;
	u->queued = u->more & ECAP_QI;
	u->remap = u->more & ECAP_IR;
	u->posts = u->remap && u->caps & CAP_PI;
	u->x2apic = u->more & ECAP_EIM;
	u->coherent = u->more & ECAP_C;
	u->flush_maps = u->caps & (CAP_CM | CAP_RWBF);
	u->domains = BIT(4 + 2 * FIELD_GET(CAP_ND, u->caps));
	return u->bits >= BITS_LEAST;
}

/* Switch something on or off, or have it done, and see that it is. */
static void vtd_command(struct iommu_unit *u, u32 bit, bool on, const char *or_else)
{
	u32 now = unit_read32(u, VTD_GSTS) & ~CMD_ONE_SHOT, want = on ? bit : 0;

	unit_write32(u, VTD_GCMD, (now & ~bit) | want);
	if (bit == CMD_WBF) /* its status says that it is under way */
		want = 0;
	unit_must(u, UNIT_WAIT((unit_read32(u, VTD_GSTS) & bit) == want), or_else);
}

/* What the firmware, or dom0, may have switched on. */
static void switch_off(struct iommu_unit *u, u32 bit, const char *or_else)
{
	if (unit_read32(u, VTD_GSTS) & bit)
		vtd_command(u, bit, false, or_else);
}

/*
 * The firmware's queue, if it has left one: what is in it is waited for. Whether it has an error
 * does not matter; it is given up.
 */
static void stop_queue(struct iommu_unit *u)
{
	if (!(unit_read32(u, VTD_GSTS) & CMD_QIE))
		return;
	if (!UNIT_WAIT(unit_read64(u, VTD_IQH) == unit_read64(u, VTD_IQT)))
		unit_write32(u, VTD_FSTS, FSTS_CLEAR);
	vtd_command(u, CMD_QIE, false, "does not let go of the firmware's queue");
}

static void start_queue(struct iommu_unit *u)
{
	stop_queue(u);
	unit_make_queue(u);
	unit_write32(u, VTD_FSTS, FSTS_CLEAR);
	unit_write64(u, VTD_IQT, 0);
	unit_write64(u, VTD_IQA, virt_to_hpa(u->queue).v);
	vtd_command(u, CMD_QIE, true, "does not start its queue");
}

/* What has been written to tables is where the unit reads it, if it is in memory. */
static void flush_buffers(struct iommu_unit *u)
{
	if (u->caps & CAP_RWBF)
		vtd_command(u, CMD_WBF, true, "does not flush its buffers");
}

/*
 * Nothing of other tables is left when this returns: the entries of devices are forgotten, and
 * when that is done translations, which are found by those. Commands with no wait between them may
 * be done at once, VT-d specification "Queued Invalidation Ordering Considerations".
 */
static void flush_all(struct iommu_unit *u)
{
	flush_buffers(u);
	unit_do(u, INV_CONTEXT_ALL, 0);
	unit_do(u, INV_IOTLB_ALL, 0);
}

static void vtd_flush(struct iommu_unit *u, u16 number)
{
	flush_buffers(u);
	unit_do(u, INV_IOTLB_OF(number), 0);
}

/* The unit may read the entry at any time: it is not there while its halves do not belong together.
 */
static void set_entry(const struct iommu_unit *u, u64 *entry, const struct pt *domain, u16 number)
{
	WRITE_ONCE(entry[0], 0);
	WRITE_ONCE(entry[1], CONTEXT_AW(levels_of(u)) | FIELD_PREP(CONTEXT_DOMAIN, number));
	WRITE_ONCE(entry[0], pt_root(domain, levels_of(u)).v | ENTRY_P);
	unit_written(u, entry, 2 * sizeof(u64));
}

/* A root table, all of whose buses have the same devices, all of which are in the domain. */
static void make_root(struct iommu_unit *u, const struct pt *domain)
{
	u->root = unit_alloc(u, 0);
	u->context = unit_alloc(u, 0);
	for (u32 i = 0; i < CONTEXT_WORDS; i += 2) {
		set_entry(u, &u->context[i], domain, IOMMU_DOM0_NUMBER);
		u->root[i] = virt_to_hpa(u->context).v | ENTRY_P;
	}
}

/* The entries of its bus's devices are made its own if they are not yet. */
static int vtd_prepare(struct iommu_unit *u, u16 device)
{
	u64 *root = &u->root[2 * (device >> 8)], *own;

	if (*root != (virt_to_hpa(u->context).v | ENTRY_P))
		return 0;
	own = pool_alloc(0, NULL);
	if (!own)
		return -ENOMEM;
	memcpy(own, u->context, PAGE_SIZE);
	unit_written(u, own, PAGE_SIZE);
	flush_buffers(u);
	__atomic_store_n(root, virt_to_hpa(own).v | ENTRY_P, __ATOMIC_RELEASE);
	unit_written(u, root, sizeof(*root));
	return 0;
}

/* The device's own. */
static u64 *entry_of(const struct iommu_unit *u, u16 device)
{
	u64 *entries = hpa_to_virt(hpa(u->root[2 * (device >> 8)] & PAGE_MASK));

	BUG_ON(entries == u->context);
	return &entries[2 * (device & 0xff)];
}

static void vtd_attach(struct iommu_unit *u, u16 device, const struct pt *domain, u16 number,
		       const void *irqs)
{
	flush_buffers(u); /* what it leads to is in memory before it is */
	set_entry(u, entry_of(u, device), domain, number);
	flush_all(u);
}

static void vtd_bar(struct iommu_unit *u, u16 device)
{
	u64 *e = entry_of(u, device);

	WRITE_ONCE(*e, 0);
	unit_written(u, e, sizeof(*e));
}

/* ---- interrupts of all devices, by entries that dom0 has made: vtd_shown.c ---- */

void vtd_flush_irqs(struct iommu_unit *u)
{
	flush_buffers(u);
	unit_do(u, INV_IRQS_ALL, 0);
}

void vtd_take_irqs(struct iommu_unit *u, bool x2apic)
{
	flush_buffers(u);
	unit_write64(u, VTD_IRTA,
		     virt_to_hpa(u->irqs).v | FIELD_PREP(IRTA_SIZE, IRTA_SIZE_MAX) |
			 (x2apic ? IRTA_EIME : 0));
	vtd_command(u, CMD_SIRTP, true, "does not take its table of interrupts");
	vtd_flush_irqs(u);
}

void vtd_remap(struct iommu_unit *u, bool on)
{
	if (on)
		switch_off(u, CMD_CFI, "lets interrupts of compatibility format pass");
	vtd_command(u, CMD_IRE, on, "does not switch the remapping of interrupts");
}

/* ---- its life ---- */

/* What the firmware has on; translation stays, if it is asked for. */
static void end_firmwares(struct iommu_unit *u, bool translation)
{
	switch_off(u, CMD_IRE, "goes on remapping interrupts as the firmware has it");
	if (translation)
		switch_off(u, CMD_TE, "does not cease to translate as the firmware has it");
}

/* Memory that the firmware kept devices from until now; the domain does so. */
static void end_protected_memory(struct iommu_unit *u)
{
	if (!(u->caps & (CAP_PLMR | CAP_PHMR)))
		return;
	unit_write32(u, VTD_PMEN, 0);
	unit_must(u, UNIT_WAIT(!(unit_read32(u, VTD_PMEN) & PMEN_PRS)),
		  "goes on protecting what the firmware has set");
}

static void vtd_take(struct iommu_unit *u, const struct iommu_table *t, const struct pt *domain)
{
	start_queue(u);
	if (!u->root)
		make_root(u, domain);
	if (!u->is_set_up && u->remap)
		u->irqs = pool_alloc(VTD_IRQS_ORDER, NULL);
	if (!u->coherent) /* once, for all that has been made */
		wbinvd();
	flush_buffers(u);
	unit_write32(u, VTD_FECTL, FECTL_IM); /* faults are polled */
	end_firmwares(u, unit_read64(u, VTD_RTADDR) & RTADDR_MODE);
	unit_write64(u, VTD_RTADDR, virt_to_hpa(u->root).v);
	vtd_command(u, CMD_SRTP, true, "does not take its root table");
	flush_all(u);
	vtd_command(u, CMD_TE, true, "does not begin to translate");
	end_protected_memory(u);
}

static void vtd_stop(struct iommu_unit *u)
{
	end_firmwares(u, true);
	end_protected_memory(u);
	stop_queue(u);
}

static struct iommu_fault read_fault(u64 lo, u64 hi)
{
	u8 reason = FIELD_GET(FAULT_REASON, hi);
	bool irq = reason >= REASON_IRQ && reason < REASON_IRQ_END;

	return (struct iommu_fault){
	    .device = FIELD_GET(FAULT_SID, hi),
	    .reason = reason,
	    .write = !(hi & FAULT_READ),
	    .interrupt = irq,
	    .addr = irq ? FIELD_GET(FAULT_INDEX, lo) : lo & PAGE_MASK,
	};
}

static u32 vtd_poll(struct iommu_unit *u, struct iommu_fault *out, u32 max)
{
	u32 at = faults_at(u), n = 0;

	if (!(unit_read32(u, VTD_FSTS) & (FSTS_PENDING | FSTS_CLEAR)))
		return 0;
	for (; at < faults_end(u) && n < max; at += FAULT_SIZE) {
		u64 hi = unit_read64(u, at + 8);

		if (!(hi & FAULT_F))
			continue;
		out[n++] = read_fault(unit_read64(u, at), hi);
		unit_write32(u, at + 12, FAULT_F >> 32);
	}
	unit_write32(u, VTD_FSTS, FSTS_CLEAR);
	return n;
}

const struct iommu_ops vtd_ops = {
    .name = "VT-d",
    .regs_max = VTD_REGS_MAX,
    .head = VTD_IQH,
    .tail = VTD_IQT,
    .wait = {INV_WAIT, 0},
    .wait_at = 1,
    .format = &pt_vtd,
    .parse = dmar_parse,
    .probe = vtd_probe,
    .take = vtd_take,
    .stop = vtd_stop,
    .prepare = vtd_prepare,
    .attach = vtd_attach,
    .bar = vtd_bar,
    .flush = vtd_flush,
    .poll = vtd_poll,
};
