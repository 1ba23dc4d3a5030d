; SPDX-License-Identifier: GPL-2.0-only
; Where other CPUs start: real mode, CS:IP = page:0, by SIPI. Copied to boot_info.low_page; position
; independent.

%include "boot/early.inc"

CR0_ET		equ 1 << 4
CR0_NE		equ 1 << 5
MSR_APIC_BASE	equ 0x1b
APIC_BASE_BSP	equ 1 << 8

section .rodata
align 16
global trampoline_start, trampoline_end, trampoline_args

bits 16
trampoline_start:
	cli
	cld
	mov ax, cs
	mov ds, ax
	xor ebx, ebx
	mov bx, ax
	shl ebx, 4			; physical address of the page
	cmp byte [args.boot - trampoline_start], 0
	je .go
	mov ecx, MSR_APIC_BASE
	rdmsr
	test eax, APIC_BASE_BSP
	jnz .go
.others:
	hlt				; until somebody wants them, by INIT
	jmp .others
.go:
	lea eax, [ebx + gdt - trampoline_start]
	mov [gdtr + 2 - trampoline_start], eax
	lea eax, [ebx + in32 - trampoline_start]
	mov [far32 - trampoline_start], eax
	lea eax, [ebx + in64 - trampoline_start]
	mov [far64 - trampoline_start], eax
	o32 lgdt [gdtr - trampoline_start]
	mov eax, CR0_PE | CR0_ET | CR0_NE	; INIT leaves caches off (CD, NW): on again
	mov cr0, eax
	jmp far dword [far32 - trampoline_start]

bits 32
in32:
	mov eax, SEL_DATA
	mov ds, eax
	mov ss, eax
	mov esi, ebx
	ALLOW_ALL
	mov ebx, esi
	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, [ebx + args.boot_cr3 - trampoline_start]
	mov cr3, eax
	mov ecx, MSR_EFER
	mov eax, [ebx + args.efer - trampoline_start]
	xor edx, edx
	wrmsr
	mov eax, CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG
	mov cr0, eax
	jmp far dword [ebx + far64 - trampoline_start]

bits 64
in64:
	mov ecx, ebx
	mov rax, [rcx + args.high - trampoline_start]
	jmp rax

align 8
gdt:
	dq 0
	dq 0x00af9b000000ffff		; 64-bit code, for the last jump
	dq 0x00cf93000000ffff
	dq 0x00cf9b000000ffff		; 32-bit code
gdt_end:
gdtr:
	dw gdt_end - gdt - 1
	dd 0
align 4
far32:
	dd 0
	dw 0x18
align 4
far64:
	dd 0
	dw SEL_CODE

; struct trampoline_args in hv/cpu/smp.c
align 8
trampoline_args:
args:
.boot_cr3:	dq 0			; early_pml4, physical
.efer:		dq 0
.high:		dq 0			; trampoline_high
.cr3:		dq 0			; the hypervisor's own tables
.stack:		dq 0
.entry:		dq 0
.boot:		dq 0			; it is for the boot CPU
trampoline_end:

section .text
; In the image's own addresses, still on the early tables. RCX = the page. Does not return.
bits 64
global trampoline_high
trampoline_high:
	LOAD_SEGMENTS
	add rcx, args - trampoline_start
	mov rax, [rcx + args.cr3 - args]
	mov rdx, [rcx + args.entry - args]
	mov rsp, [rcx + args.stack - args]
	mov cr3, rax			; the page is out of sight from here on
	xor ebp, ebp
	extern __x86_indirect_thunk_rdx
	call __x86_indirect_thunk_rdx
	ud2
