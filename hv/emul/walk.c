/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest page walk, SDM "Paging": one loop over the levels; a paging mode is a number of levels and
 * an entry size.
 */
#include "hv/emul/walk.h"
#include "hv/emul/op.h"
#include "hv/lib/log.h"
#include "hv/lib/x86.h"

#define PTE_P	 BIT(0)
#define PTE_W	 BIT(1)
#define PTE_U	 BIT(2)
#define PTE_A	 BIT(5)
#define PTE_D	 BIT(6)
#define PTE_PS	 BIT(7)
#define PTE_G	 BIT(8)
#define PTE_NX	 BIT(63)
#define PTE_PKEY GENMASK(62, 59)

#define WALK_TRIES 8 /* when another processor changes the entries all the time */

struct paging {
	u32 levels, bits; /* index bits per level */
	u32 size;	  /* of an entry */
	bool pae;	  /* 32-bit linear addresses with 64-bit entries */
	u64 root;
	u64 reserved; /* bits that have to be 0 in each 64-bit entry */
};

struct path {
	u64 at[5], entry[5]; /* by level - 1 */
	u32 leaf;	     /* level of the entry that maps the page */
	/* PTE_W and PTE_U that all entries grant, PTE_A that all have, PTE_NX if any has it */
	u64 rights;
};

static struct paging paging_of(const struct walk_env *w)
{
	struct paging p = {.levels = 2, .bits = 10, .size = 4, .root = w->cr3 & GENMASK(31, 12)};
	bool is_long = w->efer & EFER_LMA;

	if (!is_long && !(w->cr4 & CR4_PAE))
		return p;
	p.bits = 9;
	p.size = 8;
	p.reserved = GENMASK(51, MIN(w->maxphyaddr, 52));
	if (!(w->efer & EFER_NXE))
		p.reserved |= PTE_NX;
	if (is_long) {
		p.levels = w->cr4 & CR4_LA57 ? 5 : 4;
		p.root = w->cr3 & GENMASK(51, 12);
	} else {
		p.pae = true;
		p.levels = 3;
		p.root = w->cr3 & GENMASK(31, 5);
		p.reserved |= GENMASK(62, 52);
	}
	return p;
}

static u32 shift_of(const struct paging *p, u32 level)
{
	return PAGE_SHIFT + p->bits * (level - 1);
}

static bool is_leaf(const struct walk_env *w, const struct paging *p, u32 level, u64 entry)
{
	if (level == 1)
		return true;
	if (!(entry & PTE_PS))
		return false;
	if (level == 2)
		return p->size == 8 || w->cr4 & CR4_PSE;
	return level == 3 && !p->pae;
}

/* Bits of a present entry that have to be 0. */
static u64 reserved_bits(const struct walk_env *w, const struct paging *p, u32 level, bool leaf)
{
	bool large = leaf && level > 1;
	u64 reserved = p->reserved;

	if (p->size == 4) {
		u32 pse_width = MAX(MIN(w->maxphyaddr, 40), 32);

		return large ? GENMASK(21, pse_width - 19) : 0;
	}
	if (p->pae && level == 3)
		return p->reserved | PTE_NX | GENMASK(2, 1) | GENMASK(8, 5);
	if (level > 2 && !leaf && w->global_reserved)
		reserved |= PTE_G;
	if (level > 3)
		reserved |= PTE_PS;
	if (large) /* 12 is PAT */
		reserved |= GENMASK(shift_of(p, level) - 1, 13);
	return reserved;
}

static u64 leaf_address(const struct paging *p, const struct path *t, u64 linear)
{
	u32 shift = shift_of(p, t->leaf);
	u64 entry = t->entry[t->leaf - 1], base;

	BUG_ON(!t->leaf || t->leaf > p->levels);
	if (p->size == 8)
		base = entry & GENMASK(51, shift);
	else if (t->leaf == 2) /* PSE-36 */
		base = (entry & GENMASK(31, 22)) | FIELD_GET(GENMASK(20, 13), entry) << 32;
	else
		base = entry & GENMASK(31, 12);
	return base | (linear & (BIT(shift) - 1));
}

/*
 * Reads the entries from the root to the leaf. -EFAULT: *error gets PF_RSVD | PF_P, or 0 for not
 * present.
 */
