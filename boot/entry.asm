; SPDX-License-Identifier: GPL-2.0-only
; From the loader's jump to C on the boot CPU.

%include "boot/early.inc"

HV_IMAGE	equ 0xffffffff80000000
%define PHYS(x) ((x) - HV_IMAGE)	; where it is linked to be

EFER_LME	equ 1 << 8
EFER_NXE	equ 1 << 11
CPUID_LM	equ 1 << 29		; leaf 0x80000001 EDX
CPUID_1G	equ 1 << 26

PTE_PW		equ 3			; present, writable
PTE_PWL		equ 0x83		; and large

COM1		equ 0x3f8
EGA_TEXT	equ 0xb8000
IMAGE_PAGES	equ 16		; of 2 MiB, more than there are

section .text

; Multiboot2, "I386 machine state": EAX = magic, EBX = boot information (physical), protected mode
; without paging,
; interrupts off, no stack. Does not return. The loader may have put the image elsewhere, by a
; multiple of 2 MiB, in EBX below: where we are is told by a call, for whose return address the
; reserved word of the boot information will do.
bits 32
global entry32
entry32:
	cli
	cld
	mov ebp, eax			; kept until long mode
	mov esi, ebx
	mov ecx, [esi + 4]
	lea esp, [esi + 8]
	call .here
.here:
	pop ebx
	sub ebx, PHYS(.here)
	mov [esi + 4], ecx
	lea esp, [ebx + PHYS(early_stack_top)]
	mov [ebx + PHYS(image_moved)], ebx

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
	ALLOW_ALL
	mov eax, 0x80000001
	cpuid
	test edx, CPUID_LM
	jz no_long_mode
	mov edi, edx			; features
	mov ebx, esp
	sub ebx, PHYS(early_stack_top)	; CPUID has changed it

	; First 4 GiB by 2 MiB pages: PD entries, then the tables above.
	; The loader has cleared .bss.
	; What is behind, up to BOOT_REACH, by 1 GiB pages if there are any.
	mov ecx, 0
.pd:
	mov eax, ecx
	shl eax, 21
	or eax, PTE_PWL
	mov [ebx + PHYS(early_pd) + ecx * 8], eax
	inc ecx
	cmp ecx, 4 * 512
	jb .pd
	mov ecx, 0
.pdpt:
	mov eax, ecx
	shl eax, 12
	lea eax, [ebx + eax + PHYS(early_pd) + PTE_PW]
	mov [ebx + PHYS(early_pdpt) + ecx * 8], eax
	inc ecx
	cmp ecx, 4
	jb .pdpt
	test edi, CPUID_1G
	jz .pml4
.pdpt_1g:
	mov eax, ecx
	shl eax, 30
	or eax, PTE_PWL
	mov [ebx + PHYS(early_pdpt) + ecx * 8], eax
	mov eax, ecx
	shr eax, 2
	mov [ebx + PHYS(early_pdpt) + ecx * 8 + 4], eax
	inc ecx
	cmp ecx, 512
	jb .pdpt_1g
.pml4:
	lea eax, [ebx + PHYS(early_pdpt) + PTE_PW]
	mov [ebx + PHYS(early_pml4) + 0 * 8], eax
	mov [ebx + PHYS(early_pml4) + 256 * 8], eax	; HV_DIRECT
	lea eax, [ebx + PHYS(early_pdpt_image) + PTE_PW]
	mov [ebx + PHYS(early_pml4) + 511 * 8], eax
	lea eax, [ebx + PHYS(early_pd_image) + PTE_PW]
	mov [ebx + PHYS(early_pdpt_image) + 510 * 8], eax	; HV_IMAGE
	mov ecx, IMAGE_PAGES
.image:
	mov eax, ecx
	shl eax, 21
	lea eax, [ebx + eax + PTE_PWL]
	mov [ebx + PHYS(early_pd_image) + ecx * 8], eax
	loop .image

	mov eax, CR4_PAE
	mov cr4, eax
	lea eax, [ebx + PHYS(early_pml4)]
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
	lea eax, [ebx + PHYS(early_gdt)]
	mov [esp - 4], eax
	mov word [esp - 6], early_gdt_end - early_gdt - 1
	lgdt [esp - 6]
	lea eax, [ebx + PHYS(.long)]
	push SEL_CODE
	push eax
	retf

bits 64
.long:
	LOAD_SEGMENTS
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
	mov ebx, esp
	sub ebx, PHYS(early_stack_top)
	lea esi, [ebx + PHYS(no_long_mode_text)]
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
early_gdtr_high:
	dw early_gdt_end - early_gdt - 1
	dq early_gdt

section .bss align=4096
global image_moved
image_moved:		resq 1		; bytes; hv/mm/mm.h
alignb 4096
; The tables stay: other CPUs come up on them (boot/trampoline.asm).
global early_pml4
early_pml4:		resb 4096
early_pdpt:		resb 4096
early_pdpt_image:	resb 4096
early_pd_image:		resb 4096	; the first page of 2 MiB is unused
early_pd:		resb 4 * 4096
			resb 16384
early_stack_top:
