; SPDX-License-Identifier: GPL-2.0-only
; Exceptions and interrupts while the hypervisor runs. GS always points at this CPU's struct cpu.

%include "offsets.inc"

VECTORS		equ 256
EXCEPTIONS	equ 32
; Exceptions that push an error code: #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX
HAS_ERROR	equ (1 << 8) | (0x1f << 10) | (1 << 17) | (1 << 21) | (1 << 29) | (1 << 30)
GATE_SIZE	equ 16

section .text
bits 64

; One entry for each vector, GATE_SIZE bytes apart: pushes an error code where the CPU did not, and
; the vector.
align GATE_SIZE
global cpu_gates
cpu_gates:
%assign v 0
%rep VECTORS
	align GATE_SIZE
%if v >= EXCEPTIONS || ((HAS_ERROR >> v) & 1) == 0
	push 0
	push strict dword v
	jmp save_all
%else
	push strict dword v
	jmp save_error
%endif
%assign v v + 1
%endrep

; Machine checks and NMIs of CPUs in cpu_rest(). They may share a stack: where each goes back to is
; one of two places, and either will do.
MSR_MCG_STATUS	equ 0x17a
global cpu_rest_on
cpu_rest_on:
	mov ecx, MSR_MCG_STATUS
	xor eax, eax
	xor edx, edx
	wrmsr
	iretq

; As of exceptions with an error code, which an interrupt with such a vector has not: the CPU aligns
; the stack by 16 bytes, pushes five words, and perhaps the code. Here is the vector, too. Goes on
; in save_all.
save_error:
	test spl, 8
	jnz save_all
	push qword [rsp]
	mov qword [rsp + 8], 0

; In: struct regs from vector upwards on the stack, interrupts off. Saves the rest of it; everything
; is restored.
save_all:
	cld
	push rax
	push rcx
	push rdx
	push rbx
	push rbp
	push rsi
	push rdi
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	mov rdi, rsp
	mov rbx, rsp
	and rsp, -16
	push qword [rdi + REGS_RIP]	; backtraces go on with what was interrupted
	push rbp
	mov rbp, rsp
	cmp dword [rdi + REGS_VECTOR], EXCEPTIONS
	jae .interrupt
	extern exception_handle
	call exception_handle		; (struct regs *)
	jmp .out
.interrupt:
	mov edi, [rdi + REGS_VECTOR]
	extern irq_handle
	call irq_handle			; (u8 vector)
.out:
	mov rsp, rbx
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rdi
	pop rsi
	pop rbp
	pop rbx
	pop rdx
	pop rcx
	pop rax
	add rsp, 16			; vector, error
	iretq

; void cpu_call_on_stack(void (*fn)(void), void *top): leave this stack for good and call fn, which
; does not return.
global cpu_call_on_stack
cpu_call_on_stack:
	mov rsp, rsi
	xor ebp, ebp
	extern __x86_indirect_thunk_rdi
	call __x86_indirect_thunk_rdi
	ud2
