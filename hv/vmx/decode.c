/* SPDX-License-Identifier: GPL-2.0-only */
/* Raw VMX exits to the neutral struct vm_exit: a pure function of the read-only fields. */
#include "hv/vmx/decode.h"
#include "hv/cpu/cpu.h"

/* 0 is what is not listed, and VMEXIT_INTR, which the first check below picks out. */
_Static_assert(!VMEXIT_INTR, "no other reason is lost in it");
const u8 vmx_plain_exits[EXIT_WRMSR_IMM + 1] = {
    [EXIT_TRIPLE_FAULT] = VMEXIT_SHUTDOWN,
    [EXIT_INIT] = VMEXIT_INIT,
    [EXIT_INTR_WINDOW] = VMEXIT_IRQ_WINDOW,
    [EXIT_NMI_WINDOW] = VMEXIT_NMI_WINDOW,
    [EXIT_CPUID] = VMEXIT_CPUID,
    [EXIT_GETSEC] = VMEXIT_VMX_SVM_INSN,
    [EXIT_HLT] = VMEXIT_HLT,
    [EXIT_INVD] = VMEXIT_WBINVD,
    [EXIT_RDPMC] = VMEXIT_RDPMC,
    [EXIT_VMCALL] = VMEXIT_HYPERCALL,
    [EXIT_VMCLEAR... EXIT_VMXON] = VMEXIT_VMX_SVM_INSN,
    [EXIT_RDMSR] = VMEXIT_MSR_READ,
    [EXIT_WRMSR] = VMEXIT_MSR_WRITE,
    [EXIT_MWAIT] = VMEXIT_MWAIT,
    [EXIT_MONITOR] = VMEXIT_MWAIT,
    [EXIT_PAUSE] = VMEXIT_PAUSE,
    [EXIT_TPR] = VMEXIT_IRQ_WINDOW,
    [EXIT_EOI] = VMEXIT_EOI,
    [EXIT_INVEPT] = VMEXIT_VMX_SVM_INSN,
    [EXIT_INVVPID] = VMEXIT_VMX_SVM_INSN,
    [EXIT_WBINVD] = VMEXIT_WBINVD,
    [EXIT_XSETBV] = VMEXIT_XSETBV,
    [EXIT_APIC_WRITE] = VMEXIT_APIC_WRITE,
    [EXIT_ENCLS] = VMEXIT_VMX_SVM_INSN,
    [EXIT_BUS_LOCK] = VMEXIT_BUS_LOCK,
    [EXIT_RDRAND] = VMEXIT_UNDEFINED,
    [EXIT_RDSEED] = VMEXIT_UNDEFINED,
    [EXIT_ENCLV] = VMEXIT_UNDEFINED,
    [EXIT_SEAMCALL... EXIT_TDCALL] = VMEXIT_UNDEFINED,
    [EXIT_RDMSR_IMM... EXIT_WRMSR_IMM] = VMEXIT_UNDEFINED,
    [EXIT_NOTIFY] = VMEXIT_NOTIFY,
};

static void decode_exception(const struct vmx_raw *r, struct vm_exit *x)
{
	x->reason = VMEXIT_EXCEPTION;
	if (FIELD_GET(EVT_TYPE, r->intr_info) == HVM_INJ_NMI)
		x->reason = VMEXIT_NMI;
	x->exc.behind = FIELD_GET(EVT_TYPE, r->intr_info) == INTR_TYPE_INT1;
	x->exc.vector = r->intr_info & EVT_VECTOR;
	x->exc.has_error = r->intr_info & EVT_HAS_ERROR;
	x->exc.error = x->exc.has_error ? r->intr_error : 0;
}

static void decode_io(const struct vmx_raw *r, struct vm_exit *x)
{
	x->reason = VMEXIT_IO;
	x->io.port = FIELD_GET(QUAL_IO_PORT, r->qual);
	x->io.size = FIELD_GET(QUAL_IO_SIZE, r->qual) + 1;
	x->io.in = r->qual & QUAL_IO_IN;
	x->io.string = r->qual & QUAL_IO_STRING;
	x->io.rep = r->qual & QUAL_IO_REP;
}

static void decode_cr(const struct vmx_raw *r, struct vm_exit *x)
{
	u32 type = FIELD_GET(QUAL_CR_TYPE, r->qual);

	/* CLTS and LMSW exit only for bits of CR0 that are never the hypervisor's. */
	x->reason = type > QUAL_CR_READ ? VMEXIT_OTHER : VMEXIT_CR_ACCESS;
	x->cr.cr = FIELD_GET(QUAL_CR_NR, r->qual);
	x->cr.write = type != QUAL_CR_READ;
	x->cr.gpr = FIELD_GET(QUAL_CR_GPR, r->qual);
}

static void decode_dr(const struct vmx_raw *r, struct vm_exit *x)
{
	x->reason = VMEXIT_DR_ACCESS;
	x->cr.cr = FIELD_GET(QUAL_DR_NR, r->qual);
	x->cr.write = !(r->qual & QUAL_DR_READ);
	x->cr.gpr = FIELD_GET(QUAL_CR_GPR, r->qual);
}

void vmx_decode_exit(const struct vmx_raw *r, struct vm_exit *x)
{
	u32 basic = (u16)r->reason;

	x->raw = r->reason;
	x->insn_len = r->insn_len;
	if (basic == EXIT_ENTRY_MC) {
		x->reason = VMEXIT_EXCEPTION;
		x->exc.vector = VEC_MC;
	} else if (r->reason & EXIT_ENTRY_FAILED) {
		x->reason = VMEXIT_ENTRY_FAIL;
	} else if (basic == EXIT_EXCEPTION_NMI) {
		decode_exception(r, x);
	} else if (basic == EXIT_IO) {
		decode_io(r, x);
	} else if (basic == EXIT_CR) {
		decode_cr(r, x);
	} else if (basic == EXIT_DR) {
		decode_dr(r, x);
	} else if (basic == EXIT_TASK_SWITCH) {
		x->reason = VMEXIT_TASK_SWITCH;
		x->task.selector = FIELD_GET(QUAL_TASK_TSS, r->qual);
		x->task.source = FIELD_GET(QUAL_TASK_FROM, r->qual);
		x->task.event = r->idt_info;
	} else if (basic == EXIT_EPT_VIOLATION) {
		vmx_decode_ept(r->qual, r->gpa, x);
	} else if (basic == EXIT_EXT_INTR || basic == EXIT_TIMER) { /* hv/vmx/bochs.c */
		x->reason = VMEXIT_INTR;
	} else {
		x->reason = VMEXIT_OTHER;
		if (basic < ARRAY_SIZE(vmx_plain_exits) && vmx_plain_exits[basic])
			x->reason = vmx_plain_exits[basic];
		x->apic = r->qual;
		if (basic == EXIT_NOTIFY && r->qual & QUAL_STATE_LOST)
			x->reason = VMEXIT_OTHER; /* nobody could go on */
	}
}
