/* SPDX-License-Identifier: GPL-2.0-only */
/* The run loop of each CPU. */
#pragma once

#include "hv/sched/sched.h"

struct vcpu;

/* Schedule and run vCPUs on this CPU for ever. */
void cpu_main(void) __noreturn;
/*
 * dom0's answer to a stopped vCPU's exit is in its pages: run on. by: the dom0 vCPU that asks.
 * -EBUSY if not stopped.
 */
int vcpu_resume(struct vcpu *v, struct vcpu *by);
/*
 * The PIC's interrupt is taken, if it still asks for one: its vector is v's user_irq, at once or
 * when dom0, whose PIC it may be, has told it: then v stops for that.
 */
void vcpu_acknowledge_pic(struct vcpu *v);
/* For sched_init(). */
sched_leave_fn vcpu_leave;
/* For the panic screen: what this CPU ran last. */
void vcpu_dump_last(void);
