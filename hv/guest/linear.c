/* SPDX-License-Identifier: GPL-2.0-only */
/* Linear guest memory as the running vCPU sees it. */
#include "hv/guest/linear.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/walk.h"
#include "hv/guest/lazy.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* A walk of the guest's page tables, and what it has read if that is wanted. */
struct walk {
	struct vcpu *v;
	struct p2m_words *seen; /* at: guest-physical */
	bool changed;		/* words have been changed by it, or are none */
	struct guest_fault *f;
};

/* In a nested guest: the guest's own physical address. */
static int to_guest(struct walk *c, u64 access, u64 *at)
{
	if (likely(!c->v->nested_paging))
		return 0;
	c->changed = true; /* what the guest does to its tables is not seen */
	if (!hvm->nested->translate(c->v, access, at))
		return 0;
	c->f->nested = true;
	c->f->raised.error = access;
	return -EAGAIN;
}

static int walk_read(void *ctx, u64 at, void *buf, u32 len)
{
	struct walk *c = ctx;

	if (to_guest(c, 0, &at))
		return -EFAULT;
	if (p2m_read(c->v->p2m, gpa(at), buf, len))
		return -EAGAIN;
	if (c->seen && len == sizeof(u64) && c->seen->n < P2M_WORDS)
		c->seen->w[c->seen->n++] = (struct mm_word){hpa(at), *(u64 *)buf};
	else
		c->changed = true;
	return 0;
}

static int walk_cmpxchg(void *ctx, u64 at, u64 old, u64 new, u32 size)
{
	struct walk *c = ctx;

	c->changed = true;
	if (to_guest(c, WALK_WRITE, &at))
		return -EFAULT;
	return p2m_cmpxchg(c->v->p2m, gpa(at), old, new, size);
}

static u32 walk_pkru(void *ctx)
{
	struct walk *c = ctx;

	return fpu_pkru(c->v);
}

static int walk_to_gpa(struct walk *c, const struct hvm_paging *p, u64 linear, u64 access, u64 *out,
		       struct guest_fault *f)
{
	struct walk_env w = {
	    .cr0 = p->cr0,
	    .cr3 = p->cr3,
	    .cr4 = p->cr4,
	    .efer = p->efer,
	    .rflags = c->v->rflags,
	    .cpl = p->cpl,
	    .maxphyaddr = phys_bits,
	    .pkru = walk_pkru,
	    .ctx = c,
	    .read = walk_read,
	    .cmpxchg = walk_cmpxchg,
	};
	u32 error;
	int ret;

	c->f = f;
	f->nested = false;
	ret = walk_linear(&w, linear, access, out, &error);
	if (!ret) {
		ret = to_guest(c, access & (WALK_WRITE | WALK_FETCH), out);
		error = 0;
	}
	if (ret == -EFAULT) {
		f->raised.vector = VEC_PF;
		f->raised.cr2 = linear;
	} else if (ret == -EAGAIN) {
		f->gpa = *out;
		f->write = error & WALK_WRITE; /* the walk could not set accessed or dirty */
	}
	if (!f->nested)
		f->raised.error = error;
	return ret;
}

int vcpu_translate(struct vcpu *v, u64 linear, u64 access, u64 *out, struct guest_fault *f)
{
	struct walk c = {.v = v};
	struct hvm_paging p;

	hvm->get_paging(v, &p);
	return walk_to_gpa(&c, &p, linear, access, out, f);
}

int guest_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write, struct guest_fault *f)
{
	if (!p2m_copy(v->p2m, gpa(at), buf, len, write))
		return 0;
	f->gpa = at;
	f->write = write;
	f->nested = false;
	return -EAGAIN;
}

int vcpu_access_paged(struct vcpu *v, const struct hvm_paging *p, u64 linear, void *buf, u32 len,
		      u64 access, struct guest_fault *f)
{
	struct walk c = {.v = v};

	while (len) {
		u32 n = MIN(len, (u32)(PAGE_SIZE - (linear & ~PAGE_MASK)));
		u64 at;
		int ret = walk_to_gpa(&c, p, linear, access, &at, f);

		if (!ret)
			ret = guest_copy(v, at, buf, n, access & WALK_WRITE, f);
		if (ret)
			return ret;
		linear += n;
		buf = (u8 *)buf + n;
		len -= n;
	}
	return 0;
}

