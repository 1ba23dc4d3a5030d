/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/topology.h"
#include "hv/lib/cpuid_bits.h"

#define LEVELS	     8 /* of leaf 0x1f; six are defined */
#define LEVEL_THREAD 1 /* ECX[15:8] of a level that has the threads of a core */
#define CACHE_LEAVES 16
#define CACHE_DATA   1 /* EAX[4:0] of leaf 4 and AMD's */
#define CACHE_BOTH   3

/* By so many bits APIC ids are shifted to get the id of what is shared. */
struct shifts {
	u32 core, cache, package;
};

/* Bits for so many ids. */
static u32 bits_for(u32 count)
{
	return count > 1 ? 32 - __builtin_clz(count - 1) : 0;
}

/* Leaf 0x1f or 0xb. False: the CPU has it not. */
static bool read_levels(cpuid_fn *cpuid, u32 leaf, struct shifts *s)
{
	if (cpuid(0, 0).a < leaf)
		return false;
	for (u32 i = 0; i < LEVELS; i++) {
		struct cpuid_regs r = cpuid(leaf, i);
		u32 type = r.c >> 8 & 0xff;

		if (!type || !(r.b & 0xffff))
			return i;
		if (type == LEVEL_THREAD)
			s->core = r.a & 0x1f;
		s->package = r.a & 0x1f; /* of the last one, all above it are packages */
	}
	return true;
}

static bool has_amd_leaf(cpuid_fn *cpuid, u32 leaf)
{
	return cpuid_is_amd(cpuid(0, 0).b) && cpuid(0x80000000, 0).a >= leaf;
}

static bool has_amd_topology(cpuid_fn *cpuid)
{
	return has_amd_leaf(cpuid, 0x8000001e) && cpuid(0x80000001, 0).c & CPUID_X1C_TOPOEXT;
}

/* CPUs without these leaves: how many ids a package has, and of them a core. */
static void read_counts(cpuid_fn *cpuid, struct shifts *s)
{
	struct cpuid_regs one = cpuid(1, 0);
	u32 ids = one.d & CPUID_1D_HTT ? one.b >> 16 & 0xff : 1, cores = 1;

	s->package = bits_for(ids);
	if (has_amd_leaf(cpuid, 0x80000008)) {
		u32 sizes = cpuid(0x80000008, 0).c;

		s->package = (sizes >> 12 & 0xf) ?: bits_for((sizes & 0xff) + 1);
		if (has_amd_topology(cpuid))
			s->core = bits_for((cpuid(0x8000001e, 0).b >> 8 & 0xff) + 1);
		return;
	}
	if (cpuid(0, 0).a >= 4)
		cores = (cpuid(4, 0).a >> 26) + 1;
	s->core = s->package - MIN(bits_for(cores), s->package);
}

/* The last level of those that hold data. */
static void read_caches(cpuid_fn *cpuid, struct shifts *s)
{
	u32 leaf = has_amd_topology(cpuid) ? 0x8000001d : 4, last = 0;

	if (leaf == 4 && (cpuid_is_amd(cpuid(0, 0).b) || cpuid(0, 0).a < 4))
		return;
	for (u32 i = 0; i < CACHE_LEAVES; i++) {
		u32 a = cpuid(leaf, i).a, type = a & 0x1f, level = a >> 5 & 7;

		if (!type)
			break;
		if ((type != CACHE_DATA && type != CACHE_BOTH) || level < last)
			continue;
		last = level;
		s->cache = bits_for((a >> 14 & 0xfff) + 1);
	}
}

struct cpu_place topology_place(cpuid_fn *cpuid, u32 apic_id)
{
	struct shifts s = {.cache = ~0u};

	if (!read_levels(cpuid, 0x1f, &s) && !read_levels(cpuid, 0xb, &s))
		read_counts(cpuid, &s);
	read_caches(cpuid, &s);
	/* a hypervisor below may tell what cannot be */
	s.core = MIN(s.core, s.package);
	s.cache = MIN(MAX(s.cache, s.core), s.package);
	return (struct cpu_place){.core = apic_id >> s.core,
				  .cache = apic_id >> s.cache,
				  .package = apic_id >> s.package};
}

enum cpu_distance topology_distance(const struct cpu_place *a, const struct cpu_place *b)
{
	if (a->node != b->node || a->package != b->package)
		return NEAR_NONE;
	if (a->core == b->core)
		return NEAR_CORE;
	return a->cache == b->cache ? NEAR_CACHE : NEAR_NODE;
}
