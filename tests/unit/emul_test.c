/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/vector.c
 */
/*
 * The emulator against the processor it runs on: each instruction is generated with random
 * operands, run natively against memory, and emulated with the same memory as MMIO, as RAM or as a
 * mixture by pages. Then everything must be equal.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "hv/emul/emul.h"
#include "hv/emul/walk.h"
#include "test.h"

#define SEED   0x853c49e6748fea9bull
#define ROUNDS 400 /* per opcode, operand size and lock or not */

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

static u64 rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull;
}

/* Random, with a liking for the edges. */
static u64 rnd_value(void)
{
	static const u64 edge[] = {0,
				   1,
				   0x7f,
				   0x80,
				   0xff,
				   0x7fff,
				   0x8000,
				   0xffff,
				   0x7fffffff,
				   0x80000000,
				   0xffffffff,
				   0x7fffffffffffffff,
				   0x8000000000000000,
				   ~0ull,
				   0xf,
				   0x10};

	return rnd() % 3 ? rnd() : edge[rnd() % ARRAY_SIZE(edge)] + (rnd() % 4 == 0);
}

/* ---- the native side: everything below 4 GiB, so that absolute addresses fit disp32 ---- */

struct native {
	u64 in[16], out[16], flags_in, flags_out, host_rsp;
	u64 stack[8];
	u8 vec_in[16][32], vec_out[16][32];
	u64 mmx_in[8], mmx_out[8];
	u8 data[DATA_SIZE] __aligned(4096);
	u8 code[4096];
};
static struct native *nat;
static u8 *emit;

static u32 low(const volatile void *p)
{
	return (u32)(uintptr_t)p;
}

static void put(const void *bytes, u32 n)
{
	memcpy(emit, bytes, n);
	emit += n;
}

/* op r64, [abs] or op [abs], r64 */
static void put_abs(u8 op, u8 reg, const volatile void *where)
{
	u32 disp = low(where);

	put((u8[]){0x48 | (reg & 8) >> 1, op, 0x04 | (reg & 7) << 3, 0x25}, 4);
	put(&disp, 4);
}

static bool vectors; /* vector registers are loaded before and stored afterwards */

/* VMOVUPS (YMM) or MOVQ (MMX) with an absolute address */
static void put_vector(u8 op, u8 reg, const volatile void *where)
{
	u32 disp = low(where);

	put((u8[]){0xc5, reg & 8 ? 0x7c : 0xfc, op, 0x04 | (reg & 7) << 3, 0x25}, 5);
	put(&disp, 4);
}

static void put_mmx(u8 op, u8 reg, const volatile void *where)
{
	u32 disp = low(where);

	put((u8[]){0x0f, op, 0x04 | reg << 3, 0x25}, 4);
	put(&disp, 4);
}

static void put_vectors(bool store)
{
	if (!vectors)
		return;
	for (u8 k = 0; k < 16; k++)
		put_vector(store ? 0x11 : 0x10, k, store ? nat->vec_out[k] : nat->vec_in[k]);
	for (u8 k = 0; k < 8; k++)
		put_mmx(store ? 0x7f : 0x6f, k, store ? &nat->mmx_out[k] : &nat->mmx_in[k]);
	if (store)
		put((u8[]){0x0f, 0x77}, 2); /* EMMS */
}

/* Where the instruction under test will lie. */
static u8 *native_prologue(void)
{
	emit = nat->code;
	put((u8[]){0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x9c},
	    11); /* push rbx rbp r12-15, pushf */
	put_abs(0x89, 4, &nat->host_rsp);
	put_abs(0xff, 6, &nat->flags_in); /* push [] */
	put((u8[]){0x9d}, 1);
	put_vectors(false);
	for (u32 k = 0; k < 16; k++)
		put_abs(0x8b, k, &nat->in[k]);
	return emit;
}

static u8 *native_end; /* of the instruction under test */
static bool native_faulted;

/* #DE: the instruction is stepped over. */
static void on_fpe(int sig, siginfo_t *info, void *context)
{
	native_faulted = true;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)native_end;
}

/*
 * #UD in code that has just been written was seen now and then, never twice for the same: the bytes
 * of before were executed, it seems. So once more, and what is really undefined ends the test.
 */
static sigjmp_buf again;
static volatile u32 undefined;

static void on_ill(int sig, siginfo_t *info, void *context)
{
	if ((u64)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] - (u64)nat < sizeof(*nat) &&
	    ++undefined <= 3)
		siglongjmp(again, 1);
	signal(SIGILL, SIG_DFL);
}

static void native_run(const u8 *insn, u32 len)
{
	native_faulted = false;
	sigsetjmp(again, 1);
	native_prologue();
	put(insn, len);
	native_end = emit;
	for (u32 k = 0; k < 16; k++)
		put_abs(0x89, k, &nat->out[k]);
	put((u8[]){0x48, 0xc7, 0xc4}, 3); /* mov rsp, imm32 */
	put(&(u32){low(&nat->stack[8])}, 4);
	put((u8[]){0x9c}, 1);
	put_abs(0x8f, 0, &nat->flags_out); /* pop [] */
	put_vectors(true);
	put_abs(0x8b, 4, &nat->host_rsp);
	put((u8[]){0x9d, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3}, 12);
	((void (*)(void))(uintptr_t)nat->code)();
}

/* ---- the emulated side ---- */

static struct {
	u8 data[DATA_SIZE];
	u32 mmio_pages;	   /* bit per page */
	u32 retry;	   /* one access in this many misses the p2m; 0 = none */
	u32 read, written; /* bytes that MMIO really saw */
	bool bad;	   /* access outside the data, or rmw wrong */
	u32 fault_page;	   /* page + 1 that faults on writes */
	u32 ports, wrong;  /* accesses to the port; those that wrote something else */
} dev;

/* What the port gives and expects, one after the other. */
static u32 port_value(u32 k)
{
	return k * 0x9e3779b1u + 0x12345;
}

