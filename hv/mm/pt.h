/* SPDX-License-Identifier: GPL-2.0-only */
/* One page-table walker. A format (host, NPT, EPT) is data. */
#ifndef HV_MM_PT_H
#define HV_MM_PT_H

#include "mm.h"

/* Neutral permissions and attributes of a leaf */
#define PT_R	 BIT(0)
#define PT_W	 BIT(1)
#define PT_X	 BIT(2)
#define PT_USER	 BIT(3) /* host format only; NPT leaves always carry U as the APM demands */
#define PT_UC	 BIT(4) /* memory type uncached; else write-back */
#define PT_DIRTY BIT(5)
#define PT_ACC	 BIT(6)
#define PT_GLOBAL BIT(7)
#define PT_ROM	 BIT(8) /* guests: readable memory whose writes are MMIO (software bit) */

struct pt_format {
	const char *name;
	u32 levels;	 /* 4: root is level 3, leaves at 0 (4 KiB), 1 (2 MiB), 2 (1 GiB) */
	u32 max_leaf;	 /* highest level a leaf may have, by CPU capability */
	u64 present;	 /* entry is present if (e & present) != 0 */
	u64 table;	 /* bits of an entry that points to a table */
	u64 leaf_large;	 /* bit that marks a leaf above level 0 */
	u64 addr_mask;
	/* neutral -> raw */
	u64 r, w, x, nx, user, global, accessed, dirty;
	u64 type_wb, type_uc, type_mask;
	u64 mmio;	 /* raw value of a not-present entry that marks MMIO: software bits only */
};
extern struct pt_format pt_host, pt_npt, pt_ept; /* max_leaf and nx are trimmed at boot */

struct pt {
	const struct pt_format *fmt;
	hpa_t root;
	struct account *acct;
};

int pt_init(struct pt *t, const struct pt_format *fmt, struct account *acct);
void pt_destroy(struct pt *t); /* frees all tables; does not look at leaves */

enum pt_kind { PT_NONE, PT_LEAF, PT_MMIO };
struct pt_leaf {
	enum pt_kind kind;
	u64 pfn;   /* of the page asked for, not of the large page's start */
	u32 order; /* 0, 9, 18: size of the entry found (also for PT_NONE: of the hole) */
	u64 attr;  /* PT_x */
};
void pt_lookup(const struct pt *t, u64 fn, struct pt_leaf *out);

/*
 * Map 2^order frames. Splits a larger leaf in the way (fills the new table, then publishes it), never replaces a present
 * leaf: -EEXIST. -ENOMEM changes nothing visible. Returns 1 if a flush is owed (a split), else 0.
 */
int pt_map(struct pt *t, u64 fn, u64 pfn, u32 order, u64 attr);
/* Mark one page (4 KiB) as MMIO; -EEXIST if memory is mapped there. */
int pt_set_mmio(struct pt *t, u64 fn);
/*
 * Clear [fn, fn+count), calling put() for each leaf or part of a leaf removed; MMIO marks go too. Splits at the borders.
 * Stops after budget entries. Returns frames done (< count: call again) or -ENOMEM; *flush is set if a flush is owed.
 */
s64 pt_unmap(struct pt *t, u64 fn, u64 count, u32 budget, bool *flush, void (*put)(void *ctx, u64 fn, u64 pfn, u64 count, u64 attr), void *ctx);
/* Change attributes of present leaves in the range (clear then set); splits at the borders. 0, -ENOMEM; *flush as above. */
int pt_protect(struct pt *t, u64 fn, u64 count, u64 clear, u64 set, bool *flush);

#endif
