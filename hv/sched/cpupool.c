/* SPDX-License-Identifier: GPL-2.0-only */
/* Which CPUs and which VMs are in which pool. */
#include "hv/sched/cpupool.h"
#include "hv/lib/string.h"
#include "hv/sched/deadline.h"
#include "hv/sched/place.h"
#include "hv/sched/seat.h"
#include "hv/sched/smt.h"

static struct cpupool *const loose = &cpupools[CORBEL_MAX_POOLS];

/* "": the first; NULL: there is none of that name. */
static const struct sched_ops *policy_of(const char *name)
{
	static const struct sched_ops *const all[] = {&sched_fair, &sched_rr, &sched_deadline,
						      &sched_null};

	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		if (!name[0] || !strcmp(name, all[i]->name))
			return all[i];
	return NULL;
}

void sched_init(const char *name, sched_leave_fn *leave, u32 most_cpus)
{
	const struct sched_ops *policy = policy_of(name);

	if (!policy || policy->need) {
		policy = &sched_fair;
		log_warn("sched=%s: no such scheduler for dom0, using %s (there are fair and rr)",
			 name, policy->name);
	}
	BUG_ON(!most_cpus || most_cpus > MAX_CPUS);
	cpus_words = (most_cpus + 63) / 64;
	memset(cpupools, 0, sizeof(cpupools));
	cpupools[0] = (struct cpupool){.policy = policy, .name = "Pool-0"};
	loose->policy = &sched_fair;
	seat_init();
	place_init(leave);
}

const char *sched_policy_name(void)
{
	return cpupools[0].policy->name;
}

u32 cpupool_id(const struct sched_group *g)
{
	return READ_ONCE(g->pool) - cpupools;
}

/* ---- VMs ---- */

static void link_locked(struct cpupool *p, struct sched_group *g)
{
	ASSERT_HELD(&sched_set_up);
	g->pool = p;
	g->next = p->groups;
	p->groups = g;
}

static void unlink_locked(struct sched_group *g)
{
	struct sched_group **at = &g->pool->groups;

	ASSERT_HELD(&sched_set_up);
	for (; *at != g; at = &(*at)->next)
		BUG_ON(!*at);
	*at = g->next;
}

void sched_group_init(struct sched_group *g)
{
	*g = (struct sched_group){.lock = LOCK_INIT(LOCK_GROUP),
				  .weight = SCHED_WEIGHT_DEFAULT,
				  .parts = GROUP_PARTS,
				  .terms = deadline_usual()};
	lock_acquire(&sched_set_up);
	link_locked(&cpupools[0], g);
	lock_release(&sched_set_up);
}

void sched_group_exit(struct sched_group *g)
{
	BUG_ON(g->members);
	lock_acquire(&sched_set_up);
	unlink_locked(g);
	group_leave_caps(g);
	lock_release(&sched_set_up);
}

static void group_changed_locked(struct sched_group *g)
{
	ASSERT_HELD(&sched_set_up);
	for (struct sched_unit *u = g->members; u; u = u->sibling)
		unit_changed(u);
}

static s64 move_locked(struct cpupool *p, struct sched_group *g)
{
	struct cpupool *was = g->pool;

	ASSERT_HELD(&sched_set_up);
	if (!cpus_any(&p->cpus))
		return -ENODEV;
	unlink_locked(g);
	link_locked(p, g);
	if (!seat_all(p, &p->cpus)) {
		unlink_locked(g);
		link_locked(was, g);
		return -ENOSPC;
	}
	group_changed_locked(g);
	return 0;
}

static s64 set_budget_locked(struct sched_group *g, const struct sched_unit *only, u64 terms)
{
	struct sched_unit *u;
	bool fits;

	ASSERT_HELD(&sched_set_up);
	for (u = g->members; u; u = u->sibling) {
		if (only && u != only)
			continue;
		u->budget.wanted = terms;
		if (u->seat.need)
			seat_lift(u);
	}
	fits = seat_all(g->pool, &g->pool->cpus);
	for (u = g->members; u; u = u->sibling)
		if (fits)
			WRITE_ONCE(u->budget.terms, u->budget.wanted);
		else
			u->budget.wanted = u->budget.terms;
	if (!fits)
		return -ENOSPC;
	if (!only)
		g->terms = terms;
	group_changed_locked(g);
	return 0;
}

s64 sched_set_budget(struct sched_group *g, struct sched_unit *u, u32 period, u32 budget)
{
	u64 terms;
	s64 ret = deadline_terms(period, budget, &terms);

	BUG_ON(u && u->group != g);
	if (ret)
		return ret;
	lock_acquire(&sched_set_up);
	ret = set_budget_locked(g, u, terms);
	lock_release(&sched_set_up);
	return ret;
}

/* ---- CPUs ---- */

static void pool_changed_locked(struct cpupool *p)
{
	ASSERT_HELD(&sched_set_up);
	for (struct sched_group *g = cpus_any(&p->cpus) ? p->groups : NULL; g; g = g->next)
		group_changed_locked(g);
}

static void move_cpus_locked(struct cpupool *from, struct cpupool *to,
			     const struct corbel_cpus *cpus)
{
	struct corbel_cpus moved;

	ASSERT_HELD(&sched_set_up);
	if (from == to || !cpus_and(&moved, &from->cpus, cpus))
		return;
	FOR_EACH_CPU(i, &moved) {
		place_set_pool(i, to);
		cpus_add(&to->cpus, i);
		cpus_take(&from->cpus, i);
	}
	pool_changed_locked(to);
	pool_changed_locked(from);
}

