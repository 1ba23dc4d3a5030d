/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the emulator's tests bring along: registers, and data in pages that are MMIO, RAM or fault.
 * Each test draws from the same seed.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/emul/emul.h"
#include "hv/emul/walk.h"
#include "hv/lib/x86.h"
#include "test.h"

#define SEED 0x853c49e6748fea9bull

/* Inside loops; failed counts for the summary line of the loop. */
static u32 failed;
#define EXPECT(cond, ...) (CHECK_QUIET(cond, __VA_ARGS__) ? (void)0 : (void)failed++)

#define CF    1u
#define PF    4u
#define AF    0x10u
#define ZF    0x40u
#define SF    0x80u
#define DF    0x400u
#define OF    0x800u
#define ARITH (CF | PF | AF | ZF | SF | OF)

#define DATA_PAGES 4u
#define DATA_SIZE  (DATA_PAGES * 4096u)
#define MMIO_GPA   0xfeb00000ull

static u64 rng = SEED;

static inline u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull;
}

/* Random, with a liking for the edges. */
static inline u64 rnd_value(void)
{
	static const u64 edge[] = {
	    0,		1,	    0x7f,	0x80,	    0xff,	0x7fff, 0x8000, 0xffff,
	    0x7fffffff, 0x80000000, 0xffffffff, ~0ull >> 1, 1ull << 63, ~0ull,	0xf,	0x10,
	};

	return rnd() % 3 ? rnd() : edge[rnd() % ARRAY_SIZE(edge)] + (rnd() % 4 == 0);
}

/* ---- the emulated side ---- */

static u32 data_at = 0x10000000; /* the data's linear address */

static struct {
	u8 data[DATA_SIZE];
	u32 mmio_pages;	   /* bit per page */
	u32 retry;	   /* one access in this many misses the p2m; 0 = none */
	u32 read, written; /* bytes that MMIO really saw */
	bool bad;	   /* access outside the data, or rmw wrong */
	u32 fault_page;	   /* page + 1 that faults on writes */
	u32 ports, wrong;  /* accesses to the port; those that wrote something else */
	u32 as_system;	   /* accesses by the system's rights */
} dev;

/* What the port gives and expects, one after the other. */
static inline u32 port_value(u32 k)
{
	return k * 0x9e3779b1u + 0x12345;
}

static inline int dev_access(struct emul_env *e, u64 linear, u8 *to, const u8 *from, u32 len,
			     u64 *gpa)
{
	u64 off = linear - data_at;

	dev.as_system += e->as_system;
	if (off >= DATA_SIZE || len > DATA_SIZE - off || (off & 4095) + len > 4096) {
		dev.bad = true;
		e->fault.vector = 14;
		return -EFAULT;
	}
	if (dev.fault_page == off / 4096 + 1 && (from || e->rmw)) {
		e->fault.vector = 14;
		e->fault.error = 3;
		e->fault.cr2 = linear;
		return -EFAULT;
	}
	if (dev.retry && rnd() % dev.retry == 0)
		return -EAGAIN;
	if (dev.mmio_pages >> (off / 4096) & 1) {
		*gpa = MMIO_GPA + off;
		return -EOPNOTSUPP;
	}
	if (from)
		memcpy(dev.data + off, from, len);
	else
		memcpy(to, dev.data + off, len);
	return 0;
}

static inline int dev_read(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *gpa)
{
	return dev_access(e, linear, buf, NULL, len, gpa);
}

static inline int dev_write(struct emul_env *e, u64 linear, const void *buf, u32 len, u64 *gpa)
{
	return dev_access(e, linear, NULL, buf, len, gpa);
}

static inline void dev_segment(struct emul_env *e, u8 seg) /* tests fill all of them */
{
}

static struct cpu_state {
	u64 gpr[16], rip, rflags, mmx[8];
	u8 vec[16][32];
} cpu;
static u8 vector_fault; /* what vector registers raise; 0: nothing */

static inline int dev_vector(struct emul_env *e, enum emul_vector file, u8 n, u8 *val, bool write)
{
	void *at = file == EMUL_MMX ? (void *)&cpu.mmx[n & 7] : cpu.vec[n & 15];
	u32 size = file == EMUL_MMX ? 8 : 32;

	if (n > (file == EMUL_MMX ? 7 : 15))
		dev.bad = true;
	e->fault.vector = vector_fault;
	if (vector_fault)
		return -EFAULT;
	memcpy(write ? at : val, write ? val : at, size);
	return 0;
}

static struct emul_system dev_system; /* what an operating system has set */
static bool msw_refused;	      /* of CR0 */

static inline void dev_get_system(struct emul_env *e, struct emul_system *s)
{
	*s = dev_system;
}

static inline void dev_set_segment(struct emul_env *e, u8 seg, const struct corbel_segment *s)
{
	dev_system.seg[seg] = *s;
}

static inline bool dev_set_cr0(struct emul_env *e, u64 cr0)
{
	if (!msw_refused)
		dev_system.cr0 = cr0;
	return !msw_refused;
}

static const struct emul_ops dev_ops = {dev_read,	dev_write,	 dev_segment, dev_vector,
					dev_get_system, dev_set_segment, dev_set_cr0};

