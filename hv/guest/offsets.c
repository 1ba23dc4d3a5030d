/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Compiled to assembly only: the Makefile turns its "->NAME value" lines into %define lines for
 * NASM.
 */
#include "hv/cpu/cpu.h"
#include "hv/guest/vcpu.h"

#define DEFINE(name, value) __asm__ volatile(".ascii \"->" #name " %c0\"" : : "i"(value))

void offsets(void);

void offsets(void)
{
	DEFINE(REGS_RIP, offsetof(struct regs, rip));
	DEFINE(REGS_VECTOR, offsetof(struct regs, vector));
	DEFINE(VCPU_GPR, offsetof(struct vcpu, gpr));
}
