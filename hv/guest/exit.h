/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

struct cpu;
struct vcpu;

/* What follows when an exit has been handled. */
enum after_exit {
	EXIT_AGAIN,   /* the next entry, unless something is noted in v->due */
	EXIT_PREPARE, /* all that comes before an entry is to be looked at */
};

/*
 * Run the vCPU and handle its exits until one after which there is something to do before the next
 * entry.
 */
void exit_loop(struct vcpu *v, struct cpu *c);

/* HLT has been executed, or a nested guest begins behind one. */
void vcpu_halt(struct vcpu *v);

/* sched-gran=core: no CPU of this one's core may be in the guest of another VM. */
void exit_check_mates(const struct cpu *c);
