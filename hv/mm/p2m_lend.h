/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of dom0's that it lends to the hypervisor, whole large pages of them. */
#pragma once

#include "hv/mm/p2m.h"

#define P2M_LEND_MAX 512u /* frames at once */

/*
 * count frames of dom0's, none mapped into a guest, become the hypervisor's, and are flushed: but a
 * CPU in the hypervisor may be accessing them for dom0 until it passes its loop. 0; -EPERM: not
 * dom0's; -EBUSY: a guest has one; -ENOMEM: no table to split a page.
 */
int p2m_dom0_take(struct p2m *p, u64 pfn, u64 count);
/* They are dom0's again. 0 or -ENOMEM. */
int p2m_dom0_give(struct p2m *p, u64 pfn, u64 count);