static int dev_access(struct emul_env *e, u64 linear, u8 *to, const u8 *from, u32 len, u64 *gpa)
{
	u64 off = linear - low(nat->data);

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

static int dev_read(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *gpa)
{
	return dev_access(e, linear, buf, NULL, len, gpa);
}

static int dev_write(struct emul_env *e, u64 linear, const void *buf, u32 len, u64 *gpa)
{
	return dev_access(e, linear, NULL, buf, len, gpa);
}

static void dev_segment(struct emul_env *e, u8 seg) /* tests fill all of them */
{
}

static struct cpu_state {
	u64 gpr[16], rip, rflags, mmx[8];
	u8 vec[16][32];
} cpu;
static u8 vector_fault; /* what vector registers raise; 0: nothing */

static int dev_vector(struct emul_env *e, enum emul_vector file, u8 n, u8 *val, bool write)
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

static const struct emul_ops dev_ops = {dev_read, dev_write, dev_segment, dev_vector};

#define SELECTOR(name)                                                                             \
	({                                                                                         \
		u16 s_;                                                                            \
		__asm__("mov %%" name ", %0" : "=r"(s_));                                          \
		s_;                                                                                \
	})

static struct emul_env env_for(enum emul_mode mode)
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

static enum emul_result start(struct emul_state *st, struct emul_env *e, const u8 *bytes, u32 n)
{
	struct insn i;

	st->active = false;
	return insn_decode(&i, bytes, n, e->mode) ? EMUL_UNSUPPORTED : emul_start(st, e, &i);
}

static bool is_under_way(enum emul_result res)
{
	return res != EMUL_DONE && res != EMUL_FAULT && res != EMUL_UNSUPPORTED;
}

/* Serve MMIO until the instruction is done or something else happens. */
static enum emul_result emulate(struct emul_env *e, const u8 *insn, u32 len)
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

/* ---- instructions ---- */

struct template
{
	const char *name;
	u8 map;	   /* 0, 1 = 0F, 2 = 0F38 */
	u8 opcode; /* of the wide form */
	s8 ext;	   /* ModRM.reg, or -1: a register */
	u8 imm;	   /* 0 none, 1 imm8, 4 imm16/32 */
	u8 sizes;  /* bits 1, 2, 4, 8: allowed operand sizes; 1 takes opcode - 1 */
	u8 lock;
	u32 flags; /* that are defined afterwards */
	/* does it read, write the operand; memory size is the operand size unless given in mem */
	u8 read, write;
	u8 mem;
};

/* clang-format off */
#define W  14
#define BW 15
#define LOGIC (ARITH & ~AF)
#define SHIFT (CF | SF | ZF | PF)
#define ALU(n, op, fl, wr) \
	{n " m,r", 0, (op) + 1, -1, 0, BW, wr, fl, 1, wr, 0}, \
	{n " r,m", 0, (op) + 3, -1, 0, BW, 0, fl, 1, 0, 0}, \
		{n " m,imm", 0, 0x81, (op) >> 3, 4, BW, wr, fl, 1, wr, 0}, \
		{n " m,imm8", 0, 0x83, (op) >> 3, 1, W, wr, fl, 1, wr, 0}

static const struct template templates[] = {
	ALU("add", 0x00, ARITH, 1), ALU("or", 0x08, LOGIC, 1), ALU("adc", 0x10, ARITH, 1),
	ALU("sbb", 0x18, ARITH, 1),
	ALU("and", 0x20, LOGIC, 1), ALU("sub", 0x28, ARITH, 1), ALU("xor", 0x30, LOGIC, 1),
	ALU("cmp", 0x38, ARITH, 0),
	{"test m,r", 0, 0x85, -1, 0, BW, 0, LOGIC, 1, 0, 0},
	{"test m,imm", 0, 0xf7, 0, 4, BW, 0, LOGIC, 1, 0, 0},
	{"test m,imm (/1)", 0, 0xf7, 1, 4, BW, 0, LOGIC, 1, 0, 0},
	{"mov m,r", 0, 0x89, -1, 0, BW, 0, ARITH, 0, 1, 0},
	{"mov r,m", 0, 0x8b, -1, 0, BW, 0, ARITH, 1, 0, 0},
	{"mov m,imm", 0, 0xc7, 0, 4, BW, 0, ARITH, 0, 1, 0},
	{"movzx r,m8", 1, 0xb6, -1, 0, W, 0, ARITH, 1, 0, 1},
	{"movzx r,m16", 1, 0xb7, -1, 0, W, 0, ARITH, 1, 0, 2},
	{"movsx r,m8", 1, 0xbe, -1, 0, W, 0, ARITH, 1, 0, 1},
	{"movsx r,m16", 1, 0xbf, -1, 0, W, 0, ARITH, 1, 0, 2},
	{"movsxd r,m32", 0, 0x63, -1, 0, 12, 0, ARITH, 1, 0, 4},
	{"movbe r,m", 2, 0xf0, -1, 0, W, 0, ARITH, 1, 0, 0},
	{"movbe m,r", 2, 0xf1, -1, 0, W, 0, ARITH, 0, 1, 0},
	{"movnti m,r", 1, 0xc3, -1, 0, 12, 0, ARITH, 0, 1, 0},
	{"xchg m,r", 0, 0x87, -1, 0, BW, 1, ARITH, 1, 1, 0},
	{"xadd m,r", 1, 0xc1, -1, 0, BW, 1, ARITH, 1, 1, 0},
	{"cmpxchg m,r", 1, 0xb1, -1, 0, BW, 1, ARITH, 1, 1, 0},
	{"inc m", 0, 0xff, 0, 0, BW, 1, ARITH, 1, 1, 0},
	{"dec m", 0, 0xff, 1, 0, BW, 1, ARITH, 1, 1, 0},
	{"not m", 0, 0xf7, 2, 0, BW, 1, ARITH, 1, 1, 0},
	{"neg m", 0, 0xf7, 3, 0, BW, 1, ARITH, 1, 1, 0},
	{"bt m,r", 1, 0xa3, -1, 0, W, 0, CF | ZF, 1, 0, 0},
	{"bts m,r", 1, 0xab, -1, 0, W, 1, CF | ZF, 1, 1, 0},
	{"btr m,r", 1, 0xb3, -1, 0, W, 1, CF | ZF, 1, 1, 0},
	{"btc m,r", 1, 0xbb, -1, 0, W, 1, CF | ZF, 1, 1, 0},
	{"bt m,imm8", 1, 0xba, 4, 1, W, 0, CF | ZF, 1, 0, 0},
	{"bts m,imm8", 1, 0xba, 5, 1, W, 1, CF | ZF, 1, 1, 0},
	{"btr m,imm8", 1, 0xba, 6, 1, W, 1, CF | ZF, 1, 1, 0},
	{"btc m,imm8", 1, 0xba, 7, 1, W, 1, CF | ZF, 1, 1, 0},
	{"rol m,imm8", 0, 0xc1, 0, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"ror m,imm8", 0, 0xc1, 1, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcl m,imm8", 0, 0xc1, 2, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcr m,imm8", 0, 0xc1, 3, 1, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"shl m,imm8", 0, 0xc1, 4, 1, BW, 0, SHIFT, 1, 1, 0},
	{"shr m,imm8", 0, 0xc1, 5, 1, BW, 0, SHIFT, 1, 1, 0},
	{"sal m,imm8", 0, 0xc1, 6, 1, BW, 0, SHIFT, 1, 1, 0},
	{"sar m,imm8", 0, 0xc1, 7, 1, BW, 0, SHIFT, 1, 1, 0},
	{"rol m,1", 0, 0xd1, 0, 0, BW, 0, ARITH, 1, 1, 0},
	{"ror m,1", 0, 0xd1, 1, 0, BW, 0, ARITH, 1, 1, 0},
	{"rcl m,1", 0, 0xd1, 2, 0, BW, 0, ARITH, 1, 1, 0},
	{"rcr m,1", 0, 0xd1, 3, 0, BW, 0, ARITH, 1, 1, 0},
	{"shl m,1", 0, 0xd1, 4, 0, BW, 0, LOGIC, 1, 1, 0},
	{"shr m,1", 0, 0xd1, 5, 0, BW, 0, LOGIC, 1, 1, 0},
	{"sar m,1", 0, 0xd1, 7, 0, BW, 0, LOGIC, 1, 1, 0},
	{"rol m,cl", 0, 0xd3, 0, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"ror m,cl", 0, 0xd3, 1, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcl m,cl", 0, 0xd3, 2, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"rcr m,cl", 0, 0xd3, 3, 0, BW, 0, ARITH & ~OF, 1, 1, 0},
	{"shl m,cl", 0, 0xd3, 4, 0, BW, 0, SHIFT & ~CF, 1, 1, 0},
	{"shr m,cl", 0, 0xd3, 5, 0, BW, 0, SHIFT & ~CF, 1, 1, 0},
	{"sar m,cl", 0, 0xd3, 7, 0, BW, 0, SHIFT & ~CF, 1, 1, 0},
	{"shld m,r,imm8", 1, 0xa4, -1, 1, W, 0, SHIFT, 1, 1, 0},
	{"shrd m,r,imm8", 1, 0xac, -1, 1, W, 0, SHIFT, 1, 1, 0},
	{"shld m,r,cl", 1, 0xa5, -1, 0, 12, 0, SHIFT, 1, 1, 0},
	{"shrd m,r,cl", 1, 0xad, -1, 0, 12, 0, SHIFT, 1, 1, 0},
	{"setcc m", 1, 0x91, 0, 0, 1, 0, ARITH, 0, 1, 0},
	{"movcc r,m", 1, 0x40, -1, 0, W, 0, ARITH, 1, 0, 0},
	{"imul r,m", 1, 0xaf, -1, 0, W, 0, CF | OF, 1, 0, 0},
	{"imul r,m,imm8", 0, 0x6b, -1, 1, W, 0, CF | OF, 1, 0, 0},
	{"imul r,m,imm", 0, 0x69, -1, 4, W, 0, CF | OF, 1, 0, 0},
	{"mul m", 0, 0xf7, 4, 0, BW, 0, CF | OF, 1, 0, 0},
	{"imul m", 0, 0xf7, 5, 0, BW, 0, CF | OF, 1, 0, 0},
	{"div m", 0, 0xf7, 6, 0, BW, 0, 0, 1, 0, 0},
	{"idiv m", 0, 0xf7, 7, 0, BW, 0, 0, 1, 0, 0},
	{"scan forward", 1, 0xbc, -1, 0, W, 0, ZF, 1, 0, 0},
	{"scan reverse", 1, 0xbd, -1, 0, W, 0, ZF, 1, 0, 0},
	{"mov m,cs", 0, 0x8c, 1, 0, W, 0, ARITH, 0, 1, 2},
	{"mov m,ss", 0, 0x8c, 2, 0, W, 0, ARITH, 0, 1, 2},
	{"mov m,gs", 0, 0x8c, 5, 0, W, 0, ARITH, 0, 1, 2},
	{"cmpxchg8b m", 1, 0xc7, 1, 0, 4, 1, ARITH, 1, 1, 8},
	{"cmpxchg16b m", 1, 0xc7, 1, 0, 8, 1, ARITH, 1, 1, 16},
	{"jmp m", 0, 0xff, 4, 0, 8, 0, ARITH, 1, 0, 0},
	{"pcall m", 0, 0xff, 2, 0, 8, 0, ARITH, 1, 1, 0},
	{"push m", 0, 0xff, 6, 0, 10, 0, ARITH, 1, 1, 0},
	{"pop m", 0, 0x8f, 0, 0, 10, 0, ARITH, 1, 1, 0},
};
/* clang-format on */

static bool is_stack(const struct template *t)
{
	return t->name[0] == 'p';
}

static bool is_pair(const struct template *t)
{
	return t->map == 1 && t->opcode == 0xc7;
}

/* MUL, DIV and their like, with an operand in RDX and RAX */
static bool is_wide(const struct template *t)
{
	return t->opcode == 0xf7 && t->ext >= 4;
}

static bool is_branch(const struct template *t)
{
	return t->opcode == 0xff && (t->ext == 2 || t->ext == 4);
}

static bool is_conditional(const struct template *t)
{
	return t->map == 1 && (t->opcode == 0x91 || t->opcode == 0x40);
}

static bool is_bit_string(const struct template *t)
{
	return t->name[0] == 'b' && t->ext < 0;
}

/*
 * One random encoding of a template in 64-bit mode, with nat->in set so that the operand lies in
 * the data. Forms: 0 [base+disp8], 1 [base+disp32], 2 [base+index*scale+disp32], 3 [rip+disp32], 4
 * [disp32], each perhaps with 67.
 */
static u32 generate(const struct template *t, u32 size, bool lock, u8 *b)
{
	static const u32 disp_size[] = {1, 4, 4, 4, 4};
	u32 n = 0, form = rnd() % 5, imm = t->imm == 4 ? MIN(size, 4) : t->imm,
	    margin = is_stack(t) ? 512 : 256;
	u32 off = rnd() % 3 ? margin + rnd() % (DATA_SIZE - 2 * margin)
			    : 4096 * (1 + rnd() % 3) - rnd() % 8;
	u8 base, index, scale = rnd() % 4, reg, rex;
	bool wide = size == 8 && !is_stack(t) && !is_branch(t), addr32 = rnd() % 4 == 0,
	     use_rex = rnd() % 2;
	u64 target;
	s32 disp = form == 0 ? (s8)rnd() : (s32)rnd() >> 1;

	do {
		base = rnd() % 16;
		index = rnd() % 16;
		reg = t->ext < 0 ? rnd() % 16 : (u8)t->ext;
	} while (index == 4 || index == base || (is_branch(t) && base == 4) ||
		 (is_wide(t) && (!(base & ~6) || !(index & ~2))) ||
		 (is_bit_string(t) && (reg == base || reg == index)));
	if (lock || t->opcode == 0x87)
		off &= ~7u; /* no split locks */
	if (is_pair(t))
		off &= ~15u;
	target = low(nat->data) + off;
	for (u32 k = 0; k < 16; k++)
		nat->in[k] = rnd_value();
	if (is_wide(t) && rnd() % 4) /* a quotient that fits */
		nat->in[2] = rnd() % 2 ? 0 : ~0ull;
	nat->flags_in = 0x202 | (rnd() & (ARITH | DF));
	/* stack operations write there */
	nat->in[4] = low(nat->data) + (rnd() % 2 ? 4096 - rnd() % 8 : 1024u);
	if (is_bit_string(t)) {
		s64 bit = (s64)(rnd() % 1600) - 800;

		nat->in[reg] = size == 8
				   ? (u64)bit
				   : (nat->in[reg] & ~(size == 4 ? 0xffffffffull : 0xffffull)) |
					 ((u64)bit & (size == 4 ? 0xffffffffull : 0xffffull));
	}
	if (form == 2)
		nat->in[base] = target - (u64)(s64)disp - (nat->in[index] << scale);
	else if (form < 2)
		nat->in[base] = target - (u64)(s64)disp;
	if (base == 4 && is_stack(t) && form <= 2) { /* RSP has to be both stack and base */
		nat->in[4] = low(nat->data) + 2048;
		disp = form == 0 ? 0x40 : 0x400;
		if (form == 2)
			nat->in[index] = rnd() % 64;
		addr32 = false;
	}
	if (addr32 && form <= 2 && base != 4)
		nat->in[base] = (nat->in[base] & 0xffffffff) | rnd() << 32;

	if (size == 2)
		b[n++] = 0x66;
	if (addr32)
		b[n++] = 0x67;
	if (lock)
		b[n++] = 0xf0;
	rex = 0x40 | wide << 3 | (reg & 8) >> 1 | (form == 2 ? (index & 8) >> 2 : 0) |
	      (form <= 2 ? base >> 3 : 0);
	if (rex != 0x40 || use_rex)
		b[n++] = rex;
	if (t->map)
		b[n++] = 0x0f;
	if (t->map == 2)
		b[n++] = 0x38;
	b[n++] = t->opcode - (size == 1) + (is_conditional(t) ? rnd() % 16 : 0);
	reg &= 7;
	if (form == 2) {
		b[n++] = 0x84 | reg << 3;
		b[n++] = scale << 6 | (index & 7) << 3 | (base & 7);
	} else if (form == 3) {
		b[n++] = 0x05 | reg << 3;
	} else if (form == 4) {
		b[n++] = 0x04 | reg << 3;
		b[n++] = 0x25;
		disp = (s32)target;
	} else {
		b[n++] = (form ? 0x80 : 0x40) | reg << 3 | (base & 7);
		if ((base & 7) == 4)
			b[n++] = 0x24;
	}
	if (form == 3)
		disp = (s32)(target - (low(native_prologue()) + n + 4 + imm));
	memcpy(b + n, &disp, disp_size[form]);
	n += disp_size[form];
	for (u32 k = 0; k < imm; k++)
		b[n++] = rnd();
	if (t->imm && (t->opcode == 0xc1 || (t->map == 1 && (t->opcode | 8) == 0xac)))
		b[n - 1] &= 0xe7; /* counts above the size have undefined flags */
	if (is_branch(t))
		memcpy(nat->data + off, &(u64){low(native_prologue()) + n}, 8);
	if (is_pair(t) && rnd() % 2) {
		memcpy(nat->data + off, &nat->in[0], size);
		memcpy(nat->data + off + size, &nat->in[2], size);
	}
	/* CMPXCHG that succeeds */
	if (t->name[0] == 'c' && t->opcode == 0xb1 && rnd() % 2 && off + 8 <= DATA_SIZE)
		memcpy(nat->data + off, &nat->in[0], 8);
	return n;
}

/* Run both ways and compare. */
static void compare(const char *what, const u8 *b, u32 n, u32 flags, bool string)
{
	struct emul_env e = env_for(EMUL_64);
	u64 rip = low(native_prologue());
	enum emul_result res;
	char hex[64] = "";
	u32 calls = 0, bad = 16;

	for (u32 k = 0; k < n; k++)
		sprintf(hex + 3 * k, "%02x ", b[k]);
	memcpy(cpu.gpr, nat->in, sizeof(cpu.gpr));
	memcpy(cpu.vec, nat->vec_in, sizeof(cpu.vec));
	memcpy(cpu.mmx, nat->mmx_in, sizeof(cpu.mmx));
	memcpy(dev.data, nat->data, DATA_SIZE);
	cpu.rip = rip;
	cpu.rflags = nat->flags_in | 0x10000;
	dev.bad = false;
	dev.read = dev.written = 0;

	native_run(b, n);
	do
		res = emulate(&e, b, n);
	while (string && res == EMUL_DONE && cpu.rip == rip && calls++ < 100);

	for (u32 k = 0; k < 16; k++)
		if (cpu.gpr[k] != nat->out[k])
			bad = k;
	EXPECT(native_faulted ? res == EMUL_FAULT && e.fault.vector == 0 : res == EMUL_DONE,
	       "%s (%s): emulated (%d, native %u)", what, hex, res, native_faulted);
	EXPECT(!dev.bad, "%s (%s): accesses", what, hex);
	EXPECT(cpu.rip == rip + (native_faulted ? 0 : n), "%s (%s): RIP advanced", what, hex);
	EXPECT(bad == 16, "%s (%s): register %u is %llx, should be %llx, was %llx", what, hex,
	       bad & 15, (unsigned long long)cpu.gpr[bad & 15],
	       (unsigned long long)nat->out[bad & 15], (unsigned long long)nat->in[bad & 15]);
	EXPECT(((cpu.rflags ^ nat->flags_out) & (flags | DF)) == 0 &&
		   !(cpu.rflags & 0x10000) == !native_faulted,
	       "%s (%s): flags %llx, should be %llx", what, hex, (unsigned long long)cpu.rflags,
	       (unsigned long long)nat->flags_out);
	EXPECT(memcmp(dev.data, nat->data, DATA_SIZE) == 0, "%s (%s): memory", what, hex);
	EXPECT(!vectors || (!memcmp(cpu.vec, nat->vec_out, sizeof(cpu.vec)) &&
			    !memcmp(cpu.mmx, nat->mmx_out, sizeof(cpu.mmx))),
	       "%s (%s): vector registers", what, hex);
}

/* Some page of the data or another is MMIO, RAM, or misses at times. */
static void random_memory(void)
{
	for (u32 k = 0; k < DATA_SIZE; k += 8)
		*(u64 *)(nat->data + k) = rnd_value();
	dev.mmio_pages = rnd() % 2 ? 15 : rnd() % 16;
	dev.retry = rnd() % 2 ? 0 : 3;
}

static u32 divisions;

static void test_template(const struct template *t)
{
	u32 before = failed;

	for (u32 size = 1; size <= 8; size <<= 1) {
		u32 mem = t->mem ?: size;

		for (u32 r = 0;
		     r < ROUNDS * (1u + t->lock) && failed < before + 4 && t->sizes & size; r++) {
			u8 b[16];
			u32 n;

			if (r % 16 == 0)
				random_memory();
			n = generate(t, size, t->lock && r % 2, b);
			compare(t->name, b, n, t->flags, false);
			divisions += is_wide(t) && t->ext >= 6 && !native_faulted;
			if (dev.mmio_pages == 15 && !native_faulted)
				EXPECT(dev.read == (t->read ? mem : 0) &&
					   dev.written == (t->write ? mem : 0),
				       "%s: MMIO read %u and written %u bytes", t->name, dev.read,
				       dev.written);
		}
	}
	CHECK(failed == before, "%s as the processor does", t->name);
}

/* The stack in MMIO, by instructions whose only operand in memory it is; and XLAT. */
static void test_implicit(void)
{
	static const struct {
		const char *bytes;
		u32 len;
		bool target; /* where to return to lies on the stack */
	} forms[] = {
	    {"\x50", 1},
	    {"\x54", 1},
	    {"\x41\x57", 2},
	    {"\x66\x53", 2},
	    {"\x5b", 1},
	    {"\x5c", 1},
	    {"\x41\x5e", 2},
	    {"\x66\x5f", 2},
	    {"\x68\x01\x02\x03\x84", 5},
	    {"\x6a\x85", 2},
	    {"\x66\x68\x01\x82", 4},
	    {"\x66\x6a\x85", 3},
	    {"\xe8\x00\x00\x00\x00", 5},
	    {"\xc3", 1, true},
	    {"\xc2\x10\x00", 3, true},
	    {"\xc9", 1},
	    {"\x66\xc9", 2},
	    {"\xd7", 1},
	    {"\x67\xd7", 2},
	    {"\x0f\xa8", 2},
	};

	for (u32 k = 0; k < ARRAY_SIZE(forms); k++) {
		u32 before = failed, len = forms[k].len;
		u64 target;

		for (u32 r = 0; r < 300 && failed < before + 4; r++) {
			random_memory();
			for (u32 n = 0; n < 16; n++)
				nat->in[n] = rnd_value();
			nat->flags_in = 0x202 | (rnd() & (ARITH | DF));
			nat->in[4] = low(nat->data) + 4096 + rnd() % 16 - 8;
			nat->in[5] = low(nat->data) + 8192 + rnd() % 16 - 8;
			nat->in[3] = low(nat->data) + rnd() % 4096;
			target = low(native_prologue()) + len;
			if (forms[k].target)
				memcpy(nat->data + (nat->in[4] - low(nat->data)), &target, 8);
			compare("implicit", (const u8 *)forms[k].bytes, len, ARITH, false);
		}
		CHECK(failed == before, "opcode %02x: stack or table as the processor does",
		      (u8)forms[k].bytes[len > 3 || forms[k].bytes[0] == 0x68 ? 0 : len - 1]);
	}
}

/* ---- moves of vector registers ---- */

static void reset_cpu(void);
static bool faults(struct emul_env *e, const char *bytes, u32 n, u8 vector);

#define PP_66 1
#define PP_F3 2
#define PP_F2 3

static const struct vector_template {
	const char *name;
	u8 pp, map, opcode;
	u8 size; /* 0: all of the register */
	u8 aligned, mmx, w, merge, no_vex;
} vector_templates[] = {
    {"movups r,m", 0, 1, 0x10},
    {"movups m,r", 0, 1, 0x11},
    {"movupd r,m", PP_66, 1, 0x10},
    {"movupd m,r", PP_66, 1, 0x11},
    {"movss r,m", PP_F3, 1, 0x10, 4},
    {"movss m,r", PP_F3, 1, 0x11, 4},
    {"movsd r,m", PP_F2, 1, 0x10, 8},
    {"movsd m,r", PP_F2, 1, 0x11, 8},
    {"movlps r,m", 0, 1, 0x12, 8, .merge = 1},
    {"movlps m,r", 0, 1, 0x13, 8},
    {"movlpd r,m", PP_66, 1, 0x12, 8, .merge = 1},
    {"movlpd m,r", PP_66, 1, 0x13, 8},
    {"movhps r,m", 0, 1, 0x16, 8, .merge = 1},
    {"movhps m,r", 0, 1, 0x17, 8},
    {"movhpd r,m", PP_66, 1, 0x16, 8, .merge = 1},
    {"movhpd m,r", PP_66, 1, 0x17, 8},
    {"movaps r,m", 0, 1, 0x28, .aligned = 1},
    {"movaps m,r", 0, 1, 0x29, .aligned = 1},
    {"movapd r,m", PP_66, 1, 0x28, .aligned = 1},
    {"movapd m,r", PP_66, 1, 0x29, .aligned = 1},
    {"movntps m,r", 0, 1, 0x2b, .aligned = 1},
    {"movntpd m,r", PP_66, 1, 0x2b, .aligned = 1},
    {"movd r,m (MMX)", 0, 1, 0x6e, 4, .mmx = 1, .w = 1},
    {"movd m,r (MMX)", 0, 1, 0x7e, 4, .mmx = 1, .w = 1},
    {"movd r,m", PP_66, 1, 0x6e, 4, .w = 1},
    {"movd m,r", PP_66, 1, 0x7e, 4, .w = 1},
    {"movq r,m (MMX)", 0, 1, 0x6f, 8, .mmx = 1},
    {"movq m,r (MMX)", 0, 1, 0x7f, 8, .mmx = 1},
    {"movdqa r,m", PP_66, 1, 0x6f, .aligned = 1},
    {"movdqa m,r", PP_66, 1, 0x7f, .aligned = 1},
    {"movdqu r,m", PP_F3, 1, 0x6f},
    {"movdqu m,r", PP_F3, 1, 0x7f},
    {"movq r,m", PP_F3, 1, 0x7e, 8},
    {"movq m,r", PP_66, 1, 0xd6, 8},
    {"movntq m,r", 0, 1, 0xe7, 8, .mmx = 1},
    {"movntdq m,r", PP_66, 1, 0xe7, .aligned = 1},
    {"lddqu r,m", PP_F2, 1, 0xf0},
    {"movntdqa r,m", PP_66, 2, 0x2a, .aligned = 1},
};

/* With or without VEX, [base + disp32]. */
static u32 generate_vector(const struct vector_template *t, bool vex, u8 *b)
{
	static const u8 prefix[] = {0, 0x66, 0xf3, 0xf2};
	u32 n = 0, off = 256 + rnd() % (DATA_SIZE - 512), reg = rnd() % 16;
	u8 base, w = t->w && rnd() % 2, l = vex && !t->size && rnd() % 2, vvvv = 0;
	s32 disp = (s32)rnd() >> 1;

	if (rnd() % 3 == 0)
		off = 4096 * (1 + rnd() % 3) - rnd() % 32;
	if (t->aligned)
		off &= ~31u;
	if (t->merge && vex)
		vvvv = rnd() % 16;
	base = rnd() % 16;
	for (u32 k = 0; k < 16; k++) {
		nat->in[k] = rnd_value();
		nat->mmx_in[k & 7] = rnd();
		for (u32 i = 0; i < 32; i++)
			nat->vec_in[k][i] = rnd();
	}
	nat->flags_in = 0x202;
	nat->in[base] = low(nat->data) + off - (u64)(s64)disp;
	if (vex) {
		b[n++] = 0xc4;
		b[n++] = (reg & 8 ? 0 : 0x80) | 0x40 | (base & 8 ? 0 : 0x20) | t->map;
		b[n++] = w << 7 | (~vvvv & 15) << 3 | l << 2 | t->pp;
		if (b[n - 3] == 0xc4 && !w && t->map == 1 && base < 8 && rnd() % 2) {
			b[1] = (b[1] & 0x80) | (b[2] & 0x7f);
			b[0] = 0xc5;
			n = 2;
		}
	} else {
		if (t->pp)
			b[n++] = prefix[t->pp];
		if (w || reg & 8 || base & 8 || rnd() % 2)
			b[n++] = 0x40 | w << 3 | (reg & 8) >> 1 | base >> 3;
		b[n++] = 0x0f;
		if (t->map == 2)
			b[n++] = 0x38;
	}
	b[n++] = t->opcode;
	b[n++] = 0x80 | (reg & 7) << 3 | (base & 7);
	if ((base & 7) == 4)
		b[n++] = 0x24;
	memcpy(b + n, &disp, 4);
	return n + 4;
}

static void test_vectors(void)
{
	struct emul_env e = env_for(EMUL_64);

	if (!__builtin_cpu_supports("avx2")) {
		printf("# no AVX2 here: moves of vector registers are not compared\n");
		return;
	}
	vectors = true;
	for (u32 k = 0; k < ARRAY_SIZE(vector_templates); k++) {
		const struct vector_template *t = &vector_templates[k];
		u32 before = failed;
		u8 b[16];

		for (u32 r = 0; r < 600 && failed < before + 4; r++) {
			u32 n;

			if (r % 16 == 0)
				random_memory();
			n = generate_vector(t, !t->mmx && r % 2, b);
			compare(t->name, b, n, ARITH, false);
		}
		CHECK(failed == before, "%s, with VEX and without, as the processor does", t->name);
	}
	vectors = false;
	reset_cpu();
	cpu.gpr[0] = low(nat->data) + 8;
	CHECK(faults(&e, "\x0f\x28\x00", 3, 13), "MOVAPS that is not aligned: #GP");
	cpu.gpr[0] += 8;
	CHECK(faults(&e, "\xc5\xfc\x29\x00", 4, 13), "VMOVAPS of 256 bits wants 32 bytes: #GP");
	CHECK(faults(&e, "\xf0\x0f\x11\x00", 4, 6), "LOCK MOVUPS: #UD");
	vector_fault = 7;
	CHECK(faults(&e, "\x0f\x10\x00", 3, 7) && faults(&e, "\x0f\x11\x00", 3, 7),
	      "registers that may not be used now: what they raise");
	vector_fault = 0;
}

static void test_moffs(void)
{
	u32 before = failed;

	for (u32 r = 0; r < 2000; r++) {
		u8 b[16], n = 0, op = 0xa0 + rnd() % 4, kind = rnd() % 3, width = rnd() % 2 ? 4 : 8;
		u64 at = low(nat->data) + 4096 - rnd() % 8;

		random_memory();
		for (u32 k = 0; k < 16; k++)
			nat->in[k] = rnd_value();
		if (kind == 1)
			b[n++] = 0x66;
		if (width == 4)
			b[n++] = 0x67;
		if (kind == 2)
			b[n++] = 0x48;
		b[n++] = op;
		memcpy(b + n, &at, width);
		compare("mov moffs", b, n + width, ARITH, false);
	}
	CHECK(failed == before, "MOV moffs as the processor does");
}

static void test_strings(void)
{
	static const u8 ops[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae}, reps[] = {0, 0xf2, 0xf3};
	static const char *const names[] = {"MOVS", "CMPS", "STOS", "LODS", "SCAS"};

	for (u32 o = 0; o < 5; o++) {
		u32 before = failed;

		for (u32 r = 0; r < 3000 && failed < before + 4; r++) {
			u8 b[8], n = 0, kind = rnd() % 4, rep = reps[rnd() % 3];
			bool addr32 = rnd() % 4 == 0;

			random_memory();
			if (rnd() % 2) /* something for CMPS and SCAS to go on with */
				memset(nat->data, 0x55, DATA_SIZE);
			for (u32 k = 0; k < 16; k++)
				nat->in[k] = rnd_value();
			if (rnd() % 2)
				nat->in[0] = 0x5555555555555555;
			nat->flags_in = 0x202 | (rnd() & (ARITH | DF));
			/* times 8 stays in the data both ways */
			nat->in[1] = rnd() % 4 ? rnd() % 300 : rnd() % 3;
			nat->in[6] = low(nat->data) + DATA_SIZE / 2 + rnd() % 2048 - 1024;
			nat->in[7] = low(nat->data) + DATA_SIZE / 2 + rnd() % 2048 - 1024;
			if (rnd() % 4 == 0)
				nat->in[1] += 480;
			if (addr32 &&
			    /*
			     * with a count of 0 processors differ in what they do to upper halves
			     */
			    nat->in[1]) {
				nat->in[1] |= rnd() << 32;
				nat->in[6] |= rnd() << 32;
				nat->in[7] |= rnd() << 32;
			}
			if (addr32)
				b[n++] = 0x67;
			if (kind == 2)
				b[n++] = 0x66;
			if (rep)
				b[n++] = rep;
			if (kind == 3)
				b[n++] = 0x48;
			b[n++] = ops[o] + (kind != 0);
			compare(names[o], b, n, ARITH, true);
		}
		CHECK(failed == before, "%s with and without REP as the processor does", names[o]);
	}
}

/* ---- what cannot be had natively ---- */

/* INS or OUTS of n elements as the manual says: into what is in nat->data. */
static u32 port_string(bool in, u32 size, u32 n, u64 at, s64 step)
{
	u32 wrong = 0;

	for (u32 k = 0; k < n; k++, at += step) {
		u32 v = port_value(k);

		if (in)
			memcpy(nat->data + (at - low(nat->data)), &v, size);
		else
			wrong += memcmp(nat->data + (at - low(nat->data)), &v, size) != 0;
	}
	return wrong;
}

static void test_string_io(void)
{
	u32 before = failed;
	u16 port = 0x1f0;

	for (u32 r = 0; r < 4000 && failed < before + 4; r++) {
		struct emul_env e = env_for(EMUL_64);
		bool in = rnd() % 2, rep = rnd() % 4, down = rnd() % 2, addr32 = rnd() % 4 == 0;
		u32 size = 1 << rnd() % 3, n = rep ? rnd() % 200 : 1, len = 0;
		u64 at = low(nat->data) + DATA_SIZE / 2 + rnd() % 2048 - 1024, end, linear = 0;
		s64 step = down ? -(s64)size : size;
		enum emul_result res;
		u8 b[8], reg = in ? 7 : 6;
		int span;

		random_memory();
		memset(&cpu, 0, sizeof(cpu));
		cpu.rip = 0x1000;
		cpu.rflags = 2 | (down ? DF : 0);
		cpu.gpr[reg] = at;
		cpu.gpr[1] = n;
		if (rnd() % 2) /* what OUTS is to find there */
			for (u32 k = 0; k < n; k++) {
				u32 v = port_value(k);

				memcpy(nat->data + (at + k * step - low(nat->data)), &v, size);
			}
		memcpy(dev.data, nat->data, DATA_SIZE);
		if (addr32)
			b[len++] = 0x67;
		if (size == 2)
			b[len++] = 0x66;
		if (rep)
			b[len++] = 0xf3;
		b[len++] = (in ? 0x6c : 0x6e) + (size > 1);
		e.port = &port;
		dev.bad = false;
		dev.ports = dev.wrong = 0;
		{
			struct insn i;
			u32 fit = (4096 - at % 4096) / size,
			    want = fit && rep && !down ? MIN(fit, n) : 1;

			EXPECT(!insn_decode(&i, b, len, EMUL_64) && emul_is_string_io(&i) &&
				   emul_is_ins(&i) == in,
			       "INS and OUTS are told");
			span = emul_string_span(&e, &i, &linear);
			EXPECT(span == (int)(n ? want : 0) && (!n || linear == at),
			       "span %d, should be %u", span, n ? want : 0);
		}
		do
			res = emulate(&e, b, len);
		while (res == EMUL_DONE && cpu.rip == 0x1000);
		end = at + (u64)n * step;
		EXPECT(res == EMUL_DONE && !dev.bad && dev.ports == n, "emulated (%d, %u of %u)",
		       res, dev.ports, n);
		EXPECT(cpu.rip == 0x1000 + len && cpu.gpr[reg] == end &&
			   cpu.gpr[1] == (rep ? 0 : n) && cpu.gpr[13 - reg] == 0 && !cpu.gpr[0],
		       "registers afterwards");
		EXPECT(port_string(in, size, n, at, step) == dev.wrong, "what is written");
		EXPECT(!memcmp(dev.data, nat->data, DATA_SIZE), "memory afterwards");
	}
	CHECK(failed == before, "INS and OUTS with and without REP as the manual says");
}

/* What INS does before it reads, and what needs the right to do so. */
static void test_string_io_bounds(void)
{
	struct emul_env e = env_for(EMUL_32);
	struct emul_state st;
	struct insn i;
	u16 port = 0x60;
	u64 linear;

	memset(&cpu, 0, sizeof(cpu));
	cpu.rip = 0x1000;
	cpu.rflags = 2;
	cpu.gpr[7] = cpu.gpr[6] = low(nat->data) + 4094;
	dev.mmio_pages = dev.retry = 0;
	CHECK(start(&st, &e, (const u8 *)"\x6d", 1) == EMUL_UNSUPPORTED,
	      "no port that has been checked: nothing is done");
	e.port = &port;
	dev.fault_page = 2;
	CHECK(start(&st, &e, (const u8 *)"\x6d", 1) == EMUL_FAULT && e.fault.vector == 14,
	      "a port is not read for a page that cannot be written");
	dev.fault_page = 0;
	CHECK(start(&st, &e, (const u8 *)"\x6d", 1) == EMUL_IN && st.mmio_len == 4, "else it is");
	cpu.gpr[1] = 100;
	insn_decode(&i, (const u8 *)"\xf3\x6f", 2, EMUL_32);
	e.seg_limit[SEG_DS] = cpu.gpr[6] + 6;
	CHECK(emul_string_span(&e, &i, &linear) == 1, "elements within the limit are taken alone");
	e.seg_limit[SEG_DS] = cpu.gpr[6] + 2;
	CHECK(emul_string_span(&e, &i, &linear) == -EFAULT && e.fault.vector == 13,
	      "beyond it is #GP");
	e.seg_limit[SEG_DS] = ~0u;
	insn_decode(&i, (const u8 *)"\x67\xf3\x6e", 3, EMUL_32);
	e.seg_base[SEG_DS] = low(nat->data);
	cpu.gpr[6] = 0xfff0;
	CHECK(emul_string_span(&e, &i, &linear) == 16 && linear == low(nat->data) + 0xfff0,
	      "16-bit addresses: up to the end of the page");
	e.seg_base[SEG_DS] -= 0x100;
	CHECK(emul_string_span(&e, &i, &linear) == 1, "one by one where SI would wrap");
}

static enum emul_result once(struct emul_env *e, const char *bytes, u32 n)
{
	dev.retry = 0;
	dev.bad = false;
	return emulate(e, (const u8 *)bytes, n);
}

static void reset_cpu(void)
{
	memset(&cpu, 0, sizeof(cpu));
	cpu.rip = 0x1000;
	cpu.rflags = 2;
	dev.mmio_pages = 15;
}

static bool faults(struct emul_env *e, const char *bytes, u32 n, u8 vector)
{
	struct cpu_state before = cpu;
	enum emul_result res = once(e, bytes, n);

	return res == EMUL_FAULT && e->fault.vector == vector &&
	       memcmp(&before, &cpu, sizeof(cpu)) == 0;
}

static void test_faults(void)
{
	struct emul_env e = env_for(EMUL_64);

	reset_cpu();
	cpu.gpr[0] = cpu.gpr[5] = 0x800000000000;
	CHECK(faults(&e, "\x8b\x00", 2, 13), "non-canonical address: #GP");
	CHECK(faults(&e, "\x8b\x45\x00", 3, 12), "non-canonical address through RBP: #SS");
	cpu.gpr[0] = 0x7fffffffffff;
	CHECK(faults(&e, "\x8b\x00", 2, 13), "access across the canonical boundary: #GP");
	e.linear_bits = 57;
	CHECK(once(&e, "\x8b\x00", 2) == EMUL_FAULT && e.fault.vector != 13,
	      "57-bit addresses: canonical");
	cpu.gpr[0] = low(nat->data);
	CHECK(faults(&e, "\xf0\x8b\x00", 3, 6), "LOCK MOV: #UD");
	CHECK(faults(&e, "\xf0\x39\x00", 3, 6), "LOCK CMP: #UD");
	CHECK(faults(&e, "\xf0\xa4", 2, 6), "LOCK MOVS: #UD");
	CHECK(once(&e, "\x0f\x58\x00", 3) == EMUL_UNSUPPORTED && cpu.rip == 0x1000,
	      "ADDPS is not supported");
	CHECK(once(&e, "\xc5\xf8\x58\x00", 4) == EMUL_UNSUPPORTED, "VADDPS is not supported");
	CHECK(once(&e, "\xf3\x0f\xbc\x00", 4) == EMUL_UNSUPPORTED, "TZCNT is not BSF");
	CHECK(once(&e, "\xc5\xf8\x6f\x00", 4) == EMUL_UNSUPPORTED, "MMX has no VEX");
	CHECK(faults(&e, "\xf0\x0f\x40\x00", 4, 6), "LOCK CMOV: #UD");
	CHECK(faults(&e, "\xf0\xd1\x00", 3, 6), "LOCK ROL: #UD");
	CHECK(faults(&e, "\x8c\x30", 2, 6), "a segment register that does not exist: #UD");
	cpu.gpr[0] += 8;
	CHECK(faults(&e, "\x48\x0f\xc7\x08", 4, 13), "CMPXCHG16B that is not aligned: #GP");
	cpu.gpr[0] -= 8;
	dev.read = dev.written = 0;
	CHECK(once(&e, "\x0f\xae\x38", 3) == EMUL_DONE && cpu.rip == 0x1003 && !dev.read,
	      "CLFLUSH touches nothing");
	cpu.rip = 0x1000;
	CHECK(once(&e, "\xc4\xe2\x78\xf2\x00", 5) == EMUL_UNSUPPORTED, "ANDN is not supported");
	CHECK(once(&e, "\x8b\xc0", 2) == EMUL_UNSUPPORTED, "no memory operand: not supported");
	CHECK(once(&e, "\x8b", 1) == EMUL_UNSUPPORTED, "half an instruction is not supported");

	/* REP MOVS downwards into a page that may not be written, in the 4th iteration */
	cpu.gpr[1] = 10;
	cpu.gpr[6] = low(nat->data) + 8192;
	cpu.gpr[7] = low(nat->data) + 4096 + 8;
	cpu.rflags = 0x402;
	dev.fault_page = 1;
	dev.mmio_pages = 2;
	CHECK(once(&e, "\xf3\xa5", 2) == EMUL_FAULT && e.fault.vector == 14 && cpu.gpr[1] == 7 &&
		  cpu.gpr[7] == low(nat->data) + 4092 && cpu.rip == 0x1000,
	      "a fault in a REP MOVS leaves the iterations done and RIP there");
	cpu.gpr[0] = low(nat->data);
	CHECK(faults(&e, "\x01\x00", 2, 14),
	      "read-modify-write of a read-only page faults as a write");
	dev.fault_page = 0;
}

/* Accesses that the processor has translated already: dev_access() with its faults is not asked. */
static void test_stopped(void)
{
	struct emul_env e = env_for(EMUL_64);
	struct emul_state st;

#define RUN(how, off, insn)                                                                        \
	(e.stopped = (how), e.stopped_gpa = 0xd0000000 + (off),                                    \
	 start(&st, &e, (const u8 *)(insn), sizeof(insn) - 1))
	reset_cpu();
	cpu.gpr[0] = cpu.gpr[7] = low(nat->data) + 0x10;
	cpu.gpr[6] = low(nat->data) + 4096 + 0x10;
	dev.mmio_pages = dev.retry = 0;
	dev.fault_page = 1;
	CHECK(RUN(EMUL_STOPPED_WRITE, 0x10, "\x89\x08") == EMUL_MMIO_WRITE &&
		  st.mmio_gpa == 0xd0000010,
	      "a stopped write is not translated again");
	CHECK(emul_continue(&st, &e) == EMUL_DONE && cpu.rip == 0x1002,
	      "it is done once it is answered");
	CHECK(RUN(EMUL_STOPPED_READ, 0x10, "\x89\x08") == EMUL_FAULT,
	      "a write needs more rights than a stopped read had");
	CHECK(RUN(EMUL_STOPPED_READ, 0x10, "\x01\x08") == EMUL_FAULT,
	      "so does the read of a read-modify-write");
	CHECK(RUN(EMUL_STOPPED_WRITE, 0x14, "\x89\x08") == EMUL_FAULT,
	      "another offset in the page is another access");
	CHECK(RUN(EMUL_STOPPED_READ, 0x10, "\x8b\x08") == EMUL_MMIO_READ,
	      "a stopped read is not translated again");
	CHECK(RUN(EMUL_STOPPED_WRITE, 0x10, "\xa4") == EMUL_FAULT && !st.mmio_len,
	      "of two operands either may be meant");
#undef RUN
	dev.fault_page = 0;
}

static void test_legacy_modes(void)
{
	struct emul_env e = env_for(EMUL_32);
	u32 data = low(nat->data), val = 0x11223344;

	reset_cpu();
	memcpy(dev.data + 0x100, &val, 4);
	e.seg_base[SEG_DS] = data - 0x10000;
	cpu.gpr[3] = 0x10100;
	cpu.rip = 0xfffffffe;
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[0] == val && cpu.rip == 0,
	      "32-bit mode: segment base, EIP wraps");
	cpu.gpr[3] = 0x100 - (u32)0x80;
	e.seg_base[SEG_DS] = data + 0x80;
	CHECK(once(&e, "\x0f\xb6\x03", 3) == EMUL_DONE && cpu.gpr[0] == 0x44, "32-bit mode: MOVZX");
	e.seg_base[SEG_DS] = (u32)(data + 0x80 + 0x1000);
	cpu.gpr[3] = 0xfffff080;
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[0] == val,
	      "32-bit mode: linear addresses wrap at 4 GiB");
	e.seg_limit[SEG_DS] = 0xffff;
	cpu.gpr[3] = 0xfffd;
	CHECK(faults(&e, "\x8b\x03", 2, 13), "access across the segment limit: #GP");
	e.seg_limit[SEG_SS] = 0xffff;
	cpu.gpr[5] = 0xfffd;
	CHECK(faults(&e, "\x8b\x45\x00", 3, 12), "access across the stack limit: #SS");
	e.seg_base[SEG_SS] = data + 0x100 - 0xfffc;
	CHECK(once(&e, "\x8b\x45\xff", 3) == EMUL_DONE && (u32)cpu.gpr[0] == val,
	      "access up to the segment limit");

	e.seg_limit[SEG_DS] = 0xffffffff;
	e.seg_first[SEG_DS] = 0x1000;
	cpu.gpr[3] = 0xfff;
	CHECK(faults(&e, "\x8b\x03", 2, 13), "below a segment that expands downwards: #GP");
	e.seg_base[SEG_DS] = data + 0x100 - 0x1000;
	cpu.gpr[3] = 0x1000;
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[0] == val, "its first byte");
	e.seg_first[SEG_DS] = 1ull << 32;
	CHECK(faults(&e, "\x8b\x03", 2, 13), "one that is empty");
	e.seg_first[SEG_DS] = 0;
	e.seg_limit[SEG_DS] = 0xffff;

	e.mode = EMUL_16;
	e.stack32 = false;
	e.seg_base[SEG_DS] = data;
	e.seg_base[SEG_ES] = data + 0x1000;
	cpu.gpr[3] = 0xffff00f0;
	cpu.gpr[6] = 0xffff0010;
	cpu.rip = 0x7c00;
	CHECK(once(&e, "\x8b\x00", 2) == EMUL_DONE && (u16)cpu.gpr[0] == 0x3344 &&
		  cpu.rip == 0x7c02,
	      "16-bit mode: [BX+SI]");
	cpu.gpr[3] = 0xfff0;
	cpu.gpr[6] = 0x110;
	CHECK(once(&e, "\x66\x8b\x00", 3) == EMUL_DONE && (u32)cpu.gpr[0] == val,
	      "16-bit mode: [BX+SI] wraps, 66 widens");
	cpu.gpr[6] = 0xffffffff;
	e.seg_base[SEG_DS] = data - 0xffff + 0x100;
	CHECK(once(&e, "\xac", 1) == EMUL_DONE && (u8)cpu.gpr[0] == 0x44 &&
		  cpu.gpr[6] == 0xffff0000,
	      "16-bit mode: SI wraps, the upper half stays");
	cpu.gpr[4] = 0xabcd0000;
	e.seg_base[SEG_SS] = data - 0xfffe + 0x200;
	cpu.gpr[3] = 0x100;
	e.seg_base[SEG_DS] = data;
	CHECK(once(&e, "\xff\x37", 2) == EMUL_DONE && cpu.gpr[4] == 0xabcdfffe &&
		  memcmp(dev.data + 0x200, &val, 2) == 0,
	      "16-bit stack: SP wraps");

	e.seg_base[SEG_SS] = data + 0x300;
	for (u32 k = 0; k < 8; k++)
		cpu.gpr[k] = 0x11110000 * (k + 1) + k + 1;
	cpu.gpr[4] = 0x99990010;
	CHECK(once(&e, "\x60", 1) == EMUL_DONE && cpu.gpr[4] == 0x99990000 &&
		  !memcmp(dev.data + 0x300,
			  "\x08\x00\x07\x00\x06\x00\x10\x00\x04\x00\x03\x00\x02\x00\x01", 15),
	      "PUSHA");
	memset(dev.data + 0x306, 0xee, 2);
	for (u32 k = 0; k < 8; k++)
		cpu.gpr[k] = k == 4 ? 0x99990000 : 0x55555555;
	CHECK(once(&e, "\x61", 1) == EMUL_DONE && cpu.gpr[4] == 0x99990010 &&
		  cpu.gpr[0] == 0x55550001 && cpu.gpr[7] == 0x55550008 && cpu.gpr[3] == 0x55550004,
	      "POPA, which skips SP");
	e.mode = EMUL_32;
	e.stack32 = true;
	cpu.gpr[4] = 0x40;
	cpu.gpr[2] = 0xabcdef01;
	CHECK(once(&e, "\x60", 1) == EMUL_DONE && cpu.gpr[4] == 0x20 &&
		  !memcmp(dev.data + 0x300 + 0x34, "\x01\xef\xcd\xab", 4) &&
		  !memcmp(dev.data + 0x300 + 0x2c, "\x40\0\0\0", 4),
	      "PUSHAD");
	e.seg_limit[SEG_CS] = 0x1000;
	cpu.gpr[0] = 0x20;
	e.seg_base[SEG_DS] = data;
	memcpy(dev.data + 0x20, "\x01\x10\x00\x00", 4);
	CHECK(faults(&e, "\xff\x20", 2, 13), "JMP beyond the code segment: #GP");
	memcpy(dev.data + 0x20, "\x00\x10\x00\x00", 4);
	CHECK(once(&e, "\xff\x20", 2) == EMUL_DONE && cpu.rip == 0x1000, "JMP up to its limit");
}

