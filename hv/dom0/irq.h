/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine's interrupts, which are dom0's. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* A physical interrupt below VEC_HV_FIRST arrived on this CPU. Interrupts off. */
void dom0_irq(u8 vector);
/* dom0's vCPU on this CPU has ended a level-triggered interrupt; another's is none to tell of. */
void dom0_level_eoi(struct vcpu *v, u8 vector);
/* The hardware of all CPUs has forgotten what was in service: a sleep. */
void dom0_irq_forget(void);
