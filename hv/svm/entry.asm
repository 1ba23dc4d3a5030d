; SPDX-License-Identifier: GPL-2.0-only
; Entering an SVM guest.
BITS 64
%include "hv/guest/guest_regs.inc"

section .text

; void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb, u64 int_state)
;   in:  RDI = vCPU (general registers at VCPU_GPR), RSI = physical address of its VMCB, RDX =
;        physical address of this CPU's page for VMSAVE of the host's own FS, GS, TR, LDTR and
;        system-call MSRs, CL bit 0 = the guest is in an interrupt shadow. IF = 0, GIF = 1.
;   out: guest general registers stored; RAX and RSP of the guest are in the VMCB. IF = 0, GIF = 1.
;   Physical interrupts are open only while the guest runs: IF is set under GIF = 0, and the shadow
;   of STI has passed long before VMRUN. Everything is clobbered but the callee-saved registers;
;   those that the caller does not load at once are zeroed so that no guest value is left in them.
global svm_enter
svm_enter:
	PUSH_CALLEE_SAVED
	push rdx
	push rdi
	SPEC_ENTER rcx
	clgi
	sti
	mov rax, rsi
	test cl, 1
	LOAD_GUEST
	vmload
	jz .enter
	sti				; for an emulator (hv/guest/quirks.c); IF is 1 already
.enter:
	vmrun
	vmsave
	xchg rdi, [rsp]			; vCPU pointer; guest RDI to the stack
	STORE_GUEST
	SPEC_LEAVE
	pop rax				; host's page
	vmload
	cli
	stgi
	xor ecx, ecx
	RETURN