static void test_bounds(void)
{
	struct emul_env e = env_for(EMUL_64);
	struct emul_state st;
	enum emul_result res;
	u32 calls = 0;

	reset_cpu();
	dev.mmio_pages = 0;
	cpu.gpr[1] = 1000;
	cpu.gpr[7] = low(nat->data);
	CHECK(once(&e, "\xf3\xaa", 2) == EMUL_DONE && cpu.rip == 0x1000 && cpu.gpr[1] == 744 &&
		  cpu.gpr[7] == low(nat->data) + 256,
	      "a long REP stops after 256 iterations, to be run again");

	reset_cpu();
	dev.mmio_pages = ~0u;
	cpu.gpr[1] = 1000;
	cpu.gpr[7] = low(nat->data);
	for (res = start(&st, &e, (const u8 *)"\xf3\xaa", 2); res == EMUL_MMIO_WRITE;
	     res = emul_continue(&st, &e))
		calls++;
	CHECK(res == EMUL_DONE && calls == 256 && cpu.gpr[1] == 744,
	      "so does one whose every access is answered at once");
	memset(&st, 0, sizeof(st));
	CHECK(emul_continue(&st, &e) == EMUL_UNSUPPORTED, "nothing to continue");
}

static u32 plain_stores;

/* What is told of a plain store without emulating it is what the emulator has found. */
static void check_short_way(const struct emul_state *st, enum emul_result res, const u8 *bytes,
			    u32 n, enum emul_mode mode)
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

