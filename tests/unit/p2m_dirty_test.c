/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/mm/p2m.c hv/mm/pt.c hv/mm/pool.c hv/mm/frame.c */
/* Dirty logs of guests: by protection, and by dirty flags. */
#include "p2m_fake.h"

static bool bit(const u64 *map, u64 i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static s64 dirty_all(u64 gfn, u64 count, s64 (*op)(struct p2m *, u64, u64))
{
	u64 done = 0;

	while (done < count) {
		s64 n = op(&guest.p2m, gfn + done, count - done);

		if (n <= 0)
			return n;
		done += n;
	}
	return done;
}

/* The first has no dirty flags, so its log is by protection. */
static const struct pt_format *const log_formats[] = {&pt_ept, &pt_npt, &pt_ept_ad};

/* A write by a CPU. False: it is not allowed. */
static bool cpu_write(u64 gfn)
{
	const struct pt_format *f = guest.p2m.pt.fmt;
	struct pt_leaf l;

	p2m_lookup(&guest.p2m, gfn, &l);
	if (!(l.attr & PT_W) && !p2m_fix_write(&guest.p2m, gfn))
		return false;
	p2m_lookup(&guest.p2m, gfn, &l);
	if (!(l.attr & PT_W))
		return false;
	if (f->dirty && !(l.attr & PT_DIRTY))
		*pt_entry(&guest.p2m.pt, gfn) |= f->dirty;
	return true;
}

static bool is_clean(u64 gfn)
{
	u64 map = 0;

	return p2m_dirty_read(&guest.p2m, gfn, 1, &map, false) == 1 && !map;
}

static void test_dirty_basic(const struct pt_format *fmt)
{
	static u64 map[64];
	struct pt_leaf l;
	u32 before;

	start_guest(fmt);
	memset(map, 0, sizeof(map));
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	p2m_map(&guest.p2m, 0x400, 0x6400, 0, RIGHTS);
	p2m_map(&guest.p2m, 0x401, 0x6401, 0, PT_R);
	before = flushes;
	CHECK(dirty_all(0x200, 0x400, p2m_dirty_start) == 0x400 && flushes == before + 1,
	      "%s: starting the log flushes", name_of(fmt));
	p2m_lookup(&guest.p2m, 0x3ff, &l);
	CHECK(!(l.attr & PT_W) && l.order == 9, "a large page stays one until it is written");
	p2m_lookup(&guest.p2m, 0x400, &l);
	CHECK(!(l.attr & PT_W) == !fmt->dirty,
	      "small ones are protected where there are no dirty flags");
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 0x400, map, true) == 0x400 && !map[0] && !map[7] &&
		  !map[8],
	      "nothing is dirty yet");
	CHECK(cpu_write(0x245) && cpu_write(0x400), "the first write is let through");
	CHECK(p2m_fix_write(&guest.p2m, 0x245), "and again for a CPU that came second");
	CHECK(!cpu_write(0x401), "read-only memory stays so");
	p2m_lookup(&guest.p2m, 0x246, &l);
	CHECK(l.order == 0 && is_clean(0x246) && !(l.attr & PT_W) == !fmt->dirty,
	      "the neighbours stay clean");
	before = flushes;
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 0x400, map, false) == 0x400 && map[1] == BIT(5) &&
		  map[8] == 1 && flushes == before,
	      "the pages written are told");
	memset(map, 0, sizeof(map));
	before = flushes;
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 0x400, map, true) == 0x400 && map[1] == BIT(5) &&
		  map[8] == 1 && flushes == before + 1,
	      "reading and clearing tells the same and flushes");
	memset(map, 0, sizeof(map));
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 0x400, map, true) == 0x400 && !map[1] && !map[8],
	      "afterwards they are clean");
	CHECK(!p2m_write(&guest.p2m, gpa(0x247ffe), "abcd", 4),
	      "the hypervisor writes across a page border");
	p2m_map(&guest.p2m, 0x402, 0x6402, 0, RIGHTS);
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 0x400, map, true) == 0x400 &&
		  map[1] == (BIT(7) | BIT(8)) && map[8] == 4,
	      "which is dirty then, as is what has been mapped");
	memset(map, 0, sizeof(map));
	p2m_map(&guest.p2m, 0x401, 0x6401, 0, RIGHTS);
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 0x400, map, true) == 0x400 && !map[1] &&
		  map[8] == 2,
	      "or has become writable");
	dirty_all(0x200, 0x400, p2m_dirty_stop);
	p2m_lookup(&guest.p2m, 0x333, &l);
	CHECK((l.attr & PT_W) && !(l.attr & PT_LOG), "stopping gives the rights back");
	p2m_map(&guest.p2m, 0x403, 0x6403, 0, PT_R);
	dirty_all(0x200, 0x400, p2m_dirty_stop);
	CHECK(!cpu_write(0x403), "but no more than there were");
	p2m_unmap(&guest.p2m, 0x200, 512);
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	leave_pages(&guest.acct, 0);
	CHECK(dirty_all(0x210, 16, p2m_dirty_start) == -ENOMEM,
	      "starting inside a large page without memory is an error");
	dirty_all(0x200, 512, p2m_dirty_start);
	memset(map, 0, sizeof(map));
	CHECK(cpu_write(0x211) && p2m_dirty_read(&guest.p2m, 0x200, 512, map, false) == 512 &&
		  map[0] == ~0ull && map[7] == ~0ull,
	      "a write without memory to split makes the whole large page dirty");
	CHECK(p2m_unmap(&guest.p2m, 0x220, 1) == 1 && guest.p2m.mapped == 4 &&
		  p2m_dirty_read(&guest.p2m, 0x200, 512, map, true) == -ENOMEM,
	      "that all of it goes, where one of its pages was to, is told: it was dirty");
	CHECK(p2m_dirty_read(&guest.p2m, 0x200, 512, map, true) == 512, "once");
	leave_all(&guest.acct);
	CHECK(destroy_guest(), "nothing is left behind");
	at_flush = NULL;
}