int vcpu_access_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access,
		       struct guest_fault *f)
{
	struct hvm_paging p;

	hvm->get_paging(v, &p);
	return vcpu_access_paged(v, &p, linear, buf, len, access, f);
}

/* ---- the instruction at CS:RIP ---- */

/*
 * The words read are to be looked at where they lie now; if they have moved since gen was read, or
 * changed, they are forgotten.
 */
static void remember_words(struct vcpu *v, struct fetched *in, u64 at, u64 gen)
{
	struct p2m *p = v->p2m;
	struct p2m_words *s = &in->words;
	u32 n = s->n + (in->insn.len > 8 ? 2 : 1);

	/* five levels of tables, two words of code */
	BUG_ON(n > ARRAY_SIZE(s->w));
	s->w[s->n] = (struct mm_word){hpa(at)};
	memcpy(&s->w[s->n].val, in->bytes, 8);
	if (n > s->n + 1) {
		s->w[s->n + 1] = (struct mm_word){hpa(at + 8)};
		memcpy(&s->w[s->n + 1].val, in->bytes + 8, 8);
	}
	s->n = n;
	s->gen = gen;
	for (u32 i = 0; i < n; i++) {
		struct pt_leaf leaf;

		p2m_lookup(p, s->w[i].at.v >> PAGE_SHIFT, &leaf);
		if (leaf.kind != PT_LEAF)
			s->gen = 0;
		s->w[i].at = hpa(leaf.pfn << PAGE_SHIFT | s->w[i].at.v % PAGE_SIZE);
	}
	if (!p2m_unchanged(p, s))
		s->gen = 0;
}

/* As many bytes as can be had, up to 15; the first page must be readable. */
static int fetch_anew(struct vcpu *v, struct fetched *in, struct guest_fault *f)
{
	struct walk c = {.v = v, .seen = &in->words};
	struct guest_fault second = {0};
	u64 linear = in->paging.next, at, gen = __atomic_load_n(&v->p2m->tlb_gen, __ATOMIC_ACQUIRE);
	u32 first = MIN(sizeof(in->bytes), PAGE_SIZE - linear % PAGE_SIZE);
	int ret, more = 0;

	in->words.n = in->words.gen = in->bell = 0;
	ret = walk_to_gpa(&c, &in->paging, linear, WALK_FETCH, &at, f);
	if (!ret)
		ret = guest_copy(v, at, in->bytes, first, false, f);
	if (ret)
		return ret;
	in->n = MIN(first, INSN_MAX);
	if (first < INSN_MAX)
		more = vcpu_access_linear(v, linear + first, in->bytes + first, INSN_MAX - first,
					  WALK_FETCH, &second);
	if (!more)
		in->n = INSN_MAX;
	ret = insn_decode(&in->insn, in->bytes, in->n, in->paging.mode);
	if (ret == -E2BIG && more) { /* it goes on in a page that is not there now */
		*f = second;
		return more;
	}
	if (ret)
		return -EINVAL;
	in->plain_store = emul_is_plain_store(&in->insn, in->paging.mode);
	/*
	 * dom0 touches its memory without the lock that words are looked at under; it has little to
	 * emulate.
	 */
	if (!c.changed && first == sizeof(in->bytes) && !v->vm->is_dom0)
		remember_words(v, in, at, gen);
	return 0;
}

int vcpu_fetch(struct vcpu *v, struct guest_fault *f)
{
	struct hvm_paging now;
	struct fetched *in;

	hvm->get_paging(v, &now);
	in = v->emul->insn = vcpu_fetched(v, now.next);
	if (in->paging.next == now.next && vcpu_is_fetched(v, in))
		return 0;
	in->paging = now;
	return fetch_anew(v, in, f);
}

int vcpu_fetch_cr_move(struct vcpu *v, const struct vm_exit *x, u8 *gpr, u32 *len,
		       struct guest_fault *f)
{
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->emul->insn->insn;
	u8 opcode = x->cr.write ? 0x22 : 0x20;

	if (ret)
		return ret;
	if (x->reason == VMEXIT_DR_ACCESS)
		opcode++;
	if (i->vex || i->map != 1 || i->opcode != opcode)
		return -EINVAL;
	*gpr = i->rm;
	*len = i->len;
	return 0;
}
