/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/task.h"
#include "hv/emul/descriptor.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

/*
 * What a switch saves and loads lies behind each other in a TSS: instruction pointer, flags, eight
 * registers, segments; the LDT's selector follows. SDM "Task-State Segment (TSS)" and "16-Bit
 * Task-State Segment".
 */
struct shape {
	u8 size;     /* of a word */
	u8 at;	     /* where they begin */
	u8 segments; /* from ES on */
	u8 bytes;    /* of a TSS, at least */
};
static const struct shape shape16 = {2, 0x0e, 4, 0x2c}, shape32 = {4, 0x20, 6, 0x68};
#define TSS_CR3	  0x1c /* the 32-bit one's only */
#define TSS_TRAP  0x64
#define TSS_BYTES 0x68
enum { W_IP, W_FLAGS, W_GPR, W_SEG = W_GPR + 8 };

static const struct shape *shape_of(const struct corbel_segment *tss)
{
	return tss->type & TYPE_32 ? &shape32 : &shape16;
}

static int raise_fault(struct task *t, u8 vector, u16 sel)
{
	t->fault.vector = vector;
	t->fault.error = (sel & ~3u) | t->external;
	return -EFAULT;
}

/* ---- descriptors ---- */

/* vector: for a selector that leads nowhere */
static int read_descriptor(struct task *t, enum task_space space, u16 sel, u8 vector,
			   struct corbel_segment *out)
{
	u64 at, d;
	int ret;

	if (!descriptor_at(&t->gdt, &t->seg[SEG_LDTR], sel, sizeof(u64), &at))
		return raise_fault(t, vector, sel);
	ret = t->access(t, space, at, &d, sizeof(d), false);
	if (ret)
		return ret;
	descriptor_unpack(out, sel, d);
	out->l = 0; /* there are no tasks in long mode */
	return 0;
}

/* Change type bits where the descriptor lies. */
static int write_type(struct task *t, enum task_space space, u16 sel, u8 clear, u8 set)
{
	u64 at;
	u8 byte;
	int ret;

	if (!descriptor_at(&t->gdt, &t->seg[SEG_LDTR], sel, sizeof(u64), &at))
		return 0; /* the old TSS', of which only the register is left */
	ret = t->access(t, space, at + 5, &byte, 1, false);
	if (ret || (byte & (clear | set)) == set)
		return ret;
	byte = (byte & ~clear) | set;
	return t->access(t, space, at + 5, &byte, 1, true);
}

/* SDM "Exception Conditions Checked During a Task Switch", as far as they are of the TSS. */
static int check_target(struct task *t, struct corbel_segment *tss)
{
	bool iret = t->source == TASK_IRET;
	u8 vector = iret ? VEC_TS : VEC_GP, want = TYPE_TSS;
	int ret;

	if (iret)
		want |= TYPE_BUSY;
	if (t->selector & SEL_TI || !INDEX(t->selector))
		return raise_fault(t, vector, t->selector);
	ret = read_descriptor(t, TASK_OLD, t->selector, vector, tss);
	if (ret)
		return ret;
	if (tss->s || (tss->type & ~TYPE_32) != want)
		return raise_fault(t, vector, t->selector);
	if (!tss->present)
		return raise_fault(t, VEC_NP, t->selector);
	if (tss->limit < shape_of(tss)->bytes - 1u)
		return raise_fault(t, VEC_TS, t->selector);
	return 0;
}

/* ---- segments of the new task ---- */

/*
 * Selectors as they are loaded when nothing is known of the descriptors yet. What CS and SS cover
 * stays: a fault is delivered with them.
 */
