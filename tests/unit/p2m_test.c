/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/mm/p2m.c hv/mm/p2m_lend.c hv/mm/pt.c hv/mm/pool.c hv/mm/frame.c */
/*
 * Guest maps: references, flushes, access; dom0's map: hypervisor frames are left out whatever the
 * layout.
 */
#include "hv/mm/p2m_lend.h"
#include "p2m_fake.h"

static struct vm dom0_vm;

static u64 shadow[GFNS]; /* pfn + 1, or 0 */
static u8 shadow_order[GFNS];
static u32 refs[0x10000]; /* of each frame */
static bool refs_kept = true;

static int want_map(u64 gfn, u64 pfn, u32 order, u64 attr)
{
	for (u64 i = 0; i < 1ull << order; i++)
		if (shadow[gfn + i])
			return shadow[gfn] == pfn + 1 && shadow_order[gfn] >= order ? 0 : -EEXIST;
	for (u64 i = 0; i < 1ull << order; i++)
		if (pfn + i >= frame_count() || frame_of(pfn + i)->kind != FRAME_DOM0)
			return -EPERM;
	return 0;
}

static bool random_map(void)
{
	u32 order = rnd(3) ? 0 : 9;
	u64 gfn = rnd(GFNS) >> order << order, pfn = rnd(0x11000) >> order << order,
	    attr = PT_R | (rnd(2) ? PT_W | PT_X : 0);
	int want, err;

	if (rnd(4) == 0 && shadow[gfn])
		pfn = (shadow[gfn] - 1) >> order << order;
	want = want_map(gfn, pfn, order, attr);
	err = p2m_map(&guest.p2m, gfn, pfn, order, attr);
	for (u64 i = 0; !err && i < 1ull << order; i++) {
		if (shadow[gfn + i])
			continue;
		shadow[gfn + i] = pfn + i + 1;
		shadow_order[gfn + i] = order;
		refs[pfn + i]++;
	}
	/* widening the rights of a part of a large page splits it */
	for (u64 i = 0; !err && order == 0 && shadow_order[gfn] == 9 && i < 512; i++) {
		struct pt_leaf l;

		p2m_lookup(&guest.p2m, gfn, &l);
		shadow_order[(gfn & ~511ull) + i] = l.order;
	}
	return want ? err == want || err == -EPERM : !err;
}

static bool random_unmap(void)
{
	u64 gfn = rnd(GFNS), count = 1 + rnd(rnd(2) ? 8 : GFNS - gfn);

	if (gfn + count > GFNS)
		count = GFNS - gfn;
	while (count) {
		u32 before = flushes;
		bool owed = false;
		s64 done = p2m_unmap(&guest.p2m, gfn, count);

		if (done <= 0 || (u64)done > count)
			return false;
		for (s64 i = 0; i < done; i++) {
			if (!shadow[gfn + i])
				continue;
			owed = true;
			refs[shadow[gfn + i] - 1]--;
			shadow[gfn + i] = 0;
		}
		/* a large page cut at the border is small pages now */
		for (u64 i = 0; i < GFNS; i++) {
			struct pt_leaf l;

			if (!shadow[i] || shadow_order[i] != 9)
				continue;
			p2m_lookup(&guest.p2m, i, &l);
			shadow_order[i] = l.order;
		}
		if (owed && flushes == before)
			return false;
		gfn += done;
		count -= done;
	}
	return true;
}

/* A guest executes a page somewhere: it may where it is mapped so, in a small page. */
static bool random_exec(void)
{
	u64 gfn = rnd(GFNS);
	struct pt_leaf before, l;
	bool fixed;

	p2m_lookup(&guest.p2m, gfn, &before);
	fixed = p2m_fix_exec(&guest.p2m, gfn);
	p2m_lookup(&guest.p2m, gfn, &l);
	for (u64 i = gfn & ~511ull; i <= (gfn | 511) && before.order != l.order; i++) {
		shadow_order[i] = 0;
		p2m_lookup(&guest.p2m, i, &before);
		if (!(before.attr & PT_X))
			return false;
	}
	return fixed == !!(l.attr & PT_X) && !(l.order && l.attr & PT_X && p2m_nx_large);
}

static void test_guest(const struct pt_format *fmt, bool nx_large)
{
	bool maps_right = true, unmaps_right = true, refs_right = true, lookups_right = true;
	bool execs_right = true;

	p2m_nx_large = nx_large;
	start_guest(fmt);
	memset(shadow, 0, sizeof(shadow));
	memset(refs, 0, sizeof(refs));
	for (u32 round = 0; round < 4000; round++) {
		if (rnd(10) < 8) {
			maps_right &= random_map();
		} else {
			unmaps_right &= random_unmap();
		}
		if (!rnd(8))
			execs_right &= random_exec();
		if (round % 50)
			continue;
		for (u64 pfn = 0; pfn < frame_count(); pfn++)
			refs_right &= frame_of(pfn)->maps == refs[pfn];
		refs_right &= guest.p2m.mapped == maps_total();
		for (u64 i = 0; i < GFNS; i++) {
			struct pt_leaf l;

			p2m_lookup(&guest.p2m, i, &l);
			lookups_right &= l.kind == (shadow[i] ? PT_LEAF : PT_NONE) &&
					 (!shadow[i] || l.pfn == shadow[i] - 1);
			execs_right &= !nx_large || !l.order || !(l.attr & PT_X);
		}
	}
	CHECK(maps_right, "%s: maps what is dom0's and free, the same again is no error",
	      name_of(fmt));
	CHECK(unmaps_right, "%s: unmapping makes progress and flushes when memory went",
	      name_of(fmt));
	CHECK(refs_right, "%s: each frame has as many references as mappings", name_of(fmt));
	CHECK(lookups_right, "%s: lookups agree with the shadow", name_of(fmt));
	CHECK(execs_right, "%s: what is mapped so can be executed%s", name_of(fmt),
	      nx_large ? ", and no large page is" : "");
	CHECK(gen_bumped && lock_held,
	      "%s: the TLB generation rises before each wait, under the lock", name_of(fmt));
	CHECK(destroy_guest(), "%s: destroying puts all frames and pages back", name_of(fmt));
	p2m_nx_large = false;
}

