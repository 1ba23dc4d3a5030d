// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state-save area of SMM: where what lies, and whether what the guest has put there is a state
 * that a CPU can have. APM vol. 2 "SMM State-Save Area"; SDM "SMRAM State Save Map" for CPUs
 * without long mode; SDM "Checks on the Guest State Area".
 */
#include "pure.h"

#ifndef __packed
#define __packed __attribute__((packed))
#endif

#define REVISION_64 0x20064 /* SMBASE can be moved; no I/O restart */
#define REVISION_32 0x20000

#define CR0_PE	    1ull
#define CR0_EM	    4ull
#define CR0_TS	    8ull
#define CR0_PG	    (1ull << 31)
#define CR0_KNOWN   0xe005003full
#define CR4_PCIDE   (1ull << 17)
#define LM_ENABLED  (1ull << 8) /* of EFER, for which Linux has names, too */
#define LM_ACTIVE   (1ull << 10)
#define RFLAGS_ONE  2ull
#define RFLAGS_VM   (1ull << 17)
#define DR7_ONE	    0x400ull
#define CODE	    8 /* of a segment's type */
#define TYPE_DATA   3
#define TYPE_TSS    11
#define TYPE_TSS_16 3
#define TYPE_LDT    2
#define SEL_TI	    4

struct seg_64 {
	u16 selector, rights;
	u32 limit;
	u64 base;
} __packed;

struct svm_part {
	u64 nested, vmcb;
} __packed;

struct map_64 {
	struct seg_64 es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 io[0x28], io_restart, halted, nmi, shadow, unused[4];
	u64 efer;
	struct svm_part svm;
	u8 more_svm[0x14];
	u32 revision, smbase;
	u8 more[0x44];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u64 gpr[16]; /* R15 first */
} __packed;
_Static_assert(sizeof(struct map_64) == SMM_AREA_BYTES, "layout");
_Static_assert(__builtin_offsetof(struct map_64, efer) == 0xd0, "layout");
_Static_assert(__builtin_offsetof(struct map_64, svm) == 0xd8, "layout");
_Static_assert(__builtin_offsetof(struct map_64, revision) == 0xfc, "layout");
_Static_assert(__builtin_offsetof(struct map_64, cr4) == 0x148, "layout");

struct seg_32 {
	u32 rights, limit, base;
} __packed;

struct map_32 {
	u8 unused[0xd8];
	struct svm_part svm; /* nobody says where, so it is where the other map has it */
	u8 unused_1[0x10];
	u32 smbase, revision;
	u16 io_restart, halted;
	u8 io[0x10];
	u32 cr4;
	u8 more[2], shadow, rest[0x11];
	struct seg_32 ds, fs, gs, idtr, tr;
	u32 unused_2;
	struct seg_32 gdtr, ldtr, es, cs, ss;
	u32 es_sel, cs_sel, ss_sel, ds_sel, fs_sel, gs_sel, ldtr_sel, tr_sel;
	u32 dr7, dr6, gpr[8], eip, eflags, cr3, cr0;
} __packed;
_Static_assert(sizeof(struct map_32) == SMM_AREA_BYTES, "layout");
_Static_assert(__builtin_offsetof(struct map_32, smbase) == 0xf8, "layout");
_Static_assert(__builtin_offsetof(struct map_32, cr4) == 0x114, "layout");
_Static_assert(__builtin_offsetof(struct map_32, tr) == 0x15c, "layout");
_Static_assert(__builtin_offsetof(struct map_32, es_sel) == 0x1a8, "layout");

/* Both maps name segments alike. */
#define EACH_SEGMENT(X)                                                                            \
	X(es, es) X(cs, cs) X(ss, ss) X(ds, ds) X(fs, fs) X(gs, gs) X(ldt, ldtr) X(tr, tr)
