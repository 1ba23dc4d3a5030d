/* SPDX-License-Identifier: GPL-2.0-only */
/* dom0's hypercalls (hv/abi.h) and the events that go the other way. */
#pragma once

#include "hv/guest/vcpu.h"

/* From dom0's ring 0, RIP already behind the instruction. Returns the value for RAX. */
s64 hypercall(struct vcpu *caller, u64 nr);

/* hv/guest/event.c: the page of pending bits shared with dom0. */
void event_init(void);
hpa_t event_page(void);

/* hv/dom0/state.c: VCPU_GET and VCPU_SET through the data page of a stopped vCPU. Bytes or entries done, or an error. */
s64 state_get(struct vcpu *v, u32 what, u32 bytes);
s64 state_set(struct vcpu *v, u32 what, u32 bytes);

/* Readers use VMs and vCPUs; writers make and free them. */
extern struct rwlock objects;
