/* SPDX-License-Identifier: GPL-2.0-only */
/* What guests are offered of VMX, and what their VMCSs must be: functions of the VMCS alone. */
#include "hv/vmx/nested_rules.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/hvm.h"
#include "hv/lib/x86.h"

/* ---- the offer; SDM "VMX Capability Reporting Facility" ---- */

enum { W_PIN, W_PROC, W_EXIT, W_ENTRY, W_PROC2, W_NR };

/* default: what must be one without the TRUE MSRs, and of that what with them */
static struct {
	u32 offered, fixed, fixed_true, field;
} words[W_NR] = {
    [W_PIN] = {PIN_EXT_INTR | PIN_NMI | PIN_VNMI, 0x16, 0x16, VMCS_PIN_CONTROLS},
    [W_PROC] = {PROC_INTR_WINDOW | PROC_TSC_OFFSET | PROC_HLT | PROC_INVLPG | PROC_MWAIT |
		    PROC_RDPMC | PROC_RDTSC | PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD |
		    PROC_CR8_STORE | PROC_NMI_WINDOW | PROC_MOV_DR | PROC_ALL_IO | PROC_IO_BITMAPS |
		    PROC_MSR_BITMAP | PROC_MONITOR | PROC_PAUSE | PROC_SECONDARY,
		0x401e172, 0x4006172, VMCS_PROC_CONTROLS},
    [W_EXIT] = {EXIT_SAVE_DEBUG | EXIT_HOST_64 | EXIT_ACK_INTR | EXIT_SAVE_PAT | EXIT_LOAD_PAT |
		    EXIT_SAVE_EFER | EXIT_LOAD_EFER,
		0x36dff, 0x36dfb, VMCS_EXIT_CONTROLS},
    [W_ENTRY] = {ENTRY_LOAD_DEBUG | ENTRY_GUEST_64 | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, 0x11ff,
		 0x11fb, VMCS_ENTRY_CONTROLS},
    [W_PROC2] = {PROC2_EPT | PROC2_TABLES | PROC2_RDTSCP | PROC2_VPID | PROC2_WBINVD |
		     PROC2_UNRESTRICTED | PROC2_INVPCID | PROC2_RDRAND | PROC2_RDSEED,
		 0, 0, VMCS_PROC2_CONTROLS},
};
static u64 basic, misc;

/* Secondary controls by which something exits */
#define PROC2_EXITS (PROC2_TABLES | PROC2_WBINVD | PROC2_RDRAND | PROC2_RDSEED)

/* Places of their MSRs, from VMX_BASIC on */
#define CAP_MISC  5
#define CAP_PROC2 11
#define CAP_TRUE  13 /* of W_PIN; the next follow */

#define REGION_BYTES	 ((u64)PAGE_SIZE << 32)
#define MEMORY_WB	 (6ull << 50)
#define MISC_STORES_LMA	 BIT(5)
#define MISC_HLT	 BIT(6)	 /* an entry to HLT, which needs nothing of the CPU here */
#define MISC_NO_INSN_LEN BIT(30) /* an injected event of software may have none */
#define CR0_FIXED	 (CR0_PE | CR0_NE | CR0_PG)
#define NESTED_EPT                                                                                 \
	(EPT_WALK_4 | EPT_WB | EPT_2M | EPT_1G | EPT_INVEPT | EPT_INVEPT_ONE | EPT_INVEPT_ALL |    \
	 EPT_INVVPID | EPT_INVVPID_TYPES)

void nested_rules_setup(const struct vmx_msrs *m, const struct vmx_controls *ctl)
{
	/* what goes into the hardware's controls; the others are done here alone */
	words[W_PROC].offered &= m->proc >> 32;
	words[W_PROC2].offered &= m->proc2 >> 32;
	words[W_PROC2].offered &= ctl->proc2 | PROC2_VPID | PROC2_EXITS;
	basic =
	    VMCS12_REVISION | REGION_BYTES | MEMORY_WB | BASIC_TRUE | (m->basic & BASIC_INS_OUTS);
	misc = MISC_STORES_LMA | MISC_HLT | (m->misc & MISC_NO_INSN_LEN);
	vmcs12_setup();
}