/* By their numbers in instructions */
#define EACH_REGISTER(X)                                                                           \
	X(0, rax)                                                                                  \
	X(1, rcx) X(2, rdx) X(3, rbx) X(4, rsp) X(5, rbp) X(6, rsi) X(7, rdi)
#define EACH_NEW_REGISTER(X)                                                                       \
	X(8, r8)                                                                                   \
	X(9, r9) X(10, r10) X(11, r11) X(12, r12) X(13, r13) X(14, r14) X(15, r15)

/* The second word of a descriptor, from bit 8 on, without its limit */
static u32 rights_of(const struct kvm_segment *s)
{
	return s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 12 | s->l << 13 |
	       s->db << 14 | (u32)s->g << 15;
}

static struct kvm_segment make_segment(u32 selector, u32 rights, u32 limit, u64 base)
{
	return (struct kvm_segment){
	    .base = base,
	    .limit = limit,
	    .selector = selector,
	    .type = rights & 15,
	    .s = rights >> 4 & 1,
	    .dpl = rights >> 5 & 3,
	    .present = rights >> 7 & 1,
	    .avl = rights >> 12 & 1,
	    .l = rights >> 13 & 1,
	    .db = rights >> 14 & 1,
	    .g = rights >> 15 & 1,
	    .unusable = !(rights >> 7 & 1),
	};
}

static void save_64(struct map_64 *m, const struct smm_state *s)
{
#define X(from, to)                                                                                \
	m->to = (struct seg_64){s->sregs.from.selector, rights_of(&s->sregs.from),                 \
				s->sregs.from.limit, s->sregs.from.base};
	EACH_SEGMENT(X)
#undef X
#define X(n, name) m->gpr[15 - (n)] = s->regs.name;
	EACH_REGISTER(X)
	EACH_NEW_REGISTER(X)
#undef X
	m->gdtr.limit = s->sregs.gdt.limit;
	m->gdtr.base = s->sregs.gdt.base;
	m->idtr.limit = s->sregs.idt.limit;
	m->idtr.base = s->sregs.idt.base;
	m->halted = s->halted;
	m->shadow = s->shadow;
	m->svm = (struct svm_part){s->nested, s->vmcb};
	m->efer = s->sregs.efer;
	m->revision = REVISION_64;
	m->smbase = s->smbase;
	m->cr4 = s->sregs.cr4;
	m->cr3 = s->sregs.cr3;
	m->cr0 = s->sregs.cr0;
	m->dr7 = s->dr7;
	m->dr6 = s->dr6;
	m->rflags = s->regs.rflags;
	m->rip = s->regs.rip;
}

static void save_32(struct map_32 *m, const struct smm_state *s)
{
#define X(from, to)                                                                                \
	m->to = (struct seg_32){rights_of(&s->sregs.from) << 8, s->sregs.from.limit,               \
				s->sregs.from.base};                                               \
	m->to##_sel = s->sregs.from.selector;
	EACH_SEGMENT(X)
#undef X
#define X(n, name) m->gpr[n] = s->regs.name;
	EACH_REGISTER(X)
#undef X
	m->gdtr.limit = s->sregs.gdt.limit;
	m->gdtr.base = s->sregs.gdt.base;
	m->idtr.limit = s->sregs.idt.limit;
	m->idtr.base = s->sregs.idt.base;
	m->halted = s->halted;
	m->shadow = s->shadow;
	m->svm = (struct svm_part){s->nested, s->vmcb};
	m->revision = REVISION_32;
	m->smbase = s->smbase;
	m->cr4 = s->sregs.cr4;
	m->cr3 = s->sregs.cr3;
	m->cr0 = s->sregs.cr0;
	m->dr7 = s->dr7;
	m->dr6 = s->dr6;
	m->eflags = s->regs.rflags;
	m->eip = s->regs.rip;
}

void smm_save(void *area, const struct smm_state *s, bool has_lm)
{
	memset(area, 0, SMM_AREA_BYTES);
	if (has_lm)
		save_64(area, s);
	else
		save_32(area, s);
}

