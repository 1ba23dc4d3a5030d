/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/mm/p2m_lend.h"
#include "hv/lib/log.h"
#include "hv/mm/frame.h"

int p2m_dom0_take(struct p2m *p, u64 pfn, u64 count)
{
	bool flush = false;
	int err;
	s64 done;

	BUG_ON(!p->is_dom0 || !IS_ALIGNED(pfn | count, 512) || count > P2M_LEND_MAX);
	lock_acquire(&p->lock);
	err = frame_take(pfn, count);
	if (!err) {
		done = pt_unmap(&p->pt, pfn, count, P2M_LEND_MAX, &flush, NULL, NULL);
		p2m_settle_locked(p, flush);
		if (done < 0) {
			frame_give(pfn, count);
			err = (int)done;
		}
		BUG_ON(!err && done != (s64)count);
	}
	lock_release(&p->lock);
	return err;
}

int p2m_dom0_give(struct p2m *p, u64 pfn, u64 count)
{
	int err;

	BUG_ON(!p->is_dom0);
	lock_acquire(&p->lock);
	err = pt_map_identity(&p->pt, pfn, pfn + count, P2M_DOM0_RAM);
	if (!err)
		frame_give(pfn, count);
	lock_release(&p->lock);
	return err;
}
