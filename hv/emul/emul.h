/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The small emulator for instructions that touch MMIO, or write to a ROM. Pure: everything outside
 * comes through struct emul_env.
 */
#pragma once

#include "hv/abi.h"
#include "hv/emul/insn.h"
#include "hv/lib/types.h"

/* An exception; error: a selector or 0, but for #PF. */
struct emul_fault {
	u8 vector;
	u32 error;
	u64 cr2;
};

enum emul_vector { EMUL_MMX, EMUL_SSE, EMUL_AVX };

/* FETCH: of an instruction, which is only looked at for where a branch goes to. */
enum access { READ, READ_FOR_WRITE, WRITE, FETCH };

/* What instructions of an operating system load and store. */
struct emul_system {
	struct corbel_segment seg[SEG_IDTR + 1]; /* of GDT and IDT base and limit */
	u64 cr0;
	u8 cpl;
	bool vm86, long_mode, umip;
};

struct emul_env;
struct emul_ops {
	/*
	 * Linear address, after segmentation, CPL checks as for data. 0, or -EFAULT with env->fault
	 * filled, or -EAGAIN: p2m miss, the vCPU must exit for it and retry the instruction. MMIO
	 * in the way: -EOPNOTSUPP and *mmio = its gpa.
	 */
	int (*read)(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *mmio_gpa);
	int (*write)(struct emul_env *e, u64 linear, const void *buf, u32 len, u64 *mmio_gpa);
	/*
	 * Fill seg_base, seg_first, seg_limit, seg_denies, seg_selector, and stack32 for SS, which
	 * are about to be used.
	 */
	void (*segment)(struct emul_env *e, u8 seg);
	/*
	 * Read or write register n: 32 bytes, of which MMX has 8. Without AVX those above 16 read
	 * as 0 and cannot be written. -EFAULT: an instruction of this kind has #UD or #NM now.
	 */
	int (*vector)(struct emul_env *e, enum emul_vector file, u8 n, u8 *val, bool write);
	void (*get_system)(struct emul_env *e, struct emul_system *s);
	void (*set_segment)(struct emul_env *e, u8 seg, const struct corbel_segment *s);
	/* False: #GP */
	bool (*set_cr0)(struct emul_env *e, u64 cr0);
};
struct emul_env {
	const struct emul_ops *ops;
	void *ctx;
	u64 *gpr; /* 16, order RAX RCX RDX RBX RSP RBP RSI RDI R8.. */
	u64 *rip, *rflags;
	u64 seg_base[6];
	u64 seg_first[6]; /* offsets from here to the limit; more than 0 if it expands downwards */
	u32 seg_limit[6];
	u8 seg_denies[6]; /* outside 64-bit mode; bits by enum access */
	u16 seg_selector[6];
	enum emul_mode mode;
	bool stack32;	/* SS.B, outside 64-bit mode */
	u8 linear_bits; /* width of a canonical address: 57 with CR4.LA57, else 48 (or 0) */
	/*
	 * The instruction has been stopped by an access to MMIO at gpa: where its only memory
	 * operand may be that, the address is not translated again. The rights hold for a read, or
	 * for read and write if that access was a write.
	 */
	enum { EMUL_STOPPED_NOT, EMUL_STOPPED_READ, EMUL_STOPPED_WRITE } stopped;
	u64 stopped_gpa;
	/*
	 * set while ->read fetches an operand that will be written: permissions and error code of a
	 * write
	 */
	bool rmw;
	/* set while the processor's own tables are read or written: CPL 0's rights */
	bool as_system;
	bool shadow; /* set when SS has been loaded: the next instruction comes before events */
	bool iret;   /* set by IRET, which lets in NMIs again */
	bool rf;     /* and that has loaded RFLAGS.RF, which any other instruction clears */
	/*
	 * of INS and OUTS, which the processor has stopped at: it has checked that they may use it.
	 * NULL: they are EMUL_UNSUPPORTED
	 */
	const u16 *port;
	struct emul_fault fault; /* 11 to 13, 14 as the callbacks said, 0, 6, 7 */
};

