/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/spin.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"

/* Has it made way for another, and not run since? Then it waits for the lock as well. */
static bool is_spinning(const struct vcpu *v)
{
	return READ_ONCE(v->spun_at) == READ_ONCE(v->exits_total);
}

#define SPIN_LOOK 32 /* at so many at once: a VM may have a thousand */

/*
 * Of those that wait for a CPU, this one or another, from the one behind the last on: the first,
 * but better one that does not spin.
 */
static struct vcpu *choose_waiting(const struct vcpu *v)
{
	struct vm *vm = v->vm;
	u32 end = READ_ONCE(vm->vcpu_end), at = READ_ONCE(vm->favoured);
	struct vcpu *first = NULL;

	for (u32 i = MIN(end, SPIN_LOOK); i--;) {
		struct vcpu *o = READ_ONCE(vm->vcpu[++at % end]);

		if (!o || o == v || READ_ONCE(o->sched.state) != SCHED_QUEUED)
			continue;
		if (!is_spinning(o))
			return o;
		if (!first)
			first = o;
	}
	if (!first) /* others are looked at next */
		WRITE_ONCE(vm->favoured, at);
	return first;
}

bool spin_others_wait(const struct vcpu *v)
{
	return choose_waiting(v);
}

void spin_make_way(struct vcpu *v)
{
	struct vcpu *to = choose_waiting(v);

	WRITE_ONCE(v->spun_at, v->exits_total);
	if (!to)
		return;
	WRITE_ONCE(v->vm->favoured, to->index);
	sched_give_way(&v->sched, &to->sched);
}
