; SPDX-License-Identifier: GPL-2.0-only
; Entering an SVM guest.
BITS 64
%include "offsets.inc"

section .text

; void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb)
;   in:  RDI = vCPU (general registers at VCPU_GPR), RSI = physical address of its VMCB, RDX = physical address of this
;        CPU's page for VMSAVE of the host's own FS, GS, TR, LDTR and system-call MSRs. IF = 0, GIF = 1.
;   out: guest general registers stored; RAX and RSP of the guest are in the VMCB. IF = 0, GIF = 1.
;   Physical interrupts are open only while the guest runs: IF is set under GIF = 0, and the shadow of STI has passed
;   long before VMRUN. Everything is clobbered but the callee-saved registers; those that the caller does not load at once are
;   zeroed so that no guest value is left in them.
global svm_enter
svm_enter:
	push rbp
	push rbx
	push r12
	push r13
	push r14
	push r15
	push rdx
	push rdi
	clgi
	sti
	mov rax, rsi
	mov rcx, [rdi + VCPU_GPR + 8 * 1]
	mov rdx, [rdi + VCPU_GPR + 8 * 2]
	mov rbx, [rdi + VCPU_GPR + 8 * 3]
	mov rbp, [rdi + VCPU_GPR + 8 * 5]
	mov rsi, [rdi + VCPU_GPR + 8 * 6]
	mov r8,  [rdi + VCPU_GPR + 8 * 8]
	mov r9,  [rdi + VCPU_GPR + 8 * 9]
	mov r10, [rdi + VCPU_GPR + 8 * 10]
	mov r11, [rdi + VCPU_GPR + 8 * 11]
	mov r12, [rdi + VCPU_GPR + 8 * 12]
	mov r13, [rdi + VCPU_GPR + 8 * 13]
	mov r14, [rdi + VCPU_GPR + 8 * 14]
	mov r15, [rdi + VCPU_GPR + 8 * 15]
	mov rdi, [rdi + VCPU_GPR + 8 * 7]
	vmload
	vmrun
	vmsave
	xchg rdi, [rsp]			; vCPU pointer; guest RDI to the stack
	mov [rdi + VCPU_GPR + 8 * 1], rcx
	mov [rdi + VCPU_GPR + 8 * 2], rdx
	mov [rdi + VCPU_GPR + 8 * 3], rbx
	mov [rdi + VCPU_GPR + 8 * 5], rbp
	mov [rdi + VCPU_GPR + 8 * 6], rsi
	mov [rdi + VCPU_GPR + 8 * 8], r8
	mov [rdi + VCPU_GPR + 8 * 9], r9
	mov [rdi + VCPU_GPR + 8 * 10], r10
	mov [rdi + VCPU_GPR + 8 * 11], r11
	mov [rdi + VCPU_GPR + 8 * 12], r12
	mov [rdi + VCPU_GPR + 8 * 13], r13
	mov [rdi + VCPU_GPR + 8 * 14], r14
	mov [rdi + VCPU_GPR + 8 * 15], r15
	pop rcx
	mov [rdi + VCPU_GPR + 8 * 7], rcx
	pop rax				; host's page
	vmload
	cli
	stgi
	xor ecx, ecx
	xor r8d, r8d
	xor r9d, r9d
	xor r10d, r10d
	xor r11d, r11d
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbx
	pop rbp
	ret