enum emul_result {
	/*
	 * instruction finished, RIP advanced, flags set (a REP may leave RIP there to be run again)
	 */
	EMUL_DONE,
	EMUL_MMIO_READ,	 /* st->mmio_gpa/len: get data into st->mmio_data, call emul_continue */
	EMUL_MMIO_WRITE, /* write st->mmio_data there, call emul_continue */
	EMUL_IN,	 /* the same with *env->port in place of an address */
	EMUL_OUT,
	EMUL_FAULT, /* env->fault is to be injected, RIP unchanged */
	EMUL_RETRY, /* p2m miss in RAM operand: handle, then emul_continue, which repeats no MMIO
		     * already done; where that cannot matter the guest may as well run again */
	EMUL_UNSUPPORTED, /* the VM is to be told (CORBEL_EXIT_INTERNAL), RIP unchanged */
};
struct emul_state { /* lives across exits to the VMM */
	bool active;
	u32 phase;
	u32 iterations; /* of a REP */
	struct insn insn;
	u8 kind; /* enum kind of it */
	u64 mmio_gpa;
	u32 mmio_len;
	u64 mmio_data;
	u8 log[64];
};
/*
 * Registers, flags and RIP change only when the instruction (of a REP: the iteration) is complete;
 * in between the state holds what was read. An access that crosses a page is split there, so
 * mmio_len may then be any number from 1 to 7. RF is cleared at the end; a trap for TF is the
 * caller's. One that has come to other accesses than before, for the VMM has set another mode
 * meanwhile, is EMUL_UNSUPPORTED, and may have left its results.
 *
 * Run the instruction at RIP, which faulted on MMIO: what op.h, string.h, stack.h, system.h and
 * vector.h name, REP with bounded iterations a start. All others, x87 and arithmetic of SSE among
 * them, are EMUL_UNSUPPORTED.
 */
enum emul_result emul_start(struct emul_state *st, struct emul_env *e, const struct insn *i);
enum emul_result emul_continue(struct emul_state *st, struct emul_env *e);

static inline bool emul_is_string_io(const struct insn *i)
{
	return !i->map && !i->vex && (i->opcode & 0xfc) == 0x6c;
}
/* INS, not OUTS */
static inline bool emul_is_ins(const struct insn *i)
{
	return !(i->opcode & 2);
}
/*
 * Where INS or OUTS has its next element, and how many lie behind each other in that page, which
 * can be moved at once: 1 for an element that crosses its end, 0 if REP has nothing left to do.
 * -EFAULT: env->fault.
 */
int emul_string_span(struct emul_env *e, const struct insn *i, u64 *linear);

/* The address that the operand in memory has, before segment base and address size. */
static inline u64 emul_offset(const struct insn *i, const u64 *gpr, u64 rip)
{
	u64 ea = (u64)i->disp;

	if (i->rip_relative)
		ea += rip + i->len;
	if (i->base >= 0)
		ea += gpr[i->base];
	if (i->index >= 0)
		ea += gpr[i->index] * i->scale;
	return ea;
}

/*
 * What most MMIO is, without all that: an instruction of 64-bit mode that only stores a general
 * register or a constant, no segment base added. emul_stored(): the write at gpa was its; true and
 * what was to be written, in the low op_size bytes, within a page.
 */
bool emul_is_plain_store(const struct insn *i, enum emul_mode mode);
static inline bool emul_stored(const struct insn *i, const u64 *gpr, u64 rip, u64 gpa, u64 *val)
{
	u64 ea = emul_offset(i, gpr, rip);

	*val = i->imm_size ? i->imm : gpr[i->reg];
	return !((ea ^ gpa) % PAGE_SIZE) && gpa % PAGE_SIZE + i->op_size <= PAGE_SIZE;
}
