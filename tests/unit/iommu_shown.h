/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0's side of a VT-d unit that it is shown, for tests that include hv/iommu/vtd_shown.c:
 * registers, queue and table as its kernel uses them, and what devices raise by the unit that is
 * there.
 */
#pragma once

#include "iommu_machine.h"

#define UNIT	0xfed90000ull
#define DEVICE	0x1ffu
#define OTHER	0x1f0u
#define QUEUE	(5 * MB)
#define STATUS	(6 * MB + 8 * PAGE_SIZE)
#define IRQS	(8 * MB) /* dom0's table: 1 MiB */
#define FORMAT	BIT(4)	 /* remappable */
#define MESSAGE 0xfee00000ull

static u32 maps;	/* pages of dom0's that have been looked at */
static bool incoherent; /* the unit does not look into caches */
static u32 early;	/* how often dom0 was told while the unit had an entry cached */

void *mm_map_temp(hpa_t page)
{
	maps++;
	early += page.v == STATUS && model.irq[5].valid;
	CHECK_QUIET(frame_of(page.v >> PAGE_SHIFT)->kind == FRAME_DOM0, "it is dom0's memory");
	return hpa_to_virt(page);
}

void mm_unmap_temp(void)
{
}

static inline u64 get(u32 reg, u32 len)
{
	u64 val = shown_access(UNIT + reg, len, false, 0x1122334455667788);

	return len == 4 ? (u32)val : val;
}

static inline void set(u32 reg, u32 len, u64 val)
{
	shown_access(UNIT + reg, len, true, val);
}

/* dom0's commands, as its kernel switches one thing at a time. */
static inline void command_it(u32 bit, bool on)
{
	u32 now = get(VTD_GSTS, 4) & ~(u32)CMD_SIRTP;

	set(VTD_GCMD, 4, on ? now | bit : now & ~bit);
}

static inline u64 *irq_of(u32 index)
{
	return (u64 *)hpa_to_virt(hpa(IRQS)) + 2 * index;
}

static inline void set_irq(u32 index, u16 device, u8 vector)
{
	irq_of(index)[0] = BIT(0) | (u64)vector << 16 | 3ull << 40;
	irq_of(index)[1] = BIT(18) | device;
}

/* Put a command into the queue, at the tail or where it is said, and have it carried out. */
static inline void put_at(u32 at, u64 low, u64 high)
{
	u64 *d = hpa_to_virt(hpa(QUEUE + at));

	d[0] = low;
	d[1] = high;
}

static inline void submit(u64 low, u64 high)
{
	u32 tail = get(VTD_IQT, 8), bytes = PAGE_SIZE << (get(VTD_IQA, 8) & 7);

	put_at(tail, low, high);
	set(VTD_IQT, 4, (tail + 16) % bytes);
}

static inline u32 *status(void)
{
	return hpa_to_virt(hpa(STATUS));
}

static inline bool waited(u32 val)
{
	*status() = 0;
	submit(INV_WAIT | WAIT_WRITES | (u64)val << 32, STATUS);
	return *status() == val && get(VTD_IQH, 8) == get(VTD_IQT, 8);
}

static inline void invalidate(u32 index, u32 mask)
{
	submit(INV_IRQS | IRQS_SOME | (u64)index << 32 | (u64)mask << 27, 0);
}

/* The vector that the device raises by its message of that index, 0: none. */
static inline u32 raises(u16 device, u32 index)
{
	return model_raised(device,
			    MESSAGE | FORMAT | (u64)(index & 0x7fff) << 5 | (index >> 15) << 2, 0) &
	       0xfff;
}

static inline bool as_sent(u16 device)
{
	return model_raised(device, MESSAGE | 3 << 12, 0x61) == (0x61 | 3ull << 32);
}

static inline void start_shown(void)
{
	memset(shown, 0, sizeof(shown));
	start(false, false, IOMMU_STRICT, 0);
	memset(hpa_to_virt(hpa(QUEUE)), 0, 12 * PAGE_SIZE);
	memset(hpa_to_virt(hpa(IRQS)), 0, 2 * MB);
	*status() = 0;
	if (incoherent)
		model_incoherent();
	iommu_init();
	test_log_lines = 0;
	maps = early = 0;
}

static inline void start_queue(u64 iqa)
{
	set(VTD_IQT, 4, 0);
	set(VTD_IQA, 8, iqa);
	command_it(CMD_QIE, true);
}

/* As Linux does it. */
static inline void start_on(void)
{
	start_shown();
	start_queue(QUEUE);
	set(VTD_IRTA, 8, IRQS | 15);
	command_it(CMD_SIRTP, true);
	submit(INV_IRQS, 0);
	command_it(CMD_IRE, true);
}

static inline void check_kept(const char *what)
{
	CHECK(!model.stale && !model.wrong, "%s: nothing stale is used (%u), no rule broken (%s)",
	      what, model.stale, model.wrong ? model.wrong : "none");
}
