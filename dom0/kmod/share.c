// SPDX-License-Identifier: GPL-2.0-only
/* What a VMM's cgroups leave it of the CPUs, level by level; in the hypervisor's terms. */
#include "pure.h"

static u64 smaller_of(u64 a, u64 b)
{
	return a < b ? a : b;
}

/*
 * Only what a cgroup is to its siblings counts, as in Linux: who may set weights within his own,
 * has no more of the machine by that.
 */
void share_level(struct cb_share *s, u64 id, u64 weight, u64 greatest, s64 quota, u64 period)
{
	u64 percent;

	if (weight < greatest)
		s->weight = s->weight * weight / greatest;
	if (!s->weight)
		s->weight = 1; /* 0 would be no change */
	if (quota < 0 || !period)
		return;
	percent = smaller_of(quota, ~0ull / 100) * 100 / period;
	percent = smaller_of(percent ? percent : 1, CB_SHARE_CAP_NONE);
	s->cap = smaller_of(percent, s->cap);
	/* of many levels the outer ones hold: there are more VMs in them */
	s->shared[s->levels++ % CB_SHARE_LEVELS] = (struct cb_shared){id, percent};
}
