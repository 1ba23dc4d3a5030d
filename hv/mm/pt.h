/* SPDX-License-Identifier: GPL-2.0-only */
/* One page-table walker. What the formats (host, NPT, EPT) have in common is in pt.c, the rest is
 * data. */
#pragma once

#include "hv/mm/pool.h"

/*
 * Neutral permissions and attributes of a leaf. Those of PT_SAME lie where all formats have them:
 * SDM "4-Level Paging" and "EPT", APM "Long-Mode Page Translation".
 */
#define PT_R	 BIT(0) /* "present" where there is no such right; every leaf has it */
#define PT_W	 BIT(1)
#define PT_X	 BIT(2)
#define PT_UC	 BIT(4) /* memory type uncached; else write-back */
#define PT_WC	 BIT(6) /* write-combining, where the format has it; not told by a look-up */
#define PT_DIRTY BIT(5) /* always there in a format without dirty flags */
/* 52 and up to here are software bits, ignored by hardware in every format */
#define PT_SW_MMIO BIT(52) /* alone in a not-present entry */
/*
 * Of a leaf without PT_W: why the hypervisor, not the domain's owner, holds back the write
 */
#define PT_LOG BIT(53) /* writable, protected for dirty logging only */
#define PT_ROM BIT(54) /* writes are to be emulated as MMIO */
/* Of a leaf without PT_X: it was executable, but for its size */
#define PT_SMALL_X BIT(55)
#define PT_SAME	   (PT_R | PT_W | PT_LOG | PT_ROM | PT_SMALL_X)

struct pt_format {
	u32 max_order; /* of a leaf: 9, or 18 if the CPU has 1 GiB pages */
	u64 table;     /* bits of an entry that points to a table */
	u64 level; /* times the table's level, 1 the lowest, further bits of such an entry; or 0 */
	u64 leaf;  /* bits of every leaf, among them accessed: the CPU need not write it */
	u64 w;	   /* what a right to write is beside PT_W */
	u64 x, nx; /* one of them is 0 */
	u64 wb, uc, wc; /* memory types */
	u64 wb_only;	/* write-back whatever the guest's PAT says; 0: that has its say */
	u64 dirty;	/* 0: no such flag */
	/* the hardware does not look into the CPUs' caches: a table is in memory before it is
	 * linked, an entry when the call that changes it returns */
	bool write_back;
};
/* What the manuals say. */
extern const struct pt_format pt_host, pt_npt, pt_ept, pt_ept_ad; /* EPT with dirty flags */
/* Second-level tables of the IOMMUs, with 2 MiB leaves */
extern const struct pt_format pt_vtd, pt_amdvi;
/* The format of all domains' maps: one of those, with what the CPU has besides; set once, at boot.
 */
extern struct pt_format pt_guest;
/*
 * The same for guests' memory, which others have as write-back: where EPT alone decides it is that
 * for the guest, too. CPUs without working self-snoop may hang by a page of two types. Set at boot.
 */
extern struct pt_format pt_ram;
/* First frame number beyond the CPU's physical address width; set once, at boot. */
extern u64 pt_frames_end;
/* First frame number that four levels do not reach. */
#define PT_FN_END BIT(36)

struct pt {
	const struct pt_format *fmt; /* set once, as is acct */
	struct account *acct;	     /* whose the tables are, but for the root */
	struct account *root_acct;
	hpa_t root;
	/*
	 * tables cut off by pt_unmap(), waiting for the flush: list through their first words, 0
	 * ends
	 */
	u64 cut;
};

/* The account of tables may be changed before there are any but the root. */
int pt_init(struct pt *t, const struct pt_format *fmt, struct account *acct);
/* frees all tables; does not look at leaves; no hardware may use them any more */
void pt_destroy(struct pt *t);

enum pt_kind { PT_NONE, PT_LEAF, PT_MMIO };
struct pt_leaf {
	enum pt_kind kind;
	u64 pfn;   /* of the page asked for, not of the large page's start */
	u32 order; /* 0, 9, 18: size of the entry found (for PT_NONE of the hole, up to 27) */
	u64 attr;  /* PT_x */
};
void pt_lookup(const struct pt *t, u64 fn, struct pt_leaf *out);
/*
 * The frame mapped at fn. False: none, or none that may be written now without its dirty flag being
 * set.
 */
bool pt_frame(const struct pt *t, u64 fn, bool write, u64 *pfn);

/*
 * Map 2^order frames; order 0, 9, or 18. 0, or 1 if a MMIO mark of that size or larger, which was
 * in the way, has been replaced. Memory or a table never is: -EEXIST. -EINVAL: misaligned, too
 * large for the format, or beyond the address width. -ENOMEM: nothing has changed. No flush is
 * owed: only not-present entries change.
 */
int pt_map(struct pt *t, u64 fn, u64 pfn, u32 order, u64 attr);
/* Map the frames [pfn, end) at their own numbers, by the largest pages that fit; as pt_map(). */
int pt_map_identity(struct pt *t, u64 pfn, u64 end, u64 attr);
/*
 * Where tables begin for hardware that walks only 3 or 4 levels; something must be mapped in what
 * they reach.
 */
hpa_t pt_root(const struct pt *t, u32 levels);
/*
 * Mark 2^order frames, order 0 or 9, as MMIO. Within a larger mark it is done already; a large one
 * is an entry, and goes as a whole. -EEXIST: memory is mapped there, or a table; -EINVAL.
 */
int pt_set_mmio(struct pt *t, u64 fn, u32 order);

/*
 * The range operations split larger leaves at the borders, do at most budget (> 0) units of work
 * (one per leaf or hole, more for large leaves) and return the frames done: less than count means
 * call again, -ENOMEM that the very first entry could not be split. *flush is set, never cleared,
 * when a TLB may hold what has been taken away or split; wider rights owe no flush.
 */
typedef void pt_put_fn(void *ctx, u64 pfn, u64 count);
/*
 * Clear [fn, fn+count), calling put(), if there is one, for each leaf or part of a leaf removed, in
 * their order, at most budget times; MMIO marks go too, and set *flush as if TLBs held them. Tables
 * that end up empty are cut off; pt_reap() frees them.
 */
s64 pt_unmap(struct pt *t, u64 fn, u64 count, u32 budget, bool *flush, pt_put_fn *put, void *ctx);
/* After the flush owed by pt_unmap(). */
void pt_reap(struct pt *t);

/*
 * Leaves that have all attributes of match lose those in clear and get those in set. Large ones are
 * changed by `large`, if any.
 */
struct pt_change {
	u64 match, clear, set;
	const struct pt_change *large;
};
/* Bit i of bitmap, if any, is set for each frame fn + i whose leaf matches. */
s64 pt_protect(struct pt *t, u64 fn, u64 count, const struct pt_change *c, u32 budget, bool *flush,
	       u64 *bitmap);

/*
 * Address of the 4 KiB entry for fn, its tables made when missing; NULL if out of memory or under a
 * large leaf.
 */
u64 *pt_entry(struct pt *t, u64 fn);
/* The raw entry of a leaf. */
u64 pt_leaf_raw(const struct pt_format *fmt, u64 pfn, u32 order, u64 attr);
