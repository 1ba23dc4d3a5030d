/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The choice of VM-execution, exit and entry controls; SDM "Algorithms for Determining VMX
 * Capabilities".
 */
#include "hv/vmx/caps.h"
#include "hv/guest/hvm.h"
#include "hv/lib/string.h"
#include "hv/vmx/vmcs.h"

struct vmx_controls vmx_ctl;

enum { W_PIN, W_PROC, W_PROC2, W_EXIT, W_ENTRY, W_NR };

#define NO_EPT "this CPU has VT-x without usable extended page tables (EPT); use a newer CPU"
#define TOO_OLD                                                                                    \
	"this CPU's VT-x lacks a control that every CPU with EPT has; if it is virtual, update "   \
	"its hypervisor"

/*
 * Without a missing line the control is optional. All bits of an entry are had together or not at
 * all.
 */
static const struct wanted {
	u8 word;
	u32 bits;
	const char *name; /* for mask= */
	const char *missing;
} wanted[] = {
    {W_PROC, PROC_SECONDARY, NULL, NO_EPT},
    {W_PROC2, PROC2_EPT, NULL, NO_EPT},
    {W_PROC2, PROC2_UNRESTRICTED, NULL,
     "this CPU has VT-x without unrestricted guests (real mode); use a newer CPU, or enable it in "
     "the outer hypervisor"},
    {W_PIN, PIN_EXT_INTR | PIN_NMI | PIN_VNMI, NULL, TOO_OLD},
    {W_PROC,
     PROC_INTR_WINDOW | PROC_NMI_WINDOW | PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_MONITOR |
	 PROC_RDPMC | PROC_MOV_DR,
     NULL, TOO_OLD},
    {W_PROC, PROC_IO_BITMAPS | PROC_MSR_BITMAP, NULL, TOO_OLD},
    {W_EXIT, EXIT_HOST_64 | EXIT_SAVE_DEBUG, NULL, TOO_OLD},
    {W_ENTRY, ENTRY_GUEST_64 | ENTRY_LOAD_DEBUG, NULL, TOO_OLD},
    {W_EXIT, EXIT_SAVE_EFER | EXIT_LOAD_EFER, "efer"},
    {W_ENTRY, ENTRY_LOAD_EFER, "efer"},
    {W_EXIT, EXIT_LOAD_PAT, "pat"},
    {W_ENTRY, ENTRY_LOAD_PAT, "pat"},
    {W_EXIT, EXIT_LOAD_PERF, "perf-ctrl"},
    {W_ENTRY, ENTRY_LOAD_PERF, "perf-ctrl"},
    {W_PIN, PIN_TIMER},
    {W_PROC, PROC_TPR_SHADOW, "tpr-shadow"},
    {W_PROC2, PROC2_X2APIC, "x2apic"},
    {W_PROC2, PROC2_VID, "vid"},
    {W_PROC2, PROC2_APIC_REGS, "apic-regs"},
    {W_EXIT, EXIT_ACK_INTR, "ack-intr"},
    {W_PIN, PIN_POSTED, "posted-intr"},
    {W_PROC2, PROC2_VPID, "vpid"},
    {W_PROC2, PROC2_RDTSCP, "rdtscp"},
    {W_PROC2, PROC2_INVPCID, "invpcid"},
    {W_PROC2, PROC2_WBINVD, "wbinvd-exit"},
    {W_PROC2, PROC2_ENCLS, "encls-exit"},
    {W_PROC2, PROC2_ENCLV, "enclv-exit"},
    {W_PROC2, PROC2_RDRAND, "rdrand-exit"},
    {W_PROC2, PROC2_RDSEED, "rdseed-exit"},
    {W_PROC2, PROC2_XSAVES, "xsaves"},
    {W_PROC2, PROC2_TSC_SCALE, "tsc-scale"},
    {W_PROC2, PROC2_PAUSE, "pause-loop"},
    {W_PROC2, PROC2_BUS_LOCK, "bus-lock"},
    {W_PROC2, PROC2_NOTIFY, "notify"},
};

bool vmx_is_broken(u32 signature, const char *name)
{
	static const struct {
		u16 core; /* signature / 16 of family 6 */
		const char *name;
	} broken[] = {
	    {0x406d, "ept-ad"}, /* AVR41: flags may not be set */
	    /* AAT100, BC86: an exit may switch counters off that the host has on */
	    {0x2065, "perf-ctrl"},
	    {0x206c, "perf-ctrl"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(broken); i++)
		if (signature >> 4 == broken[i].core && !strcmp(name, broken[i].name))
			return true;
	return false;
}

static void choose_flushes(const struct vmx_msrs *m, struct vmx_controls *c)
{
	c->invept_single = m->ept_vpid & EPT_INVEPT_ONE;
	c->invept_all = m->ept_vpid & EPT_INVEPT_ALL;
	if ((m->ept_vpid & EPT_INVVPID) && (c->proc2 & PROC2_VPID)) {
		if (m->ept_vpid & EPT_INVVPID_ONE)
			c->invvpid = INV_ONE;
		else if (m->ept_vpid & EPT_INVVPID_ALL)
			c->invvpid = INV_ALL;
	}
	if (!c->invvpid)
		c->proc2 &= ~PROC2_VPID;
}

/*
 * Controls that are of use, or allowed, only with another, which stands in an earlier line, or in
 * the one below where neither goes without the other.
 */
static const struct {
	u8 word, other_word;
	u32 bits, other;
} needs[] = {
    {W_PROC2, W_PROC, PROC2_X2APIC, PROC_TPR_SHADOW},
    {W_PROC2, W_PROC2, PROC2_VID, PROC2_X2APIC},
    {W_PROC2, W_PROC2, PROC2_APIC_REGS, PROC2_VID},
    {W_PIN, W_PROC2, PIN_POSTED, PROC2_VID},
    {W_PIN, W_EXIT, PIN_POSTED, EXIT_ACK_INTR},
    {W_EXIT, W_ENTRY, EXIT_SAVE_EFER | EXIT_LOAD_EFER, ENTRY_LOAD_EFER},
    {W_ENTRY, W_EXIT, ENTRY_LOAD_EFER, EXIT_LOAD_EFER},
    {W_EXIT, W_ENTRY, EXIT_LOAD_PAT, ENTRY_LOAD_PAT},
    {W_ENTRY, W_EXIT, ENTRY_LOAD_PAT, EXIT_LOAD_PAT},
    {W_EXIT, W_ENTRY, EXIT_LOAD_PERF, ENTRY_LOAD_PERF},
    {W_ENTRY, W_EXIT, ENTRY_LOAD_PERF, EXIT_LOAD_PERF},
};

const char *vmx_choose_controls(const struct vmx_msrs *m, bool (*masked)(const char *name),
				struct vmx_controls *c)
{
	const u64 cap[W_NR] = {m->pin, m->proc, m->proc2, m->exit, m->entry};
	u32 *const word[W_NR] = {&c->pin, &c->proc, &c->proc2, &c->exit, &c->entry};

	*c = (struct vmx_controls){0};
	for (u32 i = 0; i < ARRAY_SIZE(wanted); i++) {
		const struct wanted *w = &wanted[i];
		u64 lacking = ~(cap[w->word] >> 32) & w->bits;

		if (!lacking && !(w->name && masked(w->name)))
			*word[w->word] |= w->bits;
		else if (w->missing)
			return w->missing;
	}
	if ((~m->ept_vpid & (EPT_WALK_4 | EPT_WB | EPT_2M | EPT_INVEPT)) ||
	    !(m->ept_vpid & (EPT_INVEPT_ONE | EPT_INVEPT_ALL)))
		return NO_EPT;
	c->ept_1g = (m->ept_vpid & EPT_1G) && !masked("1g");
	c->ept_ad = (m->ept_vpid & EPT_AD) && !masked("ept-ad");
	choose_flushes(m, c);
	for (u32 i = 0; i < ARRAY_SIZE(needs); i++)
		if (!(*word[needs[i].other_word] & needs[i].other))
			*word[needs[i].word] &= ~needs[i].bits;
	if (!(c->proc & PROC_TPR_SHADOW))
		c->proc |= PROC_CR8_LOAD | PROC_CR8_STORE;
	for (u32 i = 0; i < W_NR; i++) {
		*word[i] |= cap[i]; /* what its lower half names must be one */
		if (*word[i] & ~(cap[i] >> 32))
			return TOO_OLD;
	}
	/* Nothing handles exits that come with these; every CPU with EPT can do without them. */
	if (c->proc & (PROC_CR3_LOAD | PROC_CR3_STORE | PROC_INVLPG))
		return TOO_OLD;
	/*
	 * Asked for above only to see that they are there: windows are opened when something
	 * waits, debug registers are watched for a debugger, and 64-bit mode follows the guest.
	 */
	c->proc &= ~(PROC_INTR_WINDOW | PROC_NMI_WINDOW | PROC_MOV_DR);
	c->entry &= ~ENTRY_GUEST_64;
	return NULL;
}

/* By the control the guest has the instruction; or exits: that exits, and is undefined. */
static const struct {
	u32 control, insns;
	bool exits;
} by_control[] = {
    {PROC2_RDTSCP, INSN_RDTSCP | INSN_RDPID},
    {PROC2_INVPCID, INSN_INVPCID},
    {PROC2_XSAVES, INSN_XSAVES},
    {PROC2_RDRAND, INSN_RDRAND, true},
    {PROC2_RDSEED, INSN_RDSEED, true},
};

u32 vmx_proc2_for(u32 proc2, u64 insns)
{
	for (u32 i = 0; i < ARRAY_SIZE(by_control); i++) {
		proc2 |= vmx_ctl.proc2 & by_control[i].control;
		if (!(insns & by_control[i].insns) != by_control[i].exits)
			proc2 &= ~by_control[i].control;
	}
	return proc2;
}

/* Flags of EPT_VPID_CAP that the choice stands on */
static u64 flushes_of(const struct vmx_controls *c)
{
	u64 flags = EPT_WALK_4 | EPT_WB | EPT_2M | EPT_INVEPT;

	if (c->invept_single)
		flags |= EPT_INVEPT_ONE;
	if (c->invept_all)
		flags |= EPT_INVEPT_ALL;
	if (c->ept_1g)
		flags |= EPT_1G;
	if (c->ept_ad)
		flags |= EPT_AD;
	if (c->invvpid)
		flags |= EPT_INVVPID | (c->invvpid == INV_ONE ? EPT_INVVPID_ONE : EPT_INVVPID_ALL);
	return flags;
}

bool vmx_controls_fit(const struct vmx_msrs *m, const struct vmx_msrs *boot,
		      const struct vmx_controls *c)
{
	const u64 cap[W_NR] = {m->pin, m->proc, m->proc2, m->exit, m->entry};
	const u32 word[W_NR] = {c->pin, c->proc, c->proc2, c->exit, c->entry};

	for (u32 i = 0; i < W_NR; i++)
		if (word[i] & ~(cap[i] >> 32) || (u32)cap[i] & ~word[i])
			return false;
	if ((m->basic ^ boot->basic) & BASIC_REVISION)
		return false;
	return !(flushes_of(c) & ~m->ept_vpid) && m->cr0_fixed0 == boot->cr0_fixed0 &&
	       m->cr4_fixed0 == boot->cr4_fixed0;
}
