/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/mm/mtrr.h"
#include "hv/lib/asm.h"
#include "hv/lib/x86.h"
#include "hv/mm/mm.h"

#define DEF_ON	   BIT(11)
#define MASK_VALID BIT(11)
#define TYPE	   0xff
#define TYPE_WB	   6
#define FIXED_END  0x100000u

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
	return (hit ? wb : mtrrs.wb) ? MTRR_WB : MTRR_OTHER;
}
