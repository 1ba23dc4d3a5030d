/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/emul/walk.c */
/*
 * The guest page walk against a naive reference: random tables in a small memory, random control
 * bits and accesses. The reference decides bit by bit, from the tables of the SDM's chapter
 * "Paging", and shares nothing with the walk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/emul/emul.h"
#include "hv/emul/walk.h"
#include "hv/lib/x86.h"
#include "test.h"

#define SEED   0xda3e39cb94b95bdbull
#define FRAMES 16u
#define ROUNDS 150000u

static u64 rng = SEED;
static u8 memory[FRAMES * PAGE_SIZE] __aligned(4096), expected[FRAMES * PAGE_SIZE] __aligned(4096);
static u32 failed;
/* what the callback does: 0, -EAGAIN now and then (1), always (2), or -EFAULT (3) */
static int cmpxchg_result;

#define EXPECT(cond, ...) (CHECK_QUIET(cond, __VA_ARGS__) ? (void)0 : (void)failed++)

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull;
}

static bool chance(u32 percent)
{
	return rnd() % 100 < percent;
}

static u32 pkru;

static u32 mem_pkru(void *ctx)
{
	return pkru;
}

static int mem_read(void *ctx, u64 gpa, void *buf, u32 len)
{
	if (gpa >= sizeof(memory) || len > sizeof(memory) - gpa)
		return -EFAULT;
	memcpy(buf, memory + gpa, len);
	return 0;
}

static int mem_cmpxchg(void *ctx, u64 gpa, u64 old, u64 new, u32 size)
{
	u64 now = 0;

	if (cmpxchg_result == 3)
		return -EFAULT;
	memcpy(&now, memory + gpa, size);
	if (cmpxchg_result == 1 && rnd() % 4 == 0) { /* somebody else was faster */
		now |= BIT(5);
		memcpy(memory + gpa, &now, size);
	}
	if (now != old || cmpxchg_result == 2)
		return -EAGAIN;
	memcpy(memory + gpa, &new, size);
	return 0;
}

/* ---- the reference ---- */

enum mode { NOPAGING, LEGACY, PAE, LEVELS4, LEVELS5 };

struct verdict {
	int ret;
	u32 error;
	u64 gpa;
};

static enum mode mode_of(const struct walk_env *w)
{
	if (!(w->cr0 & CR0_PG))
		return NOPAGING;
	if (w->efer & EFER_LMA)
		return w->cr4 & CR4_LA57 ? LEVELS5 : LEVELS4;
	return w->cr4 & CR4_PAE ? PAE : LEGACY;
}

/* Is this bit of a present entry reserved? Levels count from 1 = page table. */
static bool bit_reserved(const struct walk_env *w, enum mode m, u32 level, bool large, u32 bit)
{
	u32 m40 = w->maxphyaddr < 32 ? 32 : w->maxphyaddr > 40 ? 40 : w->maxphyaddr;

	if (m == LEGACY)
		return large && bit <= 21 && bit >= m40 - 19;
	if (bit == 63)
		return !(w->efer & EFER_NXE) || (m == PAE && level == 3);
	if (bit >= w->maxphyaddr && bit <= 51)
		return true;
	if (m == PAE && bit >= 52)
		return true;
	if (m == PAE && level == 3)
		return bit == 1 || bit == 2 || (bit >= 5 && bit <= 8);
	if (bit == 7)
		return level >= 4;
	if (bit == 8)
		return w->global_reserved && level >= 3 && !large;
	return large && bit >= 13 && bit <= (level == 2 ? 20u : 29u);
}

/*
 * The entries used are noted in used[], with their size, so that the expected A/D bits can be set.
 */