void smm_begin(struct smm_state *s, bool has_lm)
{
	struct kvm_segment data = {
	    .limit = 0xffffffff, .type = TYPE_DATA, .s = 1, .present = 1, .g = 1};

	s->regs.rip = SMM_ENTRY;
	s->regs.rflags = RFLAGS_ONE;
	s->sregs.es = s->sregs.cs = s->sregs.ss = data;
	s->sregs.ds = s->sregs.fs = s->sregs.gs = data;
	s->sregs.cs.base = s->smbase;
	s->sregs.cs.selector = s->smbase >> 4;
	s->sregs.idt = (struct kvm_dtable){0};
	s->sregs.cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
	s->sregs.cr4 = 0;
	if (has_lm)
		s->sregs.efer = 0;
	s->dr7 = DR7_ONE;
	s->halted = s->shadow = s->nested = false;
}

/* ---- the way back ---- */

static void load_64(struct smm_state *s, const struct map_64 *m)
{
#define X(to, from)                                                                                \
	s->sregs.to = make_segment(m->from.selector, m->from.rights, m->from.limit, m->from.base);
	EACH_SEGMENT(X)
#undef X
#define X(n, name) s->regs.name = m->gpr[15 - (n)];
	EACH_REGISTER(X)
	EACH_NEW_REGISTER(X)
#undef X
	s->sregs.gdt = (struct kvm_dtable){.base = m->gdtr.base, .limit = m->gdtr.limit};
	s->sregs.idt = (struct kvm_dtable){.base = m->idtr.base, .limit = m->idtr.limit};
	s->halted = m->halted & 1;
	s->shadow = m->shadow & 1;
	s->nested = m->svm.nested & 1;
	s->vmcb = m->svm.vmcb;
	s->sregs.efer = m->efer & ~LM_ACTIVE;
	if (m->efer & LM_ENABLED && m->cr0 & CR0_PG)
		s->sregs.efer |= LM_ACTIVE;
	s->smbase = m->smbase;
	s->sregs.cr4 = m->cr4;
	s->sregs.cr3 = m->cr3;
	s->sregs.cr0 = m->cr0;
	s->dr7 = m->dr7;
	s->dr6 = m->dr6;
	s->regs.rflags = m->rflags | RFLAGS_ONE;
	s->regs.rip = m->rip;
}

