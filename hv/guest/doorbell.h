/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Doorbells: guest writes that only tell dom0 something (ioeventfd). Matched by hash on the exit;
 * the vCPU runs on.
 */
#pragma once

#include "hv/guest/vm.h"

/* When the VM is made. */
void doorbell_init(struct vm *vm);
/* Add or remove by struct corbel_doorbell. -> its number, 0, -EEXIST, -ENOENT, -ENOSPC, -EINVAL. */
int doorbell_update(struct vm *vm, const struct corbel_doorbell *d);
/* A guest wrote val (len bytes): ring what matches. True if something did and the write is done. */
bool doorbell_ring(struct vm *vm, bool pio, u64 addr, u32 len, u64 val);
void doorbell_destroy(struct vm *vm);
u32 doorbell_total(void);
