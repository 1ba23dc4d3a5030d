/* SPDX-License-Identifier: GPL-2.0-only */
/* Hardware task switches: VT-x has each exit, and on AMD-V we do. */
#pragma once

struct vcpu;
struct vm_exit;

/* VMEXIT_TASK_SWITCH */
void task_handle_switch(struct vcpu *v, const struct vm_exit *x);
