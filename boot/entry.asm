; SPDX-License-Identifier: GPL-2.0-only
; From the loader's jump to C on the boot CPU.

%include "boot/early.inc"

HV_IMAGE	equ 0xffffffff80000000
%define PHYS(x) ((x) - HV_IMAGE)

EFER_LME	equ 1 << 8
EFER_NXE	equ 1 << 11
CPUID_LM	equ 1 << 29		; leaf 0x80000001 EDX
CPUID_NX	equ 1 << 20
CPUID_1G	equ 1 << 26

PTE_PW		equ 3			; present, writable
PTE_PWL		equ 0x83		; and large

COM1		equ 0x3f8
EGA_TEXT	equ 0xb8000

section .text

; Multiboot2, "I386 machine state": EAX = magic, EBX = boot information (physical), protected mode
; without paging,
; interrupts off, no stack. Does not return.
bits 32
global entry32
entry32:
	cli
	cld
	mov esp, PHYS(early_stack_top)
	mov ebp, eax			; kept until long mode
	mov esi, ebx

	; CPUID exists if EFLAGS.ID can be changed
	pushfd
	pop eax
	mov ecx, eax
	xor eax, 1 << 21
	push eax
	popfd
	pushfd
	pop eax
	cmp eax, ecx
	je no_long_mode
	mov eax, 0x80000000
	cpuid
	cmp eax, 0x80000001
	jb no_long_mode
	mov eax, 0x80000001
	cpuid
	test edx, CPUID_LM
	jz no_long_mode
	mov edi, edx			; features

	; First 4 GiB by 2 MiB pages: PD entries, then the tables above.
	; The loader has cleared .bss.
	; What is behind, up to BOOT_REACH, by 1 GiB pages if there are any.
	mov ecx, 0
.pd:
	mov eax, ecx
	shl eax, 21
	or eax, PTE_PWL
	mov [PHYS(early_pd) + ecx * 8], eax
	inc ecx
	cmp ecx, 4 * 512
	jb .pd
	mov ecx, 0
.pdpt:
	mov eax, ecx
	shl eax, 12
	add eax, PHYS(early_pd) + PTE_PW
	mov [PHYS(early_pdpt) + ecx * 8], eax
	inc ecx
	cmp ecx, 4
	jb .pdpt
	test edi, CPUID_1G
	jz .pml4
.pdpt_1g:
	mov eax, ecx
	shl eax, 30
	or eax, PTE_PWL
	mov [PHYS(early_pdpt) + ecx * 8], eax
	mov eax, ecx
	shr eax, 2
	mov [PHYS(early_pdpt) + ecx * 8 + 4], eax
	inc ecx
	cmp ecx, 512
	jb .pdpt_1g
.pml4:
	mov dword [PHYS(early_pml4) + 0 * 8], PHYS(early_pdpt) + PTE_PW
	mov dword [PHYS(early_pml4) + 256 * 8], PHYS(early_pdpt) + PTE_PW	; HV_DIRECT
	mov dword [PHYS(early_pml4) + 511 * 8], PHYS(early_pdpt_image) + PTE_PW
	mov dword [PHYS(early_pdpt_image) + 510 * 8], PHYS(early_pd) + PTE_PW	; HV_IMAGE

	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, PHYS(early_pml4)
	mov cr3, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME
	test edi, CPUID_NX
	jz .efer
	or eax, EFER_NXE
.efer:
	wrmsr
	mov eax, cr0
	or eax, CR0_PE | CR0_WP | CR0_PG
	mov cr0, eax
	lgdt [PHYS(early_gdtr)]
	jmp SEL_CODE:PHYS(.long)

bits 64
.long:
	mov eax, SEL_DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rax, early_gdtr_high
	lgdt [rax]
	mov rax, .high
	jmp rax
.high:
	mov rsp, early_stack_top
	mov edi, ebp
	mov esi, esi
	xor ebp, ebp			; ends backtraces
	extern hv_main
	call hv_main			; (u32 magic, u64 boot information)
	ud2

; Neither C nor the options exist yet: one line on COM1, as the firmware set it up, and on the EGA
; text screen.
bits 32
no_long_mode:
	mov esi, PHYS(no_long_mode_text)
	mov edi, EGA_TEXT
.next:
	movzx eax, byte [esi]
	test al, al
	jz .halt
	mov ah, 0x4f
	mov [edi], ax
	add edi, 2
	mov bl, al
	mov ecx, 0x10000		; no UART: give up waiting
.wait:
	mov dx, COM1 + 5
	in al, dx
	test al, 0x20
	jnz .send
	loop .wait
.send:
	mov dx, COM1
	mov al, bl
	out dx, al
	inc esi
	jmp .next
.halt:
	cli
	hlt
	jmp .halt

section .rodata
no_long_mode_text:
	db 'corbel: this CPU has no 64-bit long mode; use a 64-bit machine '
	db '(in an emulator: another CPU model)', 13, 10, 0

	align 8
global early_gdt
early_gdt:
	dq 0
	dq 0x00af9b000000ffff		; SEL_CODE: 64-bit, ring 0
	dq 0x00cf93000000ffff		; SEL_DATA
early_gdt_end:
early_gdtr:
	dw early_gdt_end - early_gdt - 1
	dd PHYS(early_gdt)
early_gdtr_high:
	dw early_gdt_end - early_gdt - 1
	dq early_gdt

section .bss align=4096
; The tables stay: other CPUs come up on them (boot/trampoline.asm).
global early_pml4
early_pml4:		resb 4096
early_pdpt:		resb 4096
early_pdpt_image:	resb 4096
early_pd:		resb 4 * 4096
			resb 16384
early_stack_top:
