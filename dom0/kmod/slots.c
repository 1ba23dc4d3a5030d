// SPDX-License-Identifier: GPL-2.0-only
/* Table of memory slots: a sorted array, copied on change. */
#include "pure.h"

#define SLOT_SHIFT 12 /* of a page */

static bool slot_holds(const struct cb_slot *s, u64 gfn)
{
	return gfn >= s->gfn && gfn - s->gfn < s->pages;
}

const struct cb_slot *slots_find(struct cb_slots *s, u64 gfn)
{
	u32 lo = 0, hi = s->n, hint = s->hint;

	if (hint < s->n && slot_holds(&s->slot[hint], gfn))
		return &s->slot[hint];
	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (slot_holds(&s->slot[mid], gfn)) {
			s->hint = mid;
			return &s->slot[mid];
		}
		if (s->slot[mid].gfn > gfn)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const struct cb_slot *slots_from(const struct cb_slots *s, u64 gfn)
{
	u32 lo = 0, hi = s->n;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (s->slot[mid].gfn + s->slot[mid].pages > gfn)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < s->n ? &s->slot[lo] : NULL;
}

const struct cb_slot *slots_by_id(const struct cb_slots *s, u32 id)
{
	u32 i;

	for (i = 0; i < s->n; i++)
		if (s->slot[i].id == id)
			return &s->slot[i];
	return NULL;
}

int slots_change(const struct cb_slots *old, const struct cb_slot *change, struct cb_slots *out)
{
	bool placed = change->pages == 0;
	u32 i;

	out->n = 0;
	out->hint = 0;
	out->logged = change->pages && change->lost;
	for (i = 0; i < old->n; i++) {
		const struct cb_slot *s = &old->slot[i];

		if (s->id == change->id)
			continue;
		if (change->pages && s->gfn < change->gfn + change->pages &&
		    change->gfn < s->gfn + s->pages)
			return -EEXIST;
		if (!placed && s->gfn > change->gfn) {
			out->slot[out->n++] = *change;
			placed = true;
		}
		out->slot[out->n++] = *s;
		out->logged |= !!s->lost;
	}
	if (!placed)
		out->slot[out->n++] = *change;
	return 0;
}

u64 slot_overlap(const struct cb_slot *s, u64 start, u64 end, u64 *first)
{
	u64 from = start > s->hva ? start : s->hva, slot_end = s->hva + (s->pages << SLOT_SHIFT);
	u64 to = end < slot_end ? end : slot_end;
	u64 page = from >> SLOT_SHIFT;

	*first = page - (s->hva >> SLOT_SHIFT);
	return from < to ? ((to - 1) >> SLOT_SHIFT) - page + 1 : 0;
}

u64 slot_tables(const struct cb_slot *s)
{
	u64 n = 0;
	u32 shift;

	if (!s || !s->pages)
		return 0;
	for (shift = 9; shift <= 27; shift += 9) /* the root is there anyway */
		n += ((s->gfn + s->pages - 1) >> shift) - (s->gfn >> shift) + 1;
	return n;
}
