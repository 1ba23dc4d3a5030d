/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an access ends in that cannot be done: memory that dom0 has to bring, an exception, or the
 * end of the guest.
 */
#pragma once

#include "hv/lib/types.h"

struct fetched;
struct emul_fault;
struct guest_fault;
struct vcpu;

/* Memory is missing at the guest-physical address: dom0 maps it and the instruction runs again. */
void guest_memory_missing(struct vcpu *v, u64 gpa, bool write, bool exec);
/*
 * An access of ours to guest memory has failed: code, page tables or string I/O. Where dom0 has
 * said that there is no memory it is asked once more, since the VMM may be about to put one slot in
 * another's place. If there is to be none, such guests are not for us.
 */
void guest_access_missed(struct vcpu *v, const struct guest_fault *f);
void guest_inject_fault(struct vcpu *v, const struct emul_fault *f);
/* err: of vcpu_translate() and its like; one of the two above. */
void guest_access_failed(struct vcpu *v, int err, const struct guest_fault *f);
/*
 * The vCPU cannot go on: tell the VMM, with the instruction where there is one (else NULL).
 * code: GUEST_ERROR_x or the hardware's exit code. dom0 ends the machine.
 */
#define GUEST_ERROR_EMULATION 1 /* an instruction that is not emulated */
#define GUEST_ERROR_CR	      2 /* an access to a control register that makes no sense */
#define GUEST_ERROR_MCHECK    3 /* its memory is broken */
#define GUEST_ERROR_DELIVERY  4 /* an event finds a device where its stack or a table should be */
void guest_stuck(struct vcpu *v, u64 code, const struct fetched *in);
/*
 * That with GUEST_ERROR_EMULATION where a kernel has run the instruction. A program in user mode
 * gets #UD, as in KVM: what it runs must not be the end of its machine.
 */
void guest_cannot_emulate(struct vcpu *v, const struct fetched *in);
