/* SPDX-License-Identifier: GPL-2.0-only */
/* Accesses to where no RAM is, or none that may be written: emulated instruction by instruction. */
#pragma once

#include "hv/guest/exit.h"

struct vcpu;
struct vm_exit;

/* VMEXIT_P2M_FAULT */
enum after_exit mmio_handle_fault(struct vcpu *v, const struct vm_exit *x);