static void load_32(struct smm_state *s, const struct map_32 *m)
{
#define X(to, from)                                                                                \
	s->sregs.to = make_segment(m->from##_sel, m->from.rights >> 8, m->from.limit, m->from.base);
	EACH_SEGMENT(X)
#undef X
#define X(n, name) s->regs.name = m->gpr[n];
	EACH_REGISTER(X)
#undef X
	s->sregs.gdt = (struct kvm_dtable){.base = m->gdtr.base, .limit = m->gdtr.limit};
	s->sregs.idt = (struct kvm_dtable){.base = m->idtr.base, .limit = m->idtr.limit};
	s->halted = m->halted & 1;
	s->shadow = m->shadow & 1;
	s->nested = m->svm.nested & 1;
	s->vmcb = m->svm.vmcb;
	s->smbase = m->smbase;
	s->sregs.cr4 = m->cr4;
	s->sregs.cr3 = m->cr3;
	s->sregs.cr0 = m->cr0;
	s->dr7 = m->dr7;
	s->dr6 = m->dr6;
	s->regs.rflags = m->eflags | RFLAGS_ONE;
	s->regs.rip = m->eip;
}

static bool is_canonical(u64 at)
{
	return (u64)((s64)(at << 16) >> 16) == at;
}

/* CR3, RIP, RFLAGS and what follows from the mode; CR4 and EFER are the hypervisor's to judge. */
static bool registers_ok(const struct smm_state *s, u32 phys_bits)
{
	const struct kvm_sregs *r = &s->sregs;
	bool is_long = r->efer & LM_ACTIVE;

	if (r->cr0 & ~CR0_KNOWN || r->cr3 >> phys_bits || s->dr6 >> 32 || s->dr7 >> 32)
		return false;
	if (!is_long && r->cr4 & CR4_PCIDE)
		return false;
	if (is_long && r->cs.l && r->cs.db)
		return false;
	if (s->regs.rflags & RFLAGS_VM && (is_long || !(r->cr0 & CR0_PE)))
		return false;
	return is_long && r->cs.l ? is_canonical(s->regs.rip) : !(s->regs.rip >> 32);
}

static bool is_v86_segment(const struct kvm_segment *s)
{
	return s->base == (u64)s->selector << 4 && s->limit == 0xffff && rights_of(s) == 0xf3;
}

static bool limit_fits(const struct kvm_segment *s)
{
	return !(s->limit >> 20) || (s->limit & 0xfff) == 0xfff;
}

static bool code_ok(const struct kvm_sregs *r)
{
	u8 type = r->cs.type | 1;

	if (!r->cs.present || !r->cs.s || !limit_fits(&r->cs) || r->cs.base >> 32)
		return false;
	switch (type) {
	case TYPE_DATA:
		return !r->cs.dpl;
	case 9:
	case 11:
		return r->cs.dpl == r->ss.dpl;
	case 13:
	case 15:
		return r->cs.dpl <= r->ss.dpl;
	}
	return false;
}

static bool stack_ok(const struct kvm_sregs *r)
{
	if ((!(r->cr0 & CR0_PE) || (r->cs.type | 1) == TYPE_DATA) && r->ss.dpl)
		return false;
	if (!r->ss.present)
		return true;
	return r->ss.s && limit_fits(&r->ss) && !(r->ss.base >> 32) &&
	       ((r->ss.type | 1) == 3 || (r->ss.type | 1) == 7);
}

/* high: its base may have 64 bits. */
static bool data_ok(const struct kvm_segment *s, bool high)
{
	if (high ? !is_canonical(s->base) : s->present && s->base >> 32)
		return false;
	if (!s->present)
		return true;
	return s->s && limit_fits(s) && !(s->type & CODE && !(s->type & 2));
}

static bool system_ok(const struct kvm_sregs *r)
{
	u8 type = r->tr.type | 2; /* busy */

	if (!is_canonical(r->tr.base) || !is_canonical(r->gdt.base) || !is_canonical(r->idt.base))
		return false;
	if (!r->tr.present || r->tr.s || r->tr.selector & SEL_TI || !limit_fits(&r->tr))
		return false;
	if (type != TYPE_TSS && (type != TYPE_TSS_16 || r->efer & LM_ACTIVE))
		return false;
	if (!r->ldt.present)
		return true;
	return !r->ldt.s && r->ldt.type == TYPE_LDT && !(r->ldt.selector & SEL_TI) &&
	       limit_fits(&r->ldt) && is_canonical(r->ldt.base);
}

/* As VT-x looks at them, which refuses the entry otherwise; AMD-V takes what there is. */
static bool segments_ok(const struct kvm_sregs *r, bool v86)
{
	if (!system_ok(r))
		return false;
	if (v86)
		return is_v86_segment(&r->cs) && is_v86_segment(&r->ss) && is_v86_segment(&r->ds) &&
		       is_v86_segment(&r->es) && is_v86_segment(&r->fs) && is_v86_segment(&r->gs);
	return code_ok(r) && stack_ok(r) && data_ok(&r->ds, false) && data_ok(&r->es, false) &&
	       data_ok(&r->fs, true) && data_ok(&r->gs, true);
}

bool smm_load(struct smm_state *s, const void *area, bool has_lm, bool vmx, u32 phys_bits)
{
	if (has_lm)
		load_64(s, area);
	else
		load_32(s, area);
	return registers_ok(s, phys_bits) &&
	       (!vmx || segments_ok(&s->sregs, s->regs.rflags & RFLAGS_VM));
}
