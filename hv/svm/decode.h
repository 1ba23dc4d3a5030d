/* SPDX-License-Identifier: GPL-2.0-only */
/* A raw exit of the VMCB into the neutral form. Pure. */
#pragma once

#include "hv/emul/insn.h"
#include "hv/svm/vmcb.h"

/* Exits that say all by their code. */
struct svm_simple_exit {
	u8 reason;
	u8 len; /* of the plain instruction; used where the CPU gives no next RIP */
};
#define SVM_SIMPLE_EXITS (SVM_EXIT_INVPCID + 1)
extern const struct svm_simple_exit svm_simple_exits[SVM_SIMPLE_EXITS];

/* The others. */
void svm_decode_other(const struct vmcb *vmcb, u32 code, struct vm_exit *x);

/*
 * Decode a raw exit into the neutral form. nrips: the CPU gives the next RIP. Pure; inline because
 * every exit pays for it.
 */
static inline void svm_decode_exit(const struct vmcb *vmcb, bool nrips, struct vm_exit *x)
{
	u32 code = vmcb->exitcode;

	x->raw = vmcb->exitcode;
	x->plain = !((vmcb->rflags & RFLAGS_TF) | (vmcb->int_state & SVM_INT_SHADOW));
	if (likely(code < SVM_SIMPLE_EXITS && svm_simple_exits[code].reason)) {
		x->reason = svm_simple_exits[code].reason;
		x->insn_len = svm_simple_exits[code].len;
	} else if (likely(code == SVM_EXIT_MSR)) {
		x->reason = vmcb->exitinfo1 ? VMEXIT_MSR_WRITE : VMEXIT_MSR_READ;
		x->insn_len = 2;
	} else {
		svm_decode_other(vmcb, code, x);
	}
	if (nrips && x->insn_len) {
		u64 len = vmcb->next_rip - vmcb->rip;

		if (len && len <= INSN_MAX)
			x->insn_len = len;
	}
}
