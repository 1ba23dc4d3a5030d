/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guest-physical map of one domain: a pt in the back end's format, its lock, and frame
 * references.
 */
#pragma once

#include "hv/lib/lock.h"
#include "hv/mm/mm.h"
#include "hv/mm/pt.h"

struct vm;

/*
 * Boot: how p2m.c waits until no CPU is inside a guest of vm with an entry begun before the call
 * (smp_flush_wait()). CPUs lie above memory.
 */
void p2m_set_flush_wait(void (*wait)(struct vm *vm));
/*
 * Set once, at boot: guests' large pages are not executable, and split where one is executed. Of
 * Intel's CPUs many stop the machine when a guest's kernel changes the size of a page that is being
 * executed, unless small pages lie below it (erratum "Machine Check Error Avoidance on Page Size
 * Change", iTLB multihit).
 */
extern bool p2m_nx_large;

/* Guarded by the lock, but for what is set once, and tlb_gen, which all may read. */
struct p2m {
	/* LOCK_P2M: also held while the hypervisor touches guest memory through the map */
	struct lock lock;
	struct pt pt;
	struct vm *vm; /* set once; NULL: of devices */
	/* set once: clean all TLBs of what has gone. Called under the lock */
	void (*flush)(struct p2m *p);
	bool is_dom0; /* set once: identity map, leaves hold no frame references */
	u64 mapped;   /* guests: frames mapped */
	/*
	 * bumped when a flush is owed, and when an MMIO mark has gone; never 0; back ends compare
	 * before each entry
	 */
	u64 tlb_gen;
	/* during an unmap, on its stack: frames not yet put, pfn << P2M_RUN_SHIFT | count */
	u64 *runs;
	u32 runs_nr;
	bool starved;  /* a page could not be split: the next p2m_map() says -ENOMEM */
	bool torn;     /* more than was asked for has been unmapped: p2m_dirty_read() says so */
	u64 destroyed; /* gfns p2m_destroy() has done: its caller's alone */
};

/*
 * Every call takes the lock itself and does bounded work. Calls that return s64 return the gfns
 * done, at least one unless it is an error: less than count means call again with the rest. All
 * TLBs are clean of what was taken away on return.
 */

/*
 * 0 or -ENOMEM. pt_guest and pt_frames_end must be final (mm_init(), hvm_select()). tables pays for
 * all tables but the root.
 */
int p2m_init(struct p2m *p, struct vm *vm, bool is_dom0, struct account *acct,
	     struct account *tables);
/* The same for a domain of devices: the format of its tables, and who has their TLBs. */
int p2m_init_devices(struct p2m *p, const struct pt_format *fmt, void (*flush)(struct p2m *p),
		     struct account *acct);
/*
 * Restartable: -EAGAIN after some work; drops the frame references. The caller makes sure no vCPU
 * can run.
 */
int p2m_destroy(struct p2m *p);

/*
 * Guests: map 2^order (0 or 9) dom0 frames, taking a reference each. attr: PT_R, with PT_W, PT_X,
 * PT_ROM (not with PT_W). The same frames again: 0, and rights only get wider. -EPERM not dom0's
 * frame, -EEXIST other memory or smaller pages are there (unmap first), -ENOMEM, -EINVAL misaligned
 * or beyond the address width. MMIO marks are replaced.
 */
int p2m_map(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr);
/*
 * Accesses to 2^order (0 or 9) frames are to be emulated; in dom0's map: the hypervisor keeps the
 * page (order 0) for itself. A large mark goes as a whole when anything of it is mapped or
 * unmapped. -EEXIST: memory is there, or for a large one smaller marks; -EINVAL misaligned.
 */
int p2m_set_mmio(struct p2m *p, u64 gfn, u32 order);
/*
 * Memory and MMIO marks go. References are dropped after the flush. A guest's never fails, since
 * who calls gives the memory away next; dom0's map does, -EPERM. For want of memory a large page
 * that cannot be split goes as a whole, what lies beyond the range faults in again; devices could
 * not wait for that, and keep all of it, -ENOMEM. Beyond the end of the tables there is nothing,
 * and it counts as done.
 */
s64 p2m_unmap(struct p2m *p, u64 gfn, u64 count);
/* The first gfn that tables do not reach on this CPU: nothing can be mapped from there on. */
u64 p2m_gfn_end(void);

