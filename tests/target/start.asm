; SPDX-License-Identifier: GPL-2.0-only
; Entry of the payload, exception entries, the other CPUs' way from real mode, the way to ring 3 and
; back.
%define PERCPU_SIZE 16384	; lib.h
%define STACK_TOP   16384	; the stack is the upper part of a CPU's block
%define GS_BASE	    0xc0000101

bits 64
section .text
extern main, trap, ap_main, percpu_block
global _start, trap_entries, trampoline, trampoline_end
global trampoline_cr3, trampoline_next, user_call, user_return

; As Linux is entered: 64-bit mode, identity-mapped, RSI = boot_params, interrupts off.
_start:
	cld
	lea rsp, [percpu_block + STACK_TOP]
	mov rdi, rsi
	xor ebp, ebp
	call main
	ud2

; One entry a vector, 16 bytes each. The frame is struct frame of lib.h.
align 16
trap_entries:
%assign v 0
%rep 256
	align 16
%if v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21
%else
	push 0
%endif
	push v
	jmp to_trap
%assign v v + 1
%endrep

to_trap:
	push r15
	push r14
	push r13
	push r12
	push r11
	push r10
	push r9
	push r8
	push rbp
	push rdi
	push rsi
	push rdx
	push rcx
	push rbx
	push rax
	cld
	mov rdi, rsp
	call trap
	pop rax
	pop rbx
	pop rcx
	pop rdx
	pop rsi
	pop rdi
	pop rbp
	pop r8
	pop r9
	pop r10
	pop r11
	pop r12
	pop r13
	pop r14
	pop r15
	add rsp, 16
	iretq

; user_call(rdi = function, rsi = its stack): run it in ring 3 until it executes INT 0x80; returns
; its RAX.
user_call:
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [gs:0x20], rsp
	push 0x23		; user data
	push rsi
	pushfq
	push 0x2b		; user code
	push rdi
	iretq
; From the handler of INT 0x80 (rdi = the value): back in user_call()'s caller.
user_return:
	mov rsp, [gs:0x20]
	mov rax, rdi
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

; Copied to a page below 1 MiB; a CPU comes here in real mode, CS = page >> 4, IP = 0.
section .data
align 16
trampoline:
bits 16
	cli
	mov ax, cs
	mov ds, ax
	mov [first_edx - trampoline], edx
	xor ebx, ebx
	mov bx, cs
	shl ebx, 4
	lea eax, [ebx + tramp_gdt - trampoline]
	mov [tramp_gdtr - trampoline + 2], eax
	lea eax, [ebx + tramp_64 - trampoline]
	mov [tramp_far - trampoline], eax
	o32 lgdt [tramp_gdtr - trampoline]
	mov eax, 0x20		; PAE
	mov cr4, eax
	mov eax, [trampoline_cr3 - trampoline]
	mov cr3, eax
	mov ecx, 0xc0000080	; EFER.LME
	xor edx, edx
	mov eax, 0x100
	wrmsr
	mov eax, 0x80000033	; PG, NE, ET, MP, PE
	mov cr0, eax
	o32 jmp far [tramp_far - trampoline]
bits 64
tramp_64:
	mov eax, 0x18
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov eax, 1
	lock xadd [trampoline_next], eax	; my number
	mov edi, eax
	imul eax, eax, PERCPU_SIZE
	lea rsp, [percpu_block + STACK_TOP + rax]
	xor ebp, ebp
	mov rax, ap_main
	call rax
	ud2
align 8
tramp_gdt:
	dq 0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff
tramp_gdtr:
	dw 31
	dd 0, 0
tramp_far:
	dd 0
	dw 0x10
align 4
trampoline_cr3:
	dd 0
first_edx:
	dd 0
trampoline_end:
align 4
trampoline_next:
	dd 1
section .note.GNU-stack noalloc noexec nowrite progbits