static u64 cap_of(u32 word, u32 fixed)
{
	return fixed | (u64)(words[word].offered | words[word].fixed) << 32;
}

int nested_cap(u32 msr, u64 cr4, u64 *val)
{
	u32 n = msr - MSR_VMX_BASIC;

	switch (n) {
	case 0:
		*val = basic;
		return 0;
	case 1 ... 4:
		*val = cap_of(n - 1, words[n - 1].fixed);
		return 0;
	case 5:
		*val = misc;
		return 0;
	case 6:
		*val = CR0_FIXED;
		return 0;
	case 7: /* CR0 may have all, CR4 what the guest has */
		*val = GENMASK(31, 0);
		return 0;
	case 8:
		*val = CR4_VMXE;
		return 0;
	case 9:
		*val = cr4;
		return 0;
	case 10:
		*val = VMCS12_MAX_INDEX << 1;
		return 0;
	case 11:
		*val = cap_of(W_PROC2, 0);
		return 0;
	case 12:
		*val = NESTED_EPT;
		return 0;
	case 13 ... 16:
		*val = cap_of(n - 13, words[n - 13].fixed_true);
		return 0;
	}
	return -EINVAL;
}

/* Bits of the n-th that a VMM may hide; of controls those that may be one. */
static u64 bits_to_hide(u32 n)
{
	switch (n) {
	case 0:
		return BASIC_INS_OUTS;
	case CAP_MISC:
		return MISC_STORES_LMA | MISC_HLT | MISC_NO_INSN_LEN;
	case CAP_PROC2:
	case CAP_TRUE ... CAP_TRUE + W_ENTRY:
		return GENMASK(63, 32);
	case 12:
		return ~0ull;
	}
	return 0;
}

int nested_hide(u32 msr, u64 cr4, u64 val, u64 *hidden)
{
	u64 is, must = 0;
	u32 n = msr - MSR_VMX_BASIC;

	if (nested_cap(msr, cr4, &is))
		return -ENOENT;
	if (n >= CAP_TRUE)
		must = (u64)(u32)is << 32;
	if (msr != MSR_VMX_VMCS_ENUM && (val & ~is || is & ~val & ~bits_to_hide(n) || must & ~val))
		return -EINVAL;
	*hidden = is & ~val & bits_to_hide(n);
	return 0;
}

/* ---- controls ---- */

#define ERROR_CONTROLS 7
#define ERROR_HOST     8
#define AREA_ENTRY     16u
#define AREA_MOST      512u /* as VMX_MISC has it */

static u32 pin_of(const struct vmcs12 *m)
{
	return vmcs12_get(m, VMCS_PIN_CONTROLS);
}

static u32 proc_of(const struct vmcs12 *m)
{
	return vmcs12_get(m, VMCS_PROC_CONTROLS);
}

u32 vmcs12_its_proc2(const struct vmcs12 *m)
{
	return proc_of(m) & PROC_SECONDARY ? vmcs12_get(m, VMCS_PROC2_CONTROLS) : 0;
}

static bool controls_fit(const struct vmcs12 *m, const struct nested_limits *l)
{
	for (u32 i = 0; i < W_NR; i++) {
		u32 val = i == W_PROC2 ? vmcs12_its_proc2(m) : vmcs12_get(m, words[i].field);
		u32 may = words[i].offered | words[i].fixed;

		may &= ~(l->hidden[i == W_PROC2 ? CAP_PROC2 : CAP_TRUE + i] >> 32);
		if (i == W_PROC2)
			may &= ~l->denied;
		if (~val & words[i].fixed_true || val & ~may)
			return false;
	}
	return true;
}

static bool page_valid(const struct vmcs12 *m, u32 field, u64 addr_bits)
{
	return !(vmcs12_get(m, field) & ~(addr_bits & PAGE_MASK));
}

