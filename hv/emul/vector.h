/* SPDX-License-Identifier: GPL-2.0-only */
/* Moves between memory and the registers of MMX, SSE and AVX. */
#pragma once

#include "hv/emul/pass.h"

struct vector_move;

/* What the instruction moves; NULL: it is no such one. */
const struct vector_move *vector_move(const struct insn *i);
enum emul_result vector_run(struct pass *r, const struct vector_move *m);