/*
 * Any bytes, any registers: no undefined behaviour, an end in bounded time, memory only through the
 * callbacks.
 */
static void test_hostile(void)
{
	u32 done = 0;

	for (u32 r = 0; r < 400000; r++) {
		u8 b[15], *heap;
		u32 n = 1 + rnd() % 15, loops = 0;
		enum emul_mode mode = rnd() % 3;
		struct emul_env e = env_for(mode);
		struct emul_state st;
		enum emul_result res;
		u16 port = 0x60;

		for (u32 k = 0; k < 15; k++)
			b[k] = rnd();
		if (rnd() % 2)
			b[rnd() % 2] =
			    "\x0f\xf0\xf3\x66\xa4\xa7\xff\x8f\xf7\x60\xc5\x6d"[rnd() % 12];
		for (u32 k = 0; k < 16; k++)
			cpu.gpr[k] = rnd() % 2 ? low(nat->data) + rnd() % DATA_SIZE : rnd_value();
		for (u32 k = 0; k < 6; k++) {
			e.seg_base[k] = rnd() % 2 ? 0 : rnd_value();
			e.seg_limit[k] = rnd() % 2 ? 0xffffffff : (u32)rnd_value();
		}
		if (rnd() % 2)
			e.port = &port;
		cpu.rip = rnd_value();
		cpu.rflags = rnd();
		dev.mmio_pages = rnd();
		dev.retry = 4;
		heap = malloc(n);
		memcpy(heap, b, n);
		res = start(&st, &e, heap, n);
		check_short_way(&st, res, heap, n, mode);
		free(heap);
		while (is_under_way(res) && loops++ < 20000) {
			if (rnd() % 16 == 0) /* the VMM may set registers in between */
				cpu.gpr[rnd() % 16] = rnd_value();
			if (rnd() % 64 == 0)
				cpu.gpr[1] = 0;
			st.mmio_data = rnd();
			res = emul_continue(&st, &e);
		}
		done += res == EMUL_DONE;
		EXPECT(loops < 20000, "hostile input ends");
	}
	CHECK(plain_stores > 500, "%u of them only store", plain_stores);
	CHECK(failed == 0 && done > 1000,
	      "random instructions with random state: %u completed, nothing broke", done);
}

static u8 signal_stack[65536];

int main(void)
{
	printf("# seed %#llx\n", (unsigned long long)SEED);
	nat = mmap(NULL, sizeof(*nat), PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (!CHECK(nat != MAP_FAILED, "executable memory below 2 GiB"))
		return test_end();
	sigaltstack(&(stack_t){.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)}, NULL);
	sigaction(SIGFPE,
		  &(struct sigaction){.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO | SA_ONSTACK},
		  NULL);
	sigaction(SIGILL,
		  &(struct sigaction){.sa_sigaction = on_ill, .sa_flags = SA_SIGINFO | SA_ONSTACK},
		  NULL);
	for (u32 k = 0; k < ARRAY_SIZE(templates); k++)
		test_template(&templates[k]);
	CHECK(divisions > 1000, "%u divisions did not fault", divisions);
	test_implicit();
	test_vectors();
	test_moffs();
	test_strings();
	test_string_io();
	test_string_io_bounds();
	test_faults();
	test_stopped();
	test_legacy_modes();
	test_bounds();
	test_hostile();
	return test_end();
}