static void set_selectors(struct task *t, const u16 *sel)
{
	bool vm = t->rflags & RFLAGS_VM;

	for (u32 i = 0; i <= SEG_GS; i++) {
		struct corbel_segment *s = &t->seg[i];

		if (vm || (i != SEG_CS && i != SEG_SS))
			*s = (struct corbel_segment){.unusable = 1};
		if (vm || i == SEG_CS || i == SEG_SS) {
			s->type = TYPE_RW | TYPE_ACCESSED;
			s->s = s->present = 1;
			s->unusable = 0;
			s->dpl = vm ? 3 : RPL(sel[SEG_CS]);
		}
		s->selector = sel[i];
		if (vm) {
			s->base = (u64)sel[i] << 4;
			s->limit = 0xffff;
		} else if (i == SEG_CS) {
			s->type |= TYPE_CODE;
		}
	}
}

static int load_ldt(struct task *t, u16 sel)
{
	struct corbel_segment *ldt = &t->seg[SEG_LDTR], s;
	int ret;

	*ldt = (struct corbel_segment){.selector = sel, .unusable = 1};
	if (sel & SEL_TI)
		return raise_fault(t, VEC_TS, sel);
	if (!INDEX(sel))
		return 0;
	ret = read_descriptor(t, TASK_NEW, sel, VEC_TS, &s);
	if (ret)
		return ret;
	if (s.s || s.type != TYPE_LDT || !s.present)
		return raise_fault(t, VEC_TS, sel);
	*ldt = s;
	return 0;
}

/* May segment register i have it? CS decides on the CPL that it comes with. */
static bool is_fit(u32 i, const struct corbel_segment *s, u8 cpl)
{
	if (i != SEG_CS)
		return descriptor_fits(i, s, cpl);
	if (!s->s || !(s->type & TYPE_CODE))
		return false;
	return s->type & TYPE_CONFORMING ? s->dpl <= cpl : s->dpl == cpl;
}

static int load_segment(struct task *t, u32 i, u8 cpl)
{
	u16 sel = t->seg[i].selector;
	struct corbel_segment s;
	int ret;

	if (selector_is_null(sel))
		return i == SEG_CS || i == SEG_SS ? raise_fault(t, VEC_TS, sel) : 0;
	ret = read_descriptor(t, TASK_NEW, sel, VEC_TS, &s);
	if (ret)
		return ret;
	if (!is_fit(i, &s, cpl))
		return raise_fault(t, VEC_TS, sel);
	if (!s.present && i == SEG_SS)
		return raise_fault(t, VEC_SS, sel);
	if (!s.present)
		return raise_fault(t, VEC_NP, sel);
	ret = write_type(t, TASK_NEW, sel, 0, TYPE_ACCESSED);
	if (ret)
		return ret;
	s.type |= TYPE_ACCESSED;
	t->seg[i] = s;
	return 0;
}

static int load_segments(struct task *t, u16 ldt)
{
	static const u8 order[] = {SEG_CS, SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS};
	u8 cpl = RPL(t->seg[SEG_CS].selector);
	int ret = load_ldt(t, ldt);

	for (u32 i = 0; i < ARRAY_SIZE(order) && !ret && !(t->rflags & RFLAGS_VM); i++)
		ret = load_segment(t, order[i], cpl);
	return ret;
}

/* The event's error code, as wide as the new task's TSS. */
static int push_error(struct task *t, u32 size)
{
	const struct corbel_segment *ss = &t->seg[SEG_SS];
	u64 mask = ss->db ? ~0u : 0xffff, sp = (t->gpr[RSP] - size) & mask, last = sp + size - 1;
	bool fits = last <= ss->limit;
	int ret;

	if (ss->type & TYPE_CONFORMING)
		fits = sp > ss->limit && last <= mask;
	if (!fits)
		return raise_fault(t, VEC_SS, 0);
	ret = t->access(t, TASK_NEW_STACK, (u32)(ss->base + sp), &t->error, size, true);
	if (!ret)
		t->gpr[RSP] = (t->gpr[RSP] & ~mask) | sp;
	return ret;
}

/* ---- the tasks ---- */

static u32 get_word(const struct shape *s, const u8 *tss, u32 n)
{
	u32 val = 0;

	memcpy(&val, tss + s->at + n * s->size, s->size);
	return val;
}