static bool area_valid(const struct vmcs12 *m, u32 count_field, u32 field, u64 addr_bits)
{
	u32 count = vmcs12_get(m, count_field);
	u64 at = vmcs12_get(m, field);

	return !count || (count <= AREA_MOST && !(at % AREA_ENTRY) && at <= addr_bits &&
			  at + count * AREA_ENTRY - 1 <= addr_bits);
}

bool vmcs12_eptp_valid(u64 eptp, u64 addr_bits)
{
	return !(eptp & ~(addr_bits & PAGE_MASK) & ~0xfffull) && (eptp & 0xfff) == EPTP_WB_WALK_4;
}

/* SDM "VM-Entry Control Fields" */
static bool event_valid(const struct vmcs12 *m)
{
	u32 info = vmcs12_get(m, VMCS_ENTRY_INTR_INFO), type = FIELD_GET(EVT_TYPE, info);
	u32 vector = info & EVT_VECTOR, len = vmcs12_get(m, VMCS_ENTRY_INSN_LEN);
	bool error = type == HVM_INJ_EXCEPTION && EXC_HAS_ERROR & BIT(vector % 32) &&
		     (vmcs12_get(m, VMCS_GUEST_CR0) & CR0_PE);

	if (!(info & EVT_VALID))
		return true;
	if (info & GENMASK(30, 12) || type == 1 || type == 7)
		return false;
	if ((type == HVM_INJ_NMI && vector != VEC_NMI) ||
	    (type == HVM_INJ_EXCEPTION && vector > 31) || error != !!(info & EVT_HAS_ERROR))
		return false;
	if (error && vmcs12_get(m, VMCS_ENTRY_ERROR) & ~GENMASK(15, 0))
		return false;
	return type < EVT_SOFTWARE || (len <= 15 && (len || misc & MISC_NO_INSN_LEN));
}

static bool controls_valid(const struct vmcs12 *m, const struct nested_limits *l)
{
	u32 pin = pin_of(m), proc = proc_of(m), proc2 = vmcs12_its_proc2(m);

	if (!controls_fit(m, l) || vmcs12_get(m, VMCS_CR3_TARGETS) || !event_valid(m))
		return false;
	if ((pin & PIN_VNMI && !(pin & PIN_NMI)) || (proc & PROC_NMI_WINDOW && !(pin & PIN_VNMI)))
		return false;
	if (proc & PROC_IO_BITMAPS && (!page_valid(m, VMCS_IO_BITMAP_A, l->addr_bits) ||
				       !page_valid(m, VMCS_IO_BITMAP_B, l->addr_bits)))
		return false;
	if (proc & PROC_MSR_BITMAP && !page_valid(m, VMCS_MSR_BITMAP, l->addr_bits))
		return false;
	if (proc2 & PROC2_VPID && !vmcs12_get(m, VMCS_VPID))
		return false;
	if (proc2 & PROC2_EPT && !vmcs12_eptp_valid(vmcs12_get(m, VMCS_EPTP), l->addr_bits))
		return false;
	if (proc2 & PROC2_UNRESTRICTED && !(proc2 & PROC2_EPT))
		return false;
	return area_valid(m, VMCS_EXIT_MSR_STORES, VMCS_EXIT_MSR_STORE, l->addr_bits) &&
	       area_valid(m, VMCS_EXIT_MSR_LOADS, VMCS_EXIT_MSR_LOAD, l->addr_bits) &&
	       area_valid(m, VMCS_ENTRY_MSR_LOADS, VMCS_ENTRY_MSR_LOAD, l->addr_bits);
}

/* ---- host state ---- */

static bool cr4_valid(u64 cr4, const struct nested_limits *l)
{
	return !(cr4 & ~l->cr4) && cr4 & CR4_VMXE;
}