/* All of them are of these; also those that are in words that are not used. */
static bool are_of(const struct corbel_cpus *cpus, const struct corbel_cpus *of)
{
	for (u32 i = cpus_words; i < ARRAY_SIZE(cpus->word); i++)
		if (cpus->word[i])
			return false;
	return cpus_within(cpus, of);
}

/* Those of no pool, and of pool 0, which keeps one. */
static s64 add_locked(struct cpupool *p, const struct corbel_cpus *cpus)
{
	struct cpupool *first = &cpupools[0];
	struct corbel_cpus free;

	ASSERT_HELD(&sched_set_up);
	if (!cpus_any(cpus) || !are_of(cpus, &sched_online) || !smt_is_whole(cpus))
		return -EINVAL;
	cpus_or(&free, &loose->cpus, &first->cpus);
	if (!cpus_within(cpus, &free) || (p != first && cpus_within(&first->cpus, cpus)))
		return -EBUSY;
	move_cpus_locked(loose, p, cpus);
	move_cpus_locked(first, p, cpus);
	return 0;
}

static s64 remove_locked(struct cpupool *p, const struct corbel_cpus *cpus)
{
	struct corbel_cpus stay;
	bool any;

	ASSERT_HELD(&sched_set_up);
	any = cpus_without(&stay, &p->cpus, cpus);
	if (!are_of(cpus, &p->cpus) || !smt_is_whole(cpus))
		return -EINVAL;
	if (p->groups && !any)
		return -EBUSY;
	if (!seat_all(p, &stay))
		return -ENOSPC;
	move_cpus_locked(p, loose, cpus);
	return 0;
}

/* ---- pools ---- */

static bool is_taken(const char *name)
{
	for (u32 i = 0; i < CORBEL_MAX_POOLS; i++)
		if (cpupools[i].policy && !strcmp(cpupools[i].name, name))
			return true;
	return false;
}

static s64 create_locked(const struct corbel_pool_call *c)
{
	const struct sched_ops *policy = policy_of(c->policy);
	static const struct corbel_cpus none;
	struct cpupool *p = cpupools;
	s64 ret = 0;

	ASSERT_HELD(&sched_set_up);
	while (p < loose && p->policy)
		p++;
	if (p == loose)
		return -ENOSPC;
	if (!policy)
		return -EINVAL;
	if (!smt_can(policy))
		return -EOPNOTSUPP;
	*p = (struct cpupool){.policy = policy};
	memcpy(p->name, c->name, sizeof(p->name));
	if (!are_of(&c->cpus, &none))
		ret = add_locked(p, &c->cpus);
	if (ret)
		p->policy = NULL;
	return ret ?: p - cpupools;
}

static s64 destroy_locked(struct cpupool *p)
{
	s64 ret = p == cpupools ? -EPERM : remove_locked(p, &p->cpus);

	ASSERT_HELD(&sched_set_up);
	if (!ret)
		p->policy = NULL;
	return ret;
}

static s64 call_locked(const struct corbel_pool_call *c, struct sched_group *g)
{
	struct cpupool *p = &cpupools[c->pool];

	ASSERT_HELD(&sched_set_up);
	switch (c->op) {
	case CORBEL_POOL_DESTROY:
		return destroy_locked(p);
	case CORBEL_POOL_ADD:
		return add_locked(p, &c->cpus);
	case CORBEL_POOL_REMOVE:
		return remove_locked(p, &c->cpus);
	case CORBEL_POOL_RENAME:
		memcpy(p->name, c->name, sizeof(p->name));
		return 0;
	case CORBEL_POOL_MOVE:
		return move_locked(p, g);
	}
	return -EINVAL;
}

s64 cpupool_call(const struct corbel_pool_call *c, struct sched_group *g)
{
	bool creates = c->op == CORBEL_POOL_CREATE;
	s64 ret;

	lock_acquire(&sched_set_up);
	if ((creates || c->op == CORBEL_POOL_RENAME) && (!c->name[0] || is_taken(c->name)))
		ret = c->name[0] ? -EEXIST : -EINVAL;
	else if (creates)
		ret = create_locked(c);
	else if (c->pool >= CORBEL_MAX_POOLS || !cpupools[c->pool].policy)
		ret = -ENOENT;
	else
		ret = call_locked(c, g);
	lock_release(&sched_set_up);
	return ret;
}

s64 cpupool_stat(u64 nth, struct corbel_pool_stat *s)
{
	s64 ret = -ENOENT;

	lock_acquire(&sched_set_up);
	for (u32 i = 0; i <= CORBEL_MAX_POOLS; i++) {
		const struct cpupool *p = &cpupools[i];

		if (!p->policy || (p == loose && !cpus_any(&p->cpus)) || nth--)
			continue;
		*s = (struct corbel_pool_stat){.id = i, .cpus = p->cpus};
		memcpy(s->name, p->name, sizeof(s->name));
		memcpy(s->policy, p->policy->name, sizeof(s->policy));
		for (const struct sched_group *g = p->groups; g; g = g->next)
			s->vms++;
		ret = sizeof(*s);
		break;
	}
	lock_release(&sched_set_up);
	return ret;
}
