/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/mm/mtrr.h"
#include "boot/memmap.h"
#include "hv/lib/asm.h"
#include "hv/lib/log.h"
#include "hv/lib/percpu.h"
#include "hv/lib/x86.h"
#include "hv/mm/mm.h"

#define DEF_ON	   BIT(11)
#define MASK_VALID BIT(11)
#define TYPE	   0xff
#define TYPE_WB	   6
#define FIXED_END  0x100000u
#define GIB_4	   BIT(32)
#define TOM2_ON	   (3u << 21) /* of SYSCFG: Tom2Enabled, Tom2ForceMemTypeWB */

struct mtrrs mtrrs;

static void add_range(u64 base, u64 mask)
{
	u64 address = GENMASK(phys_bits - 1, PAGE_SHIFT);

	if (!(mask & MASK_VALID))
		return;
	mtrrs.range[mtrrs.count].base = base & address;
	mtrrs.range[mtrrs.count].mask = mask & address;
	mtrrs.range[mtrrs.count++].type = base & TYPE;
}

/* 0: as if it were there and off */
static u64 read_mtrr(u32 msr)
{
	u64 val;

	return rdmsr_safe(msr, &val) ? 0 : val;
}

void mtrr_init(void)
{
	u64 def = read_mtrr(MSR_MTRR_DEF_TYPE);
	u32 count = MIN(read_mtrr(MSR_MTRR_CAP) & 0xff, MTRR_RANGES);

	if (!(def & DEF_ON)) /* nothing is cached */
		return;
	mtrrs.wb = (def & TYPE) == TYPE_WB;
	if ((read_mtrr(MSR_SYSCFG) & TOM2_ON) == TOM2_ON)
		mtrrs.top = read_mtrr(MSR_TOP_MEM2);
	for (u32 i = 0; i < count; i++)
		add_range(read_mtrr(MSR_MTRR_PHYS_BASE0 + 2 * i),
			  read_mtrr(MSR_MTRR_PHYS_BASE0 + 2 * i + 1));
}

enum mtrr_type mtrr_of(u64 pfn, u32 order)
{
	u64 at = pfn << PAGE_SHIFT, within = BIT(order + PAGE_SHIFT) - 1;
	bool hit = false, wb = true;

	if (at < FIXED_END)
		return at + within < FIXED_END ? MTRR_OTHER : MTRR_MIXED;
	for (u32 i = 0; i < mtrrs.count; i++) {
		u64 mask = mtrrs.range[i].mask;

		if ((at ^ mtrrs.range[i].base) & mask & ~within)
			continue;
		if (mask & within)
			return MTRR_MIXED;
		hit = true;
		wb &= mtrrs.range[i].type == TYPE_WB;
	}
	if (!hit && !mtrrs.wb && at < mtrrs.top && at + within >= GIB_4) {
		if (at < GIB_4 || at + within >= mtrrs.top)
			return MTRR_MIXED;
		return MTRR_WB;
	}
	return (hit ? wb : mtrrs.wb) ? MTRR_WB : MTRR_OTHER;
}

/* The order of the largest aligned block there that is of one type and ends at most at end. */
static u32 block_order(u64 at, u64 end)
{
	u32 order = 18;

	while (order && (!IS_ALIGNED(at, PAGE_SIZE << order) || end - at < PAGE_SIZE << order ||
			 mtrr_of(at >> PAGE_SHIFT, order) == MTRR_MIXED))
		order -= 9;
	return order;
}

void mtrr_trim(struct mem_map *m, u64 ours)
{
	u64 lost = 0;

	if (mtrr_of(ours >> PAGE_SHIFT, 0) != MTRR_WB)
		return;
	/* from the end, since what is set may become one with what follows */
	for (u32 i = m->count; i-- > 0;) {
		struct mem_region r = m->r[i];
		u64 at = ALIGN_DOWN(MAX(r.start, FIXED_END), PAGE_SIZE), size;

		for (; r.kind == MEM_RAM && at < r.end; at += size) {
			u32 order = block_order(at, r.end);

			size = PAGE_SIZE << order;
			if (mtrr_of(at >> PAGE_SHIFT, order) == MTRR_WB)
				continue;
			memmap_set(m, MAX(at, r.start), MIN(at + size, r.end), MEM_RESERVED);
			lost += size;
		}
	}
	if (lost)
		log_warn("the firmware's MTRRs leave %lu KiB of RAM uncached: these are not used",
			 lost / 1024);
}

/* ---- on other CPUs, and over a sleep ---- */

#define FIXED_MTRRS 11u

static struct {
	u32 msr;
	u64 val;
} saved[1 + FIXED_MTRRS + 2 * MTRR_RANGES]; /* the default type first */
static u32 saved_count;

static u32 nth_mtrr(u32 n)
{
	static const u32 fixed[FIXED_MTRRS] = {
	    MSR_MTRR_FIX_64K,	 MSR_MTRR_FIX_16K,    MSR_MTRR_FIX_16K + 1, MSR_MTRR_FIX_4K,
	    MSR_MTRR_FIX_4K + 1, MSR_MTRR_FIX_4K + 2, MSR_MTRR_FIX_4K + 3,  MSR_MTRR_FIX_4K + 4,
	    MSR_MTRR_FIX_4K + 5, MSR_MTRR_FIX_4K + 6, MSR_MTRR_FIX_4K + 7};

	if (!n)
		return MSR_MTRR_DEF_TYPE;
	return n <= FIXED_MTRRS ? fixed[n - 1] : MSR_MTRR_PHYS_BASE0 + n - 1 - FIXED_MTRRS;
}

void mtrr_save(void)
{
	u32 ranges = MIN(read_mtrr(MSR_MTRR_CAP) & 0xff, MTRR_RANGES);

	saved_count = 0;
	for (u32 n = 0; n < 1 + FIXED_MTRRS + 2 * ranges; n++) {
		saved[saved_count].msr = nth_mtrr(n);
		if (!rdmsr_safe(nth_mtrr(n), &saved[saved_count].val))
			saved_count++;
	}
}

static bool is_as_saved(void)
{
	for (u32 i = 0; i < saved_count; i++)
		if (read_mtrr(saved[i].msr) != saved[i].val)
			return false;
	return true;
}

/* SDM "MTRR Considerations in MP Systems": while they change nothing is cached. */
bool mtrr_restore(void)
{
	u64 cr0 = read_cr0();

	if (is_as_saved())
		return false;
	BUG_ON(saved[0].msr != MSR_MTRR_DEF_TYPE);
	write_cr0(cr0 | CR0_CD);
	wbinvd();
	wrmsr_safe(MSR_MTRR_DEF_TYPE, saved[0].val & ~DEF_ON);
	for (u32 i = 1; i < saved_count; i++)
		wrmsr_safe(saved[i].msr, saved[i].val);
	write_cr3(read_cr3());
	wbinvd();
	wrmsr_safe(MSR_MTRR_DEF_TYPE, saved[0].val);
	write_cr0(cr0);
	return true;
}
