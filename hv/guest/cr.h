/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' writes to control registers and XCR0. */
#pragma once

#include "hv/lib/types.h"

struct guest_fault;
struct vcpu;
struct vm_exit;

void cr_handle(struct vcpu *v, const struct vm_exit *x);
void cr_handle_xsetbv(struct vcpu *v);
/*
 * Which general register a MOV to or from a control or debug register names. 0, or as vcpu_fetch();
 * -EINVAL: another instruction.
 */
int cr_decode_gpr(struct vcpu *v, const struct vm_exit *x, u8 *gpr, u32 *len,
		  struct guest_fault *f);