/* SDM "Memory Type Used for Translated Guest-Physical Addresses": bits 5:3 are 6, bit 6 is set. */
static void test_memory_type(void)
{
	u64 *e;

	start_guest(&pt_ept);
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	dirty_all(0x200, 512, p2m_dirty_start);
	CHECK(cpu_write(0x211), "a large page is split");
	e = pt_entry(&guest.p2m.pt, 0x212);
	CHECK((*e & 0x78) == 0x70 && (e[-1] & 0x78) == 0x70,
	      "guests' memory is write-back, whatever their PAT says, as its other users have it");
	CHECK(destroy_guest(), "nothing is left behind");
}

/* A write that comes when a query has looked at the page already may not be lost. */
static u64 late_gfn;

static void write_late(void)
{
	if (late_gfn)
		*pt_entry(&guest.p2m.pt, late_gfn) |= guest.p2m.pt.fmt->dirty;
}

static void test_dirty_late(const struct pt_format *fmt)
{
	u64 map[8] = {0};

	start_guest(fmt);
	for (u64 i = 0; i < 512; i++)
		p2m_map(&guest.p2m, 0x200 + i, 0x6200 + i, 0, RIGHTS);
	dirty_all(0x200, 512, p2m_dirty_start);
	p2m_dirty_read(&guest.p2m, 0x200, 512, map, true);
	cpu_write(0x2ff);
	memset(map, 0, sizeof(map));
	late_gfn = 0x235;
	at_flush = write_late;
	p2m_dirty_read(&guest.p2m, 0x200, 512, map, true);
	CHECK(!map[0] && map[3] == BIT(63), "%s: a query has what was written before",
	      name_of(fmt));
	late_gfn = 0;
	memset(map, 0, sizeof(map));
	p2m_dirty_read(&guest.p2m, 0x200, 512, map, true);
	CHECK(map[0] == BIT(0x35) && !map[3],
	      "what is written while it flushes is told by the next");
	memset(map, 0, sizeof(map));
	p2m_dirty_read(&guest.p2m, 0x200, 512, map, true);
	CHECK(!map[0], "once");
	CHECK(destroy_guest(), "nothing is left behind");
	at_flush = NULL;
}

