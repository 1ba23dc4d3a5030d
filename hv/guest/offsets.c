/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Compiled to assembly only: the Makefile turns its "->NAME value" lines into %define lines for
 * NASM.
 */
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/guest/vcpu.h"

#define DEFINE(name, value) __asm__ volatile(".ascii \"->" #name " %c0\"" : : "i"(value))

void offsets(void);

void offsets(void)
{
	DEFINE(REGS_RIP, offsetof(struct regs, rip));
	DEFINE(REGS_VECTOR, offsetof(struct regs, vector));
	DEFINE(VCPU_GPR, offsetof(struct vcpu, gpr));
	DEFINE(VCPU_SPEC_CTRL, offsetof(struct vcpu, spec_ctrl));
	DEFINE(SPEC_VERW, SPEC_VERW);
	DEFINE(SPEC_IBRS, SPEC_IBRS);
	DEFINE(SPEC_RSB, SPEC_RSB);
	DEFINE(SPEC_IBPB, SPEC_IBPB);
	DEFINE(SPEC_BHB, SPEC_BHB);
	DEFINE(SPEC_DIV, SPEC_DIV);
	DEFINE(SPEC_AT_ENTRY, SPEC_AT_ENTRY);
	DEFINE(SPEC_AT_EXIT, SPEC_AT_EXIT);
}
