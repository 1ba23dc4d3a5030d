/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine-check MSRs, and the machine's own banks; SDM, APM "Machine-Check Architecture". */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

#define MSR_MCG_CAP	0x179
#define MSR_MCG_STATUS	0x17a
#define MSR_MCG_CTL	0x17b
#define MSR_MCG_EXT_CTL 0x4d0
#define MSR_MC0_CTL	0x400 /* four for each bank, in the order of enum mci_reg */
#define MCG_BANKS	GENMASK(7, 0)
#define MCG_CTL_P	BIT(8)
#define MCG_SER_P	BIT(24)
#define MCG_LMCE_P	BIT(27)
#define MCG_EXT_LMCE	BIT(0) /* MCG_EXT_CTL */
#define MCG_RIPV	BIT(0) /* MCG_STATUS */
#define MCG_EIPV	BIT(1)
#define MCG_MCIP	BIT(2)
#define MCG_LMCE_S	BIT(3)
#define MCI_VAL		BIT(63)
#define MCI_OVER	BIT(62)
#define MCI_UC		BIT(61)
#define MCI_EN		BIT(60)
#define MCI_MISCV	BIT(59)
#define MCI_ADDRV	BIT(58)
#define MCI_PCC		BIT(57)
#define MCI_S		BIT(56)
#define MCI_AR		BIT(55)

enum mci_reg { MCI_CTL, MCI_STATUS, MCI_ADDR, MCI_MISC };

/*
 * On the CPU itself, once its log lines have somewhere to go: tell of errors that are left over
 * from before, clear them, and have all errors of all banks reported.
 */
void mcheck_init_cpu(void);
/* Who is told of each error that the machine survives, with no lock held. Before the first one. */
void mcheck_set_hook(void (*tell)(const struct corbel_error *e));
/*
 * On the CPU: look for errors that raise no exception, and clear them. Corrected ones come to the
 * log, the first, the second, the fourth and so on; lost memory that nobody has used is owed to
 * dom0.
 */
void mcheck_poll(void);
/* Log this CPU's banks that hold an error; they keep it. -> how many */
u32 mcheck_log(void);

enum mcheck_verdict {
	MCHECK_GO_ON, /* nothing is lost that this CPU has used */
	MCHECK_GUEST, /* what ran in the guest has used what is broken at `addr`; all else is well
		       */
	MCHECK_FATAL,
};
struct mcheck_error {
	u32 bank;
	u64 status, addr, misc, synd, ipid;
	bool in_page;  /* memory is broken, in one page, at addr */
	bool restarts; /* what was interrupted can go on */
};
/*
 * What the machine check that has just come to this CPU means, and the gravest error of its banks.
 * in_guest: it has ended a guest's turn. SDM "Machine-Check Architecture", "Uncorrected Error
 * Recovery"; APM "Machine Check Architecture", "Error Recovery". Unless it is fatal mcheck_settle()
 * comes next, else the next one shuts the CPU down. *e is set for MCHECK_GUEST.
 */
enum mcheck_verdict mcheck_judge(bool in_guest, struct mcheck_error *e);
/*
 * Its errors are cleared, but not what another thread of its core has used; those that nobody has
 * used are owed, by one of the CPUs that see them, to be told when there are no locks held. guests:
 * what mcheck_judge() has set. False: so many are that no more can be kept, or since it judged
 * there has come what the guest cannot answer for; it is fatal.
 */
bool mcheck_settle(const struct mcheck_error *guests);
/* One that came to the hypervisor itself. False: it cannot go on. */
bool mcheck_survived(void);
/*
 * While mcheck_owed is set: tell the log of one error. -> the broken frame, which dom0 is to be
 * told; 0: none is known
 */
u64 mcheck_tell(void);