static u64 watched;

static void watch_refs(void)
{
	refs_kept &= frame_of(watched)->maps == 1;
}

static void test_guest_order(void)
{
	u32 before;

	start_guest(&pt_npt);
	watched = 0x6005;
	p2m_map(&guest.p2m, 0x200, 0x6000, 9, RIGHTS);
	before = flushes;
	at_flush = watch_refs;
	CHECK(p2m_unmap(&guest.p2m, 0x205, 1) == 1 && flushes == before + 1,
	      "unmapping a page of a large one flushes once");
	at_flush = NULL;
	CHECK(refs_kept && !frame_of(watched)->maps, "its reference is dropped after the flush");
	CHECK(frame_of(0x6004)->maps == 1 && guest.p2m.mapped == 511, "the others stay mapped");
	CHECK(p2m_map(&guest.p2m, 0x200, 0x6000, 9, RIGHTS) == -EEXIST,
	      "no large page over small ones");
	p2m_unmap(&guest.p2m, 0x200, 512);
	CHECK(!p2m_map(&guest.p2m, 0x200, 0x6000, 9, RIGHTS), "it fits again once they have gone");
	before = flushes;
	p2m_flush(&guest.p2m);
	CHECK(flushes == before + 1 && guest.p2m.mapped == 512,
	      "a flush for the guest's own tables takes nothing away");
	before = flushes;
	CHECK(p2m_unmap(&guest.p2m, 0x100000, 1000000) == 1000000 && flushes == before,
	      "unmapping a hole flushes nothing");
	CHECK(p2m_map(&guest.p2m, 0x400, 0x3f00, 0, RIGHTS) == 0 &&
		  p2m_map(&guest.p2m, 0x600, 0x3e00, 9, RIGHTS) == 0 &&
		  p2m_map(&guest.p2m, 0x800, 0x4000, 0, PT_R) == -EPERM &&
		  p2m_map(&guest.p2m, 0x800, 0x100, 0, PT_R) == -EPERM &&
		  p2m_map(&guest.p2m, 0x800, 0, 9, PT_R) == -EPERM,
	      "frames of pool and image are refused, alone and inside a large page");
	CHECK(p2m_map(&guest.p2m, 0x800, 0x10000, 0, PT_R) == -EPERM, "what is not RAM is refused");
	CHECK(p2m_map(&guest.p2m, BIT(36), 0x6000, 0, PT_R) == -EINVAL &&
		  p2m_map(&guest.p2m, 0x801, 0x6000, 9, PT_R) == -EINVAL &&
		  p2m_map(&guest.p2m, 0x800, 0x6000, 18, PT_R) == -EINVAL &&
		  p2m_map(&guest.p2m, 0x800, 0x6000, 0, PT_W) == -EINVAL &&
		  p2m_map(&guest.p2m, 0x800, 0x6000, 0, PT_R | PT_LOG) == -EINVAL &&
		  p2m_unmap(&guest.p2m, 0, 0) == -EINVAL,
	      "nonsense is refused");
	CHECK(destroy_guest(), "nothing is left behind");
}

