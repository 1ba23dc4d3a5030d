/* SPDX-License-Identifier: GPL-2.0-only */
/* The order of locks, checked. */
#include "hv/lib/lock.h"

bool lock_unchecked;

#ifdef CHECK_LOCKS
static struct cpu *checked_cpu(void)
{
	return lock_unchecked ? NULL : this_cpu();
}

void lock_taken(u32 level)
{
	struct cpu *c = checked_cpu();

	if (!c)
		return;
	if (!level || c->locks >> level)
		panic("lock of level %u taken while levels %x are held", level, c->locks);
	c->locks |= 1u << level;
}

void lock_tried(u32 level)
{
	struct cpu *c = checked_cpu();

	if (!c)
		return;
	if (!level || c->locks & 1u << level)
		panic("lock of level %u tried while levels %x are held", level, c->locks);
	c->locks |= 1u << level;
}

void lock_given(u32 level)
{
	struct cpu *c = checked_cpu();

	if (!c)
		return;
	if (!(c->locks & 1u << level))
		panic("lock of level %u given back that this CPU does not hold", level);
	c->locks &= ~(1u << level);
}

void lock_none_held(void)
{
	const struct cpu *c = checked_cpu();

	if (c && c->locks)
		panic("locks of levels %x are held where none may be", c->locks);
}
#endif
