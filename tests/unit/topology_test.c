/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/cpu/topology.c */
/*
 * What CPUs share, from what CPUID says on real ones: the values are made of the manuals' tables of
 * fields (SDM leaves 4, 0xb, 0x1f; AMD's PPRs for leaves 0x80000008, 0x8000001d, 0x8000001e) for
 * the numbers of cores, threads and caches that these models have.
 */
#include <string.h>

#include "hv/cpu/topology.h"
#include "test.h"

struct answer {
	u32 leaf, subleaf;
	struct cpuid_regs r;
};

static const struct answer *answers;

static struct cpuid_regs ask(u32 leaf, u32 subleaf)
{
	for (const struct answer *a = answers; a->leaf != ~0u; a++)
		if (a->leaf == leaf && a->subleaf == subleaf)
			return a->r;
	return (struct cpuid_regs){0};
}

#define INTEL 0x756e6547 /* "Genu" */
#define AMD   0x68747541 /* "Auth" */
#define VENDOR(v, last)                                                                            \
	{                                                                                          \
		0, 0,                                                                              \
		{                                                                                  \
			last, v                                                                    \
		}                                                                                  \
	}
#define LEVEL(leaf, n, shift, count, type)                                                         \
	{                                                                                          \
		leaf, n,                                                                           \
		{                                                                                  \
			shift, count, (type) << 8 | (n), 0                                         \
		}                                                                                  \
	}
/* type 1: data, 2: code, 3: both; so many ids share it; so many cores have ids in the package */
#define CACHE(leaf, n, type, level, share, cores)                                                  \
	{                                                                                          \
		leaf, n,                                                                           \
		{                                                                                  \
			(type) | (level) << 5 | ((share)-1) << 14 | ((cores)-1) << 26              \
		}                                                                                  \
	}
#define END                                                                                        \
	{                                                                                          \
		~0u                                                                                \
	}

/* Of two CPUs by APIC id */
static enum cpu_distance apart(const struct answer *cpu, u32 a, u32 b)
{
	struct cpu_place pa, pb;

	answers = cpu;
	pa = topology_place(ask, a);
	pb = topology_place(ask, b);
	return topology_distance(&pa, &pb);
}

/* Core i9-10900K: 10 cores of 2 threads, one L3; ids of 16 cores */
static const struct answer comet_lake[] = {
    VENDOR(INTEL, 0x16),       CACHE(4, 0, 1, 1, 2, 16),
    CACHE(4, 1, 2, 1, 2, 16),  CACHE(4, 2, 3, 2, 2, 16),
    CACHE(4, 3, 3, 3, 32, 16), LEVEL(0xb, 0, 1, 2, 1),
    LEVEL(0xb, 1, 5, 20, 2),   END,
};

/* Core i5-9600K: 6 cores without hyper-threading */
static const struct answer coffee_lake[] = {
    VENDOR(INTEL, 0x16),     CACHE(4, 0, 1, 1, 1, 8),
    CACHE(4, 2, 3, 2, 1, 8), CACHE(4, 3, 3, 3, 16, 8),
    LEVEL(0xb, 0, 0, 1, 1),  LEVEL(0xb, 1, 4, 6, 2),
    CACHE(4, 1, 2, 1, 1, 8), END,
};

/* Two Xeon Gold 6248: 20 cores of 2 threads each, ids of 32 cores a package */
static const struct answer cascade_lake[] = {
    VENDOR(INTEL, 0x16),      CACHE(4, 0, 1, 1, 2, 32),
    CACHE(4, 2, 3, 2, 2, 32), CACHE(4, 3, 3, 3, 64, 32),
    LEVEL(0xb, 0, 1, 2, 1),   LEVEL(0xb, 1, 6, 40, 2),
    CACHE(4, 1, 2, 1, 2, 32), END,
};