static bool host_segments_valid(const struct vmcs12 *m, bool is_long)
{
	static const u16 bases[] = {
	    VMCS_HOST_FS_BASE,	 VMCS_HOST_GS_BASE,	 VMCS_HOST_TR_BASE,	VMCS_HOST_GDTR_BASE,
	    VMCS_HOST_IDTR_BASE, VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP};

	for (u32 f = VMCS_HOST_ES_SEL; f <= VMCS_HOST_TR_SEL; f += 2)
		if (vmcs12_get(m, f) & 7)
			return false;
	for (u32 i = 0; i < ARRAY_SIZE(bases); i++)
		if (!is_canonical(vmcs12_get(m, bases[i])))
			return false;
	return vmcs12_get(m, VMCS_HOST_CS_SEL) && vmcs12_get(m, VMCS_HOST_TR_SEL) &&
	       (is_long || vmcs12_get(m, VMCS_HOST_SS_SEL));
}

static bool host_valid(const struct vmcs12 *m, const struct nested_limits *l)
{
	u32 exit = vmcs12_get(m, VMCS_EXIT_CONTROLS), entry = vmcs12_get(m, VMCS_ENTRY_CONTROLS);
	u64 cr0 = vmcs12_get(m, VMCS_HOST_CR0), cr4 = vmcs12_get(m, VMCS_HOST_CR4);
	u64 efer = vmcs12_get(m, VMCS_HOST_EFER), rip = vmcs12_get(m, VMCS_HOST_RIP);
	bool is_long = exit & EXIT_HOST_64;

	if (~cr0 & CR0_FIXED || cr0 >> 32 || !cr4_valid(cr4, l) ||
	    vmcs12_get(m, VMCS_HOST_CR3) & ~l->addr_bits || !host_segments_valid(m, is_long))
		return false;
	if (exit & EXIT_LOAD_PAT && !pat_valid(vmcs12_get(m, VMCS_HOST_PAT)))
		return false;
	if (exit & EXIT_LOAD_EFER &&
	    (efer & ~l->efer || !(efer & EFER_LMA) == is_long || !(efer & EFER_LME) == is_long))
		return false;
	if (is_long != l->mode)
		return false;
	if (is_long)
		return cr4 & CR4_PAE && is_canonical(rip);
	return !(entry & ENTRY_GUEST_64) && !(cr4 & CR4_PCIDE) && !(rip >> 32);
}

u32 vmcs12_refused(const struct vmcs12 *m, const struct nested_limits *l)
{
	if (!controls_valid(m, l))
		return ERROR_CONTROLS;
	return host_valid(m, l) ? 0 : ERROR_HOST;
}

/* ---- guest state ---- */

/* Exit qualifications; SDM "VM-Entry Failures During or After Loading Guest State" */
#define QUAL_NMI_BEHIND_STI 3
#define QUAL_LINK_POINTER   4
/* What each CPU with VMX has of DEBUGCTL: taken, and not done, as by WRMSR */
#define DEBUGCTL_LBR BIT(0)
#define DEBUGCTL_BTF BIT(1)

u64 vmcs12_fixed_cr0(const struct vmcs12 *m)
{
	return vmcs12_its_proc2(m) & PROC2_UNRESTRICTED ? CR0_NE : CR0_FIXED;
}

static bool guest_msrs_valid(const struct vmcs12 *m, const struct nested_limits *l)
{
	u32 entry = vmcs12_get(m, VMCS_ENTRY_CONTROLS);
	u64 cr0 = vmcs12_get(m, VMCS_GUEST_CR0), efer = vmcs12_get(m, VMCS_GUEST_EFER);
	bool is_long = entry & ENTRY_GUEST_64;

	if (entry & ENTRY_LOAD_DEBUG &&
	    (vmcs12_get(m, VMCS_GUEST_DEBUGCTL) & ~(DEBUGCTL_LBR | DEBUGCTL_BTF) ||
	     vmcs12_get(m, VMCS_GUEST_DR7) >> 32))
		return false;
	if (entry & ENTRY_LOAD_PAT && !pat_valid(vmcs12_get(m, VMCS_GUEST_PAT)))
		return false;
	if (!(entry & ENTRY_LOAD_EFER))
		return true;
	return !(efer & ~l->efer) && !(efer & EFER_LMA) == !is_long &&
	       (!(cr0 & CR0_PG) || !(efer & EFER_LME) == !is_long);
}

