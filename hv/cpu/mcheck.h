/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine's own machine-check banks; SDM, APM "Machine-Check Architecture". */
#pragma once

#include "hv/lib/types.h"

/*
 * On the CPU itself, once its log lines have somewhere to go: tell of errors that are left over
 * from before, clear them, and have all errors of all banks reported.
 */
void mcheck_init_cpu(void);
/* Log this CPU's banks that hold an error; they keep it. -> how many */
u32 mcheck_log(void);