static int read_path(const struct walk_env *w, const struct paging *p, u64 linear, struct path *t,
		     u64 *gpa, u32 *error)
{
	u64 table = p->root;

	BUG_ON(p->levels < 2 || p->levels > ARRAY_SIZE(t->entry));
	t->rights = PTE_W | PTE_U | PTE_A;
	for (u32 level = p->levels;; level--) { /* level 1 is always a leaf */
		u64 entry = 0,
		    at = table + ((linear >> shift_of(p, level)) & (BIT(p->bits) - 1)) * p->size;
		bool leaf;

		*error = 0;
		*gpa = at;
		if (w->read(w->ctx, at, &entry, p->size))
			return -EAGAIN;
		if (!(entry & PTE_P))
			return -EFAULT;
		leaf = is_leaf(w, p, level, entry);
		if (entry & reserved_bits(w, p, level, leaf)) {
			*error = PF_RSVD | PF_P;
			return -EFAULT;
		}
		t->at[level - 1] = at;
		t->entry[level - 1] = entry;
		if (!p->pae || level < 3) { /* PAE's top level grants everything */
			t->rights &= entry | PTE_NX;
			t->rights |= entry & PTE_NX;
		}
		if (leaf) {
			t->leaf = level;
			return 0;
		}
		table = entry & GENMASK(31, 12);
		if (p->size == 8)
			table = entry & GENMASK(51, 12);
	}
}

/* SDM "Determination of Access Rights" and "Protection Keys". 0, or PF_P and perhaps PF_PK. */
static u32 access_denied(const struct walk_env *w, u64 access, bool user, const struct path *t)
{
	bool user_page = t->rights & PTE_U, write = access & WALK_WRITE,
	     wp = user || w->cr0 & CR0_WP;
	u32 error = 0;

	if (user && !user_page)
		error = PF_P;
	if (write && wp && !(t->rights & PTE_W))
		error = PF_P;
	if (access & WALK_FETCH) {
		if (t->rights & PTE_NX || (!user && user_page && w->cr4 & CR4_SMEP))
			error = PF_P;
		return error;
	}
	if (!user && user_page && w->cr4 & CR4_SMAP &&
	    (access & WALK_SYSTEM || !(w->rflags & RFLAGS_AC)))
		error = PF_P;
	if (user_page && w->pkru && w->cr4 & CR4_PKE && w->efer & EFER_LMA) {
		u32 key = w->pkru(w->ctx) >> 2 * FIELD_GET(PTE_PKEY, t->entry[t->leaf - 1]);

		if (key & 1 || (key & 2 && write && wp))
			error = PF_P | PF_PK;
	}
	return error;
}

static int set_accessed(const struct walk_env *w, const struct paging *p, const struct path *t,
			bool write, u64 *gpa, u32 *error)
{
	u32 top = p->pae ? 2 : p->levels;

	BUG_ON(t->leaf > top);
	if (likely(t->rights & PTE_A && (!write || t->entry[t->leaf - 1] & PTE_D)))
		return 0;
	for (u32 level = top; level >= t->leaf; level--) {
		u64 old = t->entry[level - 1], new = old | PTE_A;
		int ret;

		if (write && level == t->leaf)
			new |= PTE_D;
		if (new == old)
			continue;
		ret = w->cmpxchg(w->ctx, t->at[level - 1], old, new, p->size);
		if (ret) {
			*gpa = t->at[level - 1];
			*error = ret == -EAGAIN ? 0 : WALK_WRITE;
			return ret;
		}
	}
	return 0;
}

int walk_linear(const struct walk_env *w, u64 linear, u64 access, u64 *gpa, u32 *error)
{
	struct paging p = paging_of(w);
	bool user = w->cpl == 3 && !(access & WALK_SYSTEM), write = access & WALK_WRITE;
	u32 kind = 0;
	int ret;

	if (!(w->efer & EFER_LMA) || !(w->cr0 & CR0_PG))
		linear = (u32)linear;
	*error = 0;
	if (!(w->cr0 & CR0_PG)) {
		*gpa = linear;
		return 0;
	}
	if (write)
		kind |= PF_W;
	if (user)
		kind |= PF_U;
	if (access & WALK_FETCH && (w->cr4 & CR4_SMEP || (p.size == 8 && w->efer & EFER_NXE)))
		kind |= PF_I;

	for (u32 tries = 0; tries < WALK_TRIES; tries++) {
		struct path t;

		ret = read_path(w, &p, linear, &t, gpa, error);
		if (!ret && (*error = access_denied(w, access, user, &t)))
			ret = -EFAULT;
		if (ret == -EFAULT)
			*error |= kind;
		if (ret)
			return ret;
		ret = w->cmpxchg ? set_accessed(w, &p, &t, write, gpa, error) : 0;
		if (!ret) {
			*gpa = leaf_address(&p, &t, linear);
			return 0;
		}
		if (ret != -EAGAIN)
			return -EAGAIN;
	}
	return -EAGAIN;
}
