/* SPDX-License-Identifier: GPL-2.0-only */
/* String instructions: MOVS, CMPS, STOS, LODS, SCAS, INS, OUTS. */
#pragma once

#include "hv/emul/pass.h"

#define STR_SRC	  BIT(0) /* reads DS:RSI */
#define STR_DST	  BIT(1) /* reads ES:RDI */
#define STR_STORE BIT(2) /* writes ES:RDI */
#define STR_CMP	  BIT(3)
#define STR_IN	  BIT(4) /* reads a port */
#define STR_OUT	  BIT(5) /* writes a port */

/* What the instruction does, of STR_x; 0: it is none of these. */
u32 string_kind(const struct insn *i);
enum emul_result string_run(struct pass *r, u32 kind);
