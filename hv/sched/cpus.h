/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets of CPUs. Of each only the first `cpus_words` words are looked at or written, where nothing
 * else is said: machines with 64 CPUs have one. What others may change meanwhile is read word by
 * word.
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

_Static_assert(MAX_CPUS == CORBEL_MAX_CPUS, "hv/abi_pool.h");

extern u32 cpus_words; /* set once, by sched_init() */

#define EACH_WORD(i) for (u32 i = 0; !i || unlikely(i < cpus_words); i++)

static inline bool cpus_has(const struct corbel_cpus *s, u32 cpu)
{
	return READ_ONCE(s->word[cpu / 64]) & BIT(cpu % 64);
}

/* Atomic, as is the next. */
static inline void cpus_add(struct corbel_cpus *s, u32 cpu)
{
	__atomic_fetch_or(&s->word[cpu / 64], BIT(cpu % 64), __ATOMIC_SEQ_CST);
}

/* Was it in there? */
static inline bool cpus_take(struct corbel_cpus *s, u32 cpu)
{
	return __atomic_fetch_and(&s->word[cpu / 64], ~BIT(cpu % 64), __ATOMIC_SEQ_CST) &
	       BIT(cpu % 64);
}

/* Of a set that is the caller's own. */
static inline void cpus_drop(struct corbel_cpus *s, u32 cpu)
{
	s->word[cpu / 64] &= ~BIT(cpu % 64);
}

static inline bool cpus_any(const struct corbel_cpus *s)
{
	EACH_WORD(i)
		if (READ_ONCE(s->word[i]))
			return true;
	return false;
}

/* Those that both have; `to` may be one of the two. Are there any? */
static inline bool cpus_and(struct corbel_cpus *to, const struct corbel_cpus *a,
			    const struct corbel_cpus *b)
{
	u64 any = 0;

	EACH_WORD(i)
		any |= to->word[i] = READ_ONCE(a->word[i]) & READ_ONCE(b->word[i]);
	return any;
}

/* Do both have one beside that? */
static inline bool cpus_share(const struct corbel_cpus *a, const struct corbel_cpus *b, u32 but)
{
	EACH_WORD(i) {
		u64 both = READ_ONCE(a->word[i]) & READ_ONCE(b->word[i]);

		if (both && (i != but / 64 || both != BIT(but % 64)))
			return true;
	}
	return false;
}

/* Those of the first that the second does not have, likewise. */
static inline bool cpus_without(struct corbel_cpus *to, const struct corbel_cpus *a,
				const struct corbel_cpus *b)
{
	u64 any = 0;

	EACH_WORD(i)
		any |= to->word[i] = READ_ONCE(a->word[i]) & ~READ_ONCE(b->word[i]);
	return any;
}

static inline void cpus_or(struct corbel_cpus *to, const struct corbel_cpus *a,
			   const struct corbel_cpus *b)
{
	EACH_WORD(i)
		to->word[i] = READ_ONCE(a->word[i]) | READ_ONCE(b->word[i]);
}

/* All of the words. */
static inline void cpus_clear(struct corbel_cpus *s)
{
	*s = (struct corbel_cpus){0};
}

static inline bool cpus_within(const struct corbel_cpus *a, const struct corbel_cpus *b)
{
	struct corbel_cpus rest;

	return !cpus_without(&rest, a, b);
}

/* The first from that one on; MAX_CPUS: none. */
static inline u32 cpus_next(const struct corbel_cpus *s, u32 cpu)
{
	u64 rest = ~0ull << cpu % 64;

	for (u32 i = cpu / 64; i < cpus_words; i++, rest = ~0ull) {
		rest &= READ_ONCE(s->word[i]);
		if (rest)
			return i * 64 + __builtin_ctzll(rest);
	}
	return MAX_CPUS;
}

/* The first of those that both have; MAX_CPUS: none. */
static inline u32 cpus_first_of(const struct corbel_cpus *a, const struct corbel_cpus *b)
{
	EACH_WORD(i) {
		u64 both = READ_ONCE(a->word[i]) & READ_ONCE(b->word[i]);

		if (both)
			return i * 64 + __builtin_ctzll(both);
	}
	return MAX_CPUS;
}

#define FOR_EACH_CPU(cpu, set)                                                                     \
	for (u32 cpu = cpus_next(set, 0); cpu < MAX_CPUS; cpu = cpus_next(set, cpu + 1))