#define SELECTOR(name)                                                                             \
	({                                                                                         \
		u16 s_;                                                                            \
		__asm__("mov %%" name ", %0" : "=r"(s_));                                          \
		s_;                                                                                \
	})

static inline struct emul_env env_for(enum emul_mode mode)
{
	struct emul_env e = {.ops = &dev_ops,
			     .gpr = cpu.gpr,
			     .rip = &cpu.rip,
			     .rflags = &cpu.rflags,
			     .mode = mode,
			     .stack32 = true};

	for (u32 k = 0; k < 6; k++)
		e.seg_limit[k] = 0xffffffff;
	e.seg_selector[SEG_CS] = SELECTOR("cs");
	e.seg_selector[SEG_SS] = SELECTOR("ss");
	e.seg_selector[SEG_GS] = SELECTOR("gs");
	return e;
}

static inline enum emul_result start(struct emul_state *st, struct emul_env *e, const u8 *bytes,
				     u32 n)
{
	struct insn i;

	st->active = false;
	return insn_decode(&i, bytes, n, e->mode) ? EMUL_UNSUPPORTED : emul_start(st, e, &i);
}

static inline bool is_under_way(enum emul_result res)
{
	return res != EMUL_DONE && res != EMUL_FAULT && res != EMUL_UNSUPPORTED;
}

/* Serve MMIO until the instruction is done or something else happens. */
static inline enum emul_result emulate(struct emul_env *e, const u8 *insn, u32 len)
{
	struct emul_state st;
	enum emul_result res = start(&st, e, insn, len);

	while (is_under_way(res)) {
		u64 off = st.mmio_gpa - MMIO_GPA;

		if (res == EMUL_IN) {
			st.mmio_data = rnd() << 32 | port_value(dev.ports++);
		} else if (res == EMUL_OUT) {
			u32 want = port_value(dev.ports++);

			dev.wrong += memcmp(&st.mmio_data, &want, st.mmio_len) != 0;
		} else if (res == EMUL_MMIO_READ) {
			st.mmio_data = rnd(); /* what is above mmio_len must not matter */
			memcpy(&st.mmio_data, dev.data + off, st.mmio_len);
			dev.read += st.mmio_len;
		} else if (res == EMUL_MMIO_WRITE) {
			memcpy(dev.data + off, &st.mmio_data, st.mmio_len);
			dev.written += st.mmio_len;
		}
		res = emul_continue(&st, e);
	}
	return res;
}
/* ---- single instructions ---- */

static inline enum emul_result once(struct emul_env *e, const char *bytes, u32 n)
{
	dev.retry = 0;
	dev.bad = false;
	return emulate(e, (const u8 *)bytes, n);
}

static inline void reset_cpu(void)
{
	memset(&cpu, 0, sizeof(cpu));
	cpu.rip = 0x1000;
	cpu.rflags = 2;
	dev.mmio_pages = 15;
}

static inline bool faults(struct emul_env *e, const char *bytes, u32 n, u8 vector)
{
	struct cpu_state before = cpu;
	enum emul_result res = once(e, bytes, n);

	return res == EMUL_FAULT && e->fault.vector == vector &&
	       memcmp(&before, &cpu, sizeof(cpu)) == 0;
}

/* ---- hostile ones ---- */

static u32 plain_stores;

/* What is told of a plain store without emulating it is what the emulator has found. */
static inline void check_short_way(const struct emul_state *st, enum emul_result res,
				   const u8 *bytes, u32 n, enum emul_mode mode)
{
	struct insn i;
	u64 val;

	if (res == EMUL_UNSUPPORTED || insn_decode(&i, bytes, n, mode) ||
	    !emul_is_plain_store(&i, mode))
		return;
	plain_stores++;
	EXPECT(res != EMUL_MMIO_READ, "a plain store reads");
	if (res != EMUL_MMIO_WRITE)
		return;
	EXPECT(emul_stored(&i, cpu.gpr, cpu.rip, st->mmio_gpa, &val) == (st->mmio_len == i.op_size),
	       "a plain store is one that does not cross a page");
	val &= ~0ull >> (64 - 8 * i.op_size);
	EXPECT(st->mmio_len != i.op_size || val == st->mmio_data,
	       "a plain store of %llx, not of %llx", (unsigned long long)st->mmio_data,
	       (unsigned long long)val);
	EXPECT(!emul_stored(&i, cpu.gpr, cpu.rip, st->mmio_gpa + 4, &val),
	       "another address is another's");
}

/* In bounded time, and no byte is read beyond the instruction. */
static inline enum emul_result run_hostile(struct emul_env *e, const u8 *bytes, u32 n)
{
	u8 *heap = malloc(n);
	struct emul_state st;
	enum emul_result res;
	u32 loops = 0;

	memcpy(heap, bytes, n);
	res = start(&st, e, heap, n);
	check_short_way(&st, res, heap, n, e->mode);
	free(heap);
	while (is_under_way(res) && loops++ < 20000) {
		if (rnd() % 16 == 0) /* the VMM may set registers in between */
			cpu.gpr[rnd() % 16] = rnd_value();
		if (rnd() % 64 == 0)
			cpu.gpr[1] = 0;
		st.mmio_data = rnd();
		res = emul_continue(&st, e);
	}
	EXPECT(loops < 20000, "hostile input ends");
	return res;
}