static void test_rights(void)
{
	struct pt_leaf l;
	u32 before;

	start_guest(&pt_npt);
	p2m_map(&guest.p2m, 5, 0x6005, 0, PT_R);
	before = flushes;
	p2m_map(&guest.p2m, 5, 0x6005, 0, RIGHTS);
	p2m_lookup(&guest.p2m, 5, &l);
	CHECK((l.attr & RIGHTS) == RIGHTS && frame_of(0x6005)->maps == 1 && flushes == before,
	      "the same page with more rights gets them, without a reference or flush");
	p2m_map(&guest.p2m, 5, 0x6005, 0, PT_R);
	p2m_lookup(&guest.p2m, 5, &l);
	CHECK((l.attr & RIGHTS) == RIGHTS, "with fewer rights it keeps them");
	CHECK(p2m_map(&guest.p2m, 5, 0x6006, 0, RIGHTS) == -EEXIST && !frame_of(0x6006)->maps,
	      "another page there is refused");
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, PT_R);
	CHECK(!p2m_map(&guest.p2m, 0x207, 0x6207, 0, RIGHTS) && flushes == before + 1,
	      "a part of a large page can get more rights");
	p2m_lookup(&guest.p2m, 0x208, &l);
	CHECK(l.kind == PT_LEAF && !(l.attr & PT_W), "the other parts do not");
	CHECK(!p2m_set_mmio(&guest.p2m, 9, 0) && p2m_set_mmio(&guest.p2m, 5, 0) == -EEXIST,
	      "a MMIO mark does not replace memory");
	p2m_lookup(&guest.p2m, 9, &l);
	CHECK(l.kind == PT_MMIO && !p2m_map(&guest.p2m, 9, 0x6009, 0, RIGHTS),
	      "memory replaces a MMIO mark");
	p2m_map(&guest.p2m, 10, 0x600a, 0, PT_R | PT_X | PT_ROM);
	p2m_lookup(&guest.p2m, 10, &l);
	CHECK(l.attr & PT_ROM && !(l.attr & PT_W) && !p2m_fix_write(&guest.p2m, 10),
	      "ROM is marked, and writes stay refused");
	p2m_map(&guest.p2m, 11, 0x600b, 0, PT_R);
	CHECK(!p2m_map(&guest.p2m, 11, 0x600b, 0, PT_R | PT_ROM),
	      "read-only memory can become ROM");
	p2m_lookup(&guest.p2m, 11, &l);
	CHECK(l.attr & PT_ROM && p2m_map(&guest.p2m, 5, 0x6005, 0, PT_R | PT_ROM) == -EEXIST,
	      "writable memory cannot");
	CHECK(!p2m_fix_write(&guest.p2m, 77), "a write fault where nothing is mapped is not fixed");
	CHECK(destroy_guest(), "nothing is left behind");
}

/* iTLB multihit: a guest never executes from a large page. */
static void test_nx_large(const struct pt_format *fmt)
{
	struct pt_leaf l, other;
	u32 before;

	p2m_nx_large = true;
	start_guest(fmt);
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	p2m_map(&guest.p2m, 0x400, 0x6400, 9, RIGHTS);
	p2m_map(&guest.p2m, 0x600, 0x6600, 9, PT_R | PT_W);
	p2m_map(&guest.p2m, 0x800, 0x6800, 0, RIGHTS);
	p2m_lookup(&guest.p2m, 0x234, &l);
	CHECK(l.order == 9 && l.attr & PT_W && !(l.attr & PT_X),
	      "%s: a large page is mapped without the right to execute it", name_of(fmt));
	p2m_lookup(&guest.p2m, 0x800, &l);
	CHECK(l.attr & PT_X, "a small one with it");
	CHECK(p2m_fix_write(&guest.p2m, 0x234) && !p2m_write(&guest.p2m, gpa(0x234000), "x", 1) &&
		  !p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS),
	      "reads and writes, and who maps it again, ");
	p2m_lookup(&guest.p2m, 0x234, &l);
	CHECK(l.order == 9 && !(l.attr & PT_X), "leave it as it is");
	before = flushes;
	CHECK(p2m_fix_exec(&guest.p2m, 0x234) && flushes == before + 1,
	      "who executes it has it split, and the TLBs flushed");
	p2m_lookup(&guest.p2m, 0x234, &l);
	p2m_lookup(&guest.p2m, 0x3ff, &other);
	CHECK(!l.order && !other.order && l.pfn == 0x6234 && other.pfn == 0x63ff &&
		  (l.attr & RIGHTS) == RIGHTS && (other.attr & RIGHTS) == RIGHTS,
	      "into pages that all can be executed");
	CHECK(p2m_fix_exec(&guest.p2m, 0x234) && p2m_fix_exec(&guest.p2m, 0x3ff) &&
		  flushes == before + 1,
	      "and for a CPU that came second there is nothing to do");
	p2m_lookup(&guest.p2m, 0x400, &l);
	CHECK(l.order == 9, "other large pages stay large");
	CHECK(!p2m_fix_exec(&guest.p2m, 0x600) && !p2m_fix_exec(&guest.p2m, 0x900),
	      "what may not be executed, or is not there, stays so");
	/* split by the dirty log: small, and not yet executable */
	p2m_dirty_start(&guest.p2m, 0x400, 512);
	CHECK(p2m_fix_write(&guest.p2m, 0x412) && p2m_fix_exec(&guest.p2m, 0x413),
	      "one that the dirty log has split can be executed, too");
	p2m_lookup(&guest.p2m, 0x413, &l);
	CHECK(!l.order && l.attr & PT_X && (fmt->dirty || !(l.attr & PT_W)),
	      "and is not written for it");
	p2m_unmap(&guest.p2m, 0x200, 512);
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	leave_pages(&guest.acct, 0);
	CHECK(!p2m_fix_exec(&guest.p2m, 0x234), "without memory none is split");
	p2m_lookup(&guest.p2m, 0x234, &l);
	CHECK(l.order == 9 && !(l.attr & PT_X), "nor executed");
	CHECK(p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS) == -ENOMEM &&
		  !p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS),
	      "and the next that maps hears of it, once");
	leave_all(&guest.acct);
	CHECK(p2m_fix_exec(&guest.p2m, 0x234), "with memory it is");
	CHECK(destroy_guest(), "nothing is left behind");
	p2m_nx_large = false;
}

