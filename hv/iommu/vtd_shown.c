/* SPDX-License-Identifier: GPL-2.0-only */
/* VT-d units as dom0 sees them. VT-d specification "Interrupt Remapping", "Queued Invalidation". */
#include "hv/iommu/vtd_shown.h"
#include "hv/cpu/irq.h"
#include "hv/iommu/post.h"
#include "hv/iommu/unit.h"
#include "hv/iommu/vtd.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/frame.h"
#include "hv/mm/mm.h"

/*
 * No width of addresses: it translates nothing, and Linux has it do nothing but remap. Registers
 * that are not there read as 0, and lie in the first page like all others.
 */
#define SHOWN_VER  0x10ull
#define SHOWN_CAP  FIELD_PREP(CAP_FRO, 0x20)
#define SHOWN_ECAP (ECAP_C | ECAP_QI | ECAP_IR | ECAP_MHMV | FIELD_PREP(ECAP_IRO, 0x30))

#define IRQ_ENTRIES BIT(16)
#define ENTRY_SIZE  16u /* of commands, too */
#define IN_PAGE	    (PAGE_SIZE / ENTRY_SIZE)

/* "Interrupt Remapping Table Entry (IRTE) for Remapped Interrupts" */
#define IRQ_MODE GENMASK(7, 5) /* 0: fixed, 1: lowest priority */
#define IRQ_LOW	 (GENMASK(63, 32) | IRQ_VECTOR | GENMASK(7, 0))
#define IRQ_HIGH GENMASK(19, 0) /* who may raise it */

/* "Invalidation Descriptors" */
enum { INV_CONTEXT = 1, INV_IOTLB, INV_DEVICE, INV_IRQS, INV_WAIT };
#define INV_TYPE     GENMASK(3, 0)
#define IRQS_SOME    BIT(4)
#define IRQS_MASK    GENMASK(31, 27)
#define IRQS_FIRST   GENMASK(47, 32)
#define WAIT_WRITES  BIT(5)
#define WAIT_DATA    GENMASK(63, 32)
#define QUEUE_PAGES  GENMASK(2, 0) /* of IQA: its logarithm */
#define QUEUE_OFFSET GENMASK(18, 4)

/*
 * What one access may have done, in entries copied: dom0's kernel never asks for so much at once.
 * What is left is done at its next access, and it looks at registers while it waits.
 */
#define WORK_MAX     (4 * IRQ_ENTRIES)
#define WORK_COMMAND 16u
#define WORK_FLUSH   256u

static struct shown {
	u32 status, faults; /* registers */
	u64 irta, iqa;
	u64 head, tail;
	u64 table; /* dom0's entries, as of the last time that it has set them */
	u32 entries;
} shown[IOMMU_MAX_UNITS];

void shown_wake(void)
{
	memset(shown, 0, sizeof(shown));
}

bool shown_remaps(void)
{
	bool all = iommu.is_shown;

	for (u32 i = 0; i < iommu.count; i++)
		all &= !!(shown[i].status & CMD_IRE);
	return all;
}

/* NULL: it is not dom0's memory. Frames are dom0's for ever where devices reach them. */
static void *map_dom0(u64 at)
{
	const struct frame *f = frame_of(at >> PAGE_SHIFT);

	if (!f || f->kind != FRAME_DOM0)
		return NULL;
	return (u8 *)mm_map_temp(hpa(at & PAGE_MASK)) + at % PAGE_SIZE;
}

/* ---- entries ---- */

/* As domain_set_irq(): common interrupts with dom0's vectors, for whomever it says. */
static bool is_right(u64 low)
{
	u64 vector = FIELD_GET(IRQ_VECTOR, low);

	return FIELD_GET(IRQ_MODE, low) <= 1 && vector >= VEC_DOM0_FIRST && vector < VEC_HV_FIRST;
}

/* In the place of dom0's entry what the unit gets for it. False: nothing, it is not right. */
static bool make_entry(u64 *low, u64 *high)
{
	u64 to = 0;

	if (*low & IRQ_POSTED) {
		to = post_descriptor(*low, *high);
		*low = (*low & (IRQ_P | IRQ_POSTED | IRQ_VECTOR)) | (to << 32 & IRQ_PD_LOW);
		*high = (*high & IRQ_HIGH) | (to & IRQ_PD_HIGH);
		return to;
	}
	*low &= IRQ_LOW;
	*high &= IRQ_HIGH;
	return is_right(*low);
}

static void log_wrong(const struct iommu_unit *u, u32 index, u64 low)
{
	static u32 times;
	u32 n = ++times;

	if (!(n & (n - 1)))
		log_warn("dom0's entry %u (%lx) of the VT-d unit at %lx is no interrupt of its "
			 "own, %u times by now",
			 index, low, u->at, n);
}

