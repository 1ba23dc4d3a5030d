// SPDX-License-Identifier: GPL-2.0-only
/*
 * cpu.weight and cpu.max of the cgroups in which a VMM's threads are hold for its vCPUs, whose time
 * is not Linux' to give. What Linux has of them is private to its scheduler, but each controller
 * brings a list of its files, with the functions that read them: those of version 1 of cgroups are
 * numbers, and tell the same.
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/cgroup.h>

#ifdef CONFIG_CGROUP_SCHED

static_assert(CB_SHARE_CAP_NONE == CORBEL_MAX_CAP && CB_SHARE_LEVELS == CORBEL_CAP_LEVELS);

static struct cftype *find_file(struct cftype *files, const char *name)
{
	for (; files && files->name[0]; files++)
		if (!strcmp(files->name, name))
			return files;
	return NULL;
}

static u64 weight_of(struct cgroup_subsys_state *css)
{
	struct cftype *f = find_file(css->ss->dfl_cftypes, "weight");

	return f && f->read_u64 ? f->read_u64(css, f) : CGROUP_WEIGHT_DFL;
}

/* Who has nobody in it competes with none. */
static u64 greatest_weight(struct cgroup_subsys_state *parent)
{
	struct cgroup_subsys_state *css;
	u64 w = 0;

	list_for_each_entry_rcu(css, &parent->children,
				sibling) if (cgroup_is_populated(css->cgroup)) w =
	    max(w, weight_of(css));
	return w;
}

static void add_level(struct cgroup_subsys_state *css, struct cb_share *s)
{
	struct cftype *quota = find_file(css->ss->legacy_cftypes, "cfs_quota_us");
	struct cftype *period = find_file(css->ss->legacy_cftypes, "cfs_period_us");
	bool has_quota = quota && quota->read_s64 && period && period->read_u64;

	share_level(s, cgroup_id(css->cgroup), weight_of(css), greatest_weight(css->parent),
		    has_quota ? quota->read_s64(css, quota) : -1,
		    has_quota ? period->read_u64(css, period) : 0);
}

/* What the process' first thread is in, too, holds for all. */
void cb_cgroup_shares(struct cb_share *all, struct cb_share *own)
{
	struct cgroup_subsys_state *css, *first;

	*all = *own = CB_SHARE_ALL;
	rcu_read_lock();
	css = task_css(current, cpu_cgrp_id);
	first = task_css(current->group_leader, cpu_cgrp_id);
	for (; css->parent; css = css->parent)
		add_level(css, cgroup_is_descendant(first->cgroup, css->cgroup) ? all : own);
	rcu_read_unlock();
}

#else

void cb_cgroup_shares(struct cb_share *all, struct cb_share *own)
{
	*all = *own = CB_SHARE_ALL;
}

#endif