/*
 * A read that comes to the end of its budget a little into a table begins with that table again,
 * and has to look into it.
 */
static void test_dirty_budget(const struct pt_format *fmt)
{
	enum { LARGE = 460, SMALL = 17, FIRST = 0x100000 };
	static u64 map[(LARGE + SMALL) * 512 / 64];
	u64 small = FIRST + LARGE * 512, written = small + 15 * 512 + 100;
	bool only = true;
	s64 done;

	start_guest(fmt);
	for (u64 i = 0; i < LARGE; i++)
		p2m_map(&guest.p2m, FIRST + i * 512, 0x8000, 9, RIGHTS);
	for (u64 i = 0; i < SMALL * 512; i++)
		p2m_map(&guest.p2m, small + i, 0x8000 + i % 512, 0, RIGHTS);
	dirty_all(FIRST, (LARGE + SMALL) * 512, p2m_dirty_start);
	cpu_write(written);
	memset(map, 0, sizeof(map));
	done = p2m_dirty_read(&guest.p2m, FIRST, (LARGE + SMALL) * 512, map, true);
	CHECK(done == (LARGE + 15) * 512, "%s: the budget ends in the 16th table", name_of(fmt));
	done = p2m_dirty_read(&guest.p2m, FIRST + done, (LARGE + SMALL) * 512 - done,
			      map + done / 64, true);
	for (u64 i = 0; i < (LARGE + SMALL) * 512; i++)
		only &= bit(map, i) == (FIRST + i == written);
	CHECK(done == 2 * 512 && only, "what is dirty in it is told");
	CHECK(destroy_guest(), "nothing is left behind");
	at_flush = NULL;
}

/*
 * Random writes by guest and hypervisor, rounds of reading: each page written since the last round
 * is told.
 */
static void test_dirty_random(const struct pt_format *fmt)
{
	static bool written[GFNS];
	static u64 map[GFNS / 64];
	bool missed = false, extra = false;

	start_guest(fmt);
	memset(written, 0, sizeof(written));
	for (u64 g = 0; g < GFNS; g += 512) {
		if (rnd(2)) {
			p2m_map(&guest.p2m, g, 0x8000 + g, 9, RIGHTS);
			continue;
		}
		for (u64 i = g; i < g + 512; i++)
			if (rnd(8))
				p2m_map(&guest.p2m, i, 0x8000 + i, 0, rnd(8) ? RIGHTS : PT_R);
	}
	dirty_all(0, GFNS, p2m_dirty_start);
	for (u32 round = 0; round < 100; round++) {
		u64 from = rnd(GFNS / 64) * 64, count = 1 + rnd(GFNS - from),
		    few = rnd(2) ? GFNS : 700;

		if (rnd(2)) {
			from &= ~511ull;
			count = GFNS - from;
		}
		for (u32 w = rnd(300); w; w--) {
			u64 g = rnd(few);

			if (rnd(2) ? cpu_write(g)
				   : !p2m_write(&guest.p2m, gpa(g * PAGE_SIZE + 8), "x", 1))
				written[g] = true;
		}
		memset(map, 0, sizeof(map));
		for (u64 done = 0; done < count;) {
			s64 n = p2m_dirty_read(&guest.p2m, from + done, count - done,
					       map + done / 64, true);

			if (n <= 0)
				break;
			done += n;
		}
		for (u64 i = 0; i < count; i++) {
			missed |= written[from + i] && !bit(map, i);
			extra |= !written[from + i] && bit(map, i);
			written[from + i] = false;
		}
	}
	CHECK(!missed, "%s: no dirty page is missed in rounds of random writes", name_of(fmt));
	CHECK(!extra, "no clean page is told dirty");
	CHECK(destroy_guest(), "nothing is left behind");
	at_flush = NULL;
}

int main(void)
{
	arena_init(256 * MB);
	test_dirty_budget(&pt_ept_ad);
	test_memory_type();
	for (u32 i = 0; i < ARRAY_SIZE(log_formats); i++) {
		test_dirty_basic(log_formats[i]);
		if (log_formats[i]->dirty)
			test_dirty_late(log_formats[i]);
		test_dirty_random(log_formats[i]);
	}
	return test_end();
}
