/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' writes to control registers and XCR0. */
#pragma once

#include "hv/lib/types.h"

struct vcpu;
struct vm_exit;

/* A guest writes CR0, CR4 or CR8. False: #GP. */
bool cr_write(struct vcpu *v, u8 cr, u64 val);
void cr_handle(struct vcpu *v, const struct vm_exit *x);
void cr_handle_xsetbv(struct vcpu *v);
