/* SPDX-License-Identifier: GPL-2.0-only */
/* What an entry refuses of the state of a guest's guest; SDM "Checks on the Guest State Area". */
#include "vmx.h"

#define LOADS_DEBUG (0x11ff | BIT(9))
#define NMI	    EVENT(2, 2)

static const struct wrong {
	u32 field;
	u64 val;
	const char *what;
	u32 qual, more; /* another field, and its value */
	u64 more_val;
} wrong[] = {
    {F_CR0, 0x80000011, "CR0 without NE"},
    {F_CR0, 0x31, "CR0 without paging"},
    {F_CR0, 0x80000031 | BIT(40), "CR0's upper half"},
    {F_CR3, BIT(52), "CR3 beyond all addresses"},
    {F_CR4, 0x20, "CR4 without VMXE"},
    {F_CR4, 0x2020 | BIT(63), "CR4 with a bit that there is not"},
    {F_CR4, 0x2020 | BIT(12), "CR4 with a bit that the guest has not"},
    {F_DEBUGCTL, 4, "DEBUGCTL with a bit that there is not", 0, F_ENTRY, LOADS_DEBUG},
    {F_DR7, BIT(32) | 0x400, "DR7's upper half", 0, F_ENTRY, LOADS_DEBUG},
    {F_BLOCKING, 3, "blocking by STI and by MOV SS"},
    {F_BLOCKING, 1, "by STI with IF clear"},
    {F_BLOCKING, 4, "by SMI"},
    {F_BLOCKING, 2, "an NMI behind MOV SS", 0, F_INTR, NMI},
    {F_PENDING, BIT(14), "a step behind MOV SS without TF", 0, F_BLOCKING, 2},
    {F_RFLAGS, 0x102, "none with it", 0, F_BLOCKING, 2},
    {F_PENDING, BIT(4), "a breakpoint that there is not"},
    {F_PENDING, BIT(4), "or behind MOV SS", 0, F_BLOCKING, 2},
    {F_ACTIVITY, 2, "an activity state that is not offered"},
    {F_ACTIVITY, 1, "HLT behind MOV SS", 0, F_BLOCKING, 2},
    {F_ACTIVITY, 1, "HLT and #UD", 0, F_INTR, EVENT(3, UD)},
    {F_RFLAGS, 0, "RFLAGS, which the CPU sees"},
    {F_CS_AR, 0x93, "CS of data"},
    {F_SS_SEL, 19, "SS with another RPL than CS"},
    {F_SS_AR, 0xc0f3, "SS of another DPL"},
    {F_DS_SEL, 19, "DS with more RPL than DPL"},
    {F_TR_AR, 0x82, "TR of no TSS"},
    {F_LINK, 0, "a link pointer", 4},
    {F_BLOCKING, 1, "an NMI behind STI", 3, F_INTR, NMI},
};

/* A nested guest with PAE, whose four entries are here */
static bool pae_setup(void)
{
	memset(vmx_guest.mem + IO_A, 0, PAGE);
	QUAD(IO_A) = (TABLES + 0x2000) | 1;
	return SETUP(VMCALL_INSN) && vmx_set(F_ENTRY, 0x11fb) && vmx_set(F_CS_AR, 0xc09b) &&
	       vmx_set(F_CR3, IO_A);
}

void vmx_check_guest_state(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		const struct wrong *w = &wrong[i];
		bool good = SETUP(VMCALL_INSN) && vmx_set(w->field, w->val);

		if (w->more)
			good &= vmx_set(w->more, w->more_val);
		if (w->qual == 3)
			good &= vmx_set(F_RFLAGS, 0x202);
		report(good && vmx_exits(VMLAUNCH, BIT(31) | 33) && vmx_field(F_QUAL) == w->qual &&
			   vmx_run(VMRESUME, 0, 0) == FAILED,
		       "guest state: %s", w->what);
	}
	report(SETUP(VMCALL_INSN) && vmx_set(F_LINK, 0) && vmx_exits(VMLAUNCH, BIT(31) | 33) &&
		   vmx_set(F_LINK, ~0ull) && vmx_exits(VMLAUNCH, 18),
	       "it can be launched when it is right");
	report(SETUP(VMCALL_INSN) && vmx_set(F_ENTRY, LOADS_DEBUG) && vmx_set(F_DEBUGCTL, 3) &&
		   vmx_exits(VMLAUNCH, 18),
	       "LBR and BTF are taken");
	report(pae_setup() && vmx_exits(VMLAUNCH, 18), "a nested guest with PAE runs");
	QUAD(IO_A + 24) = 1 | BIT(5);
	report(vmx_exits(VMRESUME, BIT(31) | 33) && vmx_field(F_QUAL) == 2,
	       "but not with a reserved bit in one of its four entries");
	QUAD(IO_A + 24) = BIT(5);
	report(vmx_exits(VMRESUME, 18), "unless that is not present");
}
