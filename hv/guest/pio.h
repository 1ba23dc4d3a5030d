/* SPDX-License-Identifier: GPL-2.0-only */
/* Port I/O of guests. */
#pragma once

#include "hv/guest/exit.h"
#include "hv/lib/types.h"

struct vcpu;
struct vm_exit;

/* Into register reg as an instruction with this operand size (1, 2, 4, 8 bytes) does. */
void pio_write_reg(struct vcpu *v, u32 reg, u64 val, u32 size);
/* VMEXIT_IO */
enum after_exit pio_handle(struct vcpu *v, const struct vm_exit *x);
