; SPDX-License-Identifier: GPL-2.0-only
; Entering a VMX guest.
BITS 64
%include "offsets.inc"

VMCS_HOST_RSP equ 0x6c14

section .text

; u32 vmx_enter(struct vcpu *v, u64 *host_rsp, bool launched)
;   in:  RDI = vCPU (general registers at VCPU_GPR), whose VMCS is current; RSI = where the value of HOST_RSP in that VMCS
;        is remembered; DL = VMRESUME rather than VMLAUNCH. IF = 0.
;   out: EAX = 0: entered and exited, guest general registers stored but for RSP, which is in the VMCS. 1: refused without
;        an error number (CF), 2: refused with one (ZF); the guest has not run. IF = 0, which VM exits see to.
;   Everything is clobbered but the callee-saved registers; the others are zeroed so that no guest value is left in them.
global vmx_enter, vmx_exit
vmx_enter:
	push rbp
	push rbx
	push r12
	push r13
	push r14
	push r15
	push rdi
	cmp rsp, [rsi]
	je .rsp_known
	mov [rsi], rsp
	mov eax, VMCS_HOST_RSP
	vmwrite rax, rsp
	jc refused
	jz refused
.rsp_known:
	test dl, dl
	mov rax, [rdi + VCPU_GPR + 8 * 0]
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
	jnz .resume
	vmlaunch
	jmp refused
.resume:
	vmresume
refused:				; CF or ZF tell why; guest registers are thrown away
	mov eax, 1
	mov ecx, 2
	cmovz eax, ecx
	pop rdi
	jmp leave_enter
vmx_exit:				; HOST_RIP
	xchg rdi, [rsp]			; vCPU pointer; guest RDI to the stack
	mov [rdi + VCPU_GPR + 8 * 0], rax
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
	xor eax, eax
leave_enter:
	xor ecx, ecx
	xor edx, edx
	xor esi, esi
	xor edi, edi
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