static int save_old(struct task *t)
{
	const struct corbel_segment *tr = &t->seg[SEG_TR];
	const struct shape *s = shape_of(tr);
	u32 words[W_SEG + 6] = {[W_IP] = t->rip, [W_FLAGS] = t->rflags};
	u32 n = W_SEG + s->segments, len = n * s->size;
	u8 image[sizeof(words)];

	BUG_ON(len > sizeof(image));
	if (tr->limit < s->at + len - 1)
		return raise_fault(t, VEC_TS, tr->selector);
	if (t->source == TASK_IRET)
		words[W_FLAGS] &= ~RFLAGS_NT;
	for (u32 i = 0; i < 8; i++)
		words[W_GPR + i] = t->gpr[i];
	for (u32 i = 0; i < s->segments; i++)
		words[W_SEG + i] = t->seg[i].selector;
	for (u32 i = 0; i < n; i++)
		memcpy(image + i * s->size, &words[i], s->size);
	return t->access(t, TASK_OLD, tr->base + s->at, image, len, true);
}

/* Registers, then segments, and what comes before the first instruction. */
static int load_new(struct task *t, const struct shape *s, const u8 *tss)
{
	u16 sel[SEG_GS + 1] = {0};
	int ret;

	t->rip = get_word(s, tss, W_IP);
	t->rflags = (get_word(s, tss, W_FLAGS) & RFLAGS_SETTABLE) | RFLAGS_FIXED;
	if (t->source == TASK_CALL || t->source == TASK_GATE)
		t->rflags |= RFLAGS_NT;
	for (u32 i = 0; i < 8; i++)
		t->gpr[i] = get_word(s, tss, W_GPR + i);
	for (u32 i = 0; i < s->segments; i++)
		sel[i] = get_word(s, tss, W_SEG + i);
	t->trap = false;
	if (s == &shape32) {
		t->trap = tss[TSS_TRAP] & 1;
		if (t->paging)
			memcpy(&t->cr3, tss + TSS_CR3, sizeof(u32));
	}
	set_selectors(t, sel);
	ret = load_segments(t, get_word(s, tss, W_SEG + s->segments));
	if (!ret && t->has_error)
		ret = push_error(t, s->size);
	if (!ret && t->rip > t->seg[SEG_CS].limit)
		ret = raise_fault(t, VEC_GP, 0);
	return ret;
}

/*
 * What tells of the tasks which of them runs. The new one's busy bit is last: with it a second try
 * would fail.
 */
static int mark_busy(struct task *t, const struct corbel_segment *tss, u16 old)
{
	bool nests = t->source == TASK_CALL || t->source == TASK_GATE;
	int ret = 0;

	if (nests)
		ret = t->access(t, TASK_OLD, tss->base, &old, sizeof(old), true);
	else
		ret = write_type(t, TASK_OLD, old, TYPE_BUSY, 0);
	if (!ret && t->source != TASK_IRET)
		ret = write_type(t, TASK_OLD, t->selector, 0, TYPE_BUSY);
	return ret;
}

int task_switch(struct task *t)
{
	u16 old = t->seg[SEG_TR].selector;
	struct emul_fault first;
	struct corbel_segment tss;
	u8 image[TSS_BYTES];
	int ret = check_target(t, &tss);

	if (!ret)
		ret = save_old(t);
	if (!ret)
		ret = t->access(t, TASK_OLD, tss.base, image, shape_of(&tss)->bytes, false);
	if (ret)
		return ret;
	ret = load_new(t, shape_of(&tss), image);
	if (ret && ret != -EFAULT)
		return ret;
	t->faulted = ret;
	first = t->fault;
	ret = mark_busy(t, &tss, old);
	if (ret)
		return ret;
	t->fault = first;
	t->seg[SEG_TR] = tss;
	t->seg[SEG_TR].type |= TYPE_BUSY;
	return 0;
}
