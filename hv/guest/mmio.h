/* SPDX-License-Identifier: GPL-2.0-only */
/* Accesses to where no RAM is, or none that may be written: emulated instruction by instruction. */
#pragma once

#include "hv/guest/exit.h"
#include "hv/lib/types.h"

struct guest_fault;
struct pt_leaf;
struct vcpu;
struct vm_exit;

/* VMEXIT_P2M_FAULT */
enum after_exit mmio_handle_fault(struct vcpu *v, const struct vm_exit *x);

/* Is an access there, where the p2m has this leaf, one to a device, the LAPIC included? */
bool mmio_is_device(const struct vcpu *v, u64 gpa, const struct pt_leaf *leaf, bool write);
/* emul_string_span() of v->emul->insn. */
int mmio_string_span(struct vcpu *v, u64 *linear, struct guest_fault *f);
/*
 * Where v->emul->insn has its operand in memory, of len bytes, to be written or else read. -EFAULT:
 * *f says which exception.
 */
int mmio_operand(struct vcpu *v, u32 len, bool write, u64 *linear, struct guest_fault *f);
/* Carry out v->emul->insn, which is at RIP and has not stopped at memory. */
void mmio_emulate(struct vcpu *v);
/* VMEXIT_IO by INS or OUTS, v->emul->insn, that memory is not simply moved for. */
void mmio_string_io(struct vcpu *v, const struct vm_exit *x);