/* Unmapping never fails, even without memory to split a large page. */
static void test_unmap_full(void)
{
	struct pt_leaf l;

	start_guest(&pt_ept);
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	p2m_map(&guest.p2m, 0x400, 0x6400, 9, RIGHTS);
	leave_pages(&guest.acct, 0);
	CHECK(p2m_unmap(&guest.p2m, 0x3ff, 1) == 1 && guest.p2m.mapped == 512,
	      "a large page goes as a whole if it must");
	p2m_lookup(&guest.p2m, 0x200, &l);
	CHECK(l.kind == PT_NONE && !frame_of(0x6200)->maps && frame_of(0x6400)->maps,
	      "with its references, and no other");
	p2m_map(&guest.p2m, 0x200, 0x6200, 9, RIGHTS);
	CHECK(p2m_unmap(&guest.p2m, 0x300, 0x180) == 0x180 && !guest.p2m.mapped && !maps_total(),
	      "also at both ends of a range");
	leave_all(&guest.acct);
	CHECK(destroy_guest(), "nothing is left behind");
}

/* A range across the end of what the tables reach: the VMM's slot may be longer than that. */
static bool unmap_range(u64 gfn, u64 end)
{
	s64 done;

	for (; gfn < end; gfn += done) {
		done = p2m_unmap(&guest.p2m, gfn, end - gfn);
		if (done <= 0)
			return false;
	}
	return true;
}

static bool unmap_all(void)
{
	return unmap_range(0, p2m_gfn_end());
}

/*
 * A guest looks for devices, or reads memory that it has never written, a GiB apart: each place
 * takes two tables, and behind all is one page, or none. As corbel.ko does when the VM has no more
 * tables: all is taken back, and comes again when it is used.
 */
static bool marked(u64 gfn)
{
	struct pt_leaf l;

	p2m_lookup(&guest.p2m, gfn, &l);
	return l.kind == PT_MMIO;
}

static void test_sparse(const struct pt_format *fmt)
{
	const u64 zero_page = 0x6000, places = 200, real = 70;
	u64 empty, marks, zeros, gen;
	struct pt_leaf l;

	start_guest(fmt);
	empty = guest.acct.pages;
	for (u64 i = 1; i <= places; i++)
		p2m_set_mmio(&guest.p2m, i << 18, 0);
	marks = guest.acct.pages;
	CHECK(marks == empty + 1 + 2 * places && unmap_all() && guest.acct.pages == empty,
	      "%s: tables with nothing but MMIO marks are taken back", name_of(fmt));
	CHECK(!p2m_set_mmio(&guest.p2m, 512, 9) && guest.acct.pages == empty + 2 &&
		  !p2m_set_mmio(&guest.p2m, 600, 0) && guest.acct.pages == empty + 2 &&
		  p2m_set_mmio(&guest.p2m, 600, 9) == -EINVAL,
	      "%s: a large mark takes no table of its own", name_of(fmt));
	gen = guest.p2m.tlb_gen;
	CHECK(!p2m_map(&guest.p2m, 700, 0x6000, 0, RIGHTS) && guest.p2m.tlb_gen > gen &&
		  !marked(511) && !marked(600) && !marked(701) &&
		  p2m_set_mmio(&guest.p2m, 512, 9) == -EEXIST,
	      "%s: and goes when a page is mapped there, as all will see", name_of(fmt));
	CHECK(unmap_all() && !p2m_set_mmio(&guest.p2m, 512, 9) && marked(512) && marked(1023) &&
		  !marked(1024) && unmap_range(600, 601) && !marked(512) &&
		  guest.acct.pages == empty,
	      "%s: or when a part of it is unmapped", name_of(fmt));
	for (u64 i = 1; i <= places; i++)
		p2m_map(&guest.p2m, i << 18, zero_page, 0, PT_R | PT_X);
	zeros = guest.acct.pages;
	CHECK(zeros == marks && frame_of(zero_page)->maps == places && unmap_all() &&
		  guest.acct.pages == empty && !frame_of(zero_page)->maps,
	      "%s: so are those with nothing but the page of zeroes", name_of(fmt));
	for (u64 i = 1; i <= places; i++)
		p2m_set_mmio(&guest.p2m, i << 18, 0);
	p2m_map(&guest.p2m, (real << 18) + 1, 0x6001, 0, RIGHTS);
	CHECK(unmap_range(0, (real << 18) + 1) && unmap_range((real << 18) + 2, p2m_gfn_end()),
	      "%s: what lies around a page can be unmapped", name_of(fmt));
	p2m_lookup(&guest.p2m, (real << 18) + 1, &l);
	CHECK(guest.acct.pages == empty + 3 && l.kind == PT_LEAF && l.pfn == 0x6001,
	      "%s: a table in which there is memory stays", name_of(fmt));
	leave_pages(&guest.acct, 0);
	CHECK(p2m_set_mmio(&guest.p2m, 3 << 18, 0) == -ENOMEM && unmap_all() &&
		  guest.acct.pages == empty && !p2m_set_mmio(&guest.p2m, 3 << 18, 0),
	      "%s: where there are none for the next place these are enough", name_of(fmt));
	leave_all(&guest.acct);
	CHECK(destroy_guest(), "%s: nothing is left of it", name_of(fmt));
}

