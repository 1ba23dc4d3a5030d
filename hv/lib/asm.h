/* SPDX-License-Identifier: GPL-2.0-only */
/* Instructions that C does not have: CPUID, MSRs, control and debug registers. */
#pragma once

#include "hv/lib/types.h"

#ifdef HV_HOST_TEST
void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d);
void wbinvd(void);
void clflush(const void *line);
#else
static inline void clflush(const void *line)
{
	__asm__ volatile("clflush (%0)" ::"r"(line) : "memory");
}

static inline void wbinvd(void)
{
	__asm__ volatile("wbinvd" : : : "memory");
}

static inline void invlpg(const void *va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}

static inline void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	__asm__ volatile("cpuid"
			 : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d)
			 : "0"(leaf), "2"(subleaf));
}
#endif

/* On return this is in memory, for who does not look into caches. Their lines have 64 bytes. */
static inline void cache_write_back(const void *p, u64 len)
{
	for (u64 at = (u64)p & ~63ull; at < (u64)p + len; at += 64)
		clflush((const void *)at);
	__asm__ volatile("mfence" ::: "memory");
}

/* Highest leaf of the range that base (0, 0x40000000, 0x80000000) begins. */
static inline u32 cpuid_max(u32 base)
{
	u32 a, b, c, d;

	cpuid(base, 0, &a, &b, &c, &d);
	return a;
}

/* What a leaf says; nothing, if its range does not reach so far: CPUID would then give another. */
struct cpuid_regs {
	u32 a, b, c, d;
};
static inline struct cpuid_regs cpuid_read(u32 leaf, u32 subleaf)
{
	struct cpuid_regs l = {0};

	if (leaf <= cpuid_max(leaf & 0xc0000000))
		cpuid(leaf, subleaf, &l.a, &l.b, &l.c, &l.d);
	return l;
}

static inline u64 rdmsr(u32 msr)
{
	u64 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return hi << 32 | lo;
}

static inline void wrmsr(u32 msr, u64 val)
{
	__asm__ volatile("wrmsr" : : "a"(val), "d"(val >> 32), "c"(msr) : "memory");
}

/* An exception at label 1 resumes at label 2. */
#define FIXUP_ENTRY ".pushsection .fixup, \"a\"\n\t.quad 1b, 2f\n\t.popsection\n\t"

/* 0, or -EIO if the access faults; then *val is 0. */
static inline int rdmsr_safe(u32 msr, u64 *val)
{
	u64 lo = 0, hi = 0;
	int err = -EIO;

	__asm__ volatile("1: rdmsr\n\t" FIXUP_ENTRY "xor %0, %0\n2:"
			 : "+r"(err), "+a"(lo), "+d"(hi)
			 : "c"(msr));
	*val = hi << 32 | lo;
	return err;
}

static inline int wrmsr_safe(u32 msr, u64 val)
{
	int err = -EIO;

	__asm__ volatile("1: wrmsr\n\t" FIXUP_ENTRY "xor %0, %0\n2:"
			 : "+r"(err)
			 : "a"(val), "d"(val >> 32), "c"(msr)
			 : "memory");
	return err;
}

static inline u64 xgetbv(u32 reg)
{
	u64 lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(reg));
	return hi << 32 | lo;
}

static inline void xsetbv(u32 reg, u64 val)
{
	__asm__ volatile("xsetbv" : : "a"(val), "d"(val >> 32), "c"(reg) : "memory");
}

#define CR_ACCESS(n)                                                                               \
	static inline u64 read_cr##n(void)                                                         \
	{                                                                                          \
		u64 v;                                                                             \
                                                                                                   \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v));                                  \
		return v;                                                                          \
	}                                                                                          \
	static inline void write_cr##n(u64 v)                                                      \
	{                                                                                          \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(v) : "memory");                         \
	}
CR_ACCESS(0)
CR_ACCESS(2)
CR_ACCESS(3)
CR_ACCESS(4)
#undef CR_ACCESS

#define READ_DR(n)                                                                                 \
	({                                                                                         \
		u64 val_;                                                                          \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(val_));                               \
		val_;                                                                              \
	})
#define WRITE_DR(n, val) __asm__ volatile("mov %0, %%dr" #n ::"r"((u64)(val)))
