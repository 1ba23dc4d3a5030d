/* SPDX-License-Identifier: GPL-2.0-only */
/* Instructions that load or store segments, descriptor tables and the machine status word. */
#pragma once

#include "hv/emul/pass.h"

/* r->kind: K_LOAD_SEGMENT to K_SYSTEM_LAST */
enum emul_result system_run(struct pass *r);
/*
 * Where a far branch through memory leads: the offset, and in s the code segment, which is to be
 * set once all else is done. EMUL_UNSUPPORTED: to a gate or a task.
 */
enum emul_result system_far_target(struct pass *r, struct emul_system *s, u64 *offset);
/* s has a segment for register n: marked where its descriptor lies, and loaded. */
enum emul_result system_set_segment(struct pass *r, const struct emul_system *s, u8 n);
