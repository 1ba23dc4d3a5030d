/* SPDX-License-Identifier: GPL-2.0-only */
/* Accesses to where no RAM is, or none that may be written: emulated instruction by instruction. */
#pragma once

#include "hv/guest/exit.h"

struct vcpu;
struct vm_exit;

/* VMEXIT_P2M_FAULT */
enum after_exit mmio_handle_fault(struct vcpu *v, const struct vm_exit *x);
/* dom0 has answered the access: go on with the instruction. */
void mmio_complete(struct vcpu *v);
/* dom0 has mapped memory that the instruction needs: go on where it was. */
void mmio_retry(struct vcpu *v);