static struct verdict reference(const struct walk_env *w, u64 linear, u64 access, u64 *used,
				u32 *levels, u32 *lowest)
{
	enum mode m = mode_of(w);
	u32 level = m == LEGACY	   ? 2
		    : m == PAE	   ? 3
		    : m == LEVELS4 ? 4
				   : 5,
	    size = m == LEGACY ? 4 : 8;
	bool user = w->cpl == 3 && !(access & WALK_SYSTEM), write = access & WALK_WRITE,
	     fetch = access & WALK_FETCH;
	bool all_w = true, all_u = true, any_nx = false, bad = false, key_bad = false;
	u64 table, offset_mask;
	u32 error = write << 1 | user << 2;

	*levels = 0;
	if (m <= PAE)
		linear &= 0xffffffff;
	if (m == NOPAGING)
		return (struct verdict){.gpa = linear};
	if (fetch && (w->cr4 & CR4_SMEP || (w->cr4 & CR4_PAE && w->efer & EFER_NXE)))
		error |= 16;
	table = m == LEGACY ? w->cr3 & 0xfffff000
		: m == PAE  ? w->cr3 & 0xffffffe0
			    : w->cr3 & 0xffffffffff000;
	*levels = level;
	for (;; level--) {
		static const u32 shift_long[] = {0, 12, 21, 30, 39, 48},
				 shift_legacy[] = {0, 12, 22};
		u32 shift = m == LEGACY ? shift_legacy[level] : shift_long[level];
		u64 at = table + (linear >> shift) % (m == LEGACY ? 1024 : 512) * size, entry = 0;
		bool large;

		if (at >= sizeof(memory))
			return (struct verdict){-EAGAIN, 0, at};
		memcpy(&entry, memory + at, size);
		used[level] = at;
		*lowest = level;
		if (!(entry & 1))
			return (struct verdict){-EFAULT, error, 0};
		large = entry >> 7 & 1 && ((level == 2 && (m != LEGACY || w->cr4 & CR4_PSE)) ||
					   (level == 3 && m >= LEVELS4));
		for (u32 bit = 0; bit < 64; bit++)
			if (entry >> bit & 1 && bit_reserved(w, m, level, large, bit))
				return (struct verdict){-EFAULT, error | 9, 0};
		if (!(m == PAE && level == 3)) {
			all_w &= entry >> 1 & 1;
			all_u &= entry >> 2 & 1;
			any_nx |= entry >> 63;
		}
		table = m == LEGACY ? entry & 0xfffff000 : entry & 0xffffffffff000;
		if (!large && level > 1)
			continue;

		offset_mask = (1ull << shift) - 1;
		if (m == LEGACY && large)
			table = (entry & 0xffc00000) | (entry & 0x1fe000) << 19;
		if (user && !all_u)
			bad = true;
		if (write && !all_w && (user || w->cr0 & CR0_WP))
			bad = true;
		if (fetch && any_nx)
			bad = true;
		if (fetch && !user && all_u && w->cr4 & CR4_SMEP)
			bad = true;
		if (!fetch && !user && all_u && w->cr4 & CR4_SMAP &&
		    !(w->rflags >> 18 & 1 && !(access & WALK_SYSTEM)))
			bad = true;
		if (!fetch && all_u && m >= LEVELS4 && w->cr4 & CR4_PKE && w->pkru) {
			u32 key = entry >> 59 & 15;

			if (pkru >> (2 * key) & 1)
				key_bad = true;
			if (pkru >> (2 * key + 1) & 1 && write && (user || w->cr0 & CR0_WP))
				key_bad = true;
		}
		if (bad || key_bad)
			return (struct verdict){-EFAULT, error | 1 | key_bad << 5, 0};
		return (struct verdict){0, 0, (table & ~offset_mask) | (linear & offset_mask)};
	}
}

/*
 * What the walk does to accessed and dirty bits: on all levels but PAE's top; dirty in the lowest.
 */
static void expect_accessed(const struct walk_env *w, const u64 *used, u32 levels, u32 lowest,
			    bool write)
{
	enum mode m = mode_of(w);

	for (u32 level = levels; level && level >= lowest; level--)
		if (!(m == PAE && level == 3))
			expected[used[level]] |= 0x20 | (write && level == lowest ? 0x40 : 0);
}

