/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest-physical map of one domain: a pt in the back end's format, its lock, and frame references. */
#ifndef HV_MM_P2M_H
#define HV_MM_P2M_H

#include "../lock.h"
#include "pt.h"

struct p2m {
	struct lock lock; /* LOCK_P2M: structure; also held while the hypervisor touches guest memory through it */
	struct pt pt;
	bool is_dom0;	  /* identity map: leaves hold no frame references */
	u64 mapped;	  /* frames mapped */
	u64 tlb_gen;	  /* bumped when a flush is owed; back ends compare before each entry */
	struct vm *vm;
};

int p2m_init(struct p2m *p, struct vm *vm, const struct pt_format *fmt, struct account *acct);
/* Restartable: -EAGAIN after a bounded amount of work; drops the frame references. Caller makes sure no vCPU can run. */
int p2m_destroy(struct p2m *p);
/*
 * Guests: map dom0 frames, taking a reference each. attr: PT_R|PT_W|PT_X. Flushes itself when owed (smp_flush_wait).
 * -EPERM not dom0's frame, -EEXIST, -ENOMEM, -EINVAL misaligned or beyond the address width.
 */
int p2m_map(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr);
int p2m_set_mmio(struct p2m *p, u64 gfn);
/* Returns gfns done; TLBs are clean of them on return, only then are the references dropped. */
s64 p2m_unmap(struct p2m *p, u64 gfn, u64 count);
/* Dirty logging by write protection: protect / collect into a bitmap (one bit a gfn) and protect again. */
int p2m_dirty_start(struct p2m *p, u64 gfn, u64 count);
int p2m_dirty_read(struct p2m *p, u64 gfn, u64 count, u64 *bitmap, bool clear);
/* A write fault on a page that is only write-protected for dirty logging: make it writable, mark dirty; true if it was that. */
bool p2m_fix_write(struct p2m *p, u64 gfn);

/* Dom0: identity-map all of [0, limit) except frames that are FRAME_HV; large pages; RAM now, MMIO by p2m_dom0_fault(). */
int p2m_dom0_init(struct p2m *p, u64 limit);
/* A dom0 fault on an address that is not RAM: map it identity, true; on hypervisor memory: false (log and #GP). */
bool p2m_dom0_fault(struct p2m *p, gpa_t addr);
/* Lend a pool page to dom0 at its own address / take it back (flushed on return). */
int p2m_dom0_share(struct p2m *p, hpa_t page);
void p2m_dom0_unshare(struct p2m *p, hpa_t page);

void p2m_lookup(struct p2m *p, u64 gfn, struct pt_leaf *out);
/*
 * Copy between the hypervisor and guest memory, page by page, under the lock. 0 or -EFAULT (nothing mapped, MMIO, or not
 * writable; then bytes before the fault are done). *fault_gpa (may be NULL) is where.
 */
int p2m_read(struct p2m *p, gpa_t from, void *to, size_t len, gpa_t *fault);
int p2m_write(struct p2m *p, gpa_t to, const void *from, size_t len, gpa_t *fault);
/* Atomic on an aligned u32/u64 in guest memory, for page-table A/D bits and PV EOI. 0, -EFAULT, -EAGAIN (changed). */
int p2m_cmpxchg(struct p2m *p, gpa_t at, u64 old, u64 new, u32 size);

#endif
