/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Around each entry: what a CPU tells those who cut rights to a guest's memory. They move
 * p2m.tlb_gen on, and then smp_flush_wait() waits for each CPU that is inside that VM's guest to
 * have been out once. So in_guest must be seen before the generation is read, and an exit must not
 * be counted before the guest is left.
 */
#pragma once

#include "hv/guest/exit.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"

/* -> the generation: if it is not that of the vCPU's last entry, its translations must go first. */
static inline u64 entry_begin(struct cpu *c, struct vcpu *v)
{
	if (unlikely(v->lapic.timer_due))
		lapic_timer_wait(v);
	__atomic_store_n(&c->in_guest, v->vm, __ATOMIC_SEQ_CST);
	if (unlikely(c->core))
		exit_check_mates(c);
	return __atomic_load_n(&v->p2m->tlb_gen, __ATOMIC_SEQ_CST);
}

static inline void entry_end(struct cpu *c)
{
	__atomic_store_n(&c->in_guest, NULL, __ATOMIC_RELEASE);
	c->exit_seq++; /* in one instruction: nobody else writes it, and reads do not tear */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}
