/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that use the stack, or go elsewhere: PUSH, POP, CALL, RET, ENTER of the outermost
 * level, LEAVE, JMP; far CALL, JMP and RET, and IRET, but not by gates and tasks.
 */
#pragma once

#include "hv/emul/pass.h"

/* r->kind: K_PUSH to K_STACK_LAST */
enum emul_result stack_run(struct pass *r);
