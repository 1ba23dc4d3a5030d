/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/slots.c */
/* The module's slot table against a naive list, under random changes. */
#include "dom0/kmod/pure.h"
#include "test.h"

#include <stdlib.h>

#define IDS    12
#define FRAMES 200

static struct cb_slots *table_new(u32 n)
{
	return calloc(1, sizeof(struct cb_slots) + n * sizeof(struct cb_slot));
}

static u32 owner[FRAMES]; /* slot id + 1 of each frame */

static bool is_free(const struct cb_slot *s)
{
	for (u64 f = s->gfn; f < s->gfn + s->pages; f++)
		if (owner[f] && owner[f] != s->id + 1)
			return false;
	return true;
}

static void take(const struct cb_slot *s)
{
	for (u32 f = 0; f < FRAMES; f++)
		if (owner[f] == s->id + 1)
			owner[f] = 0;
	for (u64 f = s->gfn; f < s->gfn + s->pages; f++)
		owner[f] = s->id + 1;
}

/* Walking on from any frame meets each slot behind it, in order. */
static bool walks(const struct cb_slots *t, u64 from)
{
	const struct cb_slot *s = slots_from(t, from);
	u32 behind = 0;

	for (u32 i = 0; i < t->n; i++)
		behind += t->slot[i].gfn + t->slot[i].pages > from;
	return s ? s == &t->slot[t->n - behind] : !behind;
}

static bool agrees(struct cb_slots *t)
{
	for (u32 f = 0; f < FRAMES; f++) {
		const struct cb_slot *s = slots_find(t, f);

		if ((s ? s->id + 1 : 0) != owner[f] || !walks(t, f))
			return false;
	}
	for (u32 i = 1; i < t->n; i++)
		if (t->slot[i - 1].gfn + t->slot[i - 1].pages > t->slot[i].gfn)
			return false;
	return !slots_find(t, ~0ull) && !slots_find(t, FRAMES + 5);
}

static void test_tables(void)
{
	struct cb_slot one = {.gfn = 511, .pages = 1}, across = {.gfn = (1 << 27) - 1, .pages = 2},
		       gib = {.gfn = 1 << 18, .pages = 1 << 18}, none = {.gfn = 5};

	CHECK(!slot_tables(NULL) && !slot_tables(&none), "no slot takes no page tables");
	CHECK(slot_tables(&one) == 3, "a page takes three beside the root");
	CHECK(slot_tables(&across) == 6, "two across a border of all levels twice as many");
	CHECK(slot_tables(&gib) == 512 + 1 + 1, "a GiB by itself one for each 2 MiB, and two");
}

static bool overlaps(const struct cb_slot *s, u64 start, u64 end, u64 want, u64 want_first)
{
	u64 first, pages = slot_overlap(s, start, end, &first);

	return pages == want && (!want || first == want_first);
}

static void test_overlap(void)
{
	struct cb_slot s = {.pages = 4, .hva = 0x10000};

	CHECK(overlaps(&s, 0, ~0ull, 4, 0), "all addresses have all pages");
	CHECK(overlaps(&s, 0x11000, 0x13000, 2, 1), "the inner ones are found");
	CHECK(overlaps(&s, 0x11fff, 0x12001, 2, 1), "a byte of each is enough");
	CHECK(overlaps(&s, 0x13fff, 0x20000, 1, 3), "so is the last one");
	CHECK(overlaps(&s, 0, 0x10000, 0, 0) && overlaps(&s, 0x14000, 0x15000, 0, 0),
	      "what ends where it begins, or begins where it ends, has nothing of it");
}

/* Whether any slot has a bitmap of what is lost. */
static bool has_log(const struct cb_slots *t)
{
	for (u32 i = 0; i < t->n; i++)
		if (t->slot[i].lost)
			return true;
	return false;
}

int main(void)
{
	test_tables();
	test_overlap();
	struct cb_slots *t = table_new(0);
	u32 refused = 0, bad = 0;
	unsigned long log;

	CHECK(!slots_find(t, 0), "an empty table has no slot");
	srand(1);
	for (u32 round = 0; round < 20000; round++) {
		struct cb_slot s = {.gfn = rand() % (FRAMES - 20),
				    .pages = rand() % 4 ? rand() % 20 : 0,
				    .id = rand() % IDS,
				    .lost = rand() % 12 ? NULL : &log};
		struct cb_slots *next = table_new(t->n + 1);
		int r = slots_change(t, &s, next);

		if ((r == 0) != is_free(&s) || (!r && next->logged != has_log(next)))
			bad++;
		if (r) {
			refused++;
			free(next);
			continue;
		}
		take(&s);
		free(t);
		t = next;
		bad += !agrees(t);
		bad += s.pages ? slots_by_id(t, s.id) == NULL : slots_by_id(t, s.id) != NULL;
	}
	CHECK(!bad, "lookups and changes agree with a plain list");
	CHECK(refused > 1000, "overlapping slots are refused");
	free(t);
	return test_end();
}