/*
 * Core i9-12900K: a performance core has two ids, four efficient ones share an L2 and have eight;
 * what a CPU answers depends on its kind. Leaf 0x1f is there, and has only threads and cores.
 */
static const struct answer alder_lake_p[] = {
    VENDOR(INTEL, 0x20),      CACHE(4, 0, 1, 1, 2, 64),
    CACHE(4, 2, 3, 2, 2, 64), CACHE(4, 3, 3, 3, 128, 64),
    LEVEL(0x1f, 0, 1, 2, 1),  LEVEL(0x1f, 1, 7, 24, 2),
    CACHE(4, 1, 2, 1, 2, 64), END,
};
static const struct answer alder_lake_e[] = {
    VENDOR(INTEL, 0x20),      CACHE(4, 0, 1, 1, 2, 64),
    CACHE(4, 2, 3, 2, 8, 64), CACHE(4, 3, 3, 3, 128, 64),
    LEVEL(0x1f, 0, 1, 1, 1),  LEVEL(0x1f, 1, 7, 24, 2),
    CACHE(4, 1, 2, 1, 2, 64), END,
};

/* Xeon Platinum 9242: two dies in a package, each with its L3, told by leaf 0x1f only */
static const struct answer cascade_lake_ap[] = {
    VENDOR(INTEL, 0x1f),
    CACHE(4, 0, 1, 1, 2, 32),
    CACHE(4, 3, 3, 3, 64, 32),
    LEVEL(0x1f, 0, 1, 2, 1),
    LEVEL(0x1f, 1, 6, 48, 2),
    LEVEL(0x1f, 2, 7, 96, 5),
    LEVEL(0xb, 0, 1, 2, 1),
    LEVEL(0xb, 1, 7, 96, 2),
    CACHE(4, 1, 2, 1, 2, 32),
    CACHE(4, 2, 3, 2, 2, 32),
    END,
};

/* Core 2 Quad: neither leaf; two pairs with an L2 each */
static const struct answer core2[] = {
    VENDOR(INTEL, 0xa),	     {1, 0, {0, 4 << 16, 0, BIT(28)}}, CACHE(4, 0, 1, 1, 1, 4),
    CACHE(4, 2, 3, 2, 2, 4), CACHE(4, 1, 2, 1, 1, 4),	       END,
};

/* Ryzen 7 3700X: 8 cores of 2 threads, two CCXs of 4 cores with an L3 each */
static const struct answer zen2[] = {
    VENDOR(AMD, 0x10),
    {0x80000000, 0, {0x80000020}},
    {0x80000001, 0, {.c = BIT(22)}},
    {0x80000008, 0, {.c = 4 << 12 | 15}},
    {0x8000001e, 0, {.b = 1 << 8}},
    CACHE(0x8000001d, 0, 1, 1, 2, 1),
    CACHE(0x8000001d, 2, 3, 2, 2, 1),
    CACHE(0x8000001d, 3, 3, 3, 8, 1),
    LEVEL(0xb, 0, 1, 2, 1),
    LEVEL(0xb, 1, 4, 16, 2),
    CACHE(0x8000001d, 1, 2, 1, 2, 1),
    END,
};

/* Ryzen 5 1600: CCXs of three cores, whose ids leave a gap; no leaf 0xb */
static const struct answer zen1[] = {
    VENDOR(AMD, 0xd),
    {0x80000000, 0, {0x8000001f}},
    {0x80000001, 0, {.c = BIT(22)}},
    {0x80000008, 0, {.c = 4 << 12 | 11}},
    {0x8000001e, 0, {.b = 1 << 8}},
    CACHE(0x8000001d, 0, 1, 1, 2, 1),
    CACHE(0x8000001d, 3, 3, 3, 6, 1),
    CACHE(0x8000001d, 1, 2, 1, 2, 1),
    CACHE(0x8000001d, 2, 3, 2, 2, 1),
    END,
};