/*
 * The unit may read the entry at any time. Interrupts on their way come as before or as now; but
 * where both halves change, and no unit posts, the entry is not there while they do not belong
 * together.
 */
static void set_entry(const struct iommu_unit *u, u32 index, u64 low, u64 high)
{
	u64 *e = u->irqs + 2 * index, told = low;

	if (!(low & IRQ_P) || !make_entry(&low, &high)) {
		if (told & IRQ_P)
			log_wrong(u, index, told);
		low = high = 0;
	}
	BUG_ON(low & IRQ_POSTED && !iommu.posts);
	if (e[1] != high && iommu.posts) {
		unit_exchange(e, low, high);
		return;
	}
	if (e[1] != high) {
		WRITE_ONCE(e[0], 0);
		WRITE_ONCE(e[1], high);
	}
	WRITE_ONCE(e[0], low);
}

/* Those of one page of dom0's, or, where it has none, none. */
static void copy_page(const struct iommu_unit *u, const struct shown *s, u32 first, u32 end)
{
	const u64 *e = first < s->entries ? map_dom0(s->table + first * ENTRY_SIZE) : NULL;

	BUG_ON(end > IRQ_ENTRIES || first / IN_PAGE != (end - 1) / IN_PAGE);
	for (u32 i = first; i < end; i++) {
		u64 low = 0, high = 0;

		if (e && i < s->entries) {
			low = READ_ONCE(e[2 * (i - first)]);
			high = READ_ONCE(e[2 * (i - first) + 1]);
		}
		set_entry(u, i, low, high);
	}
	unit_written(u, &u->irqs[2 * first], (end - first) * ENTRY_SIZE);
	if (e)
		mm_unmap_temp();
}

static void copy_entries(const struct iommu_unit *u, const struct shown *s, u32 first, u32 count)
{
	for (u32 end = first + count, next; first < end; first = next) {
		next = MIN(end, ALIGN_DOWN(first, IN_PAGE) + IN_PAGE);
		copy_page(u, s, first, next);
	}
}

static bool posts_to(const u64 *entry, u64 descriptor)
{
	return entry[0] & IRQ_POSTED && irq_pd(entry[0], entry[1]) == descriptor;
}

void shown_forget(u64 descriptor)
{
	FOR_EACH_IOMMU(u) {
		bool any = false;

		for (u32 i = 0; i < IRQ_ENTRIES; i++) {
			if (!posts_to(&u->irqs[2 * i], descriptor))
				continue;
			set_entry(u, i, 0, 0);
			unit_written(u, &u->irqs[2 * i], ENTRY_SIZE);
			any = true;
		}
		if (any)
			vtd_flush_irqs(u);
	}
}

/* ---- the queue ---- */

/* -> how many */
static u32 invalidate_irqs(const struct iommu_unit *u, const struct shown *s, u64 low)
{
	u64 count =
	    low & IRQS_SOME ? MIN(BIT(FIELD_GET(IRQS_MASK, low)), IRQ_ENTRIES) : IRQ_ENTRIES;
	u32 first = low & IRQS_SOME ? FIELD_GET(IRQS_FIRST, low) & ~(count - 1) : 0;

	copy_entries(u, s, first, count);
	return count;
}

/* -EFAULT: not to memory of dom0's. */
static int write_status(u64 low, u64 to)
{
	u32 *status = low & WAIT_WRITES ? map_dom0(to & ~3ull) : NULL;

	if (!status)
		return low & WAIT_WRITES ? -EFAULT : 0;
	__atomic_store_n(status, (u32)FIELD_GET(WAIT_DATA, low), __ATOMIC_RELEASE);
	mm_unmap_temp();
	return 0;
}

static int next_command(const struct shown *s, u64 *low, u64 *high)
{
	const u64 *d = map_dom0((s->iqa & PAGE_MASK) + s->head);

	if (!d)
		return -EFAULT;
	*low = READ_ONCE(d[0]);
	*high = READ_ONCE(d[1]);
	mm_unmap_temp();
	return 0;
}

/* When dom0 is told, nothing of what it has invalidated is cached. -> the cost, or an error */
static int carry_out(struct iommu_unit *u, const struct shown *s, bool *is_cached)
{
	u64 low, high;
	int cost = WORK_COMMAND, err = next_command(s, &low, &high);

	if (err)
		return err;
	switch (FIELD_GET(INV_TYPE, low)) {
	case INV_CONTEXT: /* it has none of those cached */
	case INV_IOTLB:
	case INV_DEVICE:
		return cost;
	case INV_IRQS:
		*is_cached = true;
		return cost + invalidate_irqs(u, s, low);
	case INV_WAIT:
		if (*is_cached) {
			vtd_flush_irqs(u);
			*is_cached = false;
			cost += WORK_FLUSH;
		}
		return write_status(low, high) ?: cost;
	}
	return -EINVAL;
}