/* SDM "Checks on Guest Non-Register State" */
static int activity_refused(const struct vmcs12 *m)
{
	u32 state = vmcs12_get(m, VMCS_INTERRUPTIBILITY),
	    shadow = state & (SHADOW_STI | SHADOW_MOV_SS), activity = vmcs12_get(m, VMCS_ACTIVITY),
	    info = vmcs12_get(m, VMCS_ENTRY_INTR_INFO), type = FIELD_GET(EVT_TYPE, info),
	    vector = info & EVT_VECTOR;
	u64 flags = vmcs12_get(m, VMCS_GUEST_RFLAGS);
	bool open = flags & RFLAGS_IF, waits = vmcs12_get(m, VMCS_PENDING_DEBUG) & DR6_BS;
	bool steps = flags & RFLAGS_TF && !(vmcs12_get(m, VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF);

	if (state & ~(SHADOW_STI | SHADOW_MOV_SS | BLOCKED_NMI) ||
	    shadow == (SHADOW_STI | SHADOW_MOV_SS) || (shadow & SHADOW_STI && !open))
		return 0;
	if (activity > 1 || (activity && (shadow || vmcs12_get(m, VMCS_GUEST_SS_AR) & AR_DPL)))
		return 0;
	/* the CPU does not see the guest's own: vmx_write_blocking() */
	if ((shadow || activity) && waits != steps)
		return 0;
	if (!(info & EVT_VALID))
		return -1;
	if (type == HVM_INJ_IRQ)
		return open && !shadow ? -1 : 0;
	if (type == HVM_INJ_NMI && shadow == SHADOW_STI)
		return QUAL_NMI_BEHIND_STI;
	if (type == HVM_INJ_NMI)
		return shadow || (state & BLOCKED_NMI && pin_of(m) & PIN_VNMI) ? 0 : -1;
	if (activity && !(type == HVM_INJ_EXCEPTION && (vector == VEC_DB || vector == VEC_MC)))
		return 0;
	return -1;
}

int vmcs12_guest_refused(const struct vmcs12 *m, const struct nested_limits *l)
{
	u64 cr0 = vmcs12_get(m, VMCS_GUEST_CR0), cr4 = vmcs12_get(m, VMCS_GUEST_CR4);

	if (~cr0 & vmcs12_fixed_cr0(m) || cr0 >> 32 || (cr0 & (CR0_PE | CR0_PG)) == CR0_PG ||
	    !cr4_valid(cr4, l) || !guest_msrs_valid(m, l))
		return 0;
	if (vmcs12_get(m, VMCS_ENTRY_CONTROLS) & ENTRY_GUEST_64 && !(cr0 & CR0_PG && cr4 & CR4_PAE))
		return 0;
	/* there is no VMCS shadowing */
	return ~vmcs12_get(m, VMCS_LINK_POINTER) ? QUAL_LINK_POINTER : activity_refused(m);
}

bool vmcs12_loads_pdptes(const struct vmcs12 *m)
{
	return vmcs12_get(m, VMCS_GUEST_CR0) & CR0_PG && vmcs12_get(m, VMCS_GUEST_CR4) & CR4_PAE &&
	       !(vmcs12_get(m, VMCS_ENTRY_CONTROLS) & ENTRY_GUEST_64) &&
	       !(vmcs12_its_proc2(m) & PROC2_EPT);
}

bool vmcs12_pdptes_valid(const u64 *pdptes, u64 addr_bits)
{
	for (u32 i = 0; i < 4; i++)
		if (pdptes[i] & PDPTE_P && pdptes[i] & (PDPTE_RESERVED | ~addr_bits))
			return false;
	return true;
}

/* ---- whose an exit is ---- */

#define PROC_EXITS                                                                                 \
	(PROC_INTR_WINDOW | PROC_HLT | PROC_INVLPG | PROC_MWAIT | PROC_RDPMC | PROC_RDTSC |        \
	 PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD | PROC_CR8_STORE | PROC_NMI_WINDOW |       \
	 PROC_MOV_DR | PROC_MONITOR | PROC_PAUSE)
/* What it has only if both say so; by the last the CPU's checks are those that the guest expects */
#define PROC2_RIGHTS (PROC2_RDTSCP | PROC2_INVPCID | PROC2_XSAVES | PROC2_UNRESTRICTED)

u32 vmcs12_proc(const struct vmcs12 *m, u32 ours)
{
	return ours | (proc_of(m) & PROC_EXITS);
}

u32 vmcs12_proc2(const struct vmcs12 *m, u32 ours)
{
	u32 its = vmcs12_its_proc2(m);

	return (ours & ~(PROC2_RIGHTS | PROC2_DIRECT)) | (its & PROC2_EXITS) |
	       (ours & its & PROC2_RIGHTS);
}

/* Exits by a control: of the primary ones or, in the other table, of the secondary ones */
static const u32 by_proc[] = {
    [EXIT_INTR_WINDOW] = PROC_INTR_WINDOW,
    [EXIT_NMI_WINDOW] = PROC_NMI_WINDOW,
    [EXIT_HLT] = PROC_HLT,
    [EXIT_INVLPG] = PROC_INVLPG,
    [EXIT_RDPMC] = PROC_RDPMC,
    [EXIT_RDTSC] = PROC_RDTSC,
    [EXIT_DR] = PROC_MOV_DR,
    [EXIT_MWAIT] = PROC_MWAIT,
    [EXIT_MONITOR] = PROC_MONITOR,
    [EXIT_PAUSE] = PROC_PAUSE,
    [EXIT_RDTSCP] = PROC_RDTSC,
    [EXIT_INVPCID] = PROC_INVLPG,
};
static const u32 by_proc2[] = {
    [EXIT_GDTR_IDTR] = PROC2_TABLES, [EXIT_LDTR_TR] = PROC2_TABLES, [EXIT_WBINVD] = PROC2_WBINVD,
    [EXIT_RDRAND] = PROC2_RDRAND,    [EXIT_RDSEED] = PROC2_RDSEED,
};

/* The hypervisor's own, or the machine's */
#define OUR_EXITS                                                                                  \
	(BIT(EXIT_EXT_INTR) | BIT(EXIT_INIT) | BIT(EXIT_IO_SMI) | BIT(EXIT_SMI) |                  \
	 BIT(EXIT_ENTRY_MC) | BIT(EXIT_TPR) | BIT(EXIT_EOI) | BIT(EXIT_EPT_VIOLATION) |            \
	 BIT(EXIT_EPT_MISCONFIG) | BIT(EXIT_TIMER) | BIT(EXIT_APIC_WRITE) | BIT(EXIT_ENCLS))

bool vmcs12_wants_exception(const struct vmcs12 *m, u8 vector, u32 error)
{
	bool wants = vmcs12_get(m, VMCS_EXCEPTIONS) & BIT(vector % 32);

	if (vector != VEC_PF)
		return wants;
	return ((error & vmcs12_get(m, VMCS_PF_ERROR_MASK)) ==
		vmcs12_get(m, VMCS_PF_ERROR_MATCH)) == wants;
}

/* CLTS, and LMSW, which can set PE but not clear it; SDM "Instructions That Cause VM Exits
 * Conditionally". */
static bool wants_cr_access(const struct vmcs12 *m, u64 qual, u64 operand)
{
	u32 cr = FIELD_GET(QUAL_CR_NR, qual), type = FIELD_GET(QUAL_CR_TYPE, qual);
	u32 proc = proc_of(m);
	u64 mask = vmcs12_get(m, VMCS_CR0_MASK), shadow = vmcs12_get(m, VMCS_CR0_SHADOW);

	if (cr == 3)
		return proc & (type == QUAL_CR_READ ? PROC_CR3_STORE : PROC_CR3_LOAD);
	if (cr == 8)
		return proc & (type == QUAL_CR_READ ? PROC_CR8_STORE : PROC_CR8_LOAD);
	if (type == 2)
		return mask & shadow & CR0_TS;
	if (type == 3) {
		operand = FIELD_GET(QUAL_CR_LMSW, qual);
		mask &= CR0_MP | CR0_EM | CR0_TS | (~shadow & operand & CR0_PE);
	}
	if (cr == 4) {
		mask = vmcs12_get(m, VMCS_CR4_MASK);
		shadow = vmcs12_get(m, VMCS_CR4_SHADOW);
	}
	return (operand ^ shadow) & mask;
}

enum nested_owner vmcs12_owner(const struct vmcs12 *m, u32 reason, u64 qual, u64 operand, u32 info)
{
	u32 proc = proc_of(m), type = FIELD_GET(EVT_TYPE, info);
	bool wants = true;

	if (reason == EXIT_EXCEPTION_NMI) /* a page fault exits for nobody else */
		wants = type != HVM_INJ_NMI && (info & EVT_VECTOR) != VEC_MC &&
			((info & EVT_VECTOR) == VEC_PF ||
			 vmcs12_wants_exception(m, info & EVT_VECTOR, 0));
	else if (reason >= 64 || OUR_EXITS & BIT(reason))
		wants = false;
	else if (reason == EXIT_CR)
		wants = wants_cr_access(m, qual, operand);
	else if (reason == EXIT_IO && proc & PROC_IO_BITMAPS)
		return NESTED_BY_MAP;
	else if (reason == EXIT_IO)
		wants = proc & PROC_ALL_IO;
	else if ((reason == EXIT_RDMSR || reason == EXIT_WRMSR) && proc & PROC_MSR_BITMAP)
		return NESTED_BY_MAP;
	else if (reason < ARRAY_SIZE(by_proc) && by_proc[reason])
		wants = proc & by_proc[reason];
	else if (reason < ARRAY_SIZE(by_proc2) && by_proc2[reason])
		wants = vmcs12_its_proc2(m) & by_proc2[reason];
	return wants ? NESTED_GUESTS : NESTED_OURS;
}

int vmcs12_msr_byte(u32 msr, bool write, u8 *mask)
{
	u32 at = msr % HVM_MSR_RANGE / 8 + write * MSR_MAP_WRITES;

	if (msr % HVM_MSR_HIGH >= HVM_MSR_RANGE)
		return -EINVAL;
	if (msr >= HVM_MSR_HIGH)
		at += HVM_MSR_RANGE / 8;
	*mask = BIT(msr % 8);
	return at;
}

/* ---- EPT; SDM "EPT Misconfigurations" ---- */

#define EPTE_R	    BIT(0)
#define EPTE_W	    BIT(1)
#define EPTE_X	    BIT(2)
#define EPTE_LARGE  BIT(7)
#define EPTE_MEMORY GENMASK(5, 3)
#define AS_PTE	    (BIT(0) | BIT(2) | BIT(5) | BIT(6)) /* P, U, A, D */
#define AS_PTE_W    BIT(1)
#define AS_PTE_NX   BIT(63)

u64 vmcs12_ept_as_pte(u64 e, u32 level, bool *bad)
{
	bool large = level > 1 && e & EPTE_LARGE, leaf = large || level == 1;
	u64 pte = (e & GENMASK(51, 12)) | AS_PTE;

	*bad = false;
	if (!(e & (EPTE_R | EPTE_W | EPTE_X)))
		return 0;
	*bad = !(e & EPTE_R) || (large && (level > 3 || e & BIT(12)));
	if (leaf) /* memory types 2, 3 and 7 are none */
		*bad |= BIT(FIELD_GET(EPTE_MEMORY, e)) & (BIT(2) | BIT(3) | BIT(7));
	else
		*bad |= e & GENMASK(6, 3);
	if (large)
		pte |= EPTE_LARGE; /* the same bit */
	if (e & EPTE_W)
		pte |= AS_PTE_W;
	if (!(e & EPTE_X))
		pte |= AS_PTE_NX;
	return pte;
}
