/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/descriptor.h"
#include "hv/emul/insn.h"
#include "hv/lib/log.h"
#include "hv/lib/x86.h"

void descriptor_unpack(struct corbel_segment *s, u16 sel, u64 d)
{
	*s = (struct corbel_segment){
	    .selector = sel,
	    .base = (d >> 16 & GENMASK(23, 0)) | (d >> 32 & GENMASK(31, 24)),
	    .limit = (d & GENMASK(15, 0)) | (d >> 32 & GENMASK(19, 16)),
	    .type = d >> 40 & 15,
	    .s = d >> 44 & 1,
	    .dpl = d >> 45 & 3,
	    .present = d >> 47 & 1,
	    .avl = d >> 52 & 1,
	    .l = d >> 53 & 1,
	    .db = d >> 54 & 1,
	    .g = d >> 55 & 1,
	};
	if (s->g)
		s->limit = s->limit << 12 | 0xfff;
	s->unusable = !s->present;
}

bool descriptor_at(const struct corbel_segment *gdt, const struct corbel_segment *ldt, u16 sel,
		   u32 size, u64 *at)
{
	const struct corbel_segment *table = sel & SEL_TI ? ldt : gdt;

	if (table == ldt && ldt->unusable)
		return false;
	*at = table->base + INDEX(sel);
	return INDEX(sel) + size - 1u <= table->limit;
}

bool descriptor_fits(u32 i, const struct corbel_segment *s, u8 cpl)
{
	u8 rpl = RPL(s->selector), kind = s->type & (TYPE_CODE | TYPE_RW);

	BUG_ON(i == SEG_CS || i > SEG_GS);
	if (!s->s)
		return false;
	if (i == SEG_SS)
		return kind == TYPE_RW && s->dpl == cpl && rpl == cpl;
	if (kind == TYPE_CODE)
		return false;
	if (s->type & TYPE_CODE && s->type & TYPE_CONFORMING)
		return true;
	return s->dpl >= cpl && s->dpl >= rpl;
}