static u64 random_entry(bool wide)
{
	u64 e = (rnd() % (FRAMES + 1)) << 12 | (rnd() & 0xe18);

	e |= (chance(93) ? 1 : 0) | (chance(80) ? 2 : 0) | (chance(70) ? 4 : 0) |
	     (chance(15) ? 0x80 : 0);
	e |= chance(30) ? 0x60 : chance(30) ? 0x20 : 0;
	if (!wide)
		return e;
	if (chance(4))
		e |= 1ull << 63;
	if (chance(30))
		e |= (rnd() & 15) << 59;
	if (chance(4))
		e |= BIT(36 + rnd() % 27);
	return e;
}

/*
 * A table's entries, mostly alike; the kind of PAE's top level keeps its reserved bits clear at
 * times.
 */
static void random_tables(bool wide)
{
	for (u32 at = 0; at < sizeof(memory); at += wide ? 8 : 4) {
		u64 e = random_entry(wide);

		if (at < 0x2000)
			e &= ~0x1e6ull; /* the lowest frames serve as PAE roots */
		if (rnd() % 16 == 0 && e & 0x80)
			e &= ~0x3fffe000ull; /* large pages need zeros there */
		memcpy(memory + at, &e, wide ? 8 : 4);
	}
}

static void random_env(struct walk_env *w, bool wide)
{
	w->cr0 = CR0_PE | (chance(98) ? CR0_PG : 0) | (chance(50) ? CR0_WP : 0);
	w->cr3 = rnd() % FRAMES << 12 | (rnd() & 0x18);
	w->cr4 =
	    (rnd() & (CR4_PSE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_LA57)) | (wide ? CR4_PAE : 0);
	w->efer = (wide && chance(70) ? EFER_LMA : 0) | (chance(80) ? EFER_NXE : 0);
	if (wide && !(w->efer & EFER_LMA))
		w->cr3 = (rnd() % 0x2000) & ~0x1full;
	w->rflags = rnd();
	w->cpl = rnd() % 4;
	w->maxphyaddr = 32 + rnd() % 21;
	w->global_reserved = chance(50);
	pkru = chance(50) ? 0 : (u32)rnd();
	w->pkru = chance(90) ? mem_pkru : NULL;
	w->read = mem_read;
	w->cmpxchg = chance(90) ? mem_cmpxchg : NULL;
}

static void one_round(bool wide, u32 *outcomes)
{
	struct walk_env w = {0};
	u64 linear = rnd(), access = rnd() & 7, gpa = 0, used[6];
	u32 error = 0, levels, lowest = 0;
	struct verdict want;
	int ret;

	random_env(&w, wide);
	if ((access & 3) == 3)
		access &= ~2ull;
	if (chance(50))
		linear = (u64)((s64)(linear << 16) >> 16);
	cmpxchg_result = chance(10);
	memcpy(expected, memory, sizeof(memory));
	want = reference(&w, linear, access, used, &levels, &lowest);
	if (want.ret == 0 && w.cmpxchg)
		expect_accessed(&w, used, levels, lowest, access & WALK_WRITE);
	ret = walk_linear(&w, linear, access, &gpa, &error);
	outcomes[want.ret == 0	       ? 0
		 : want.ret == -EAGAIN ? 1
		 : want.error & 8      ? 2
		 : want.error & 32     ? 3
		 : want.error & 1      ? 4
				       : 5]++;
	EXPECT(ret == want.ret, "mode %d linear %llx access %llx: %d, should be %d", mode_of(&w),
	       (unsigned long long)linear, (unsigned long long)access, ret, want.ret);
	EXPECT(ret != -EFAULT || error == want.error, "mode %d: error code %x, should be %x",
	       mode_of(&w), error, want.error);
	EXPECT(ret == -EFAULT || gpa == want.gpa, "mode %d: gpa %llx, should be %llx", mode_of(&w),
	       (unsigned long long)gpa, (unsigned long long)want.gpa);
	EXPECT(memcmp(memory, expected, sizeof(memory)) == 0, "mode %d: A and D bits (result %d)",
	       mode_of(&w), ret);
	memcpy(memory, expected, sizeof(memory));
}