static void test_border(const struct pt_format *fmt)
{
	u64 end = p2m_gfn_end();
	struct pt_leaf l;
	char buf[8];
	s64 done;

	start_guest(fmt);
	CHECK(end == 1ull << 36 && p2m_map(&guest.p2m, end, 0x3000, 0, RIGHTS) == -EINVAL &&
		  p2m_map(&guest.p2m, end + 512, 0x3000, 0, RIGHTS) == -EINVAL &&
		  p2m_set_mmio(&guest.p2m, end, 0) == -EINVAL,
	      "%s: nothing can be mapped beyond the end", name_of(fmt));
	p2m_lookup(&guest.p2m, end, &l);
	CHECK(l.kind == PT_MMIO, "%s: accesses there are emulated", name_of(fmt));
	p2m_map(&guest.p2m, end - 512, 0x3000, 0, RIGHTS);
	for (u64 at = end - 512, left = 1024; left; at += done, left -= done) {
		done = p2m_unmap(&guest.p2m, at, left);
		if (!CHECK(done > 0 && (u64)done <= left, "%s: unmapping across the end goes on",
			   name_of(fmt)))
			break;
	}
	p2m_lookup(&guest.p2m, end - 512, &l);
	CHECK(l.kind == PT_NONE && !maps_total() &&
		  p2m_read(&guest.p2m, gpa((end - 512) << PAGE_SHIFT), buf, 8) == -EFAULT,
	      "%s: the page before it is gone", name_of(fmt));
	p2m_map(&guest.p2m, 7, 0x3000, 0, RIGHTS);
	for (u64 at = 0; at < end; at += done) {
		done = p2m_unmap(&guest.p2m, at, ~0ull);
		if (!CHECK(done > 0, "%s: everything can be unmapped by one range", name_of(fmt)))
			break;
	}
	CHECK(!maps_total() && p2m_unmap(&guest.p2m, end, 5) == 5 &&
		  p2m_unmap(&guest.p2m, ~0ull, 1) == 1,
	      "%s: beyond the end all is unmapped already", name_of(fmt));
	CHECK(destroy_guest(), "%s: nothing is left behind at the end", name_of(fmt));
}

static void test_access(void)
{
	static u8 in[3 * 4096], out[3 * 4096];
	u64 word;

	start_guest(&pt_npt);
	p2m_map(&guest.p2m, 1, 0x9001, 0, RIGHTS);
	p2m_map(&guest.p2m, 2, 0x9000, 0, RIGHTS);
	p2m_map(&guest.p2m, 3, 0x9003, 0, PT_R | PT_ROM);
	p2m_set_mmio(&guest.p2m, 4, 0);
	for (u32 i = 0; i < sizeof(in); i++)
		in[i] = (u8)(i * 7 + i / 256);
	CHECK(!p2m_write(&guest.p2m, gpa(0x1123), in, 5000) &&
		  !p2m_read(&guest.p2m, gpa(0x1123), out, 5000) && !memcmp(in, out, 5000),
	      "what is written across pages is read again");
	CHECK(!memcmp(hpa_to_virt(hpa(0x9000000)), in + 0x1000 - 0x123, 1000),
	      "and lies in the frames mapped");
	CHECK(p2m_write(&guest.p2m, gpa(0x2ffc), in, 8) == -EFAULT, "a write stops at ROM");
	CHECK(!memcmp(hpa_to_virt(hpa(0x9000ffc)), in, 4), "what came before is done");
	CHECK(!p2m_read(&guest.p2m, gpa(0x3000), out, 4096) &&
		  p2m_read(&guest.p2m, gpa(0x3fff), out, 2) == -EFAULT,
	      "ROM can be read, MMIO cannot");
	CHECK(p2m_read(&guest.p2m, gpa(~0ull), out, 4) == -EFAULT,
	      "an address beyond the map is a fault");
	word = 5;
	p2m_write(&guest.p2m, gpa(0x1008), &word, 8);
	CHECK(!p2m_cmpxchg(&guest.p2m, gpa(0x1008), 5, 0x100000006, 8) &&
		  p2m_cmpxchg(&guest.p2m, gpa(0x1008), 5, 7, 8) == -EAGAIN,
	      "compare-and-exchange works, and tells when it did not");
	CHECK(!p2m_cmpxchg(&guest.p2m, gpa(0x1008), 6, 9, 4) &&
		  *(u64 *)hpa_to_virt(hpa(0x9001008)) == 0x100000009,
	      "on 4 bytes too");
	CHECK(p2m_cmpxchg(&guest.p2m, gpa(0x3000), 0, 1, 4) == -EFAULT &&
		  p2m_cmpxchg(&guest.p2m, gpa(0x4000), 0, 1, 4) == -EFAULT &&
		  p2m_cmpxchg(&guest.p2m, gpa(0x1ffc), 0, 1, 8) == -EINVAL &&
		  p2m_cmpxchg(&guest.p2m, gpa(0x1000), 0, 1, 2) == -EINVAL,
	      "not on ROM, MMIO, across pages or in other sizes");
	CHECK(!temp_mapped, "no temporary mapping is left");
	CHECK(destroy_guest(), "nothing is left behind");
}

