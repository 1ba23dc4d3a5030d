/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine-check MSRs, and the machine's own banks; SDM, APM "Machine-Check Architecture". */
#pragma once

#include "hv/lib/types.h"

#define MSR_MCG_CAP    0x179
#define MSR_MCG_STATUS 0x17a
#define MSR_MCG_CTL    0x17b
#define MSR_MC0_CTL    0x400 /* four for each bank, in the order of enum mci_reg */
#define MCG_BANKS      GENMASK(7, 0)
#define MCG_CTL_P      BIT(8)
#define MCI_VAL	       BIT(63)

enum mci_reg { MCI_CTL, MCI_STATUS, MCI_ADDR, MCI_MISC };

/*
 * On the CPU itself, once its log lines have somewhere to go: tell of errors that are left over
 * from before, clear them, and have all errors of all banks reported.
 */
void mcheck_init_cpu(void);
/* Log this CPU's banks that hold an error; they keep it. -> how many */
u32 mcheck_log(void);
