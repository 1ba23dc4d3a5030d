/* SPDX-License-Identifier: GPL-2.0-only */
/* Raw SVM exits to the neutral struct vm_exit: a pure function of the VMCB. */
#include "hv/svm/decode.h"
#include "hv/emul/task.h"

/* VMEXIT_INTR is 0 as what is not listed; svm_decode_other() knows it. */
_Static_assert(!VMEXIT_INTR, "no other reason is lost in it");
const struct svm_simple_exit svm_simple_exits[SVM_SIMPLE_EXITS] = {
    [SVM_EXIT_NMI] = {VMEXIT_NMI},
    [SVM_EXIT_SMI] = {VMEXIT_IRQ_WINDOW}, /* STGI has let it in */
    [SVM_EXIT_INIT] = {VMEXIT_INIT},
    [SVM_EXIT_VINTR] = {VMEXIT_IRQ_WINDOW},
    [SVM_EXIT_IRET] = {VMEXIT_NMI_WINDOW},
    [SVM_EXIT_RDPMC] = {VMEXIT_RDPMC, 2},
    [SVM_EXIT_CPUID] = {VMEXIT_CPUID, 2},
    [SVM_EXIT_INVD] = {VMEXIT_WBINVD, 2},
    [SVM_EXIT_PAUSE] = {VMEXIT_PAUSE, 2},
    [SVM_EXIT_HLT] = {VMEXIT_HLT, 1},
    [SVM_EXIT_INVLPGA] = {VMEXIT_VMX_SVM_INSN, 3},
    [SVM_EXIT_SHUTDOWN] = {VMEXIT_SHUTDOWN},
    [SVM_EXIT_VMRUN] = {VMEXIT_VMX_SVM_INSN, 3},
    [SVM_EXIT_VMMCALL] = {VMEXIT_HYPERCALL, 3},
    [SVM_EXIT_VMLOAD... SVM_EXIT_SKINIT] = {VMEXIT_VMX_SVM_INSN, 3}, /* VMSAVE, STGI, CLGI, too */
    [SVM_EXIT_WBINVD] = {VMEXIT_WBINVD, 2},
    [SVM_EXIT_RDTSCP] = {VMEXIT_UNDEFINED, 3},
    [SVM_EXIT_MONITOR... SVM_EXIT_MWAIT_ARMED] = {VMEXIT_MWAIT, 3},
    [SVM_EXIT_RDPRU] = {VMEXIT_UNDEFINED, 3},
    [SVM_EXIT_INVPCID] = {VMEXIT_UNDEFINED},
    [SVM_EXIT_XSETBV] = {VMEXIT_XSETBV, 3},
};

static void decode_io(const struct vmcb *vmcb, struct vm_exit *x)
{
	u64 i = vmcb->exitinfo1;

	x->reason = VMEXIT_IO;
	x->insn_len = vmcb->exitinfo2 - vmcb->rip;
	x->io.port = FIELD_GET(SVM_IO_PORT, i);
	x->io.size = FIELD_GET(SVM_IO_SIZE, i);
	x->io.in = i & SVM_IO_IN;
	x->io.string = i & SVM_IO_STR;
	x->io.rep = i & SVM_IO_REP;
}

static void decode_exception(const struct vmcb *vmcb, u32 code, struct vm_exit *x)
{
	x->reason = VMEXIT_EXCEPTION;
	x->exc.vector = code - SVM_EXIT_EXCEPTION;
	x->exc.error = vmcb->exitinfo1;
	x->exc.has_error = BIT(x->exc.vector) & EXC_HAS_ERROR;
	x->exc.behind = false;
}

static void decode_task_switch(const struct vmcb *vmcb, struct vm_exit *x)
{
	x->reason = VMEXIT_TASK_SWITCH;
	x->task.selector = vmcb->exitinfo1;
	x->task.event = vmcb->exitintinfo;
	x->task.source = TASK_CALL;
	if (vmcb->exitinfo2 & SVM_TASK_IRET)
		x->task.source = TASK_IRET;
	else if (vmcb->exitinfo2 & SVM_TASK_JMP)
		x->task.source = TASK_JMP;
	else if (x->task.event & EVT_VALID)
		x->task.source = TASK_GATE;
}

void svm_decode_other(const struct vmcb *vmcb, u32 code, struct vm_exit *x)
{
	u64 i = vmcb->exitinfo1;

	x->insn_len = 0;
	if (code == SVM_EXIT_NPF) {
		x->reason = VMEXIT_P2M_FAULT;
		x->p2m.gpa = vmcb->exitinfo2;
		x->p2m.write = i & SVM_NPF_W;
		x->p2m.exec = i & SVM_NPF_ID;
		x->p2m.during_walk = i & SVM_NPF_TABLE;
	} else if (code == SVM_EXIT_IOIO) {
		decode_io(vmcb, x);
	} else if (code == SVM_EXIT_TASK_SWITCH) {
		decode_task_switch(vmcb, x);
	} else if (code < SVM_EXIT_DR_READ || code == SVM_EXIT_CR0_SEL) {
		x->reason = VMEXIT_CR_ACCESS;
		x->cr.cr = code == SVM_EXIT_CR0_SEL ? 0 : code & 15;
		x->cr.write = code >= SVM_EXIT_CR_WRITE;
		x->cr.gpr = 0xff;
	} else if (code < SVM_EXIT_EXCEPTION) {
		x->reason = VMEXIT_DR_ACCESS;
		x->cr.cr = code & 15;
		x->cr.write = code >= SVM_EXIT_DR_WRITE;
		x->cr.gpr = 0xff;
	} else if (code < SVM_EXIT_INTR) {
		decode_exception(vmcb, code, x);
	} else if (code == SVM_EXIT_INTR) {
		x->reason = VMEXIT_INTR;
	} else if (code == SVM_EXIT_INVALID) {
		x->reason = VMEXIT_ENTRY_FAIL;
	} else {
		x->reason = VMEXIT_OTHER;
	}
}