static void test_words(void)
{
	struct p2m_words w = {.n = 2, .w = {{hpa(0x9001008), 5}, {hpa(0x9000010), 6}}};
	u64 word = 5;

	start_guest(&pt_npt);
	p2m_map(&guest.p2m, 1, 0x9001, 0, RIGHTS);
	p2m_map(&guest.p2m, 2, 0x9000, 0, RIGHTS);
	p2m_set_mmio(&guest.p2m, 4, 0);
	p2m_set_mmio(&guest.p2m, 5, 0);
	p2m_write(&guest.p2m, gpa(0x1008), &word, 8);
	word = 6;
	p2m_write(&guest.p2m, gpa(0x2010), &word, 8);
	w.gen = guest.p2m.tlb_gen;
	CHECK(p2m_unchanged(&guest.p2m, &w), "words in guest memory are unchanged");
	word = 7;
	p2m_write(&guest.p2m, gpa(0x2010), &word, 8);
	CHECK(!p2m_unchanged(&guest.p2m, &w), "one has another value");
	w.w[1].val = 7;
	p2m_map(&guest.p2m, 3, 0x9003, 0, RIGHTS);
	CHECK(p2m_unchanged(&guest.p2m, &w), "more memory moves none");
	p2m_unmap(&guest.p2m, 2, 1);
	CHECK(!p2m_unchanged(&guest.p2m, &w), "none is sure where memory was taken away");
	w.gen = guest.p2m.tlb_gen;
	p2m_unmap(&guest.p2m, 5, 1);
	CHECK(w.gen != guest.p2m.tlb_gen, "nor where an MMIO mark was");
	w.gen = guest.p2m.tlb_gen;
	p2m_map(&guest.p2m, 4, 0x9004, 0, RIGHTS);
	CHECK(w.gen != guest.p2m.tlb_gen, "or has become memory");
	w.gen = 0;
	CHECK(!p2m_unchanged(&guest.p2m, &w), "no words say nothing");
	CHECK(destroy_guest(), "nothing is left behind");
}

/* ---- dom0 ---- */

static void add_region(struct mem_map *m, u64 start, u64 end, u32 kind)
{
	m->r[m->count++] = (struct mem_region){start, end, kind};
}

static bool block_is(u64 pfn, u64 count, enum frame_kind kind)
{
	for (u64 i = pfn; i < pfn + count; i++)
		if (!frame_of(i) || frame_of(i)->kind != kind)
			return false;
	return true;
}

struct dom0_result {
	bool ram_mapped, hv_hidden, holes_on_demand, large, types, faults;
};

/* The map right after init. */
static void check_dom0(struct p2m *p, struct dom0_result *r)
{
	for (u64 pfn = 0; pfn < frame_count(); pfn++) {
		enum frame_kind kind = frame_of(pfn)->kind;
		struct pt_leaf l;

		p2m_lookup(p, pfn, &l);
		if (kind == FRAME_DOM0) {
			r->ram_mapped &=
			    l.kind == PT_LEAF && l.pfn == pfn && (l.attr & RIGHTS) == RIGHTS;
			r->types &= !(l.attr & PT_UC);
		} else if (kind == FRAME_HV) {
			r->hv_hidden &= l.kind == PT_NONE;
		} else {
			r->holes_on_demand &= l.kind != PT_LEAF;
		}
		if (pfn % 512 == 0 && block_is(pfn, 512, FRAME_DOM0))
			r->large &= l.order >= 9;
		if (pfn % BIT(18) == 0 && pt_guest.max_order == 18 &&
		    block_is(pfn, BIT(18), FRAME_DOM0))
			r->large &= l.order == 18;
	}
}

/*
 * Fault everywhere, in random order and from both ends; then nothing of the hypervisor may be
 * mapped, and all the rest.
 */
static void fault_dom0(struct p2m *p, struct dom0_result *r)
{
	for (u32 i = 0; i < 20000; i++) {
		u64 pfn = rnd(frame_count() + 4096), before;
		struct frame *f = frame_of(pfn);
		struct pt_leaf l;
		bool want = pfn != 0xfee00 && (!f || f->kind != FRAME_HV);

		before = p->tlb_gen;
		r->faults &= p2m_dom0_fault(p, gpa((pfn << PAGE_SHIFT) + rnd(4096))) == want &&
			     p->tlb_gen == before;
		p2m_lookup(p, pfn, &l);
		r->faults &= (l.kind == PT_LEAF) == want && (!want || l.pfn == pfn);
		if (want)
			r->types &=
			    !!(l.attr & PT_UC) == (pt_guest.wb && !(f && f->kind == FRAME_DOM0) &&
						   mtrr_of(pfn, 0) != MTRR_WB);
	}
	for (u64 pfn = 0; pfn < frame_count(); pfn++) {
		struct pt_leaf l;

		p2m_lookup(p, pfn, &l);
		if (frame_of(pfn)->kind == FRAME_HV)
			r->hv_hidden &= l.kind == PT_NONE;
		else if (frame_of(pfn)->kind == FRAME_DOM0)
			r->ram_mapped &= l.kind == PT_LEAF && l.pfn == pfn;
	}
}