/*
 * Dirty logging. Where the format has dirty flags, a page that may be written is dirty if its flag
 * is set: so it is when the page is mapped, clearing it is what starts the log, and the CPU sets it
 * again. Otherwise such pages are protected and marked PT_LOG, the first write makes them writable
 * again, and "writable" means dirty. Large pages are protected in either case and split at the
 * first write. What p2m_unmap() is asked to remove the caller has to count as dirty itself; where a
 * large page has gone as a whole, more was, and the next p2m_dirty_read() is -ENOMEM. Else that is:
 * no memory to split a large page at the border of the range.
 */
s64 p2m_dirty_start(struct p2m *p, u64 gfn, u64 count);
s64 p2m_dirty_stop(struct p2m *p, u64 gfn, u64 count);
/*
 * Set bit i for a dirty page gfn + i, clear none; if clear, they are clean again. A short count is
 * a multiple of 64.
 */
s64 p2m_dirty_read(struct p2m *p, u64 gfn, u64 count, u64 *bitmap, bool clear);
/*
 * A write fault: true if the page may be written now (was only protected for logging, or another
 * CPU was faster).
 */
bool p2m_fix_write(struct p2m *p, u64 gfn);
/*
 * A fault at the execution of what is mapped: true if it may be executed now (was in a large page,
 * or another CPU was faster). Small pages stay small until they are unmapped. False for want of
 * memory, too: p2m_map() says so next, that whoever maps makes room.
 */
bool p2m_fix_exec(struct p2m *p, u64 gfn);

/*
 * Dom0: identity-map the RAM that is dom0's below limit (bytes), with large pages; the local APIC's
 * page is marked MMIO. Boot only: unbounded. 0 or -ENOMEM.
 */
int p2m_dom0_init(struct p2m *p, u64 limit);
/*
 * A dom0 fault: map an identity block, as large as aligned and free of RAM, around an address that
 * is not RAM: true, run again. False on hypervisor memory, MMIO marks, beyond the address width and
 * out of memory (log and #GP).
 */
bool p2m_dom0_fault(struct p2m *p, gpa_t addr);
/* Lend a pool page to dom0 at its own address / take it back. 0 or -ENOMEM. */
int p2m_dom0_share(struct p2m *p, hpa_t page);
void p2m_dom0_unshare(struct p2m *p, hpa_t page);

/* What dom0 may do with its RAM. */
#define P2M_DOM0_RAM (PT_R | PT_W | PT_X | PT_DIRTY)
/* With the lock held, behind a pt_unmap(): flush, then let go of frames and of tables cut off. */
void p2m_settle_locked(struct p2m *p, bool flush);
/* What TLBs have of the guest, also of its own tables, goes; it has gone on return. */
static inline void p2m_flush(struct p2m *p)
{
	lock_acquire(&p->lock);
	p2m_settle_locked(p, true);
	lock_release(&p->lock);
}

/* In a guest, beyond the end of the tables: PT_MMIO. */
void p2m_lookup(struct p2m *p, u64 gfn, struct pt_leaf *out);
/*
 * Copy between the hypervisor and guest memory, page by page, under the lock. 0 or -EFAULT (nothing
 * mapped, MMIO, or not writable; then bytes before the fault are done). Writes are seen by dirty
 * logging.
 */
int p2m_copy(struct p2m *p, gpa_t gpa, void *buf, size_t len, bool write);
static inline int p2m_read(struct p2m *p, gpa_t from, void *to, size_t len)
{
	return p2m_copy(p, from, to, len, false);
}
static inline int p2m_write(struct p2m *p, gpa_t to, const void *from, size_t len)
{
	return p2m_copy(p, to, (void *)from, len, true);
}
/*
 * Atomic on an aligned u32/u64 (size 4, 8) in guest memory, for page-table A/D bits and PV EOI. 0,
 * -EFAULT, -EAGAIN (changed), -EINVAL (size or alignment).
 */
int p2m_cmpxchg(struct p2m *p, gpa_t at, u64 old, u64 new, u32 size);

/*
 * Words of guest memory where they lie in the host's, found while tlb_gen was gen. Until that
 * changes they lie there. True if they do and have the same values. gen = 0: there are none, false.
 */
#define P2M_WORDS 7
struct p2m_words {
	u64 gen;
	u32 n;
	struct mm_word w[P2M_WORDS];
};
bool p2m_unchanged(struct p2m *p, const struct p2m_words *w);
