; SPDX-License-Identifier: GPL-2.0-only
; Entering a VMX guest.
BITS 64
%include "hv/guest/guest_regs.inc"

VMCS_HOST_RSP equ 0x6c14

section .text

; bool vmx_enter(struct vcpu *v, u64 *host_rsp, bool launched)
;   in:  RDI = vCPU (general registers at VCPU_GPR), whose VMCS is current; RSI = where the value of
;        HOST_RSP in that VMCS is remembered; DL = VMRESUME rather than VMLAUNCH. IF = 0.
;   out: AL = 1: entered and exited, guest general registers stored but for RSP, which is in the
;        VMCS. 0: refused, the guest has not run. IF = 0, which VM exits see to.
;   Everything is clobbered but the callee-saved registers; the others but RDI are zeroed so that no
;   guest value is left in them.
global vmx_enter, vmx_exit
vmx_enter:
	PUSH_CALLEE_SAVED
	push rdi
	cmp rsp, [rsi]
	je .rsp_known
	mov [rsi], rsp
	mov eax, VMCS_HOST_RSP
	vmwrite rax, rsp
	jc refused
	jz refused
.rsp_known:
	SPEC_ENTER rdx
	test dl, dl
	mov rax, [rdi + VCPU_GPR + 8 * 0]
	LOAD_GUEST
	jnz .resume
	vmlaunch
	jmp not_run
.resume:
	vmresume
not_run:				; guest registers are thrown away
	mov rdi, [rsp]
	SPEC_LEAVE
refused:
	pop rdi
	xor eax, eax
	jmp leave_enter
vmx_exit:				; HOST_RIP
	xchg rdi, [rsp]			; vCPU pointer; guest RDI to the stack
	mov [rdi + VCPU_GPR + 8 * 0], rax
	STORE_GUEST
	SPEC_LEAVE
	mov eax, 1
leave_enter:
	xor ecx, ecx
	xor edx, edx
	xor esi, esi
	RETURN