static void test_dom0_layouts(const struct pt_format *fmt, u32 max_order)
{
	struct dom0_result r = {true, true, true, true, true, true};
	static const u64 nudge[] = {0, 0x1000, 0x1ff000, 0x200000, 0x3ff000, 0x123000};

	pt_guest = *fmt;
	pt_guest.max_order = max_order;
	for (u32 n = 0; n < 24; n++) {
		struct mem_map m = {0};
		u64 image = 1 * MB + nudge[n % 6], pool = POOL_START + nudge[(n / 2) % 6],
		    pool_end = POOL_END - nudge[rnd(6)];
		u64 low = (n % 3 == 2 ? 2100 * MB : 200 * MB) + nudge[(n + 1) % 6];

		add_region(&m, 0, 0x9f000, MEM_RAM);
		if (n % 5 > 2) { /* blocks with nothing but the pool's end and a hole */
			add_region(&m, 0x100000, pool_end, MEM_RAM);
			add_region(&m, pool_end + 5 * MB, 130 * MB + 0x6000, MEM_RAM);
		} else {
			add_region(&m, 0x100000, 130 * MB + 0x6000, MEM_RAM);
		}
		add_region(&m, 130 * MB + 0x6000, 130 * MB + 0x9000, MEM_ACPI);
		add_region(&m, 130 * MB + 0x9000, low, MEM_RAM);
		add_region(&m, low, low + 64 * MB, MEM_RESERVED);
		if (n % 4 == 3)
			add_region(&m, 4096 * MB, 4200 * MB + nudge[rnd(6)], MEM_RAM);
		pool_init(pool, pool_end);
		if (!CHECK_QUIET(!init_frames(&m, image, image + 0x54321, pool, pool_end),
				 "the frame table fits"))
			return;
		mtrr_stripes = n % 2;
		memset(&dom0_vm, 0, sizeof(dom0_vm));
		dom0_vm.is_dom0 = true;
		p2m_init(&dom0_vm.p2m, &dom0_vm, true, NULL, NULL);
		CHECK_QUIET(!p2m_dom0_init(&dom0_vm.p2m, frame_count() << PAGE_SHIFT),
			    "dom0's map can be built");
		check_dom0(&dom0_vm.p2m, &r);
		fault_dom0(&dom0_vm.p2m, &r);
	}
	CHECK(r.ram_mapped, "%s: all of dom0's RAM is mapped at its own address", name_of(fmt));
	CHECK(r.hv_hidden, "%s: no frame of the hypervisor is, in any layout and after any faults",
	      name_of(fmt));
	CHECK(r.holes_on_demand, "%s: what is not RAM is not mapped before it is touched",
	      name_of(fmt));
	CHECK(r.large, "%s: pages are as large as alignment allows", name_of(fmt));
	CHECK(
	    r.types,
	    "%s: device memory is uncached with EPT, left to the MTRRs with NPT; RAM is write-back",
	    name_of(fmt));
	CHECK(r.faults, "%s: faults map everything but the hypervisor's memory and the local APIC",
	      name_of(fmt));
}

static gpa_t gpa_of(const void *p)
{
	return gpa(virt_to_hpa(p).v);
}

static void test_dom0_share(void)
{
	struct p2m *p = &dom0_vm.p2m;
	struct pt_leaf l;
	u8 *page, buf[4];
	u32 before;

	page = pool_alloc(0, NULL);
	CHECK(PANICS(p2m_dom0_unshare(p, virt_to_hpa(page))), "what is not lent is not taken back");
	CHECK(!p2m_dom0_share(p, virt_to_hpa(page)), "a pool page can be lent to dom0");
	CHECK(PANICS(p2m_dom0_share(p, virt_to_hpa(page))), "once");
	p2m_lookup(p, virt_to_hpa(page).v >> PAGE_SHIFT, &l);
	CHECK(l.kind == PT_LEAF && l.attr & PT_W && !(l.attr & PT_X),
	      "which may read and write it");
	memcpy(page, "corb", 4);
	CHECK(!p2m_read(p, gpa_of(page), buf, 4) && !memcmp(buf, "corb", 4),
	      "and it is the page itself");
	CHECK(frame_get(virt_to_hpa(page).v >> PAGE_SHIFT, 1) == -EPERM,
	      "but not map it into a guest");
	CHECK(!p2m_dom0_fault(p, gpa_of(page)), "nor execute it");
	CHECK(!p2m_dom0_fault(p, gpa_of(page + PAGE_SIZE)), "its neighbour stays the hypervisor's");
	before = flushes;
	p2m_dom0_unshare(p, virt_to_hpa(page));
	p2m_lookup(p, virt_to_hpa(page).v >> PAGE_SHIFT, &l);
	CHECK(l.kind == PT_NONE && flushes == before + 1, "taken back it is gone, and flushed");
	CHECK(p2m_read(p, gpa_of(page), buf, 4) == -EFAULT,
	      "dom0 cannot name hypervisor memory in a hypercall");
	CHECK(PANICS(frame_put(0x3000, 1)), "no frame is let go that is not held");
	CHECK(p2m_map(p, 0, 0, 0, PT_R) == -EPERM && p2m_unmap(p, 0, 1) == -EPERM &&
		  p2m_dirty_start(p, 0, 1) == -EPERM,
	      "a guest's calls are refused on dom0's map");
	CHECK(!p2m_dom0_fault(p, gpa(BIT(48))) && !p2m_dom0_fault(p, gpa(~0ull)),
	      "addresses beyond the map are refused");
	pool_free(page, 0, NULL);
}

