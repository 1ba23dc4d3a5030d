/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptors of segments, and which register may have which: SDM volume 3, "Protected-Mode Memory
 * Management" and "Privilege Level Checking When Accessing Data Segments". Pure.
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

/* Type of a system descriptor */
#define TYPE_LDT  2
#define TYPE_TSS  1	 /* available, 16 bits */
#define TYPE_BUSY BIT(1) /* of a TSS */
#define TYPE_32	  BIT(3) /* of a TSS; in long mode it is one of 64 bits */
/* and of one of code or data */
#define TYPE_ACCESSED	BIT(0)
#define TYPE_RW		BIT(1) /* writable data, readable code */
#define TYPE_CONFORMING BIT(2) /* code; data: expands downwards */
#define TYPE_CODE	BIT(3)

#define SEL_TI	   BIT(2)
#define RPL(sel)   ((sel)&3)
#define INDEX(sel) ((sel)&0xfff8)

/* Null, which no table is asked about */
static inline bool selector_is_null(u16 sel)
{
	return !INDEX(sel) && !(sel & SEL_TI);
}

/* What a segment register holds once d is loaded into it, which may be a system descriptor. */
void descriptor_unpack(struct corbel_segment *s, u16 sel, u64 d);
/* Where the descriptor of size bytes is. False: outside its table. */
bool descriptor_at(const struct corbel_segment *gdt, const struct corbel_segment *ldt, u16 sel,
		   u32 size, u64 *at);
/*
 * May segment register i, but for CS, have it at this CPL? Whether it is present is another
 * question.
 */
bool descriptor_fits(u32 i, const struct corbel_segment *s, u8 cpl);
