/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State that is switched with the vCPU, not with the exit: FPU, XCR0, debug registers, TSC_AUX. On
 * this CPU only.
 */
#pragma once

#include "hv/emul/emul.h"
#include "hv/lib/types.h"

struct vcpu;

/* Bring it into the hardware; whose state was there is saved. */
void vcpu_load(struct vcpu *v);
/* Save it if this CPU holds it. */
void vcpu_put(struct vcpu *v);
/* DR0..3 of the vCPU that is loaded have changed. */
void drs_to_hw(const struct vcpu *v);
/* XSAVE area in the state after reset: x87 and SSE defaults, all other components initial. */
void fpu_reset(struct vcpu *v);
/* PKRU of the vCPU, whose CPUID shows it. 0: the vCPU is not loaded. */
u32 fpu_pkru(const struct vcpu *v);
/*
 * Read or write one register of the vCPU that is loaded: emul_ops.vector. -EFAULT: *exception is
 * what an instruction of this kind raises now.
 */
int fpu_vector(struct vcpu *v, enum emul_vector file, u8 n, u8 *val, bool write, u8 *exception);