/* Blocks that dom0 lends: it does not reach them, nor can guests be given them. */
static void test_dom0_lends(const struct pt_format *fmt)
{
	struct p2m *p = &dom0_vm.p2m;
	u64 pfn = 128 * MB >> PAGE_SHIFT, far = 1024 * MB >> PAGE_SHIFT;
	struct account none = {0};
	struct pt_leaf l;
	u8 buf[4] = {0};
	u32 before;

	ram.r[0].end = 2048 * MB;
	start_guest(fmt);
	memset(&dom0_vm, 0, sizeof(dom0_vm));
	dom0_vm.is_dom0 = true;
	p2m_init(p, &dom0_vm, true, NULL, NULL);
	CHECK_QUIET(!p2m_dom0_init(p, frame_count() << PAGE_SHIFT), "dom0's map can be built");
	CHECK(p2m_dom0_take(p, POOL_START >> PAGE_SHIFT, 512) == -EPERM &&
		  p2m_dom0_take(p, 0, 512) == -EPERM &&
		  p2m_dom0_take(p, 2048 * MB >> PAGE_SHIFT, 512) == -EPERM,
	      "%s: the hypervisor's memory, what is no RAM and what lies beyond is not lent",
	      name_of(fmt));
	CHECK_QUIET(!p2m_map(&guest.p2m, 0, pfn + 511, 0, PT_R), "a guest has a page");
	CHECK(p2m_dom0_take(p, pfn, 512) == -EBUSY && frame_of(pfn)->kind == FRAME_DOM0,
	      "%s: nor is what a guest has", name_of(fmt));
	p2m_unmap(&guest.p2m, 0, 1);
	leave_pages(&none, 0);
	p->pt.acct = &none;
	before = flushes;
	CHECK(p2m_dom0_take(p, far, 512) == -ENOMEM && frame_of(far)->kind == FRAME_DOM0 &&
		  flushes == before,
	      "%s: a page of 1 GiB that cannot be split", name_of(fmt));
	p->pt.acct = NULL;
	p2m_lookup(p, far + 511, &l);
	CHECK(l.kind == PT_LEAF && l.order == 18, "%s: stays as it is", name_of(fmt));
	CHECK(!p2m_dom0_take(p, far, 512) && !p2m_dom0_give(p, far, 512), "%s: one that can is",
	      name_of(fmt));
	before = flushes;
	CHECK(!p2m_dom0_take(p, pfn, 512) && flushes == before + 1, "%s: a block is lent, flushed",
	      name_of(fmt));
	p2m_lookup(p, pfn + 77, &l);
	CHECK(l.kind == PT_NONE && !p2m_dom0_fault(p, gpa((pfn + 77) << PAGE_SHIFT)) &&
		  p2m_read(p, gpa(pfn << PAGE_SHIFT), buf, 4) == -EFAULT &&
		  p2m_write(p, gpa((pfn + 511) << PAGE_SHIFT), buf, 4) == -EFAULT,
	      "%s: dom0 does not reach it, nor does the hypervisor for it", name_of(fmt));
	p2m_lookup(p, pfn + 512, &l);
	CHECK(l.kind == PT_LEAF && !p2m_read(p, gpa((pfn - 1) << PAGE_SHIFT), buf, 4),
	      "%s: but what lies beside", name_of(fmt));
	CHECK(p2m_map(&guest.p2m, 0, pfn, 9, PT_R) == -EPERM &&
		  p2m_map(&guest.p2m, 0, pfn + 5, 0, PT_R) == -EPERM,
	      "%s: and guests do not get it", name_of(fmt));
	CHECK(p2m_dom0_take(p, pfn, 512) == -EPERM, "%s: it is not lent twice", name_of(fmt));
	CHECK(!p2m_dom0_give(p, pfn, 512) && !p2m_map(&guest.p2m, 0, pfn, 9, PT_R),
	      "%s: given back it is dom0's again", name_of(fmt));
	p2m_lookup(p, pfn + 77, &l);
	CHECK(l.kind == PT_LEAF && l.pfn == pfn + 77 && l.order == 9 &&
		  (l.attr & (PT_R | PT_W | PT_X)) == (PT_R | PT_W | PT_X) &&
		  !p2m_write(p, gpa(pfn << PAGE_SHIFT), buf, 4),
	      "%s: as a large page", name_of(fmt));
	ram.r[0].end = 256 * MB;
}

int main(void)
{
	arena_init(256 * MB);
	test_guest(&pt_npt, false);
	test_guest(&pt_ept, false);
	test_guest(&pt_ept, true);
	test_guest_order();
	test_rights();
	test_nx_large(&pt_ept);
	test_nx_large(&pt_ept_ad);
	test_nx_large(&pt_npt);
	test_unmap_full();
	test_sparse(&pt_npt);
	test_sparse(&pt_ept);
	test_border(&pt_npt);
	test_border(&pt_ept);
	test_access();
	test_words();
	test_dom0_layouts(&pt_npt, 18);
	test_dom0_layouts(&pt_ept, 9);
	test_dom0_share();
	test_dom0_lends(&pt_npt);
	test_dom0_lends(&pt_ept);
	return test_end();
}