static void run_queue(struct iommu_unit *u, struct shown *s)
{
	u64 bytes = PAGE_SIZE << FIELD_GET(QUEUE_PAGES, s->iqa);
	bool is_cached = false;
	s64 work = WORK_MAX;

	while (s->status & CMD_QIE && !s->faults && s->head != s->tail && work > 0) {
		int cost = s->tail < bytes ? carry_out(u, s, &is_cached) : -EINVAL;

		if (cost < 0)
			s->faults = FSTS_IQE;
		else
			s->head = (s->head + ENTRY_SIZE) % bytes;
		work -= cost;
	}
	if (is_cached)
		vtd_flush_irqs(u);
}

/* ---- registers ---- */

static void take_table(struct iommu_unit *u, struct shown *s)
{
	s->table = s->irta & PAGE_MASK;
	s->entries = 2u << FIELD_GET(IRTA_SIZE, s->irta);
	copy_entries(u, s, 0, IRQ_ENTRIES);
	vtd_take_irqs(u, s->irta & IRTA_EIME && u->x2apic);
	s->status |= CMD_SIRTP;
}

static void switch_remapping(struct iommu_unit *u, struct shown *s)
{
	vtd_remap(u, !(s->status & CMD_IRE));
	s->status ^= CMD_IRE;
	log_info("IOMMU: VT-d at %lx: devices raise %s", u->at,
		 s->status & CMD_IRE ? "what dom0 has set for them, and nothing else"
				     : "any interrupt");
}

/* That messages of compatibility format pass is not to be had, nor translation. */
static void take_command(struct iommu_unit *u, struct shown *s, u32 val)
{
	if (val & CMD_SIRTP)
		take_table(u, s);
	if ((val ^ s->status) & CMD_QIE) {
		s->status ^= CMD_QIE;
		s->head = 0;
	}
	if ((val ^ s->status) & CMD_IRE && s->status & CMD_SIRTP)
		switch_remapping(u, s);
}

static u64 read_reg(const struct iommu_unit *u, const struct shown *s, u32 at)
{
	switch (at) {
	case VTD_VER:
		return SHOWN_VER;
	case VTD_CAP:
		return SHOWN_CAP | (iommu.posts ? CAP_PI : 0);
	case VTD_ECAP:
		return SHOWN_ECAP | (u->x2apic ? ECAP_EIM : 0);
	case VTD_GCMD: /* and behind it VTD_GSTS */
		return (u64)s->status << 32;
	case ALIGN_DOWN(VTD_FSTS, 8):
		return (u64)s->faults << 32;
	case VTD_IQH:
		return s->head;
	case VTD_IQT:
		return s->tail;
	case VTD_IQA:
		return s->iqa;
	case VTD_IRTA:
		return s->irta;
	}
	return 0;
}

static void set_half(u64 *reg, u32 at, u32 val)
{
	u32 shift = at % 8 * 8;

	*reg = (*reg & ~(GENMASK(31, 0) << shift)) | (u64)val << shift;
}

static void write_half(struct iommu_unit *u, struct shown *s, u32 at, u32 val)
{
	switch (at) {
	case VTD_GCMD:
		take_command(u, s, val);
		break;
	case VTD_FSTS:
		s->faults &= ~val;
		break;
	case VTD_IQT:
		s->tail = val & QUEUE_OFFSET;
		break;
	case VTD_IQA:
	case VTD_IQA + 4:
		if (!(s->status & CMD_QIE))
			set_half(&s->iqa, at, val);
		break;
	case VTD_IRTA:
	case VTD_IRTA + 4:
		set_half(&s->irta, at, val);
		break;
	}
}

static struct iommu_unit *unit_at(u64 at)
{
	FOR_EACH_IOMMU(u)
		if (u->at == (at & PAGE_MASK))
			return u;
	return NULL;
}

u64 shown_access(u64 at, u32 len, bool write, u64 val)
{
	struct iommu_unit *u = iommu.is_shown ? unit_at(at) : NULL;
	struct shown *s = u ? &shown[u - iommu.unit] : NULL;
	u32 reg = at % PAGE_SIZE;

	if (!u || (len != 4 && len != 8) || reg % len)
		return ~0ull;
	if (write)
		write_half(u, s, reg, val);
	if (write && len == 8)
		write_half(u, s, reg + 4, val >> 32);
	run_queue(u, s);
	return read_reg(u, s, ALIGN_DOWN(reg, 8)) >> reg % 8 * 8;
}
