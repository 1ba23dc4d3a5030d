/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that load or store segments, descriptor tables and the machine status word. The
 * operand, or the descriptor, lies where the processor cannot get at it, or write to it.
 */
#pragma once

#include "hv/emul/pass.h"

/* r->kind: K_LOAD_SEGMENT to K_SYSTEM_LAST */
enum emul_result system_run(struct pass *r);
/*
 * A far branch or return to sel:offset: s gets the code segment, which is to be set once all else
 * is done, and of a return the CPL. EMUL_UNSUPPORTED: to a gate or a task.
 */
enum emul_result system_code_segment(struct pass *r, struct emul_system *s, u16 sel, u64 offset);
/* The same with what a CALL or JMP has as its operand; *offset is where it leads. */
enum emul_result system_far_target(struct pass *r, struct emul_system *s, u64 *offset);
/* s gets what register n, but for CS, would have of sel at s->cpl. */
enum emul_result system_data_segment(struct pass *r, struct emul_system *s, u8 n, u16 sel);
/* s has segments for the registers in the mask: marked where their descriptors lie, and loaded. */
enum emul_result system_set_segments(struct pass *r, const struct emul_system *s, u32 mask);
/* Register n, which is not CS, gets sel. */
enum emul_result system_load_segment(struct pass *r, u8 n, u16 sel);