static void test_random(bool wide, const char *name)
{
	static const char *const kinds[] = {"mapped", "missed", "reserved",
					    "key",    "denied", "absent"};
	u32 before = failed, outcomes[6] = {0};

	for (u32 r = 0; r < ROUNDS && failed < before + 5; r++) {
		if (r % 200 == 0)
			random_tables(wide);
		one_round(wide, outcomes);
	}
	for (u32 k = 0; k < 6; k++)
		printf("# %s: %u %s\n", name, outcomes[k], kinds[k]);
	CHECK(failed == before, "%s tables as the reference walks them", name);
	CHECK(outcomes[0] > 500 && outcomes[2] > 500 && outcomes[4] > 500 && outcomes[5] > 500,
	      "%s tables led to all kinds of results", name);
}

static void test_accessed(void)
{
	struct walk_env w = {.cr0 = CR0_PE | CR0_PG,
			     .cr4 = CR4_PAE,
			     .efer = EFER_LMA,
			     .maxphyaddr = 40,
			     .read = mem_read,
			     .cmpxchg = mem_cmpxchg};
	u64 gpa, entry = 3;
	u32 error;

	memset(memory, 0, sizeof(memory));
	memcpy(memory, &entry, 8); /* a table that is its own subtable, and the page */
	cmpxchg_result = 2;
	CHECK(walk_linear(&w, 0x123, WALK_WRITE, &gpa, &error) == -EAGAIN && gpa == 0 && error == 0,
	      "an entry that changes all the time: given up");
	cmpxchg_result = 3;
	CHECK(walk_linear(&w, 0x123, 0, &gpa, &error) == -EAGAIN && gpa == 0 && error == WALK_WRITE,
	      "A bit that cannot be written: p2m miss by write");
	cmpxchg_result = 0;
	CHECK(walk_linear(&w, 0x123, 0, &gpa, &error) == 0 && gpa == 0x123 && memory[0] == 0x23,
	      "a read sets A");
	CHECK(walk_linear(&w, 0x123, WALK_WRITE, &gpa, &error) == 0 && memory[0] == 0x63,
	      "a write sets D");
	w.cmpxchg = NULL;
	memory[0] = 3;
	CHECK(walk_linear(&w, 0x123, WALK_WRITE, &gpa, &error) == 0 && memory[0] == 3,
	      "without cmpxchg A and D stay");
}

/* Control registers, tables and addresses without any sense: no undefined behaviour, an end. */
static void test_hostile(void)
{
	u32 mapped = 0;

	for (u32 r = 0; r < 200000; r++) {
		struct walk_env w = {.cr0 = rnd() | CR0_PG,
				     .cr3 = rnd() & rnd(),
				     .cr4 = rnd(),
				     .efer = rnd(),
				     .rflags = rnd(),
				     .cpl = rnd(),
				     .maxphyaddr = chance(50) ? (u32)rnd() : 52,
				     .pkru = mem_pkru,
				     .read = mem_read,
				     .cmpxchg = mem_cmpxchg};
		u64 gpa;
		u32 error;

		pkru = rnd();
		if (r % 500 == 0)
			for (u32 at = 0; at < sizeof(memory); at += 8)
				*(u64 *)(memory + at) =
				    rnd() & (chance(80) ? 0x80000000000170e7 : ~0ull);
		if (chance(80))
			w.cr3 &= 0x17fff;
		cmpxchg_result = rnd() % 4;
		mapped += walk_linear(&w, rnd(), rnd(), &gpa, &error) == 0;
	}
	CHECK(mapped > 100, "random state: %u mapped, nothing broke", mapped);
}

int main(void)
{
	printf("# seed %#llx\n", (unsigned long long)SEED);
	test_random(false, "32-bit");
	test_random(true, "64-bit");
	test_accessed();
	test_hostile();
	return test_end();
}
