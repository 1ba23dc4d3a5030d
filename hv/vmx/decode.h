/* SPDX-License-Identifier: GPL-2.0-only */
/* A raw exit of the VMCS into the neutral form. Pure. */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/vmx/vmcs.h"

/* What an exit leaves in the read-only fields, as far as decoding wants it */
struct vmx_raw {
	u32 reason, insn_len;
	u32 intr_info, intr_error, idt_info;
	u64 qual, gpa;
};

/* SDM "Exit Qualification for EPT Violations" */
static inline void vmx_decode_ept(u64 qual, u64 gpa, struct vm_exit *x)
{
	x->reason = VMEXIT_P2M_FAULT;
	x->insn_len = 0;
	x->p2m.gpa = gpa;
	x->p2m.write = qual & QUAL_EPT_WRITE;
	x->p2m.exec = qual & QUAL_EPT_EXEC;
	x->p2m.during_walk = ~qual & (QUAL_EPT_LINEAR | QUAL_EPT_FINAL);
}

/* The neutral reasons of those that need no decoding */
extern const u8 vmx_plain_exits[EXIT_WRMSR_IMM + 1];
/*
 * Of those, instructions: their length is all there is to know, and no event can have been under
 * delivery when they exit.
 */
#define INSN_EXITS                                                                                 \
	(BIT(EXIT_CPUID) | BIT(EXIT_HLT) | BIT(EXIT_VMCALL) | BIT(EXIT_RDMSR) | BIT(EXIT_WRMSR))
/* A raw exit into the neutral form. Pure. */
void vmx_decode_exit(const struct vmx_raw *r, struct vm_exit *x);