/* Phenom II X4: nothing of caches */
static const struct answer phenom[] = {
    VENDOR(AMD, 5),
    {1, 0, {0, 4 << 16, 0, BIT(28)}},
    {0x80000000, 0, {0x8000001b}},
    {0x80000008, 0, {.c = 2 << 12 | 3}},
    END,
};

/* Says more of a cache than of the package, and that a core is larger than both */
static const struct answer liar[] = {
    VENDOR(INTEL, 0x1f),
    LEVEL(0xb, 0, 31, 2, 1),
    LEVEL(0xb, 1, 2, 4, 2),
    CACHE(4, 0, 1, 1, 4096, 64),
    END,
};

static void test_intel(void)
{
	CHECK(apart(comet_lake, 0, 1) == NEAR_CORE && apart(comet_lake, 1, 2) == NEAR_CACHE &&
		  apart(comet_lake, 0, 19) == NEAR_CACHE && apart(comet_lake, 0, 32) == NEAR_NONE,
	      "ten cores of two threads, one cache");
	CHECK(apart(coffee_lake, 0, 1) == NEAR_CACHE, "six cores of one thread");
	CHECK(apart(cascade_lake, 6, 7) == NEAR_CORE && apart(cascade_lake, 0, 39) == NEAR_CACHE &&
		  apart(cascade_lake, 39, 64) == NEAR_NONE &&
		  apart(cascade_lake, 64, 103) == NEAR_CACHE,
	      "two packages of twenty cores");
	CHECK(apart(alder_lake_p, 0, 1) == NEAR_CORE && apart(alder_lake_p, 0, 14) == NEAR_CACHE &&
		  apart(alder_lake_e, 64, 66) == NEAR_CACHE &&
		  apart(alder_lake_e, 64, 72) == NEAR_CACHE,
	      "a hybrid: cores of two threads and of one share the cache");
	CHECK(apart(cascade_lake_ap, 0, 1) == NEAR_CORE &&
		  apart(cascade_lake_ap, 0, 63) == NEAR_CACHE &&
		  apart(cascade_lake_ap, 0, 64) == NEAR_NODE &&
		  apart(cascade_lake_ap, 0, 128) == NEAR_NONE,
	      "two dies in a package, by leaf 0x1f");
	CHECK(apart(core2, 0, 1) == NEAR_CACHE && apart(core2, 1, 2) == NEAR_NODE &&
		  apart(core2, 0, 4) == NEAR_NONE,
	      "without these leaves, two pairs in a package");
}

static void test_amd(void)
{
	CHECK(apart(zen2, 0, 1) == NEAR_CORE && apart(zen2, 0, 7) == NEAR_CACHE &&
		  apart(zen2, 7, 8) == NEAR_NODE && apart(zen2, 0, 16) == NEAR_NONE,
	      "Zen: two CCXs in a package");
	CHECK(apart(zen1, 2, 3) == NEAR_CORE && apart(zen1, 0, 5) == NEAR_CACHE &&
		  apart(zen1, 5, 8) == NEAR_NODE && apart(zen1, 0, 16) == NEAR_NONE,
	      "Zen with CCXs of three cores, without leaf 0xb");
	CHECK(apart(phenom, 0, 3) == NEAR_CACHE && apart(phenom, 3, 4) == NEAR_NONE,
	      "before Zen: one package");
}

static void test_nonsense(void)
{
	struct cpu_place a = {0}, b = {.node = 1};

	CHECK(apart(liar, 0, 3) == NEAR_CORE && apart(liar, 0, 4) == NEAR_NONE,
	      "no core or cache is larger than its package");
	answers = (const struct answer[]){END};
	CHECK(topology_place(ask, 7).core == 7 && topology_place(ask, 7).package == 7,
	      "who says nothing shares nothing");
	CHECK(topology_distance(&a, &b) == NEAR_NONE, "CPUs of two nodes share nothing");
}

int main(void)
{
	test_intel();
	test_amd();
	test_nonsense();
	return test_end();
}
